"""Real numbers as users give them: arrays, masked arrays, columns of frames, lists of objects."""

from __future__ import annotations

import datetime
import numbers
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import name_of

if TYPE_CHECKING:
    from ..arrays import Array

FLOATS = (np.float64, np.float32)  # converted to float32 only once they are standardised
# subclasses of ndarray whose meaning does not change with np.asarray
_ARRAYS = (np.ndarray, np.memmap, np.matrix)
_PLAIN = {float, bool, type(None), np.float64, np.float32, np.int64}  # None becomes NaN
_INSTEAD = {
    "M": "dates ({0}); (dates - dates[0]) / np.timedelta64(1, 's') makes seconds of them",
    "m": "time spans ({0}); spans / np.timedelta64(1, 's') makes seconds of them",
    "V": "records ({0})",
}


def to_floats(owner: Any, values: Any, name: str) -> Array:
    """Return real numbers as an array of float32 or float64, NaN where one is missing.

    Parameters
    ----------
    owner : estimator or str
        For errors.
    values : array_like
        Also of booleans, objects or nullable types, or masked. A masked entry is missing, whatever
        its data holds, and so are None and ``pandas.NA``.
    name : str
        How the user knows the values.

    Returns
    -------
    array of float32 or float64
        `values` itself where it is such an array.

    Raises
    ------
    TypeError
        For dates, strings, sparse arrays, and subclasses of ndarray with a meaning of their own.
    ValueError
        For complex numbers, and nested sequences of different lengths.
    """
    wanted = f"{name_of(owner)} expected {name} of real numbers"
    refuse_sparse(owner, values, name)
    if isinstance(values, np.ma.MaskedArray):
        return _from_masked(owner, values, name)
    dtype = getattr(values, "dtype", None)
    if isinstance(values, np.ndarray):
        if type(values) not in _ARRAYS:
            raise TypeError(
                f"{wanted}, got a {type(values).__name__}, an array with a meaning of its own; "
                f"np.asarray({name}) gives up that meaning"
            )
    elif isinstance(values, (list, tuple)):
        if _holds_masked(values):
            return _stack([to_floats(owner, v, f"{name}[{i}]") for i, v in enumerate(values)])
        try:
            values = np.asarray(values)
        except ValueError:
            raise ValueError(
                f"{wanted}, got nested sequences of different lengths or depths"
            ) from None
    elif dtype is not None and not isinstance(dtype, np.dtype):
        values = _from_extension(values, dtype, wanted)
    try:
        array = np.asarray(values)
    except ValueError:  # a GroupBy, which has a length and gives pairs
        got = type(values).__name__
        raise TypeError(f"{wanted}, got a {got}, which makes no array") from None
    kind = array.dtype.kind
    if kind in "fiub":
        return array if array.dtype in FLOATS else array.astype(np.float64)
    if kind == "O":
        return _from_objects(array, name, wanted)
    if kind == "c":
        raise ValueError(f"{wanted}, got {array.dtype}: Complex data not supported")
    if kind in "US" and array.size:
        raise TypeError(f"{wanted}, got strings ({array.dtype}){read_text_by(array.flat[0])}")
    raise TypeError(f"{wanted}, got {_INSTEAD.get(kind, '{0}').format(array.dtype)}")


def as_array(values: Any, name: str) -> str:
    """Return the expression for what the user calls `name`, as an array."""
    return name if isinstance(values, np.ndarray) else f"np.asarray({name})"


def refuse_sparse(owner: Any, values: Any, name: str) -> None:
    """Raise TypeError for an array of SciPy's that is sparse."""
    if hasattr(values, "toarray"):
        raise TypeError(
            f"{name_of(owner)} expected {name} as a dense array, got sparse data "
            f"({type(values).__name__}); {name}.toarray() makes it dense"
        )


def is_missing(value: Any) -> bool:
    """Whether a value stands for one that is not there: None, NaN, ``pandas.NA``, masked."""
    if value is None or value is np.ma.masked or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, (float, np.floating)) and bool(np.isnan(value))


def is_integer(value: Any) -> bool:
    """Whether a value is an integer, and no truth value."""
    return is_integer_type(type(value))


def is_integer_type(t: type) -> bool:
    """Whether values of a type are so."""
    return issubclass(t, numbers.Integral) and not issubclass(t, (bool, np.bool_))


def unmasked(values: Any) -> Any:
    """Return an array with None for its masked entries; anything else as it is."""
    if not isinstance(values, np.ma.MaskedArray) or not np.ma.getmaskarray(values).any():
        return values
    objects = np.array(values.data, dtype=object)
    objects[np.ma.getmaskarray(values)] = None
    return objects


def _from_masked(owner: Any, values: Any, name: str) -> Array:
    data, mask = np.asarray(values.data), np.ma.getmaskarray(values)
    if data.dtype.kind == "O":
        data = np.where(mask, np.nan, data)
    array = to_floats(owner, data, name)
    return np.where(mask, np.array(np.nan, array.dtype), array) if mask.any() else array


def _holds_masked(values: Sequence[Any]) -> bool:
    types = set(map(type, values))
    if any(issubclass(t, np.ma.MaskedArray) for t in types):
        return True
    return any(
        _holds_masked(v)
        for v in (values if types & {list, tuple} else ())
        if isinstance(v, (list, tuple))
    )


def _stack(arrays: list[Array]) -> Array:
    if len({array.shape for array in arrays}) > 1:
        raise ValueError("expected arrays of one shape")
    return np.stack(arrays)


def _from_extension(values: Any, dtype: Any, wanted: str) -> Array:
    """Return a column of pandas, polars or pyarrow whose type NumPy does not have."""
    text = str(dtype)
    if text == "category" or text.startswith(("Categorical", "Enum")):
        raise TypeError(
            f"{wanted}, got categories; pandas.get_dummies makes a column for each of them"
        )
    if getattr(dtype, "kind", None) in ("f", "i", "u", "b"):  # nullable types of pandas
        return np.asarray(values.to_numpy(dtype=np.float64, na_value=np.nan))
    return np.asarray(values.to_numpy() if hasattr(values, "to_numpy") else values)


def read_text_by(text: Any) -> str:
    """Return how to make numbers of text, as far as it holds numbers or dates."""
    try:
        float(text)
    except ValueError:
        pass
    else:
        return "; astype(float) reads numbers from text"
    try:
        datetime.datetime.fromisoformat(str(text))
    except ValueError:
        return ""
    return "; pandas.to_datetime reads dates from text, set_index makes them the times of rows"


def _from_objects(array: Array, name: str, wanted: str) -> Array:
    if set(map(type, array.flat)) <= _PLAIN:
        return array.astype(np.float64)
    floats = np.empty(array.shape)
    for place in np.ndindex(array.shape):
        value: Any = array[place]
        if is_missing(value):
            floats[place] = np.nan
            continue
        got = f"got {value!r} at {name}[{', '.join(map(str, place))}]"
        if isinstance(value, (str, bytes)):
            raise TypeError(f"{wanted}, {got}: a string{read_text_by(value)}")
        if isinstance(value, (datetime.date, datetime.time, np.datetime64)) or hasattr(
            value, "to_timestamp"
        ):
            raise TypeError(f"{wanted}, {got}: a date")
        if isinstance(value, numbers.Complex) and not isinstance(value, numbers.Real):
            raise ValueError(f"{wanted}, {got}: Complex data not supported")
        try:
            floats[place] = float(value)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{wanted}, {got}: {error}") from None
        except OverflowError:
            raise ValueError(f"{wanted} that float64 can hold, {got}") from None
    return floats
