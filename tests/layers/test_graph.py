"""Graphs of layers, and several inputs merged into one."""

from __future__ import annotations

import re

import numpy as np
import pytest
from comparisons import same_slope, same_slopes
from samples import copies

import rnnfast as rf

F8 = {"dtype": np.float64}
BATCH_FIRST = {"batch_first": True, **F8}
B, T, F = 4, 6, 3


def rng(seed=0):
    return np.random.default_rng(seed)


def encoder_decoder():
    """Of two inputs and outputs, whose states and a shared layer join them."""
    shared = rf.Linear(F, F, seed=1, **F8)
    return rf.Graph(
        [
            ("seen", shared, "source"),
            ("encoder", rf.LSTM(F, 2, bidirectional=True, seed=2, **BATCH_FIRST), "seen"),
            ("h", rf.Merge("concat"), ["encoder.h0", "encoder.h1"]),
            ("c", rf.Merge("sum"), ["encoder.c0", "encoder.c1"]),
            ("wide", rf.Linear(2, 4, seed=3, **F8), "c"),
            ("read", shared, "target"),
            ("decoder", rf.LSTM(F, 4, seed=4, **BATCH_FIRST), "read", ["h", "wide"]),
            ("skip", rf.Merge("concat"), ["decoder", "target"]),
            ("scores", rf.Linear(7, 2, seed=5, **F8), "skip"),
        ],
        inputs=["source", "target"],
        outputs=["scores", "decoder.c0"],
    )


def residual():
    return rf.Graph(
        [
            ("h", rf.GRU(F, F, seed=1, **BATCH_FIRST), "x"),
            ("sum", rf.Merge("sum"), ["x", "h"]),
            ("a", rf.Sequential(rf.Linear(F, 4, seed=2, **F8), rf.ReLU()), "sum"),
            ("b", rf.GRU(F, 4, seed=3, **BATCH_FIRST), "sum"),
            ("product", rf.Merge("product"), ["a", "b"]),
            ("last", rf.Last(batch_first=True), "product"),
            ("y", rf.Linear(4, 2, seed=4, **F8), "last"),
        ]
    )


def test_a_graph_is_its_calls():
    model = encoder_decoder()
    source, target = rng(0).standard_normal((B, T, F)), rng(1).standard_normal((B, 5, F))
    parts = model.parts
    _, (h, c) = parts["encoder"](parts["seen"](source))
    start = np.concatenate(list(h), axis=-1), parts["wide"](c.sum(axis=0))
    y, (_, c_n) = parts["decoder"](parts["seen"](target), tuple(s[None] for s in start))
    want = parts["scores"](np.concatenate([y, target], axis=-1))
    (scores, final), state = model((source, target))
    np.testing.assert_array_equal(scores, want)
    np.testing.assert_array_equal(final, c_n[0])
    assert [s is None for s in state] == [True, False, *[True] * 7]


@pytest.mark.parametrize("lengths", [None, [3, 0, 2]], ids=["all steps", "ragged"])
def test_gradients(lengths):
    for model, xs in (
        (residual(), (rng(0).standard_normal((3, 3, F)),)),
        (encoder_decoder(), tuple(rng(0).standard_normal((2, 3, 3, F)))),
    ):
        x = xs if len(xs) > 1 else xs[0]
        y, state, tape = model.forward(x, None, lengths)
        several = isinstance(y, tuple)
        dy = [rng(i).standard_normal(part.shape) for i, part in enumerate(y if several else [y])]
        if lengths is not None:
            for part in dy:
                if part.ndim == 3:  # as the losses give it
                    part[np.arange(3) >= np.array(lengths)[:, None]] = 0
        dstate = _like(state)

        def loss(model=model, x=x, dy=dy, dstate=dstate, several=several):
            y, state, _ = model.forward(x, None, lengths)
            return _dot(dy, list(y) if several else [y]) + _dot(dstate, state)

        dx, _ = model.backward(tape, tuple(dy) if several else dy[0], dstate)
        for array, gradient in zip(xs, dx if len(xs) > 1 else [dx], strict=True):
            same_slope("dx", gradient, loss, array)
        same_slopes(model, loss)
        _, _, tape = model.forward(x, None, lengths)
        want = {name: grad.copy() for name, grad in model.grads.items()}
        model.zero_grad()
        none, _ = model.backward(tape, tuple(dy) if several else dy[0], dstate, input_grad=False)
        assert none == (None, None) if len(xs) > 1 else none is None
        np.testing.assert_equal(model.grads, want)


def _like(state):
    if isinstance(state, (tuple, list)):
        return type(state)(map(_like, state))
    return None if state is None else rng(5).standard_normal(state.shape)


