"""Ridge regression on rows that come in chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.linalg.lapack import dgeqrf

if TYPE_CHECKING:
    from ..arrays import Array

PENALTIES = 10.0 ** np.linspace(-9, 1, 41)  # times the largest squared singular value


class Triangle:
    """The triangular matrix R of the QR decomposition of a tall matrix; rows come in chunks."""

    _rows: Any = None  # in Fortran's order, in which LAPACK works in place
    _n = 0

    def add(self, rows: Array) -> None:
        """Add rows (n, columns)."""
        if self._rows is None:
            self._rows = np.empty((max(256, 3 * rows.shape[1]), rows.shape[1]), order="F")
        while len(rows):
            some = rows[: len(self._rows) - self._n]
            self._rows[self._n : self._n + len(some)] = some
            self._n += len(some)
            rows = rows[len(some) :]
            if self._n == len(self._rows):
                self.get()

    def get(self) -> Array:
        """Return R (columns, columns) of the rows so far."""
        columns = self._rows.shape[1]
        self._rows[self._n :] = 0.0
        decomposed, *_ = dgeqrf(self._rows, lwork=64 * columns, overwrite_a=True)
        triangle = np.triu(decomposed[:columns])
        self._rows[:columns], self._n = triangle, columns
        return triangle


class Ridge:
    """Linear regression with a penalty on squared weights that generalised cross-validation sets.

    Rows are reduced to one triangular matrix as they come, which has their exact least squares
    solution and keeps none of them. Golub, Heath and
    Wahba, "Generalized cross-validation as a method for choosing a good ridge parameter", 1979.

    Attributes
    ----------
    weights : (features, outputs) array
    intercept : (outputs,) array
    penalty : float
    """

    def __init__(self) -> None:
        self._triangle = Triangle()
        self._rows = 0

    def add(self, x: Array, y: Array, weight: Any = 1.0) -> None:
        """Add rows (n, features), their targets (n, outputs), and what their squares count (n,)."""
        rows = np.concatenate([np.ones((len(x), 1)), x, y], axis=1)
        rows *= np.broadcast_to(np.sqrt(weight), len(x))[:, np.newaxis]
        self._triangle.add(rows)
        self._rows += len(x)
        self._features = x.shape[1]

    def solve(self) -> Ridge:
        """Set the penalty and the weights."""
        p, n, triangle = self._features, self._rows, self._triangle.get()
        centred, targets = triangle[1:, 1 : 1 + p], triangle[1:, 1 + p :]
        u, s, vt = np.linalg.svd(centred, full_matrices=False)
        s = np.where(s > 1e-10 * np.abs(triangle[:, : 1 + p]).max(), s, 0.0)  # the rest is rounding
        rotated = u.T @ targets
        largest = s[0] ** 2 if len(s) and s[0] > 0 else 1.0
        rest = max(float((targets**2).sum() - (rotated**2).sum()), 0.0)
        best, self.penalty = np.inf, PENALTIES[-1] * largest
        for penalty in PENALTIES[::-1] * largest:
            kept = s**2 / (s**2 + penalty)
            left = rest + float((((1.0 - kept)[:, np.newaxis] * rotated) ** 2).sum())
            free = n - 1.0 - kept.sum()
            if free < 0.02 * n:
                break
            if left / free**2 < best:
                best, self.penalty = left / free**2, penalty
        inverse = s / (s**2 + self.penalty)
        self.weights = vt.T @ (inverse[:, np.newaxis] * rotated)
        head = triangle[0] / triangle[0, 0]
        self.intercept = head[1 + p :] - head[1 : 1 + p] @ self.weights
        del self._triangle
        return self

    def __call__(self, x: Array) -> Array:
        """Return the outputs for rows (n, features)."""
        return x @ self.weights + self.intercept
