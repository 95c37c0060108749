"""Write models as ONNX graphs.

`LAYERS` lists the functions of all layers that are read one behind the other, `WHOLE` those of
models with several inputs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from ..checks import check_flag
from ..io import replace_file
from ..layers import (
    Add,
    BahdanauAttention,
    Embedding,
    EncoderDecoder,
    JoinedEmbedding,
    LuongAttention,
    Sequential,
)
from ..layers.base import Layer
from ..layers.graph import Graph as NetworkGraph
from ..layers.sequential import keeps_size, leaves, takes_time
from .graph import LARGEST, Graph, axes_of, swapped
from .layers import (
    LEAVES,
    attention,
    embedding,
    lengths_behind,
    linear,
    named,
    recurrence,
    recurrent_call,
)


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
    attention "query" and "memory" and a second output "weights"; those of a `Graph` of several
    inputs or outputs have the names that they have in it, an output that is there already "_2"
    behind it. A fitted estimator's network is
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
    MemoryError
        Where there is not enough for the onnx library, which copies the parameters some times.
    """
    if not isinstance(model, Layer):
        raise TypeError(f"save expected model as a layer, got {type(model).__name__}")
    if os.path.splitext(os.fspath(path))[1].lower() != ".onnx":
        raise ValueError(f"path expected to end in .onnx, got {os.fspath(path)!r}")
    lengths = check_flag("save", "lengths", lengths)
    states = check_flag("save", "states", states)
    time = check_flag("save", "time", time)
    names = (*model.inputs, *model.outputs) if isinstance(model, NetworkGraph) else ()
    _ask_for_memory(sum(array.nbytes for array in model.params.values()))
    graph = Graph(model.dtype or np.dtype(np.float32), states, names)
    if type(model) in WHOLE:
        WHOLE[type(model)](graph, model, lengths)
    elif isinstance(model, NetworkGraph) and model._arity != (1, 1):
        _whole_graph(graph, model, lengths, time)
    else:
        _chain(graph, model, lengths, time)
    used = {name for node in graph.nodes for name in node.input}
    if lengths and not any(name.endswith("lengths") for name in used):
        raise ValueError(f"{type(model).__name__} has no layer that takes lengths")
    if states and not graph.final:
        raise ValueError(f"{type(model).__name__} has no layer whose state can be exported")
    for name, value, axes in graph.final:
        graph.output(name, value, axes)
    content = graph.finish()
    replace_file(path, lambda file: file.write(content))


def _ask_for_memory(size: int) -> None:
    # The library ends the process where it gets none. It takes 7 times the parameters, and some MB.
    # More than a file holds are refused by the graph.
    if size <= LARGEST:
        np.empty(8 * size + (16 << 20), np.uint8)


# ---- whole models ------------------------------------------------------------------------------


def _chain(g: Graph, model: Any, lengths: bool, time: bool) -> None:
    first = next(leaves(model))
    if isinstance(first, NetworkGraph):
        first = first._reader(first.inputs[0])
    if model.batch_first is not None:  # some layer knows about time
        time = takes_time(model)
    size = "features" if model.in_size is None else model.in_size
    axes = axes_of(model.batch_first, "time") if time else ["batch"]
    x = _input(g, "input", first, axes, size)
    given = g.input("lengths", ["batch"], np.int32) if lengths else ""
    if time:
        g.origin = x, int(bool(model.batch_first)), given
    y = _layer(g, model, "", x, given)
    taken = "time" if time else ""
    steps: Any = model.out_steps(taken, taken)
    axes = ["batch"]
    if steps:
        axes = axes_of(model.batch_first, int(steps) if steps.isdigit() else steps)
    if not keeps_size(model):
        size = "output_features"
    g.output("output", y, [*axes, model.out_size or size])


