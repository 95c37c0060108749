"""What a forecaster knows of its errors: intervals, and backtests of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone

from ..checks import is_number
from . import constraints as may_be
from .backtest import LEVEL, Backtest, margin, measure
from .paths import scales
from .window_network import WindowNetwork

if TYPE_CHECKING:
    from ..arrays import Array
    from .forms import Given
    from .windows import Windows


class MeasuredForecaster(WindowNetwork):
    """Intervals and backtests of a forecaster; parameters as for `Forecaster`."""

    residuals_: Array | None
    weights_: dict[str, float]
    _linear: Any

    def predict_interval(
        self,
        X: Any = None,
        level: float = 0.9,
        exogenous: Any = None,
        *,
        horizon: int | None = None,
        static: Any = None,
    ) -> tuple[Any, Any]:
        """Forecast intervals, by split conformal prediction.

        Each step of the horizon and each target has an interval of its own, the forecast plus and
        minus a quantile of the errors of the backtest, or of the data held out with
        `calibration_fraction` (Lei et al., "Distribution-free predictive inference for regression",
        2018). With `calibration_fraction` each holds the true value with a probability of at least
        `level` where the windows of these errors and the new one are exchangeable: with independent
        series of one window each. For windows of one series that is an approximation, good where
        the series keeps behaving the same. The backtest's errors are a little too small, as they
        chose the weights too. The intervals of a whole horizon hold all its values together less
        often. Where the end of a series is missing, intervals are those of as many steps more, and
        beyond the horizon they grow with the square root of the steps.

        Parameters
        ----------
        X : series, optional
            As for `predict`.
        level : float, default 0.9
            Between 0 and 1.
        exogenous, horizon, static
            As for `predict`; not beyond the parameter `horizon`.

        Returns
        -------
        lower, upper : as `predict` returns forecasts

        Raises
        ------
        ValueError
            Without errors to go by, and with too few of them for `level`.
        """
        self._check_fitted()
        if self.residuals_ is None:
            raise ValueError(
                "Forecaster expected a backtest (select='mean' or 'best', and series long enough "
                "for one) or calibration_fraction > 0 in fit for predict_interval"
            )
        if not is_number(level) or not 0.0 < level < 1.0:
            raise ValueError(f"Forecaster expected level between 0 and 1, got {level!r}")
        steps = self._horizon(horizon)
        if steps > self._fitted.horizon:
            raise ValueError(
                f"Forecaster expected a horizon of at most {self._fitted.horizon} for intervals, "
                f"got {steps}"
            )
        reach = margin(self.residuals_, float(level))
        if reach is None:
            raise ValueError(
                f"Forecaster expected more than {len(self.residuals_)} windows whose errors are "
                f"known for level {level}: longer series, or a larger calibration_fraction"
            )
        given = self._given(X, exogenous, static, steps)
        windows = self._windows(given)
        places = windows.ends()
        forecast = self._forecast(windows, places, steps)
        far = self._far(reach, windows, places, steps)
        return self._give(given, forecast - far), self._give(given, forecast + far)

    def backtest(
        self,
        X: Any,
        exogenous: Any = None,
        *,
        origins: int = 10,
        step: int | None = None,
        static: Any = None,
    ) -> Backtest:
        """Measure the forecasts of the ends of series that were not learnt from.

        An estimator with the same parameters learns from the steps before the first origin; this
        one stays as it is.

        Parameters
        ----------
        X, exogenous, static
            As for `fit`.
        origins : int, default 10
            From which forecasts are made, in each series. The last one is `horizon` steps before
            its end.
        step : int, optional
            Steps between them; default `horizon`.

        Returns
        -------
        Backtest
            A row "forecast", and one for each of the ways that it is a mean of.
        """
        for name, value in (("origins", origins), ("step", self.horizon if step is None else step)):
            if not may_be.size(1).holds(value):
                raise ValueError(f"Forecaster expected {name} as an integer >= 1, got {value!r}")
        one: Any = clone(self)
        one._check_parameters()
        given = one._read(X, None, exogenous, static, 0, reset=True)
        horizon, origins = int(self.horizon), int(origins)
        step = horizon if step is None else int(step)
        _check_origins(self, given, origins, step)
        reach = horizon + (origins - 1) * step
        early = given._replace(
            values=[v[:-reach] for v in given.values],
            extra=None if given.extra is None else [e[:-reach] for e in given.extra],
            gaps=None if given.gaps is None else [g[:-reach] for g in given.gaps],
        )
        one._fit(early, goes_on=False)
        windows = one._windows(given)
        cuts = windows.lengths - reach
        places = np.concatenate([windows.starts + cuts + k * step for k in range(origins)])
        forecasts = {"forecast": one._forecast(windows, places, horizon)}
        weights = one.weights_
        for name in weights:
            one.weights_ = {name: 1.0}
            forecasts[name] = one._forecast(windows, places, horizon)
        scale = scales(windows, cuts, places, one.season_)
        reach_of = None if one.residuals_ is None else margin(one.residuals_, LEVEL)
        if reach_of is not None:
            reach_of = one._far(reach_of, windows, places, horizon)
        given = one._windows(given, clean=False)
        return measure(
            given.following(places),
            forecasts,
            scale,
            weights,
            one.season_,
            within=reach_of,
            there=given.truths(places),
        )

    def _far(self, reach: Array, windows: Windows, places: Array, steps: int) -> Array:
        """Return how far intervals at places reach: (n, steps, targets).

        Where targets are missing before a place, each step is so many more steps ahead. Beyond the
        horizon intervals grow as those of a random walk do.
        """
        horizon = len(reach)
        ahead = windows.lost(places)[:, np.newaxis] + np.arange(1, steps + 1)
        growth = np.sqrt(np.maximum(ahead, horizon) / horizon)[..., np.newaxis]
        units = self._interval_units(windows, places)[:, np.newaxis]
        return np.asarray(reach[np.minimum(ahead, horizon) - 1] * growth * units)

    def _keep_residuals(self, windows: Windows, places: Array, truth: Any, forecast: Any) -> None:
        """Keep sorted absolute errors for intervals."""
        self._unit_levels = self._levels if self._linear is None else self._linear.levels
        units = self._interval_units(windows, places)
        errors = np.abs(truth - forecast) / units[:, np.newaxis]
        self.residuals_ = np.sort(errors, axis=0)

    def _interval_units(self, windows: Windows, places: Array) -> Array:
        """Return what the errors of windows are measured in: (n, targets)."""
        return np.concatenate(
            [
                self._unit_levels.of(windows.context(chunk))[1][:, windows.targets]
                for chunk in windows.chunks(places)
            ]
        )


def _check_origins(owner: Any, given: Given, origins: int, step: int) -> None:
    """Raise ValueError where the shortest series is too short for so many origins."""
    horizon, shortest = int(owner.horizon), min(map(len, given.values))
    learnt = max(int(owner.window or 1), 2) + horizon  # before the first origin
    most = (shortest - learnt - horizon) // step + 1
    if most < 1:
        i = int(np.argmin([len(v) for v in given.values]))
        raise ValueError(
            f"Forecaster expected series of at least {learnt + horizon} steps for a backtest, got "
            f"{shortest} ({given.form.label(i)})"
        )
    if origins > most:
        raise ValueError(
            f"Forecaster expected origins from 1 to {most} for series of {shortest} steps with "
            f"horizon={horizon} and step={step}, got {origins}"
        )
