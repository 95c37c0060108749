"""What recurrent layers compute, in a few lines of NumPy beside them: rows A1, A3, A7 and A8.

A recurrent layer reads a sequence step by step and keeps a state, its memory:

    s_t = act(W_x x_t + W_s s_{t-1} + b),    y_t = W_y s_t,

with the same W_x, W_s, b and W_y at every step. Each function with "by hand" in its name is such an
equation; a row is the largest difference between it and the layer, in float64. Two ways to compute
the same numbers seldom round alike, so the goal is what rounding explains (see `rounding`). Beside
it stands the difference to an equation with one thing changed, which is what an error looks like.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from common import Options, Row, main, save
from matplotlib.figure import Figure

import rnnfast as rf

STEPS, FEATURES, UNITS, CLASSES = 30, 3, 8, 4
Array = np.ndarray


def rounding(operations: int, largest: float = 1.0, dtype: Any = np.float64) -> float:
    """What so many roundings in a row may add up to, in results up to `largest`.

    Each is off by eps / 2 at most and has either sign, so that n of them make about sqrt(n) times
    that, and hardly ever 8 times as much (Higham and Mary 2019).
    """
    return float(8 * np.sqrt(operations) * np.finfo(dtype).eps / 2 * largest)


def difference(ours: Iterable[Array], theirs: Iterable[Array]) -> float:
    """The largest one between the elements of two sequences of arrays."""
    return max(float(np.abs(a - b).max()) for a, b in zip(ours, theirs, strict=True))


def randomised(layer: Any, seed: int) -> Any:
    """The layer with other scales of its layer normalisation than the ones it starts with."""
    rng = np.random.default_rng(seed)
    for name, value in layer.params.items():
        if "_ln_" in name:
            layer.params[name] = rng.uniform(0.5, 1.5, value.shape)
    return layer


# ---- A1: the recurrent neuron and layer


def neurons_by_hand(layer: rf.RNN, x: Array) -> Array:
    """The states of a neuron or a layer of them, (time, units), for x (time, features)."""
    w_x, w_s = layer.params["weight_ih_l0"], layer.params["weight_hh_l0"]
    b = layer.params["bias_ih_l0"] + layer.params["bias_hh_l0"]  # two, as in PyTorch
    s, states = np.zeros(len(w_s)), []
    for x_t in x:
        sums = w_x @ x_t + w_s @ s + b
        s = np.tanh(sums) if layer.nonlinearity == "tanh" else np.maximum(sums, 0)
        states.append(s)
    return np.array(states)


def softmax(scores: Array) -> Array:
    e = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def recurrent_layers(options: Options) -> list[Row]:
    rows = []
    operations = STEPS * (FEATURES + UNITS + 3)
    for units, nonlinearity in ((1, "tanh"), (1, "relu"), (UNITS, "tanh"), (UNITS, "relu")):
        off, memoryless = [], []
        for seed in range(options.seeds):
            x = np.random.default_rng(seed).standard_normal((STEPS, FEATURES))
            layer = rf.RNN(FEATURES, units, 1, nonlinearity, dtype=np.float64, seed=seed)
            y, _ = layer(x)
            off.append(difference(y, neurons_by_hand(layer, x)))
            alone = [neurons_by_hand(layer, x[t : t + 1])[0] for t in range(STEPS)]
            memoryless.append(difference(y, alone))
        what = f"{'neuron' if units == 1 else f'layer of {units}'}, {nonlinearity}, by hand"
        goal = rounding(operations, float(np.abs(y).max()))
        baseline = {"without W_s s": float(np.median(memoryless))}
        rows.append(Row("A1", what, "largest difference", off, goal, baseline))

    # outputs: scores, or probabilities, whose cross-entropy the loss takes from the scores
    linear, loss, even = [], [], []
    for seed in range(options.seeds):
        rng = np.random.default_rng(seed)
        x, classes = rng.standard_normal((STEPS, FEATURES)), rng.integers(0, CLASSES, STEPS)
        layer = rf.RNN(FEATURES, UNITS, dtype=np.float64, seed=seed)
        output = rf.Linear(UNITS, CLASSES, bias=False, dtype=np.float64, seed=seed)
        scores = rf.Sequential(layer, output).predict(x)
        wanted = neurons_by_hand(layer, x) @ output.params["weight"].T
        linear.append(difference(scores, wanted))
        cost = -np.log(softmax(wanted)[np.arange(STEPS), classes]).mean()
        loss.append(abs(rf.losses.softmax_cross_entropy(scores, classes)[0] - cost))
        even.append(abs(np.log(CLASSES) - cost))
    goal = rounding(operations + UNITS, float(np.abs(scores).max()))
    rows.append(Row("A1", "linear output W_y s, by hand", "largest difference", linear, goal))
    rows.append(
        Row(
            "A1",
            "softmax output and its cross-entropy, by hand",
            "largest difference",
            loss,
            rounding(operations + UNITS + CLASSES + STEPS, float(cost)),
            {"even odds": float(np.median(even))},
        )
    )
    count = sum(param.size for param in layer.params.values())
    rows.append(
        Row(
            "A1",
            f"layer of {UNITS}, shared over time",
            "parameters for any number of steps",
            [count],
            UNITS * (FEATURES + UNITS + 2),
            {f"of its own for each of {STEPS} steps": STEPS * count},
        )
    )
    return rows


def draw_memory(options: Options) -> None:
    """What one neuron keeps of an input of 1 at step 0, by the weight of its own state."""
    impulse = np.eye(1, STEPS).T  # (time, 1)
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for ax, nonlinearity in zip(panels, ("tanh", "relu"), strict=True):
        for w_s in (0.5, 0.9, 1.0, 1.02):
            neuron = rf.RNN(1, 1, 1, nonlinearity, bias=False, dtype=np.float64)
            neuron.params["weight_ih_l0"] = [[1.0]]
            neuron.params["weight_hh_l0"] = [[w_s]]
            ax.plot(neuron(impulse)[0], ".-", linewidth=1, label=f"{w_s:g}")
        ax.set(xlabel="step", title=nonlinearity)
        ax.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("state")
    panels[1].legend(
        title="$W_s$", frameon=False, loc="upper left", bbox_to_anchor=(1, 1), reverse=True
    )
    figure.suptitle("What a neuron remembers of an input of 1 at step 0")
    save(panels[0], options, "basics")


# ---- A3: gated and layer-normalised cells


def sigmoid(sums: Array) -> Array:
    return 1 / (1 + np.exp(-sums))


def cell_by_hand(layer: Any, x: Array) -> Array:
    """The outputs of an RNN (tanh), an LSTM or a GRU, with and without layer normalisation."""
    p = {name.removesuffix("_l0"): value for name, value in layer.params.items()}
    kind, units = type(layer).__name__, layer.hidden_size

    def norm(sums: Array, which: int) -> Array:
        if not layer.layer_norm:
            return sums
        unit = (sums - sums.mean()) / np.sqrt(sums.var() + 1e-5)
        scale, shift = (p[name].reshape(-1, units)[which] for name in ("weight_ln", "bias_ln"))
        return scale * unit + shift

    h, c, outputs = np.zeros(units), np.zeros(units), []
    for x_t in x:
        from_x = (p["weight_ih"] @ x_t + p["bias_ih"]).reshape(-1, units)
        from_h = (p["weight_hh"] @ h + p["bias_hh"]).reshape(-1, units)
        if kind == "GRU":
            r, z = (sigmoid(norm(from_x[k] + from_h[k], k)) for k in (0, 1))  # reset, update
            n = np.tanh(norm(from_x[2], 2) + r * norm(from_h[2], 3))
            h = (1 - z) * n + z * h
        elif kind == "LSTM":
            i, f, g, o = (norm(from_x[k] + from_h[k], k) for k in range(4))
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        else:
            h = np.tanh(norm(from_x[0] + from_h[0], 0))
        outputs.append(h)
    return np.array(outputs)


def cells(options: Options) -> list[Row]:
    rows = []
    for cell, normalised in ((rf.GRU, False), (rf.RNN, True), (rf.LSTM, True), (rf.GRU, True)):
        off, changed = [], []
        for seed in range(options.seeds):
            x = np.random.default_rng(seed).standard_normal((STEPS, FEATURES))
            layer, plain = (
                cell(FEATURES, UNITS, dtype=np.float64, seed=seed, layer_norm=on)
                for on in (normalised, False)
            )
            y, _ = randomised(layer, seed)(x)
            off.append(difference(y, cell_by_hand(layer, x)))
            other = plain if normalised else rf.RNN(FEATURES, UNITS, dtype=np.float64, seed=seed)
            changed.append(difference(y, cell_by_hand(other, x)))
        what = f"{'layer-normalised ' if normalised else ''}{cell.__name__}, by hand"
        # a normalised sum rounds its mean and variance as well
        goal = rounding(STEPS * (FEATURES + UNITS * (3 if normalised else 1) + 16))
        name = "without layer norm" if normalised else "RNN"
        baseline = {name: float(np.median(changed))}
        rows.append(Row("A3", what, "largest difference", off, goal, baseline))
    return rows


# ---- A7: layers upon layers, folded and unfolded


def stack(seed: int) -> rf.Sequential:
    return rf.Sequential(
        rf.Linear(FEATURES, UNITS, dtype=np.float64, seed=seed),
        rf.RNN(UNITS, UNITS, num_layers=2, dtype=np.float64, seed=seed),
        rf.LayerNorm(UNITS, dtype=np.float64),
        rf.LSTM(UNITS, UNITS, dtype=np.float64, seed=seed),
        rf.Tanh(),
        rf.GRU(UNITS, UNITS, dtype=np.float64, seed=seed),
        rf.Linear(UNITS, CLASSES, dtype=np.float64, seed=seed),
    )


def unfolded(model: Any, x: Array, carry: bool = True) -> Array:
    """The outputs of one call for each step, the state handed from each to the next."""
    state, outputs = None, []
    for x_t in x:
        y_t, state = model.step(x_t, state if carry else None)
        outputs.append(y_t)
    return np.array(outputs)


def stacks(options: Options) -> list[Row]:
    off, forgetful = [], []
    for seed in range(options.seeds):
        model = stack(seed)
        x = np.random.default_rng(seed).standard_normal((STEPS, 2, FEATURES))
        y = model.predict(x)
        off.append(difference(y, unfolded(model, x)))
        forgetful.append(difference(y, unfolded(model, x, carry=False)))
    print(f"Layers go together like Lego bricks (T: steps, B: batch):\n\n{model.summary()}\n")
    return [
        Row(
            "A7",
            f"a stack of {len(model)} mixed layers, one call or one for each of {STEPS} steps",
            "largest difference",
            off,
            rounding(STEPS * len(model) * (2 * UNITS + 16), float(np.abs(y).max())),
            {"state not handed on": float(np.median(forgetful))},
        )
    ]


# ---- A8: batches


def layer_batches(options: Options) -> list[Row]:
    """Of a ragged batch: the outputs and gradients of all, beside those of each sample alone."""
    rows = []
    for kind, features in (("univariate", 1), ("multivariate", FEATURES)):
        off, padded = [], []
        for seed in range(options.seeds):
            rng = np.random.default_rng(seed)
            layer = rf.LSTM(features, UNITS, batch_first=True, dtype=np.float64, seed=seed)
            x = rng.standard_normal((6, STEPS, features))  # (batch, steps, features)
            lengths = rng.integers(1, STEPS, len(x))
            weights = rng.standard_normal((6, STEPS, UNITS))  # dC/dy of some cost C
            y, state, tape = layer.forward(x, lengths=lengths)
            layer.backward(tape, weights)
            together = [grad.copy() for grad in layer.grads.values()]
            layer.zero_grad()
            alone = np.zeros_like(y)
            for i, n in enumerate(lengths):
                alone[i, :n], _, tape = layer.forward(x[i, :n])
                layer.backward(tape, weights[i, :n])  # adds to the gradients
            off.append(difference([y, *together], [alone, *layer.grads.values()]))
            padded.append(difference(state, layer(x)[1]))
        largest = max(float(np.abs(grad).max()) for grad in together)
        rows.append(
            Row(
                "A8",
                f"ragged batch of {kind} series, LSTM {UNITS}, and each alone",
                "largest difference",
                off,
                rounding(STEPS * (features + 5 * UNITS + 16) + 6 * STEPS, largest),
                {"padding read as data": float(np.median(padded))},
            )
        )
    return rows


def estimator_batches(seed: int) -> tuple[dict[str, float], float]:
    """The same of estimators' predictions, by estimator and kind of series; the largest one.

    (`LanguageModel` reads its texts one after another.)
    """
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, 20, 24)
    common: dict[str, Any] = {"hidden_size": UNITS, "max_iter": 2, "random_state": seed}
    found, largest = {}, 0.0
    for kind, shape in (("univariate", ()), ("multivariate", (FEATURES,))):
        x = [rng.standard_normal((n, *shape)) for n in lengths]
        marks = [np.arange(n) % 2 for n in lengths]
        predictors = {
            "SequenceClassifier": rf.SequenceClassifier(**common).fit(x, lengths % 2).predict_proba,
            "SequenceRegressor": rf.SequenceRegressor(**common).fit(x, lengths).predict,
            "SequenceLabeler": rf.SequenceLabeler(**common).fit(x, marks).predict_proba,
            "Forecaster": rf.Forecaster(horizon=2, **common).fit(x).predict,
        }
        for name, predict in predictors.items():
            batch = predict(x)
            alone = [predict([series])[0] for series in x]
            found[f"{name}, {kind}"] = difference(batch, alone)
            largest = max(largest, *(float(np.abs(values).max()) for values in alone))
    return found, largest


def batches(options: Options) -> list[Row]:
    found = []
    for seed in range(options.seeds):
        by_name, largest = estimator_batches(seed)
        found.append(max(by_name.values()))
    print("Estimators, a ragged batch beside each sample alone, in float32:\n")
    print("\n".join(f"{name:32} {off:.2g}" for name, off in by_name.items()), end="\n\n")
    return [
        *layer_batches(options),
        Row(
            "A8",
            "ragged batches of four estimators (float32), and each sample alone",
            "largest difference",
            found,
            rounding(20 * (FEATURES + UNITS + 16), largest, np.float32),
        ),
    ]


def example(options: Options) -> list[Row]:
    draw_memory(options)
    return [
        *recurrent_layers(options),
        *cells(options),
        *stacks(options),
        *batches(options),
    ]


if __name__ == "__main__":
    main(example, __doc__)
