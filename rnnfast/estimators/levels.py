"""Windows made free of their own level and scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .scaling import Scaler

if TYPE_CHECKING:
    from ..arrays import Array
    from .windows import Windows

KINDS = ("scale", "ratio", "level", "none")
SEASONAL = ("season", "season and level")  # of linear paths
FLOOR = 0.1  # of the median deviation, below which a window's own does not go
USUAL = 5.0  # times a common change, up to which windows count in full


class Levels:
    """What is subtracted from windows, and what they are divided by.

    Parameters
    ----------
    owner : estimator
        For errors.
    kind : {"scale", "ratio", "level", "none", "season", "season and level"}
        "level" subtracts the last value of each feature of a window, "scale" also divides by the
        mean deviation of the window from its own mean, "ratio" by its mean size. "season" subtracts
        from each step the value one season before, and from what follows the last season; "season
        and level" then subtracts the last of these differences.
    standardize : bool
        Whether features are then brought to mean 0 and variance 1 over all windows.
    targets : sequence of int
    season : int, optional
        Steps; only with the last two kinds.
    """

    def __init__(
        self, owner: Any, kind: str, standardize: bool, targets: list[int], season: int = 1
    ) -> None:
        self.kind, self.standardize, self.targets = kind, standardize, targets
        self.season = season if kind in SEASONAL else 1
        self.inputs, self.outputs = Scaler(owner, "X"), Scaler(owner, "X")
        self.extra, self.static = Scaler(owner, "exogenous"), Scaler(owner, "static")
        self._least: Any = 0.0  # deviation of a window,
        self._floor: Any = 0.0  # and deviation over mean size
        self._usual = np.inf

    def fit(self, windows: Windows, places: Array) -> Levels:
        """Learn what is the same for all windows."""
        some = places[:: max(1, len(places) // 4096)]
        if self.kind == "scale":
            found = [_deviation(windows.context(chunk)) for chunk in windows.chunks(some)]
            deviation, size = (np.concatenate(parts) for parts in zip(*found, strict=True))
            if len(windows.lengths) == 1:
                self._least = FLOOR * np.median(deviation, axis=0)
            else:  # series of all sizes
                ratio = np.where(size > 0, deviation / np.where(size > 0, size, 1.0), 0.0)
                self._floor = FLOOR * np.median(ratio, axis=0)
        far = [self._far(windows, chunk) for chunk in windows.chunks(some)]
        self._usual = USUAL * float(np.quantile(np.concatenate(far), 0.75)) or np.inf
        return self.learn(windows, places)

    def learn(self, windows: Windows, places: Array) -> Levels:
        """Bring the scales that are the same for all windows up to date."""
        if not self.standardize:
            return self
        for chunk in windows.chunks(places):
            x = windows.context(chunk)
            level, unit = self.of(x)
            self.inputs = self.inputs.updated(self._free_window(x, level, unit))
            y = self._free(windows.following(chunk), level, unit)
            self.outputs = self.outputs.updated(y)
            known, static = windows.known(chunk), windows.static(chunk)
            if known is not None:
                self.extra = self.extra.updated(known)
            if static is not None:
                self.static = self.static.updated(static)
        return self

    def of(self, x: Array) -> tuple[Array, Array]:
        """Return level (n, season, F) and unit (n, F) of windows (n, size, F), of float64."""
        n, _, features = x.shape
        level = np.asarray(x[:, -self.season :], np.float64)
        if self.kind == "none":
            level = np.zeros((n, 1, features))
        elif self.kind == "season and level":
            level = level + (x[:, -1:] - x[:, -1 - self.season, np.newaxis])
        if self.kind in ("none", "level", *SEASONAL):
            return level, np.ones((n, features))
        deviation, size = _deviation(x)
        if self.kind == "ratio":
            return level, np.where(size > 0, size, 1.0)
        unit = np.maximum(np.maximum(deviation, self._floor * size), self._least)
        return level, np.where(unit > 1e-12 * size, unit, np.where(size > 0, size, 1.0))

    def scaled(self, x: Array, level: Array, unit: Array) -> Array:
        """Return windows (n, size, F) without level and scale; without season they are shorter."""
        return (self._free_window(x, level, unit) - self.inputs.mean) / self.inputs.scale

    def known(self, known: Array | None) -> Array | None:
        """Return exogenous values, scaled."""
        return None if known is None else (known - self.extra.mean) / self.extra.scale

    def fixed(self, static: Array | None) -> Array | None:
        """Return static features, scaled."""
        return None if static is None else (static - self.static.mean) / self.static.scale

    def target(self, y: Array, level: Array, unit: Array) -> Array:
        """Return targets (n, ahead, targets) in the units of their windows."""
        free = self._free(y, level, unit)
        return (free - self.outputs.mean) / self.outputs.scale

    def inverse(self, y: Array, level: Array, unit: Array) -> Array:
        """Return what `target` returned as it was."""
        free = y * self.outputs.scale + self.outputs.mean
        return free * unit[:, np.newaxis, self.targets] + self._following(level, y.shape[1])

    def trust(self, windows: Windows, places: Array) -> Array:
        """Return how much windows count: less where what follows is far from what is common."""
        far = self._far(windows, places)
        return np.minimum(1.0, self._usual / np.maximum(far, 1e-300))

    def _far(self, windows: Windows, places: Array) -> Array:
        level, unit = self.of(windows.context(places))
        return np.abs(self._free(windows.following(places), level, unit)).max(axis=(1, 2))

    def _free(self, y: Array, level: Array, unit: Array) -> Array:
        return (y - self._following(level, y.shape[1])) / unit[:, np.newaxis, self.targets]

    def _free_window(self, x: Array, level: Array, unit: Array) -> Array:
        if self.kind in SEASONAL:
            free = x[:, self.season :] - x[:, : -self.season]
            if self.kind == "season and level":
                free = free - free[:, -1:]
        else:
            free = x - level
        return free / unit[:, np.newaxis]

    def _following(self, level: Array, steps: int) -> Array:
        """Return the level of targets at the steps that follow: (n, steps or 1, targets)."""
        if self.season > 1:
            level = level[:, np.arange(steps) % self.season]
        return level[..., self.targets]


def _deviation(x: Array) -> tuple[Array, Array]:
    """Return the mean absolute deviation of windows, and their mean absolute value: (n, F)."""
    x = np.asarray(x, np.float64)
    mean = x.mean(axis=1, keepdims=True)
    return np.abs(x - mean).mean(axis=1), np.abs(x).mean(axis=1)
