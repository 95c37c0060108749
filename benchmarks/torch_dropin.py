"""Times a PyTorch training loop before and after `rnnfast.torch.accelerate`.

    python benchmarks/torch_dropin.py [--cells lstm,gru] [--rounds 7] [--seconds 0.1] [--calls]
    python benchmarks/torch_dropin.py --large [B,T,I,H ...] [--cells lstm,gru] [--rounds 7]
    python benchmarks/torch_dropin.py --short [--always] [--cells lstm,gru] [--rounds 7]

A step is what a user's loop does: forward through the recurrent layer and a linear head, the loss,
backward, and the update by Adam. Both models start from the same weights and see the same batch;
they take turns in one process, so that what else the machine does meets both. The loss of a step
must be the same before anything is timed. "At most" is the gain if the layer took no more time
than its multiply-adds at the processor's peak, and the rest of the loop what it takes now.
`--calls` times single calls of the layers as well, inference and training over the shapes of
tests/cases.py, which takes minutes more; `--large` times nothing but calls of large layers, where
both sides wait for weights that no cache holds, those that would go to torch on the engine too. The
weights change before each call in training, as by an update. `--short` times calls of few steps,
with the state given at inference, which the rule in rnnfast/torch/calls.py is about; with
`--always` all of them run on the engine.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean, median
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from cases import BENCHMARK, Case, grid
from compare import at_least_one, names, warn
from report import cell_title, number, processor, table

import rnnfast
import rnnfast.torch
from rnnfast.bench import LAYERS, Call, Peak, clock, plan
from rnnfast.core import runtime
from rnnfast.torch import modules

CLASSES = 8
# B, T, I, H
PADDED = [
    (1, 1, 32, 64),
    (32, 50, 1, 20),
    (32, 50, 32, 64),
    (64, 100, 64, 128),
    (64, 50, 128, 256),
    (32, 25, 512, 512),
]
LARGE = [
    (32, 20, 512, 512),
    (128, 70, 512, 512),
    (32, 20, 1024, 1024),
    (128, 20, 1024, 1024),
    (64, 72, 400, 1152),
    (64, 72, 1152, 1152),
    (128, 20, 1536, 1536),
    (64, 70, 1536, 1536),
    (32, 20, 2048, 2048),
    (64, 20, 2048, 2048),
    (32, 70, 2048, 2048),
    (128, 20, 2048, 2048),
]
STEPS = (1, 2, 3, 4, 6, 8, 16)
PACKED = [(32, 50, 1, 20), (32, 50, 32, 64), (64, 100, 64, 128), (64, 50, 128, 256)]


@dataclass(frozen=True)
class Loop:
    """A training loop: its recurrent layer, its batch, and whether the batch is packed."""

    case: Case
    packed: bool

    @property
    def goal(self) -> float:
        """How many times faster the whole loop should be."""
        if self.packed:
            return 5.0
        if self.case.B * self.case.T == 1 or (self.case.cell == "lstm" and self.case.H > 256):
            return 1.0
        return 1.3 if self.case.cell == "lstm" else 2.0


class Model(torch.nn.Module):
    """A recurrent layer and a linear head at every step."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        layer = getattr(torch.nn, case.row.layer)
        self.layer = layer(case.I, case.H, **case.row.options)
        self.head = torch.nn.Linear(case.H, CLASSES)

    def forward(self, x: Any) -> Any:
        y = self.layer(x)[0]
        return self.head(y.data if isinstance(x, torch.nn.utils.rnn.PackedSequence) else y)


def training_step(model: Any, x: Any, y: Any) -> Callable[[], float]:
    adam = torch.optim.Adam(model.parameters())

    def step() -> float:
        adam.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x).flatten(0, -2), y)
        loss.backward()
        adam.step()
        return loss.item()

    return step


def batch_of(loop: Loop) -> tuple[Any, Any]:
    """Inputs, lengths drawn evenly from 1 to T where they are packed, and a class for each step."""
    case = loop.case
    x = torch.randn(case.T, case.B, case.I)
    if loop.packed:
        lengths = torch.randint(1, case.T + 1, (case.B,))
        lengths[0] = case.T
        x = pack_padded_sequence(x, lengths, enforce_sorted=False)
    steps = len(x.data) if loop.packed else case.T * case.B
    return x, torch.randint(0, CLASSES, (steps,))