def _input(g: Graph, name: str, first: Layer, axes: list[Any], size: Any) -> str:
    # first: the layer that reads it
    if isinstance(first, JoinedEmbedding):
        axes = [*axes, first.symbols]
    elif not isinstance(first, Embedding):
        axes = [*axes, size]
    return g.input(name, axes, np.int64 if isinstance(first, Embedding) else None)


def _whole_graph(g: Graph, model: Any, lengths: bool, time: bool) -> None:
    timed = [name for name in model.inputs if name in model._timed or (time and not model._timed)]
    given: dict[str, str] = {}
    ends: dict[str, str] = {}
    steps = {name: f"{name}_time" for name in timed}
    for name in model.inputs:
        axes = axes_of(model.batch_first, steps[name]) if name in timed else ["batch"]
        size = model._sizes[name] or f"{name}_features"
        given[name] = _input(g, name, model._reader(name), axes, size)
        if lengths and name in model._timed:
            ends[name] = g.input(f"{name}_lengths", ["batch"], np.int32)
        if g.origin is None and name in timed:
            g.origin = given[name], int(bool(model.batch_first)), ends.get(name, "")
    values = _graph_values(g, model, "", given, ends)
    behind = model.all_steps(steps, next(iter(steps.values()), ""))
    for name in model.outputs:
        made = behind.get(name, "")
        axes = axes_of(model.batch_first, int(made) if made.isdigit() else made)
        size = model._sizes[name] or f"{name}_features"
        g.output(name, values[name], [*(axes if made else ["batch"]), size])


def _whole_attention(g: Graph, layer: Any, lengths: bool) -> None:
    query = g.input("query", axes_of(layer.batch_first, "query_time", layer.query_size))
    memory = g.input("memory", axes_of(layer.batch_first, "memory_time", layer.memory_size))
    given = g.input("lengths", ["batch"], np.int32) if lengths else ""
    context, weights = attention(g, layer, "", query, memory, given)
    g.output("output", context, axes_of(layer.batch_first, "query_time", layer.memory_size))
    g.output("weights", weights, axes_of(layer.batch_first, "query_time", "memory_time"))


def _whole_encoder_decoder(g: Graph, model: Any, lengths: bool) -> None:
    parts, swap = model.parts, model.batch_first
    L, H = model.num_layers, model.hidden_size
    vector = model.source == "vector"
    if vector:
        source = g.input("source", ["batch", model.source_size])
    else:
        source = g.input("source", axes_of(swap, "source_time"), np.int64)
    target = g.input("target", axes_of(swap, "target_time"), np.int64)
    source_lengths = ""
    if lengths and not vector:
        source_lengths = g.input("source_lengths", ["batch"], np.int32)
    target_lengths = g.input("lengths", ["batch"], np.int32) if lengths else ""
    memory = ""
    if vector:
        flat = linear(g, parts["encoder"], "encoder.", source, "")
        n = 1 + parts["decoder"].network.cell.has_cell_state
        shaped = g.add("Reshape", flat, g.shape(-1, n, L, H))
        shaped = g.add("Transpose", shaped, perm=[1, 2, 0, 3])
        each = [g.add("Gather", shaped, g.constant(i, np.int64), axis=0) for i in range(n)]
    else:
        x = embedding(g, parts["source"], "source.", swapped(g, source, swap), "")
        memory, final = recurrence(g, parts["encoder"], "encoder.", x, [], source_lengths)
        each = [g.add("Concat", *layers, axis=0) for layers in final]
        if model.bidirectional:
            each = [_directions_joined(g, part, L, H) for part in each]
    x = embedding(g, parts["target"], "target.", swapped(g, target, swap), "")
    h, _ = recurrence(g, parts["decoder"], "decoder.", x, each, target_lengths)
    if memory and model.attention:
        context, _ = attention(g, parts["attention"], "attention.", h, memory, source_lengths)
        both = g.add("Concat", context, h, axis=-1)
        h = g.add("Tanh", linear(g, parts["combine"], "combine.", both, ""))
    scores = linear(g, parts["output"], "output.", h, "")
    axes = axes_of(swap, "target_time", model.target_size)
    g.output("output", swapped(g, scores, swap, 3), axes)


