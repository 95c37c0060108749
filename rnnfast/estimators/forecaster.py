"""The next steps of time series, by a recurrent network beside what is simple."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..training import shared
from . import constraints as may_be
from .backtest import Backtest, combine, mean_forecast, measure
from .constraints import parameter
from .intervals import MeasuredForecaster
from .levels import KINDS
from .missing import fill_missing, gross_outliers, stand_in
from .paths import (
    BEFOREHAND,
    MEMORY,
    NAIVE,
    UNLIKELY,
    LinearMean,
    Smoothed,
    hold_out,
    kinds_of_levels,
    measure_levels,
    naive_paths,
    roll,
    scales,
    side_by_side,
    split_end,
)
from .season import find_season
from .simple import default_window
from .undo import unchanged_by_errors
from .windows import Windows

if TYPE_CHECKING:
    from ..arrays import Array
    from .forms import Given

FEWEST = 10  # windows that forecasts are learnt from where there are too few for a backtest


@dataclass(kw_only=True, eq=False, repr=False)
class Forecaster(MeasuredForecaster):
    """The next steps of one or several time series.

    A forecast is the weighted mean of those of a recurrent network, of ridge regression on the
    window, of exponential smoothing, of the last season and of the last value. The weights come
    from a backtest: each is fitted on the series without their ends and forecasts those ends. Then
    all are fitted again on all the data. Up to three values that are far from all others, or the
    same one now and then (`missing.gross_outliers`), count as missing, with a warning; `score` and
    `backtest` keep them as truths.

    Parameters
    ----------
    horizon : int
        Steps to forecast.
    window : int, optional
        Steps that a forecast is made from. `fit` learns from every window of this length and what
        follows it. Default: two seasons, or three horizons where there is no season, fewer where
        series are short; series shorter than that are padded at the front with their first value.
        Series shorter than a window that is given raise.
    season : int, optional
        Steps after which series repeat what they do, 1 for none; default: as `fit` finds it, a week
        rather than a day of 24, 48 or 96 steps where that is clear. Of other seasons within seasons
        it is the shorter one, and `season` names the longer.
    targets : int, str or sequence of them, optional
        The features to forecast, by position or name; default all. The others are known up to the
        present only.
    strategy : {"direct", "iterated", "seq2seq"}
        How the network forecasts. "direct": all steps of the horizon at once, after the last step.
        "seq2seq": at every step, and it learns from all of these forecasts. "iterated": it learns
        to forecast one step, and is fed its own forecasts.
    normalize : {"auto", "scale", "ratio", "level", "none"}
        What each window is made free of: "level" subtracts its last value; "scale" also divides by
        its own deviation and "ratio" by its mean size, so that series of all sizes count alike.
        "auto" takes for the linear path the mean of several, weighted by the backtest: of a single
        series "level", "none", "ratio" and, where there is a season, differences from one season
        to the next; of several series all four. The network has the one of the largest weight.
    linear : bool
        Whether a ridge regression from the window to the horizon stands beside the network, which
        then learns what it leaves over, beginning with nothing. ("seq2seq" has none beside it.)
        The mean holds that of ridge regression in any case.
    select : {"mean", "best", "network"}
        What the backtest decides: the weights of a mean, or which way is best. "network" forecasts
        by the network alone, without a backtest.
    standardize : bool
        Whether features are brought to mean 0 and variance 1 over the windows of `fit`.
        `loss_curve_` is in these units, or in units of what the linear path leaves over.
    calibration_fraction : float
        Part of the data that is left out for `predict_interval`, which otherwise uses the errors
        of the backtest. Of several series whole ones are held out, of a single one the end; the
        same holds for early stopping.
    network : callable, optional
        ``network(n_features, n_outputs)`` returns a layer that replaces the default network: it
        gets (samples, time, n_features), batch first, and should take a seed of its own. With
        "seq2seq" it keeps the axis of time, else not. n_outputs is horizon * targets, or targets
        with "iterated"; n_features counts exogenous features once for each step ahead. `cell`,
        `hidden_size`, `num_layers` and `dropout` are refused beside it.
    panel, missing
        As for `SeriesEstimator`.
    **parameters
        As for `NetworkEstimator`.

    Attributes
    ----------
    backtest_ : Backtest or None
        The errors of each way of forecasting, "forecast" that of their mean. None without one.
    weights_ : dict of str to float
        Of each way in the forecast.
    season_ : int
        1 for none.
    window_ : int
    residuals_ : (windows, horizon, targets) array, or None
        Sorted absolute errors of the backtest, or of the data held out with
        `calibration_fraction`; over the scale of their windows where these are made free of it.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import Forecaster
    >>> wave = np.sin(0.3 * np.arange(300))
    >>> model = Forecaster(horizon=5, random_state=0).fit(wave[:250])
    >>> model.predict(wave[:250]).shape
    (5,)
    >>> model.score(wave[250:290]) > 0.9
    True
    """

    window: int | None = parameter(None, may_be.size(1), fixed=True)
    season: int | None = parameter(None, may_be.size(1), fixed=True)
    normalize: str = parameter("auto", may_be.one_of("auto", *KINDS), fixed=True)
    select: str = parameter("mean", may_be.one_of("mean", "best", "network"), fixed=True)
    calibration_fraction: float = parameter(0.0, may_be.share)

    def fit(
        self,
        X: Any,
        y: Any = None,
        exogenous: Any = None,
        *,
        static: Any = None,
        comm: Any = None,
    ) -> Forecaster:
        """Learn to forecast the later steps of series from the earlier ones.

        A warm fit trains the network further; windows, linear path and weights stay.

        Parameters
        ----------
        X, y, exogenous, static
            As for `SeriesEstimator.fit`.
        comm : rnnfast.mpi.Communicator, optional
            Processes that train together, each with the same arguments: see `rnnfast.fit`.

        Returns
        -------
        self
        """
        goes_on = self._continues()
        with shared(comm), unchanged_by_errors(self, goes_on):
            self._fit(self._read(X, y, exogenous, static, 0, not goes_on), goes_on)
        return self

    def partial_fit(
        self,
        X: Any,
        y: Any = None,
        exogenous: Any = None,
        *,
        static: Any = None,
        comm: Any = None,
    ) -> Forecaster:
        """Train the network for one epoch; as `fit` otherwise. Nothing is held out.

        Without a `fit` before it, forecasts are those of the network alone, which has no linear
        path then; scales are learnt as data come.

        Parameters
        ----------
        X, y, exogenous, static, comm
            As for `fit`.

        Returns
        -------
        self
        """
        goes_on = self._continues(partial=True)
        with shared(comm), unchanged_by_errors(self, goes_on):
            self._fit(self._read(X, y, exogenous, static, 0, not goes_on), goes_on, partial=True)
        return self

    def _fit(self, given: Given, goes_on: bool, partial: bool = False) -> None:
        if not goes_on:
            if given.y is not None:
                self._refuse_set(("season",), "targets y are learnt from windows alone")
            self._reset()
            self._plan(given)
        windows = self._windows(given)
        places = self._places(windows, given)
        calibration = validation = places[:0]
        if self.calibration_fraction and not partial:
            places, calibration = hold_out(self, "calibration_fraction", windows, places)
        if self.early_stopping and not partial:
            places, validation = hold_out(self, "validation_fraction", windows, places)
        if not goes_on:
            shares = self._choose(windows, places, partial)
            self._prepare(windows, places, shares, self.linear and not partial, self._linear)
            self._best_updates = self._found_updates
            self._start(self._make())
        else:
            if partial and self._beside is None and self._linear is None:
                self._levels.learn(windows, places)
            self._go_on(self._make)
        self._learn(windows, places, validation, partial)
        if len(calibration):
            forecast = self._forecast(windows, calibration, self._fitted.horizon)
            self._keep_residuals(windows, calibration, windows.following(calibration), forecast)
        self._remember(given)

    def _cleaned(self, given: Given, warn: bool = True) -> Given:
        """Return what was given with gross outliers as if they were missing."""
        wrong = [gross_outliers(v[:, : self.n_features_in_]) for v in given.values]
        i = next((i for i, w in enumerate(wrong) if w.any()), None)
        if i is None:
            return given
        if warn:
            step, k = np.argwhere(wrong[i])[0]
            found = np.concatenate(
                [v[:, : w.shape[1]][w] for v, w in zip(given.values, wrong, strict=True)]
            )
            numbers, times = np.unique(found, return_counts=True)
            told = [f"{v:.5g} ({n}x)" for v, n in zip(numbers, times, strict=True)][:5]
            more = f", as {len(found)} values do: {', '.join(told)}" if len(found) > 1 else ""
            warnings.warn(
                f"Forecaster: {given.values[i][step, k]:.5g} at step {step} of "
                f"{given.form.label(i)} is far from all other values: it counts as missing{more}",
                UserWarning,
                stacklevel=5,
            )
        gaps = [a | b for a, b in zip(given.gaps or wrong, wrong, strict=True)]
        return given._replace(values=_bridged(given._replace(gaps=wrong)), gaps=gaps)

    def _tell_stand_ins(self, given: Given) -> None:
        """Warn of a number that may stand for what is missing."""
        for i, v in enumerate(given.values):
            for k in range(self.n_features_in_):
                column = v[:, k]
                known = column if given.gaps is None else column[~given.gaps[i][:, k]]
                number = stand_in(known)
                if number is not None:
                    warnings.warn(
                        f"Forecaster: {number:.5g} comes {np.sum(known == number)} times in "
                        f"{given.form.label(i)}, far from all its other values; if it means that "
                        "nothing was measured, give NaN instead, and missing='linear' or another",
                        UserWarning,
                        stacklevel=5,
                    )
                    return

    # ---- what is decided before

    def _plan(self, given: Given) -> None:
        """Find the season, and set the window."""
        horizon, learnt_y = int(self.horizon), given.y is not None
        columns = self._target_columns
        if self.strategy == "iterated" and columns != list(range(given.values[0].shape[1])):
            raise ValueError(
                "Forecaster expected all features as targets with strategy 'iterated', which feeds "
                f"them back, got {self.targets!r}"
            )
        lengths = [len(v) for v in given.values]
        if learnt_y:
            season, window = 1, lengths[0]
        else:
            cleaned = self._cleaned(given)
            self._tell_stand_ins(cleaned)
            values = _bridged(cleaned)
            season = self.season or find_season([v[:, k] for v in values for k in columns])
            window = self.window or default_window(lengths, horizon, season)
        least = window if self.window is not None and not learnt_y else 1
        if not learnt_y:
            self._check_contexts(given, least + horizon)
        self._fitted = SimpleNamespace(
            horizon=horizon,
            window=int(window),
            least=least,
            strategy=self.strategy,
            learnt_y=learnt_y,
            season=int(season),
            memory=int(window if self.window else max(window, MEMORY * season, 100)),
        )
        self.season_, self.window_ = int(season), int(window)

    def _places(self, windows: Windows, given: Given) -> Array:
        """Return the places that can be learnt from: those with a window before them.

        Where the window was not given, series that are too short for it have one place at least.
        From an end that is missing nothing is learnt, if anything is left.
        """
        if self._fitted.learnt_y:
            return windows.ends()
        fitted = self._fitted
        self._check_contexts(given, fitted.least + fitted.horizon)
        known = windows.lengths - windows.lost(windows.ends())
        enough = known >= max(fitted.window, fitted.least) + fitted.horizon
        return np.concatenate(
            [
                windows.at(i, max(min(fitted.window, last), fitted.least), last)
                for i, last in enumerate(np.where(enough, known, windows.lengths) - fitted.horizon)
            ]
        )

    # ---- the choice

    def _choose(self, windows: Windows, places: Array, partial: bool) -> dict[str, float]:
        """Measure each way of forecasting on the ends of series, and set the weights.

        Returns
        -------
        dict of str to float
            The shares of levels in the linear path.
        """
        self.residuals_: Array | None = None
        self.backtest_: Backtest | None = None
        self.weights_ = {"network": 1.0}
        self._smoothed: Smoothed | None = None
        self._linear: LinearMean | None = None
        self._found_updates: int | None = None
        horizon, season = self._fitted.horizon, self._fitted.season
        shares = {"scale" if self.normalize == "auto" else self.normalize: 1.0}
        if self.select == "network" or partial:
            return shares
        early, test, cuts = split_end(windows, places, horizon, season)
        if not len(early) or not len(test):
            naive = naive_paths(windows, places[:1], horizon, season)
            names = list(naive) if len(places) < FEWEST else ["network", "linear", *naive]
            shares = {"level": 1.0} if self.normalize == "auto" else shares
            self._linear = LinearMean(shares).fit(self, windows, places, horizon)
            self.weights_ = {name: 1.0 / len(names) for name in names}
            return shares
        truth, scale = windows.following(test), scales(windows, cuts, test, season)
        there = windows.truths(test)

        def error(forecast: Array) -> float:
            found = float(np.mean((np.abs(forecast - truth) / scale[:, np.newaxis])[there]))
            return found if np.isfinite(found) else np.inf

        origins = side_by_side(windows, test)
        kinds: tuple[str, ...] = (self.normalize,)
        if self.normalize == "auto":
            kinds = kinds_of_levels(windows, season)
        of_kind, errors = measure_levels(self, kinds, windows, early, test, error)
        shares = combine(errors, origins, {kind: UNLIKELY.get(kind, 1.0) for kind in kinds})
        network, self._found_updates = self._rehearse(windows, early, test, shares, error)
        forecasts = {"network": network, "linear": mean_forecast(of_kind, shares)}
        if not self._fitted.learnt_y:
            self._smoothed = Smoothed(season, self._fitted.memory)
            self._smoothed.fit(windows, cuts)
            forecasts["smoothing"] = self._smoothed.forecast(windows, test, horizon)
        forecasts |= naive_paths(windows, test, horizon, season)
        self._weigh(forecasts, error, origins)
        mean = mean_forecast(forecasts, self.weights_)
        self.backtest_ = measure(
            truth, {"forecast": mean} | forecasts, scale, self.weights_, season, there=there
        )
        self._linear = LinearMean(shares).fit(self, windows, places, horizon)
        if self._smoothed is not None:
            ends = np.zeros(len(windows.lengths), int)
            np.maximum.at(ends, windows.series_of(places), windows.steps(places) + horizon)
            self._smoothed.fit(windows, ends)
        self._keep_residuals(windows, test, truth, mean)
        return shares

    def _weigh(
        self, forecasts: dict[str, Array], error: Callable[[Array], float], origins: float
    ) -> None:
        """Set the weights of the ways of forecasting.

        Network and linear path, which begins what the network ends, share that of their mean.
        """
        errors = {name: error(forecast) for name, forecast in forecasts.items()}
        if self.select == "best":
            best = min(errors, key=lambda name: errors[name])
            self.weights_ = {name: float(name == best) for name in errors}
            return
        pair = combine({name: errors.pop(name) for name in ("network", "linear")}, origins)
        errors = {"pair": error(mean_forecast(forecasts, pair))} | errors
        weights = combine(errors, origins, {name: BEFOREHAND.get(name, NAIVE) for name in errors})
        whole = weights.pop("pair")
        self.weights_ = {name: whole * share for name, share in pair.items()} | weights

    # ---- forecasts

    def _least(self) -> int:
        return int(self._fitted.least)

    def _reach(self) -> float:
        every = self._target_columns == list(range(self.n_features_in_))
        return np.inf if every else int(self._fitted.horizon)

    def _memory(self) -> int:
        return int(self._fitted.memory)

    def _forecast_block(self, windows: Windows, places: Array, steps: int) -> Array:
        horizon, season = self._fitted.horizon, self._fitted.season
        if steps > self._reach():
            raise ValueError(
                f"Forecaster expected a horizon of at most {horizon}, as in fit, or all features "
                f"as targets, which are fed back, got {steps}"
            )
        forecasts = naive_paths(windows, places, steps, season)
        if self.weights_.get("network"):
            forecasts["network"] = self._network_forecast(windows, places, steps)
        if self.weights_.get("linear"):
            assert self._linear is not None
            forecasts["linear"] = roll(self._linear, windows, places, steps, horizon)
        if self.weights_.get("smoothing"):
            assert self._smoothed is not None
            forecasts["smoothing"] = self._smoothed.forecast(windows, places, steps)
        forecast: Array = mean_forecast(forecasts, self.weights_)
        if "smoothing" in forecasts and self.weights_["smoothing"] < 1.0:
            assert self._smoothed is not None
            short = self._smoothed.too_short(windows, places)
            if short.any():  # the weights are those of longer contexts
                rest = 1.0 - self.weights_["smoothing"]
                others = {n: w / rest for n, w in self.weights_.items() if n != "smoothing"}
                forecast[short] = mean_forecast(forecasts, others)[short]
        return forecast


def _bridged(given: Given) -> list[Array]:
    """Return series with straight lines across their gaps."""
    if given.gaps is None:
        return given.values
    values = []
    for v, gap in zip(given.values, given.gaps, strict=True):
        n = gap.shape[1]
        filled = fill_missing([np.where(gap, np.nan, v[:, :n])], None, "linear", np.nan)[0]
        values.append(np.hstack([filled, v[:, n:]]))
    return values