def time_outside(model: Model, step: Callable[[], float]) -> float:
    """Return the microseconds of a training step that its layer, both ways, does not take."""
    started: list[float] = []
    spent: list[float] = []
    outside: list[float] = []

    def start(*_: Any) -> None:
        started.append(perf_counter())

    def stop(*_: Any) -> None:
        if started:  # of several gradients the first one ends the layer's part
            spent.append(perf_counter() - started.pop())

    def after_forward(_: Any, inputs: Any, outputs: Any) -> None:
        stop()
        y = outputs[0]
        y = y.data if isinstance(y, torch.nn.utils.rnn.PackedSequence) else y
        y.register_hook(start)

    hooks = [
        model.layer.register_forward_pre_hook(start),
        model.layer.register_forward_hook(after_forward),
        *(p.register_post_accumulate_grad_hook(stop) for p in model.layer.parameters()),
    ]
    for _ in range(30):
        spent.clear()
        begin = perf_counter()
        step()
        outside.append(1e6 * (perf_counter() - begin - sum(spent)))
    for hook in hooks:
        hook.remove()
    return median(outside)


def take_turns(sides: Sequence[Call], rounds: int, seconds: float) -> list[list[float]]:
    """Return the microseconds of a call of each side, round by round."""
    calls = [plan(side, seconds, least=1, most=1)[0] for side in sides]
    times: list[list[float]] = [[] for _ in sides]
    for _ in range(rounds):
        for side, count, values in zip(sides, calls, times, strict=True):
            values.append(1e6 * clock(side, count))
    return times


def race_loops(loop: Loop, rounds: int, seconds: float) -> tuple[list[list[float]], float, float]:
    """Return both sides' times, the second's outside its layer, and the least of its layer."""
    torch.manual_seed(0)
    x, y = batch_of(loop)
    before = Model(loop.case)
    after = copy.deepcopy(before)
    rnnfast.torch.accelerate(after)
    sides = [training_step(model, x, y) for model in (before, after)]
    for _ in range(2):
        theirs, ours = (side() for side in sides)
        np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    peak = Peak("float32")
    times = take_turns(sides, rounds, seconds)
    outside = time_outside(after, sides[1])
    for _ in range(rounds):
        peak.sample()
    flops = loop.case.flops(training=True, input_grad=False) * len(y) / (loop.case.B * loop.case.T)
    return times, outside, flops / peak.gflops / 1e3


def race_calls(case: Case, training: bool, rounds: int, seconds: float) -> list[list[float]]:
    torch.manual_seed(0)
    x, before = torch.randn(case.T, case.B, case.I, requires_grad=training), Model(case).layer
    after = copy.deepcopy(before)
    rnnfast.torch.accelerate(after)
    dy = torch.randn(case.T, case.B, case.H)

    def side(layer: Any) -> Call:
        parameters = list(layer.parameters())

        def train() -> Any:
            with torch.no_grad():
                torch._foreach_mul_(parameters, 1.0)
            return torch.autograd.grad(layer(x)[0], [x, *parameters], dy)

        def infer() -> Any:
            with torch.inference_mode():
                return layer(x)

        return train if training else infer

    return take_turns([side(before), side(after)], rounds, seconds)


def loops_table(cells: Sequence[str], rounds: int, seconds: float) -> list[list[float]]:
    """Time all loops, print them and say which goals hold."""
    shapes = [(shape, False) for shape in PADDED] + [(shape, True) for shape in PACKED]
    rows, missed, everything = [], [], []
    for cell in cells:
        for (B, T, I, H), packed in shapes:  # noqa: E741
            loop = Loop(Case(cell, B=B, T=T, I=I, H=H), packed)
            times, outside, least = race_loops(loop, rounds, seconds)
            before, after = map(median, times)
            ratio, most = before / after, before / (outside + least)
            batch = "packed" if packed else "padded"
            line = [cell_title(cell), loop.case.sizes, batch]
            if ratio < loop.goal:
                missed.append(f"{', '.join(line)}: {number(ratio)} of {number(loop.goal)}")
            figures = before, after, outside, least, ratio, loop.goal, most
            rows.append([*line, *map(number, figures)])
            everything += times
            print(".", end="", file=sys.stderr, flush=True)
    columns = ["", "B, T, I, H", "batch", "us, torch", "us, accelerated", "outside the layer"]
    columns += ["at the peak", "times faster", "goal", "at most"]
    print(f"\nA step of a training loop\n\n{table(columns, rows)}\n")
    print(f"{len(rows) - len(missed)} of {len(rows)} goals hold")
    for line in missed:
        print(f"missed: {line}")
    return everything


