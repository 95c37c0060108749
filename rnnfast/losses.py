"""Loss functions: ``loss(prediction, target) -> (value, dprediction)``.

All take the mean over time steps and samples. For ragged batches give ``lengths`` (prediction is
then (T, B, ...), or (B, T, ...) with ``batch_first``), and ``weight`` where samples or steps count
more or less than others: the mean is the weighted one, over the sum of the weights. Steps left out
and steps of weight 0 do not enter the value, whatever they hold, and get a zero gradient.
``steps="last"`` looks at each sample's last step only. Values are summed in float64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .checks import check_positive, check_probability, check_size, is_number, refuse_masked
from .weighting import Rows, numbers

if TYPE_CHECKING:
    from .arrays import Array

__all__ = [
    "absolute_error",
    "accuracy",
    "focal_loss",
    "huber",
    "logistic",
    "softmax_cross_entropy",
    "squared_error",
    "top_k_accuracy",
]

silent = np.errstate(all="ignore")  # NaN and Inf pass without a warning, as through the engine


@silent
def softmax_cross_entropy(
    prediction: Array,
    target: Any,
    lengths: Any = None,
    weight: Any = None,
    *,
    label_smoothing: float = 0.0,
    steps: str = "all",
    batch_first: bool = False,
) -> tuple[float, Array]:
    """Cross-entropy, in nats, of the softmax over the last axis.

    Parameters
    ----------
    prediction : (..., C) array of float32 or float64
        Scores (logits) of C classes.
    target : (...) array of int, or (..., C) array
        Class indices, or a probability of each class (one-hot, say).
    lengths : (B,) array_like of int, optional
        Steps of each sample.
    weight : array_like, optional
        Non-negative weights: (B,), one per sample; or of the first axes of `prediction`, (T, B) or
        (B, T) for one per step; for the elementwise losses up to its whole shape. The result is
        the weighted mean, over the sum of the weights of what counts.
    label_smoothing : float, default 0
        Share of each step's target that is spread evenly over all classes (Szegedy et al., 2016),
        as in ``torch.nn.functional.cross_entropy``.
    steps : {"all", "last"}
    batch_first : bool, default False

    Returns
    -------
    value : float
        0 where no step counts.
    dprediction : (..., C) array
        Gradient of the value.

    Raises
    ------
    TypeError, ValueError
        For wrong shapes or dtypes, class indices out of range and negative probabilities.
    """
    name = "softmax_cross_entropy"
    spread = check_probability(name, "label_smoothing", label_smoothing)
    rows, scores, labels = _classified(
        name, prediction, target, lengths, weight, steps, batch_first
    )
    even = spread / prediction.shape[-1]  # of each class

    scores -= scores.max(axis=1, keepdims=True)
    p = np.exp(scores)
    total = p.sum(axis=1, keepdims=True)
    p /= total
    log_total = np.log(total[:, 0])
    if labels.ndim == 1:
        here = np.arange(len(labels)), labels
        losses = log_total - (1.0 - spread) * scores[here]
        p[here] -= 1.0 - spread
        if spread:
            losses -= even * scores.sum(axis=1)
            p -= even
    else:
        if spread:
            labels = (1.0 - spread) * labels + even
        mass = labels.sum(axis=1)
        # 0 * -inf is 0 here: a class of probability 0 does not count, however small its score
        products = np.multiply(labels, scores, where=labels != 0.0, out=np.zeros_like(p))
        losses = mass * log_total - products.sum(axis=1)
        p *= mass[:, None]
        p -= labels
    return rows.mean(losses), rows.spread(p)


@silent
def focal_loss(
    prediction: Array,
    target: Any,
    lengths: Any = None,
    weight: Any = None,
    *,
    gamma: float = 2.0,
    steps: str = "all",
    batch_first: bool = False,
) -> tuple[float, Array]:
    """Cross-entropy in which what is classified well counts less (Lin et al., 2017).

    The loss of a step is ``-(1 - p) ** gamma * log(p)``, with p the softmax's probability of the
    target class: for classes of very different size, where the many easy samples would rule the
    mean. The paper's alpha is a weight of each class: give ``weight=alpha[target]``.

    Parameters
    ----------
    prediction : (..., C) array of float32 or float64
        Scores (logits) of C classes.
    target : (...) array of int, or (..., C) array
        Class indices, or a probability of each class: the sum of the classes' losses by these.
    gamma : float, default 2
        0 gives `softmax_cross_entropy`.
    lengths, weight, steps, batch_first
        As for `softmax_cross_entropy`.

    Returns
    -------
    value : float
    dprediction : array of the shape of `prediction`
    """
    name = "focal_loss"
    if not is_number(gamma):
        raise TypeError(f"{name} expected gamma as a number, got {gamma!r}")
    if not 0.0 <= gamma < np.inf:
        raise ValueError(f"{name} expected gamma >= 0 and finite, got {gamma!r}")
    rows, scores, labels = _classified(
        name, prediction, target, lengths, weight, steps, batch_first
    )
    scores -= scores.max(axis=1, keepdims=True)
    scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))  # log p
    p = np.exp(scores)
    # share of each class in the target, for those classes that may have one
    if labels.ndim == 1:
        columns, shares = labels[:, None], np.ones((len(labels), 1), p.dtype)
    else:
        columns, shares = np.arange(p.shape[1])[None], labels
    log_p = np.take_along_axis(scores, np.broadcast_to(columns, shares.shape), axis=1)
    log_p = np.where(shares != 0.0, log_p, 0.0)  # 0 * -inf is 0
    rest = -np.expm1(log_p)  # 1 - p
    factor = shares * rest**gamma
    losses = -(factor * log_p).sum(axis=1)
    ratio = np.divide(log_p, rest, where=rest > 0.0, out=np.full_like(log_p, -1.0))
    # p times the derivative by p
    slope = factor * (gamma * np.exp(log_p) * ratio - 1.0)
    p *= -slope.sum(axis=1, keepdims=True)
    p[np.arange(len(p))[:, None], columns] += slope
    return rows.mean(losses), rows.spread(p)


@silent
def squared_error(
    prediction: Array,
    target: Any,
    lengths: Any = None,
    weight: Any = None,
    *,
    steps: str = "all",
    batch_first: bool = False,
) -> tuple[float, Array]:
    """Mean squared error over steps, samples and features.

    Parameters
    ----------
    prediction : array of float32 or float64
    target : array of the same shape
    lengths, weight, steps, batch_first
        As for `softmax_cross_entropy`.

    Returns
    -------
    value : float
    dprediction : array of the shape of `prediction`
    """
    rows, error, features = _errors(
        "squared_error", prediction, target, lengths, weight, steps, batch_first
    )
    losses = np.square(error).sum(axis=1) / features
    error *= 2.0 / features
    return rows.mean(losses), rows.spread(error)


@silent
def absolute_error(
    prediction: Array,
    target: Any,
    lengths: Any = None,
    weight: Any = None,
    *,
    steps: str = "all",
    batch_first: bool = False,
) -> tuple[float, Array]:
    """Mean absolute error over steps, samples and features; of an error of 0 the gradient is 0.

    Parameters
    ----------
    prediction : array of float32 or float64
    target : array of the same shape
    lengths, weight, steps, batch_first
        As for `softmax_cross_entropy`.

    Returns
    -------
    value : float
    dprediction : array of the shape of `prediction`
    """
    rows, error, features = _errors(
        "absolute_error", prediction, target, lengths, weight, steps, batch_first
    )
    losses = np.abs(error).sum(axis=1) / features
    return rows.mean(losses), rows.spread(np.sign(error) / features)


@silent
def huber(
    prediction: Array,
    target: Any,
    lengths: Any = None,
    weight: Any = None,
    *,
    delta: float = 1.0,
    steps: str = "all",
    batch_first: bool = False,
) -> tuple[float, Array]:
    """Half the squared error up to an error of `delta`, a straight line beyond (Huber, 1964).

    The mean over steps, samples and features, as ``torch.nn.functional.huber_loss``.

    Parameters
    ----------
    prediction : array of float32 or float64
    target : array of the same shape
    delta : float, default 1
        Above 0; with another one in `fit`: ``loss=functools.partial(huber, delta=0.1)``.
    lengths, weight, steps, batch_first
        As for `softmax_cross_entropy`.

    Returns
    -------
    value : float
    dprediction : array of the shape of `prediction`
    """
    delta = check_positive("huber", "delta", delta)
    rows, error, features = _errors(
        "huber", prediction, target, lengths, weight, steps, batch_first
    )
    slope = np.clip(error, -delta, delta)
    losses = (slope * (error - 0.5 * slope)).sum(axis=1) / features
    slope /= features
    return rows.mean(losses), rows.spread(slope)


@silent
def logistic(
    prediction: Array,
    target: Any,
    lengths: Any = None,
    weight: Any = None,
    *,
    steps: str = "all",
    batch_first: bool = False,
) -> tuple[float, Array]:
    """Binary cross-entropy, in nats, of the sigmoid; mean over steps, samples and features.

    Parameters
    ----------
    prediction : array of float32 or float64
        Scores (logits).
    target : array of the same shape
        Probabilities; 0 or 1, say.
    lengths, weight, steps, batch_first
        As for `softmax_cross_entropy`.

    Returns
    -------
    value : float
    dprediction : array of the shape of `prediction`
    """
    name = "logistic"
    target = _same_shape(name, prediction, target)
    rows = Rows(name, prediction, False, lengths, weight, steps, batch_first)
    score = rows.select(prediction)
    probability = rows.select(target, score.dtype)
    if not ((probability >= 0.0) & (probability <= 1.0)).all():
        raise ValueError(
            f"{name} expected target from 0 to 1, got {probability.min()} to {probability.max()}"
        )
    features = max(score.shape[1], 1)
    e = np.exp(-np.abs(score))  # never overflows
    losses = (np.maximum(score, 0.0) - score * probability + np.log1p(e)).sum(axis=1) / features
    gradient = np.where(score >= 0.0, 1.0, e) / (1.0 + e) - probability
    gradient /= features
    return rows.mean(losses), rows.spread(gradient)


def accuracy(
    prediction: Array,
    target: Any,
    lengths: Any = None,
    weight: Any = None,
    *,
    steps: str = "all",
    batch_first: bool = False,
) -> float:
    """Share of steps whose highest score is that of the target: a metric, not a loss.

    Parameters
    ----------
    prediction, target, lengths, weight, steps, batch_first
        As for `softmax_cross_entropy`.

    Returns
    -------
    float
    """
    rows, scores, labels = _classified(
        "accuracy", prediction, target, lengths, weight, steps, batch_first
    )
    return rows.mean(scores.argmax(axis=1) == _indices(labels))


def top_k_accuracy(
    prediction: Array,
    target: Any,
    lengths: Any = None,
    weight: Any = None,
    *,
    k: int = 5,
    steps: str = "all",
    batch_first: bool = False,
) -> float:
    """Share of steps whose target is among the `k` highest scores: a metric, not a loss.

    Of equal scores the first counts as the highest; with ``k=1`` this is `accuracy`.

    Parameters
    ----------
    prediction, target, lengths, weight, steps, batch_first
        As for `softmax_cross_entropy`.
    k : int, default 5

    Returns
    -------
    float
    """
    k = check_size("top_k_accuracy", "k", k, 1)
    rows, scores, labels = _classified(
        "top_k_accuracy", prediction, target, lengths, weight, steps, batch_first
    )
    labels = _indices(labels)
    own = scores[np.arange(len(labels)), labels][:, None]
    first = np.arange(scores.shape[1]) < labels[:, None]
    ahead = ~(scores <= own) | ((scores == own) & first)  # NaN is ahead of all, as for argmax
    return rows.mean(ahead.sum(axis=1) < k)


def _classified(
    name: str, prediction: Array, target: Any, *counted: Any
) -> tuple[Rows, Array, Array]:
    # the rows that count, their scores, and their class indices (rows,) or probabilities (rows, C);
    # counted: the arguments of `Rows` that say which these are
    _check_prediction(name, prediction)
    if prediction.ndim == 0 or prediction.shape[-1] == 0:
        raise ValueError(
            f"{name} expected prediction with classes on the last axis, got {prediction.shape}"
        )
    given = numbers(name, "target", target)
    if given.ndim == prediction.ndim - 1 and given.dtype.kind not in "iu":
        raise TypeError(f"{name} expected class indices as integers, got {given.dtype}")
    if given.shape != prediction.shape[: given.ndim] or given.ndim < prediction.ndim - 1:
        raise ValueError(
            f"{name} expected target of shape {prediction.shape[:-1]} (class indices) or "
            f"{prediction.shape}, got {given.shape}"
        )
    rows = Rows(name, prediction, True, *counted)
    scores = rows.select(prediction)
    if given.ndim == prediction.ndim:
        probabilities = rows.select(given)
        if (probabilities < 0.0).any():
            raise ValueError(
                f"{name} expected probabilities >= 0 in target, got {probabilities.min()}"
            )
        return rows, scores, probabilities
    labels, classes = rows.select(given, np.int64)[:, 0], prediction.shape[-1]
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(
            f"{name} expected class indices from 0 to {classes - 1}, "
            f"got {labels.min()} to {labels.max()}"
        )
    return rows, scores, labels


def _indices(labels: Array) -> Array:
    return labels.argmax(axis=1) if labels.ndim == 2 else labels


def _errors(name: str, prediction: Array, target: Any, *counted: Any) -> tuple[Rows, Array, int]:
    # the rows that count, prediction - target of these, and the number of features
    target = _same_shape(name, prediction, target)
    rows = Rows(name, prediction, False, *counted)
    error = rows.select(prediction)
    error -= rows.select(target, error.dtype)
    return rows, error, max(error.shape[1], 1)


def _check_prediction(name: str, prediction: Any) -> None:
    if not isinstance(prediction, np.ndarray) or prediction.dtype.kind != "f":
        got = getattr(prediction, "dtype", type(prediction).__name__)
        raise TypeError(f"{name} expected prediction as a NumPy array of floats, got {got}")
    refuse_masked(name, "prediction", prediction)


def _same_shape(name: str, prediction: Any, target: Any) -> Array:
    _check_prediction(name, prediction)
    given = numbers(name, "target", target)
    if given.shape != prediction.shape:
        raise ValueError(f"{name} expected target of shape {prediction.shape}, got {given.shape}")
    return given
