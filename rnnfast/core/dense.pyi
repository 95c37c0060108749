from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .optim import adam as adam
from .optim import nadam as nadam
from .optim import rmsprop as rmsprop
from .optim import sgd as sgd
from .optim import sum_squares as sum_squares

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

# Of the engine alone: for measuring the processor's peak.
def fma_loop(dtype: DTypeLike, loops: int) -> float: ...
def read_loop(x: Array, loops: int) -> float: ...
