"""Quantised operators: whole numbers with a scale and a zero point."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .products import conv
from .registry import DTYPES, operator

if TYPE_CHECKING:
    from ...arrays import Array

UINT8 = 2  # of TensorProto's element types


def _along(numbers: Array, axis: int, axes: int) -> Array:
    # one number, or one for each place of an axis
    if numbers.ndim == 0 or numbers.size == 1:
        return numbers.reshape(())
    return numbers.reshape([-1 if place == axis % axes else 1 for place in range(axes)])


def _rounded(x: Array, zero: Array, dtype: np.dtype[np.generic]) -> Array:
    limits = np.iinfo(dtype)  # type: ignore[type-var]
    return np.clip(np.rint(x) + zero, limits.min, limits.max).astype(dtype)


@operator("QuantizeLinear", only={"block_size": 0, "precision": 0})
def quantize_linear(
    x: Array,
    y_scale: Array,
    y_zero_point: Array | None = None,
    axis: int = 1,
    saturate: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
    precision: int = 0,
) -> Array:
    """Return ``x / y_scale`` rounded, half to even, above the zero point."""
    dtype = np.dtype(DTYPES[output_dtype or UINT8][1])
    zero = np.zeros((), dtype) if y_zero_point is None else y_zero_point
    scale = _along(y_scale, axis, x.ndim)
    return _rounded(x / scale, _along(zero, axis, x.ndim).astype(np.float64), zero.dtype)


@operator("DequantizeLinear", only={"block_size": 0, "output_dtype": 0})
def dequantize_linear(
    x: Array,
    x_scale: Array,
    x_zero_point: Array | None = None,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
) -> Array:
    """Return ``(x - x_zero_point) x_scale``."""
    wide = x.astype(np.int64)
    if x_zero_point is not None:
        wide = wide - _along(x_zero_point, axis, x.ndim)
    return wide.astype(x_scale.dtype) * _along(x_scale, axis, x.ndim)


@operator("DynamicQuantizeLinear", outputs=3)
def dynamic_quantize_linear(x: Array) -> tuple[Array, Array, Array]:
    """Return x in 255 steps from its least to its largest number, 0 among them."""
    least, largest = np.minimum(x.min(), 0), np.maximum(x.max(), 0)
    scale = (largest - least) / np.float32(255)
    scale = scale if scale else np.float32(1)
    zero = np.clip(np.rint(-least / scale), 0, 255)
    dtype = np.dtype(np.uint8)
    return _rounded(x / scale, zero, dtype), np.asarray(scale), np.asarray(zero.astype(dtype))


def _wide(x: Array, zero: Array | None) -> Array:
    # float64 holds every sum of products of 8 bits, and BLAS has it
    return x.astype(np.float64) - (0 if zero is None else zero)


@operator("MatMulInteger")
def matmul_integer(
    a: Array,
    b: Array,
    a_zero_point: Array | None = None,
    b_zero_point: Array | None = None,
) -> Array:
    """Return the product of a and b less their zero points, one for each row and column."""
    if a_zero_point is not None and a_zero_point.ndim == 1 and a_zero_point.size > 1:
        a_zero_point = a_zero_point[:, None]
    return (_wide(a, a_zero_point) @ _wide(b, b_zero_point)).astype(np.int32)


@operator("ConvInteger")
def conv_integer(
    x: Array,
    w: Array,
    x_zero_point: Array | None = None,
    w_zero_point: Array | None = None,
    **attributes: Any,
) -> Array:
    """Return a convolution of whole numbers less their zero points."""
    if w_zero_point is not None:  # one, or one for each output channel
        w_zero_point = w_zero_point.reshape(-1, *[1] * (w.ndim - 1))
    return conv(_wide(x, x_zero_point), _wide(w, w_zero_point), **attributes).astype(np.int32)
