"""Write models as ONNX graphs.

Each type of layer has one function that adds its nodes to a graph: `LAYERS` lists them, and `WHOLE`
those of models with several inputs. Values are known by their names. Opset 17 is the first with
LayerNormalization; ONNX Runtime reads it from 1.12 (2022) on.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import check_flag
from ..io import replace_file
from ..layers import (
    GRU,
    LSTM,
    RNN,
    Add,
    BahdanauAttention,
    BatchNorm1d,
    Conv1d,
    Dropout,
    Embedding,
    EncoderDecoder,
    GatedConv1d,
    JoinedEmbedding,
    Last,
    LayerNorm,
    Linear,
    LuongAttention,
    MiniRocket,
    Pool,
    ReLU,
    RepeatVector,
    Sequential,
    Sigmoid,
    Softmax,
    Tanh,
    WaveNet,
)
from ..layers.base import Layer
from ..layers.rocket import KERNELS, TAPS
from ..version import __version__

if TYPE_CHECKING:
    from ..arrays import Array
    from ..weights import Weights

OPSET = 17
IR_VERSION = 8  # of the releases that brought the opset
LARGEST = 2**31 - 2**20  # bytes of parameters: a protobuf message ends at 2 GiB
GATES = {"RNN": [0], "LSTM": [0, 3, 1, 2], "GRU": [1, 0, 2]}  # i o f c, z r h: of our gates


def save(
    model: Layer,
    path: str | os.PathLike[str],
    *,
    lengths: bool = False,
    states: bool = False,
    time: bool = False,
) -> None:
    """Write a model as an ONNX graph for inference; an older file is replaced only once it is done.

    The graph has opset 17 and recurrent nodes of layout 0. Its input is "input", its output
    "output", both in the model's own layout, with as many samples ("batch") and steps ("time") as a
    call brings, at least one of each. An `EncoderDecoder` has the inputs "source" and "target", an
    attention "query" and "memory" and a second output "weights". A fitted estimator's network is
    its ``model_``; its scaling of X and y is not part of that.

    ONNX Runtime has RNN, LSTM, GRU and Conv for float32 only: graphs of float64 models that hold
    these are for other runtimes.

    Parameters
    ----------
    model : Layer
        A layer of this package, or a `Sequential` of them. What acts in training only, dropout
        say, is left out. A projection becomes part of the matrices around it.
    path : path
        Ends in ".onnx".
    lengths : bool, default False
        Whether the graph has an input "lengths", (batch,) int32: the steps of each sample. An
        `EncoderDecoder` that reads symbols has "source_lengths" too.
    states : bool, default False
        Whether the recurrent layers' initial states are inputs, "h_0" and "c_0", and their final
        ones outputs, "h_n" and "c_n", with a number in front in a `Sequential`: "1.h_0".
    time : bool, default False
        Whether the input has a time axis where no layer tells: with `Linear` layers alone, say.

    Raises
    ------
    ValueError
        For another ending; for a layer, or an option of one, that ONNX does not have; for `lengths`
        or `states` where no layer takes them; for parameters of 2 GiB and more.
    TypeError
        For a model that is not a layer.
    ImportError
        Where the onnx library is missing.
    """
    if not isinstance(model, Layer):
        raise TypeError(f"save expected model as a layer, got {type(model).__name__}")
    if os.path.splitext(os.fspath(path))[1].lower() != ".onnx":
        raise ValueError(f"path expected to end in .onnx, got {os.fspath(path)!r}")
    lengths = check_flag("save", "lengths", lengths)
    states = check_flag("save", "states", states)
    time = check_flag("save", "time", time)
    graph = Graph(model.dtype or np.dtype(np.float32), states)
    if type(model) in WHOLE:
        WHOLE[type(model)](graph, model, lengths)
    else:
        _chain(graph, model, lengths, time)
    used = {name for node in graph.nodes for name in node.input}
    if lengths and not used & {"lengths", "source_lengths"}:
        raise ValueError(f"{type(model).__name__} has no layer that takes lengths")
    if states and not graph.final:
        raise ValueError(f"{type(model).__name__} has no layer whose state can be exported")
    for name, value, axes in graph.final:
        graph.output(name, value, axes)
    content = graph.finish()
    replace_file(path, lambda file: file.write(content))


class Graph:
    """The nodes, constants, inputs and outputs of a graph so far.

    Parameters
    ----------
    dtype : numpy.dtype
        Of all numbers that are no integers.
    states : bool
        Whether recurrent layers take their initial states from inputs, and add to `final` the
        name, value and axes of what they give for them.
    """

    def __init__(self, dtype: np.dtype[Any], states: bool) -> None:
        self.onnx = _onnx()
        self.dtype, self.states = dtype, states
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.final: list[tuple[str, str, list[Any]]] = []
        self.origin: tuple[str, int, str] | None = None  # input, its axis of time, lengths
        self._bytes = 0

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node of one output and return the output's name; "" for an input left out."""
        return self.add_many(kind, inputs, 1, **attributes)[0]

    def add_many(
        self, kind: str, inputs: tuple[str, ...], outputs: int, **attributes: Any
    ) -> list[str]:
        """Add a node and return the names of its outputs."""
        name = f"{kind}_{len(self.nodes)}"
        names = [name] if outputs == 1 else [f"{name}.{i}" for i in range(outputs)]
        node = self.onnx.helper.make_node(kind, inputs, names, name, **attributes)
        self.nodes.append(node)
        return names

    def cast(self, value: str, dtype: Any) -> str:
        """Add a conversion to `dtype`."""
        return self.add("Cast", value, to=self._kind(dtype))

    def constant(self, value: Any, dtype: Any = None, name: str = "") -> str:
        """Add a constant, of the graph's dtype if not of another, and return its name."""
        array = np.asarray(value, dtype or self.dtype)
        self._bytes += array.nbytes
        if self._bytes > LARGEST:
            raise ValueError("an ONNX file holds less than 2 GiB of parameters")
        name = name or f"constant_{len(self.constants)}"
        array = np.ascontiguousarray(array).reshape(array.shape)
        self.constants.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def shape(self, *sizes: int) -> str:
        """Add a constant of int64, for shapes and axes."""
        return self.constant(sizes, np.int64)

    def input(self, name: str, axes: list[Any], dtype: Any = None) -> str:
        """Add an input with sizes, or names, of its axes."""
        self.inputs.append(self._value(name, axes, dtype))
        return name

    def output(self, name: str, value: str, axes: list[Any]) -> None:
        """Make `value` an output."""
        self.nodes.append(self.onnx.helper.make_node("Identity", [value], [name], name))
        self.outputs.append(self._value(name, axes, None))

    def _value(self, name: str, axes: list[Any], dtype: Any) -> Any:
        kind = self._kind(dtype or self.dtype)
        return self.onnx.helper.make_tensor_value_info(name, kind, axes)

    def _kind(self, dtype: Any) -> int:
        return int(self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def finish(self) -> bytes:
        """Return the content of a file, once ONNX's own checker has passed it."""
        helper = self.onnx.helper
        graph = helper.make_graph(self.nodes, "rnnfast", self.inputs, self.outputs, self.constants)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="rnnfast",
            producer_version=__version__,
        )
        self.onnx.checker.check_model(model, full_check=True)
        content: bytes = model.SerializeToString()
        return content


