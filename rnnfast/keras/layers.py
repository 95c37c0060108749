"""Layers of this package for those of Keras: a function for each type."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import layers
from ..cells import CELLS
from ..layers import (
    BatchNorm1d,
    Conv1d,
    Dropout,
    Embedding,
    Last,
    LayerNorm,
    Linear,
    Merge,
    Pool,
    ReLU,
    RepeatVector,
    Softmax,
)
from ..layers.base import Layer
from ..layers.recurrent_base import Recurrent
from .graph import named
from .shared import ACTIVATIONS, RECURRENT, by_gates

if TYPE_CHECKING:
    from ..arrays import Array
    from .shared import KerasLayer

RECURRENT_NAMES = tuple(dict.fromkeys(kind.layer for kind in RECURRENT.values()))


def convert(keras: Any, layer: KerasLayer) -> list[Layer]:
    """Return the layers that a layer of Keras becomes, one behind the other."""
    kind = type(layer).__name__
    if kind not in _FROM or type(layer) is not getattr(keras.layers, kind, None):
        raise ValueError(
            f"from_keras: {named(layer)} has no equal in rnnfast; supported: "
            f"{', '.join(sorted(_FROM))}"
        )
    if layer.compute_dtype not in ("float32", "float64"):
        raise refusal(layer, "dtype", layer.dtype_policy.name, "'float32', 'float64'")
    return _FROM[kind](keras, layer)


def refusal(layer: KerasLayer, option: str, got: Any, supported: Any) -> ValueError:
    """Return the error for an option that has no equal here."""
    return ValueError(f"from_keras: {named(layer)} has {option}={got!r}; supported: {supported}")


def _require(layer: KerasLayer, **options: Any) -> None:
    for option, wanted in options.items():
        got = getattr(layer, option, wanted)  # older releases of Keras lack the newest options
        if got != wanted:
            raise refusal(layer, option, got, repr(wanted))


def _built_dtype(layer: KerasLayer) -> str:
    if not layer.built:
        raise ValueError(
            f"from_keras: {named(layer)} is not built, so it has no weights: build the model, "
            "or call it, first"
        )
    name: str = layer.dtype_policy.name
    if name not in ("float32", "float64"):
        raise refusal(layer, "dtype", name, "'float32', 'float64'")
    return name


def _array(keras: Any, weights: Any) -> Array:
    array: Array = keras.ops.convert_to_numpy(weights)
    return array


def _activation(keras: Any, layer: KerasLayer, option: str = "activation") -> str:
    function = getattr(layer, option)
    name = getattr(function, "__name__", "")
    # a function of the user's may have the name of one of Keras's
    return name if function is getattr(keras.activations, name, None) else repr(function)


def _activated(keras: Any, layer: KerasLayer) -> list[Layer]:
    name = _activation(keras, layer)
    if name == "linear":
        return []
    if name not in ACTIVATIONS:
        raise refusal(layer, "activation", name, f"linear, {', '.join(ACTIVATIONS)}")
    return [ACTIVATIONS[name]()]


def _last_axis(layer: KerasLayer) -> None:
    # Keras gives an axis as it was written, or as a list
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    if list(axes) not in ([-1], [len(layer.get_build_config()["input_shape"]) - 1]):
        raise refusal(layer, "axis", layer.axis, "-1, the last one")


def _cell_options(keras: Any, layer: KerasLayer) -> dict[str, Any]:
    # those that choose a cell, once there is one for their values
    _require(layer, stateful=False)
    rows = [kind.options for kind in RECURRENT.values() if kind.layer == type(layer).__name__]
    found = {}
    for option in rows[0]:
        is_function = option.endswith("activation")
        found[option] = _activation(keras, layer, option) if is_function else getattr(layer, option)
        known = list(dict.fromkeys(row[option] for row in rows))
        if found[option] not in known:
            raise refusal(layer, option, found[option], ", ".join(map(str, known)))
    return found


def _recurrent(keras: Any, layer: KerasLayer) -> list[Layer]:
    _require(layer, go_backwards=False)
    return _recurrent_parts(keras, [layer])


def _bidirectional(keras: Any, layer: KerasLayer) -> list[Layer]:
    merged: dict[str, list[str]] = {
        "concat": [],
        "sum": ["sum"],
        "mul": ["product"],
        "ave": ["mean"],
    }
    if layer.merge_mode not in merged:
        raise refusal(layer, "merge_mode", layer.merge_mode, ", ".join(merged))
    ahead, back = layer.forward_layer, layer.backward_layer
    for direction in (ahead, back):
        if type(direction) not in [getattr(keras.layers, name) for name in RECURRENT_NAMES]:
            raise refusal(layer, "layer", type(direction).__name__, ", ".join(RECURRENT_NAMES))
    _require(ahead, go_backwards=False)
    if type(ahead) is not type(back):
        raise refusal(layer, "backward_layer", type(back).__name__, type(ahead).__name__)
    same = ("units", "use_bias", "recurrent_dropout", "dropout")
    pair = [
        {option: getattr(d, option) for option in same}
        | {**_cell_options(keras, d), "dtype": d.dtype_policy.name}
        for d in (ahead, back)
    ]
    for option, value in pair[0].items():
        if pair[1][option] != value:
            raise refusal(back, option, pair[1][option], f"{value!r}, as in the other direction")
    kinds = merged[layer.merge_mode]
    return [*_recurrent_parts(keras, [ahead, back]), *(Merge(kind, parts=2) for kind in kinds)]


def _recurrent_parts(keras: Any, directions: list[KerasLayer]) -> list[Layer]:
    ahead = directions[0]
    chosen = type(ahead).__name__, _cell_options(keras, ahead)
    name, kind = next((n, k) for n, k in RECURRENT.items() if (k.layer, k.options) == chosen)
    dtype = _built_dtype(ahead)  # a wrapper may have another one
    state = {}
    for direction, suffix in zip(directions, ("", "_reverse"), strict=False):
        cell = direction.cell
        kernels = {"ih": cell.kernel, "hh": cell.recurrent_kernel}
        for part, kernel in kernels.items():
            state[f"weight_{part}_l0{suffix}"] = by_gates(kind, _array(keras, kernel)).T
        if ahead.use_bias:
            bias = by_gates(kind, _array(keras, cell.bias))
            pair = bias if bias.ndim == 2 else (bias, np.zeros_like(bias))
            state[f"bias_ih_l0{suffix}"], state[f"bias_hh_l0{suffix}"] = pair
    recurrent: Recurrent = getattr(layers, CELLS[name].layer)(
        state["weight_ih_l0"].shape[1],
        ahead.units,
        bias=ahead.use_bias,
        batch_first=True,
        bidirectional=len(directions) == 2,
        recurrent_dropout=ahead.recurrent_dropout,
        dtype=dtype,
        **CELLS[name].options,
    )
    recurrent.load_state_dict(state)
    parts: list[Layer] = [Dropout(ahead.dropout)] if ahead.dropout else []
    parts.append(recurrent)
    if not ahead.return_sequences:
        parts.append(Last(batch_first=True, bidirectional=recurrent.bidirectional))
    return parts


def _time_distributed(keras: Any, layer: KerasLayer) -> list[Layer]:
    inner = layer.layer
    known = ("Dense", "LayerNormalization", "Dropout", "Activation", "ReLU", "Softmax")
    if type(inner).__name__ not in known:
        raise refusal(layer, "layer", type(inner).__name__, ", ".join(known))
    return convert(keras, inner)


def _embedding(keras: Any, layer: KerasLayer) -> list[Layer]:
    embedding = Embedding(layer.input_dim, layer.output_dim, dtype=_built_dtype(layer))
    embedding.params["weight"] = _array(keras, layer.embeddings)
    return [embedding]


def _dense(keras: Any, layer: KerasLayer) -> list[Layer]:
    dtype = _built_dtype(layer)
    kernel = _array(keras, layer.kernel)
    inputs, outputs = kernel.shape
    linear = Linear(inputs, outputs, bias=layer.use_bias, dtype=dtype)
    linear.params["weight"] = kernel.T
    if layer.use_bias:
        linear.params["bias"] = _array(keras, layer.bias)
    return [linear, *_activated(keras, layer)]


def _conv(keras: Any, layer: KerasLayer) -> list[Layer]:
    _require(layer, groups=1, data_format="channels_last")
    (stride,), (dilation,) = layer.strides, layer.dilation_rate
    if layer.padding == "same" and stride > 1:
        raise refusal(layer, "strides", layer.strides, "(1,) with padding='same'")
    dtype = _built_dtype(layer)
    kernel = _array(keras, layer.kernel)  # (taps, in, out)
    taps, inputs, outputs = kernel.shape
    conv = Conv1d(
        inputs,
        outputs,
        taps,
        stride=stride,
        padding=layer.padding,
        dilation=dilation,
        bias=layer.use_bias,
        batch_first=True,
        dtype=dtype,
    )
    conv.params["weight"] = kernel.T
    if layer.use_bias:
        conv.params["bias"] = _array(keras, layer.bias)
    return [conv, *_activated(keras, layer)]


def _layer_norm(keras: Any, layer: KerasLayer) -> list[Layer]:
    _require(layer, center=True, scale=True, rms_scaling=False)
    dtype = _built_dtype(layer)
    _last_axis(layer)
    gamma = _array(keras, layer.gamma)
    norm = LayerNorm(len(gamma), eps=layer.epsilon, dtype=dtype)
    norm.params["weight"], norm.params["bias"] = gamma, _array(keras, layer.beta)
    return [norm]


def _batch_norm(keras: Any, layer: KerasLayer) -> list[Layer]:
    _require(layer, renorm=False, center=layer.scale)
    dtype = _built_dtype(layer)
    _last_axis(layer)
    mean = _array(keras, layer.moving_mean)
    norm = BatchNorm1d(
        len(mean),
        eps=layer.epsilon,
        momentum=1 - layer.momentum,  # the share of the new batch, not of the old ones
        affine=layer.scale,
        batch_first=True,
        dtype=dtype,
    )
    if layer.scale:
        norm.params["weight"] = _array(keras, layer.gamma)
        norm.params["bias"] = _array(keras, layer.beta)
    norm.buffers["running_mean"] = mean
    norm.buffers["running_var"] = _array(keras, layer.moving_variance)
    return [norm]


def _dropout(keras: Any, layer: KerasLayer) -> list[Layer]:
    _require(layer, noise_shape=None)
    return [Dropout(layer.rate)]


def _relu(keras: Any, layer: KerasLayer) -> list[Layer]:
    _require(layer, max_value=None, negative_slope=0.0, threshold=0.0)
    return [ReLU()]


def _softmax(keras: Any, layer: KerasLayer) -> list[Layer]:
    _require(layer, axis=-1)
    return [Softmax()]


def _pool(kind: str) -> Callable[[Any, KerasLayer], list[Layer]]:
    def pool(keras: Any, layer: KerasLayer) -> list[Layer]:
        _require(layer, data_format="channels_last", keepdims=False)
        return [Pool(kind, batch_first=True)]

    return pool


MERGED = {
    "Add": "sum",
    "Average": "mean",
    "Subtract": "difference",
    "Multiply": "product",
    "Maximum": "max",
    "Minimum": "min",
}  # layers of Keras with several inputs: kinds of `Merge`
OPERATIONS = {name: MERGED[name] for name in MERGED if name != "Average"}  # of two arrays


def _merge(keras: Any, layer: KerasLayer) -> list[Layer]:
    return [Merge(MERGED[type(layer).__name__])]


def _concatenate(keras: Any, layer: KerasLayer) -> list[Layer]:
    axes = {-1} if not layer.built else {-1, len(layer.get_build_config()["input_shape"][0]) - 1}
    if layer.axis not in axes:
        raise refusal(layer, "axis", layer.axis, "-1, the last one")
    return [Merge("concat")]


_FROM: dict[str, Callable[[Any, KerasLayer], list[Layer]]] = {
    **dict.fromkeys(RECURRENT_NAMES, _recurrent),
    "Bidirectional": _bidirectional,
    **dict.fromkeys(MERGED, _merge),
    "Concatenate": _concatenate,
    "Embedding": _embedding,
    "Dense": _dense,
    "TimeDistributed": _time_distributed,
    "Conv1D": _conv,
    "LayerNormalization": _layer_norm,
    "BatchNormalization": _batch_norm,
    "Dropout": _dropout,
    "Activation": _activated,
    "ReLU": _relu,
    "Softmax": _softmax,
    "GlobalAveragePooling1D": _pool("mean"),
    "GlobalMaxPooling1D": _pool("max"),
    "RepeatVector": lambda keras, layer: [RepeatVector(layer.n, batch_first=True)],
    "Masking": lambda keras, layer: [],  # the lengths given do its work
}
