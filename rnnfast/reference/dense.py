"""The layers without time and the optimisers' updates, as plainly as NumPy says it.

Each forward function stands above its backward. Letters: N rows, K inputs, M outputs,
V vocabulary, E embedding size, B batch, T steps; a leading d is a gradient. Arrays of parameter
gradients are added into, all other results are written.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import quiet
from .cells import Array, sigmoid

__all__ = [
    "activate",
    "adam",
    "conv1d",
    "conv1d_backward",
    "embedding",
    "embedding_backward",
    "empty",
    "fill_mask",
    "layer_norm",
    "layer_norm_backward",
    "linear",
    "linear_backward",
    "nadam",
    "rmsprop",
    "sgd",
    "sum_squares",
]


@quiet
def linear(x: Array, weight: Array, bias: Array | None, y: Array) -> None:
    """Write ``y = x @ weight.T + bias``.

    Parameters
    ----------
    x : (N, K) array
    weight : (M, K) array
    bias : (M,) array or None
    y : (N, M) array
        Written.
    """
    np.matmul(x, weight.T, out=y)
    if bias is not None:
        y += bias


@quiet
def linear_backward(
    x: Array,
    weight: Array,
    dy: Array,
    dx: Array | None,
    dweight: Array | None,
    dbias: Array | None,
) -> None:
    """Carry gradients back through `linear`.

    Parameters
    ----------
    x : (N, K) array
    weight : (M, K) array
    dy : (N, M) array
    dx : (N, K) array or None
        Written unless None.
    dweight : (M, K) array or None
        Added into unless None.
    dbias : (M,) array or None
        Added into unless None.
    """
    if dx is not None:
        np.matmul(dy, weight, out=dx)
    if dweight is not None:
        dweight += dy.T @ x
    if dbias is not None:
        dbias += dy.sum(axis=0)


@quiet
def conv1d(
    x: Array, weight: Array, bias: Array | None, stride: int, dilation: int, y: Array
) -> None:
    """Write the convolution (cross-correlation) of each sample of `x` over its steps.

    ``y[b, t] = bias + sum over j of weight[:, :, j] @ x[b, t * stride + j * dilation]``, as
    ``torch.nn.functional.conv1d`` with features last and without padding.

    Parameters
    ----------
    x : (B, T, K) array
    weight : (M, K, taps) array
    bias : (M,) array or None
    stride, dilation : int
        Steps of x between outputs, and between taps.
    y : (B, N, M) array
        Written, N steps; ``(N - 1) * stride + (taps - 1) * dilation < T``.
    """
    y[...] = 0.0 if bias is None else bias
    for j, steps in taps(weight, stride, dilation, y.shape[1]):
        y += x[:, steps] @ weight[:, :, j].T


@quiet
def conv1d_backward(
    x: Array,
    weight: Array,
    dy: Array,
    stride: int,
    dilation: int,
    dx: Array | None,
    dweight: Array | None,
    dbias: Array | None,
) -> None:
    """Carry gradients back through `conv1d`.

    Parameters
    ----------
    x : (B, T, K) array
    weight : (M, K, taps) array
    dy : (B, N, M) array
    stride, dilation : int
    dx : (B, T, K) array or None
        Written unless None.
    dweight : (M, K, taps) array or None
        Added into unless None.
    dbias : (M,) array or None
        Added into unless None.
    """
    if dx is not None:
        dx[...] = 0.0
    for j, steps in taps(weight, stride, dilation, dy.shape[1]):
        if dx is not None:
            dx[:, steps] += dy @ weight[:, :, j]
        if dweight is not None:
            dweight[:, :, j] += np.tensordot(dy, x[:, steps], ([0, 1], [0, 1]))
    if dbias is not None:
        dbias += dy.sum(axis=(0, 1))


def taps(weight: Array, stride: int, dilation: int, outputs: int) -> list[tuple[int, Array]]:
    # each tap with the steps of x that it takes to the outputs
    starts = stride * np.arange(outputs)
    return [(j, starts + j * dilation) for j in range(weight.shape[2])]


@quiet
def activate(name: str, x: Array, y: Array) -> None:
    """Write the activation of each element.

    Parameters
    ----------
    name : {"sigmoid", "tanh"}
    x : (N,) array
    y : (N,) array
        Written.
    """
    y[...] = np.tanh(x) if name == "tanh" else sigmoid(x)


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return an array of any content: for masks, which are large and soon given up."""
    return np.empty(shape, dtype)


