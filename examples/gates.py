"""Look into the gates of an LSTM: row A2.

A sequence of random numbers, some of which are marked; at every step the network gives the last
marked one. An LSTM can do so with an input gate that opens (1) at a mark and is closed (0)
elsewhere, and a forget gate that does the opposite. Nobody tells it; its gates show what it found.
"""

from __future__ import annotations

import numpy as np
from common import Options, Row, main, save
from matplotlib.figure import Figure

import rnnfast as rf

STEPS = 40


def marked_values(n_samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Values and marks, (samples, time, 2), and the last marked value, (samples, time, 1)."""
    rng = np.random.default_rng(seed)
    values = rng.uniform(-1, 1, (n_samples, STEPS))
    marks = rng.random((n_samples, STEPS)) < 0.1
    marks[:, 0] = True
    last = np.maximum.accumulate(np.where(marks, np.arange(STEPS), 0), axis=1)
    x = np.stack([values, marks], axis=-1).astype(np.float32)
    return x, np.take_along_axis(x[..., :1], last[..., None], axis=1)


def least_squares(x: np.ndarray, y: np.ndarray, x_test: np.ndarray) -> np.ndarray:
    """The best linear function of the last ten steps, (samples, time - 9, 1)."""
    window, window_test = (
        np.lib.stride_tricks.sliding_window_view(part, 10, axis=1).reshape(len(part), -1, 20)
        for part in (x, x_test)
    )
    weights = np.linalg.lstsq(window.reshape(-1, 20), y[:, 9:].reshape(-1, 1), rcond=None)[0]
    return window_test @ weights


def example(options: Options) -> list[Row]:
    x, y = marked_values(100 if options.quick else 2000, seed=0)
    x_test, y_test = marked_values(500, seed=1)

    def mse(prediction: np.ndarray) -> float:
        return float(np.square(prediction - y_test[:, -prediction.shape[1] :]).mean())

    errors, at_marks, elsewhere, seconds = [], [], [], []
    for seed in range(options.seeds):
        lstm = rf.LSTM(2, 4, batch_first=True)
        model = rf.Sequential(lstm, rf.Linear(4, 1))
        rf.init.keras(model, seed)
        epochs = 1 if options.quick else 60
        adam = rf.Adam(model, lr=2e-2)
        history = rf.fit(
            model,
            (x, y),
            loss=rf.losses.squared_error,
            optimizer=adam,
            epochs=epochs,
            clip_norm=1.0,
            callbacks=[rf.CosineAnnealingLR(adam, T_max=epochs)],
            seed=seed,
            progress=False,
        )
        errors.append(mse(model.predict(x_test)))
        seconds.append(min(history["seconds"]))
        forget = lstm.gates(x_test)["forget"][0]  # (samples, time, units)
        marked = x_test[..., 1] > 0
        at_marks.append(float(forget[marked].mean()))
        elsewhere.append(float(forget[~marked].mean()))

    shown = x_test[0]
    figure = Figure(figsize=(8, 8), layout="constrained")
    top, *others = figure.subplots(5, sharex=True, height_ratios=(2, 1, 1, 1, 1))
    steps = np.arange(STEPS)
    top.plot(steps, shown[:, 0], ".", color="grey", label="value")
    top.plot(steps[marked[0]], shown[marked[0], 0], "o", color="tab:orange", label="marked")
    top.step(steps, model.predict(x_test[:1])[0], where="mid", label="output")
    top.set(ylabel="value")
    top.set_title("Give the last marked value", loc="left")
    top.legend(ncols=3, loc="lower right", bbox_to_anchor=(1, 1), frameon=False)
    rf.plots.gates(lstm, shown, axes=others)
    save(top, options, "gates")
    return [
        Row(
            "A2",
            "remember the last marked value, LSTM 4",
            "MSE",
            errors,
            baselines={
                "always 0": mse(np.zeros_like(y_test)),
                "least squares on 10 steps": mse(least_squares(x, y, x_test)),
            },
            epoch=float(np.median(seconds)),
        ),
        Row(
            "A2",
            "its forget gate at a mark",
            "mean, 0 closed, 1 open",
            at_marks,
            baselines={"elsewhere": float(np.median(elsewhere))},
        ),
    ]


if __name__ == "__main__":
    main(example, __doc__)
