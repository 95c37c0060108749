"""The engine's dense functions against the float64 reference, on every instruction set."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from cases import DENSE, DENSE_THREADS, named
from comparisons import check_dense, close, same_bits
from engines import fused_sets
from run_cases import poisoned, run_dense

from rnnfast.reference import dense as reference

both_types = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@cache
def truth(case):
    return run_dense(reference, case, np.float64)


@both_types
@pytest.mark.parametrize("case", **named(DENSE))
def test_equals_the_reference(core_dense, runtime, isa, case, dtype):
    with runtime.num_threads(2):
        check_dense(run_dense(core_dense, case, dtype), truth(case), case, dtype)


@both_types
@pytest.mark.parametrize("case", **named(DENSE_THREADS))
def test_any_number_of_threads_gives_the_same_bits(core_dense, runtime, isa, case, dtype):
    with runtime.num_threads(1):
        want = run_dense(core_dense, case, dtype)
    check_dense(want, truth(case), case, dtype)
    for threads in (2, 3, 7):
        with runtime.num_threads(threads):
            got = run_dense(core_dense, case, dtype)
        same_bits(got, want, f"with {threads} threads instead of 1")


@both_types
def test_all_sets_with_fused_multiply_adds_give_the_same_bits(core_dense, runtime, dtype):
    first, *others = fused_sets(runtime)
    before = runtime.isa()
    try:
        for case in DENSE + DENSE_THREADS:
            results = []
            for name in (first, *others):
                runtime.set_isa(name)
                results.append(run_dense(core_dense, case, dtype))
            for name, result in zip(others, results[1:], strict=True):
                same_bits(result, results[0], f"with {name} instead of {first} in {case}")
    finally:
        runtime.set_isa(before)


@both_types
def test_nan_stays_in_its_row(core_dense, isa, dtype):
    rng = np.random.default_rng(0)
    x, weight, bias, dy = (
        rng.standard_normal(s).astype(dtype) for s in ((9, 21), (35, 21), 35, (9, 35))
    )
    rest = np.arange(9) != 4
    results = []
    for garbage in (0.0, np.nan, np.inf):
        x[4, 7] = dy[4, 7] = garbage
        y, dx = poisoned((9, 35), dtype), poisoned((9, 21), dtype)
        core_dense.linear(x, weight, bias, y)
        core_dense.linear_backward(x, weight, dy, dx, None, None)
        results.append({"y": y[rest], "dx": dx[rest]})
    assert np.isnan(y[4]).any() or np.isinf(y[4]).all()
    for got in results[1:]:
        same_bits(got, results[0], "in other rows")


@both_types
def test_nan_stays_in_its_sample(core_dense, isa, dtype):
    rng = np.random.default_rng(0)
    x, weight, dy = (
        rng.standard_normal(s).astype(dtype) for s in ((3, 9, 5), (7, 5, 3), (3, 7, 7))
    )
    results = []
    for garbage in (0.0, np.nan, np.inf):
        x[1, 4, 2] = dy[1, 3, 3] = garbage
        y, dx = poisoned((3, 7, 7), dtype), poisoned((3, 9, 5), dtype)
        core_dense.conv1d(x, weight, None, 1, 1, y)
        core_dense.conv1d_backward(x, weight, dy, 1, 1, dx, None, None)
        results.append({"before": y[1, :2], "y": y[::2], "dx": dx[::2], "dx before": dx[1, :3]})
    for got in results[1:]:
        same_bits(got, results[0], "in other samples and steps")


def test_refuses_a_kernel_that_does_not_fit(core_dense):
    x, weight, y = np.zeros((2, 9, 3)), np.zeros((4, 3, 2)), np.zeros((2, 4, 4))
    core_dense.conv1d(x, weight, None, 2, 2, y)
    for stride, dilation in (3, 1), (2, 3), (0, 1), (1, -1):
        with pytest.raises(ValueError, match="do not fit 9 steps"):
            core_dense.conv1d(x, weight, None, stride, dilation, y)
        with pytest.raises(ValueError, match="do not fit 9 steps"):
            core_dense.conv1d_backward(x, weight, y, stride, dilation, None, None, None)


@both_types
@pytest.mark.parametrize("n", [0, 1, 7, 33, 300_003])
@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_activations(core_dense, runtime, isa, name, n, dtype):
    x = np.linspace(-20, 20, n).astype(dtype)
    want = np.empty(n, np.float64)
    reference.activate(name, x.astype(np.float64), want)
    with runtime.num_threads(1):
        core_dense.activate(name, x, one := poisoned((n,), dtype))
    close(name, one, want, 4 * np.spacing(np.abs(want).astype(dtype)), dtype)
    with runtime.num_threads(3):
        core_dense.activate(name, x, several := poisoned((n,), dtype))
    same_bits({name: several}, {name: one}, "with 3 threads instead of 1")


@both_types
def test_inputs_may_be_read_only_and_stay_as_they_are(core_dense, isa, dtype):
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal(s).astype(dtype) for s in ((9, 21), (35, 21), 35, (9, 35))]
    arrays.append(rng.integers(0, 35, 9))
    kept = [a.copy() for a in arrays]
    for a in arrays:
        a.flags.writeable = False
    x, weight, bias, dy, ids = arrays
    y, rows = poisoned((9, 35), dtype), poisoned((9, 21), dtype)
    core_dense.linear(x, weight, bias, y)
    core_dense.linear_backward(x, weight, dy, rows, np.zeros_like(weight), np.zeros_like(bias))
    core_dense.conv1d(x[None], weight[:, :, None], bias, 1, 1, y[None])
    core_dense.conv1d_backward(
        x[None],
        weight[:, :, None],
        dy[None],
        1,
        1,
        rows[None],
        np.zeros_like(weight)[..., None],
        None,
    )
    core_dense.activate("tanh", bias, np.zeros_like(bias))
    core_dense.embedding(ids, weight, rows)
    core_dense.embedding_backward(ids, x, np.zeros_like(weight))
    mean, rstd, out = np.zeros(9, dtype), np.zeros(9, dtype), np.zeros_like(dy)
    core_dense.layer_norm(dy, bias, bias, 1e-5, out, mean, rstd)
    core_dense.layer_norm_backward(
        dy, bias, mean, rstd, dy, out, np.zeros_like(bias), np.zeros_like(bias)
    )
    for state in ("sgd", "adam", "nadam", "rmsprop"):
        param, first, second = (np.zeros_like(bias) for _ in range(3))
        if state == "sgd":
            core_dense.sgd(param, bias, first, 0.1, 0.9, 0.0, False)
        elif state == "adam":
            core_dense.adam(param, bias, first, second, 0.1, 0.9, 0.999, 1e-8, 0.0, False, 1)
        elif state == "nadam":
            betas, momenta = (0.9, 0.999), (0.5, 0.6, 0.5)
            core_dense.nadam(param, bias, first, second, 0.1, *betas, 1e-8, 0.0, *momenta, 1)
        else:
            core_dense.rmsprop(param, bias, first, second, 0.1, 0.99, 1e-8, 0.9, 0.0)
    core_dense.sum_squares(bias)
    for array, copy in zip(arrays, kept, strict=True):
        assert np.array_equal(array, copy)


@pytest.mark.parametrize("shape", [(3, 50, 700), (2, 3), (4, 0, 2), ()])
@both_types
def test_empty_gives_arrays_that_share_nothing(core_dense, shape, dtype):
    arrays = [core_dense.empty(shape, np.dtype(dtype)) for _ in range(12)]
    for i, array in enumerate(arrays):
        assert (array.shape, array.dtype) == (shape, dtype) and array.flags.carray
        array.fill(i)
    view = arrays.pop()[...]
    del array
    arrays[:] = [core_dense.empty(shape, np.dtype(dtype)) for _ in arrays]  # in memory given back
    for later in arrays:
        later.fill(-1)
    assert np.all(view == 11)


@both_types
@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (2, 3, 20), (3, 2, 64), (2, 2, 129), (2, 700, 300), (1, 0, 5), (2, 3, 0)]
)
def test_masks_are_the_reference_s(core_dense, runtime, isa, shape, dtype):
    key, call, index, first = (1, 2**32 - 1, 3, 4), 2**32 + 5, 9, 2**32 - 2  # past the words' ends
    arguments = key, call, index, first, int(0.7 * 2**24), 1.5
    want = poisoned(shape, dtype)
    reference.fill_mask(*arguments, want)
    for threads in (1, 3):
        with runtime.num_threads(threads):
            core_dense.fill_mask(*arguments, got := poisoned(shape, dtype))
        np.testing.assert_array_equal(got, want)


@both_types
def test_sum_squares_adds_in_double_precision(core_dense, isa, dtype):
    # in float32 the square of 1e20 overflows, and so does a sum of many ones lose them
    assert core_dense.sum_squares(np.array([1e20], dtype)) == pytest.approx(float(dtype(1e20)) ** 2)
    grad = np.full(3001, 1e-3, dtype)
    grad[0] = 1e3
    want = 1e6 + 3000 * float(dtype(1e-3)) ** 2
    assert core_dense.sum_squares(grad) == pytest.approx(want, rel=1e-13)
