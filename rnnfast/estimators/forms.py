"""What forecasters remember of series, and forecasts in the form in which series came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..checks import name_of
from .tables import LongNames, is_column, is_pandas, make_frame
from .times import Times, follow_all, is_index

if TYPE_CHECKING:
    from ..arrays import Array
    from .calendars import Step


class SeriesForm(NamedTuple):
    """What `fit` saw of its series, that later ones are held against."""

    n_features: int
    names: list[Any] | None = None
    step: Step | None = None
    freq: Any = None


class Forecasts(list[Any]):
    """Forecasts of a list of frames or Series: a list of the like."""

    def to_numpy(self) -> Array:
        """Return them as one (samples, horizon, targets) array; (samples, horizon) of Series."""
        return np.stack([one.to_numpy() for one in self])

    def round(self, decimals: int = 0) -> Forecasts:
        """Return them rounded, as pandas and NumPy do."""
        return Forecasts([one.round(decimals) for one in self])


@dataclass(eq=False)
class SeriesSet:
    """Series of numbers, and the form in which they were given.

    Attributes
    ----------
    values : list of (time, features) arrays
        In order of time, of float32 or float64. With `missing` NaN is what is missing; steps that
        were not there are NaN too.
    kind : {"single", "array", "cube", "list", "columns", "frame", "frames", "wide", "long"}
        How they came: a (time,) array; a (samples, time) array or list of 1-D arrays; a
        (samples, time, features) array; a list of (time, features) arrays; a Series or a list of
        them; a frame; a list of frames; a frame with a series in each column; a long frame.
    names : list or None
        Names of the features.
    ids : list or None
        Names of the series.
    times : list of Times, or None
    target : int or None
        The feature that a long frame calls y, value or target.
    has_missing : bool
    """

    values: list[Array]
    kind: str
    names: list[Any] | None = None
    ids: list[Any] | None = None
    times: list[Times] | None = None
    target: int | None = None
    has_missing: bool = False
    like: Any = field(default=None, repr=False)  # what was given, or its first item
    many: bool = True  # whether they came in a list, or as rows of one array
    long: LongNames | None = None

    @property
    def form(self) -> SeriesForm:
        """What is remembered of the series of `fit`."""
        first = self.times[0] if self.times else None
        names = self.names if self.kind not in ("columns", "wide") else None
        return SeriesForm(
            self.values[0].shape[1],
            names,
            None if first is None else first.step,
            None if first is None else first.freq,
        )

    @property
    def index(self) -> list[Any] | None:
        """The times of each series as the user has them, or None."""
        return None if self.times is None else [t.labels for t in self.times]

    def label(self, i: int) -> str:
        """Return how the user knows the series `i`."""
        if self.ids is not None:
            return f"X of {self.ids[i]!r}"
        return f"X[{i}]" if self.many else "X"

    def give(self, forecast: Array, targets: Sequence[int] | None = None) -> Any:
        """Return forecasts in the form in which the series came.

        Parameters
        ----------
        forecast : (samples, horizon, targets) array
        targets : sequence of int, optional
            The features that are forecast; default all.

        Returns
        -------
        (samples, horizon, targets) array
            (samples, horizon) for an array or list of series without an axis of features,
            (horizon,) for one such series. For frames and Series the like, with the times that
            follow; for a list of them `Forecasts`.
        """
        if self.kind in ("cube", "list"):
            return forecast
        if self.kind == "array":
            return forecast[..., 0]
        if self.kind == "single":
            return forecast[0, :, 0]
        names = self._target_names(forecast.shape[2], targets)
        follow: list[Any] = [None] * len(self.values)
        if self.times is not None:
            follow = follow_all(self.times, forecast.shape[1])
        if self.kind == "long":
            return self._long(forecast, names, follow)
        if self.kind == "wide":
            table = dict(zip(self.ids or [], forecast[..., 0], strict=True))
            return self._framed(self.like, table, follow[0])
        given = self.like if self.many else [self.like]
        made = [
            self._framed(x, dict(zip(names, f.T, strict=True)), t)
            if self.kind != "columns"
            else _make_column(x, f[:, 0], t)
            for x, f, t in zip(given, forecast, follow, strict=True)
        ]
        return Forecasts(made) if self.many else made[0]

    def _target_names(self, n: int, targets: Sequence[int] | None) -> list[Any]:
        names = self.names or list(range(self.values[0].shape[1]))
        return names if targets is None else [names[i] for i in targets]

    def _framed(self, like: Any, table: dict[Any, Any], labels: Any) -> Any:
        if is_pandas(like):
            return make_frame(like, table, labels)
        when = None if self.long is None else self.long.time
        return make_frame(like, table if labels is None else {when: labels, **table})

    def _long(self, forecast: Array, names: list[Any], follow: list[Any]) -> Any:
        n = forecast.shape[1]
        table = {name: forecast[..., k].reshape(-1) for k, name in enumerate(names)}
        ids = self.ids or []
        assert self.long is not None
        if self.long.id is None:  # an index of series and times
            import pandas

            levels = [
                (*(i if isinstance(i, tuple) else (i,)), t)
                for i, times in zip(ids, follow, strict=True)
                for t in times
            ]
            index = pandas.MultiIndex.from_tuples(levels, names=self.like.index.names)
            made = make_frame(self.like, table, index)
            return made.iloc[:, 0].rename(self.like.name) if is_column(self.like) else made
        repeated = [i for i in ids for _ in range(n)]
        head = {self.long.id: repeated, self.long.time: _join(follow)}
        return make_frame(self.like, {**head, **table})


class Given(NamedTuple):
    """What one call of a forecaster was given.

    Parameters
    ----------
    form : SeriesSet
    values : list of (time, features) arrays
        Missing ones filled in.
    extra : list of (time, n) arrays, or None
        What is known of the future as well.
    static : (series, n) array, or None
    y : (samples, horizon, targets) array, or None
        Targets, where series are windows.
    gaps : list of (time, features) arrays of bool, or None
        Which values are filled in.
    """

    form: SeriesSet
    values: list[Array]
    extra: list[Array] | None
    static: Array | None
    y: Array | None = None
    gaps: list[Array] | None = None


def check_targets(owner: Any, targets: Any, series: SeriesForm) -> list[int] | None:
    """Return the parameter `targets`, positions or names of features, as positions from 0.

    Negative positions count from the last feature.
    """
    if targets is None:
        return None
    wanted = f"{name_of(owner)} expected targets"
    names, n = series.names, series.n_features
    one = isinstance(targets, (str, bytes, int, np.integer)) or not hasattr(targets, "__iter__")
    found = []
    for target in [targets] if one else list(targets):
        if names is not None and target in names:
            found.append(names.index(target))
        elif isinstance(target, (int, np.integer)) and not isinstance(target, bool):
            if not -n <= target < n:
                raise ValueError(f"{wanted} from 0 to {n - 1}, got {targets!r}")
            found.append(int(target) % n)
        elif names is not None:
            raise ValueError(f"{wanted} among the columns {names}, got {target!r}")
        else:
            raise TypeError(f"{wanted} as positions of features (int), got {targets!r}")
    if not found:
        raise ValueError(f"{wanted} of at least one feature, got {targets!r}")
    if len(set(found)) < len(found):
        raise ValueError(f"{wanted} of different features, got {targets!r}")
    return found


def _make_column(like: Any, values: Array, labels: Any) -> Any:
    if is_pandas(like):
        import pandas

        return pandas.Series(values, index=labels, name=like.name)
    return type(like)(like.name, values)


def _join(labels: list[Any]) -> Any:
    first = labels[0]
    if is_index(first):
        return first.append(labels[1:])
    if isinstance(first, np.ndarray):
        return np.concatenate(labels)
    for other in labels[1:]:
        first = first.append(other)
    return first
