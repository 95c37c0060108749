"""Keras's models as networks of this package, and back."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import tolerances
from cases import Case
from comparisons import close
from engines import each_engine as each_engine

import rnnfast
from rnnfast import (
    GRU,
    LSTM,
    RNN,
    Conv1d,
    Dropout,
    Embedding,
    Graph,
    Last,
    Linear,
    Pool,
    ReLU,
    RepeatVector,
    Sequential,
    Softmax,
    Tanh,
    WaveNet,
)
from rnnfast.cells import CELLS
from rnnfast.keras import from_keras, mask_lengths, to_keras

for name in ("torch", "tensorflow"):
    if find_spec(name):
        os.environ.setdefault("KERAS_BACKEND", name)
keras = pytest.importorskip("keras", reason="Keras, or a backend of it, is not installed")
L, as_numpy = keras.layers, keras.ops.convert_to_numpy
pytestmark = [
    # Keras's own, of its arrays and of what it makes of masks
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Layer .* does not support masking:UserWarning"),
]

B, T, F = 4, 9, 3  # samples, steps and features of inputs
IDS = 7  # ids, 0 among them


def built(*layers, dtype="float32", ids=False, steps=None):
    """A Keras model with random weights, moving means and biases among them."""
    keras.config.set_dtype_policy(dtype)
    try:
        shape = (steps,) if ids else (steps, F)
        start = keras.Input(shape, dtype="int32" if ids else dtype)
        model = keras.Sequential([start, *(layer() for layer in layers)])
    finally:
        keras.config.set_dtype_policy("float32")
    rng = np.random.default_rng(0)
    for weight in model.weights:
        least = 0.5 if "variance" in weight.path else -0.5
        weight.assign(rng.uniform(least, least + 1, weight.shape))
    return model


def inputs(dtype="float32", ids=False, seed=1):
    rng = np.random.default_rng(seed)
    if ids:
        return rng.integers(0, IDS, (B, T))
    return rng.standard_normal((B, T, F)).astype(dtype)


def same_predictions(ours, theirs, x, *lengths):
    want = as_numpy(theirs(x, training=False))
    got = ours.predict(x, *lengths)
    # Keras forms products and means of float64 in float32
    close("prediction", got, want, float32_bound(ours, want), ours.dtype)


def float32_bound(ours, want):
    # as of a recurrent network whose every layer has the largest sums of all of them
    rows = [p.reshape(len(p), -1).shape for p in ours.params.values() if p.ndim > 1]
    H, longest = (max(sizes, default=F) for sizes in zip(*rows, strict=True))
    case = Case("lstm", B, T, longest, H, L=len(ours.layers))
    return tolerances.recurrent(case, "y", np.float32, want)


def bidirectional(kind, **options):
    return lambda: L.Bidirectional(kind(4, **options))


# ---- from Keras, and back ------------------------------------------------------------------------

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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_embedding(dtype):
    model = built(lambda: L.Embedding(IDS, 5), lambda: L.LSTM(4), dtype=dtype, ids=True)
    check(model, inputs(ids=True))


def check(theirs, x):
    """From Keras, to Keras and from there again: the same predictions, the same networks."""
    ours = from_keras(theirs)
    assert ours.dtype == next(layer.compute_dtype for layer in theirs.layers if layer.weights)
    same_predictions(ours, theirs, x)
    again = to_keras(ours)
    assert again.built
    same_predictions(ours, again, x)
    twin = from_keras(again)
    assert repr(twin) == repr(ours)
    np.testing.assert_equal(twin.state_dict(), ours.state_dict())


def test_layers_alone_and_in_lists():
    theirs = built(lambda: L.LSTM(4, return_sequences=True), lambda: L.Dense(2, activation="tanh"))
    lstm, dense = theirs.layers
    x = inputs()
    for given in (lstm, [lstm], (lstm,)):
        ours = from_keras(given)
        assert [type(layer) for layer in ours] == [LSTM]
        np.testing.assert_allclose(ours.predict(x), as_numpy(lstm(x)), atol=1e-6)
    ours = from_keras([[lstm], dense])
    assert [type(layer) for layer in ours] == [LSTM, Linear, Tanh]
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


def encoder_decoder():
    start, later = keras.Input((T, F)), keras.Input((5, F))
    _, *state = L.LSTM(4, return_state=True)(start)
    return [start, later], L.LSTM(4)(later, initial_state=state)


def two_heads():
    start = keras.Input((T, F))
    h = L.GRU(4)(start)
    return start, [L.Dense(2)(h), L.Dense(2)(h)]


def used_twice():
    start, dense = keras.Input((T, F)), L.Dense(F)
    return start, L.GRU(4)(dense(dense(start)))


def parallel_branches():
    start = keras.Input((T, F))
    h = L.Dense(F, activation="relu")(start)
    return start, L.Add()([L.LSTM(4)(h), L.GRU(4)(h)])


def skip_connection():
    start = keras.Input((T, F))
    return start, L.Add()([start, L.Dense(F)(start)])


def state_in_place_of_output():
    start = keras.Input((T, F))
    _, _, c = L.LSTM(4, return_state=True)(start)
    return start, L.Dense(2)(c)


def operation_between():
    start = keras.Input((T, F))
    return start, L.Dense(2)(2 * L.GRU(4)(start))


def operation_at_the_end():
    start = keras.Input((T, F))
    return start, 2 * L.Dense(2)(L.GRU(4)(start))


def training_for_good():
    start = keras.Input((T, F))
    return start, L.Dense(2)(L.Dropout(0.5)(L.GRU(4)(start), training=True))


def another_mask():
    start, mask = keras.Input((T, F)), keras.Input((T,), dtype="bool")
    return [start, mask], L.Dense(2)(L.GRU(4)(start, mask=mask))


def constant_state():
    start = keras.Input((T, F))
    return start, L.GRU(4)(start, initial_state=[np.ones((B, 4), np.float32)])


def constant_summand():
    start = keras.Input((T, F))
    return start, L.Add()([start, np.ones((B, T, F), np.float32)])


def half_precision():
    start = keras.Input((T, F))
    return start, L.Add(dtype="float16")([start, L.Dense(F)(start)])


def given_states():
    start, h = keras.Input((T, F)), keras.Input((4,))
    return [start, h], L.Dense(2)(L.GRU(4)(start, initial_state=h))


NO_CHAINS = [
    two_heads,
    used_twice,
    parallel_branches,
    encoder_decoder,
    skip_connection,
    state_in_place_of_output,
    operation_between,
    operation_at_the_end,
    given_states,
    training_for_good,
    another_mask,
]


REFUSED_GRAPHS = {
    operation_between: "is called with argument 1=<KerasTensor",
    operation_at_the_end: "is called with argument 1=<KerasTensor",
    training_for_good: "(Dropout) is called with training=True; supported: inputs, and init",
    another_mask: "(GRU) is called with a mask of its own; supported: masks that Masking, or",
    constant_state: "(GRU) is called with initial_state=",
    constant_summand: "(Add) is called with inputs=",
    half_precision: "(Add) has dtype='float16'; supported: 'float32', 'float64'",
}


@pytest.mark.parametrize("make", NO_CHAINS, ids=lambda make: make.__name__)
def test_layers_of_a_model_that_is_no_chain(make):
    theirs = keras.Model(*make())
    with pytest.raises(ValueError, match="list of layers that follow each other, got layer '"):
        from_keras(theirs.layers)
    if make in REFUSED_GRAPHS:
        with pytest.raises(ValueError, match=re.escape(REFUSED_GRAPHS[make])):
            from_keras(theirs)


# ---- graphs --------------------------------------------------------------------------------------


def stacked_encoder_decoder():
    source, target = (keras.Input((n,), dtype="int32") for n in (T, 5))
    both = L.Bidirectional(L.LSTM(2, return_state=True, return_sequences=True))
    y, *states = both(L.Embedding(IDS, F)(source))
    y, h = L.GRU(4, return_state=True)(y)
    h0, c0 = L.Concatenate()(states[::2]), L.Concatenate()(states[1::2])
    x = L.Embedding(IDS, F)(target)
    x = L.LSTM(4, return_sequences=True)(x, initial_state=[h0, c0])
    x = L.Bidirectional(L.GRU(4, return_sequences=True))(x, initial_state=[h, h])
    return [source, target], [L.Dense(IDS, activation="softmax")(x), h]


def siamese():
    start, other = keras.Input((T, F)), keras.Input((T, F))
    read = keras.Sequential([L.Dense(F, activation="tanh"), L.GRU(4)])
    inner = keras.Input((4,))
    head = keras.Model(inner, L.Add()([inner, L.Dense(4)(inner)]))
    ends = [head(read(x)) for x in (start, other)]
    return [start, other], L.Dense(1)(L.Concatenate()([L.Subtract()(ends), L.Multiply()(ends)]))


def operations():
    start = keras.Input((T, F))
    h = L.GRU(F, return_sequences=True)(start)
    return start, L.LSTM(4)(L.Average()([start + h, start * h, L.Maximum()([start, h])]) - h)


def graph_in_a_chain():
    start = keras.Input((T, F))
    inner = keras.Model(start, L.Add()([start, L.Dense(F)(start)]))
    model = keras.Sequential([keras.Input((T, F)), L.Dense(F), inner, L.GRU(4)])
    return model.inputs[0], model.outputs[0]


GRAPHS = [
    *(make for make in NO_CHAINS if make not in REFUSED_GRAPHS),
    stacked_encoder_decoder,
    siamese,
    operations,
    graph_in_a_chain,
]


def functional(make):
    """A functional model with random weights and inputs for it."""
    theirs = keras.Model(*make())
    rng = np.random.default_rng(0)
    for weight in theirs.weights:
        weight.assign(rng.uniform(-0.5, 0.5, weight.shape))
    xs = [
        rng.integers(0, IDS, (B, *x.shape[1:]))
        if "int" in x.dtype
        else rng.standard_normal((B, *x.shape[1:])).astype("f4")
        for x in theirs.inputs
    ]
    return theirs, xs if len(xs) > 1 else xs[0]


@pytest.mark.parametrize("make", GRAPHS, ids=lambda make: make.__name__)
def test_graphs(make, tmp_path):
    theirs, xs = functional(make)
    theirs.save(tmp_path / "model.keras")
    want = theirs(xs, training=False)
    want = list(map(as_numpy, want if isinstance(want, (list, tuple)) else [want]))
    for given in theirs, tmp_path / "model.keras":
        ours = from_keras(given)
        assert isinstance(ours, Graph)
        assert (len(ours.inputs), len(ours.outputs)) == (len(theirs.inputs), len(want))
        got = ours.predict(as_ours(xs))
        for ys in zip(got if len(want) > 1 else [got], want, strict=True):
            close("prediction", *ys, float32_bound(ours, ys[1]), ours.dtype)
    same_gradients(ours, theirs, xs)


def as_ours(xs):
    return tuple(xs) if isinstance(xs, list) else xs


def same_gradients(ours, theirs, xs):
    """Compare with torch's, brought into our layout as weights are."""
    if keras.backend.backend() != "torch":
        return
    import torch

    rng = np.random.default_rng(4)
    y, _, tape = ours.forward(as_ours(xs))
    several = isinstance(y, tuple)
    dy = [rng.standard_normal(part.shape).astype("f4") for part in (y if several else [y])]
    want = theirs(xs, training=True)
    pairs = zip(want if several else [want], dy, strict=True)
    loss = sum((part * torch.from_numpy(d)).sum() for part, d in pairs)
    weights = theirs.trainable_weights
    gradients = torch.autograd.grad(loss, [w.value for w in weights], allow_unused=True)
    ours.backward(tape, tuple(dy) if several else dy[0], input_grad=False)
    before = theirs.get_weights()
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.assign(0 * weight if gradient is None else gradient)
    want = from_keras(theirs).state_dict()
    theirs.set_weights(before)
    for name, got in ours.grads.items():
        if "bias_hh" in name and not want[name].any():  # Keras has one bias for both
            continue
        case = Case("lstm", B, T, max(got.shape), max(got.shape), L=len(ours.layers))
        bound = tolerances.recurrent(case, "parameter", np.float32, want[name])
        close(name, got, want[name], bound, ours.dtype)


