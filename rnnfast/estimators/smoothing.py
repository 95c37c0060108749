"""Exponential smoothing: many settings run side by side, the best one kept."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ..layers.base import Array

LEVEL = (0.02, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 0.95)
TREND = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4)
SEASON = (0.0, 0.03, 0.1, 0.2, 0.35, 0.5, 0.7)
DAMPING = (0.8, 0.9, 0.98, 1.0)
LONGEST = 60  # steps of a season that is smoothed
SERIES = 20  # that settings are chosen on


class Smoothing:
    """Additive exponential smoothing with damped trend and season (Holt and Winters).

    All series share the settings, which have the least squared errors one step ahead among a grid
    of some hundreds (Gardner, "Exponential smoothing: the state of the art, part II", 2006). Level,
    trend and season of a series are those of its own context.

    Parameters
    ----------
    season : int
    log : bool
        Whether logarithms are smoothed: trend and season then multiply. For positive values.

    Attributes
    ----------
    settings : (4,) array
        Weights of level, trend and season, and the damping of the trend.
    """

    def __init__(self, season: int, log: bool) -> None:
        self.season, self.log = (season if season <= LONGEST else 1), log

    def fit(self, series: list[Array]) -> Smoothing:
        """Choose the settings for (time,) series."""
        chosen = series[:: max(1, len(series) // SERIES)][:SERIES]
        seasons = SEASON if self.season > 1 else (0.0,)
        grid = np.array(
            list(itertools.product(LEVEL, TREND, seasons, DAMPING))
            + list(itertools.product(LEVEL, (0.0,), seasons, (0.0,)))
        )
        total = np.zeros(len(grid))
        for s in chosen:
            values = self._values(s)[np.newaxis]
            if values.shape[1] < 3:
                continue
            with np.errstate(all="ignore"):
                errors = self._run(values, grid)[3][0]
            total += errors / max(float(np.var(values)), 1e-300)
        self.settings = grid[int(np.argmin(np.where(np.isfinite(total), total, np.inf)))]
        return self

    def forecast(self, contexts: Array, horizon: int) -> Array:
        """Return what follows (n, time) contexts: (n, horizon)."""
        level, trend, season, _ = self._run(self._values(contexts), self.settings[np.newaxis])
        k = np.arange(1, horizon + 1)
        damping = self.settings[3]
        growth = np.cumsum(damping**k) if damping > 0 else np.zeros(horizon)
        again = season[:, (contexts.shape[1] + k - 1) % season.shape[1], 0]
        ahead: Any = level + growth * trend + again
        return np.exp(np.minimum(ahead, 700.0)) if self.log else ahead

    def _values(self, series: Array) -> Array:
        """Return what is smoothed, (time,) or (n, time).

        Zeros and negative values, which have no logarithm, count as the least positive value of
        their context: the logarithm of a tiny number instead would throw forecasts out of range.
        """
        values = np.asarray(series, np.float64)
        if not self.log:
            return values
        least = np.where(values > 0, values, np.inf).min(-1, keepdims=True, initial=np.inf)
        return np.log(np.maximum(values, np.where(np.isfinite(least), least, 1e-300)))

    def _run(self, x: Array, grid: Array) -> tuple[Array, Array, Array, Array]:
        """Run over (n, time): level and trend (n, settings), season (n, season, settings), errors.

        Contexts shorter than two seasons are smoothed without one.
        """
        alpha, beta, gamma, phi = grid.T
        n, time = x.shape
        m = self.season if time >= 2 * self.season else 1
        if m > 1:
            first, second = x[:, :m].mean(axis=1), x[:, m : 2 * m].mean(axis=1)
            slope = (second - first) / m
            start = first - slope * (m - 1) / 2
            k = min(time // m, 3)
            rest = x[:, : k * m] - start[:, np.newaxis] - np.outer(slope, np.arange(k * m))
            shape = rest.reshape(n, k, m).mean(axis=1)
            shape -= shape.mean(axis=1, keepdims=True)
        else:
            few = min(time, 5)
            slope = (x[:, few - 1] - x[:, 0]) / max(few - 1, 1)
            start, shape = x[:, 0], np.zeros((n, 1))
        level = np.repeat((start - slope)[:, np.newaxis], len(grid), axis=1)
        trend = np.repeat(slope[:, np.newaxis], len(grid), axis=1)
        season = np.repeat(shape[:, :, np.newaxis], len(grid), axis=2)
        errors = np.zeros((n, len(grid)))
        ab, rest_of = alpha * beta, gamma * (1.0 - alpha)
        for t in range(time):
            trend = phi * trend
            level = level + trend
            error = x[:, t : t + 1] - level - season[:, t % m]
            if t >= m:
                errors += error**2
            level = level + alpha * error
            trend = trend + ab * error
            if m > 1:
                season[:, t % m] += rest_of * error
        return level, trend, season, errors
