"""What is known beside series, and of the steps that follow them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..checks import name_of
from .forms import SeriesForm, SeriesSet
from .frames import read_series


def read_exogenous(
    owner: Any,
    exogenous: Any,
    series: SeriesSet,
    ahead: int,
    *,
    missing: str | None = None,
    seen: SeriesForm | None = None,
) -> SeriesSet:
    """Read what is known beside series, and of the `ahead` steps that follow them.

    Parameters
    ----------
    owner, missing, seen
        As for `read_series`.
    exogenous : series
        Of each series, in the same order or by its id. Beside one series an array is
        (time, features) or (time,). Rows that have times are found by them, so there may be more
        of them; a single frame then serves all series. Of others there are as many as steps.
    series : SeriesSet
    ahead : int
        Steps after the last one that exogenous values are needed for.

    Returns
    -------
    SeriesSet
        Its values have `ahead` steps more than those of `series`.

    Raises
    ------
    TypeError, ValueError
        As for `read_series`, and where a step has no exogenous values; names it.
    """
    panel = None if series.many else "one"
    known = read_series(owner, exogenous, "exogenous", missing=missing, seen=seen, panel=panel)
    wanted = f"{name_of(owner)} expected exogenous"
    n, timed = len(series.values), series.times is not None and known.times is not None
    places = list(range(len(known.values)))
    if series.ids is not None and known.kind == "long":
        lost = [i for i in series.ids if i not in (known.ids or [])]
        if lost:
            raise ValueError(f"{wanted} of each series, got none of {lost[0]!r}")
        places = [(known.ids or []).index(i) for i in series.ids]
    elif timed and len(known.values) == 1:
        places = [0] * n
    if len(places) != n:
        raise ValueError(f"{wanted} of each of {n} series, got those of {len(places)}")
    values = []
    for i, place in enumerate(places):
        one, label = known.values[place], series.label(i)
        if series.times is not None and known.times is not None:
            found = known.times[place].find(series.times[i], ahead)
            if isinstance(found, np.ndarray):
                one = one[found]
            else:
                raise ValueError(
                    f"{wanted} for each step of {label}{_and(ahead)}, got none at {found}"
                )
        elif len(one) != len(series.values[i]) + ahead:
            raise ValueError(
                f"{wanted} of {len(series.values[i]) + ahead} steps, as {label} has "
                f"{len(series.values[i])}{_and(ahead)}, got {len(one)}"
            )
        values.append(one)
    return replace(known, values=values, times=None)


def _and(ahead: int) -> str:
    return f" and the {ahead} after them" if ahead else ""
