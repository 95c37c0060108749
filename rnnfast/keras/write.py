"""Keras models of networks: a function for each type of layer of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..cells import Keras
from ..checks import check_size
from ..layers import (
    Activation,
    BatchNorm1d,
    Conv1d,
    Dot,
    Dropout,
    Embedding,
    GaussianNoise,
    Graph,
    Last,
    LayerNorm,
    Linear,
    Merge,
    Pool,
    Pool1d,
    Rearrange,
    ReLU,
    RepeatVector,
    Scale,
    Sigmoid,
    Softmax,
    Tanh,
)
from ..layers.base import Layer
from ..layers.graph import Node
from ..layers.recurrent import RECURRENT_LAYERS
from ..layers.recurrent_base import Recurrent
from ..layers.sequential import leaves, takes_time, with_parts
from .layers import MERGED
from .shared import ACTIVATIONS, MERGE_MODES, RECURRENT, by_gates, by_layer, keras_library

if TYPE_CHECKING:
    from ..arrays import Array
    from .shared import KerasLayer

    Made = tuple[str, dict[str, Any], list[Array]]  # a layer of Keras: name, arguments, weights


def to_keras(model: Layer, *, steps: int | None = None) -> Any:
    """Return a Keras model with the layers, the weights and the predictions of a network.

    Parameters
    ----------
    model : Layer
        `Sequential` (nested ones too), `Graph`, or one of the layers that `from_keras` makes.
    steps : int, optional
        Of every input with an axis of time, which all are then taken to have where no layer tells;
        needed where their number shapes weights, as behind ``Rearrange("flatten")``.

    Returns
    -------
    keras.Sequential or keras.Model
        Built, not compiled; it takes (B, T, F), ids (B, T), or (B, F) where no layer needs time.
        Each layer of a recurrent network is one of Keras. A `Graph` becomes a functional model of
        the same inputs and outputs.

    Raises
    ------
    ValueError
        For a layer or an option of a layer that has no equal in Keras, named in the message, and
        for other `steps` than the weights are for.
    TypeError
        For a model that is not a layer.
    ImportError
        As for `from_keras`.

    Notes
    -----
    What acts in training alone may differ: `BatchNorm1d` and `Conv1d` next to padding, the row of
    ``padding_idx``, which learns there, and ``checkpoint``, which has no effect.
    """
    keras = keras_library()
    if not isinstance(model, Layer):
        raise TypeError(f"to_keras expected model as a layer, got {type(model).__name__}")
    if steps is not None:
        steps = check_size("to_keras", "steps", steps, 1)
    try:
        return _written(keras, model, steps)
    except ValueError as error:
        by_steps = [layer for layer in with_parts(model) if layer.needs_all_steps]
        if not by_steps or str(error).startswith("to_keras"):
            raise
        raise ValueError(
            f"to_keras expected steps as the number that the layers behind {by_steps[0]!r} are "
            f"for, got {steps}"
        ) from error


def _written(keras: Any, model: Layer, steps: int | None) -> Any:
    writer = _Writer(keras, model)
    if isinstance(model, Graph):
        result = writer.graph(model, steps)
    else:
        layers = list(leaves(model))
        timed = steps is not None if model.batch_first is None else takes_time(model)
        made = writer.chain(layers)
        start = writer.input(layers[0], timed, model.in_size, steps)
        result = keras.Sequential([start, *made])
    for layer, weights in writer.weights:
        layer.set_weights(weights)
    return result


class _Writer:
    """The layers of a Keras model so far; `weights`: what each of them is to be given."""

    def __init__(self, keras: Any, model: Layer) -> None:
        self.keras = keras
        self.floats = (model.dtype or np.dtype(np.float32)).name
        self.weights: list[tuple[KerasLayer, list[Array]]] = []
        self.made: dict[tuple[int, ...], list[KerasLayer]] = {}

    def input(
        self, reader: Layer, timed: bool, size: int | None, steps: int | None, name: str = ""
    ) -> Any:
        """Return a place for an input."""
        if isinstance(reader, Embedding):
            return self.keras.Input((steps,), dtype="int32", name=name or None)
        if size is None:
            raise ValueError(
                f"to_keras: the number of features of input {name or 'x'!r} is not known: no layer "
                f"tells it in front of {reader!r}; a Scale in front would"
            )
        shape = (steps, size) if timed else (size,)
        return self.keras.Input(shape, dtype=self.floats, name=name or None)

    def _new(self, name: str, options: dict[str, Any], weights: list[Array]) -> KerasLayer:
        made = getattr(self.keras.layers, name)(dtype=self.floats, **options)
        if weights:
            self.weights.append((made, weights))
        return made

    def chain(self, layers: list[Layer], states: bool = False) -> list[KerasLayer]:
        """Return the layers of Keras for some that follow each other.

        states: whether the recurrent ones return their final states.
        """
        made: list[KerasLayer] = []
        before: Layer | None = None
        rest: list[Any] = list(layers)
        while rest:
            layer = rest.pop(0)
            backwards = _is_reverse(layer) and bool(rest) and _is_one_way(rest[0])
            recurrent = rest.pop(0) if backwards else layer
            if type(recurrent) in RECURRENT_LAYERS.values():
                last = bool(rest) and isinstance(rest[0], Last)
                if last and (end := rest.pop(0)).bidirectional != recurrent.bidirectional:
                    raise _misplaced(end, recurrent)
                layer = recurrent
                mode = "concat"
                if rest and _merges_directions(rest[0], recurrent):
                    mode = MERGE_MODES[rest.pop(0).kind]
                options = {"go_backwards": backwards, "return_state": states}
                made += self._recurrent(recurrent, not last, mode, options)
            elif isinstance(layer, Last):
                raise _misplaced(layer, before)
            elif isinstance(layer, Graph):
                made.append(self.graph(layer, None))
            elif type(layer) in _TO:
                made.append(self._new(*_TO[type(layer)](layer)))
            else:
                raise ValueError(f"to_keras: {type(layer).__name__} has no equal in Keras")
            before = layer
        return made

    def _recurrent(
        self, layer: Any, sequences: bool, mode: str, options: dict[str, Any]
    ) -> list[KerasLayer]:
        for option in ("proj_size", "layer_norm"):
            if getattr(layer, option):
                raise _no_equal(layer, option)
        if np.any(layer.zoneout):
            raise _no_equal(layer, "zoneout")
        kind = RECURRENT.get(layer.network.cell.name)
        if kind is None:
            raise ValueError(f"to_keras: {layer!r} has no equal in Keras")
        options = {
            **options,
            **kind.options,
            "units": layer.hidden_size,
            "use_bias": layer.bias,
            "recurrent_dropout": layer.recurrent_dropout,
        }
        made: list[KerasLayer] = []
        for i in range(layer.num_layers):
            if i and layer.dropout:
                made.append(self._new("Dropout", {"rate": layer.dropout}, []))
            final = i == layer.num_layers - 1
            one = getattr(self.keras.layers, kind.layer)(
                **options, return_sequences=sequences or not final, dtype=self.floats
            )
            options["go_backwards"] = False
            weights = _recurrent_weights(kind, layer, f"_l{i}")
            if layer.bidirectional:
                one = self.keras.layers.Bidirectional(
                    one, merge_mode=mode if final else "concat", dtype=self.floats
                )
                weights += _recurrent_weights(kind, layer, f"_l{i}_reverse")
            self.weights.append((one, weights))
            made.append(one)
        return made

    def graph(self, model: Graph, steps: int | None) -> Any:
        """Return a functional model."""
        timed = model._timed or (model.inputs if steps else ())  # where no layer tells
        places = [
            self.input(model._reader(n), n in timed, model._sizes[n], steps, n)
            for n in model.inputs
        ]
        values = dict(zip(model.inputs, places, strict=True))
        read = [name for node in model.nodes for name in (*node.reads, *node.states)]
        wanted = {*read, *model.outputs}
        done: set[str] = set()
        for node in model.nodes:
            if node.name not in done:
                run = _run_from(model, node)
                done.update(one.name for one in run)
                self._call(model, run, values, wanted)
        ends = [values[name] for name in model.outputs]
        return self.keras.Model(*(some if len(some) > 1 else some[0] for some in (places, ends)))

    def _call(
        self, model: Graph, run: list[Node], values: dict[str, Any], wanted: set[str]
    ) -> None:
        # a run of calls that follow each other, all but the first of which read one value
        layers = [layer for node in run for layer in leaves(node.layer)]
        recurrent = next((node for node in run if node.layer.state_sizes), None)
        calls = [n for n in model.nodes if recurrent and n.layer is recurrent.layer]
        own = [f"{n.name}.{name}" for n in calls for name in n.layer.state_sizes]
        states = any(n.states for n in calls) or bool(wanted.intersection(own))
        key = tuple(map(id, layers))
        if any(part in other for other in self.made if other != key for part in key):
            raise ValueError(
                f"to_keras: {run[0].name!r} shares a layer with calls that go on otherwise, which "
                "has no equal in Keras"
            )
        if key not in self.made:
            self.made[key] = self.chain(layers, states)
        x = [values[name] for name in run[0].reads]
        y = x if run[0].layer.joins else x[0]
        initial = [values[name] for node in run for name in node.states]
        each = by_layer(recurrent.layer, initial) if recurrent else iter(())
        final: list[list[Any]] = []
        for layer in self.made[key]:
            if states and hasattr(layer, "return_state"):
                start = next(each)
                y, *after = layer(y, initial_state=start) if start else layer(y)
                final.append(after)
            else:
                y = layer(y)
        values[run[-1].name] = y
        if recurrent and states:
            names = by_layer(recurrent.layer, [*recurrent.layer.state_sizes])
            for some, tensors in zip(names, final, strict=True):
                pairs = zip(some, tensors, strict=True)
                values |= {f"{recurrent.name}.{name}": tensor for name, tensor in pairs}


def _run_from(model: Graph, node: Node) -> list[Node]:
    # the calls that become one of Keras's: what turns steps, a recurrent layer, its last step and
    # its directions merged, each read by the next one alone
    run = [node]
    while True:
        name = run[-1].name
        readers = [n for n in model.nodes if name in (*n.reads, *n.states)]
        if len(readers) != 1 or name in model.outputs or readers[0].reads != (name,):
            return run
        following, here = readers[0].layer, run[-1].layer
        recurrent = next((n.layer for n in run if isinstance(n.layer, Recurrent)), None)
        turned = _is_reverse(here) and _is_one_way(following)
        ended = isinstance(following, Last) and here is recurrent
        merged = recurrent is not None and _merges_directions(following, recurrent)
        if not turned and not ended and not merged:
            return run
        run.append(readers[0])


def _is_reverse(layer: Layer) -> bool:
    return isinstance(layer, Rearrange) and layer.kind == "reverse"


def _is_one_way(layer: Layer) -> bool:
    return isinstance(layer, Recurrent) and not layer.bidirectional


def _merges_directions(layer: Layer, recurrent: Any) -> bool:
    is_merge = isinstance(layer, Merge) and layer.parts == 2 and layer.kind in MERGE_MODES
    return is_merge and bool(recurrent.bidirectional)


def _misplaced(layer: Layer, before: Layer | None) -> ValueError:
    return ValueError(
        f"to_keras: {layer!r} behind {before!r} has no equal in Keras; supported: directly "
        "behind a recurrent layer, with bidirectional as there"
    )


def _no_equal(layer: Layer, option: str) -> ValueError:
    return ValueError(
        f"to_keras: {layer!r} has {option}={getattr(layer, option)!r}, which has no equal in Keras"
    )


def _recurrent_weights(kind: Keras, layer: Recurrent, suffix: str) -> list[Array]:
    names = ["weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if layer.bias else ())]
    ih, hh, *biases = (by_gates(kind, layer.params[f"{name}{suffix}"].T) for name in names)
    if not biases:
        return [ih, hh]
    return [ih, hh, np.stack(biases) if kind.biases == 2 else biases[0] + biases[1]]


def _to_conv(layer: Any) -> Made:
    if layer.padding not in ("valid", "same", "causal", 0):
        raise _no_equal(layer, "padding")
    options = {
        "filters": layer.out_channels,
        "kernel_size": layer.kernel_size,
        "strides": layer.stride,
        "padding": layer.padding or "valid",
        "dilation_rate": layer.dilation,
        "use_bias": layer.bias,
    }
    return "Conv1D", options, [array.T for array in layer.params.values()]


def _affine(layer: Any) -> dict[str, bool]:
    return {"center": "bias" in layer.params, "scale": "weight" in layer.params}


def _to_batch_norm(layer: Any) -> Made:
    options = {
        "momentum": 1 - layer.momentum,
        "epsilon": layer.eps,
        **_affine(layer),
    }
    running = [layer.buffers["running_mean"], layer.buffers["running_var"]]
    return "BatchNormalization", options, [*layer.params.values(), *running]


def _to_repeat_vector(layer: Any) -> Made:
    if layer.n is None:
        raise _no_equal(layer, "n")
    return "RepeatVector", {"n": layer.n}, []


def _to_activation(layer: Any) -> Made:
    for name, make in ACTIVATIONS.items():
        equal = make()
        if type(equal) is type(layer) and equal.config() == layer.config():
            return "Activation", {"activation": name}, []
    if layer.kind == "elu":
        return "ELU", {"alpha": layer.alpha}, []
    if layer.kind == "leaky_relu":
        return "LeakyReLU", {"negative_slope": layer.alpha}, []
    raise _no_equal(layer, "kind")


def _to_scale(layer: Any) -> Made:
    mean, scale = (layer.buffers[name].astype(np.float64) for name in ("mean", "scale"))
    if not ((scale > 0) & (scale < 1e6)).all():  # Keras's deviations end at 1e-7
        raise ValueError(
            f"to_keras: {layer!r} has a scale outside of 0 to 1e6, which has no equal in Keras"
        )
    return "Normalization", {"axis": -1, "mean": mean, "variance": scale**-2.0}, []


def _to_dropout(layer: Any) -> Made:
    return "SpatialDropout1D" if layer.all_steps else "Dropout", {"rate": layer.p}, []


def _to_noise(layer: Any) -> Made:
    if not layer.multiplied:
        return "GaussianNoise", {"stddev": layer.std}, []
    return "GaussianDropout", {"rate": layer.std**2 / (1 + layer.std**2)}, []


def _to_pool1d(layer: Any) -> Made:
    if layer.padding not in ("valid", "same", 0):
        raise _no_equal(layer, "padding")
    name = {"mean": "AveragePooling1D", "max": "MaxPooling1D"}[layer.kind]
    options = {"pool_size": layer.kernel_size, "strides": layer.stride}
    return name, {**options, "padding": layer.padding or "valid"}, []


def _to_place(layer: Any) -> Made:
    sizes = layer.sizes
    if layer.kind == "pad" and min(sizes) * max(sizes) < 0:
        raise _no_equal(layer, "sizes")
    if layer.kind == "pad" and min(sizes) < 0:
        return "Cropping1D", {"cropping": tuple(-size for size in sizes)}, []
    if layer.kind == "repeat":
        return "UpSampling1D", {"size": sizes[0]}, []
    made: dict[str, tuple[str, dict[str, Any]]] = {
        "flatten": ("Flatten", {}),
        "fold": ("Reshape", {"target_shape": sizes}),
        "swap": ("Permute", {"dims": (2, 1)}),
        "pad": ("ZeroPadding1D", {"padding": sizes}),
    }
    if layer.kind not in made:
        raise _no_equal(layer, "kind")
    return *made[layer.kind], []


def _to_merge(layer: Any) -> Made:
    if layer.parts > 1:
        raise _no_equal(layer, "parts")
    if layer.kind == "concat":
        return "Concatenate", {"axis": -1}, []
    return next(name for name, kind in MERGED.items() if kind == layer.kind), {}, []


_TO: dict[type[Layer], Callable[[Any], Made]] = {
    Embedding: lambda layer: (
        "Embedding",
        {"input_dim": layer.num_embeddings, "output_dim": layer.embedding_dim},
        [layer.params["weight"]],
    ),
    Linear: lambda layer: (
        "Dense",
        {"units": layer.out_features, "use_bias": layer.bias},
        [array.T for array in layer.params.values()],
    ),
    Conv1d: _to_conv,
    LayerNorm: lambda layer: (
        "LayerNormalization",
        {"epsilon": layer.eps, **_affine(layer)},
        list(layer.params.values()),
    ),
    BatchNorm1d: _to_batch_norm,
    Scale: _to_scale,
    Dropout: _to_dropout,
    GaussianNoise: _to_noise,
    Pool1d: _to_pool1d,
    Rearrange: _to_place,
    Pool: lambda layer: (
        {"mean": "GlobalAveragePooling1D", "max": "GlobalMaxPooling1D"}[layer.kind],
        {},
        [],
    ),
    RepeatVector: _to_repeat_vector,
    Merge: _to_merge,
    Dot: lambda layer: ("Dot", {"axes": list(layer.axes)}, []),
    **dict.fromkeys((Activation, ReLU, Sigmoid, Softmax, Tanh), _to_activation),
}
