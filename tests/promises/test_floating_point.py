"""The floating-point unit: denormals cost nothing, and its state is left alone."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest
from cases import Case, make
from comparisons import same_bits
from processes import run_program
from run_cases import run

from rnnfast.cells import CELLS

both_types = pytest.mark.parametrize("dtype", [np.float32, np.float64])


every_cell = pytest.mark.parametrize("cell", CELLS)
# the others' states are means of positive candidates, which do not vanish
vanishing = pytest.mark.parametrize("cell", [n for n, row in CELLS.items() if not row.input_only])


def only_normal(results, dtype):
    for name, value in results.items():
        denormals = (value != 0) & (np.abs(value) < np.finfo(dtype).tiny)
        assert not denormals.any(), f"{denormals.sum()} of {value.size} in {name} are denormals"


def decaying(cell, dtype, B, T):
    """A network whose state, forward, and whose gradients, backward, fall to a tenth each step."""
    problem = make(Case(cell, B=B, T=T, I=3, H=40, L=2, D=2), dtype)
    H = 40
    for weights in problem.weights:
        b_ih = weights.b_ih
        weights.w_hh[...] *= 0.05
        for array in (weights.w_ih, b_ih, weights.b_hh):
            array[...] = 0.0
        for g, gate in enumerate(CELLS[cell].gate_names):
            if gate in ("input", "forget", "update"):  # closed, the state becomes all but zero
                b_ih[g * H : (g + 1) * H] = -3.0
    problem.x[...] = 0.0
    problem.dy[...] = 0.0
    return problem


@both_types
@vanishing
@pytest.mark.parametrize(("B", "threads"), [(1, 1), (1, 2), (24, 1), (24, 3)])
def test_decaying_states_become_zero(core, runtime, isa, cell, dtype, B, threads):
    """P6: no thread leaves a denormal in a state, an output or a gradient."""
    problem = decaying(cell, dtype, B, T=60 if dtype == np.float32 else 300)
    with runtime.num_threads(threads):
        results = run(core, problem)
    assert results["y"].any() and not results["h_n"].any() and not results["dh0"].any()
    only_normal(results, dtype)


@both_types
@every_cell
@pytest.mark.parametrize(("B", "threads"), [(1, 2), (24, 3)])
def test_denormal_inputs_count_as_zero(core, runtime, isa, cell, dtype, B, threads):
    """P6: neither is any thread slowed down by the caller's denormals."""
    results = []
    for value in (0.0, 1000 * np.finfo(dtype).smallest_subnormal):
        problem = make(Case(cell, B=B, T=6, I=40, H=130), dtype)
        given = (problem.x, problem.h0, problem.c0, problem.dy, problem.dh_n, problem.dc_n)
        for array in given:
            if array is not None:
                array[...] = value
        with runtime.num_threads(threads):
            results.append(run(core, problem))
    same_bits(results[1], results[0], "with denormals for zeros")


def on_denormals(module, function, dtype):
    """What a dense function makes of denormals; weights and scales are ones."""
    N, K = 600, 40
    small = np.finfo(dtype).smallest_subnormal
    x, dy = (small * np.arange(i, i + N * K).reshape(N, K).astype(dtype) for i in (1, 1000))
    weight, ones, zeros = np.ones((K, K), dtype), np.ones(K, dtype), np.zeros(K, dtype)
    wide, mean, rstd = np.empty_like(x), np.empty(N, dtype), np.ones(N, dtype)
    first, second = x.ravel().copy(), x.ravel().copy()
    given = np.ones_like(first), np.zeros_like(first)
    if function == "linear":
        module.linear(x, weight, zeros, wide)
        return {"y": wide}
    if function == "linear_backward":
        module.linear_backward(x, weight, dy, wide, weight - 1, zeros)
        return {"dx": wide, "dbias": zeros}
    if function == "layer_norm_backward":
        module.layer_norm_backward(x, ones, np.zeros(N, dtype), rstd, dy, wide, ones - 1, zeros)
        return {"dx": wide, "dbeta": zeros}
    if function == "layer_norm":
        module.layer_norm(x, ones, zeros, 1e-5, wide, mean, rstd)
        return {"y": wide, "mean": mean}
    if function == "sgd":
        module.sgd(*given, first, 0.1, 0.9, 0.0, False)
    elif function == "adam":
        module.adam(*given, first, second, 1e-3, 0.9, 0.999, 1e-8, 0.0, False, 9)
    elif function == "nadam":
        module.nadam(*given, first, second, 1e-3, 0.9, 0.999, 1e-8, 0.0, 0.5, 0.6, 0.5, 9)
    else:
        module.rmsprop(*given, first, second, 1e-3, 0.9, 1e-8, 0.9, 0.0)
    return {"first": first, "second": second if function != "sgd" else first}


@both_types
@pytest.mark.parametrize(
    "function",
    [
        *("linear", "linear_backward", "layer_norm", "layer_norm_backward"),
        *("sgd", "adam", "nadam", "rmsprop"),
    ],
)
def test_dense_functions_leave_no_denormals(core_dense, runtime, isa, function, dtype):
    """P6: as the moments of weights that get no gradient, which would decay to a denormal."""
    with runtime.num_threads(2):
        only_normal(on_denormals(core_dense, function, dtype), dtype)


@pytest.mark.skipif(
    sys.platform != "linux" or os.uname().machine != "x86_64", reason="not Linux on x86-64"
)
def test_floating_point_state_survives_import_and_calls_in_every_thread(runtime):
    """P7: the threads of the team too, which other libraries may use next."""
    if run_program("control_words"):
        pytest.skip("the engine's OpenMP is not GCC's")
