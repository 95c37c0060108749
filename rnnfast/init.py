"""Initial weights other than PyTorch's, which every layer draws for itself.

Functions have the name of the framework that starts so: `rnnfast.init.keras` is no part of
`rnnfast.keras`, which converts models, and needs no Keras.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .checks import check_seed
from .layers.base import Layer
from .layers.embedding import Embedding
from .layers.parameters import Parameters
from .layers.recurrent_base import Recurrent
from .layers.sequential import with_parts

if TYPE_CHECKING:
    from .arrays import Array

__all__ = ["keras"]


def keras(model: Layer, seed: int | None = None) -> None:
    """Draw all weights of a model anew, as the layers of Keras start.

    Weights of inputs, dense layers and convolutions from the uniform distribution of Glorot and
    Bengio (2010), those of a recurrence as the orthogonal matrix of Saxe et al. (2014), peepholes
    from uniform(-sqrt(3/H), sqrt(3/H)), which is Glorot's for a vector of H, as those of TensorFlow
    Addons' PeepholeLSTMCell, embeddings from uniform(-0.05, 0.05), biases 0, but 1 for a forget
    gate (Jozefowicz et al. 2015). Scales and statistics of normalising layers stay. The weights
    that a model of Keras has already come with `rnnfast.keras.from_keras`.

    Parameters
    ----------
    model : Layer
        Changed in place.
    seed : int or None
    """
    if not isinstance(model, Layer):
        raise TypeError(f"keras expected model as a layer, got {type(model).__name__}")
    rng = np.random.default_rng(check_seed("keras", seed))
    for layer in with_parts(model):
        if isinstance(layer.params, Parameters):  # of its own, not its parts'
            for name, value in layer.params.items():
                if name.startswith("bias"):
                    layer.params[name] = _bias(layer, name, value)
                elif value.ndim > 1 or name.startswith("weight_ch"):
                    layer.params[name] = _weight(layer, name, value, rng)


def _bias(layer: Layer, name: str, value: Array) -> Array:
    bias = np.zeros(value.shape)
    if isinstance(layer, Recurrent) and name.startswith("bias_ih"):
        names = layer.network.cell.gate_names
        if "forget" in names:
            bias.reshape(len(names), -1)[names.index("forget")] = 1.0
    return bias


def _weight(layer: Layer, name: str, value: Array, rng: np.random.Generator) -> Array:
    if isinstance(layer, Embedding):
        return rng.uniform(-0.05, 0.05, value.shape)
    if name.startswith("weight_hh"):
        q, r = np.linalg.qr(rng.standard_normal(value.shape))
        return q * np.sign(np.diag(r))  # else q would not be uniform over orthogonal matrices
    if isinstance(layer, Recurrent) and name.startswith("weight_ch"):
        fans = 2 * layer.hidden_size
    else:
        fans = math.prod(value.shape[2:]) * sum(value.shape[:2])  # the first: taps of a convolution
    bound = math.sqrt(6.0 / fans)
    return rng.uniform(-bound, bound, value.shape)
