"""What is random in training: elements dropped, noise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import backend
from ..checks import (
    check_flag,
    check_floats,
    check_positive,
    check_probability,
    check_seed,
    check_sequence,
)
from .base import Layer, Tape
from .masks import MaskSource, drawn, part_here

if TYPE_CHECKING:
    from ..arrays import Array


class Random(Layer):
    """Base of layers that draw from a source in `forward`, and do nothing at inference."""

    _source: MaskSource

    def _mask_sources(self) -> Iterator[MaskSource]:
        yield self._source

    def __call__(self, x: Array) -> Array:
        """Return x itself."""
        check_floats(type(self).__name__, "input", x)
        return x


class Dropout(Random):
    """Set elements to zero with probability `p` in `forward`, scaling the others by 1 / (1 - p).

    A plain call, which is inference, returns its input.

    Parameters
    ----------
    p : float, default 0.5
    seed : int or None
    all_steps : bool, default False
        Whether a feature is dropped at all steps of a sample or at none: the spatial dropout of
        Tompson et al. 2015, and that of inputs of Gal and Ghahramani 2016.
    batch_first : bool, default False
        As in the recurrent layers; of `all_steps` alone.
    """

    _steps_first = False  # whether inputs are (T, B, F) whatever the model's layout is

    def __init__(
        self,
        p: float = 0.5,
        seed: int | None = None,
        all_steps: bool = False,
        batch_first: bool | None = None,
    ) -> None:
        self.p = check_probability("Dropout", "p", p)
        self.seed = check_seed("Dropout", seed)
        self.all_steps = check_flag("Dropout", "all_steps", all_steps)
        if batch_first is not None and not all_steps:
            raise ValueError("Dropout expected batch_first only with all_steps, got it without")
        if self.all_steps:
            self.batch_first = check_flag("Dropout", "batch_first", batch_first or False)
        self._source = MaskSource(self.seed, self.p)
        self._create({})

    def forward(self, x: Array) -> tuple[Array, Tape]:
        """Return x with elements dropped, and the tape.

        Parameters
        ----------
        x : ndarray of float32 or float64, any shape
            With `all_steps` as a recurrent layer takes it.

        Returns
        -------
        y : ndarray
            Of the shape and dtype of x.
        tape : Tape
        """
        check_floats("Dropout", "input", x)
        shape = x.shape
        if self.all_steps:
            check_sequence("Dropout", x)
            axis = int(bool(self.batch_first) and x.ndim == 3)
            shape = *shape[:axis], 1, *shape[axis + 1 :]
        with self._lock:
            call = self._source.next_call()
        empty, dtype = backend.active().dense.empty, x.dtype.newbyteorder("=")

        def draw(shape: tuple[int, ...]) -> Array:
            mask = empty(shape, dtype)
            self._source.fill(call, 0, 0, mask[None, None])
            return mask

        mask = drawn(shape, part_here.get(), 1 if self._steps_first else None, draw)
        y = np.multiply(x, mask, out=np.empty(x.shape, mask.dtype))
        return y, Tape(self, (mask, x.shape))

    def backward(self, tape: Tape, dy: Array, input_grad: bool = True) -> Array | None:
        """Return the gradient of x, or None where `input_grad` is False."""
        mask, shape = self._open(tape)
        check_floats("Dropout", "dy", dy)
        if dy.shape != shape:
            raise ValueError(f"Dropout expected dy of shape {shape}, got {dy.shape}")
        tape.close()
        return np.multiply(dy, mask, out=None if self.all_steps else mask) if input_grad else None

    def _describe(self) -> str:
        return f"p={self.p}{', all_steps=True' * self.all_steps}"


class GaussianNoise(Random):
    """Add normal noise in `forward`; a plain call, which is inference, returns its input.

    Parameters
    ----------
    std : float
        Its standard deviation; its mean is 0.
    multiplied : bool, default False
        Whether elements are multiplied by 1 and the noise instead (Srivastava et al. 2014, section
        10); ``std = sqrt(p / (1 - p))`` is then Keras's ``GaussianDropout(p)``.
    seed : int or None
    """

    def __init__(self, std: float, multiplied: bool = False, seed: int | None = None) -> None:
        self.std = check_positive("GaussianNoise", "std", std)
        self.multiplied = check_flag("GaussianNoise", "multiplied", multiplied)
        self.seed = check_seed("GaussianNoise", seed)
        self._source = MaskSource(self.seed, 0.0)
        self._create({})

    def forward(self, x: Array) -> tuple[Array, Tape]:
        """Return x with noise, and the tape.

        Parameters
        ----------
        x : ndarray of float32 or float64, any shape

        Returns
        -------
        y : ndarray
            Of the shape and dtype of x.
        tape : Tape
        """
        check_floats("GaussianNoise", "input", x)
        with self._lock:
            seed = self._source.entropy, self._source.next_call()
        dtype: Any = x.dtype.newbyteorder("=")
        noise = drawn(
            x.shape,
            part_here.get(),
            None,
            lambda shape: np.random.default_rng(seed).standard_normal(shape, dtype),
        )
        noise *= self.std
        if self.multiplied:
            noise += 1
            return np.asarray(x * noise), Tape(self, (noise, dtype, x.shape))
        return np.asarray(x + noise), Tape(self, (None, dtype, x.shape))

    def backward(self, tape: Tape, dy: Array, input_grad: bool = True) -> Array | None:
        """Return the gradient of x, or None where `input_grad` is False."""
        noise, dtype, shape = self._open(tape)
        self._use_up(tape, dy, dtype, shape)
        return (dy if noise is None else np.asarray(dy * noise)) if input_grad else None