@pytest.mark.parametrize("mode", ["sum", "mul", "ave"])
@pytest.mark.parametrize("sequences", [False, True])
def test_directions_merged(mode, sequences):
    both = L.Bidirectional(L.GRU(4, return_sequences=sequences), merge_mode=mode)
    theirs, x = built(lambda: both, lambda: L.Dense(2), steps=T), inputs()
    ours = from_keras(theirs)
    assert isinstance(ours, Sequential)
    same_gradients(ours, theirs, x)
    want = as_numpy(theirs(x, training=False))
    close("y", ours.predict(x), want, float32_bound(ours, want), ours.dtype)


def test_a_graph_learns():
    theirs, xs = functional(siamese)
    ours = from_keras(theirs)
    y = np.array([[0.0], [1], [1], [0]], np.float32)
    history = rnnfast.fit(
        ours,
        [(tuple(xs), y)],
        loss=rnnfast.losses.squared_error,
        optimizer=rnnfast.Adam(ours, lr=0.02),
        epochs=40,
        progress=False,
    )
    assert history["loss"][-1] < 0.3 * history["loss"][0]


@pytest.mark.parametrize("first", [0, 1])
def test_a_mask_is_not_for_those_that_read_the_input_itself(first):
    start = keras.Input((T, F))
    masked = [lambda: L.LSTM(4)(L.Masking()(start)), lambda: L.GRU(4)(start)]
    heads = [masked[first](), masked[1 - first]()]
    with pytest.raises(ValueError, match="one length for both"):
        from_keras(keras.Model(start, L.Add()(heads)), masks_as_lengths=True)


