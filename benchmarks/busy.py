"""Times calls on a quiet machine, and beside a busy process for each processor.

    python benchmarks/busy.py [--before FOLDER] [--passive] [--rounds N] [--seconds S] [-k B32]

rnnfast chooses its number of threads itself, as it does where nobody sets one; PyTorch, where it is
installed, takes as many threads as there are processors. `--before` adds an earlier revision,
compiled in FOLDER, `--passive` each side once more with OMP_WAIT_POLICY=passive. Every side is a
process of its own, stopped while others have their turn (workers.py). A figure is the median over
rounds of the mean of a round's calls, because beside others few calls take most of the time.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from cases import Case
from peers import PEERS, engine, pytorch
from report import table
from workers import Side, Workers, average, load

from rnnfast.core import runtime

SHAPES = [
    (32, 50, 32, 64),
    (20, 100, 64, 128),
    (64, 100, 64, 128),
    (8, 30, 300, 256),
    (1, 100, 64, 128),
]
TASKS = {"inference": False, "training": True}
BUSY = [sys.executable, "-c", "while True: pass"]


def automatic(case: Case, training: bool) -> Side:
    return engine(case, training, None)


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Keep so many processes busy inside a ``with`` block."""
    others = [subprocess.Popen(BUSY) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


@contextmanager
def environment(**changes: str) -> Iterator[None]:
    """Change the environment that processes start with inside a ``with`` block."""
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def sides(case: Case, training: bool, options: argparse.Namespace) -> dict[str, tuple[Any, ...]]:
    """Return the build function and arguments of each side by its name."""
    chosen: dict[str, tuple[Any, ...]] = {"rnnfast": (automatic, case, training)}
    if options.before:
        chosen["before"] = (automatic, case, training)
    if not PEERS["torch"].missing:
        chosen["PyTorch"] = (pytorch, case, training, options.processors)
    if options.passive:
        chosen |= {f"{name}, passive": side for name, side in chosen.items()}
    return chosen


def measure_case(case: Case, training: bool, options: argparse.Namespace) -> list[str]:
    """Return a row of the table for each side."""
    taken: dict[tuple[str, int], list[float]] = {}
    others = (0, options.processors)
    paths = dict.fromkeys(("before", "before, passive"), options.before) if options.before else {}
    with Workers(options.processors, paths) as workers:
        chosen = sides(case, training, options)
        for name, side in chosen.items():
            passive = {"OMP_WAIT_POLICY": "passive"} if name.endswith("passive") else {}
            with environment(**passive):
                workers[name].ask(load, *side)
        for count in others:
            with busy_processes(count):
                for name in [*chosen] * options.rounds:
                    seconds = workers[name].ask(average, options.seconds)
                    taken.setdefault((name, count), []).append(1e3 * seconds)
    cells = []
    for name in chosen:
        quiet, beside = (median(taken[name, count]) for count in others)
        cells.append(f"{quiet:.3g} → {beside:.3g} ({beside / quiet:.1f})")
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", metavar="FOLDER", help="where an earlier revision is compiled")
    parser.add_argument("--passive", action="store_true", help="with OMP_WAIT_POLICY=passive, too")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.7, help="of a round of each side")
    parser.add_argument("-k", default="", help="only shapes whose names, such as B32, have this")
    options = parser.parse_args()
    options.processors = runtime.get_num_threads()
    print(
        f"{runtime.isa()}, float32, LSTM. Milliseconds a call, quiet → beside {options.processors} "
        "busy processes (and how many times as long)\n",
        flush=True,
    )
    rows, titles = [], []
    for task in options.tasks:
        for B, T, I, H in SHAPES:  # noqa: E741
            case = Case("lstm", B=B, T=T, I=I, H=H, state=False)
            if options.k in str(case):
                titles = list(sides(case, TASKS[task], options))
                cells = measure_case(case, TASKS[task], options)
                rows.append([task, case.sizes, *cells])
                print(*rows[-1], sep="  ", file=sys.stderr, flush=True)
    print(table(["task", "B, T, I, H", *titles], rows))


if __name__ == "__main__":
    main()
