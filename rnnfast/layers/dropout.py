"""Dropout of elements."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from .. import backend
from ..checks import check_floats, check_probability, check_seed
from .base import Layer, Tape
from .masks import MaskSource

if TYPE_CHECKING:
    from ..arrays import Array


class Dropout(Layer):
    """Set elements to zero with probability `p` in `forward`, scaling the others by 1 / (1 - p).

    A plain call, which is inference, returns its input.

    Parameters
    ----------
    p : float, default 0.5
    seed : int or None
    """

    _arguments = ("p", "seed")

    def __init__(self, p: float = 0.5, seed: int | None = None) -> None:
        self.p = check_probability("Dropout", "p", p)
        self.seed = check_seed("Dropout", seed)
        self._source = MaskSource(self.seed, self.p)
        self._create({})

    def _mask_sources(self) -> Iterator[MaskSource]:
        yield self._source

    def __call__(self, x: Array) -> Array:
        """Return x itself."""
        check_floats("Dropout", "input", x)
        return x

    def forward(self, x: Array) -> tuple[Array, Tape]:
        """Return x with elements dropped, and the tape.

        Parameters
        ----------
        x : ndarray of float32 or float64, any shape

        Returns
        -------
        y : ndarray
            Of the shape and dtype of x.
        tape : Tape
        """
        check_floats("Dropout", "input", x)
        with self._lock:
            call = self._source.next_call()
        mask = backend.active().dense.empty(x.shape, x.dtype.newbyteorder("="))
        self._source.fill(call, 0, 0, mask[None, None])
        return np.multiply(x, mask, out=np.empty_like(mask)), Tape(self, mask)

    def backward(self, tape: Tape, dy: Array, input_grad: bool = True) -> Array | None:
        """Return the gradient of x, or None where `input_grad` is False."""
        mask = self._open(tape)
        check_floats("Dropout", "dy", dy)
        if dy.shape != mask.shape:
            raise ValueError(f"Dropout expected dy of shape {mask.shape}, got {dy.shape}")
        tape.close()
        return np.multiply(dy, mask, out=mask) if input_grad else None

    def _describe(self) -> str:
        return f"p={self.p}"
