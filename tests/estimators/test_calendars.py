"""The steps of time: found, counted and continued."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from rnnfast.estimators.calendars import Step, find_step


def days(*texts, unit="D"):
    return np.array(texts, f"M8[{unit}]")


def month_ends(n):
    starts = np.arange(1, n + 1) + np.datetime64("2020-01")
    return starts.astype("M8[D]") - np.timedelta64(1, "D")


WORKDAYS = np.arange("2024-01-01", "2024-02-01", dtype="M8[D]")
WORKDAYS = WORKDAYS[np.is_busday(WORKDAYS)]
MONTHS = np.arange("2020-01", "2022-01", dtype="M8[M]").astype("M8[D]")


@pytest.mark.parametrize(
    ("stamps", "name", "follow"),
    [
        (np.arange(1900, 1920), "1", [1920, 1921]),
        (np.arange(0, 50, 5), "5", [50, 55]),
        (np.arange("2024-01-01", "2024-01-09", dtype="M8[D]"), "1 day", None),
        (np.arange("2024-01-01T00", "2024-01-03T00", dtype="M8[h]"), "1 hour", None),
        (np.arange("2024-01-01T00", "2024-01-03T00", 15, dtype="M8[m]"), "15 minutes", None),
        (np.arange("2024-01-01", "2024-04-01", 7, dtype="M8[D]"), "1 week", None),
        (MONTHS, "1 month", days("2022-01-01", "2022-02-01")),
        (MONTHS + np.timedelta64(14, "D"), "1 month", days("2022-01-15", "2022-02-15")),
        (MONTHS[::3], "3 months", days("2022-01-01", "2022-04-01")),
        (MONTHS[::12], "12 months", days("2022-01-01", "2023-01-01")),
        (MONTHS[:2], "1 month", days("2020-03-01", "2020-04-01")),
        (month_ends(14), "1 month end", days("2021-03-31", "2021-04-30")),
        (WORKDAYS, "1 business day", days("2024-02-01", "2024-02-02")),
        (WORKDAYS[4:6], "1 business day", days("2024-01-09", "2024-01-10")),
        (WORKDAYS[:3], "1 day", days("2024-01-04", "2024-01-05")),
        (np.arange(0, 9, 3).astype("m8[s]"), "3 seconds", None),
        (1958 + np.arange(25) / 12, None, 1958 + np.array([25, 26]) / 12),
    ],
    ids=str,
)  # fmt: skip
def test_steps_are_found_and_continued(stamps, name, follow):
    step, counts = find_step(stamps)
    np.testing.assert_array_equal(counts, np.arange(len(stamps)))
    if name is not None:
        assert str(step) == name
    again = step.at(stamps[0], counts)
    assert again.dtype == stamps.dtype
    later = step.at(stamps[-1], np.arange(1, 3))
    if stamps.dtype.kind == "f":
        np.testing.assert_allclose(again, stamps)
        np.testing.assert_allclose(later, follow)
    else:
        np.testing.assert_array_equal(again, stamps)
        expected = stamps[-1] + np.arange(1, 3) * (stamps[1] - stamps[0])
        np.testing.assert_array_equal(later, expected if follow is None else follow)
    # gaps are counted, and filled by the same steps
    if len(stamps) > 6:
        some = np.delete(stamps, [3, 4])
        step, counts = find_step(some)
        np.testing.assert_array_equal(counts, np.delete(np.arange(len(stamps)), [3, 4]))


def test_the_time_of_day_stays():
    stamps = MONTHS.astype("M8[s]") + np.timedelta64(9 * 3600, "s")
    step, _ = find_step(stamps)
    assert str(step) == "1 month"
    np.testing.assert_array_equal(step.at(stamps[0], np.arange(24)), stamps)


@pytest.mark.parametrize(
    "stamps",
    [
        days("2020-01-01", "2020-01-04", "2020-01-05", "2020-02-11", "2020-03-01"),
        np.array([0, 1, 10, 12, 100]),
        np.array([0.0, 1.0, 10.0, 11.5]),
    ],
    ids=str,
)
def test_what_has_no_regular_step(stamps):
    assert find_step(stamps) is None


def test_a_known_step_is_kept():
    friday, monday = WORKDAYS[4:6]
    weekday = Step(1, "business days")
    for known in (weekday, None):
        assert find_step(np.array([friday, monday]), known)[0] == weekday
    assert find_step(WORKDAYS[:2], weekday)[0] == weekday
    assert str(find_step(WORKDAYS[:2])[0]) == "1 day"
    assert find_step(np.arange(3), weekday)[0] == Step(1)  # of another kind of time


def test_names_of_pandas():
    for step, first, name in [
        (Step(np.timedelta64(1, "h")), None, "h"),
        (Step(np.timedelta64(90, "m")), None, "90min"),
        (Step(np.timedelta64(2, "D")), None, "2D"),
        (Step(np.timedelta64(7, "D")), None, None),  # W-MON or which?
        (Step(1, "months"), MONTHS[0], "MS"),
        (Step(3, "months"), MONTHS[0], "3MS"),
        (Step(1, "months"), MONTHS[0] + 14, None),
        (Step(12, "month ends"), month_ends(1)[0], "12ME"),
        (Step(1, "business days"), WORKDAYS[0], "B"),
        (Step(1), 0, None),
    ]:
        assert step.alias(first) == name
