"""Layers: parameters and calls."""

from .dropout import Dropout
from .embedding import Embedding
from .linear import Linear
from .norm import LayerNorm
from .pooling import Pool
from .recurrent import GRU, LSTM, RNN
from .sequential import Last, Sequential

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Dropout",
    "Embedding",
    "Last",
    "LayerNorm",
    "Linear",
    "Pool",
    "Sequential",
]
