"""Series as users give them to forecasters: arrays, lists, and frames of any library."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import name_of
from .forms import SeriesForm, SeriesSet
from .long_frames import refuse_other_names
from .missing import check_finite
from .numeric import as_array, is_missing, refuse_sparse, to_floats
from .tables import (
    ID_NAMES,
    LongNames,
    as_table,
    check_names,
    column,
    group,
    holds_sequences,
    is_column,
    is_frame,
    is_pandas,
    long_names,
    match_names,
    names_of,
    pick,
    refuse_lazy,
    refuse_times_first,
    rows,
    rows_of_groups,
    time_column,
)
from .times import Times, TimesReader, has_times

if TYPE_CHECKING:
    from ..arrays import Array


def read_series(
    owner: Any,
    X: Any,
    name: str = "X",
    *,
    missing: str | None = None,
    seen: SeriesForm | None = None,
    panel: str | None = None,
) -> SeriesSet:
    """Read the series that a forecaster is given.

    * A (time,) array, list of numbers or Series is one series of one feature.
    * A frame is one series, its rows time steps and its columns features; that holds for frames
      with an index of times and for those without. With ``panel="columns"`` each column is a
      series of its own.
    * A frame with an id, a time and a value in each row (`tables.ID_NAMES`, `TIME_NAMES`), or with
      an index of two levels, series and times, holds several series; its other columns are
      features.
    * A (samples, time) array holds series of one feature, a (samples, time, features) array or a
      list of (time, features) arrays, frames or Series several series.

    Times are put in order. They are to come once each and in regular steps.

    Parameters
    ----------
    owner : estimator or str
        For errors.
    X : series
    name : str
        The user's argument.
    missing : {"mask", "linear", "ffill", "mean"}, optional
        With it values and time steps may be missing: `values` then has NaN there, for
        `missing.fill_missing` to fill.
    seen : SeriesForm, optional
        Form of the series of `fit`: columns are matched by name with these, steps compared.
    panel : {"columns", "one"}, optional
        "one": a (time, features) array is one series, as what is known beside one series is.

    Returns
    -------
    SeriesSet

    Raises
    ------
    TypeError, ValueError
        For what can be read in two ways, and names both; for what is not numbers, names it.
    """
    refuse_lazy(owner, X, name)
    reader = _Reader(owner, name, missing is not None, seen)
    series = reader.read(X, panel)
    series.has_missing = check_finite(
        owner,
        series.values,
        None,
        name,
        missing=missing,
        columns=None if series.kind in ("columns", "wide") else series.names,
        steps=series.index,
        samples=series.ids,
        single=not series.many,
        masked=isinstance(X, np.ma.MaskedArray),
    )
    reader.compare(X, series)
    return series


class _Reader:
    """Reads the forms of series, with what they have in common."""

    def __init__(self, owner: Any, name: str, fill: bool, seen: SeriesForm | None) -> None:
        self.owner, self.name, self.fill, self.seen = owner, name, fill, seen
        self.wanted = f"{name_of(owner)} expected {name}"
        step, freq = (None, None) if seen is None else (seen.step, seen.freq)
        self.read_times = TimesReader(owner, fill=fill, step=step, freq=freq)

    def read(self, X: Any, panel: str | None) -> SeriesSet:
        refuse_sparse(self.owner, X, self.name)
        sized = hasattr(X, "__len__") or hasattr(X, "__array__")
        if isinstance(X, (str, bytes, dict, set, np.generic)) or not sized:
            raise TypeError(
                f"{self.wanted} as series (an array, a frame, or a list of them), got "
                f"{type(X).__name__}"
            )
        if is_frame(X):
            return self._table(X, panel)
        if as_table(X) is not X:
            series = self._long_index(as_table(X))
            series.like = X
            return series
        if panel == "columns":
            raise ValueError(
                f"{self.wanted} as a frame with panel='columns', got others; X.T has a row "
                "for each column of an array"
            )
        if is_column(X) and not holds_sequences(X):
            return self._columns([X], X, many=False)
        if is_column(X):
            X = list(X)
        if _is_list(X):
            series = self._list(list(X))
            if panel == "one" and series.kind == "array" and len(series.values) > 1:
                raise ValueError(
                    f"{self.wanted} as one series, an array of two axes, with panel='one', got a "
                    f"list of {len(X)} arrays; np.stack({self.name}) makes one series of them"
                )
            return series
        return self._array(X, panel == "one")

    # ---- frames

    def _table(self, X: Any, panel: str | None) -> SeriesSet:
        if is_pandas(X) and X.index.nlevels > 1:
            return self._long_index(X)
        if panel == "columns":
            return self._wide(X)
        long = long_names(X)
        if long is not None:
            return self._long(X, long)
        self._refuse_ids(X)
        refuse_other_names(self.owner, X, self.name, "one series")
        names = self._features(X)
        when = time_column(X)
        n_rows = X.shape[0]
        if len(names) > n_rows and n_rows:
            each = f"[{self.name}[c] for c in {self.name}.columns]"
            if hasattr(self.owner, "panel"):
                each = "panel='columns'"
            raise ValueError(
                f"{self.wanted} as one series, a row for each time step and a column for each "
                f"feature, got more columns ({len(names)}) than rows ({n_rows}); "
                f"[{self.name}] is this series, {each} takes each column as a series, "
                f"{self.name}.to_numpy() each row"
            )
        values, times = self._one_frame(X, names, when, self.name)
        self._warn_of_counts(X, names)
        long = LongNames(None, when, names, None)
        times = _known([times])
        return SeriesSet([values], "frame", names, None, times, like=X, many=False, long=long)

    def _one_frame(self, X: Any, names: list[Any], when: Any, name: str) -> tuple[Array, Any]:
        """Return the rows of a frame in order of time, and the times if it has any."""
        self._refuse_dates(X, names, name)
        values = rows(self.owner, X, name, names)
        labels = X.index if is_pandas(X) else None if when is None else column(X, when)
        return self._in_order(values, labels, name)

    def _in_order(self, values: Array, labels: Any, name: str) -> tuple[Array, Times | None]:
        if not len(values):
            raise ValueError(
                f"{name_of(self.owner)} expected {name} of at least one step, got none"
            )
        if labels is None:
            return values, None
        times, order, places = self.read_times(labels, name)
        if (order[1:] < order[:-1]).any():
            values = values[order]
        if places is not None:
            spaced = np.full((len(times.stamps), values.shape[1]), np.nan, values.dtype)
            spaced[places] = values
            values = spaced
        return values, times

    def _features(self, X: Any, index: int | None = None) -> list[Any]:
        """Return the columns of a frame that are features, in the order of `fit`."""
        name = self.name if index is None else f"{self.name}[{index}]"
        when = time_column(X)
        names = [n for n in check_names(self.owner, X, name) if n != when]
        return match_names(self.owner, names, self.seen and self.seen.names, name)

    def _refuse_dates(self, X: Any, names: list[Any], name: str) -> None:
        for one in names:
            values = column(X, one)
            kind = getattr(getattr(values, "dtype", None), "kind", "")
            if kind == "M" and is_pandas(X):
                raise TypeError(
                    f"{self.wanted} of real numbers, got dates in the column {one!r}; "
                    f"{name}.set_index({one!r}) makes them the times of its rows"
                )

    def _warn_of_counts(self, X: Any, names: list[Any]) -> None:
        """Say so where a column of `fit`, years for example, counts rows and is forecast."""
        chosen = getattr(self.owner, "targets", None) is not None
        if chosen or self.seen is not None or self.name != "X" or has_times(X):
            return
        counts = [n for n in names if _counts_rows(column(X, n))]
        if counts and len(counts) < len(names):
            makes = f"; X.set_index({counts[0]!r}) makes it the times of rows" * is_pandas(X)
            warnings.warn(
                f"{name_of(self.owner)}: the column {counts[0]!r} of X counts its rows, and is "
                f"taken for a feature that is forecast like the others{makes}; targets= names "
                "what to forecast",
                UserWarning,
                stacklevel=8,
            )

    def _refuse_ids(self, X: Any) -> None:
        ids = [n for n in names_of(X) if str(n).lower() in ID_NAMES]
        if not ids:
            return
        long = f"{self.name}.reset_index(names='time')" if has_times(X) else "a column 'time'"
        raise ValueError(
            f"{self.wanted} as one series, or as a long frame with the columns id, time and "
            f"values, got a column {ids[0]!r} without a column of times; {long} makes it a "
            f"long frame, another name makes {ids[0]!r} a feature"
        )

    def _wide(self, X: Any) -> SeriesSet:
        when = time_column(X)
        ids = [n for n in check_names(self.owner, X, self.name) if n != when]
        values, times = self._one_frame(X, ids, when, self.name)
        self._warn_of_counts(X, ids)
        each = [values[:, i : i + 1] for i in range(len(ids))]
        long = LongNames(None, when, ids, None)
        return SeriesSet(each, "wide", None, ids, _known([times] * len(ids)), like=X, long=long)

    def _long(self, X: Any, long: LongNames) -> SeriesSet:
        names = match_names(self.owner, long.values, self.seen and self.seen.names, self.name)
        self._refuse_dates(X, names, self.name)
        values = rows(self.owner, X, self.name, names)
        ids, codes = group(self.owner, column(X, long.id), f"{self.name}[{long.id!r}]")
        when = column(X, long.time)
        if is_pandas(X):
            import pandas

            when = pandas.Index(when)
        return self._several(X, values, names, ids, codes, when, long)

    def _long_index(self, X: Any) -> SeriesSet:
        refuse_times_first(self.owner, X, self.name)
        names = self._features(X)
        values = rows(self.owner, X, self.name, names)
        ids, codes = group(self.owner, X.index.droplevel(-1), f"{self.name}.index")
        when = X.index.get_level_values(-1)
        long = LongNames(None, None, names, None)
        return self._several(X, values, names, ids, codes, when, long)

    def _several(
        self,
        X: Any,
        values: Array,
        names: list[Any],
        ids: list[Any],
        codes: Array,
        when: Any,
        long: LongNames,
    ) -> SeriesSet:
        parts = rows_of_groups(codes)
        each: list[Array] = []
        times: list[Times | None] = []
        for one, part in zip(ids, parts, strict=True):
            labels = pick(when, part)
            some, at = self._in_order(values[part], labels, f"{self.name} of {one!r}")
            each.append(some)
            times.append(at)
        series = SeriesSet(each, "long", names, ids, _known(times), like=X, long=long)
        series.target = None if long.target is None else names.index(long.target)
        return series

    def _refuse_levels(self, X: Any, name: str) -> None:
        what = "frame" if is_frame(X) else "Series"
        raise ValueError(
            f"{self.wanted} as one {what} of several series, or as a list of {what}"
            f"{'s' * (what == 'frame')} of one series, got an index of {X.index.nlevels} levels in "
            f"{name}"
        )

    # ---- Series, lists and arrays

    def _columns(self, columns: list[Any], like: Any, many: bool) -> SeriesSet:
        each, times = [], []
        for i, one in enumerate(columns):
            name = f"{self.name}[{i}]" if many else self.name
            if as_table(one) is not one:
                self._refuse_levels(one, name)
            values = to_floats(self.owner, one, name)[:, np.newaxis]
            some, at = self._in_order(values, one.index if is_pandas(one) else None, name)
            each.append(some)
            times.append(at)
        names = [getattr(columns[0], "name", None)]
        return SeriesSet(each, "columns", names, None, _known(times), like=like, many=many)

    def _list(self, X: list[Any]) -> SeriesSet:
        if not X:
            raise ValueError(f"{self.wanted} of at least one series, got none")
        if all(map(is_frame, X)):
            first = self._features(X[0], 0)
            self._warn_of_counts(X[0], first)
            seen, self.seen = self.seen, (self.seen or SeriesForm(len(first)))._replace(names=first)
            each, times = [], []
            for i, frame in enumerate(X):
                if is_pandas(frame) and frame.index.nlevels > 1:
                    self._refuse_levels(frame, f"{self.name}[{i}]")
                names, name = self._features(frame, i), f"{self.name}[{i}]"
                some, at = self._one_frame(frame, names, time_column(frame), name)
                each.append(some)
                times.append(at)
            self.seen = seen
            long = LongNames(None, time_column(X[0]), first, None)
            return SeriesSet(each, "frames", first, None, _known(times), like=X, long=long)
        if all(map(is_column, X)):
            return self._columns(X, X, many=True)
        for i, one in enumerate(X):
            if is_frame(one) or is_column(one):
                raise TypeError(
                    f"{self.wanted} of frames, of Series or of arrays, got a mixture: "
                    f"{self.name}[{i}] is a {type(one).__name__}"
                )
        return self._arrays(X)

    def _arrays(self, X: list[Any]) -> SeriesSet:
        arrays = []
        for i, one in enumerate(X):
            if is_missing(one):
                raise ValueError(f"{self.wanted} of series, got {one!r} at {self.name}[{i}]")
            array = to_floats(self.owner, one, f"{self.name}[{i}]")
            if array.ndim not in (1, 2) or 0 in array.shape:
                raise ValueError(
                    f"{name_of(self.owner)} expected {self.name}[{i}] as (time, features) or "
                    f"(time,) with at least one step and feature, got shape {array.shape}"
                )
            arrays.append(array)
        flat = arrays[0].ndim == 1
        arrays = [a[:, np.newaxis] if a.ndim == 1 else a for a in arrays]
        for i, array in enumerate(arrays):
            if array.shape[1] != arrays[0].shape[1]:
                raise ValueError(
                    f"{name_of(self.owner)} expected {self.name}[{i}] of {arrays[0].shape[1]} "
                    f"features at each step, as {self.name}[0] has, got {array.shape[1]}"
                )
        return SeriesSet(arrays, "array" if flat else "list")

    def _array(self, X: Any, one_series: bool) -> SeriesSet:
        array, called = to_floats(self.owner, X, self.name), as_array(X, self.name)
        wanted = f"{self.wanted} as (samples, time, features), (samples, time) or (time,)"
        if array.ndim not in (1, 2, 3) or 0 in array.shape[1:]:
            raise ValueError(
                f"{wanted} with at least one step and feature, got shape {array.shape}"
            )
        if not len(array):
            raise ValueError(f"{wanted} with at least one step and sample, got shape {array.shape}")
        if array.ndim == 1:
            return SeriesSet([array[:, np.newaxis]], "single", many=False)
        if array.ndim == 3:
            return SeriesSet(list(array), "cube")
        if one_series:
            return SeriesSet([array], "list", many=False)
        n, steps = array.shape
        if steps == 1 < n or (n >= 50 and steps < 10 and n >= 10 * steps):
            one = f"{called}[:, 0]" if steps == 1 else f"{called}[np.newaxis]"
            raise ValueError(
                f"{self.wanted} as (samples, time), or else with three axes, got shape "
                f"{array.shape}: "
                f"{one} is one series of {n} steps and {steps} "
                f"feature{'s' if steps > 1 else ''}, {called}[..., np.newaxis] are {n} series "
                f"of {steps} step{'s' if steps > 1 else ''}"
            )
        return SeriesSet(list(array[..., np.newaxis]), "array")

    # ---- against fit

    def compare(self, X: Any, series: SeriesSet) -> None:
        """Raise ValueError where series are not of the form of those of `fit`."""
        seen, form = self.seen, series.form
        if seen is None:
            return
        if form.n_features != seen.n_features:
            advice = ""
            if series.kind == "array" and len(series.values[0]) == seen.n_features:
                one = f"{as_array(X, self.name)}[np.newaxis]"
                advice = f"; {one} is one series of {len(series.values)} steps"
            elif series.kind in ("cube", "list") and all(
                len(v) == seen.n_features for v in series.values
            ):
                advice = f"; np.swapaxes({self.name}, 1, 2) puts the time first"
            raise ValueError(
                f"{self.wanted} of {seen.n_features} features at each step, as in fit, got "
                f"{form.n_features}{advice}"
            )
        long_enough = max(map(len, series.values)) > 2
        if seen.step and form.step and long_enough and seen.step != form.step:
            raise ValueError(
                f"{self.wanted} in steps of {seen.step}, as in fit, got steps of {form.step}"
            )


def _counts_rows(values: Any) -> bool:
    """Whether a column holds integers of which each is as far from the one before."""
    kind = str(getattr(values, "dtype", getattr(values, "type", ""))).lower()
    if kind.rstrip("0123456789") not in ("int", "uint"):
        return False
    steps = np.diff(to_floats("X", values, "X"))
    return len(steps) > 1 and bool(steps[0]) and bool((steps == steps[0]).all())


def _known(times: list[Times | None]) -> list[Times] | None:
    known = [t for t in times if t is not None]
    return known if len(known) == len(times) else None


def _is_list(X: Any) -> bool:
    """Whether X is a list of series, rather than numbers or nested lists that make one array."""
    if isinstance(X, np.ndarray):
        return X.dtype == object and X.ndim == 1 and any(hasattr(s, "__len__") for s in X)
    if not isinstance(X, (list, tuple)):
        return False
    if not X or any((hasattr(s, "ndim") and s.ndim) or is_column(s) or is_frame(s) for s in X):
        return True
    return len({len(s) if hasattr(s, "__len__") else None for s in X}) > 1
