"""A class for each step of each sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from scipy.special import softmax
from sklearn.utils import assert_all_finite
from sklearn.utils.multiclass import check_classification_targets

from ..datasets.formats import pad
from .classifier import ClassEstimator
from .sequences import plain, unpad

if TYPE_CHECKING:
    from ..layers.base import Array


@dataclass(kw_only=True, eq=False, repr=False)
class SequenceLabeler(ClassEstimator):
    """A class for each step of each sequence; softmax cross-entropy at all steps.

    ``y`` is a (samples, time) array, or for sequences of any lengths a list of 1-D arrays, a label
    for each step of X.

    Parameters
    ----------
    **parameters
        As for `SequenceEstimator` and `NetworkEstimator`. What `network` returns keeps the axis of
        time.

    Attributes
    ----------
    classes_ : (classes,) array

    Examples
    --------
    >>> from rnnfast import SequenceLabeler
    >>> X = [[0.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 1.0]]
    >>> y = [["a", "b", "b", "a"], ["b", "a", "a", "b"]]
    >>> SequenceLabeler(max_iter=100, random_state=0).fit(X, y).predict(X).tolist()
    [['a', 'b', 'b', 'a'], ['b', 'a', 'a', 'b']]
    """

    _keeps_time: ClassVar[bool] = True

    def _check_y(
        self, y: Any, x: Array, lengths: Array | None, reset: bool, classes: Any
    ) -> tuple[Array, int]:
        owner = type(self).__name__
        if y is None:
            raise ValueError(f"{owner} requires y to be passed, but the target y is None")
        labels = self._labels(y)
        ends = np.full(len(x), x.shape[1]) if lengths is None else lengths
        if [label.shape for label in labels] != [(n,) for n in ends]:
            raise ValueError(
                f"{owner} expected y with a label for each step of X, got "
                f"{[label.shape for label in labels][:5]} for {ends[:5]} steps in the first samples"
            )
        for i, label in enumerate(labels):
            assert_all_finite(label, input_name=f"y[{i}]")
        together = np.concatenate(labels)
        check_classification_targets(together)
        codes = self._encode(together, reset, classes)
        return pad(np.split(codes, np.cumsum(ends)[:-1]))[0], len(self.classes_)

    def predict_proba(self, X: Any) -> Any:
        """Return the probability of each class at each step.

        Parameters
        ----------
        X : sequences
            See the class.

        Returns
        -------
        (samples, time, classes) array, or list of (time, classes) arrays for a list
        """
        scores, lengths = self._outputs(X)
        return unpad(softmax(scores.astype(np.float64), axis=-1), lengths, X)

    def predict(self, X: Any) -> Any:
        """Return the most probable class at each step.

        Parameters
        ----------
        X : sequences
            See the class.

        Returns
        -------
        (samples, time) array, or list of (time,) arrays for a list
        """
        scores, lengths = self._outputs(X)
        return unpad(self.classes_[scores.argmax(axis=-1)], lengths, X)

    def score(self, X: Any, y: Any) -> float:
        """Return the share of all steps whose class is predicted.

        Parameters
        ----------
        X : sequences
        y : (samples, time) array_like, or list of 1-D arrays

        Returns
        -------
        float
        """
        owner, predicted, labels = type(self).__name__, self.predict(X), self._labels(y)
        if len(predicted) != len(labels):
            raise ValueError(
                f"{owner} expected y with labels for each of {len(predicted)} sequences, "
                f"got {len(labels)}"
            )
        for i, (one, other) in enumerate(zip(predicted, labels, strict=True)):
            if one.shape != other.shape:
                raise ValueError(
                    f"{owner} expected y[{i}] with a label for each of {len(one)} steps, "
                    f"got shape {other.shape}"
                )
        return float(np.mean(np.concatenate(list(predicted)) == np.concatenate(labels)))

    def _labels(self, y: Any) -> list[Array]:
        """Return the labels of each sequence as an array."""
        if not hasattr(y, "__len__"):
            raise TypeError(
                f"{type(self).__name__} expected y as the labels of each sequence, "
                f"got {type(y).__name__}"
            )
        return [np.asarray(sample) for sample in plain(y)]
