"""What both ways share: the Keras library, activations, cells and the order of their gates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..cells import CELLS, Keras
from ..layers import Activation, ReLU, Sigmoid, Softmax, Tanh
from ..layers.base import Layer

if TYPE_CHECKING:
    from ..arrays import Array

    KerasLayer = Any

ACTIVATIONS: dict[str, Callable[[], Layer]] = {
    "relu": ReLU,
    "sigmoid": Sigmoid,
    "softmax": Softmax,
    "tanh": Tanh,
    "elu": partial(Activation, "elu"),
    "exponential": partial(Activation, "exp"),
    "gelu": partial(Activation, "gelu"),
    "hard_sigmoid": partial(Activation, "hard_sigmoid"),
    "hard_silu": partial(Activation, "hard_silu"),
    "leaky_relu": partial(Activation, "leaky_relu", 0.2),
    "mish": partial(Activation, "mish"),
    "relu6": partial(Activation, "relu6"),
    "selu": partial(Activation, "selu"),
    "silu": partial(Activation, "silu"),
    "softplus": partial(Activation, "softplus"),
    "softsign": partial(Activation, "softsign"),
}
# how two directions are merged: Keras's modes by our kinds
MERGE_MODES = {"concat": "concat", "sum": "sum", "product": "mul", "mean": "ave"}
# the cells as Keras has them, by our names
RECURRENT = {name: cell.keras for name, cell in CELLS.items() if cell.keras is not None}


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


def by_gates(kind: Keras, array: Array) -> Array:
    """Return gates of the last axis in our order from Keras's, or back."""
    gates = np.split(array, len(kind.order), axis=-1)
    return np.concatenate([gates[g] for g in kind.order], axis=-1)


def by_layer(layer: Any, arrays: list[Any]) -> Iterator[list[Any]]:
    """Yield the arrays of a state for each layer, h and c of one direction behind the other's."""
    D, n = layer.network.directions, layer.network.stack
    for start in range(0, n, D):
        yield [arrays[k] for d in range(start, start + D) for k in range(d, len(arrays), n)]