def _onnx() -> Any:
    try:
        import onnx
    except ImportError as error:
        raise ImportError(
            "rnnfast.onnx needs the onnx library: pip install rnnfast[onnx]"
        ) from error
    return onnx


# ---- whole models ------------------------------------------------------------------------------


def _axes(batch_first: bool | None, steps: Any, *rest: Any) -> list[Any]:
    return ["batch", steps, *rest] if batch_first else [steps, "batch", *rest]


def _chain(g: Graph, model: Any, lengths: bool, time: bool) -> None:
    leaves = _leaves(model)
    first = leaves[0]
    integers = isinstance(first, Embedding)
    # the first layer that knows about time takes it or, a RepeatVector, makes it
    knowing = next((layer for layer in leaves if layer.batch_first is not None), None)
    if knowing is not None:
        time = not isinstance(knowing, RepeatVector)
    size = "features" if model.in_size is None else model.in_size
    axes = _axes(model.batch_first, "time") if time else ["batch"]
    if isinstance(first, JoinedEmbedding):
        axes.append(first.symbols)
    elif not integers:
        axes.append(size)
    x = g.input("input", axes, np.int64 if integers else None)
    given = g.input("lengths", ["batch"], np.int32) if lengths else ""
    if time:
        g.origin = x, int(bool(model.batch_first)), given
    y = _layer(g, model, "", x, given)
    steps: Any = model._out_steps("time" if time else "")
    axes = ["batch"]
    if steps:
        axes = _axes(model.batch_first, int(steps) if steps.isdigit() else steps)
    g.output("output", y, [*axes, model.out_size or size])


