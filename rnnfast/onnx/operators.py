"""ONNX's operators around the recurrent ones, in NumPy.

Each function takes the operator's inputs in order, then its attributes by their names. Where an
attribute of older versions became an input, the parameter has the name of both.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from functools import partial, reduce
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..layers import Linear, Sigmoid, Tanh

if TYPE_CHECKING:
    from ..arrays import Array

    Function = Callable[..., Any]

OLDEST, NEWEST = 7, 28  # versions of the operator set whose definitions the functions follow

# TensorProto's element types that are computed with, and ONNX's names of them
DTYPES: dict[int, tuple[str, Any]] = {
    1: ("float", np.float32),
    2: ("uint8", np.uint8),
    3: ("int8", np.int8),
    4: ("uint16", np.uint16),
    5: ("int16", np.int16),
    6: ("int32", np.int32),
    7: ("int64", np.int64),
    9: ("bool", np.bool_),
    11: ("double", np.float64),
    12: ("uint32", np.uint32),
    13: ("uint64", np.uint64),
}


class Operator(NamedTuple):
    """How to run a node."""

    function: Function
    signature: inspect.Signature
    outputs: float  # how many it can give
    only: Mapping[str, Any]  # values that some arguments must have


# name: {version it came with: function that serves from there on}
OPERATORS: dict[str, dict[int, Operator]] = {}


def operator(
    name: str, since: int = 1, outputs: float = 1, only: Mapping[str, Any] = MappingProxyType({})
) -> Callable[[Function], Function]:
    """Register the function below as what computes an operator."""

    def register(function: Function) -> Function:
        entry = Operator(function, inspect.signature(function), outputs, only)
        OPERATORS.setdefault(name, {})[since] = entry
        return function

    return register


def find(name: str, version: int) -> Operator:
    """Return what serves a version of an operator."""
    versions = OPERATORS[name]
    return versions[max(since for since in versions if since <= version)]


# ---- element by element ------------------------------------------------------------------------


UNARY: dict[str, Function] = {
    "Abs": np.abs,
    "Ceil": np.ceil,
    "Cos": np.cos,
    "Exp": np.exp,
    "Floor": np.floor,
    "HardSwish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "Identity": lambda x: x.view(),
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


@operator("Erf")
def erf(x: Array) -> Array:
    """Return the error function, an element at a time: NumPy has none."""
    return np.asarray(np.frompyfunc(math.erf, 1, 1)(x), x.dtype)


@operator("Gelu")
def gelu(x: Array, approximate: str) -> Array:
    """Return ``x Phi(x)``, Phi the normal distribution or its approximation by tanh."""
    if approximate == "tanh":
        return x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    return x / 2 * (1 + erf(x / math.sqrt(2)))


@operator("Cast")
def cast(x: Array, to: int, saturate: int = 1, round_mode: str = "up") -> Array:
    """Return x as another type; the last two matter for types of 8 bits only."""
    return x.astype(DTYPES[to][1])


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


def _ints(numbers: Any) -> tuple[int, ...]:
    # of an array or a list; NumPy takes several times as long with integers of its own as lengths,
    # axes or places
    return tuple(numbers.tolist() if isinstance(numbers, np.ndarray) else numbers)


# ---- constants and shapes ----------------------------------------------------------------------


@operator("Constant")
def constant(
    value: Array | None = None,
    value_float: float | None = None,
    value_floats: list[float] | None = None,
    value_int: int | None = None,
    value_ints: list[int] | None = None,
) -> Array:
    """Return the one that is given."""
    for floats in (value_float, value_floats):
        if floats is not None:
            return np.array(floats, np.float32)
    for ints in (value_int, value_ints):
        if ints is not None:
            return np.array(ints, np.int64)
    return np.asarray(value)


@operator("ConstantOfShape")
def constant_of_shape(shape: Array, value: Array | None = None) -> Array:
    """Return an array full of one value."""
    fill = np.zeros(1, np.float32) if value is None else value
    return np.full(_ints(shape), fill.item(), fill.dtype)


@operator("Range")
def arange(start: Array, limit: Array, delta: Array, stash_type: int = 1) -> Array:
    """Return start, start + delta, ... up to before the limit."""
    count = math.ceil((limit - start) / delta)
    return start + delta * np.arange(count, dtype=start.dtype)


@operator("Shape")
def shape(x: Array, start: int = 0, end: int | None = None) -> Array:
    """Return the lengths of the axes."""
    return np.array(x.shape[start:end], np.int64)


@operator("Size")
def size(x: Array) -> Array:
    """Return the number of elements."""
    return np.array(x.size, np.int64)


@operator("Reshape")
def reshape(x: Array, shape: Array, allowzero: int = 0) -> Array:
    """Return x in another shape; a 0 there is the length of the same axis of x."""
    lengths = [
        x.shape[axis] if length == 0 and not allowzero else length
        for axis, length in enumerate(_ints(shape))
    ]
    return x.reshape(lengths)


@operator("Flatten")
def flatten(x: Array, axis: int) -> Array:
    """Return x with two axes: what lies before `axis`, and the rest."""
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@operator("Squeeze")
def squeeze(x: Array, axes: Any = None) -> Array:
    """Return x without axes of length 1."""
    return x.squeeze(None if axes is None else _ints(axes))


@operator("Unsqueeze")
def unsqueeze(x: Array, axes: Any) -> Array:
    """Return x with axes of length 1 more."""
    return np.expand_dims(x, _ints(axes))


@operator("Transpose")
def transpose(x: Array, perm: list[int] | None = None) -> Array:
    """Return x with its axes in another order."""
    return x.transpose(perm)


@operator("Expand")
def expand(x: Array, shape: Array) -> Array:
    """Return x repeated along axes of length 1."""
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, _ints(shape)))


@operator("Tile")
def tile(x: Array, repeats: Array) -> Array:
    """Return copies of x side by side."""
    return np.tile(x, tuple(repeats))


@operator("Concat")
def concat(*arrays: Array, axis: int) -> Array:
    """Return arrays joined along an axis."""
    return np.concatenate(arrays, axis)


@operator("Split", outputs=np.inf)
def split(x: Array, split: Any = None, axis: int = 0, num_outputs: int = 1) -> tuple[Array, ...]:
    """Return x in parts of given sizes, else of equal ones but for the last."""
    length = x.shape[axis]
    if split is None:
        part = -(-length // num_outputs)
        ends = np.minimum(part * np.arange(1, num_outputs + 1), length)
    else:
        ends = np.cumsum(split)
        if len(ends) != num_outputs or ends[-1] != length:
            raise ValueError(f"parts of {split} do not make {num_outputs} outputs of {length}")
    return tuple(np.split(x, ends[:-1], axis))


@operator("Pad")
def pad(
    x: Array,
    pads: Any,
    constant_value: Array | None = None,
    axes: Any = None,
    mode: str = "constant",
    value: float = 0.0,
) -> Array:
    """Return x with more at its ends, or less where a number is negative."""
    chosen = range(x.ndim) if axes is None else [int(axis) for axis in axes]
    widths, kept = [(0, 0)] * x.ndim, [slice(None)] * x.ndim
    for i, axis in enumerate(chosen):
        before, after = int(pads[i]), int(pads[i + len(chosen)])
        widths[axis] = max(before, 0), max(after, 0)
        kept[axis] = slice(max(-before, 0), x.shape[axis] - max(-after, 0))
    fill = value if constant_value is None else constant_value.item()
    options = {"constant_values": fill} if mode == "constant" else {}
    return np.pad(x[tuple(kept)], widths, mode, **options)  # type: ignore[call-overload]


@operator("Trilu")
def trilu(x: Array, k: Any = 0, upper: int = 1) -> Array:
    """Return the upper or lower triangle of matrices, zeros in the other."""
    return (np.triu if upper else np.tril)(x, int(k))


# ---- elements by index -------------------------------------------------------------------------


@operator("Slice")
def slice_(x: Array, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Array:
    """Return a range of some axes."""
    index = [slice(None)] * x.ndim
    axes = range(len(starts)) if axes is None else _ints(axes)
    steps = [1] * len(starts) if steps is None else _ints(steps)
    for start, end, axis, step in zip(_ints(starts), _ints(ends), axes, steps, strict=True):
        index[axis] = slice(start, end, step)
    return x[tuple(index)]


@operator("Gather")
def gather(x: Array, indices: Array, axis: int) -> Array:
    """Return entries of an axis; a negative index counts from the end."""
    return x.take(indices, axis)


def _element_index(indices: Array, axis: int) -> tuple[Any, ...]:
    index = list(np.ogrid[tuple(map(slice, indices.shape))])
    index[axis] = indices
    return tuple(index)


def _nd_index(indices: Array, batch_dims: int = 0) -> tuple[Any, ...]:
    batch = np.ogrid[tuple(map(slice, indices.shape[:-1]))][:batch_dims]
    return (*batch, *np.moveaxis(indices, -1, 0))


def _scatter(x: Array, index: tuple[Any, ...], updates: Array, reduction: str) -> Array:
    result = x.copy()
    if reduction == "none":
        result[index] = updates
    else:
        ufuncs = {"add": np.add, "mul": np.multiply, "min": np.minimum, "max": np.maximum}
        ufuncs[reduction].at(result, index, updates)
    return result


@operator("GatherElements")
def gather_elements(x: Array, indices: Array, axis: int) -> Array:
    """Return for each index that element along the axis."""
    return x[_element_index(indices, axis)]


@operator("GatherND")
def gather_nd(x: Array, indices: Array, batch_dims: int = 0) -> Array:
    """Return what the tuples along the last axis of `indices` point to."""
    return x[_nd_index(indices, batch_dims)]


@operator("ScatterElements")
def scatter_elements(
    x: Array, indices: Array, updates: Array, axis: int, reduction: str = "none"
) -> Array:
    """Return x with an element along the axis changed for each index."""
    return _scatter(x, _element_index(indices, axis), updates, reduction)


@operator("ScatterND")
def scatter_nd(x: Array, indices: Array, updates: Array, reduction: str = "none") -> Array:
    """Return x, changed where the tuples along the last axis of `indices` point to."""
    return _scatter(x, _nd_index(indices), updates, reduction)


@operator("OneHot")
def one_hot(indices: Array, depth: Array, values: Array, axis: int) -> Array:
    """Return a new axis with values[1] at the index and values[0] elsewhere."""
    count = int(depth.item())
    places = np.where(indices < 0, indices + count, indices)[..., None]
    hot = places == np.arange(count)
    return np.moveaxis(np.where(hot, values[1], values[0]), -1, axis)


@operator("NonZero")
def non_zero(x: Array) -> Array:
    """Return the indices of elements other than 0, an axis a row."""
    return np.array(np.nonzero(x), np.int64)


def reverse(x: Array, lengths: Array | None) -> Array:
    """Return x (T, B, ...) with the first ``lengths[b]`` steps of each sample b in reverse."""
    if lengths is None:
        return x[::-1]
    steps = np.arange(len(x))[:, None]
    index = np.where(steps < lengths, lengths - 1 - steps, steps)
    return x[index, np.arange(x.shape[1])]


@operator("ReverseSequence")
def reverse_sequence(x: Array, lengths: Array, batch_axis: int = 1, time_axis: int = 0) -> Array:
    """Return x with each sample's first steps in reverse."""
    axes = time_axis, batch_axis
    return np.moveaxis(reverse(np.moveaxis(x, axes, (0, 1)), lengths), (0, 1), axes)