def _directions_joined(g: Graph, part: str, L: int, H: int) -> str:
    # (L*2, B, H) -> (L, B, 2*H)
    part = g.add("Reshape", part, g.shape(L, 2, -1, H))
    part = g.add("Transpose", part, perm=[0, 2, 1, 3])
    return g.add("Reshape", part, g.shape(L, -1, 2 * H))


# ---- layers made of layers ---------------------------------------------------------------------


def _layer(g: Graph, layer: Any, at: str, x: str, lengths: str) -> str:
    # `at` comes before the names of parameters and states, as in `state_dict`
    if type(layer) in LAYERS:
        return LAYERS[type(layer)](g, layer, at, x, lengths)
    why = f"only {', '.join(sorted(kind.__name__ for kind in LAYERS))} can"
    if type(layer) in WHOLE:
        why = "it takes several inputs, so it can only be exported by itself"
    raise ValueError(f"{named(layer, at)} cannot be exported to ONNX: {why}")


def _sequential(g: Graph, model: Any, at: str, x: str, lengths: str) -> str:
    for i, layer in enumerate(model.layers):
        x = _layer(g, layer, f"{at}{i}.", x, lengths)
        lengths = lengths_behind(g, layer, lengths)
    return x


def _graph(g: Graph, model: Any, at: str, x: Any, lengths: Any) -> str:
    if model._arity != (1, 1):
        raise ValueError(
            f"{named(model, at)} cannot be exported to ONNX: it has several inputs or outputs, so "
            "it can only be exported by itself"
        )
    ends = {model.inputs[0]: lengths} if model._timed else {}
    return _graph_values(g, model, at, {model.inputs[0]: x}, ends)[model.outputs[0]]


def _graph_values(
    g: Graph, model: Any, at: str, values: dict[str, str], ends: dict[str, str]
) -> dict[str, str]:
    # adds what the calls give to `values`
    parts = {id(layer): name for name, layer in model.parts.items()}
    read_by_others = {*model.outputs, *(n for x in model.nodes for n in (*x.reads, *x.states))}
    for node in model.nodes:
        layer, place = node.layer, f"{at}{parts[id(node.layer)]}."
        given = next(filter(None, (ends.get(name, "") for name in node.reads)), "")
        read: Any = tuple(values[name] for name in node.reads)
        read = read if layer.joins else read[0]
        own = {n: f"{node.name}.{n}" for n in layer.state_sizes}
        wanted = {n for n, value in own.items() if value in read_by_others}
        if wanted or node.states:
            initial = [values[name] for name in node.states]
            y, arrays = recurrent_call(g, layer, place, read, given, initial, wanted)
            values |= {own[n]: value for n, value in arrays.items()}
        else:
            y = _layer(g, layer, place, read, given)
        values[node.name] = y
        ends[node.name] = lengths_behind(g, layer, given)
    return values


def _add(g: Graph, model: Any, at: str, x: str, lengths: str) -> str:
    y = ""
    for (name, layer), weight in zip(model.parts.items(), model.weights, strict=True):
        if weight:
            part = _layer(g, layer, f"{at}{name}.", x, lengths)
            part = g.add("Mul", part, g.constant(weight))
            y = g.add("Add", y, part) if y else part
    return y


WHOLE: dict[type, Callable[[Graph, Any, bool], None]] = {
    LuongAttention: _whole_attention,
    BahdanauAttention: _whole_attention,
    EncoderDecoder: _whole_encoder_decoder,
}
LAYERS: dict[type, Callable[[Graph, Any, str, str, str], str]] = {
    Sequential: _sequential,
    Add: _add,
    NetworkGraph: _graph,
    **LEAVES,
}
