"""Arguments as other libraries have them: taken for what they mean there, or refused by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..checks import name_of
from .numeric import to_floats
from .tables import (
    ID_NAMES,
    check_names,
    column,
    is_column,
    is_frame,
    is_pandas,
    listed,
    long_names,
    match_names,
    plain,
    rows,
)

if TYPE_CHECKING:
    from ..arrays import Array
    from .forms import SeriesSet


class Static(NamedTuple):
    """Features of each series that do not change: (series, features), and their names."""

    values: Array
    names: list[Any] | None = None


def read_static(
    owner: Any, static: Any, series: SeriesSet, seen: list[Any] | None = None
) -> Static | None:
    """Read features of each series that do not change.

    Parameters
    ----------
    owner : estimator
        For errors.
    static : (series, features) array_like, or frame
        A frame whose rows are named, by a column of ids or an index that is no count, gives each
        series that has an id its row; columns are matched by name. Of others a row for each
        series, in their order.
    series : SeriesSet
    seen : list, optional
        Names of the columns in `fit`.

    Raises
    ------
    TypeError, ValueError
        For anything else, and what is not finite; names series and column.
    """
    if static is None:
        return None
    wanted, n = f"{name_of(owner)} expected static", len(series.values)
    names, ids = None, None
    if is_frame(static):
        names = check_names(owner, static, "static")
        id_column = next((c for c in names if str(c).lower() in ID_NAMES), None)
        if id_column is not None:
            names.remove(id_column)
            ids = list(plain(column(static, id_column)))
        names = match_names(owner, names, seen, "static")
        array = np.asarray(rows(owner, static, "static", names), np.float64)
    else:
        array = np.asarray(to_floats(owner, static, "static"), np.float64)
        array = array.reshape(n, -1) if array.ndim == 1 and len(array) == n else array
    if ids is None and is_pandas(static) and not _counts(static.index):
        ids = list(static.index)
    if array.ndim != 2 or (ids is None and len(array) != n):
        raise ValueError(
            f"{wanted} of shape ({n}, features), a row for each series, got shape {array.shape}"
        )
    if ids is not None and series.ids is not None:
        places = {one: i for i, one in enumerate(ids)}
        if len(places) < len(ids):
            raise ValueError(f"{wanted} with one row for each series, got several of one id")
        lost = [one for one in series.ids if one not in places]
        if lost:
            raise ValueError(f"{wanted} of each series, got none of {lost[0]!r}")
        array = array[[places[one] for one in series.ids]]
    elif len(array) != n:
        raise ValueError(f"{wanted} of {n} rows, one for each series, got {len(array)}")
    if not np.isfinite(array).all():
        i, k = np.argwhere(~np.isfinite(array))[0]
        where = f"column {k}" if names is None else f"the column {names[k]!r}"
        raise ValueError(f"{wanted} of finite numbers, got {array[i, k]} in row {i}, {where}")
    return Static(array, names)


def check_order(owner: Any, X: Any, **beside: Any) -> None:
    """Raise ValueError where Series name the samples, in different orders.

    Parameters
    ----------
    owner : estimator
        For errors.
    X : sequences
        A frame or Series whose index names its samples, or a long frame. An index that counts names
        nothing; then what is given beside X is compared with each other.
    **beside : object
        What is given for each sample, by the name of the argument.
    """
    labelled = {n: v for n, v in beside.items() if is_pandas(v) and not _counts(v.index)}
    if not labelled:
        return
    long = long_names(X) if is_frame(X) else None
    ids, order = [], "X.index"
    if long is not None:
        ids, order = list(dict.fromkeys(listed(column(X, long.id)))), "ids"
    elif is_pandas(X) and X.index.nlevels > 1:
        ids = list(dict.fromkeys(listed(X.index.droplevel(-1))))
    elif is_pandas(X) and not _counts(X.index):
        ids = listed(X.index)
    else:
        first = next(iter(labelled))
        ids, order = listed(labelled[first].index), f"{first}.index"
    for name, values in labelled.items():
        own = listed(values.index)
        if len(own) == len(ids) and own != ids and set(own) == set(ids):
            of = "X" if order in ("ids", "X.index") else order.removesuffix(".index")
            raise ValueError(
                f"{name_of(owner)} expected {name} in the order of the samples of {of}, "
                f"{ids[:3]} first, got {own[:3]} first; {name}.loc[{order}] has that order"
            )


def check_validation(owner: Any, given: Any) -> Any:
    """Return validation_data, which is a pair or a triple; its entries are still to be checked."""
    if not isinstance(given, (tuple, list)) or len(given) not in (2, 3):
        raise ValueError(
            f"{name_of(owner)} expected validation_data as (X, y) or (X, y, sample_weight), got "
            f"{type(given).__name__}"
        )
    return given


def _counts(index: Any) -> bool:
    return type(index).__name__ == "RangeIndex"


def second_argument(owner: Any, X: Any, y: Any, exogenous: Any) -> tuple[Any, Any]:
    """Return what the second argument is: exogenous values, or targets of windows."""
    if y is None:
        return exogenous, None
    name, horizon = name_of(owner), owner.horizon
    if isinstance(y, (str, bytes)) or not hasattr(y, "__len__"):
        raise TypeError(
            f"{name} expected y as exogenous values of the steps of X, or targets of windows "
            f"X, got {y!r}"
        )
    framed = is_frame(X) or is_column(X)
    if owner.panel != "columns":
        _refuse_target(owner, X, y)
    shape, of_y = _shape(X), _shape(y)
    targets = not framed and shape is not None and of_y is not None and len(shape) in (2, 3)
    if targets:
        assert shape is not None and of_y is not None
        per_step = of_y[:2] == shape[:2] and len(of_y) in (2, 3)
        as_targets = of_y[0] == shape[0] and (
            of_y in ((shape[0],), (shape[0], 1), (shape[0], 1, 1))
            if horizon == 1
            else of_y[1:2] == (horizon,) and len(of_y) in (2, 3)
        )
        if as_targets:
            if exogenous is not None:
                raise ValueError(f"{name} expected no exogenous beside targets y of windows")
            return None, y
        if not per_step:
            raise ValueError(
                f"{name} expected y of shape ({shape[0]}, {horizon}), the targets of the "
                f"{shape[0]} windows X at horizon={horizon}, or exogenous values of shape "
                f"({shape[0]}, {shape[1]}, features), got shape {of_y}"
            )
    if exogenous is not None:
        raise ValueError(f"{name} expected exogenous values once, got them as y as well")
    if not framed and shape is not None and of_y is not None and of_y[0] != shape[0]:
        raise ValueError(
            f"{name} expected y as exogenous values of the {shape[0]} steps of X, got {of_y[0]}"
        )
    return y, None


def _refuse_target(owner: Any, X: Any, y: Any) -> None:
    """Raise ValueError for several features X and one column y: what it is can be read two ways.

    Libraries of forecasting have the series first and what is known beside it second, scikit-learn
    the features first and the target second.
    """
    frames = isinstance(X, (list, tuple)) and all(map(is_frame, X))
    table = owner.panel == "one" and len(_shape(X) or ()) == 2
    if not (is_frame(X) or table or (frames and X)):
        return
    one = is_column(y) or len(_shape(y) or ()) == 1
    if one if not frames else all(map(is_column, y)):
        raise ValueError(
            f"{name_of(owner)} expected the series that are forecast first, got a column y "
            "beside a table X: (y, X) forecasts y with X known beside it, of the future as well, "
            "(X, exogenous=y) forecasts the columns of X with y known"
        )


def refuse_steps(owner: Any, X: Any, most: int) -> None:
    """Raise for a forecasting horizon in place of series, as sktime's `predict` has it."""
    steps: Any = None
    if isinstance(X, (int, np.integer)):
        steps = int(X)
    elif isinstance(X, (list, tuple, range, np.ndarray)) and np.ndim(X[0] if len(X) else X) == 0:
        few = len(X) <= most
        if few and all(isinstance(v, (int, np.integer)) and v == k + 1 for k, v in enumerate(X)):
            steps = len(X)
    if steps is not None:
        raise TypeError(
            f"{name_of(owner)} expected X as series, got {X!r}; predict(horizon={steps}) "
            f"forecasts the {steps} steps after the series of fit"
        )


def _shape(X: Any) -> tuple[int, ...] | None:
    """Return the shape of an array_like, None where it is no array."""
    try:
        return tuple(np.shape(X.to_numpy() if hasattr(X, "to_numpy") else X))
    except ValueError:
        return None
