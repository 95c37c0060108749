"""Layer normalisation, recurrent dropout and zoneout in RNN, LSTM and GRU; and their gates."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from comparisons import same_slope
from engines import each_engine as each_engine
from engines import leave_to_the_engine
from layer_cases import (
    EVERYTHING,
    B,
    H,
    I,
    T,
    cell_of,
    each,
    each_cell,
    each_torch_cell,
    make,
    parts,
    possible,
    random_state,
    random_x,
    same,
)

from rnnfast import GRU, LSTM, RNN
from rnnfast.cells import CELLS

# ---- layer normalisation, recurrent dropout, zoneout -------------------------------------------

each_option = pytest.mark.parametrize(
    "options",
    [{"layer_norm": True}, {"recurrent_dropout": 0.4}, {"zoneout": 0.3}, EVERYTHING],
    ids=["norm", "dropout", "zoneout", "all"],
)


def twins(layer):
    """Copies, which draw the same masks at their next call."""
    while True:
        yield copy.deepcopy(layer)


@each_cell
@each_option
def test_options_finite_differences(cls, extra, options, each_engine):
    if options != EVERYTHING:
        leave_to_the_engine(each_engine)
    size = {"proj_size": 2} if cell_of(cls, extra).has_cell_state else {}
    options = {**extra, **possible(cls, extra, options), **size}
    layer = cls(2, 3, 2, bidirectional=True, dtype=np.float64, seed=5, **options)
    rng = np.random.default_rng(1)
    for name, param in layer.params.items():
        if "_ln_" in name:
            layer.params[name] = rng.uniform(0.5, 1.5, param.shape)
    x, lengths = rng.standard_normal((3, 2, 2)), [3, 2]
    state = random_state(layer, rng, (2,))  # normalising zeros, a GRU's W_hn h, is all curvature
    copies = twins(layer)
    y, n, tape = (first := next(copies)).forward(x, state, lengths)
    dy, dn = rng.standard_normal(y.shape), [rng.standard_normal(s.shape) for s in parts(n)]
    dx, _ = first.backward(tape, dy, tuple(dn) if len(dn) == 2 else dn[0])

    def loss():
        y, n, _ = next(copies).forward(x, state, lengths)
        return np.vdot(y, dy) + sum(np.vdot(s, ds) for s, ds in zip(parts(n), dn, strict=True))

    same_slope("dx", dx, loss, x)
    for name, grad in first.grads.items():
        layer.params[name] = array = layer.params[name].copy()

        def perturbed(name=name, array=array):
            layer.params[name] = array
            return loss()

        same_slope(name, grad, perturbed, array)
        layer.params[name] = array


@each_torch_cell
@pytest.mark.parametrize("bias", [True, False])
def test_layer_norm_in_torch_operations(cls, extra, bias):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    layer = make(cls, bias=bias, layer_norm=True, **extra)
    rng = np.random.default_rng(2)
    for name, param in layer.params.items():
        if "_ln_" in name:
            layer.params[name] = rng.uniform(0.5, 1.5, param.shape)
    p = {name[:-3]: torch.tensor(a, requires_grad=True) for name, a in layer.state_dict().items()}
    gamma = p["weight_ln"].chunk(layer._cell.slots)
    beta = p["bias_ln"].chunk(layer._cell.slots) if bias else [None] * layer._cell.slots

    def norm(u, slot):
        return torch.nn.functional.layer_norm(u, (H,), gamma[slot], beta[slot], eps=1e-5)

    x = rng.standard_normal((T, B, I))
    h = c = torch.zeros(B, H, dtype=torch.float64)
    outputs = []
    for x_t in torch.tensor(x):
        us = torch.nn.functional.linear(x_t, p["weight_ih"], p.get("bias_ih"))
        vs = torch.nn.functional.linear(h, p["weight_hh"], p.get("bias_hh"))
        u, v = (a.tensor_split(layer._cell.gates, -1) for a in (us, vs))
        sums = [norm(u[g] + v[g], g) for g in range(layer._cell.gates)]
        if cls is RNN:
            h = torch.relu(*sums) if extra else torch.tanh(*sums)
        elif cls is LSTM:
            i, f, o = (torch.sigmoid(sums[g]) for g in (0, 1, 3))
            c = f * c + i * torch.tanh(sums[2])
            h = o * torch.tanh(c)
        else:
            r, z = torch.sigmoid(sums[0]), torch.sigmoid(sums[1])
            n = torch.tanh(norm(u[2], 2) + r * norm(v[2], 3))
            h = (1 - z) * n + z * h
        outputs.append(h)
    want = torch.stack(outputs)
    y, _, tape = layer.forward(x)
    np.testing.assert_allclose(y, want.detach(), rtol=1e-11, atol=1e-13)
    dy = rng.standard_normal(y.shape)
    layer.backward(tape, dy)
    (want * torch.tensor(dy)).sum().backward()
    for name, grad in layer.grads.items():
        np.testing.assert_allclose(grad, p[name[:-3]].grad, rtol=1e-9, atol=1e-11, err_msg=name)


def test_layer_norm_makes_the_scale_of_the_weights_irrelevant():
    layer = make(LSTM, layer_norm=True, num_layers=2)
    x = random_x(layer, np.random.default_rng(3))
    y, _ = layer(x)
    for name in ("weight_ih_l1", "weight_hh_l1", "bias_ih_l1", "bias_hh_l1"):
        layer.params[name] = 64 * layer.params[name]
    np.testing.assert_allclose(layer(x)[0], y, atol=1e-3)  # all but for the variance's 1e-5


@each([cell for cell in CELLS.values() if not cell.input_only])
def test_recurrent_dropout_is_one_mask_on_the_recurrent_weights(cls, extra):
    layer, plain = make(cls, recurrent_dropout=0.5, **extra), make(cls, **extra)
    x = random_x(layer, np.random.default_rng(4))
    assert np.array_equal(layer(x)[0], plain(x)[0])
    y, _, tape = layer.forward(x)
    layer.backward(tape, y)
    source = layer._sources[1]
    mask = np.empty((B, H))
    source.fill(1, 1, 0, mask[None])  # of the first call and the only direction
    assert set(np.unique(mask)) == {0.0, 2.0}
    for b in range(B):
        one = copy.deepcopy(plain)
        one.params["weight_hh_l0"] = plain.params["weight_hh_l0"] * mask[b]  # r (h m) = (r h) m
        want, _ = one(x[:, b])
        np.testing.assert_allclose(y[:, b], want, rtol=1e-12, atol=1e-14)


def test_recurrent_dropout_of_everything_is_no_recurrence():
    layer = make(RNN, recurrent_dropout=1.0)
    x = random_x(layer, np.random.default_rng(5))
    y, _, _ = layer.forward(x)
    for t in range(T):
        np.testing.assert_allclose(y[t], layer.step(x[t])[0], rtol=1e-12)


@each_cell
@pytest.mark.parametrize("training", [True, False])
def test_zoneout_of_everything_keeps_the_state(cls, extra, training):
    layer = make(cls, zoneout=1.0, num_layers=2, **extra)
    rng = np.random.default_rng(6)
    x, state = random_x(layer, rng), random_state(layer, rng)
    y, n, *_ = layer.forward(x, state) if training else layer(x, state)
    same(n, state)
    np.testing.assert_array_equal(y, np.broadcast_to(parts(state)[0][1], y.shape))


def test_zoneout_keeps_old_values_as_often_as_it_should():
    layer = RNN(3, 40, zoneout=0.3, dtype=np.float64, seed=0)
    x = np.random.default_rng(7).standard_normal((50, 30, 3))
    y, _, _ = layer.forward(x)
    kept = y[1:] == y[:-1]
    assert abs(kept.mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / kept.size)
    per_unit = kept.mean(axis=(0, 1))
    assert np.ptp(per_unit) < 12 * np.sqrt(0.3 * 0.7 / (kept.size / 40))


def test_zoneout_in_inference_is_the_expectation():
    layer, plain = make(LSTM, zoneout=(0.25, 0.5)), make(LSTM)
    x = random_x(layer, np.random.default_rng(8))
    y, (h_n, c_n) = layer(x)
    h = c = np.zeros((1, B, H))
    for t in range(T):
        _, (h_new, c_new) = plain.step(x[t], (h, c))
        h, c = 0.25 * h + 0.75 * h_new, 0.5 * c + 0.5 * c_new
        np.testing.assert_allclose(y[t], h[0], rtol=1e-12)
    np.testing.assert_allclose(h_n, h, rtol=1e-12)
    np.testing.assert_allclose(c_n, c, rtol=1e-12)


def test_zoneout_of_h_and_of_c_draw_masks_of_their_own():
    layer = LSTM(2, 64, zoneout=0.5, recurrent_dropout=0.5, dtype=np.float64, seed=0)
    masks = layer._draw_masks(16)
    _, recurrent, zone_h, zone_c = masks.whole(0, 8)
    for a, b in [(zone_h, zone_c), (zone_h[:, 0] * 2, recurrent), (zone_h[:, 0], zone_h[:, 1])]:
        assert 0.4 < np.mean(a == b) < 0.6


@each_cell
@each_option
def test_options_step_by_step(cls, extra, options):
    layer = make(cls, num_layers=2, **extra, **possible(cls, extra, options))
    x = random_x(layer, np.random.default_rng(9))
    y, n = layer(x)
    state = None
    for t in range(T):
        y_t, state = layer.step(x[t], state)
        np.testing.assert_allclose(y_t, y[t], rtol=1e-12, atol=1e-14)
    for s, s_n in zip(parts(state), parts(n), strict=True):
        np.testing.assert_allclose(s, s_n, rtol=1e-12, atol=1e-14)


def test_options_off_are_the_plain_layer():
    options = {"layer_norm": False, "recurrent_dropout": 0.0, "zoneout": 0.0}
    layer, plain = make(LSTM, num_layers=2, **options), make(LSTM, num_layers=2)
    assert list(layer.params) == list(plain.params)
    assert repr(layer) == repr(plain)
    normed = make(LSTM, num_layers=2, layer_norm=True)
    for name, param in plain.params.items():
        np.testing.assert_array_equal(normed.params[name], param)
    assert {n: p.shape for n, p in normed.params.items() if n not in plain.params} == {
        f"{kind}_ln_l{k}": (4 * H,) for kind in ("weight", "bias") for k in (0, 1)
    }
    assert all((normed.params[f"weight_ln_l{k}"] == 1).all() for k in (0, 1))
    assert not any(normed.params[f"bias_ln_l{k}"].any() for k in (0, 1))


# ---- gates -------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("lengths", [None, [3, 5, 0]])
def test_gates_of_an_lstm_are_those_of_its_equations(batch_first, lengths):
    layer = LSTM(2, 4, batch_first=batch_first, seed=1, dtype=np.float64, checkpoint=2)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((3, 5, 2) if batch_first else (5, 3, 2))
    state = tuple(rng.standard_normal((1, 3, 4)) for _ in "hc")
    gates = layer.gates(x, state, lengths)
    assert list(gates) == ["input", "forget", "cell", "output"]
    y, _ = layer(x, state, lengths)
    c = state[1][0]
    for t in range(5):
        at = (slice(None), t) if batch_first else (t,)
        i, f, g, o = (values[0][at] for values in gates.values())
        real = np.ones(3, bool) if lengths is None else t < np.array(lengths)
        c = np.where(real[:, None], f * c + i * g, c)
        np.testing.assert_allclose(y[at], np.where(real[:, None], o * np.tanh(c), 0), rtol=1e-12)
        assert all((abs(values[real]) > 0).all() for values in (i, f, g, o))


@pytest.mark.parametrize("reset_after", [True, False])
def test_gates_of_a_gru_are_those_of_its_equations(reset_after):
    options = {"dropout": 0.5, "seed": 1, "dtype": np.float64, "reset_after": reset_after}
    layer = GRU(2, 4, 2, bidirectional=True, **options)
    x = np.random.default_rng(1).standard_normal((5, 3, 2))
    gates = layer.gates(x)
    assert list(gates) == ["reset", "update", "new"]
    assert all(values.shape == (4, 5, 3, 4) for values in gates.values())
    y, _ = layer(x)
    for direction, steps in enumerate((range(5), reversed(range(5)))):
        h = np.zeros((3, 4))
        for t in steps:
            z, n = gates["update"][2 + direction, t], gates["new"][2 + direction, t]
            h = (1 - z) * n + z * h
            np.testing.assert_allclose(y[t, :, 4 * direction :][:, :4], h, rtol=1e-12)
    p = layer.params  # what h_0 = 0 leaves of the reset gate
    want = 1 / (
        1 + np.exp(-(x[0] @ p["weight_ih_l0"].T + p["bias_ih_l0"] + p["bias_hh_l0"])[:, :4])
    )
    np.testing.assert_allclose(gates["reset"][0, 0], want, rtol=1e-12)
    np.testing.assert_allclose(layer.gates(x[:, 1])["new"], gates["new"][:, :, 1], atol=1e-15)


def test_an_rnn_has_no_gates():
    assert RNN(2, 3).gates(np.ones((4, 1, 2), np.float32)) == {}
    with pytest.raises(ValueError, match="RNN expected input of size 2"):
        RNN(2, 3).gates(np.ones((4, 1, 3), np.float32))
