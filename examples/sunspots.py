"""Forecast the yearly number of sunspots: row C13. The data come with statsmodels (pip install it).

Networks learn from 1700 to 1920 and forecast each year from 1921 to 2008. They forecast after every
year of a window of 22, two solar cycles: "last" is the mean squared error of the forecasts at the
window's last step, "all" that at all of its steps, the first of which know little of the past. Both
networks and the better least squares work on square roots, since the numbers vary more where they
are high. How long to train, and the order of the autoregressions, is what forecasts 40 years best
after learning from the years before them, from 1801, 1841 and 1881 on; then all learn anew from all
years up to 1920. The network for five years ahead was chosen in the same way: 32 units, dropout and
strong decay of the weights, without which it learns 200 years by heart. After 1921 most cycles are
higher than before, which costs networks, whose units saturate, more than least squares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from common import Options, Row, main, save
from numpy.lib.stride_tricks import sliding_window_view

import rnnfast as rf

FIRST_YEAR, TAIL = 1700, 221  # the tail begins in 1921
ORIGINS = (101, 141, 181)  # of 40 years of validation each
WINDOW, AHEAD, LEVEL = 22, 5, 0.9
Make = Callable[[int], Any]


def windows(series: np.ndarray, start: int, context: int, ahead: int) -> tuple[np.ndarray, ...]:
    """Return all contexts and the years that follow them, of which the first is from `start` on."""
    both = sliding_window_view(series, context + ahead)[start - context :]
    return both[:, :context], both[:, context:]


def mse(forecast: np.ndarray, truth: np.ndarray, power: float) -> float:
    return float(np.square(np.maximum(forecast, 0) ** (1 / power) - truth).mean())


def error(model: Any, series: np.ndarray, start: int, power: float, ahead: int) -> float:
    """The error of the forecasts from `start` on by a model of series**power."""
    contexts, truth = windows(series, start, 40, ahead)
    return mse(model.predict(contexts**power), truth, power)


def best(
    make: Make, candidates: Iterable[int], series: np.ndarray, power: float, ahead: int
) -> Any:
    """The candidate of least validation error, learnt anew from all years up to the tail."""

    def loss(candidate: int) -> float:
        return sum(
            error(make(candidate).fit(series[:i] ** power), series[: i + 40], i, power, ahead)
            for i in ORIGINS
        )

    return make(min(candidates, key=loss)).fit(series[:TAIL] ** power)


class Standardized:
    """A network of numbers of mean 0 and variance 1, for others."""

    def __init__(self, model: rf.Forecaster) -> None:
        self.model = model

    def scaled(self, x: np.ndarray) -> np.ndarray:
        return (x - self.mean) / self.scale

    def fit(self, x: np.ndarray) -> Standardized:
        self.mean, self.scale = x.mean(), x.std()
        self.model.fit(self.scaled(x))
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.model.predict(self.scaled(x)) * self.scale + self.mean

    def predict_interval(self, x: np.ndarray, level: float) -> list[np.ndarray]:
        ends = self.model.predict_interval(self.scaled(x), level)
        return [end * self.scale + self.mean for end in ends]

    def at_every_step(self, x: np.ndarray) -> np.ndarray:
        outputs = self.model.model_.predict(self.scaled(x)[..., np.newaxis].astype(np.float32))
        return outputs[..., 0] * self.scale + self.mean


def every_step(model: Standardized, series: np.ndarray) -> float:
    """The error at all steps of the windows whose last forecast is from 1921 on."""
    contexts, last = windows(series, TAIL, WINDOW, 1)
    truth = np.hstack([contexts[:, 1:], last])
    return mse(model.at_every_step(contexts**0.5), truth, 0.5)


def network(cell: str, epochs: int, seed: int) -> Standardized:
    model = rf.Forecaster(
        window=WINDOW,
        strategy="seq2seq",
        select="network",
        normalize="none",
        standardize=False,
        cell=cell,
        hidden_size=16,
        learning_rate_init=3e-3,
        max_iter=epochs,
        random_state=seed,
    )
    return Standardized(model)


def decaying(model: rf.layers.Layer, lr: float) -> rf.AdamW:
    return rf.AdamW(model, lr=lr, weight_decay=3)


def network_ahead(epochs: int, seed: int) -> Standardized:
    made = network("rnn", epochs, seed)
    made.model.set_params(horizon=AHEAD, hidden_size=32, dropout=0.3, optimizer=decaying)
    return made


def baselines(series: np.ndarray, ahead: int) -> dict[str, float]:
    figures = {}
    for name, season in {"naive": 1, "11 years ago": 11}.items():
        naive = rf.NaiveForecaster(season=season, horizon=ahead).fit(series[:TAIL])
        figures[name] = error(naive, series, TAIL, 1, ahead)
    for name, power in {"least squares": 1, "least squares of roots": 0.5}.items():
        linear = best(
            lambda n: rf.LinearForecaster(window=n, horizon=ahead),
            range(1, 36),
            series,
            power,
            ahead,
        )
        figures[f"{name}, order {linear.window}"] = error(linear, series, TAIL, power, ahead)
    return figures


def example(options: Options) -> list[Row]:
    try:
        from statsmodels.datasets import sunspots
    except ImportError:
        print("sunspots.py needs the sunspots of statsmodels: pip install statsmodels")
        return []
    series = sunspots.load_pandas().data["SUNACTIVITY"].to_numpy()
    lengths = (2, 4) if options.quick else (40, 60, 80, 100)
    rows = []
    compared = baselines(series, 1)
    for cell in ("rnn", "lstm"):
        last, every, epochs = [], [], []
        for seed in range(options.seeds):
            model = best(lambda n: network(cell, n, seed), lengths, series, 0.5, 1)  # noqa: B023
            last.append(error(model, series, TAIL, 0.5, 1))
            every.append(every_step(model, series))
            epochs.append(min(model.model.history_["seconds"]))
        what, epoch = f"{cell.upper()}(16)", float(np.median(epochs))
        rows.append(
            Row("C13", what, "MSE, last", last, min(compared.values()), compared, epoch=epoch)
        )
        rows.append(Row("C13", what, "MSE, all", every, epoch=epoch))

    # several years ahead; for the intervals the last quarter before 1921 is held out
    compared = baselines(series, AHEAD)
    contexts, truth = windows(series, TAIL, WINDOW, AHEAD)
    errors, covered = [], []
    for seed in range(options.seeds):
        model = best(lambda n: network_ahead(n, seed), lengths, series, 0.5, AHEAD)  # noqa: B023
        errors.append(error(model, series, TAIL, 0.5, AHEAD))
        model.model.set_params(calibration_fraction=0.25)
        model.fit(series[:TAIL] ** 0.5)
        ends = model.predict_interval(contexts**0.5, LEVEL)
        lower, upper = (np.maximum(end, 0) ** 2 for end in ends)
        covered.append(float(((lower <= truth) & (truth <= upper)).mean()))
    what = f"RNN(32), {AHEAD} years ahead"
    rows.append(Row("C13", what, "MSE", errors, min(compared.values()), compared))
    metric = f"share of the truth in {LEVEL:.0%} intervals"
    rows.append(Row("C13", what, metric, covered, LEVEL, higher_is_better=True))

    some = slice(None, None, AHEAD)
    start = 180
    shown = series[start : TAIL + truth[some].size]
    forecast = model.predict(contexts[some] ** 0.5)
    axes = rf.plots.forecast(
        shown,
        np.maximum(forecast, 0).ravel() ** 2,
        (lower[some].ravel(), upper[some].ravel()),
    )
    axes.set_xticks(range(0, len(shown), 20), range(FIRST_YEAR + start, 2010, 20))
    axes.set(
        title=f"Every {AHEAD} years the next {AHEAD}, with {LEVEL:.0%} intervals",
        xlabel="year",
        ylabel="sunspots",
    )
    save(axes, options, "sunspots")
    return rows


if __name__ == "__main__":
    main(example, __doc__)
