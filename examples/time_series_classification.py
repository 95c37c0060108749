"""Classify real time series: rows B1 and B8.

Four data sets of the UCR and UEA archives, with their own splits, from the files of the aeon
package: Japanese Vowels (which of nine men speaks, from 12 cepstra, of different lengths), Basic
Motions (accelerometer and gyroscope of a smart watch), Italy Power Demand (summer or winter, from
the hours of a day) and GunPoint (a hand that draws a gun or points). Five-fold cross-validation on
the training split chooses the network for each.
"""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import Options, Row, logistic_regression, main, save
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

import rnnfast as rf

GOALS = {
    "JapaneseVowels": 0.97,
    "BasicMotions": 0.975,
    "ItalyPowerDemand": 0.95,
    "GunPoint": 0.95,
}


def training(seed: int, options: Options) -> dict[str, Any]:
    """What all networks are trained with."""
    epochs = 1 if options.quick else 60
    return {
        "batch_size": 16,
        "max_iter": epochs,
        "callbacks": [partial(rf.CosineAnnealingLR, T_max=epochs)],
        "random_state": seed,
    }


def deep_bidirectional(seed: int, options: Options) -> rf.SequenceClassifier:
    return rf.SequenceClassifier(
        hidden_size=64,
        num_layers=2,
        bidirectional=True,
        pooling="mean",
        dropout=0.2,
        learning_rate_init=3e-3,
        **training(seed, options),
    )


def conv_gru(n_features: int, n_classes: int, kernel_size: int, seed: int) -> rf.Sequential:
    return rf.Sequential(
        rf.Conv1d(n_features, 64, kernel_size, padding="same", batch_first=True, seed=seed),
        rf.BatchNorm1d(64, batch_first=True),
        rf.ReLU(),
        rf.Conv1d(64, 64, kernel_size, padding="same", batch_first=True, seed=seed + 1),
        rf.BatchNorm1d(64, batch_first=True),
        rf.ReLU(),
        rf.GRU(64, 64, bidirectional=True, batch_first=True, seed=seed + 2),
        rf.Pool("mean", batch_first=True),
        rf.Dropout(0.5, seed=seed + 3),
        rf.Linear(128, n_classes, seed=seed + 4),
    )


def convolutional(seed: int, options: Options, kernel_size: int) -> rf.SequenceClassifier:
    network = partial(conv_gru, kernel_size=kernel_size, seed=10 * seed)
    return rf.SequenceClassifier(
        network=network, learning_rate_init=2e-3, **training(seed, options)
    )


NETWORKS = {
    "bidirectional LSTM 64-64": deep_bidirectional,
    "Conv1d 64-64 of 5 steps + bidirectional GRU 64": partial(convolutional, kernel_size=5),
    "Conv1d 64-64 of 9 steps + bidirectional GRU 64": partial(convolutional, kernel_size=9),
}


def baselines(x: Any, y: np.ndarray, x_test: Any, y_test: np.ndarray) -> dict[str, float]:
    """Classifiers of vectors, tuned by cross-validation on the training split."""
    steps = max(map(len, [*x, *x_test]))
    train, test = (
        np.array([np.pad(s, [(0, steps - len(s)), (0, 0)]).ravel() for s in split])
        for split in (x, x_test)
    )
    neighbours = GridSearchCV(KNeighborsClassifier(), {"n_neighbors": [1, 3, 5]}).fit(train, y)
    logistic = logistic_regression(train, y, StandardScaler())
    return {
        f"nearest {neighbours.best_params_['n_neighbors']}": neighbours.score(test, y_test),
        "logistic regression": logistic.score(test, y_test),
    }


def example(options: Options) -> list[Row]:
    aeon = importlib.util.find_spec("aeon")
    if aeon is None or not aeon.submodule_search_locations:
        print("The data are files of the aeon package: pip install --no-deps aeon")
        return []
    folder = Path(aeon.submodule_search_locations[0]) / "datasets" / "data"

    rows = []
    for data, goal in GOALS.items():
        x, y = rf.datasets.read_ts(folder / data / f"{data}_TRAIN.ts")
        x_test, y_test = rf.datasets.read_ts(folder / data / f"{data}_TEST.ts")
        if options.quick:
            x, y, x_test, y_test = x[::2], y[::2], x_test[::10], y_test[::10]
        others = baselines(x, y, x_test, y_test)

        scores = {
            name: cross_val_score(network(0, options), x, y, cv=2 if options.quick else 5).mean()
            for name, network in NETWORKS.items()
        }
        print(f"{data}, accuracy in cross-validation:")
        print("".join(f"  {score:.4f}  {name}\n" for name, score in scores.items()), end="")
        chosen = max(scores, key=lambda name: scores[name])
        reported = [("B1", chosen, goal)]
        if data == "JapaneseVowels":
            reported.append(("B8", "bidirectional LSTM 64-64", None))
        for row, name, wanted in reported:
            fitted = [NETWORKS[name](seed, options).fit(x, y) for seed in range(options.seeds)]
            seconds = [min(model.history_["seconds"]) for model in fitted]
            rows.append(
                Row(
                    row,
                    f"{data}, {name}",
                    "accuracy",
                    [model.score(x_test, y_test) for model in fitted],
                    goal=wanted,
                    baselines=others,
                    higher_is_better=True,
                    epoch=float(np.median(seconds)),
                )
            )
            if data == "JapaneseVowels" and row == "B1":
                axes = rf.plots.confusion_matrix(y_test, fitted[-1].predict(x_test))
                axes.set_title("Nine speakers of Japanese vowels")
                save(axes, options, "time_series_classification")
    return rows


if __name__ == "__main__":
    main(example, __doc__)
