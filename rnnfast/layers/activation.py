"""Activations as layers."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import backend
from ..arrays import contiguous
from ..checks import check_floats, check_positive
from .base import Layer, Tape

if TYPE_CHECKING:
    from ..arrays import Array


class Function(Layer):
    """A function without parameters; its derivative is told by its value, or by its input."""

    _by_input = False
    _apply: Callable[[Array, Array], None]  # x, y, which is written
    _chain: Callable[[Array, Array, Array], None]  # y or x, dy, dx, which is written

    def __init__(self) -> None:
        self._create({})

    def __call__(self, x: Array) -> Array:
        """Return y.

        Parameters
        ----------
        x : ndarray of float32 or float64, any shape

        Returns
        -------
        y : ndarray
            Of the shape and dtype of x.

        Raises
        ------
        TypeError
            For anything else.
        """
        check_floats(type(self).__name__, "input", x)
        x = contiguous(x, x.dtype.newbyteorder("="))
        y = np.empty_like(x)
        self._apply(x, y)
        return y

    def forward(self, x: Array) -> tuple[Array, Tape]:
        """Return y, which must not change before `backward` has run, and the tape."""
        y = self(x)
        saved = contiguous(x, y.dtype) if self._by_input else y
        return y, Tape(self, saved)

    def backward(self, tape: Tape, dy: Array, input_grad: bool = True) -> Array | None:
        """Return the gradient of x, or None where `input_grad` is False."""
        y = self._open(tape)
        self._use_up(tape, dy, y.dtype, y.shape)
        if not input_grad:
            return None
        dx = np.empty_like(y)
        with np.errstate(all="ignore"):  # NaN and Inf pass silently, as through the engine
            self._chain(y, dy, dx)
        return dx


class ReLU(Function):
    """``max(x, 0)``, as ``torch.nn.ReLU``."""

    def _apply(self, x: Array, y: Array) -> None:
        np.maximum(x, 0, out=y)

    def _chain(self, y: Array, dy: Array, dx: Array) -> None:
        np.copyto(dx, dy)
        dx[y <= 0] = 0


class Softmax(Function):
    """``exp(x) / sum(exp(x))`` on the last axis, as ``torch.nn.Softmax(dim=-1)``.

    For probabilities; `losses.softmax_cross_entropy` takes what comes before it.
    """

    def _apply(self, x: Array, y: Array) -> None:
        x, y = np.atleast_1d(x, y)
        with np.errstate(all="ignore"):
            np.subtract(x, x.max(axis=-1, keepdims=True, initial=-np.inf), out=y)
            np.exp(y, out=y)
            np.divide(y, y.sum(axis=-1, keepdims=True), out=y)

    def _chain(self, y: Array, dy: Array, dx: Array) -> None:
        y, dy, dx = np.atleast_1d(y, dy, dx)
        np.multiply(y, dy, out=dx)
        np.subtract(dx, y * dx.sum(axis=-1, keepdims=True), out=dx)


class Tanh(Function):
    """The hyperbolic tangent, as ``torch.nn.Tanh``."""

    def _apply(self, x: Array, y: Array) -> None:
        backend.active().dense.activate("tanh", x, y)

    def _chain(self, y: Array, dy: Array, dx: Array) -> None:
        np.multiply(y, y, out=dx)
        np.subtract(1, dx, out=dx)
        np.multiply(dx, dy, out=dx)


class Sigmoid(Function):
    """``1 / (1 + exp(-x))``, as ``torch.nn.Sigmoid``."""

    def _apply(self, x: Array, y: Array) -> None:
        backend.active().dense.activate("sigmoid", x, y)

    def _chain(self, y: Array, dy: Array, dx: Array) -> None:
        np.subtract(1, y, out=dx)
        np.multiply(dx, y, out=dx)
        np.multiply(dx, dy, out=dx)


# ---- functions by name -------------------------------------------------------------------------


def sigmoid(x: Array) -> Array:
    """Return ``1 / (1 + exp(-x))``."""
    y = np.empty_like(x)
    backend.active().dense.activate("sigmoid", x, y)
    return y


def softplus(x: Array) -> Array:
    """Return ``log(1 + exp(x))``."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


STEPS, FAR = 256, 6  # points of the table of erf for each 1, and where erf is 1 in float64


@cache
def _erf_table() -> Array:
    return np.array([math.erf(i / STEPS) for i in range(FAR * STEPS + 1)])


def erf(x: Array) -> Array:
    """Return the error function, which NumPy lacks: a Taylor series about the nearest of a table.

    Five terms leave less than the rounding of float64, as the next one is below ``2**-54``.
    """
    size = np.minimum(np.abs(x.astype(np.float64)), FAR)
    place = np.rint(np.nan_to_num(size) * STEPS).astype(np.intp)
    a = place / STEPS
    d, aa = size - a, a * a
    slope = 2 / math.sqrt(math.pi) * np.exp(-aa)
    terms = 1, -a, (2 * aa - 1) / 3, a * (3 - 2 * aa) / 6, (aa * (4 * aa - 12) + 3) / 30
    series: Any = 0.0
    for term in reversed(terms):
        series = series * d + term
    y: Array = np.copysign(_erf_table()[place] + slope * d * series, x).astype(x.dtype)
    return y


