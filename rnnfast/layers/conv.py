"""Convolution over time, and the gated WaveNet."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import backend
from ..arrays import contiguous, past_end
from ..checks import check_flag, check_float_dtype, check_seed, check_size
from .activation import Sigmoid, Tanh
from .base import Layer, Tape
from .composite import Calls, Composite
from .linear import Linear
from .windows import Windows

if TYPE_CHECKING:
    from ..arrays import Array


class Conv1d(Windows):
    """Convolution over time, as ``torch.nn.Conv1d`` on features last.

    ``y[t] = bias + sum over j of weight[:, :, j] @ x[t * stride + j * dilation - left]``, where x
    is zero outside [0, T), and in ragged batches past each sample's own end too.

    Parameters
    ----------
    in_channels, out_channels : int
        Features of x and of y.
    kernel_size : int
        Number of taps j.
    stride : int, default 1
        Steps of x from one output to the next.
    padding : {"valid", "same", "causal"} or int
        Zeros around x: none; so many that y has ``ceil(T / stride)`` steps, divided evenly; as
        many, all before x, so that no output sees later steps than its own; or a number at either
        end. "same" with a stride takes no lengths.
    dilation : int, default 1
        Steps of x from one tap to the next.
    bias : bool, default True
    batch_first : bool, default False
        As in the recurrent layers.
    dtype : {float32, float64}
    seed : int or None
        Weights and bias are drawn from uniform(-k, k), ``k = 1/sqrt(in_channels * kernel_size)``.
    """

    dtype: np.dtype[Any]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: str | int = "valid",
        dilation: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dtype: Any = np.float32,
        seed: int | None = None,
    ) -> None:
        self.in_channels = self.in_size = check_size("Conv1d", "in_channels", in_channels, 1)
        self.out_channels = self.out_size = check_size("Conv1d", "out_channels", out_channels, 1)
        self._lay(kernel_size, stride, padding, dilation)
        self.bias = check_flag("Conv1d", "bias", bias)
        self.batch_first = check_flag("Conv1d", "batch_first", batch_first)
        self.dtype = check_float_dtype("Conv1d", dtype)
        self.seed = check_seed("Conv1d", seed)
        bound = 1.0 / math.sqrt(self.in_channels * self.kernel_size)
        rng = np.random.default_rng(self.seed)
        shapes: dict[str, tuple[int, ...]] = {
            "weight": (self.out_channels, self.in_channels, self.kernel_size)
        }
        if self.bias:
            shapes["bias"] = (self.out_channels,)
        self._create(shapes, lambda name, shape: rng.uniform(-bound, bound, shape))

    # ---- calls

    def __call__(self, x: Array, lengths: Any = None) -> Array:
        """Return y.

        Parameters
        ----------
        x : (T, B, in_channels) array, (B, T, in_channels) with ``batch_first``, or (T, in_channels)
            Of the layer's dtype and any memory layout.
        lengths : (B,) array_like of int, optional
            Steps of each sample, 0 to T. What x holds past them is ignored; outputs from
            ``out_lengths(lengths)`` on are zero.

        Returns
        -------
        y : array
            In the layout of x, with ``out_lengths(T)`` steps of out_channels features.

        Raises
        ------
        TypeError, ValueError
            For wrong dtypes, shapes or lengths, or where the kernel does not fit T steps.
        """
        return self._run(x, lengths)[0]

    def forward(self, x: Array, lengths: Any = None) -> tuple[Array, Tape]:
        """Return y and the tape; as a call otherwise."""
        return self._run(x, lengths)

    def _run(self, x: Array, lengths: Any) -> tuple[Array, Tape]:
        version = self.params.version
        given = self._check_sequences(x, lengths)
        samples = self._sample_major(x)
        B, T, _ = samples.shape
        steps = self._check_steps(T, given)
        padded = self._pad(samples, past_end(given, T))
        y = np.empty((B, steps, self.out_channels), self.dtype)
        arrays = self.params._arrays
        backend.active().dense.conv1d(
            padded, arrays["weight"], arrays.get("bias"), self.stride, self.dilation, y
        )
        past = past_end(self.out_lengths(given), steps)
        if past is not None:
            y[past] = 0
        y = self._as_given(y.swapaxes(0, 1), x)
        return y, Tape(self, (y.shape, padded, T, given), version)

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
        y_shape, padded, T, lengths = self._open(tape)
        self._use_up(tape, dy, self.dtype, y_shape)
        rows = contiguous(self._sample_major(dy), self.dtype)
        past = past_end(self.out_lengths(lengths), rows.shape[1])
        if past is not None:
            rows = np.where(past[:, :, None], self.dtype.type(0), rows)
        dpadded = np.empty_like(padded) if input_grad else None
        weight = self.params._arrays["weight"]
        own = self.grads["weight"], self.grads.get("bias")
        with self._lock:
            backend.active().dense.conv1d_backward(
                padded, weight, rows, self.stride, self.dilation, dpadded, *own
            )
        if dpadded is None:
            return None
        dx = self._without_pads(dpadded, T, past_end(lengths, T))
        return self._as_given(dx.swapaxes(0, 1), dy)

    def _describe(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}{self._describe_windows()}"
        return text if self.bias else f"{text}, bias=False"


class GatedConv1d(Composite):
    """``W (tanh(a) * sigmoid(b)) + bias``, with a and b causal convolutions of x: WaveNet's unit.

    Parameters
    ----------
    channels, kernel_size, dilation : int
        Features of x and of y, taps, and steps between them.
    batch_first : bool, default False
    dtype : {float32, float64}
    seed : int or None
    """

    takes_lengths = True
    stepwise = False
    dtype: np.dtype[Any]

    def __init__(
        self,
        channels: int,
        kernel_size: int,
        dilation: int,
        batch_first: bool = False,
        dtype: Any = np.float32,
        seed: int | None = None,
    ) -> None:
        self.channels = check_size("GatedConv1d", "channels", channels, 1)
        self.in_size = self.out_size = self.channels
        self.seed = check_seed("GatedConv1d", seed)
        seeds = np.random.SeedSequence(self.seed).generate_state(2).tolist()
        conv = Conv1d(
            channels,
            2 * self.channels,
            kernel_size,
            padding="causal",
            dilation=dilation,
            batch_first=batch_first,
            dtype=dtype,
            seed=seeds[0],
        )
        self.kernel_size, self.dilation = conv.kernel_size, conv.dilation
        self.batch_first, self.dtype = conv.batch_first, conv.dtype
        mix = Linear(channels, channels, dtype=dtype, seed=seeds[1])
        self._join({"conv": conv, "tanh": Tanh(), "sigmoid": Sigmoid(), "mix": mix})

    def __call__(self, x: Array, lengths: Any = None) -> Array:
        """Return y, of the shape of x; arguments as of `Conv1d`."""
        return self._run(x, lengths, False)[0]

    def forward(self, x: Array, lengths: Any = None) -> tuple[Array, Tape]:
        """Return y and the tape; as a call otherwise."""
        return self._run(x, lengths, True)

    def _run(self, x: Array, lengths: Any, training: bool) -> tuple[Array, Tape]:
        given = self._check_sequences(x, lengths)
        calls = Calls(self.parts, training)
        ab = calls("conv", x, given)
        a = calls("tanh", ab[..., : self.channels])
        b = calls("sigmoid", ab[..., self.channels :])
        y = calls("mix", a * b)
        self._clear(y, given)
        return y, Tape(self, (calls, a, b, given))

    def backward(self, tape: Tape, dy: Array, input_grad: bool = True) -> Array | None:
        """Add into `grads` and return the gradient of x, None where `input_grad` is False."""
        calls, a, b, lengths = self._open(tape)
        self._use_up(tape, dy, self.dtype, a.shape)
        if lengths is not None:
            dy = np.array(dy, self.dtype)
            self._clear(dy, lengths)
        dz = calls.backward("mix", dy)
        dab = np.empty((*a.shape[:-1], 2 * self.channels), self.dtype)
        dab[..., : self.channels] = calls.backward("tanh", dz * b)
        dab[..., self.channels :] = calls.backward("sigmoid", dz * a)
        dx: Array | None = calls.backward("conv", dab, input_grad=input_grad)
        return dx

    def _clear(self, array: Array, lengths: Array | None) -> None:
        past = past_end(lengths, self._time_major(array).shape[0])
        if past is not None:
            self._time_major(array)[past.T] = 0


class WaveNet(Composite):
    """The gated WaveNet: causal convolutions whose reach grows with the dilations.

    ``x = conv(input)``; then for each dilation ``z = gated(x)`` and ``x = x + z``, where ``gated``
    is a `GatedConv1d`; y is the sum of all z. Each z thus serves as its block's residual and as its
    share of the output (van den Oord et al. 2016, where each of the two has a matrix of its own; in
    this form Géron, Hands-On Machine Learning, 2nd ed., chapter 15). What follows is up to the
    caller, for instance ``ReLU()`` and two `Linear`.

    Parameters
    ----------
    in_channels, channels : int
        Features of the input, and of all convolutions and y.
    dilations : sequence of int
        One for each block, such as ``(1, 2, 4, 8) * 2``. An output sees
        ``(kernel_size - 1) * (1 + sum(dilations)) + 1`` steps.
    kernel_size : int, default 2
    batch_first : bool, default False
        As in the recurrent layers.
    dtype : {float32, float64}
    seed : int or None
    """

    takes_lengths = True
    stepwise = False
    dtype: np.dtype[Any]
    batch_first: bool

    def __init__(
        self,
        in_channels: int,
        channels: int,
        dilations: Iterable[int],
        kernel_size: int = 2,
        batch_first: bool = False,
        dtype: Any = np.float32,
        seed: int | None = None,
    ) -> None:
        self.in_channels = self.in_size = check_size("WaveNet", "in_channels", in_channels, 1)
        self.channels = self.out_size = check_size("WaveNet", "channels", channels, 1)
        if not isinstance(dilations, Iterable):
            raise TypeError(f"WaveNet expected dilations as integers, got {dilations!r}")
        self.dilations = tuple(check_size("WaveNet", "dilations", d, 1) for d in dilations)
        if not self.dilations:
            raise ValueError("WaveNet expected at least one dilation")
        self.kernel_size = check_size("WaveNet", "kernel_size", kernel_size, 1)
        self.batch_first = check_flag("WaveNet", "batch_first", batch_first)
        self.dtype = check_float_dtype("WaveNet", dtype)
        self.seed = check_seed("WaveNet", seed)
        sequence = np.random.SeedSequence(self.seed)
        first, *seeds = sequence.generate_state(1 + len(self.dilations)).tolist()
        options: dict[str, Any] = {"batch_first": self.batch_first, "dtype": self.dtype}
        parts: dict[str, Layer] = {
            "input": Conv1d(
                in_channels, channels, kernel_size, padding="causal", seed=first, **options
            )
        }
        self._blocks = [str(i) for i in range(len(self.dilations))]
        for name, dilation, part_seed in zip(self._blocks, self.dilations, seeds, strict=True):
            parts[name] = GatedConv1d(channels, kernel_size, dilation, seed=part_seed, **options)
        self._join(parts)

    def __call__(self, x: Array, lengths: Any = None) -> Array:
        """Return y.

        Parameters
        ----------
        x : (T, B, in_channels) array, (B, T, in_channels) with ``batch_first``, or (T, in_channels)
            Of the layer's dtype and any memory layout.
        lengths : (B,) array_like of int, optional
            Steps of each sample, 0 to T. What x holds past them is ignored; outputs there are zero.

        Returns
        -------
        y : array
            In the layout of x, with ``channels`` features.

        Raises
        ------
        TypeError, ValueError
            For wrong dtypes, shapes or lengths.
        """
        return self._run(x, lengths, False)[0]

    def forward(self, x: Array, lengths: Any = None) -> tuple[Array, Tape]:
        """Return y and the tape; as a call otherwise."""
        return self._run(x, lengths, True)

    def _run(self, x: Array, lengths: Any, training: bool) -> tuple[Array, Tape]:
        given = self._check_sequences(x, lengths)
        calls = Calls(self.parts, training)
        x = calls("input", x, given)
        y = np.zeros(x.shape, self.dtype)
        for block in self._blocks:
            z = calls(block, x, given)
            x = x + z
            y += z
        return y, Tape(self, (calls, y.shape))

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
        calls, shape = self._open(tape)
        self._use_up(tape, dy, self.dtype, shape)
        dx = np.zeros(shape, self.dtype)  # of what the last block hands on: nobody reads it
        for block in reversed(self._blocks):
            dx += calls.backward(block, dx + dy)
        result: Array | None = calls.backward("input", dx, input_grad=input_grad)
        return result
