"""Conv1d, GatedConv1d and WaveNet."""

from __future__ import annotations

import re

import numpy as np
import pytest
from comparisons import close, same_in_any_layout, same_slope, same_slopes
from engines import each_engine as each_engine
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import copies, laid_out

from rnnfast import GRU, Conv1d, GatedConv1d, Last, Linear, Sequential, WaveNet

F8 = {"dtype": np.float64}
KERNELS = [
    dict(kernel_size=1),
    dict(kernel_size=4, stride=2),
    dict(kernel_size=3, padding="same"),
    dict(kernel_size=4, padding="same", dilation=2),
    dict(kernel_size=2, padding="causal", dilation=4),
    dict(kernel_size=3, padding="causal", stride=2),
    dict(kernel_size=6, padding=3, dilation=2, stride=3, bias=False),
]
each_kernel = pytest.mark.parametrize("options", KERNELS, ids=str)
MAKE = {
    "conv": lambda **o: Conv1d(3, 5, 3, 2, 1, seed=1, **o),
    "gated": lambda **o: GatedConv1d(3, 2, 2, seed=1, **o),
    "wavenet": lambda **o: WaveNet(3, 4, (1, 2), seed=1, **o),
}
each_layer = pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)


# ---- Conv1d ------------------------------------------------------------------------------------


