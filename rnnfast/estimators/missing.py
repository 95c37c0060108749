"""Values that are missing: where the first one is, and what may stand in for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import name_of

if TYPE_CHECKING:
    from ..arrays import Array

MISSING = ("mask", "linear", "ffill", "mean")
FAR, ALONE = 8.0 * 1.4826, 10.0  # median deviations, and times the other values: gross outliers
RARE, LEAST = 500, 20  # steps with one gross outlier; steps that tell what one is
FEW = 3  # gross outliers of a short series at most
MOST = 0.05  # of the steps, that may have gross outliers
AROUND = 8  # known values on each side, of which a series has the mean where one is missing


def check_finite(
    owner: Any,
    x: Any,
    lengths: Array | None = None,
    name: str = "X",
    *,
    missing: str | None = None,
    columns: Sequence[Any] | None = None,
    steps: Sequence[Any] | None = None,
    samples: Sequence[Any] | None = None,
    single: bool = False,
    masked: bool = False,
) -> bool:
    """Check that numbers are finite, but for missing ones where `missing` says what to do.

    Parameters
    ----------
    owner : estimator or str
        For errors.
    x : (samples, time, features) array, or list of (time, features) arrays
    lengths : (samples,) array of int, optional
        What is past the end of a sample may be anything.
    name : str
        How the user knows x.
    missing : one of `MISSING`, optional
        With it NaN may be there; infinite numbers never.
    columns : sequence, optional
        Names of the features.
    steps : sequence, optional
        Names of the time steps: an index for each sample.
    samples : sequence, optional
        Names of the samples.
    single : bool
        Whether x is one series of a user who knows of no samples.
    masked : bool
        Whether what is missing was masked, rather than NaN.

    Returns
    -------
    bool
        Whether any value is missing.

    Raises
    ------
    ValueError
        Names the sample, step and column of the first wrong value.
    """
    any_missing = False
    whole = isinstance(x, np.ndarray)
    if whole and _all_finite(x):
        return False
    for i, sample in enumerate(x):
        if lengths is not None:
            sample = sample[: lengths[i]]
        if _all_finite(sample):
            continue
        wrong = np.isinf(sample) if missing else ~np.isfinite(sample)
        if wrong.any():
            step, column = np.unravel_index(int(wrong.argmax()), wrong.shape)
            got = "NaN" if np.isnan(sample[step, column]) else "inf"
            named = f"sample {i}" if samples is None else f"sample {i} ({samples[i]!r})"
            place = f"step {step}" if single else f"{named}, step {step}"
            if steps is not None and steps[i] is not None:
                place += f" ({steps[i][int(step)]})"
            if sample.shape[1] > 1 or columns is not None:
                place += f", column {column}"
            if columns is not None:
                place += f" ({columns[int(column)]!r})"
            advice = _advice(owner, name, sample, lengths) if got == "NaN" else ""
            got = "a masked value" if masked and got == "NaN" else got
            raise ValueError(
                f"{name_of(owner)} expected {name} of finite numbers, got {got} in {place}{advice}"
            )
        any_missing = True
    return any_missing


def feature_means(owner: Any, values: Sequence[Array], names: Sequence[Any] | None) -> Array:
    """Return the mean of each feature of (time, features) series, over what is not missing."""
    together = np.concatenate(values)
    empty = np.isnan(together).all(axis=0)
    if empty.any():
        k = int(np.argmax(empty))
        name = f"column {k}" if names is None else f"the column {names[k]!r}"
        raise ValueError(
            f"{name_of(owner)} expected X with a value of each feature, got none of {name}"
        )
    return np.asarray(np.nanmean(together, axis=0))


def means_around(values: Array, means: Array) -> Array:
    """Return the mean of the `AROUND` known values before and after each step: (time, features).

    Features without any value have those of `means`.
    """
    around = np.tile(np.asarray(means, np.float64), (len(values), 1))
    for k, column in enumerate(values.T):
        there = np.flatnonzero(~np.isnan(column))
        if there.size:
            sums = np.concatenate([[0.0], np.cumsum(column[there], dtype=np.float64)])
            before = np.searchsorted(there, np.arange(len(column)))
            low, high = np.maximum(before - AROUND, 0), np.minimum(before + AROUND, there.size)
            around[:, k] = (sums[high] - sums[low]) / (high - low)
    return around


def gross_outliers(values: Array) -> Array:
    """Return which values of (time, features) cannot be meant: (time, features) of bool.

    They are further from the median than eight deviations (of a normal distribution, by the median
    absolute deviation), and ten times as far as all values that are none. There are at most `FEW`
    of them or one in `RARE` steps, and no more than `MOST` of the steps: growth and jumps of level
    are no outliers. Peaks of about the same height are none where they come at intervals, or one
    after another at the end. The same number in up to `MOST` of the steps counts as one, as devices
    write 9999 for what they have not measured, unless it comes at intervals.
    """
    n = len(values)
    wrong = np.zeros(values.shape, bool)
    most = max(1, n // RARE, min(FEW, int(MOST * n)))
    if n - 1 - most < LEAST:
        return wrong
    median = np.median(values, axis=0)
    far = np.abs(values - median)
    usual = np.median(far, axis=0)
    for k in np.flatnonzero((far.max(axis=0) > FAR * usual) & (usual > 0)):
        column = values[:, k]
        numbers, first, times = np.unique(column, return_index=True, return_counts=True)
        same = (times > 1) & (times <= MOST * n) & (far[first, k] > FAR * usual[k])
        again = [
            bool(s) and _comes_again(np.flatnonzero(column == v), n)
            for v, s in zip(numbers, same, strict=True)
        ]
        once = np.repeat(far[first, k], np.where(same & ~np.array(again), 1, times))
        if len(once) - 1 - most < LEAST:
            continue
        once = np.sort(once)[-most - 1 :]
        last = np.inf
        for least in once[1:][once[1:] > np.maximum(FAR * usual[k], ALONE * once[:-1])][::-1]:
            places = np.flatnonzero((far[:, k] >= least) & (far[:, k] < last))
            wrong[places, k] = not _is_meant(column[places] - median[k], places, n)
            last = least
    return wrong


def stand_in(column: Array) -> float | None:
    """Return the number of a (time,) series that may stand for what is missing, None without one.

    It is the least or the greatest, comes more than twice but in no more than half of the steps
    and not at intervals, and is further from the others, of ten different numbers at least, than
    they are from each other. For 999 and 9999 (with a sign, with decimals) twice is enough, at
    intervals or not, and a tenth of that distance.
    """
    if len(column) < LEAST:
        return None
    for number in (float(column.min()), float(column.max())):
        there = column == number
        nines = set(str(int(abs(number)))) == {"9"} and abs(number) >= 999
        times = int(there.sum())
        if times < (2 if nines else 3) or 2 * times > len(column):
            continue
        rest = column[~there]
        gap, span = np.abs(rest - number).min(), np.ptp(rest)
        far = gap > (0.1 if nines else 1.0) * span and len(np.unique(rest)) >= 10
        if far and (nines or not _comes_again(np.flatnonzero(there), len(column))):
            return number
    return None


def _is_meant(off: Array, places: Array, n: int) -> bool:
    """Whether far values, `off` from the median, are peaks that come again or a new level."""
    low, high = np.sort(off)[[0, -1]]
    if len(off) == 1 or low * high < 0 or min(abs(low), abs(high)) < 0.5 * max(abs(low), abs(high)):
        return False
    level = low < high and places[0] == n - len(places)
    return bool(level) or _comes_again(places, n)


def _comes_again(places: Array, n: int) -> bool:
    """Whether places of n steps are at intervals, as far as the steps go."""
    between = np.diff(places)
    usual = float(np.median(between))
    even = (np.abs(between - usual) <= max(1.0, min(0.1 * usual, 3.0))).all()  # months, too
    room = max(int(places[0]), n - 1 - int(places[-1]))  # for another one
    return bool(even and 2 * usual <= n and room <= 1.1 * usual)


def fill_missing(x: Any, lengths: Array | None, how: str, means: Any = None) -> Any:
    """Return sequences with something in place of what is missing (NaN).

    Parameters
    ----------
    x : (samples, time, features) array, or list of (time, features) arrays
        Not changed.
    lengths : (samples,) array of int, or None
        Real steps of each sample of an array.
    how : {"linear", "ffill", "mean"}
        "linear": a straight line between the steps around a gap; before the first value and after
        the last one, that value. "ffill": the last value before; before the first one, that value.
        "mean": the feature's mean.
    means : (features,) array_like, or (time, features), optional
        Means of the features in `fit`, default 0: that of features that are scaled. A sample
        without any value of a feature gets its mean whatever `how` says; with NaN for means it
        stays as it is.

    Returns
    -------
    array or list
        x itself where nothing is missing. Past a sample's end the array is 0.
    """
    if not isinstance(x, np.ndarray):
        return [fill_missing(s[np.newaxis], None, how, means)[0] for s in x]
    gaps = np.isnan(x)
    if lengths is not None:
        past = np.arange(x.shape[1]) >= np.asarray(lengths)[:, np.newaxis]
        gaps &= ~past[..., np.newaxis]
        if past.any() and x[past].any():
            x = np.where(past[..., np.newaxis], x.dtype.type(0), x)
    if gaps.any():
        x = x.copy()
        if how != "mean":
            ends = np.full(len(x), x.shape[1]) if lengths is None else lengths
            for i, feature in np.argwhere(gaps.any(axis=1)):
                _bridge(x[i, : ends[i], feature], how)
        left = gaps if how == "mean" else np.isnan(x)
        stand_in = np.asarray(0.0 if means is None else means).astype(x.dtype)
        x[left] = np.broadcast_to(stand_in, x.shape)[left]
    return x


def _bridge(values: Array, how: str) -> None:
    """Fill the gaps of one feature of one sample (time,) in place, if there is any value."""
    there = np.flatnonzero(~np.isnan(values))
    if not there.size:
        return
    steps = np.arange(len(values))
    if how == "linear":
        values[:] = np.interp(steps, there, values[there])
    else:
        latest = np.searchsorted(there, steps, side="right") - 1
        values[:] = values[there[np.maximum(latest, 0)]]


def _all_finite(x: Array) -> bool:
    """Whether all numbers are finite, without an array of their size where they are."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(x.sum()):
            return True
    return bool(np.isfinite(x).all())


def _advice(owner: Any, name: str, sample: Array, lengths: Array | None) -> str:
    advice = ""
    if hasattr(owner, "missing") and name != "y":
        *others, last = map(repr, MISSING)
        advice = f"; missing={', '.join(others)} or {last} would take it"
    padded = lengths is None and not hasattr(owner, "horizon")  # forecasters know no lengths=
    if padded and len(sample) > 1 and np.isnan(sample[-1]).all():
        advice += "; where NaN is padding, lengths= tells the steps of each sample"
    return advice
