"""The batches that `fit` and `evaluate` learn from: cut from arrays, or as an iterable has them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .checks import check_lengths
from .layers.base import Layer
from .layers.sequential import lengths_behind, steps_left, takes_time, with_parts
from .weighting import check_weight

if TYPE_CHECKING:
    from .arrays import Array


class Batch(NamedTuple):
    """Samples to learn from, or all of a set, x and y in the layout of the model."""

    x: Any  # an array, or a tuple that starts with one
    y: Any
    lengths: Any = None
    weight: Any = None  # (B,), or of the first axes of y


NOTHING = Batch(None, None)  # the part of a batch that holds no sample of it


class Axes(NamedTuple):
    """Where an array has its samples and its time steps; None: it has no steps."""

    samples: int
    time: int | None = None


class ArrayBatches:
    """Samples of arrays cut into batches.

    Attributes
    ----------
    data : Batch
        All samples.
    samples : array of int
        Those that batches are made of.
    bucket : bool
        Whether the samples of a batch are of similar length.
    drop_last : bool
        Whether all batches are full.
    """

    def __init__(
        self,
        data: Batch,
        axes: tuple[Axes | None, ...],
        batch_size: int,
        rng: np.random.Generator | None,
        model: Layer,
    ) -> None:
        self.data, self.axes = data, axes
        self.batch_size, self.rng = batch_size, rng
        self.model = model  # knows the steps of y from those of x
        self.samples = np.arange(data.x.shape[axes[0].samples])  # type: ignore[union-attr]
        self.bucket = False
        self.drop_last = False

    def split(self, share: float) -> ArrayBatches:
        """Take the last `share` of the samples away and return batches of them, in order."""
        cut = math.floor(len(self.samples) * (1.0 - share)) if 0.0 < share < 1.0 else 0
        if not cut:
            raise ValueError(
                "fit expected validation_split from 0 to 1 that leaves samples to learn from, "
                f"got {share} of {len(self.samples)} samples"
            )
        last = ArrayBatches(self.data, self.axes, self.batch_size, None, self.model)
        self.samples, last.samples = self.samples[:cut], self.samples[cut:]
        return last

    def __len__(self) -> int:
        full, rest = divmod(len(self.samples), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Batch]:
        return (batch for batch, _ in self.dealt(0, 1))

    def dealt(self, rank: int, ranks: int) -> Iterator[tuple[Batch, int]]:
        """Iterate over one part of `ranks` of each batch, and the samples that this has.

        A part has as many steps as the batch. It is `NOTHING` where it has no sample.
        """
        order, starts = self.samples.copy(), np.arange(len(self)) * self.batch_size
        if self.rng is not None:
            self.rng.shuffle(order)
        if self.drop_last:  # before they are sorted by length: any may be among the last
            order = order[: len(self) * self.batch_size]
        if self.bucket:
            order = order[self.data.lengths[order].argsort(kind="stable")]
            if self.rng is not None:
                self.rng.shuffle(starts)
        for start in starts:
            whole = order[start : start + self.batch_size]
            some = whole[rank::ranks]
            yield self._batch(some, whole) if len(some) else NOTHING, len(whole)

    def _batch(self, some: Array, whole: Array) -> Batch:
        arrays: tuple[Any, ...] = self.data
        if self.bucket:
            arrays = self._cut(max(1, self.data.lengths[whole].max()))
        return Batch(
            *(
                None if axes is None else _take(array, some, axes.samples)
                for array, axes in zip(arrays, self.axes, strict=True)
            )
        )

    def _cut(self, steps: int) -> tuple[Any, ...]:
        # the arrays without what follows the first steps of x, and those of y that they lead to
        whole = any(part.needs_all_steps for part in with_parts(self.model))
        if whole or steps_left(self.model, steps) < 1:
            # its steps are to be those of all x; or nothing to learn, but convolutions want taps
            return self.data
        after = lengths_behind(self.model, steps, None)
        kept = steps, after, None, after
        return tuple(
            a if axes is None or axes.time is None else a[(slice(None),) * axes.time + (slice(n),)]
            for a, axes, n in zip(self.data, self.axes, kept, strict=True)
        )


def _take(array: Array, some: Array, axis: int) -> Array:
    # ndarray.take would first copy the whole of an array that is not contiguous.
    if array.flags.c_contiguous:
        return array.take(some, axis)
    return array[(slice(None),) * axis + (some,)]


def gives_time(model: Layer) -> bool:
    """Whether the predictions of a model have an axis of time."""
    if takes_time(model) or model.batch_first is None:
        return model.keeps_time
    return model.makes_time


def make_batches(
    owner: str,
    name: str,
    model: Layer,
    data: Any,
    batch_size: int,
    carry_state: bool,
    rng: np.random.Generator | None = None,
    lengths: Any = None,
    sample_weight: Any = None,
) -> Any:
    """Return the batches of arrays, or what is an iterable of batches or returns one.

    Raises
    ------
    TypeError, ValueError
        In the words of `owner`'s argument `name`.
    """
    if not (isinstance(data, tuple) and all(isinstance(a, np.ndarray) for a in data[:2])):
        source = _checked_source(owner, name, data, lengths, sample_weight)
        if not hasattr(source, "cut"):
            return source
        if carry_state or model.batch_first is False:
            what = "carry_state=True" if carry_state else "batch_first=False"
            raise ValueError(
                f"{owner} expected a model with batch_first=True and no carry_state, as {name} has "
                f"its samples on the first axis and in no order, got {what}"
            )
        return source.cut(batch_size, rng)
    expected = f"{owner} expected {name}"
    if carry_state:
        raise ValueError(
            f"{expected} as an iterable of consecutive batches with carry_state, such as "
            "datasets.text_batches, got arrays"
        )
    if not 2 <= len(data) <= 4:
        raise ValueError(
            f"{expected} as (x, y), (x, y, lengths) or (x, y, lengths, sample_weight), "
            f"got {len(data)} entries"
        )
    given = Batch._make([*data, None, None][:4])
    for what, inside, argument in (
        ("lengths", given.lengths, lengths),
        ("sample_weight", given.weight, sample_weight),
    ):
        if inside is not None and argument is not None:
            raise ValueError(f"{owner} got {what} twice, in {name} and as an argument")
    lengths = given.lengths if lengths is None else lengths
    weight = given.weight if sample_weight is None else sample_weight
    given = Batch(data[0], data[1], lengths, weight)
    return ArrayBatches(*_check_arrays(owner, name, model, given), batch_size, rng, model)


def _checked_source(owner: str, name: str, data: Any, lengths: Any, sample_weight: Any) -> Any:
    # an iterable of batches, or a function that returns one
    for what, argument in ("lengths", lengths), ("sample_weight", sample_weight):
        if argument is not None:
            raise ValueError(
                f"{owner} expected {what} in the batches, as {name} is not a pair of arrays"
            )
    if not (callable(data) or hasattr(data, "cut")) and (
        not isinstance(data, Iterable) or isinstance(data, (str, np.ndarray))
    ):
        raise TypeError(
            f"{owner} expected {name} as (x, y), an iterable of batches or a function, "
            f"got {type(data).__name__}"
        )
    if isinstance(data, (tuple, list)):
        for batch in data:
            _check_batch(owner, name, batch)
    return data


def _check_arrays(
    owner: str, name: str, model: Layer, data: Batch
) -> tuple[Batch, tuple[Axes | None, ...]]:
    # the arrays, and where each has its samples and its steps
    expected, x, y = f"{owner} expected {name}", data.x, data.y
    time_first = model.batch_first is False  # None: no layer knows of time
    in_time = gives_time(model)
    of_x = int(time_first and takes_time(model))
    of_y = int(time_first and in_time)
    if x.ndim <= of_x or y.ndim <= of_y:
        raise ValueError(
            f"{expected} with samples on axis {of_x} of x and {of_y} of y, "
            f"got shapes {x.shape} and {y.shape}"
        )
    samples, time = x.shape[of_x], 1 - of_x
    if y.shape[of_y] != samples:
        raise ValueError(
            f"{expected} with as many samples in y (axis {of_y}) as in x (axis {of_x}), "
            f"got shapes {y.shape} and {x.shape}"
        )
    y_time = 1 - of_y if in_time and y.ndim > 1 else None
    lengths = weight = None
    axes = [Axes(of_x, time), Axes(of_y, y_time), None, None]
    whose = owner if name == "data" else f"{owner}'s {name}"
    if data.lengths is not None:
        if x.ndim < 2:
            raise ValueError(f"{expected} with a time axis in x for lengths, got shape {x.shape}")
        lengths = check_lengths(whose, data.lengths, x.shape[time], samples)
        axes[2] = Axes(0)
    if data.weight is not None:
        weight = check_weight(whose, "sample_weight", data.weight)
        if weight.shape == (samples,):
            axes[3] = Axes(0)
        elif weight.ndim > 1 and weight.shape == y.shape[: weight.ndim]:
            axes[3] = axes[1]
        else:
            raise ValueError(
                f"{whose} expected sample_weight of shape ({samples},), or as y or its first axes, "
                f"{y.shape}, got {weight.shape}"
            )
    return Batch(x, y, lengths, weight), tuple(axes)


def _check_batch(owner: str, name: str, batch: Any) -> None:
    if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3, 4):
        raise ValueError(
            f"{owner} expected {name} of batches (x, y), (x, y, lengths) or (x, y, lengths, "
            "weight), or arrays of all samples as a tuple (x, y), got a batch that is "
            f"{_kind(batch)}"
        )
    x = batch[0]
    first = x[0] if isinstance(x, tuple) and x else x
    if not isinstance(first, np.ndarray):
        raise TypeError(
            f"{owner} expected {name} with x as a NumPy array, got {_kind(batch[0])} in a batch"
        )


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    size = f" of {len(value)}" if isinstance(value, (tuple, list)) else ""
    return f"{type(value).__name__}{size}"


def each_batch(owner: str, name: str, batches: Any) -> Iterator[Batch]:
    """Iterate over batches of any source, checked."""
    for batch in batches() if callable(batches) else batches:
        _check_batch(owner, name, batch)
        yield batch if isinstance(batch, Batch) else Batch._make([*batch, None, None][:4])
