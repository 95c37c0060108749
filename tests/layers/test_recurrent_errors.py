"""RNN, LSTM and GRU: what they refuse, and how they say so."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
from engines import each_engine as each_engine
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_cases import (
    I,
    make,
    random_x,
)

import rnnfast
from rnnfast import GRU, LSTM, RNN


def test_messages():
    layer = rnnfast.LSTM(64, 8)
    x = np.zeros((32, 50, 64), np.float32)
    for call, error, message in [
        (
            lambda: layer(x[..., :63]),
            ValueError,
            "LSTM expected input of size 64 on the last axis, got (32, 50, 63)",
        ),
        (
            lambda: layer(x[0, 0]),
            ValueError,
            "LSTM expected input with 3 axes, or 2 for one sequence, got (64,)",
        ),
        (
            lambda: layer(x.astype(np.float64)),
            TypeError,
            "LSTM expected input of dtype float32, got float64",
        ),
        (
            lambda: layer(x.astype(int)),
            TypeError,
            "LSTM expected input of dtype float32, got int64",
        ),
        (
            lambda: layer(x.tolist()),
            TypeError,
            "LSTM expected input as a NumPy array of float32, got list",
        ),
        (
            lambda: layer(x, x),
            TypeError,
            "LSTM expected state as a pair of arrays (h, c), got ndarray",
        ),
        (
            lambda: layer(x, (x, x)),
            ValueError,
            "LSTM expected state of shape (1, 50, 8), got (32, 50, 64)",
        ),
        (
            lambda: layer(x, lengths=[1, 2]),
            ValueError,
            "LSTM expected lengths of shape (50,), one for each sample, got (2,)",
        ),
        (
            lambda: layer(x, lengths=[33] * 50),
            ValueError,
            "LSTM expected lengths from 0 to 32, the number of time steps, got 33 to 33",
        ),
        (
            lambda: layer(x, lengths=[-1] * 50),
            ValueError,
            "LSTM expected lengths from 0 to 32, the number of time steps, got -1 to -1",
        ),
        (
            lambda: layer(x, lengths=[1.0] * 50),
            TypeError,
            "LSTM expected lengths as integers, got float64",
        ),
    ]:
        with pytest.raises(error, match=f"^{re.escape(message)}$"):
            call()


def test_constructor_refuses():
    for options, error, message in [
        ({"input_size": -1}, ValueError, "input_size >= 0, got -1"),
        ({"hidden_size": 0}, ValueError, "hidden_size >= 1, got 0"),
        ({"hidden_size": 2.0}, TypeError, "hidden_size as an integer, got 2.0"),
        ({"num_layers": 0}, ValueError, "num_layers >= 1"),
        ({"bias": 1}, TypeError, "bias as True or False"),
        ({"dropout": 1.5}, ValueError, "dropout from 0 to 1"),
        ({"dropout": "a"}, TypeError, "dropout as a number"),
        ({"proj_size": 3}, ValueError, "proj_size < hidden_size"),
        ({"dtype": np.float16}, TypeError, "dtype float32 or float64"),
        ({"dtype": None}, TypeError, "dtype float32 or float64"),
        ({"dtype": "nonsense"}, TypeError, "dtype float32 or float64"),
        ({"seed": "a"}, TypeError, "seed as an integer"),
        ({"checkpoint": 0}, ValueError, "checkpoint >= 1"),
        ({"layer_norm": 1}, TypeError, "layer_norm as True or False"),
        ({"recurrent_dropout": -0.1}, ValueError, "recurrent_dropout from 0 to 1, got -0.1"),
        ({"zoneout": 1.5}, ValueError, "zoneout from 0 to 1, got 1.5"),
        ({"zoneout": (0.1, 2.0)}, ValueError, "zoneout from 0 to 1, got 2.0"),
        ({"zoneout": (0.1,)}, ValueError, r"zoneout as a number or a pair, got \(0.1,\)"),
        ({"zoneout": "a"}, TypeError, "zoneout as a number"),
    ]:
        with pytest.raises(error, match=f"LSTM expected {message}"):
            LSTM(**{"input_size": 2, "hidden_size": 3, **options})
    for cls in (RNN, GRU):  # no c
        with pytest.raises(TypeError, match="zoneout as a number from 0 to 1, got"):
            cls(2, 3, zoneout=(0.1, 0.1))
    with pytest.raises(ValueError, match="nonlinearity 'tanh' or 'relu', got 'gelu'"):
        RNN(2, 3, nonlinearity="gelu")


def test_backward_refuses_and_writes_nothing():
    layer = make(LSTM)
    x = random_x(layer, np.random.default_rng(18))
    y, n, tape = layer.forward(x)
    for dy, dstate, error, message in [
        (y[1:], None, ValueError, "dy of shape (6, 4, 7), got (5, 4, 7)"),
        (y.astype(np.float32), None, TypeError, "dy of dtype float64, got float32"),
        (y, y, TypeError, "dstate as a pair of arrays (h, c), got ndarray"),
        (y, (y, y), ValueError, "dstate of shape (1, 4, 7), got (6, 4, 7)"),
        (None, None, ValueError, "dy or dstate, got neither"),
        (None, (None, None), ValueError, "dy or dstate, got neither"),
    ]:
        with pytest.raises(error, match=re.escape(f"LSTM expected {message}")):
            layer.backward(tape, dy, dstate)
    kept = layer.grads["bias_ih_l0"]
    layer.grads["bias_ih_l0"] = kept[::-1]
    with pytest.raises(ValueError, match=r"grads\['bias_ih_l0'\] as a writable C-contiguous"):
        layer.backward(tape, y)
    layer.grads["bias_ih_l0"] = kept
    assert not any(grad.any() for grad in layer.grads.values())
    layer.backward(tape, y, n)  # the tape is still good
    for wrong in (kept[::-1], kept.astype(np.float32), None):  # after a good call
        _, _, tape = layer.forward(x)
        layer.grads["bias_ih_l0"] = wrong
        with pytest.raises(ValueError, match=r"grads\['bias_ih_l0'\] as a writable C-contiguous"):
            layer.backward(tape, y)
    layer.grads["bias_ih_l0"] = kept
    kept.flags.writeable = False
    before = {name: grad.copy() for name, grad in layer.grads.items()}
    with pytest.raises(ValueError, match=r"grads\['bias_ih_l0'\] as a writable C-contiguous"):
        layer.backward(tape, y)
    assert all(np.array_equal(grad, before[name]) for name, grad in layer.grads.items())


def test_a_tape_serves_one_backward_pass_of_one_layer():
    layer, other = make(LSTM), make(LSTM)
    y, _, tape = layer.forward(random_x(layer, np.random.default_rng(18)))
    with pytest.raises(RuntimeError, match="made by another layer"):
        other.backward(tape, y)
    with pytest.raises(TypeError, match="expected tape as forward returned it, got NoneType"):
        layer.backward(None, y)
    layer.backward(tape, y)
    with pytest.raises(RuntimeError, match="used before: a tape serves one backward pass"):
        layer.backward(tape, y)


def test_too_big_is_a_memory_error():
    layer = GRU(1, 16)
    x = np.broadcast_to(np.float32(0), (2**40, 2**20, 1))
    with pytest.raises(MemoryError, match="exceed the address space"):
        layer(x)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(0, 6), max_size=4).map(tuple),
    dtype=st.sampled_from(["f4", "f8", "f2", "i4", "?", "c8", "O", "U1", "M8[s]"]),
    state=st.none() | st.lists(st.integers(0, 3), max_size=4).map(tuple),
    lengths=st.none()
    | st.lists(st.integers(-1, 7), max_size=5)
    | st.sampled_from(["abc", 3, [0.5], [[1]], [None], [2**64], [True, False]]),
    batch_first=st.booleans(),
)
def test_any_call_works_or_raises(shape, dtype, state, lengths, batch_first):
    layer = GRU(I, 2, batch_first=batch_first)
    x = np.zeros(shape, dtype)
    h = None if state is None else np.zeros(state, np.float32)
    try:
        y, n, tape = layer.forward(x, h, lengths)
    except (TypeError, ValueError) as error:
        assert re.match("GRU expected (input|state|lengths)", str(error)), error
        return
    assert x.dtype == np.float32
    assert y.shape == (*shape[:-1], 2)
    batch = shape[:-1][1 - batch_first : 2 - batch_first] if len(shape) == 3 else ()
    assert n.shape == (1, *batch, 2) and (h is None or h.shape == n.shape)
    layer.backward(tape, y)


def test_no_warnings_from_extreme_numbers():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for cls in (LSTM, GRU, RNN):
            layer = cls(1, 3)
            y, _ = layer(np.array([1e30, -1e30, np.nan, np.inf], np.float32).reshape(1, 4, 1))
            assert np.isfinite(y[0, :2]).all()
