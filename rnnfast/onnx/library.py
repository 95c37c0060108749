"""The onnx library, imported when it is needed."""

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
