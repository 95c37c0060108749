"""Activations as layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import backend
from ..arrays import contiguous
from ..checks import check_array, check_floats
from .base import Layer, Tape

if TYPE_CHECKING:
    from ..arrays import Array


class Activation(Layer):
    """A function without parameters whose derivative its value tells."""

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
        return y, Tape(self, y)

    def backward(self, tape: Tape, dy: Array, input_grad: bool = True) -> Array | None:
        """Return the gradient of x, or None where `input_grad` is False."""
        y = self._open(tape)
        check_array(type(self).__name__, "dy", dy, y.dtype, y.shape)
        tape.close()
        if not input_grad:
            return None
        dx = np.empty_like(y)
        with np.errstate(all="ignore"):  # NaN and Inf pass silently, as through the engine
            self._chain(y, dy, dx)
        return dx

    def _apply(self, x: Array, y: Array) -> None:
        raise NotImplementedError

    def _chain(self, y: Array, dy: Array, dx: Array) -> None:
        raise NotImplementedError


class ReLU(Activation):
    """``max(x, 0)``, as ``torch.nn.ReLU``."""

    def _apply(self, x: Array, y: Array) -> None:
        np.maximum(x, 0, out=y)

    def _chain(self, y: Array, dy: Array, dx: Array) -> None:
        np.copyto(dx, dy)
        dx[y <= 0] = 0


class Softmax(Activation):
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


class Tanh(Activation):
    """The hyperbolic tangent, as ``torch.nn.Tanh``."""

    def _apply(self, x: Array, y: Array) -> None:
        backend.active().dense.activate("tanh", x, y)

    def _chain(self, y: Array, dy: Array, dx: Array) -> None:
        np.multiply(y, y, out=dx)
        np.subtract(1, dx, out=dx)
        np.multiply(dx, dy, out=dx)


class Sigmoid(Activation):
    """``1 / (1 + exp(-x))``, as ``torch.nn.Sigmoid``."""

    def _apply(self, x: Array, y: Array) -> None:
        backend.active().dense.activate("sigmoid", x, y)

    def _chain(self, y: Array, dy: Array, dx: Array) -> None:
        np.subtract(1, y, out=dx)
        np.multiply(dx, y, out=dx)
        np.multiply(dx, dy, out=dx)
