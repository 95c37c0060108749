"""Ways of forecasting that a `Forecaster` chooses among, and how it measures them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .levels import KINDS, SEASONAL, Levels
from .linear import Ridge
from .simple import last_season
from .smoothing import Smoothing
from .windows import Samples

if TYPE_CHECKING:
    from ..arrays import Array
    from .windows import Windows

    Block = Callable[[Array, Array | None, Array | None], Array]

ROWS = 8192  # windows that a linear path learns from at least, if there are as many
WIDEST = 1000  # features of a linear path, beyond which it leaves out exogenous values of the past
MEMORY = 8  # seasons that are smoothed
UNLIKELY = {"none": 0.3, "ratio": 0.3}  # weights of levels before a backtest; the others' are 1
FORECASTS = 300  # of a backtest at most
# Weights before a backtest, for the fewest errors on the earlier parts of some twenty short series:
# errors of few origins choose worse than no choice.
BEFOREHAND, NAIVE = {"smoothing": 0.65, "pair": 0.35}, 0.1


class LinearPath:
    """Ridge regression from windows to what follows, in the units of each window.

    Parameters
    ----------
    levels : Levels
    ahead : int
    """

    def __init__(self, levels: Levels, ahead: int) -> None:
        self.levels, self.ahead = levels, ahead

    def fit(self, windows: Windows, places: Array) -> LinearPath:
        """Learn from windows at places, evenly chosen where there are very many."""
        size, n = windows.size, windows.flat.shape[1]
        known = windows.known(places[:1], self.ahead)
        wide = size * n + (0 if known is None else known[0].size)
        self._whole = wide <= WIDEST
        enough = max(ROWS, 4 * wide)
        ridge = Ridge()
        for chunk in windows.chunks(places[:: max(1, len(places) // enough)]):
            x = windows.context(chunk)
            level, unit = self.levels.of(x)
            y = self.levels.target(windows.following(chunk, self.ahead), level, unit)
            scaled = self.levels.scaled(x, level, unit)
            known = self.levels.known(windows.known(chunk, self.ahead))
            rows = self._rows(scaled, known, self.levels.fixed(windows.static(chunk)))
            ridge.add(rows, y.reshape(len(y), -1), self.levels.trust(windows, chunk))
        self.ridge = ridge.solve()
        return self

    def __call__(self, x: Array, known: Array | None, static: Array | None) -> Array:
        """Return the (n, ahead, targets) that follow windows (n, size, features)."""
        level, unit = self.levels.of(x)
        known, static = self.levels.known(known), self.levels.fixed(static)
        y = self.ridge(self._rows(self.levels.scaled(x, level, unit), known, static))
        return self.levels.inverse(y.reshape(len(x), self.ahead, -1), level, unit)

    def _rows(self, x: Array, known: Array | None, static: Array | None) -> Array:
        parts = [x.reshape(len(x), -1)]
        if known is not None:
            kept = known if self._whole else known[:, -self.ahead :]
            parts.append(kept.reshape(len(x), -1))
        if static is not None:
            parts.append(static)
        return np.concatenate(parts, axis=1)


class LinearMean:
    """The weighted mean of linear paths on windows free of different things.

    Parameters
    ----------
    shares : dict of str to float
        The weight of each kind of levels.
    """

    def __init__(self, shares: dict[str, float]) -> None:
        self.shares = {kind: share for kind, share in shares.items() if share > 0}

    @property
    def levels(self) -> Levels:
        """Those of the largest share."""
        return self.paths[int(np.argmax(list(self.shares.values())))].levels

    def fit(self, owner: Any, windows: Windows, places: Array, ahead: int) -> LinearMean:
        """Learn from windows at places."""
        self.paths, self.ahead = [], ahead
        for kind in self.shares:
            season = owner._fitted.season
            levels = Levels(owner, kind, owner.standardize, windows.targets, season)
            levels.fit(windows, places)
            self.paths.append(LinearPath(levels, ahead).fit(windows, places))
        return self

    def __call__(self, x: Array, known: Array | None, static: Array | None) -> Array:
        """Return the (n, ahead, targets) that follow windows (n, size, features)."""
        shares = self.shares.values()
        return np.sum(
            [w * path(x, known, static) for w, path in zip(shares, self.paths, strict=True)], axis=0
        )


class Smoothed:
    """Exponential smoothing of each target by itself.

    Of positive values the forecast is the mean of two: the season (without one, the trend) is added
    to the level in one, and multiplies it in the other. A few origins cannot tell which is better.

    Parameters
    ----------
    season : int
    memory : int
        Steps of a context that are smoothed at most.
    """

    def __init__(self, season: int, memory: int) -> None:
        self.season, self.memory = season, memory

    def fit(self, windows: Windows, ends: Array) -> Smoothed:
        """Choose the settings for the targets of series, each up to some step, 0 for none of it."""
        parts = [
            slice(start + max(0, end - 4 * self.memory), start + end)
            for start, end in zip(windows.starts, ends, strict=True)
            if end > 0
        ]
        self.each = []
        for i, k in enumerate(windows.targets):
            some = [windows.flat[part, k] for part in parts]
            gaps = None if windows.gaps is None else [windows.gaps[part, i] for part in parts]
            forms = (False, True) if all(s.min() > 0 for s in some) else (False,)
            self.each.append([Smoothing(self.season, form).fit(some, gaps) for form in forms])
        return self

    def forecast(self, windows: Windows, places: Array, steps: int) -> Array:
        """Return the (n, steps, targets) that follow places."""
        given = np.minimum(windows.steps(places), self.memory)
        y = np.zeros((len(places), steps, len(windows.targets)))
        for length in np.unique(given):
            some = np.flatnonzero(given == length)
            context = windows.context(places[some], int(length))
            gaps = windows.missing(places[some], int(length))
            for k, (smoothings, column) in enumerate(zip(self.each, windows.targets, strict=True)):
                missing = None if gaps is None else gaps[..., k]
                found = [s.forecast(context[..., column], steps, missing) for s in smoothings]
                y[some, :, k] = np.mean(found, axis=0)
        short = self.too_short(windows, places)
        if short.any():
            y[short] = last_season(windows, places[short], steps, self.season)
        return y

    def too_short(self, windows: Windows, places: Array) -> Array:
        """Return at which places less than two seasons are known: too few to smooth a season.

        Last seasons stand in for the forecasts there.
        """
        seasonal = any(s.season > 1 for smoothings in self.each for s in smoothings)
        return np.asarray(seasonal & (windows.steps(places) < 2 * self.season))


def roll(block: Block, windows: Windows, places: Array, steps: int, ahead: int) -> Array:
    """Return the (n, steps, targets) that follow places, forecasts of a block fed back.

    ``block(x, known, static)`` returns the (n, ahead, targets) that follow windows x. `steps` are
    more than these where all features are targets, but for those that tell what is missing.
    """
    x, known, static = windows.context(places), windows.known(places, steps), windows.static(places)
    size = x.shape[1]
    x = np.asarray(x, np.float64)
    parts = []
    for start in range(0, steps, ahead):
        some = None if known is None else _upto(known[:, start:], size + ahead)
        y = block(x, some, static)
        parts.append(y)
        if start + ahead < steps:
            nothing = np.zeros((*y.shape[:2], x.shape[2] - y.shape[2]))  # is missing of it
            x = np.concatenate([x, np.concatenate([y, nothing], axis=2)], axis=1)[:, -size:]
    return np.concatenate(parts, axis=1)[:, :steps]


def _upto(known: Array, size: int) -> Array:
    """Return the first `size` steps, the last one again where there are fewer."""
    return known[:, np.minimum(np.arange(size), known.shape[1] - 1)]


def kinds_of_levels(windows: Windows, season: int) -> tuple[str, ...]:
    """Return what the windows of linear paths are made free of.

    Windows of a single series are not divided by their own deviation, which the shortest ones tell
    badly (benchmarks/forecast_corpus.py measures what these kinds give together).
    """
    if len(windows.lengths) > 1 or isinstance(windows, Samples):
        return KINDS
    return "level", "ratio", "none", *(SEASONAL if 1 < season <= windows.size - 2 else ())


def likeliest(shares: Mapping[str, float]) -> str:
    """Return the kind of levels with the largest share of those that a network can have."""
    kinds = [kind for kind in shares if kind in KINDS]
    return max(kinds, key=lambda kind: shares[kind])


def measure_levels(
    owner: Any,
    kinds: tuple[str, ...],
    windows: Windows,
    early: Array,
    test: Array,
    error: Callable[[Array], float],
) -> tuple[dict[str, Array], dict[str, float]]:
    """Return the forecasts at `test` of linear paths for each kind of levels, and their errors."""
    forecasts, errors = {}, {}
    for kind in kinds:
        path = LinearMean({kind: 1.0}).fit(owner, windows, early, windows.ahead)
        forecasts[kind] = roll(path, windows, test, windows.ahead, windows.ahead)
        errors[kind] = error(forecasts[kind])
    return forecasts, errors


def split_end(
    windows: Windows, places: Array, horizon: int, season: int
) -> tuple[Array, Array, Array]:
    """Return places to learn from, later ones to forecast from, and the first step of the latter.

    The later ones are about the last three tenths of each series, at most ten horizons or three
    seasons; where series are too short for that their last horizon, or else a fifth of the series.

    Returns
    -------
    early, test : arrays of places
        Empty where there are too few places for both. Windows and targets at `early` end before
        those of `test` begin to be forecast.
    cuts : (series,) array of int
        0 for series that are forecast only.
    """
    which = windows.series_of(places)
    steps = windows.steps(places)
    last = np.zeros(len(windows.lengths), int)
    np.maximum.at(last, which, steps)
    ends = last + horizon
    most = max(10 * horizon, 3 * season)
    shares = (np.minimum(0.3 * ends, most), np.zeros(len(ends)))
    for share in () if isinstance(windows, Samples) else shares:
        cuts = ends - np.maximum(share, horizon).astype(int)
        early, test = steps + horizon <= cuts[which], steps >= cuts[which]
        if early.sum() >= 3 and test.any():
            in_time = np.argsort(steps[test], kind="stable")
            return places[early], thin(places[test][in_time]), cuts
    known = np.unique(which)
    held = known[len(known) - len(known) // 5 :] if len(known) >= 10 else known[:0]
    later = np.isin(which, held)
    cuts = np.where(np.isin(np.arange(len(ends)), held), 0, ends)
    return places[~later], thin(places[later]), cuts


def hold_out(owner: Any, name: str, windows: Windows, places: Array) -> tuple[Array, Array]:
    """Return places to learn from, and those held out."""
    fraction = getattr(owner, name)
    which = windows.series_of(places)
    known = np.unique(which)
    if len(known) > 1:
        n = math.ceil(fraction * len(known))
        if n == len(known):
            raise ValueError(
                f"Forecaster expected {name} to leave some of {n} series, got {fraction}"
            )
        held = np.isin(which, owner._random_state.permutation(known)[:n])
        return places[~held], places[held]
    steps = windows.steps(places)
    end = int(steps[-1]) + owner._fitted.horizon
    cut = end - math.ceil(fraction * end)
    early, late = steps + owner._fitted.horizon <= cut, steps >= cut
    if not early.any() or not late.any():
        raise ValueError(
            f"Forecaster expected {name} to leave windows of {owner._fitted.window} steps and "
            f"{owner._fitted.horizon} after them on both sides, of a series of {end} steps, got "
            f"{fraction}"
        )
    return places[early], places[late]


def thin(places: Array) -> Array:
    """Return at most `FORECASTS` of places, evenly."""
    if len(places) <= FORECASTS:
        return places
    return places[np.linspace(0, len(places) - 1, FORECASTS).astype(int)]


def scales(windows: Windows, cuts: Array, places: Array, season: int) -> Array:
    """Return what errors at places are divided by: the mean change of a season, (n, targets)."""
    if isinstance(windows, Samples):
        y = windows.following(windows.ends())
        deviation = np.abs(y - y.mean(axis=0)).mean(axis=(0, 1))
        return np.broadcast_to(_sizes(deviation), (len(places), y.shape[2]))
    which, where = np.unique(windows.series_of(places), return_inverse=True)
    rows = []
    for i in which:
        start, end = windows.starts[i], cuts[i] or windows.lengths[i]
        s = np.asarray(windows.flat[start : start + end][:, windows.targets], np.float64)
        lag = season if len(s) > 2 * season else 1
        change = np.abs(s[lag:] - s[:-lag]).mean(axis=0) if len(s) > lag else np.abs(s).mean(axis=0)
        rows.append(np.where(change > 0, change, _sizes(np.abs(s).mean(axis=0))))
    return np.array(rows)[where]


def _sizes(values: Array) -> Array:
    return np.where(values > 0, values, 1.0)


def side_by_side(windows: Windows, places: Array) -> float:
    """Return how many forecasts at places do not overlap."""
    if isinstance(windows, Samples):
        return float(len(places))
    which, steps = windows.series_of(places), windows.steps(places)
    spans = [np.ptp(steps[which == i]) for i in np.unique(which)]
    return float(np.sum(1.0 + np.array(spans) / windows.ahead))


def naive_paths(windows: Windows, places: Array, steps: int, season: int) -> dict[str, Array]:
    """Return the last value and, where there is a season, the last season."""
    found = {"last value": last_season(windows, places, steps, 1)}
    if season > 1 and not isinstance(windows, Samples):
        found["last season"] = last_season(windows, places, steps, season)
    return found
