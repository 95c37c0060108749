"""Deliberate defects: the comparisons that the suite rests on must catch every one of them."""

from __future__ import annotations

import numpy as np
import pytest
from cases import DENSE, Case, make
from comparisons import check, check_dense
from run_cases import run, run_dense, truth

from rnnfast.cells import CELLS
from rnnfast.reference import cells, dense, direction
from rnnfast.reference import recurrent as reference

SIZES = dict(B=5, T=6, I=7, H=18, L=2, D=2, lengths="ragged")


# Each takes a sound cell of the reference and returns a defective one.


def swap_the_first_and_last_gate(cell):
    def forward(xw, hw, h, c, *own):
        def swap(a):
            first, *middle, last = np.split(a, cell.facts.gates, axis=1)
            return np.concatenate([last, *middle, first], axis=1)

        return cell.forward(swap(xw), swap(hw), h, c, *own)

    return cell._replace(forward=forward)


def shift_the_output_slightly(cell):
    def forward(xw, hw, h, c, *own):
        h, c, saved = cell.forward(xw, hw, h, c, *own)
        return h * (1 + 1e-4), c, saved

    return cell._replace(forward=forward)


def drop_a_gate_from_the_derivative(cell):
    def backward(dh, dc, saved, *own):
        dxw, dhw, dh_past, dc_past = cell.backward(dh, dc, saved, *own)
        H = dxw.shape[1] // cell.facts.gates
        dxw, dhw = dxw.copy(), dhw.copy()
        dxw[:, -H:] = dhw[:, -H:] = 0
        return dxw, dhw, dh_past, dc_past

    return cell._replace(backward=backward)


def scale_one_unit_of_the_derivative_slightly(cell):
    def backward(dh, dc, saved, *own):
        dxw, dhw, dh_past, dc_past = cell.backward(dh, dc, saved, *own)
        factor = np.ones(dxw.shape[1])
        factor[-1] += 1e-3
        return dxw * factor, dhw * factor, dh_past, dc_past

    return cell._replace(backward=backward)


def halve_what_goes_back_in_time(cell):
    def backward(dh, dc, saved, *own):
        dxw, dhw, dh_past, dc_past = cell.backward(dh, dc, saved, *own)
        return dxw, 0.5 * dhw, 0.5 * dh_past, None if dc_past is None else 0.5 * dc_past

    return cell._replace(backward=backward)


