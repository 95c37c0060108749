"""Kernels over a plain run of numbers: activations, `add`, `multiply`, `sum_squares`."""

from __future__ import annotations

import numpy as np
import pytest
import tolerances
from contract import kernels as kernels
from contract import random

from rnnfast.reference.cells import sigmoid

FUNCTIONS = [sigmoid, np.tanh]


def check_activate(kernels, f, values, alias):
    with kernels.call("activate", f=FUNCTIONS[f].__name__, n=len(values), alias=alias) as memory:
        x = memory.dense("x", values, slice(None) if alias else None)
        y = x if alias else memory.dense("y", values.shape, slice(None))
        given = x.astype(np.float64)
        kernels.run("activate", f, x, y, len(values))
        want = FUNCTIONS[f](given)
        memory.close("y", y, want, tolerances.activation(kernels.dtype, want))


@pytest.mark.parametrize("alias", [False, True], ids=["apart", "in place"])
@pytest.mark.parametrize("f", [0, 1], ids=["sigmoid", "tanh"])
def test_activate(kernels, f, alias):
    for n in kernels.widths():
        check_activate(kernels, f, 3 * random(n), alias)
    info = np.finfo(kernels.dtype)
    ends = [0.0, 1e-3, 0.5, 9.0, 22.0, 86.9, 87.1, 707.0, 709.0, 1e30, info.tiny, info.max, np.inf]
    check_activate(kernels, f, np.array([*ends, *(-end for end in ends)]), alias)
    check_activate(kernels, f, np.linspace(-100, 100, 20_001).astype(np.float32), alias)


@pytest.mark.parametrize("f", [0, 1], ids=["sigmoid", "tanh"])
def test_activate_keeps_nan_and_the_sign_of_zero(kernels, f):
    for n in kernels.widths():
        with kernels.call("activate", f=f, n=n) as memory:
            values = np.zeros(n)
            values[-1] = np.nan
            values[: n // 2] = -0.0
            x, y = memory.dense("x", values), memory.dense("y", (n,), slice(None))
            kernels.run("activate", f, x, y, n)
            assert np.isnan(y[-1]), "NaN became a number"
            assert (y[:-1] == (0.0 if f else 0.5)).all(), "not exact at zero"
            if f:
                assert (np.signbit(y[:-1]) == np.signbit(values[:-1])).all(), "a sign was lost"


def check_add(kernels, n, step):
    with kernels.call("add", n=n, step=step) as memory:
        to = memory.dense("to", random(n, step), slice(None))
        what = memory.dense("what", random(n, seed=1))
        want = to.copy()
        want[:, 0] += what
        kernels.run("add", to, step, what, n)
        np.testing.assert_array_equal(to, want)


def check_multiply(kernels, n):
    with kernels.call("multiply", n=n) as memory:
        to = memory.dense("to", random(n), slice(None))
        by = memory.dense("by", random(n, seed=1))
        want = to * by
        kernels.run("multiply", to, by, n)
        np.testing.assert_array_equal(to, want)


def check_sum_squares(kernels, n):
    with kernels.call("sum_squares", n=n) as memory:
        x = memory.dense("x", random(n))
        got = kernels.run("sum_squares", x, n)
        want = (x.astype(np.float64) ** 2).sum()
        assert abs(got - want) <= tolerances.sums(n, np.float64, want, "sum_squares"), (
            f"{got}, not {want}"
        )


def test_add_multiply_and_sum_of_squares(kernels):
    for n in [*kernels.widths(), 1000]:
        for step in (1, 3):
            check_add(kernels, n, step)
        check_multiply(kernels, n)
        check_sum_squares(kernels, n)
