"""Measures what denormal numbers cost: time on them over time on ordinary ones.

    python benchmarks/denormals.py [--seconds 0.2]

On many processors an operation on a denormal takes a hundred times as long. The engine takes
denormals for zero, so every ratio should be near 1. Both problems of a pair run in turns; the
fastest round of each counts.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import rnnfast
from rnnfast.bench import clock, plan
from rnnfast.core import runtime

MOST = 1.5
T, B, H = 200, 16, 128
CELLS = {"RNN": rnnfast.RNN, "LSTM": rnnfast.LSTM, "GRU": rnnfast.GRU}
Values = Callable[[tuple[int, ...]], Any]
Call = Callable[[], Any]


def tiny(dtype: str) -> Any:
    """Return a denormal from the middle of their range."""
    return np.sqrt(np.finfo(dtype).smallest_subnormal * np.finfo(dtype).tiny)


def training(cell: type, dtype: str, weights: Values, x: Values, h0: Values, dy: Values) -> Call:
    """Return a training step of a layer with these weights, inputs, states and gradients."""
    layer = cell(H, H, dtype=dtype)
    for name, param in layer.params.items():
        layer.params[name] = np.broadcast_to(weights(param.shape), param.shape)
    inputs, state, gradient = (
        np.asarray(np.broadcast_to(values(shape), shape), dtype)
        for values, shape in ((x, (T, B, H)), (h0, (1, B, H)), (dy, (T, B, H)))
    )
    given = (state, state) if cell is rnnfast.LSTM else state

    def call() -> None:
        _, _, tape = layer.forward(inputs, given)
        layer.backward(tape, gradient)

    return call


def recurrent(dtype: str) -> Iterator[tuple[str, Call, Call]]:
    """Yield for each cell and problem its name, the call with denormals and one without."""
    rng = np.random.default_rng(0)

    def constant(value: float) -> Values:
        return lambda shape: value

    def normal(shape: tuple[int, ...]) -> Any:
        return rng.standard_normal(shape)

    def uniform(shape: tuple[int, ...]) -> Any:
        return rng.uniform(-1.0, 1.0, shape) / np.sqrt(H)

    def contracting(shape: tuple[int, ...]) -> Any:
        # no biases, and a state that falls to a fraction of itself at each step
        return uniform(shape) * 0.05 if len(shape) == 2 else 0.0

    def last(shape: tuple[int, ...]) -> Any:
        values = np.zeros(shape)
        values[-1] = 1.0
        return values

    for name, cell in CELLS.items():
        plain = training(cell, dtype, uniform, normal, normal, normal)
        zeros, small = constant(0.0), constant(tiny(dtype))
        problems = {
            "states that decay": (contracting, zeros, normal, last),
            "weights and inputs of -0.1": (constant(-0.1), constant(-0.1), zeros, normal),
            "denormal inputs and gradients": (uniform, small, small, small),
        }
        for problem, given in problems.items():
            yield f"{name}, {problem}", training(cell, dtype, *given), plain


def dense(dtype: str) -> Iterator[tuple[str, Call, Call]]:
    """Yield the same for layers without a state and for optimisers."""

    def pair(name: str, call: Callable[[Any], Call]) -> tuple[str, Call, Call]:
        return name, call(tiny(dtype)), call(1.0)

    rng = np.random.default_rng(0)

    def layer_call(layer: Any) -> Callable[[Any], Call]:
        values = rng.uniform(0.5, 1.5, (T * B, H)).astype(dtype)

        def with_scale(scale: Any) -> Call:
            x = values * scale

            def call() -> None:
                _, tape = layer.forward(x)
                layer.backward(tape, x)

            return call

        return with_scale

    yield pair("Linear, denormal inputs", layer_call(rnnfast.Linear(H, H, dtype=dtype)))
    yield pair("LayerNorm, denormal inputs", layer_call(rnnfast.LayerNorm(H, dtype=dtype)))

    def update(kind: type) -> Callable[[Any], Call]:
        def with_scale(scale: Any) -> Call:
            layer = rnnfast.Linear(512, 512, dtype=dtype)
            optimizer = kind(layer, **({"momentum": 0.9} if kind is not rnnfast.Adam else {}))
            for grad in layer.grads.values():
                grad.fill(scale)
            return optimizer.step

        return with_scale

    for kind in (rnnfast.SGD, rnnfast.Adam, rnnfast.RMSprop):
        yield pair(f"{kind.__name__}, denormal gradients", update(kind))


def ratio(slow: Call, plain: Call, seconds: float) -> float:
    """Return how many times as long the first call takes."""
    calls, rounds = plan(plain, seconds)
    best = [
        min(times)
        for times in zip(
            *([clock(call, calls) for call in (slow, plain)] for _ in range(rounds)), strict=True
        )
    ]
    return best[0] / best[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.2, help="spent on each number")
    options = parser.parse_args()
    rnnfast.set_num_threads(1)
    worst = 0.0
    print(f"time on denormals over time on ordinary numbers, {runtime.isa()}, one thread")
    print("| problem | float32 | float64 |\n|---|---|---|")
    pairs = (list(recurrent(dtype)) + list(dense(dtype)) for dtype in ("float32", "float64"))
    for (name, *single), (_, *double) in zip(*pairs, strict=True):
        times = [ratio(*calls, options.seconds) for calls in (single, double)]
        worst = max(worst, *times)
        print(f"| {name} | {times[0]:.2f} | {times[1]:.2f} |", flush=True)
    print(f"worst: {worst:.2f} (wanted: at most {MOST})")


if __name__ == "__main__":
    main()
