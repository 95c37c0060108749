"""A class for each sequence."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.validation import check_consistent_length

from .. import losses
from ..layers import Last, Sequential
from ..layers.sequential import steps_left
from ..training import shared
from . import constraints as may_be
from .architecture import LABEL_SMOOTHING
from .arguments import check_order
from .base import predict
from .bases import ClassifierMixin
from .constraints import parameter
from .numeric import is_missing, refuse_sparse, unmasked
from .sequences import unpad
from .supervised import SequenceEstimator
from .tables import plain
from .targets import Classes
from .times import refuse_unsorted

if TYPE_CHECKING:
    from typing_extensions import Self

    from ..arrays import Array

LOSSES: dict[str, Callable[..., Any]] = {
    "cross_entropy": losses.softmax_cross_entropy,
    "focal": losses.focal_loss,
}


@dataclass(kw_only=True, eq=False, repr=False)
class ClassEstimator(SequenceEstimator):
    """Estimators whose targets are classes.

    Parameters
    ----------
    class_weight : dict or "balanced", optional
        How much each class counts in the loss: a weight for each label, or "balanced" for weights
        inversely proportional to the classes' frequencies, as in scikit-learn. Of several columns
        of y a list of dicts.
    loss : {"cross_entropy", "focal"} or callable
        ``loss(scores, target, lengths=None, weight=None) -> (value, gradient)``, as those of
        `rnnfast.losses`. Of several labels "cross_entropy" is that of each.
    """

    class_weight: Any = parameter(
        None,
        may_be.one_of("balanced"),
        may_be.Constraint(
            "a dict or a list of dicts", lambda v: isinstance(v, (dict, list, tuple))
        ),
    )
    loss: str | Callable[..., Any] = parameter(
        "cross_entropy", may_be.one_of(*LOSSES), may_be.function
    )

    _trivial_answer = "the classes' frequencies alone"

    def partial_fit(  # type: ignore[override]  # classes third, as in scikit-learn
        self,
        X: Any,
        y: Any,
        classes: Any = None,
        sample_weight: Any = None,
        *,
        lengths: Any = None,
        comm: Any = None,
    ) -> Self:
        """Train for one epoch; as `fit` otherwise. Nothing is held out.

        Parameters
        ----------
        X, y
            As for `fit`.
        classes : (classes,) array_like, or a list of these, optional
            All classes that will ever come, at the first call; default those of its y. Of several
            outputs a list, of several labels those of `classes_`.
        sample_weight, lengths, comm
            As for `fit`.

        Returns
        -------
        self
        """
        self._check_parameters()
        if self.class_weight == "balanced":  # as in scikit-learn
            raise ValueError(
                f"{type(self).__name__} expected class_weight as a dict in partial_fit, which does "
                f"not see all samples, got {self.class_weight!r}"
            )
        with shared(comm):
            return self._fit(X, y, sample_weight, lengths, partial=True, classes=classes)

    def _learn_classes(self, labels: Array, reset: bool, known: Any) -> Array:
        """Return codes of labels; with `reset`, learn the classes first."""
        if reset:
            self._classes = Classes(self, labels, known)
            self.classes_ = self._classes.classes_
            self._n_outputs = self._classes.n_outputs
        elif known is not None:
            self._classes.check_known(known)
        return self._classes.encode(labels)

    def _loss(self) -> Callable[..., Any]:
        one = LOSSES[self.loss] if isinstance(self.loss, str) else self.loss
        if self._automatic and self.loss == "cross_entropy":
            one = partial(one, label_smoothing=LABEL_SMOOTHING)
        if self._classes.kind == "labels":
            if self.loss == "focal":
                raise ValueError(
                    f"{type(self).__name__} expected loss as 'cross_entropy' or a function of "
                    "scores and targets 0 and 1, where y has several labels, got 'focal'"
                )
            one = losses.logistic if self.loss == "cross_entropy" else one
        loss = self._classes.loss(one)
        return partial(loss, batch_first=True) if self._per_step else loss

    def _metrics(self) -> Mapping[str, Callable[..., float]] | None:
        return {"accuracy": losses.accuracy} if self._classes.kind == "one" else None

    def _scores(self, target: Array) -> Array:
        return self._classes.scores(target)

    def _constant(self, target: Array, weight: Array) -> Array:
        return self._classes.constant(target, weight)

    def predict_proba(self, X: Any, *, lengths: Any = None) -> Any:
        """Return the probability of each class.

        Parameters
        ----------
        X : sequences
            See the class.
        lengths : (samples,) array_like of int, optional
            As for `fit`.

        Returns
        -------
        (samples, classes) array
            In the order of `classes_`; with a time axis before the last one where there is a label
            for each step, and then a list of arrays for a list. Of several labels, the probability
            that each holds; of several outputs, a list with such an array for each.
        """
        scores, n = self._outputs(X, lengths)
        probabilities = self._classes.probabilities(scores)
        if not self._per_step:
            return probabilities
        if self._classes.kind == "outputs":
            return [unpad(each, n, X) for each in probabilities]
        return unpad(probabilities, n, X)


@dataclass(kw_only=True, eq=False, repr=False)
class SequenceClassifier(ClassifierMixin, ClassEstimator):
    """A class for each sequence, by a recurrent network and softmax cross-entropy.

    The default network reads a series twice and adds the scores: by fixed convolutions
    (`MiniRocket`), or its numbers themselves, with an exact readout (ridge regression), and by
    convolutions and a bidirectional GRU trained by gradients; `history_`, `loss_curve_` and
    validation scores are of the latter. With any of `cell`, `hidden_size`, `num_layers`,
    `bidirectional`, `pooling` or `network`, for token ids, for less than 12 samples, and where
    `partial_fit` comes first, the network is recurrent layers alone.

    ``y`` is (samples,), or (samples, columns) for several labels, numbers 0 and 1 that say which
    hold, or several outputs, each with classes of its own.

    Parameters
    ----------
    pooling : {"last", "mean", "max"}, optional
        What of the recurrent layers' outputs the class is told from: the last step (of the reverse
        direction where that ends, at the first step), or the mean or the maximum over all steps.
    **parameters
        As for `ClassEstimator`, `SequenceEstimator` and `NetworkEstimator`.

    Attributes
    ----------
    classes_ : (classes,) array
        Of several outputs a list of such arrays.

    Examples
    --------
    >>> from rnnfast import SequenceClassifier
    >>> X = [[0.0, 1.0, 2.0], [2.0, 1.0], [0.0, 2.0, 3.0, 4.0], [3.0, 0.0]]
    >>> y = ["up", "down", "up", "down"]
    >>> model = SequenceClassifier(random_state=0).fit(X, y)
    >>> model.predict([[1.0, 2.0, 4.0, 5.0], [5.0, 4.0, 1.0]]).tolist()
    ['up', 'down']
    """

    pooling: str | None = parameter(None, may_be.one_of("last", "mean", "max"), fixed=True)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        tags.target_tags.multi_output = True
        return tags

    def _check_y(
        self, y: Any, x: Array, lengths: Array | None, reset: bool, classes: Any = None
    ) -> Array:
        labels = _labels(type(self).__name__, y)
        check_consistent_length(x, labels)
        if reset and labels.ndim == 2 and labels.shape[1] == x.shape[1] > 1:
            warnings.warn(
                f"{type(self).__name__}: y has a column for each of the {x.shape[1]} steps of X; "
                "these are learnt as labels of the whole sequence. SequenceLabeler learns a label "
                "of each step",
                UserWarning,
                stacklevel=4,
            )
        return self._learn_classes(labels, reset, classes)

    def _strata(self, target: Array) -> Array | None:
        return target if target.ndim == 1 else None

    def _check_weight(
        self, sample_weight: Any, target: Array, x: Array, lengths: Array | None
    ) -> Array | None:
        weight = super()._check_weight(sample_weight, target, x, lengths)
        if self.class_weight is None:
            return weight
        factor = self._classes.weights(self.class_weight, target)
        return factor if weight is None else factor * weight

    def predict(self, X: Any, *, lengths: Any = None) -> Array:
        """Return the most probable class of each sequence.

        Parameters
        ----------
        X : sequences
            See the class.
        lengths : (samples,) array_like of int, optional
            As for `fit`.

        Returns
        -------
        (samples,) array, or (samples, columns) as y was
        """
        scores, _ = self._outputs(X, lengths)
        return self._classes.decode(scores)

    def score(self, X: Any, y: Any, sample_weight: Any = None, *, lengths: Any = None) -> float:
        """Return the fraction of sequences whose class, or whole row of y, is predicted.

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
        labels, predicted = _labels(type(self).__name__, y), self.predict(X, lengths=lengths)
        check_consistent_length(predicted, labels, sample_weight)
        self._classes.check_types(labels)
        right = labels == predicted
        if right.ndim == 2:
            right = right.all(axis=1)
        return float(np.average(right, weights=sample_weight))

    def predict_proba_steps(self, X: Any, *, lengths: Any = None) -> Any:
        """Return the belief at each step: the probabilities had the sequence ended there.

        A network that reads forwards and looks at the last step takes one pass; any other one
        runs once for each step.

        Parameters
        ----------
        X : sequences
            See the class.
        lengths : (samples,) array_like of int, optional
            As for `fit`.

        Returns
        -------
        (samples, time, classes) array, or list of (time, classes) arrays for a list
            NaN where a `network` of convolutions wants more steps than there were until then.
        """
        self._check_fitted()
        x, n = self._check_X(X, lengths, reset=False)
        refuse_unsorted(self, self._unsorted)
        if self._reads_once():
            layers = [layer for layer in self.model_.layers if not isinstance(layer, Last)]
            scores = predict(Sequential(*layers), x, n, self._prepared)
        else:
            ends = np.full(len(x), x.shape[1]) if n is None else n
            until = np.minimum(np.arange(1, x.shape[1] + 1)[:, np.newaxis], ends)
            each = [predict(self.model_, x, stop, self._prepared) for stop in until]
            scores = np.stack(each, axis=1)
            scores[(steps_left(self.model_, until) < 1).T] = np.nan
        return unpad(self._classes.probabilities(scores), n, X)

    def _reads_once(self) -> bool:
        fixed = self._fixed
        return (
            not self._automatic
            and fixed["network"] is None
            and not fixed["bidirectional"]
            and fixed["pooling"] in (None, "last")
        )


