"""The fully connected layer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import backend
from ..arrays import contiguous
from ..checks import (
    check_dtype,
    check_features,
    check_flag,
    check_float_dtype,
    check_seed,
    check_size,
)
from .base import Layer, Tape

if TYPE_CHECKING:
    from ..arrays import Array


class Linear(Layer):
    """``y = x @ weight.T + bias`` on the last axis, as ``torch.nn.Linear``.

    On a batch of sequences it acts on every time step alike: Keras's ``TimeDistributed(Dense)``.

    Parameters
    ----------
    in_features, out_features : int
    bias : bool, default True
    dtype : {float32, float64}
    seed : int or None
        Weights and bias are drawn from uniform(-1/sqrt(in_features), 1/sqrt(in_features)).
    """

    dtype: np.dtype[Any]

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        dtype: Any = np.float32,
        seed: int | None = None,
    ) -> None:
        self.in_features = self.in_size = check_size("Linear", "in_features", in_features, 0)
        self.out_features = self.out_size = check_size("Linear", "out_features", out_features, 1)
        self.bias = check_flag("Linear", "bias", bias)
        self.dtype = check_float_dtype("Linear", dtype)
        self.seed = check_seed("Linear", seed)
        bound = 1.0 / math.sqrt(max(in_features, 1))
        rng = np.random.default_rng(self.seed)
        shapes: dict[str, tuple[int, ...]] = {"weight": (out_features, in_features)}
        if bias:
            shapes["bias"] = (out_features,)
        self._create(shapes, lambda name, shape: rng.uniform(-bound, bound, shape))

    def __call__(self, x: Array) -> Array:
        """Return y.

        Parameters
        ----------
        x : (..., in_features) array of the layer's dtype

        Returns
        -------
        y : (..., out_features) array

        Raises
        ------
        TypeError, ValueError
            For a wrong dtype or shape.
        """
        return self._run(x)[0]

    def forward(self, x: Array) -> tuple[Array, Tape]:
        """Return y and the tape; as a call otherwise."""
        version = self.params.version
        y, rows = self._run(x)
        return y, Tape(self, (rows, x.shape), version)

    def _run(self, x: Array) -> tuple[Array, Array]:
        check_dtype("Linear", "input", x, self.dtype)
        check_features("Linear", x, self.in_features)
        rows = contiguous(x, self.dtype).reshape(math.prod(x.shape[:-1]), self.in_features)
        y = np.empty((len(rows), self.out_features), self.dtype)
        arrays = self.params._arrays
        backend.active().dense.linear(rows, arrays["weight"], arrays.get("bias"), y)
        return y.reshape(*x.shape[:-1], self.out_features), rows

    def backward(self, tape: Tape, dy: Array, input_grad: bool = True) -> Array | None:
        """Add into `grads` and return the gradient of x.

        Parameters
        ----------
        tape : Tape
            From `forward`; used up.
        dy : (..., out_features) array
        input_grad : bool, default True
            Whether the gradient of x is wanted.

        Returns
        -------
        dx : (..., in_features) array or None
        """
        rows, shape = self._open(tape)
        self._use_up(tape, dy, self.dtype, (*shape[:-1], self.out_features))
        drows = contiguous(dy, self.dtype).reshape(len(rows), self.out_features)
        dx = np.empty(rows.shape, self.dtype) if input_grad else None
        weight = self.params._arrays["weight"]
        own = self.grads["weight"], self.grads.get("bias")
        with self._lock:
            backend.active().dense.linear_backward(rows, weight, drows, dx, *own)
        return None if dx is None else dx.reshape(shape)

    def _describe(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias}"
