"""Forecast the next ten values of a time series: rows C5 to C10.

The data and the published figures are those of Geron, Hands-On Machine Learning with Scikit-Learn,
Keras, and TensorFlow, 2nd edition, chapter 15, as in forecast.py. From C6 on a network forecasts
ten values at every step; "all" is the mean squared error of all these forecasts, "last" that of
those at the last step.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from common import Options, Row, main, save
from forecast import VALID, Network, deep, least_squares, mse, train

import rnnfast as rf

STEPS = 10


def iterated(model: rf.Sequential, x: np.ndarray) -> np.ndarray:
    """Ten forecasts, one at a time, each from the last 50 values."""
    for _ in range(STEPS):
        x = np.concatenate([x, model.predict(x[:, -50:])[:, None]], axis=1)
    return x[:, -STEPS:, 0]


def at_every_step(series: np.ndarray) -> np.ndarray:
    """Return what follows each of the first 50 steps: [:, t] are the ten values after step t."""
    return np.stack([series[:, i + 1 : i + 51, 0] for i in range(STEPS)], axis=-1)


def linear() -> rf.Sequential:
    return rf.Sequential(rf.Linear(50, STEPS))


def rnn_once() -> rf.Sequential:
    return rf.Sequential(
        rf.RNN(1, 20, num_layers=2, batch_first=True),
        rf.Last(batch_first=True),
        rf.Linear(20, STEPS),
    )


def rnn() -> rf.Sequential:
    return rf.Sequential(rf.RNN(1, 20, num_layers=2, batch_first=True), rf.Linear(20, STEPS))


def layer_norm_rnn() -> rf.Sequential:
    layers = rf.RNN(1, 20, num_layers=2, batch_first=True, layer_norm=True)
    return rf.Sequential(layers, rf.Linear(20, STEPS))


def lstm() -> rf.Sequential:
    return rf.Sequential(rf.LSTM(1, 20, num_layers=2, batch_first=True), rf.Linear(20, STEPS))


def gru() -> rf.Sequential:
    return rf.Sequential(rf.GRU(1, 20, num_layers=2, batch_first=True), rf.Linear(20, STEPS))


def conv_gru() -> rf.Sequential:
    return rf.Sequential(
        rf.Conv1d(1, 20, 4, stride=2, batch_first=True),
        rf.GRU(20, 20, num_layers=2, batch_first=True),
        rf.Linear(20, STEPS),
    )


class Plan(NamedTuple):
    """A network that forecasts ten values at every step, and how to train it."""

    row: str
    what: str
    network: Network
    goals: tuple[float, float]  # of all forecasts, and of the last step's
    lr: float = 1e-3
    one_cycle: bool = False
    epochs: int = 20


def at_each_step(
    options: Options, plans: list[Plan], baselines: dict[str, float], drawn: str
) -> list[Row]:
    """Rows of networks that forecast ten values at every step; a forecast of `drawn` is saved."""
    series = rf.datasets.sine_waves(10_000, 50 + STEPS, seed=42)
    x, y, targets = series[:, :50], series[:, 50:, 0], at_every_step(series)
    rows = []
    for plan in plans:
        errors: dict[str, list[float]] = {"MSE, all": [], "MSE, last": []}
        seconds = []
        for seed in range(options.seeds):
            model = plan.network()
            wanted = targets[:, 3::2] if plan.network is conv_gru else targets
            settings = plan.lr, plan.one_cycle, plan.epochs
            history = train(model, x, wanted, options, seed, *settings)
            forecast = model.predict(x[VALID])
            errors["MSE, all"].append(mse(forecast, wanted[VALID]))
            errors["MSE, last"].append(mse(forecast[:, -1], y[VALID]))
            seconds.append(min(history["seconds"]))
        epoch = float(np.median(seconds))
        for (metric, found), goal in zip(errors.items(), plan.goals, strict=True):
            shown = baselines if metric == "MSE, last" else {}
            rows.append(Row(plan.row, plan.what, metric, found, goal, shown, epoch=epoch))
        if plan.what == drawn:
            axes = rf.plots.forecast(series[7000, :, 0], forecast[0, -1])
            axes.set_title(f"Ten steps ahead, {drawn.partition(',')[0]}")
            save(axes, options, f"forecast_{plan.row.lower()}")
    return rows


def example(options: Options) -> list[Row]:
    series = rf.datasets.sine_waves(10_000, 50 + STEPS, seed=42)
    x, y = series[:, :50], series[:, 50:, 0]
    naive = mse(np.repeat(x[VALID, -1], STEPS, axis=1), y[VALID])
    baselines = {"naive": naive, "least squares": mse(least_squares(x, y), y[VALID])}
    rows = [Row("C5", "the last value ten times", "MSE", [round(naive, 6)], goal=0.256974)]

    one = rf.datasets.sine_waves(10_000, 51, seed=42)
    errors = []
    for seed in range(options.seeds):
        model = deep()
        train(model, one[:, :50], one[:, 50], options, seed, 5e-3, one_cycle=True)
        errors.append(mse(iterated(model, x[VALID]), y[VALID]))
    rows.append(
        Row("C5", "C4, one cycle, fed its own forecasts", "MSE", errors, 0.027511, baselines)
    )

    once: list[tuple[str, Network, bool, float]] = [
        ("Linear(10)", linear, False, 0.0187),
        ("Linear(10), one cycle to 5e-3", linear, True, 0.0187),
        ("RNN 20-20 + Linear(10)", rnn_once, False, 0.0085),
        ("RNN 20-20 + Linear(10), one cycle to 5e-3", rnn_once, True, 0.0085),
    ]
    for what, network, one_cycle, goal in once:
        errors, seconds = [], []
        for seed in range(options.seeds):
            model = network()
            inputs = x[..., 0] if network is linear else x
            lr = 5e-3 if one_cycle else 1e-3
            history = train(model, inputs, y, options, seed, lr, one_cycle)
            errors.append(mse(model.predict(inputs[VALID]), y[VALID]))
            seconds.append(min(history["seconds"]))
        rows.append(
            Row("C5", what, "MSE", errors, goal, baselines, epoch=float(np.median(seconds)))
        )

    conv = "Conv1d(20, 4, stride 2) + GRU 20-20"
    plans = [
        Plan("C6", "RNN 20-20, rate 1e-2", rnn, (0.0205, 0.0096), lr=1e-2),
        Plan("C7", "layer-normalised RNN 20-20", layer_norm_rnn, (0.0250, 0.0121)),
        Plan("C7", "the same, one cycle to 5e-3", layer_norm_rnn, (0.0250, 0.0121), 5e-3, True),
        Plan("C8", "LSTM 20-20", lstm, (0.02379, 0.00856)),
        Plan("C9", "GRU 20-20", gru, (0.02379, 0.01026)),
        Plan("C10", conv, conv_gru, (0.0184, 0.0080)),
        Plan("C10", "the same, one cycle to 5e-3", conv_gru, (0.0184, 0.0080), 5e-3, True),
    ]
    return rows + at_each_step(options, plans, baselines, "LSTM 20-20")


if __name__ == "__main__":
    main(example, __doc__)