def test_masks_of_a_graph():
    ids, other = keras.Input((T,), dtype="int32"), keras.Input((5,), dtype="int32")
    embedding = L.Embedding(IDS, F, mask_zero=True)
    _, h = L.GRU(F, return_state=True)(embedding(ids))
    x = L.GRU(F, return_sequences=True)(embedding(other), initial_state=h)
    theirs = keras.Model([ids, other], L.GlobalAveragePooling1D()(L.Add()([x, x])))
    rng, ends = np.random.default_rng(0), ([T, 2, 1, 5], [5, 1, 4, 5])
    xs = [rng.integers(1, IDS, (B, n)) for n in (T, 5)]
    for x, lengths in zip(xs, ends, strict=True):
        x[np.arange(x.shape[1]) >= np.array(lengths)[:, None]] = 0
    ours = from_keras(theirs, masks_as_lengths=True)
    want = as_numpy(theirs(xs, training=False))
    close("y", ours.predict(tuple(xs), ends), want, float32_bound(ours, want), ours.dtype)
    with pytest.raises(ValueError, match="masks steps; rnnfast takes lengths"):
        from_keras(theirs)
    mixed = L.Add()([embedding(ids), L.Embedding(IDS, F)(ids)])
    for outputs in mixed, [L.GRU(2)(embedding(ids)), L.GRU(2)(L.Embedding(IDS, F)(ids))]:
        with pytest.raises(ValueError, match=r"only in part|reads all steps of an input that"):
            from_keras(keras.Model(ids, outputs), masks_as_lengths=True)