def _leaves(layer: Any) -> list[Any]:
    # the layers of a chain, whatever the Sequentials that hold them
    if type(layer) is Sequential:
        return [leaf for part in layer.layers for leaf in _leaves(part)]
    return [layer]


def _whole_attention(g: Graph, layer: Any, lengths: bool) -> None:
    query = g.input("query", _axes(layer.batch_first, "query_time", layer.query_size))
    memory = g.input("memory", _axes(layer.batch_first, "memory_time", layer.memory_size))
    given = g.input("lengths", ["batch"], np.int32) if lengths else ""
    context, weights = _attention(g, layer, "", query, memory, given)
    g.output("output", context, _axes(layer.batch_first, "query_time", layer.memory_size))
    g.output("weights", weights, _axes(layer.batch_first, "query_time", "memory_time"))


def _whole_encoder_decoder(g: Graph, model: Any, lengths: bool) -> None:
    parts, swap = model.parts, model.batch_first
    L, H = model.num_layers, model.hidden_size
    vector = model.source == "vector"
    if vector:
        source = g.input("source", ["batch", model.source_size])
    else:
        source = g.input("source", _axes(swap, "source_time"), np.int64)
    target = g.input("target", _axes(swap, "target_time"), np.int64)
    source_lengths = ""
    if lengths and not vector:
        source_lengths = g.input("source_lengths", ["batch"], np.int32)
    target_lengths = g.input("lengths", ["batch"], np.int32) if lengths else ""
    memory = ""
    if vector:
        flat = _linear(g, parts["encoder"], "encoder.", source, "")
        n = model._state_parts
        shaped = g.add("Reshape", flat, g.shape(-1, n, L, H))
        shaped = g.add("Transpose", shaped, perm=[1, 2, 0, 3])
        each = [g.add("Gather", shaped, g.constant(i, np.int64), axis=0) for i in range(n)]
    else:
        x = _embedding(g, parts["source"], "source.", _swapped(g, source, swap), "")
        memory, final = _recurrence(g, parts["encoder"], "encoder.", x, [], source_lengths)
        each = [g.add("Concat", *layers, axis=0) for layers in final]
        if model.bidirectional:
            each = [_directions_joined(g, part, L, H) for part in each]
    x = _embedding(g, parts["target"], "target.", _swapped(g, target, swap), "")
    h, _ = _recurrence(g, parts["decoder"], "decoder.", x, each, target_lengths)
    if memory and model.attention:
        context, _ = _attention(g, parts["attention"], "attention.", h, memory, source_lengths)
        both = g.add("Concat", context, h, axis=-1)
        h = g.add("Tanh", _linear(g, parts["combine"], "combine.", both, ""))
    scores = _linear(g, parts["output"], "output.", h, "")
    axes = _axes(swap, "target_time", model.target_size)
    g.output("output", _swapped(g, scores, swap, 3), axes)


