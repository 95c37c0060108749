"""Keras's layers as layers of this package, and back."""

from __future__ import annotations

import numpy as np
import pytest
from comparisons import close
from keras_models import (
    IDS,
    B,
    F,
    L,
    T,
    as_numpy,
    bidirectional,
    built,
    check,
    float32_bound,
    inputs,
    keras,
    quiet,
    same_gradients,
    same_predictions,
)

import rnnfast as rf
from rnnfast.cells import CELLS
from rnnfast.keras import from_keras, to_keras
from rnnfast.keras.shared import ACTIVATIONS

pytestmark = quiet

RECURRENT = {
    "SimpleRNN": lambda: L.SimpleRNN(4),
    "SimpleRNN, all steps": lambda: L.SimpleRNN(4, return_sequences=True),
    "SimpleRNN, relu": lambda: L.SimpleRNN(4, activation="relu", use_bias=False),
    "LSTM": lambda: L.LSTM(4),
    "LSTM, all steps": lambda: L.LSTM(4, return_sequences=True, unroll=True),
    "LSTM, no bias": lambda: L.LSTM(4, use_bias=False, implementation=1),
    "LSTM, dropout": lambda: L.LSTM(4, dropout=0.2, recurrent_dropout=0.3),
    "GRU": lambda: L.GRU(4),
    "GRU, all steps": lambda: L.GRU(4, return_sequences=True, use_bias=False),
    "GRU, reset before": lambda: L.GRU(4, reset_after=False),
    "GRU, reset before, no bias": lambda: L.GRU(4, reset_after=False, use_bias=False),
    "backwards": lambda: L.LSTM(4, go_backwards=True),
    "backwards, all steps": lambda: L.GRU(4, go_backwards=True, return_sequences=True),
    "RNN of LSTMCell": lambda: L.RNN(L.LSTMCell(4, dropout=0.1)),
    "RNN of GRUCell": lambda: L.RNN(L.GRUCell(4, reset_after=False), return_sequences=True),
    "RNN of cells": lambda: L.RNN([L.GRUCell(4), L.SimpleRNNCell(3), L.LSTMCell(2)]),
    "both ways, SimpleRNN": bidirectional(L.SimpleRNN),
    "both ways, LSTM": bidirectional(L.LSTM, return_sequences=True),
    "both ways, LSTM, last step": bidirectional(L.LSTM),
    "both ways, GRU": bidirectional(L.GRU, return_sequences=True),
    "both ways, GRU, reset before": bidirectional(L.GRU, reset_after=False, use_bias=False),
}


@pytest.mark.parametrize("make", RECURRENT.values(), ids=RECURRENT)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_recurrent_layers(make, dtype):
    check(built(make, dtype=dtype, steps=T), inputs(dtype))