DEFECTS = [
    swap_the_first_and_last_gate,
    shift_the_output_slightly,
    drop_a_gate_from_the_derivative,
    scale_one_unit_of_the_derivative_slightly,
    halve_what_goes_back_in_time,
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("defect", DEFECTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("cell", CELLS)
def test_a_defective_cell_is_caught(engine, monkeypatch, cell, defect, dtype):
    if defect is swap_the_first_and_last_gate and CELLS[cell].gates == 1:
        pytest.skip("one gate cannot be swapped")
    case = Case(cell, **SIZES)
    got = run(engine, make(case, dtype))
    check(got, truth(case), case, dtype)
    monkeypatch.setitem(cells.CELLS, cell, defect(cells.CELLS[cell]))
    with pytest.raises(AssertionError, match="elements off"):
        check(got, run(reference, make(case)), case, dtype)


def never_backwards(T, reverse):
    return range(T)


def without_bias(x, weight, bias):
    return x @ weight.T


@pytest.mark.parametrize(("name", "defect"), [("steps", never_backwards), ("affine", without_bias)])
@pytest.mark.parametrize("cell", CELLS)
def test_a_defective_driver_is_caught(engine, monkeypatch, cell, name, defect):
    case = Case(cell, **SIZES)
    got = run(engine, make(case, np.float32))
    check(got, truth(case), case, np.float32)
    monkeypatch.setattr(direction, name, defect)
    with pytest.raises(AssertionError, match="elements off"):
        check(got, run(reference, make(case)), case, np.float32)


# Each returns a module of the reference, and defective functions for it that an option rests on.


def forget_the_share_of_the_statistics():
    def norm_backward(cell, w_ln, dslots, saved):
        normal, rstd = saved
        dsums = (dslots * w_ln).reshape(normal.shape) * rstd
        return direction.from_slots(cell, dsums.reshape(dslots.shape))

    return direction, dict(norm_backward=norm_backward)


def norm_less():
    return direction, dict(NORM_EPS=1e-3)


def change_factors(change):
    sound = reference.factors_of

    def factors_of(packed, masks, k, T, dtype):
        factors = sound(packed, masks, k, T, dtype)
        return factors._replace(**change(factors))

    return reference, dict(factors_of=factors_of)


def forget_recurrent_dropout():
    return change_factors(lambda factors: dict(recurrent=None))


def forget_a_step_of_zoneout():
    def change(factors):
        zone_h = factors.zone_h.copy()
        zone_h[2] = 0
        return dict(zone_h=zone_h)

    return change_factors(change)


def let_a_state_through():
    sound = reference.cuts_of

    def cuts_of(resets, active):
        cuts = sound(resets, active)
        cuts[np.argmax(cuts.any(axis=(1, 2)))] = False
        return cuts

    return reference, dict(cuts_of=cuts_of)


def multiply_before_the_reset():
    def reset_forward(weights, xw, hw, fed):
        _, r = sound(weights, xw, hw, fed)
        return hw, r

    sound = direction.reset_forward
    return direction, dict(reset_forward=reset_forward)


def forget_what_r_lets_through():
    def reset_backward(w_hh, dgates, r, fed):
        dgates, dfed = sound(w_hh, dgates, r, fed)
        H = fed.shape[1]
        return dgates, dfed - r * (dgates[:, 2 * H :] @ w_hh[2 * H :])

    sound = direction.reset_backward
    return direction, dict(reset_backward=reset_backward)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "defect", [multiply_before_the_reset, forget_what_r_lets_through], ids=lambda f: f.__name__
)
def test_a_defective_reset_is_caught(engine, monkeypatch, defect, dtype):
    case = Case("gru_reset_before", **SIZES)
    got = run(engine, make(case, dtype))
    check(got, truth(case), case, dtype)
    module, wrong = defect()
    for name, value in wrong.items():
        monkeypatch.setattr(module, name, value)
    with pytest.raises(AssertionError, match="elements off"):
        check(got, run(reference, make(case)), case, dtype)


@pytest.mark.parametrize(
    "defect",
    [
        forget_the_share_of_the_statistics,
        norm_less,
        forget_recurrent_dropout,
        forget_a_step_of_zoneout,
        let_a_state_through,
    ],
    ids=lambda f: f.__name__,
)
@pytest.mark.parametrize("cell", CELLS)
def test_a_defective_option_is_caught(engine, monkeypatch, cell, defect):
    case = Case(cell, **SIZES, norm=True, recurrent=0.3, zone=0.3, resets=0.3).possible()
    if not case.norm and defect in (forget_the_share_of_the_statistics, norm_less):
        pytest.skip(f"{cell} takes no layer normalisation")
    if not case.recurrent and defect is forget_recurrent_dropout:
        pytest.skip(f"{cell} has no recurrent weights")
    got = run(engine, make(case, np.float32))
    check(got, truth(case), case, np.float32)
    module, wrong = defect()
    for name, value in wrong.items():
        monkeypatch.setattr(module, name, value)
    with pytest.raises(AssertionError, match="elements off"):
        check(got, run(reference, make(case)), case, np.float32)


@pytest.mark.parametrize("cell", CELLS)
def test_what_nobody_wrote_is_caught(cell):
    case = Case(cell, **SIZES)
    for name in truth(case):
        got = {key: value.copy() for key, value in truth(case).items()}
        got[name].reshape(-1)[-1] = np.nan  # a poisoned element that survived
        with pytest.raises(AssertionError, match="1 of"):
            check(got, truth(case), case, np.float64)


def shift_a_row(dense):
    def linear(x, weight, bias, y):
        dense.linear(x, weight, bias, y)
        y[-1:] = np.roll(y[-1:], 1)

    return dict(linear=linear)


def forget_the_bias_gradient(dense):
    def linear_backward(x, weight, dy, dx, dweight, dbias):
        dense.linear_backward(x, weight, dy, dx, dweight, None)

    return dict(linear_backward=linear_backward)


def count_equal_ids_once(dense):
    def embedding_backward(ids, dy, dweight):
        dweight[ids] += dy

    return dict(embedding_backward=embedding_backward)


def use_the_unbiased_variance(dense):
    def layer_norm(x, gamma, beta, eps, y, mean, rstd):
        dense.layer_norm(x, gamma, beta, eps, y, mean, rstd)
        n = max(x.shape[1], 2)
        rstd[...] = 1 / np.sqrt(x.var(axis=1) * n / (n - 1) + eps)
        y[...] = (x - mean[:, None]) * rstd[:, None] * gamma + beta

    return dict(layer_norm=layer_norm)


def ignore_the_share_of_the_statistics(dense):
    def layer_norm_backward(x, gamma, mean, rstd, dy, dx, dgamma, dbeta):
        dense.layer_norm_backward(x, gamma, mean, rstd, dy, None, dgamma, dbeta)
        dx[...] = dy * gamma * rstd[:, None]

    return dict(layer_norm_backward=layer_norm_backward)


def drop_the_velocity(dense):
    def sgd(param, grad, velocity, lr, momentum, weight_decay, nesterov):
        dense.sgd(param, grad, None, lr, 0.0, weight_decay, False)

    return dict(sgd=sgd)


def forget_the_bias_correction(dense):
    def adam(param, grad, m, v, lr, beta1, beta2, eps, weight_decay, decoupled, step):
        dense.adam(param, grad, m, v, lr, beta1, beta2, eps, weight_decay, decoupled, 10**9)

    return dict(adam=adam)


def decouple_the_decay(dense):
    def adam(param, grad, m, v, lr, beta1, beta2, eps, weight_decay, decoupled, step):
        dense.adam(param, grad, m, v, lr, beta1, beta2, eps, weight_decay, not decoupled, step)

    return dict(adam=adam)


def forget_the_next_momentum(dense):
    def nadam(param, grad, m, v, lr, beta1, beta2, eps, weight_decay, mu, next_mu, product, step):
        dense.nadam(param, grad, m, v, lr, beta1, beta2, eps, weight_decay, mu, mu, product, step)

    return dict(nadam=nadam)


def leave_eps_out(dense):
    def rmsprop(param, grad, square_avg, velocity, lr, alpha, eps, momentum, weight_decay):
        dense.rmsprop(param, grad, square_avg, velocity, lr, alpha, 0.0, momentum, weight_decay)

    return dict(rmsprop=rmsprop)


def sum_magnitudes_instead(dense):
    return dict(sum_squares=lambda grad: float(np.abs(grad).sum()))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("function", "defect"),
    [
        ("linear", shift_a_row),
        ("linear", forget_the_bias_gradient),
        ("embedding", count_equal_ids_once),
        ("layer_norm", use_the_unbiased_variance),
        ("layer_norm", ignore_the_share_of_the_statistics),
        ("sgd", drop_the_velocity),
        ("adam", forget_the_bias_correction),
        ("adam", decouple_the_decay),
        ("nadam", forget_the_next_momentum),
        ("rmsprop", leave_eps_out),
        ("sum_squares", sum_magnitudes_instead),
    ],
)
def test_a_defective_dense_function_is_caught(engine_dense, function, defect, dtype):
    class Defective:
        def __getattr__(self, name):
            return getattr(dense, name)

    defective = Defective()
    for name, wrong in defect(dense).items():
        setattr(defective, name, wrong)
    caught = []
    for case in (c for c in DENSE if c.function == function):
        got = run_dense(engine_dense, case, dtype)
        check_dense(got, run_dense(dense, case, np.float64), case, dtype)
        try:
            check_dense(got, run_dense(defective, case, np.float64), case, dtype)
        except AssertionError:
            caught.append(case)
    assert caught
