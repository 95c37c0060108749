"""Layers without weights to learn as nodes: functions of elements, other places, windows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..layers.activation import CURVES
from .graph import Graph, cleared, real_steps, swapped

__all__ = ["CURVE_NODES"]


# ---- functions of elements


def _node(kind: str, **attributes: Any) -> Callable[[Graph, str], str]:
    return lambda g, x: g.add(kind, x, **attributes)


def _gelu(g: Graph, x: str) -> str:
    inner = g.add("Erf", g.add("Mul", x, g.constant(math.sqrt(0.5))))
    return _half_of(g, x, inner)


def _gelu_tanh(g: Graph, x: str) -> str:
    cube = g.add("Mul", g.add("Mul", x, g.add("Mul", x, x)), g.constant(0.044715))
    inner = g.add("Mul", g.add("Add", x, cube), g.constant(math.sqrt(2 / math.pi)))
    return _half_of(g, x, g.add("Tanh", inner))


def _half_of(g: Graph, x: str, inner: str) -> str:
    # x (1 + inner) / 2
    both = g.add("Mul", x, g.add("Add", inner, g.constant(1.0)))
    return g.add("Mul", both, g.constant(0.5))


CURVE_NODES: dict[str, Callable[[Graph, str], str]] = {
    "exp": _node("Exp"),
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "hard_sigmoid": _node("HardSigmoid", alpha=1 / 6, beta=0.5),
    "hard_silu": _node("HardSwish"),
    "mish": lambda g, x: g.add("Mul", x, g.add("Tanh", g.add("Softplus", x))),
    "relu6": lambda g, x: g.add("Clip", x, g.constant(0.0), g.constant(6.0)),
    "selu": _node("Selu"),
    "silu": lambda g, x: g.add("Mul", x, g.add("Sigmoid", x)),
    "softplus": _node("Softplus"),
    "softsign": _node("Softsign"),
}
ALPHA_NODES = {"elu": "Elu", "leaky_relu": "LeakyRelu"}
assert CURVES.keys() == CURVE_NODES.keys() | ALPHA_NODES.keys()


def activation(g: Graph, layer: Any, at: str, x: str, lengths: str) -> str:
    if layer.kind in ALPHA_NODES:
        return g.add(ALPHA_NODES[layer.kind], x, alpha=layer.alpha)
    return CURVE_NODES[layer.kind](g, x)


def scale(g: Graph, layer: Any, at: str, x: str, lengths: str) -> str:
    mean, factor = (g.constant(layer.buffers[n], name=at + n) for n in ("mean", "scale"))
    return g.add("Mul", g.add("Sub", x, mean), factor)


# ---- elements in other places


def rearrange(g: Graph, layer: Any, at: str, x: str, lengths: str) -> str:
    first, sizes = layer.batch_first, layer.sizes
    if layer.kind == "fold":
        return swapped(g, g.add("Reshape", x, g.shape(0, *sizes)), not first, 3)
    axis = int(first)
    x = cleared(g, x, first, lengths)
    if layer.kind == "flatten":
        return g.add("Reshape", swapped(g, x, not first, 3), g.shape(0, -1))
    if layer.kind == "swap":
        return g.add("Transpose", x, perm=[0, 2, 1] if first else [2, 1, 0])
    if layer.kind == "part":
        i, n = sizes
        return g.add_many("Split", (x,), n, axis=-1)[i] if n > 1 else x
    if layer.kind == "reverse":
        if lengths:
            n = g.cast(lengths, np.int64)
            return g.add("ReverseSequence", x, n, batch_axis=1 - axis, time_axis=axis)
        far = g.shape(-(2**31))
        return g.add("Slice", x, g.shape(-1), far, g.shape(axis), g.shape(-1))
    if layer.kind == "repeat":
        n = g.constant(sizes[0], np.int64)
        steps = g.add("Squeeze", g.add("Shape", x, start=axis, end=axis + 1))
        zero, one = (g.constant(i, np.int64) for i in (0, 1))
        source = g.add("Range", zero, g.add("Mul", steps, n), one)
        return g.add("Gather", x, g.add("Div", source, n), axis=axis)
    pads = [0] * 6
    pads[axis], pads[3 + axis] = sizes
    y = g.add("Pad", x, g.shape(*pads))
    return cleared(g, y, first, steps_behind(g, layer, lengths))


def steps_behind(g: Graph, layer: Any, lengths: str) -> str:
    # of `Windows` and `Rearrange`
    if not lengths:
        return ""
    if getattr(layer, "kind", "") == "repeat":
        return g.add("Mul", lengths, g.constant(layer.sizes[0], np.int32))
    more, stride = layer.more_steps, getattr(layer, "stride", 1)
    if not more and stride == 1:
        return lengths
    zero = g.constant(0, np.int32)
    steps = g.add("Max", g.add("Add", lengths, g.constant(more, np.int32)), zero)
    steps = g.add("Div", steps, g.constant(stride, np.int32))
    return g.add("Where", g.add("Less", zero, lengths), steps, zero)


# ---- windows


def windowed(g: Graph, layer: Any, kind: str, x: str, *weights: str, **attributes: Any) -> str:
    # a node that reads windows of steps, which for ONNX are the last axis
    there, back = ([0, 2, 1], [0, 2, 1]) if layer.batch_first else ([1, 2, 0], [2, 0, 1])
    attributes |= {"kernel_shape": [layer.kernel_size], "strides": [layer.stride]}
    if layer.shifts:
        attributes["auto_pad"] = "SAME_UPPER"
    else:
        attributes["pads"] = [layer.left, layer.right]
    y = g.add(kind, g.add("Transpose", x, perm=there), *weights, **attributes)
    return g.add("Transpose", y, perm=back)


def pool1d(g: Graph, layer: Any, at: str, x: str, lengths: str) -> str:
    first = layer.batch_first
    if layer.kind == "max":
        y = windowed(g, layer, "MaxPool", cleared(g, x, first, lengths, -np.inf))
    else:
        y = windowed(g, layer, "AveragePool", cleared(g, x, first, lengths))
        if lengths:  # of the steps that count
            real = g.cast(real_steps(g, x, first, lengths), g.dtype)
            y = g.add("Div", y, windowed(g, layer, "AveragePool", real))
    return cleared(g, y, first, steps_behind(g, layer, lengths))


# ---- two inputs


def dot(g: Graph, layer: Any, at: str, x: Any, lengths: str) -> str:
    if not isinstance(x, tuple) or lengths:
        what = "it takes two inputs" if not lengths else "it takes no lengths"
        raise ValueError(f"Dot (layer {at[:-1]}) cannot be exported to ONNX so: {what}")
    rows, columns = x
    if layer.vectors[0]:
        rows = g.add("Unsqueeze", rows, g.shape(1))
    elif layer.axes[0] == 1:
        rows = g.add("Transpose", rows, perm=[0, 2, 1])
    if layer.vectors[1]:
        columns = g.add("Unsqueeze", columns, g.shape(2))
    elif layer.axes[1] == 2:
        columns = g.add("Transpose", columns, perm=[0, 2, 1])
    y = g.add("MatMul", rows, columns)
    if layer.vectors[1]:
        return g.add("Squeeze", y, g.shape(2))
    return g.add("Squeeze", y, g.shape(1)) if layer.vectors[0] else y
