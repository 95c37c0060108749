"""Forecast the next value of a time series: rows C1 to C4.

The data and the published figures are those of Geron, Hands-On Machine Learning with Scikit-Learn,
Keras, and TensorFlow, 2nd edition, chapter 15: sums of two sine waves and noise, 7,000 series to
train on, mean squared error on the next 2,000. Batches of 32, 20 epochs of Adam, Keras's initial
weights. Nothing predicts better than the noise allows, 0.00083.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from common import Options, Row, main, save

import rnnfast as rf

TRAIN, VALID = slice(0, 7000), slice(7000, 9000)


def mse(prediction: np.ndarray, truth: np.ndarray) -> float:
    return float(np.square(prediction - truth).mean())


def least_squares(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The forecasts of exact linear regression for the validation series."""
    inputs = np.column_stack([x[..., 0], np.ones(len(x))]).astype(np.float64)
    weights = np.linalg.lstsq(inputs[TRAIN], y[TRAIN].astype(np.float64), rcond=None)[0]
    return inputs[VALID] @ weights


def train(
    model: rf.Sequential,
    x: np.ndarray,
    y: np.ndarray,
    options: Options,
    seed: int,
    lr: float = 1e-3,
    one_cycle: bool = False,
    epochs: int = 20,
) -> rf.History:
    rf.init.keras(model, seed)
    train = slice(0, 700) if options.quick else TRAIN
    epochs = 2 if options.quick else epochs
    adam = rf.Adam(model, lr=lr)
    batches = -(-len(x[train]) // 32)
    schedules = [rf.OneCycleLR(adam, max_lr=lr, total_steps=epochs * batches)] if one_cycle else []
    return rf.fit(
        model,
        (x[train], y[train]),
        loss=rf.losses.squared_error,
        optimizer=adam,
        epochs=epochs,
        callbacks=schedules,
        seed=seed,
        progress=False,
    )


Network = Callable[[], rf.Sequential]


def perceptron() -> rf.Sequential:
    return rf.Sequential(rf.Linear(50, 1))


def one_neuron() -> rf.Sequential:
    return rf.Sequential(rf.RNN(1, 1, batch_first=True), rf.Last(batch_first=True))


def deep() -> rf.Sequential:
    return rf.Sequential(
        rf.RNN(1, 20, num_layers=2, batch_first=True), rf.Last(batch_first=True), rf.Linear(20, 1)
    )


def example(options: Options) -> list[Row]:
    series = rf.datasets.sine_waves(10_000, 51, seed=42)
    x, y = series[:, :50], series[:, 50]
    naive = mse(x[VALID, -1], y[VALID])
    baselines = {"naive": naive, "least squares": mse(least_squares(x, y), y[VALID])}
    rows = [Row("C1", "the last value again", "MSE", [round(naive, 6)], goal=0.020211)]
    networks: list[tuple[str, str, Network, float, bool, float]] = [
        ("C2", "Linear", perceptron, 1e-3, False, 0.004168),
        ("C3", "RNN(1), rate 5e-3", one_neuron, 5e-3, False, 0.010882),
        ("C4", "RNN 20-20 + Linear", deep, 1e-3, False, 0.002624),
        ("C4", "RNN 20-20 + Linear, one cycle to 5e-3", deep, 5e-3, True, 0.002624),
    ]
    for name, what, network, lr, one_cycle, goal in networks:
        errors, seconds = [], []
        for seed in range(options.seeds):
            model = network()
            inputs = x[..., 0] if network is perceptron else x
            history = train(model, inputs, y, options, seed, lr, one_cycle)
            errors.append(mse(model.predict(inputs[VALID]), y[VALID]))
            seconds.append(min(history["seconds"]))
        rows.append(
            Row(name, what, "MSE", errors, goal, baselines, epoch=float(np.median(seconds)))
        )

    axes = rf.plots.forecast(series[7000, :, 0], model.predict(x[7000:7001])[0])
    axes.set_title(f"One step ahead, {what}")
    save(axes, options, "forecast")
    return rows


if __name__ == "__main__":
    main(example, __doc__)