OTHERS = {
    "Dense": [lambda: L.Dense(4, activation="tanh"), lambda: L.GRU(4)],
    "Dense, no bias": [lambda: L.GRU(4), lambda: L.Dense(2, "softmax", use_bias=False)],
    "Conv1D": [lambda: L.Conv1D(4, 3, activation="sigmoid")],
    "Conv1D, same": [lambda: L.Conv1D(4, 4, padding="same", dilation_rate=2, use_bias=False)],
    "Conv1D, causal": [lambda: L.Conv1D(4, 3, padding="causal", dilation_rate=2)],
    "Conv1D, strides": [lambda: L.Conv1D(4, 3, strides=2)],
    "Conv1D, causal strides": [lambda: L.Conv1D(4, 2, strides=3, padding="causal")],
    "Conv1D, same strides": [lambda: L.Conv1D(4, 4, strides=3, padding="same")],
    "maxima of windows": [lambda: L.MaxPooling1D(2), lambda: L.GRU(4)],
    "maxima of windows, same": [
        lambda: L.MaxPooling1D(3, 2, padding="same"),
        lambda: L.GRU(4),
    ],
    "means of windows": [lambda: L.AveragePooling1D(3, 2), lambda: L.GRU(4)],
    "means of windows, same": [
        lambda: L.AveragePooling1D(3, 1, padding="same"),
        lambda: L.GRU(4),
    ],
    "more steps": [lambda: L.UpSampling1D(2), lambda: L.ZeroPadding1D((1, 2)), lambda: L.GRU(4)],
    "fewer steps": [lambda: L.Cropping1D((2, 1)), lambda: L.GRU(4)],
    "flattened": [lambda: L.Dense(4), L.Flatten, lambda: L.Dense(2), L.Flatten, L.ReLU],
    "reshaped": [
        lambda: L.Dense(2),
        lambda: L.Reshape((3, -1)),
        lambda: L.GRU(4),
        lambda: L.Reshape((2, 2)),
        lambda: L.Permute((1, 2)),
        lambda: L.GRU(6),
        lambda: L.Reshape((-1, 3)),
        lambda: L.Reshape((6,)),
        lambda: L.Reshape((6,)),
    ],
    "permuted": [lambda: L.Dense(4), lambda: L.Permute((2, 1)), lambda: L.GRU(4)],
    "random in training": [
        lambda: L.SpatialDropout1D(0.25),
        lambda: L.Dropout(0.5, noise_shape=(None, 1, F)),
        lambda: L.GaussianNoise(0.5),
        lambda: L.GaussianDropout(0.2),
        lambda: L.GaussianNoise(0.0),
        lambda: L.ActivityRegularization(0.1),
        L.Identity,
        lambda: L.GRU(4),
    ],
    "LayerNormalization, scale": [lambda: L.LayerNormalization(center=False), lambda: L.GRU(4)],
    "LayerNormalization, bare": [
        lambda: L.LayerNormalization(center=False, scale=False),
        lambda: L.GRU(4),
    ],
    "BatchNormalization, center": [lambda: L.BatchNormalization(scale=False), lambda: L.GRU(4)],
    "functions": [
        lambda: L.GRU(4),
        lambda: L.LeakyReLU(0.3),
        lambda: L.ELU(0.5),
        lambda: L.ReLU(6.0),
        lambda: L.ReLU(negative_slope=0.1),
        lambda: L.Dense(4, activation="gelu"),
    ],
    "at each step": [
        lambda: L.TimeDistributed(L.Rescaling(0.5, 1.0)),
        lambda: L.TimeDistributed(L.Flatten()),
        lambda: L.TimeDistributed(keras.Sequential([L.Dense(4, "relu"), L.Dense(2)])),
        lambda: L.GRU(4),
    ],
    "LayerNormalization": [lambda: L.LayerNormalization(epsilon=0.1), lambda: L.GRU(4)],
    "LayerNormalization, axis": [lambda: L.LayerNormalization(axis=2), lambda: L.GRU(4)],
    "BatchNormalization": [L.BatchNormalization, lambda: L.GRU(4)],
    "BatchNormalization, bare": [
        lambda: L.BatchNormalization(center=False, scale=False, momentum=0.9),
        lambda: L.GRU(4),
    ],
    "activations": [
        lambda: L.GRU(4),
        lambda: L.Activation("tanh"),
        lambda: L.Activation("linear"),
        L.ReLU,
        lambda: L.Dropout(0.5),
        L.Softmax,
    ],
    "mean": [lambda: L.GRU(4, return_sequences=True), L.GlobalAveragePooling1D],
    "maximum": [lambda: L.GRU(4, return_sequences=True), L.GlobalMaxPooling1D],
    "encoder and decoder": [
        lambda: L.LSTM(4),
        lambda: L.RepeatVector(5),
        lambda: L.LSTM(4, return_sequences=True),
        lambda: L.TimeDistributed(L.Dense(2, activation="relu")),
        lambda: L.TimeDistributed(L.LayerNormalization()),
    ],
    "nested": [
        lambda: keras.Sequential([L.Dense(4), keras.Sequential([L.GRU(4)])]),
        lambda: keras.Sequential([L.Dense(2)]),
    ],
}


