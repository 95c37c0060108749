"""Recurrent networks at the speed of the processor."""

__version__ = "0.1.0"

from . import backend, datasets, losses, optim
from .callbacks import Callback, EarlyStopping, History
from .core.runtime import get_num_threads, num_threads, set_num_threads, show_config
from .io import load, save
from .layers import (
    GRU,
    LSTM,
    RNN,
    BahdanauAttention,
    Dropout,
    Embedding,
    EncoderDecoder,
    JoinedEmbedding,
    Last,
    LayerNorm,
    Linear,
    LuongAttention,
    Pool,
    Sequential,
)
from .optim import SGD, Adam, AdamW, RMSprop, clip_grad_norm, clip_grad_value
from .training import evaluate, fit

_ESTIMATORS = (
    "LanguageModel",
    "Seq2Seq",
    "SequenceClassifier",
    "SequenceLabeler",
    "SequenceRegressor",
)

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "SGD",
    "Adam",
    "AdamW",
    "BahdanauAttention",
    "Callback",
    "Dropout",
    "EarlyStopping",
    "Embedding",
    "EncoderDecoder",
    "History",
    "JoinedEmbedding",
    "Last",
    "LayerNorm",
    "Linear",
    "LuongAttention",
    "Pool",
    "RMSprop",
    "Sequential",
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


def __getattr__(name: str) -> object:
    # estimators need scikit-learn, which takes a second to import
    if name in _ESTIMATORS:
        from . import estimators

        return getattr(estimators, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
