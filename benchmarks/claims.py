"""Measures what docs/performance.md says beside the comparison: one table for each function below.

    python benchmarks/claims.py [streaming padding ragged parts minimal options threads memory
                                 checkpoints tutorial]

Sides of a ratio take turns, each in a process of its own that is stopped meanwhile (workers.py).
PyTorch, ONNX Runtime and Keras stand beside rnnfast where they are installed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from cases import BENCHMARK, Case, make
from memory import FITS, fit_memory, peak
from networks import epoch_keras, epoch_pytorch, epoch_rnnfast
from peers import (
    PEERS,
    engine,
    onnx_model,
    onnx_session,
    pytorch,
    pytorch_layer,
    rnnfast_layer,
)
from report import cell_title, number, table
from workers import Side, Worker, Workers, load, measure, no_arrays

import rnnfast
from rnnfast.bench import LAYERS, tasks
from rnnfast.core import runtime

TASKS = {"inference": False, "training": True}
Build = Callable[..., Side]


@dataclass(frozen=True)
class Settings:
    """How long to measure."""

    rounds: int
    seconds: float
    threads: int

    def race(self, sides: dict[str, tuple[Any, ...]], least: int = 3) -> dict[str, float]:
        """Return the microseconds a call of each side: a build function and its arguments.

        Sides that return a y must agree on it.
        """
        taken: dict[str, list[float]] = {name: [] for name in sides}
        with Workers(self.threads) as workers:
            results = [workers[name].ask(load, *side) for name, side in sides.items()]
            ys = [result["y"] for result in results if "y" in result]
            for y in ys[1:]:
                np.testing.assert_allclose(y, ys[0], rtol=0, atol=1e-4)
            for _ in range(self.rounds):
                for name, values in taken.items():
                    values.append(1e6 * workers[name].ask(measure, self.seconds, least))
        return {name: median(values) for name, values in taken.items()}


def quiet(*args: Any) -> Side:
    """Return `engine` without its results, where the sides compute different things."""
    return engine(*args)[0], no_arrays


def show(title: str, columns: list[str], rows: list[list[Any]]) -> None:
    texts = [[number(c) if isinstance(c, float) else str(c) for c in line] for line in rows]
    print(f"\n{title}\n\n{table(columns, texts)}", flush=True)


def present(*names: str) -> list[str]:
    return [name for name in names if not PEERS[name].missing]


# ---- one step of one sample


def step_rnnfast(case: Case, threads: int) -> Side:
    layer, x, state = rnnfast_layer(case), make(case, np.float32).x[0], None

    def call() -> Any:
        nonlocal state
        y, state = layer.step(x, state)
        return y

    return call, lambda y: {"y": y}


def step_lstm(case: Case, threads: int) -> Side:
    import torch

    torch.set_num_threads(threads)
    layer, state = pytorch_layer(case).eval(), None
    x = torch.from_numpy(make(case, np.float32).x)

    def call() -> Any:
        nonlocal state
        with torch.inference_mode():
            y, state = layer(x, state)
        return y

    return call, lambda y: {"y": y[0]}


def step_cell(case: Case, threads: int) -> Side:
    import torch

    torch.set_num_threads(threads)
    cell, state = torch.nn.LSTMCell(case.I, case.H), None
    with torch.no_grad():
        for parameter, weight in zip(
            cell.parameters(), pytorch_layer(case).parameters(), strict=True
        ):
            parameter.copy_(weight)
    x = torch.from_numpy(make(case, np.float32).x[0])

    def call() -> Any:
        nonlocal state
        with torch.inference_mode():
            state = cell(x, state)
        return state[0]

    return call, lambda y: {"y": y}


def step_onnx(case: Case, threads: int) -> Side:
    session = onnx_session(onnx_model(case, states=True), threads)
    x = make(case, np.float32).x
    h = c = np.zeros((1, case.B, case.H), np.float32)

    def call() -> Any:
        nonlocal h, c
        y, h, c = session.run(None, {"x": x, "h0": h, "c0": c})
        return y

    return call, lambda y: {"y": y[0, 0]}


def streaming(settings: Settings) -> None:
    """Time one step of one sample, the state going on from step to step."""
    case = Case("lstm", B=1, T=1, I=32, H=64, state=False)
    sides: dict[str, tuple[Any, ...]] = {"rnnfast step": (step_rnnfast,)}
    if present("torch"):
        sides |= {"torch.nn.LSTM": (step_lstm,), "torch.nn.LSTMCell": (step_cell,)}
    if present("onnxruntime"):
        sides["ONNX Runtime"] = (step_onnx,)
    sides = {name: (*side, case, settings.threads) for name, side in sides.items()}
    us = settings.race(sides)
    rows = [[name, value, value / us["rnnfast step"]] for name, value in us.items()]
    show("One step of an LSTM, I 32, H 64", ["", "microseconds", "over rnnfast"], rows)


# ---- hidden sizes off the vector


def padding(settings: Settings) -> None:
    """Time hidden sizes that do not fill their vectors beside the next that does."""
    rows = []
    for cell in LAYERS:
        for H in (20, 100, 300):
            odd = Case(cell, B=32, T=50, I=64, H=H, state=False)
            full = replace(odd, H=-(-H // 16) * 16)
            for task, training in TASKS.items():
                us = settings.race(
                    {
                        name: (quiet, case, training, settings.threads)
                        for name, case in (("odd", odd), ("full", full))
                    }
                )
                ratio = us["odd"] / us["full"]
                per_unit = ratio * full.H / odd.H
                per_flop = ratio * full.flops() / odd.flops()
                line = [cell_title(cell), task, H, full.H, us["odd"], us["full"]]
                rows.append([*line, per_unit, per_flop])
    columns = ["", "task", "H", "next", "us", "us, next", "time per unit", "time per operation"]
    show("Hidden sizes that do not fill vectors, over the next that does", columns, rows)


# ---- ragged batches


def ragged(settings: Settings) -> None:
    """Time lengths drawn evenly from 1 to T beside the padded batch and a PackedSequence."""
    rows = []
    for cell in LAYERS:
        case = Case(cell, B=64, T=100, I=64, H=128, state=False)
        lengths = np.random.default_rng(0).integers(1, case.T, case.B, endpoint=True)
        for task, training in TASKS.items():
            arguments = case, training, settings.threads
            sides = {"padded": (quiet, *arguments), "ragged": (engine, *arguments, lengths)}
            if present("torch"):
                sides["torch"] = (pytorch, *arguments, lengths)
            us = settings.race(sides)
            line = [cell_title(cell), task, us["ragged"], us["ragged"] / us["padded"]]
            line += [us["torch"], us["torch"] / us["ragged"]] if "torch" in us else ["", ""]
            rows.append([*line, f"{lengths.sum() / (case.B * case.T):.2f}"])
    columns = ["", "task", "us", "over padded", "PackedSequence, us", "over ragged", "steps left"]
    show("Ragged batches: lengths even in [1, T], (64, 100, 64, 128)", columns, rows)


# ---- stacked and bidirectional


def parts(settings: Settings) -> None:
    """Time two layers, and two directions, beside the sum of what they consist of."""
    rows = []
    for cell in LAYERS:
        first = Case(cell, B=64, T=100, I=64, H=128, state=False)
        second = replace(first, I=first.H)
        wholes = {
            "2 layers": (replace(first, L=2), [first, second]),
            "bidirectional": (replace(first, D=2), [first, first]),
        }
        for name, (whole, pieces) in wholes.items():
            for task, training in TASKS.items():
                us = settings.race(
                    {
                        str(i): (quiet, case, training, settings.threads)
                        for i, case in enumerate([whole, *pieces])
                    }
                )
                total, *alone = us.values()
                rows.append([cell_title(cell), name, task, total, sum(alone), total / sum(alone)])
    columns = ["", "network", "task", "us", "us, parts alone", "ratio"]
    show("Stacks and directions, over their parts run alone, (64, 100, 64, 128)", columns, rows)


# ---- cells whose gates are of x alone


def minimal(settings: Settings) -> None:
    """Time the minimal cells beside the GRU, ours and PyTorch's."""
    rows = []
    for task, training in TASKS.items():
        names = ("min_gru", "min_lstm", "gru")
        cases = {name: Case(name, B=64, T=1000, I=10, H=100, state=False) for name in names}
        sides = {n: (quiet, case, training, settings.threads) for n, case in cases.items()}
        if present("torch"):
            sides["PyTorch"] = (pytorch_alone, cases["gru"], training, settings.threads)
        us = settings.race(sides)
        for name in names:
            line = [cell_title(name), task, us[name], us["gru"] / us[name]]
            rows.append([*line, us["PyTorch"] / us[name] if "PyTorch" in us else ""])
    columns = ["", "task", "us", "times the GRU's speed", "times torch.nn.GRU's"]
    show("Cells whose gates are of x alone, (64, 1000, 10, 100)", columns, rows)