def _directions_joined(g: Graph, part: str, L: int, H: int) -> str:
    # (L*2, B, H) -> (L, B, 2*H)
    part = g.add("Reshape", part, g.shape(L, 2, -1, H))
    part = g.add("Transpose", part, perm=[0, 2, 1, 3])
    return g.add("Reshape", part, g.shape(L, -1, 2 * H))


# ---- shapes and lengths ------------------------------------------------------------------------


def _swapped(g: Graph, x: str, swap: bool | None, axes: int = 2) -> str:
    # time first from batch first, or back
    return g.add("Transpose", x, perm=[1, 0, 2][:axes]) if swap else x


def _real(g: Graph, x: str, batch_first: bool | None, lengths: str) -> str:
    # which of the steps of x are a sample's own: (T, B, 1), or (B, T, 1)
    axis = int(bool(batch_first))
    steps = g.add("Squeeze", g.add("Shape", x, start=axis, end=axis + 1))
    steps = g.cast(steps, np.int32)
    zero, one = (g.constant(i, np.int32) for i in (0, 1))
    times = g.add("Unsqueeze", g.add("Range", zero, steps, one), g.shape(1 - axis))
    real = g.add("Less", times, g.add("Unsqueeze", lengths, g.shape(axis)))
    return g.add("Unsqueeze", real, g.shape(2))


def _cleared(g: Graph, x: str, batch_first: bool | None, lengths: str, value: float = 0.0) -> str:
    # `value` past the samples' ends
    if not lengths:
        return x
    return g.add("Where", _real(g, x, batch_first, lengths), x, g.constant(value))


def _not_empty(g: Graph, y: str, lengths: str, otherwise: str = "") -> str:
    # y (..., B, F), with zeros, or what is given, where a sample has no steps
    some = g.add("Less", g.constant(0, np.int32), lengths)
    some = g.add("Unsqueeze", some, g.shape(1))
    return g.add("Where", some, y, otherwise or g.constant(0.0))


def _lengths_behind(g: Graph, layer: Any, lengths: str) -> str:
    # as `sequential.follow`
    if isinstance(layer, Sequential):
        for part in layer.layers:
            lengths = _lengths_behind(g, part, lengths)
        return lengths
    if isinstance(layer, RepeatVector):
        return _lengths_again(g, layer)
    if not lengths or not layer.keeps_time:
        return ""
    if isinstance(layer, Conv1d):
        more = int(layer._left + layer._right - layer._reach + layer.stride - 1)
        if more or layer.stride > 1:
            zero = g.constant(0, np.int32)
            steps = g.add("Max", g.add("Add", lengths, g.constant(more, np.int32)), zero)
            steps = g.add("Div", steps, g.constant(layer.stride, np.int32))
            lengths = g.add("Where", g.add("Less", zero, lengths), steps, zero)
    return lengths


def _lengths_again(g: Graph, layer: Any) -> str:
    # those of the input where it has as many steps as are made anew, else all steps
    if g.origin is None or not g.origin[2]:
        return ""
    lengths = g.origin[2]
    if layer.n is None:
        return lengths
    same = g.add("Equal", _input_steps(g), g.shape(layer.n))
    return g.add("Where", same, lengths, g.constant(layer.n, np.int32))


def _input_steps(g: Graph) -> str:
    assert g.origin is not None
    x, axis, _ = g.origin
    return g.add("Gather", g.add("Shape", x), g.shape(axis))


# ---- layers: each takes x and lengths ("" for none), and returns y ------------------------------


