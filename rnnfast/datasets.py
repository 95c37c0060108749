"""Data to try things on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from .layers.base import check_flag, check_size

if TYPE_CHECKING:
    from .layers.base import Array

__all__ = ["pydoc_text", "sine_waves", "text_batches"]


def pydoc_text() -> str:
    """Return Python's own reference documentation, about 465,000 characters.

    Every Python carries it, as ``pydoc_data.topics``; the text differs a little between versions.
    """
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))


class text_batches:
    """Batches of consecutive pieces of a text, for truncated BPTT with carried state.

    The text is cut into `batch_size` streams; sample b of each batch continues sample b of the
    batch before. May be iterated over again and again, each time from the start.

    Parameters
    ----------
    ids : (N,) or (N, voices) array of int
        The text as symbols, one or several at each step.
    batch_size : int
        Number of streams, B.
    steps : int
        Time steps of each batch; the last one may be shorter.
    batch_first : bool, default False

    Yields
    ------
    x, y : (steps, batch_size) array, or (batch_size, steps) with ``batch_first``
        For several voices, with one axis more. y holds, for each symbol of x, the next one.

    Raises
    ------
    ValueError
        For a text too short to give every stream two symbols.
    """

    def __init__(self, ids: Array, batch_size: int, steps: int, batch_first: bool = False) -> None:
        batch_size = check_size("text_batches", "batch_size and steps", batch_size, 1)
        self.steps = check_size("text_batches", "batch_size and steps", steps, 1)
        self.batch_first = check_flag("text_batches", "batch_first", batch_first)
        ids = np.asarray(ids)
        if ids.ndim not in (1, 2) or ids.dtype.kind not in "iu":
            raise TypeError(
                "text_batches expected ids as integers on one axis, or two for several voices, "
                f"got {ids.dtype} {ids.shape}"
            )
        self.length = (len(ids) - 1) // batch_size  # of each stream
        if self.length < 1:
            raise ValueError(
                f"text_batches expected at least {batch_size + 1} symbols for {batch_size} "
                f"streams, got {len(ids)}"
            )
        used = self.length * batch_size
        shape = (batch_size, self.length, *ids.shape[1:])
        self.x = ids[:used].reshape(shape)
        self.y = ids[1 : used + 1].reshape(shape)

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-self.length // self.steps)

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        """Iterate over the batches."""
        for start in range(0, self.length, self.steps):
            x, y = (stream[:, start : start + self.steps] for stream in (self.x, self.y))
            yield (x, y) if self.batch_first else (x.swapaxes(0, 1), y.swapaxes(0, 1))


def sine_waves(n_series: int, n_steps: int, seed: int | None = None) -> Array:
    """Return time series that are each the sum of two random sine waves and noise.

    The data of the forecasting table in "Hands-On Machine Learning with Scikit-Learn, Keras, and
    TensorFlow", 2nd edition, chapter 15; with seed 42, the same numbers.

    Parameters
    ----------
    n_series, n_steps : int
    seed : int or None

    Returns
    -------
    (n_series, n_steps, 1) array of float32
    """
    n_series = check_size("sine_waves", "n_series", n_series, 0)
    n_steps = check_size("sine_waves", "n_steps", n_steps, 0)
    rand = np.random.RandomState(seed).rand
    frequency1, frequency2, offset1, offset2 = rand(4, n_series, 1)
    time = np.linspace(0, 1, n_steps)
    series = 0.5 * np.sin((time - offset1) * (frequency1 * 10 + 10))
    series += 0.2 * np.sin((time - offset2) * (frequency2 * 20 + 20))
    series += 0.1 * (rand(n_series, n_steps) - 0.5)
    return series[..., np.newaxis].astype(np.float32)
