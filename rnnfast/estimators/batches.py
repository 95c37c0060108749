"""Samples in batches, for every estimator."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.model_selection import train_test_split

from ..batching import NOTHING

if TYPE_CHECKING:
    from ..arrays import Array
    from ..datasets import text_batches


class Ragged:
    """Sequences of several lengths, padded only where some of them are taken.

    It stands in for a padded (samples, time, features) array: ``x[samples]``, ``x[samples, :end]``.

    Parameters
    ----------
    arrays : list of (time, features) arrays
    """

    ndim = 3

    def __init__(self, arrays: list[Array]) -> None:
        self.arrays = arrays
        self.lengths = np.array([len(a) for a in arrays])
        self.dtype = np.result_type(*{a.dtype for a in arrays})
        self.shape = len(arrays), int(self.lengths.max()), arrays[0].shape[1]

    def __len__(self) -> int:
        """Return the number of sequences."""
        return len(self.arrays)

    def __iter__(self) -> Iterator[Array]:
        """Iterate over the sequences, without padding."""
        return iter(self.arrays)

    def __getitem__(self, key: Any) -> Array:
        """Return some sequences, (samples, time, features), zero past their ends."""
        samples, steps = key if isinstance(key, tuple) else (key, slice(None))
        chosen = np.arange(len(self))[samples]
        end = self.shape[1] if steps.stop is None else steps.stop
        out = np.zeros((len(chosen), end, self.shape[2]), self.dtype)
        for row, i in zip(out, chosen, strict=True):
            array = self.arrays[i][:end]
            row[: len(array)] = array
        return out


class Batches:
    """Samples in batches of nearly the same size, in a new order at each pass.

    Parameters
    ----------
    take : callable
        ``take(samples, whole)`` returns the batch of these samples, an array of int: x, y and,
        where they are needed, lengths and weights, as for `rnnfast.fit`. What a sample is, and what
        is scaled, cut or gathered for it, is done here, a batch at a time. It has as many steps as
        a batch of the samples `whole`.
    samples : (N,) array of int
    batch_size : int
        At most. A last batch of a few samples would weigh as much as a full one, and leave a
        `BatchNorm1d` without a variance.
    seed : int, optional
        Of the order; default the order of `samples`.
    """

    def __init__(
        self,
        take: Callable[[Array, Array], tuple[Any, ...]],
        samples: Array,
        batch_size: int,
        seed: int | None = None,
    ) -> None:
        self.take, self.samples, self.batch_size = take, samples, batch_size
        self.rng = None if seed is None else np.random.default_rng(seed)

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-len(self.samples) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Iterate over the batches."""
        return (batch for batch, _ in self.dealt(0, 1))

    def dealt(self, rank: int, ranks: int) -> Iterator[tuple[tuple[Any, ...], int]]:
        """Iterate over one part of `ranks` of each batch, as `ArrayBatches` does."""
        order = self.samples if self.rng is None else self.rng.permutation(self.samples)
        for whole in np.array_split(order, len(self)):
            some = whole[rank::ranks]
            yield self.take(some, whole) if len(some) else NOTHING, len(whole)


def take_sequences(
    x: Array | Ragged,
    y: Array,
    lengths: Array | None,
    weight: Array | None,
    prepare: Callable[[Array], Array],
    steps_of_y: bool,
) -> Callable[[Array, Array], tuple[Any, ...]]:
    """Return the `take` of padded sequences: each batch is cut to the longest of its samples.

    So is y where `steps_of_y` says that it has an axis of time, and a weight (N, T) of steps.
    `prepare` scales a batch of x.
    """

    def take(samples: Array, whole: Array) -> tuple[Any, ...]:
        n = None if lengths is None else lengths[samples]
        end = x.shape[1] if lengths is None else int(lengths[whole].max())
        target = y[samples, :end] if steps_of_y else y[samples]
        batch = (prepare(x[samples, :end]), target, n)
        if weight is None:
            return batch if n is not None else batch[:2]
        return *batch, weight[samples, :end] if weight.ndim == 2 else weight[samples]

    return take


class ShuffledSequences:
    """Batches of one stream of several sequences, which are in a new order each time."""

    def __init__(
        self, ids: list[Array], batches: Callable[[list[Array]], text_batches], seed: int
    ) -> None:
        self.ids, self.batches = ids, batches
        self.rng = np.random.default_rng(seed)
        self._length = len(batches(ids))  # in any order

    def __len__(self) -> int:
        """Return the number of batches."""
        return self._length

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        """Iterate over the batches."""
        return iter(self.batches([self.ids[i] for i in self.rng.permutation(len(self.ids))]))


def split(owner: Any, n: int, fraction: float, seed: int) -> tuple[Array, Array]:
    """Return the samples that are trained on, and those that are held out, in random order."""
    if math.ceil(fraction * n) >= n:
        raise ValueError(
            f"{type(owner).__name__} expected X of samples to train on beside those held out, got "
            f"{n} with validation_fraction={fraction}"
        )
    some, others = train_test_split(np.arange(n), test_size=fraction, random_state=seed)
    return some, others


def with_weight(weight: Array) -> Array:
    """Return the samples that have any weight, of (N,) or (N, T) weights."""
    return np.flatnonzero((weight > 0.0).reshape(len(weight), -1).any(axis=1))


def check_sample_weight(owner: Any, sample_weight: Any, n: int) -> Array | None:
    """Return the weights (n,) of n samples as float64, finite and >= 0, or None."""
    if sample_weight is None:
        return None
    expected = f"{type(owner).__name__} expected sample_weight"
    try:
        weight = np.asarray(sample_weight)
    except ValueError:  # ragged
        raise TypeError(f"{expected} as a number for each sample, got sequences") from None
    if weight.dtype.kind not in "fiub":
        raise TypeError(f"{expected} as numbers, got {weight.dtype}")
    if weight.shape != (n,):
        raise ValueError(f"{expected} of shape ({n},), one for each sample, got {weight.shape}")
    weight = weight.astype(np.float64)
    wrong = weight[~((weight >= 0.0) & np.isfinite(weight))]
    if wrong.size or not weight.any():
        got = wrong[0] if wrong.size else "zeros only"
        raise ValueError(f"{expected} >= 0 and finite, got {got}")
    return weight
