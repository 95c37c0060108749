"""Mean or maximum over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import check_array, check_flag, check_floats, check_lengths
from .base import Layer, Tape

if TYPE_CHECKING:
    from ..arrays import Array


class Pool(Layer):
    """Mean or maximum over each sample's time steps, as Keras's global pooling.

    A sample of length 0 gives zeros. Where several steps have the maximum, the first one gets the
    gradient.

    Parameters
    ----------
    kind : {"mean", "max"}
    batch_first : bool, default False
        As in the recurrent layers.
    """

    keeps_time = False
    takes_lengths = True
    stepwise = False
    batch_first: bool
    _arguments = ("kind", "batch_first")

    def __init__(self, kind: str = "mean", batch_first: bool = False) -> None:
        if kind not in ("mean", "max"):
            raise ValueError(f"Pool expected kind 'mean' or 'max', got {kind!r}")
        self.kind = kind
        self.batch_first = check_flag("Pool", "batch_first", batch_first)
        self._create({})

    def __call__(self, x: Array, lengths: Any = None) -> Array:
        """Return the mean or the maximum.

        Parameters
        ----------
        x : (T, B, F) array, (B, T, F) with ``batch_first``, or (T, F) for one sequence
        lengths : (B,) array_like of int, optional
            Steps of each sample, 0 to T; default T. What x holds past them is ignored.

        Returns
        -------
        y : (B, F) or (F,) array

        Raises
        ------
        TypeError, ValueError
            For wrong shapes or lengths.
        """
        y, _ = self._run(x, lengths)
        return y if x.ndim == 3 else y[0]

    def forward(self, x: Array, lengths: Any = None) -> tuple[Array, Tape]:
        """Return the mean or the maximum, and the tape; as a call otherwise."""
        y, saved = self._run(x, lengths)
        return (y if x.ndim == 3 else y[0]), Tape(self, (x.shape, y.dtype, saved))

    def _run(self, x: Array, lengths: Any) -> tuple[Array, Any]:
        # y (B, F) and what backward needs: the number of steps, and of a maximum its step
        check_floats("Pool", "input", x)
        if x.ndim not in (2, 3):
            raise ValueError(
                f"Pool expected input with 3 axes, or 2 for one sequence, got {x.shape}"
            )
        steps = self._time_major(x)
        T, B, F = steps.shape
        dtype = x.dtype.newbyteorder("=")
        given = check_lengths("Pool", lengths, T, B)
        counts = np.full(B, T) if given is None else given
        if given is not None:
            past = np.arange(T)[:, None] >= counts
            steps = np.where(past[..., None], 0 if self.kind == "mean" else -np.inf, steps)
        if self.kind == "mean":
            y = steps.sum(axis=0, dtype=dtype)
            y /= np.maximum(counts, 1)[:, None].astype(dtype)
            return y, (counts, None)
        if T == 0:
            return np.zeros((B, F), dtype), (counts, np.zeros((B, F), np.int64))
        where = steps.argmax(axis=0)
        y = np.take_along_axis(steps, where[None], axis=0)[0].astype(dtype)
        y[counts == 0] = 0
        return y, (counts, where)

    def backward(self, tape: Tape, dy: Array, input_grad: bool = True) -> Array | None:
        """Return the gradient of x.

        Parameters
        ----------
        tape : Tape
            From `forward`; used up.
        dy : array of the shape of y
        input_grad : bool, default True
            Whether the gradient of x is wanted.

        Returns
        -------
        dx : array of the shape of x, or None
        """
        shape, dtype, (counts, where) = self._open(tape)
        batched = len(shape) == 3
        wanted = (len(counts), shape[2]) if batched else (shape[1],)
        check_array("Pool", "dy", dy, dtype, wanted)
        tape.close()
        if not input_grad:
            return None
        dx = np.zeros(shape, dtype)
        steps, rows = self._time_major(dx), dy if batched else dy[None]
        if where is None:
            real = np.arange(len(steps))[:, None] < counts
            steps += real[..., None] * (rows / np.maximum(counts, 1)[:, None]).astype(dtype)
        else:
            rows = np.where(counts[:, None] > 0, rows, 0)
            if len(steps):
                np.put_along_axis(steps, where[None], rows[None], axis=0)
        return dx
