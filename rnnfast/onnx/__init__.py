"""Models to and from ONNX's files: what other runtimes run, and what others exported."""

from .load import Model, Value, load
from .save import save

__all__ = ["Model", "Value", "load", "save"]
