"""Long frames whose columns have other names than those that long frames are read by."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np

from ..checks import name_of
from .tables import TIME_NAMES, column, is_pandas, listed, names_of
from .times import has_times


def refuse_other_names(owner: Any, X: Any, name: str, otherwise: str) -> None:
    """Raise ValueError for a frame that is long, but for the names of its columns.

    `otherwise` says what a frame is that is not long.
    """
    frame, call = X, name
    if has_times(X):
        if X.index.is_unique:
            return
        frame, call = X.reset_index(), f"{name}.reset_index()"
    names = _other_names(frame)
    if names is not None:
        raise ValueError(
            f"{name_of(owner)} expected {name} as {otherwise}, or as a long frame with the "
            "columns id, time and values, got a frame that is long with other names: "
            f"{_renaming(frame, call, names)} has these"
        )


def _other_names(X: Any) -> dict[Any, str] | None:
    """Return how to rename the columns of a frame that looks long but for its names, or None.

    One column has times, each of which comes again, and another tells with it each row from all
    others: dates and anything, or counts and words. (Counts of years and months make no series.)
    """
    names, n = names_of(X), int(X.shape[0])
    if n < 4 or len(names) < 3 or len(set(names)) < len(names):
        return None
    times = [c for c in names if str(c).lower() in TIME_NAMES]
    if not times and is_pandas(X) and all(d.kind in "fiub" for d in X.dtypes):
        return None
    first = {c: v for c in names if (v := _first(column(X, c))) is not None}
    words = [c for c, v in first.items() if isinstance(v, str) and not _is_date(v)]
    dates = [c for c, v in first.items() if not isinstance(v, (str, int, np.integer))]
    named = [c for c in first if c in times or _is_date(first[c])]
    counts = [c for c in first if words and isinstance(first[c], (int, np.integer))]
    for when in dict.fromkeys([*dates, *named, *counts]):
        ids = [c for c in first if c not in (*dates, when)]
        for one in sorted(ids, key=lambda c: c not in words):
            pairs = _pairs(X, one, when)
            sizes = [len(set(each)) for each in zip(*pairs, strict=True)]
            if len(set(pairs)) == n and min(sizes) > 1 and max(sizes) <= n // 2:
                return {one: "id", when: "time"}
    return None


def _first(values: Any) -> Any:
    """Return the first of words, dates or integers, None for any other column."""
    kind = getattr(getattr(values, "dtype", None), "kind", "")
    text = str(getattr(values, "dtype", getattr(values, "type", ""))).lower()
    if kind == "f" or text.startswith(("float", "double", "bool", "list")):
        return None
    value = listed(values[:1])[0]
    return value if isinstance(value, (str, int, np.integer, datetime.date)) else None


def _pairs(X: Any, one: Any, other: Any) -> list[tuple[Any, Any]]:
    return list(zip(listed(column(X, one)), listed(column(X, other)), strict=True))


def _is_date(text: Any) -> bool:
    if not isinstance(text, str):
        return False
    try:
        datetime.datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _renaming(X: Any, name: str, names: dict[Any, str]) -> str:
    """Return the call that renames columns of a frame."""
    return f"{name}.rename({'columns=' if is_pandas(X) else ''}{names!r})"
