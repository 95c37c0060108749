"""Networks of Keras models: a function for each type of layer of Keras."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import layers
from ..cells import CELLS
from ..checks import check_flag
from ..layers import (
    BatchNorm1d,
    Conv1d,
    Dropout,
    Embedding,
    Last,
    LayerNorm,
    Linear,
    Pool,
    ReLU,
    RepeatVector,
    Sequential,
    Softmax,
)
from ..layers.base import Layer
from ..layers.recurrent_base import Recurrent
from .graph import chain_of, check_list, is_functional, makes_mask, named
from .shared import ACTIVATIONS, RECURRENT, by_gates, keras_library

if TYPE_CHECKING:
    from ..arrays import Array
    from .shared import KerasLayer

RECURRENT_NAMES = tuple(dict.fromkeys(kind.layer for kind in RECURRENT.values()))


def from_keras(model: Any, *, masks_as_lengths: bool = False) -> Sequential:
    """Return a network with the layers, the weights and the predictions of a Keras model.

    Parameters
    ----------
    model : keras.Sequential, functional model, layer, list of these, or path
        Built, with the weights to copy; a path is that of a ``.keras`` file, read by
        ``keras.saving.load_model`` in its safe mode. The layers of a functional model, and those
        of a list, follow each other. Layers are ``SimpleRNN``, ``LSTM``, ``GRU``,
        ``Bidirectional`` (concatenating), ``Embedding``, ``Dense``, ``TimeDistributed`` of layers
        that act on each step alone, ``Conv1D``, ``LayerNormalization``, ``BatchNormalization``,
        ``Dropout``, ``Activation``, ``ReLU``, ``Softmax``, ``GlobalAveragePooling1D``,
        ``GlobalMaxPooling1D``, ``RepeatVector`` and ``Masking``.
    masks_as_lengths : bool, default False
        Whether to convert a model that masks steps (``Masking``, or ``Embedding`` with
        ``mask_zero``). There are no masks here: calls, `fit` and `evaluate` must then be given
        ``lengths``, such as `mask_lengths` finds, else padding counts as data.

    Returns
    -------
    Sequential
        For a single layer too. It is flat and ``batch_first``; activations, the choice of the
        last step (`Last`), and the dropout that a recurrent layer applies to its inputs are layers
        of their own in it.

    Raises
    ------
    ValueError
        For a layer or an option of a layer that has no equal here, named in the message, for
        layers that are not built or, where they have been called, do not follow each other, and
        for a file that Keras cannot load.
    TypeError
        For anything that is not of Keras 3, or a path.
    ImportError
        Where Keras, or the backend that it is set to, is missing.
    OSError
        Where the file cannot be opened.

    Notes
    -----
    Weights, moving means and rates of dropout carry over; optimisers, losses, regularisers,
    constraints, seeds and ``trainable`` do not.
    """
    check_flag("from_keras", "masks_as_lengths", masks_as_lengths)
    keras = keras_library()
    if isinstance(model, (str, os.PathLike)):
        with open(model, "rb"):  # its errors are plainer than Keras's
            pass
        try:
            model = keras.saving.load_model(model, compile=False)
        except (ImportError, MemoryError):
            raise
        except Exception as error:  # of Keras, of zip, of HDF5
            path = os.fspath(model)
            raise ValueError(f"{path} is not a model that Keras can load: {error}") from error
    parts: list[Layer] = []
    masked = False
    for layer in _flat(keras, model):
        if makes_mask(layer):
            if not masks_as_lengths:
                raise ValueError(
                    f"from_keras: {named(layer)} masks steps; rnnfast takes lengths in place of "
                    "masks: convert with masks_as_lengths=True and give lengths to every call, "
                    "for instance rnnfast.keras.mask_lengths(x)"
                )
            if parts:
                raise ValueError(
                    f"from_keras: {named(layer)} masks steps behind other layers; "
                    "supported: masks of the model's input"
                )
            masked = True
        elif masked and not layer.supports_masking:
            raise ValueError(
                f"from_keras: {named(layer)} drops the mask of the layers before it and takes "
                "padding for data; rnnfast has no equal"
            )
        converted = _convert(keras, layer)
        parts += converted
        dtypes = [part.dtype.name for part in parts if part.dtype]
        if len(set(dtypes)) > 1:
            raise _refusal(layer, "dtype", dtypes[-1], f"{dtypes[0]!r}, as in the layers before it")
        masked = masked and all(part.keeps_time for part in converted)
    return Sequential(*parts)


def mask_lengths(x: Any, mask_value: float = 0) -> Array:
    """Return the lengths that stand for Keras's mask of right-padded sequences.

    Parameters
    ----------
    x : (B, T) array_like of int, or (B, T, F) array_like
        Ids, as for ``Embedding(mask_zero=True)``, or features, as for ``Masking``.
    mask_value : float, default 0
        What padding holds: all features of a masked step have this value.

    Returns
    -------
    (B,) array of int64

    Raises
    ------
    ValueError
        For another number of axes, or a masked step before one that is not: Keras skips steps
        anywhere, lengths only at the end.
    """
    steps = np.asarray(x)
    if steps.ndim not in (2, 3):
        raise ValueError(
            f"mask_lengths expected x with 2 axes (ids) or 3 (features), got {steps.shape}"
        )
    kept = steps != float(mask_value)  # whose type does not widen that of the steps
    if steps.ndim == 3:
        kept = kept.any(axis=2)
    lengths = kept.sum(axis=1, dtype=np.int64)
    gaps = np.flatnonzero((kept != (np.arange(kept.shape[1]) < lengths[:, None])).any(axis=1))
    if len(gaps):
        raise ValueError(
            "mask_lengths expected padding behind each sequence only, got a masked step before "
            f"one that is not in sample {gaps[0]}; keras.utils.pad_sequences pads there with "
            "padding='post'"
        )
    return lengths


def _flat(keras: Any, model: Any) -> Iterator[KerasLayer]:
    if isinstance(model, (list, tuple)):
        layers = [x for x in _unnested(model) if not isinstance(x, keras.layers.InputLayer)]
        check_list(keras, layers)
        for part in layers:
            yield from _flat(keras, part)
    elif isinstance(model, keras.Sequential) and type(model).call is keras.Sequential.call:
        for part in model.layers:
            yield from _flat(keras, part)
    elif isinstance(model, keras.Model):
        for part in _chain(keras, model):
            yield from _flat(keras, part)
    elif isinstance(model, keras.layers.InputLayer):
        pass
    elif isinstance(model, keras.layers.Layer):
        yield model
    else:
        raise TypeError(
            "from_keras expected model as a keras.Sequential, a layer, a list of these or a path, "
            f"got {type(model).__module__}.{type(model).__name__}"
        )


def _unnested(layers: Any) -> Iterator[Any]:
    for part in layers:
        if isinstance(part, (list, tuple)):
            yield from _unnested(part)
        else:
            yield part


def _chain(keras: Any, model: Any) -> list[KerasLayer]:
    layers = chain_of(keras, model) if is_functional(model) else None
    if layers is None:
        raise ValueError(
            "from_keras expected a Sequential model, or a functional one whose layers follow each "
            f"other, each called once, got {named(model)}"
        )
    return layers


def _convert(keras: Any, layer: KerasLayer) -> list[Layer]:
    kind = type(layer).__name__
    if kind not in _FROM or type(layer) is not getattr(keras.layers, kind, None):
        raise ValueError(
            f"from_keras: {named(layer)} has no equal in rnnfast; supported: "
            f"{', '.join(sorted(_FROM))}"
        )
    return _FROM[kind](keras, layer)


def _refusal(layer: KerasLayer, option: str, got: Any, supported: Any) -> ValueError:
    return ValueError(f"from_keras: {named(layer)} has {option}={got!r}; supported: {supported}")


def _require(layer: KerasLayer, **options: Any) -> None:
    for option, wanted in options.items():
        got = getattr(layer, option, wanted)  # older releases of Keras lack the newest options
        if got != wanted:
            raise _refusal(layer, option, got, repr(wanted))


def _built_dtype(layer: KerasLayer) -> str:
    if not layer.built:
        raise ValueError(
            f"from_keras: {named(layer)} is not built, so it has no weights: build the model, "
            "or call it, first"
        )
    name: str = layer.dtype_policy.name
    if name not in ("float32", "float64"):
        raise _refusal(layer, "dtype", name, "'float32', 'float64'")
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
        raise _refusal(layer, "activation", name, f"linear, {', '.join(ACTIVATIONS)}")
    return [ACTIVATIONS[name]()]


def _last_axis(layer: KerasLayer) -> None:
    # Keras gives an axis as it was written, or as a list
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    if list(axes) not in ([-1], [len(layer.get_build_config()["input_shape"]) - 1]):
        raise _refusal(layer, "axis", layer.axis, "-1, the last one")


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
            raise _refusal(layer, option, found[option], ", ".join(map(str, known)))
    return found


def _recurrent(keras: Any, layer: KerasLayer) -> list[Layer]:
    _require(layer, go_backwards=False)
    return _recurrent_parts(keras, [layer])


def _bidirectional(keras: Any, layer: KerasLayer) -> list[Layer]:
    _require(layer, merge_mode="concat")
    ahead, back = layer.forward_layer, layer.backward_layer
    for direction in (ahead, back):
        if type(direction) not in [getattr(keras.layers, name) for name in RECURRENT_NAMES]:
            raise _refusal(layer, "layer", type(direction).__name__, ", ".join(RECURRENT_NAMES))
    _require(ahead, go_backwards=False)
    if type(ahead) is not type(back):
        raise _refusal(layer, "backward_layer", type(back).__name__, type(ahead).__name__)
    same = ("units", "use_bias", "recurrent_dropout", "dropout")
    pair = [
        {option: getattr(d, option) for option in same}
        | {**_cell_options(keras, d), "dtype": d.dtype_policy.name}
        for d in (ahead, back)
    ]
    for option, value in pair[0].items():
        if pair[1][option] != value:
            raise _refusal(back, option, pair[1][option], f"{value!r}, as in the other direction")
    return _recurrent_parts(keras, [ahead, back])


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
        raise _refusal(layer, "layer", type(inner).__name__, ", ".join(known))
    return _convert(keras, inner)


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
        raise _refusal(layer, "strides", layer.strides, "(1,) with padding='same'")
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


_FROM: dict[str, Callable[[Any, KerasLayer], list[Layer]]] = {
    **dict.fromkeys(RECURRENT_NAMES, _recurrent),
    "Bidirectional": _bidirectional,
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