# ---- along axes --------------------------------------------------------------------------------


def _limits(dtype: np.dtype[Any]) -> tuple[Any, Any]:
    # the maximum and the minimum of no numbers
    if dtype.kind == "f":
        return -np.inf, np.inf
    return (False, True) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)


def _log_sum_exp(x: Array, axis: Any, keepdims: bool) -> Array:
    largest = np.max(x, axis=axis, keepdims=True, initial=-np.inf)
    largest = np.where(np.isfinite(largest), largest, 0)
    result = np.log(np.sum(np.exp(x - largest), axis=axis, keepdims=True)) + largest
    return result if keepdims else np.squeeze(result, axis)


REDUCTIONS: dict[str, Function] = {
    "ReduceL1": lambda x, **options: np.sum(np.abs(x), **options),
    "ReduceL2": lambda x, **options: np.sqrt(np.sum(np.square(x), **options)),
    "ReduceLogSumExp": _log_sum_exp,
    "ReduceMax": lambda x, **options: np.max(x, initial=_limits(x.dtype)[0], **options),
    "ReduceMean": np.mean,
    "ReduceMin": lambda x, **options: np.min(x, initial=_limits(x.dtype)[1], **options),
    "ReduceProd": np.prod,
    "ReduceSum": np.sum,
    "ReduceSumSquare": lambda x, **options: np.sum(np.square(x), **options),
}