def pytorch_alone(*args: Any) -> Side:
    """Return `pytorch` without its results."""
    return pytorch(*args)[0], no_arrays


# ---- options inside the time loop

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "layer_norm": {"layer_norm": True},
    "recurrent_dropout": {"recurrent_dropout": 0.25},
    "zoneout": {"zoneout": 0.1},
}


def build_option(case: Case, threads: int, chosen: dict[str, Any]) -> Side:
    rnnfast.set_num_threads(threads)
    layer = LAYERS[case.cell](case.I, case.H, seed=0, **chosen)
    return tasks(layer, case.B, case.T)["training"], no_arrays


def options(settings: Settings) -> None:
    """Time a training step with each option inside the loop beside the plain cell's."""
    rows = []
    for cell in LAYERS:
        for sizes in (32, 50, 1, 20), (32, 50, 32, 64), (64, 100, 128, 256):
            case = Case(cell, **dict(zip("BTIH", sizes, strict=True)), state=False)
            us = settings.race(
                {name: (build_option, case, settings.threads, o) for name, o in OPTIONS.items()}
            )
            plain, *others = us.values()
            rows.append([cell_title(cell), case.sizes, plain, *(o / plain for o in others)])
    columns = ["", "B, T, I, H", "us, plain", *list(OPTIONS)[1:]]
    show("A training step with an option, over the plain one's time", columns, rows)


