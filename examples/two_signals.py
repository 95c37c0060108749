"""Tell from a pair of noisy signals how they move: belief at each step, row B1.

Many-to-one: a pair (a_t, b_t) moves round a circle at one of four speeds, its class. No single step
tells the classes apart, so that the belief in a class grows with time. What the network believes is
set beside the exact posterior, which nothing can beat, and a linear classifier.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from common import Options, Row, logistic_regression, main, save
from matplotlib.figure import Figure
from scipy.special import i0e, softmax
from sklearn.metrics import accuracy_score, log_loss

import rnnfast as rf

CLASSES, STEPS, NOISE = 4, 24, 1.0
SPEEDS = np.linspace(-np.pi / 6, np.pi / 6, CLASSES)


def posterior(x: np.ndarray) -> np.ndarray:
    """The exact belief at each step, (samples, time, classes): see `datasets.two_signals`."""
    turned = (x[..., 0] + 1j * x[..., 1])[..., None] * np.exp(
        -1j * np.arange(x.shape[1])[:, None] * SPEEDS
    )
    evidence = np.abs(turned.cumsum(axis=1)) / NOISE**2
    return softmax(np.log(i0e(evidence)) + evidence, axis=-1)  # the logarithm of I0(evidence)


def most_probable(belief: np.ndarray) -> np.ndarray:
    return belief.argmax(axis=1)


def sampled(belief: np.ndarray) -> np.ndarray:
    """A class drawn from each belief."""
    drawn = np.random.default_rng(3).random((len(belief), 1))
    return (belief.cumsum(axis=1) > drawn).argmax(axis=1)


def picture(x: np.ndarray, belief: np.ndarray, exact: np.ndarray, truth: int) -> Any:
    """One pair of signals, and what is believed after each step of it."""
    figure = Figure(figsize=(8.5, 6), layout="constrained")
    signals, beliefs = figure.subplots(2, sharex=True, height_ratios=(1, 1.6))
    signals.plot(x, label=["a", "b"])
    signals.set(ylabel="signal", title=f"A pair of signals of class {truth}")
    signals.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    for k in range(CLASSES):
        color = f"C{k + 2}"
        name = f"class {k}" + (", the true one" if k == truth else "")
        beliefs.plot(belief[:, k], ".-", color=color, label=name)
        beliefs.plot(exact[:, k], "--", color=color, linewidth=1)
    beliefs.plot([], "--", color="grey", linewidth=1, label="exact posterior")
    beliefs.set(
        xlabel="step", ylabel="probability", ylim=(-0.02, 1.02), title="Belief after each step"
    )
    beliefs.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return beliefs


def example(options: Options) -> list[Row]:
    print("Scores of 5 and 15: softmax(5, 15) = ({:.6f}, {:.6f})".format(*softmax([5.0, 15.0])))

    n_train = 300 if options.quick else 40_000
    x, y = rf.datasets.two_signals(n_train, STEPS, CLASSES, NOISE, seed=0)
    x_test, y_test = rf.datasets.two_signals(3000, STEPS, CLASSES, NOISE, seed=1)
    exact = posterior(x_test)
    linear = logistic_regression(x.reshape(len(x), -1), y)
    guess = linear.predict_proba(x_test.reshape(len(x_test), -1))

    # every series is cut somewhere, so that the network learns what to believe at every step
    ends = np.random.default_rng(2).integers(1, STEPS + 1, n_train)
    cut = [series[:end] for series, end in zip(x, ends, strict=True)]
    epochs = 2 if options.quick else 15
    beliefs = []
    for seed in range(options.seeds):
        network = rf.SequenceClassifier(
            cell="gru",
            hidden_size=64,
            learning_rate_init=5e-3,
            max_iter=epochs,
            batch_size=64,
            callbacks=[partial(rf.CosineAnnealingLR, T_max=epochs)],
            random_state=seed,
        )
        beliefs.append(network.fit(cut, y).predict_proba_steps(x_test))

    def loss(belief: np.ndarray) -> float:
        return log_loss(np.repeat(y_test, STEPS), belief.reshape(-1, CLASSES))

    rows = []
    for what, decide in (("most probable class", most_probable), ("sampled class", sampled)):
        others = {"logistic regression": guess, "exact posterior": exact[:, -1]}
        rows.append(
            Row(
                "B1",
                f"two signals, GRU 64, {what} after {STEPS} steps",
                "accuracy",
                [accuracy_score(y_test, decide(belief[:, -1])) for belief in beliefs],
                baselines={k: accuracy_score(y_test, decide(v)) for k, v in others.items()},
                higher_is_better=True,
            )
        )
    even = np.full_like(exact, 1 / CLASSES)
    rows.append(
        Row(
            "B1",
            "two signals, GRU 64, belief at all steps",
            "cross-entropy, nats",
            [loss(belief) for belief in beliefs],
            baselines={"even odds": loss(even), "exact posterior": loss(exact)},
        )
    )
    save(picture(x_test[0], beliefs[-1][0], exact[0], y_test[0]), options, "two_signals")
    return rows


if __name__ == "__main__":
    main(example, __doc__)
