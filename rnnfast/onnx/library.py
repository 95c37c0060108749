"""The onnx library and ONNX Runtime, imported when they are needed."""

from __future__ import annotations

from typing import Any


def onnx_library() -> Any:
    """Return the onnx library; an error that names the extra where it is missing."""
    try:
        import onnx
    except ImportError as error:
        raise ImportError(
            "rnnfast.onnx needs the onnx library: pip install rnnfast[onnx]"
        ) from error
    return onnx


def onnxruntime_library() -> Any:
    """Return ONNX Runtime; an error that names the extra where it is missing."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError("ONNX Runtime is missing: pip install rnnfast[onnxruntime]") from error
    return onnxruntime
