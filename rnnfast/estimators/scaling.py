"""Features brought to mean 0 and variance 1, learnt as data come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ..arrays import Array

ROWS = 65536  # rows looked at together: bounds the memory of float64 deviations


class Scaler:
    """Brings features to mean 0 and variance 1; changes nothing before it has learnt.

    Moments are merged as more rows come (Chan, Golub and LeVeque, "Updating formulae and a
    pairwise algorithm for computing sample variances", 1979). NaN, for what is missing, does not
    count.

    Parameters
    ----------
    owner : estimator
    name : str
        Of what is scaled: both for errors.

    Attributes
    ----------
    mean, scale : (features,) array of float64
        What is subtracted, then divided by.
    """

    mean: Any = 0.0
    scale: Any = 1.0

    def __init__(self, owner: Any, name: str) -> None:
        self._expected = f"{type(owner).__name__} expected {name}"
        self._count: Any = 0.0
        self._squares: Any = 0.0  # sum of squared deviations

    def updated(self, rows: Array, real: Array | None = None) -> Scaler:
        """Return a scaler that has also learnt from more rows (n, ..., features).

        `real`, (n, ...) of bool, says which of them count; default all.
        """
        other = object.__new__(Scaler)
        other.__dict__.update(self.__dict__)
        count, mean, squares = self._count, self.mean, self._squares
        each = int(np.prod(rows.shape[1:-1]))
        step = max(1, ROWS // max(each, 1))
        with np.errstate(over="ignore", invalid="ignore"):
            for start in range(0, len(rows), step):
                some = rows[start : start + step]
                some = (
                    some.reshape(-1, rows.shape[-1])
                    if real is None
                    else some[real[start : start + step]]
                )
                n, m, s = _moments(some)
                total = count + n
                part = n / np.maximum(total, 1.0)
                shift = np.where(n > 0, m - mean, 0.0)
                squares = squares + s + shift**2 * count * part
                mean, count = mean + shift * part, total
        if not np.isfinite(squares).all():
            largest = np.nanmax(np.abs(rows))
            raise ValueError(
                f"{self._expected} of values whose variance float64 can hold, got values too "
                f"large: up to {largest:.3g}"
            )
        scale = np.sqrt(squares / np.maximum(count, 1.0))
        other._count, other._squares, other.mean = count, squares, mean
        # of constant numbers rounding may leave a tiny deviation
        other.scale = np.where(scale > 1e-12 * np.abs(mean), scale, 1.0)
        return other

    def __call__(self, x: Array) -> Array:
        """Return x (..., features), scaled, in float32."""
        scaled = (x - self.mean) / self.scale
        largest = max(scaled.max(initial=0.0), -scaled.min(initial=0.0))
        if largest > np.finfo(np.float32).max:
            raise ValueError(
                f"{self._expected} of values that, scaled, float32 can hold, got values too large: "
                f"{largest:.3g}"
            )
        return scaled.astype(np.float32)

    def inverse(self, x: Array) -> Array:
        """Return x (..., features), scaled back, in float64."""
        return x * np.asarray(self.scale, np.float64) + self.mean


def _moments(rows: Array) -> tuple[Any, Array, Array]:
    """Return the count, the mean and the sum of squared deviations of each feature of (n, F)."""
    known = ~np.isnan(rows)
    if known.all():
        mean = rows.mean(axis=0, dtype=np.float64)
        return np.full(rows.shape[1], float(len(rows))), mean, ((rows - mean) ** 2).sum(axis=0)
    n = known.sum(axis=0, dtype=np.float64)
    mean = np.where(known, rows, 0.0).sum(axis=0) / np.maximum(n, 1.0)
    return n, mean, (np.where(known, rows - mean, 0.0) ** 2).sum(axis=0)
