"""Models as ONNX graphs: what ONNX Runtime makes of them."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import numpy as np
import pytest

# of its modules, since a folder of tests could pass for the package itself
pytest.importorskip("onnx.helper", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

import onnx
import onnxruntime
from engines import each_engine as each_engine

import rnnfast
import rnnfast.onnx
from rnnfast import (
    GRU,
    LSTM,
    RNN,
    Activation,
    Add,
    BahdanauAttention,
    BatchNorm1d,
    Conv1d,
    Dot,
    Dropout,
    Embedding,
    EncoderDecoder,
    GatedConv1d,
    GaussianNoise,
    Graph,
    JoinedEmbedding,
    Last,
    LayerNorm,
    Linear,
    LuongAttention,
    Merge,
    MiniRocket,
    Pool,
    Pool1d,
    Rearrange,
    ReLU,
    RepeatVector,
    Scale,
    Sequential,
    Sigmoid,
    Softmax,
    Tanh,
    WaveNet,
)
from rnnfast.cells import CELLS as TABLE
from rnnfast.layers.activation import CURVES

BOUND = 1e-5
T, B, F, H = 7, 4, 3, 5
LENGTHS = [T, 3, 0, 1]
CELLS = {
    name: partial(getattr(rnnfast, c.layer), **c.options) for name, c in TABLE.items() if c.onnx
}
CELLS["lstm, projection"] = partial(LSTM, proj_size=2)


def exported(tmp_path: Any, model: Any, **options: Any) -> Any:
    """Return the saved graph, as ONNX's own library reads it."""
    path = tmp_path / "model.onnx"
    rnnfast.onnx.save(model, path, **options)
    assert os.listdir(tmp_path) == ["model.onnx"]
    graph = onnx.load(str(path))
    onnx.checker.check_model(graph, full_check=True)
    return graph


def run(graph: Any, **inputs: Any) -> list[Any]:
    """Return what ONNX Runtime gives, in the order of the graph's outputs."""
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, inputs)


def same(got: Any, want: Any) -> None:
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=BOUND, atol=BOUND)


def numbers(*shape: int, dtype: Any = np.float32) -> Any:
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


def padded(lengths: Any, steps: int = T) -> Any:
    """Return a batch of sequences with NaN past their ends."""
    x = numbers(steps, B, F)
    if lengths is not None:
        x[np.arange(steps)[:, None] >= lengths] = np.nan
    return x


def laid_out(x: Any, batch_first: bool | None) -> Any:
    return np.ascontiguousarray(x.swapaxes(0, 1)) if batch_first else x


def output(result: Any) -> Any:
    return result[0] if isinstance(result, tuple) else result


# ---- recurrent layers --------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(
    "options",
    [{}, {"batch_first": True}, {"num_layers": 3}, {"num_layers": 2, "bias": False}],
    ids=str,
)
def test_recurrent(cell, bidirectional, options, tmp_path):
    model = CELLS[cell](F, H, bidirectional=bidirectional, seed=1, **options)
    x = laid_out(numbers(T, B, F), model.batch_first)
    same(run(exported(tmp_path, model), input=x)[0], model(x)[0])


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "num_layers": 2}], ids=str)
@pytest.mark.parametrize("batch_first", [False, True])
def test_recurrent_ragged(cell, options, batch_first, tmp_path):
    model = CELLS[cell](F, H, batch_first=batch_first, seed=1, **options)
    graph = exported(tmp_path, model, lengths=True)
    for lengths in LENGTHS, [3, 5, 2, 4]:  # no sample fills all steps
        x = laid_out(padded(lengths), batch_first)
        (y,) = run(graph, input=x, lengths=np.array(lengths, np.int32))
        same(y, model(x, None, lengths)[0])


