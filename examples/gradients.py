"""How recurrent layers learn: rows A4 and A5, with gradients checked by plain arithmetic.

The cost of a sequence is that of each step, summed or averaged, or that of the last step alone. To
learn is to move every weight against its share in the cost. A weight serves every step, so that its
gradient is the sum of what each step adds, found from the last step to the first (back-propagation
through time):

    w <- w - eta * sum_t dC/dw_t.

What says that such a gradient is right is its definition: move one weight a little, up and down,
and see how the cost changes (central differences, in float64). Their own error decides the goal;
see `SLOPE`. The picture shows what each step adds where only the last one costs anything, and why
a plain recurrent layer hardly learns from what was long ago, while an LSTM can once its forget
gates are open.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from basics import rounding
from common import Options, Row, main, save
from matplotlib.figure import Figure

import rnnfast as rf

STEPS, BATCH, FEATURES, UNITS, CLASSES = 12, 2, 3, 5, 4
EPS = float(np.finfo(np.float64).eps)
# (f(w + h) - f(w - h)) / 2h leaves out about h^2 and is rounded by about eps / h. With this h both
# are eps^(2/3), 4e-11, times the third derivative and f. Up to 1000 times are allowed, since f is
# a mean over some hundred terms, of which an element of the gradient may concern only one.
H = EPS ** (1 / 3)
SLOPE = 1000 * EPS ** (2 / 3)
Array = np.ndarray
Gradients = dict[str, Array]  # by the parameter's name
Loss = Callable[..., tuple[float, Array]]


def slopes(cost: Callable[[], float], array: Array) -> Array:
    """How the cost changes with each element of an array that it reads."""
    found = np.empty_like(array)
    for i in np.ndindex(array.shape):
        kept = array[i]
        array[i] = kept + H
        up = cost()
        array[i] = kept - H
        down = cost()
        array[i] = kept
        found[i] = (up - down) / (2 * H)
    return found


def weight_slopes(layer: Any, cost: Callable[[], float]) -> Gradients:
    """The same for each parameter of a layer."""
    found = {}
    for name, value in layer.params.items():
        array = value.copy()

        def moved(name: str = name, array: Array = array) -> float:
            layer.params[name] = array
            return cost()

        found[name] = slopes(moved, array)
        layer.params[name] = array
    return found


def error(ours: Gradients, theirs: Gradients) -> float:
    """The largest difference, as a share of the largest element."""
    largest = max(float(np.abs(value).max()) for value in theirs.values())
    return max(float(np.abs(ours[name] - value).max()) for name, value in theirs.items()) / largest


# ---- A4: back-propagation through time


def contributions(layer: Any, x: Array, dy: Array) -> list[Gradients]:
    """What each step adds to the gradients, first to last.

    The layer takes one step at a time, and its backward pass one at a time from the last to the
    first; `dstate` is what the steps after it ask of a step's state.
    """
    state, tapes = None, []
    for t in range(len(x)):
        _, state, tape = layer.forward(x[t : t + 1], state)
        tapes.append(tape)
    dstate, found = None, []
    for t in reversed(range(len(x))):
        layer.zero_grad()
        _, dstate = layer.backward(tapes[t], dy[t : t + 1], dstate)
        found.append({name: grad.copy() for name, grad in layer.grads.items()})
    return found[::-1]


def check_cell(cell: Any, seed: int) -> tuple[float, float, float, float]:
    """Errors of a layer's gradient, of the last step's share alone, of their sum, and of SGD."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((STEPS, BATCH, FEATURES))
    target = rng.standard_normal((STEPS, BATCH, UNITS))
    layer = cell(FEATURES, UNITS, dtype=np.float64, seed=seed)

    def cost() -> float:
        return rf.losses.squared_error(layer(x)[0], target)[0]

    truth = weight_slopes(layer, cost)
    y, _, _ = layer.forward(x)
    _, dy = rf.losses.squared_error(y, target)
    steps = contributions(layer, x, dy)
    sums = {name: np.sum([step[name] for step in steps], axis=0) for name in truth}

    layer.zero_grad()
    _, _, tape = layer.forward(x)
    layer.backward(tape, dy)  # all steps in one call
    eta = 0.1
    wanted = {name: value - eta * sums[name] for name, value in layer.params.items()}
    gradient = dict(layer.grads)
    rf.SGD(layer, lr=eta).step()
    return (
        error(gradient, truth),
        error(steps[-1], truth),
        error(gradient, sums),
        error(dict(layer.params), wanted),
    )


def through_time(options: Options) -> list[Row]:
    rows: list[Row] = []
    summed: list[tuple[float, ...]] = []
    moved: list[tuple[float, ...]] = []
    for cell in (rf.RNN, rf.LSTM, rf.GRU):
        figures = [check_cell(cell, seed) for seed in range(options.seeds)]
        off, last_alone, *others = zip(*figures, strict=True)
        what = f"gradient of {cell.__name__}({UNITS}), and central differences"
        baseline = {"last step's share alone": float(np.median(last_alone))}
        rows.append(Row("A4", what, "relative error", list(off), SLOPE, baseline))
        for found, values in zip((summed, moved), others, strict=True):
            found.append(values)
    # an element of a gradient: BATCH products at each step, on a way through all steps and gates
    goal = rounding(STEPS * (BATCH + FEATURES + 5 * UNITS + 16))
    for what, found in (
        ("gradient of each, and the sum of its steps' shares, last to first", summed),
        ("weights after SGD, and w - eta times that sum", moved),
    ):
        worst = [max(values) for values in zip(*found, strict=True)]
        rows.append(Row("A4", what, "relative error", worst, goal))
    return rows