def _reduce(
    function: Function,
    x: Array,
    axes: Any = None,
    keepdims: int = 1,
    noop_with_empty_axes: int = 0,
) -> Any:
    axis = () if axes is None else tuple(map(int, axes))
    if not axis and not noop_with_empty_axes:
        axis = tuple(range(x.ndim))
    return function(x, axis=axis, keepdims=bool(keepdims))


for _name, _function in REDUCTIONS.items():
    operator(_name)(partial(_reduce, _function))


@operator("Softmax", since=13)
def softmax(x: Array, axis: int = -1) -> Array:
    """Return exp(x) over its sum along an axis."""
    shifted = np.exp(x - x.max(axis, keepdims=True, initial=-np.inf))
    return shifted / shifted.sum(axis, keepdims=True)


@operator("LogSoftmax", since=13)
def log_softmax(x: Array, axis: int = -1) -> Array:
    """Return the logarithm of `softmax`."""
    shifted = x - x.max(axis, keepdims=True, initial=-np.inf)
    return shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))


@operator("Softmax", since=1)
def softmax_of_rest(x: Array, axis: int) -> Array:
    """Return the softmax over all axes from `axis` on, as it was before version 13."""
    return softmax(flatten(x, axis)).reshape(x.shape)


@operator("LogSoftmax", since=1)
def log_softmax_of_rest(x: Array, axis: int) -> Array:
    """Return the logarithm of `softmax_of_rest`."""
    return log_softmax(flatten(x, axis)).reshape(x.shape)


