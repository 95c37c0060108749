"""Forecasts without a network: the last values again, and least squares."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import name_of
from . import constraints as may_be
from .constraints import parameter
from .linear import Triangle
from .season import find_season
from .series import SeriesEstimator
from .undo import unchanged_by_errors
from .windows import Windows

if TYPE_CHECKING:
    from ..arrays import Array
    from .forms import Given


def last_season(windows: Windows, places: Array, steps: int, season: int) -> Array:
    """Return the last season of each context again: (n, steps, targets)."""
    last = windows.context(places, season)[..., windows.targets]
    return np.asarray(last[:, np.arange(steps) % season], np.float64)


def step_inputs(x: Array, known: Array | None, static: Array | None, ahead: int) -> Array:
    """Return each step of windows with what is known at it: (n, size, features).

    Parameters
    ----------
    x : (n, size, F) array
    known : (n, size + ahead, E) array, or None
        Each step gets that of the `ahead` steps after it, one after another.
    static : (n, S) array, or None
        Each step gets all of it.
    """
    parts = [x]
    size = x.shape[1]
    if known is not None:
        parts += [known[:, 1 + k : 1 + k + size] for k in range(ahead)]
    if static is not None:
        parts.append(np.broadcast_to(static[:, np.newaxis], (len(x), size, static.shape[1])))
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)


@dataclass(kw_only=True, eq=False, repr=False)
class NaiveForecaster(SeriesEstimator):
    """The last value again, or the last season.

    Parameters
    ----------
    season : int, default 1
        Steps after which values repeat; 1 for the last value.
    **parameters
        As for `Forecaster`: horizon, targets, panel, missing.
    """

    season: int = parameter(1, may_be.size(1), fixed=True)

    def fit(
        self, X: Any, y: Any = None, exogenous: Any = None, *, static: Any = None
    ) -> NaiveForecaster:
        """Check series; there is nothing to learn. As `Forecaster.fit` otherwise."""
        with unchanged_by_errors(self, False):
            self._check_parameters()
            given = self._read(X, y, exogenous, static, 0, reset=True)
            self._fitted = SimpleNamespace(
                horizon=int(self.horizon), season=int(self.season), learnt_y=given.y is not None
            )
            self._fixed = self._fixed_parameters()
            self._remember(given)
        return self

    def _size(self) -> int:
        return int(self._fitted.season)

    def _least(self) -> int:
        return int(self._fitted.season)

    def _forecast_block(self, windows: Windows, places: Array, steps: int) -> Array:
        return last_season(windows, places, steps, self._fitted.season)


@dataclass(kw_only=True, eq=False, repr=False)
class LinearForecaster(SeriesEstimator):
    """Linear regression on the window, by least squares.

    Parameters
    ----------
    window : int, optional
        Steps that a forecast is made from. `fit` learns from all windows of so many steps and what
        follows them; default: of several series, which must be of one length, one window as long
        as can be; of a single one two seasons, or three horizons.
    **parameters
        As for `Forecaster`: horizon, targets, panel, missing.

    Attributes
    ----------
    coef_ : (window * features + 1, horizon * targets) array
        The last row is the intercept.
    """

    window: int | None = parameter(None, may_be.size(1), fixed=True)

    def fit(
        self, X: Any, y: Any = None, exogenous: Any = None, *, static: Any = None
    ) -> LinearForecaster:
        """Solve for the weights; as `Forecaster.fit` otherwise."""
        with unchanged_by_errors(self, False):
            self._check_parameters()
            given = self._read(X, y, exogenous, static, 0, reset=True)
            horizon = int(self.horizon)
            self._fitted = SimpleNamespace(horizon=horizon, window=1, learnt_y=given.y is not None)
            self._fitted.window = self._choose(given)
            if given.y is None:
                self._check_contexts(given, self._size() + horizon)
            windows = self._windows(given)
            if given.y is None:
                places = np.concatenate(
                    [
                        windows.at(i, self._size(), len(s) - horizon)
                        for i, s in enumerate(given.values)
                    ]
                )
            else:
                places = windows.ends()
            self._solve(windows, places)
            self._fixed = self._fixed_parameters()
            self._remember(given)
        return self

    def _choose(self, given: Given) -> int:
        lengths = {len(s) for s in given.values}
        if given.y is not None:
            return min(lengths)
        if self.window is not None:
            return int(self.window)
        if len(lengths) > 1:
            raise ValueError(f"{name_of(self)} expected a window, or series of one length")
        shortest = min(lengths)
        if len(given.values) == 1:
            season = find_season([given.values[0][:, 0]])
            return default_window([shortest], int(self.horizon), season)
        return max(shortest - int(self.horizon), 1)

    def _solve(self, windows: Windows, places: Array) -> None:
        """Solve for the weights from the triangular matrix of all rows, a chunk at a time."""
        triangle = Triangle()
        for chunk in windows.chunks(places):
            x, y = self._design(windows, chunk), windows.following(chunk)
            triangle.add(np.concatenate([x, y.reshape(len(y), -1)], axis=1))
        rows, n = triangle.get(), x.shape[1]
        self.coef_ = np.linalg.lstsq(rows[:, :n], rows[:, n:], rcond=None)[0]

    def _design(self, windows: Windows, places: Array) -> Array:
        horizon = int(self._fitted.horizon)
        x = np.asarray(windows.context(places), np.float64)
        inputs = step_inputs(x, windows.known(places, horizon), windows.static(places), horizon)
        rows = inputs.reshape(len(x), -1)
        return np.concatenate([rows, np.ones((len(rows), 1))], axis=1)

    def _least(self) -> int:
        return self._size()

    def _reach(self) -> float:
        return int(self._fitted.horizon)

    def _forecast_block(self, windows: Windows, places: Array, steps: int) -> Array:
        horizon = int(self._fitted.horizon)
        if steps > horizon:
            raise ValueError(
                f"{name_of(self)} expected horizon of at most {horizon}, as in fit, got {steps}"
            )
        y = self._design(windows, places) @ self.coef_
        return y.reshape(len(y), horizon, -1)[:, :steps]


def default_window(lengths: list[int], horizon: int, season: int) -> int:
    """Return a window for series of such lengths: two seasons, or three horizons.

    At least 8 steps and at most 512; without a season no more than a sixth of all steps, and always
    so few that windows for a third of the steps of a series are left.
    """
    if season > 1:
        wanted = min(max(2 * season, min(2 * horizon, 64), 8), 512)
    else:
        wanted = min(max(3 * horizon, 8), max(sum(lengths) // 6, 4), 512)
    return max(1, min(wanted, int((np.median(lengths) - horizon) * 2 / 3)))