@pytest.mark.parametrize("cell", [name for name in CELLS if name != "lstm, projection"])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "ragged"])
@pytest.mark.parametrize(
    "options", [{}, {"bidirectional": True, "num_layers": 2, "batch_first": True}], ids=str
)
def test_states(cell, lengths, options, tmp_path):
    model = CELLS[cell](F, H, seed=1, **options)
    graph = exported(tmp_path, model, states=True, lengths=lengths is not None)
    x = laid_out(padded(lengths), model.batch_first)
    stack = model.num_layers * (2 if model.bidirectional else 1)
    parts = numbers(2, stack, B, H)
    names = ["h_0", "c_0"][: 1 + model._cell.has_cell_state]
    state = tuple(parts) if len(names) == 2 else parts[0]
    given = dict(zip(names, parts, strict=False))
    if lengths:
        given["lengths"] = np.array(lengths, np.int32)
    y, *final = run(graph, input=x, **given)
    want, want_final = model(x, state, lengths)
    same(y, want)
    for got, part in zip(final, want_final if len(names) == 2 else [want_final], strict=True):
        same(got, part)
    outputs = [value.name for value in graph.graph.output]
    assert outputs == ["output", "h_n", "c_n"][: 1 + len(names)]


def test_states_of_a_chain_carry_on(tmp_path):
    model = Sequential(LSTM(F, H, seed=1), Sequential(Dropout(), GRU(H, 2, seed=2)))
    graph = exported(tmp_path, model, states=True)
    x = numbers(T, B, F)
    zeros = {"0.h_0": (1, B, H), "0.c_0": (1, B, H), "1.1.h_0": (1, B, 2)}
    state = {name: np.zeros(shape, np.float32) for name, shape in zeros.items()}
    whole = model(x)[0]
    for part, want in (x[:3], whole[:3]), (x[3:], whole[3:]):
        y, *final = run(graph, input=part, **state)
        same(y, want)
        names = [value.name for value in graph.graph.output]
        assert names == ["output", "0.h_n", "0.c_n", "1.1.h_n"]
        state = dict(zip(zeros, final, strict=True))


def test_training_options_are_left_out(tmp_path):
    model = LSTM(F, H, 2, dropout=0.5, recurrent_dropout=0.5, checkpoint=2, seed=1)
    x = numbers(T, B, F)
    same(run(exported(tmp_path, model), input=x)[0], model(x)[0])


# ---- all layers --------------------------------------------------------------------------------

norm = BatchNorm1d(F, batch_first=True)
norm.buffers["running_mean"] = [1.0, -2.0, 30.0]
norm.buffers["running_var"] = [0.5, 4.0, 9.0]
norm.params["weight"] = [1.0, 2.0, -3.0]
norm.params["bias"] = [0.5, 0.0, 1.0]
scaled = LayerNorm(F, eps=1e-2)
scaled.params["weight"] = [1.0, 2.0, -3.0]
scaled.params["bias"] = [0.5, 0.0, 1.0]


ranged = Scale(F)
ranged.buffers["mean"], ranged.buffers["scale"] = [1.0, 2.0, 3.0], [0.5, 2.0, -1.0]


def rocket(batch_first):
    layer = MiniRocket(F, 9, num_features=500, batch_first=batch_first, seed=1)
    layer.learn(numbers(20, 20, F))
    return layer


