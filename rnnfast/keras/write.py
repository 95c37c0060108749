"""Keras models of networks: a function for each type of layer of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..cells import Keras
from ..layers import (
    BatchNorm1d,
    Conv1d,
    Dropout,
    Embedding,
    Last,
    LayerNorm,
    Linear,
    Pool,
    RepeatVector,
    Sequential,
)
from ..layers.base import Layer
from ..layers.recurrent import RECURRENT_LAYERS
from ..layers.recurrent_base import Recurrent
from .shared import ACTIVATIONS, RECURRENT, by_gates, keras_library

if TYPE_CHECKING:
    from ..arrays import Array
    from .shared import KerasLayer


def to_keras(model: Layer) -> Any:
    """Return a Keras model with the layers, the weights and the predictions of a network.

    Parameters
    ----------
    model : Layer
        `Sequential` (nested ones too), or one of the layers that `from_keras` makes.

    Returns
    -------
    keras.Sequential
        Built, not compiled; it takes (B, T, F), ids (B, T), or (B, F) where no layer needs time.
        Each layer of a recurrent network is one of Keras.

    Raises
    ------
    ValueError
        For a layer or an option of a layer that has no equal in Keras, named in the message.
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
    layers = list(_unchained(model))
    floats = (model.dtype or np.dtype(np.float32)).name
    converted: list[tuple[KerasLayer, list[Array]]] = []
    for before, layer, behind in zip([None, *layers], layers, [*layers[1:], None], strict=False):
        if isinstance(layer, Last):
            _check_last(layer, before)
        elif type(layer) in RECURRENT_LAYERS.values():
            converted += _to_recurrent(keras, layer, not isinstance(behind, Last))
        elif type(layer) in _TO:
            name, options, weights = _TO[type(layer)](layer)
            options["dtype"] = floats
            converted.append((getattr(keras.layers, name)(**options), weights))
        else:
            raise ValueError(f"to_keras: {type(layer).__name__} has no equal in Keras")
    result = keras.Sequential([_input(keras, model, layers), *(layer for layer, _ in converted)])
    for layer, weights in converted:
        if weights:
            layer.set_weights(weights)
    return result


def _unchained(layer: Layer) -> Iterator[Layer]:
    if isinstance(layer, Sequential):
        for part in layer.layers:
            yield from _unchained(part)
    else:
        yield layer


def _input(keras: Any, model: Layer, layers: list[Layer]) -> Any:
    if isinstance(layers[0], Embedding):
        return keras.Input((None,), dtype="int32")
    kinds = Recurrent, Conv1d, Pool, RepeatVector  # those that need, or make, a time axis
    first = next((layer for layer in layers if isinstance(layer, kinds)), None)
    in_time = first is not None and not isinstance(first, RepeatVector)
    floats = (model.dtype or np.dtype(np.float32)).name
    return keras.Input((None, model.in_size) if in_time else (model.in_size,), dtype=floats)


def _check_last(layer: Last, before: Layer | None) -> None:
    wanted = isinstance(before, Recurrent) and before.bidirectional == layer.bidirectional
    if not wanted:
        raise ValueError(
            f"to_keras: {layer!r} behind {before!r} has no equal in Keras; supported: directly "
            "behind a recurrent layer, with bidirectional as there"
        )


def _no_equal(layer: Layer, option: str) -> ValueError:
    return ValueError(
        f"to_keras: {layer!r} has {option}={getattr(layer, option)!r}, which has no equal in Keras"
    )


def _to_recurrent(keras: Any, layer: Any, sequences: bool) -> list[tuple[KerasLayer, list[Array]]]:
    for option in ("proj_size", "layer_norm"):
        if getattr(layer, option):
            raise _no_equal(layer, option)
    if np.any(layer.zoneout):
        raise _no_equal(layer, "zoneout")
    kind = RECURRENT.get(layer.network.cell.name)
    if kind is None:
        raise ValueError(f"to_keras: {layer!r} has no equal in Keras")
    options = {
        **kind.options,
        "units": layer.hidden_size,
        "use_bias": layer.bias,
        "recurrent_dropout": layer.recurrent_dropout,
        "dtype": layer.dtype.name,
    }
    converted: list[tuple[KerasLayer, list[Array]]] = []
    for i in range(layer.num_layers):
        if i and layer.dropout:
            converted.append((keras.layers.Dropout(layer.dropout, dtype=layer.dtype.name), []))
        options["return_sequences"] = sequences or i < layer.num_layers - 1
        made = getattr(keras.layers, kind.layer)(**options)
        weights = _recurrent_weights(kind, layer, f"_l{i}")
        if layer.bidirectional:
            made = keras.layers.Bidirectional(made, dtype=layer.dtype.name)
            weights += _recurrent_weights(kind, layer, f"_l{i}_reverse")
        converted.append((made, weights))
    return converted


def _recurrent_weights(kind: Keras, layer: Recurrent, suffix: str) -> list[Array]:
    names = ["weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if layer.bias else ())]
    ih, hh, *biases = (by_gates(kind, layer.params[f"{name}{suffix}"].T) for name in names)
    if not biases:
        return [ih, hh]
    return [ih, hh, np.stack(biases) if kind.biases == 2 else biases[0] + biases[1]]


def _to_conv(layer: Any) -> tuple[str, dict[str, Any], list[Array]]:
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


def _to_batch_norm(layer: Any) -> tuple[str, dict[str, Any], list[Array]]:
    options = {
        "momentum": 1 - layer.momentum,
        "epsilon": layer.eps,
        "center": layer.affine,
        "scale": layer.affine,
    }
    running = [layer.buffers["running_mean"], layer.buffers["running_var"]]
    return "BatchNormalization", options, [*layer.params.values(), *running]


def _to_repeat_vector(layer: Any) -> tuple[str, dict[str, Any], list[Array]]:
    if layer.n is None:
        raise _no_equal(layer, "n")
    return "RepeatVector", {"n": layer.n}, []


def _to_activation(layer: Any) -> tuple[str, dict[str, Any], list[Array]]:
    name = next(name for name, kind in ACTIVATIONS.items() if type(layer) is kind)
    return "Activation", {"activation": name}, []


# name of the Keras layer, its arguments and weights
_TO: dict[type[Layer], Callable[[Any], tuple[str, dict[str, Any], list[Array]]]] = {
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
        {"epsilon": layer.eps},
        list(layer.params.values()),
    ),
    BatchNorm1d: _to_batch_norm,
    Dropout: lambda layer: ("Dropout", {"rate": layer.p}, []),
    Pool: lambda layer: (
        {"mean": "GlobalAveragePooling1D", "max": "GlobalMaxPooling1D"}[layer.kind],
        {},
        [],
    ),
    RepeatVector: _to_repeat_vector,
    **dict.fromkeys(ACTIVATIONS.values(), _to_activation),
}
