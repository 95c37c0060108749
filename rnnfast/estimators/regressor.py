"""Numbers for each sequence, or for each of its steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import r2_score
from sklearn.utils import check_array
from sklearn.utils.validation import check_consistent_length

from .. import losses
from . import constraints as may_be
from .arguments import check_order
from .bases import RegressorMixin
from .constraints import parameter
from .numeric import to_floats
from .scaling import Scaler
from .sequences import counts, is_ragged, is_step, read_sequences, unpad
from .supervised import SequenceEstimator

if TYPE_CHECKING:
    from ..arrays import Array

LOSSES: dict[str, Callable[..., Any]] = {
    "squared_error": losses.squared_error,
    "absolute_error": losses.absolute_error,
    "huber": losses.huber,
}


@dataclass(kw_only=True, eq=False, repr=False)
class SequenceRegressor(RegressorMixin, SequenceEstimator):
    """One or several numbers for each sequence, or for each step, by a recurrent network.

    The default network is that of `SequenceClassifier`; with a target for each step it is an LSTM.

    ``y`` is (samples,) or (samples, targets), or, with a target for each step, (samples, time),
    (samples, time, targets) or a list of (time,) or (time, targets) arrays. With `standardize` the
    network learns the standardised targets, and `loss_curve_` is in their units.

    Parameters
    ----------
    pooling : {"last", "mean", "max"}, optional
        As for `SequenceClassifier`; refused with a target for each step.
    loss : {"squared_error", "absolute_error", "huber"} or callable
        ``loss(prediction, target, lengths=None, weight=None) -> (value, gradient)``, as those of
        `rnnfast.losses`.
    per_step : bool, optional
        Whether y has a target for each step. Default: where y is a list of sequences, has three
        axes, or has two of which the second is as long as X has steps (more than one).
    **parameters
        As for `SequenceEstimator` and `NetworkEstimator`.

    Examples
    --------
    >>> from rnnfast import SequenceRegressor
    >>> X = [[0.1, 0.2], [0.3, 0.1, 0.2], [0.5], [0.0, 0.1, 0.1]]
    >>> y = [0.3, 0.6, 0.5, 0.2]
    >>> sums = SequenceRegressor(random_state=0).fit(X, y)
    >>> sums.score(X, y) > 0.9
    True
    """

    pooling: str | None = parameter(None, may_be.one_of("last", "mean", "max"), fixed=True)
    loss: str | Callable[..., Any] = parameter(
        "squared_error", may_be.one_of(*LOSSES), may_be.function
    )
    per_step: bool | None = parameter(None, may_be.flag, fixed=True)

    _trivial_answer = "the best number for all y alone"
    _told_by_scores = False

    @property
    def _per_step(self) -> bool:
        return self._steps_of_y

    def _check_y(
        self, y: Any, x: Array, lengths: Array | None, reset: bool, classes: Any = None
    ) -> Array:
        owner = type(self).__name__
        target = self._numbers(y)
        check_consistent_length(x, target)
        if reset:
            self._steps_of_y = (
                _is_per_step(y, target, x) if self.per_step is None else self.per_step
            )
            self._single = target.ndim == 1 + self._steps_of_y or (
                self._steps_of_y and is_ragged(y) and np.ndim(y[0]) == 1
            )
            self._y_scaler = Scaler(self, "y")
        if self._steps_of_y:
            self._check_ends(y, target, x, lengths)
            target = target.reshape(*target.shape[:2], -1)
        elif target.ndim > 2:
            raise ValueError(f"{owner} expected y of (samples, targets), got shape {target.shape}")
        else:
            target = target.reshape(len(target), -1)
        if reset:
            self._n_outputs = target.shape[-1]
        elif target.shape[-1] != self._n_outputs:
            raise ValueError(
                f"{owner} expected y of {self._n_outputs} targets, as in fit, "
                f"got {target.shape[-1]}"
            )
        return target

    def _numbers(self, y: Any) -> Array:
        """Return y as an array, padded where it is ragged."""
        owner = type(self).__name__
        if y is None:
            raise ValueError(f"{owner} requires y to be passed, but the target y is None")
        if is_ragged(y):
            return np.asarray(read_sequences(self, y, "y").values, np.float64)
        target = check_array(
            y if hasattr(y, "toarray") else to_floats(self, y, "y"),
            dtype=np.float64,
            order="C",
            ensure_2d=False,
            allow_nd=True,
            ensure_all_finite="allow-nan",
            estimator=self,
            input_name="y",
        )
        for place in np.argwhere(np.isnan(target))[:1].tolist():
            raise ValueError(
                f"{owner} expected y of finite numbers, got NaN or a masked value at y"
                f"[{', '.join(map(str, place))}]"
            )
        return target

    def _check_ends(self, y: Any, target: Array, x: Array, lengths: Array | None) -> None:
        """Raise ValueError unless y has a target for each step of X."""
        ends = np.full(len(x), x.shape[1]) if lengths is None else lengths
        given = [len(one) for one in y] if is_ragged(y) else None
        if given is None and target.ndim in (2, 3) and target.shape[1] == x.shape[1]:
            return
        if given is None or given != ends.tolist():
            got = f"shape {target.shape}" if given is None else f"{given[:5]} (the first ones)"
            raise ValueError(
                f"{type(self).__name__} expected y with a target for each of X's steps, "
                f"{ends[:5].tolist()} (the first ones), got {got}"
            )

    def _learn_scale(
        self, x: Array, target: Array, lengths: Array | None, weight: Array | None
    ) -> None:
        super()._learn_scale(x, target, lengths, weight)
        if self.standardize:
            if self._steps_of_y:
                real = counts(target, lengths, weight)
            else:
                real = None if weight is None else weight > 0.0
            self._y_scaler = self._y_scaler.updated(target, real)

    def _as_learnt(self, target: Array) -> Array:
        return self._y_scaler(target)

    def _loss(self) -> Callable[..., Any]:
        loss = LOSSES[self.loss] if isinstance(self.loss, str) else self.loss
        return partial(loss, batch_first=True) if self._steps_of_y else loss

    def _scores(self, target: Array) -> Array:
        return target

    def _constant(self, target: Array, weight: Array) -> Array:
        return np.average(target, axis=0, weights=weight)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def predict(self, X: Any, *, lengths: Any = None) -> Any:
        """Return the numbers of each sequence, or of each of its steps.

        Parameters
        ----------
        X : sequences
            See the class.
        lengths : (samples,) array_like of int, optional
            As for `fit`.

        Returns
        -------
        (samples,) or (samples, targets) array
            As y was; for each step (samples, time) or (samples, time, targets), or for a list a
            list of (time,) or (time, targets) arrays.
        """
        outputs, n = self._outputs(X, lengths)
        y = self._y_scaler.inverse(outputs)
        y = y[..., 0] if self._single else y
        return unpad(y, n, X) if self._steps_of_y else y

    def score(self, X: Any, y: Any, sample_weight: Any = None, *, lengths: Any = None) -> float:
        """Return R^2, the mean over targets; of all steps together where each has a target.

        Parameters
        ----------
        X, y, lengths
            As for `fit`.
        sample_weight : (samples,) array_like, optional

        Returns
        -------
        float
        """
        check_order(self, X, y=y, sample_weight=sample_weight, lengths=lengths)
        outputs, n = self._outputs(X, lengths)
        predicted, target = self._y_scaler.inverse(outputs), self._numbers(y)
        check_consistent_length(predicted, target)
        target = target.reshape(*target.shape[: 1 + self._steps_of_y], -1)
        if self._steps_of_y:
            real = is_step(predicted, n)
            real = np.ones(predicted.shape[:2], bool) if real is None else real
            self._check_ends(y, target, predicted, n)
            if sample_weight is not None:
                sample_weight = np.broadcast_to(np.reshape(sample_weight, (-1, 1)), real.shape)[
                    real
                ]
            predicted, target = predicted[real], target[real]
        return float(r2_score(target, predicted, sample_weight=sample_weight))


def _is_per_step(y: Any, target: Array, x: Array) -> bool:
    """Whether y has a target for each step, by its shape."""
    if is_ragged(y) or target.ndim == 3:
        return True
    return target.ndim == 2 and target.shape[1] == x.shape[1] > 1
