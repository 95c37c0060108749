"""Products, convolution, pooling and normalisation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...layers import Linear
from .reductions import limits
from .registry import operator

if TYPE_CHECKING:
    from ...arrays import Array


# ---- products, convolution, pooling ------------------------------------------------------------


@operator("Gemm")
def gemm(
    a: Array,
    b: Array,
    c: Array | None = None,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Array:
    """Return ``alpha a b + beta c``."""
    y = (a.T if transA else a) @ (b.T if transB else b)
    y = y if alpha == 1 else alpha * y
    return y if c is None else y + (c if beta == 1 else beta * c)


FEW_ROWS = 16  # below, packing weights for the engine takes longer than the product


class Product:
    """``x weight + bias`` with constants, on the engine: one team of threads for the whole model.

    Threads of NumPy's BLAS go on waiting for work when a product is done, and take processors from
    the recurrent layers.
    """

    def __init__(self, weight: Array, bias: Array | None = None) -> None:
        inputs, outputs = weight.shape
        self.layer = Linear(inputs, outputs, bias is not None, weight.dtype)
        arrays = {"weight": weight.T} | ({} if bias is None else {"bias": bias})
        self.layer.load_state_dict(arrays)
        self.weight, self.bias = self.layer.params["weight"].T, self.layer.params.get("bias")

    def __call__(self, x: Array) -> Array:
        """Return the product."""
        if x.size >= FEW_ROWS * self.layer.in_features:
            return self.layer(x)
        y = x @ self.weight
        return y if self.bias is None else y + self.bias


@operator("Einsum")
def einsum(*arrays: Array, equation: str) -> Array:
    """Return a sum of products over named axes."""
    return np.einsum(equation.replace(" ", ""), *arrays)


class _Window(NamedTuple):
    """A window along one axis."""

    size: int
    stride: int
    dilation: int
    before: int  # padding
    after: int
    rest: int  # padding more, of which a last window that is not full takes part


def _windows(
    x: Array,
    kernel_shape: Any,
    strides: Any = None,
    pads: Any = None,
    dilations: Any = None,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
) -> list[_Window]:
    # by the attributes of convolutions and pools
    n = x.ndim - 2
    strides, dilations, pads = strides or [1] * n, dilations or [1] * n, pads or [0] * 2 * n
    windows = []
    for axis in range(n):
        length, size, stride = x.shape[2 + axis], kernel_shape[axis], strides[axis]
        reach = (size - 1) * dilations[axis] + 1
        before, after = pads[axis], pads[axis + n]
        if auto_pad.startswith("SAME"):
            total = max((-(-length // stride) - 1) * stride + reach - length, 0)
            smaller, larger = total // 2, total - total // 2
            before, after = (smaller, larger) if auto_pad == "SAME_UPPER" else (larger, smaller)
        rest = 0
        if ceil_mode:
            left = (length + before + after - reach) % stride
            last = length + before + after - reach - left + stride  # where one more would start
            rest = stride - left if left and last < length + before else 0
        windows.append(_Window(size, stride, dilations[axis], before, after, rest))
    return windows


def _view(x: Array, windows: list[_Window], fill: float, fill_rest: float) -> Array:
    # (N, C, outputs of each axis, window of each axis)
    widths = [(w.before, w.after) for w in windows]
    rests = [(0, w.rest) for w in windows]
    if any(map(any, widths)):
        x = np.pad(x, [(0, 0), (0, 0), *widths], constant_values=fill)
    if any(map(any, rests)):
        x = np.pad(x, [(0, 0), (0, 0), *rests], constant_values=fill_rest)
    for axis, w in enumerate(windows, 2):
        reach = (w.size - 1) * w.dilation + 1
        x = np.lib.stride_tricks.sliding_window_view(x, reach, axis)
    strides = [slice(None, None, w.stride) for w in windows]
    taps = [slice(None, None, w.dilation) for w in windows]
    return x[(slice(None), slice(None), *strides, *taps)]


@operator("Conv")
def conv(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    group: int = 1,
    kernel_shape: Any = None,
    **attributes: Any,
) -> Array:
    """Return a convolution over any number of axes: windows times weights."""
    windows = _windows(x, weight.shape[2:], **attributes)
    view = _view(x, windows, 0, 0)
    n, N, M = len(windows), len(x), len(weight)
    outputs = view.shape[2 : 2 + n]
    view = view.reshape(N, group, x.shape[1] // group, *view.shape[2:])
    view = np.moveaxis(view, 2, 2 + n)  # (N, group, outputs, C of the group, window)
    rows = view.reshape(N, group, math.prod(outputs), math.prod(weight.shape[1:]))
    kernels = weight.reshape(group, M // group, math.prod(weight.shape[1:]))
    y = (rows @ kernels.swapaxes(1, 2)).swapaxes(2, 3).reshape(N, M, *outputs)
    return y if bias is None else y + bias.reshape(M, *[1] * n)


@operator("ConvTranspose")
def conv_transpose(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    group: int = 1,
    kernel_shape: Any = None,
    strides: Any = None,
    pads: Any = None,
    dilations: Any = None,
    auto_pad: str = "NOTSET",
    output_padding: Any = None,
    output_shape: Any = None,
) -> Array:
    """Return the gradient of a convolution: each element of x spreads the weights."""
    n, N, C, M = x.ndim - 2, len(x), x.shape[1], weight.shape[1]
    sizes, lengths = weight.shape[2:], x.shape[2:]
    strides, dilations = strides or [1] * n, dilations or [1] * n
    more, pads = output_padding or [0] * n, pads or [0] * 2 * n
    full = [  # of what all elements reach, and `more` behind it
        stride * (length - 1) + (size - 1) * dilation + 1 + rest
        for stride, length, size, dilation, rest in zip(
            strides, lengths, sizes, dilations, more, strict=True
        )
    ]
    if output_shape or auto_pad.startswith("SAME"):
        kept = (output_shape or [a * b for a, b in zip(lengths, strides, strict=True)])[-n:]
        left = [max(a - b, 0) for a, b in zip(full, kept, strict=True)]
        starts = [total // 2 if auto_pad == "SAME_UPPER" else -(-total // 2) for total in left]
    else:
        starts = pads[:n]
        kept = [reach - pads[i] - pads[i + n] for i, reach in enumerate(full)]
    ends = [start + length for start, length in zip(starts, kept, strict=True)]
    columns = x.reshape(N, group, C // group, math.prod(lengths))
    kernels = weight.reshape(group, C // group, M * math.prod(sizes)).swapaxes(1, 2)
    products = (kernels @ columns).reshape(N, group * M, *sizes, *lengths)
    y = np.zeros((N, group * M, *map(max, full, ends)), x.dtype)
    for tap in np.ndindex(*sizes):
        firsts = [place * dilation for place, dilation in zip(tap, dilations, strict=True)]
        reached = [
            slice(first, first + stride * (length - 1) + 1, stride)
            for first, stride, length in zip(firsts, strides, lengths, strict=True)
        ]
        y[(slice(None), slice(None), *reached)] += products[(slice(None), slice(None), *tap)]
    y = y[(slice(None), slice(None), *map(slice, starts, ends))]
    return y if bias is None else y + bias.reshape(-1, *[1] * n)


@operator("MaxPool", only={"storage_order": 0})
def max_pool(x: Array, storage_order: int = 0, **attributes: Any) -> Array:
    """Return the maximum of each window."""
    windows = _windows(x, **attributes)
    lowest, _ = limits(x.dtype)
    return _view(x, windows, lowest, lowest).max(tuple(range(-len(windows), 0)))


@operator("AveragePool")
def average_pool(x: Array, count_include_pad: int = 0, **attributes: Any) -> Array:
    """Return the mean of each window."""
    windows = _windows(x, **attributes)
    axes = tuple(range(-len(windows), 0))
    ones = np.ones((1, 1, *x.shape[2:]), x.dtype)
    counts = _view(ones, windows, count_include_pad, 0).sum(axes)
    return _view(x, windows, 0, 0).sum(axes) / counts


@operator("GlobalAveragePool")
def global_average_pool(x: Array) -> Array:
    """Return the mean over all axes but the first two."""
    return x.mean(tuple(range(2, x.ndim)), keepdims=True)


@operator("GlobalMaxPool")
def global_max_pool(x: Array) -> Array:
    """Return the maximum over all axes but the first two."""
    return x.max(tuple(range(2, x.ndim)), keepdims=True)


# ---- normalisation -----------------------------------------------------------------------------


@operator("BatchNormalization", only={"training_mode": 0, "spatial": 1})
def batch_normalization(
    x: Array,
    scale: Array,
    bias: Array,
    mean: Array,
    variance: Array,
    epsilon: float,
    momentum: float = 0.9,
    training_mode: int = 0,
    spatial: int = 1,
) -> Array:
    """Return x normalised channel by channel with given means and variances."""
    factor = scale / np.sqrt(variance + epsilon)
    return _by_channel(x, factor, bias - mean * factor)


def _standardised(x: Array, axes: tuple[int, ...], epsilon: float) -> tuple[Array, Array, Array]:
    # and the means and 1 / deviations
    mean = x.mean(axes, keepdims=True)
    centred = x - mean
    inverse = 1 / np.sqrt(np.square(centred).mean(axes, keepdims=True) + epsilon)
    return centred * inverse, mean, inverse


def _by_channel(y: Array, scale: Array, bias: Array) -> Array:
    along = (-1, *[1] * (y.ndim - 2))
    return y * scale.reshape(along) + bias.reshape(along)


@operator("LayerNormalization", outputs=3)
def layer_normalization(
    x: Array,
    scale: Array,
    bias: Array | None = None,
    axis: int = -1,
    epsilon: float = 1e-5,
    stash_type: int = 1,
) -> tuple[Array, Array, Array]:
    """Return x normalised over the axes from `axis` on, the means and 1 / deviations."""
    y, mean, inverse = _standardised(x, tuple(range(axis % x.ndim, x.ndim)), epsilon)
    return y * scale if bias is None else y * scale + bias, mean, inverse


@operator("InstanceNormalization")
def instance_normalization(x: Array, scale: Array, b: Array, epsilon: float = 1e-5) -> Array:
    """Return x normalised over all axes behind the channels, sample by sample."""
    return _by_channel(_standardised(x, tuple(range(2, x.ndim)), epsilon)[0], scale, b)


@operator("GroupNormalization", since=21)
def group_normalization(
    x: Array, scale: Array, bias: Array, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1
) -> Array:
    """Return x normalised over groups of channels and all axes behind them, sample by sample."""
    N, C = x.shape[:2]
    groups = x.reshape(N, num_groups, C // num_groups * math.prod(x.shape[2:]))
    return _by_channel(_standardised(groups, (2,), epsilon)[0].reshape(x.shape), scale, bias)


@operator("GroupNormalization", since=18)
def group_normalization_18(
    x: Array, scale: Array, bias: Array, num_groups: int, epsilon: float = 1e-5
) -> Array:
    """Return the same with one scale and bias for each group."""
    each = x.shape[1] // num_groups
    return group_normalization(x, scale.repeat(each), bias.repeat(each), num_groups, epsilon)