def _dot(d, s):
    if isinstance(d, (tuple, list)):
        return sum(_dot(*pair) for pair in zip(d, s, strict=True))
    return 0.0 if d is None else np.vdot(d, s)


def test_a_shared_layer_has_one_set_of_parameters():
    model = encoder_decoder()
    names = {name.partition(".")[0] for name in model.params}
    assert names == {"seen", "encoder", "wide", "decoder", "scores"}
    rf.SGD(model, lr=0.1).step()  # each parameter once
    assert "shared" in model.summary()
    assert f"{sum(p.size for p in model.params.values()):,}" in model.summary()


@pytest.mark.parametrize("make", [encoder_decoder, residual])
def test_saved_copied_and_pickled(make, tmp_path):
    model = make()
    xs = tuple(rng(0).standard_normal((2, B, T, F)))
    x = xs if len(model.inputs) > 1 else xs[0]
    want = model.predict(x)
    rf.save(model, tmp_path / "model.npz")
    for again in (rf.load(tmp_path / "model.npz"), *copies(model)):
        assert repr(again) == repr(model)
        assert list(again.params) == list(model.params)
        again.load_state_dict(model.state_dict())
        np.testing.assert_equal(again.predict(x), want)


def test_trains():
    model = residual()
    x = rng(0).standard_normal((32, T, F))
    y = x[:, :, :2].mean(axis=1)
    lengths = rng(1).integers(1, T + 1, 32)
    history = rf.fit(
        model,
        (x, y, lengths),
        loss=rf.losses.squared_error,
        optimizer=rf.Adam(model, lr=0.02),
        epochs=25,
        seed=0,
        validation_split=0.25,
        bucket=True,
    )
    assert history["loss"][-1] < 0.5 * history["loss"][0]


def test_trains_with_several_inputs_and_outputs():
    model = encoder_decoder()
    source, target = rng(0).standard_normal((2, B, T, F))
    wanted = target[:, :, :2], np.ones((B, 4))

    def loss(predictions, y, **keywords):
        pairs = zip(predictions, y, ({}, {}), strict=True)
        values, gradients = zip(
            *(rf.losses.squared_error(p, t, **k) for p, t, k in pairs), strict=True
        )
        return sum(values), gradients

    batches = [((source, target), wanted)]
    history = rf.fit(
        model, batches, loss=loss, optimizer=rf.Adam(model, lr=0.02), epochs=30, progress=False
    )
    assert history["loss"][-1] < 0.5 * history["loss"][0]


@pytest.mark.parametrize("value", [np.nan, 1e30])
def test_padding_never_counts(value):
    model, lengths = residual(), [T, 2, 1, 4]
    x = rng(0).standard_normal((B, T, F))
    y, _, tape = model.forward(x, None, lengths)
    dx, _ = model.backward(tape, np.ones_like(y))
    want = {name: grad.copy() for name, grad in model.grads.items()}
    model.zero_grad()
    for b, n in enumerate(lengths):
        np.testing.assert_allclose(y[b], model.predict(x[b : b + 1, :n])[0], rtol=1e-10)
        x[b, n:] = value
    again, _, tape = model.forward(x, None, lengths)
    np.testing.assert_array_equal(again, y)
    model.backward(tape, np.ones_like(y))
    np.testing.assert_equal(model.grads, want)
    assert np.isfinite(dx).all()


def test_lengths_of_each_input():
    model = encoder_decoder()
    source, target = rng(0).standard_normal((B, T, F)), rng(1).standard_normal((B, 5, F))
    ends = [T, 2, 1, 4], [5, 1, 3, 5]
    scores, final = model.predict((source, target), ends)
    for b, (n, m) in enumerate(zip(*ends, strict=True)):
        one, c = model.predict((source[b : b + 1, :n], target[b : b + 1, :m]))
        np.testing.assert_allclose(scores[b, :m], one[0], rtol=1e-10)
        np.testing.assert_allclose(final[b], c[0], rtol=1e-10)