def _labels(owner: str, y: Any) -> Array:
    """Return labels as an array (N,) or (N, columns)."""
    if y is None:
        raise ValueError(f"{owner} requires y to be passed, but the target y is None")
    refuse_sparse(owner, y, "y")
    y = plain(y)
    try:
        labels = np.asarray(unmasked(y))
    except ValueError:  # ragged
        labels = np.array([None, *y], object)[1:]
    if labels.dtype == object and labels.ndim == 1 and len(labels) and np.ndim(labels[0]):
        raise ValueError(
            f"{owner} expected y with a label for each sample, or a column for each label that may "
            "hold (sklearn.preprocessing.MultiLabelBinarizer makes these), got lists of labels; "
            "SequenceLabeler learns a label for each step"
        )
    if labels.ndim > 2:
        raise ValueError(
            f"{owner} expected y as (samples,) or (samples, columns), got shape {labels.shape}; "
            "SequenceLabeler learns a label for each step"
        )
    if labels.ndim != 2 or labels.shape[1] == 1:
        labels = column_or_1d(labels, warn=True)
    if labels.dtype.kind in "Of":
        missing = [i for i, label in enumerate(labels.flat) if is_missing(label)]
        if missing:
            i = missing[0] // max(labels[0].size if labels.ndim > 1 else 1, 1)
            raise ValueError(f"{owner} expected y with a label for each sample, got none at y[{i}]")
    assert_all_finite(labels, input_name="y")
    return labels
