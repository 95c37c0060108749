"""Linear, norms, activations, Last, Pool and RepeatVector, and any call of layers without state."""

from __future__ import annotations

import re

import numpy as np
import pytest
from comparisons import checked, close, same_in_any_layout, same_slope, same_slopes
from engines import each_engine as each_engine
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import copies

from rnnfast import (
    LSTM,
    RNN,
    Activation,
    BatchNorm1d,
    Dot,
    Dropout,
    Embedding,
    GaussianNoise,
    JoinedEmbedding,
    Last,
    LayerNorm,
    Linear,
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
)

SHAPES = [(5,), (4, 5), (3, 4, 5), (2, 0, 5)]
FLOATS = [
    lambda **o: Linear(5, 3, seed=1, **o),
    lambda **o: Linear(5, 3, bias=False, seed=1, **o),
    lambda **o: LayerNorm(5, **o),
]
each_float = pytest.mark.parametrize("make", FLOATS, ids=["linear", "no bias", "norm"])


@each_float
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_finite_differences(make, shape):
    layer = make(dtype=np.float64)
    rng = np.random.default_rng(0)
    for name in layer.params:
        layer.params[name] = rng.standard_normal(layer.params[name].shape)
    checked(layer, rng.standard_normal(shape))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_torch(dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    kind = torch.float32 if dtype == np.float32 else torch.float64
    rng = np.random.default_rng(1)
    x = rng.standard_normal((3, 4, 5)).astype(dtype)
    ids = rng.integers(0, 9, (3, 4))
    for ours, theirs, given_x in [
        (Linear(5, 6, dtype=dtype), torch.nn.Linear(5, 6, dtype=kind), x),
        (LayerNorm(5, dtype=dtype), torch.nn.LayerNorm(5, dtype=kind), x),
        (Embedding(9, 6, dtype=dtype), torch.nn.Embedding(9, 6, dtype=kind), ids),
        (Embedding(9, 6, 2, dtype=dtype), torch.nn.Embedding(9, 6, 2, dtype=kind), ids),
    ]:
        ours.load_state_dict(theirs.state_dict())
        if not isinstance(ours, LayerNorm):
            assert repr(ours) == repr(theirs)
        tx = torch.tensor(given_x, requires_grad=given_x is x)
        y, tape = ours.forward(given_x)
        ty = theirs(tx)
        dy = rng.standard_normal(y.shape).astype(dtype)
        dx = ours.backward(tape, dy)
        ty.backward(torch.tensor(dy))
        eps = np.finfo(dtype).eps
        close("y", y, ty.detach().numpy(), 20 * eps, dtype)
        if dx is not None:
            close("dx", dx, tx.grad.numpy(), 40 * eps, dtype)
        for name, p in theirs.named_parameters():
            close(name, ours.grads[name], p.grad.numpy(), 100 * eps, dtype)


@each_float
def test_any_layout_gives_the_same(make):
    x = np.random.default_rng(1).standard_normal((4, 6, 5)).astype(np.float32)
    same_in_any_layout(make(), x)


@each_float
def test_errors(make):
    layer = make(dtype=np.float64)
    name = type(layer).__name__
    x = np.ones((4, 5))
    y, tape = layer.forward(x)
    for call, error, message in [
        (lambda: layer(x[:, :4]), ValueError, "input of size 5 on the last axis, got (4, 4)"),
        (lambda: layer(np.float64(3)), TypeError, "input as a NumPy array of float64"),
        (lambda: layer(np.array(3.0)), ValueError, "input of size 5 on the last axis, got ()"),
        (lambda: layer(x.astype(int)), TypeError, "input of dtype float64, got int64"),
        (lambda: layer(x.tolist()), TypeError, "input as a NumPy array of float64, got list"),
        (lambda: layer.backward(tape, y[:3]), ValueError, f"dy of shape {y.shape}, got (3, "),
        (lambda: layer.backward(tape, None), TypeError, "dy as a NumPy array"),
    ]:
        with pytest.raises(error, match=re.escape(f"{name} expected {message}")):
            call()
    assert not any(grad.any() for grad in layer.grads.values())
    assert layer.backward(tape, y, input_grad=False) is None
    with pytest.raises(RuntimeError, match="used before"):
        layer.backward(tape, y)
    y, tape = layer.forward(x)
    layer.params["weight"] = np.zeros(layer.params["weight"].shape)
    with pytest.raises(RuntimeError, match="changed between forward and backward"):
        layer.backward(tape, y)


def test_linear_without_inputs():
    layer = Linear(0, 3, seed=1)
    y, tape = layer.forward(np.zeros((4, 0), np.float32))
    np.testing.assert_array_equal(y, np.tile(layer.params["bias"], (4, 1)))
    assert layer.backward(tape, y).shape == (4, 0)


@pytest.mark.parametrize(
    "layer",
    [
        Linear(3, 4, bias=False, seed=2, dtype=np.float64),
        Embedding(5, 2, padding_idx=1, seed=3),
        JoinedEmbedding(5, 2, 3, seed=3),
        LayerNorm(3, eps=1e-3),
        Dropout(0.25, seed=4),
        Last(batch_first=True, bidirectional=True),
        BatchNorm1d(3, eps=1e-3, momentum=0.2, affine=False, dtype=np.float64),
        RepeatVector(3, batch_first=True),
        Tanh(),
        Pool("max", batch_first=True),
        Pool1d("mean", 3, padding="same"),
        Activation("elu", 0.5),
        Rearrange("pad", (1, -2), batch_first=True),
        Scale(3),
        GaussianNoise(0.5, multiplied=True, seed=4),
        Dot((1, 2)),
    ],
    ids=repr,
)
def test_config_and_copies(layer):
    for other in copies(layer):
        assert other.config() == layer.config()
        np.testing.assert_equal(dict(other.params), dict(layer.params))
        assert repr(other) == repr(layer)


def test_constructors_refuse():
    for call, error, message in [
        (lambda: Linear(-1, 2), ValueError, "Linear expected in_features >= 0, got -1"),
        (lambda: Linear(1, 0), ValueError, "Linear expected out_features >= 1, got 0"),
        (lambda: Embedding(0, 1), ValueError, "Embedding expected num_embeddings >= 1, got 0"),
        (lambda: Embedding(3, 1, 3), ValueError, "Embedding expected padding_idx < 3, got 3"),
        (lambda: LayerNorm(0), ValueError, "LayerNorm expected normalized_shape >= 1, got 0"),
        (lambda: LayerNorm(3, eps=0.0), ValueError, "eps > 0 and finite, got 0.0"),
        (lambda: LayerNorm(3, eps=np.inf), ValueError, "eps > 0 and finite, got inf"),
        (lambda: LayerNorm(3, eps="1"), TypeError, "LayerNorm expected eps as a number, got '1'"),
        (lambda: Dropout(np.array([0.5])), TypeError, "Dropout expected p as a number from 0 to 1"),
        (lambda: RNN(1, 1, nonlinearity=np.ones(2)), ValueError, "nonlinearity 'tanh' or 'relu'"),
        (lambda: Dropout()(np.ones(2, "f2")), TypeError, "float32 or float64, got float16"),
        (lambda: Last()(np.ones((2, 1, 1), "i8")), TypeError, "float32 or float64, got int64"),
        (lambda: Last()(np.ones((2, 1, 1)), [[1], []]), TypeError, "lengths as integers, got [["),
        (lambda: Linear(1, 1).load_state_dict(None), TypeError, "state_dict as a mapping"),
        (lambda: LayerNorm((3, 4)), TypeError, "LayerNorm expected normalized_shape as an integer"),
        (lambda: Dropout(-0.1), ValueError, "Dropout expected p from 0 to 1, got -0.1"),
        (lambda: BatchNorm1d(0), ValueError, "BatchNorm1d expected num_features >= 1, got 0"),
        (lambda: BatchNorm1d(3, momentum=2), ValueError, "BatchNorm1d expected momentum from 0 to"),
        (lambda: BatchNorm1d(3, affine=1), TypeError, "affine as True or False, got 1"),
        (lambda: RepeatVector(0), ValueError, "RepeatVector expected n >= 1, got 0"),
        (lambda: RepeatVector(2)(np.ones((1, 1, 1))), ValueError, "2 axes, or 1 for one sequence"),
        (lambda: ReLU()(np.ones(2, int)), TypeError, "ReLU expected input as a NumPy array of fl"),
        (lambda: Last(3), TypeError, "Last expected batch_first as True or False, got 3"),
        (lambda: Last(bidirectional=1), TypeError, "Last expected bidirectional as True or False"),
        (lambda: Last(bidirectional=True)(np.ones((2, 1, 3))), ValueError, "even number of featu"),
    ]:
        with pytest.raises(error, match=re.escape(message)):
            call()


# ---- the last step -----------------------------------------------------------------------------


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("lengths", [None, [4, 1, 0]])
def test_last(batch_first, lengths):
    layer = Last(batch_first)
    x = np.random.default_rng(1).standard_normal((4, 3, 2))
    last = [x[n - 1, b] if n else [0, 0] for b, n in enumerate(lengths or [4, 4, 4])]
    if batch_first:
        x = np.ascontiguousarray(x.swapaxes(0, 1))
    np.testing.assert_array_equal(layer(x, lengths), last)
    checked(layer, x, lengths)


@pytest.mark.parametrize("lengths", [None, [4, 1, 0]])
@pytest.mark.parametrize("kind", [RNN, LSTM])
def test_last_of_a_bidirectional_layer_is_its_final_state(kind, lengths):
    layer = kind(2, 3, bidirectional=True, batch_first=True, dtype=np.float64, seed=1)
    last = Last(batch_first=True, bidirectional=True)
    x = np.random.default_rng(1).standard_normal((3, 4, 2))
    y, state = layer(x, lengths=lengths)
    h = state if kind is RNN else state[0]
    np.testing.assert_array_equal(last(y, lengths), np.concatenate(h, axis=1))
    np.testing.assert_array_equal(last(y[0]), last(y)[0])
    checked(last, y, lengths)
    checked(last, y[0])
    assert last(y[:, :0]).shape == (3, 6)
    with pytest.raises(ValueError, match="cannot run step by step: Last"):
        Sequential(last).step(y[:, 0])


def test_last_of_one_sequence_and_of_nothing():
    layer = Last()
    x = np.arange(6.0, dtype=np.float32).reshape(3, 2)
    np.testing.assert_array_equal(layer(x), x[2])
    np.testing.assert_array_equal(layer(x, [2]), x[1])
    y, tape = layer.forward(x)
    np.testing.assert_array_equal(layer.backward(tape, y), [[0, 0], [0, 0], [4, 5]])
    np.testing.assert_array_equal(layer(np.ones((0, 2, 3))), np.zeros((2, 3)))
    with pytest.raises(ValueError, match="3 axes, or 2 for one sequence"):
        layer(x[0])
    with pytest.raises(ValueError, match="lengths from 0 to 3"):
        layer(x, [4])


# ---- activations -------------------------------------------------------------------------------

ELEMENTWISE = [ReLU, Sigmoid, Tanh]
each_activation = pytest.mark.parametrize("kind", [*ELEMENTWISE, Softmax])


@each_activation
@pytest.mark.parametrize("shape", [(), *SHAPES], ids=str)
def test_activations(kind, shape):
    x = np.random.default_rng(0).standard_normal(shape)
    checked(kind(), np.asarray(x))


@pytest.mark.parametrize("kind", ELEMENTWISE)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_activations_equal_torch(kind, dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x = np.array([-np.inf, -1e30, -90, -2, -0.0, 0, 1e-30, 0.5, 90, 1e30, np.inf, np.nan], dtype)
    dy = np.full_like(x, 3)
    tx = torch.tensor(x, requires_grad=True)
    ty = getattr(torch.nn, kind.__name__)()(tx)
    ty.backward(torch.tensor(dy))
    y, tape = kind().forward(x)
    assert repr(kind()) == f"{kind.__name__}()"
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(y, ty.detach().numpy(), rtol=4 * eps, atol=2e-38)
    dx = tape._owner.backward(tape, dy)
    np.testing.assert_allclose(dx, tx.grad.numpy(), rtol=8 * eps, atol=8 * eps)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_equals_torch(dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x = np.random.default_rng(1).standard_normal((7, 5)).astype(dtype)
    x[1] = [1e30, 0, -1e30, -np.inf, 1e30]
    x[2] = 700
    x[3, 2], x[4, 2], x[5] = np.nan, np.inf, -np.inf
    dy = np.random.default_rng(2).standard_normal(x.shape).astype(dtype)
    tx = torch.tensor(x, requires_grad=True)
    ty = torch.nn.Softmax(dim=-1)(tx)
    ty.backward(torch.tensor(dy))
    y, tape = Softmax().forward(x)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(y, ty.detach().numpy(), rtol=16 * eps)
    dx = tape._owner.backward(tape, dy)
    np.testing.assert_allclose(dx, tx.grad.numpy(), rtol=0, atol=16 * eps)


@each_activation
def test_activations_of_odd_arrays(kind):
    x = np.random.default_rng(1).standard_normal((4, 5, 3)).astype(np.float32)
    layer = kind()
    same_in_any_layout(layer, x)
    y, tape = layer.forward(x)
    with pytest.raises(ValueError, match=f"{kind.__name__} expected dy of shape"):
        layer.backward(tape, y[1:])
    assert layer.backward(tape, y, input_grad=False) is None
    with pytest.raises(RuntimeError, match="used before"):
        layer.backward(tape, y)


# ---- batch normalisation -----------------------------------------------------------------------


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_batch_norm_equals_torch(affine, dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    kind = torch.float32 if dtype == np.float32 else torch.float64
    theirs = torch.nn.BatchNorm1d(5, 1e-3, 0.2, affine=affine, dtype=kind)
    ours = BatchNorm1d(5, 1e-3, 0.2, affine=affine, dtype=dtype)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    rng = np.random.default_rng(1)
    if affine:
        theirs.weight.data = torch.tensor(rng.standard_normal(5).astype(dtype))
    ours.load_state_dict(theirs.state_dict())
    eps = np.finfo(dtype).eps
    for step in range(3):
        x = (2 + 3 * rng.standard_normal((4, 6, 5))).astype(dtype)
        tx = torch.tensor(x.swapaxes(1, 2).copy(), requires_grad=True)
        ty = theirs(tx)
        y, tape = ours.forward(x)
        dy = rng.standard_normal(y.shape).astype(dtype)
        dx = ours.backward(tape, dy)
        ty.backward(torch.tensor(dy.swapaxes(1, 2).copy()))
        close("y", y, ty.detach().numpy().swapaxes(1, 2), 40 * eps, dtype)
        close("dx", dx, tx.grad.numpy().swapaxes(1, 2), 40 * eps, dtype)
        for name, p in theirs.named_parameters():
            close(name, ours.grads[name], p.grad.numpy(), 200 * eps, dtype)
        for name, buffer in theirs.named_buffers():
            np.testing.assert_allclose(ours.buffers[name], buffer.numpy(), rtol=20 * eps)
        assert ours.buffers["num_batches_tracked"] == step + 1
    want = theirs.eval()(torch.tensor(x.swapaxes(1, 2).copy())).detach().numpy().swapaxes(1, 2)
    close("inference", ours(x), want, 40 * eps, dtype)
    theirs.load_state_dict({n: torch.tensor(a) for n, a in ours.state_dict().items()})


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("lengths", [None, [4, 0, 2]])
def test_batch_norm_gradients(batch_first, lengths):
    layer = BatchNorm1d(2, batch_first=batch_first, dtype=np.float64)
    rng = np.random.default_rng(3)
    layer.params["weight"], layer.params["bias"] = rng.standard_normal((2, 2))
    x = rng.standard_normal((3, 4, 2) if batch_first else (4, 3, 2))
    y, tape = layer.forward(x, lengths)
    dy = rng.standard_normal(y.shape)
    dx = layer.backward(tape, dy)

    def loss():
        return np.vdot(layer.forward(x, lengths)[0], dy)

    same_slope("dx", dx, loss, x)
    same_slopes(layer, loss)


def test_batch_norm_leaves_padding_out():
    x = np.random.default_rng(4).standard_normal((4, 3, 2))
    lengths = [4, 1, 2]
    real = np.arange(4)[:, None] < np.array(lengths)
    x[~real] = np.nan
    padded, packed = BatchNorm1d(2, batch_first=False, dtype="f8"), BatchNorm1d(2, dtype="f8")
    y, tape = padded.forward(x, lengths)
    want, other = packed.forward(x[real])
    np.testing.assert_allclose(y[real], want, rtol=1e-12)
    assert not y[~real].any()
    dx, wanted = padded.backward(tape, x), packed.backward(other, x[real])
    np.testing.assert_allclose(dx[real], wanted, atol=1e-12)
    assert not dx[~real].any()
    np.testing.assert_equal(dict(padded.buffers), dict(packed.buffers))
    y = padded(x, lengths)
    np.testing.assert_allclose(y[real], packed(x[real]), rtol=1e-12)
    assert not y[~real].any()
    np.testing.assert_array_equal(padded(x[:2, 2], [2]), packed(x[:2, 2]))


def test_batch_norm_layouts_and_errors():
    x = np.random.default_rng(5).standard_normal((6, 4, 3)).astype(np.float32)
    layer = BatchNorm1d(3)
    same_in_any_layout(layer, x)
    before = layer.state_dict()
    for call, message in [
        (lambda: layer.forward(x[0, :1]), "more than one row in a training batch, got 1"),
        (lambda: layer(x, [1, 2, 3, 4]), "batch_first at construction for lengths"),
        (lambda: layer(x[..., :2]), "input of size 3 on the last axis, got (6, 4, 2)"),
        (lambda: BatchNorm1d(3, batch_first=True)(x, [5] * 6), "lengths from 0 to 4"),
    ]:
        with pytest.raises(ValueError, match="BatchNorm1d expected " + re.escape(message)):
            call()
    nothing, tape = layer.forward(x[:0])
    assert layer.backward(tape, nothing).shape == (0, 4, 3)
    np.testing.assert_equal(layer.state_dict(), before)
    with pytest.raises(ValueError, match="unknown: running_means"):
        layer.load_state_dict({**before, "running_means": 0})
    with pytest.raises(ValueError, match="missing: running_mean;"):
        layer.load_state_dict({n: a for n, a in before.items() if n != "running_mean"})


# ---- one vector at many steps ------------------------------------------------------------------


@pytest.mark.parametrize("batch_first", [False, True])
def test_repeat_vector(batch_first):
    layer = RepeatVector(4, batch_first)
    x = np.random.default_rng(1).standard_normal((3, 2))
    y = layer(x)
    assert y.shape == ((3, 4, 2) if batch_first else (4, 3, 2))
    for t in range(4):
        np.testing.assert_array_equal(y[:, t] if batch_first else y[t], x)
    checked(layer, x)
    checked(layer, x[0])
    assert layer(x[0]).shape == (4, 2)
    assert y.dtype == np.float64
    same_in_any_layout(layer, x)
    model = Sequential(
        Linear(2, 3, dtype="f8"), layer, RNN(3, 5, batch_first=batch_first, dtype="f8")
    )
    assert model.predict(x).shape == ((3, 4, 5) if batch_first else (4, 3, 5))
    with pytest.raises(ValueError, match="step by step: RepeatVector takes or makes several"):
        model.step(x)


# ---- the mean and the maximum over time ----------------------------------------------------------


@pytest.mark.parametrize("kind", ["mean", "max"])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("lengths", [None, [4, 1, 0]])
def test_pool(kind, batch_first, lengths):
    layer = Pool(kind, batch_first)
    x = np.random.default_rng(1).standard_normal((4, 3, 2))
    of = np.mean if kind == "mean" else np.max
    want = [of(x[:n, b], axis=0) if n else [0, 0] for b, n in enumerate(lengths or [4, 4, 4])]
    for b, n in enumerate(lengths or []):
        x[n:, b] = 9.0  # what must not be seen
    if batch_first:
        x = np.ascontiguousarray(x.swapaxes(0, 1))
    np.testing.assert_allclose(layer(x, lengths), want, rtol=1e-14)
    checked(layer, x, lengths)


def test_pool_of_one_sequence_of_nothing_and_of_equals():
    x = np.array([[1, 5], [3, 5], [2, 5]], np.float32)
    np.testing.assert_array_equal(Pool("mean")(x), [2, 5])
    layer = Pool("max")
    np.testing.assert_array_equal(layer(x, [1]), x[0])
    y, tape = layer.forward(x)
    np.testing.assert_array_equal(layer.backward(tape, y), [[0, 5], [3, 0], [0, 0]])
    for kind in ("mean", "max"):
        np.testing.assert_array_equal(Pool(kind)(np.ones((0, 2, 3))), np.zeros((2, 3)))
    with pytest.raises(ValueError, match="kind 'mean' or 'max', got 'min'"):
        Pool("min")
    with pytest.raises(ValueError, match="3 axes, or 2 for one sequence"):
        layer(x[0])


@settings(max_examples=60, deadline=None)
@given(
    make=st.sampled_from(
        [
            lambda: Linear(2, 3),
            lambda: LayerNorm(2),
            lambda: Embedding(4, 3),
            lambda: JoinedEmbedding(4, 3, 2),
            lambda: Dropout(),
            lambda: GaussianNoise(0.1),
            lambda: GaussianNoise(0.1, multiplied=True),
            lambda: Last(),
            lambda: Last(bidirectional=True),
            lambda: BatchNorm1d(2),
            lambda: RepeatVector(2),
            lambda: ReLU(),
            lambda: Sigmoid(),
            lambda: Softmax(),
            lambda: Tanh(),
            lambda: Pool(),
            lambda: Pool("max"),
        ]
    ),
    shape=st.lists(st.integers(0, 3), max_size=4).map(tuple),
    dtype=st.sampled_from(["f4", "f8", "f2", "i4", "u1", "?", "c8", "O", "U1"]),
)
def test_any_call_works_or_raises(make, shape, dtype):
    layer = make()
    name = type(layer).__name__
    try:
        y, tape = layer.forward(np.zeros(shape, dtype))
    except (TypeError, ValueError) as error:
        assert str(error).startswith(f"{name} expected "), error
        return
    try:
        layer.backward(tape, y)
    except TypeError as error:
        assert name in str(error)
