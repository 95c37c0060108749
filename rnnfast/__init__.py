"""Recurrent networks at the speed of the processor."""

from typing import TYPE_CHECKING

from . import backend, datasets, init, layers, losses, optim, plots
from .callbacks import Callback, Checkpoint, CSVLog, EarlyStopping, History
from .core.runtime import get_num_threads, num_threads, set_num_threads
from .info import show_config
from .io import load, load_arrays, save
from .layers import *  # noqa: F403
from .optim import SGD, Adam, AdamW, Nadam, RMSprop, clip_grad_norm, clip_grad_value
from .schedules import CosineAnnealingLR, ExponentialLR, OneCycleLR, ReduceLROnPlateau, StepLR
from .shards import Shards
from .training import evaluate, fit
from .version import __version__

if TYPE_CHECKING:  # what __getattr__ imports when it is asked for
    from . import dask as dask
    from . import keras as keras
    from . import mpi as mpi
    from . import onnx as onnx
    from . import torch as torch
    from .estimators import Forecaster as Forecaster
    from .estimators import LanguageModel as LanguageModel
    from .estimators import LinearForecaster as LinearForecaster
    from .estimators import NaiveForecaster as NaiveForecaster
    from .estimators import Seq2Seq as Seq2Seq
    from .estimators import SequenceClassifier as SequenceClassifier
    from .estimators import SequenceLabeler as SequenceLabeler
    from .estimators import SequenceRegressor as SequenceRegressor

_ESTIMATORS = (
    "Forecaster",
    "LanguageModel",
    "LinearForecaster",
    "NaiveForecaster",
    "Seq2Seq",
    "SequenceClassifier",
    "SequenceLabeler",
    "SequenceRegressor",
)

# submodules that import what they are named after
_BRIDGES = ("dask", "keras", "mpi", "onnx", "torch")

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "CSVLog",
    "Callback",
    "Checkpoint",
    "CosineAnnealingLR",
    "EarlyStopping",
    "ExponentialLR",
    "History",
    "Nadam",
    "OneCycleLR",
    "RMSprop",
    "ReduceLROnPlateau",
    "Shards",
    "StepLR",
    "__version__",
    "backend",
    "clip_grad_norm",
    "clip_grad_value",
    "datasets",
    "evaluate",
    "fit",
    "get_num_threads",
    "init",
    "load",
    "load_arrays",
    "losses",
    "num_threads",
    "optim",
    "plots",
    "save",
    "set_num_threads",
    "show_config",
]
__all__ += layers.__all__


def __getattr__(name: str) -> object:
    # estimators need scikit-learn, which takes a second to import
    if name in _ESTIMATORS:
        from . import estimators

        return getattr(estimators, name)
    if name in _BRIDGES:
        from importlib import import_module

        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_ESTIMATORS, *_BRIDGES})
