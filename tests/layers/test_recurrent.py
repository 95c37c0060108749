"""RNN, LSTM and GRU: finite differences, and everything that can be odd."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from comparisons import same_slope, same_slopes
from engines import each_engine as each_engine
from layer_cases import (
    EVERYTHING,
    B,
    H,
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
from samples import odd_layouts

import rnnfast
from rnnfast import GRU, LSTM, RNN, backend

# ---- finite differences ------------------------------------------------------------------------


@each_cell
@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 2, "bidirectional": True, "batch_first": True}], ids=str
)
def test_finite_differences(cls, extra, options):
    layer = cls(2, 3, dtype=np.float64, seed=3, **extra, **options)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2, 3, 2))
    steps, batch = (3, 2) if layer.batch_first else (2, 3)
    lengths = rng.integers(0, steps + 1, batch)
    state = random_state(layer, rng, (batch,))
    y, n, tape = layer.forward(x, state, lengths)
    dy, dn = rng.standard_normal(y.shape), [rng.standard_normal(s.shape) for s in parts(n)]

    def loss():
        y, n = layer(x, state, lengths)
        return np.vdot(y, dy) + sum(np.vdot(s, ds) for s, ds in zip(parts(n), dn, strict=True))

    dx, d0 = layer.backward(tape, dy, tuple(dn) if len(dn) == 2 else dn[0])
    same_slope("dx", dx, loss, x)
    for s, ds in zip(parts(state), parts(d0), strict=True):
        same_slope("dstate", ds, loss, s)
    same_slopes(layer, loss)


# ---- a reset gate before the product -----------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"bias": False, "num_layers": 2}], ids=str)
def test_reset_before_the_product_is_the_equations_of_its_paper(options):
    layer = make(GRU, reset_after=False, **options)
    rng = np.random.default_rng(1)
    x, state = random_x(layer, rng), random_state(layer, rng)
    y, n = layer(x, state)
    for k in range(layer.num_layers):
        w_ih, w_hh, *biases = (p for name, p in layer.params.items() if name.endswith(f"_l{k}"))
        b_ih, b_hh = biases or np.zeros((2, 3 * H))
        (xr, xz, xn), h, out = np.split(x @ w_ih.T + b_ih + b_hh, 3, axis=2), state[k], []
        for t in range(T):
            r, z = (
                1 / (1 + np.exp(-xg[t] - h @ w.T))
                for xg, w in zip((xr, xz), np.split(w_hh, 3), strict=False)
            )
            h = (1 - z) * np.tanh(xn[t] + (r * h) @ w_hh[2 * H :].T) + z * h
            out.append(h)
        np.testing.assert_allclose(n[k], h, rtol=1e-12)
        x = np.stack(out)
    np.testing.assert_allclose(y, x, rtol=1e-12)


def test_reset_after_is_an_option_like_others(tmp_path):
    layer = make(GRU, reset_after=False)
    assert repr(layer) == "GRU(5, 7, reset_after=False)"
    assert repr(make(GRU, reset_after=True)) == repr(make(GRU)) == "GRU(5, 7)"
    assert {n: p.shape for n, p in layer.params.items()} == {
        n: p.shape for n, p in make(GRU).params.items()
    }
    x = random_x(layer, np.random.default_rng(2))
    y, _ = layer(x)
    assert not np.allclose(y, make(GRU)(x)[0], atol=1e-3)
    rnnfast.save(layer, tmp_path / "layer.npz")
    np.testing.assert_array_equal(rnnfast.load(tmp_path / "layer.npz")(x)[0], y)
    with pytest.raises(TypeError, match="GRU expected reset_after as True or False, got 0"):
        GRU(2, 3, reset_after=0)
    with pytest.raises(ValueError, match="layer_norm=False with reset_after=False, got True"):
        GRU(2, 3, reset_after=False, layer_norm=True)


# ---- layouts -----------------------------------------------------------------------------------


@each_cell
def test_batch_first_is_the_transpose(cls, extra):
    rng = np.random.default_rng(2)
    options = {**extra, "num_layers": 2, "bidirectional": True}
    plain, turned = make(cls, **options), make(cls, batch_first=True, **options)
    x, state, lengths = random_x(plain, rng), random_state(plain, rng), [1, 0, T, 3]
    y, n, tape = plain.forward(x, state, lengths)
    y2, n2, tape2 = turned.forward(x.swapaxes(0, 1), state, lengths)
    dy = rng.standard_normal(y.shape)
    dx, d0 = plain.backward(tape, dy)
    dx2, d02 = turned.backward(tape2, dy.swapaxes(0, 1))
    np.testing.assert_array_equal(y2, y.swapaxes(0, 1))
    np.testing.assert_array_equal(dx2, dx.swapaxes(0, 1))
    same(n2, n)
    same(d02, d0)
    for array in (y, y2, dx, dx2, *parts(n2), *parts(d02)):
        assert array.flags.c_contiguous
    for name in plain.grads:
        np.testing.assert_array_equal(plain.grads[name], turned.grads[name])


@each_cell
@pytest.mark.parametrize("batch_first", [False, True])
def test_unbatched_is_a_batch_of_one(cls, extra, batch_first):
    rng = np.random.default_rng(2)
    layer = make(cls, batch_first=batch_first, num_layers=2, **extra)
    x, state = random_x(layer, rng, False), random_state(layer, rng, ())
    axis = 0 if batch_first else 1
    one = tuple(s[:, None] for s in state) if isinstance(state, tuple) else state[:, None]
    y, n = layer(x, state, [T - 1])
    y1, n1 = layer(np.expand_dims(x, axis), one, [T - 1])
    np.testing.assert_array_equal(y, y1.squeeze(axis))
    for s, s1 in zip(parts(n), parts(n1), strict=True):
        np.testing.assert_array_equal(s, s1[:, 0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batch_first", [False, True])
def test_any_layout_gives_the_same(dtype, batch_first):
    layer = make(LSTM, batch_first=batch_first, num_layers=2, dtype=dtype)
    rng = np.random.default_rng(4)
    x, (h, c) = random_x(layer, rng), random_state(layer, rng)
    dy = rng.standard_normal((*x.shape[:2], H)).astype(dtype)

    def run(x, h, c, dy):
        layer.zero_grad()
        y, n, tape = layer.forward(x, (h, c), [T, 2, 0, 3])
        dx, d0 = layer.backward(tape, dy, (h, c))
        return [y, *n, dx, *d0, *(g.copy() for g in layer.grads.values())]

    want = run(x, h, c, dy)
    variants = [odd_layouts(a) for a in (x, h, c, dy)]
    for kind in variants[0]:
        odd = [v[kind] for v in variants]
        for name, got, array in zip(["x", "h", "c", "dy"], odd, (x, h, c, dy), strict=True):
            assert np.array_equal(got, array), f"{kind} {name} is not the same array"
        for got, value in zip(run(*odd), want, strict=True):
            np.testing.assert_array_equal(got, value, err_msg=kind)
        for array, before in zip(odd, (x, h, c, dy), strict=True):
            np.testing.assert_array_equal(array, before, err_msg=f"{kind}: input changed")


def test_broadcast_and_memmap(tmp_path):
    layer = make(GRU)
    row = np.random.default_rng(5).standard_normal((T, 1, I))
    want, _ = layer(row.repeat(B, axis=1))
    np.testing.assert_array_equal(layer(np.broadcast_to(row, (T, B, I)))[0], want)
    mapped = np.memmap(tmp_path / "x", np.float64, "w+", shape=(T, B, I))
    mapped[:] = row
    y, n = layer(mapped)
    np.testing.assert_array_equal(y, want)
    assert type(y) is type(n) is np.ndarray


# ---- states, lengths, empty things -------------------------------------------------------------


@each_cell
def test_ragged_batch_equals_each_sample_alone(cls, extra):
    layer = make(cls, num_layers=2, bidirectional=True, **extra)
    rng = np.random.default_rng(6)
    x, state, lengths = random_x(layer, rng), random_state(layer, rng), np.array([3, 0, T, 1])
    x[np.arange(T)[:, None] >= lengths] = np.nan
    y, n, tape = layer.forward(x, state, lengths)
    dy = rng.standard_normal(y.shape)
    dy[np.arange(T)[:, None] >= lengths] = np.nan
    dx, d0 = layer.backward(tape, dy)
    got = {name: grad.copy() for name, grad in layer.grads.items()}
    layer.zero_grad()
    for b, length in enumerate(lengths):
        start = tuple(s[:, b] for s in state) if isinstance(state, tuple) else state[:, b]
        y1, n1, tape = layer.forward(x[:length, b], start)
        dx1, d1 = layer.backward(tape, dy[:length, b])
        np.testing.assert_allclose(y[:length, b], y1, rtol=1e-12)
        np.testing.assert_allclose(dx[:length, b], dx1, rtol=1e-10, atol=1e-14)
        assert not y[length:, b].any()
        assert not dx[length:, b].any()
        for a, a1 in zip(parts(n) + parts(d0), parts(n1) + parts(d1), strict=True):
            np.testing.assert_allclose(a[:, b], a1, rtol=1e-10, atol=1e-14)
    for name, grad in layer.grads.items():
        np.testing.assert_allclose(got[name], grad, rtol=1e-10, atol=1e-13)


@each_cell
@pytest.mark.parametrize("sizes", [(0, B, I), (T, 0, I), (T, B, 0), (0, 0, 0)], ids=str)
@pytest.mark.parametrize("checkpoint", [None, 2])
def test_nothing_at_all(cls, extra, sizes, checkpoint):
    t, b, i = sizes
    layer = cls(i, 1, 2, bidirectional=True, dtype=np.float64, checkpoint=checkpoint, **extra)
    rng = np.random.default_rng(0)
    state = random_state(layer, rng, (b,))
    y, n, tape = layer.forward(np.zeros(sizes), state)
    assert y.shape == (t, b, 2)
    dx, d0 = layer.backward(tape, np.ones(y.shape), n)
    assert dx.shape == sizes
    if t == 0:
        same(n, state)
        same(d0, state)


def test_parts_of_states_may_be_missing():
    layer = make(LSTM)
    rng = np.random.default_rng(7)
    x, (h, c) = random_x(layer, rng), random_state(layer, rng)
    zeros = np.zeros_like(h)
    same(layer(x)[1], layer(x, (zeros, zeros))[1])
    same(layer(x, (h, None))[1], layer(x, (h, zeros))[1])
    results = []
    for dy, dstate in [(None, (None, c)), (np.zeros((T, B, H)), [zeros, c])]:
        layer.zero_grad()
        _, _, tape = layer.forward(x)
        dx, d0 = layer.backward(tape, dy, dstate)
        results.append([dx, *d0, *(g.copy() for g in layer.grads.values())])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_input_gradient_is_optional():
    layer = make(GRU)
    rng = np.random.default_rng(8)
    x = random_x(layer, rng)
    grads = []
    for wanted in (True, False):
        layer.zero_grad()
        y, _, tape = layer.forward(x)
        dx, _ = layer.backward(tape, y, input_grad=wanted)
        assert (dx is not None) is wanted
        grads.append({name: grad.copy() for name, grad in layer.grads.items()})
    np.testing.assert_equal(*grads)


def test_gradients_add_up():
    layer = make(GRU)
    x = random_x(layer, np.random.default_rng(8))
    once = None
    for _ in range(2):
        y, _, tape = layer.forward(x)
        layer.backward(tape, y)
        once = once or {name: grad.copy() for name, grad in layer.grads.items()}
    for name, grad in layer.grads.items():
        np.testing.assert_allclose(grad, 2 * once[name], rtol=1e-14)
    layer.zero_grad()
    assert not any(grad.any() for grad in layer.grads.values())


# ---- single steps ------------------------------------------------------------------------------


@each_cell
@pytest.mark.parametrize("options", [{}, {"num_layers": 2}], ids=str)
@pytest.mark.parametrize("batched", [True, False])
def test_steps_equal_the_sequence(cls, extra, options, batched):
    layer = make(cls, **extra, **options)
    rng = np.random.default_rng(10)
    x = random_x(layer, rng, batched)
    state = random_state(layer, rng, (B,) if batched else ())
    y, n = layer(x, state)
    for t in range(T):
        y_t, state = layer.step(x[t], state)
        np.testing.assert_allclose(y_t, y[t], rtol=1e-13, atol=1e-15)
    for s, s_n in zip(parts(state), parts(n), strict=True):
        assert s.shape == s_n.shape
        np.testing.assert_allclose(s, s_n, rtol=1e-13, atol=1e-15)


def test_step_takes_projection_odd_arrays_and_no_state():
    layer = make(LSTM, proj_size=3, num_layers=2)
    x = np.random.default_rng(11).standard_normal((B, I))
    want, n = layer.step(x)
    np.testing.assert_allclose(want, layer(x[None])[0][0], rtol=1e-13)
    assert [s.shape for s in n] == [(2, B, 3), (2, B, H)]
    for odd in odd_layouts(x).values():
        np.testing.assert_array_equal(layer.step(odd)[0], want)


def test_step_refuses():
    layer = make(LSTM)
    with pytest.raises(ValueError, match=r"input of size 5 on the last axis, got \(4, 4\)"):
        layer.step(np.zeros((B, 4)))
    with pytest.raises(ValueError, match="expected one step with 2 axes"):
        layer.step(np.zeros((1, B, I)))
    with pytest.raises(TypeError, match="dtype float64, got float32"):
        layer.step(np.zeros((B, I), np.float32))
    with pytest.raises(ValueError, match=r"expected state of shape \(1, 4, 7\), got \(1, 3, 7\)"):
        layer.step(np.zeros((B, I)), (np.zeros((1, 3, H)), np.zeros((1, B, H))))
    with pytest.raises(ValueError, match="bidirectional LSTM cannot run step by step"):
        make(LSTM, bidirectional=True).step(np.zeros((B, I)))


# ---- dropout -----------------------------------------------------------------------------------


def test_dropout_acts_in_forward_only():
    layer, plain = make(GRU, num_layers=2, dropout=0.5), make(GRU, num_layers=2)
    x = random_x(layer, np.random.default_rng(12))
    np.testing.assert_array_equal(layer(x)[0], plain(x)[0])
    first, second = layer.forward(x)[0], layer.forward(x)[0]
    assert not np.allclose(first, plain(x)[0])
    assert not np.allclose(first, second)
    np.testing.assert_array_equal(make(GRU, num_layers=2, dropout=0.5).forward(x)[0], first)


def test_dropout_of_everything():
    layer = make(GRU, num_layers=2, dropout=1.0)
    rng = np.random.default_rng(12)
    y1, y2 = (layer.forward(random_x(layer, rng))[0] for _ in range(2))
    np.testing.assert_array_equal(y1, y2)


def test_dropout_keeps_the_mean():
    # layer 0 puts out ones (nearly), layer 1 hands on a small multiple of what it gets
    layer = RNN(1, 64, 2, dropout=0.3, dtype=np.float64, seed=0)
    for name in layer.params:
        layer.params[name] = np.zeros(layer.params[name].shape)
    layer.params["bias_ih_l0"] = np.full(64, 20.0)
    layer.params["weight_ih_l1"] = 1e-3 * np.eye(64)
    y, _, _ = layer.forward(np.zeros((100, 20, 1)))
    values = np.unique(np.round(y * 1e3, 6))
    np.testing.assert_allclose(values, [0.0, 1 / 0.7], rtol=1e-3)
    zeros = np.mean(y == 0)
    assert abs(zeros - 0.3) < 5 * np.sqrt(0.3 * 0.7 / y.size)
    per_unit = (y == 0).mean(axis=(0, 1))
    assert np.ptp(per_unit) < 12 * np.sqrt(0.3 * 0.7 / 2000)


def test_dropout_gradients():
    layer = LSTM(2, 3, 2, dropout=0.4, bidirectional=True, dtype=np.float64, seed=5)
    x = np.random.default_rng(13).standard_normal((4, 2, 2))
    y, _, tape = copy.deepcopy(layer).forward(x)
    dx, _ = (twin := copy.deepcopy(layer)).backward(twin.forward(x)[2], y)
    del tape
    # a copy draws the same masks, so that the same function is differentiated
    same_slope("dx", dx, lambda: np.vdot(copy.deepcopy(layer).forward(x)[0], y), x)


def test_dropout_without_a_second_layer_warns():
    with pytest.warns(UserWarning, match="num_layers=1"):
        LSTM(2, 3, dropout=0.5)


# ---- parameters, copies ------------------------------------------------------------------------


def test_parameters_are_read_only_and_assigned():
    layer = make(GRU)
    x = random_x(layer, np.random.default_rng(14))
    before = layer(x)[0]
    with pytest.raises(ValueError, match="read-only"):
        layer.params["bias_ih_l0"][0] = 1.0
    with pytest.raises(KeyError, match="GRU has no parameter 'bias'"):
        layer.params["bias"] = 1.0
    with pytest.raises(ValueError, match=r"expected bias_ih_l0 of shape \(21,\), got \(7,\)"):
        layer.params["bias_ih_l0"] = np.ones(H)
    with pytest.raises(TypeError, match="got complex128"):
        layer.params["bias_ih_l0"] = np.ones(3 * H, complex)
    np.testing.assert_array_equal(layer(x)[0], before)
    mine = np.ones(3 * H, np.float32)
    layer.params["bias_ih_l0"] = mine
    mine[:] = 0
    assert layer.params["bias_ih_l0"].dtype == np.float64
    assert layer.params["bias_ih_l0"].all()
    assert not np.allclose(layer(x)[0], before)


def test_weights_are_drawn_as_documented():
    layer = LSTM(30, 25, 2, seed=1)
    for array in layer.params.values():
        assert array.dtype == np.float32
        assert 0.18 < np.abs(array).max() <= 0.2
    same = LSTM(30, 25, 2, seed=1, dtype=np.float64)
    np.testing.assert_equal(
        dict(layer.params), {name: p.astype(np.float32) for name, p in same.params.items()}
    )
    assert not np.array_equal(layer.params["weight_hh_l0"], LSTM(30, 25).params["weight_hh_l0"])


def test_backward_uses_the_weights_of_forward():
    layer = make(LSTM)
    x = random_x(layer, np.random.default_rng(15))
    y, _, tape = layer.forward(x)
    want, _ = layer.backward(tape, y)
    _, _, tape = layer.forward(x)
    layer.params["weight_hh_l0"] = np.zeros((4 * H, H))
    np.testing.assert_array_equal(layer.backward(tape, y)[0], want)


def test_a_tape_remembers_its_backend():
    layer = make(LSTM)
    x = random_x(layer, np.random.default_rng(15))
    y, _, tape = layer.forward(x)
    with backend.use("reference"):
        dx, _ = layer.backward(tape, y)
        other = layer.backward(layer.forward(x)[2], y)[0]
    np.testing.assert_allclose(dx, other, rtol=1e-10, atol=1e-13)


def test_state_dict():
    layer, other = make(LSTM, seed=1), make(LSTM, seed=2)
    state = layer.state_dict()
    other.load_state_dict(state)
    np.testing.assert_equal(dict(other.params), dict(layer.params))
    state["bias_ih_l0"][:] = 0.0
    assert layer.params["bias_ih_l0"].any()

    before = other.state_dict()
    state["bias_ih_l0"] = np.zeros(3)
    with pytest.raises(ValueError, match="bias_ih_l0 of shape"):
        other.load_state_dict(state)
    del state["bias_ih_l0"]
    state["nonsense"] = np.zeros(3)
    with pytest.raises(ValueError, match="missing: bias_ih_l0; unknown: nonsense"):
        other.load_state_dict(state)
    np.testing.assert_equal(dict(other.params), before)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_are_equal_and_independent(duplicate):
    layer = make(LSTM, num_layers=2, dropout=0.5)
    x = random_x(layer, np.random.default_rng(16))
    y, _, tape = layer.forward(x)
    layer.backward(tape, y)
    twin = duplicate(layer)
    np.testing.assert_equal(twin.grads, layer.grads)
    np.testing.assert_array_equal(twin.forward(x)[0], layer.forward(x)[0])
    twin.params["bias_hh_l0"] = np.zeros(4 * H)
    assert layer.params["bias_hh_l0"].any()


@each_cell
def test_config_rebuilds(cls, extra):
    options = {**extra, **possible(cls, extra, EVERYTHING)}
    layer = make(cls, num_layers=2, dropout=0.25, checkpoint=4, **options)
    twin = cls(**layer.config())
    assert twin.config() == layer.config()
    np.testing.assert_equal(dict(twin.params), dict(layer.params))