def _layer(g: Graph, layer: Any, at: str, x: str, lengths: str) -> str:
    # `at` comes before the names of parameters and states, as in `state_dict`
    function = LAYERS.get(type(layer))
    if function is None:
        raise ValueError(f"{_named(layer, at)} cannot be exported to ONNX: {_why_not(layer)}")
    return function(g, layer, at, x, lengths)


def _named(layer: Any, at: str) -> str:
    return type(layer).__name__ + (f" (layer {at[:-1]})" if at else "")


def _why_not(layer: Any) -> str:
    if type(layer) in WHOLE:
        return "it takes several inputs, so it can only be exported by itself"
    return f"only {', '.join(sorted(kind.__name__ for kind in LAYERS))} can"


def _sequential(g: Graph, model: Any, at: str, x: str, lengths: str) -> str:
    for i, layer in enumerate(model.layers):
        x = _layer(g, layer, f"{at}{i}.", x, lengths)
        lengths = _lengths_behind(g, layer, lengths)
    return x


def _recurrent(g: Graph, layer: Any, at: str, x: str, lengths: str) -> str:
    sizes = {"h": layer._step_size, "c": layer.hidden_size}
    letters = ("h", "c") if layer._has_c else ("h",)
    axes = {s: [layer._stack, "batch", sizes[s]] for s in letters}
    initial = [g.input(f"{at}{s}_0", axes[s]) for s in letters] if g.states else []
    x = _swapped(g, x, layer.batch_first, 3)
    y, final = _recurrence(g, layer, at, x, initial, lengths)
    if g.states:
        for s, parts in zip(letters, final, strict=True):
            g.final.append((f"{at}{s}_n", g.add("Concat", *parts, axis=0), axes[s]))
    return _swapped(g, y, layer.batch_first, 3)


def _recurrence(
    g: Graph, layer: Any, at: str, x: str, initial: list[str], lengths: str
) -> tuple[str, list[tuple[str, ...]]]:
    # x (T, B, I) -> y (T, B, D*Ho), and for the final h, and c, each layer's (D, B, H)
    for option, used, why in (
        ("input_size", not layer.input_size, "ONNX Runtime aborts without features"),
        ("layer_norm", layer.layer_norm, "its operators have no normalisation within a step"),
        ("zoneout", any(layer._zones), "its operators do not mix a state with the one before"),
        ("proj_size", layer.proj_size and initial, "its LSTM has none, so h_0 cannot be an input"),
    ):
        if used:
            raise ValueError(
                f"{_named(layer, at)} cannot be exported to ONNX with {option}="
                f"{getattr(layer, option)!r}: {why}"
            )
    kind = type(layer).__name__
    D, H, L = layer._directions, layer.hidden_size, layer.num_layers
    attributes: dict[str, Any] = {
        "hidden_size": H,
        "direction": "bidirectional" if D == 2 else "forward",
    }
    if isinstance(layer, GRU):
        attributes["linear_before_reset"] = int(layer.reset_after)
    elif isinstance(layer, RNN):
        attributes["activations"] = [layer.nonlinearity.capitalize()] * D
    each_initial = [_per_layer(g, part, L, D) for part in initial]
    each_final: list[list[str]] = []
    weights = layer._weights(layer.params)
    for k in range(L):
        here = weights[k * D : k * D + D]
        W, R, B = zip(*(_matrices(kind, H, w) for w in here), strict=True)
        end = f"{at}%s_l{k}"
        start = [parts[k] for parts in each_initial]
        inputs = (
            x,
            g.constant(W, name=end % "W"),
            g.constant(R, name=end % "R"),
            g.constant(B, name=end % "B") if layer.bias else "",
            lengths,
            *start,
        )
        y, *final = g.add_many(kind, inputs, 3 if layer._has_c else 2, **attributes)
        if lengths and start:
            final = [
                _not_empty(g, after, lengths, before)
                for after, before in zip(final, start, strict=True)
            ]
        if layer.proj_size:  # the states stay as they are: nobody reads them
            y = g.add("MatMul", y, g.constant(np.stack([w[4].T for w in here]), name=end % "P"))
        each_final.append(final)
        x = g.add("Transpose", y, perm=[0, 2, 1, 3])  # (T, D, B, Ho) -> (T, B, D, Ho)
        x = g.add("Reshape", x, g.shape(0, 0, layer.out_size))
    return x, list(zip(*each_final, strict=True))