@each_kernel
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_torch(options, dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    causal = options.get("padding") == "causal"
    left = (options["kernel_size"] - 1) * options.get("dilation", 1) if causal else 0
    theirs = torch.nn.Conv1d(
        3,
        5,
        **{**options, "padding": 0 if causal else options.get("padding", "valid")},
        dtype=torch.float32 if dtype == np.float32 else torch.float64,
    )
    ours = Conv1d(3, 5, **options, batch_first=True, dtype=dtype, seed=1)
    if not causal and options.get("padding", "valid") != "valid":
        assert repr(ours) == repr(theirs)
    ours.load_state_dict(theirs.state_dict())
    rng = np.random.default_rng(1)
    x = rng.standard_normal((4, 13, 3)).astype(dtype)
    tx = torch.tensor(x.swapaxes(1, 2).copy(), requires_grad=True)
    ty = theirs(torch.nn.functional.pad(tx, (left, 0)))
    y, tape = ours.forward(x)
    dy = rng.standard_normal(y.shape).astype(dtype)
    dx = ours.backward(tape, dy)
    ty.backward(torch.tensor(dy.swapaxes(1, 2).copy()))
    eps = np.finfo(dtype).eps
    close("y", y, ty.detach().numpy().swapaxes(1, 2), 40 * eps, dtype)
    close("dx", dx, tx.grad.numpy().swapaxes(1, 2), 40 * eps, dtype)
    for name, p in theirs.named_parameters():
        close(name, ours.grads[name], p.grad.numpy(), 200 * eps, dtype)


def test_drawn_as_pytorch_draws():
    layer = Conv1d(20, 30, 5, seed=1)
    for name in layer.params:
        drawn = layer.params[name]
        assert 0.9 < np.abs(drawn).max() / 0.1 <= 1  # 1 / sqrt(20 * 5)
        assert abs(drawn.mean()) < 0.02
    np.testing.assert_array_equal(
        Conv1d(20, 30, 5, seed=1).params["weight"], layer.params["weight"]
    )


@each_kernel
@pytest.mark.parametrize("batch_first", [False, True])
def test_each_sample_alone_gives_the_same(options, batch_first):
    layer = Conv1d(3, 5, **options, batch_first=batch_first, seed=1, **F8)
    rng = np.random.default_rng(2)
    lengths = [13, 7, 0, 11]
    x = rng.standard_normal((4, 13, 3))
    for b, n in enumerate(lengths):
        x[b, n:] = np.nan
    y, tape = layer.forward(laid_out(x, batch_first), lengths)
    dy = rng.standard_normal(y.shape)
    dx = layer.backward(tape, dy)
    grads = {name: grad.copy() for name, grad in layer.grads.items()}
    ends = layer.out_lengths(lengths)
    layer.zero_grad()
    for b, (n, end) in enumerate(zip(lengths, ends, strict=True)):
        at = (b,) if batch_first else (slice(None), b)
        assert not y[at][end:].any()
        assert not dx[at][n:].any()
        if end == 0:
            continue
        want, tape = layer.forward(x[b, :n])
        assert len(want) == end
        np.testing.assert_allclose(y[at][:end], want, rtol=1e-12, atol=1e-12)
        wanted = layer.backward(tape, dy[at][:end])
        np.testing.assert_allclose(dx[at][:n], wanted, rtol=1e-12, atol=1e-12)
    for name, grad in layer.grads.items():
        np.testing.assert_allclose(grads[name], grad, rtol=1e-10, atol=1e-12)


def test_causal_outputs_do_not_see_the_future():
    for layer in (Conv1d(2, 3, 3, padding="causal", dilation=2), WaveNet(2, 3, (1, 2, 4))):
        x = np.random.default_rng(3).standard_normal((20, 1, 2)).astype(np.float32)
        y = layer(x)
        x[12:] = 9.0
        changed = layer(x)
        assert y.shape == (20, 1, 3)
        np.testing.assert_array_equal(changed[:12], y[:12])
        assert (changed[12] != y[12]).all()


def test_out_lengths():
    strided = Conv1d(1, 1, 4, stride=2)
    np.testing.assert_array_equal(strided.out_lengths([0, 3, 4, 5, 6, 60]), [0, 0, 1, 1, 2, 29])
    same = Conv1d(1, 1, 4, padding="same", dilation=3)
    np.testing.assert_array_equal(same.out_lengths(np.array([0, 1, 9], np.uint8)), [0, 1, 9])
    assert strided.out_lengths(None) is None


# ---- all ---------------------------------------------------------------------------------------


@each_layer
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("lengths", [None, [5, 6, 1, 0]])
def test_finite_differences(make, batch_first, lengths):
    layer = make(batch_first=batch_first, **F8)
    rng = np.random.default_rng(0)
    x = laid_out(rng.standard_normal((4, 6, 3)), batch_first)
    y, tape = layer.forward(x, lengths)
    np.testing.assert_array_equal(layer(x, lengths), y)
    dy = rng.standard_normal(y.shape)

    def loss():
        return np.vdot(layer(x, lengths), dy)

    same_slope("dx", layer.backward(tape, dy), loss, x)
    same_slopes(layer, loss)


@each_layer
def test_any_layout_gives_the_same(make):
    x = np.random.default_rng(1).standard_normal((6, 4, 3)).astype(np.float32)
    same_in_any_layout(make(), x)


@each_layer
def test_one_sequence_is_a_batch_of_one(make):
    layer = make()
    x = np.random.default_rng(4).standard_normal((7, 3)).astype(np.float32)
    y, tape = layer.forward(x)
    np.testing.assert_array_equal(y, layer(x[:, None])[:, 0])
    assert layer.backward(tape, y).shape == x.shape


@each_layer
@pytest.mark.parametrize(("T", "B"), [(0, 3), (5, 0)])
def test_nothing_in_nothing_out(make, T, B):
    layer = make()
    y, tape = layer.forward(np.zeros((T, B, 3), np.float32), np.zeros(B, int))
    assert y.size == 0
    assert layer.backward(tape, y).shape == (T, B, 3)
    assert not any(grad.any() for grad in layer.grads.values())


@each_layer
def test_config_and_copies(make):
    layer = make(batch_first=True)
    for other in copies(layer):
        assert other.config() == layer.config()
        np.testing.assert_equal(dict(other.params), dict(layer.params))
        assert repr(other) == repr(layer)


@each_layer
def test_errors(make):
    layer = make()
    name = type(layer).__name__
    x = np.ones((6, 4, 3), np.float32)
    y, tape = layer.forward(x)
    for call, error, message in [
        (lambda: layer(x[..., :2]), ValueError, "input of size 3 on the last axis, got (6, 4, 2)"),
        (lambda: layer(x[None]), ValueError, "input with 3 axes, or 2 for one sequence, got (1, 6"),
        (lambda: layer(x.astype("f8")), TypeError, "input of dtype float32, got float64"),
        (lambda: layer(x, [1, 2]), ValueError, "lengths of shape (4,)"),
        (lambda: layer(x, [1, 2, 3, 7]), ValueError, "lengths from 0 to 6"),
        (lambda: layer.backward(tape, y[:1]), ValueError, "dy of shape"),
    ]:
        with pytest.raises(error, match=re.escape(f"{name} expected {message}")):
            call()
    assert not any(grad.any() for grad in layer.grads.values())
    assert layer.backward(tape, y, input_grad=False) is None
    with pytest.raises(RuntimeError, match="used before"):
        layer.backward(tape, y)
    y, tape = layer.forward(x)
    first = next(iter(layer.params))
    layer.params[first] = layer.params[first]
    layer.zero_grad()
    with pytest.raises(RuntimeError, match="changed between forward and backward"):
        layer.backward(tape, y)
    assert not any(grad.any() for grad in layer.grads.values())


def test_constructors_refuse():
    for call, error, message in [
        (lambda: Conv1d(0, 1, 1), ValueError, "Conv1d expected in_channels >= 1, got 0"),
        (lambda: Conv1d(1, 1, 0), ValueError, "Conv1d expected kernel_size >= 1, got 0"),
        (lambda: Conv1d(1, 1, 2, 0), ValueError, "Conv1d expected stride >= 1, got 0"),
        (lambda: Conv1d(1, 1, 2, dilation=1.5), TypeError, "dilation as an integer, got 1.5"),
        (lambda: Conv1d(1, 1, 2, padding="full"), ValueError, "or an integer, got 'full'"),
        (lambda: Conv1d(1, 1, 2, padding=-1), ValueError, "Conv1d expected padding >= 0, got -1"),
        (lambda: WaveNet(1, 2, 3), TypeError, "WaveNet expected dilations as integers, got 3"),
        (lambda: WaveNet(1, 2, [1, 0]), ValueError, "WaveNet expected dilations >= 1, got 0"),
        (lambda: WaveNet(1, 2, []), ValueError, "WaveNet expected at least one dilation"),
        (
            lambda: Conv1d(1, 1, 4)(np.ones((3, 2, 1), np.float32)),
            ValueError,
            "Conv1d expected input of at least 4 steps with its padding, got 3",
        ),
    ]:
        with pytest.raises(error, match=re.escape(message)):
            call()


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(sorted(MAKE)),
    shape=st.lists(st.integers(0, 4), max_size=4).map(tuple),
    lengths=st.one_of(st.none(), st.lists(st.integers(-1, 4), max_size=4)),
    dtype=st.sampled_from(["f4", "f8", "i4", "?", "O"]),
)
def test_any_call_works_or_raises(kind, shape, lengths, dtype):
    layer = MAKE[kind]()
    try:
        y, tape = layer.forward(np.zeros(shape, dtype), lengths)
    except (TypeError, ValueError) as error:
        assert " expected " in str(error)
        return
    assert layer.backward(tape, y).shape == shape


