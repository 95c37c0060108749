"""The steps of time: found in stamps, counted, and continued."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ..arrays import Array

DAY = np.timedelta64(1, "D")
_UNITS: dict[Any, str] = {"W": "week", "D": "day", "h": "hour", "m": "minute", "s": "second"}
_ALIASES: dict[Any, str] = {"D": "D", "h": "h", "m": "min", "s": "s"}


class Step:
    """A regular step between time stamps.

    Parameters
    ----------
    size : int, float or timedelta64
        Of one step: in months, business days, or the stamps' own unit.
    kind : {"fixed", "months", "month ends", "business days"}
        Months lead to the same day of another month, but for its last day.
    """

    def __init__(self, size: Any, kind: str = "fixed") -> None:
        self.size, self.kind = size, kind

    def __repr__(self) -> str:
        return f"Step({self})"

    def __str__(self) -> str:
        if self.kind == "fixed":
            return _span(self.size) if isinstance(self.size, np.timedelta64) else str(self.size)
        return f"{self.size} {self.kind if self.size > 1 else self.kind[:-1]}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Step) and self.kind == other.kind and bool(self.size == other.size)

    __hash__ = None  # type: ignore[assignment]

    def alias(self, stamp: Any) -> str | None:
        """Return what pandas calls steps that go through a stamp, where it has a name for them."""
        if self.kind == "business days":
            return "B"
        if self.kind == "month ends" or (self.kind == "months" and str(stamp)[8:10] == "01"):
            n, unit = self.size, "ME" if self.kind == "month ends" else "MS"
        elif isinstance(self.size, np.timedelta64):
            n, long = _units(self.size)
            unit = _ALIASES.get(long, "")
        else:
            return None
        return f"{n if n > 1 else ''}{unit}" if unit else None

    def suits(self, stamps: Array) -> bool:
        """Whether stamps are of a type that has such steps."""
        if self.kind != "fixed":
            return stamps.dtype.kind == "M"
        return isinstance(self.size, np.timedelta64) == (stamps.dtype.kind in "Mm")

    def count(self, stamps: Array) -> Array | None:
        """Return how many steps after the first one each stamp is, or None where between two."""
        gone = self._gone(stamps)
        if gone is None:
            return None
        if isinstance(self.size, float):
            counts = np.rint(gone / self.size).astype(np.int64)
            return counts if (np.abs(counts * self.size - gone) < 0.25 * self.size).all() else None
        counts, left = gone // self.size, gone % self.size
        return None if left.astype(np.int64).any() else counts.astype(np.int64)

    def at(self, first: Any, counts: Array) -> Array:
        """Return the stamps that are so many steps after the stamp `first`."""
        if self.kind == "fixed":
            return np.asarray(first + np.asarray(counts) * self.size)
        day = first.astype("M8[D]")
        time = first - day
        if self.kind == "business days":
            days = np.busday_offset(day, counts * self.size, roll="forward")
        else:
            months = day.astype("M8[M]") + counts * self.size
            if self.kind == "month ends":
                days = (months + 1).astype("M8[D]") - DAY
            else:
                days = months.astype("M8[D]") + (day - day.astype("M8[M]").astype("M8[D]"))
        return np.asarray((days + time).astype(first.dtype))

    def _gone(self, stamps: Array) -> Array | None:
        if self.kind == "fixed":
            return np.asarray(stamps - stamps[0])
        days = stamps.astype("M8[D]")
        if not _same_time(stamps):
            return None
        if self.kind == "business days":
            return np.busday_count(days[0], days) if np.is_busday(days).all() else None
        months = days.astype("M8[M]")
        fits = _month_ends(days) if self.kind == "month ends" else _same_day(days)
        return (months - months[0]).astype(np.int64) if fits else None


def find_step(stamps: Array, known: Step | None = None) -> tuple[Step, Array] | None:
    """Return the regular step of stamps that rise, and how many steps each is after the first.

    Of steps that fit, the one is taken that leaves the fewest gaps, of these the `known` one, then
    months and business days before spans of days. At least half of the stamps, two or more, must
    follow their predecessor by one step.
    """
    best = None
    for step in ([known] if known is not None else []) + _candidates(stamps):
        counts = step.count(stamps) if step.suits(stamps) else None
        if counts is None:
            continue
        steps = np.diff(counts)
        if (steps < 1).any() or 2 * np.count_nonzero(steps == 1) < len(steps):
            continue
        if best is None or counts[-1] < best[1][-1]:
            best = step, counts
    return best


def _candidates(stamps: Array) -> list[Step]:
    differences = np.diff(stamps)
    sizes, how_often = np.unique(differences, return_counts=True)
    usual = sizes[how_often.argmax()]
    if stamps.dtype.kind == "f":
        return [Step(float(np.median(differences)))]
    if stamps.dtype.kind != "M":
        return [Step(usual)]
    found = []
    days = stamps.astype("M8[D]")
    months = np.diff(days.astype("M8[M]").astype(np.int64))
    if (months > 0).all() and (days[-1] - days[0] >= 28 * DAY):
        sizes, how_often = np.unique(months, return_counts=True)
        usual_months = int(sizes[how_often.argmax()])
        kinds = ["month ends"] if _month_ends(days) else []
        kinds += ["months"] if _same_day(days) else []
        found += [Step(usual_months, kind) for kind in kinds]
    if np.is_busday(days).all() and _same_time(stamps) and _crosses_weekends(days):
        found.append(Step(1, "business days"))
    return [*found, Step(usual)]


def _same_time(stamps: Array) -> bool:
    times = stamps - stamps.astype("M8[D]")
    return bool((times == times[0]).all())


def _same_day(days: Array) -> bool:
    day = (days - days.astype("M8[M]").astype("M8[D]")).astype(np.int64)
    return bool((day == day[0]).all()) and day[0] < 28


def _month_ends(days: Array) -> bool:
    return bool(((days + DAY).astype("M8[M]") != days.astype("M8[M]")).all())


def _crosses_weekends(days: Array) -> bool:
    return bool(np.busday_count(days[0], days[-1]) < (days[-1] - days[0]).astype(np.int64))


def _units(size: np.timedelta64) -> tuple[int, str | None]:
    """Return a span of time in the largest unit that holds it in whole numbers."""
    for unit in _UNITS:
        one = np.timedelta64(1, unit)
        if size >= one and not (size % one).astype(np.int64):
            return int(size // one), unit
    return 0, None


def _span(size: np.timedelta64) -> str:
    n, unit = _units(size)
    return str(size) if unit is None else f"{n} {_UNITS[unit]}{'s' if n > 1 else ''}"
