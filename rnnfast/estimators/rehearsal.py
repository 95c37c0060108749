"""How long a short text is best learnt from: told by its end, which is held out for that."""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ..datasets import text_batches
from ..generation import entropy
from ..losses import softmax_cross_entropy
from .convergence import MARGIN

if TYPE_CHECKING:
    from ..arrays import Array

LEAST = 100  # symbols, of fewer of which the end tells nothing
PATIENCE = 5  # one part in so many of the epochs, for which a better one is waited for
SMOOTHING, SHORT = 0.1, 4000  # of labels, and symbols of a text from which on there is none
CLOSE = 0.05  # to the least loss: the end of a text is more like the text than others will be
CHUNK = 512  # steps of a batch that is held out


class Plan(NamedTuple):
    """How a short text is learnt: for so many epochs, with labels smoothed by so much."""

    epochs: int
    smoothing: float


def next_symbols_loss(scores: Array, target: Array, smoothing: float = 0.0) -> tuple[float, Array]:
    """Return the cross-entropy of the next symbols, of one voice or several, and its gradient."""
    by_voice = scores.reshape(*target.shape, -1)
    value, gradient = softmax_cross_entropy(by_voice, target, label_smoothing=smoothing)
    return value, gradient.reshape(scores.shape)


def plan_training(owner: Any, ids: list[Array], epochs: int) -> Plan:
    """Return what is best for the end of a text, of which twins learn all the rest.

    Warns where that is no better, on the end, than the symbols' frequencies. The owner has read the
    text, and has no network yet; `epochs` are those at most.
    """
    order = np.random.default_rng(owner._seed()).permutation(len(ids))
    stream = owner._join([ids[i] for i in order])
    cut = round(len(stream) * (1.0 - owner.validation_fraction))
    if len(stream) < LEAST or not 2 <= cut <= len(stream) - 2:
        return Plan(epochs, 0.0)
    seed, smoothing = owner._seed(), 0.0
    losses = _held_out_losses(owner, stream, cut, epochs, 0.0, seed)
    if len(losses) and len(stream) < SHORT:
        others = _held_out_losses(owner, stream, cut, epochs, SMOOTHING, seed)
        if others.min(initial=np.inf) <= (1.0 + CLOSE) * losses.min():
            losses, smoothing = others, SMOOTHING
    if not len(losses):  # diverged at once, as the training that follows will say
        return Plan(epochs, 0.0)
    least = float(losses.min())
    columns, size = stream.reshape(len(stream), -1).T, owner.vocabulary_.size
    trivial = float(np.mean([entropy(v[cut + 1 :], v[:cut], size) for v in columns]))
    if least > (1.0 - MARGIN) * trivial:
        warnings.warn(
            f"LanguageModel: on the end of X, held out, the loss is {least:.4g} at best, hardly "
            f"better or no better than the {trivial:.4g} of {owner._trivial_answer}: of "
            f"{len(stream)} symbols the network learns little but to repeat them. Try more text, "
            "or a smaller hidden_size",
            ConvergenceWarning,
            stacklevel=2,
        )
    return Plan(1 + int(np.argmax(losses <= (1.0 + CLOSE) * least)), smoothing)


def _held_out_losses(
    owner: Any, stream: Array, cut: int, epochs: int, smoothing: float, seed: int
) -> Array:
    """Return the cross-entropy of the end of a stream after each epoch on what is before it."""
    patience = max(5, epochs // PATIENCE)
    twin = owner._twin(seed, early_stopping=True, max_iter=epochs, n_iter_no_change=patience)
    twin.vocabulary_, twin.n_voices_ = owner.vocabulary_, owner.n_voices_
    twin._start(twin._network())
    streams = min(owner.batch_size, cut - 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        twin._train(
            text_batches(stream[:cut], streams, owner.steps, batch_first=True),
            partial(next_symbols_loss, smoothing=smoothing),
            validation=text_batches(stream[cut:], 1, CHUNK, batch_first=True),
            metrics={"entropy": lambda scores, target: next_symbols_loss(scores, target)[0]},
            carry_state=True,
            unit="symbols",
        )
    return np.array(twin.history_.get("val_entropy", []))
