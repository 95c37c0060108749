"""The season of series: after how many steps what they do comes again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ..arrays import Array

LONGEST = 1000  # steps of a season that is looked for
STEPS = 10_000  # the last ones, of all series together, that are looked at
SERIES = 20
ALIKE = 0.85  # autocorrelation of a season that is seen fewer than four times
CUSTOMARY = (4, 7, 12, 24, 48, 52, 96, 144, 168, 288, 336, 365)  # quarters, days, hours, ...
DAYS = (24, 48, 96)  # of steps within a day; seven of them may be a week
CLEARER = 0.7  # of what a day before leaves unexplained, a week before leaves less
AGREED, APART = 0.7, 0.2  # correlations one and half a season before, of one that is seen twice
CLEAR = 0.5  # autocorrelation of a season, below which noise may have moved the peaks
FAINT, AGAIN, SURE = 0.1, 8, 4.5  # of customary seasons in noise: autocorrelation, times, errors


def find_season(series: list[Array]) -> int:
    """Return the season of series, 1 where there is none.

    The autocorrelation at a lag is that of the series less their moving average over as many steps,
    so that a trend is not taken for a season. The season is the shortest lag at a peak that is
    nearly as high as the highest, of peaks that random walks and white noise do not reach (the
    limits are 99% points found by simulation). Where a customary season (12 months, 24 hours) is
    next to it and as high, that is it. Seven days are the season instead of one where the same
    time a week before clearly tells more than that of any day between. Where noise hides peaks or
    moves them, it is the shortest customary season whose multiples show it as well.

    Parameters
    ----------
    series : list of (time,) arrays

    Returns
    -------
    int
        At most a third of the length of the series; a customary one of 12 steps or more, where the
        second is clearly the first again, at most half.
    """
    kept = sorted(series, key=len)[-SERIES:]
    kept = [np.asarray(s[-STEPS // len(kept) :], np.float64) for s in kept]
    kept = [s for s in kept if s.std() > 1e-12 * np.abs(s).max(initial=0.0)]
    if not kept:
        return 1
    n = float(np.median([len(s) for s in kept]))
    top = min(int(n) // 3, LONGEST)
    if top < 2:
        return 1
    lags = np.arange(2, top + 2)
    heights = np.mean([[_autocorrelation(s, int(m), int(m)) for m in lags] for s in kept], axis=0)
    one_step = np.mean([_autocorrelation(s, 2, 1) for s in kept])
    steps = n * len(kept)
    limits = np.maximum(np.maximum(1.25 * np.sqrt(lags / steps), 3.3 / np.sqrt(steps)), 0.3)
    limits[0] += 0.2  # the moving average of two steps alone gives noise some
    limits = np.where(lags > steps / 4, np.maximum(limits, ALIKE), limits)
    before = np.concatenate([[one_step], heights[:-1]])
    peaks = (heights >= before)[:-1] & (heights[:-1] >= heights[1:]) & (heights > limits)[:-1]
    best = heights[:-1][peaks].max(initial=0.0)
    faint = _faint_season(kept, n) if best < CLEAR else 1
    if faint > 1 or not peaks.any():
        return faint if faint > 1 else _season_seen_twice(kept, n)
    season = int(lags[:-1][peaks & (heights[:-1] >= 0.75 * best)][0])
    for usual in CUSTOMARY:
        near = abs(usual - season) <= max(1, 0.03 * season) and usual <= top
        if near and heights[usual - 2] >= 0.95 * heights[season - 2]:
            season = usual
            break
    if season in DAYS and 7 * season <= top:
        lags = season * np.arange(1, 8)
        left = 1.0 - np.mean(
            [[_autocorrelation(s, 7 * season, int(m)) for m in lags] for s in kept], axis=0
        )
        season = 7 * season if left[-1] < CLEARER * left[:-1].min() else season
    return season


def _season_seen_twice(kept: list[Array], n: float) -> int:
    """Return the customary season that series of two to three seasons clearly repeat, or 1.

    Of random walks and noise of such lengths fewer than one in a hundred do; cycles of about as
    many steps do more often.
    """
    for m in CUSTOMARY:
        if m < 12 or not 2 * m + 2 <= n < 3 * m:
            continue
        found = []
        for s in kept:
            t = np.arange(len(s))
            rest = s - np.polyval(np.polyfit(t, s, 1), t)
            if len(s) >= 2 * m + 2 and rest.std() > 1e-9 * s.std():
                lags = (m // 2, m - 1, m, m + 1)
                found.append([float(np.corrcoef(rest[k:], rest[:-k])[0, 1]) for k in lags])
        if found:
            half, before, at, after = np.nan_to_num(np.mean(found, axis=0))
            if at > AGREED and at >= max(before, after) and half < APART:
                return m
    return 1


def _faint_season(kept: list[Array], n: float) -> int:
    """Return the shortest customary season of series in strong noise, 1 where there is none.

    Its multiples are averaged, which noise does not survive, nor what wanders: of the lags beside
    it, too, the means are less.
    """
    for m in CUSTOMARY:
        times = np.arange(1, min(int(n) // (3 * m), AGAIN) + 1)
        if len(times) < 3:
            break
        before, at, after = (
            np.mean([[_autocorrelation(s, m, int(k)) for k in lag * times] for s in kept], axis=0)
            for lag in (m - 1, m, m + 1)
        )
        limit = max(FAINT, SURE / np.sqrt(n * len(kept) * len(times)), np.sqrt(m / n))
        if at.mean() > max(limit, before.mean(), after.mean()) and at.min() > 0.5 * at.mean():
            return m
    return 1


def _autocorrelation(y: Array, size: int, lag: int) -> float:
    """Return the autocorrelation of (time,) less its centred moving average of `size` steps."""
    if len(y) < 2 * size + 3:
        return 0.0
    sums = np.concatenate([[0.0], np.cumsum(y - y.mean())])
    means: Any = (sums[size:] - sums[:-size]) / size
    if size % 2 == 0:
        means = (means[1:] + means[:-1]) / 2
    rest = y[size // 2 : size // 2 + len(means)] - y.mean() - means
    rest = rest - rest.mean()
    variance = np.mean(rest**2)
    return float(np.mean(rest[lag:] * rest[:-lag]) / variance) if variance > 0 else 0.0