def threefry(key: Array, counter: list[Array]) -> list[Array]:
    """Return four random words for each counter: Threefry-4x32, 13 rounds.

    Parameters
    ----------
    key : (4,) uint32 array
    counter : list of 4 uint32 arrays

    References
    ----------
    Salmon et al. (2011), "Parallel random numbers: as easy as 1, 2, 3".
    """
    turns = (10, 26), (11, 21), (13, 27), (23, 5), (6, 20), (17, 11), (25, 10), (18, 20)
    key = np.append(key, np.bitwise_xor.reduce(key) ^ np.uint32(0x1BD11BDA))
    x = list(counter)
    for i in range(13):
        if i % 4 == 0:
            x = [word + key[(i // 4 + w) % 5] for w, word in enumerate(x)]
            x[3] = x[3] + np.uint32(i // 4)
        for a, b, turn in zip((0, 2), (3, 1) if i % 2 else (1, 3), turns[i % 8], strict=True):
            x[a] = x[a] + x[b]
            x[b] = (x[b] << np.uint32(turn) | x[b] >> np.uint32(32 - turn)) ^ x[a]
    return x


@quiet
def fill_mask(
    key: tuple[int, ...], call: int, index: int, first: int, kept: int, value: float, out: Array
) -> None:
    """Write random masks: `value` or 0, on average `kept` of 2**24 not 0.

    Parameters
    ----------
    key : tuple of 4 int
        Words of 32 bits.
    call, index, first : int
        A number depends on `key`, on `call`, index + entry, first + row, each modulo 2**32, and on
        its place in the row.
    kept : int
        From 0 to 2**24.
    value : float
    out : (entries, rows, size) array
        Written.
    """
    entries, rows, size = out.shape
    line = 16  # counters that give word 0 of each, then word 1 of each, and so on
    groups = -(-size // (4 * line))
    places, rows_, parts = (
        np.arange(n, dtype=np.int64) + start
        for n, start in ((groups * line, 0), (rows, first), (entries, index))
    )
    counter = np.broadcast_arrays(places, rows_[:, None], parts[:, None, None], call % 2**32)
    words = threefry(np.array(key, np.uint32), [word.astype(np.uint32) for word in counter])
    drawn = np.stack([w.reshape(entries, rows, groups, line) for w in words], axis=3)
    drawn = drawn.reshape(entries, rows, groups * 4 * line)[:, :, :size]
    out[...] = np.where(drawn >> np.uint32(8) < kept, value, 0.0)


def embedding(ids: Array, weight: Array, y: Array) -> None:
    """Write row ``ids[n]`` of `weight` to row n of `y`.

    Parameters
    ----------
    ids : (N,) int64 array
        In [0, V); the caller has checked it.
    weight : (V, E) array
    y : (N, E) array
        Written.
    """
    y[...] = weight[ids]


@quiet
def embedding_backward(ids: Array, dy: Array, dweight: Array) -> None:
    """Carry gradients back through `embedding`.

    Parameters
    ----------
    ids : (N,) int64 array
    dy : (N, E) array
    dweight : (V, E) array
        Added into.
    """
    if len(ids) == 0:
        return
    # equal ids brought together and summed: np.add.at(dweight, ids, dy), much faster
    order = np.argsort(ids, kind="stable")
    rows, starts = np.unique(ids[order], return_index=True)
    dweight[rows] += np.add.reduceat(dy[order], starts, axis=0)


@quiet
def layer_norm(
    x: Array,
    gamma: Array,
    beta: Array,
    eps: float,
    y: Array,
    mean: Array,
    rstd: Array,
) -> None:
    """Write each row of `x` normalised to mean 0 and variance 1, times `gamma`, plus `beta`.

    Parameters
    ----------
    x : (N, K) array
    gamma, beta : (K,) array
    eps : float
        Added to the variance.
    y : (N, K) array
        Written.
    mean, rstd : (N,) array
        Written: mean and 1 / sqrt(variance + eps) of each row.
    """
    mean[...] = x.mean(axis=1)
    centred = x - mean[:, None]
    rstd[...] = 1.0 / np.sqrt((centred**2).mean(axis=1) + eps)
    np.multiply(centred, rstd[:, None], out=y)
    y *= gamma
    y += beta


@quiet
def layer_norm_backward(
    x: Array,
    gamma: Array,
    mean: Array,
    rstd: Array,
    dy: Array,
    dx: Array | None,
    dgamma: Array,
    dbeta: Array,
) -> None:
    """Carry gradients back through `layer_norm`.

    Parameters
    ----------
    x : (N, K) array
    gamma : (K,) array
    mean, rstd : (N,) array
        From `layer_norm`.
    dy : (N, K) array
    dx : (N, K) array or None
        Written unless None.
    dgamma, dbeta : (K,) array
        Added into.
    """
    normal = (x - mean[:, None]) * rstd[:, None]
    dgamma += (dy * normal).sum(axis=0)
    dbeta += dy.sum(axis=0)
    if dx is not None:
        dnormal = dy * gamma
        # mean and variance depend on every element of the row: their share is taken off
        share = dnormal.mean(axis=1, keepdims=True)
        share = share + normal * (dnormal * normal).mean(axis=1, keepdims=True)
        dx[...] = (dnormal - share) * rstd[:, None]


@quiet
def sgd(
    param: Array,
    grad: Array,
    velocity: Array | None,
    lr: float,
    momentum: float,
    weight_decay: float,
    nesterov: bool,
) -> None:
    """Take one step of stochastic gradient descent, as ``torch.optim.SGD``.

    Parameters
    ----------
    param : array
        Updated. Any shape, which all arrays have in common.
    grad : array
    velocity : array or None
        Updated; zeros before the first step. None where `momentum` is 0.
    lr, momentum, weight_decay : float
    nesterov : bool
    """
    g = grad + weight_decay * param
    if velocity is not None:
        velocity[...] = momentum * velocity + g
        g = g + momentum * velocity if nesterov else velocity
    param -= lr * g


@quiet
def adam(
    param: Array,
    grad: Array,
    m: Array,
    v: Array,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    step: int,
) -> None:
    """Take one step of Adam, or of AdamW where `decoupled`, as ``torch.optim`` does.

    Parameters
    ----------
    param : array
        Updated. Any shape, which all arrays have in common.
    grad : array
    m, v : array
        Updated: running means of the gradient and of its square; zeros before the first step.
    lr, beta1, beta2, eps, weight_decay : float
    decoupled : bool
        Whether weight decay shrinks the parameters directly or is added to the gradient.
    step : int
        Counts from 1.
    """
    g = grad
    if decoupled:
        param *= 1.0 - lr * weight_decay
    else:
        g = g + weight_decay * param
    m[...] = beta1 * m + (1.0 - beta1) * g
    v[...] = beta2 * v + (1.0 - beta2) * g**2
    m_hat = m / (1.0 - beta1**step)
    v_hat = v / (1.0 - beta2**step)
    param -= lr * m_hat / (np.sqrt(v_hat) + eps)


@quiet
def nadam(
    param: Array,
    grad: Array,
    m: Array,
    v: Array,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    mu: float,
    next_mu: float,
    product: float,
    step: int,
) -> None:
    """Take one step of Adam with Nesterov's momentum, as ``torch.optim.NAdam``.

    Parameters
    ----------
    param, grad, m, v, lr, beta1, beta2, eps, weight_decay, step
        As for `adam`, not decoupled.
    mu, next_mu : float
        The momentum of this step and of the next one.
    product : float
        Of the momenta of all steps so far, this one included.
    """
    g = grad + weight_decay * param
    m[...] = beta1 * m + (1.0 - beta1) * g
    v[...] = beta2 * v + (1.0 - beta2) * g**2
    m_hat = next_mu * m / (1.0 - product * next_mu) + (1.0 - mu) * g / (1.0 - product)
    v_hat = v / (1.0 - beta2**step)
    param -= lr * m_hat / (np.sqrt(v_hat) + eps)


@quiet
def rmsprop(
    param: Array,
    grad: Array,
    square_avg: Array,
    velocity: Array | None,
    lr: float,
    alpha: float,
    eps: float,
    momentum: float,
    weight_decay: float,
) -> None:
    """Take one step of RMSprop, as ``torch.optim.RMSprop``.

    Parameters
    ----------
    param : array
        Updated. Any shape, which all arrays have in common.
    grad : array
    square_avg : array
        Updated: running mean of the gradient's square; zeros before the first step.
    velocity : array or None
        Updated; zeros before the first step. None where `momentum` is 0.
    lr, alpha, eps, momentum, weight_decay : float
    """
    g = grad + weight_decay * param
    square_avg[...] = alpha * square_avg + (1.0 - alpha) * g**2
    g = g / (np.sqrt(square_avg) + eps)
    if velocity is not None:
        velocity[...] = momentum * velocity + g
        g = velocity
    param -= lr * g


@quiet
def sum_squares(grad: Array) -> float:
    """Sum of squares, in double precision.

    Parameters
    ----------
    grad : array
        Any shape.

    Returns
    -------
    float
    """
    return float(np.square(grad, dtype=np.float64).sum())