def test_initial_states_are_those_of_the_network():
    theirs = built(lambda: L.LSTM(4, return_sequences=True, return_state=True)).layers[0]
    x, ours = inputs(), from_keras(theirs)
    h, c = np.random.default_rng(2).standard_normal((2, B, 4)).astype("f4")
    want = [as_numpy(part) for part in theirs(x, initial_state=[h, c])]
    y, [(h_n, c_n)] = ours(x, [(h[None], c[None])])
    for got, wanted in zip((y, h_n[0], c_n[0]), want, strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-6)


@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["str", "path"])
def test_files(kind, tmp_path):
    path = tmp_path / "model.keras"
    theirs = built(
        lambda: L.Embedding(IDS, 5),
        bidirectional(L.LSTM, return_sequences=True),
        L.BatchNormalization,
        lambda: L.GRU(4, reset_after=False),
        lambda: L.Dense(2, activation="softmax"),
        ids=True,
    )
    theirs.compile("adam", "sparse_categorical_crossentropy")
    theirs.save(path)
    ours = from_keras(kind(path))
    np.testing.assert_equal(ours.state_dict(), from_keras(theirs).state_dict())
    same_predictions(ours, theirs, inputs(ids=True))
    to_keras(ours).save(tmp_path / "back.keras")
    np.testing.assert_equal(
        from_keras(tmp_path / "back.keras").state_dict(), from_keras(to_keras(ours)).state_dict()
    )
    theirs.save(tmp_path / "model.h5")  # Keras 2's
    np.testing.assert_equal(from_keras(kind(tmp_path / "model.h5")).state_dict(), ours.state_dict())
    with pytest.raises(FileNotFoundError, match="absent"):
        from_keras(tmp_path / "absent.keras")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    for damaged in b"no zip file", content, content[: len(content) // 2]:
        (tmp_path / "other.keras").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"other\.keras is not a model that Keras can"):
            from_keras(tmp_path / "other.keras")


