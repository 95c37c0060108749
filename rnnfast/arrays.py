"""The type of arrays, and conversions that the engine asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


def as_array(value: Any) -> Array:
    """Return an array_like, or a PyTorch tensor of any device, as an array."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype) == "torch.bfloat16":  # which NumPy does not have
            value = value.float()
    return np.asarray(value)


def contiguous(array: Array, dtype: np.dtype[Any]) -> Array:
    """Return `array`, or its copy where it is not C-contiguous, aligned and in native order."""
    if array.dtype == dtype and array.flags.c_contiguous and array.flags.aligned:
        return array
    return np.array(array, dtype, order="C")


def ready(array: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> bool:
    """Whether `array` has this type and shape and the engine can take it as it is.

    Quick, for calls of a single time step; what is not ready needs the checks and `contiguous`.
    """
    return (
        type(array) is np.ndarray
        and array.dtype == dtype
        and array.shape == shape
        and array.flags.carray
    )


def writable(arrays: dict[str, Array], name: str) -> Array:
    """Return an array of `arrays`; one that is read-only, memory-mapped say, is copied first."""
    if not arrays[name].flags.writeable:
        arrays[name] = np.array(arrays[name], order="C")
    return arrays[name]


def past_end(lengths: Array | None, steps: int) -> Array | None:
    """Return a (B, T) mask of the steps past each sample's end, or None where there are none."""
    return None if lengths is None else np.arange(steps) >= lengths[:, None]