# ---- threads


def threads(settings: Settings) -> None:
    """Time one thread and all of them."""
    team = settings.threads
    rows = []
    for case in BENCHMARK:
        if case.cell in LAYERS and case.B >= 16:
            for task, training in TASKS.items():
                us = settings.race(
                    {str(n): (quiet, case, training, n) for n in dict.fromkeys((1, team))}
                )
                ratio = us["1"] / us[str(team)]
                line = [cell_title(case.cell), case.sizes, task, us["1"], us[str(team)]]
                rows.append([*line, ratio])
    columns = ["", "B, T, I, H", "task", "us, 1 thread", f"us, {team} threads", "ratio"]
    show(f"{team} threads over one", columns, rows)


# ---- a lone sample in two directions

DIRECTIONS = [
    Case("lstm", B=1, T=600, I=60, H=25, D=2),
    Case("gru", B=1, T=600, I=60, H=25, D=2),
    Case("rnn_tanh", B=1, T=100, I=266, H=88, D=2),
    Case("lstm", B=1, T=20, I=32, H=64, D=2),
    Case("gru", B=1, T=100, I=64, H=128, D=2),
    Case("lstm", B=1, T=50, I=256, H=256, D=2),
]


def directions(settings: Settings) -> None:
    """Time inference of one sample in two directions on one thread and on two."""
    rows = []
    for case in DIRECTIONS:
        us = settings.race({str(n): (quiet, case, False, n) for n in (1, 2)})
        line = [cell_title(case.cell), case.sizes, us["1"], us["2"]]
        rows.append([*line, us["1"] / us["2"]])
    columns = ["", "B, T, I, H", "us, 1 thread", "us, 2 threads", "ratio"]
    show("One sample in two directions", columns, rows)


# ---- memory


