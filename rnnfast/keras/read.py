"""Networks of Keras models."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import check_flag
from ..layers import Graph, Sequential
from .build import Builder
from .shared import keras_library

if TYPE_CHECKING:
    from ..arrays import Array


def from_keras(model: Any, *, masks_as_lengths: bool = False) -> Sequential | Graph:
    """Return a network with the layers, the weights and the predictions of a Keras model.

    Parameters
    ----------
    model : keras.Sequential, functional model, layer, list of these, or path
        Built, with the weights to copy; a path is that of a ``.keras`` or ``.h5`` file, read by
        ``keras.saving.load_model`` in its safe mode. The layers of a list follow each other.
        Layers are ``SimpleRNN``, ``LSTM``, ``GRU``,
        ``Bidirectional``, ``Embedding``, ``Dense``, ``TimeDistributed`` of layers
        that act on each step alone, ``Conv1D``, ``LayerNormalization``, ``BatchNormalization``,
        ``Dropout``, ``Activation``, ``ReLU``, ``Softmax``, ``GlobalAveragePooling1D``,
        ``GlobalMaxPooling1D``, ``RepeatVector`` and ``Masking``.
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
        with open(model, "rb"):  # its errors are plainer than Keras's
            pass
        try:
            model = keras.saving.load_model(model, compile=False)
        except (ImportError, MemoryError):
            raise
        except Exception as error:  # of Keras, of zip, of HDF5
            path = os.fspath(model)
            raise ValueError(f"{path} is not a model that Keras can load: {error}") from error
    return Builder(keras, masks_as_lengths).build(model)


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