def _per_layer(g: Graph, state: str, L: int, D: int) -> list[str]:
    # (L*D, B, H) -> L of (D, B, H)
    if L == 1:
        return [state]
    return g.add_many("Split", (state, g.shape(*[D] * L)), L, axis=0)


def _matrices(kind: str, H: int, weights: Weights) -> tuple[Array, Array, Array | None]:
    # W, R and B of one layer and direction; with a projection h = W_hr u, W_hh h = (W_hh W_hr) u
    def ordered(rows: Array) -> Array:
        return rows.reshape(len(rows) // H, H, *rows.shape[1:])[GATES[kind]].reshape(rows.shape)

    w_hh = weights.w_hh
    if weights.w_hr is not None:
        w_hh = w_hh.astype(np.float64) @ weights.w_hr
    bias = None
    if weights.b_ih is not None:
        bias = np.concatenate([ordered(weights.b_ih), ordered(weights.b_hh)])
    return ordered(weights.w_ih), ordered(w_hh), bias


def _linear(g: Graph, layer: Any, at: str, x: str, lengths: str) -> str:
    y = g.add("MatMul", x, g.constant(layer.params["weight"].T, name=f"{at}weight.T"))
    return g.add("Add", y, g.constant(layer.params["bias"], name=f"{at}bias")) if layer.bias else y


def _embedding(g: Graph, layer: Any, at: str, x: str, lengths: str) -> str:
    y = g.add("Gather", g.constant(layer.params["weight"], name=f"{at}weight"), x, axis=0)
    if not isinstance(layer, JoinedEmbedding):
        return y
    shape = g.add("Concat", g.add("Shape", x, end=-1), g.shape(layer.out_size), axis=0)
    return g.add("Reshape", y, shape)


def _layer_norm(g: Graph, layer: Any, at: str, x: str, lengths: str) -> str:
    weight, bias = (g.constant(layer.params[n], name=at + n) for n in ("weight", "bias"))
    return g.add("LayerNormalization", x, weight, bias, axis=-1, epsilon=layer.eps)


def _batch_norm(g: Graph, layer: Any, at: str, x: str, lengths: str) -> str:
    if lengths and layer.batch_first is None:
        raise ValueError(
            f"{_named(layer, at)} cannot be exported with lengths: it was made without batch_first"
        )
    scale = 1 / np.sqrt(layer.buffers["running_var"].astype(np.float64) + layer.eps)
    if layer.affine:
        scale = scale * layer.params["weight"]
    mean = g.constant(layer.buffers["running_mean"], name=f"{at}running_mean")
    y = g.add("Mul", g.add("Sub", x, mean), g.constant(scale, name=f"{at}scale"))
    if layer.affine:
        y = g.add("Add", y, g.constant(layer.params["bias"], name=f"{at}bias"))
    return _cleared(g, y, layer.batch_first, lengths)


def _conv1d(g: Graph, layer: Any, at: str, x: str, lengths: str) -> str:
    there, back = ([0, 2, 1], [0, 2, 1]) if layer.batch_first else ([1, 2, 0], [2, 0, 1])
    inputs = [g.add("Transpose", _cleared(g, x, layer.batch_first, lengths), perm=there)]
    inputs += [g.constant(value, name=at + name) for name, value in layer.params.items()]
    y = g.add(
        "Conv",
        *inputs,
        kernel_shape=[layer.kernel_size],
        strides=[layer.stride],
        dilations=[layer.dilation],
        pads=[layer._left, layer._right],
    )
    y = g.add("Transpose", y, perm=back)
    return _cleared(g, y, layer.batch_first, _lengths_behind(g, layer, lengths))


def _gated_conv1d(g: Graph, layer: Any, at: str, x: str, lengths: str) -> str:
    both = _conv1d(g, layer.parts["conv"], f"{at}conv.", x, lengths)
    a, b = g.add_many("Split", (both, g.shape(*[layer.channels] * 2)), 2, axis=-1)
    product = g.add("Mul", g.add("Tanh", a), g.add("Sigmoid", b))
    y = _linear(g, layer.parts["mix"], f"{at}mix.", product, "")
    return _cleared(g, y, layer.batch_first, lengths)


def _wavenet(g: Graph, layer: Any, at: str, x: str, lengths: str) -> str:
    x = _conv1d(g, layer.parts["input"], f"{at}input.", x, lengths)
    y = ""
    for block in layer._blocks:
        z = _gated_conv1d(g, layer.parts[block], f"{at}{block}.", x, lengths)
        x = g.add("Add", x, z)
        y = g.add("Add", y, z) if y else z
    return y


def _add(g: Graph, model: Any, at: str, x: str, lengths: str) -> str:
    y = ""
    for (name, layer), weight in zip(model.parts.items(), model.weights, strict=True):
        if weight:
            part = _layer(g, layer, f"{at}{name}.", x, lengths)
            part = g.add("Mul", part, g.constant(weight))
            y = g.add("Add", y, part) if y else part
    return y


def _mini_rocket(g: Graph, layer: Any, at: str, x: str, lengths: str) -> str:
    axis, there = (1, [0, 2, 1]) if layer.batch_first else (0, [1, 2, 0])
    x = _cleared(g, x, layer.batch_first, lengths, layer.fill)
    given = g.add("Shape", x, start=axis, end=axis + 1)
    more = g.add("Max", g.add("Sub", g.shape(layer.steps), given), g.shape(0))
    pads = g.add("Concat", g.shape(*[0] * (3 + axis)), more, g.shape(*[0] * (2 - axis)), axis=0)
    x = g.add("Pad", x, pads, g.constant(layer.fill))
    real = ""
    if lengths:
        lengths = g.add("Max", lengths, g.constant(layer.steps, np.int32))
        real = g.add("Transpose", _real(g, x, layer.batch_first, lengths), perm=there)  # (B, 1, T)
        x = _cleared(g, x, layer.batch_first, lengths)
    x = g.add("Transpose", x, perm=there)
    taps = np.full((len(KERNELS), TAPS), -1.0)
    np.put_along_axis(taps, KERNELS, 2.0, axis=1)
    shares = []
    for v in range(1 + layer.differences):
        if v:
            x = _differences(g, x)
            if lengths:
                x = g.add("Where", real, x, g.constant(0.0))
        for d, dilation in enumerate(layer.dilations):
            weight = layer.buffers["channels"][v, d][:, :, np.newaxis] * taps[:, np.newaxis]
            around = TAPS // 2 * dilation
            y = g.add(
                "Conv",
                x,
                g.constant(weight),
                kernel_shape=[TAPS],
                dilations=[dilation],
                pads=[around, around],
            )
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


def _differences(g: Graph, x: str) -> str:
    # x (B, F, T) from step to step, zero at the first one
    first, last, far = g.shape(0), g.shape(-1), g.shape(2**31 - 1)
    axis = g.shape(2)
    later = g.add("Slice", x, g.shape(1), far, axis)
    change = g.add("Sub", later, g.add("Slice", x, first, last, axis))
    return g.add("Pad", change, g.shape(0, 0, 1, 0, 0, 0), g.constant(0.0))


def _elementwise(g: Graph, layer: Any, at: str, x: str, lengths: str) -> str:
    return g.add(type(layer).__name__.capitalize(), x)


def _dropout(g: Graph, layer: Any, at: str, x: str, lengths: str) -> str:
    return x


def _last(g: Graph, layer: Any, at: str, x: str, lengths: str) -> str:
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
    return _not_empty(g, y, lengths) if lengths else y


def _pool(g: Graph, layer: Any, at: str, x: str, lengths: str) -> str:
    axis = int(layer.batch_first)
    if not lengths:
        kind = {"mean": "ReduceMean", "max": "ReduceMax"}[layer.kind]
        return g.add(kind, x, axes=[axis], keepdims=0)
    if layer.kind == "max":
        x = _cleared(g, x, layer.batch_first, lengths, -np.inf)
        return _not_empty(g, g.add("ReduceMax", x, axes=[axis], keepdims=0), lengths)
    x = _cleared(g, x, layer.batch_first, lengths)
    steps = g.add("Max", lengths, g.constant(1, np.int32))
    steps = g.cast(g.add("Unsqueeze", steps, g.shape(1)), g.dtype)
    return g.add("Div", g.add("ReduceSum", x, g.shape(axis), keepdims=0), steps)


def _repeat_vector(g: Graph, layer: Any, at: str, x: str, lengths: str) -> str:
    axis = int(layer.batch_first)
    if layer.n is None and g.origin is None:
        raise ValueError(
            f"{_named(layer, at)} cannot be exported to ONNX: with n=None it takes its steps from "
            "the input, which has no axis of time"
        )
    one, steps = g.shape(1), g.shape(layer.n) if layer.n else _input_steps(g)
    sizes = (one, steps, one) if layer.batch_first else (steps, one, one)
    shape = g.add("Concat", *sizes, axis=0)
    return g.add("Expand", g.add("Unsqueeze", x, g.shape(axis)), shape)


def _attention(
    g: Graph, layer: Any, at: str, query: str, memory: str, lengths: str
) -> tuple[str, str]:
    # context and weights
    q, m = (_swapped(g, x, not layer.batch_first, 3) for x in (query, memory))
    real = _real(g, m, True, lengths) if lengths else ""  # (B, Tk, 1)
    if real:
        m = g.add("Where", real, m, g.constant(0.0))
        real = g.add("Transpose", real, perm=[0, 2, 1])
    if "query" in layer.parts:
        q = _linear(g, layer.parts["query"], f"{at}query.", q, "")
    if layer.additive:
        keys = _linear(g, layer.parts["memory"], f"{at}memory.", m, "")
        pairs = g.add(
            "Add", g.add("Unsqueeze", q, g.shape(2)), g.add("Unsqueeze", keys, g.shape(1))
        )
        scores = _linear(g, layer.parts["score"], f"{at}score.", g.add("Tanh", pairs), "")
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
    return _swapped(g, context, swap, 3), _swapped(g, weights, swap, 3)


WHOLE: dict[type, Callable[[Graph, Any, bool], None]] = {
    LuongAttention: _whole_attention,
    BahdanauAttention: _whole_attention,
    EncoderDecoder: _whole_encoder_decoder,
}
LAYERS: dict[type, Callable[[Graph, Any, str, str, str], str]] = {
    Sequential: _sequential,
    RNN: _recurrent,
    LSTM: _recurrent,
    GRU: _recurrent,
    Linear: _linear,
    Embedding: _embedding,
    JoinedEmbedding: _embedding,
    LayerNorm: _layer_norm,
    BatchNorm1d: _batch_norm,
    Conv1d: _conv1d,
    GatedConv1d: _gated_conv1d,
    WaveNet: _wavenet,
    Add: _add,
    MiniRocket: _mini_rocket,
    ReLU: _elementwise,
    Tanh: _elementwise,
    Sigmoid: _elementwise,
    Softmax: _elementwise,  # on the last axis, as by default there
    Dropout: _dropout,
    Last: _last,
    Pool: _pool,
    RepeatVector: _repeat_vector,
}
