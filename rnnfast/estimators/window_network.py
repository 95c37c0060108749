"""A recurrent network that reads windows, and learns what a linear path beside it leaves over."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from .. import losses
from ..callbacks import Callback
from ..layers import Last, Linear, Sequential
from . import constraints as may_be
from .base import NetworkEstimator, check_network, check_steps_left, make_network, predict
from .batches import Batches
from .constraints import parameter
from .levels import Levels
from .paths import LinearMean, likeliest, roll
from .series import SeriesEstimator
from .simple import step_inputs

if TYPE_CHECKING:
    from ..arrays import Array
    from ..layers.base import Layer
    from .windows import Windows

LOOKS = 12  # times that a network in training is looked at, to see how many updates are best
FURTHEST = 10.0  # deviations, to which what the linear path leaves over is cut in training
PATIENCE = 5  # looks without a better one, after which there are no more


class _Looks(Callback):
    """Keeps the best of the forecasts that a network makes while it is trained."""

    def __init__(
        self,
        forecast: Callable[[], Array],
        error: Callable[[Array], float],
        epochs: int,
        batches: int,
    ) -> None:
        self._forecast, self._error, self._batches = forecast, error, batches
        self._epochs = {math.ceil(epochs * k / LOOKS) - 1 for k in range(1, LOOKS + 1)}
        self.least, self.updates, self.best, self._since = np.inf, 0, np.zeros(0), 0

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> bool | None:
        """Look at the forecasts."""
        if epoch in self._epochs:
            forecast = self._forecast()
            error = self._error(forecast)
            self._since += 1
            if error < self.least:
                self.least, self.best = error, forecast
                self.updates, self._since = (epoch + 1) * self._batches, 0
        return self._since >= PATIENCE


@dataclass(kw_only=True, eq=False, repr=False)
class WindowNetwork(SeriesEstimator, NetworkEstimator):
    """What a forecaster's network is, learns from and says; parameters as for `Forecaster`."""

    strategy: str = parameter("direct", may_be.one_of("direct", "iterated", "seq2seq"), fixed=True)
    linear: bool = parameter(True, may_be.flag, fixed=True)
    standardize: bool = parameter(True, may_be.flag, fixed=True)
    network: Callable[[int, int], Layer] | None = parameter(None, may_be.function, fixed=True)

    _updates = 500

    def _ahead(self) -> int:
        """Return how many steps the network forecasts at once."""
        return 1 if self._fitted.strategy == "iterated" else int(self._fitted.horizon)

    def _epochs(self, batches: int) -> int:
        if self.max_iter is None and self._best_updates is not None:
            return max(1, math.ceil(self._best_updates / batches))
        return super()._epochs(batches)

    def _prepare(
        self,
        windows: Windows,
        places: Array,
        shares: dict[str, float],
        linear: bool,
        fitted: LinearMean | None = None,
    ) -> None:
        """Learn levels, and the linear path beside the network where there is to be one.

        `shares` are those of kinds of levels in the linear path; the network has the largest that
        it can have. `fitted` is a linear path that has learnt from the same places.
        """
        kind = likeliest(shares)
        self._levels = Levels(self, kind, self.standardize, windows.targets).fit(windows, places)
        self._best_updates: int | None = None
        self._beside: LinearMean | None = None
        self._left: Any = 1.0
        if linear and self._fitted.strategy != "seq2seq":
            if fitted is None or fitted.ahead != self._ahead():
                fitted = LinearMean(shares).fit(self, windows, places, self._ahead())
            self._beside = fitted
            some = places[:: max(1, len(places) // 1024)]
            squares = [np.square(self._targets_at(windows, c)) for c in windows.chunks(some)]
            deviation = np.sqrt(np.concatenate(squares).mean(axis=(0, 1)))
            self._left = np.where(deviation > 1e-6, deviation, 1.0)

    def _make(self) -> Sequential:
        """Return the network."""
        n_extra, n_static = self._counts
        n_features = self._n_inputs + self._ahead() * n_extra + n_static
        n_outputs = self._ahead() * len(self._target_columns)
        keeps_time = self._fitted.strategy == "seq2seq"
        if self.network is not None:
            model = Sequential(make_network(self, n_features, n_outputs))
        else:
            layers = self._recurrent_layers(n_features)
            width = next(x.out_size for x in reversed(layers) if x.out_size)
            last = [] if keeps_time else [Last(batch_first=True)]
            head = Linear(width, n_outputs, seed=self._seed())
            if self._beside is not None:  # it begins with nothing to say
                head.load_state_dict({k: 0.0 * v for k, v in head.state_dict().items()})
            model = Sequential(*layers, *last, head)
        check_network(self, model, n_outputs, keeps_time)
        ends = np.array([self._fitted.window])
        check_steps_left(self, model, ends)
        if keeps_time and (model.out_lengths(ends) == model.out_lengths(ends - 1)).any():
            raise ValueError(
                "Forecaster expected network to give an output at the last step of series, got "
                f"{model.out_lengths(ends)[0]} outputs from {ends[0]} steps"
            )
        return model

    def _learn(self, windows: Windows, places: Array, validation: Array, partial: bool) -> None:
        """Train the network on windows at places."""

        def take(some: Array, whole: Array) -> tuple[Array, Array]:
            return self._take(windows, some)

        trivial = None
        if self._beside is None and not partial:
            some = validation if len(validation) else places
            y = self._targets_at(windows, some[:: max(1, len(some) // 256)])
            trivial = float(np.var(y - y.mean(axis=0)))
        self._train(
            Batches(take, places, self.batch_size, self._seed()),
            losses.squared_error,
            validation=Batches(take, validation, self.batch_size) if len(validation) else None,
            partial=partial,
            trivial=trivial,
        )

    def _rehearse(
        self,
        windows: Windows,
        early: Array,
        test: Array,
        shares: dict[str, float],
        error: Callable[[Array], float],
    ) -> tuple[Array, int | None]:
        """Train a network on early windows only; return its best forecast at `test`.

        Also after how many updates that was; None where other parameters say how long training is.
        """
        horizon = int(self._fitted.horizon)
        twin = self._twin(self._seed(), early_stopping=False)
        for name in ("_fitted", "_counts", "_target_columns", "_n_inputs"):
            setattr(twin, name, getattr(self, name))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            twin._prepare(windows, early, shares, self.linear)
            batches = math.ceil(len(early) / self.batch_size)
            looks = _Looks(
                lambda: twin._network_forecast(windows, test, horizon),
                error,
                twin._epochs(batches),
                batches,
            )
            chosen = self.max_iter is None or self.early_stopping
            if chosen:
                twin.callbacks = [*twin.callbacks, looks]
            twin._start(twin._make())
            twin._learn(windows, early, early[:0], False)
        if chosen and looks.updates:
            return looks.best, None if self.early_stopping else looks.updates
        return twin._network_forecast(windows, test, horizon), None

    # ---- batches

    def _take(self, windows: Windows, places: Array) -> tuple[Array, Array]:
        """Return a batch: inputs and targets of the network."""
        x, ahead = windows.context(places), self._ahead()
        level, unit = self._levels.of(x)
        known, static = windows.known(places, ahead), windows.static(places)
        y = self._targets_at(windows, places)
        if self._fitted.strategy != "seq2seq":
            y = y.reshape(len(y), -1)
        if self._beside is not None:
            y = np.clip(y, -FURTHEST, FURTHEST)
        return self._inputs(x, known, static, level, unit), np.asarray(y, np.float32)

    def _targets_at(self, windows: Windows, places: Array) -> Array:
        """Return what the network is to say: (n, ahead, targets), or with "seq2seq" at each step.

        That is what the linear path leaves over, if there is one.
        """
        levels, ahead = self._levels, self._ahead()
        x, following = windows.context(places), windows.following(places, ahead)
        level, unit = levels.of(x)
        if self._fitted.strategy != "seq2seq":
            y = levels.target(following, level, unit)
            if self._beside is None:
                return y
            said = self._beside(x, windows.known(places, ahead), windows.static(places))
            return (y - levels.target(said, level, unit)) / self._left
        both = np.concatenate([x[..., windows.targets], following], axis=1)
        y, size = levels.target(both, level, unit), x.shape[1]
        y = np.concatenate([y[:, 1 + k : 1 + k + size] for k in range(ahead)], axis=2)
        # a convolution may give outputs at some steps only: each at the step it comes after
        outputs = self.model_.out_lengths(np.arange(1, size + 1))
        return y[:, np.searchsorted(outputs, np.arange(1, outputs[-1] + 1))]

    def _inputs(
        self, x: Array, known: Array | None, static: Array | None, level: Array, unit: Array
    ) -> Array:
        """Return what the network reads of windows."""
        levels = self._levels
        scaled = levels.scaled(x, level, unit)
        inputs = step_inputs(scaled, levels.known(known), levels.fixed(static), self._ahead())
        largest = max(inputs.max(initial=0.0), -inputs.min(initial=0.0))
        if not largest <= np.finfo(np.float32).max:
            raise ValueError(
                "Forecaster expected X of values that, scaled, float32 can hold, got values too "
                f"large: {largest:.3g}"
            )
        return np.asarray(inputs, np.float32)

    # ---- forecasts

    def _network_forecast(self, windows: Windows, places: Array, steps: int) -> Array:
        parts = [
            roll(self._network_block, windows, chunk, steps, self._ahead())
            for chunk in windows.chunks(places)
        ]
        return np.concatenate(parts)

    def _network_block(self, x: Array, known: Array | None, static: Array | None) -> Array:
        """Return the (n, ahead, targets) that follow windows, by the network."""
        levels = self._levels
        level, unit = levels.of(x)
        outputs = predict(self.model_, self._inputs(x, known, static, level, unit), None)
        if self._fitted.strategy == "seq2seq":
            outputs = outputs[:, -1]
        y = np.asarray(outputs, np.float64).reshape(len(x), self._ahead(), -1)
        if self._beside is not None:
            y = y * self._left + levels.target(self._beside(x, known, static), level, unit)
        return levels.inverse(y, level, unit)
