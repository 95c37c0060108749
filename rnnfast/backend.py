"""Which implementation computes: the compiled engine (`core`) or plain NumPy (`reference`).

Both have modules of the same names and signatures, so any model runs on either. The default is
the engine where it is installed; the environment variable RNNFAST_BACKEND (core or reference)
overrides that for a process, `use` for a block of code in one thread.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import NamedTuple

from .core import runtime

__all__ = ["Backend", "active", "use"]

NAMES = ("core", "reference")


class Backend(NamedTuple):
    """The modules that compute."""

    name: str
    recurrent: ModuleType
    dense: ModuleType


_chosen: ContextVar[Backend | None] = ContextVar("rnnfast_backend", default=None)


def active() -> Backend:
    """Return the backend that calls from this thread use now.

    Returns
    -------
    Backend
        With the attributes ``name``, ``recurrent`` and ``dense``.

    Raises
    ------
    ValueError
        RNNFAST_BACKEND is neither core nor reference.
    ImportError, RuntimeError
        The engine is asked for by name and missing, or it is there but refuses to start, for
        instance because RNNFAST_ISA names an instruction set that the processor lacks.

    Warns
    -----
    RuntimeWarning
        Once, where the engine is missing and NumPy takes its place unasked.
    """
    return _chosen.get() or _default()


@contextmanager
def use(name: str) -> Iterator[Backend]:
    """Compute on one backend inside a ``with`` block, in this thread (and context) only.

    Parameters
    ----------
    name : {"core", "reference"}
        Which one.

    Raises
    ------
    ValueError, ImportError, RuntimeError
        As `active` does.
    """
    chosen, before = _load(name), _chosen.get()
    try:  # ahead of the change, so that no interrupt comes between
        _chosen.set(chosen)
        yield chosen
    finally:
        _chosen.set(before)


@cache
def _default() -> Backend:
    name = os.environ.get("RNNFAST_BACKEND")
    if name:
        if name not in NAMES:
            raise ValueError(f"RNNFAST_BACKEND expected one of {NAMES}, got {name!r}")
        return _load(name)
    try:
        return _load("core")
    except ModuleNotFoundError as error:
        # A module that is there but does not start is a fault to mend, not a reason to be slow.
        if not (error.name or "").startswith("rnnfast.core."):
            raise
        warnings.warn(
            f"the compiled engine is missing ({error}), so rnnfast computes on NumPy alone, which "
            "is many times slower. In a source tree, run outside of it or `make develop`; else "
            "install GCC >= 9 or Clang >= 14, then `pip install --force-reinstall "
            "--no-cache-dir rnnfast`. RNNFAST_BACKEND=reference asks for NumPy and silences this.",
            RuntimeWarning,
            stacklevel=3,
        )
        return _load("reference")


@cache
def _load(name: str) -> Backend:
    if name not in NAMES:
        raise ValueError(f"name expected one of {NAMES}, got {name!r}")
    if name == "core" and runtime.failure is not None:
        raise runtime.failure.with_traceback(None)
    recurrent = import_module(f".{name}.recurrent", __package__)
    return Backend(name, recurrent, import_module(f".{name}.dense", __package__))
