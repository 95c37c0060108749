"""ONNX's operators around the recurrent ones, in NumPy: a module for each family of them."""

# each of the modules enters its own
from . import elementwise, products, quantized, reductions, sequences, shapes  # noqa: F401
from .products import Product
from .registry import DTYPES, NEWEST, OLDEST, OPERATORS, WIDENED, find
from .shapes import reverse

__all__ = ["DTYPES", "NEWEST", "OLDEST", "OPERATORS", "WIDENED", "Product", "find", "reverse"]