def shares(cell: Any, seed: int, forget_bias: float = 0.0, steps: int = 100) -> Array:
    """How much each step adds to the gradient where the cost is that of the last step."""
    layer = cell(1, 20, dtype=np.float64, seed=seed)
    if forget_bias:
        bias = layer.params["bias_ih_l0"].copy()
        bias[20:40] += forget_bias  # gates are in the order i, f, g, o
        layer.params["bias_ih_l0"] = bias
    rng = np.random.default_rng(seed)
    dy = np.zeros((steps, 1, 20))
    dy[-1] = rng.standard_normal(20)
    found = contributions(layer, rng.standard_normal((steps, 1, 1)), dy)
    norms = [np.sqrt(sum(np.square(grad).sum() for grad in step.values())) for step in found]
    return np.array(norms) / norms[-1]


def vanishing(options: Options) -> Row:
    networks: dict[str, Callable[[int], Array]] = {
        "RNN": partial(shares, rf.RNN),
        "GRU": partial(shares, rf.GRU),
        "LSTM": partial(shares, rf.LSTM),
        "LSTM, forget gates open": partial(shares, rf.LSTM, forget_bias=5.0),
    }
    found = {name: [run(seed) for seed in range(options.seeds)] for name, run in networks.items()}
    axes = Figure(figsize=(7, 4), layout="constrained").subplots()
    for name, runs in found.items():
        axes.semilogy(np.median(runs, axis=0), label=name)
    axes.set(
        xlabel="step; only the last one costs anything",
        ylabel="norm of $dC/dw_t$, the last step's = 1",
        title="What each step adds to the gradient",
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    save(axes, options, "gradients")
    first = {name: [float(run[0]) for run in runs] for name, runs in found.items()}
    ours = first.pop("LSTM, forget gates open")
    return Row(
        "A4",
        "what the first of 100 steps adds where only the last costs, LSTM, forget gates open",
        "norm, the last step's 1",
        ours,
        baselines={name: float(np.median(values)) for name, values in first.items()},
        higher_is_better=True,
    )


# ---- A5: losses at each step, summed, or at the last step only


def check_loss(loss: Loss, scores: Array, target: Array) -> tuple[float, float, float]:
    """Errors of sums, of gradients, and of the gradient of all steps taken for the last one's."""
    each = [loss(y_t, wanted)[0] for y_t, wanted in zip(scores, target, strict=True)]
    value, gradient = loss(scores, target)  # the mean over steps
    last, last_gradient = loss(scores, target, steps="last")
    truth = slopes(lambda: loss(scores, target)[0], scores)
    last_truth = slopes(lambda: loss(scores, target, steps="last")[0], scores)
    return (
        max(abs(STEPS * value - sum(each)) / sum(each), abs(last - each[-1]) / each[-1]),
        max(
            error({"all": gradient}, {"all": truth}),
            error({"last": last_gradient}, {"last": last_truth}),
        ),
        error({"last": gradient}, {"last": last_truth}),
    )


def losses(options: Options) -> list[Row]:
    shape = STEPS, BATCH, CLASSES
    cross_entropy = rf.losses.softmax_cross_entropy
    found: dict[str, list[tuple[float, ...]]] = {}
    for seed in range(options.seeds):
        rng = np.random.default_rng(seed)
        scores, classes = rng.standard_normal(shape), rng.integers(0, CLASSES, shape[:2])
        given: dict[str, tuple[Loss, Array]] = {
            "squared error": (rf.losses.squared_error, rng.standard_normal(shape)),
            "logistic loss": (rf.losses.logistic, rng.integers(0, 2, shape)),
            "softmax cross-entropy of indices": (cross_entropy, classes),
            "softmax cross-entropy of one-hot targets": (cross_entropy, np.eye(CLASSES)[classes]),
        }
        for name, (loss, target) in given.items():
            found.setdefault(name, []).append(check_loss(loss, scores, target))
    rows, summed = [], []
    for name, figures in found.items():
        sums, off, other = zip(*figures, strict=True)
        summed.append(sums)
        what = f"{name}, all steps and the last: gradient, and central differences"
        baseline = {"all steps taken for the last": float(np.median(other))}
        rows.append(Row("A5", what, "relative error", list(off), SLOPE, baseline))
    what = "each of them: T times the mean and the sum over steps; last step only and the last"
    worst = [max(values) for values in zip(*summed, strict=True)]
    return [*rows, Row("A5", what, "relative error", worst, rounding(STEPS * BATCH * CLASSES))]


def example(options: Options) -> list[Row]:
    return [*through_time(options), vanishing(options), *losses(options)]


if __name__ == "__main__":
    main(example, __doc__)
