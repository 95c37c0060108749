"""`resets`: samples that start anew on the way."""

from __future__ import annotations

import re

import numpy as np
import pytest
from engines import each_engine as each_engine
from layer_cases import (
    EVERYTHING,
    B,
    I,
    T,
    each_cell,
    make,
    parts,
    possible,
    random_state,
    random_x,
    same,
)

from rnnfast import GRU, LSTM

RESETS = np.zeros((T, B), bool)
RESETS[[0, 2, 2, 4, 5, 5], [1, 0, 3, 3, 0, 1]] = True


def close(got, want):
    np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-13)


def close_states(got, want):
    for a, b in zip(parts(got), parts(want), strict=True):
        close(a, b)


@each_cell
@pytest.mark.parametrize("options", [{}, {"num_layers": 2}], ids=str)
def test_is_what_zeroing_the_state_between_calls_is(cls, extra, options):
    layer = make(cls, **extra, **options)
    x, state = random_x(layer, rng := np.random.default_rng(0)), random_state(layer, rng)
    y, n = layer(x, state, resets=RESETS)
    z = state
    for t in range(T):
        kept = [np.where(RESETS[t, :, None], 0.0, s) for s in parts(z)]
        step, after = layer.step(x[t], z, resets=RESETS[t])
        want, z = layer(x[t : t + 1], tuple(kept) if len(kept) == 2 else kept[0])
        close(y[t], want[0])
        close(step, want[0])
        close_states(after, z)
    close_states(n, z)


@each_cell
def test_layouts_and_kinds_of_masks(cls, extra):
    options = {**extra, "num_layers": 2, "bidirectional": True}
    layer, turned = make(cls, **options), make(cls, batch_first=True, **options)
    x, state = random_x(layer, rng := np.random.default_rng(0)), random_state(layer, rng)
    want, n, tape = layer.forward(x, state, resets=RESETS)
    dx, d0 = layer.backward(tape, want)
    for given in (RESETS.T, RESETS.T.astype(int), RESETS.T.tolist(), np.asfortranarray(RESETS.T)):
        y, m, tape = turned.forward(x.swapaxes(0, 1), state, resets=given)
        close(y.swapaxes(0, 1), want)
        close_states(m, n)
        got, e0 = turned.backward(tape, y)
        close(got.swapaxes(0, 1), dx)
        close_states(e0, d0)
        for dense in (x.swapaxes(0, 1), np.ascontiguousarray(x.swapaxes(0, 1))):
            y, m = turned(dense, state, resets=given)
            close(y.swapaxes(0, 1), want)
            close_states(m, n)
    one = tuple(s[:, 1] for s in state) if isinstance(state, tuple) else state[:, 1]
    y, m, tape = layer.forward(x[:, 1], one, resets=RESETS[:, 1])
    close(y, want[:, 1])
    close_states(m, tuple(s[:, 1] for s in n) if isinstance(n, tuple) else n[:, 1])


@each_cell
def test_gradients_stay_in_their_episode(cls, extra):
    layer = make(cls, **extra, num_layers=2, **possible(cls, extra, EVERYTHING))
    x, state = random_x(layer, rng := np.random.default_rng(0)), random_state(layer, rng)
    resets = np.zeros((T, B), bool)
    resets[3] = True
    y, _, tape = layer.forward(x, state, resets=resets)
    dy = np.zeros_like(y)
    dy[4:] = 1.0
    dx, d0 = layer.backward(tape, dy)
    assert not dx[:3].any()
    assert dx[3:].any(axis=(1, 2)).all()
    assert not any(d.any() for d in parts(d0))


@each_cell
@pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["plain", "all"])
def test_nan_stays_in_its_episode(cls, extra, options):
    layer = make(cls, **extra, bidirectional=True, **possible(cls, extra, options))
    x = random_x(layer, np.random.default_rng(0))
    x[2:4] = np.nan
    resets = np.zeros((T, B), bool)
    resets[[2, 4]] = True
    y, _, tape = layer.forward(x, resets=resets)
    dx, _ = layer.backward(tape, np.ones_like(y))
    assert np.isnan(y[2:4]).all()
    for array in (y, dx):
        assert np.isfinite(array[:2]).all()
        assert np.isfinite(array[4:]).all()


@pytest.mark.parametrize("bidirectional", [False, True])
def test_no_resets_change_no_bit(bidirectional):
    layer = make(LSTM, bidirectional=bidirectional)
    x = random_x(layer, np.random.default_rng(0))
    y, n = layer(x)
    got, m = layer(x, resets=np.zeros((T, B), bool))
    np.testing.assert_array_equal(got, y)
    same(m, n)
    reset = layer.gates(x, resets=RESETS)["input"][0]
    np.testing.assert_array_equal(reset[2, 0], layer.gates(x[2:3])["input"][0, 0, 0])


def test_what_is_refused():
    layer = make(GRU)
    x = random_x(layer, np.random.default_rng(0))
    for resets, error, message in [
        (np.zeros((B, T)), TypeError, "GRU expected resets as booleans, got float64"),
        ([[True], [True, False]], TypeError, "GRU expected resets as booleans, got [[True]"),
        (
            RESETS.T,
            ValueError,
            f"GRU expected resets of shape ({T}, {B}), one for each step of the input, got "
            f"({B}, {T})",
        ),
        (np.full((T, B), 2), ValueError, "GRU expected resets of 0 and 1, got 2 to 2"),
        (np.full((T, B), -1), ValueError, "GRU expected resets of 0 and 1, got -1 to -1"),
    ]:
        with pytest.raises(error, match=re.escape(message)):
            layer(x, resets=resets)
    with pytest.raises(ValueError, match=re.escape(f"shape ({B},), one for each step")):
        layer.step(np.zeros((B, I)), resets=[True])
