"""Recurrent networks at the speed of the processor."""

__version__ = "0.1.0"

from . import backend, datasets, losses, optim
from .core.runtime import get_num_threads, num_threads, set_num_threads, show_config
from .io import load, save
from .layers import (
    GRU,
    LSTM,
    RNN,
    BatchNorm1d,
    Conv1d,
    Dropout,
    Embedding,
    GatedConv1d,
    Last,
    LayerNorm,
    Linear,
    ReLU,
    RepeatVector,
    Sequential,
    Sigmoid,
    Tanh,
    WaveNet,
)
from .optim import SGD, Adam, AdamW, RMSprop, clip_grad_norm, clip_grad_value
from .training import Callback, History, evaluate, fit

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "SGD",
    "Adam",
    "AdamW",
    "BatchNorm1d",
    "Callback",
    "Conv1d",
    "Dropout",
    "Embedding",
    "GatedConv1d",
    "History",
    "Last",
    "LayerNorm",
    "Linear",
    "RMSprop",
    "ReLU",
    "RepeatVector",
    "Sequential",
    "Sigmoid",
    "Tanh",
    "WaveNet",
    "__version__",
    "backend",
    "clip_grad_norm",
    "clip_grad_value",
    "datasets",
    "evaluate",
    "fit",
    "get_num_threads",
    "load",
    "losses",
    "num_threads",
    "optim",
    "save",
    "set_num_threads",
    "show_config",
]