CHAINS = {
    "linear": Sequential(
        LSTM(F, H, seed=1), Linear(H, 2, bias=False, seed=2), Linear(2, 3, seed=2)
    ),
    "norms": Sequential(scaled, norm, GRU(F, H, batch_first=True, seed=1)),
    "plain norm": Sequential(BatchNorm1d(F, affine=False, batch_first=False), RNN(F, H, seed=1)),
    "activations": Sequential(RNN(F, H, seed=1), ReLU(), Tanh(), Sigmoid(), Dropout(), Softmax()),
    "last": Sequential(LSTM(F, H, 2, bidirectional=True, seed=1), Last(), Linear(2 * H, 2, seed=2)),
    "last, batch first": Sequential(LSTM(F, H, batch_first=True, seed=1), Last(True), Tanh()),
    "last of both ways": Sequential(
        GRU(F, H, bidirectional=True, seed=1), Last(bidirectional=True), Linear(2 * H, 2, seed=2)
    ),
    "last of both ways, batch first": Sequential(
        RNN(F, H, bidirectional=True, batch_first=True, seed=1), Last(True, True)
    ),
    "mean": Sequential(GRU(F, H, batch_first=True, seed=1), Pool("mean", True)),
    "max": Sequential(GRU(F, H, seed=1), Pool("max"), Linear(H, 2, seed=2)),
    "repeat": Sequential(GRU(F, H, seed=1), Last(), RepeatVector(4), LSTM(H, H, seed=2)),
    "repeat, batch first": Sequential(
        GRU(F, H, batch_first=True, seed=1), Last(True), RepeatVector(4, True), Linear(H, 2, seed=2)
    ),
    "repeat as the input": Sequential(
        GRU(F, H, seed=1), Last(), RepeatVector(T), LSTM(H, H, seed=2), Linear(H, 2, seed=2)
    ),
    "repeat by the input": Sequential(
        Sequential(GRU(F, H, batch_first=True, seed=1), Pool("mean", True)),
        Sequential(RepeatVector(None, True), LSTM(H, H, batch_first=True, seed=2)),
    ),
    "valid": Sequential(Conv1d(F, H, 3, 2, seed=1), LSTM(H, H, seed=2), Last()),
    "same": Sequential(Conv1d(F, H, 4, padding="same", dilation=2, seed=1), Pool("max")),
    "causal": Sequential(Conv1d(F, H, 3, 2, "causal", 2, False, True, seed=1), ReLU()),
    "padding": Sequential(
        Conv1d(F, H, 3, 3, padding=2, batch_first=True, seed=1),
        Conv1d(H, 2, 2, padding="causal", batch_first=True, seed=2),
        GRU(2, H, batch_first=True, seed=3),
    ),
    "gated": Sequential(GatedConv1d(F, 2, 3, seed=1), Pool()),
    "WaveNet": Sequential(WaveNet(F, H, (1, 2, 4), batch_first=True, seed=1), Linear(H, 2, seed=2)),
    "added": Sequential(
        Add(
            Sequential(GRU(F, H, batch_first=True, seed=1), Last(True), Linear(H, 2, seed=2)),
            Sequential(rocket(True), Linear(336, 2, seed=3)),
            weights=(0.5, 2.0),
        )
    ),
    "features": Sequential(rocket(False)),
    "features of short samples": Sequential(rocket(True)),
    "functions": Sequential(RNN(F, H, seed=1), *map(Activation, CURVES), GaussianNoise(1.0)),
    "one parameter": Sequential(
        LayerNorm(F, affine="weight"),
        BatchNorm1d(F, affine="bias", batch_first=False),
        RNN(F, H, seed=1),
    ),
    "scale": Sequential(ranged, RNN(F, H, seed=1)),
    "reversed": Sequential(Rearrange("reverse"), GRU(F, H, seed=1)),
    "reversed, batch first": Sequential(
        Linear(F, F, seed=1), Rearrange("reverse", (), True), Conv1d(F, 2, 2, batch_first=True)
    ),
    "steps": Sequential(
        Rearrange("repeat", 3), Rearrange("pad", (2, -5)), GRU(F, H, seed=1), Pool("mean")
    ),
    "steps, batch first": Sequential(
        Rearrange("pad", (-1, 2), True),
        Rearrange("repeat", 2, True),
        Rearrange("part", (1, 3), True),
    ),
    "windows": Sequential(Pool1d("max", 2), Pool1d("mean", 3, 1, "same"), GRU(F, H, seed=1)),
    "windows, batch first": Sequential(
        Pool1d("mean", 2, 1, "causal", True), Pool1d("max", 3, 2, 1, True), ReLU()
    ),
    "nested": Sequential(Sequential(RNN(F, H, seed=1)), Sequential(Last()), Linear(H, 2, seed=2)),
}


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("lengths", [None, LENGTHS, [6, 4, 5, 3]], ids=str)
def test_chain(name, lengths, tmp_path):
    model = CHAINS[name]
    graph = exported(tmp_path, model, lengths=lengths is not None)
    again = rnnfast.onnx.load(tmp_path / "model.onnx")
    for steps in T, T + 4:
        x = laid_out(padded(lengths, steps), model.batch_first)
        given = {} if lengths is None else {"lengths": np.array(lengths, np.int32)}
        want = model.predict(x, lengths)
        same(run(graph, input=x, **given)[0], want)
        same(again(x, **given), want)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (Last(), (T, B, F)),
        (Pool("max", batch_first=True), (B, T, F)),
        (Conv1d(F, H, 2, seed=1), (T, B, F)),
        (WaveNet(F, H, (1, 2), seed=1), (T, B, F)),
        (GatedConv1d(F, 2, 1, batch_first=True, seed=1), (B, T, F)),
        (RepeatVector(3), (B, F)),
        (RepeatVector(3, batch_first=True), (B, F)),
        (Rearrange("flatten"), (T, B, F)),
        (Rearrange("swap"), (T, B, F)),
        (Rearrange("fold", (-1, 1)), (B, F)),
        (Sequential(Rearrange("flatten", (), True), Linear(T * F, 2, seed=1)), (B, T, F)),
        (Sequential(Rearrange("swap", (), True), GRU(T, H, batch_first=True, seed=1)), (B, T, F)),
        (Sequential(Linear(F, 6), Rearrange("fold", (2, 3)), GRU(3, H, seed=2)), (B, F)),
        (Conv1d(F, H, 3, 2, "same", batch_first=True, seed=1), (B, T, F)),
        (Conv1d(F, H, 2, 3, "same", seed=1), (T, B, F)),
        (Pool1d("mean", 3, 2, "same"), (T, B, F)),
        (Pool1d("max", 2, 3, "same", True), (B, T, F)),
        (Linear(F, H, seed=1), (B, F)),
        (scaled, (B, F)),
        (norm, (B, T, F)),
        (BatchNorm1d(F), (B, F)),
        (ReLU(), (B, F)),
        (Dropout(), (B, F)),
        (Sequential(Linear(F, H, seed=1), Tanh(), Linear(H, 2, seed=2)), (B, F)),
        (Sequential(Linear(F, H, seed=1), RepeatVector(3), GRU(H, H, seed=2)), (B, F)),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, tuple) else "",
)
def test_layer(layer, shape, tmp_path):
    x = numbers(*shape)
    same(run(exported(tmp_path, layer), input=x)[0], output(layer(x)))


