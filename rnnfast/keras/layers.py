"""Layers of this package for those of Keras: a function for each type."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..layers import (
    Activation,
    BatchNorm1d,
    Conv1d,
    Dot,
    Dropout,
    Embedding,
    GaussianNoise,
    LayerNorm,
    Linear,
    Merge,
    Pool,
    Pool1d,
    Rearrange,
    ReLU,
    RepeatVector,
    Scale,
    Softmax,
)
from ..layers.base import Layer
from .facts import (
    as_array,
    built_dtype,
    function_name,
    input_shape,
    last_axis,
    not_built,
    refusal,
    require,
)
from .graph import named
from .recurrent import RECURRENT_NAMES, bidirectional, recurrent
from .shared import ACTIVATIONS

if TYPE_CHECKING:
    from .shared import KerasLayer


def convert(keras: Any, layer: KerasLayer) -> list[Layer]:
    """Return the layers that a layer of Keras becomes, one behind the other."""
    kind = type(layer).__name__
    if kind not in _FROM or type(layer) is not getattr(keras.layers, kind, None):
        raise ValueError(
            f"from_keras: {named(layer)} has no equal in rnnfast; supported: "
            f"{', '.join(sorted([*_FROM, 'TimeDistributed']))}"
        )
    if layer.compute_dtype not in ("float32", "float64"):
        raise refusal(layer, "dtype", layer.dtype_policy.name, "'float32', 'float64'")
    return _FROM[kind](keras, layer)


# ---- functions of elements


def _activated(keras: Any, layer: KerasLayer) -> list[Layer]:
    name = function_name(keras, layer)
    if name == "linear":
        return []
    if name not in ACTIVATIONS:
        raise refusal(layer, "activation", name, f"linear, {', '.join(ACTIVATIONS)}")
    return [ACTIVATIONS[name]()]


def _relu(keras: Any, layer: KerasLayer) -> list[Layer]:
    require(layer, threshold=0.0)
    if layer.max_value is None:
        return _leaky_relu(keras, layer)
    if layer.max_value != 6:
        raise refusal(layer, "max_value", layer.max_value, "None, 6")
    require(layer, negative_slope=0.0)
    return [Activation("relu6")]


def _leaky_relu(keras: Any, layer: KerasLayer) -> list[Layer]:
    slope = float(layer.negative_slope)
    return [Activation("leaky_relu", slope) if slope else ReLU()]


def _softmax(keras: Any, layer: KerasLayer) -> list[Layer]:
    require(layer, axis=-1)
    return [Softmax()]


def _normalization(keras: Any, layer: KerasLayer) -> list[Layer]:
    features = input_shape(layer, 2, 3)[-1]
    mean, variance = (as_array(keras, array) for array in (layer.mean, layer.variance))
    if mean.shape[-1:] not in ((), (1,), (features,)) or mean.size not in (1, features):
        raise refusal(layer, "axis", layer.axis, "-1, the last one, or None")
    scale = np.maximum(np.sqrt(variance.astype(np.float64)), keras.backend.epsilon())
    if layer.invert:
        return _scale(layer, features, -mean / scale, scale)
    return _scale(layer, features, mean, 1 / scale)


def _rescaling(keras: Any, layer: KerasLayer) -> list[Layer]:
    features = input_shape(layer, 2, 3)[-1]
    scale, offset = (np.asarray(value, np.float64) for value in (layer.scale, layer.offset))
    if not scale.all():
        raise refusal(layer, "scale", layer.scale, "numbers other than 0")
    return _scale(layer, features, -offset / scale, scale)


def _scale(layer: KerasLayer, features: int | None, mean: Any, scale: Any) -> list[Layer]:
    if features is None:
        raise not_built(layer, "the number of its features is not known")
    made = Scale(features, dtype=layer.compute_dtype)
    for name, value in ("mean", mean), ("scale", scale):
        if np.size(value) not in (1, features):
            raise refusal(layer, name, value, f"a number, or one for each of {features} features")
        made.buffers[name] = np.broadcast_to(np.ravel(value), (features,))
    return [made]


# ---- layers with weights


def _embedding(keras: Any, layer: KerasLayer) -> list[Layer]:
    embedding = Embedding(layer.input_dim, layer.output_dim, dtype=built_dtype(layer))
    embedding.params["weight"] = as_array(keras, layer.embeddings)
    return [embedding]


def _with_weights(keras: Any, made: Any, weight: Any, bias: Any) -> Any:
    # those of them that the layer has
    for name, value in ("weight", weight), ("bias", bias):
        if name in made.params:
            made.params[name] = as_array(keras, value)
    return made


def _dense(keras: Any, layer: KerasLayer) -> list[Layer]:
    dtype = built_dtype(layer)
    kernel = as_array(keras, layer.kernel)
    inputs, outputs = kernel.shape
    linear = Linear(inputs, outputs, bias=layer.use_bias, dtype=dtype)
    return [_with_weights(keras, linear, kernel.T, layer.bias), *_activated(keras, layer)]


def _conv(keras: Any, layer: KerasLayer) -> list[Layer]:
    require(layer, groups=1, data_format="channels_last")
    (stride,), (dilation,) = layer.strides, layer.dilation_rate
    dtype = built_dtype(layer)
    kernel = as_array(keras, layer.kernel)  # (taps, in, out)
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
    return [_with_weights(keras, conv, kernel.T, layer.bias), *_activated(keras, layer)]


def _affine(layer: KerasLayer) -> bool | str:
    if layer.scale and layer.center:
        return True
    return "weight" if layer.scale else "bias" if layer.center else False


def _layer_norm(keras: Any, layer: KerasLayer) -> list[Layer]:
    require(layer, rms_scaling=False)
    dtype = built_dtype(layer)
    last_axis(layer)
    features = layer.get_build_config()["input_shape"][-1]
    norm = LayerNorm(features, eps=layer.epsilon, dtype=dtype, affine=_affine(layer))
    return [_with_weights(keras, norm, layer.gamma, layer.beta)]


def _batch_norm(keras: Any, layer: KerasLayer) -> list[Layer]:
    require(layer, renorm=False)
    dtype = built_dtype(layer)
    last_axis(layer)
    mean = as_array(keras, layer.moving_mean)
    norm = BatchNorm1d(
        len(mean),
        eps=layer.epsilon,
        momentum=1 - layer.momentum,  # the share of the new batch, not of the old ones
        affine=_affine(layer),
        batch_first=True if len(layer.get_build_config()["input_shape"]) > 2 else None,
        dtype=dtype,
    )
    norm.buffers["running_mean"] = mean
    norm.buffers["running_var"] = as_array(keras, layer.moving_variance)
    return [_with_weights(keras, norm, layer.gamma, layer.beta)]


# ---- what is random in training


def _dropout(keras: Any, layer: KerasLayer) -> list[Layer]:
    shape = layer.noise_shape
    if shape is None:
        return [Dropout(layer.rate)]
    if len(shape) != 3 or shape[0] not in (None, -1) or shape[1] != 1 or shape[2] == 1:
        raise refusal(layer, "noise_shape", shape, "None, (None, 1, features)")
    return _spatial_dropout(keras, layer)


def _spatial_dropout(keras: Any, layer: KerasLayer) -> list[Layer]:
    return [Dropout(layer.rate, all_steps=True, batch_first=True)]


def _noise(keras: Any, layer: KerasLayer) -> list[Layer]:
    return [GaussianNoise(layer.stddev)] if layer.stddev else []


def _gaussian_dropout(keras: Any, layer: KerasLayer) -> list[Layer]:
    std = math.sqrt(layer.rate / (1 - layer.rate))
    return [GaussianNoise(std, multiplied=True)] if std else []


# ---- elements in other places, windows


def _rearranged(kind: str, *sizes: int) -> Layer:
    return Rearrange(kind, sizes, batch_first=True)


def _flatten(keras: Any, layer: KerasLayer) -> list[Layer]:
    require(layer, data_format="channels_last")
    return [] if len(input_shape(layer, 2, 3)) == 2 else [_rearranged("flatten")]


def _reshape(keras: Any, layer: KerasLayer) -> list[Layer]:
    shape = input_shape(layer, 2, 3)
    flat = [] if len(shape) == 2 else [_rearranged("flatten")]
    target = tuple(layer.target_shape)
    if len(target) not in (1, 2):
        raise refusal(layer, "target_shape", target, "one or two sizes")
    return flat if len(target) == 1 else [*flat, _rearranged("fold", *target)]


def _permute(keras: Any, layer: KerasLayer) -> list[Layer]:
    dims = tuple(layer.dims)
    if dims not in ((1,), (1, 2), (2, 1)):
        raise refusal(layer, "dims", dims, "(1, 2), (2, 1)")
    return [_rearranged("swap")] if dims == (2, 1) else []


def _zero_padding(keras: Any, layer: KerasLayer) -> list[Layer]:
    require(layer, data_format="channels_last")
    return [_rearranged("pad", *layer.padding)]


def _pool(kind: str, keras: Any, layer: KerasLayer) -> list[Layer]:
    require(layer, data_format="channels_last", keepdims=False)
    return [Pool(kind, batch_first=True)]


def _pool_windows(kind: str, keras: Any, layer: KerasLayer) -> list[Layer]:
    require(layer, data_format="channels_last")
    (size,), (stride,) = np.atleast_1d(layer.pool_size), np.atleast_1d(layer.strides)
    return [Pool1d(kind, int(size), int(stride), layer.padding, batch_first=True)]


# ---- several inputs

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


def _dot(keras: Any, layer: KerasLayer) -> list[Layer]:
    require(layer, normalize=False)
    if not layer.built:
        raise not_built(layer, "the shapes of its inputs are not known")
    ranks = [len(shape) for shape in layer.get_build_config()["input_shape"]]
    if not {*ranks} <= {2, 3}:
        raise refusal(layer, "input ranks", ranks, "2, 3")
    axes = layer.axes if isinstance(layer.axes, (list, tuple)) else [layer.axes] * 2
    axes = [axis % rank for axis, rank in zip(axes, ranks, strict=True)]
    return [Dot(axes, [rank == 2 for rank in ranks])]


def _nothing(keras: Any, layer: KerasLayer) -> list[Layer]:
    return []


_FROM: dict[str, Callable[[Any, KerasLayer], list[Layer]]] = {
    **dict.fromkeys((*RECURRENT_NAMES, "RNN"), recurrent),
    "Bidirectional": bidirectional,
    **dict.fromkeys(MERGED, _merge),
    "Concatenate": _concatenate,
    "Dot": _dot,
    "Embedding": _embedding,
    "Dense": _dense,
    "Conv1D": _conv,
    "LayerNormalization": _layer_norm,
    "BatchNormalization": _batch_norm,
    "Normalization": _normalization,
    "Rescaling": _rescaling,
    "Dropout": _dropout,
    "SpatialDropout1D": _spatial_dropout,
    "GaussianNoise": _noise,
    "GaussianDropout": _gaussian_dropout,
    "ActivityRegularization": _nothing,
    "Identity": _nothing,
    "Activation": _activated,
    "ReLU": _relu,
    "LeakyReLU": _leaky_relu,
    "ELU": lambda keras, layer: [Activation("elu", float(layer.alpha))],
    "Softmax": _softmax,
    "GlobalAveragePooling1D": partial(_pool, "mean"),
    "GlobalMaxPooling1D": partial(_pool, "max"),
    "AveragePooling1D": partial(_pool_windows, "mean"),
    "MaxPooling1D": partial(_pool_windows, "max"),
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Permute": _permute,
    "UpSampling1D": lambda keras, layer: [_rearranged("repeat", int(layer.size))],
    "ZeroPadding1D": _zero_padding,
    "Cropping1D": lambda keras, layer: [_rearranged("pad", *(-n for n in layer.cropping))],
    "RepeatVector": lambda keras, layer: [RepeatVector(layer.n, batch_first=True)],
    "Masking": _nothing,  # the lengths given do its work
}
