"""Keras models as networks of this package, and back, or on the engine in place.

``pip install rnnfast[keras]`` and a backend of Keras; nothing of it is imported before one of the
functions is called. docs/switching.md says what carries over and what differs.
`rnnfast.init.keras`, which draws initial weights as Keras does, is no part of it.
"""

from .accelerate import accelerate, restore
from .read import from_keras, mask_lengths, without_masked
from .write import to_keras

__all__ = ["accelerate", "from_keras", "mask_lengths", "restore", "to_keras", "without_masked"]
