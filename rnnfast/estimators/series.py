"""What forecasters share: series as users give them, the past that is remembered, scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import r2_score

from ..checks import name_of
from . import constraints as may_be
from .arguments import read_static, refuse_steps, second_argument
from .bases import BaseEstimator
from .constraints import Parameters, parameter
from .exogenous import read_exogenous
from .forms import Given, SeriesSet, check_targets
from .frames import read_series
from .missing import MISSING, feature_means, fill_missing, means_around
from .numeric import to_floats
from .scoring import scored, seen_by_fit
from .times import read_times
from .windows import Samples, Windows

if TYPE_CHECKING:
    from ..arrays import Array

    Series = list[Array]  # (time_i, features) each


def _is_targets(value: Any) -> bool:
    if isinstance(value, (list, tuple, range, np.ndarray)):
        return len(value) > 0
    return isinstance(value, (int, np.integer, str)) and not isinstance(value, bool)


@dataclass(kw_only=True, eq=False, repr=False)
class SeriesEstimator(Parameters, BaseEstimator):
    """What forecasters share.

    Series may be

    * a (time,) array, list of numbers or Series: one series of one feature;
    * a frame: one series, its rows time steps and its columns features; `panel` says otherwise;
    * a long frame (id, time and values in each row): several series, by their ids;
    * a (samples, time) array, or a list of 1-D arrays: series of one feature;
    * a (samples, time, features) array, or a list of (time, features) arrays or frames, of any
      lengths.

    Forecasts come back in the form in which series came, with the times that follow.

    Parameters
    ----------
    horizon : int
        Steps to forecast. Changed after `fit`, it is what `predict` and `score` go by.
    targets : int, str or sequence of them, optional
        The features to forecast, by position or name; default all. The others are known up to the
        present only.
    panel : {"columns", "one"}, optional
        What a table is: "columns" takes each column of a frame as a series of its own, "one" a
        two-dimensional array as one series (time, features).
    missing : {"mask", "linear", "ffill", "mean"}, optional
        What stands in for missing values and time steps; default: an error that names the first.
        "mask": the last value before, and another feature for each feature that is 1 where a value
        is missing, else 0. "mean": the mean of the eight known values before and after, as that of
        a whole series is far from them where it has a trend. Smoothing passes over them, scores
        leave them out, and series whose end is missing are forecast from their last known step
        where the forecast reaches so far.

    Attributes
    ----------
    n_features_in_ : int
        Features of a step.
    """

    horizon: int = parameter(1, may_be.size(1), fixed=True)
    targets: int | str | Sequence[int | str] | None = parameter(
        None,
        may_be.Constraint("positions or names of features", _is_targets),
        fixed=True,
    )
    panel: str | None = parameter(None, may_be.one_of("columns", "one"), fixed=True)
    missing: str | None = parameter(None, may_be.one_of(*MISSING), fixed=True)

    _free = ("horizon",)

    def fit(self, X: Any, y: Any = None, exogenous: Any = None, *, static: Any = None) -> Any:
        """Learn to forecast the later steps of series from the earlier ones.

        Parameters
        ----------
        X : series
            See the class.
        y : array_like, optional
            Second arguments as other libraries have them. Beside series: exogenous values, as in
            sktime, where they have as many steps; a column beside a frame is refused, as it may be
            a target, as in scikit-learn. Beside windows, a (samples, time) or (samples,
            time, features) array: their targets, as in Keras, (samples,) with a horizon of 1 or
            (samples, horizon); these are then learnt from the windows, whatever they are. Default:
            the targets are steps of X.
        exogenous : series, optional
            What is known of the future as well, for each step of X: the day of the week, say.
        static : (samples, n) array_like, optional
            What is known of each series and does not change.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            For series that are too short, and wrong parameters.
        """
        raise NotImplementedError

    def predict(
        self,
        X: Any = None,
        exogenous: Any = None,
        *,
        horizon: int | None = None,
        static: Any = None,
    ) -> Any:
        """Forecast the steps that follow series.

        Parameters
        ----------
        X : series, optional
            See the class. Default: the series of `fit`, as far as it went.
        exogenous : series, optional
            As in `fit`, for all steps of X and the ones that are forecast; for the latter only
            where X is not given.
        horizon : int, optional
            Steps; default those of the parameter. Where there are more, forecasts are fed back,
            for which all features have to be targets.
        static : (samples, n) array_like, optional
            As in `fit`.

        Returns
        -------
        (samples, horizon, targets) array
            (samples, horizon) for series of one feature without an axis for it, (horizon,) for
            one series of them; frames with the times that follow where frames came.
        """
        self._check_fitted()
        steps = self._horizon(horizon)
        given = self._given(X, exogenous, static, steps)
        windows = self._windows(given)
        return self._give(given, self._forecast(windows, windows.ends(), steps))

    def score(self, X: Any, y: Any = None, exogenous: Any = None, *, static: Any = None) -> float:
        """Return R^2 of the forecasts from every step of series.

        Each step with `horizon` ones after it is an origin, but for those that leave too little to
        forecast from. A single series that follows that of `fit`, as the folds of scikit-learn's
        `TimeSeriesSplit` do, takes the context before its first step from there, and all of it is
        scored. Whether it follows is told by its times: one that does not is forecast from its own
        steps. An array is taken to follow, with a warning where it begins with a jump; but one that
        is a part of the series of `fit` stays at its place there. Of what begins within that series
        and goes beyond, the steps that `fit` has not seen are scored. Of several arrays each is
        forecast from its own steps.

        Parameters
        ----------
        X, y, exogenous, static
            As for `fit`.

        Returns
        -------
        float
            Mean over the targets; each over all origins and steps ahead at once.
        """
        self._check_fitted()
        given = self._read(X, y, exogenous, static, 0, reset=False)
        truth, forecast = scored(self, given, self._horizon(None))
        if len(truth) < 2:
            raise ValueError(
                f"{name_of(self)} expected X with at least two steps to score, got {len(truth)}"
            )
        return float(r2_score(truth, forecast))

    # ---- for subclasses

    def _forecast_block(self, windows: Windows, places: Array, steps: int) -> Array:
        """Return the (n, steps, targets) that follow places."""
        raise NotImplementedError

    def _size(self) -> int:
        """Return the steps of a window."""
        return int(self._fitted.window)

    def _least(self) -> int:
        """Return the steps that a context must have."""
        return 1

    def _reach(self) -> float:
        """Return how many steps can be forecast."""
        return np.inf

    def _memory(self) -> int:
        """Return the steps before a forecast that it depends on."""
        return self._size()

    # ---- reading

    def _read(self, X: Any, y: Any, exogenous: Any, static: Any, ahead: int, reset: bool) -> Given:
        """Return what was given, checked, `exogenous` with `ahead` steps more."""
        exogenous, y = second_argument(self, X, y, exogenous)
        if y is not None or (not reset and self._fitted.learnt_y):
            X = self._as_samples(X)
        seen: Any = None if reset else getattr(self, "_form")  # noqa: B009 - set below
        form = read_series(self, X, missing=self.missing, seen=seen, panel=self.panel)
        values = self._filled(form)
        gaps = [np.isnan(v) for v in form.values] if form.has_missing else None
        extra = None
        if exogenous is not None:
            before: Any = None if reset else getattr(self, "_extra_form")  # noqa: B009 - as above
            known = read_exogenous(self, exogenous, form, ahead, missing=self.missing, seen=before)
            extra = known.values
            if reset:
                self._extra_form = known.form
            if self.missing is not None:
                extra = fill_missing(extra, None, "linear", None)
        n_extra = 0 if extra is None else extra[0].shape[1]
        names: Any = None if reset else getattr(self, "_static_names")  # noqa: B009 - as above
        read = read_static(self, static, form, names)
        fixed = None if read is None else read.values
        n_static = 0 if fixed is None else fixed.shape[1]
        if reset:
            self._form = form.form
            self._static_names = None if read is None else read.names
            self.n_features_in_ = form.values[0].shape[1]
            self._counts, self._n_inputs = (n_extra, n_static), values[0].shape[1]
            self._n_exogenous = n_extra
            self._target_columns = self._choose_targets(form)
        elif (n_extra, n_static) != self._counts:
            raise ValueError(
                f"{name_of(self)} expected {self.n_features_in_} features and {self._counts[0]} "
                f"exogenous ones, as in fit, got {form.values[0].shape[1]} and {n_extra}"
                if n_extra != self._counts[0]
                else f"{name_of(self)} expected static of {self._counts[1]} features, as in fit, "
                f"got {n_static}"
            )
        targets = None if y is None else self._read_y(y, form)
        return Given(form, values, extra, fixed, targets, gaps)

    def _filled(self, form: SeriesSet) -> list[Array]:
        """Return the series without gaps, where `missing` says how to fill them."""
        if self.missing is None:
            return form.values
        values = filled = form.values
        how = "ffill" if self.missing == "mask" else self.missing
        if form.has_missing:
            means = feature_means(self, values, form.names)
            around = [means_around(v, means) if how == "mean" else means for v in values]
            filled = [
                fill_missing(v[np.newaxis], None, how, m)[0]
                for v, m in zip(values, around, strict=True)
            ]
        if self.missing != "mask":
            return filled
        told = [np.isnan(v).astype(v.dtype) for v in values]
        return [np.hstack(pair) for pair in zip(filled, told, strict=True)]

    def _choose_targets(self, form: SeriesSet) -> list[int]:
        chosen = check_targets(self, self.targets, form.form)
        if chosen is None and form.target is not None:
            chosen = [form.target]  # the column of a long frame that is called so
        self._named_targets = chosen
        return list(range(self.n_features_in_)) if chosen is None else chosen

    def _read_y(self, y: Any, form: SeriesSet) -> Array:
        """Return the targets of windows: (n, horizon, targets)."""
        window, steps = getattr(self, "window", None), len(form.values[0])
        if window not in (None, steps):
            raise ValueError(
                f"{name_of(self)} expected windows X of {window} steps, as window says, got {steps}"
            )
        self._y_axes = np.ndim(y)
        array = np.asarray(to_floats(self, y, "y"), np.float64).reshape(len(y), self.horizon, -1)
        if not np.isfinite(array).all():
            raise ValueError(f"{name_of(self)} expected y of finite numbers, got NaN or inf")
        columns = self._target_columns
        if array.shape[2] != len(columns):
            if array.shape[2] != 1:
                raise ValueError(
                    f"{name_of(self)} expected y of {len(columns)} targets, got {array.shape[2]}"
                )
            self._target_columns = self._named_targets = columns[:1]
        return array

    def _given(self, X: Any, exogenous: Any, static: Any, ahead: int) -> Given:
        """Return what `predict` was given, or what `fit` remembers."""
        if X is None:
            return self._continued(exogenous, static, ahead)
        refuse_steps(self, X, max(self._fitted.horizon, self._size()))
        return self._read(X, None, exogenous, static, ahead, reset=False)

    def _continued(self, exogenous: Any, static: Any, ahead: int) -> Given:
        past = self._recalled()
        if past is None:
            raise ValueError(
                f"{name_of(self)} expected X, as fit was given windows and their targets"
            )
        extra = past.extra
        if (exogenous is not None) != (extra is not None):
            raise ValueError(
                f"{name_of(self)} expected exogenous values of the next {ahead} steps"
                if extra is not None
                else f"{name_of(self)} expected no exogenous values, as in fit"
            )
        if extra is not None:
            after: Any = past.form.times and [
                SimpleNamespace(labels=t.labels[:0], follow=t.follow) for t in past.form.times
            ]
            form = replace(past.form, values=[v[:0] for v in past.values], times=after)
            later = read_exogenous(
                self, exogenous, form, ahead, missing=self.missing, seen=self._extra_form
            ).values
            extra = [np.concatenate(pair) for pair in zip(extra, later, strict=True)]
        read = read_static(self, static, past.form, self._static_names)
        fixed = past.static if read is None else read.values
        return past._replace(extra=extra, static=fixed)

    def _as_samples(self, X: Any) -> Any:
        """Return windows with three axes."""
        array = np.asarray(X)
        if array.ndim == 2 and not array.shape[1]:
            raise ValueError(
                f"{name_of(self)} expected X with at least one step, got 0 feature(s) "
                f"(shape={array.shape}) while a minimum of 1 is required."
            )
        return array[..., np.newaxis] if array.ndim == 2 else X

    # ---- windows and forecasts

    def _cleaned(self, given: Given, warn: bool = True) -> Given:
        """Return what was given without what would spoil forecasts."""
        return given

    def _windows(self, given: Given, clean: bool = True) -> Windows:
        """Return the windows of what was given, by default cleaned."""
        if self._fitted.learnt_y:
            y = given.y
            x = np.stack(given.values)
            window = getattr(self._fitted, "window", x.shape[1])
            if x.shape[1] != window:
                raise ValueError(
                    f"{name_of(self)} expected windows X of {window} steps, as in fit, got "
                    f"{x.shape[1]}"
                )
            if y is None:
                y = np.zeros((len(x), self._fitted.horizon, len(self._target_columns)))
            return Samples(x, y, self._target_columns)
        self._check_contexts(given, self._least())
        given = self._cleaned(given) if clean else given
        return Windows(
            given.values,
            self._size(),
            self._fitted.horizon,
            self._target_columns,
            given.extra,
            given.static,
            given.gaps,
        )

    def _check_contexts(self, given: Given, least: int) -> None:
        for i, series in enumerate(given.values):
            if len(series) < least:
                where = f" ({given.form.label(i)})" if len(given.values) > 1 else ""
                raise ValueError(
                    f"{name_of(self)} expected series of at least {least} steps, got "
                    f"{len(series)}{where}"
                )

    def _forecast(self, windows: Windows, places: Array, steps: int) -> Array:
        """Return the (n, steps, targets) that follow places, some at a time.

        Where targets are missing just before a place, the missing steps are forecast as well, if
        the estimator forecasts so far: what is filled in there would be taken for the latest news.
        """
        forecast = np.zeros((len(places), steps, len(self._target_columns)))
        lost = windows.lost(places)
        lost[(lost + steps > self._reach()) | (windows.steps(places) - lost < self._least())] = 0
        for n in np.unique(lost):
            some = np.flatnonzero(lost == n)
            for c in windows.chunks(some):
                forecast[c] = self._forecast_block(windows, places[c] - n, steps + int(n))[:, n:]
        return forecast

    def _give(self, given: Given, forecast: Array) -> Any:
        targets = self._named_targets
        if self._fitted.learnt_y:  # as y was
            return (forecast[:, 0, 0], forecast[..., 0], forecast)[self._y_axes - 1]
        return given.form.give(forecast, targets)

    def _horizon(self, horizon: Any) -> int:
        horizon = self.horizon if horizon is None else horizon
        if not may_be.size(1).holds(horizon):
            raise ValueError(
                f"{name_of(self)} expected horizon as an integer >= 1, got {horizon!r}"
            )
        if self._fitted.learnt_y and horizon != self._fitted.horizon:
            raise ValueError(
                f"{name_of(self)} expected horizon={self._fitted.horizon}, as targets y were given "
                f"for it, got {horizon}"
            )
        return int(horizon)

    # ---- what is remembered

    def _remember(self, given: Given) -> None:
        """Keep the end of the series of `fit`, that the next steps are forecast from."""
        self._past = None
        if self._fitted.learnt_y:
            return
        keep = self._memory()
        form = given.form
        self._seen_by_fit = seen_by_fit(given)
        given = self._cleaned(given, warn=False)
        # times hold functions, which cannot be pickled; the last labels tell the same
        self._past_labels = None if form.times is None else [t.labels[-2:] for t in form.times]
        self._past_lengths = [len(v) for v in given.values]
        self._past = Given(
            replace(
                form,
                values=[v[-1:] for v in form.values],
                like=_emptied(form.like, form.many),
                times=None,
            ),
            [v[-keep:].copy() for v in given.values],
            None
            if given.extra is None
            else [
                e[max(len(v) - keep, 0) : len(v)].copy()
                for e, v in zip(given.extra, given.values, strict=True)
            ],
            given.static,
            gaps=None if given.gaps is None else [g[-keep:].copy() for g in given.gaps],
        )

    def _recalled(self) -> Given | None:
        """Return what `_remember` kept."""
        past = self._past
        if past is None or self._past_labels is None:
            return past
        times = [
            read_times(self, labels, "X", step=self._form.step, freq=self._form.freq)[0]
            for labels in self._past_labels
        ]
        return past._replace(form=replace(past.form, times=times))


def _emptied(like: Any, many: bool) -> Any:
    """Return frames of the same kind without rows."""
    if isinstance(like, (list, tuple)) and many:
        return [_emptied(one, False) for one in like]
    return like.head(0) if hasattr(like, "head") else None
