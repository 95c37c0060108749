"""Measures the sizes at which the engine should switch strategy: `thresholds` in core/job.pyx.

    python benchmarks/thresholds.py [--seconds 0.1]

Each line forces both ways upon one problem, in turns. What the engine does now stands above each
table; the sizes in the code are where the last column crosses 1, on the slower side of several
machines. Run it where nothing else runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import rnnfast
from rnnfast.bench import Call, clock, plan, row, tasks
from rnnfast.core import job, runtime

Shape = tuple[int, int, int, int]  # B, T, I, H
DEFAULTS = job.tune()
TEAM = runtime.get_num_threads()


@dataclass(frozen=True)
class Way:
    """How the engine is made to work."""

    threads: int = TEAM
    changes: dict[str, int] = field(default_factory=dict)

    def choose(self) -> None:
        rnnfast.set_num_threads(self.threads)
        job.tune(**{**DEFAULTS, **self.changes})


ALONE = Way(threads=1)
TOGETHER = Way(changes={"serial_work": 0, "shared_step_work": 0})


def times(call: Call, ways: Sequence[Way], seconds: float) -> list[float]:
    """Return the median microseconds of a call in each way; they take turns."""
    ways[0].choose()
    calls, rounds = plan(call, seconds)
    taken: list[list[float]] = [[] for _ in ways]
    for _ in range(rounds):
        for way, values in zip(ways, taken, strict=True):
            way.choose()
            call()
            values.append(clock(call, calls))
    return [1e6 * median(values) for values in taken]


def lstm_tasks(shape: Shape) -> dict[str, Call]:
    B, T, I, H = shape  # noqa: E741
    return tasks(rnnfast.LSTM(I, H, seed=0), B, T)


def work(shape: Shape) -> int:
    """Multiply-adds of an LSTM's forward pass."""
    B, T, I, H = shape  # noqa: E741
    return B * T * 4 * H * (I + H)


def title(name: str, question: str, *columns: str) -> None:
    print(f"\n{name} = {DEFAULTS[name]}: {question}")
    print(row("lstm", "B, T, I, H", *columns))


def line(task: str, shape: Shape, *numbers: Any) -> None:
    print(row(task, ", ".join(map(str, shape)), *numbers), flush=True)


def serial_work(seconds: float) -> None:
    title("serial_work", "from which work does a team pay?", "work", "1 thread", "team", "1/team")
    shapes = [(B, 10, H, H) for H in (8, 16, 32) for B in (4, 8, 16, 32, 64)]
    for shape in sorted(shapes, key=work):
        for task, call in lstm_tasks(shape).items():
            one, team = times(call, [ALONE, TOGETHER], seconds)
            line(task, shape, work(shape), one, team, one / team)


def shared_step_work(seconds: float) -> None:
    columns = ("step's work", "1 thread", "team", "1/team")
    title("shared_step_work", "from which work does a team pay for a single sample?", *columns)
    squares = [(64, H) for H in (32, 48, 64, 80, 96, 112, 128, 192, 256)]
    for inputs, H in [*squares, (314, 25), (1000, 16)]:
        shape = (1, 50, inputs, H)
        for task, call in lstm_tasks(shape).items():
            one, team = times(call, [ALONE, TOGETHER], seconds)
            # the input product is formed first, and counts a quarter
            line(task, shape, work((1, 1, inputs // 4, H)), one, team, one / team)


def shared_rows(seconds: float) -> None:
    columns = ("slices", "shared units", "slices/shared")
    title("shared_rows", "to how many rows a thread does sharing the units pay?", *columns)
    ways = [Way(changes={"shared_rows": rows, "large_weights": 1 << 40}) for rows in (0, 1 << 30)]
    for size in ((300, 256), (512, 512), (1024, 1024)):
        for rows in (1, 2, 4, 8, 16, 32, 64):
            shape = (rows * TEAM, 20, *size)
            for task, call in lstm_tasks(shape).items():
                slices, shared = times(call, ways, seconds)
                line(task, shape, slices, shared, slices / shared)


def few_rows(seconds: float) -> None:
    columns = ("step by step", "inputs first", "step/first")
    title(
        "few_rows",
        "to how many rows, and from which weights on, does multiplying inputs first pay?",
        *columns,
    )
    ways = [
        Way(threads=1, changes={"few_rows": rows, "product_rows": 0, "cached_weights": 0})
        for rows in (0, 1 << 30)
    ]
    for size in ((4, 128), (16, 32), (32, 64), (64, 128), (128, 128), (300, 256), (512, 512)):
        for B in (1, 2, 4, 6, 8, 12, 16, 24, 32):
            shape = (B, 50, *size)
            step, first = times(lstm_tasks(shape)["inference"], ways, seconds)
            line("inference", shape, step, first, step / first)


def product_bytes(seconds: float) -> None:
    sizes = [1 << power for power in range(14, 23)]
    title("product_bytes", "which is fastest?", *(f"{size >> 10} KB" for size in sizes))
    always = {"few_rows": 1 << 30, "cached_weights": 0}
    ways = [Way(threads=1, changes={"product_bytes": size, **always}) for size in sizes]
    for size in ((64, 128), (300, 256), (512, 512)):
        for B in (1, 4, 8):
            shape = (B, 200, *size)
            line("inference", shape, *times(lstm_tasks(shape)["inference"], ways, seconds))


TABLES = {
    f.__name__: f for f in (serial_work, shared_step_work, shared_rows, few_rows, product_bytes)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.1, help="spent on each number")
    parser.add_argument("tables", nargs="*", help=f"some of {', '.join(TABLES)}; default all")
    options = parser.parse_args()
    print(f"{runtime.isa()}, threads: {TEAM}, microseconds")
    for name in options.tables or TABLES:
        TABLES[name](options.seconds)


if __name__ == "__main__":
    main()
