"""What computes here, for people to read."""

from __future__ import annotations

import platform
import re

import numpy as np

from . import backend
from .core import runtime
from .version import __version__


def processor() -> str:
    """Return the processor's name, as exactly as the system has it, without trademarks."""
    try:
        with open("/proc/cpuinfo") as file:
            text = file.read()
    except OSError:
        text = ""
    fields = dict(re.findall(r"^(model name|cpu family|model)\s*: (.*)$", text, re.MULTILINE))
    if len(fields) < 3:
        return platform.processor() or platform.machine()
    fields["model name"] = re.sub(r"\((R|TM)\)| Processor| CPU", "", fields["model name"])
    return "{model name} family {cpu family} model {model}".format(**fields)


def show_config() -> None:
    """Print versions, processor, compiler, instruction sets, threads, as ``rnnfast info`` does."""
    try:
        computes_on = backend.active().name
    except (ValueError, ImportError, RuntimeError) as error:
        computes_on = f"none: {error}"
    rows = {
        "rnnfast": __version__,
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "processor": processor(),
        "numpy": np.__version__,
        "backend": computes_on,
        **runtime.describe(),
    }
    for name, value in rows.items():
        print(f"{name:<17} {value}")
