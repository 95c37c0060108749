"""Forecasts from all steps of series, and what stands before a series that follows that of fit."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import name_of

if TYPE_CHECKING:
    from ..arrays import Array
    from .forms import Given, SeriesSet

KEPT = 100_000  # numbers of an array of `fit` that are remembered, to find a later one in it
ALIKE = 2  # steps that may be the same by chance
JUMP = 3.0  # times the largest change in the series of `fit`: what follows begins no further off


def scored(owner: Any, given: Given, horizon: int) -> tuple[Array, Array]:
    """Return the truth and the forecasts from all origins: two (values, targets) arrays."""
    name = name_of(owner)
    if owner._fitted.learnt_y:
        if given.y is None:
            raise ValueError(f"{name} expected y, the targets of windows X, as in fit")
        windows = owner._windows(given)
        places = windows.ends()
        return _rows(given.y), _rows(owner._forecast(windows, places, horizon))
    given, firsts = _follow(owner, given)
    windows, as_given = owner._windows(given), owner._windows(given, clean=False)
    truths, forecasts = [], []
    for i, (series, first) in enumerate(zip(given.values, firsts, strict=True)):
        last = len(series) - horizon
        if first is None:
            first = max(min(owner._size(), last), owner._least())
            if first > last:
                raise ValueError(
                    f"{name} expected series of at least {owner._least() + horizon} steps, got "
                    f"{len(series)} ({given.form.label(i)})"
                )
        steps = horizon if first <= last else len(series) - first
        places = windows.at(i, first, max(last, first))
        there = as_given.there(places, steps)
        truths.append(_rows(as_given.following(places, steps))[there])
        forecasts.append(_rows(owner._forecast(windows, places, steps))[there])
    return np.concatenate(truths), np.concatenate(forecasts)


def seen_by_fit(given: Given) -> Array | None:
    """Return a copy of what `fit` was given, to find a later X in it; None but for one array."""
    array = given.values[0]
    if given.form.many or given.form.times is not None or array.size > KEPT:
        return None
    return array.copy()


def _follow(owner: Any, given: Given) -> tuple[Given, list[int | None]]:
    """Return series with the steps before them, and the first step of each to be scored."""
    past = owner._recalled()
    first: list[int | None] = [None] * len(given.values)
    if past is None or len(past.values) != len(given.values):
        return given, first
    values, gaps = list(given.values), None if given.gaps is None else list(given.gaps)
    if gaps is None and past.gaps is not None:
        gaps = [np.zeros(v.shape, bool) for v in given.form.values]
    extra = None if given.extra is None else list(given.extra)
    for i, (tail, n, series) in enumerate(
        zip(past.values, owner._past_lengths, values, strict=True)
    ):
        if len(series) >= n and np.array_equal(series[:n][-len(tail) :], tail):
            first[i] = n if len(series) > n else None
            continue
        seen = None if given.form.times is not None else owner._seen_by_fit
        before, place = tail, _place(seen, series)
        if place is None:
            again = _again(past.form, given.form, i, tail, series)
            if again == 0 and (past.form.times is None or given.form.times is None):
                _warn_of_a_jump(owner, tail if seen is None else seen, series)
        elif seen is not None:
            again = 0 if place and extra is None else None
            before = seen[max(place - owner._memory(), 0) : place]
        if again is not None and again < len(series):
            values[i] = np.concatenate([before, series[again:]])
            if gaps is not None:
                known = np.zeros((len(before), gaps[i].shape[1]), bool)
                filled = known if before is not tail or past.gaps is None else past.gaps[i]
                gaps[i] = np.concatenate([filled, gaps[i][again:]])
            if extra is not None and past.extra is not None:
                extra[i] = np.concatenate([past.extra[i], extra[i][again:]])
            first[i] = len(before)
    return given._replace(values=values, extra=extra, gaps=gaps), first


def _again(past: SeriesSet, later: SeriesSet, i: int, tail: Array, series: Array) -> int | None:
    """Return how many steps of a series `fit` had as its last ones, None for another series."""
    if past.times is None or later.times is None:
        if past.many or later.many:
            return None
        ends = np.flatnonzero((series == tail[-1]).all(axis=1))[::-1] + 1
        alike = (q for q in ends if np.array_equal(series[max(q - len(tail), 0) : q], tail[-q:]))
        return next((int(q) for q in alike if q > ALIKE), 0)
    after = np.asarray(later.times[i].labels == past.times[i].follow(1)[0])
    return int(np.argmax(after)) if after.any() else None


def _place(seen: Array | None, series: Array) -> int | None:
    """Return where a series stands in that of `fit`, None where it does not."""
    n = len(series)
    if seen is None or not ALIKE < n <= len(seen):
        return None
    starts = np.flatnonzero((seen[: len(seen) - n + 1] == series[0]).all(axis=1))[::-1]
    return next((int(s) for s in starts if np.array_equal(seen[s : s + n], series)), None)


def _warn_of_a_jump(owner: Any, before: Array, series: Array) -> None:
    """Say so where a series hardly follows another one."""
    changes = np.abs(np.diff(before, axis=0)).max(axis=0, initial=0.0)
    jump = np.abs(series[0] - before[-1])
    if (jump > JUMP * changes)[changes > 0.0].any():
        warnings.warn(
            f"{name_of(owner)}: X is taken to follow the series of fit, but begins with a jump "
            f"larger than any there ({jump.max():.3g}): a fold from before its end, or after a "
            "gap? Folds of TimeSeriesSplit follow; a Series or frame with times says what follows",
            UserWarning,
            stacklevel=4,
        )


def _rows(values: Array) -> Array:
    return values.reshape(-1, values.shape[-1])
