"""Classify images of handwritten digits: row B3.

One-to-one, without time: the layers are those of the recurrent networks, and a dense layer takes
samples as it takes time steps. The images, 8 by 8 pixels, are those of scikit-learn; a quarter of
them is held out.
"""

from __future__ import annotations

import numpy as np
from common import Options, Row, logistic_regression, main, save
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import rnnfast as rf


def perceptron(seed: int) -> rf.Sequential:
    model = rf.Sequential(
        rf.Linear(64, 128),
        rf.ReLU(),
        rf.Dropout(0.3, seed=seed),
        rf.Linear(128, 128),
        rf.ReLU(),
        rf.Dropout(0.3, seed=seed + 1),
        rf.Linear(128, 10),
    )
    rf.init.keras(model, seed)
    return model


def example(options: Options) -> list[Row]:
    images, digits = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(
        np.float32(images / 16), digits, stratify=digits, random_state=0
    )
    linear = logistic_regression(x, y)

    scores, seconds = [], []
    for seed in range(options.seeds):
        model = perceptron(seed)
        history = rf.fit(
            model,
            (x, y),
            loss=rf.losses.softmax_cross_entropy,
            optimizer=rf.Adam(model, lr=1e-3),
            epochs=2 if options.quick else 150,
            validation_split=0.1,
            callbacks=[rf.EarlyStopping(patience=20)],
            seed=seed,
            progress=False,
        )
        prediction = model.predict(x_test).argmax(axis=1)
        scores.append(float(np.mean(prediction == y_test)))
        seconds.append(min(history["seconds"]))

    axes = rf.plots.confusion_matrix(y_test, prediction)
    axes.set_title("Held-out digits")
    save(axes, options, "digits")
    return [
        Row(
            "B3",
            "digits, Linear 128-128-10",
            "accuracy",
            scores,
            baselines={"logistic regression": linear.score(x_test, y_test)},
            higher_is_better=True,
            epoch=float(np.median(seconds)),
        )
    ]


if __name__ == "__main__":
    main(example, __doc__)
