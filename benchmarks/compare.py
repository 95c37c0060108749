"""Times rnnfast beside PyTorch, ONNX Runtime, OpenVINO, JAX and Keras on the same problems.

    python benchmarks/compare.py [--peers torch,jax] [--cells lstm] [-k B64] [--short] [--save]
    python benchmarks/compare.py --from-records

Before a case is timed, every peer's results are compared with rnnfast's: y, and in training all
gradients. Then the engines take turns for some rounds, each in a process of its own that is stopped
when it is not its turn. peers.py says how each is used, report.py what is written. Peers that are
not installed are skipped.

--save writes the record of this processor and instruction set, in the place of an earlier one, to
results/compare-*.json. Then, as --from-records does without a run, it writes what the records of
all processors come to into docs/performance.md, its plots and README.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "tests"))

import tolerances
from cases import BENCHMARK, Case
from peers import PEERS, engine
from report import (
    TASKS,
    UNSTEADY,
    all_rounds,
    describe,
    save,
    shape_of,
    summary,
    unsteady,
    write_pages,
)
from workers import Arrays, Workers, load, measure, peak

import rnnfast
from rnnfast.bench import LAYERS, row
from rnnfast.core import runtime

# --short: these shapes, fewer and shorter rounds.
SHORT = [(1, 100, 64, 128), (32, 50, 32, 64), (64, 100, 64, 128)]
SHORT_ROUNDS, SHORT_SECONDS = 3, 0.1


def bandwidths(seconds: float = 0.2) -> dict[str, float]:
    """Return the GB/s at which the engine's threads read from each cache and from memory.

    Each thread reads a row of its own again and again, which fills half its share of a cache; for
    memory, four times the largest. Private caches add up and shared ones are shared.
    """
    from rnnfast.core import dense  # only here: against.py needs no engine beside those it builds

    threads = rnnfast.get_num_threads()
    sizes: dict[str, int] = {}  # of what a thread reads again and again
    for cache in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, kilobytes, users = (
            (cache / name).read_text().strip()
            for name in ("level", "type", "size", "shared_cpu_map")
        )
        if kind != "Instruction":
            sharers = min(threads, int(users.replace(",", ""), 16).bit_count())
            sizes[f"L{level}"] = int(kilobytes.removesuffix("K")) * 1024 // (2 * sharers)
    if sizes:
        sizes["memory"] = 8 * max(sizes.values())
    rates = {}
    for name, size in sizes.items():
        n, loops = size // 64 * 16, max(1, (1 << 30) // size)
        space = np.ones(threads * n + 16, np.float32)
        start = -space.ctypes.data % 64 // 4  # of a cache line
        rows = space[start : start + threads * n].reshape(threads, n)
        best, end = 0.0, time.perf_counter() + seconds
        while time.perf_counter() < end:
            begin = time.perf_counter()
            moved = dense.read_loop(rows, loops)
            best = max(best, moved / (time.perf_counter() - begin))
        rates[name] = best / 1e9
    return rates


def installed(names: Sequence[str]) -> list[str]:
    """Return those peers that can run, and say which cannot."""
    for name in names:
        if PEERS[name].missing:
            packages = " ".join(PEERS[name].packages)
            print(f"skipped: {name} is not installed (pip install {packages})", flush=True)
    return [name for name in names if not PEERS[name].missing]


def check(peer: str, case: Case, task: str, ours: Arrays, theirs: Arrays) -> None:
    """End the run if a peer's results are not rnnfast's."""
    for name, want in ours.items():
        got = theirs[name]
        error = float(np.abs(got - want).max()) if got.shape == want.shape else np.inf
        bound = tolerances.recurrent(case, name, np.float32, want)
        if not error <= bound:
            raise SystemExit(
                f"{PEERS[peer].title} and rnnfast disagree, {task} of {case}: {name} differs by "
                f"{error:.2g}, the bound is {bound:.2g}"
            )


def take_turns(
    workers: Workers, names: Iterable[str], ours: str, rounds: int, seconds: float
) -> tuple[dict[str, list[float]], list[float]]:
    """Time what workers have loaded; return microseconds by name, and the peaks beside `ours`."""
    peaks: list[float] = []
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        for name, values in times.items():
            if name == ours:
                peaks.append(workers[name].ask(peak))
            values.append(1e6 * workers[name].ask(measure, seconds))
    return times, peaks


def compare(
    workers: Workers, peers: Sequence[str], case: Case, task: str, rounds: int, seconds: float
) -> dict[str, Any]:
    """Check and time one case; return its record."""
    training = task == "training"
    arguments = case, training, workers.threads
    running = [name for name in peers if PEERS[name].trains or not training]
    ours = workers["rnnfast"].ask(load, engine, *arguments)
    for name in running:
        check(name, case, task, ours, workers[name].ask(load, PEERS[name].build, *arguments))

    times, peaks = take_turns(workers, ["rnnfast", *running], "rnnfast", rounds, seconds)
    us = {name: median(values) for name, values in times.items()}
    best = min(running, key=us.__getitem__, default=None)
    rate = case.flops(training) / us["rnnfast"] / 1e3
    return {
        **dict(task=task, cell=case.cell, B=case.B, T=case.T, I=case.I, H=case.H),
        "us": us,
        "best": best,
        "ratio": us[best] / us["rnnfast"] if best else None,
        "gflops": rate,
        "peak_gflops": median(peaks),
        "percent_of_peak": 100 * rate / median(peaks),
        "rounds_us": times,
        "rounds_peak_gflops": peaks,
    }


def names(known: Sequence[str]) -> Any:
    def split(text: str) -> list[str]:
        chosen = text.split(",")
        if not set(chosen) <= set(known):
            raise argparse.ArgumentTypeError(f"expected some of {','.join(known)}")
        return chosen

    return split


def at_least_one(text: str) -> int:
    """Return a count that an option gives."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {value}")
    return value


