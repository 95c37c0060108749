"""Data frames of any library, told by what they can do: none of the libraries is imported."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..checks import name_of
from .numeric import to_floats

if TYPE_CHECKING:
    from ..arrays import Array

# names that long frames are read by, in order of preference; capitals make no difference
ID_NAMES = ("id", "unique_id", "series_id", "item_id", "case_id", "sample_id", "sample")
TIME_NAMES = ("time", "ds", "date", "timestamp", "datetime", "step", "time_idx")
VALUE_NAMES = ("y", "value", "target")


def is_frame(X: Any) -> bool:
    """Whether X is a data frame: of pandas, polars, pyarrow, or one that narwhals knows."""
    if isinstance(X, (np.ndarray, list, tuple)):
        return False
    if hasattr(X, "iloc"):
        return getattr(X, "ndim", None) == 2
    shape = getattr(X, "shape", None)
    return isinstance(shape, tuple) and len(shape) == 2 and hasattr(X, "columns")


def is_column(X: Any) -> bool:
    """Whether X is a column of a frame: a Series of pandas, polars, or the like."""
    if isinstance(X, (np.ndarray, list, tuple)) or is_frame(X):
        return False
    if hasattr(X, "iloc"):
        return getattr(X, "ndim", None) == 1
    return hasattr(X, "to_numpy") and len(getattr(X, "shape", ())) == 1


def is_pandas(X: Any) -> bool:
    """Whether X is a frame or column with an index, as those of pandas have."""
    return hasattr(X, "iloc") and hasattr(X, "index")


def as_table(X: Any) -> Any:
    """Return a Series with an index of ids and times as a frame, anything else as it is."""
    return X.to_frame() if is_column(X) and is_pandas(X) and X.index.nlevels > 1 else X


def refuse_times_first(owner: Any, X: Any, name: str) -> None:
    """Raise ValueError for an index of times and ids, in this order."""
    first, last = X.index.levels[0], X.index.levels[-1]
    if first.dtype.kind == "M" and last.dtype.kind not in "Mmiuf":
        raise ValueError(
            f"{name_of(owner)} expected {name} with ids before times in its index, got times "
            f"first; {name}.swaplevel().sort_index() puts them last"
        )


def plain(X: Any) -> Any:
    """Return X, of pandas or the like as an array: iterating a DataFrame gives its columns."""
    return X.to_numpy() if hasattr(X, "to_numpy") else X


def refuse_lazy(owner: Any, X: Any, name: str) -> None:
    """Raise TypeError for a frame whose rows are still to be computed."""
    call = None
    if hasattr(X, "collect") and hasattr(X, "collect_schema"):  # of polars and narwhals
        call = "collect"
    elif hasattr(X, "compute") and hasattr(X, "divisions"):  # of dask
        call = "compute"
    if call is not None:
        raise TypeError(
            f"{name_of(owner)} expected {name} with its rows at hand, got a lazy "
            f"{type(X).__name__}; {name}.{call}() computes them"
        )


def names_of(X: Any) -> list[Any]:
    """Return the names of a frame's columns."""
    return list(X.column_names if hasattr(X, "column_names") else X.columns)


def column(X: Any, name: Any) -> Any:
    """Return the column of a frame with this name, as its library has it."""
    if is_pandas(X):
        return X[name]
    if hasattr(X, "get_column"):
        return X.get_column(name)
    if hasattr(X, "column_names"):  # pyarrow's table
        return X.column(name)
    import narwhals

    return narwhals.from_native(X, eager_only=True).get_column(name)


def check_names(owner: Any, X: Any, name: str) -> list[Any]:
    """Return the names of a frame's columns; raise ValueError where two have the same one."""
    names = names_of(X)
    if len(set(names)) < len(names):
        twice = next(n for i, n in enumerate(names) if n in names[:i])
        raise ValueError(
            f"{name_of(owner)} expected {name} of columns with different names, got {twice!r} twice"
        )
    return names


def rows(owner: Any, X: Any, name: str, columns: Sequence[Any]) -> Array:
    """Return columns of a frame as a (rows, columns) array of float32 or float64."""
    if not columns:
        raise ValueError(
            f"{name_of(owner)} expected {name} of at least one column of numbers, got none"
        )
    known = dict(zip(X.columns, X.dtypes, strict=True)) if is_pandas(X) else {}
    dtypes = [known.get(c) for c in columns]
    if all(isinstance(d, np.dtype) and d.kind in "fiub" for d in dtypes):
        chosen = X if list(columns) == list(X.columns) else X[list(columns)]
        narrow = all(d == np.float32 for d in dtypes)
        return np.asarray(chosen.to_numpy(dtype=np.float32 if narrow else np.float64))
    for c in columns:
        if holds_sequences(column(X, c)):
            raise TypeError(
                f"{name_of(owner)} expected {name} of real numbers, got a series in each cell "
                f"of the column {c!r}; rnnfast.datasets.from_sktime({name}) reads such frames"
            )
    arrays = [to_floats(owner, column(X, c), f"{name}[{c!r}]") for c in columns]
    return np.stack(arrays, axis=1)


