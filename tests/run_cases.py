"""Runs a case on the engine or on the reference and gives every result by name."""

from __future__ import annotations

import copy
import zlib
from functools import cache
from typing import Any

import numpy as np
from cases import Case, DenseCase, Problem, make
from numpy.typing import DTypeLike, NDArray

from rnnfast.reference import recurrent as reference
from rnnfast.weights import Masks, Weights

Array = NDArray[Any]


def poisoned(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """An array that shows where nobody wrote."""
    return np.full(shape, np.nan, dtype)


def weight_grads(problem: Problem) -> list[Weights]:
    return [
        Weights(*[None if w is None else np.zeros_like(w) for w in ws]) for ws in problem.weights
    ]


def name_grads(grads: list[Weights]) -> dict[str, Array]:
    return {
        f"d{name}[{k}]": g
        for k, entry in enumerate(grads)
        for name, g in entry._asdict().items()
        if g is not None
    }


def run_forward(module: Any, p: Problem, training: bool = False, y: Any = None) -> Any:
    """Call ``module.pack`` and ``module.forward``; results by name, the pack and the tape."""
    c = p.case
    packed = module.pack(c.cell, p.weights, c.L, c.D, training, c.zones)
    y = poisoned((*p.x.shape[:-1], c.D * c.K), p.dtype) if y is None else y
    h_n = poisoned((c.L * c.D, c.B, c.K), p.dtype)
    c_n = poisoned((c.L * c.D, c.B, c.H), p.dtype) if c.row.has_cell_state else None
    tape = module.forward(
        packed, p.x, p.h0, p.c0, p.lengths, p.masks, y, h_n, c_n, training, p.resets
    )
    out = {"y": y, "h_n": h_n}
    if c_n is not None:
        out["c_n"] = c_n
    return out, packed, tape


def run(module: Any, p: Problem) -> dict[str, Array]:
    """Run a problem forward and backward; every result by name."""
    c = p.case
    out: dict[str, Array]
    out, packed, tape = run_forward(module, p, training=True)
    dx = poisoned(p.x.shape, p.dtype)
    dh0 = poisoned((c.L * c.D, c.B, c.K), p.dtype)
    dc0 = poisoned((c.L * c.D, c.B, c.H), p.dtype) if c.row.has_cell_state else None
    grads = weight_grads(p)
    module.backward(packed, tape, p.dy, p.dh_n, p.dc_n, dx, dh0, dc0, grads)
    out |= {"dx": dx, "dh0": dh0} | name_grads(grads)
    if dc0 is not None:
        out["dc0"] = dc0
    return out


@cache
def truth(case: Case) -> dict[str, Array]:
    """What the case must give: the reference in float64. Do not write to it."""
    return run(reference, make(case, np.float64))


def copy_of(problem: Problem) -> Problem:
    return copy.deepcopy(problem)


def masks_alone(p: Problem, b: int, steps: slice | None = None) -> Masks | None:
    """The masks of sample `b`, as far as it goes, or of some of its steps."""
    if p.masks is None:
        return None
    length = steps or slice(p.case.T if p.lengths is None else p.lengths[b])
    where = dict.fromkeys(Masks._fields, np.s_[:, length, b : b + 1])
    where["recurrent"] = np.s_[:, b : b + 1]
    return Masks(
        **{n: None if m is None else m[where[n]].copy() for n, m in p.masks._asdict().items()}
    )


def inputs(p: Problem) -> dict[str, Array]:
    """All arrays that go into a call, by name."""
    named = dict(x=p.x, h0=p.h0, c0=p.c0, lengths=p.lengths, dy=p.dy, dh_n=p.dh_n, dc_n=p.dc_n)
    named |= dict(resets=p.resets)
    named |= {} if p.masks is None else p.masks._asdict()
    for k, weights in enumerate(p.weights):
        named |= {f"{name}[{k}]": w for name, w in weights._asdict().items()}
    return {name: array for name, array in named.items() if array is not None}


# ---- dense functions
#
# Each runner makes its arrays from the case, calls the functions of one family and returns, by
# name, what they wrote. `absolute` makes all inputs positive: where a result is a sum of products,
# it then is the sum of their absolute values, on which error bounds of sums rest.


class Draw:
    """Random arrays of one case: the same float32 numbers in every real type."""

    def __init__(self, case: DenseCase, dtype: DTypeLike, absolute: bool = False) -> None:
        self.rng = np.random.default_rng(zlib.crc32(str(case).encode()))
        self.dtype, self.absolute = np.dtype(dtype), absolute

    def __call__(self, *shape: int, offset: float = 0.0) -> Array:
        values = (offset + self.rng.standard_normal(shape)).astype(np.float32).astype(self.dtype)
        return np.abs(values) if self.absolute else values


def run_linear(module: Any, case: DenseCase, draw: Draw) -> dict[str, Array]:
    N, K, M = case.N, case.K, case.M
    x, weight, bias, dy = draw(N, K), draw(M, K), draw(M), draw(N, M)
    y, no_bias = poisoned((N, M), draw.dtype), poisoned((N, M), draw.dtype)
    module.linear(x, weight, bias, y)
    module.linear(x, weight, None, no_bias)
    dx, dweight, dbias = poisoned((N, K), draw.dtype), draw(M, K), draw(M)
    module.linear_backward(x, weight, dy, dx, dweight, dbias)
    module.linear_backward(x, weight, dy, None, None, None)
    return dict(y=y, no_bias=no_bias, dx=dx, dweight=dweight, dbias=dbias)


def run_conv1d(module: Any, case: DenseCase, draw: Draw) -> dict[str, Array]:
    N, K, M, chosen = case.N, case.K, case.M, dict(case.options)
    B, taps, stride, dilation = (chosen[name] for name in ("B", "taps", "stride", "dilation"))
    T = max(N - 1, 0) * stride + (taps - 1) * dilation + 1 + chosen["spare"]
    x, weight, bias, dy = draw(B, T, K), draw(M, K, taps), draw(M), draw(B, N, M)
    y, no_bias = poisoned((B, N, M), draw.dtype), poisoned((B, N, M), draw.dtype)
    module.conv1d(x, weight, bias, stride, dilation, y)
    module.conv1d(x, weight, None, stride, dilation, no_bias)
    dx, dweight, dbias = poisoned(x.shape, draw.dtype), draw(M, K, taps), draw(M)
    module.conv1d_backward(x, weight, dy, stride, dilation, dx, dweight, dbias)
    module.conv1d_backward(x, weight, dy, stride, dilation, None, None, None)
    return dict(y=y, no_bias=no_bias, dx=dx, dweight=dweight, dbias=dbias)


def run_embedding(module: Any, case: DenseCase, draw: Draw) -> dict[str, Array]:
    N, E, V = case.N, case.K, case.M
    weight, dy, dweight = draw(V, E), draw(N, E), draw(V, E)
    ids = draw.rng.integers(0, V, N)
    y = poisoned((N, E), draw.dtype)
    module.embedding(ids, weight, y)
    module.embedding_backward(ids, dy, dweight)
    return dict(y=y, dweight=dweight)


def run_layer_norm(module: Any, case: DenseCase, draw: Draw) -> dict[str, Array]:
    N, K = case.N, case.K
    x, gamma, beta, dy = draw(N, K, offset=1.5), draw(K), draw(K), draw(N, K)
    y, mean, rstd = (poisoned(shape, draw.dtype) for shape in ((N, K), (N,), (N,)))
    module.layer_norm(x, gamma, beta, 1e-3, y, mean, rstd)
    dx, dgamma, dbeta = poisoned((N, K), draw.dtype), draw(K), draw(K)
    module.layer_norm_backward(x, gamma, mean, rstd, dy, dx, dgamma, dbeta)
    return dict(y=y, mean=mean, rstd=rstd, dx=dx, dgamma=dgamma, dbeta=dbeta)


def run_optimiser(module: Any, case: DenseCase, draw: Draw) -> dict[str, Array]:
    chosen = dict(case.options)
    state = {name: np.zeros(case.N, draw.dtype) for name in ("first", "second")}
    param, product = draw(case.N), 1.0
    decay, momentum = chosen.get("weight_decay", 0.0), chosen.get("momentum", 0.0)
    for step in range(1, case.steps + 1):
        grad = draw(case.N)
        kept = grad.copy()
        velocity = state["first"] if momentum else None
        if case.function == "sgd":
            module.sgd(param, grad, velocity, 0.1, momentum, decay, chosen.get("nesterov", False))
        elif case.function in ("adam", "nadam"):
            beta1, beta2 = chosen.get("beta1", 0.9), chosen.get("beta2", 0.999)
            given = param, grad, *state.values(), 0.05, beta1, beta2, chosen.get("eps", 1e-8), decay
            if case.function == "adam":
                module.adam(*given, chosen.get("decoupled", False), step)
            else:
                mu, next_mu = (beta1 * (1 - 0.5**s) for s in (step, step + 1))
                product *= mu
                module.nadam(*given, mu, next_mu, product, step)
        else:
            alpha, eps = chosen.get("alpha", 0.99), chosen.get("eps", 1e-8)
            module.rmsprop(
                param, grad, state["second"], velocity, 0.05, alpha, eps, momentum, decay
            )
        assert np.array_equal(grad, kept), "the gradient was changed"
    return dict(param=param, **state)


def run_sum_squares(module: Any, case: DenseCase, draw: Draw) -> dict[str, Array]:
    value = module.sum_squares(draw(case.N))
    assert type(value) is float
    return dict(sum_squares=np.array(value))


RUNNERS = dict(
    linear=run_linear, conv1d=run_conv1d, embedding=run_embedding, layer_norm=run_layer_norm
)
RUNNERS |= dict(sgd=run_optimiser, adam=run_optimiser, nadam=run_optimiser)
RUNNERS |= dict(rmsprop=run_optimiser, sum_squares=run_sum_squares)


def run_dense(module: Any, case: DenseCase, dtype: DTypeLike) -> dict[str, Array]:
    """Run every function of a family on one case; every result by name."""
    return RUNNERS[case.function](module, case, Draw(case, dtype))
