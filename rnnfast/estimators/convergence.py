"""Whether training came to anything, and who is told if it did not."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..callbacks import Callback, History
from .batches import Batches

if TYPE_CHECKING:
    from ..arrays import Array
    from ..layers.base import Layer
    from ..optim import Optimizer

MARGIN = 0.01  # part of the trivial answer's loss that training must save
SEARCHED = 4096  # samples that the best answer which is the same for all is searched on
# Samples held out that show anything; correlations of what is learnt by heart, and what is left
SHOWN, BY_HEART, LEFT = 16, 0.5, 0.2


class Watch(Callback):
    """Has the history of a training, also where it was interrupted."""

    def on_train_begin(self, model: Layer, optimizer: Optimizer) -> None:
        """Forget an earlier training."""
        self.history = History()

    def on_train_end(self, history: History) -> None:
        """Keep the history."""
        self.history = history


def least_constant_loss(loss: Any, start: Array, target: Array, weight: Array) -> float:
    """Return the loss of the best outputs that are the same for all samples.

    Losses differ in what these are: for a focal loss, or with smoothed labels, they are not the
    classes' frequencies, for an absolute error not the mean. They are near to `start`, (outputs,).
    """

    def value(outputs: Array, y: Array, w: Array) -> tuple[float, Array]:
        same = np.broadcast_to(outputs.astype(np.float32), (len(y), len(outputs)))
        found, gradient = loss(np.ascontiguousarray(same), y, weight=w)
        return float(found), np.asarray(gradient, np.float64).sum(axis=0)

    from scipy.optimize import minimize

    some = slice(None, None, -(-len(target) // SEARCHED))
    y, w = target[some], weight[some]
    best = minimize(value, start, (y, w), "L-BFGS-B", jac=True, options={"maxiter": 50}).x
    return min(value(each, target, weight)[0] for each in (start, best))


def trivial_loss(
    owner: Any, target: Array, lengths: Array | None, weight: Array | None, some: Array
) -> float:
    """Return the loss of the best answer that is the same for all of `some` samples.

    Their `weight` may be one of each step, (N, time).
    """
    flat, weights = target[some], None if weight is None else weight[some]
    if owner._per_step:
        n = np.full(len(some), flat.shape[1]) if lengths is None else lengths[some]
        real = np.arange(flat.shape[1]) < n[:, np.newaxis]
        if weights is not None:
            weights = np.broadcast_to(weights.reshape(len(weights), -1), real.shape)[real]
        flat = flat[real]
    weights = np.ones(len(flat)) if weights is None else weights
    counted = weights > 0.0
    if not counted.any():
        return 0.0
    flat, weights = flat[counted], weights[counted]
    return least_constant_loss(owner._loss(), owner._constant(flat, weights), flat, weights)


def refuse_diverged(owner: Any, outputs: Array, start: int | None = 0) -> None:
    """Raise ValueError where a network gives no number, which is no class and no value.

    The first output is of sample `start` of X; None where they are not of samples.
    """
    finite = np.isfinite(outputs).all(axis=tuple(range(1, outputs.ndim)))
    if not finite.all():
        where = "" if start is None else f" for X[{start + int(np.argmin(finite))}]"
        raise ValueError(
            f"{type(owner).__name__} expected a network whose outputs are finite, got NaN or inf"
            f"{where}: its weights have diverged; fit it again"
        )


def warn_diverged(owner: Any, reason: str, loss: float, trivial: float | None) -> None:
    """Say that training ended early, and why: what was not finite, and the loss of its batch."""
    rate = owner._chosen("learning_rate_init")
    beside = "" if trivial is None else f", where {owner._trivial_answer} would have {trivial:.4g}"
    warnings.warn(
        f"{type(owner).__name__}: training diverged in epoch {owner.n_iter_ + 1}: {reason}. The "
        f"loss was {loss:.4g}{beside}. The weights of the epoch before are kept. Try a "
        f"learning_rate_init below {rate:g}, or clip_norm=1.0",
        ConvergenceWarning,
        stacklevel=2,
    )


def warn_interrupted(owner: Any) -> None:
    """Say that training was interrupted, and what became of it."""
    warnings.warn(
        f"{type(owner).__name__}: training was interrupted after {owner.n_iter_} epochs; what was "
        "learnt until then is kept",
        ConvergenceWarning,
        stacklevel=2,
    )


def correlation(outputs: Array, target: Array) -> float:
    """Return the correlation of (N, n) outputs and targets over all columns, NaN where none."""
    a, b = outputs - outputs.mean(axis=0), target - target.mean(axis=0)
    with np.errstate(invalid="ignore"):
        return float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))


def warn_if_by_heart(owner: Any, learnt: Batches, held_out: Batches) -> None:
    """Say so where outputs follow the targets that were learnt from, and not those held out."""
    if len(held_out.samples) < SHOWN:
        return
    found = []
    for batches in (learnt, held_out):
        some = batches.samples[:: max(1, len(batches.samples) // SEARCHED)]
        pairs = [
            (owner.model_.predict(x, *n[:1]), owner._scores(y))
            for x, y, *n in Batches(batches.take, some, batches.batch_size)
        ]
        said, target = (np.concatenate(each) for each in zip(*pairs, strict=True))
        found.append(correlation(said.astype(np.float64), target))
    if found[0] > BY_HEART and found[1] < LEFT * found[0]:
        warnings.warn(
            f"{type(owner).__name__}: outputs follow the targets that were learnt from "
            f"(correlation {found[0]:.2f}), but not those of the {len(held_out.samples)} samples "
            f"held out ({found[1]:.2f}): they were learnt by heart. Try more samples, a smaller "
            "network, dropout, or inputs that say more",
            ConvergenceWarning,
            stacklevel=2,
        )


def warn_unless_better(owner: Any, loss: float, trivial: float | None, updates: int) -> None:
    """Say so where training ends no better than the best answer that does not look at X."""
    if not trivial or loss < (1.0 - MARGIN) * trivial:  # of a single class nothing is to be learnt
        return
    beside = "hardly better" if loss < trivial else "no better"
    warnings.warn(
        f"{type(owner).__name__}: after {updates} updates the loss is {loss:.4g}, {beside} than "
        f"the {trivial:.4g} of {owner._trivial_answer}: the network has learnt nothing of use. Try "
        "more epochs (max_iter), another learning_rate_init, or inputs that say more",
        ConvergenceWarning,
        stacklevel=2,
    )
