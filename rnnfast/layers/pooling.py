"""Mean or maximum over time: of all steps, or of windows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..arrays import past_end
from ..checks import check_flag
from .base import Layer, Tape
from .windows import Windows

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
        return self._run(x, lengths)[0]

    def forward(self, x: Array, lengths: Any = None) -> tuple[Array, Tape]:
        """Return the mean or the maximum, and the tape; as a call otherwise."""
        return self._run(x, lengths)

    def _run(self, x: Array, lengths: Any) -> tuple[Array, Tape]:
        given = self._check_sequences(x, lengths)
        steps = self._time_major(x)
        T, B, F = steps.shape
        dtype = x.dtype.newbyteorder("=")
        where: Array | None = None  # of a maximum, its step
        counts = np.full(B, T) if given is None else given
        if given is not None:
            past = np.arange(T)[:, None] >= counts
            steps = np.where(past[..., None], 0 if self.kind == "mean" else -np.inf, steps)
        if self.kind == "mean":
            y = steps.sum(axis=0, dtype=dtype)
            y /= np.maximum(counts, 1)[:, None].astype(dtype)
        elif T == 0:
            y, where = np.zeros((B, F), dtype), np.zeros((B, F), np.int64)
        else:
            where = steps.argmax(axis=0)
            y = np.take_along_axis(steps, where[None], axis=0)[0].astype(dtype)
            y[counts == 0] = 0
        y = y if x.ndim == 3 else y[0]
        return y, Tape(self, (x.shape, dtype, y.shape, counts, where))

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
        shape, dtype, y_shape, counts, where = self._open(tape)
        self._use_up(tape, dy, dtype, y_shape)
        if not input_grad:
            return None
        dx = np.zeros(shape, dtype)
        steps, rows = self._time_major(dx), np.atleast_2d(dy)
        if where is None:
            real = np.arange(len(steps))[:, None] < counts
            steps += real[..., None] * (rows / np.maximum(counts, 1)[:, None]).astype(dtype)
        else:
            rows = np.where(counts[:, None] > 0, rows, 0)
            if len(steps):
                np.put_along_axis(steps, where[None], rows[None], axis=0)
        return dx


class Pool1d(Windows):
    """Mean or maximum of a window of steps, as ``torch.nn.AvgPool1d`` and ``MaxPool1d``.

    What is padded, or lies past a sample's end, never counts. Where several steps of a window have
    the maximum, the first one gets the gradient.

    Parameters
    ----------
    kind : {"mean", "max"}
    kernel_size : int
        Steps of a window.
    stride : int, optional
        Steps of x from one window to the next; default `kernel_size`.
    padding : {"valid", "same", "causal"} or int
        As of `Conv1d`; an integer is at most half a window.
    batch_first : bool, default False
        As in the recurrent layers.
    """

    def __init__(
        self,
        kind: str,
        kernel_size: int,
        stride: int | None = None,
        padding: str | int = "valid",
        batch_first: bool = False,
    ) -> None:
        if kind not in ("mean", "max"):
            raise ValueError(f"Pool1d expected kind 'mean' or 'max', got {kind!r}")
        self.kind = kind
        self._lay(kernel_size, kernel_size if stride is None else stride, padding, 1)
        if not isinstance(padding, str) and self.left > self.kernel_size // 2:
            raise ValueError(f"Pool1d expected padding of at most half a window, got {padding}")
        self.batch_first = check_flag("Pool1d", "batch_first", batch_first)
        self._create({})

    def __call__(self, x: Array, lengths: Any = None) -> Array:
        """Return the means or the maxima.

        Parameters
        ----------
        x : (T, B, F) array, (B, T, F) with ``batch_first``, or (T, F) for one sequence
        lengths : (B,) array_like of int, optional
            Steps of each sample, 0 to T; default T. Outputs from ``out_lengths(lengths)`` on are
            zero.

        Returns
        -------
        y : array
            In the layout of x, with ``out_lengths(T)`` steps.

        Raises
        ------
        TypeError, ValueError
            For wrong shapes or lengths, or where a window does not fit T steps.
        """
        return self._run(x, lengths)[0]

    def forward(self, x: Array, lengths: Any = None) -> tuple[Array, Tape]:
        """Return the means or the maxima, and the tape; as a call otherwise."""
        return self._run(x, lengths)

    def _run(self, x: Array, lengths: Any) -> tuple[Array, Tape]:
        given = self._check_sequences(x, lengths)
        samples = self._sample_major(x)
        B, T, F = samples.shape
        steps = self._check_steps(T, given)
        past, past_y = past_end(given, T), past_end(self.out_lengths(given), steps)
        fill = 0.0 if self.kind == "mean" else -np.inf
        padded = self._pad(samples, past, fill)
        shape = B, steps, F, self.kernel_size
        windows = sliding_window_view(padded, self.kernel_size, 1)[:, :: self.stride][:, :steps]
        # which: of each window how many steps count, or which one has the maximum
        if not steps:
            y = which = np.zeros(shape[:3], padded.dtype)
        elif self.kind == "mean":
            real = np.ones((1, T, 1)) if past is None else ~past[..., None]
            real = sliding_window_view(self._pad(real.astype(padded.dtype), None), shape[3], 1)
            which = np.maximum(real[:, :: self.stride][:, :steps].sum(axis=-1), 1)
            y = windows.sum(axis=-1) / which
        else:
            which = windows.argmax(axis=-1)
            y = np.take_along_axis(windows, which[..., None], -1)[..., 0]
        if past_y is not None:
            y[past_y] = 0
        y = self._as_given(y.swapaxes(0, 1), x)
        return y, Tape(self, (y.dtype, y.shape, T, padded.shape[1], past, past_y, which))

    def backward(self, tape: Tape, dy: Array, input_grad: bool = True) -> Array | None:
        """Return the gradient of x.

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
        """
        dtype, shape, T, padded, past, past_y, which = self._open(tape)
        self._use_up(tape, dy, dtype, shape)
        if not input_grad:
            return None
        rows = self._sample_major(dy)
        if past_y is not None:
            rows = np.where(past_y[..., None], dtype.type(0), rows)
        if self.kind == "mean":
            rows = rows / which
        B, steps, F = rows.shape
        dpadded = np.zeros((B, padded, F), dtype)
        for tap in range(self.kernel_size if steps else 0):
            own = dpadded[:, tap : tap + (steps - 1) * self.stride + 1 : self.stride]
            own += rows if self.kind == "mean" else rows * (which == tap)
        dx = self._without_pads(dpadded, T, past)
        return self._as_given(dx.swapaxes(0, 1), dy)

    def _describe(self) -> str:
        return f"{self.kind!r}{self._describe_windows()}"
