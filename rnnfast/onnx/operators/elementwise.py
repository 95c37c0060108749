"""Operators that act element by element."""

from __future__ import annotations

import math
from functools import partial, reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from ...layers import Sigmoid, Tanh
from ...layers.activation import erf
from .registry import BFLOAT16, DTYPES, FLOAT16, operator

if TYPE_CHECKING:
    from ...arrays import Array
    from .registry import Function


UNARY: dict[str, Function] = {
    "Abs": np.abs,
    "Ceil": np.ceil,
    "Cos": np.cos,
    "Exp": np.exp,
    "Floor": np.floor,
    "HardSwish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "Identity": lambda x: x if isinstance(x, list) else x.view(),
    "IsNaN": np.isnan,
    "Log": np.log,
    "Neg": np.negative,
    "Not": np.logical_not,
    "Reciprocal": lambda x: 1 / x,
    "Relu": lambda x: np.maximum(x, 0),
    "Round": np.rint,
    "Sigmoid": Sigmoid(),
    "Sign": np.sign,
    "Sin": np.sin,
    "Softplus": lambda x: np.logaddexp(x, 0),
    "Softsign": lambda x: x / (1 + np.abs(x)),
    "Sqrt": np.sqrt,
    "Tanh": Tanh(),
}
BINARY: dict[str, Function] = {
    "Add": np.add,
    "And": np.logical_and,
    "Equal": np.equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "MatMul": np.matmul,
    "Mul": np.multiply,
    "Or": np.logical_or,
    "Pow": np.power,
    "PRelu": lambda x, slope: np.where(x < 0, slope * x, x),
    "Sub": np.subtract,
    "Xor": np.logical_xor,
}
VARIADIC: dict[str, Function] = {"Max": np.maximum, "Min": np.minimum, "Sum": np.add}


def _unary(function: Function, x: Array) -> Array:
    return function(x)


def _binary(function: Function, a: Array, b: Array) -> Array:
    return function(a, b)


def _variadic(function: Function, *arrays: Array) -> Array:
    return reduce(function, arrays)


for _apply, _functions in ((_unary, UNARY), (_binary, BINARY), (_variadic, VARIADIC)):
    for _name, _function in _functions.items():
        operator(_name)(partial(_apply, _function))


@operator("Div")
def divide(a: Array, b: Array) -> Array:
    """Return a / b, of integers towards zero as C does."""
    if a.dtype.kind == "f":
        return np.divide(a, b)
    quotient = np.floor_divide(a, b)
    return quotient + ((quotient < 0) & (quotient * b != a))


@operator("Mod")
def modulo(a: Array, b: Array, fmod: int = 0) -> Array:
    """Return the remainder, with the sign of b, or of a where `fmod` is set."""
    return np.fmod(a, b) if fmod else np.mod(a, b)


@operator("Mean")
def mean(*arrays: Array) -> Array:
    """Return the mean of arrays."""
    return reduce(np.add, arrays) / len(arrays)


@operator("Where")
def where(condition: Array, x: Array, y: Array) -> Array:
    """Return x where the condition holds, else y."""
    return np.where(condition, x, y)


@operator("Clip")
def clip(x: Array, min: Any = None, max: Any = None) -> Array:
    """Return x between `min` and `max`; where these cross, `max`."""
    x = x if min is None else np.maximum(x, min)
    return x.view() if max is None else np.minimum(x, max)


@operator("LeakyRelu")
def leaky_relu(x: Array, alpha: float = 0.01) -> Array:
    """Return x, times `alpha` where it is negative."""
    return np.where(x < 0, alpha * x, x)


@operator("Elu")
def elu(x: Array, alpha: float = 1.0) -> Array:
    """Return x, and ``alpha (exp(x) - 1)`` where it is negative."""
    return np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x)


@operator("Selu")
def selu(x: Array, alpha: float, gamma: float) -> Array:
    """Return ``gamma elu(x)``."""
    return gamma * elu(x, alpha)


@operator("ThresholdedRelu")
def thresholded_relu(x: Array, alpha: float = 1.0) -> Array:
    """Return x where it is above `alpha`, else 0."""
    return np.where(x > alpha, x, 0)


@operator("HardSigmoid")
def hard_sigmoid(x: Array, alpha: float = 0.2, beta: float = 0.5) -> Array:
    """Return ``alpha x + beta`` between 0 and 1."""
    return np.clip(alpha * x + beta, 0, 1)


operator("Erf")(erf)


@operator("Gelu")
def gelu(x: Array, approximate: str) -> Array:
    """Return ``x Phi(x)``, Phi the normal distribution or its approximation by tanh."""
    if approximate == "tanh":
        return x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return x / 2 * (1 + erf(x / math.sqrt(2)))


@operator("Cast")
def cast(x: Array, to: int, saturate: int = 1, round_mode: str = "up") -> Array:
    """Return x as another type; the last two matter for types of 8 bits only."""
    if to == FLOAT16:
        return x.astype(np.float16).astype(np.float32)
    return _rounded_to_16_bits(x.astype(np.float32)) if to == BFLOAT16 else x.astype(DTYPES[to][1])


def _rounded_to_16_bits(x: Array) -> Array:
    # of a float32's 32, half to even; NaN stays one
    bits = x.view(np.uint32)
    up = np.where(np.isnan(x), 0, 0x7FFF + ((bits >> 16) & 1)).astype(np.uint32)
    return ((bits + up) & np.uint32(0xFFFF0000)).view(np.float32)


@operator("CastLike")
def cast_like(x: Array, like: Array, saturate: int = 1, round_mode: str = "up") -> Array:
    """Return x as the type of `like`."""
    return x.astype(like.dtype)


@operator("Dropout", outputs=2, only={"training_mode": False})
def dropout(
    x: Array, ratio: Any = 0.5, training_mode: Any = False, seed: int = 0
) -> tuple[Array, Array]:
    """Return x and the mask, which keeps all: dropout is for training."""
    return x.view(), np.ones(x.shape, bool)