def _normal(x: Array) -> Array:
    # the distribution of a normal variable
    return (1 + erf(x / math.sqrt(2))) / 2


def _gelu_tanh(x: Array) -> tuple[Array, Array]:
    # the tanh, and the slope of what is in it
    c = math.sqrt(2 / math.pi)
    return np.tanh(c * (x + 0.044715 * x**3)), c * (1 + 3 * 0.044715 * x**2)


def _gelu_tanh_slope(x: Array, _: float) -> Array:
    t, inner = _gelu_tanh(x)
    return (1 + t + x * (1 - t * t) * inner) / 2


def _mish_slope(x: Array, _: float) -> Array:
    t = np.tanh(softplus(x))
    return t + x * (1 - t * t) * sigmoid(x)


class Curve(NamedTuple):
    """A function and its derivative, of x and alpha."""

    value: Callable[[Array, float], Array]
    slope: Callable[[Array, float], Array]
    alpha: float | None = None  # by default; None: there is none


SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def _elu(x: Array, alpha: float) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _elu_slope(x: Array, alpha: float) -> Array:
    return np.where(x > 0, 1, alpha * np.exp(np.minimum(x, 0)))


CURVES = {
    "elu": Curve(_elu, _elu_slope, 1.0),
    "exp": Curve(lambda x, _: np.exp(x), lambda x, _: np.exp(x)),
    "gelu": Curve(
        lambda x, _: x * _normal(x),
        lambda x, _: _normal(x) + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi),
    ),
    "gelu_tanh": Curve(lambda x, _: x / 2 * (1 + _gelu_tanh(x)[0]), _gelu_tanh_slope),
    "hard_sigmoid": Curve(
        lambda x, _: np.clip(x / 6 + 0.5, 0, 1), lambda x, _: (np.abs(x) < 3) / 6.0
    ),
    "hard_silu": Curve(
        lambda x, _: x * np.clip(x / 6 + 0.5, 0, 1),
        lambda x, _: np.where(np.abs(x) < 3, x / 3 + 0.5, x > 0),
    ),
    "leaky_relu": Curve(
        lambda x, alpha: np.where(x > 0, x, alpha * x),
        lambda x, alpha: np.where(x > 0, 1, alpha),
        0.01,
    ),
    "mish": Curve(lambda x, _: x * np.tanh(softplus(x)), _mish_slope),
    "relu6": Curve(lambda x, _: np.clip(x, 0, 6), lambda x, _: (x > 0) & (x < 6)),
    "selu": Curve(
        lambda x, _: SELU_SCALE * _elu(x, SELU_ALPHA),
        lambda x, _: SELU_SCALE * _elu_slope(x, SELU_ALPHA),
    ),
    "silu": Curve(
        lambda x, _: x * sigmoid(x),
        lambda x, _: sigmoid(x) * (1 + x * sigmoid(-x)),
    ),
    "softplus": Curve(lambda x, _: softplus(x), lambda x, _: sigmoid(x)),
    "softsign": Curve(lambda x, _: x / (1 + np.abs(x)), lambda x, _: 1 / (1 + np.abs(x)) ** 2),
}


class Activation(Function):
    """A function of each element, by its name; in NumPy, where `ReLU` and its like are faster.

    Parameters
    ----------
    kind : str
        "elu", "exp", "gelu", "gelu_tanh" (its approximation), "hard_sigmoid" (``x / 6 + 0.5`` from
        0 to 1), "hard_silu", "leaky_relu", "mish", "relu6", "selu", "silu", "softplus" or
        "softsign": functions of PyTorch's names.
    alpha : float, optional
        Of "elu", default 1, and the slope of "leaky_relu" below 0, default 0.01.
    """

    _by_input = True

    def __init__(self, kind: str, alpha: float | None = None) -> None:
        if not isinstance(kind, str) or kind not in CURVES:
            raise ValueError(f"Activation expected kind as one of {tuple(CURVES)}, got {kind!r}")
        self.kind = kind
        if alpha is not None:
            if self._curve.alpha is None:
                raise ValueError(f"Activation expected no alpha for {kind!r}, got {alpha!r}")
            alpha = check_positive("Activation", "alpha", alpha)
        self.alpha = self._curve.alpha if alpha is None else alpha
        super().__init__()

    @property
    def _curve(self) -> Curve:
        return CURVES[self.kind]  # which pickles could not hold

    def _apply(self, x: Array, y: Array) -> None:
        with np.errstate(all="ignore"):
            y[...] = self._curve.value(x, self.alpha or 0.0)

    def _chain(self, x: Array, dy: Array, dx: Array) -> None:
        np.multiply(dy, self._curve.slope(x, self.alpha or 0.0), out=dx, casting="same_kind")

    def _describe(self) -> str:
        return repr(self.kind) if self.alpha is None else f"{self.kind!r}, alpha={self.alpha}"
