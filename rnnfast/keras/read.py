"""Networks of Keras models."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import check_flag
from ..layers import Graph, Sequential
from .build import Builder
from .shared import keras_library

if TYPE_CHECKING:
    from ..arrays import Array


def from_keras(
    model: Any,
    *,
    weights: str | os.PathLike[str] | None = None,
    masks_as_lengths: bool = False,
) -> Sequential | Graph:
    """Return a network with the layers, the weights and the predictions of a Keras model.

    Parameters
    ----------
    model : keras.Sequential, functional model, layer, list of these, or path
        Built, with the weights to copy; a path is that of a ``.keras`` or ``.h5`` file, read by
        ``keras.saving.load_model`` in its safe mode. The layers of a list follow each other.
        docs/switching.md has a table of the layers that have an equal here.
    weights : path, optional
        A ``.weights.h5`` file, or weights of Keras 2, that ``model.load_weights`` reads: taken in
        place of the weights of `model`, which keeps its own.
    masks_as_lengths : bool, default False
        Whether to convert a model that masks steps (``Masking``, or ``Embedding`` with
        ``mask_zero``). There are no masks here: calls, `fit` and `evaluate` must then be given
        ``lengths``, such as `mask_lengths` finds, else padding counts as data.

    Returns
    -------
    Sequential or Graph
        A `Sequential` where each layer reads the one before, for a single layer too. It is flat
        and ``batch_first``; activations, the choice of the last step (`Last`), and the dropout
        that a recurrent layer applies to its inputs are layers of their own in it. A `Graph` has
        the inputs and the outputs of the model in their order.

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
        if os.fspath(model).endswith(".weights.h5"):
            raise ValueError(
                f"from_keras expected a file of a whole model, got {os.fspath(model)}: give the "
                "model, and this file as weights="
            )
        model = _loaded(model, lambda: _load_model(keras, model))
    if weights is None:
        return Builder(keras, masks_as_lengths).build(model)
    if not hasattr(model, "load_weights"):
        raise TypeError(
            f"from_keras expected weights only beside a Keras model, got {type(model).__name__}"
        )
    before = model.get_weights()
    try:
        _loaded(weights, lambda: model.load_weights(weights))
        return Builder(keras, masks_as_lengths).build(model)
    finally:
        model.set_weights(before)


def _loaded(path: Any, load: Callable[[], Any]) -> Any:
    with open(path, "rb"):  # its errors are plainer than Keras's
        pass
    try:
        return load()
    except (ImportError, MemoryError):
        raise
    except Exception as error:  # of Keras, of zip, of HDF5
        raise ValueError(f"{os.fspath(path)} is not what Keras can load: {error}") from error


def _load_model(keras: Any, path: Any) -> Any:
    if not os.fspath(path).endswith((".h5", ".hdf5")):
        return keras.saving.load_model(path, compile=False)
    import h5py  # which Keras needs as well

    with h5py.File(path, "r") as file:
        config = file.attrs.get("model_config", "")
    if "time_major" not in str(config):
        return keras.saving.load_model(path, compile=False)
    plain = json.dumps(_without_time_major(json.loads(config)))
    with TemporaryDirectory() as folder:
        copy = shutil.copy(path, folder)
        with h5py.File(copy, "r+") as file:
            file.attrs["model_config"] = plain
        return keras.saving.load_model(copy, compile=False)


def _without_time_major(config: Any) -> Any:
    # an option of Keras 2 that Keras 3 refuses
    if isinstance(config, list):
        return [_without_time_major(part) for part in config]
    if not isinstance(config, dict):
        return config
    if config.get("time_major"):
        raise ValueError(f"layer {config.get('name')!r} has time_major=True; supported: False")
    return {n: _without_time_major(value) for n, value in config.items() if n != "time_major"}


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
    kept = _kept("mask_lengths", np.asarray(x), mask_value)
    lengths = kept.sum(axis=1, dtype=np.int64)
    gaps = np.flatnonzero((kept != (np.arange(kept.shape[1]) < lengths[:, None])).any(axis=1))
    if len(gaps):
        raise ValueError(
            "mask_lengths expected padding behind each sequence only, got a masked step before "
            f"one that is not in sample {gaps[0]}; keras.utils.pad_sequences pads there with "
            "padding='post', and without_masked moves such steps"
        )
    return lengths


def without_masked(x: Any, mask_value: float = 0) -> tuple[Array, Array]:
    """Return sequences with the steps that Keras would mask moved behind all others, and lengths.

    Keras hands the state on over a masked step, wherever it is. So final states, last outputs and
    means over steps are those of the other steps alone, in their order; step t of an output for
    each step is that of the t-th step that is not masked.

    Parameters
    ----------
    x : (B, T) array_like of int, or (B, T, F) array_like
        Ids, as for ``Embedding(mask_zero=True)``, or features, as for ``Masking``.
    mask_value : float, default 0
        All features of a masked step have this value.

    Returns
    -------
    x : array of the same shape
    lengths : (B,) array of int64
        Steps of each sample that are not masked.

    Raises
    ------
    ValueError
        For another number of axes.
    """
    steps = np.asarray(x)
    kept = _kept("without_masked", steps, mask_value)
    order = np.argsort(~kept, axis=1, kind="stable")
    order = order.reshape(*order.shape, *(1,) * (steps.ndim - 2))
    return np.take_along_axis(steps, order, axis=1), kept.sum(axis=1, dtype=np.int64)


def _kept(owner: str, steps: Array, mask_value: float) -> Array:
    # (B, T): which steps are not masked
    if steps.ndim not in (2, 3):
        raise ValueError(f"{owner} expected x with 2 axes (ids) or 3 (features), got {steps.shape}")
    kept: Any = steps != float(mask_value)  # whose type does not widen that of the steps
    return kept.any(axis=2) if steps.ndim == 3 else kept
