"""Sequences of arrays, as loops that collect steps make them: lists, which nobody changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .registry import operator

if TYPE_CHECKING:
    from ...arrays import Array


def _place(position: Array, length: int, last: int) -> int:
    # from the end if negative
    place = int(position.item())
    if not -length <= place <= last:
        raise ValueError(f"position expected from {-length} to {last}, got {place}")
    return place + length if place < 0 else place


@operator("SequenceEmpty")
def sequence_empty(dtype: int = 1) -> list[Array]:
    """Return no arrays."""
    return []


@operator("SequenceConstruct")
def sequence_construct(*arrays: Array) -> list[Array]:
    """Return the arrays."""
    return list(arrays)


@operator("SequenceInsert")
def sequence_insert(sequence: list[Array], x: Array, position: Array | None = None) -> list[Array]:
    """Return the sequence with one array more, at its end without `position`."""
    end = len(sequence)
    place = end if position is None else _place(position, end, end)
    return [*sequence[:place], x, *sequence[place:]]


@operator("SequenceErase")
def sequence_erase(sequence: list[Array], position: Array | None = None) -> list[Array]:
    """Return the sequence without one of its arrays, the last without `position`."""
    last = len(sequence) - 1
    place = last if position is None else _place(position, len(sequence), last)
    return sequence[:place] + sequence[place + 1 :]


@operator("SequenceAt")
def sequence_at(sequence: list[Array], position: Array) -> Array:
    """Return an array of the sequence."""
    return sequence[_place(position, len(sequence), len(sequence) - 1)]


@operator("SequenceLength")
def sequence_length(sequence: list[Array]) -> Array:
    """Return the number of arrays."""
    return np.array(len(sequence), np.int64)


@operator("ConcatFromSequence")
def concat_from_sequence(sequence: list[Array], axis: int, new_axis: int = 0) -> Array:
    """Return the arrays joined along an axis of theirs, or along a new one."""
    return np.stack(sequence, axis) if new_axis else np.concatenate(sequence, axis)


@operator("SplitToSequence")
def split_to_sequence(
    x: Array, split: Array | None = None, axis: int = 0, keepdims: int = 1
) -> list[Array]:
    """Return parts of one length, the last perhaps shorter, or of given lengths."""
    length = x.shape[axis]
    if split is not None and split.ndim:
        if split.sum() != length:
            raise ValueError(f"parts of {split} do not make {length}")
        ends = np.cumsum(split)
    else:
        ends = np.arange(0, length, 1 if split is None else split.item())[1:]
        ends = np.append(ends, length)
    parts = np.split(x, ends[:-1], axis)
    return [part.squeeze(axis) for part in parts] if split is None and not keepdims else parts
