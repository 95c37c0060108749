"""Classes as the network learns them: one, several labels, or several outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit, softmax
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from . import constraints as may_be

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..arrays import Array

    Loss = Callable[..., tuple[float, Array]]

_KINDS = {**dict.fromkeys("biuf", "numbers"), "U": "text", "S": "bytes"}


class Classes:
    """The classes of labels, and what a network's outputs say about them.

    Parameters
    ----------
    owner : estimator
        For errors.
    labels : (N,) array, or (N, outputs) array
        One column of numbers 0 and 1 an output makes several labels, which hold or do not; other
        columns are classes, one output each.
    known : (classes,) array_like, optional
        All classes that will come, beyond those of `labels`.

    Attributes
    ----------
    kind : {"one", "labels", "outputs"}
    classes_ : (classes,) array, or a list of these for each output
        As scikit-learn's estimators have it.
    n_outputs : int
        Of the network.
    """

    def __init__(self, owner: Any, labels: Array, known: Any = None) -> None:
        self._owner = type(owner).__name__
        try:
            check_classification_targets(labels)
        except ValueError:  # with scikit-learn's words first, which others look for
            kind = type_of_target(labels)
            raise ValueError(
                f"Unknown label type: {kind}. {self._owner} expected y of classes (words or whole "
                "numbers), got others; SequenceRegressor learns numbers, of sequences or of steps"
            ) from None
        if labels.ndim == 1:
            self.kind = "one"
            self._each = [np.unique(labels if known is None else np.asarray(known))]
        elif type_of_target(labels) == "multilabel-indicator":
            self.kind = "labels"
            self._each = [np.array([0, 1])] * labels.shape[1]
        else:
            self.kind = "outputs"
            self._each = self._outputs(labels, known)
        self.columns = None if labels.ndim == 1 else labels.shape[1]
        sizes = [len(each) for each in self._each]
        self.n_outputs = len(sizes) if self.kind == "labels" else sum(sizes)
        self._ends = np.cumsum(sizes)[:-1]
        if known is not None:
            self.check_known(known)

    def _outputs(self, labels: Array, known: Any) -> list[Array]:
        """Return the classes of each output."""
        if known is None:
            return [np.unique(column) for column in labels.T]
        if len(known) != labels.shape[1] or any(np.ndim(each) != 1 for each in known):
            raise ValueError(
                f"{self._owner} expected classes as a list with the classes of each of the "
                f"{labels.shape[1]} columns of y, got {known!r:.80}"
            )
        return [np.unique(each) for each in known]

    def check_known(self, known: Any) -> None:
        """Raise ValueError unless these are all classes."""
        several = self.kind == "outputs"
        pairs = zip(known, self._each, strict=False) if several else [(known, self.classes_)]
        if (several and len(known) != len(self._each)) or not all(
            np.array_equal(np.unique(a), b) for a, b in pairs
        ):
            raise ValueError(
                f"{self._owner} expected classes {self.classes_}, as at the first call, got "
                f"{known!r:.80}"
            )

    @property
    def classes_(self) -> Any:
        """The classes, as scikit-learn has them."""
        if self.kind == "labels":
            return np.arange(len(self._each))
        return self._each[0] if self.kind == "one" else self._each

    def check_types(self, labels: Array) -> None:
        """Raise TypeError for labels of a type that no class is of, such as text beside numbers."""
        for column, classes in zip(np.atleast_2d(labels.T), self._each, strict=False):
            known, found = _types(classes), _types(column)
            if not found <= known:
                raise TypeError(
                    f"{self._owner} expected y as {' or '.join(sorted(known))}, of the classes "
                    f"{classes}, got {' and '.join(sorted(found - known))}, {column.tolist()[:3]} "
                    "first"
                )

    def encode(self, labels: Array) -> Array:
        """Return targets of `loss`: (N,) or (N, outputs) int, or (N, labels) float32."""
        columns = None if labels.ndim == 1 else labels.shape[1]
        if columns != self.columns:
            raise ValueError(
                f"{self._owner} expected y of {_columns(self.columns)}, as in fit, got "
                f"{_columns(columns)}"
            )
        self.check_types(labels)
        codes = [
            self._codes(column, classes)
            for column, classes in zip(np.atleast_2d(labels.T), self._each, strict=True)
        ]
        if self.kind == "one":
            return codes[0]
        return np.stack(codes, axis=1).astype(np.float32 if self.kind == "labels" else np.int32)

    def _codes(self, labels: Array, classes: Array) -> Array:
        unknown = np.setdiff1d(labels, classes)
        if unknown.size:
            raise ValueError(f"{self._owner} expected y of the classes {classes}, got {unknown}")
        return np.searchsorted(classes, labels).astype(np.int32)  # half of what is kept

    def loss(self, of_classes: Loss) -> Loss:
        """Return the loss of scores (..., n_outputs), given that of one output, or of labels."""
        if self.kind != "outputs":
            return of_classes

        def together(
            scores: Array, codes: Array, *args: Any, **options: Any
        ) -> tuple[float, Array]:
            value, gradients = 0.0, []
            for i, part in enumerate(np.split(scores, self._ends, axis=-1)):
                one, gradient = of_classes(
                    np.ascontiguousarray(part), codes[..., i], *args, **options
                )
                value += one
                gradients.append(gradient)
            return value, np.concatenate(gradients, axis=-1)

        return together

    def scores(self, codes: Array) -> Array:
        """Return (N, n_outputs) numbers, 1 for the classes that hold and -1 for the others."""
        if self.kind == "labels":
            return 2.0 * codes.astype(np.float64) - 1.0
        columns = zip(np.atleast_2d(codes.T), self._each, strict=True)
        held = [column[:, np.newaxis] == np.arange(len(classes)) for column, classes in columns]
        return 2.0 * np.concatenate(held, axis=1) - 1.0

    def constant(self, codes: Array, weights: Array) -> Array:
        """Return the scores (n_outputs,) of the classes' frequencies."""
        if self.kind == "labels":
            p = np.average(codes, axis=0, weights=weights)
            with np.errstate(divide="ignore"):
                return np.clip(np.log(p) - np.log1p(-p), -30.0, 30.0)
        shares = []
        for column, classes in zip(np.atleast_2d(codes.T), self._each, strict=True):
            counts = np.bincount(column, weights, len(classes))
            shares.append(counts / counts.sum())
        return np.log(np.maximum(np.concatenate(shares), 1e-13))

    def weights(self, class_weight: Any, codes: Array) -> Array:
        """Return the weight (N,) that `class_weight` gives each of N codes."""
        if self.kind == "one":
            return self._column_weights(class_weight, codes, 0)
        several = not isinstance(class_weight, str)
        if several and (
            not isinstance(class_weight, (list, tuple)) or len(class_weight) != len(self._each)
        ):
            raise ValueError(
                f"{self._owner} expected class_weight as 'balanced' or a list of {len(self._each)} "
                f"dicts, one for each column of y, got {class_weight!r}"
            )
        factors = [
            self._column_weights(class_weight[i] if several else class_weight, column, i)
            for i, column in enumerate(codes.astype(np.int64).T)
        ]
        return np.prod(factors, axis=0)

    def _column_weights(self, class_weight: Any, codes: Array, column: int) -> Array:
        classes = self._each[column]
        if not isinstance(class_weight, dict) and class_weight != "balanced":
            raise ValueError(
                f"{self._owner} expected class_weight as 'balanced' or a dict of the classes' "
                f"weights, got {class_weight!r}"
            )
        if isinstance(class_weight, dict):
            for name, value in class_weight.items():
                if not may_be.not_negative.holds(value):
                    raise ValueError(
                        f"{self._owner} expected class_weight of finite numbers >= 0, got "
                        f"{value!r} for {name!r}"
                    )
            unknown = [name for name in class_weight if name not in classes.tolist()]
            if unknown:
                raise ValueError(
                    f"{self._owner} expected class_weight for the classes {classes}, got {unknown}"
                )
            return np.array([class_weight.get(c, 1.0) for c in classes.tolist()], float)[codes]
        present = np.unique(codes)
        weights = np.ones(len(classes))
        weights[present] = compute_class_weight(class_weight, classes=present, y=codes)
        return weights[codes]

    def probabilities(self, scores: Array) -> Any:
        """Return probabilities (..., classes); of several outputs a list of these."""
        scores = scores.astype(np.float64)
        if self.kind == "labels":
            return expit(scores)
        parts = [softmax(part, axis=-1) for part in np.split(scores, self._ends, axis=-1)]
        return parts[0] if self.kind == "one" else parts

    def decode(self, scores: Array) -> Array:
        """Return the most probable labels (...) or (..., outputs)."""
        if self.kind == "labels":
            return (scores > 0.0).astype(np.int64)
        parts = [
            classes[part.argmax(axis=-1)]
            for part, classes in zip(np.split(scores, self._ends, axis=-1), self._each, strict=True)
        ]
        return parts[0] if self.kind == "one" else np.stack(parts, axis=-1)


def _types(labels: Array) -> set[str]:
    """Return what labels are: numbers, text or others; only those of one kind are ever equal."""
    if labels.dtype != object:
        return {_KINDS.get(labels.dtype.kind, str(labels.dtype))}
    return {_KINDS.get(np.dtype(t).kind, t.__name__) for t in set(map(type, labels))}


def _columns(columns: int | None) -> str:
    return "one axis" if columns is None else f"{columns} columns"
