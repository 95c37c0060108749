"""A class for each step of each sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..datasets.formats import pad
from . import architecture
from . import constraints as may_be
from .arguments import check_order
from .classifier import ClassEstimator
from .constraints import parameter
from .numeric import is_missing, unmasked
from .sequences import is_ragged, unpad
from .tables import plain
from .times import TimesReader, has_times, refuse_unsorted

if TYPE_CHECKING:
    from ..arrays import Array


@dataclass(kw_only=True, eq=False, repr=False)
class SequenceLabeler(ClassEstimator):
    """A class for each step of each sequence; softmax cross-entropy at all steps.

    ``y`` is a (samples, time) array, or for sequences of any lengths a list of 1-D arrays, a label
    for each step of X; with another axis for several labels, or several outputs, of a step.

    Parameters
    ----------
    ignore_label : label, optional
        What stands in y for steps without a label: they do not count in the loss or the score.
        None and NaN always stand for that.
    **parameters
        As for `ClassEstimator`, `SequenceEstimator` and `NetworkEstimator`. What `network` returns
        keeps the axis of time.

    Attributes
    ----------
    classes_ : (classes,) array

    Examples
    --------
    >>> from rnnfast import SequenceLabeler
    >>> X = [[0.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 1.0]]
    >>> y = [["a", "b", "b", "a"], ["b", "a", "a", "b"]]
    >>> SequenceLabeler(random_state=0).fit(X, y).predict(X).tolist()
    [['a', 'b', 'b', 'a'], ['b', 'a', 'a', 'b']]
    """

    _recurrent: ClassVar[dict[str, Any]] = architecture.LABELS

    ignore_label: Any = parameter(None, may_be.Constraint("a label", lambda v: np.ndim(v) == 0))

    @property
    def _per_step(self) -> bool:
        return True

    def _check_y(
        self, y: Any, x: Array, lengths: Array | None, reset: bool, classes: Any = None
    ) -> Array:
        ends = np.full(len(x), x.shape[1]) if lengths is None else lengths
        together, counted = self._together(y, ends)
        if not counted.any():
            raise ValueError(f"{type(self).__name__} expected y with labels, got none at any step")
        some = self._learn_classes(together[counted], reset, classes)
        codes = np.full((len(together), *some.shape[1:]), -1, some.dtype)  # which weights leave out
        codes[counted] = some
        return pad(np.split(codes, np.cumsum(ends)[:-1]))[0]

    def _check_weight(
        self, sample_weight: Any, target: Array, x: Array, lengths: Array | None
    ) -> Array | None:
        weight = super()._check_weight(sample_weight, target, x, lengths)
        counted = target.reshape(*target.shape[:2], -1)[..., 0] >= 0
        if self.class_weight is None and counted.all():
            return weight
        steps = counted.astype(np.float64)
        if self.class_weight is not None:
            steps[counted] = self._classes.weights(self.class_weight, target[counted])
        return steps if weight is None else steps * weight[:, np.newaxis]

    def predict(self, X: Any, *, lengths: Any = None) -> Any:
        """Return the most probable class at each step.

        Parameters
        ----------
        X : sequences
            See the class.
        lengths : (samples,) array_like of int, optional
            As for `fit`.

        Returns
        -------
        (samples, time) array, or list of (time,) arrays for a list
            With another axis where y has one.
        """
        scores, n = self._outputs(X, lengths)
        return unpad(self._classes.decode(scores), n, X)

    def score(self, X: Any, y: Any, sample_weight: Any = None, *, lengths: Any = None) -> float:
        """Return the fraction of all steps with a label whose class is predicted.

        Parameters
        ----------
        X, y, lengths
            As for `fit`.
        sample_weight : (samples,) array_like, optional

        Returns
        -------
        float
        """
        check_order(self, X, sample_weight=sample_weight, lengths=lengths)
        scores, n = self._outputs(X, lengths)
        ends = np.full(len(scores), scores.shape[1]) if n is None else n
        together, counted = self._together(y, ends)
        predicted = self._classes.decode(scores)[np.arange(scores.shape[1]) < ends[:, np.newaxis]]
        self._classes.check_types(together[counted])
        right: Array = np.asarray(predicted == together)
        right = np.all(right.reshape(len(right), -1), axis=1)
        weights = None
        if sample_weight is not None:
            weights = np.repeat(np.asarray(sample_weight), ends)[counted]
        return float(np.average(right[counted], weights=weights))

    def _together(self, y: Any, ends: Array) -> tuple[Array, Array]:
        """Return the labels of all steps, and which of them are labels."""
        owner = type(self).__name__
        if y is None:
            raise ValueError(f"{owner} requires y to be passed, but the target y is None")
        if not hasattr(y, "__len__"):
            raise TypeError(f"{owner} expected y as the labels of each sequence, got {y!r}")
        ragged = is_ragged(y)
        read_times = TimesReader(self, regular=False)
        for i, sample in enumerate(y if ragged else ()):
            if has_times(sample):
                read_times(sample.index, f"y[{i}]")
        refuse_unsorted(self, read_times.unsorted)
        labels = [np.asarray(plain(unmasked(sample))) for sample in plain(y)]
        if len(labels) != len(ends):
            raise ValueError(
                f"{owner} expected y with labels for each of {len(ends)} sequences, "
                f"got {len(labels)}"
            )
        for i, label in enumerate(labels):
            # of a padded array, what follows the sample's end is not looked at
            if label.ndim == 0 or len(label) < ends[i] or (ragged and len(label) != ends[i]):
                raise ValueError(
                    f"{owner} expected y[{i}] with a label for each of the {ends[i]} steps of "
                    f"X[{i}], got shape {label.shape}"
                )
        parts = [label[:n] for label, n in zip(labels, ends, strict=True)]
        if len({part.dtype.kind for part in parts}) > 1:  # None beside words, say
            parts = [part.astype(object) for part in parts]
        together = np.concatenate(parts)
        counted: Array = _is_label(together)
        if self.ignore_label is not None:
            given = np.asarray(together == self.ignore_label)
            counted &= ~np.any(given.reshape(len(together), -1), axis=1)
        return _typed(together, counted), counted


def _is_label(labels: Array) -> Array:
    """Return which rows hold neither None nor NaN."""
    if labels.dtype == object:
        known = np.array([not is_missing(v) for v in labels.flat]).reshape(labels.shape)
    elif labels.dtype.kind == "f":
        known = ~np.isnan(labels)
    else:
        return np.ones(len(labels), bool)
    return np.asarray(known.reshape(len(labels), -1).all(axis=1))


def _typed(labels: Array, counted: Array) -> Array:
    """Return labels of objects in the type that those which count have by themselves."""
    if labels.dtype != object or not counted.any():
        return labels
    some = np.array(labels[counted].tolist())
    out = np.empty(labels.shape, some.dtype)
    out[counted] = some
    return out
