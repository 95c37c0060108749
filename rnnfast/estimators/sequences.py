"""Sequences as users give them, and as the engine takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import check_array

from ..datasets.formats import pad

if TYPE_CHECKING:
    from ..layers.base import Array

FLOATS = (np.float64, np.float32)  # converted to float32 only once they are standardised


def is_ragged(X: Any) -> bool:
    """Whether X is a list of sequences rather than one array, or nested lists of one."""
    X = plain(X)
    if isinstance(X, np.ndarray):
        return X.dtype == object and X.ndim == 1 and len(X) > 0 and np.ndim(X[0]) > 0
    if not isinstance(X, (list, tuple)) or not all(hasattr(s, "__len__") for s in X):
        return False
    return any(isinstance(s, np.ndarray) for s in X) or len({len(s) for s in X}) > 1


def plain(X: Any) -> Any:
    """Return X, of pandas or the like as an array: iterating a DataFrame gives its columns."""
    return X.to_numpy() if hasattr(X, "to_numpy") else X


def axes(X: Any) -> int:
    """Return the number of axes of an array_like that is not ragged."""
    return int(X.ndim if hasattr(X, "ndim") else np.asarray(X).ndim)


def check_sequences(owner: Any, X: Any, name: str = "X") -> tuple[Array, Array | None]:
    """Check sequences of real numbers.

    Parameters
    ----------
    owner : estimator
        For error messages.
    X : (samples, time, features) or (samples, time) array_like, or list of sequences

    Returns
    -------
    x : (samples, time, features) array of float32 or float64
        Zero past each sample's end.
    lengths : (samples,) array of int, or None
        None where all are equal.

    Raises
    ------
    TypeError, ValueError
        For anything else, sequences without steps and numbers that are not finite.
    """
    if is_ragged(X):
        x, lengths = pad(_all_steps(owner, name, plain(X), "fiub"))
        if not np.isfinite(x).all():
            raise ValueError(f"{_name(owner)} expected {name} of finite numbers, got NaN or inf")
        return x, lengths
    wanted = f"{_name(owner)} expected {name} as (samples, time, features) or (samples, time)"
    if axes(X) == 0:
        raise TypeError(f"{wanted}, got {type(X).__name__}")
    series = axes(X) == 3
    if axes(X) > 3 or (series and 0 in np.shape(X)[1:]):
        raise ValueError(f"{wanted} with at least one step and feature, got shape {np.shape(X)}")
    # in one order, as sums of other layouts round in other ways
    x = check_array(X, dtype=FLOATS, order="C", allow_nd=series, estimator=owner, input_name=name)
    return (x if series else x[..., np.newaxis]), None


def check_ids(owner: Any, X: Any, size: int) -> tuple[Array, Array | None]:
    """Check sequences of token ids from 0 to size - 1; as `check_sequences` otherwise.

    Returns
    -------
    ids : (samples, time) array of int
    lengths : (samples,) array of int, or None
    """
    x, lengths = pad(_all_steps(owner, "X", plain(X), "iu"))
    if x.shape[2] != 1:
        raise ValueError(
            f"{_name(owner)} expected a token id for each step, got {x.shape[2]} features"
        )
    if not 0 <= x.min() <= x.max() < size:
        raise ValueError(
            f"{_name(owner)} expected token ids from 0 to {size - 1}, got {x.min()} to {x.max()}"
        )
    return x[..., 0], lengths


def real_steps(x: Array, lengths: Array | None) -> Array:
    """Return the steps of all samples, (steps, ...)."""
    if lengths is None:
        return x.reshape(-1, *x.shape[2:])
    return x[np.arange(x.shape[1]) < lengths[:, np.newaxis]]


def unpad(y: Array, lengths: Array | None, like: Any) -> Any:
    """Return (samples, time, ...) as the sequences `like` were given: an array or a list."""
    if not is_ragged(like):
        return y
    ends = [y.shape[1]] * len(y) if lengths is None else lengths
    return [sample[:n] for sample, n in zip(y, ends, strict=True)]


def _all_steps(owner: Any, name: str, X: Any, kinds: str) -> list[Array]:
    """Return sequences as (time, features) arrays."""
    if not hasattr(X, "__len__"):
        raise TypeError(f"{_name(owner)} expected {name} as sequences, got {type(X).__name__}")
    arrays = [_steps(owner, f"{name}[{i}]", s, kinds) for i, s in enumerate(X)]
    if not arrays:
        raise ValueError(f"{_name(owner)} expected at least one sample, got none")
    for i, array in enumerate(arrays):
        if array.shape[1] != arrays[0].shape[1]:
            raise ValueError(
                f"{_name(owner)} expected {name}[{i}] of {arrays[0].shape[1]} features at each "
                f"step, as {name}[0] has, got {array.shape[1]}"
            )
    return arrays


def _steps(owner: Any, name: str, sequence: Any, kinds: str) -> Array:
    array = np.asarray(sequence)
    if array.dtype.kind not in kinds:
        wanted = "token ids (integers)" if kinds == "iu" else "real numbers"
        raise TypeError(f"{_name(owner)} expected {name} as {wanted}, got {array.dtype}")
    if array.ndim not in (1, 2) or array.size == 0:
        raise ValueError(
            f"{_name(owner)} expected {name} as (time, features) or (time,) with at least one "
            f"step and feature, got shape {array.shape}"
        )
    return array[:, np.newaxis] if array.ndim == 1 else array


def _name(owner: Any) -> str:
    return type(owner).__name__