def _arg_reduce(
    function: Function, x: Array, axis: int = 0, keepdims: int = 1, select_last_index: int = 0
) -> Array:
    if select_last_index:
        places = x.shape[axis] - 1 - function(np.flip(x, axis), axis)
    else:
        places = function(x, axis)
    return np.expand_dims(places, axis) if keepdims else places


operator("ArgMax")(partial(_arg_reduce, np.argmax))
operator("ArgMin")(partial(_arg_reduce, np.argmin))


@operator("TopK", outputs=2)
def top_k(
    x: Array, k: Any, axis: int = -1, largest: int = 1, sorted: int = 1
) -> tuple[Array, Array]:
    """Return the k largest or smallest values of an axis and their places, sorted."""
    if largest:  # of equal ones the first, so what is sorted backwards is first turned round
        order = np.flip(x.shape[axis] - 1 - np.argsort(np.flip(x, axis), axis, "stable"), axis)
    else:
        order = np.argsort(x, axis, "stable")
    places = np.take(order, np.arange(np.asarray(k).item()), axis)
    return np.take_along_axis(x, places, axis), places


@operator("CumSum")
def cumsum(x: Array, axis: Array, exclusive: int = 0, reverse: int = 0) -> Array:
    """Return running sums along an axis, with or without the element itself."""
    x = np.flip(x, int(axis.item())) if reverse else x
    sums = np.cumsum(x, int(axis.item()), x.dtype)
    sums = sums - x if exclusive else sums
    return np.flip(sums, int(axis.item())) if reverse else sums


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
    strides: Any,
    pads: Any,
    dilations: Any,
    auto_pad: str,
    ceil_mode: int = 0,
) -> list[_Window]:
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
    strides: Any = None,
    pads: Any = None,
    dilations: Any = None,
    auto_pad: str = "NOTSET",
) -> Array:
    """Return a convolution over any number of axes: windows times weights."""
    windows = _windows(x, weight.shape[2:], strides, pads, dilations, auto_pad)
    view = _view(x, windows, 0, 0)
    n, N, M = len(windows), len(x), len(weight)
    outputs = view.shape[2 : 2 + n]
    view = view.reshape(N, group, x.shape[1] // group, *view.shape[2:])
    view = np.moveaxis(view, 2, 2 + n)  # (N, group, outputs, C of the group, window)
    rows = view.reshape(N, group, math.prod(outputs), math.prod(weight.shape[1:]))
    kernels = weight.reshape(group, M // group, math.prod(weight.shape[1:]))
    y = (rows @ kernels.swapaxes(1, 2)).swapaxes(2, 3).reshape(N, M, *outputs)
    return y if bias is None else y + bias.reshape(M, *[1] * n)


@operator("MaxPool", only={"storage_order": 0})
def max_pool(
    x: Array,
    kernel_shape: Any,
    strides: Any = None,
    pads: Any = None,
    dilations: Any = None,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    storage_order: int = 0,
) -> Array:
    """Return the maximum of each window."""
    windows = _windows(x, kernel_shape, strides, pads, dilations, auto_pad, ceil_mode)
    lowest, _ = _limits(x.dtype)
    return _view(x, windows, lowest, lowest).max(tuple(range(-len(windows), 0)))


@operator("AveragePool")
def average_pool(
    x: Array,
    kernel_shape: Any,
    strides: Any = None,
    pads: Any = None,
    dilations: Any = None,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
) -> Array:
    """Return the mean of each window."""
    windows = _windows(x, kernel_shape, strides, pads, dilations, auto_pad, ceil_mode)
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
    along = (-1, *[1] * (x.ndim - 2))
    factor = scale / np.sqrt(variance + epsilon)
    return x * factor.reshape(along) + (bias - mean * factor).reshape(along)


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
    axes = tuple(range(axis % x.ndim, x.ndim))
    mean = x.mean(axes, keepdims=True)
    centred = x - mean
    inverse = 1 / np.sqrt(np.square(centred).mean(axes, keepdims=True) + epsilon)
    y = centred * inverse * scale
    return y if bias is None else y + bias, mean, inverse
