"""Threads, instruction set, and a description of both. Works without the compiled modules too."""

from __future__ import annotations

import importlib
import math
import operator
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

MAX_THREADS = 1024

_limit = 0  # what set_num_threads asked for; 0: nothing
_forked = False


def _import_kernels() -> tuple[ModuleType | None, Exception | None]:
    # Whatever goes wrong here is raised by `backend` once the engine is asked for, so that the
    # reference backend and show_config() work on a machine where the engine does not.
    try:
        return importlib.import_module(".kernels", __package__), None
    except Exception as error:
        return None, error


def affinity() -> list[int]:
    """Return the processors in this process's affinity mask, all where there are no masks."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _processors() -> int:
    # how many the affinity mask and the cgroup quotas leave this process
    count = len(affinity())
    quota = _cgroup_quota()
    return count if quota is None else min(count, max(1, math.ceil(quota)))


def _cgroup_quota(
    listing: str = "/proc/self/cgroup", mount: str = "/sys/fs/cgroup"
) -> float | None:
    # The processors' worth of time that the control groups grant, None if unlimited. The kernel's
    # `listing` has a line "id:controllers:path" for each group of this process.
    quotas = []
    for line in _read(listing).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root = mount
        elif "cpu" in controllers.split(","):
            root = f"{mount}/cpu"
        else:
            continue
        # A quota binds everything below it. In a container only the end of the path may exist.
        parts = [part for part in path.split("/") if part]
        for depth in range(len(parts) + 1):
            folder = "/".join([root, *parts[:depth]])
            if controllers == "":
                quota, _, period = _read(f"{folder}/cpu.max").partition(" ")
            else:
                quota = _read(f"{folder}/cpu.cfs_quota_us")
                period = _read(f"{folder}/cpu.cfs_period_us")
            try:
                value = int(quota) / int(period)
            except (ValueError, ZeroDivisionError):  # "max", or no such file
                continue
            if value > 0:  # -1: unlimited
                quotas.append(value)
    return min(quotas, default=None)


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""


def _caches(folder: str = "/sys/devices/system/cpu/cpu0/cache") -> dict[str, int]:
    # The bytes of the caches for data, by names like L2, as far as Linux tells them.
    sizes = {}
    for index in range(8):
        kind, size = (_read(f"{folder}/index{index}/{name}") for name in ("type", "size"))
        if kind in ("Data", "Unified") and size.endswith("K"):
            sizes["L" + _read(f"{folder}/index{index}/level")] = int(size[:-1]) << 10
    return sizes


def _apply() -> None:
    if kernels is not None:
        kernels.set_thread_limit(1 if _forked else _limit)


def _after_fork() -> None:
    # The parent's OpenMP threads do not exist here, and GCC's run time would wait for them forever.
    global _forked
    _forked = True
    _apply()


caches = _caches()
_cap = _processors()  # first: where OMP_PROC_BIND is set, OpenMP ties this thread to one of them
kernels, failure = _import_kernels()
if kernels is not None:
    kernels.set_thread_cap(_cap)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def set_num_threads(n: int | None) -> None:
    """Set how many threads the engine may use, in the whole process.

    Results do not depend on it. In a process that was forked off one which had imported rnnfast
    the engine stays with one thread whatever is set here: use the "spawn" or "forkserver" start
    method of `multiprocessing` for more.

    Parameters
    ----------
    n : int or None
        From 1 to 1024, whatever OMP_NUM_THREADS, affinity and quotas say. None goes back to these.

    Raises
    ------
    TypeError
        `n` is not an integer.
    ValueError
        `n` is out of range.
    """
    global _limit
    _limit = 0 if n is None else _checked(n)
    _apply()


def _checked(n: int) -> int:
    try:
        count = operator.index(n)
    except TypeError:
        count = None
    if count is None or isinstance(n, bool):
        raise TypeError(f"n expected an integer number of threads, got {n!r}")
    if not 1 <= count <= MAX_THREADS:
        raise ValueError(f"n expected a number of threads from 1 to {MAX_THREADS}, got {n!r}")
    return count


def get_num_threads() -> int:
    """Return how many threads the engine may use; small problems take fewer.

    That is what `set_num_threads` or `num_threads` asked for; failing that the least of OpenMP's
    own number (OMP_NUM_THREADS, threadpoolctl), the processors in this process's affinity mask and
    its cgroup's quota, rounded up. The last two are read once, when rnnfast is imported. In a
    forked child it is 1.
    """
    if _forked:
        return 1
    if _limit:
        return _limit
    return min(_cap, kernels.omp_max_threads()) if kernels is not None else _cap


@contextmanager
def num_threads(n: int | None) -> Iterator[None]:
    """Let the engine use `n` threads inside a ``with`` block, then what it used before.

    The number holds for the whole process, as `set_num_threads` does, not for the calling thread
    alone: blocks that overlap in several Python threads see each other's numbers.

    Parameters
    ----------
    n : int or None
        As for `set_num_threads`.
    """
    before = _limit
    try:  # ahead of the change, so that no interrupt comes between
        set_num_threads(n)
        yield
    finally:
        set_num_threads(before or None)


def instruction_sets() -> list[str]:
    """Return the instruction sets that the engine can use on this processor, slowest first.

    Empty where the engine is not installed.
    """
    return kernels.available() if kernels is not None else []


def isa() -> str:
    """Return the instruction set in use, or "none" where the engine is not installed."""
    return kernels.selected() if kernels is not None else "none"


def set_isa(name: str | None) -> None:
    """Choose the engine's instruction set. Meant for tests: the best one is chosen at import.

    Parameters
    ----------
    name : str or None
        One of `instruction_sets()`; None for the default (RNNFAST_ISA, or the best one).

    Raises
    ------
    ValueError
        The build or the processor lacks it.
    """
    if name is not None and name not in instruction_sets():
        built = kernels.built() if kernels is not None else []
        raise ValueError(
            f"name expected one of the instruction sets usable here {instruction_sets()} "
            f"(built: {built}), got {name!r}"
        )
    if kernels is not None:
        kernels.select(name)


def describe() -> dict[str, str]:
    """Return compiler, OpenMP, instruction sets, caches and threads, for `show_config`."""
    rows = {}
    if kernels is None:
        rows["engine"] = f"not in use: {type(failure).__name__}: {failure}"
    else:
        rows["compiler"] = kernels.compiler()
        rows["openmp"] = "yes" if kernels.openmp() else "no, the engine is serial"
        rows["instruction sets"] = (
            f"{isa()} chosen; usable here: {', '.join(instruction_sets())}; "
            f"built: {', '.join(kernels.built())}"
        )
    sizes = [f"{name} {size >> 10} KB" for name, size in caches.items()]
    rows["caches"] = ", ".join(sizes) or "unknown"
    asked = str(_limit) if _limit else "not called"
    rows["threads"] = f"{get_num_threads()} (processors: {_cap}; set_num_threads: {asked})"
    return rows
