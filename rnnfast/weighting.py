"""Which time steps count in a loss or a metric, and how much."""

from __future__ import annotations

import math
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np

from .checks import check_lengths, refuse_masked

if TYPE_CHECKING:
    from .arrays import Array

__all__ = ["Rows", "check_weight", "numbers", "total_weight", "totals"]

# While a part of a batch is assessed, what each mean over it was divided by
totals: ContextVar[list[float] | None] = ContextVar("rnnfast_totals", default=None)


class Rows:
    """The steps that count, as rows of a matrix, and their weights.

    Steps are the leading axes of `prediction`: all but the axis of classes, or, without classes,
    as many as lengths or weights cover.

    Attributes
    ----------
    total : float
        Sum of the weights; without weights the number of rows.
    """

    def __init__(
        self,
        name: str,
        prediction: Array,
        has_classes: bool,
        lengths: Any,
        weight: Any,
        steps: str,
        batch_first: bool,
    ) -> None:
        self.shape, self.dtype = prediction.shape, prediction.dtype.newbyteorder("=")
        leading = self.shape[:-1] if has_classes else self.shape
        mask = _mask(name, leading, lengths, steps, batch_first)
        if weight is not None:
            in_time = mask is not None or len(self.shape) > 2
            given = _placed(name, weight, leading, in_time and not batch_first)
            axes = given.ndim if mask is None else max(given.ndim, 2)
            mask = _expand(given, axes) * (1.0 if mask is None else _expand(mask, axes))

        if not has_classes:
            leading = leading[: 1 if mask is None else mask.ndim]
        self.axes, self.count = len(leading), math.prod(leading)
        self.total = float(self.count)
        self.used = self.weights = None  # rows that count, and their weights; None: all, equally
        if mask is not None:
            flat = np.broadcast_to(_expand(mask, self.axes), leading).reshape(-1)
            self.used = np.flatnonzero(flat)
            self.weights = flat[self.used]
            self.total = float(self.weights.sum())
        if (seen := totals.get()) is not None:
            seen.append(self.total)

    def select(self, array: Array, dtype: Any = None) -> Array:
        """Return a copy of the rows that count, (rows, features)."""
        rows = array.reshape(self.count, math.prod(array.shape[self.axes :]))
        if self.used is not None:
            rows = rows[self.used]
        return np.array(rows, dtype or self.dtype)

    def mean(self, losses: Array) -> float:
        """Return the weighted mean of a loss for each row."""
        if self.total == 0.0:
            return 0.0
        if self.weights is None:
            return float(losses.sum(dtype=np.float64) / self.total)
        return float(np.dot(losses.astype(np.float64), self.weights) / self.total)

    def spread(self, gradient: Array) -> Array:
        """Return the gradient of the mean from that of each row, in the prediction's shape."""
        if self.weights is None:
            gradient *= 1.0 / max(self.total, 1.0)
            return gradient.reshape(self.shape)
        gradient *= (self.weights / (self.total or 1.0)).astype(self.dtype)[:, None]
        out = np.zeros((self.count, gradient.shape[1]), self.dtype)
        out[self.used] = gradient
        return out.reshape(self.shape)


def total_weight(
    steps: tuple[int, ...], lengths: Any, weight: Any, batch_first: bool, in_time: bool
) -> float:
    """Return what a batch counts in a mean over batches: the sum of the weights of its steps.

    `steps` is the shape of the predictions, `in_time` whether these have an axis of time.
    """
    axes = 2 if in_time or lengths is not None else max(len(steps) - 1, 1)
    leading = steps[:axes]
    if weight is None:
        return float(math.prod(leading) if lengths is None else np.sum(lengths))
    mask = _mask("fit", leading, lengths, "all", batch_first)
    given = _placed("fit", weight, steps, in_time and not batch_first)
    given = given.mean(axis=tuple(range(axes, given.ndim)))  # over features
    return float((_expand(given, axes) * (np.ones(leading) if mask is None else mask)).sum())


def check_weight(owner: str, name: str, weight: Any) -> Array:
    """Return weights as an array of numbers, finite and none below 0."""
    given = numbers(owner, name, weight)
    wrong = given[~((given >= 0.0) & np.isfinite(given))]
    if wrong.size:
        raise ValueError(f"{owner} expected {name} >= 0 and finite, got {wrong[0]}")
    return given


def numbers(owner: str, what: str, value: Any) -> Array:
    """Return an array_like of real numbers as an array."""
    try:
        given = np.asarray(value)
    except ValueError:  # ragged
        raise TypeError(f"{owner} expected {what} as numbers, got {value!r:.200}") from None
    if given.dtype.kind not in "fiub":
        raise TypeError(f"{owner} expected {what} as numbers, got {given.dtype}")
    refuse_masked(owner, what, value)
    return given


def _placed(name: str, weight: Any, leading: tuple[int, ...], time_first: bool) -> Array:
    # weights with axes that match the first ones of the prediction
    given = check_weight(name, "weight", weight).astype(np.float64)
    if given.ndim == 1 and time_first and len(leading) > 1:  # one per sample
        given = given[None]
        fits = given.shape[1] == leading[1]
    else:
        fits = given.shape == leading[: given.ndim]
    if not fits:
        samples = leading[int(time_first) :][:1]
        raise ValueError(
            f"{name} expected weight of shape {samples}, one per sample, or {leading} or its first "
            f"axes, got {np.shape(weight)}"
        )
    return given


def _mask(
    name: str, leading: tuple[int, ...], lengths: Any, steps: str, batch_first: bool
) -> Array | None:
    if steps not in ("all", "last"):
        raise ValueError(f"{name} expected steps 'all' or 'last', got {steps!r}")
    if lengths is None and steps == "all":
        return None
    if len(leading) < 2:
        raise ValueError(
            f"{name} expected prediction with axes of time and batch, got only {leading} steps"
        )
    B, T = leading[:2] if batch_first else leading[1::-1]
    given = check_lengths(name, lengths, T, B)
    if given is None:
        given = np.full(B, T)
    time = np.arange(T)[:, None]
    mask = time < given if steps == "all" else time == given - 1
    return np.asarray(mask.T if batch_first else mask, np.float64)


def _expand(mask: Array, axes: int) -> Array:
    return mask.reshape(mask.shape + (1,) * (axes - mask.ndim))