@pytest.mark.parametrize("layers", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_other_layers(layers, dtype):
    check(built(*layers, dtype=dtype, steps=T), inputs(dtype))


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions(name, dtype):
    x = inputs(dtype) * 4
    theirs = built(lambda: L.Activation(name), dtype=dtype)
    ours = from_keras(theirs)
    eps = 64 * np.finfo(dtype).eps
    want = as_numpy(theirs(x))
    np.testing.assert_allclose(ours.predict(x), want, rtol=eps, atol=eps)
    same = from_keras(
        to_keras(ours if ours.in_size else rf.Sequential(ours[0], rf.Linear(F, 2, dtype=dtype)))
    )
    assert repr(same[0]) == repr(ours[0])


@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("axis", [-1, None])
def test_scales(axis, invert):
    norm = L.Normalization(axis=axis, invert=invert)
    x = 5 + 3 * inputs()
    norm.adapt(x)
    theirs = built(lambda: norm, lambda: L.Rescaling(-0.5, offset=[0.1, 0.2, 0.3]), steps=T)
    ours = from_keras(theirs)
    np.testing.assert_allclose(ours.predict(x), as_numpy(theirs(x)), rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="has a scale outside of 0 to 1e6"):
        to_keras(ours)
    again = to_keras(rf.Sequential(ours[0]))
    got, want = again.predict(x[:, 0], verbose=0), as_numpy(norm(x))[:, 0]
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match=r"\(Rescaling\) has scale=0; supported: numbers other"):
        from_keras(built(lambda: L.Rescaling(0), steps=T))


def test_means_of_uneven_windows():
    # Keras counts what is padded in some backends, where TensorFlow and rnnfast do not
    theirs = built(lambda: L.AveragePooling1D(4, 3, padding="same"), steps=T)
    x = inputs()
    left = (2 * 3 + 4 - T) // 2
    want = [x[:, max(s, 0) : s + 4].mean(axis=1) for s in range(-left, T - left, 3)]
    got = from_keras(theirs).predict(x)
    np.testing.assert_allclose(got, np.stack(want, axis=1), rtol=1e-5, atol=1e-6)


def test_dropout_is_the_same_at_all_steps():
    theirs = built(lambda: L.GRU(4, dropout=0.5), steps=T)
    first = from_keras(theirs)[0]
    assert isinstance(first, rf.Dropout) and first.all_steps


def test_vectors_have_no_steps():
    """Layers of a network without sequences do not ask for an axis of time."""
    theirs = keras.Sequential([keras.Input((F,)), L.Dense(4), L.BatchNormalization(), L.Dense(2)])
    ours = from_keras(theirs)
    assert ours.batch_first is None
    again = to_keras(ours)
    assert again.input_shape == (None, F)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_embedding(dtype):
    model = built(lambda: L.Embedding(IDS, 5), lambda: L.LSTM(4), dtype=dtype, ids=True)
    check(model, inputs(ids=True))


def test_layers_alone_and_in_lists():
    theirs = built(lambda: L.LSTM(4, return_sequences=True), lambda: L.Dense(2, activation="tanh"))
    lstm, dense = theirs.layers
    x = inputs()
    for given in (lstm, [lstm], (lstm,)):
        ours = from_keras(given)
        assert [type(layer) for layer in ours] == [rf.LSTM]
        np.testing.assert_allclose(ours.predict(x), as_numpy(lstm(x)), atol=1e-6)
    ours = from_keras([[lstm], dense])
    assert [type(layer) for layer in ours] == [rf.LSTM, rf.Linear, rf.Tanh]
    same_predictions(ours, theirs, x)
    before = theirs.predict(x, verbose=0)
    for name in ours.params:  # which are copies
        ours.params[name] = np.zeros(ours.params[name].shape)
    np.testing.assert_array_equal(theirs.predict(x, verbose=0), before)


def test_a_chain_of_a_functional_model():
    start = keras.Input((T, F))
    inner = keras.Model(start, L.Dropout(0.5)(L.GRU(4)(start)))
    theirs = keras.Model(start, L.Dense(2)(inner(start)))
    for given in theirs, theirs.layers, [inner, theirs.layers[-1]]:
        same_predictions(from_keras(given), theirs, inputs())


@pytest.mark.parametrize("mode", ["sum", "mul", "ave"])
@pytest.mark.parametrize("sequences", [False, True])
def test_directions_merged(mode, sequences):
    both = L.Bidirectional(L.GRU(4, return_sequences=sequences), merge_mode=mode)
    theirs, x = built(lambda: both, lambda: L.Dense(2), steps=T), inputs()
    ours = from_keras(theirs)
    assert isinstance(ours, rf.Sequential)
    same_gradients(ours, theirs, x)
    want = as_numpy(theirs(x, training=False))
    close("y", ours.predict(x), want, float32_bound(ours, want), ours.dtype)