def step_memory(build: Build, case: Case, threads: int, options: dict[str, Any]) -> float:
    """Return the MB that training steps take at most beyond what lies there before the first."""
    build(replace(case, B=1, T=2), True, threads)[0]()  # loads code, starts threads
    call, _ = build(case, True, threads, **options)
    return peak(lambda: [call() for _ in range(3)])


def in_new_process(settings: Settings, function: Callable[..., Any], *args: Any) -> Any:
    worker = Worker(settings.threads)
    try:
        return worker.ask(function, *args)
    finally:
        worker.close()


def memory(settings: Settings) -> None:
    """Measure the memory of a training step, and of fits beside their data."""
    case = Case("lstm", B=64, T=100, I=128, H=256, state=False)
    builds: dict[str, Build] = {"rnnfast": engine}
    builds |= {"PyTorch": pytorch} if present("torch") else {}
    mb = {
        name: in_new_process(settings, step_memory, build, case, settings.threads, {})
        for name, build in builds.items()
    }
    rows = [[name, value, value / mb["rnnfast"]] for name, value in mb.items()]
    title = f"Memory of a training step, LSTM ({case.sizes})"
    show(title, ["", "MB", "over rnnfast"], rows)
    rows = []
    for name, make_fit in FITS.items():
        data, fit, batch = in_new_process(settings, fit_memory, make_fit)
        rows.append([name, data, fit, batch, data + fit, (data + fit) / (2 * data + batch)])
    columns = ["", "data", "fit takes", "two batches take", "peak", "peak over (2 data + batch)"]
    show("Memory of a fit, in MB; the data are the user's own", columns, rows)


def build_checkpointed(case: Case, threads: int, k: int | None) -> Side:
    return engine(case, True, threads, checkpoint=k)


def checkpoints(settings: Settings) -> None:
    """Measure memory and time of a training step with checkpoint=k."""
    case = Case("lstm", B=32, T=400, I=64, H=128, state=False)
    ks = [None, 1, 2, 5, 10, 20, 50]
    us = settings.race({str(k): (build_checkpointed, case, settings.threads, k) for k in ks})
    rows = []
    for k in ks:
        arguments = engine, case, settings.threads, {"checkpoint": k}
        mb = in_new_process(settings, step_memory, *arguments)
        rows.append([k or "none", mb, us[str(k)], us[str(k)] / us["None"]])
    title = f"checkpoint=k, a training step of an LSTM ({case.sizes})"
    show(title, ["k", "MB", "us", "time over none"], rows)


# ---- a model of tutorial size


def tutorial(settings: Settings) -> None:
    """Time an epoch of training as each framework's user would write it."""
    builds: dict[str, Build] = {"rnnfast": epoch_rnnfast}
    builds |= {"PyTorch": epoch_pytorch} if present("torch") else {}
    builds |= {"Keras": epoch_keras} if present("keras") else {}
    arguments = "tutorial", settings.threads
    us = settings.race({name: (build, *arguments) for name, build in builds.items()}, least=1)
    rows = [[name, value / 1e6, value / us["rnnfast"]] for name, value in us.items()]
    title = "An epoch: LSTM 20-20 and Linear on 7,000 series of 50 steps, batch 32, Adam"
    show(title, ["", "seconds", "over rnnfast"], rows)


TABLES = {
    f.__name__: f
    for f in (
        streaming,
        padding,
        ragged,
        parts,
        minimal,
        options,
        threads,
        directions,
        memory,
        checkpoints,
        tutorial,
    )
}


def main(tables: dict[str, Callable[[Settings], None]], description: str) -> None:
    """Run those of some tables that the command line names."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("tables", nargs="*", help=f"some of {', '.join(tables)}; default all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.2, help="of a round of each side")
    parser.add_argument("--threads", type=int, default=rnnfast.get_num_threads())
    options = parser.parse_args()
    if unknown := set(options.tables) - tables.keys():
        parser.error(f"expected some of {', '.join(tables)}, got {', '.join(sorted(unknown))}")
    settings = Settings(options.rounds, options.seconds, options.threads)
    print(f"{runtime.isa()}, float32, threads: {settings.threads}")
    for name in options.tables or tables:
        tables[name](settings)


if __name__ == "__main__":
    main(TABLES, __doc__)
