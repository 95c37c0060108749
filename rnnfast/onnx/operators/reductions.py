"""Operators along axes: sums and other reductions, softmax, places, running sums."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .registry import operator
from .shapes import flatten

if TYPE_CHECKING:
    from ...arrays import Array
    from .registry import Function


def limits(dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """Return the maximum and the minimum of no numbers."""
    if dtype.kind == "f":
        return -np.inf, np.inf
    return (False, True) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)


def _log_sum_exp(x: Array, axis: Any, keepdims: bool) -> Array:
    largest = np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    largest = np.where(np.isfinite(largest), largest, 0)
    result = np.log(np.sum(np.exp(x - largest), axis=axis, keepdims=True)) + largest
    return result if keepdims else np.squeeze(result, axis)


REDUCTIONS: dict[str, Function] = {
    "ReduceL1": lambda x, **options: np.sum(np.abs(x), **options),
    "ReduceL2": lambda x, **options: np.sqrt(np.sum(np.square(x), **options)),
    "ReduceLogSumExp": _log_sum_exp,
    "ReduceMax": lambda x, **options: np.max(x, initial=limits(x.dtype)[0], **options),
    "ReduceMean": np.mean,
    "ReduceMin": lambda x, **options: np.min(x, initial=limits(x.dtype)[1], **options),
    "ReduceProd": np.prod,
    "ReduceSum": np.sum,
    "ReduceSumSquare": lambda x, **options: np.sum(np.square(x), **options),
}


def _reduce(
    function: Function,
    x: Array,
    axes: Any = None,
    keepdims: int = 1,
    noop_with_empty_axes: int = 0,
) -> Any:
    axis = () if axes is None else tuple(map(int, axes))
    if not axis and not noop_with_empty_axes:
        axis = tuple(range(x.ndim))
    return function(x, axis=axis, keepdims=bool(keepdims))


for _name, _function in REDUCTIONS.items():
    operator(_name)(partial(_reduce, _function))


@operator("Softmax", since=13)
def softmax(x: Array, axis: int = -1) -> Array:
    """Return exp(x) over its sum along an axis."""
    shifted = np.exp(x - x.max(axis, keepdims=True, initial=-np.inf))
    return shifted / shifted.sum(axis, keepdims=True)


@operator("LogSoftmax", since=13)
def log_softmax(x: Array, axis: int = -1) -> Array:
    """Return the logarithm of `softmax`."""
    shifted = x - x.max(axis, keepdims=True, initial=-np.inf)
    return shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))


@operator("Softmax", since=1)
def softmax_of_rest(x: Array, axis: int) -> Array:
    """Return the softmax over all axes from `axis` on, as it was before version 13."""
    return softmax(flatten(x, axis)).reshape(x.shape)


@operator("LogSoftmax", since=1)
def log_softmax_of_rest(x: Array, axis: int) -> Array:
    """Return the logarithm of `softmax_of_rest`."""
    return log_softmax(flatten(x, axis)).reshape(x.shape)


def _arg_reduce(
    function: Function, x: Array, axis: int = 0, keepdims: int = 1, select_last_index: int = 0
) -> Array:
    if select_last_index:
        places = x.shape[axis] - 1 - function(np.flip(x, axis), axis)
    else:
        places = function(x, axis)
    return np.expand_dims(places, axis) if keepdims else places


operator("ArgMax")(partial(_arg_reduce, np.argmax))
operator("ArgMin")(partial(_arg_reduce, np.argmin))


@operator("TopK", outputs=2)
def top_k(
    x: Array, k: Any, axis: int = -1, largest: int = 1, sorted: int = 1
) -> tuple[Array, Array]:
    """Return the k largest or smallest values of an axis and their places, sorted."""
    if largest:  # of equal ones the first, so what is sorted backwards is first turned round
        order = np.flip(x.shape[axis] - 1 - np.argsort(np.flip(x, axis), axis, "stable"), axis)
    else:
        order = np.argsort(x, axis, "stable")
    count, length = np.asarray(k).item(), x.shape[axis]
    if not 0 <= count <= length:
        raise ValueError(f"k expected from 0 to {length}, the length of the axis, got {count}")
    places = np.take(order, np.arange(count), axis)
    return np.take_along_axis(x, places, axis), places


@operator("CumSum")
def cumsum(x: Array, axis: Array, exclusive: int = 0, reverse: int = 0) -> Array:
    """Return running sums along an axis, with or without the element itself."""
    x = np.flip(x, int(axis.item())) if reverse else x
    sums = np.cumsum(x, int(axis.item()), x.dtype)
    sums = sums - x if exclusive else sums
    return np.flip(sums, int(axis.item())) if reverse else sums
