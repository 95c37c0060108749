"""Samples in data frames: a frame for each, or one that holds several."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ..checks import name_of
from .long_frames import refuse_other_names
from .numeric import read_text_by
from .tables import (
    check_names,
    column,
    group,
    is_pandas,
    listed,
    long_names,
    match_names,
    pick,
    refuse_times_first,
    rows,
    rows_of_groups,
    time_column,
)
from .texts import holds_symbols
from .times import TimesReader, has_times

if TYPE_CHECKING:
    from ..arrays import Array


def in_order(read_times: TimesReader, sample: Any, values: Array, when: Any, label: str) -> Array:
    """Return the rows of a sample in order of time, if it says what that is."""
    if has_times(sample):
        labels = sample.index
    elif when is not None:
        labels = column(sample, when)
    else:
        return values
    _, order, _places = read_times(labels, label)
    return values[order]


def from_frame(
    owner: Any, X: Any, name: str, known: list[Any] | None
) -> tuple[list[Any] | None, Any, list[Any] | None, str | None]:
    """Return a frame's columns, and its rows, or the samples of a panel and their ids.

    The last is the first sample whose rows are not in order of time.

    Raises
    ------
    ValueError
        For a frame with times, whose rows are steps rather than samples.
    """
    wanted = f"{name_of(owner)} expected {name}"
    if is_panel(X):
        return _from_panel(owner, X, name, known)
    names = check_names(owner, X, name)
    refuse_other_names(owner, X, name, "samples")
    when = time_column(X)
    if has_times(X) or when is not None:
        got = f"the column {when!r} of times" if when is not None else "an index of times"
        others = f"{name}.drop({when!r})" if when is not None else name
        raise ValueError(
            f"{wanted} as samples, got a frame with {got}: [{name}] is one sample, whose rows are "
            f"time steps; {others}.to_numpy() are {X.shape[0]} samples, whose columns are time "
            "steps"
        )
    for one in names:
        if holds_symbols(column(X, one)):
            first = listed(column(X, one)[:1])[0]
            advice = read_text_by(first) or f"; {name}[{one!r}] are texts, a sample each"
            raise TypeError(
                f"{wanted} of real numbers, got text in the column {one!r}, {first!r} first{advice}"
            )
    return names, rows(owner, X, name, names), None, None


def _from_panel(
    owner: Any, X: Any, name: str, known: list[Any] | None
) -> tuple[list[Any], list[Array], list[Any], str | None]:
    wanted = f"{name_of(owner)} expected {name}"
    if is_pandas(X) and X.index.nlevels > 1:
        refuse_times_first(owner, X, name)
        names, ids = check_names(owner, X, name), X.index.droplevel(-1)
        when, sorting = X.index.get_level_values(-1), f"{name}.sort_index()"
    else:
        long = long_names(X)
        assert long is not None
        names, ids, when = long.values, column(X, long.id), column(X, long.time)
        call = "sort_values" if is_pandas(X) else "sort"
        sorting = f"{name}.{call}({long.id!r})"
        if is_pandas(X):
            import pandas

            when = pandas.Index(when)
    names = match_names(owner, names, known, name)
    values = rows(owner, X, name, names)
    samples, codes = group(owner, ids, f"{name}'s ids")
    try:
        is_sorted = all(a < b for a, b in pairwise(samples))
    except TypeError:
        is_sorted = False
    if not is_sorted:
        raise ValueError(
            f"{wanted} with its samples in the order of their ids, as results come in this order, "
            f"got {samples[:5]}; {sorting} sorts them"
        )
    parts = rows_of_groups(codes)
    arrays, read_times = [], TimesReader(owner, regular=False)
    for one, part in zip(samples, parts, strict=True):
        labels = pick(when, part)
        _, in_time, _places = read_times(labels, f"{name} of {one!r}")
        arrays.append(values[part][in_time])
    return names, arrays, samples, read_times.unsorted


def is_panel(X: Any) -> bool:
    """Whether a frame holds several samples, told by an id or an index of two levels."""
    if is_pandas(X) and X.index.nlevels > 1:
        return True
    return long_names(X) is not None
