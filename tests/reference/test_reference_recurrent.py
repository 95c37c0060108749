"""The specification itself: against finite differences and against PyTorch, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import tolerances
from cases import CORRECTNESS, GRADIENTS, THREADS, Case, make, named
from comparisons import (
    check,
    check_packed_rows,
    check_projection_is_bounded,
    check_segments,
    same_slope,
)
from run_cases import inputs, masks_alone, name_grads, run, run_forward, truth

from rnnfast.cells import CELLS
from rnnfast.reference import recurrent
from rnnfast.reference.cells import sigmoid


def loss(problem):
    """A scalar whose gradients are what `backward` returns for dy, dh_n and dc_n."""
    p = problem
    out, _, _ = run_forward(recurrent, p)
    total = np.vdot(out["y"], p.dy) + np.vdot(out["h_n"], p.dh_n)
    return total + (np.vdot(out["c_n"], p.dc_n) if p.dc_n is not None else 0.0)


@pytest.mark.parametrize("case", **named(GRADIENTS))
def test_gradients_equal_finite_differences(case):
    problem = make(case)
    got = run(recurrent, problem)
    variables = {"dx": problem.x, "dh0": problem.h0, "dc0": problem.c0}
    variables |= name_grads(problem.weights)
    for name, array in variables.items():
        if array is None:  # an initial state that was not given
            continue
        same_slope(name, got[name], lambda: loss(problem), array)


def torch_network(torch, problem):
    c = problem.case
    options = dict(c.row.options)
    if c.P:
        options["proj_size"] = c.P
    net = getattr(torch.nn, c.row.layer)(
        c.I, c.H, c.L, bias=c.bias, bidirectional=c.D == 2, dtype=torch.float64, **options
    )
    for k, weights in enumerate(problem.weights):
        suffix = f"_l{k // c.D}" + "_reverse" * (k % c.D)
        kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        for kind, array in zip(kinds, weights[:5], strict=True):
            if array is not None:
                getattr(net, kind + suffix).data = torch.from_numpy(array.copy())
    return net


def torch_results(torch, problem):
    """The results of `run`, by PyTorch."""
    p, c = problem, problem.case
    net = torch_network(torch, p)

    def variable(array):
        return torch.from_numpy(array.copy()).requires_grad_()

    x = variable(p.x)
    h0 = variable(np.zeros((c.L * c.D, c.B, c.K)) if p.h0 is None else p.h0)
    c0 = None
    if c.row.has_cell_state:
        c0 = variable(np.zeros((c.L * c.D, c.B, c.H)) if p.c0 is None else p.c0)
    sequence = x
    if p.lengths is not None:
        sequence = torch.nn.utils.rnn.pack_padded_sequence(
            x, torch.from_numpy(p.lengths), enforce_sorted=False
        )
    y, state = net(sequence, h0 if c0 is None else (h0, c0))
    if p.lengths is not None:
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, total_length=c.T)
    h_n, c_n = (state, None) if c0 is None else state

    total = (y * torch.from_numpy(p.dy)).sum() + (h_n * torch.from_numpy(p.dh_n)).sum()
    if c_n is not None:
        total = total + (c_n * torch.from_numpy(p.dc_n)).sum()
    total.backward()
    out = {"y": y.detach(), "h_n": h_n.detach(), "dx": x.grad, "dh0": h0.grad}
    if c0 is not None:
        out |= {"c_n": c_n.detach(), "dc0": c0.grad}
    kinds = {"w_ih": "weight_ih", "w_hh": "weight_hh", "b_ih": "bias_ih", "b_hh": "bias_hh"}
    kinds["w_hr"] = "weight_hr"
    for k in range(c.L * c.D):
        suffix = f"_l{k // c.D}" + "_reverse" * (k % c.D)
        for ours, theirs in kinds.items():
            if hasattr(net, theirs + suffix):
                out[f"d{ours}[{k}]"] = getattr(net, theirs + suffix).grad
    return {name: tensor.numpy() for name, tensor in out.items()}


# PyTorch refuses empty batches, times and inputs here, cannot be told its dropout masks, and knows
# neither layer normalisation nor zoneout in the recurrence
TORCH_CASES = [
    case
    for case in CORRECTNESS + THREADS
    if case.row.in_torch
    and case.B * case.T * case.I
    and not (case.dropout or case.norm or case.recurrent or case.zone or case.resets)
]


@pytest.mark.parametrize("case", **named(TORCH_CASES))
def test_equals_torch(case):
    torch = pytest.importorskip("torch", reason="parity with PyTorch needs torch")
    problem = make(case)
    if problem.lengths is not None:
        problem.lengths = np.maximum(problem.lengths, 1)  # PyTorch refuses length 0
    check(run(recurrent, problem), torch_results(torch, problem), case, np.float64)


@pytest.mark.parametrize("case", **named([c for c in CORRECTNESS if c.lengths]))
def test_ragged_batch_equals_each_sample_alone(case):
    problem = make(case)
    want = {name: np.zeros_like(value) for name, value in truth(case).items()}
    for b, length in enumerate(problem.lengths):
        alone = make(case)  # the same arrays, cut to one sample without padding
        alone.case = Case(**{**vars(case), "B": 1, "T": int(length), "lengths": ""})
        alone.lengths = None
        for name in ("x", "dy"):
            setattr(alone, name, getattr(problem, name)[:length, b : b + 1].copy())
        for name in ("h0", "c0", "dh_n", "dc_n"):
            if getattr(problem, name) is not None:
                setattr(alone, name, getattr(problem, name)[:, b : b + 1].copy())
        alone.masks = masks_alone(problem, b)
        if problem.resets is not None:
            alone.resets = problem.resets[:length, b : b + 1]
        for name, value in run(recurrent, alone).items():
            if name in ("y", "dx"):
                want[name][:length, b] = value[:, 0]
            elif name in ("h_n", "c_n", "dh0", "dc0"):
                want[name][:, b] = value[:, 0]
            else:
                want[name] += value
    check(truth(case), want, case, np.float64)


@pytest.mark.parametrize(
    "case", **named([c for c in CORRECTNESS if c.lengths == "ragged" and c.B > 1])
)
def test_packed_rows_give_the_bits_of_padded_ones(case):
    check_packed_rows(recurrent, make(case))


@pytest.mark.parametrize("case", **named([c for c in CORRECTNESS if c.resets]))
def test_resets_make_calls_of_their_own(case):
    check_segments(recurrent, make(case), np.float64)


@pytest.mark.parametrize("cell", CELLS)
def test_float32_stays_float32_and_near_float64(cell):
    for case in (c for c in CORRECTNESS + THREADS if c.cell == cell):
        check(run(recurrent, make(case, np.float32)), truth(case), case, np.float32)


@pytest.mark.parametrize("cell", CELLS)
def test_inputs_are_unchanged_and_the_pack_is_a_snapshot(cell):
    case = Case(cell, B=4, T=5, I=3, H=6, L=2, D=2, lengths="ragged", dropout=0.5, zone=0.5)
    problem, untouched = make(case), make(case)
    out, packed, _ = run_forward(recurrent, problem)
    run(recurrent, problem)
    for name, array in inputs(problem).items():
        np.testing.assert_array_equal(array, inputs(untouched)[name], err_msg=name)

    for weights in problem.weights:
        for array in weights:
            if array is not None:
                array[...] = 7.0
    y, h_n = np.empty_like(out["y"]), np.empty_like(out["h_n"])
    c_n = np.empty_like(out["c_n"]) if "c_n" in out else None
    p = problem
    recurrent.forward(packed, p.x, p.h0, p.c0, p.lengths, p.masks, y, h_n, c_n, False)
    np.testing.assert_array_equal(y, out["y"])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sigmoid_keeps_its_relative_accuracy_and_never_overflows(dtype):
    x = np.linspace(-80, 80, 1001).astype(dtype)
    with np.errstate(all="raise", under="ignore"):
        got = sigmoid(x)
        assert np.array_equal(sigmoid(np.array([-1e30, 1e30], dtype)), [0.0, 1.0])
    assert got.dtype == dtype
    t = x.astype(np.longdouble)
    np.testing.assert_allclose(got, 1 / (1 + np.exp(-t)), rtol=4 * tolerances.eps(dtype))


def test_bad_cells_and_counts_are_named():
    weights = make(Case("gru", B=1, T=1, I=2, H=3)).weights
    with pytest.raises(ValueError, match=", ".join(CELLS) + ", got 'elman'"):
        recurrent.pack("elman", weights, 1, 1, False, (0.0, 0.0))
    with pytest.raises(ValueError, match=r"4 entries for 2 layers in 2 directions, got 1"):
        recurrent.pack("gru", weights, 2, 2, False, (0.0, 0.0))
    check_projection_is_bounded(recurrent)
