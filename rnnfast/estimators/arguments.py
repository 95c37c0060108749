"""Arguments as other libraries have them: taken for what they mean there, or refused by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .numeric import owner_name
from .tables import is_column, is_frame

if TYPE_CHECKING:
    from ..layers.base import Array


def read_static(owner: Any, static: Any, n: int) -> Array | None:
    """Return static features of `n` series: (n, features)."""
    if static is None:
        return None
    array = np.asarray(static.to_numpy() if hasattr(static, "to_numpy") else static)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{owner_name(owner)} expected static as numbers, got {array.dtype}")
    array = np.asarray(array, np.float64)
    array = array.reshape(n, -1) if array.ndim == 1 and len(array) == n else array
    if array.ndim != 2 or len(array) != n or not np.isfinite(array).all():
        raise ValueError(
            f"{owner_name(owner)} expected static as ({n}, n) finite numbers, a row for each "
            f"series, got shape {array.shape}"
        )
    return array


def second_argument(owner: Any, X: Any, y: Any, exogenous: Any) -> tuple[Any, Any]:
    """Return what the second argument is: exogenous values, or targets of windows."""
    if y is None:
        return exogenous, None
    name, horizon = owner_name(owner), owner.horizon
    if isinstance(y, (str, bytes)) or not hasattr(y, "__len__"):
        raise TypeError(
            f"{name} expected y as exogenous values of the steps of X, or targets of windows "
            f"X, got {y!r}"
        )
    framed = is_frame(X) or is_column(X)
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
            f"{owner_name(owner)} expected X as series, got {X!r}; predict(horizon={steps}) "
            f"forecasts the {steps} steps after the series of fit"
        )


def _shape(X: Any) -> tuple[int, ...] | None:
    """Return the shape of an array_like, None where it is no array."""
    try:
        return tuple(np.shape(X.to_numpy() if hasattr(X, "to_numpy") else X))
    except ValueError:
        return None