# ---- masks ---------------------------------------------------------------------------------------

MASKED = {
    "last step": [lambda: L.LSTM(4)],
    "two layers": [lambda: L.GRU(4, return_sequences=True), lambda: L.SimpleRNN(4)],
    "both ways": [bidirectional(L.LSTM, return_sequences=True), bidirectional(L.GRU)],
    "mean": [
        lambda: L.GRU(4, return_sequences=True),
        lambda: L.Dense(4, activation="relu"),
        L.GlobalAveragePooling1D,
    ],
    "behind the mask": [
        lambda: L.GRU(4),
        lambda: L.RepeatVector(5),
        lambda: L.Conv1D(4, 3),
        L.GlobalMaxPooling1D,
    ],
}


@pytest.mark.parametrize("layers", MASKED.values(), ids=MASKED)
@pytest.mark.parametrize("ids", [True, False], ids=["ids", "features"])
def test_masks_as_lengths(layers, ids):
    first = (lambda: L.Embedding(IDS, F, mask_zero=True)) if ids else (lambda: L.Masking(0.5))
    theirs = built(first, *layers, ids=ids)
    lengths = [T, 1, 4, T - 1]
    x = np.maximum(inputs(ids=ids), 1) if ids else inputs()
    for b, n in enumerate(lengths):
        x[b, n:] = 0 if ids else 0.5
    found = mask_lengths(x, 0 if ids else 0.5)
    np.testing.assert_array_equal(found, lengths)
    for given in theirs, theirs.layers, keras.Model(theirs.inputs, theirs.outputs):
        ours = from_keras(given, masks_as_lengths=True)
        same_predictions(ours, theirs, x, found)
    with pytest.raises(ValueError, match="masks steps; rnnfast takes lengths in place of masks"):
        from_keras(theirs)


def test_mask_lengths():
    np.testing.assert_array_equal(mask_lengths([[3, 0, 0], [0, 0, 0], [1, 2, 3]]), [1, 0, 3])
    x = np.array([[[1.0, 0], [0, 2], [0, 0]]])
    np.testing.assert_array_equal(mask_lengths(x), [2])
    np.testing.assert_array_equal(mask_lengths(x + 1, mask_value=1), [2])
    tenths = np.full((1, 2, 1), 0.1, np.float32)
    np.testing.assert_array_equal(mask_lengths(tenths, np.float64(0.1)), [0])
    np.testing.assert_array_equal(mask_lengths(x[:0]), np.zeros(0))
    with pytest.raises(ValueError, match=r"in sample 1; keras\.utils\.pad_sequences pads"):
        mask_lengths([[1, 0], [0, 1]])
    with pytest.raises(ValueError, match=r"x with 2 axes \(ids\) or 3 \(features\), got \(3,\)"):
        mask_lengths([1, 2, 3])


# ---- to Keras ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", [c for c in CELLS.values() if c.keras], ids=lambda c: c.name)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("last", [False, True])
def test_networks_become_a_layer_for_each_of_theirs(cell, bidirectional, last):
    options = dict(num_layers=2, dropout=0.5, recurrent_dropout=0.25, bidirectional=bidirectional)
    recurrent = getattr(rnnfast, cell.layer)(F, 4, **options, **cell.options, seed=1)
    layers = [recurrent, *([Last(bidirectional=bidirectional)] if last else [])]
    ours = Sequential(*layers, Linear(recurrent.out_size, 2, seed=2))
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
        (Linear(F, 2, seed=1), (None, F)),
        (Sequential(Linear(F, 2, dtype="f8"), RepeatVector(3), GRU(2, 2, dtype="f8")), (None, F)),
        (Sequential(Dropout(0.5), Conv1d(F, 2, 3, padding=0)), (None, None, F)),
        (LSTM(F, 2, checkpoint=3), (None, None, F)),
        (Sequential(Embedding(IDS, 2, padding_idx=0), Pool("max")), (None, None)),
    ],
    ids=["dense", "one to many", "convolution", "recurrent", "ids"],
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
    assert isinstance(softmax, Softmax)
    ours = Sequential(*layers)  # the loss takes logits
    x = inputs()
    y = np.arange(B) % 2
    history = rnnfast.fit(
        ours,
        (x, y),
        loss=rnnfast.losses.softmax_cross_entropy,
        optimizer=rnnfast.Adam(ours, lr=0.01),
        epochs=30,
        seed=0,
    )
    assert history["loss"][-1] < 0.8 * history["loss"][0]
    trained = Sequential(*layers, softmax)
    same_predictions(trained, to_keras(trained), x)


