"""The exact readout of fixed features: ridge regression with leave-one-out errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from ..layers.base import Array

PENALTIES = 10.0 ** np.arange(-3.0, 3.5, 0.5)  # for features of length about 1
SLOPES = 10.0 ** np.arange(-0.5, 2.05, 0.1)  # of scores: how sure a class is told
APART = 0.01  # price of scores that are far apart, where leaving one out makes no error


class Readout(NamedTuple):
    """``y = z @ weight.T + bias``, and what it gives for each sample when that is left out."""

    weight: Array  # (outputs, features)
    bias: Array  # (outputs,)
    left_out: Array  # (N, outputs)
    penalty: float


def ridge(z: Array, targets: Array, weight: Array | None = None) -> Readout:
    """Solve ridge regression; leave-one-out errors choose the penalty.

    Parameters
    ----------
    z : (N, features) array
    targets : (N, outputs) array
    weight : (N,) array, optional
        Of each sample; greater than 0.

    Returns
    -------
    Readout
    """
    w = np.ones(len(z)) if weight is None else weight * (len(z) / weight.sum())
    share = w / w.sum()
    z_mean, y_mean = share @ z, share @ targets
    root = np.sqrt(w)[:, np.newaxis]
    a, b = (z - z_mean) * root.astype(z.dtype), (targets - y_mean) * root
    dual = len(a) <= a.shape[1]
    gram = (a @ a.T if dual else a.T @ a).astype(np.float64)
    values, vectors = np.linalg.eigh(gram)
    values = np.maximum(values, 0.0)
    if not dual:
        rows = a @ vectors
        inner = rows.T @ b
    best: Any = None
    for penalty in PENALTIES:
        scaled = 1.0 / (values + penalty)
        if dual:  # residuals and their leverages, 1 - the hat matrix's diagonal
            dual_weight = vectors @ (scaled[:, np.newaxis] * (vectors.T @ b))
            residual = penalty * dual_weight
            free = penalty * (vectors**2 @ scaled) - share
        else:
            solution = vectors @ (scaled[:, np.newaxis] * inner)
            residual = b - a @ solution
            free = 1.0 - rows**2 @ scaled - share
        missed = residual / np.maximum(free, 1e-9)[:, np.newaxis]
        error = float((missed**2).sum())
        if best is None or error < best[0]:
            best = error, penalty, missed, a.T @ dual_weight if dual else solution
    _, penalty, missed, solution = best
    return Readout(solution.T, y_mean - z_mean @ solution, targets - missed / root, float(penalty))


def slope(scores: Array, loss: Callable[[Array], float]) -> float:
    """Return the factor of scores at which their loss is least.

    Parameters
    ----------
    scores : (N, outputs) array
        Of samples that were left out.
    loss : callable
        Of scores.
    """
    apart = np.abs(scores - scores.mean(axis=1, keepdims=True)).max(axis=1).mean()
    values = [loss((scores * s).astype(np.float32)) + APART * s * apart for s in SLOPES]
    return float(SLOPES[int(np.argmin(values))])
