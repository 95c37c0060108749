"""Keras's functional models as graphs, and back."""

from __future__ import annotations

import re

import numpy as np
import pytest
from comparisons import close
from engines import each_engine as each_engine
from keras_models import (
    IDS,
    B,
    F,
    L,
    T,
    as_list,
    as_numpy,
    as_ours,
    float32_bound,
    functional,
    inputs,
    keras,
    quiet,
    same_gradients,
)

import rnnfast
from rnnfast import GRU, LSTM, Graph, Last, Linear, Merge, Rearrange, Sequential
from rnnfast.keras import from_keras, to_keras

pytestmark = quiet


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


def vectors_beside_sequences():
    start, vector = keras.Input((T, F)), keras.Input((4,))
    h = L.GRU(4, return_sequences=True)(start)
    both = L.Multiply()([L.Add()([h, vector, h]), L.GRU(4)(start)])
    return [start, vector], L.LSTM(2)(L.Activation("silu")(both))


def directions_apart():
    start = keras.Input((T, F))
    both = L.Bidirectional(L.GRU(4, return_sequences=True, return_state=True), merge_mode=None)
    ahead, back, h, _ = both(start)
    ends = L.Bidirectional(L.LSTM(4), merge_mode=None)(L.Subtract()([ahead, back]))
    return start, [L.Add()([*ends, h]), back]


def attention():
    source, target = keras.Input((T, F)), keras.Input((5, F))
    memory, h, c = L.LSTM(4, return_sequences=True, return_state=True)(source)
    query = L.LSTM(4, return_sequences=True)(target, initial_state=[h, c])
    weights = L.Softmax()(L.Dot(axes=(2, 2))([query, memory]))
    context = L.Dot(axes=(2, 1))([weights, memory])
    pooled = L.Dot(axes=(1, 1))([L.Softmax()(L.Dot(axes=(2, 1))([memory, h])), memory])
    return [source, target], [L.Concatenate()([context, query]), pooled, L.Dot(axes=-1)([h, c])]


def windows_and_branches():
    start = keras.Input((T, F))
    x = L.Conv1D(4, 3, strides=2, padding="same", activation="elu")(start)
    a, b = L.MaxPooling1D(2)(x), L.Flatten()(L.AveragePooling1D(2)(x))
    return start, L.Concatenate()([L.GRU(3, go_backwards=True)(a), b])


GRAPHS = [
    *(make for make in NO_CHAINS if make not in REFUSED_GRAPHS),
    stacked_encoder_decoder,
    siamese,
    operations,
    graph_in_a_chain,
    vectors_beside_sequences,
    directions_apart,
    attention,
    windows_and_branches,
]


@pytest.mark.parametrize("make", GRAPHS, ids=lambda make: make.__name__)
def test_graphs(make, tmp_path):
    theirs, xs = functional(make)
    theirs.save(tmp_path / "model.keras")
    want = list(map(as_numpy, as_list(theirs(xs, training=False))))
    for given in theirs, tmp_path / "model.keras":
        ours = from_keras(given)
        assert isinstance(ours, Graph)
        assert (len(ours.inputs), len(ours.outputs)) == (len(theirs.inputs), len(want))
        for ys in zip(as_list(ours.predict(as_ours(xs))), want, strict=True):
            close("prediction", *ys, float32_bound(ours, ys[1]), ours.dtype)
    same_gradients(ours, theirs, xs)
    if make is directions_apart:
        with pytest.raises(ValueError, match="has kind='part', which has no"):
            to_keras(ours)
        return
    again = to_keras(ours, steps=T if make in (windows_and_branches, skip_connection) else None)
    for ys in zip(map(as_numpy, as_list(again(xs, training=False))), want, strict=True):
        close("prediction", *ys, float32_bound(ours, ys[1]), ours.dtype)


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


@pytest.mark.parametrize("make", GRAPHS, ids=lambda make: make.__name__)
def test_graphs_saved_and_exported(make, tmp_path):
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    theirs, xs = functional(make)
    ours = from_keras(theirs)
    want = ours.predict(as_ours(xs))
    rnnfast.save(ours, tmp_path / "model.npz")
    np.testing.assert_equal(rnnfast.load(tmp_path / "model.npz").predict(as_ours(xs)), want)
    rnnfast.onnx.save(ours, tmp_path / "model.onnx", time=make is skip_connection)
    session = runtime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    given = dict(zip([i.name for i in session.get_inputs()], as_list(xs), strict=True))
    for got, y in zip(session.run(None, given), as_list(want), strict=True):
        np.testing.assert_allclose(got, y, atol=1e-5)


def test_graphs_to_keras():
    time = {"batch_first": True}
    shared = GRU(F, F, 2, seed=1, **time)
    model = Graph(
        [
            ("turned", Rearrange("reverse", **time), "x"),
            ("back", GRU(F, 4, seed=2, **time), "turned"),
            ("end", Last(True), "back"),
            ("both", LSTM(F, 2, 2, bidirectional=True, seed=3, **time), "x"),
            ("ends", Last(True, True), "both"),
            ("joined", Merge("mean", parts=2), "ends"),
            ("first", shared, "x"),
            ("second", shared, "first", ["first.h1", "first.h0"]),
            ("wide", Sequential(Linear(F, 4, seed=4), Linear(4, 4, seed=5)), "second"),
            ("c", Merge("sum"), ["both.c0", "joined"]),
        ],
        outputs=["end", "joined", "second.h1", "wide", "c", "both.h3"],
    )
    x = inputs()
    theirs = to_keras(model)
    assert theirs.layers[0].name == "x"
    for got, want in zip(theirs.predict(x, verbose=0), model.predict(x), strict=True):
        np.testing.assert_allclose(got, want, atol=2e-6)
    twin = from_keras(theirs)
    for got, want in zip(twin.predict(x), model.predict(x), strict=True):
        np.testing.assert_allclose(got, want, atol=2e-6)
    two_ways = Graph(
        [("a", shared, "x"), ("end", Last(True), "a"), ("b", shared, "x")], outputs=["end", "b"]
    )
    with pytest.raises(ValueError, match="'b' shares a layer with calls that go on otherwise"):
        to_keras(two_ways)
