"""Layer and batch normalisation, and scales that are given."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import backend
from ..arrays import contiguous, past_end
from ..checks import (
    check_dtype,
    check_features,
    check_flag,
    check_float_dtype,
    check_lengths,
    check_positive,
    check_probability,
    check_sequence,
    check_size,
)
from .base import Layer, Tape

if TYPE_CHECKING:
    from ..arrays import Array


# Where processes have a part of a batch each: adds to sums of one part, in place, the others'
add_others: ContextVar[Callable[[Array], None] | None] = ContextVar("rnnfast_others", default=None)

AFFINE = {True: ("weight", "bias"), False: (), "weight": ("weight",), "bias": ("bias",)}


def check_affine(owner: str, affine: Any) -> Any:
    """Return `affine` as one of the keys of `AFFINE`."""
    if isinstance(affine, str) and affine in AFFINE:
        return affine
    if isinstance(affine, str):
        raise ValueError(
            f"{owner} expected affine as True, False, 'weight' or 'bias', got {affine!r}"
        )
    return check_flag(owner, "affine", affine)


def _ones_and_zeros(name: str, shape: tuple[int, ...]) -> Array:
    return np.full(shape, float(name == "weight"))


class LayerNorm(Layer):
    """Mean 0 and variance 1 on the last axis, times weight, plus bias, as ``torch.nn.LayerNorm``.

    Parameters
    ----------
    normalized_shape : int
        Size of the last axis.
    eps : float, default 1e-5
        Added to the variance.
    dtype : {float32, float64}
    affine : bool, "weight" or "bias", default True
        Whether there are weight and bias, or which of them.
    """

    dtype: np.dtype[Any]

    def __init__(
        self,
        normalized_shape: int,
        eps: float = 1e-5,
        dtype: Any = np.float32,
        affine: bool | str = True,
    ) -> None:
        self.normalized_shape = check_size("LayerNorm", "normalized_shape", normalized_shape, 1)
        self.in_size = self.out_size = self.normalized_shape
        self.eps = check_positive("LayerNorm", "eps", eps)
        self.affine = check_affine("LayerNorm", affine)
        self.dtype = check_float_dtype("LayerNorm", dtype)
        shape = (self.normalized_shape,)
        self._create(dict.fromkeys(AFFINE[self.affine], shape), _ones_and_zeros)

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
        backend.active().dense.layer_norm(rows, *self._weights(), self.eps, y, mean, rstd)
        return y.reshape(x.shape), rows, mean, rstd

    def _weights(self) -> list[Array]:
        # weight and bias, or what stands for one that is not learnt
        arrays, shape = self.params._arrays, (self.normalized_shape,)
        if self.affine is True:
            return [arrays["weight"], arrays["bias"]]
        names = "weight", "bias"
        return [
            arrays.get(n, _ones_and_zeros(n, shape).astype(self.dtype, copy=False)) for n in names
        ]

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
        self._use_up(tape, dy, self.dtype, shape)
        drows = contiguous(dy, self.dtype).reshape(rows.shape)
        dx = np.empty(rows.shape, self.dtype) if input_grad else None
        weight, bias = self._weights()
        own = [self.grads.get(n, np.zeros_like(bias)) for n in ("weight", "bias")]
        with self._lock:
            backend.active().dense.layer_norm_backward(rows, weight, mean, rstd, drows, dx, *own)
        return None if dx is None else dx.reshape(shape)

    def _describe(self) -> str:
        text = f"({self.normalized_shape},), eps={self.eps}"
        return text if self.affine is True else f"{text}, affine={self.affine!r}"


def _of_all(sums: Array) -> Array:
    # float64, of this process's part of the batch
    if (add := add_others.get()) is not None:
        add(sums)
    return sums


class BatchNorm1d(Layer):
    """Mean 0 and variance 1 of each feature over a batch, times weight, plus bias.

    As ``torch.nn.BatchNorm1d`` (Ioffe and Szegedy 2015), but the features are the last axis; mean
    and variance are taken over all other axes, without what lies past the ends of samples.
    `forward` uses those of its batch and moves the running ones towards them; a plain call uses
    the running ones.

    Parameters
    ----------
    num_features : int
        Size of the last axis.
    eps : float, default 1e-5
        Added to the variance.
    momentum : float, default 0.1
        Share of each batch in the running mean and variance.
    affine : bool, "weight" or "bias", default True
        Whether there are weight and bias, or which of them.
    batch_first : bool, optional
        As in the recurrent layers; needed only where `lengths` are given.
    dtype : {float32, float64}
    """

    takes_lengths = True
    dtype: np.dtype[Any]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool | str = True,
        batch_first: bool | None = None,
        dtype: Any = np.float32,
    ) -> None:
        self.num_features = check_size("BatchNorm1d", "num_features", num_features, 1)
        self.in_size = self.out_size = self.num_features
        self.eps = check_positive("BatchNorm1d", "eps", eps)
        self.momentum = check_probability("BatchNorm1d", "momentum", momentum)
        self.affine = check_affine("BatchNorm1d", affine)
        if batch_first is not None:
            batch_first = check_flag("BatchNorm1d", "batch_first", batch_first)
        self.batch_first = batch_first
        self.dtype = check_float_dtype("BatchNorm1d", dtype)
        shape = (self.num_features,)
        zeros, ones = (np.broadcast_to(np.array(value, self.dtype), shape) for value in (0, 1))
        count = np.zeros((), np.int64)
        buffers = {"running_mean": zeros, "running_var": ones, "num_batches_tracked": count}
        self._create(dict.fromkeys(AFFINE[self.affine], shape), _ones_and_zeros, buffers)

    def __call__(self, x: Array, lengths: Any = None) -> Array:
        """Return y, by the running mean and variance.

        Parameters
        ----------
        x : (..., num_features) array of the layer's dtype
            With `lengths` (T, B, num_features), or (B, T, num_features) with ``batch_first``.
        lengths : (B,) array_like of int, optional
            Steps of each sample, 0 to T; what x holds past them is ignored, and y is zero there.

        Returns
        -------
        y : array of the shape of x

        Raises
        ------
        TypeError, ValueError
            For wrong dtypes, shapes or lengths.
        """
        rows, real = self._rows(x, lengths)
        with self._lock:
            mean, var = (self.buffers[n].copy() for n in ("running_mean", "running_var"))
        with np.errstate(all="ignore"):  # NaN and Inf pass silently, as through the engine
            normal = (rows - mean) / np.sqrt(var + self.dtype.type(self.eps))
            return self._scaled(normal, real, x.shape)

    def forward(self, x: Array, lengths: Any = None) -> tuple[Array, Tape]:
        """Return y, by mean and variance of the batch, and the tape.

        Raises
        ------
        TypeError, ValueError
            As a call; and ValueError for a single row, which has no variance.
        """
        version = self.params.version
        rows, real = self._rows(x, lengths)
        n = int(_of_all(np.array([len(rows)], np.float64))[0])
        if n == 1:
            raise ValueError("BatchNorm1d expected more than one row in a training batch, got 1")
        with np.errstate(all="ignore"):
            mean = _of_all(rows.sum(axis=0, dtype=np.float64)) / max(n, 1)
            centred = rows - mean.astype(self.dtype)
            var = _of_all(np.square(centred).sum(axis=0, dtype=np.float64)) / max(n, 1)
            rstd = (1 / np.sqrt(var + self.eps)).astype(self.dtype)
            normal = centred * rstd
            y = self._scaled(normal, real, x.shape)
            if n:
                self._track(mean, var * (n / (n - 1)))
        return y, Tape(self, (normal, rstd, real, n, x.shape), version)

    def backward(self, tape: Tape, dy: Array, input_grad: bool = True) -> Array | None:
        """Add into `grads` and return the gradient of x.

        Parameters
        ----------
        tape : Tape
            From `forward`; used up.
        dy : array of the shape of y
            Ignored past each sample's end.
        input_grad : bool, default True
            Whether the gradient of x is wanted.

        Returns
        -------
        dx : array of the shape of x, or None
            Zero past each sample's end.
        """
        normal, rstd, real, n, shape = self._open(tape)
        self._use_up(tape, dy, self.dtype, shape)
        rows = (dy if real is None else dy[real]).reshape(normal.shape)
        with np.errstate(all="ignore"):
            products = (rows * normal).sum(axis=0, dtype=np.float64)
            sums = np.stack([products, rows.sum(axis=0, dtype=np.float64)])
            dweight, dbias = sums.astype(self.dtype)
            with self._lock:
                for name, gradient in ("weight", dweight), ("bias", dbias):
                    if name in self.grads:
                        self.grads[name] += gradient
            if not input_grad:
                return None
            # mean and variance depend on every row: their share is taken off
            dweight, dbias = _of_all(sums).astype(self.dtype)
            share = (dbias + normal * dweight) / max(n, 1)
            scale = rstd * self.params["weight"] if "weight" in self.params else rstd
            return self._spread((rows - share) * scale, real, shape)

    def _rows(self, x: Array, lengths: Any) -> tuple[Array, Array | None]:
        # the rows that count (N, F), and a mask of them over x, None for all
        check_dtype("BatchNorm1d", "input", x, self.dtype)
        check_features("BatchNorm1d", x, self.num_features)
        real = None
        if lengths is not None:
            check_sequence("BatchNorm1d", x)
            if self.batch_first is None and x.ndim == 3:
                raise ValueError("BatchNorm1d expected batch_first at construction for lengths")
            T, B, _ = self._time_major(x).shape
            past = past_end(check_lengths("BatchNorm1d", lengths, T, B), T)
            assert past is not None
            real = ~(past if self.batch_first else past.T).reshape(x.shape[:-1])
            x = x[real]
        return contiguous(x, self.dtype).reshape(-1, self.num_features), real

    def _track(self, mean: Array, var: Array) -> None:
        with self._lock:
            for name, value in ("running_mean", mean), ("running_var", var):
                kept = (1 - self.momentum) * self.buffers[name]
                self.buffers[name] = kept + self.momentum * value
            self.buffers["num_batches_tracked"] = self.buffers["num_batches_tracked"] + 1

    def _scaled(self, normal: Array, real: Array | None, shape: tuple[int, ...]) -> Array:
        if "weight" in self.params:
            normal = normal * self.params["weight"]
        if "bias" in self.params:
            normal = normal + self.params["bias"]
        return self._spread(normal, real, shape)

    def _spread(self, rows: Array, real: Array | None, shape: tuple[int, ...]) -> Array:
        if real is None:
            return rows.reshape(shape)
        out = np.zeros(shape, self.dtype)
        out[real] = rows
        return out

    def _describe(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine!r}"
        )


class Scale(Layer):
    """``(x - mean) * scale`` of each feature, which training does not change.

    Mean and scale are buffers: 0 and 1 at first; assign to set them, as
    ``layer.buffers["mean"] = x.mean(axis=0)``.

    Parameters
    ----------
    num_features : int
        Size of the last axis.
    dtype : {float32, float64}
    """

    dtype: np.dtype[Any]

    def __init__(self, num_features: int, dtype: Any = np.float32) -> None:
        self.num_features = check_size("Scale", "num_features", num_features, 1)
        self.in_size = self.out_size = self.num_features
        self.dtype = check_float_dtype("Scale", dtype)
        shape = (self.num_features,)
        zeros, ones = (np.broadcast_to(np.array(value, self.dtype), shape) for value in (0, 1))
        self._create({}, None, {"mean": zeros, "scale": ones})

    def __call__(self, x: Array) -> Array:
        """Return y.

        Parameters
        ----------
        x : (..., num_features) array of the layer's dtype

        Returns
        -------
        y : array of the same shape

        Raises
        ------
        TypeError, ValueError
            For a wrong dtype or shape.
        """
        check_dtype("Scale", "input", x, self.dtype)
        check_features("Scale", x, self.num_features)
        with np.errstate(all="ignore"):
            y: Array = (contiguous(x, self.dtype) - self.buffers["mean"]) * self.buffers["scale"]
        return y

    def forward(self, x: Array) -> tuple[Array, Tape]:
        """Return y and the tape; as a call otherwise."""
        y = self(x)
        return y, Tape(self, (y.shape, self.buffers["scale"].copy()))

    def backward(self, tape: Tape, dy: Array, input_grad: bool = True) -> Array | None:
        """Return the gradient of x, or None where `input_grad` is False."""
        shape, scale = self._open(tape)
        self._use_up(tape, dy, self.dtype, shape)
        return contiguous(dy, self.dtype) * scale if input_grad else None
