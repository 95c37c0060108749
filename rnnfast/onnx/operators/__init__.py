"""ONNX's operators around the recurrent ones, in NumPy: a module for each family of them."""

from . import elementwise, products, quantized, reductions, sequences, shapes
from .products import Product
from .registry import DTYPES, NEWEST, OLDEST, OPERATORS, WIDENED, find
from .shapes import reverse

__all__ = ["DTYPES", "NEWEST", "OLDEST", "OPERATORS", "WIDENED", "Product", "find", "reverse"]
__all__ += [
    "elementwise",
    "products",
    "quantized",
    "reductions",
    "sequences",
    "shapes",
]  # each enters its own when imported
