"""Times an epoch of the forecasting networks of examples/ in rnnfast, PyTorch and Keras.

    python benchmarks/epochs.py [--rows C8,C11] [--rounds 5] [--save] [--into docs/results.md]

The networks are those of networks.py. The frameworks take turns, each in a process of its own that
is stopped when it is not its turn (workers.py). Peers that are not installed are skipped.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from compare import at_least_one, installed, names, page, warn
from networks import NETWORKS, epoch_keras, epoch_pytorch, epoch_rnnfast
from peers import PEERS
from report import END, describe, number, save, split_page, table, write_into
from workers import Workers, load, once

import rnnfast
from rnnfast.core import runtime

BEGIN = "<!-- epochs.py writes from here -->"
BUILDS = {"rnnfast": epoch_rnnfast, "torch": epoch_pytorch, "keras": epoch_keras}


def time_epochs(
    workers: Workers, sides: Sequence[str], name: str, rounds: int
) -> dict[str, list[float]]:
    """Return the seconds of each framework's epochs of a network, after one that does not count."""
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for side in sides:
        workers[side].ask(load, BUILDS[side], name, workers.threads)
    for _ in range(rounds):
        for side, values in seconds.items():
            values.append(workers[side].ask(once))
    return seconds


def run(rows: Sequence[str], rounds: int, threads: int) -> dict[str, Any]:
    """Time the networks of some rows, and return what is to be recorded."""
    peers = installed([side for side in BUILDS if side in PEERS])
    records = []
    with Workers(threads) as workers:
        for name, network in NETWORKS.items():
            if network.row in rows:
                print(f"{network.row} {network.title}", file=sys.stderr, flush=True)
                seconds = time_epochs(workers, ["rnnfast", *peers], name, rounds)
                medians = {side: median(values) for side, values in seconds.items()}
                records.append(
                    {
                        "row": network.row,
                        "network": network.title,
                        "seconds": medians,
                        "rounds_seconds": seconds,
                    }
                )
    return describe(
        records,
        isa=runtime.isa(),
        threads=threads,
        rounds=rounds,
        versions={k: v for name in peers for k, v in PEERS[name].versions.items()},
    )


def markdown(data: dict[str, Any]) -> str:
    """Return how it was measured, and the table."""
    peers = [name for name in PEERS if any(name in r["seconds"] for r in data["results"])]
    titles = [PEERS[name].title for name in peers]
    rows = []
    for r in data["results"]:
        ours = r["seconds"]["rnnfast"]
        theirs = [r["seconds"][name] for name in peers]
        numbers = [number(ours), *map(number, theirs), *(number(t / ours) for t in theirs)]
        rows.append([r["row"], r["network"], *numbers])
    columns = ["row", "network", "rnnfast", *titles, *(f"{title} / rnnfast" for title in titles)]
    versions = ", ".join(f"{name} {version}" for name, version in data["versions"].items())
    return (
        "Seconds an epoch: 7,000 series of 50 steps in batches of 32, squared error, Adam. Medians "
        f"of {data['rounds']} epochs after one that does not count; the frameworks take turns, "
        f"each alone in its process. {data['processor']}, {data['isa']}, {data['threads']} "
        f"threads; rnnfast {data['rnnfast']}, {versions}; {data['date']} "
        f"(`python benchmarks/epochs.py`).\n\n{table(columns, rows)}"
    )


def main() -> None:
    known = list(dict.fromkeys(network.row for network in NETWORKS.values()))
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=names(known), default=known, metavar="A,B")
    parser.add_argument("--rounds", type=at_least_one, default=5)
    parser.add_argument("--threads", type=at_least_one, default=rnnfast.get_num_threads())
    parser.add_argument("--save", action="store_true", help="write results/epochs-*.json")
    parser.add_argument("--into", type=page, help=f"write the table between {BEGIN} and {END}")
    options = parser.parse_args()
    if options.into:
        split_page(options.into, BEGIN)  # known before the run
    data = run(options.rows, options.rounds, options.threads)
    print(markdown(data))
    warn([values for r in data["results"] for values in r["rounds_seconds"].values()])
    if options.save:
        print(f"written: results/{save(data, 'epochs-').name}")
    if options.into:
        write_into(options.into, markdown(data), BEGIN)


if __name__ == "__main__":
    main()