# ---- WaveNet -----------------------------------------------------------------------------------


def test_wavenet_is_its_equations():
    layer = WaveNet(2, 3, (1, 2, 4), kernel_size=3, seed=2, **F8)
    p = layer.params
    x = np.random.default_rng(5).standard_normal((17, 2))

    def conv(x, name, dilation):
        weight = p[f"{name}.weight"]
        reach = 2 * dilation
        padded = np.concatenate([np.zeros((reach, x.shape[1])), x])
        return p[f"{name}.bias"] + sum(
            padded[j * dilation : j * dilation + len(x)] @ weight[:, :, j].T for j in range(3)
        )

    h, want = conv(x, "input", 1), 0
    for block, dilation in enumerate((1, 2, 4)):
        a, b = np.split(conv(h, f"{block}.conv", dilation), 2, axis=1)
        z = np.tanh(a) / (1 + np.exp(-b)) @ p[f"{block}.mix.weight"].T + p[f"{block}.mix.bias"]
        h, want = h + z, want + z
    np.testing.assert_allclose(layer(x), want, rtol=1e-12, atol=1e-14)


def test_wavenet_parts_are_drawn_apart():
    layer = WaveNet(3, 3, (1, 1), kernel_size=2)
    drawn = [layer.params[f"{part}.weight"] for part in ("0.conv", "1.conv", "0.mix", "1.mix")]
    assert not np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[2], drawn[3])


@each_layer
def test_each_sample_of_a_ragged_batch_alone(make):
    layer = make(**F8)
    rng = np.random.default_rng(6)
    x, lengths = rng.standard_normal((9, 3, 3)), [9, 2, 6]
    x[2:, 1] = np.nan
    y, tape = layer.forward(x, lengths)
    ends = layer.out_lengths(np.array(lengths))
    for b, (n, end) in enumerate(zip(lengths, ends, strict=True)):
        np.testing.assert_allclose(y[:end, b], layer(x[:n, b]), rtol=1e-12, atol=1e-12)
    dy = rng.standard_normal(y.shape)
    dx = layer.backward(tape, dy)
    grads = {name: grad.copy() for name, grad in layer.grads.items()}
    past = np.arange(len(y))[:, None] >= ends
    dy[past] = np.nan
    layer.zero_grad()
    _, tape = layer.forward(x, lengths)
    np.testing.assert_array_equal(layer.backward(tape, dy), dx)
    np.testing.assert_equal(layer.grads, grads)
    assert not dx[2:, 1].any()
    assert not y[past].any()


# ---- in chains ---------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_first", [False, True])
def test_lengths_shorten_along_the_chain(batch_first):
    o = dict(batch_first=batch_first, **F8)
    model = Sequential(
        Conv1d(3, 4, 4, stride=2, seed=1, **o),
        GRU(4, 5, seed=2, **o),
        Sequential(Conv1d(5, 4, 2, seed=3, **o)),
        Last(batch_first),
        Linear(4, 2, seed=4, **F8),
    )
    rng = np.random.default_rng(7)
    x, lengths = rng.standard_normal((3, 14, 3)), [14, 6, 9]
    given = laid_out(x, batch_first)
    y, _, tape = model.forward(given, None, lengths)
    np.testing.assert_array_equal(model.predict(given, lengths), y)
    assert model.out_lengths(lengths) is None
    for b, n in enumerate(lengths):
        alone = laid_out(x[b : b + 1, :n], batch_first)
        np.testing.assert_allclose(y[b], model.predict(alone)[0], rtol=1e-12)
    dy = rng.standard_normal(y.shape)
    dx, _ = model.backward(tape, dy)

    def loss():
        return np.vdot(model.predict(given, lengths), dy)

    same_slope("dx", dx, loss, given)
    same_slopes(model, loss)
    with pytest.raises(ValueError, match="cannot run step by step: Conv1d takes or makes several"):
        model.step(given[0])
