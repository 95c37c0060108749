"""`checkpoint=k`: the same gradients from less memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from engines import each_engine as each_engine
from layer_cases import each_cell, possible

from rnnfast import LSTM, backend

T, B, I, H = 11, 3, 4, 5  # noqa: E741


def run(layer, ragged, whole=True, resets=False):
    rng = np.random.default_rng(0)
    shape = (B, T, I) if layer.batch_first else (T, B, I)
    x = rng.standard_normal(shape)
    stack = layer.num_layers * (2 if layer.bidirectional else 1)
    state = [rng.standard_normal((stack, B, layer.network.step_size))]
    if layer._cell.has_cell_state:
        state.append(rng.standard_normal((stack, B, H)))
    h = tuple(state) if len(state) == 2 else state[0]
    lengths = [T, 0, 5] if ragged else None
    cuts = rng.random(shape[:-1]) < 0.3 if resets else None
    y, n, tape = layer.forward(x, h if whole else None, lengths, cuts)
    dy = rng.standard_normal(y.shape)
    dx, d0 = layer.backward(tape, dy if whole else None, h, input_grad=whole)
    flat = [*n, *d0] if len(state) == 2 else [n, d0]
    return [y, *flat, *([dx] if whole else []), *layer.grads.values()]


@each_cell
@pytest.mark.parametrize(("ragged", "resets"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_layers": 3, "batch_first": True},
        {"bidirectional": True},
        {"num_layers": 3, "bidirectional": True, "batch_first": True},
        {"num_layers": 3, "dropout": 0.5},
        {"num_layers": 3, "dropout": 0.5, "bidirectional": True},
        {"num_layers": 2, "layer_norm": True, "recurrent_dropout": 0.4, "zoneout": 0.3},
        {"bidirectional": True, "layer_norm": True, "recurrent_dropout": 0.4, "zoneout": 0.3},
    ],
    ids=str,
)
def test_same_results(cls, extra, ragged, resets, options):
    options = {"dtype": np.float64, "seed": 1, **extra, **possible(cls, extra, options)}
    want = run(cls(I, H, **options), ragged, resets=resets)
    for k in (1, 4, T, T + 5):
        got = run(cls(I, H, checkpoint=k, **options), ragged, resets=resets)
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12, err_msg=f"k={k}")


@pytest.mark.parametrize("bidirectional", [False, True])
def test_projection_and_missing_parts(bidirectional):
    options = dict(proj_size=2, num_layers=2, bidirectional=bidirectional, dtype=np.float64, seed=1)
    for whole in (True, False):
        want = run(LSTM(I, H, **options), True, whole)
        got = run(LSTM(I, H, checkpoint=3, **options), True, whole)
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def held(layer, x):
    """Bytes that a tape keeps beyond outputs and states."""
    layer.forward(x[:1])  # packs, and whatever else comes with a first call
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        y, state, tape = layer.forward(x)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    parts = state if isinstance(state, tuple) else [state]
    return after - before - y.nbytes - sum(part.nbytes for part in parts), tape


@pytest.mark.parametrize("bidirectional", [False, True])
def test_memory_falls(bidirectional):
    x = np.zeros((400, 8, 4), np.float32)
    plain = LSTM(4, 64, 2, bidirectional=bidirectional)
    frugal = LSTM(4, 64, 2, bidirectional=bidirectional, checkpoint=20)
    few, _ = held(frugal, x)
    states = 20 * 2 * 2 * 8 * 64 * 4 * (1 + bidirectional)
    below = 400 * 8 * 128 * 4 * bidirectional  # the layer below's outputs, which one must have
    assert few < 1.5 * (states + below)
    if backend.active().name == "reference":  # whose tape Python sees wholly
        many, _ = held(plain, x)
        assert few < many / 5


def test_it_can_change_between_calls():
    layer = LSTM(I, H, dtype=np.float64, seed=1)
    x = np.random.default_rng(1).standard_normal((T, B, I))
    y, _, tape = layer.forward(x)
    want, _ = layer.backward(tape, y)
    layer.checkpoint = 3
    y, _, tape = layer.forward(x)
    got, _ = layer.backward(tape, y)
    np.testing.assert_allclose(got, want, rtol=1e-10)
    with pytest.raises(RuntimeError, match="used before"):
        layer.backward(tape, y)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_an_interrupted_backward_adds_nothing(bidirectional, monkeypatch):
    layer = LSTM(I, H, bidirectional=bidirectional, checkpoint=3)
    y, _, tape = layer.forward(np.ones((T, B, I), np.float32))
    engine = backend.active().recurrent
    real, calls = engine.forward, []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(engine, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        layer.backward(tape, y)
    assert not any(grad.any() for grad in layer.grads.values())
