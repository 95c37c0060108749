"""Operators that make and move elements: constants, shapes, elements by index."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .registry import operator

if TYPE_CHECKING:
    from ...arrays import Array


def _ints(numbers: Any) -> tuple[int, ...]:
    # of an array or a list; NumPy takes several times as long with integers of its own as lengths,
    # axes or places
    return tuple(numbers.ravel().tolist() if isinstance(numbers, np.ndarray) else numbers)


# ---- constants and shapes ----------------------------------------------------------------------


@operator("Constant")
def constant(
    value: Array | None = None,
    value_float: float | None = None,
    value_floats: list[float] | None = None,
    value_int: int | None = None,
    value_ints: list[int] | None = None,
) -> Array:
    """Return the one that is given."""
    for floats in (value_float, value_floats):
        if floats is not None:
            return np.array(floats, np.float32)
    for ints in (value_int, value_ints):
        if ints is not None:
            return np.array(ints, np.int64)
    return np.asarray(value)


@operator("ConstantOfShape")
def constant_of_shape(shape: Array, value: Array | None = None) -> Array:
    """Return an array full of one value."""
    fill = np.zeros(1, np.float32) if value is None else value
    return np.full(_ints(shape), fill.item(), fill.dtype)


@operator("Range")
def arange(start: Array, limit: Array, delta: Array, stash_type: int = 1) -> Array:
    """Return start, start + delta, ... up to before the limit."""
    # some give arrays of one element for scalars
    start, delta = start.reshape(()), delta.reshape(())
    count = math.ceil((limit.reshape(()) - start) / delta)
    return start + delta * np.arange(count, dtype=start.dtype)


@operator("Shape")
def shape(x: Array, start: int = 0, end: int | None = None) -> Array:
    """Return the lengths of the axes."""
    return np.array(x.shape[start:end], np.int64)


@operator("Size")
def size(x: Array) -> Array:
    """Return the number of elements."""
    return np.array(x.size, np.int64)


@operator("Reshape")
def reshape(x: Array, shape: Array, allowzero: int = 0) -> Array:
    """Return x in another shape; a 0 there is the length of the same axis of x."""
    lengths = [
        x.shape[axis] if length == 0 and not allowzero else length
        for axis, length in enumerate(_ints(shape))
    ]
    return x.reshape(lengths)


@operator("Flatten")
def flatten(x: Array, axis: int) -> Array:
    """Return x with two axes: what lies before `axis`, and the rest."""
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@operator("Squeeze")
def squeeze(x: Array, axes: Any = None) -> Array:
    """Return x without axes of length 1."""
    return x.squeeze(None if axes is None else _ints(axes))


@operator("Unsqueeze")
def unsqueeze(x: Array, axes: Any) -> Array:
    """Return x with axes of length 1 more."""
    return np.expand_dims(x, _ints(axes))


@operator("Transpose")
def transpose(x: Array, perm: list[int] | None = None) -> Array:
    """Return x with its axes in another order."""
    return x.transpose(perm)


@operator("Expand")
def expand(x: Array, shape: Array) -> Array:
    """Return x repeated along axes of length 1."""
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, _ints(shape)))


@operator("Tile")
def tile(x: Array, repeats: Array) -> Array:
    """Return copies of x side by side."""
    return np.tile(x, tuple(repeats))


@operator("Concat")
def concat(*arrays: Array, axis: int) -> Array:
    """Return arrays joined along an axis."""
    return np.concatenate(arrays, axis)


@operator("Split", outputs=np.inf)
def split(x: Array, split: Any = None, axis: int = 0, num_outputs: int = 1) -> tuple[Array, ...]:
    """Return x in parts of given sizes, else of equal ones but for the last."""
    length = x.shape[axis]
    if split is None:
        part = -(-length // num_outputs)
        ends = np.minimum(part * np.arange(1, num_outputs + 1), length)
    else:
        ends = np.cumsum(split)
        if len(ends) != num_outputs or ends[-1] != length:
            raise ValueError(f"parts of {split} do not make {num_outputs} outputs of {length}")
    return tuple(np.split(x, ends[:-1], axis))


@operator("Pad")
def pad(
    x: Array,
    pads: Any,
    constant_value: Array | None = None,
    axes: Any = None,
    mode: str = "constant",
    value: float = 0.0,
) -> Array:
    """Return x with more at its ends, or less where a number is negative."""
    chosen = range(x.ndim) if axes is None else [int(axis) for axis in axes]
    widths, kept = [(0, 0)] * x.ndim, [slice(None)] * x.ndim
    for i, axis in enumerate(chosen):
        before, after = int(pads[i]), int(pads[i + len(chosen)])
        widths[axis] = max(before, 0), max(after, 0)
        kept[axis] = slice(max(-before, 0), x.shape[axis] - max(-after, 0))
    fill = value if constant_value is None else constant_value.item()
    options = {"constant_values": fill} if mode == "constant" else {}
    return np.pad(x[tuple(kept)], widths, mode, **options)  # type: ignore[call-overload]


@operator("Trilu")
def trilu(x: Array, k: Any = 0, upper: int = 1) -> Array:
    """Return the upper or lower triangle of matrices, zeros in the other."""
    return (np.triu if upper else np.tril)(x, int(k))


# ---- elements by index -------------------------------------------------------------------------


@operator("Slice")
def slice_(x: Array, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Array:
    """Return a range of some axes."""
    index = [slice(None)] * x.ndim
    axes = range(len(starts)) if axes is None else _ints(axes)
    steps = [1] * len(starts) if steps is None else _ints(steps)
    for start, end, axis, step in zip(_ints(starts), _ints(ends), axes, steps, strict=True):
        start = max(start, -x.shape[axis])  # before the first is the first, for any step
        index[axis] = slice(start, end, step)
    return x[tuple(index)]


@operator("Gather")
def gather(x: Array, indices: Array, axis: int) -> Array:
    """Return entries of an axis; a negative index counts from the end."""
    return x.take(indices, axis)


def _element_index(indices: Array, axis: int) -> tuple[Any, ...]:
    index = list(np.ogrid[tuple(map(slice, indices.shape))])
    index[axis] = indices
    return tuple(index)


def _nd_index(indices: Array, batch_dims: int = 0) -> tuple[Any, ...]:
    batch = np.ogrid[tuple(map(slice, indices.shape[:-1]))][:batch_dims]
    return (*batch, *np.moveaxis(indices, -1, 0))


def _scatter(x: Array, index: tuple[Any, ...], updates: Array, reduction: str) -> Array:
    result = x.copy()
    if reduction == "none":
        result[index] = updates
    else:
        ufuncs = {"add": np.add, "mul": np.multiply, "min": np.minimum, "max": np.maximum}
        ufuncs[reduction].at(result, index, updates)
    return result


@operator("GatherElements")
def gather_elements(x: Array, indices: Array, axis: int) -> Array:
    """Return for each index that element along the axis."""
    return x[_element_index(indices, axis)]


@operator("GatherND")
def gather_nd(x: Array, indices: Array, batch_dims: int = 0) -> Array:
    """Return what the tuples along the last axis of `indices` point to."""
    return x[_nd_index(indices, batch_dims)]


@operator("ScatterElements")
def scatter_elements(
    x: Array, indices: Array, updates: Array, axis: int, reduction: str = "none"
) -> Array:
    """Return x with an element along the axis changed for each index."""
    return _scatter(x, _element_index(indices, axis), updates, reduction)


@operator("ScatterND")
def scatter_nd(x: Array, indices: Array, updates: Array, reduction: str = "none") -> Array:
    """Return x, changed where the tuples along the last axis of `indices` point to."""
    return _scatter(x, _nd_index(indices), updates, reduction)


@operator("OneHot")
def one_hot(indices: Array, depth: Array, values: Array, axis: int) -> Array:
    """Return a new axis with values[1] at the index and values[0] elsewhere."""
    count = int(depth.item())
    places = np.where(indices < 0, indices + count, indices)[..., None]
    hot = places == np.arange(count)
    return np.moveaxis(np.where(hot, values[1], values[0]), -1, axis)


@operator("NonZero")
def non_zero(x: Array) -> Array:
    """Return the indices of elements other than 0, an axis a row."""
    return np.array(np.nonzero(x), np.int64)


def reverse(x: Array, lengths: Array | None) -> Array:
    """Return x (T, B, ...) with the first ``lengths[b]`` steps of each sample b in reverse."""
    if lengths is None:
        return x[::-1]
    steps = np.arange(len(x))[:, None]
    index = np.where(steps < lengths, lengths - 1 - steps, steps)
    return x[index, np.arange(x.shape[1])]


@operator("ReverseSequence")
def reverse_sequence(x: Array, lengths: Array, batch_axis: int = 1, time_axis: int = 0) -> Array:
    """Return x with each sample's first steps in reverse."""
    axes = time_axis, batch_axis
    return np.moveaxis(reverse(np.moveaxis(x, axes, (0, 1)), lengths), (0, 1), axes)