def test_initial_states_are_those_of_the_network():
    theirs = built(lambda: L.LSTM(4, return_sequences=True, return_state=True)).layers[0]
    x, ours = inputs(), from_keras(theirs)
    h, c = np.random.default_rng(2).standard_normal((2, B, 4)).astype("f4")
    want = [as_numpy(part) for part in theirs(x, initial_state=[h, c])]
    y, [(h_n, c_n)] = ours(x, [(h[None], c[None])])
    for got, wanted in zip((y, h_n[0], c_n[0]), want, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-6)


# ---- to Keras ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", [c for c in CELLS.values() if c.keras], ids=lambda c: c.name)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("last", [False, True])
def test_networks_become_a_layer_for_each_of_theirs(cell, bidirectional, last):
    options = dict(num_layers=2, dropout=0.5, recurrent_dropout=0.25, bidirectional=bidirectional)
    recurrent = getattr(rf, cell.layer)(F, 4, **options, **cell.options, seed=1)
    layers = [recurrent, *([rf.Last(bidirectional=bidirectional)] if last else [])]
    ours = rf.Sequential(*layers, rf.Linear(recurrent.out_size, 2, seed=2))
    theirs = to_keras(ours)
    names = ["Bidirectional" if bidirectional else cell.keras.layer] * 2
    assert [type(x).__name__ for x in theirs.layers] == [names[0], "Dropout", names[1], "Dense"]
    y, _ = ours(np.ascontiguousarray(inputs().swapaxes(0, 1)))
    want = y if last else y.swapaxes(0, 1)
    np.testing.assert_allclose(theirs.predict(inputs(), verbose=0), want, atol=1e-6)
    again = from_keras(theirs)
    assert again[0]._cell is cell
    np.testing.assert_allclose(again.predict(inputs()), want, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (rf.Linear(F, 2, seed=1), (None, F)),
        (
            rf.Sequential(
                rf.Linear(F, 2, dtype="f8"), rf.RepeatVector(3), rf.GRU(2, 2, dtype="f8")
            ),
            (None, F),
        ),
        (rf.Sequential(rf.Dropout(0.5), rf.Conv1d(F, 2, 3, padding=0)), (None, None, F)),
        (rf.LSTM(F, 2, checkpoint=3), (None, None, F)),
        (rf.Sequential(rf.Embedding(IDS, 2, padding_idx=0), rf.Pool("max")), (None, None)),
        (
            rf.Sequential(rf.Linear(F, 4), rf.BatchNorm1d(4), rf.Rearrange("fold", (2, 2))),
            (None, F),
        ),
    ],
    ids=["dense", "one to many", "convolution", "recurrent", "ids", "folded"],
)
def test_inputs_of_converted_models(model, shape):
    theirs = to_keras(model)
    assert theirs.input_shape == shape
    assert theirs.layers[-1].compute_dtype == model.dtype.name


# ---- training goes on ----------------------------------------------------------------------------


def test_a_converted_model_learns():
    theirs = built(
        lambda: L.LSTM(8, dropout=0.1, recurrent_dropout=0.1),
        lambda: L.Dense(2, activation="softmax"),
    )
    *layers, softmax = from_keras(theirs).layers
    assert isinstance(softmax, rf.Softmax)
    ours = rf.Sequential(*layers)  # the loss takes logits
    x = inputs()
    y = np.arange(B) % 2
    loss = rf.losses.softmax_cross_entropy
    before = rf.evaluate(ours, (x, y), loss=loss)["loss"]  # without dropout, which has no seed
    optimizer = rf.Adam(ours, lr=0.01)
    rf.fit(ours, (x, y), loss=loss, optimizer=optimizer, epochs=30, seed=0)
    assert rf.evaluate(ours, (x, y), loss=loss)["loss"] < 0.8 * before
    trained = rf.Sequential(*layers, softmax)
    same_predictions(trained, to_keras(trained), x)
