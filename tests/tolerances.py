"""The one table of tolerances. A test that fails shows a defect; the table is not its remedy.

An engine computes sums of n products and rounds each time, with a relative error of at most
u = eps / 2. Rounding errors have either sign, so they grow like sqrt(n), and stay below c times
that but for a chance of about exp(-c * c / 2) (Higham and Mary, 2019). With terms of either sign
the partial sums grow like sqrt(k) to the sum itself. So a result of scale s that is made of sums
of n products is held to

    c * sqrt(n) * u * s,     c = 8.

The scale is the largest magnitude in the result, taken as at least `FLOOR` of the largest in what
it is summed from (inputs and gradients of order one), since a result of few elements may happen to
cancel. The exponentials' own error, 4 ulp, is that of a sum of 16 products, and enters as
`ACTIVATION`.

n is the length of the chain of sums behind a result:

* a state is made of F + K + 2 products (inputs, state, two biases), an activation and, with
  a projection, H products more, in each layer. Errors made at one step reach the next through the
  state; with weights drawn as PyTorch draws them the recurrence contracts, so the sum over steps
  stays of the order of its last `MEMORY` terms.
* a gradient of an input or a state goes back through the same chain and adds, in each layer, the
  G * H products of dgates with the weights.
* a gradient of a parameter adds the T * B products of its own sum.

Both sides of a comparison may err, which the factor c covers. In float32 the truth is float64 and
does not err at all on this scale.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from cases import Case, DenseCase
from numpy.typing import DTypeLike

SAFETY = 8.0
ACTIVATION = 16
MEMORY = 4
FLOOR = 0.1

# Length of the chain of sums behind each result of a recurrent network.
RECURRENT = {
    "state": lambda c: MEMORY * c.L * (c.products + (c.H if c.P else 0) + ACTIVATION),
    "gradient": lambda c: RECURRENT["state"](c) + MEMORY * c.L * c.D * c.row.gates * c.H,
    "parameter": lambda c: RECURRENT["gradient"](c) + c.T * c.B,
}
KIND = dict(y="state", h_n="state", c_n="state", dx="gradient", dh0="gradient", dc0="gradient")

# Roundings behind an element of a dense function beside those of its sums; for an update of
# parameters, those of one step: squares, square root, division, corrections and decay.
ROUNDINGS = dict(linear=2, conv1d=2, embedding=2, layer_norm=16, sum_squares=2)
ROUNDINGS |= dict(sgd=8, adam=24, adamw=24, nadam=24, rmsprop=24)

# Central differences with step h = eps^(1/3): the third derivative's share, h^2 / 6, and the
# rounding of the two values, eps / h, are both about eps^(2/3); the loss, a sum of some hundred
# terms of order one, and its derivatives of higher order account for the rest.
FINITE_STEP = float(np.finfo(np.float64).eps) ** (1 / 3)
FINITE_BOUND = 1e3 * float(np.finfo(np.float64).eps) ** (2 / 3)


def eps(dtype: DTypeLike) -> float:
    return float(np.finfo(np.dtype(dtype)).eps)


def recurrent(case: Case, name: str, dtype: DTypeLike, truth: Any) -> float:
    """Largest error that the result `name` of a recurrent network may have."""
    return chain(RECURRENT[KIND.get(name, "parameter")](case), dtype, truth)


def chain(n: int, dtype: DTypeLike, truth: Any) -> float:
    """Largest error of results that each end a chain of sums of n products."""
    scale = max(FLOOR, float(np.max(np.abs(truth), initial=0.0)))
    return SAFETY * float(np.sqrt(n)) * eps(dtype) / 2 * scale


def activation(dtype: DTypeLike, truth: Any) -> Any:
    """Largest error of a sigmoid or tanh: 4 ulp, and the smallest numbers where they underflow."""
    return 4 * eps(dtype) * np.abs(truth) + 2 * float(np.finfo(np.dtype(dtype)).tiny)


def sums(n: int, dtype: DTypeLike, absolute_sum: Any, function: str = "linear") -> Any:
    """Largest error of sums of n products whose absolute values add up to `absolute_sum`."""
    return (n + ROUNDINGS[function]) * eps(dtype) * absolute_sum


def updates(count: int, rate: float, n: int, dtype: DTypeLike) -> float:
    """Largest error of parameters after updates by gradients of norm 1 at most.

    Each adds `rate` times the error of its gradient, which ends a chain of sums of n products. That
    moves later gradients by at most the loss's curvature, so that it grows by 1 + rate * curvature
    an update: in all by less than e, as count * rate stays below 1 / curvature.
    """
    return float(np.e) * count * rate * chain(n, dtype, 1.0)


def dense(case: DenseCase, name: str, dtype: DTypeLike, want: Any, absolute: Any) -> Any:
    """Largest error, by element, that the result `name` of a dense function may have.

    `want` and `absolute` hold all results: the true ones, and those from the inputs' magnitudes.
    """
    function, N, K, M = case.function, case.N, case.K, case.M
    if function == "linear":
        n = dict(y=K, no_bias=K, dx=M, dweight=N, dbias=N)[name]
        return sums(n, dtype, absolute[name])
    if function == "conv1d":
        chosen = dict(case.options)
        products, rows = K * chosen["taps"], N * chosen["B"]
        n = dict(y=products, no_bias=products, dx=M * chosen["taps"], dweight=rows, dbias=rows)[
            name
        ]
        return sums(n, dtype, absolute[name], "conv1d")
    if function == "embedding":
        return 0.0 if name == "y" else sums(N, dtype, absolute[name])
    if function == "layer_norm":
        return layer_norm(N, K, name, dtype, want, absolute)
    if function == "sum_squares":
        return sums(N, np.float64, absolute[name])
    # optimisers: a few steps; the running mean of squares cannot cancel, the others can
    truth = np.abs(want[name])
    scale = truth if name == "second" else max(1.0, truth.max(initial=0.0))
    return sums(ROUNDINGS[function] * case.steps, dtype, scale, function)


def layer_norm(N: int, K: int, name: str, dtype: DTypeLike, want: Any, absolute: Any) -> Any:
    # taking off the mean loses the digits that mean and deviation have in common
    largest = {key: np.abs(value).max(initial=0.0) for key, value in want.items()}
    loss = 1.0 + np.max(np.abs(want["mean"]) * want["rstd"], initial=0.0)
    chain = SAFETY / 2 * np.sqrt(K + ROUNDINGS["layer_norm"]) * eps(dtype)
    if name in ("mean", "y"):
        return chain * loss * max(1.0, largest[name])
    if name == "rstd":
        return chain * loss**2 * largest["rstd"]
    if name == "dx":
        return chain * loss**2 * max(largest["dx"], largest["rstd"])
    return chain * loss * np.sqrt(N + 1) * np.max(absolute["dbeta"], initial=0.0)