def test_time_where_no_layer_tells(tmp_path):
    model = Sequential(Linear(F, H, seed=1), LayerNorm(H))
    x = numbers(T, B, F)
    same(run(exported(tmp_path, model, time=True), input=x)[0], model.predict(x))


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (Sequential(Embedding(9, F, padding_idx=0, seed=1), LSTM(F, H, seed=2)), (T, B)),
        (
            Sequential(Embedding(9, F, seed=1), GRU(F, H, batch_first=True, seed=2), Last(True)),
            (B, T),
        ),
        (Sequential(JoinedEmbedding(9, 2, 3, seed=1), RNN(6, H, seed=2)), (T, B, 3)),
        (Embedding(9, F, seed=1), (B,)),
        (JoinedEmbedding(9, 2, 3, seed=1), (B, 3)),
    ],
    ids=str,
)
def test_symbols(model, shape, tmp_path):
    ids = np.random.default_rng(0).integers(9, size=shape)
    same(run(exported(tmp_path, model), input=ids)[0], output(model(ids)))


# ---- several inputs ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layer",
    [
        LuongAttention(F, F, batch_first=True, seed=1),
        LuongAttention(H, F, "general", seed=1),
        LuongAttention(H, F, "concat", 2, seed=1),
        BahdanauAttention(H, F, 4, batch_first=True, seed=1),
    ],
    ids=str,
)
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "ragged"])
def test_attention(layer, lengths, tmp_path):
    query = laid_out(numbers(3, B, layer.query_size), layer.batch_first)
    memory = laid_out(padded(lengths), layer.batch_first)
    given = {} if lengths is None else {"lengths": np.array(lengths, np.int32)}
    graph = exported(tmp_path, layer, lengths=lengths is not None)
    got = run(graph, query=query, memory=memory, **given)
    for one, want in zip(got, layer(query, memory, lengths), strict=True):
        same(one, want)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cell": "gru", "num_layers": 2, "bidirectional": True, "batch_first": True},
        {"attention": "general", "num_layers": 2, "bidirectional": True, "dropout": 0.5},
        {"attention": "concat", "cell": "rnn", "bidirectional": True, "batch_first": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("ragged", [False, True])
def test_encoder_decoder(options, ragged, tmp_path):
    model = EncoderDecoder(9, 6, F, H, seed=1, **options)
    rng = np.random.default_rng(0)
    source = laid_out(rng.integers(9, size=(T, B)), model.batch_first)
    target = laid_out(rng.integers(6, size=(3, B)), model.batch_first)
    lengths = (LENGTHS, [3, 2, 1, 0]) if ragged else (None, None)
    given = dict(zip(["source_lengths", "lengths"], lengths, strict=True)) if ragged else {}
    graph = exported(tmp_path, model, lengths=ragged)
    given = {name: np.array(value, np.int32) for name, value in given.items()}
    want = model(source, target, *lengths)
    same(run(graph, source=source, target=target, **given)[0], want)
    again = rnnfast.onnx.load(tmp_path / "model.onnx")
    same(again(source=source, target=target, **given), want)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_encoder_decoder_of_a_vector(cell, tmp_path):
    model = EncoderDecoder(F, 6, 2, H, 2, cell, source="vector", seed=1)
    source, target = numbers(B, F), np.random.default_rng(0).integers(6, size=(3, B))
    same(run(exported(tmp_path, model), source=source, target=target)[0], model(source, target))


def test_products(tmp_path):
    time = {"batch_first": True, "seed": 1}
    model = Graph(
        [
            ("h", GRU(F, H, **time), "x"),
            ("end", Last(True), "h"),
            ("scores", Dot((2, 1), (False, True)), ["h", "end"]),
            ("weights", Softmax(), "scores"),
            ("context", Dot((1, 1), (True, False)), ["weights", "h"]),
            ("pairs", Dot((2, 2)), ["h", "h"]),
            ("mixed", Dot((2, 1)), ["pairs", "h"]),
            ("fit", Dot((1, 1), (True, True)), ["context", "end"]),
            ("features", Dot((1, 1)), ["h", "x"]),
        ],
        outputs=["context", "mixed", "fit"],
    )
    x = numbers(B, T, F)
    for got, want in zip(run(exported(tmp_path, model), x=x), model.predict(x), strict=True):
        same(got, want)


def test_products_with_a_vector(tmp_path):
    model = Graph(
        [
            ("h", GRU(F, H, batch_first=True, seed=1), "x"),
            ("y", Dot((2, 1), (False, True)), ["h", "v"]),
        ],
        inputs=["x", "v"],
    )
    x, v = numbers(B, T, F), numbers(B, H)
    same(run(exported(tmp_path, model), x=x, v=v)[0], model.predict((x, v)))


def test_names_of_graphs(tmp_path):
    """Those of inputs and outputs are the model's own, whatever is called so within."""
    model = Graph(
        [
            ("Transpose_0", GRU(F, H, batch_first=True, seed=1), "constant_0"),
            ("Add_3", Linear(H, 2, seed=2), "Transpose_0"),
        ],
        inputs="constant_0",
        outputs=["Add_3", "Transpose_0.h0", "constant_0", "Add_3"],
    )
    graph, x = exported(tmp_path, model), numbers(B, T, F)
    names = [value.name for value in graph.graph.output]
    assert names == ["Add_3", "Transpose_0.h0", "constant_0_2", "Add_3_2"]
    for got, want in zip(run(graph, constant_0=x), model.predict(x), strict=True):
        same(got, want)
    clash = Graph(
        [("y", GRU(F, H), "x"), ("z", GRU(F, H), "x_lengths"), ("s", Merge("sum"), ["y", "z"])],
        inputs=["x", "x_lengths"],
        outputs="s",
    )
    with pytest.raises(ValueError, match="two inputs 'x_lengths'"):
        rnnfast.onnx.save(clash, tmp_path / "clash.onnx", lengths=True)


# ---- estimators --------------------------------------------------------------------------------


def test_network_of_an_estimator(tmp_path):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    X = [numbers(steps, F) for steps in (3, 5, 4, 6)]
    estimator = rnnfast.SequenceClassifier(
        hidden_size=H, num_layers=2, bidirectional=True, max_iter=1, random_state=0
    )
    model = estimator.fit(X, [0, 1, 1, 0]).model_
    x = laid_out(padded(LENGTHS), True)
    graph = exported(tmp_path, model, lengths=True)
    (y,) = run(graph, input=x, lengths=np.array(LENGTHS, np.int32))
    same(y, model.predict(x, LENGTHS))


# ---- float64 -----------------------------------------------------------------------------------


def test_float64(tmp_path):
    model = Sequential(
        Linear(F, H, seed=1, dtype=np.float64),
        LayerNorm(H, dtype=np.float64),
        Tanh(),
        BatchNorm1d(H, dtype=np.float64, batch_first=True),
        Pool(batch_first=True),
    )
    x = numbers(B, T, F, dtype=np.float64)
    graph = exported(tmp_path, model, lengths=True)
    (y,) = run(graph, input=x, lengths=np.array(LENGTHS, np.int32))
    want = model.predict(x, LENGTHS)
    assert y.dtype == want.dtype
    np.testing.assert_allclose(y, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_float64_recurrence(cell, tmp_path):
    # ONNX Runtime has none for float64: the same graph in float32 must be that of the twin
    graphs = []
    for dtype in np.float64, np.float32:
        model = Sequential(
            CELLS[cell](F, H, 2, bidirectional=True, seed=1, dtype=dtype),
            Conv1d(4 if "proj" in cell else 2 * H, 2, 3, padding="causal", seed=2, dtype=dtype),
        )
        graphs.append(exported(tmp_path, model, lengths=True).graph)
    wide, narrow = graphs
    kinds = [value.type.tensor_type.elem_type for value in (wide.input[0], wide.output[0])]
    assert kinds == [onnx.TensorProto.DOUBLE] * 2
    assert list(wide.node) == list(narrow.node)
    for one, other in zip(wide.initializer, narrow.initializer, strict=True):
        array, want = map(onnx.numpy_helper.to_array, (one, other))
        assert one.name == other.name
        assert array.dtype == np.float64 or array.dtype == want.dtype
        np.testing.assert_allclose(array.astype(want.dtype), want, rtol=1e-6, atol=1e-6)


# ---- back again --------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_recurrence_and_back(cell, dtype, tmp_path):
    states = cell != "lstm, projection"
    model = CELLS[cell](F, H, 2, bidirectional=True, batch_first=True, seed=1, dtype=dtype)
    x = laid_out(padded(LENGTHS), True).astype(dtype)
    inputs = {"input": x, "lengths": np.array(LENGTHS, np.int32)}
    parts = numbers(2, 4, B, H, dtype=dtype)
    names = ["h_0", "c_0"][: 1 + model._cell.has_cell_state] if states else []
    state = tuple(parts) if len(names) == 2 else parts[0] if names else None
    inputs |= dict(zip(names, parts, strict=False))
    rnnfast.onnx.save(model, tmp_path / "model.onnx", lengths=True, states=states)
    y, *final = rnnfast.onnx.load(tmp_path / "model.onnx").run(None, inputs)
    want, want_final = model(x, state, LENGTHS)
    bound = BOUND if dtype is np.float32 else 1e-12
    np.testing.assert_allclose(y, want, rtol=bound, atol=bound)
    want_final = want_final if len(names) == 2 else [want_final]
    for got, part in zip(final, want_final[: len(names)], strict=True):
        np.testing.assert_allclose(got, part, rtol=bound, atol=bound)


# ---- the file ----------------------------------------------------------------------------------


def test_graph(tmp_path):
    model = Sequential(Conv1d(F, H, 3, 2, batch_first=True), LSTM(H, 2, batch_first=True))
    graph = exported(tmp_path, model, lengths=True)
    assert (graph.producer_name, graph.producer_version) == ("rnnfast", rnnfast.__version__)
    assert [(entry.domain, entry.version) for entry in graph.opset_import] == [("", 17)]
    assert graph.ir_version == 8
    axes = {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in [*graph.graph.input, *graph.graph.output]
    }
    assert axes == {
        "input": ["batch", "time", F],
        "lengths": ["batch"],
        "output": ["batch", "(time - 1) // 2", 2],
    }
    (lstm,) = [node for node in graph.graph.node if node.op_type == "LSTM"]
    assert "layout" not in [attribute.name for attribute in lstm.attribute]


def test_runs_with_other_sizes_than_traced(tmp_path):
    model = LSTM(F, H, bidirectional=True, seed=1)
    graph = exported(tmp_path, model)
    for steps, samples in (1, 1), (2, 9), (30, 2):
        x = numbers(steps, samples, F)
        same(run(graph, input=x)[0], model(x)[0])


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_interrupted_save_leaves_the_older_file(error, tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    rnnfast.onnx.save(Linear(2, 3), path)
    before = path.read_bytes()

    def fails(*_: object) -> None:
        raise error("the disk is full")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(error, match="the disk is full"):
        rnnfast.onnx.save(LSTM(F, H), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model.onnx"]


# ---- graphs ------------------------------------------------------------------------------------


def encoder_decoder(batch_first=False, cell=LSTM):
    time = {"batch_first": batch_first}
    start = ["h", "c"] if cell is LSTM else ["h"]
    return Graph(
        [
            ("ids", Embedding(5, F, seed=0), "source"),
            ("encoder", cell(F, 2, 2, bidirectional=True, seed=1, **time), "ids"),
            ("h", Merge("concat"), ["encoder.h2", "encoder.h3"]),
            *([("c", Merge("concat"), ["encoder.c2", "encoder.c3"])] if cell is LSTM else []),
            ("decoder", cell(F, 4, seed=2, **time), "target", start),
            ("twice", Linear(4, 4, seed=3), "decoder"),
            ("thrice", ReLU(), "twice"),
            ("again", Linear(4, 4, seed=4), "thrice"),
            ("y", Merge("max"), ["decoder", "again"]),
        ],
        inputs=["source", "target"],
        outputs=["y", "h"],
    )


@pytest.mark.parametrize("cell", [LSTM, GRU])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("ragged", [False, True])
def test_graph_of_several_inputs_and_outputs(cell, batch_first, ragged, tmp_path):
    model = encoder_decoder(batch_first, cell)
    ids = laid_out(np.random.default_rng(0).integers(0, 5, (T, B)), batch_first)
    target = laid_out(numbers(5, B, F), batch_first)
    ends = ([T, 3, 1, 2], [5, 2, 1, 4]) if ragged else None
    given = {}
    if ragged:
        pairs = zip(("source", "target"), ends, strict=True)
        given = {f"{name}_lengths": np.array(end, np.int32) for name, end in pairs}
    graph = exported(tmp_path, model, lengths=ragged)
    got = run(graph, source=ids, target=target, **given)
    for a, b in zip(got, model.predict((ids, target), ends), strict=True):
        same(a, b)


@pytest.mark.parametrize("kind", ["sum", "mean", "difference", "product", "max", "min", "concat"])
def test_graph_in_a_chain(kind, tmp_path):
    shared = Linear(F, F, seed=1)
    graph = Graph(
        [
            ("a", shared, "x"),
            ("b", shared, "a"),
            ("h", GRU(F, 4, bidirectional=True, seed=2), "b"),
            ("halves", Merge(kind, parts=2), "h"),
            ("p", Linear(F, 8 if kind == "concat" else 4, seed=3), "x"),
            ("y", Merge(kind), ["halves", "p"]),
        ]
    )
    model = Sequential(Linear(F, F, seed=4), graph, Pool())
    saved = exported(tmp_path, model, lengths=True)
    x = padded(LENGTHS)
    (y,) = run(saved, input=x, lengths=np.array(LENGTHS, np.int32))
    same(y, model(x, None, LENGTHS)[0])
    names = [weight.name for weight in saved.graph.initializer]
    assert len(names) == len(set(names))
    os.remove(tmp_path / "model.onnx")
    alone = exported(tmp_path, graph, states=True)
    h_0 = numbers(2, B, 4)
    y, h_n = run(alone, input=numbers(T, B, F), **{"h.h_0": h_0})
    want, state = graph(numbers(T, B, F), [None, None, h_0, None, None, None])
    same(y, want)
    same(h_n, state[2])


def test_directions_merged_in_a_chain(tmp_path):
    model = Sequential(GRU(F, 4, bidirectional=True, seed=1), Merge("mean", parts=2))
    x = numbers(T, B, F)
    same(run(exported(tmp_path, model), input=x)[0], model.predict(x))


def test_graphs_that_are_refused(tmp_path):
    twice = GRU(F, F, seed=1)
    model = Graph([("a", twice, "x"), ("y", twice, "a")])
    with pytest.raises(ValueError, match="a layer that is called twice with its states"):
        rnnfast.onnx.save(model, tmp_path / "model.onnx", states=True)
    model = Sequential(Graph([("y", ReLU(), "x")], outputs=["y", "x"]))
    with pytest.raises(ValueError, match=r"Graph \(layer 0\) .* several inputs or outputs, so it"):
        rnnfast.onnx.save(model, tmp_path / "model.onnx")
    model = Graph([("h", LSTM(F, H, proj_size=2), "x"), ("y", Linear(2, 3), "h.h0")])
    with pytest.raises(ValueError, match=r"with proj_size=2: .* others cannot read its state"):
        rnnfast.onnx.save(model, tmp_path / "model.onnx")
