"""Models to and from ONNX's files: what other runtimes run, and what others exported."""

from .load import load
from .model import Model
from .profile import Profile, Timing
from .proto import Value
from .save import save

__all__ = ["Model", "Profile", "Timing", "Value", "load", "save"]
