"""What both ways share: the Keras library, activations, cells and the order of their gates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..layers import GRU, LSTM, RNN, ReLU, Sigmoid, Softmax, Tanh
from ..layers.base import Layer
from ..layers.recurrent_base import Recurrent

if TYPE_CHECKING:
    from ..arrays import Array

    KerasLayer = Any

ACTIVATIONS: dict[str, type[Layer]] = {
    "relu": ReLU,
    "sigmoid": Sigmoid,
    "softmax": Softmax,
    "tanh": Tanh,
}
CELLS: dict[str, type[Recurrent]] = {"SimpleRNN": RNN, "LSTM": LSTM, "GRU": GRU}
# Keras's gate at each place of our order (i, f, g, o and r, z, n), and ours at each place of its
GATES = {"SimpleRNN": (0,), "LSTM": (0, 1, 2, 3), "GRU": (1, 0, 2)}


def keras_library() -> Any:
    """Return the Keras library; an error that names the extra where it is missing."""
    try:
        import keras
    except ImportError as error:
        raise ImportError(
            "rnnfast.keras needs the Keras library and a backend for it: pip install "
            "rnnfast[keras], and torch, jax or tensorflow, named by KERAS_BACKEND "
            f"({error})"
        ) from error
    return keras


def by_gates(kind: str, array: Array) -> Array:
    """Return gates of the last axis in our order from Keras's, or back."""
    gates = np.split(array, len(GATES[kind]), axis=-1)
    return np.concatenate([gates[g] for g in GATES[kind]], axis=-1)
