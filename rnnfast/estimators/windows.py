"""Windows of series and what follows them: gathered a batch at a time, never all at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..arrays import Array

CHUNK = 1 << 16  # numbers gathered together where all windows are gone through


class Windows:
    """Places in series where a forecast is made, and what is known and what follows there.

    A place is the number, in `flat`, of the first step that is forecast; the steps of its series
    before it are its context. Contexts shorter than a window are continued to the front by their
    first step.

    Parameters
    ----------
    series : list of (time, features) arrays
    size : int
        Steps of a window.
    ahead : int
        Steps that are forecast at once.
    targets : sequence of int
        The features that are forecast.
    extra : list of (time, n) arrays, optional
        What is known of the future as well; may be longer than the series.
    static : (samples, n) array, optional
        What is known of each series and does not change.
    gaps : list of (time, n) arrays of bool, optional
        Which values of the first n features are filled in.

    Attributes
    ----------
    flat : (steps, features) array
        All series one after another: the only copy, and none of a single series.
    lengths : (samples,) array of int
    """

    def __init__(
        self,
        series: list[Array],
        size: int,
        ahead: int,
        targets: Sequence[int],
        extra: list[Array] | None = None,
        static: Array | None = None,
        gaps: list[Array] | None = None,
    ) -> None:
        self.size, self.ahead, self.targets = size, ahead, list(targets)
        self.flat = series[0] if len(series) == 1 else np.concatenate(series)
        self.lengths = np.array([len(s) for s in series])
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)[:-1]])
        self._extra = None
        if extra is not None:
            self._extra = extra[0] if len(extra) == 1 else np.concatenate(extra)
            lengths = np.array([len(e) for e in extra])
            self._extra_starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
            self._extra_lengths = lengths
        self._static = static
        self.gaps = None if gaps is None else np.concatenate(gaps)[:, self.targets]
        if self.gaps is not None:
            rows = np.arange(len(self.flat))
            known = np.maximum.accumulate(np.where(self.gaps.all(axis=1), -1, rows))
            self._since_known = rows - known

    def at(self, series: int, first: int, last: int) -> Array:
        """Return the places of a series with contexts of `first` to `last` steps."""
        start = int(self.starts[series])
        kind = np.int32 if len(self.flat) < 2**31 - 1 else np.int64
        return np.arange(start + first, start + last + 1, dtype=kind)

    def ends(self) -> Array:
        """Return the place after each series."""
        return self.starts + self.lengths

    def series_of(self, places: Array) -> Array:
        """Return the number of the series of each place."""
        return np.searchsorted(self.starts, np.asarray(places) - 1, side="right") - 1

    def steps(self, places: Array) -> Array:
        """Return the steps of each context."""
        return places - self.starts[self.series_of(places)]

    def context(self, places: Array, size: int | None = None) -> Array:
        """Return the last `size` steps of contexts, default those of a window: (n, size, F)."""
        return self.flat[self._rows(places, self.size if size is None else size)]

    def missing(self, places: Array, size: int) -> Array | None:
        """Return which targets of contexts are filled in, (n, size, targets), None where none."""
        return None if self.gaps is None else self.gaps[self._rows(places, size)]

    def lost(self, places: Array) -> Array:
        """Return how many steps before each place have no target: (n,)."""
        if self.gaps is None:
            return np.zeros(len(places), int)
        return np.minimum(self._since_known[np.asarray(places) - 1], self.steps(places))

    def _rows(self, places: Array, size: int) -> Array:
        """Return the rows of the last `size` steps of contexts: (n, size)."""
        first = self.starts[self.series_of(places)]
        rows = np.asarray(places, np.int64)[:, np.newaxis] + np.arange(-size, 0)
        return np.maximum(rows, first[:, np.newaxis])

    def known(self, places: Array, ahead: int | None = None) -> Array | None:
        """Return what is known of the steps of windows and of those ahead: (n, size + ahead, E)."""
        if self._extra is None:
            return None
        ahead = self.ahead if ahead is None else ahead
        which = self.series_of(places)
        steps = (places - self.starts[which])[:, np.newaxis] + np.arange(-self.size, ahead)
        steps = np.clip(steps, 0, self._extra_lengths[which][:, np.newaxis] - 1)
        return self._extra[self._extra_starts[which][:, np.newaxis] + steps]

    def static(self, places: Array) -> Array | None:
        """Return what is known of the series of places: (n, S)."""
        return None if self._static is None else self._static[self.series_of(places)]

    def following(self, places: Array, ahead: int | None = None) -> Array:
        """Return the targets of the steps ahead: (n, ahead, targets)."""
        ahead = self.ahead if ahead is None else ahead
        rows = np.asarray(places, np.int64)[:, np.newaxis] + np.arange(ahead)
        return self.flat[rows][..., self.targets]

    def there(self, places: Array, ahead: int) -> Array:
        """Return at which of the steps ahead all targets are as they were given: (n * ahead,)."""
        if self.gaps is None:
            return np.ones(len(places) * ahead, bool)
        rows = np.asarray(places, np.int64)[:, np.newaxis] + np.arange(ahead)
        return ~self.gaps[rows].any(axis=2).reshape(-1)

    def truths(self, places: Array) -> Array:
        """Return which targets of the steps ahead to measure by, (n, ahead, targets) of bool.

        Those that were given; all where none was.
        """
        shape = len(places), self.ahead, len(self.targets)
        there = self.there(places, self.ahead).reshape(len(places), self.ahead, 1)
        return np.broadcast_to(there if there.any() else True, shape)

    def chunks(self, places: Array) -> Iterator[Array]:
        """Iterate over places, so many at a time that what is known there stays small."""
        extra = 0 if self._extra is None else self._extra.shape[1] * self.ahead
        static = 0 if self._static is None else self._static.shape[1]
        rows = max(32, CHUNK // (self.size * (self.flat.shape[1] + extra + static)))
        for start in range(0, len(places), rows):
            yield places[start : start + rows]


class Samples(Windows):
    """Windows that come one by one with their targets; places are their numbers.

    Parameters
    ----------
    x : (n, size, features) array
    y : (n, ahead, targets) array
    """

    def __init__(self, x: Array, y: Array, targets: Sequence[int]) -> None:
        self.x, self.y = x, y
        self.size, self.ahead, self.targets = x.shape[1], y.shape[1], list(targets)
        self.flat = x.reshape(-1, x.shape[2])
        self.lengths = np.full(len(x), x.shape[1])
        self._extra = self._static = self.gaps = None

    def series_of(self, places: Array) -> Array:
        """Return the number of the series of each place."""
        return np.asarray(places)

    def ends(self) -> Array:
        """Return all places."""
        return np.arange(len(self.x))

    def steps(self, places: Array) -> Array:
        """Return the steps of each context."""
        return self.lengths[places]

    def context(self, places: Array, size: int | None = None) -> Array:
        """Return the last `size` steps of windows."""
        size = self.size if size is None else size
        steps = np.maximum(np.arange(self.size - size, self.size), 0)
        return self.x[places] if size == self.size else self.x[places][:, steps]

    def following(self, places: Array, ahead: int | None = None) -> Array:
        """Return their targets."""
        return self.y[places]
