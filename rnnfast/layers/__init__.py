"""Layers: parameters and calls."""

from .activation import ReLU, Sigmoid, Tanh
from .conv import Conv1d, GatedConv1d, WaveNet
from .dropout import Dropout
from .embedding import Embedding
from .linear import Linear
from .norm import BatchNorm1d, LayerNorm
from .pooling import Pool
from .recurrent import GRU, LSTM, RNN
from .sequential import Last, RepeatVector, Sequential

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "BatchNorm1d",
    "Conv1d",
    "Dropout",
    "Embedding",
    "GatedConv1d",
    "Last",
    "LayerNorm",
    "Linear",
    "Pool",
    "ReLU",
    "RepeatVector",
    "Sequential",
    "Sigmoid",
    "Tanh",
    "WaveNet",
]
