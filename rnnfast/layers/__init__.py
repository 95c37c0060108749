"""Layers: parameters and calls."""

from .attention import BahdanauAttention, LuongAttention
from .dropout import Dropout
from .embedding import Embedding, JoinedEmbedding
from .linear import Linear
from .norm import LayerNorm
from .pooling import Pool
from .recurrent import GRU, LSTM, RNN
from .seq2seq import EncoderDecoder
from .sequential import Last, Sequential

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "BahdanauAttention",
    "Dropout",
    "Embedding",
    "EncoderDecoder",
    "JoinedEmbedding",
    "Last",
    "LayerNorm",
    "Linear",
    "LuongAttention",
    "Pool",
    "Sequential",
]
