"""Layers: parameters and calls."""

from .activation import Activation, ReLU, Sigmoid, Softmax, Tanh
from .add import Add
from .attention import BahdanauAttention, LuongAttention
from .conv import Conv1d, GatedConv1d, WaveNet
from .dropout import Dropout, GaussianNoise
from .embedding import Embedding, JoinedEmbedding
from .graph import Graph
from .linear import Linear
from .merge import Dot, Merge
from .norm import BatchNorm1d, LayerNorm, Scale
from .pooling import Pool, Pool1d
from .rearrange import Rearrange
from .recurrent import GRU, LSTM, RNN, MinGRU, MinLSTM
from .rocket import MiniRocket
from .seq2seq import EncoderDecoder
from .sequential import TYPES, Sequential
from .time_axis import Last, RepeatVector

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Activation",
    "Add",
    "BahdanauAttention",
    "BatchNorm1d",
    "Conv1d",
    "Dot",
    "Dropout",
    "Embedding",
    "EncoderDecoder",
    "GatedConv1d",
    "GaussianNoise",
    "Graph",
    "JoinedEmbedding",
    "Last",
    "LayerNorm",
    "Linear",
    "LuongAttention",
    "Merge",
    "MinGRU",
    "MinLSTM",
    "MiniRocket",
    "Pool",
    "Pool1d",
    "ReLU",
    "Rearrange",
    "RepeatVector",
    "Scale",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "WaveNet",
]

TYPES.update((name, globals()[name]) for name in __all__)