def calls_table(
    cases: Sequence[Case], cells: Sequence[str], rounds: int, seconds: float
) -> list[list[float]]:
    """Time all calls and print them: the quickest of the rounds."""
    rows, ratios, everything = [], [], []
    for case in cases:
        if case.cell in cells:
            line = [cell_title(case.cell), case.sizes]
            for training in (False, True):
                times = race_calls(case, training, rounds, seconds)
                before, after = map(min, times)
                line += map(number, (before, after, before / after))
                ratios.append(before / after)
                everything += times
            rows.append(line)
            print(".", end="", file=sys.stderr, flush=True)
    columns = ["", "B, T, I, H"]
    for task in ("inference", "training"):
        columns += [f"{task}: us, torch", "us, rnnfast", "times faster"]
    print(f"\nA call of the layer\n\n{table(columns, rows)}\n")
    print(f"smallest {number(min(ratios))}, geometric mean {number(geometric_mean(ratios))}")
    return everything


def race_short(layer: Any, x: Any, training: bool, rounds: int, seconds: float) -> float:
    """Return how many times faster a layer's call is than torch's, medians of the rounds."""
    after = copy.deepcopy(layer)
    rnnfast.torch.accelerate(after)

    def side(module: Any) -> Call:
        state, parameters = module(x)[1], list(module.parameters())

        def train() -> None:
            with torch.no_grad():
                torch._foreach_mul_(parameters, 1.0)
            module(x)[0].sum().backward()

        def infer() -> Any:
            with torch.no_grad():
                return module(x, state)

        return train if training else infer

    before, now = map(median, take_turns([side(layer), side(after)], rounds, seconds))
    return before / now


def short_table(cells: Sequence[str], rounds: int, seconds: float) -> None:
    """Time calls of few steps and print how many times faster they are."""
    rows = []
    for cell in cells:
        for dtype in (torch.float32, torch.float64) if cell == "lstm" else (torch.float32,):
            for training in (False, True):
                for B in (1, 32):
                    for H in (32, 64, 128, 256, 512, 1024):
                        case = Case(cell, B=B, T=1, I=H, H=H)
                        layer = Model(case).layer.to(dtype)
                        task = "training" if training else "inference"
                        row = [cell_title(cell), str(dtype)[6:], task, str(B), str(H)]
                        for T in STEPS:
                            x = torch.randn(T, B, H, dtype=dtype)
                            row.append(number(race_short(layer, x, training, rounds, seconds)))
                        rows.append(row)
                        print(".", end="", file=sys.stderr, flush=True)
    columns = ["", "dtype", "", "B", "I, H", *(f"T = {T}" for T in STEPS)]
    print(f"\nTimes faster in calls of few steps\n\n{table(columns, rows)}\n")


def begin(threads: int | None, what: str) -> None:
    """Set both sides' threads if a number was asked for, and print where `what` is timed."""
    if threads:
        torch.set_num_threads(threads)
        rnnfast.set_num_threads(threads)
    print(
        f"{processor()}, {runtime.isa()}, {what}, "
        f"threads: {rnnfast.get_num_threads()}, torch's {torch.get_num_threads()}; "
        f"rnnfast {rnnfast.__version__}, torch {torch.__version__}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    cells = list(LAYERS)
    parser.add_argument("--cells", type=names(cells), default=cells, metavar="A,B")
    parser.add_argument("--rounds", type=at_least_one, default=7)
    parser.add_argument("--seconds", type=float, default=0.1, help="of a round of each side")
    parser.add_argument(
        "--threads", type=at_least_one, help="of both sides; default: what each takes by itself"
    )
    parser.add_argument("--calls", action="store_true", help="time single calls of layers as well")
    parser.add_argument(
        "--large", nargs="*", metavar="B,T,I,H", help="time calls of large layers instead"
    )
    parser.add_argument("--short", action="store_true", help="time calls of few steps instead")
    parser.add_argument("--always", action="store_true", help="on the engine, whatever the rule")
    options = parser.parse_args()
    if options.always or options.large is not None:
        modules.gains = lambda *_: True
    settings = options.cells, options.rounds, options.seconds
    if options.short and (options.calls or options.large is not None):
        parser.error("--short stands alone, without --calls and --large")
    begin(options.threads, "float32 and float64" if options.short else "float32")
    if options.short:
        short_table(*settings)
        return
    if options.large is not None:
        given = [tuple(map(int, shape.split(","))) for shape in options.large] or LARGE
        shapes = [dict(B=B, T=T, I=I, H=H, state=False) for B, T, I, H in given]  # noqa: E741
        times = calls_table(grid(*shapes), *settings)
    else:
        times = loops_table(*settings)
    if options.calls:
        times += calls_table(BENCHMARK, *settings)
    warn(times)


if __name__ == "__main__":
    main()
