"""How fast the engine is on this machine, beside the machine's own peak: ``rnnfast bench``.

The suite in ``benchmarks/`` times the same calls in the same way, over more shapes.
"""

from __future__ import annotations

import argparse
import importlib
import math
import sys
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from . import backend, layers
from .cells import CELLS
from .core import runtime

Call = Callable[[], object]

# every class that torch.nn has, with its default cell
LAYERS = {
    name: getattr(layers, cell.layer)
    for name, cell in CELLS.items()
    if cell.in_torch and not cell.options
}
SHAPES = [(1, 1, 32, 64), (32, 50, 32, 64), (64, 100, 64, 128), (64, 50, 512, 512)]


def tasks(layer: Any, B: int, T: int) -> dict[str, Call]:
    """Return what is timed of a recurrent layer, with random x (T, B, I) and dy (T, B, K).

    "inference": y = layer(x). "training": forward, then the gradients of every parameter, of x and
    of the initial state. The weights stay as they are, so they are packed once.
    """
    rng = np.random.default_rng(0)
    x = rng.standard_normal((T, B, layer.in_size), layer.dtype)
    dy = rng.standard_normal((T, B, layer.out_size), layer.dtype)

    def inference() -> None:
        layer(x)

    def training() -> None:
        _, _, tape = layer.forward(x)
        layer.backward(tape, dy)

    return {"inference": inference, "training": training}


def clock(call: Call, calls: int) -> float:
    """Return the seconds that one call takes, on average over `calls` of them."""
    start = perf_counter()
    for _ in range(calls):
        call()
    return (perf_counter() - start) / calls


def plan(call: Call, seconds: float, least: int = 5, most: int = 40) -> tuple[int, int]:
    """Warm up, and say how to spend about `seconds` on timing.

    Returns how many calls make a round long enough to time, and how many rounds there are: at
    least `least`, even where it takes longer, and at most `most`.
    """
    calls, round_length = 1, seconds / most
    once = clock(call, 1)  # packs the weights, allocates, starts the threads
    if once < seconds:
        while (once := clock(call, calls)) * calls < round_length / 2:
            calls *= 2
    calls = max(1, int(round_length / once))
    return calls, min(most, max(least, int(seconds / (once * calls))))


class Peak:
    """The multiply-adds that the processor can do, on the engine's threads and instruction set.

    Machines drift by tens of percent, so it is sampled in bursts of `seconds` beside what is timed.
    """

    def __init__(self, dtype: DTypeLike, seconds: float = 1e-3) -> None:
        self._fma_loop = importlib.import_module(".core.dense", __package__).fma_loop
        self._dtype = dtype
        self._loops = 10_000
        self._rates: list[float] = []
        # Calibrated on one thread: a team on a busy machine may wait for its last member.
        with runtime.num_threads(1):
            rate = max(self._burst() for _ in range(5))
            self._loops = max(1, int(rate * seconds / self._fma_loop(dtype, 1)))

    def _burst(self) -> float:
        start = perf_counter()
        operations: float = self._fma_loop(self._dtype, self._loops)
        return operations / (perf_counter() - start)

    def sample(self) -> None:
        """Run one burst."""
        self._rates.append(self._burst())

    @property
    def gflops(self) -> float:
        """Median of the bursts so far, in GFLOP/s."""
        return median(self._rates) / 1e9


def row(*columns: object) -> str:
    """Return a line of a table: a cell, a shape, then numbers."""
    cell, shape, *numbers = (
        np.format_float_positional(c, 4, fractional=False, trim="-") if isinstance(c, float) else c
        for c in columns
    )
    return f"{cell:<9}{shape:>18}" + "".join(f"{number:>14}" for number in numbers)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``rnnfast bench``."""
    parser.add_argument("--seconds", type=float, default=0.3, help="spent on each number")
    parser.add_argument("--threads", type=int, help="as rnnfast.set_num_threads")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")


def main(args: argparse.Namespace) -> int:
    """Time the engine over a few shapes and print GFLOP/s and percent of the peak."""
    if not 0.0 <= args.seconds < math.inf:
        print(
            f"rnnfast: bench expected seconds >= 0 and finite, got {args.seconds}", file=sys.stderr
        )
        return 2
    try:
        with backend.use("core"), runtime.num_threads(args.threads):
            report(args.seconds, args.dtype)
    except (ValueError, ImportError, RuntimeError) as error:
        print(f"rnnfast: {error}", file=sys.stderr)
        return 1
    return 0


def report(seconds: float, dtype: str) -> None:
    """Print a table for inference and one for training."""
    print(f"{runtime.isa()}, {dtype}, threads: {runtime.get_num_threads()}")
    for task in ("inference", "training"):
        print("\n" + row(task, "B, T, I, H", "microseconds", "GFLOP/s", "% of peak"))
        for name, kind in LAYERS.items():
            for B, T, I, H in SHAPES:  # noqa: E741
                layer: Any = kind(I, H, dtype=dtype, seed=0)
                call, peak = tasks(layer, B, T)[task], Peak(dtype)
                calls, rounds = plan(call, seconds)
                times = []
                for _ in range(rounds):
                    peak.sample()
                    times.append(clock(call, calls))
                weights = sum(w.size for w in layer.params.values() if w.ndim == 2)
                flops = 2 * B * T * weights * (3 if task == "training" else 1)
                rate = flops / median(times) / 1e9
                shape = f"{B}, {T}, {I}, {H}"
                print(row(name, shape, 1e6 * median(times), rate, 100 * rate / peak.gflops))
