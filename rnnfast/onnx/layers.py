"""Layers as nodes: a function for each type adds its own to a graph, and `LEAVES` lists these.

Each takes the graph, the layer, what comes before the names of its parameters and states, as in
`state_dict`, x and lengths ("" for none), and returns y. Values are known by their names.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import TYPE_CHECKING, Any

import numpy as np

from ..layers import (
    Activation,
    BatchNorm1d,
    Conv1d,
    Dot,
    Dropout,
    Embedding,
    GatedConv1d,
    GaussianNoise,
    JoinedEmbedding,
    Last,
    LayerNorm,
    Linear,
    Merge,
    MiniRocket,
    Pool,
    Pool1d,
    Rearrange,
    ReLU,
    RepeatVector,
    Scale,
    Sequential,
    Sigmoid,
    Softmax,
    Tanh,
    WaveNet,
)
from ..layers.graph import Graph as NetworkGraph
from ..layers.recurrent import RECURRENT_LAYERS
from ..layers.rocket import KERNELS, TAPS
from ..layers.windows import Windows
from .elements import activation, dot, pool1d, rearrange, scale, steps_behind, windowed
from .graph import Graph, cleared, not_empty, real_steps, swapped

if TYPE_CHECKING:
    from ..arrays import Array
    from ..weights import Weights

__all__ = ["LEAVES"]


def named(layer: Any, at: str) -> str:
    return type(layer).__name__ + (f" (layer {at[:-1]})" if at else "")


# ---- lengths -----------------------------------------------------------------------------------


def lengths_behind(g: Graph, layer: Any, lengths: str) -> str:
    # as `sequential.follow`
    if isinstance(layer, Sequential):
        for part in layer.layers:
            lengths = lengths_behind(g, part, lengths)
        return lengths
    if isinstance(layer, NetworkGraph):
        return graph_ends(g, layer, lengths)[layer.outputs[0]]
    if isinstance(layer, RepeatVector):
        return lengths_again(g, layer)
    if not lengths or not layer.keeps_time:
        return ""
    if isinstance(layer, Windows) and layer.shifts:
        raise ValueError(f"{named(layer, '')} takes no lengths with padding 'same' and a stride")
    if isinstance(layer, (Windows, Rearrange)):
        return steps_behind(g, layer, lengths)
    return lengths


def graph_ends(g: Graph, model: Any, lengths: Any) -> dict[str, str]:
    # those of each value but states
    ends = {name: given or "" for name, given in model._ends(lengths).items()}
    for node in model.nodes:
        given = next(filter(None, (ends.get(name, "") for name in node.reads)), "")
        ends[node.name] = lengths_behind(g, node.layer, given)
    return ends


def lengths_again(g: Graph, layer: Any) -> str:
    # those of the input where it has as many steps as are made anew, else all steps
    if g.origin is None or not g.origin[2]:
        return ""
    lengths = g.origin[2]
    if layer.n is None:
        return lengths
    same = g.add("Equal", input_steps(g), g.shape(layer.n))
    return g.add("Where", same, lengths, g.constant(layer.n, np.int32))


def input_steps(g: Graph) -> str:
    assert g.origin is not None
    x, axis, _ = g.origin
    return g.add("Gather", g.add("Shape", x), g.shape(axis))


# ---- layers ------------------------------------------------------------------------------------


def recurrent(g: Graph, layer: Any, at: str, x: str, lengths: str) -> str:
    return recurrent_call(g, layer, at, x, lengths, [], ())[0]


def recurrent_call(
    g: Graph, layer: Any, at: str, x: str, lengths: str, given: list[str], wanted: Container[str]
) -> tuple[str, dict[str, str]]:
    # y, and the wanted arrays of the final state; given: those of the initial one, or none
    network = layer.network
    sizes = {"h": network.step_size, "c": network.hidden_size}
    letters = ("h", "c") if network.cell.has_cell_state else ("h",)
    axes = {s: [network.stack, "batch", sizes[s]] for s in letters}
    asked = g.states and not given
    initial = [g.input(f"{at}{s}_0", axes[s]) for s in letters] if asked else []
    n = network.stack
    for k in range(0, len(given), n):
        each = [g.add("Unsqueeze", part, g.shape(0)) for part in given[k : k + n]]
        initial.append(g.add("Concat", *each, axis=0))
    x = swapped(g, x, layer.batch_first, 3)
    y, final = recurrence(g, layer, at, x, initial, lengths)
    if asked:
        for s, parts in zip(letters, final, strict=True):
            g.final.append((f"{at}{s}_n", g.add("Concat", *parts, axis=0), axes[s]))
    arrays = {}
    for i, name in enumerate(layer.state_sizes):
        if name in wanted:
            if layer.proj_size:
                raise ValueError(
                    f"{named(layer, at)} cannot be exported to ONNX with proj_size="
                    f"{layer.proj_size}: its LSTM has none, so others cannot read its state"
                )
            part, k = divmod(i, n)
            row, d = divmod(k, network.directions)
            arrays[name] = g.add("Gather", final[part][row], g.constant(d, np.int64), axis=0)
    return swapped(g, y, layer.batch_first, 3), arrays


def recurrence(
    g: Graph, layer: Any, at: str, x: str, initial: list[str], lengths: str
) -> tuple[str, list[tuple[str, ...]]]:
    # x (T, B, I) -> y (T, B, D*K), and for the final h, and c, each layer's (D, B, H)
    network, kind = layer.network, layer.network.cell.onnx
    for option, used, why in (
        ("input_size", not layer.input_size, "ONNX Runtime aborts without features"),
        ("layer_norm", layer.layer_norm, "its operators have no normalisation within a step"),
        ("zoneout", any(network.zoneout), "its operators do not mix a state with the one before"),
        ("proj_size", layer.proj_size and initial, "its LSTM has none, so h_0 cannot be an input"),
    ):
        if used:
            raise ValueError(
                f"{named(layer, at)} cannot be exported to ONNX with {option}="
                f"{getattr(layer, option)!r}: {why}"
            )
    if kind is None:
        raise ValueError(f"{named(layer, at)} cannot be exported to ONNX: no operator computes it")
    D, H, L = network.directions, network.hidden_size, network.num_layers
    attributes: dict[str, Any] = {
        "hidden_size": H,
        "direction": "bidirectional" if D == 2 else "forward",
        **{n: v * D if isinstance(v, tuple) else v for n, v in kind.attributes.items()},
    }
    each_initial = [per_layer(g, part, L, D) for part in initial]
    each_final: list[list[str]] = []
    weights = layer.by_part(layer.params)
    for k in range(L):
        here = weights[k * D : k * D + D]
        W, R, B = zip(*(matrices(kind.order, H, w) for w in here), strict=True)
        end = f"{at}%s_l{k}"
        start = [parts[k] for parts in each_initial]
        inputs = (
            x,
            g.constant(W, name=end % "W"),
            g.constant(R, name=end % "R"),
            g.constant(B, name=end % "B") if layer.bias else "",
            lengths,
            *(start if start or not kind.peepholes else ("", "")),
        )
        if kind.peepholes:
            P = np.stack([ordered(kind.peepholes, H, w.w_own) for w in here])
            inputs = (*inputs, g.constant(P, name=end % "peepholes"))
        y, *final = g.add_many(kind.op, inputs, 2 + network.cell.has_cell_state, **attributes)
        if lengths and start:
            final = [
                not_empty(g, after, lengths, before)
                for after, before in zip(final, start, strict=True)
            ]
        if layer.proj_size:  # the states stay as they are: nobody reads them
            y = g.add("MatMul", y, g.constant(np.stack([w[4].T for w in here]), name=end % "P"))
        each_final.append(final)
        x = g.add("Transpose", y, perm=[0, 2, 1, 3])  # (T, D, B, K) -> (T, B, D, K)
        x = g.add("Reshape", x, g.shape(0, 0, layer.out_size))
    return x, list(zip(*each_final, strict=True))


def per_layer(g: Graph, state: str, L: int, D: int) -> list[str]:
    # (L*D, B, H) -> L of (D, B, H)
    if L == 1:
        return [state]
    return g.add_many("Split", (state, g.shape(*[D] * L)), L, axis=0)


def matrices(order: tuple[int, ...], H: int, weights: Weights) -> tuple[Array, Array, Array | None]:
    # W, R and B of one layer and direction; with a projection h = W_hr u, W_hh h = (W_hh W_hr) u
    w_hh = weights.w_hh
    if weights.w_hr is not None:
        w_hh = w_hh.astype(np.float64) @ weights.w_hr
    bias = None
    if weights.b_ih is not None:
        bias = np.concatenate([ordered(order, H, b) for b in (weights.b_ih, weights.b_hh)])
    return ordered(order, H, weights.w_ih), ordered(order, H, w_hh), bias


def ordered(order: tuple[int, ...], H: int, rows: Array) -> Array:
    return rows.reshape(len(order), H, *rows.shape[1:])[list(order)].reshape(rows.shape)


def linear(g: Graph, layer: Any, at: str, x: str, lengths: str) -> str:
    y = g.add("MatMul", x, g.constant(layer.params["weight"].T, name=f"{at}weight.T"))
    return g.add("Add", y, g.constant(layer.params["bias"], name=f"{at}bias")) if layer.bias else y


def embedding(g: Graph, layer: Any, at: str, x: str, lengths: str) -> str:
    y = g.add("Gather", g.constant(layer.params["weight"], name=f"{at}weight"), x, axis=0)
    if not isinstance(layer, JoinedEmbedding):
        return y
    shape = g.add("Concat", g.add("Shape", x, end=-1), g.shape(layer.out_size), axis=0)
    return g.add("Reshape", y, shape)


def layer_norm(g: Graph, layer: Any, at: str, x: str, lengths: str) -> str:
    pairs = zip(("weight", "bias"), layer._weights(), strict=True)
    weight, bias = (g.constant(array, name=at + n) for n, array in pairs)
    return g.add("LayerNormalization", x, weight, bias, axis=-1, epsilon=layer.eps)


def batch_norm(g: Graph, layer: Any, at: str, x: str, lengths: str) -> str:
    if lengths and layer.batch_first is None:
        raise ValueError(
            f"{named(layer, at)} cannot be exported with lengths: it was made without batch_first"
        )
    factor = 1 / np.sqrt(layer.buffers["running_var"].astype(np.float64) + layer.eps)
    if "weight" in layer.params:
        factor = factor * layer.params["weight"]
    mean = g.constant(layer.buffers["running_mean"], name=f"{at}running_mean")
    y = g.add("Mul", g.add("Sub", x, mean), g.constant(factor, name=f"{at}scale"))
    if "bias" in layer.params:
        y = g.add("Add", y, g.constant(layer.params["bias"], name=f"{at}bias"))
    return cleared(g, y, layer.batch_first, lengths)


def conv1d(g: Graph, layer: Any, at: str, x: str, lengths: str) -> str:
    x = cleared(g, x, layer.batch_first, lengths)
    weights = [g.constant(value, name=at + name) for name, value in layer.params.items()]
    y = windowed(g, layer, "Conv", x, *weights, dilations=[layer.dilation])
    return cleared(g, y, layer.batch_first, lengths_behind(g, layer, lengths))


def gated_conv1d(g: Graph, layer: Any, at: str, x: str, lengths: str) -> str:
    both = conv1d(g, layer.parts["conv"], f"{at}conv.", x, lengths)
    a, b = g.add_many("Split", (both, g.shape(*[layer.channels] * 2)), 2, axis=-1)
    product = g.add("Mul", g.add("Tanh", a), g.add("Sigmoid", b))
    y = linear(g, layer.parts["mix"], f"{at}mix.", product, "")
    return cleared(g, y, layer.batch_first, lengths)


def wavenet(g: Graph, layer: Any, at: str, x: str, lengths: str) -> str:
    x = conv1d(g, layer.parts["input"], f"{at}input.", x, lengths)
    y = ""
    for block in map(str, range(len(layer.dilations))):
        z = gated_conv1d(g, layer.parts[block], f"{at}{block}.", x, lengths)
        x = g.add("Add", x, z)
        y = g.add("Add", y, z) if y else z
    return y


def mini_rocket(g: Graph, layer: Any, at: str, x: str, lengths: str) -> str:
    axis, there = (1, [0, 2, 1]) if layer.batch_first else (0, [1, 2, 0])
    x = cleared(g, x, layer.batch_first, lengths, layer.fill)
    given = g.add("Shape", x, start=axis, end=axis + 1)
    more = g.add("Max", g.add("Sub", g.shape(layer.steps), given), g.shape(0))
    pads = g.add("Concat", g.shape(*[0] * (3 + axis)), more, g.shape(*[0] * (2 - axis)), axis=0)
    x = g.add("Pad", x, pads, g.constant(layer.fill))
    real = ""
    if lengths:
        lengths = g.add("Max", lengths, g.constant(layer.steps, np.int32))
        real = real_steps(g, x, layer.batch_first, lengths)
        real = g.add("Transpose", real, perm=there)  # (B, 1, T)
        x = cleared(g, x, layer.batch_first, lengths)
    x = g.add("Transpose", x, perm=there)
    taps = np.full((len(KERNELS), TAPS), -1.0)
    np.put_along_axis(taps, KERNELS, 2.0, axis=1)
    shares = []
    for v in range(1 + layer.differences):
        if v:
            x = differences(g, x)
            if lengths:
                x = g.add("Where", real, x, g.constant(0.0))
        for d, dilation in enumerate(layer.dilations):
            weight = layer.buffers["channels"][v, d][:, :, np.newaxis] * taps[:, np.newaxis]
            around = [TAPS // 2 * dilation] * 2
            taken = {"kernel_shape": [TAPS], "dilations": [dilation], "pads": around}
            y = g.add("Conv", x, g.constant(weight), **taken)
            limits = layer.buffers["thresholds"][v, d][:, :, np.newaxis]
            above = g.add("Greater", g.add("Unsqueeze", y, g.shape(2)), g.constant(limits))
            if lengths:
                above = g.add("And", above, g.add("Unsqueeze", real, g.shape(2)))
            shares.append(g.add("ReduceSum", g.cast(above, g.dtype), g.shape(3), keepdims=0))
    counts = g.add("Concat", *shares, axis=1)  # (B, views * dilations * kernels, each)
    counts = g.add("Reshape", counts, g.shape(-1, layer.out_size))
    if lengths:
        steps = g.add("Unsqueeze", lengths, g.shape(1))
    else:
        steps = g.add("Shape", x, start=2, end=3)
    share = g.add("Div", counts, g.cast(steps, g.dtype))
    mean, scale = (g.constant(layer.buffers[n], name=at + n) for n in ("mean", "scale"))
    return g.add("Div", g.add("Sub", share, mean), scale)


def differences(g: Graph, x: str) -> str:
    # x (B, F, T) from step to step, zero at the first one
    first, last, far = g.shape(0), g.shape(-1), g.shape(2**31 - 1)
    axis = g.shape(2)
    later = g.add("Slice", x, g.shape(1), far, axis)
    change = g.add("Sub", later, g.add("Slice", x, first, last, axis))
    return g.add("Pad", change, g.shape(0, 0, 1, 0, 0, 0), g.constant(0.0))


def elementwise(g: Graph, layer: Any, at: str, x: str, lengths: str) -> str:
    return g.add(type(layer).__name__.capitalize(), x)


def merge(g: Graph, layer: Any, at: str, x: Any, lengths: str) -> str:
    inputs: Any = x if isinstance(x, tuple) else (x,)  # the only one of a chain
    if layer.parts > 1 and len(inputs) == 1:
        inputs = g.add_many("Split", inputs, layer.parts, axis=-1)
    kinds = {"product": "Mul", "difference": "Sub", "max": "Max", "min": "Min"}
    if layer.kind == "concat":
        return g.add("Concat", *inputs, axis=-1)
    y, *others = inputs
    for other in others:
        y = g.add(kinds.get(layer.kind, "Add"), y, other)
    return g.add("Div", y, g.constant(len(inputs))) if layer.kind == "mean" else y


def dropout(g: Graph, layer: Any, at: str, x: str, lengths: str) -> str:
    return x


def last(g: Graph, layer: Any, at: str, x: str, lengths: str) -> str:
    axis = int(layer.batch_first)
    if not lengths:
        y = g.add("Gather", x, g.constant(-1, np.int64), axis=axis)
    else:
        last = g.add("Sub", lengths, g.constant(1, np.int32))
        last = g.add("Max", last, g.constant(0, np.int32))
        last = g.cast(g.add("Unsqueeze", last, g.shape(1)), np.int64)
        samples = x if layer.batch_first else g.add("Transpose", x, perm=[1, 0, 2])
        y = g.add("GatherND", samples, last, batch_dims=1)
    if layer.bidirectional:
        first = g.add("Gather", x, g.constant(0, np.int64), axis=axis)
        ahead, _ = g.add_many("Split", (y,), 2, axis=-1)
        _, back = g.add_many("Split", (first,), 2, axis=-1)
        y = g.add("Concat", ahead, back, axis=-1)
    return not_empty(g, y, lengths) if lengths else y


def pool(g: Graph, layer: Any, at: str, x: str, lengths: str) -> str:
    axis = int(layer.batch_first)
    if not lengths:
        kind = {"mean": "ReduceMean", "max": "ReduceMax"}[layer.kind]
        return g.add(kind, x, axes=[axis], keepdims=0)
    if layer.kind == "max":
        x = cleared(g, x, layer.batch_first, lengths, -np.inf)
        return not_empty(g, g.add("ReduceMax", x, axes=[axis], keepdims=0), lengths)
    x = cleared(g, x, layer.batch_first, lengths)
    steps = g.add("Max", lengths, g.constant(1, np.int32))
    steps = g.cast(g.add("Unsqueeze", steps, g.shape(1)), g.dtype)
    return g.add("Div", g.add("ReduceSum", x, g.shape(axis), keepdims=0), steps)


def repeat_vector(g: Graph, layer: Any, at: str, x: str, lengths: str) -> str:
    axis = int(layer.batch_first)
    if layer.n is None and g.origin is None:
        raise ValueError(
            f"{named(layer, at)} cannot be exported to ONNX: with n=None it takes its steps from "
            "the input, which has no axis of time"
        )
    one, steps = g.shape(1), g.shape(layer.n) if layer.n else input_steps(g)
    sizes = (one, steps, one) if layer.batch_first else (steps, one, one)
    shape = g.add("Concat", *sizes, axis=0)
    return g.add("Expand", g.add("Unsqueeze", x, g.shape(axis)), shape)


def attention(
    g: Graph, layer: Any, at: str, query: str, memory: str, lengths: str
) -> tuple[str, str]:
    # context and weights
    q, m = (swapped(g, x, not layer.batch_first, 3) for x in (query, memory))
    real = real_steps(g, m, True, lengths) if lengths else ""  # (B, Tk, 1)
    if real:
        m = g.add("Where", real, m, g.constant(0.0))
        real = g.add("Transpose", real, perm=[0, 2, 1])
    if "query" in layer.parts:
        q = linear(g, layer.parts["query"], f"{at}query.", q, "")
    if layer.additive:
        keys = linear(g, layer.parts["memory"], f"{at}memory.", m, "")
        pairs = g.add(
            "Add", g.add("Unsqueeze", q, g.shape(2)), g.add("Unsqueeze", keys, g.shape(1))
        )
        scores = linear(g, layer.parts["score"], f"{at}score.", g.add("Tanh", pairs), "")
        scores = g.add("Squeeze", scores, g.shape(3))
    else:
        scores = g.add("MatMul", q, g.add("Transpose", m, perm=[0, 2, 1]))
    if real:
        scores = g.add("Where", real, scores, g.constant(-np.inf))
    weights = g.add("Softmax", scores, axis=-1)
    if real:  # a sample without memory has NaN so far
        weights = g.add("Where", real, weights, g.constant(0.0))
    context = g.add("MatMul", weights, m)
    swap = not layer.batch_first
    return swapped(g, context, swap, 3), swapped(g, weights, swap, 3)


LEAVES: dict[type, Callable[[Graph, Any, str, str, str], str]] = {
    **dict.fromkeys(RECURRENT_LAYERS.values(), recurrent),
    Linear: linear,
    Embedding: embedding,
    JoinedEmbedding: embedding,
    LayerNorm: layer_norm,
    BatchNorm1d: batch_norm,
    Conv1d: conv1d,
    GatedConv1d: gated_conv1d,
    WaveNet: wavenet,
    MiniRocket: mini_rocket,
    ReLU: elementwise,
    Tanh: elementwise,
    Sigmoid: elementwise,
    Softmax: elementwise,  # on the last axis, as by default there
    Activation: activation,
    Scale: scale,
    Rearrange: rearrange,
    Merge: merge,
    Dot: dot,
    Dropout: dropout,
    GaussianNoise: dropout,
    Last: last,
    Pool: pool,
    Pool1d: pool1d,
    RepeatVector: repeat_vector,
}
