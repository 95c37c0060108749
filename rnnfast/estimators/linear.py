"""Ridge regression on rows that come in chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ..layers.base import Array

PENALTIES = 10.0 ** np.linspace(-9, 1, 41)  # times the largest squared singular value


class Triangle:
    """The triangular matrix R of the QR decomposition of a tall matrix; rows come in chunks."""

    def __init__(self) -> None:
        self._waiting: list[Array] = []
        self._n = 0

    def add(self, rows: Array) -> None:
        """Add rows (n, columns)."""
        self._waiting.append(rows)
        self._n += len(rows)
        if self._n > max(1024, 3 * rows.shape[1]):
            self.get()

    def get(self) -> Array:
        """Return R of the rows so far."""
        triangle = np.asarray(np.linalg.qr(np.concatenate(self._waiting), mode="r"))
        self._waiting, self._n = [triangle], len(triangle)
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
        self._triangle.add(rows * np.broadcast_to(np.sqrt(weight), len(x))[:, np.newaxis])
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
