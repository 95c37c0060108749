"""Layer normalisation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import backend
from .base import (
    Layer,
    Tape,
    check_array,
    check_dtype,
    check_features,
    check_float_dtype,
    check_positive,
    check_size,
    contiguous,
)

if TYPE_CHECKING:
    from .base import Array


class LayerNorm(Layer):
    """Mean 0 and variance 1 on the last axis, times weight, plus bias, as ``torch.nn.LayerNorm``.

    Parameters
    ----------
    normalized_shape : int
        Size of the last axis.
    eps : float, default 1e-5
        Added to the variance.
    dtype : {float32, float64}
    """

    _arguments = ("normalized_shape", "eps")
    dtype: np.dtype[Any]

    def __init__(self, normalized_shape: int, eps: float = 1e-5, dtype: Any = np.float32) -> None:
        self.normalized_shape = check_size("LayerNorm", "normalized_shape", normalized_shape, 1)
        self.in_size = self.out_size = self.normalized_shape
        self.eps = check_positive("LayerNorm", "eps", eps)
        self.dtype = check_float_dtype("LayerNorm", dtype)
        shape = (self.normalized_shape,)
        self._create(
            {"weight": shape, "bias": shape},
            lambda name, shape: np.full(shape, float(name == "weight")),
        )

    def __call__(self, x: Array) -> Array:
        """Return y.

        Parameters
        ----------
        x : (..., normalized_shape) array of the layer's dtype

        Returns
        -------
        y : array of the same shape

        Raises
        ------
        TypeError, ValueError
            For a wrong dtype or shape.
        """
        return self._run(x)[0]

    def forward(self, x: Array) -> tuple[Array, Tape]:
        """Return y and the tape; as a call otherwise."""
        version = self.params.version
        y, *saved = self._run(x)
        return y, Tape(self, (x.shape, *saved), version)

    def _run(self, x: Array) -> tuple[Array, Array, Array, Array]:
        check_dtype("LayerNorm", "input", x, self.dtype)
        check_features("LayerNorm", x, self.normalized_shape)
        rows = contiguous(x, self.dtype).reshape(-1, self.normalized_shape)
        y = np.empty(rows.shape, self.dtype)
        mean, rstd = np.empty(len(rows), self.dtype), np.empty(len(rows), self.dtype)
        arrays = self.params._arrays
        backend.active().dense.layer_norm(
            rows, arrays["weight"], arrays["bias"], self.eps, y, mean, rstd
        )
        return y.reshape(x.shape), rows, mean, rstd

    def backward(self, tape: Tape, dy: Array, input_grad: bool = True) -> Array | None:
        """Add into `grads` and return the gradient of x.

        Parameters
        ----------
        tape : Tape
            From `forward`; used up.
        dy : (..., normalized_shape) array
        input_grad : bool, default True
            Whether the gradient of x is wanted.

        Returns
        -------
        dx : (..., normalized_shape) array or None
        """
        shape, rows, mean, rstd = self._open(tape)
        check_array("LayerNorm", "dy", dy, self.dtype, shape)
        grads = self._checked_grads()
        tape.close()
        drows = contiguous(dy, self.dtype).reshape(rows.shape)
        dx = np.empty(rows.shape, self.dtype) if input_grad else None
        weight = self.params._arrays["weight"]
        with self._lock:
            backend.active().dense.layer_norm_backward(
                rows, weight, mean, rstd, drows, dx, grads["weight"], grads["bias"]
            )
        return None if dx is None else dx.reshape(shape)

    def _describe(self) -> str:
        return f"({self.normalized_shape},), eps={self.eps}"
