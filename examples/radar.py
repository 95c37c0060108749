"""Label which of 32 received radar samples hold an echo of what was sent: row C14.

The returns are generated: a pulse of 8 random signs is sent, and up to two echoes of it come back,
delayed, scaled and under noise. As in a receiver's mixer, the received signal is multiplied by the
sent samples; a WaveNet, which is causal, labels each sample when the 7 after it are there too. It
learns from 60,000 returns; the figures are those of 2,000 others.

Baselines, each with the threshold that is most accurate on 5,000 of the returns for training: the
energy of a window; the matched filter, which labels all echoes whose correlation exceeds the
threshold; and matching pursuit, the filter again after the strongest echo has been subtracted,
which knows that there are two echoes at most. All know that no echo comes before the pulse has
ended. The goal is the matched filter's figure.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from common import Options, Row, main, save
from numpy.lib.stride_tricks import sliding_window_view

import rnnfast as rf

PULSE = 8
Detector = Callable[[np.ndarray, float], np.ndarray]


def mixed(x: np.ndarray) -> np.ndarray:
    """Return the received sample 7 steps on, and its products with each one sent."""
    ahead = np.pad(x[:, PULSE - 1 :, 1:], ((0, 0), (0, PULSE - 1), (0, 0)))
    return np.concatenate([ahead, ahead * x[:, None, :PULSE, 0]], axis=2)


def network() -> rf.Sequential:
    return rf.Sequential(
        rf.WaveNet(1 + PULSE, 32, dilations=(1, 2, 4, 8, 16), batch_first=True),
        rf.ReLU(),
        rf.Linear(32, 32),
        rf.ReLU(),
        rf.Linear(32, 2),
    )


def train(x: np.ndarray, y: np.ndarray, epochs: int, seed: int) -> tuple[rf.Sequential, float]:
    """Return a network and the seconds of an epoch."""
    model = network()
    rf.init.keras(model, seed)
    adam = rf.Adam(model)
    history = rf.fit(
        model,
        (mixed(x), y),
        loss=rf.losses.softmax_cross_entropy,
        optimizer=adam,
        epochs=epochs,
        batch_size=64,
        callbacks=[rf.OneCycleLR(adam, max_lr=5e-3, total_steps=epochs * -(-len(x) // 64))],
        seed=seed,
        progress=False,
    )
    return model, min(history["seconds"])


# ---- baselines


def energy(x: np.ndarray, threshold: float) -> np.ndarray:
    around = np.pad(np.square(x[:, PULSE:, 1]), ((0, 0), (PULSE // 2, PULSE // 2 - 1)))
    found = sliding_window_view(around, PULSE, axis=1).mean(axis=2) > threshold
    return np.pad(found, ((0, 0), (PULSE, 0)))


def gains(x: np.ndarray, received: np.ndarray) -> np.ndarray:
    """Return the matched filter's output: the size of an echo from each sample after the pulse."""
    windows = sliding_window_view(received[:, PULSE:], PULSE, axis=1)
    return np.einsum("ntk,nk->nt", windows, x[:, :PULSE, 0]) / PULSE


def matched_filter(x: np.ndarray, threshold: float) -> np.ndarray:
    found = np.zeros(x.shape[:2], bool)
    for start, gain in enumerate(gains(x, x[..., 1]).T, PULSE):
        found[np.abs(gain) > threshold, start : start + PULSE] = True
    return found


def matching_pursuit(x: np.ndarray, threshold: float) -> np.ndarray:
    rows, received = np.arange(len(x))[:, None], x[..., 1].copy()
    found = np.zeros(x.shape[:2], bool)
    for _ in range(2):
        gain = gains(x, received)
        delay = np.abs(gain).argmax(axis=1)[:, None]
        strongest, steps = gain[rows, delay], PULSE + delay + np.arange(PULSE)
        received[rows, steps] -= strongest * x[:, :PULSE, 0]
        found[rows, steps] |= np.abs(strongest) > threshold
    return found


def tuned(detector: Detector, x: np.ndarray, y: np.ndarray) -> float:
    return max(np.arange(0.1, 1, 0.02), key=lambda t: accuracy(detector(x, t), y))


def accuracy(labels: np.ndarray, y: np.ndarray) -> float:
    return float((labels == y).mean())


def f1(labels: np.ndarray, y: np.ndarray) -> float:
    return float(2 * (labels & (y == 1)).sum() / (labels.sum() + y.sum()))


def example(options: Options) -> list[Row]:
    n, epochs = (1000, 2) if options.quick else (60_000, 6)
    x, y = rf.datasets.radar_returns(n, seed=0)
    x_test, y_test = rf.datasets.radar_returns(2000, seed=2)

    detectors = {
        "energy": energy,
        "matched filter": matched_filter,
        "matching pursuit": matching_pursuit,
    }
    found = {name: f(x_test, tuned(f, x[:5000], y[:5000])) for name, f in detectors.items()}
    results, seconds = [], []
    for seed in range(options.seeds):
        model, epoch = train(x, y, epochs, seed)
        results.append(model.predict(mixed(x_test)).argmax(axis=2) == 1)
        seconds.append(epoch)
    rows = []
    for metric, figure in {"accuracy": accuracy, "F1 of echoes": f1}.items():
        baselines = {name: figure(labels, y_test) for name, labels in found.items()}
        if metric == "accuracy":
            baselines = {"no echo": accuracy(np.zeros_like(y_test), y_test), **baselines}
        rows.append(
            Row(
                "C14",
                "WaveNet(32)",
                metric,
                [figure(labels, y_test) for labels in results],
                baselines["matched filter"],
                baselines,
                higher_is_better=True,
                epoch=float(np.median(seconds)),
            )
        )
    draw(x_test, y_test, model, options)
    return rows


def draw(x: np.ndarray, y: np.ndarray, model: rf.Sequential, options: Options) -> None:
    from matplotlib.figure import Figure

    axes = Figure(figsize=(8, 7), layout="constrained").subplots(4, sharex=True)
    some = [int(np.flatnonzero(y.sum(axis=1) == steps)[0]) for steps in (0, 8, 12, 16)]
    scores = model.predict(mixed(x[some])).astype(np.float64)
    belief = 1 / (1 + np.exp(scores[..., 0] - scores[..., 1]))
    steps = np.arange(x.shape[1])
    for ax, i, p in zip(axes, some, belief, strict=True):
        ax.bar(steps, 5.2, width=y[i], bottom=-2.6, color="0.85", label="echo")
        ax.step(steps, x[i, :, 0], where="mid", color="#444444", linewidth=1, label="sent")
        ax.plot(steps, x[i, :, 1], ".-", color="#0072b2", linewidth=1, label="received")
        ax.plot(steps, p, color="#d55e00", label="probability of an echo")
        ax.set(ylim=(-2.6, 2.6))
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1))
    axes[-1].set_xlabel("sample")
    axes[0].figure.supylabel("signal")
    axes[0].figure.suptitle("Echoes that the WaveNet finds in radar returns")
    save(axes[0], options, "radar")


if __name__ == "__main__":
    main(example, __doc__, seeds=3)
