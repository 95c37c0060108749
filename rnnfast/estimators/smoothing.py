"""Exponential smoothing: many settings run side by side, the best one kept."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ..arrays import Array

LEVEL = (0.02, 0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 0.95)
TREND = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4)
SEASON = (0.0, 0.03, 0.1, 0.2, 0.35, 0.5, 0.7)
DAMPING = (0.8, 0.9, 0.98, 1.0)
LONGEST = 60  # steps of a season that is smoothed
SERIES = 20  # that settings are chosen on
LEAST = 0.1  # of a context's mean, below which a level that is multiplied does not go
FACTORS = 0.02, 50.0  # within which seasons that multiply stay


class Smoothing:
    """Exponential smoothing with damped trend and season (Holt and Winters).

    All series share the settings, which have the least squared errors one step ahead among a grid
    of some hundreds (Gardner, "Exponential smoothing: the state of the art, part II", 2006). Level,
    trend and season of a series are those of its own context.

    Parameters
    ----------
    season : int
    multiplied : bool
        Whether the season multiplies the level, of positive values, instead of being added to it;
        without a season, whether the trend does: logarithms are smoothed then.

    Attributes
    ----------
    settings : (4,) array
        Weights of level, trend and season, and the damping of the trend.
    """

    def __init__(self, season: int, multiplied: bool) -> None:
        self.season, self.multiplied = (season if season <= LONGEST else 1), multiplied

    def fit(self, series: list[Array], gaps: list[Array] | None = None) -> Smoothing:
        """Choose the settings for (time,) series; `gaps` says which values are filled in."""
        some = range(0, len(series), max(1, len(series) // SERIES))[:SERIES]
        seasons = SEASON if self.season > 1 else (0.0,)
        grid = np.array(
            list(itertools.product(LEVEL, TREND, seasons, DAMPING))
            + list(itertools.product(LEVEL, (0.0,), seasons, (0.0,)))
        )
        total = np.zeros(len(grid))
        for i in some:
            values = self._values(series[i])[np.newaxis]
            if values.shape[1] < 3:
                continue
            with np.errstate(all="ignore"):
                missing = None if gaps is None else gaps[i][np.newaxis]
                errors = self._run(values, grid, missing)[3][0]
            total += errors / max(float(np.var(values)), 1e-300)
        self.settings = grid[int(np.argmin(np.where(np.isfinite(total), total, np.inf)))]
        return self

    def forecast(self, contexts: Array, horizon: int, gaps: Array | None = None) -> Array:
        """Return what follows (n, time) contexts, (n, horizon); `gaps` as for `fit`."""
        values = self._values(contexts)
        level, trend, season, _ = self._run(values, self.settings[np.newaxis], gaps)
        k = np.arange(1, horizon + 1)
        damping = self.settings[3]
        growth = np.cumsum(damping**k) if damping > 0 else np.zeros(horizon)
        again = season[:, (contexts.shape[1] + k - 1) % season.shape[1], 0]
        ahead: Any = level + growth * trend
        if not self.multiplied:
            return ahead + again
        if self.season > 1:
            return ahead * again
        low, high = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
        return np.exp(
            np.clip(ahead, 2 * low - high, 2 * high - low)
        )  # a trend of logarithms explodes

    def _values(self, series: Array) -> Array:
        """Return what is smoothed, (time,) or (n, time).

        Where the season or trend multiplies, zeros and negative values count as the least positive
        value of their context: they have no logarithm, and no season to divide by.
        """
        values = np.asarray(series, np.float64)
        if not self.multiplied:
            return values
        least = np.where(values > 0, values, np.inf).min(-1, keepdims=True, initial=np.inf)
        values = np.maximum(values, np.where(np.isfinite(least), least, 1e-300))
        return values if self.season > 1 else np.log(values)

    def _run(
        self, x: Array, grid: Array, gaps: Array | None = None
    ) -> tuple[Array, Array, Array, Array]:
        """Run over (n, time): level and trend (n, settings), season (n, season, settings), errors.

        Where there are gaps (n, time), what is expected stands: their errors are 0. Contexts
        shorter than two seasons are smoothed without one.
        """
        alpha, beta, gamma, phi = grid.T
        n, time = x.shape
        multiplied = self.multiplied and self.season > 1
        m = self.season if time >= 2 * self.season else 1
        least = LEAST * x.mean(axis=1, keepdims=True)
        if m > 1:
            first, second = x[:, :m].mean(axis=1), x[:, m : 2 * m].mean(axis=1)
            slope = (second - first) / m
            start = first - slope * (m - 1) / 2
            k = min(time // m, 3)
            line = start[:, np.newaxis] + np.outer(slope, np.arange(k * m))
            head = x[:, : k * m]
            rest = head / np.maximum(line, least) if multiplied else head - line
            shape = rest.reshape(n, k, m).mean(axis=1)
            mean = shape.mean(axis=1, keepdims=True)
            shape = shape / mean if multiplied else shape - mean
        else:
            few = min(time, 5)
            slope = (x[:, few - 1] - x[:, 0]) / max(few - 1, 1)
            start, shape = x[:, 0], np.full((n, 1), float(multiplied))
        level = np.repeat((start - slope)[:, np.newaxis], len(grid), axis=1)
        trend = np.repeat(slope[:, np.newaxis], len(grid), axis=1)
        season = np.repeat(shape[:, :, np.newaxis], len(grid), axis=2)
        errors = np.zeros((n, len(grid)))
        ab, rest_of = alpha * beta, gamma * (1.0 - alpha)
        for t in range(time):
            trend = phi * trend
            level = level + trend
            again = season[:, t % m]
            if multiplied:
                level, again = np.maximum(level, least), np.clip(again, *FACTORS)
                error = x[:, t : t + 1] - level * again
            else:
                error = x[:, t : t + 1] - level - again
            if gaps is not None:
                error = np.where(gaps[:, t : t + 1], 0.0, error)
            of_level, of_season = (error / again, error / level) if multiplied else (error, error)
            if t >= m:
                errors += error**2
            level = level + alpha * of_level
            trend = trend + ab * of_level
            if m > 1:
                season[:, t % m] = again + rest_of * of_season
        return level, trend, season, errors
