"""The exact readout of fixed features: ridge regression with leave-one-out errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.linalg import eigh

if TYPE_CHECKING:
    from ..arrays import Array

PENALTIES = 10.0 ** np.arange(-3.0, 3.5, 0.5)  # for features of length about 1
SLOPES = 10.0 ** np.arange(-0.5, 2.05, 0.1)  # of scores: how sure a class is told
PART = 128  # rows in float64 at a time: bounds the memory
APART = 0.01  # price of scores that are far apart, where leaving one out makes no error


class Readout(NamedTuple):
    """``y = z @ weight.T + bias``, and what it gives for each sample when that is left out."""

    weight: Array  # (outputs, features)
    bias: Array  # (outputs,)
    left_out: Array  # (N, outputs)
    penalty: float


def ridge(z: Array, targets: Array, weight: Array | None = None) -> Readout:
    """Solve ridge regression; leave-one-out errors choose the penalty.

    Beside z it takes two square matrices of float64, of as many rows as there are samples or
    features, whichever are fewer. The weight of each sample is greater than 0.
    """
    N, features = z.shape
    w = np.ones(N) if weight is None else weight * (N / weight.sum())
    share, root = w / w.sum(), np.sqrt(w)
    z_mean = sum(share[part] @ z[part] for part in _parts(N))
    y_mean = share @ targets
    b = (targets - y_mean) * root[:, np.newaxis]

    def rows(part: slice) -> Array:
        return (z[part] - z_mean) * root[part, np.newaxis]

    def columns(part: slice) -> Array:
        return (z[:, part] - z_mean[part]).T * root

    dual = features >= N
    values, vectors = _eigen(rows if dual else columns, min(N, features))
    scaled = 1.0 / (values[:, np.newaxis] + PENALTIES)
    inner = vectors.T @ (b if dual else np.concatenate([columns(p) @ b for p in _parts(features)]))
    solutions = (scaled[:, :, np.newaxis] * inner[:, np.newaxis]).reshape(len(inner), -1)
    missed = np.empty((N, len(PENALTIES), b.shape[1]))
    for part in _parts(N):
        basis = vectors[part] if dual else rows(part) @ vectors
        fitted = (basis @ solutions).reshape(missed[part].shape)
        leverage = basis**2 @ scaled
        if dual:
            residual = PENALTIES[:, np.newaxis] * fitted
            free = PENALTIES * leverage
        else:
            residual = b[part, np.newaxis] - fitted
            free = 1.0 - leverage
        free -= share[part, np.newaxis]
        missed[part] = residual / np.maximum(free, 1e-9)[:, :, np.newaxis]
    best = int(np.argmin((missed**2).sum(axis=(0, 2))))
    solution = vectors @ (scaled[:, best, np.newaxis] * inner)
    if dual:
        solution = sum(rows(part).T @ solution[part] for part in _parts(N))
    left_out = targets - missed[:, best] / root[:, np.newaxis]
    return Readout(solution.T, y_mean - z_mean @ solution, left_out, float(PENALTIES[best]))


def _parts(size: int) -> list[slice]:
    return [slice(start, min(start + PART, size)) for start in range(0, size, PART)]


def _eigen(part_of: Callable[[slice], Array], size: int) -> tuple[Array, Array]:
    """Return eigenvalues and vectors of a Gram matrix of rows, which are made a part at a time."""
    gram = np.zeros((size, size))
    for i in _parts(size):
        left = part_of(i)
        for j in _parts(i.stop):
            gram[i, j] = left @ part_of(j).T
    values, vectors = eigh(gram.T, lower=False, overwrite_a=True, driver="evr")  # the least memory
    return np.maximum(values, 0.0), vectors


def slope(scores: Array, loss: Callable[[Array], float]) -> float:
    """Return the factor at which the loss of scores (N, outputs) is least."""
    apart = np.abs(scores - scores.mean(axis=1, keepdims=True)).max(axis=1).mean()
    values = [loss((scores * s).astype(np.float32)) + APART * s * apart for s in SLOPES]
    return float(SLOPES[int(np.argmin(values))])
