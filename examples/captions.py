"""Write the name of a digit, "seven", under its picture, character by character: row B4.

A vector of 64 grey values starts a generated sequence. The pictures are scikit-learn's digits, a
quarter held out. The baseline, k-nearest neighbours, looks the name up.
"""

from __future__ import annotations

import numpy as np
from common import Options, Row, main, save
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neighbors import KNeighborsClassifier

import rnnfast as rf

NAMES = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])


def example(options: Options) -> list[Row]:
    pixels, digits = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(pixels, NAMES[digits], random_state=0)
    if options.quick:
        x, y = x[:300], y[:300]
    grid = {"n_neighbors": [1, 2, 3, 5, 8, 13], "weights": ["uniform", "distance"]}
    neighbours = GridSearchCV(KNeighborsClassifier(), grid).fit(x, y)
    shares, seconds = [], []
    for seed in range(options.seeds):
        model = rf.Seq2Seq(
            hidden_size=128,
            dropout=0.3,
            learning_rate_init=3e-3,
            max_iter=8 if options.quick else 60,
            random_state=seed,
        )
        model.fit(x, y.tolist())
        shares.append(model.score(x_test, y_test.tolist()))
        seconds.append(min(model.history_["seconds"]))

    written = np.array(model.predict(x_test))
    shown = np.r_[np.flatnonzero(written != y_test)[:6], np.flatnonzero(written == y_test)[:18]]
    panels = Figure(figsize=(8, 4), layout="constrained").subplots(3, 8).flat
    for axes, i in zip(panels, shown, strict=False):
        axes.imshow(x_test[i].reshape(8, 8), cmap="gray_r")
        axes.set_title(written[i], color="black" if written[i] == y_test[i] else "red")
        axes.set_xticks([])
        axes.set_yticks([])
    axes.figure.suptitle("What the network writes of pictures that it has not seen (red: wrong)")
    save(axes, options, "captions")
    return [
        Row(
            "B4",
            "LSTM decoder from pixels, greedy",
            "exact names",
            shares,
            0.95,
            {"k-nearest neighbours": float(neighbours.score(x_test, y_test))},
            higher_is_better=True,
            epoch=float(np.median(seconds)),
        )
    ]


if __name__ == "__main__":
    main(example, __doc__)
