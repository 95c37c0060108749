"""Masks that can be drawn again, and the random sources that they come from."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import backend, weights
from ..checks import check_keys, check_size

if TYPE_CHECKING:
    from ..arrays import Array


class Part(NamedTuple):
    """What one of several processes has of the samples of a batch."""

    samples: int  # of the batch
    rows: slice  # those of this process
    time_first: bool  # whether arrays with an axis of time have it first

    def axis(self, ndim: int) -> int:
        """Return the axis of samples of an array that a layer is called with."""
        return int(self.time_first and ndim > 2)


# Where processes learn from parts of a batch: the part of the batch that is learnt from
part_here: ContextVar[Part | None] = ContextVar("rnnfast_part", default=None)


def drawn(
    shape: tuple[int, ...],
    part: Part | None,
    axis: int | None,
    draw: Callable[[tuple[int, ...]], Array],
) -> Array:
    """Return random numbers: of a part of a batch those that one process draws for its samples.

    `axis` is that of samples, None for the one that layers are called with. ``draw(shape)`` returns
    an array, of a whole batch where there is a part.
    """
    if part is None:
        return draw(shape)
    axis = part.axis(len(shape)) if axis is None else axis
    own = range(part.samples)[part.rows]
    if shape[axis] != len(own):  # a call with other samples, of a callback say
        return draw(shape)
    whole = draw((*shape[:axis], part.samples, *shape[axis + 1 :]))
    return np.ascontiguousarray(whole[(slice(None),) * axis + (part.rows,)])


class MaskSource:
    """Random masks that depend on (seed, call, index, row) alone.

    A chunk of rows can thus be drawn again without the rows before it. The probability is rounded
    to a multiple of 2**-24, the scale is exact for the rounded one.

    Parameters
    ----------
    seed : int or None
    p : float
        Probability of a zero.
    value : float, optional
        What the others are; default 1 / (1 - p), as for dropout.
    """

    def __init__(self, seed: int | None, p: float, value: float | None = None) -> None:
        self.kept = round((1.0 - p) * 2**24)
        self.value = 2**24 / max(self.kept, 1) if value is None else value
        self.load_state_dict({"entropy": np.random.SeedSequence(seed).entropy, "calls": 0})

    def next_call(self) -> int:
        """Return the number of a new call; the caller holds a lock."""
        self.calls += 1
        return self.calls

    def state_dict(self) -> dict[str, Any]:
        """Return what the next masks depend on."""
        return {"entropy": self.entropy, "calls": self.calls}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned; raises before anything changes."""
        check_keys("MaskSource", "a state", state_dict, ("entropy", "calls"))
        calls = check_size("MaskSource", "calls", state_dict["calls"], 0)
        entropy = check_size("MaskSource", "entropy", state_dict["entropy"], 0)
        self.entropy, self.calls = entropy, calls
        words = np.random.SeedSequence(self.entropy).generate_state(4)
        self.key = tuple(int(word) for word in words)

    def fill(self, call: int, index: int, start: int, out: Array) -> Array:
        """Write masks, of rows start, start + 1, ... each, zero or `value`, and return `out`.

        The first is number `index` of the call, the others follow it. `out` is C-contiguous,
        (masks, rows, ...).
        """
        rows = out.reshape(*out.shape[:2], math.prod(out.shape[2:]))
        dense = backend.active().dense
        dense.fill_mask(self.key, call, index, start, self.kept, self.value, rows)
        return out


class Masks(NamedTuple):
    """The masks of one call of a recurrent layer: of any of its steps, the same at every draw.

    Letters as in `Recurrent`. The kinds, in the engine's order: dropout between layers, of h in the
    recurrence, zoneout of h and of c.
    """

    sources: tuple[MaskSource | None, ...]  # of each kind
    shapes: tuple[tuple[int, ...], ...]  # of a row: a step's, or, in the recurrence, a sample's
    call: int
    num_layers: int
    num_directions: int
    batch: int
    dtype: np.dtype[Any]
    shared: Part | None = None  # what the samples are a part of

    def _draw(self, kind: int, entries: range, start: int, stop: int) -> Array | None:
        source = self.sources[kind]
        if source is None:
            return None
        shape = len(entries), stop - start, *self.shapes[kind]
        empty = backend.active().dense.empty
        first = kind * self.num_layers * self.num_directions  # kinds of one seed must not be alike

        def draw(shape: tuple[int, ...]) -> Array:
            return source.fill(self.call, first + entries.start, start, empty(shape, self.dtype))

        # in the recurrence a row is a sample, else a step
        return drawn(shape, self.shared, 1 if kind == 1 else 2, draw)

    def between(self, layers: range, start: int, stop: int) -> Array | None:
        """Return the factors on the outputs of `layers`, (layers, steps, B, D*K)."""
        return self._draw(0, layers, start, stop)

    def _recurrence(self, parts: range, start: int, stop: int) -> weights.Masks:
        zone_h, zone_c = (self._draw(kind, parts, start, stop) for kind in (2, 3))
        return weights.Masks(None, self._draw(1, parts, 0, self.batch), zone_h, zone_c)

    def whole(self, start: int, stop: int) -> weights.Masks:
        """Return the engine's masks of steps [start, stop) of the whole network."""
        parts = range(self.num_layers * self.num_directions)
        between = self.between(range(self.num_layers - 1), start, stop)
        return self._recurrence(parts, start, stop)._replace(between=between)

    def part(self, k: int, start: int, stop: int) -> weights.Masks:
        """Return those of layer and direction `k`, a network of its own."""
        return self._recurrence(range(k, k + 1), start, stop)
