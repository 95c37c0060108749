"""The default network of the estimators from sequences to one target each.

Two readers of each series, whose outputs are added: fixed convolutions (`MiniRocket`) and, where
that predicts better, all numbers of the series, with an exactly solved readout; and convolutions
with a recurrent layer behind them, trained by gradients.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from .. import training
from ..callbacks import Callback
from ..layers import (
    Add,
    BatchNorm1d,
    Conv1d,
    Dropout,
    Last,
    Linear,
    MiniRocket,
    Pool,
    ReLU,
    Sequential,
)
from ..layers.recurrent import RECURRENT_LAYERS
from ..schedules import Schedule
from . import readout
from .base import NetworkEstimator
from .batches import Batches
from .convergence import MARGIN, trivial_loss

if TYPE_CHECKING:
    from ..arrays import Array
    from ..layers.base import Layer
    from ..optim import Optimizer

# What parameters left at None stand for in the default network, and in one of recurrent layers.
AUTOMATIC: dict[str, Any] = {
    "cell": "gru",
    "hidden_size": 32,
    "num_layers": 1,
    "bidirectional": True,
    "pooling": "mean",
    "dropout": 0.2,
    "optimizer": "adamw",
    "learning_rate_init": 3e-3,
}
RECURRENT: dict[str, Any] = {
    "cell": "lstm",
    "hidden_size": 32,
    "num_layers": 1,
    "bidirectional": False,
    "pooling": "last",
    "dropout": 0.0,
    "optimizer": "adam",
    "learning_rate_init": 1e-3,
    "batch_size": 32,
}
# Of labels for each step: what follows tells as much of a step as what came before.
LABELS = {**RECURRENT, "cell": "gru", "bidirectional": True}
SHAPE = ("cell", "hidden_size", "num_layers", "bidirectional", "pooling")
CHANNELS, MOST_CHANNELS = 32, 64  # of the first convolution, and of those that follow
KERNELS = 9, 5
LONGEST, LEFT = 512, 64  # steps behind the first convolution, and before the recurrent layer
MOST_NUMBERS = 1000  # of a series, for a readout that is linear in all of them
READ = 2000  # samples that the readout is solved for at most
ROWS = 64  # samples of which numbers are made at a time
LABEL_SMOOTHING = 0.1  # of the default loss, against a network too sure of what it learnt by heart
LEAST_SAMPLES = 12  # fewer tell nothing of what either reader is worth
PROBE = 3  # one part in so many is
SHARES = 0.9, 0.75, 0.5, 0.25  # of the exact reader, to choose from
ALMOST = 0.97  # likewise, of numbers, in which what the other adds is seen however small it is
EPOCHS, LEAST_UPDATES, MOST_UPDATES = 20, 300, 1000
LEAST_EACH = 10  # updates for each sample of a very small set
WARM = 0.1  # part of the updates in which the rate rises


def batch_size(samples: int) -> int:
    """Return how many samples of so many make a batch."""
    return min(max(samples // 64, 16), 64)


def updates(samples: int, batches: int) -> int:
    """Return how many updates suit so many samples, in so many batches."""
    return max(min(EPOCHS * batches, MOST_UPDATES), min(LEAST_EACH * samples, LEAST_UPDATES))


def default_layers(owner: Any, steps: int) -> list[Layer]:
    """Return the default network of an estimator, whose longest series has so many steps."""
    rocket = MiniRocket(owner._width, steps, batch_first=True, seed=owner._seed())
    exact: Layer = Sequential(rocket, Linear(rocket.out_size, owner._n_outputs, seed=owner._seed()))
    if owner._linear:
        exact = Add(exact, Sequential(*linear_reader(owner, steps)))
    recurrent = Sequential(*recurrent_reader(owner, steps))
    return [Add(exact, recurrent, weights=owner._shares)]


def linear_reader(owner: Any, steps: int) -> list[Layer]:
    """Return layers that are linear in all numbers of a series of so many steps."""
    conv = Conv1d(
        owner._width,
        owner._n_outputs,
        steps,
        padding="causal",
        batch_first=True,
        seed=owner._seed(),
    )
    return [conv, Last(batch_first=True)]


def recurrent_reader(owner: Any, steps: int) -> list[Layer]:
    """Return convolutions, a recurrent layer and its pooling, and the output."""
    layers: list[Layer] = []
    size = owner._width
    channels, stride = CHANNELS, -(-steps // LONGEST)
    while True:
        kernel = KERNELS[min(len(layers), 1)]
        conv = Conv1d(
            size,
            channels,
            kernel,
            stride=stride,
            padding=kernel // 2,
            bias=False,  # which the normalisation has
            batch_first=True,
            seed=owner._seed(),
        )
        drawn = np.random.default_rng(owner._seed()).standard_normal((channels, size, kernel))
        conv.params["weight"] = drawn * math.sqrt(2.0 / (size * kernel))  # He et al. 2015
        layers += [conv, BatchNorm1d(channels, batch_first=True), ReLU()]
        size, steps = channels, -(-steps // stride)
        if len(layers) >= 9 and steps <= LEFT:
            break
        channels, stride = MOST_CHANNELS, 2 if steps > LEFT else 1
    choice = {name: owner._chosen(name) for name in ("hidden_size", "num_layers", "bidirectional")}
    cell = RECURRENT_LAYERS[owner._chosen("cell")](
        size, batch_first=True, seed=owner._seed(), **choice
    )
    layers += [cell, Pool(owner._chosen("pooling"), batch_first=True)]
    if owner._chosen("dropout"):
        layers.append(Dropout(owner._chosen("dropout"), seed=owner._seed()))
    return [*layers, Linear(cell.out_size, owner._n_outputs, seed=owner._seed())]


class Solved(NamedTuple):
    """What a solved readout says of samples that are left out."""

    samples: Array  # (n,) int
    scores: Array  # (n, outputs) float32


def solve_readout(
    owner: Any, added: Add, take: Any, target: Array, weight: Array | None, some: Array
) -> Solved:
    """Solve the readout of the fixed convolutions in `added`, of `default_layers`.

    It learns from `some` of the samples that `take`, as of `Batches`, and `target` have.
    """
    rng = np.random.default_rng(owner._seed())
    some = some if weight is None else some[weight[some] > 0.0]
    if len(some) > READ:
        some = rng.choice(some, READ, replace=False)
    w = None if weight is None else weight[some]
    reader: Any = added.layers[0]
    rocket, exact = (reader.layers[0] if owner._linear else reader).layers
    targets = owner._scores(target[some])

    def of(samples: Array) -> tuple[Array, Array | None]:
        x, _, *n = take(some[samples], some[samples])
        return x, n[0] if n else None

    kernel = reader.layers[1].layers[0].params["weight"] if owner._linear else None
    numbers = 0 if kernel is None else kernel[0].size
    z = np.empty((len(some), rocket.out_size + numbers), np.float32)
    features = rocket.learn_from(of, len(some), z[:, : rocket.out_size])
    solved = readout.ridge(features, targets, w)
    if owner._linear:
        solved = _with_linear(reader, of, z, targets, w, solved)
    factor = 1.0
    if owner._told_by_scores:
        loss = owner._loss()
        factor = readout.slope(solved.left_out, lambda z: loss(z, target[some], weight=w)[0])
    if not owner._linear or reader.weights[0]:
        exact.params["weight"] = factor * solved.weight[:, : features.shape[1]]
        exact.params["bias"] = factor * solved.bias
    if owner._linear:
        conv = reader.layers[1].layers[0]
        conv.params["weight"] = factor * conv.params["weight"]
        conv.params["bias"] = factor * conv.params["bias"]
    return Solved(some, (factor * solved.left_out).astype(np.float32))


def _with_linear(
    reader: Any, of: Any, z: Array, targets: Array, w: Array | None, alone: Any
) -> Any:
    """Return the readout of least leave-one-out error: of features, all numbers of series, or both.

    Sets the weights of the linear reader, in whose bias stands what the means of its numbers cost,
    and all of the bias where it is the only one. `z` has the features, and room for the numbers.
    """
    conv = reader.layers[1].layers[0]
    outputs, width, steps = conv.params["weight"].shape
    numbers = z[:, -width * steps :]
    for some in np.array_split(np.arange(len(z)), -(-len(z) // ROWS)):
        numbers[some] = of(some)[0].reshape(len(some), -1)
    mean, scale = numbers.mean(axis=0, dtype=np.float64), numbers.std(axis=0, dtype=np.float64)
    scale = np.where(scale > 1e-6, scale, 1.0) * numbers.shape[1] ** 0.5  # as long as features
    numbers -= mean
    numbers /= scale
    found = {
        (True, False): alone,
        (False, True): readout.ridge(numbers, targets, w),
        (True, True): readout.ridge(z, targets, w),
    }
    used = min(found, key=lambda each: float(((found[each].left_out - targets) ** 2).sum()))
    solved = found[used]
    weight = solved.weight[:, -numbers.shape[1] :] / scale if used[1] else 0.0 * numbers[:1]
    kernel = np.broadcast_to(weight, (outputs, numbers.shape[1])).reshape(outputs, steps, width)
    conv.params["weight"] = kernel.swapaxes(1, 2)
    shift = weight @ mean
    conv.params["bias"] = np.broadcast_to(-shift + (0.0 if used[0] else solved.bias), (outputs,))
    reader.weights = [float(each) for each in used]
    return solved


def probed_share(
    owner: Any, solved: Solved, take: Any, target: Array, weight: Array | None
) -> float | None:
    """Return the share of the exact reader at which the loss of samples set aside is least.

    Of these the readout knows what it says when they are left out, and another recurrent reader,
    trained without them, what it says of them. None where there are too few.
    """
    if len(solved.samples) < LEAST_SAMPLES or len(solved.samples) == READ:
        return None
    order = np.random.default_rng(owner._seed()).permutation(len(solved.samples))
    strata = owner._strata(target)
    if strata is not None:  # each class in each part
        order = order[np.argsort(strata[solved.samples[order]], kind="stable")]
    aside = np.zeros(len(order), bool)
    aside[order[1::PROBE]] = True
    reader = Sequential(*recurrent_reader(owner, owner._steps))
    batches = Batches(take, solved.samples[~aside], owner._chosen("batch_size"), owner._seed())
    epochs = owner._epochs(len(batches))
    training.fit(
        reader,
        batches,
        loss=owner._loss(),
        optimizer=owner._optimizer_of(reader),
        epochs=epochs,
        clip_norm=owner.clip_norm,
        callbacks=[Cosine(epochs * len(batches))],
        shuffle=False,
        progress=False,
        on_nonfinite="stop",
    )
    of = solved.samples[aside]
    batches = Batches(take, of, owner._chosen("batch_size"))
    said = np.concatenate([reader.predict(x, *n[:1]) for x, _, *n in batches])
    w = None if weight is None else weight[of]
    loss, exact, target = owner._loss(), solved.scores[aside], target[of]
    if owner._told_by_scores:
        mixed = [s * exact + (1.0 - s) * said for s in np.array(SHARES, np.float32)]
        return SHARES[int(np.argmin([loss(z, target, weight=w)[0] for z in mixed]))]
    shares = ALMOST, *SHARES
    each = np.empty((len(shares), len(of)))
    for row, s in zip(each, np.array(shares, np.float32), strict=True):
        mixed = s * exact + (1.0 - s) * said
        row[:] = [loss(mixed[i : i + 1], target[i : i + 1])[0] for i in range(len(of))]
    return shares[first_of_the_best(each, w)]


def first_of_the_best(losses: Array, weight: Array | None) -> int:
    """Return the first row that is not worse than the best one by more than a standard error.

    `losses` are (rows, samples), and `weight` is that of each sample.
    """
    w = np.ones(losses.shape[1]) if weight is None else weight
    w = w / w.sum()
    worse = losses - losses[np.argmin(losses @ w)]
    mean = worse @ w
    error = np.sqrt((worse - mean[:, np.newaxis]) ** 2 @ w**2)
    return int(np.argmax(mean <= error))


def loss_left_out(owner: Any, solved: Solved, target: Array, weight: Array | None) -> float:
    """Return the loss of the readout on samples that are left out."""
    w = None if weight is None else weight[solved.samples]
    return float(owner._loss()(solved.scores, target[solved.samples], weight=w)[0])


def likely_share(loss: float, trivial: float) -> float:
    """Return a share of the exact reader by what it tells about samples that were left out.

    Three quarters where that is everything, and nothing where it is nothing: where its loss is that
    of the best answer which is the same for all samples.
    """
    return 0.75 * min(max(1.0 - loss / trivial, 0.0), 1.0) if trivial > 0.0 else 0.0


class Cosine(Callback):
    """A rate that rises in the first updates and then falls to nothing, as half a cosine.

    Afterwards the optimiser has its own rate again, for what may follow.
    """

    def __init__(self, updates: int) -> None:
        self.updates = updates

    def on_train_begin(self, model: Layer, optimizer: Optimizer) -> None:
        """Start."""
        self.optimizer, self.rate, self.done = optimizer, optimizer.lr, 0
        self._set()

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        """Set the rate of the next update."""
        self.done += 1
        self._set()

    def on_train_end(self, history: Any) -> None:
        """Give the rate back."""
        self.optimizer.lr = self.rate

    def _set(self) -> None:
        warm = WARM * self.updates
        if self.done < warm:
            factor = (self.done + 1.0) / (warm + 1.0)
        else:
            part = min((self.done - warm) / (self.updates - warm), 1.0)
            factor = max(0.5 * (1.0 + math.cos(math.pi * part)), 1e-4)
        self.optimizer.lr = factor * self.rate


class DefaultNetwork(NetworkEstimator):
    """Estimators that have the default network where nothing else is asked for."""

    _recurrent: ClassVar[dict[str, Any]] = RECURRENT
    _vocabulary_size: int | None

    @property
    def _per_step(self) -> bool:
        """Whether there is a target for each step: the network then keeps the axis of time."""
        return False

    def _choose(self, x: Array, even: bool, partial: bool) -> None:
        """Decide whether the network is the default one, of `architecture`."""
        suits = self._vocabulary_size is None and not self._per_step and len(x) >= LEAST_SAMPLES
        unset = all(getattr(self, name, None) is None for name in (*SHAPE, "network"))
        self._automatic = self._unsolved = suits and unset and not partial
        self._samples, self._steps = x.shape[:2]
        self._linear = even and math.prod(x.shape[1:]) <= MOST_NUMBERS
        self._shares = 0.0, 1.0

    def _choose_again(self, x: Array, even: bool, partial: bool) -> None:
        """Decide whether a fit that goes on solves the readout anew: if its data allow that."""
        numbers = not self._linear or (even and x.shape[1] == self._steps)
        enough = len(x) >= LEAST_SAMPLES
        self._unsolved = self._automatic and numbers and enough and not partial

    def _keeps_units(self, partial: bool) -> bool:
        """Whether scales stay as they are: a readout that stays was solved in their units."""
        return partial and self._automatic

    def _chosen(self, name: str) -> Any:
        if (given := getattr(self, name)) is not None:
            return given
        if not self._automatic:
            return self._recurrent[name]
        return batch_size(self._samples) if name == "batch_size" else AUTOMATIC[name]

    @property
    def _learner(self) -> Any:
        return self.model_[0].layers[1] if self._automatic else self.model_

    def _epochs(self, batches: int) -> int:
        if self._automatic and self.max_iter is None:
            return math.ceil(updates(self._samples, batches) / batches)
        return super()._epochs(batches)

    def _rates(self, updates: int) -> list[Callback]:
        if not self._automatic or any(isinstance(each, Schedule) for each in self._callbacks):
            return []
        return [Cosine(updates)]

    def _solve(
        self,
        take: Any,
        lengths: Array | None,
        target: Array,
        weight: Array | None,
        some: Array,
        trivial: float | None,
        warm: bool,
    ) -> tuple[Solved, float | None]:
        """Solve the readout; return with it the trivial loss if training still has to beat that."""
        added = self.model_[0]
        solved = solve_readout(self, added, take, target, weight, some)
        loss = loss_left_out(self, solved, target, weight)
        without = trivial_loss(self, target, lengths, weight, solved.samples)
        if not warm:
            self._share(likely_share(loss, without))
        self._unsolved = False
        return solved, trivial if loss > (1.0 - MARGIN) * without else None

    def _share(self, exact: float) -> None:
        """Set how much the exact reader counts, and the recurrent one with what is left."""
        self.model_[0].weights = self._shares = exact, 1.0 - exact