def test_step_by_step():
    model = rf.Graph(
        [
            ("h", rf.GRU(F, F, seed=1, **F8), "x"),
            ("y", rf.Merge("sum"), ["x", "h"]),
            ("z", rf.LSTM(F, 2, seed=2, **F8), "y"),
        ],
        outputs=["z", "y"],
    )
    x, state = rng(0).standard_normal((T, B, F)), None
    want, final = model(x)
    for t in range(T):
        (z, y), state = model.step(x[t], state)
        np.testing.assert_allclose(z, want[0][t], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(y, want[1][t], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(state[2][1], final[2][1], rtol=1e-12, atol=1e-14)
    again, _ = model(x, state)
    assert abs(again[0] - want[0]).max() > 1e-3  # the state counts
    with pytest.raises(ValueError, match="'decoder' starts from a state of others"):
        encoder_decoder().step((x[0], x[0]))
    one, _ = model(x[:, 0])  # a single sequence
    np.testing.assert_allclose(one[0], want[0][:, 0], rtol=1e-12, atol=1e-14)


def test_within_other_layers():
    inner = rf.Graph(
        [
            ("end", rf.Last(batch_first=True), "x"),
            ("again", rf.RepeatVector(None, batch_first=True), "end"),
            ("h", rf.Merge("concat"), ["again", "x"]),
        ],
        outputs="h",
    )
    model = rf.Sequential(
        rf.Embedding(7, F, seed=1, **F8),
        inner,
        rf.Graph([("y", rf.GRU(2 * F, 2, seed=2, **BATCH_FIRST), "x")]),
    )
    assert inner.keeps_time and model.keeps_time and model.out_size == 2
    ids, lengths = rng(0).integers(0, 7, (B, T)), [T, 3, 1, 2]
    y = model.predict(ids, lengths)
    for b, n in enumerate(lengths):
        np.testing.assert_allclose(y[b, :n], model.predict(ids[b : b + 1, :n])[0], rtol=1e-10)
        assert not y[b, n:].any()
    assert "(B, T, 2)" in model.summary()
    history = rf.fit(
        model,
        (ids, y, lengths),
        loss=rf.losses.squared_error,
        optimizer=rf.SGD(model, lr=0.1),
    )
    assert history["loss"][0] < 1e-20  # at the truth already, padding left out


def test_unused_calls_and_inputs_as_outputs():
    model = rf.Graph(
        [("unused", rf.Linear(F, 2, seed=1, **F8), "x"), ("y", rf.Linear(F, 2, seed=2, **F8), "x")],
        outputs=["y", "x"],
    )
    x = rng(0).standard_normal((B, F))
    _, _, tape = model.forward(x)
    dx, _ = model.backward(tape, (np.ones((B, 2)), x))
    np.testing.assert_allclose(dx, x + np.ones((B, 2)) @ model.parts["y"].params["weight"])
    assert not model.grads["unused.weight"].any() and model.grads["y.weight"].any()
    _, _, tape = model.forward(x)
    dx, _ = model.backward(tape, (None, x))
    np.testing.assert_array_equal(dx, x)


REFUSED = [
    (dict(nodes=()), "nodes as a sequence of at least one"),
    (dict(nodes=[("y", rf.Linear(2, 3))]), "nodes of (name, layer, reads)"),
    (dict(nodes=[("y", 3, "x")]), "layers, got int at 'y'"),
    (dict(nodes=[("a.b", rf.ReLU(), "x")]), "node names without '.', each once, got 'a.b'"),
    (dict(nodes=[("x", rf.ReLU(), "x")]), "node names without '.', each once, got 'x'"),
    (
        dict(nodes=[("y", rf.ReLU(), "z")]),
        "'y' to read inputs or what stands before it, x, got 'z'",
    ),
    (dict(nodes=[("y", rf.ReLU(), ["x", "x"])]), "one value to read for 'y', ReLU, got 2"),
    (dict(nodes=[("y", rf.BahdanauAttention(2, 2, 2), ["x", "x"])]), "one value to read for 'y'"),
    (dict(nodes=[("y", rf.ReLU(), 3)]), "reads as a name or a sequence of names, got 3"),
    (dict(nodes=[("z", rf.ReLU(), "x")]), "outputs among its values, got 'y'"),
    (
        dict(nodes=[("y", rf.LSTM(2, 3), "x", ["x"])]),
        "states of 'y', LSTM, for each of h0, c0, got 1",
    ),
    (dict(nodes=[("y", rf.ReLU(), "x", ["x"])]), "states of 'y', ReLU, for each of , got 1"),
    (dict(nodes=[("y", rf.ReLU(), "x")], inputs=["x", "x"]), "inputs of different names"),
    (
        dict(nodes=[("z", rf.Linear(2, 3), "x"), ("y", rf.Linear(2, 3), "z")]),
        "an input of size 2 for 'y', got 'z' of size 3",
    ),
    (
        dict(nodes=[("z", rf.GRU(2, 3), "x"), ("y", rf.Linear(3, 3, **F8), "z.h0")]),
        "dtype float32 at 'y', as the layers before have it, got float64",
    ),
    (
        dict(nodes=[("z", rf.GRU(2, 3), "x"), ("y", rf.Last(batch_first=True), "z")]),
        "batch_first False at 'y', as the layers before have it, got True",
    ),
    (dict(config=3), "config as a list of calls, got int"),
    (dict(config=[3]), "config of calls with a name, got 3"),
    (dict(config=[{"name": "y", "layer": "z"}]), "the name of a layer before, got 'z'"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=[m for _, m in REFUSED])
def test_refuses(options, message):
    with pytest.raises((TypeError, ValueError)) as caught:
        rf.Graph(**options)
    assert f"Graph expected {message}" in str(caught.value)


def test_refuses_parts_of_others():
    inner = rf.ReLU()
    with pytest.raises(ValueError, match="as a layer of its own, got it in y"):
        rf.Graph([("z", inner, "x"), ("y", rf.Sequential(inner), "z")])


def test_refuses_calls():
    model = encoder_decoder()
    x = np.zeros((B, T, F))
    with pytest.raises(ValueError, match="x as a tuple of 2, source, target, got ndarray"):
        model(x)
    with pytest.raises(ValueError, match="x as a tuple of 2, source, target, got 3"):
        model((x, x, x))
    with pytest.raises(ValueError, match="state with an entry for each of 9 layers, got 1"):
        model((x, x), [None])
    with pytest.raises(ValueError, match="'decoder' starts from others, got a state for it"):
        model((x, x), [*[None] * 6, (x, x), None, None])
    y, _, tape = model.forward((x, x))
    with pytest.raises(ValueError, match=r"dy as a tuple of 2, scores, decoder\.c0, got ndarray"):
        model.backward(tape, y[0])
    model.backward(tape, y)
    with pytest.raises(RuntimeError, match="used before"):
        model.backward(tape, y)


# ---- Merge ---------------------------------------------------------------------------------------

KINDS = {
    "sum": lambda a, b: a + b,
    "mean": lambda a, b: (a + b) / 2,
    "difference": lambda a, b: a - b,
    "product": lambda a, b: a * b,
    "max": np.maximum,
    "min": np.minimum,
    "concat": lambda a, b: np.concatenate([a, b], axis=-1),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shapes", [(5, 5), (1, 5)], ids=["alike", "repeated"])
def test_merge(kind, shapes):
    merge = rf.Merge(kind)
    xs = [
        rng(i).standard_normal((B, n if kind != "concat" else 5, F)) for i, n in enumerate(shapes)
    ]
    y, tape = merge.forward(*xs)
    np.testing.assert_array_equal(y, KINDS[kind](*xs))
    np.testing.assert_array_equal(y, merge(*xs))
    dy = rng(3).standard_normal(y.shape)
    for x, dx in zip(xs, merge.backward(tape, dy), strict=True):
        same_slope("dx", dx, lambda: np.vdot(dy, merge(*xs)), x)
    assert merge.backward(merge.forward(*xs)[1], dy, input_grad=False) is None


@pytest.mark.parametrize("kind", KINDS)
def test_merge_of_parts(kind):
    merge = rf.Merge(kind, parts=2)
    x = rng(0).standard_normal((B, 6))
    y, tape = merge.forward(x)
    np.testing.assert_array_equal(y, KINDS[kind](x[:, :3], x[:, 3:]))
    dy = rng(3).standard_normal(y.shape)
    dx = merge.backward(tape, dy)
    same_slope("dx", dx, lambda: np.vdot(dy, merge(x)), x)


def test_the_first_of_equal_ones_gets_the_gradient():
    for kind in "max", "min":
        merge = rf.Merge(kind)
        x = np.ones((1, 2))
        _, tape = merge.forward(x, x, x)
        a, b, c = merge.backward(tape, np.full((1, 2), 3.0))
        assert (a == 3).all() and not b.any() and not c.any()


@pytest.mark.parametrize(
    ("kind", "parts", "inputs", "message"),
    [
        ("sum", 1, [(2, 3), (2, 4)], "inputs of the same shape"),
        ("sum", 1, [(2, 3), (3,)], "inputs of the same shape"),
        ("concat", 1, [(2, 3), (1, 3)], "inputs of the same shape"),
        ("difference", 1, [(2, 3)] * 3, "2 inputs for"),
        ("sum", 2, [(2, 4)] * 2, "one input for"),
        ("sum", 2, [(2, 3)], "features that 2 divides"),
        ("sum", 1, [], "1 inputs for"),
    ],
)
def test_merge_refuses(kind, parts, inputs, message):
    with pytest.raises(ValueError, match=f"Merge expected {message}"):
        rf.Merge(kind, parts)(*map(np.zeros, inputs))


def test_merge_refuses_kinds_and_dtypes():
    with pytest.raises(ValueError, match=r"kind as one of .*, got 'dot'"):
        rf.Merge("dot")
    with pytest.raises(TypeError, match="inputs of one dtype"):
        rf.Merge("sum")(np.zeros(2), np.zeros(2, np.float32))
    with pytest.raises(TypeError, match="NumPy array of floats"):
        rf.Merge("sum")([1.0], [2.0])


def test_sizes_and_steps():
    model = rf.Graph(
        [
            ("a", rf.Conv1d(F, 4, 3, **BATCH_FIRST), "x"),
            (
                "b",
                rf.Add(rf.Conv1d(F, 2, 3, **BATCH_FIRST), rf.Conv1d(F, 2, 3, **BATCH_FIRST)),
                "x",
            ),
            ("y", rf.Merge("concat"), ["a", "b"]),
            ("mean", rf.Pool(batch_first=True), "y"),
            ("dropped", rf.Dropout(0.5), "mean"),
        ],
        outputs=["y", "dropped"],
    )
    assert model.in_size == F and model.out_size == 6 and model.keeps_time
    assert model.out_steps("T", "T") == "T - 2"
    np.testing.assert_array_equal(model.out_lengths([5, 2, 0]), [3, 0, 0])
    assert "(B, T - 2, 6)" in model.summary() and "(B, 6)" in model.summary()
    _, pooled = model.predict(rng(0).standard_normal((B, T, F)))
    assert pooled.shape == (B, 6)


def test_dy_is_checked_before_anything_is_written():
    graph = rf.Graph(
        [("a", rf.Linear(F, 4, seed=1), "x"), ("b", rf.Linear(F, 2, seed=2), "x")], "x", ["a", "b"]
    )
    x = rng().standard_normal((B, F)).astype(np.float32)
    (a, b), _, tape = graph.forward(x)
    for dy in ((a[:1], b), (a, b[:, :1])):
        with pytest.raises(ValueError, match=r"dy of '[ab]'"):
            graph.backward(tape, dy)
    assert not any(gradient.any() for gradient in graph.grads.values())
    graph.backward(tape, (a, b))
    assert all(gradient.any() for gradient in graph.grads.values())


@pytest.mark.parametrize(
    "loose", [lambda: rf.Linear(F, 2, seed=1), lambda: rf.Sequential(linear())]
)
def test_fit_leaves_padding_out_where_no_layer_knows_time(loose):
    x = rng().standard_normal((B, T, F)).astype(np.float32)
    y, lengths = np.zeros((B, T, 2), np.float32), np.array([6, 1, 4, 2])
    padded = np.where(np.arange(T)[:, None] < lengths[:, None, None], x, np.nan)
    found = []
    for model in (loose(), rf.Graph([("y", linear(), "x")])):
        history = rf.fit(
            model,
            (padded.astype(np.float32), y, lengths),
            loss=rf.losses.squared_error,
            optimizer=rf.SGD(model, 0.1),
            epochs=2,
            seed=0,
        )
        found.append(history["loss"])
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[0], found[1])


def linear():
    return rf.Linear(F, 2, seed=1)


def test_an_estimator_s_network_may_be_a_graph_that_ends_time():
    x = [rng(i).standard_normal((n, F)) for i, n in enumerate([6, 3, 5, 4] * 3)]

    def network(n, outputs):
        gru = rf.GRU(n, 4, batch_first=True, seed=0)
        return rf.Graph([("r", gru, "x"), ("y", rf.Linear(4, outputs, seed=0), "r.h0")])

    model = rf.SequenceClassifier(network=network, max_iter=2, random_state=0)
    assert model.fit(x, [0, 1] * 6).predict(x).shape == (12,)


REFUSED_PARTS = {
    "names without '.', got 'a.b'": lambda: rf.Graph([("y", linear(), "a.b")], "a.b", "y"),
    "a state of size 5 for 'r', got 'e.h0' of size 4": lambda: rf.Graph(
        [("e", rf.GRU(F, 4), "x"), ("r", rf.GRU(F, 5), "x", "e.h0")], "x", "r"
    ),
    "a layer of one input and one output at 'inner'": lambda: rf.Graph(
        [("inner", rf.Graph([("y", linear(), "x")], "x", ["y", "x"]), "x")], "x", "inner"
    ),
    "parts of at most 2 for 'difference', got 3": lambda: rf.Merge("difference", parts=3),
}


@pytest.mark.parametrize("message", REFUSED_PARTS)
def test_refused_parts(message):
    with pytest.raises(ValueError, match=re.escape(message)):
        REFUSED_PARTS[message]()
