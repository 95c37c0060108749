"""Series as aeon, sktime and tslearn keep them, and as rnnfast does.

Here series are a (samples, time, features) array, or a list of (time, features) arrays where their
lengths differ. Which axis is which is never told from sizes: each format has a function of its
own, and what is not of this format raises. None of the libraries is imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from .files import joined

if TYPE_CHECKING:
    from ..arrays import Array

__all__ = ["from_aeon", "from_sktime", "from_tslearn", "to_aeon", "to_sktime", "to_tslearn"]


def from_aeon(X: Any) -> Array | list[Array]:
    """Return a collection of aeon's as rnnfast takes it; labels need no change.

    Parameters
    ----------
    X : collection
        * (samples, channels, time) array (aeon's "numpy3D");
        * list of (channels, time) arrays ("np-list") or DataFrames ("df-list");
        * (samples, time) array ("numpy2D") or DataFrame ("pd-wide");
        * DataFrame with an index of cases and times, and a column for each channel
          ("pd-multiindex").

    Returns
    -------
    (samples, time, channels) array, or list of (time, channels) arrays
        Views of X. NaN stays NaN.

    Raises
    ------
    TypeError, ValueError
        For anything else.
    """
    if _is_frame(X):
        if X.index.nlevels > 1:
            return _from_multiindex("from_aeon", X)
        X = X.to_numpy()
    if isinstance(X, np.ndarray) and X.ndim in (2, 3):
        _check_numbers("from_aeon", "X", X)
        return X.swapaxes(1, 2) if X.ndim == 3 else X[..., np.newaxis]
    if not isinstance(X, (list, tuple)):
        raise _wrong("from_aeon", "(samples, channels, time) or a list of (channels, time)", X)
    return [sample.T for sample in _samples("from_aeon", X, ("channels", "time"))]


def to_aeon(X: Any) -> Array | list[Array]:
    """Return series of ours as aeon takes them.

    Parameters
    ----------
    X : (samples, time, features) or (samples, time) array, or list of (time, features) or (time,)

    Returns
    -------
    (samples, channels, time) array, or list of (channels, time) arrays
        Views of X.

    Raises
    ------
    TypeError, ValueError
        For anything else.
    """
    series = _ours("to_aeon", X)
    return [s.T for s in series] if isinstance(series, list) else series.swapaxes(1, 2)


def from_sktime(X: Any) -> Array | list[Array]:
    """Return a panel of sktime's as rnnfast takes it; labels need no change.

    Times are left out: the steps of a sample count as equally far apart.

    Parameters
    ----------
    X : panel
        * (samples, channels, time) array (sktime's "numpy3D");
        * DataFrame with an index of samples and times, and a column for each channel
          ("pd-multiindex");
        * DataFrame with a series in each cell, and a column for each channel ("nested_univ");
        * list of DataFrames (time, channels) ("df-list").

    Returns
    -------
    (samples, time, channels) array, or list of (time, channels) arrays
        Views of X where it holds one block of numbers. NaN stays NaN.

    Raises
    ------
    TypeError, ValueError
        For anything else: an array or a DataFrame (time, channels) is one series to sktime, and
        ``x[np.newaxis]`` is that series as an array of ours.
    """
    if _is_frame(X):
        if X.index.nlevels > 1:
            return _from_multiindex("from_sktime", X)
        if X.size and all(dtype.kind == "O" for dtype in X.dtypes):
            return joined([_nested(i, row) for i, row in enumerate(X.to_numpy())])
    if isinstance(X, np.ndarray) and X.ndim == 3:
        _check_numbers("from_sktime", "X", X)
        return X.swapaxes(1, 2)
    if not isinstance(X, (list, tuple)) or not all(map(_is_frame, X)):
        raise _wrong(
            "from_sktime",
            "a panel: (samples, channels, time), a list of DataFrames (time, channels), or a "
            "DataFrame with an index of samples and times or with a series in each cell",
            X,
        )
    for i, frame in enumerate(X):
        _check_times("from_sktime", f"X[{i}]", frame.index)
    return _samples("from_sktime", X, ("time", "channels"))


def to_sktime(X: Any) -> Any:
    """Return series of ours as sktime takes them.

    Parameters
    ----------
    X : (samples, time, features) or (samples, time) array, or list of (time, features) or (time,)

    Returns
    -------
    (samples, channels, time) array, or DataFrame
        Of an array, a view of it ("numpy3D"); of a list, a frame with an index of samples and
        times, both counted from 0 ("pd-multiindex").

    Raises
    ------
    TypeError, ValueError
        For anything else.
    ImportError
        For a list, where pandas is missing.
    """
    series = _ours("to_sktime", X)
    if not isinstance(series, list):
        return series.swapaxes(1, 2)
    try:
        pandas = import_module("pandas")
    except ImportError as error:
        raise ImportError(
            "to_sktime makes a pandas.DataFrame of lists, as sktime does: pip install pandas"
        ) from error
    steps = [len(s) for s in series]
    samples, times = np.repeat(np.arange(len(series)), steps), np.concatenate([*map(range, steps)])
    index = pandas.MultiIndex.from_arrays([samples, times], names=["instances", "timepoints"])
    columns = [f"var_{i}" for i in range(series[0].shape[1])]
    return pandas.DataFrame(np.concatenate(series), index, columns)


def from_tslearn(X: Any) -> Array | list[Array]:
    """Return a dataset of tslearn's as rnnfast takes it; labels need no change.

    As in tslearn, steps of NaN alone at the end of a series are padding. Other NaN are missing
    values, and stay.

    Parameters
    ----------
    X : (samples, time, features) array

    Returns
    -------
    (samples, time, features) array, or list of (time, features) arrays
        Views of X. An array where all series are of one length.

    Raises
    ------
    TypeError, ValueError
        For anything else, and series without a step.
    """
    if not isinstance(X, np.ndarray) or X.ndim != 3:
        raise _wrong("from_tslearn", "(samples, time, features)", X)
    _check_numbers("from_tslearn", "X", X)
    ends = _ends(X)
    if not ends.all():
        raise ValueError(
            f"from_tslearn expected X of series with at least one step, got only NaN in "
            f"X[{np.argmin(ends)}]"
        )
    if (ends == ends[0]).all():
        return X[:, : ends[0]]
    return [sample[:end] for sample, end in zip(X, ends, strict=True)]


def to_tslearn(X: Any) -> Array:
    """Return series of ours as tslearn takes them.

    Parameters
    ----------
    X : (samples, time, features) or (samples, time) array, or list of (time, features) or (time,)

    Returns
    -------
    (samples, time, features) array
        Of an array, a view of it; of a list, a new array with NaN past the end of each series.

    Raises
    ------
    TypeError, ValueError
        For anything else, and for series that end in a step of NaN alone, which tslearn would take
        for padding.
    """
    series = _ours("to_tslearn", X)
    for i, sample in enumerate(series):
        if _ends(sample[np.newaxis])[0] != len(sample):
            raise ValueError(
                f"to_tslearn expected X of series that do not end in NaN, got such a one at X[{i}]"
            )
    return pad(series, np.nan)[0] if isinstance(series, list) else series


def pad(arrays: Sequence[Array], fill: float = 0) -> tuple[Array, Array | None]:
    """Return sequences (time, ...) as one array (samples, time, ...), and their lengths.

    Parameters
    ----------
    arrays : sequence of arrays
        At least one; alike but for their lengths.
    fill : float, default 0
        What stands past the end of each.

    Returns
    -------
    x : array
    lengths : (samples,) array of int, or None
        None where all are equal.
    """
    lengths = np.array([len(a) for a in arrays])
    shape = len(arrays), lengths.max(), *arrays[0].shape[1:]
    x = np.full(shape, fill, np.result_type(*arrays, fill))
    for row, array in zip(x, arrays, strict=True):
        row[: len(array)] = array
    return x, (None if (lengths == x.shape[1]).all() else lengths)


# ---- what comes in -----------------------------------------------------------------------------


def _is_frame(X: Any) -> bool:
    # pandas need not be there
    return hasattr(X, "iloc") and getattr(X, "ndim", None) == 2


def _wrong(owner: str, wanted: str, X: Any) -> Exception:
    if isinstance(X, np.ndarray):
        return ValueError(f"{owner} expected X as {wanted}, got an array of shape {X.shape}")
    got = f"a list of {type(X[0]).__name__}" if isinstance(X, list) and X else type(X).__name__
    return TypeError(f"{owner} expected X as {wanted}, got {got}")


def _check_numbers(owner: str, name: str, array: Array) -> None:
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{owner} expected {name} of real numbers, got {array.dtype}")
    if 0 in array.shape:
        raise ValueError(
            f"{owner} expected {name} of at least one sample, step and channel, got shape "
            f"{array.shape}"
        )


def _check_times(owner: str, name: str, times: Any) -> None:
    if not times.is_monotonic_increasing or not times.is_unique:
        raise ValueError(f"{owner} expected {name} with its times in order, each once")


def _samples(owner: str, X: Sequence[Any], axes: tuple[str, str]) -> list[Array]:
    """Return checked samples, arrays or frames with these axes, as arrays."""
    arrays = [sample.to_numpy() if _is_frame(sample) else sample for sample in X]
    if not arrays:
        raise ValueError(f"{owner} expected X of at least one sample, got none")
    wanted = f"({', '.join(axes)})"
    features = 1 - axes.index("time")
    for i, array in enumerate(arrays):
        if not isinstance(array, np.ndarray):
            raise TypeError(
                f"{owner} expected X[{i}] as an array {wanted}, got {type(array).__name__}"
            )
        if array.ndim != 2:
            raise ValueError(f"{owner} expected X[{i}] as {wanted}, got shape {array.shape}")
        _check_numbers(owner, f"X[{i}]", array)
        if array.shape[features] != arrays[0].shape[features]:
            raise ValueError(
                f"{owner} expected X[{i}] as {wanted} with {arrays[0].shape[features]} "
                f"{axes[features]}, as X[0] has, got shape {array.shape}"
            )
    return arrays


def _ours(owner: str, X: Any) -> Array | list[Array]:
    """Return series of ours as a (samples, time, features) array, or a list of (time, features)."""
    if isinstance(X, np.ndarray) and X.dtype != object:
        if X.ndim not in (2, 3):
            raise _wrong(owner, "(samples, time, features) or (samples, time)", X)
        _check_numbers(owner, "X", X)
        return X if X.ndim == 3 else X[..., np.newaxis]
    if not isinstance(X, (list, tuple, np.ndarray)):
        raise _wrong(owner, "an array, or a list of (time, features) arrays", X)
    columns = [s[:, np.newaxis] if isinstance(s, np.ndarray) and s.ndim == 1 else s for s in X]
    return _samples(owner, columns, ("time", "features"))


def _from_multiindex(owner: str, frame: Any) -> Array | list[Array]:
    values = frame.to_numpy()
    _check_numbers(owner, "X", values)
    if frame.index.nlevels != 2:
        raise ValueError(
            f"{owner} expected X with an index of samples and times, got one of "
            f"{frame.index.nlevels} levels"
        )
    samples = frame.index.codes[0]
    starts = np.flatnonzero(np.diff(samples, prepend=samples[0] - 1))
    if len(starts) != len(np.unique(samples)):
        raise ValueError(f"{owner} expected X with the rows of each sample next to each other")
    times = frame.index.get_level_values(1)
    ends = [*starts, len(values)]
    for start, end in pairwise(ends):
        name = f"sample {frame.index[start][0]} of X"
        _check_times(owner, name, times[start:end])
    if len(set(np.diff(ends))) == 1:
        return values.reshape(len(starts), -1, values.shape[1])
    return np.split(values, starts[1:])


def _nested(i: int, row: Any) -> Array:
    """Return row `i` of a frame with a series in each cell as (time, channels)."""
    cells = [np.asarray(cell) for cell in row]
    if {cell.ndim for cell in cells} != {1} or len({len(cell) for cell in cells}) != 1:
        raise ValueError(
            f"from_sktime expected X.iloc[{i}] of series of one length, got shapes "
            f"{[cell.shape for cell in cells]}"
        )
    indexed = [cell.index for cell in row if hasattr(cell, "iloc")]
    if any(not index.equals(indexed[0]) for index in indexed):
        raise ValueError(f"from_sktime expected X.iloc[{i}] of series with the same times")
    for index in indexed[:1]:
        _check_times("from_sktime", f"X.iloc[{i}]", index)
    sample = np.stack(cells, axis=-1)
    _check_numbers("from_sktime", f"X.iloc[{i}]", sample)
    return sample


def _ends(X: Array) -> Array:
    """Return where the padding of each sample of (samples, time, features) starts."""
    real = np.logical_not(np.isnan(X).all(axis=2))
    return np.where(real.any(axis=1), X.shape[1] - real[:, ::-1].argmax(axis=1), 0)
