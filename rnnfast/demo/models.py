"""The character model: built, measured, timed beside NumPy, and made to write."""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import backend
from ..datasets import text_batches
from ..generation import Position, read, symbol_bits, write
from ..layers import LSTM, Dropout, Embedding, Linear, Sequential
from ..losses import softmax_cross_entropy
from ..optim import AdamW, clip_grad_norm
from .settings import REFERENCE, Plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..arrays import Array
    from .text import Text

TEMPERATURE = 0.7


def build(plan: Plan, symbols: int, seed: int = 0, start: Array | None = None) -> Sequential:
    """Return the untrained model.

    `start` are biases of the output. With the logarithms of the symbols' frequencies, training need
    not find these first.
    """
    seeds = np.random.SeedSequence(seed).generate_state(4).tolist()
    output = Linear(plan.hidden, symbols, seed=seeds[3])
    if start is not None:
        output.params["bias"] = start
    between = plan.dropout if plan.layers > 1 else 0.0
    return Sequential(
        Embedding(symbols, plan.embedding, seed=seeds[0]),
        LSTM(plan.embedding, plan.hidden, plan.layers, dropout=between, seed=seeds[1]),
        Dropout(plan.dropout, seed=seeds[2]),
        output,
    )


def make_optimizer(plan: Plan, model: Sequential) -> AdamW:
    """Return the optimiser that the demo trains with."""
    return AdamW(model, plan.lr, weight_decay=plan.weight_decay)


def held_out_bits(
    model: Any, ids: Array, cut: int, streams: int, context: int = 256, chunk: int = 512
) -> Array:
    """Return what each symbol from `cut` on costs the model, in bits.

    So many streams are read side by side, for speed; with 1 the state is carried from the first to
    the last symbol. The state of each is warmed up on `context` symbols, those just before it.
    """
    context = min(context, cut)
    size = -(-(len(ids) - cut) // streams)
    starts = np.arange(cut, len(ids), size) - context
    time_steps = np.arange(size + context)[:, None]
    columns = ids[np.minimum(starts + time_steps, len(ids) - 1)]  # (time, streams)
    bits = np.empty((len(columns) - 1, len(starts)))
    state = None
    for t in range(0, len(bits), chunk):
        x, y = columns[:-1][t : t + chunk], columns[1:][t : t + chunk]
        scores, state = model(x, state)
        bits[t : t + chunk] = symbol_bits(scores, y)
    return bits[context - 1 :].T.reshape(-1)[: len(ids) - cut]


class Steps:
    """Training steps of a new model on one batch, timed."""

    def __init__(self, plan: Plan, text: Text) -> None:
        self.plan = plan
        self.model = build(plan, text.symbols)
        self.optimizer = make_optimizer(plan, self.model)
        self.x, self.y = next(iter(text_batches(text.ids[: text.cut], plan.batch, plan.steps)))

    def __call__(self, clock: Callable[[], float]) -> tuple[float, float]:
        """Take one; return its seconds and the loss."""
        started = clock()
        scores, _, tape = self.model.forward(self.x)
        loss, gradient = softmax_cross_entropy(scores, self.y)
        self.optimizer.zero_grad()
        self.model.backward(tape, gradient, input_grad=False)
        clip_grad_norm(self.model, self.plan.clip)
        self.optimizer.step()
        return clock() - started, loss


def measure_speed(
    text: Text,
    plan: Plan = REFERENCE,
    seconds: float = 1.5,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Return how many characters a second training reads, measured for some seconds."""
    step = Steps(plan, text)
    step(clock)  # the first allocates
    began, taken = clock(), 0
    while taken < 2 or clock() - began < seconds:
        step(clock)
        taken += 1
    return taken * step.x.size / max(clock() - began, 1e-9)


def compare_speed(plan: Plan, text: Text, rounds: int = 5, seconds: float = 6.0) -> str:
    """Time the same training steps on the engine and on NumPy, in turns; return the result.

    No further round begins after `seconds`.
    """
    if backend.active().name != "core":
        return "no engine to compare with the NumPy reference"
    taken: dict[str, list[float]] = {"core": [], "reference": []}
    losses: dict[str, list[float]] = {"core": [], "reference": []}
    steps = {name: Steps(plan, text) for name in taken}
    began = time.perf_counter()
    for done in range(rounds):
        if done and time.perf_counter() - began > seconds:
            break
        for name, step in steps.items():
            # The other's threads wait for work in a loop before they sleep; what they take of the
            # processors is neither's own time. The first step comes upon the other's caches.
            time.sleep(0.2)
            with backend.use(name):
                for repeat in range(3):
                    elapsed, loss = step(time.perf_counter)
                    losses[name].append(loss)
                    if repeat:
                        taken[name].append(elapsed)
    engine, numpy = (float(np.median(taken[name])) for name in ("core", "reference"))
    apart = max(abs(a - b) for a, b in zip(losses["core"], losses["reference"], strict=True))
    return (
        f"of training on {steps['core'].x.size:,} characters: {engine * 1e3:.1f} ms, on the NumPy "
        f"reference {numpy * 1e3:.0f} ms:\n{numpy / engine:.1f} times as fast (medians of "
        f"{len(taken['core'])}, measured in turns; the losses agree to {apart:.0e})"
    )


def generate(
    model: Sequential, text: Text, start: Array | Position, length: int, rng: np.random.Generator
) -> tuple[str, Position]:
    """Let the model go on from symbols or a position; return what it wrote, and where it stands."""
    if isinstance(start, Position):
        position = start
    else:
        position = read(model, start, Position(None, np.zeros(text.symbols, np.float32)))
    written = list(islice(write(model, position, rng, TEMPERATURE), length))
    return "".join(text.chars[symbol] for symbol, _ in written), written[-1][1]
