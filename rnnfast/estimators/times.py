"""The times of a frame's rows: put in order, checked for gaps, and continued."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import name_of
from .calendars import Step, find_step
from .tables import is_pandas

if TYPE_CHECKING:
    from ..arrays import Array


@dataclass(eq=False)
class Times:
    """The times of one series, in order.

    Attributes
    ----------
    stamps : (steps,) array
        What steps are counted with.
    labels : pandas.Index, polars.Series or array
        The same as the user has them.
    step : Step or None
        None where there are too few stamps to tell.
    wrap : callable
        Returns the labels of stamps.
    freq : pandas offset or None
        Where pandas knows the step.
    """

    stamps: Array
    labels: Any
    step: Step | None
    wrap: Callable[[Array], Any]
    freq: Any = None

    def follow(self, n: int) -> Any:
        """Return the labels of the `n` steps that come next."""
        if self.freq is not None:
            import pandas

            later = pandas.date_range(self.labels[-1], periods=n + 1, freq=self.freq)[1:]
            return later.as_unit(self.labels.unit).rename(self.labels.name)
        step = self.step
        if step is None:
            if self.stamps.dtype.kind in "Mm":
                raise ValueError(
                    "expected X of at least two times, from which the step between them is told"
                )
            step = Step(1)
        return self.wrap(step.at(self.stamps[-1], np.arange(1, n + 1)))

    def find(self, others: Times, ahead: int) -> Any:
        """Return the steps at which other times are, and the `ahead` times that follow these.

        Returns
        -------
        array of int, or the label of the first time that is not there
        """
        labels, follow = others.labels, others.follow(ahead) if ahead else None
        if is_index(labels) and is_index(self.labels):
            labels = labels if follow is None else labels.append(follow)
            steps = self.labels.get_indexer(labels)
        else:
            mine, labels = np.asarray(self.labels), np.asarray(labels)
            labels = labels if follow is None else np.concatenate([labels, np.asarray(follow)])
            steps = np.minimum(np.searchsorted(mine, labels), len(mine) - 1)
            steps = np.where(mine[steps] == labels, steps, -1)
        return labels[int(np.argmin(steps))] if (steps < 0).any() else steps


def read_times(
    owner: Any,
    labels: Any,
    name: str,
    *,
    fill: bool = False,
    regular: bool = True,
    step: Step | None = None,
    freq: Any = None,
) -> tuple[Times, Array, Array | None]:
    """Return the times of a series' rows, and how its rows become steps.

    Parameters
    ----------
    owner : estimator or str
    labels : pandas.Index, or a column of times of another library
    name : str
        How the user knows the series.
    fill : bool
        Whether gaps may be there: they become steps without values.
    regular : bool
        Whether steps must be regular. If not, gaps count for nothing.
    step, freq : Step, pandas offset, optional
        Those of the series of `fit`, for series too short to tell theirs.

    Returns
    -------
    times : Times
        In rising order, without gaps.
    order : (rows,) array of int
        The rows in this order.
    places : (rows,) array of int, or None
        The step that each of them is, where there are gaps.

    Raises
    ------
    TypeError
        For times that are text.
    ValueError
        For times that are missing, come twice, or do not follow each other in regular steps.
    """
    readings = _readings(owner, labels, name)
    stamps, wrap = readings[0]
    order = np.argsort(stamps, kind="stable")
    _check_each_once(owner, stamps[order], labels, order, name)
    if is_index(labels):
        labels = labels[order]
        freq = _pandas_freq(labels, freq)
        if freq is not None:
            found = find_step(stamps[order]) if len(stamps) > 1 else None
            return Times(stamps[order], labels, found and found[0], wrap, freq), order, None
    if len(stamps) == 1 or not regular:
        return Times(stamps[order], wrap(stamps[order]), step, wrap), order, None
    found = None
    for some, wrapped in readings:  # a day is 23 hours long where clocks change
        other = find_step(some[order], step)
        if other is not None and (found is None or other[1][-1] < found[1][-1]):
            found, stamps, wrap = other, some, wrapped
    stamps = stamps[order]
    if found is None:
        differences = np.unique(np.diff(stamps))
        raise ValueError(
            f"{name_of(owner)} expected {name} of times in regular steps, got steps from "
            f"{Step(differences[0])} to {Step(differences[-1])}; resample(...).mean() makes them "
            f"regular, {_as_rows(labels, name)}"
        )
    one, places = found
    steps = np.diff(places)
    if (steps == 1).all():
        return Times(stamps, wrap(stamps), one, wrap), order, None
    if not fill:
        _refuse_gap(owner, Times(stamps, wrap(stamps), one, wrap), steps, name)
    stamps = one.at(stamps[0], np.arange(places[-1] + 1))
    labels = wrap(stamps)
    freq = _pandas_freq(labels, freq) if is_index(labels) else None
    return Times(stamps, labels, one, wrap, freq), order, places


class TimesReader:
    """Reads the times of one series after the other; `read_times` with the same options.

    Series often share their times, which are then read once.

    Attributes
    ----------
    unsorted : str or None
        The first series whose rows were not in order of time.
    """

    def __init__(self, owner: Any, **options: Any) -> None:
        self._owner, self._options = owner, options
        self._last: Any = None
        self.unsorted: str | None = None

    def __call__(self, labels: Any, name: str) -> tuple[Times, Array, Array | None]:
        """Return what `read_times` does."""
        if self._last is None or not _same(labels, self._last[0]):
            self._last = labels, read_times(self._owner, labels, name, **self._options)
        found: tuple[Times, Array, Array | None] = self._last[1]
        if self.unsorted is None and (np.diff(found[1]) < 0).any():
            self.unsorted = name
        return found


def refuse_unsorted(owner: Any, unsorted: str | None) -> None:
    """Raise ValueError where rows that have a target or an answer each are not in order of time.

    Targets and answers are in the order of the rows, and arrays of them say no other.
    """
    if unsorted is not None:
        raise ValueError(
            f"{name_of(owner)} expected {unsorted} with its rows, which have a target or an "
            "answer each, in order of time, got them in another; sort_index() or sort_values() "
            "sorts them"
        )


def follow_all(times: list[Times], n: int) -> list[Any]:
    """Return the labels of the `n` steps after each of several series."""
    known: dict[int, Any] = {}
    for one in times:
        if id(one) not in known:
            known[id(one)] = one.follow(n)
    return [known[id(one)] for one in times]


def has_times(X: Any) -> bool:
    """Whether the index of a frame or Series of pandas holds times."""
    return is_pandas(X) and type(X.index).__name__ in (
        "DatetimeIndex",
        "PeriodIndex",
        "TimedeltaIndex",
    )


def is_index(labels: Any) -> bool:
    """Whether labels are an index of pandas."""
    return hasattr(labels, "get_indexer")


def _same(labels: Any, others: Any) -> bool:
    """Whether the times of two series are the same index of pandas."""
    if not is_index(labels) or type(labels) is not type(others) or labels.dtype != others.dtype:
        return False
    return labels.name == others.name and bool(labels.equals(others))


def _readings(owner: Any, labels: Any, name: str) -> list[tuple[Array, Callable[[Array], Any]]]:
    """Return labels as stamps, and the way back; of local times both that of the sun and theirs."""
    if not is_index(labels):
        return _column_readings(owner, labels, name)
    import pandas

    kind, title = type(labels).__name__, labels.name
    if labels.hasnans:
        raise ValueError(f"{name_of(owner)} expected {name} with a time for each row, got NaT")
    if kind == "DatetimeIndex":
        if labels.tz is None:
            return [(labels.to_numpy(), lambda s: pandas.DatetimeIndex(s, name=title, copy=False))]
        zone = labels.tz
        return [
            (
                labels.tz_convert("UTC").tz_localize(None).to_numpy(),
                lambda s: pandas.DatetimeIndex(s, tz="UTC", name=title).tz_convert(zone),
            ),
            (
                labels.tz_localize(None).to_numpy(),
                lambda s: pandas.DatetimeIndex(s, name=title).tz_localize(
                    zone, ambiguous=np.ones(len(s), bool), nonexistent="shift_forward"
                ),
            ),
        ]
    if kind == "PeriodIndex":
        freq = labels.freq
        return [
            (
                labels.asi8,
                lambda s: pandas.PeriodIndex.from_ordinals(s, freq=freq, name=title),
            )
        ]
    if kind == "TimedeltaIndex":
        return [(labels.to_numpy(), lambda s: pandas.TimedeltaIndex(s, name=title))]
    if kind == "RangeIndex":
        return [
            (
                labels.to_numpy(),
                lambda s: pandas.RangeIndex(s[0], s[-1] + 1, _jump(s), name=title),
            )
        ]
    if labels.dtype.kind in "iuf":
        return [(labels.to_numpy(), lambda s: pandas.Index(s, name=title))]
    raise TypeError(
        f"{name_of(owner)} expected {name} with times or numbers as its index, got "
        f"{labels[0]!r}; pandas.to_datetime reads dates from text, {_as_rows(labels, name)}"
    )


def _column_readings(owner: Any, labels: Any, name: str) -> Any:
    dtype = getattr(labels, "dtype", None)
    zone = getattr(dtype, "time_zone", None)  # of polars
    stamps = np.asarray(labels.to_numpy() if hasattr(labels, "to_numpy") else labels)
    if stamps.dtype.kind not in "Mmiuf":
        raise TypeError(
            f"{name_of(owner)} expected {name} of times or numbers, got {stamps[0]!r}; read "
            "dates from text first (polars: .str.to_datetime(), pandas.to_datetime)"
        )
    if stamps.dtype.kind in "Mm" and np.isnat(stamps).any():
        raise ValueError(f"{name_of(owner)} expected {name} with a time for each row, got null")
    if stamps.dtype.kind == "f" and not np.isfinite(stamps).all():
        raise ValueError(f"{name_of(owner)} expected {name} with a time for each row, got NaN")
    if zone is None:
        return [(stamps, lambda s: s)]

    def from_utc(s: Array) -> Any:
        naive = type(labels)(labels.name, s)
        return naive.dt.replace_time_zone("UTC").dt.convert_time_zone(zone).cast(dtype)

    def from_wall(s: Array) -> Any:
        naive = type(labels)(labels.name, s)
        return naive.dt.replace_time_zone(zone, ambiguous="earliest").cast(dtype)

    wall = labels.dt.replace_time_zone(None).to_numpy()
    return [(stamps, from_utc), (wall, from_wall)]


def _check_each_once(owner: Any, stamps: Array, labels: Any, order: Array, name: str) -> None:
    same = np.flatnonzero(stamps[1:] == stamps[:-1])
    if same.size:
        twice = labels[order[same[0]]] if is_index(labels) else stamps[same[0]]
        advice = ""
        if is_index(labels) and " " not in name:
            advice = (
                f"; {name}[~{name}.index.duplicated()] keeps the first of each, "
                f"{name}.groupby(level=0).mean() their mean"
            )
        raise ValueError(
            f"{name_of(owner)} expected {name} with each time once, got {twice} twice{advice}"
        )


def _refuse_gap(owner: Any, times: Times, steps: Array, name: str) -> None:
    i = int(np.argmax(steps > 1))
    lost = int(steps[i]) - 1
    ways, step = [], times.step
    if hasattr(owner, "missing"):
        ways.append("missing='linear' (or 'ffill', 'mean', 'mask') fills it")
    alias = step.alias(times.stamps[0]) if step is not None else None
    if is_index(times.labels) and alias and " " not in name:
        ways.append(f"{name}.asfreq({alias!r}) puts NaN there")
    ways.append(_as_rows(times.labels, name))
    raise ValueError(
        f"{name_of(owner)} expected {name} without gaps in time, got nothing between "
        f"{times.labels[i]} and {times.labels[i + 1]}, where {lost} step{'s' if lost > 1 else ''} "
        f"of {step} should be; {', '.join(ways)}"
    )


def _as_rows(labels: Any, name: str) -> str:
    """Return how to let rows be steps whatever their times."""
    if " " in name:  # one of the series of a long frame
        return "numbers from 0 instead of times count rows as steps"
    call = "reset_index(drop=True)" if is_index(labels) else "drop(its column of times)"
    return f"{name}.{call} counts rows as steps"


def _pandas_freq(index: Any, known: Any) -> Any:
    """Return the step of a rising index of dates that pandas knows, as pandas names it."""
    if type(index).__name__ != "DatetimeIndex":
        return None
    import pandas

    if index.freq is not None and index.freq.n > 0:
        return index.freq
    if len(index) > 2:
        with warnings.catch_warnings():  # of the type that it will return
            warnings.simplefilter("ignore")
            return pandas.tseries.frequencies.to_offset(pandas.infer_freq(index))
    if known is not None:
        expected = pandas.date_range(index[0], periods=len(index), freq=known)
        return known if (expected == index).all() else None
    return None


def _jump(stamps: Array) -> int:
    return int(stamps[1] - stamps[0]) if len(stamps) > 1 else 1
