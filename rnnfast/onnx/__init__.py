"""ONNX: models of rnnfast as graphs that other runtimes run."""

from .save import save

__all__ = ["save"]
