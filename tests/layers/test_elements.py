"""Functions of elements, scales, noise; elements in other places; windows of steps; products."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from comparisons import checked, same_slope, same_slopes
from samples import laid_out

import rnnfast as rf
from rnnfast.layers.activation import CURVES, erf

B, T, F = 3, 6, 4
LENGTHS = [T, 0, 4]


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


# ---- functions of elements -----------------------------------------------------------------------

TORCH = {
    "elu": "elu",
    "exp": "exp",
    "gelu": "gelu",
    "gelu_tanh": "gelu",
    "hard_sigmoid": "hardsigmoid",
    "hard_silu": "hardswish",
    "leaky_relu": "leaky_relu",
    "mish": "mish",
    "relu6": "relu6",
    "selu": "selu",
    "silu": "silu",
    "softplus": "softplus",
    "softsign": "softsign",
}


@pytest.mark.parametrize("kind", CURVES)
def test_functions(kind):
    checked(rf.Activation(kind), 3 * draw(2, 3, 5))
    if CURVES[kind].alpha is not None:
        checked(rf.Activation(kind, 0.3), draw(7))


@pytest.mark.parametrize("kind", CURVES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_functions_equal_torch(kind, dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    function = getattr(torch.nn.functional, TORCH[kind], torch.exp)
    options = {"approximate": "tanh"} if kind == "gelu_tanh" else {}
    x = np.r_[np.linspace(-9, 9, 1001), 0, -30, 30].astype(dtype)
    tx = torch.tensor(x, requires_grad=True)
    ty = function(tx, **options)
    dy = draw(*x.shape).astype(dtype)
    ty.backward(torch.tensor(dy))
    layer = rf.Activation(kind)
    y, tape = layer.forward(x)
    dx = layer.backward(tape, dy)
    assert y.dtype == dx.dtype == dtype
    eps = 64 * np.finfo(dtype).eps  # x^3 in a tanh
    np.testing.assert_allclose(y, ty.detach().numpy(), rtol=eps, atol=eps)
    eps = max(eps, 3e-8) if kind == "hard_sigmoid" else eps  # whose slope there is float32's 1/6
    np.testing.assert_allclose(dx, tx.grad.numpy(), rtol=eps, atol=4 * eps)


def test_erf():
    x = np.r_[np.linspace(-7, 7, 5001), 1e-300, 1e-8, np.inf, -np.inf]
    np.testing.assert_allclose(erf(x), [math.erf(v) for v in x], rtol=4e-16)
    assert np.isnan(erf(np.array([np.nan]))[0]) and erf(np.float32([1])).dtype == np.float32


def test_functions_that_there_are_not():
    for call, message in [
        (lambda: rf.Activation("gelus"), "Activation expected kind as one of ('elu', "),
        (lambda: rf.Activation("gelu", 2.0), "Activation expected no alpha for 'gelu', got 2.0"),
        (lambda: rf.Activation("elu", -1), "Activation expected alpha > 0"),
        (
            lambda: rf.Activation("elu")(np.ones(2, int)),
            "Activation expected input as a NumPy array",
        ),
    ]:
        with pytest.raises((TypeError, ValueError), match=re.escape(message)):
            call()


# ---- norms with one of weight and bias, scales ---------------------------------------------------


@pytest.mark.parametrize("kind", [rf.LayerNorm, rf.BatchNorm1d])
@pytest.mark.parametrize("affine", ["weight", "bias", False])
def test_norms_with_one_parameter(kind, affine):
    layer, whole = kind(F, affine=affine, dtype="f8"), kind(F, dtype="f8")
    assert list(layer.params) == ([affine] if affine else [])
    for name in layer.params:
        layer.params[name] = whole.params[name] = draw(F, seed=3)
    x = draw(B, T, F)
    np.testing.assert_array_equal(layer(x), whole(x))
    _, tape = layer.forward(x)
    dy = draw(B, T, F, seed=2)
    dx = layer.backward(tape, dy)

    def loss():
        return np.vdot(layer.forward(x)[0], dy)

    same_slope("dx", dx, loss, x)
    same_slopes(layer, loss)
    with pytest.raises(ValueError, match=f"{kind.__name__} expected affine as True, False, 'weigh"):
        kind(F, affine="both")


def test_scale():
    layer = rf.Scale(F, dtype="f8")
    x = draw(B, T, F)
    np.testing.assert_array_equal(layer(x), x)
    layer.buffers["mean"], layer.buffers["scale"] = mean, scale = draw(2, F, seed=1)
    np.testing.assert_array_equal(layer(x), (x - mean) * scale)
    checked(layer, x)
    assert not layer.grads and layer.config() == {"num_features": F, "dtype": "float64"}
    with pytest.raises(ValueError, match="Scale expected input of size 4 on the last axis"):
        layer(x[..., :2])


# ---- noise ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("multiplied", [False, True])
def test_noise(multiplied):
    layer, twin = (rf.GaussianNoise(0.5, multiplied, seed=1) for _ in range(2))
    x = np.full((100, 100), 2.0)
    assert layer(x) is x
    y, tape = layer.forward(x)
    other, _ = layer.forward(x)
    np.testing.assert_array_equal(twin.forward(x)[0], y)
    assert (other != y).all()
    noise = (y - x) / (2 if multiplied else 1)
    assert abs(noise.mean()) < 0.02 and abs(noise.std() - 0.5) < 0.02
    dy = draw(100, 100)
    want = dy * (1 + noise) if multiplied else dy
    np.testing.assert_allclose(layer.backward(tape, dy), want, rtol=1e-12)
    y, tape = layer.forward(np.ones(3, np.float32))
    assert y.dtype == np.float32
    with pytest.raises(ValueError, match="GaussianNoise expected dy of shape"):
        layer.backward(tape, y[1:])
    (source,) = twin._mask_sources()
    assert source.state_dict()["calls"] == 1  # by which a training goes on


@pytest.mark.parametrize("batch_first", [False, True])
def test_dropout_of_all_steps(batch_first):
    layer = rf.Dropout(0.5, seed=1, all_steps=True, batch_first=batch_first)
    x = np.ones((B, T, 40) if batch_first else (T, B, 40))
    assert layer(x) is x
    y, tape = layer.forward(x)
    steps = y.swapaxes(0, 1) if batch_first else y
    assert set(np.unique(y)) == {0, 2}
    np.testing.assert_array_equal(steps, np.broadcast_to(steps[0], steps.shape))
    assert (steps[0, 0] != steps[0, 1]).any()
    np.testing.assert_array_equal(layer.backward(tape, x), y)
    with pytest.raises(ValueError, match="Dropout expected batch_first only with all_steps"):
        rf.Dropout(0.5, batch_first=True)
    with pytest.raises(ValueError, match="3 axes, or 2 for one sequence"):
        layer.forward(x[0, 0])


# ---- elements in other places --------------------------------------------------------------------

PLACES = {  # of (B, T, F) arrays
    ("flatten", ()): lambda x: x.reshape(B, -1),
    ("swap", ()): lambda x: x.swapaxes(1, 2),
    ("reverse", ()): lambda x: x[:, ::-1],
    ("repeat", 3): lambda x: x.repeat(3, axis=1),
    ("pad", (2, 1)): lambda x: np.pad(x, ((0, 0), (2, 1), (0, 0))),
    ("pad", (-2, 1)): lambda x: np.pad(x, ((0, 0), (0, 1), (0, 0)))[:, 2:],
    ("pad", (-1, -3)): lambda x: x[:, 1:-3],
    ("part", (1, 2)): lambda x: x[..., 2:],
}
each_place = pytest.mark.parametrize("place", PLACES, ids=str)


@each_place
@pytest.mark.parametrize("batch_first", [False, True])
def test_places(place, batch_first):
    layer = rf.Rearrange(*place, batch_first=batch_first)
    samples = draw(B, T, F)
    x, want = laid_out(samples, batch_first), PLACES[place](samples)
    y = layer(x)
    np.testing.assert_array_equal(y, laid_out(want, batch_first) if y.ndim == 3 else want)
    checked(layer, x)
    one = layer(samples[0])
    np.testing.assert_array_equal(one, want[0])
    checked(layer, samples[0])
    size = layer._size_behind([F])
    assert size in (None, want.shape[-1])
    steps = layer.out_steps(str(T), str(T))
    assert steps in ("features", str(want.shape[1]) if y.ndim == 3 else "")
    assert rf.Rearrange(**layer.config()).config() == layer.config()


@each_place
@pytest.mark.parametrize("batch_first", [False, True])
def test_places_of_ragged_batches(place, batch_first):
    layer = rf.Rearrange(*place, batch_first=batch_first)
    samples = draw(B, T, F)
    after = layer.out_lengths(LENGTHS)
    for b, n in enumerate(LENGTHS):
        samples[b, n:] = np.nan
    y = layer(laid_out(samples, batch_first), LENGTHS)
    assert np.isfinite(y).all()
    rows = laid_out(y, batch_first) if y.ndim == 3 else y
    for b, n in enumerate(LENGTHS):
        if after is None:  # padding with zeros counts
            want = PLACES[place](np.nan_to_num(samples))[b]
        elif n:
            want = layer(samples[b, :n])
            assert len(want) == after[b]
        else:
            want = rows[b, :0]
        np.testing.assert_array_equal(rows[b][: len(want)], want)
        assert not rows[b][len(want) :].any()
    checked(layer, laid_out(np.nan_to_num(samples), batch_first), LENGTHS)


@pytest.mark.parametrize("sizes", [(2, 6), (-1, 6), (2, -1)])
@pytest.mark.parametrize("batch_first", [False, True])
def test_folded_features(sizes, batch_first):
    layer = rf.Rearrange("fold", sizes, batch_first)
    x = draw(B, 12)
    np.testing.assert_array_equal(layer(x), laid_out(x.reshape(B, 2, 6), batch_first))
    np.testing.assert_array_equal(layer(x[0]), x[0].reshape(2, 6))
    checked(layer, x)
    model = rf.Sequential(
        rf.Linear(5, 12), layer, rf.GRU(6, 2, batch_first=batch_first), rf.Last(batch_first)
    )
    assert model.predict(draw(B, 5).astype("f4")).shape == (B, 2)
    assert layer._size_behind([12]) == 6 and model.in_size == 5


def test_places_that_there_are_not():
    x = draw(B, T, F)
    for call, message in [
        (lambda: rf.Rearrange("turn"), "kind as one of ('flatten', "),
        (lambda: rf.Rearrange("repeat"), "1 sizes for 'repeat', got ()"),
        (lambda: rf.Rearrange("repeat", 0), "sizes >= 1, got 0"),
        (lambda: rf.Rearrange("fold", (-1, -1)), "sizes above 0, or -1 once, got (-1, -1)"),
        (lambda: rf.Rearrange("part", (2, 2)), "sizes (i, n) with i < n, got (2, 2)"),
        (lambda: rf.Rearrange("part", (0, 3))(x), "features that 3 divides, got 4"),
        (lambda: rf.Rearrange("pad", (-4, -3), True)(x), "input of at least 7 steps, got 6"),
        (lambda: rf.Rearrange("pad", (9, -7), True)(x), "input of at least 7 steps, got 6"),
        (lambda: rf.Rearrange("fold", (3, 2))(x[0]), "that makes (3, 2) of them, got 4"),
        (lambda: rf.Rearrange("fold", (3, 2))(x), "2 axes, or 1 for one sample, got (3, 6, 4)"),
        (lambda: rf.Rearrange("swap")(x[0, 0]), "3 axes, or 2 for one sequence, got (4,)"),
        (lambda: rf.Rearrange("swap", batch_first=True)(x, [7, 1, 1]), "lengths from 0 to 6"),
    ]:
        with pytest.raises(ValueError, match=re.escape(message)) as caught:
            call()
        assert str(caught.value).startswith("Rearrange expected ")
    with pytest.raises(ValueError, match="cannot run step by step: Rearrange"):
        rf.Sequential(rf.Rearrange("reverse")).step(x[0])


def test_buckets_keep_all_steps_where_these_make_features():
    x, y = draw(8, T, F).astype("f4"), draw(8, 2).astype("f4")
    model = rf.Sequential(rf.Rearrange("flatten", batch_first=True), rf.Linear(T * F, 2))
    assert model.in_size is None and model.out_size == 2 and "(B, 2)" in model.summary()
    rf.fit(
        model,
        (x, y, np.full(8, 3)),
        loss=rf.losses.squared_error,
        optimizer=rf.optim.SGD(model, lr=0.01),
        batch_size=4,
        bucket=True,
    )
    assert np.isfinite(model.params["1.weight"]).all()


# ---- windows of steps ----------------------------------------------------------------------------

WINDOWS = [(2, None, "valid"), (3, 1, "same"), (3, 2, "same"), (2, 3, "causal"), (3, 2, 1)]


@pytest.mark.parametrize("kind", ["mean", "max"])
@pytest.mark.parametrize("windows", WINDOWS, ids=str)
@pytest.mark.parametrize("batch_first", [False, True])
def test_pool1d(kind, windows, batch_first):
    layer = rf.Pool1d(kind, *windows, batch_first=batch_first)
    of = np.mean if kind == "mean" else np.max
    for steps in (T, T + 1):
        samples = draw(B, steps, F)
        left, _ = layer._pads(steps)
        starts = [t * layer.stride - left for t in range(int(layer.out_lengths(steps)))]
        parts = [samples[:, max(s, 0) : s + layer.kernel_size] for s in starts]
        want = np.stack([of(part, axis=1) for part in parts], axis=1)
        x = laid_out(samples, batch_first)
        np.testing.assert_allclose(layer(x), laid_out(want, batch_first), rtol=1e-12)
        checked(layer, x)
        np.testing.assert_allclose(layer(samples[0]), want[0], rtol=1e-12)


@pytest.mark.parametrize("kind", ["mean", "max"])
@pytest.mark.parametrize("windows", [w for w in WINDOWS if w != (3, 2, "same")], ids=str)
def test_pool1d_of_ragged_batches(kind, windows):
    layer = rf.Pool1d(kind, *windows, batch_first=True)
    x, after = draw(B, T, F), layer.out_lengths(LENGTHS)
    for b, n in enumerate(LENGTHS):
        x[b, n:] = np.nan
    y = layer(x, LENGTHS)
    for b, n in enumerate(LENGTHS):
        if n:
            np.testing.assert_allclose(y[b, : after[b]], layer(x[b, :n]), rtol=1e-12)
        assert not y[b, after[b] :].any()
    checked(layer, np.nan_to_num(x), LENGTHS)


@pytest.mark.parametrize("kind", ["mean", "max"])
def test_pool1d_equals_torch(kind):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x, dy = draw(B, 9, F), draw(B, 4, F)
    tx = torch.tensor(x.swapaxes(1, 2).copy(), requires_grad=True)
    theirs = torch.nn.AvgPool1d(2) if kind == "mean" else torch.nn.MaxPool1d(2)
    ty = theirs(tx)
    ty.backward(torch.tensor(dy.swapaxes(1, 2).copy()))
    layer = rf.Pool1d(kind, 2, batch_first=True)
    y, tape = layer.forward(x)
    np.testing.assert_allclose(y, ty.detach().numpy().swapaxes(1, 2), rtol=1e-12)
    np.testing.assert_allclose(layer.backward(tape, dy), tx.grad.numpy().swapaxes(1, 2))


@pytest.mark.parametrize("steps", [1, 4, 5, 6, 7])
@pytest.mark.parametrize("windows", [(3, 2, 1), (2, 3, 1), (1, 2, 1), (4, 3, 2)], ids=str)
def test_same_padding_with_a_stride(steps, windows):
    taps, stride, dilation = windows
    layer = rf.Conv1d(F, 2, taps, stride, "same", dilation, batch_first=True, dtype="f8", seed=1)
    left, right = layer._pads(steps)
    assert 0 <= right - left <= 1
    plain = rf.Conv1d(F, 2, taps, stride, 0, dilation, batch_first=True, dtype="f8", seed=1)
    x = draw(B, steps, F)
    y = layer(x)
    assert y.shape[1] == math.ceil(steps / stride) == layer.out_lengths(steps)
    padded = np.pad(x, ((0, 0), (left, right), (0, 0)))
    np.testing.assert_array_equal(y, plain(padded)[:, : y.shape[1]])
    checked(layer, x)


def test_windows_that_there_are_not():
    x = draw(B, T, F)
    for call, message in [
        (lambda: rf.Pool1d("min", 2), "Pool1d expected kind 'mean' or 'max', got 'min'"),
        (lambda: rf.Pool1d("max", 0), "Pool1d expected kernel_size >= 1"),
        (lambda: rf.Pool1d("max", 2, padding="full"), "Pool1d expected padding 'valid', 'same', "),
        (
            lambda: rf.Pool1d("max", 2, padding=2),
            "Pool1d expected padding of at most half a window",
        ),
        (
            lambda: rf.Pool1d("max", 7, batch_first=True)(x),
            "Pool1d expected input of at least 7 s",
        ),
        (
            lambda: rf.Pool1d("max", 3, 2, "same", True)(x, LENGTHS),
            "Pool1d expected no lengths with padding 'same' and stride 2",
        ),
        (
            lambda: rf.Conv1d(F, 2, 3, 2, "same", batch_first=True, dtype="f8")(x, LENGTHS),
            "Conv1d expected no lengths with padding 'same' and stride 2",
        ),
    ]:
        with pytest.raises(ValueError, match=re.escape(message)):
            call()


# ---- products ------------------------------------------------------------------------------------

PRODUCTS = {
    ((2, 2), (False, False)): "btf,bsf->bts",
    ((2, 1), (False, False)): "bts,bsf->btf",
    ((1, 1), (False, False)): "btf,btg->bfg",
    ((2, 1), (False, True)): "btf,bf->bt",
    ((1, 1), (True, False)): "bt,btf->bf",
    ((1, 1), (True, True)): "bf,bf->b",
}


@pytest.mark.parametrize("options", PRODUCTS, ids=str)
def test_dot(options):
    layer, rule = rf.Dot(*options), PRODUCTS[options]
    sizes = {"b": B, "t": T, "s": 5, "f": F, "g": 2}
    shapes = [[sizes[n] for n in part] for part in rule.partition("->")[0].split(",")]
    a, c = (draw(*shape, seed=i) for i, shape in enumerate(shapes))
    y, tape = layer.forward(a, c)
    want = np.einsum(rule, a, c)
    want = want[:, None] if want.ndim == 1 else want
    np.testing.assert_allclose(y, want, rtol=1e-12)
    np.testing.assert_array_equal(layer(a, c), y)
    dy = draw(*y.shape, seed=5)
    for x, dx in zip((a, c), layer.backward(tape, dy), strict=True):
        same_slope("dx", dx, lambda: np.vdot(dy, layer(a, c)), x)
    assert layer.backward(layer.forward(a, c)[1], dy, input_grad=False) is None
    assert layer._size_behind([a.shape[-1], c.shape[-1]]) in (None, y.shape[-1])
    with pytest.raises(ValueError, match=r"Dot expected inputs of \[\d, \d\] axes, of the same"):
        layer(a, c[:2])
    with pytest.raises(TypeError, match="Dot expected inputs of one dtype"):
        layer(a, c.astype("f4"))


def test_dot_in_a_graph():
    time = {"batch_first": True, "dtype": "f8"}
    model = rf.Graph(
        [
            ("h", rf.GRU(F, 5, seed=1, **time), "x"),
            ("scores", rf.Dot((2, 2)), ["h", "h"]),
            ("weights", rf.Activation("softplus"), "scores"),
            ("context", rf.Dot((2, 1)), ["weights", "h"]),
            ("y", rf.Linear(5, 2, dtype="f8", seed=2), "context"),
        ]
    )
    x = draw(B, T, F)
    y, _, tape = model.forward(x)
    dx, _ = model.backward(tape, np.ones_like(y))
    same_slope("dx", dx, lambda: model.predict(x).sum(), x)
    with pytest.raises(ValueError, match="Dot expected no lengths: all steps of its inputs count"):
        model.predict(x, LENGTHS)
    for call, message in [
        (lambda: rf.Dot(2), "Dot expected axes as a pair, got 2"),
        (lambda: rf.Dot((2, 3)), "Dot expected axes <= 2, got 3"),
        (lambda: rf.Dot((2, 1), (True, False)), "Dot expected axes <= 1, got 2"),
    ]:
        with pytest.raises(ValueError, match=re.escape(message)):
            call()


# ---- what layers say of their sizes and inputs ---------------------------------------------------


def test_sizes_of_chains_that_change_them():
    assert rf.Sequential(rf.Merge("sum", parts=2), rf.Linear(3, 2)).in_size is None
    assert rf.Sequential(rf.Rearrange("part", (0, 2)), rf.Linear(3, 2)).in_size is None
    assert rf.Sequential(rf.Dropout(), rf.Linear(3, 2)).in_size == 3
    assert rf.Sequential(rf.Embedding(5, 3), rf.Linear(3, 2)).in_size is None
    both = rf.Graph([("both", rf.Merge("concat"), ["x", "x"]), ("y", rf.Linear(6, 2), "both")])
    assert rf.Sequential(both, rf.Linear(2, 1)).in_size is None


def test_several_inputs_and_outputs_within_chains():
    two = rf.Graph([("y", rf.Linear(3, 3), "x")], outputs=["y", "x"])
    pair = rf.Graph([("y", rf.Merge("sum"), ["x", "z"])], inputs=["x", "z"])
    x = draw(B, 3).astype("f4")
    y, same = rf.Sequential(rf.Linear(3, 3), two).predict(x)
    assert y.shape == same.shape == (B, 3)
    np.testing.assert_array_equal(rf.Sequential(pair, rf.Dropout()).predict((x, x)), 2 * x)
    for call in (
        lambda: rf.Sequential(two, rf.Linear(3, 2)),
        lambda: rf.Sequential(rf.Sequential(two), rf.Linear(3, 2)),
        lambda: rf.Sequential(rf.Linear(3, 3), pair),
    ):
        with pytest.raises(ValueError, match="inputs of its first layer alone"):
            call()
    with pytest.raises(ValueError, match="Add expected layers of one input and one output"):
        rf.Add(two, rf.Linear(3, 3))
    with pytest.raises(ValueError, match="a layer of one input and one output at 'a"):
        rf.Graph([("a", rf.Sequential(two), "x")], outputs="a")
    with pytest.raises(ValueError, match="Add expected layers of the same makes_time"):
        rf.Add(rf.Linear(3, 3), rf.Sequential(rf.Linear(3, 3), rf.RepeatVector(2)))


@pytest.mark.parametrize("kind", [rf.Graph, rf.Sequential])
def test_layers_or_a_configuration(kind):
    given = [("y", rf.Linear(3, 2), "x")] if kind is rf.Graph else rf.Linear(3, 2)
    config = (kind(given)).config()["config"]
    with pytest.raises(ValueError, match=f"{kind.__name__} expected .* or config, got both"):
        kind(given, config=config)


def test_such_networks_learn():
    model = rf.Sequential(
        rf.Scale(F, dtype="f8"),
        rf.Conv1d(F, 8, 3, 2, "same", batch_first=True, dtype="f8", seed=1),
        rf.Activation("gelu"),
        rf.Pool1d("max", 3, batch_first=True),
        rf.Dropout(0.1, seed=2, all_steps=True, batch_first=True),
        rf.Rearrange("flatten", batch_first=True),
        rf.Linear(8, 1, dtype="f8", seed=3),
    )
    x = draw(16, T, F)
    y = x[:, :, :1].mean(axis=1)
    optimizer, first, loss = rf.optim.Adam(model, lr=0.01), None, None
    for _ in range(60):
        model.zero_grad()
        out, _, tape = model.forward(x)
        loss, dy = rf.losses.squared_error(out, y)
        first = loss if first is None else first
        model.backward(tape, dy, input_grad=False)
        optimizer.step()
    assert loss < 0.3 * first
