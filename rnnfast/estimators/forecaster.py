"""The next steps of time series."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.base import BaseEstimator
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_is_fitted

from .. import losses
from ..datasets.formats import pad
from ..layers import Last, Linear, Sequential
from ..layers.base import is_number
from . import constraints as may_be
from .base import NetworkEstimator, check_network, check_steps_left, make_network, predict
from .batches import Batches
from .constraints import Parameters, parameter
from .scaling import Scaler
from .sequences import axes, check_sequences, is_ragged, plain
from .undo import unchanged_by_errors

if TYPE_CHECKING:
    from ..layers.base import Array, Layer

    Series = list[Array]  # (time_i, features) each

__all__ = ["Forecaster", "LinearForecaster", "NaiveForecaster"]


@dataclass(kw_only=True, eq=False, repr=False)
class SeriesEstimator(Parameters, BaseEstimator):
    """What forecasters share.

    Series may be

    * a (samples, time, features) array, or a list of (time, features) arrays of any lengths;
    * a (samples, time) array, or a list of 1-D arrays: series of one feature;
    * a (time,) array: one long series.

    Parameters
    ----------
    horizon : int
        Steps to forecast.
    targets : sequence of int, optional
        The features to forecast; default all. The others are known up to the present only.

    Attributes
    ----------
    n_features_in_ : int
        Features of a step.
    """

    horizon: int = parameter(1, may_be.size(1), fixed=True)
    targets: Sequence[int] | None = parameter(
        None,
        may_be.Constraint(
            "a sequence of int",
            lambda v: isinstance(v, (list, tuple, range, np.ndarray)) and len(v) > 0,
        ),
        may_be.none,
        fixed=True,
    )

    def fit(self, X: Any, y: None = None, exogenous: Any = None) -> Any:
        """Learn to forecast the later steps of series from the earlier ones.

        Parameters
        ----------
        X : series
            See the class.
        y : None
            Ignored: the targets are steps of X.
        exogenous : series, optional
            What is known of the future as well, for each step of X: the day of the week, say.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            For series that are too short, and wrong parameters.
        """
        raise NotImplementedError

    def predict(self, X: Any, exogenous: Any = None) -> Array:
        """Forecast the `horizon` steps that follow series.

        Parameters
        ----------
        X : series
            See the class.
        exogenous : series, optional
            As in `fit`, for all steps of X and the `horizon` ones after them.

        Returns
        -------
        (samples, horizon, targets) array
            (samples, horizon) for series of one feature without an axis for it, (horizon,) for
            one long series.
        """
        check_is_fitted(self)
        series, extra = self._check_series(X, exogenous, self._fitted.horizon, reset=False)
        return _as_given(self._forecast(series, extra), X)

    def score(self, X: Any, y: None = None, exogenous: Any = None) -> float:
        """Return R^2 of the last `horizon` steps of series, forecast from those before.

        Parameters
        ----------
        X, y, exogenous
            As for `fit`.

        Returns
        -------
        float
            Mean over the targets; each over all samples and steps of the horizon at once.
        """
        check_is_fitted(self)
        series, extra = self._check_series(X, exogenous, 0, reset=False)
        contexts, truth = self._cut(series)
        forecast = self._forecast(contexts, extra)
        shape = -1, truth.shape[2]
        return float(r2_score(truth.reshape(shape), forecast.reshape(shape)))

    def _remember(self) -> None:
        """Keep the parameters that predictions depend on: later changes wait for the next fit."""
        self._check_parameters()
        horizon = int(self.horizon)
        targets = None if self.targets is None else list(self.targets)
        names = [name for name in ("season", "window", "strategy") if hasattr(self, name)]
        others = {name: getattr(self, name) for name in names}
        self._fitted = SimpleNamespace(horizon=horizon, targets=targets, **others)

    def _forecast(self, series: Series, extra: Series | None) -> Array:
        """Return the (samples, horizon, targets) that follow."""
        raise NotImplementedError

    def _check_series(
        self, X: Any, exogenous: Any, ahead: int, reset: bool
    ) -> tuple[Series, Series | None]:
        """Return checked series, and exogenous ones that are `ahead` steps longer."""
        owner = _name(self)
        single = not is_ragged(X) and axes(X) == 1
        series = self._list(X, "X", single)
        extra = None if exogenous is None else self._list(exogenous, "exogenous", single)
        features = series[0].shape[1], 0 if extra is None else extra[0].shape[1]
        if reset:
            self.n_features_in_, self._n_exogenous = features
        elif features != (self.n_features_in_, self._n_exogenous):
            raise ValueError(
                f"{owner} expected {self.n_features_in_} features and {self._n_exogenous} "
                f"exogenous ones, as in fit, got {features[0]} and {features[1]}"
            )
        if extra is not None:
            lengths = [len(s) + ahead for s in series]
            if [len(s) for s in extra] != lengths:
                raise ValueError(
                    f"{owner} expected exogenous series of {lengths[:5]} steps (the first ones), "
                    f"got {[len(s) for s in extra[:5]]}"
                )
        targets = self._fitted.targets
        if targets is not None and not set(targets) <= set(range(features[0])):
            raise ValueError(
                f"{owner} expected targets from 0 to {features[0] - 1}, got {targets!r}"
            )
        return series, extra

    def _list(self, X: Any, name: str, single: bool) -> Series:
        x, lengths = check_sequences(self, [np.asarray(X)] if single else X, name)
        return list(x) if lengths is None else [s[:n] for s, n in zip(x, lengths, strict=True)]

    def _columns(self) -> Any:
        """Return an index of the targets."""
        return slice(None) if self._fitted.targets is None else self._fitted.targets

    def _cut(self, series: Series) -> tuple[Series, Array]:
        """Cut the last `horizon` steps off: contexts, and targets (samples, horizon, targets)."""
        horizon = self._fitted.horizon
        self._check_steps(series, horizon + 1)
        contexts = [s[:-horizon] for s in series]
        return contexts, np.stack([s[-horizon:, self._columns()] for s in series])

    def _check_steps(self, series: Series, least: int) -> None:
        shortest = min(map(len, series))
        if shortest < least:
            raise ValueError(
                f"{_name(self)} expected series of at least {least} steps, got {shortest}"
            )


@dataclass(kw_only=True, eq=False, repr=False)
class NaiveForecaster(SeriesEstimator):
    """The last value again, or the last season.

    Parameters
    ----------
    season : int, default 1
        Steps after which values repeat; 1 for the last value.
    **parameters
        As for `Forecaster`: horizon, targets.
    """

    season: int = parameter(1, may_be.size(1))

    def fit(self, X: Any, y: None = None, exogenous: Any = None) -> NaiveForecaster:
        """Check series; there is nothing to learn. As `Forecaster.fit` otherwise."""
        with unchanged_by_errors(self, False):
            self._remember()
            self._check_series(X, exogenous, 0, reset=True)
        return self

    def _forecast(self, series: Series, extra: Series | None) -> Array:
        season = self._fitted.season
        self._check_steps(series, season)
        seasons = np.stack([s[-season:, self._columns()] for s in series])
        return seasons[:, np.arange(self._fitted.horizon) % season]


@dataclass(kw_only=True, eq=False, repr=False)
class WindowEstimator(SeriesEstimator):
    """Forecasters that learn from windows of series.

    Parameters
    ----------
    window : int, optional
        Steps that a forecast is made from. `fit` cuts each series into all its windows of so many
        steps and what follows them; default: one window for each series, as long as can be.
    """

    window: int | None = parameter(None, may_be.size(1), may_be.none, fixed=True)

    def _lessons(
        self, series: Series, extra: Series | None, ahead: int
    ) -> tuple[list[Array], list[Array]]:
        """Return the windows of each series, and the `ahead` steps that follow each of theirs.

        Returns
        -------
        x : list of (windows, steps, features + ahead * exogenous features) arrays
        y : list of (windows, steps, ahead * targets) arrays
        """
        least = 1 if self.window is None else int(self.window)
        self._check_steps(series, least + ahead)
        xs, ys = [], []
        for x, s in zip(self._inputs(series, extra, ahead, ahead), series, strict=True):
            y = _following(s[:, self._columns()], ahead)
            size = len(x) if self.window is None else self.window
            xs.append(_windows(x, size))
            ys.append(_windows(y, size))
        return xs, ys

    def _inputs(self, series: Series, extra: Series | None, ahead: int, drop: int = 0) -> Series:
        """Return series without their last `drop` steps.

        With what is known of the `ahead` steps after each step.
        """
        series = [s[: len(s) - drop] for s in series]
        if extra is None:
            return series
        return [
            np.concatenate([s, _following(e, ahead)], axis=1)
            for s, e in zip(series, extra, strict=True)
        ]

    def _recent(self, series: Series) -> Series:
        """Return the last window of each series."""
        window = self._fitted.window
        return series if window is None else [s[-window:] for s in series]


@dataclass(kw_only=True, eq=False, repr=False)
class LinearForecaster(WindowEstimator):
    """Linear regression on the window, by least squares (`numpy.linalg.lstsq`).

    Parameters
    ----------
    **parameters
        As for `Forecaster`: horizon, window, targets.

    Attributes
    ----------
    coef_ : (window * features + 1, horizon * targets) array
        The last row is the intercept.
    """

    def fit(self, X: Any, y: None = None, exogenous: Any = None) -> LinearForecaster:
        """Solve for the weights; as `Forecaster.fit` otherwise. Windows must be of one length."""
        with unchanged_by_errors(self, False):
            self._remember()
            series, extra = self._check_series(X, exogenous, 0, reset=True)
            xs, ys = self._lessons(series, extra, self._fitted.horizon)
            if len({x.shape[1] for x in xs}) > 1:
                raise ValueError(f"{_name(self)} expected a window, or series of one length")
            rows, truth = _design(np.concatenate(xs)), np.concatenate([y[:, -1] for y in ys])
            self.coef_ = np.linalg.lstsq(rows, truth, rcond=None)[0]
            self._steps = xs[0].shape[1]
        return self

    def _forecast(self, series: Series, extra: Series | None) -> Array:
        self._check_steps(series, self._steps)
        x = np.stack([s[-self._steps :] for s in self._inputs(series, extra, self._fitted.horizon)])
        return (_design(x) @ self.coef_).reshape(len(x), self._fitted.horizon, -1)


@dataclass(kw_only=True, eq=False, repr=False)
class Forecaster(WindowEstimator, NetworkEstimator):
    """The next steps of one or several time series, by a recurrent network and squared error.

    Parameters
    ----------
    horizon : int
        Steps to forecast.
    window : int, optional
        Steps that a forecast is made from. `fit` cuts each series into all its windows of so many
        steps and what follows them; default: one window for each series, as long as can be.
    targets : sequence of int, optional
        The features to forecast; default all. The others are known up to the present only.
    strategy : {"direct", "iterated", "seq2seq"}
        "direct" forecasts all steps of the horizon at once, after the last step. "seq2seq" does so
        at every step, and learns from all of these forecasts. "iterated" learns to forecast one
        step, and is fed its own forecasts.
    standardize : bool
        Whether features are brought to mean 0 and variance 1 over the series of `fit`;
        `loss_curve_` is then in these units.
    calibration_fraction : float
        Part of the data that training leaves out for `predict_interval`; 0 for none. Of several
        series whole ones are held out, of a single one the end; the same holds for early stopping.
    network : callable, optional
        ``network(n_features, n_outputs)`` returns a layer that replaces the default network: it
        gets (samples, time, n_features), batch first, and should take a seed of its own. With
        "seq2seq" it keeps the axis of time, else not. n_outputs is horizon * targets, or targets
        with "iterated"; n_features counts exogenous features once for each step ahead.
    **parameters
        As for `NetworkEstimator`.

    Attributes
    ----------
    residuals_ : (windows, horizon, targets) array, or None
        Sorted absolute errors of the data held out with `calibration_fraction`.

    Examples
    --------
    >>> import numpy as np
    >>> from rnnfast import Forecaster
    >>> wave = np.sin(0.3 * np.arange(300))
    >>> model = Forecaster(horizon=5, window=20, max_iter=20, random_state=0).fit(wave[:250])
    >>> model.predict(wave[:250]).shape
    (5,)
    >>> model.score(wave[:290]) > 0.9
    True
    """

    strategy: str = parameter("direct", may_be.one_of("direct", "iterated", "seq2seq"), fixed=True)
    standardize: bool = parameter(True, may_be.flag, fixed=True)
    calibration_fraction: float = parameter(
        0.0, may_be.number("a number from 0 to below 1", 0.0, 1.0, ends="low")
    )
    network: Callable[[int, int], Layer] | None = parameter(
        None, may_be.function, may_be.none, fixed=True
    )

    def fit(self, X: Any, y: None = None, exogenous: Any = None) -> Forecaster:
        """Train on series. As `SeriesEstimator.fit` otherwise.

        Parameters
        ----------
        X : series
        y : None
        exogenous : series, optional

        Returns
        -------
        self
        """
        goes_on = self._continues()
        with unchanged_by_errors(self, goes_on):
            self._fit(X, exogenous, goes_on)
        return self

    def partial_fit(self, X: Any, y: None = None, exogenous: Any = None) -> Forecaster:
        """Train for one epoch; as `fit` otherwise. Nothing is held out.

        Parameters
        ----------
        X, y, exogenous
            As for `fit`.

        Returns
        -------
        self
        """
        goes_on = self._continues(partial=True)
        with unchanged_by_errors(self, goes_on):
            self._fit(X, exogenous, goes_on, partial=True)
        return self

    def _fit(self, X: Any, exogenous: Any, goes_on: bool, partial: bool = False) -> None:
        self._remember()
        ahead = self._ahead()
        series, extra = self._check_series(X, exogenous, 0, reset=not goes_on)
        everything = list(range(self.n_features_in_))
        targets = everything if self.targets is None else list(self.targets)
        if self.strategy == "iterated" and targets != everything:
            raise ValueError(
                f"Forecaster expected all features as targets with strategy 'iterated', which "
                f"feeds them back, got {self.targets!r}"
            )
        if not goes_on:
            self._reset()
        calibration: Any = None
        validation: Any = None
        if self.calibration_fraction and not partial:
            series, extra, *calibration = self._hold_out("calibration_fraction", series, extra)
        if self.early_stopping and not partial:
            series, extra, *validation = self._hold_out("validation_fraction", series, extra)
        if not goes_on:
            self._learn_scales(series, extra)
        n_features = self.n_features_in_ + ahead * self._n_exogenous

        def network() -> Sequential:
            return self._network(n_features, ahead * len(targets))

        if goes_on:
            self._go_on(network)
        else:
            self._start(network())
        if validation is not None:
            validation = self._data(*validation)
        data = self._data(series, extra)
        self._train(
            self._batches(data, self._seed()),
            losses.squared_error,
            validation=None if validation is None else self._batches(validation),
            partial=partial,
        )
        self.residuals_ = None if calibration is None else self._residuals(*calibration)

    def predict_interval(
        self, X: Any, level: float = 0.9, exogenous: Any = None
    ) -> tuple[Array, Array]:
        """Forecast intervals, by split conformal prediction.

        Each step of the horizon and each target has an interval of its own, the forecast plus and
        minus a quantile of the errors on the data held out with `calibration_fraction` (Lei et
        al., "Distribution-free predictive inference for regression", 2018). Each holds the true
        value with a probability of at least `level` where the held-out windows and the new one
        are exchangeable: with independent series of one window each. For windows of one series
        that is an approximation, good where the series does not change its ways. The intervals of
        a whole horizon hold all its values together less often.

        Parameters
        ----------
        X : series
        level : float, default 0.9
            Between 0 and 1.
        exogenous : series, optional
            As for `predict`.

        Returns
        -------
        lower, upper : arrays as `predict` returns them

        Raises
        ------
        ValueError
            Without data held out, and with too little of it for `level`.
        """
        forecast = self.predict(X, exogenous)
        if self.residuals_ is None:
            raise ValueError(
                "Forecaster expected calibration_fraction > 0 in fit for predict_interval, got 0"
            )
        if not is_number(level) or not 0.0 < level < 1.0:
            raise ValueError(f"Forecaster expected level between 0 and 1, got {level!r}")
        n = len(self.residuals_)
        rank = math.ceil((n + 1) * level)
        if rank > n:
            raise ValueError(
                f"Forecaster expected more than {n} held-out windows for level {level}: raise "
                "calibration_fraction"
            )
        margin = _as_given(self.residuals_[rank - 1 : rank], X)
        return forecast - margin, forecast + margin

    # ---- training

    def _ahead(self) -> int:
        """Return how many steps the network forecasts at once."""
        return 1 if self._fitted.strategy == "iterated" else self._fitted.horizon

    def _network(self, n_features: int, n_outputs: int) -> Sequential:
        keeps_time = self.strategy == "seq2seq"
        if self.network is not None:
            model = Sequential(make_network(self, n_features, n_outputs))
        else:
            layers = self._recurrent_layers(n_features)
            width = next(x.out_size for x in reversed(layers) if x.out_size)
            last = [] if keeps_time else [Last(batch_first=True)]
            model = Sequential(*layers, *last, Linear(width, n_outputs, seed=self._seed()))
        check_network(self, model, n_outputs, keeps_time)
        return model

    def _learn_scales(self, series: Series, extra: Series | None) -> None:
        self._scaler, self._target_scaler = Scaler(self, "X"), Scaler(self, "X")
        self._extra_scaler = Scaler(self, "exogenous")
        if self.standardize:
            rows = np.concatenate(series)
            self._scaler = self._scaler.updated(rows)
            self._target_scaler = self._target_scaler.updated(rows[:, self._columns()])
            if extra is not None:
                self._extra_scaler = self._extra_scaler.updated(np.concatenate(extra))

    def _scaled(self, series: Series, extra: Series | None) -> tuple[Series, Series | None]:
        scaled = [self._scaler(s) for s in series]
        return scaled, None if extra is None else [self._extra_scaler(e) for e in extra]

    def _data(self, series: Series, extra: Series | None) -> tuple[Array, ...]:
        """Return x, y and, where they differ, lengths, for `rnnfast.fit`."""
        xs, ys = self._lessons(*self._scaled(series, extra), self._ahead())
        x, lengths = _join(xs)
        ends = np.full(len(x), x.shape[1]) if lengths is None else lengths
        check_steps_left(self, self.model_, ends)
        if self.strategy == "seq2seq" and self.window is not None:
            self._check_aligned(ends)
        if self.strategy == "seq2seq":
            y, _ = _join(ys)
            # a convolution may give outputs at some steps only: each at the step it comes after
            outputs = self.model_.out_lengths(np.arange(1, y.shape[1] + 1))
            y = y[:, np.searchsorted(outputs, np.arange(1, outputs[-1] + 1))]
        else:
            y = np.concatenate([piece[:, -1] for piece in ys])
        return (x, y) if lengths is None else (x, y, lengths)

    def _batches(self, data: tuple[Array, ...], seed: int | None = None) -> Batches:
        def take(some: Array) -> tuple[Array, ...]:
            return tuple(array[some] for array in data)

        return Batches(take, np.arange(len(data[0])), self.batch_size, seed)

    def _hold_out(self, name: str, series: Series, extra: Series | None) -> Any:
        """Return series and extra ones to train on, and those held out: a list of four."""
        fraction = getattr(self, name)
        if len(series) > 1:
            order = self._random_state.permutation(len(series))
            n = math.ceil(fraction * len(series))
            if n == len(series):
                raise ValueError(
                    f"Forecaster expected {name} to leave some of {n} series, got {fraction}"
                )
            parts = [
                [None if v is None else [v[i] for i in which] for v in (series, extra)]
                for which in (order[n:], order[:n])
            ]
        elif self.window is None:
            raise ValueError(f"Forecaster expected a window, for {name} of a single series")
        else:
            # the steps forecast there are the last ones; their windows reach back before them
            end = len(series[0]) - math.ceil(fraction * len(series[0]))
            parts = [
                [None if v is None else [v[0][cut]] for v in (series, extra)]
                for cut in (slice(end), slice(max(end - self.window, 0), None))
            ]
        return parts[0] + parts[1]

    def _residuals(self, series: Series, extra: Series | None) -> Array:
        def cut(values: Series) -> Series:
            size = None if self.window is None else self.window + self.horizon
            return [w for v in values for w in _windows(v, size or len(v))]

        if self.window is not None:
            self._check_steps(series, self.window + self.horizon)
        contexts, truth = self._cut(cut(series))
        forecast = self._forecast(contexts, None if extra is None else cut(extra))
        return np.sort(np.abs(truth - forecast), axis=0)

    # ---- forecasts

    def _forecast(self, series: Series, extra: Series | None) -> Array:
        series, extra = self._scaled(series, extra)
        if self._fitted.strategy != "iterated":
            y = self._outputs(series, extra).reshape(len(series), self._fitted.horizon, -1)
        else:
            for _ in range(self._fitted.horizon):
                known: Series | None = None
                if extra is not None:
                    known = [e[: len(s) + 1] for e, s in zip(extra, series, strict=True)]
                following = self._outputs(series, known)[:, np.newaxis]
                series = [np.concatenate(pair) for pair in zip(series, following, strict=True)]
            y = np.stack([s[-self._fitted.horizon :] for s in series])
        return self._target_scaler.inverse(y)

    def _outputs(self, series: Series, extra: Series | None) -> Array:
        """Return the network's outputs after the last step of each series."""
        x, lengths = pad(self._recent(self._inputs(series, extra, self._ahead())))
        ends = np.full(len(x), x.shape[1]) if lengths is None else lengths
        check_steps_left(self, self.model_, ends)
        outputs = predict(self.model_, x, lengths)
        if self._fitted.strategy != "seq2seq":
            return outputs
        return outputs[np.arange(len(x)), self._check_aligned(ends) - 1]

    def _check_aligned(self, ends: Array) -> Array:
        """Return how many outputs there are, the last of them at the last of `ends` steps."""
        last: Array = self.model_.out_lengths(ends)
        if (last == self.model_.out_lengths(ends - 1)).any():
            raise ValueError(
                "Forecaster expected network to give an output at the last step of series, got "
                f"{last[:5]} outputs from {ends[:5]} steps (the first ones)"
            )
        return last


