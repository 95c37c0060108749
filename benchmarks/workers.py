"""Runs each side of a comparison alone: in its own process, stopped while others have their turn.

Thread pools of several frameworks in one process slow one another, and threads that wait for work
in a loop take the processor from whoever is timed. So a worker that is not asked is stopped
(SIGSTOP) as a whole, and nothing need be changed in how a framework waits.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

import rnnfast
from rnnfast.bench import Call, Peak, clock, plan

Arrays = dict[str, NDArray[Any]]
# What is timed, and how its result reads as named arrays.
Side = tuple[Call, Callable[[Any], Arrays]]


def no_arrays(result: Any) -> Arrays:
    """Return nothing: for sides whose results are not compared."""
    return {}


_call: Call = lambda: None  # noqa: E731  what this process was last told to load


class Worker:
    """A process that runs functions of importable modules when asked to.

    Parameters
    ----------
    threads : int
        How many processors it may run on, and how many threads rnnfast takes there.
    path : str, optional
        Where rnnfast is imported from; by default as in this process.
    """

    def __init__(self, threads: int, path: str | None = None) -> None:
        context = multiprocessing.get_context("spawn")  # a forked rnnfast stays with one thread
        self._pipe, end = context.Pipe()
        self._process = context.Process(target=_serve, args=(end, threads), daemon=True)
        before = sys.path[:]
        # The process takes sys.path over before it imports anything of ours, this module included.
        sys.path[:0] = [path] if path else []
        try:
            self._process.start()
        finally:
            sys.path[:] = before
        end.close()

    def ask(self, function: Callable[..., Any], *args: Any) -> Any:
        """Return what `function` returns in the worker, which runs only meanwhile."""
        assert self._process.pid is not None
        os.kill(self._process.pid, signal.SIGCONT)
        self._pipe.send((function, args))
        try:
            answer = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(f"a worker ended with {self._process.exitcode}") from None
        os.kill(self._process.pid, signal.SIGSTOP)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """End the process, stopped or not."""
        self._process.kill()
        self._process.join()


class Workers(dict[str, Worker]):
    """Workers by name, each started when first used; all end with the block.

    Parameters
    ----------
    threads : int
        As for `Worker`.
    paths : dict, optional
        The path of those that do not import rnnfast as this process does.
    """

    def __init__(self, threads: int, paths: dict[str, str] | None = None) -> None:
        super().__init__()
        self.threads = threads
        self._paths = paths or {}

    def __missing__(self, name: str) -> Worker:
        worker = self[name] = Worker(self.threads, self._paths.get(name))
        return worker

    def __enter__(self) -> Workers:
        # as after Ctrl-C: workers that are stopped would outlive their driver
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        return self

    def __exit__(self, *exception: Any) -> None:
        for worker in self.values():
            worker.close()


def _serve(pipe: Connection, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver, which ends us all
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    rnnfast.set_num_threads(threads)
    while True:
        try:
            function, args = pipe.recv()
        except EOFError:  # the driver has gone
            return
        try:
            answer = function(*args)
        except Exception:
            answer = RuntimeError(f"in a worker:\n{traceback.format_exc()}")
        pipe.send(answer)


# ---- what workers are asked


def load(build: Callable[..., Side], *args: Any) -> Arrays:
    """Build a side, run it once and return its result."""
    global _call
    _call = lambda: None  # noqa: E731  frees what was loaded before
    _call, arrays = build(*args)
    return {name: np.array(array) for name, array in arrays(_call()).items()}


def measure(seconds: float, least: int = 3) -> float:
    """Warm up, time what is loaded for about `seconds`, and return a call's median seconds."""
    calls, rounds = plan(_call, seconds, least)
    return median(clock(_call, calls) for _ in range(rounds))


def once() -> float:
    """Return the seconds that one call of what is loaded takes, for calls that take long."""
    return clock(_call, 1)


def peak(bursts: int = 20) -> float:
    """Return the FMA peak of the engine's threads now, in GFLOP/s."""
    sampled = Peak(np.float32)
    for _ in range(bursts):
        sampled.sample()
    return sampled.gflops


def average(seconds: float) -> float:
    """Time what is loaded for at least so long, and return a call's mean seconds."""
    start, calls = perf_counter(), 0
    while (taken := perf_counter() - start) < seconds:
        _call()
        calls += 1
    return taken / calls
