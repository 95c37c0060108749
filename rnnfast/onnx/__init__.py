"""Models to and from ONNX's files; needs ``pip install rnnfast[onnx]``."""

from .load import Model, Value, load

__all__ = ["Model", "Value", "load"]