def _following(series: Array, ahead: int) -> Array:
    """Return for each step of (T, F) the next `ahead` ones side by side: (T - ahead, ahead * F)."""
    steps = np.moveaxis(sliding_window_view(series[1:], ahead, axis=0), 2, 1)
    return steps.reshape(len(steps), -1)


def _windows(series: Array, size: int) -> Array:
    """Return all windows of (T, F): a (T - size + 1, size, F) view."""
    return np.moveaxis(sliding_window_view(series, size, axis=0), 2, 1)


def _join(pieces: list[Array]) -> tuple[Array, Array | None]:
    """Return pieces (n_i, steps_i, F) as one array, and lengths where the steps differ."""
    if len({piece.shape[1] for piece in pieces}) == 1:
        return np.concatenate(pieces), None
    return pad([window for piece in pieces for window in piece])


def _design(x: Array) -> Array:
    rows = x.reshape(len(x), -1)
    return np.hstack([rows, np.ones((len(x), 1), rows.dtype)])


def _as_given(forecast: Array, X: Any) -> Array:
    """Return (samples, horizon, targets) with the axes that X has."""
    if is_ragged(X):
        return forecast[..., 0] if np.ndim(plain(X)[0]) == 1 else forecast
    n = axes(X)
    if n == 3:
        return forecast
    return forecast[..., 0] if n == 2 else forecast[0, :, 0]


def _name(owner: Any) -> str:
    return type(owner).__name__