# ---- what is refused -----------------------------------------------------------------------------


def tanh(x):  # of another kind than Keras's
    return keras.ops.tanh(x) / 2


REFUSED = [
    (lambda: L.LSTM(4, go_backwards=True), "(LSTM) has go_backwards=True; supported: False"),
    (lambda: L.GRU(4, activation="relu"), "(GRU) has activation='relu'; supported: tanh"),
    (lambda: L.GRU(4, activation=tanh), "(GRU) has activation='<function tanh"),
    (
        lambda: L.LSTM(4, recurrent_activation="hard_sigmoid"),
        "(LSTM) has recurrent_activation='hard_sigmoid'; supported: sigmoid",
    ),
    (lambda: L.SimpleRNN(4, activation="elu"), "activation='elu'; supported: tanh, relu"),
    (bidirectional(L.GRU, activation="relu"), "(GRU) has activation='relu'; supported: tanh"),
    (
        lambda: L.Bidirectional(L.LSTM(4, return_sequences=True), merge_mode=None),
        "(Bidirectional) has merge_mode=None; supported: concat, sum, mul, ave",
    ),
    (
        lambda: L.Bidirectional(L.LSTM(4, go_backwards=True), backward_layer=L.LSTM(4)),
        "has go_backwards=True",
    ),
    (
        lambda: L.Bidirectional(L.LSTM(4), backward_layer=L.LSTM(3, go_backwards=True)),
        "has units=3; supported: 4, as in the other direction",
    ),
    (
        lambda: L.Bidirectional(L.LSTM(4), backward_layer=L.GRU(4, go_backwards=True)),
        "has backward_layer='GRU'; supported: LSTM",
    ),
    (lambda: L.Bidirectional(L.RNN(L.LSTMCell(4))), "has layer='RNN'; supported: SimpleRNN, L"),
    (lambda: L.RNN(L.LSTMCell(4)), "(RNN) has no equal in rnnfast; supported: Activation, "),
    (lambda: L.MaxPooling1D(2), "(MaxPooling1D) has no equal in rnnfast"),
    (lambda: L.Dense(4, activation="gelu"), "has activation='gelu'; supported: linear, relu, s"),
    (lambda: L.Activation("elu"), "(Activation) has activation='elu'"),
    (lambda: L.TimeDistributed(L.Flatten()), "has layer='Flatten'; supported: Dense, "),
    (lambda: L.Conv1D(3, 2, groups=3), "(Conv1D) has groups=3; supported: 1"),
    (
        lambda: L.Conv1D(4, 2, strides=2, padding="same"),
        "has strides=(2,); supported: (1,) with padding='same'",
    ),
    (lambda: L.LayerNormalization(axis=1), "has axis=[1]; supported: -1, the last one"),
    (lambda: L.LayerNormalization(center=False), "has center=False; supported: True"),
    (lambda: L.BatchNormalization(axis=1), "has axis=1; supported: -1, the last one"),
    (lambda: L.BatchNormalization(scale=False), "has center=True; supported: False"),
    (lambda: L.Dropout(0.1, noise_shape=(None, 1, F)), "has noise_shape=(None, 1, 3); supported:"),
    (lambda: L.ReLU(max_value=6), "(ReLU) has max_value=6; supported: None"),
    (lambda: L.Softmax(axis=1), "(Softmax) has axis=1; supported: -1"),
    (lambda: L.GlobalMaxPooling1D(keepdims=True), "has keepdims=True; supported: False"),
    (lambda: L.Dense(4, dtype="bfloat16"), "has dtype='bfloat16'; supported: 'float32', 'float6"),
    (
        lambda: L.Bidirectional(L.GRU(4, dtype="mixed_float16")),
        "has dtype='mixed_float16'; supported: 'float32', 'float6",
    ),
    (
        lambda: L.Bidirectional(
            L.LSTM(4), backward_layer=L.LSTM(4, go_backwards=True, dtype="float64")
        ),
        "has dtype='float64'; supported: 'float32', as in the other direction",
    ),
    (
        lambda: keras.Sequential([L.GRU(4), L.Dense(2, dtype="float64")]),
        "(Dense) has dtype='float64'; supported: 'float32', as in the layers before it",
    ),
    (lambda: L.Masking(), "(Masking) masks steps; rnnfast takes lengths in place of masks"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[m for _, m in REFUSED])
def test_unsupported_layers_and_options(make, message):
    model = built(make, steps=T)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        from_keras(model)
    assert "from_keras: layer '" in str(caught.value)


class Doubling(keras.Sequential):
    def call(self, inputs, **options):
        return 2 * super().call(inputs, **options)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (3, TypeError, "or a path, got builtins.int"),
        (Doubling(), ValueError, "got layer 'doubling' (Doubling), whose own"),
        ([None], TypeError, "or a path, got builtins.NoneType"),
        (L.Dense(3), ValueError, "(Dense) is not built, so it has no weights"),
        ([], ValueError, "at least one layer"),
        (
            L.LSTM(3, stateful=True, name="mine"),
            ValueError,
            "layer 'mine' (LSTM) has stateful=True; supported: False",
        ),
        (type("Own", (L.LSTM,), {})(3), ValueError, "(Own) has no equal in rnnfast"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_model(given, error, message):
    with pytest.raises(error, match=re.escape(message)):
        from_keras(given)


def test_options_that_an_older_keras_does_not_have():
    theirs = built(L.BatchNormalization, steps=T)
    want = from_keras(theirs).state_dict()
    vars(theirs.layers[0]).pop("renorm", None)
    np.testing.assert_equal(from_keras(theirs).state_dict(), want)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([L.Masking, lambda: L.Conv1D(3, 2)], "drops the mask of the layers before it"),
        ([L.Masking, L.GlobalMaxPooling1D], "drops the mask of the layers before it"),
        ([lambda: L.Dense(4), L.Masking], "masks steps behind other layers"),
    ],
)
def test_masks_that_lengths_cannot_replace(layers, message):
    with pytest.raises(ValueError, match=message):
        from_keras(built(*layers, steps=T), masks_as_lengths=True)


