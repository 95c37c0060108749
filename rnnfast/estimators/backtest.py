"""A table of forecasts that were made where the truth is known, and what follows from it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ..arrays import Array

METRICS = ("MAE", "RMSE", "MASE", "WAPE", "coverage")
LEVEL = 0.9  # of the intervals whose coverage is counted
POWER = 4.0  # of the ratio of errors in weights, where origins are very many
WORST = 1.5  # times the least error: what is worse has no weight, where origins are many
FEW = 12.0  # origins whose errors count half


@dataclass(eq=False, repr=False)
class Backtest(Mapping[str, Any]):
    """Errors of forecasts from several origins, a row for each way of forecasting.

    A mapping of names to rows: ``backtest["linear"]["MAE"]``. Printed it is a table. Values that
    are missing, and were filled in, do not count.

    Parameters
    ----------
    rows : dict of str to dict
        For each way "MAE" (mean absolute error), "RMSE", "MASE" (MAE over the mean change from one
        season, or step, to the next in what was learnt from), "WAPE" (sum of absolute errors over
        sum of absolute values), "coverage" (part of values within 90% intervals: those of
        `Forecaster.predict_interval` for "forecast" in `Forecaster.backtest`, else what the errors
        of the earlier origins say, NaN with fewer than ten) and "weight" (in the forecast; NaN
        where it has none to have). In `Forecaster.backtest_` the row of the network is the best of
        twelve looks during its training, and the weights are chosen by these very errors: its row
        and that of the forecast flatter a little. Those of `Forecaster.backtest` do not.
    by_step : dict of str to (horizon,) array
        MASE of each step ahead.
    origins : int
        Forecasts that were made, of all series.
    horizon, season : int
    """

    rows: dict[str, dict[str, float]]
    by_step: dict[str, Array] = field(default_factory=dict)
    origins: int = 0
    horizon: int = 1
    season: int = 1

    def __getitem__(self, name: str) -> dict[str, float]:
        """Return a row."""
        return self.rows[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self.rows)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    @property
    def best(self) -> str:
        """The name of least MASE."""
        return min(self.rows, key=lambda name: self.rows[name]["MASE"])

    def __repr__(self) -> str:
        """Return the table."""
        if not self.rows:
            return "Backtest: no origins, as the series are too short for any"
        columns = [*METRICS, "weight"]
        cells = [
            [name] + ["-" if math.isnan(row[c]) else f"{row[c]:.4g}" for c in columns]
            for name, row in self.rows.items()
        ]
        widths = [max(len(c[i]) for c in [["", *columns], *cells]) for i in range(len(columns) + 1)]
        season = f", season {self.season}" if self.season > 1 else ""
        lines = [
            f"Backtest of {self.origins} origin{'s' if self.origins != 1 else ''}, "
            f"horizon {self.horizon}{season}"
        ]
        for line in [["", *columns], *cells]:
            first = line[0].ljust(widths[0])
            rest = "  ".join(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))
            lines.append(f"{first}  {rest}")
        return "\n".join(lines)

    def to_frame(self) -> Any:
        """Return the table as a DataFrame of pandas."""
        import pandas

        return pandas.DataFrame.from_dict(self.rows, orient="index")


def measure(
    truth: Array,
    forecasts: Mapping[str, Array],
    scale: Array,
    weights: Mapping[str, float] | None = None,
    season: int = 1,
    *,
    within: Array | None = None,
    there: Array | None = None,
) -> Backtest:
    """Return the table of forecasts.

    Parameters
    ----------
    truth : (n, horizon, targets) array
        In order of time.
    forecasts : mapping of str to such arrays
    scale : (n, targets) array
        What absolute errors are divided by in MASE.
    weights : mapping of str to float, optional
    season : int
    within : (n, horizon, targets) array, optional
        How far the intervals of the row "forecast" reach, for its coverage. Default, as for the
        other rows: what the errors of the earlier half of the origins say.
    there : (n, horizon, targets) array of bool, optional
        Which values were given, and not filled in: only they count, but for coverage.
    """
    rows, by_step = {}, {}
    there = np.ones(truth.shape, bool) if there is None else there
    times = there.sum(axis=(0, 2))
    for name, forecast in forecasts.items():
        error = np.abs(forecast - truth)
        scaled = error / scale[:, np.newaxis]
        by_step[name] = np.where(there, scaled, 0.0).sum(axis=(0, 2)) / np.maximum(times, 1)
        known = error[there]
        rows[name] = {
            "MAE": float(known.mean()),
            "RMSE": float(np.sqrt(np.mean(known**2))),
            "MASE": float(scaled[there].mean()),
            "WAPE": float(known.sum() / max(np.abs(truth[there]).sum(), 1e-300)),
            "coverage": (
                _coverage(scaled)
                if within is None or name != "forecast"
                else float(np.mean(error <= within))
            ),
            "weight": math.nan if weights is None else weights.get(name, math.nan),
        }
    return Backtest(rows, by_step, len(truth), truth.shape[1], season)


def combine(
    errors: Mapping[str, float], origins: float, prior: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Return the weights of forecasts in their mean: a power of the ratio of their errors.

    Where origins are few the errors say little, and weights are nearer to those beforehand.

    Parameters
    ----------
    errors : mapping of str to float
        Mean absolute scaled errors.
    origins : float
        How many they are means over; where forecasts overlap, how many there are side by side.
    prior : mapping of str to float, optional
        Their weights beforehand; default equal ones.
    """
    least = min(errors.values())
    if least <= 0.0:
        best = [name for name, e in errors.items() if e <= 0.0]
        return {name: 1.0 / len(best) if name in best else 0.0 for name in errors}
    power = POWER * (origins + 1.0) / (origins + FEW)
    worst = WORST + FEW / origins
    raw = {n: 0.0 if e > worst * least else (least / e) ** power for n, e in errors.items()}
    if prior is not None:
        raw = {name: prior[name] * value for name, value in raw.items()}
    total = sum(raw.values())
    return {name: value / total for name, value in raw.items()}


def mean_forecast(forecasts: Mapping[str, Array], weights: Mapping[str, float]) -> Any:
    """Return the weighted mean."""
    return sum(w * forecasts[name] for name, w in weights.items() if w)


def margin(residuals: Array, level: float) -> Array | None:
    """Return how far intervals reach, by split conformal prediction.

    Parameters
    ----------
    residuals : (n, horizon, targets) array
        Absolute errors, sorted along the first axis.
    level : float

    Returns
    -------
    (horizon, targets) array, or None
        None where there are too few errors for `level`. Where only those of a single step are too
        few, the errors of all steps, each over its step's mean, stand in for each other.
    """
    n, horizon = residuals.shape[:2]
    rank = math.ceil((n + 1) * level)
    if rank <= n:
        return np.asarray(residuals[rank - 1])
    rank = math.ceil((n * horizon + 1) * level)
    if rank > n * horizon or n < 2:
        return None
    means = residuals.mean(axis=0)
    pooled = residuals / np.where(means > 0, means, 1.0)
    pooled = np.sort(pooled.reshape(n * horizon, -1), axis=0)
    return np.asarray(pooled[rank - 1] * means)


def _coverage(errors: Array) -> float:
    """Return the part of the later half of errors within what the earlier half sets."""
    half = len(errors) // 2
    if len(errors) < 10:
        return math.nan
    reach = margin(np.sort(errors[:half], axis=0), LEVEL)
    if reach is None:
        return math.nan
    return float(np.mean(errors[half:] <= reach))
