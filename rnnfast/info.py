"""What computes here, for people to read."""

from __future__ import annotations

import platform

import numpy as np

from . import backend
from .core import runtime
from .version import __version__


def show_config() -> None:
    """Print versions, compiler, OpenMP, instruction sets and threads, as ``rnnfast info`` does."""
    try:
        computes_on = backend.active().name
    except (ValueError, ImportError, RuntimeError) as error:
        computes_on = f"none: {error}"
    rows = {
        "rnnfast": __version__,
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "numpy": np.__version__,
        "backend": computes_on,
        **runtime.describe(),
    }
    for name, value in rows.items():
        print(f"{name:<17} {value}")
