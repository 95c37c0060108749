"""A class for each sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy.special import softmax
from sklearn.base import ClassifierMixin
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from .. import losses
from ..layers import Last, Pool, Sequential
from ..layers.sequential import steps_left
from .base import SequenceEstimator, predict
from .sequences import unpad

if TYPE_CHECKING:
    from ..layers.base import Array, Layer


@dataclass(kw_only=True, eq=False, repr=False)
class ClassEstimator(SequenceEstimator):
    """Estimators whose targets are classes."""

    _loss = staticmethod(losses.softmax_cross_entropy)
    _metrics: ClassVar[Any] = {"accuracy": losses.accuracy}

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Any:
        """Train for one epoch; as `fit` otherwise. There is no early stopping.

        Parameters
        ----------
        X, y
            As for `fit`.
        classes : (classes,) array_like, optional
            All classes that will ever come, at the first call; default those of its y.

        Returns
        -------
        self
        """
        return self._fit(X, y, self._continues(partial=True), partial=True, classes=classes)

    def _encode(self, labels: Array, reset: bool, classes: Any) -> Array:
        """Return the index in `classes_` of each label; with `reset`, learn `classes_` first."""
        if reset:
            self.classes_ = np.unique(labels if classes is None else classes)
        unknown = np.setdiff1d(labels, self.classes_)
        if unknown.size:
            raise ValueError(
                f"{type(self).__name__} expected y of the classes {self.classes_}, got {unknown}"
            )
        return np.searchsorted(self.classes_, labels)


@dataclass(kw_only=True, eq=False, repr=False)
class SequenceClassifier(ClassifierMixin, ClassEstimator):
    """A class for each sequence, by a recurrent network and softmax cross-entropy.

    Parameters
    ----------
    pooling : {"last", "mean", "max"}
        What of the recurrent layers' outputs the class is told from: the last step, or the mean
        or the maximum over all steps. A bidirectional network wants one of the latter two: at the
        last step its reverse half has read that step alone.
    **parameters
        As for `SequenceEstimator` and `NetworkEstimator`.

    Attributes
    ----------
    classes_ : (classes,) array

    Examples
    --------
    >>> from rnnfast import SequenceClassifier
    >>> X = [[0.0, 1.0, 2.0], [2.0, 1.0], [0.0, 2.0, 3.0, 4.0], [3.0, 0.0]]
    >>> y = ["up", "down", "up", "down"]
    >>> model = SequenceClassifier(max_iter=100, random_state=0).fit(X, y)
    >>> model.predict([[1.0, 2.0, 4.0, 5.0], [5.0, 4.0, 1.0]]).tolist()
    ['up', 'down']
    """

    pooling: str = "last"

    def _check_y(
        self, y: Any, x: Array, lengths: Array | None, reset: bool, classes: Any
    ) -> tuple[Array, int]:
        if reset:  # as predict_proba_steps asks
            self._reads_once = (
                self.network is None and not self.bidirectional and self.pooling == "last"
            )
        labels = column_or_1d(y, warn=True)
        assert_all_finite(labels, input_name="y")
        check_classification_targets(labels)
        check_consistent_length(x, labels)
        return self._encode(labels, reset, classes), len(self.classes_)

    def _strata(self, target: Array) -> Array:
        return target

    def _head(self, size: int, n_outputs: int) -> list[Layer]:
        return [pool(self, self.pooling), *super()._head(size, n_outputs)]

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class.

        Parameters
        ----------
        X : sequences
            See the class.

        Returns
        -------
        (samples, classes) array
            In the order of `classes_`.
        """
        return _probabilities(self._outputs(X)[0])

    def predict(self, X: Any) -> Array:
        """Return the most probable class of each sequence.

        Parameters
        ----------
        X : sequences
            See the class.

        Returns
        -------
        (samples,) array
        """
        scores, _ = self._outputs(X)
        return self.classes_[scores.argmax(axis=1)]

    def predict_proba_steps(self, X: Any) -> Any:
        """Return the belief at each step: the probabilities had the sequence ended there.

        A network that reads forwards and looks at the last step takes one pass; any other one
        runs once for each step.

        Parameters
        ----------
        X : sequences
            See the class.

        Returns
        -------
        (samples, time, classes) array, or list of (time, classes) arrays for a list
            NaN where a `network` of convolutions wants more steps than there were until then.
        """
        check_is_fitted(self)
        x, lengths = self._check_X(X, reset=False)
        x = self._scaled(x)
        if self._reads_once:
            layers = [layer for layer in self.model_.layers if not isinstance(layer, Last)]
            scores = predict(Sequential(*layers), x, lengths)
        else:
            ends = np.full(len(x), x.shape[1]) if lengths is None else lengths
            until = np.minimum(np.arange(1, x.shape[1] + 1)[:, np.newaxis], ends)
            scores = np.stack([predict(self.model_, x, n) for n in until], axis=1)
            scores[(steps_left(self.model_, until) < 1).T] = np.nan
        return unpad(_probabilities(scores), lengths, X)


def pool(owner: Any, pooling: str) -> Layer:
    """Return the layer of this name."""
    if pooling == "last":
        return Last(batch_first=True)
    if pooling not in ("mean", "max"):
        raise ValueError(
            f"{type(owner).__name__} expected pooling 'last', 'mean' or 'max', got {pooling!r}"
        )
    return Pool(pooling, batch_first=True)


def _probabilities(scores: Array) -> Array:
    return softmax(scores.astype(np.float64), axis=-1)
