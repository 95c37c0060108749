from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array: TypeAlias = NDArray[Any]

def linear(x: Array, weight: Array, bias: Array | None, y: Array) -> None: ...
def linear_backward(
    x: Array,
    weight: Array,
    dy: Array,
    dx: Array | None,
    dweight: Array | None,
    dbias: Array | None,
) -> None: ...
def conv1d(
    x: Array, weight: Array, bias: Array | None, stride: int, dilation: int, y: Array
) -> None: ...
def conv1d_backward(
    x: Array,
    weight: Array,
    dy: Array,
    stride: int,
    dilation: int,
    dx: Array | None,
    dweight: Array | None,
    dbias: Array | None,
) -> None: ...
def activate(name: str, x: Array, y: Array) -> None: ...
def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array: ...
def fill_mask(
    key: tuple[int, ...],
    call: int,
    index: int,
    first: int,
    kept: int,
    value: float,
    out: Array,
) -> None: ...
def embedding(ids: NDArray[np.int64], weight: Array, y: Array) -> None: ...
def embedding_backward(ids: NDArray[np.int64], dy: Array, dweight: Array) -> None: ...
def layer_norm(
    x: Array,
    gamma: Array,
    beta: Array,
    eps: float,
    y: Array,
    mean: Array,
    rstd: Array,
) -> None: ...
def layer_norm_backward(
    x: Array,
    gamma: Array,
    mean: Array,
    rstd: Array,
    dy: Array,
    dx: Array | None,
    dgamma: Array,
    dbeta: Array,
) -> None: ...
def sgd(
    param: Array,
    grad: Array,
    velocity: Array | None,
    lr: float,
    momentum: float,
    weight_decay: float,
    nesterov: bool,
) -> None: ...
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
) -> None: ...
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
) -> None: ...
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
) -> None: ...
def sum_squares(grad: Array) -> float: ...

# Of the engine alone: for measuring the processor's peak.
def fma_loop(dtype: DTypeLike, loops: int) -> float: ...
def read_loop(x: Array, loops: int) -> float: ...