class LongNames(NamedTuple):
    """Columns of a long frame, a row for each step of each series."""

    id: Any
    time: Any
    values: list[Any]
    target: Any  # the column of `values` that is called so, or None


def long_names(X: Any) -> LongNames | None:
    """Return how to read a long frame, or None for any other frame.

    Long is a frame with a column named as ids are (`ID_NAMES`), and one named as times are
    (`TIME_NAMES`) or none that holds anything but numbers.
    """
    names = names_of(X)
    known = {str(n).lower(): n for n in reversed(names)}
    ids = [known[n] for n in ID_NAMES if n in known]
    times = [known[n] for n in TIME_NAMES if n in known]
    if not ids or not times:
        return None
    targets = [known[n] for n in VALUE_NAMES if n in known]
    values = [n for n in names if n not in (ids[0], times[0])]
    if targets:  # first, as what is forecast
        values = [targets[0]] + [n for n in values if n != targets[0]]
    return LongNames(ids[0], times[0], values, targets[0] if targets else None)


def time_column(X: Any) -> Any:
    """Return the name of the only column of dates of a frame without an index, or None."""
    if is_pandas(X):
        return None
    dates = [n for n in names_of(X) if _kind(column(X, n)) == "M"]
    if len(dates) == 1:
        return dates[0]
    known = {str(n).lower(): n for n in names_of(X)}
    times = [known[n] for n in TIME_NAMES if n in known]
    return times[0] if not dates and len(times) == 1 else None


def _kind(values: Any) -> str:
    dtype = getattr(values, "dtype", None)
    text = str(dtype if dtype is not None else getattr(values, "type", "")).lower()
    return "M" if text.startswith(("date", "timestamp", "<m8[")) else ""


def match_names(owner: Any, names: list[Any], seen: list[Any] | None, name: str) -> list[Any]:
    """Return the names of columns in the order of `fit`; a single column may have another name.

    Raises
    ------
    ValueError
        Where columns are missing or unknown; names them.
    """
    if seen is None or names == seen:
        return names
    if len(names) == len(seen) == 1:
        warnings.warn(
            f"{name_of(owner)}: the column {names[0]!r} of {name} is taken for that of fit, "
            f"{seen[0]!r}",
            UserWarning,
            stacklevel=8,
        )
        return names
    lost = [n for n in seen if n not in names]
    new = [n for n in names if n not in seen]
    if lost or new:
        got = [f"no {n!r}" for n in lost] + [f"{n!r} beside them" for n in new]
        raise ValueError(
            f"{name_of(owner)} expected {name} with the columns {seen}, as in fit, got "
            f"{', '.join(got)}"
        )
    return list(seen)


def group(owner: Any, ids: Any, name: str) -> tuple[list[Any], Array]:
    """Return the different ids in the order of their first rows, and the place of each row's."""
    each = listed(ids)
    places: dict[Any, int] = {}
    codes = np.fromiter((places.setdefault(i, len(places)) for i in each), np.int64, len(each))
    for one in places:
        if one is None or one != one or type(one).__name__ == "NAType":
            raise ValueError(
                f"{name_of(owner)} expected {name} with an id in each row, got {one!r} in row "
                f"{int(np.argmax(codes == places[one]))}"
            )
    if not places:
        raise ValueError(f"{name_of(owner)} expected {name} of at least one row, got none")
    return list(places), codes


def listed(values: Any) -> list[Any]:
    """Return a column as a list."""
    to_list = next(n for n in ("tolist", "to_list", "to_pylist") if hasattr(values, n))
    found: list[Any] = getattr(values, to_list)()
    return found


def rows_of_groups(codes: Array) -> list[Array]:
    """Return the rows of each group, by the places that `group` returns."""
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)


def pick(values: Any, which: Array) -> Any:
    """Return some entries of a column, or of an index of pandas, as its library has them."""
    if hasattr(values, "gather"):
        return values.gather(which)
    if hasattr(values, "get_indexer"):
        return values[which]
    return np.asarray(values.to_numpy())[which]


def holds_sequences(values: Any) -> bool:
    """Whether the cells of a Series hold sequences."""
    if not len(values) or str(getattr(values, "dtype", "")) not in ("object",):
        return str(getattr(values, "dtype", "")).startswith(("List", "Array"))
    first = values.iloc[0] if hasattr(values, "iloc") else values[0]
    return hasattr(first, "__len__") and not isinstance(first, (str, bytes))


def make_frame(like: Any, columns: dict[Any, Any], index: Any = None) -> Any:
    """Return a frame of the library that `like` comes from."""
    if is_pandas(like):
        import pandas

        frame = pandas.DataFrame(dict(enumerate(columns.values())), index=index)
        frame.columns = pandas.Index(list(columns))
        return frame
    if hasattr(like, "column_names"):
        return type(like).from_pydict(columns)
    module = sys.modules.get("polars")
    if module is not None and isinstance(like, module.DataFrame):
        return module.DataFrame(columns)
    import narwhals

    native = narwhals.from_native(like, eager_only=True)
    made = narwhals.from_dict(columns, backend=native.implementation)
    return made if isinstance(like, type(native)) else made.to_native()
