"""What `fit` saw of its sequences, and whether a later X is of the same form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .numeric import as_array
from .tables import is_frame, plain

if TYPE_CHECKING:
    from ..arrays import Array


class SequenceForm(NamedTuple):
    """What `fit` saw of its X, that a later X is held against.

    Parameters
    ----------
    kind : {"cube", "columns", "list"}
        A (samples, time, features) array, a (samples, time) array, or a list.
    n_features : int
    steps : tuple of int
        Of the shortest and of the longest sample.
    names : list, optional
        Of the features.
    """

    kind: str
    n_features: int
    steps: tuple[int, int]
    names: list[Any] | None = None


def check_form(
    wanted: str, name: str, X: Any, x: Array, form: SequenceForm, seen: SequenceForm
) -> None:
    """Raise ValueError where X is not what the model of `fit` takes."""
    n, steps, features = x.shape
    flat, array = form.kind == "columns", as_array(X, name)
    if features != seen.n_features:
        raise ValueError(
            f"{wanted} of {seen.n_features} features at each step, as in fit, got {features}"
            f"{_axes_meant(array, name, X, x, form, seen.n_features)}"
        )
    if flat and seen.kind == "columns" and steps == 1 and n == seen.steps[0]:
        # as scikit-learn says it
        raise ValueError(
            f"X has 1 features, but {wanted.split()[0]} is expecting {n} features as input; "
            f"{array}.T is one sample of {n} steps"
        )
    one_step = form.steps == (1, 1) and seen.steps[0] > 1
    told_apart = seen.kind == "columns" if flat else not _are_scalars(X, form)
    if n > 1 and one_step and not told_apart:
        one, many = f"{array}[np.newaxis]", f"{array}[..., np.newaxis]"
        if not flat:
            one, many = f"[np.concatenate({name})]", f"np.stack({name})[..., np.newaxis]"
        raise ValueError(
            f"{wanted} of series of {seen.steps[0]} steps or more, as in fit, got {n} samples of "
            f"one step: {one} is one sample of {n} steps, {many} are {n} samples of one step"
        )
    low, high = seen.steps
    is_array = flat and not isinstance(X, (list, tuple))
    if is_array and seen.kind == "cube" and not low <= steps <= high:
        turned = f"; {array}.T are {steps} samples of {n} steps" if low <= n <= high else ""
        raise ValueError(
            f"{wanted} as (samples, time, features), or as (samples, {high}) with the steps of "
            f"fit, got shape ({n}, {steps}): {array}[..., np.newaxis] are {n} samples of {steps} "
            f"steps{turned}"
        )


def _axes_meant(
    array: str, name: str, X: Any, x: Array, form: SequenceForm, n_features: int
) -> str:
    """Return the call that makes X one of `n_features`, where another order of axes does."""
    n, steps, _ = x.shape
    if form.kind == "columns":
        if steps == n_features:
            return f"; {array}[np.newaxis] is one sample of {n} steps"
        return f"; {array}.T[np.newaxis] is one sample of {steps} steps" if n == n_features else ""
    if form.kind == "cube":
        call = f"; {array}.swapaxes(1, 2) puts the time before the features"
        return call if steps == n_features else ""
    if form.steps != (n_features,) * 2 or is_frame(X):
        return ""
    if _are_scalars(X, form):
        return f"; [np.stack({name})] is one sample of {n} steps"
    return f"; [s.T for s in {name}] puts the time before the features"


def _are_scalars(X: Any, form: SequenceForm) -> bool:
    """Whether X is a list of sequences without an axis of features."""
    return form.kind == "list" and all(np.ndim(plain(s)) == 1 for s in plain(X))