def test_masks_as_lengths_is_a_flag():
    with pytest.raises(TypeError, match="expected masks_as_lengths as True or False, got 1"):
        from_keras(L.ReLU(), masks_as_lengths=1)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (LSTM(3, 4, proj_size=2), "has proj_size=2, which has no equal in Keras"),
        (GRU(3, 4, layer_norm=True), "has layer_norm=True, which"),
        (RNN(3, 4, zoneout=0.5), "has zoneout=0.5, which"),
        (LSTM(3, 4, zoneout=(0.0, 0.5)), "has zoneout=(0.0, 0.5), which"),
        (Conv1d(3, 4, 3, padding=1), "has padding=1, which"),
        (WaveNet(3, 4, (1, 2)), "WaveNet has no equal in Keras"),
        (
            Sequential(Linear(3, 4), Last()),
            "Last(batch_first=False, bidirectional=False) behind Li",
        ),
        (Last(), "behind None has no equal in Keras"),
        (
            Sequential(GRU(3, 4, bidirectional=True), Last()),
            "with bidirectional as there",
        ),
        (Sequential(GRU(3, 4), Last(bidirectional=True)), "with bidirectional as there"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_networks_without_an_equal(model, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        to_keras(model)
    assert str(caught.value).startswith("to_keras: ")


def test_what_is_no_network():
    with pytest.raises(TypeError, match="to_keras expected model as a layer, got int"):
        to_keras(3)


# ---- Keras is imported when called ---------------------------------------------------------------


def test_keras_is_imported_when_it_is_called():
    code = "import rnnfast, sys; rnnfast.keras.from_keras; print('keras' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_without_keras(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", None)
    for call in (lambda: from_keras([]), lambda: to_keras(ReLU())):
        with pytest.raises(ImportError, match=r"pip install rnnfast\[keras\], and torch, jax or"):
            call()
    np.testing.assert_array_equal(mask_lengths([[1, 0]]), [1])