def add_choice(parser: argparse.ArgumentParser) -> None:
    """Declare the options that say what is timed; `chosen` returns the cases."""
    cells = list(LAYERS)
    parser.add_argument("--cells", type=names(cells), default=cells, metavar="A,B")
    parser.add_argument("--tasks", type=names(TASKS), default=TASKS, metavar="A,B")
    parser.add_argument("-k", default="", help="only cases with this in their name")
    parser.add_argument("--threads", type=at_least_one, help="default: as rnnfast info says")


def chosen(options: argparse.Namespace, shapes: Sequence[tuple[int, ...]] = ()) -> list[Case]:
    """Return the cases of the chosen cells, of some shapes only if these are given."""
    cases = [
        case
        for cell in options.cells
        for case in BENCHMARK
        if case.cell == cell
        and options.k in str(case)
        and not (shapes and (case.B, case.T, case.I, case.H) not in shapes)
    ]
    if not cases:
        raise SystemExit("no case was chosen")
    return cases


def page(text: str) -> Path:
    """Return the path of a file that is there."""
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"{text} is not there")
    return Path(text)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=names(list(PEERS)), default=list(PEERS), metavar="A,B")
    add_choice(parser)
    parser.add_argument("--rounds", type=at_least_one, help="default 5; --short: 3")
    parser.add_argument("--seconds", type=float, help="of a round; default 0.3; --short: 0.1")
    parser.add_argument("--short", action="store_true", help="three shapes, short rounds")
    parser.add_argument("--save", action="store_true", help="write record, plots and pages")
    parser.add_argument(
        "--from-records", action="store_true", help="write plots and pages without a run"
    )
    options = parser.parse_args()
    partial = options.short or options.k or {*options.cells} != {*LAYERS}
    if options.save and (partial or {*options.tasks} != {*TASKS}):
        parser.error("--save expected a run of all cases, since it takes the earlier one's place")
    return options


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Time what was chosen, print it, and return it."""
    rounds = options.rounds or (SHORT_ROUNDS if options.short else 5)
    seconds = options.seconds or (SHORT_SECONDS if options.short else 0.3)
    threads = options.threads or rnnfast.get_num_threads()
    peers = installed(options.peers)
    cases = chosen(options, SHORT if options.short else ())
    if not peers:
        print("nothing to compare with; `make compare` installs the peers")
        sys.exit(0)
    print(f"{runtime.isa()}, float32, threads: {threads}; microseconds")
    records = []
    with Workers(threads) as workers:
        rates = workers["rnnfast"].ask(bandwidths)
        for task in options.tasks:
            print("\n" + row(task, "B, T, I, H", *peers, "rnnfast", "ratio", "% of peak"))
            for case in cases:
                r = compare(workers, peers, case, task, rounds, seconds)
                records.append(r)
                numbers = [r["us"].get(name, "") for name in (*peers, "rnnfast")]
                numbers += [r["ratio"] or "", r["percent_of_peak"]]
                print(row(case.cell, shape_of(r), *numbers), flush=True)
    return describe(
        records,
        isa=runtime.isa(),
        threads=threads,
        rounds=rounds,
        seconds=seconds,
        versions={k: v for name in peers for k, v in PEERS[name].versions.items()},
        peak_gflops=median(r["peak_gflops"] for r in records),
        bandwidths_gbs=rates,
    )


def warn(rounds: Sequence[Sequence[float]]) -> None:
    """Say how many numbers differ much from round to round, if any do."""
    count = unsteady(rounds)
    if count:
        print(
            f"The slowest round took over {UNSTEADY} times the fastest in {count} of "
            f"{len(rounds)} numbers: is the machine doing something else?"
        )


def main() -> None:
    options = parse()
    if not options.from_records:
        data = run(options)
        print("\n" + summary(data))
        warn(all_rounds(data))
        if options.save:
            print(f"written: results/{save(data, 'compare-', by='isa').name}")
    if options.save or options.from_records:
        write_pages()


if __name__ == "__main__":
    main()
