"""BPTT over long sequences in less memory: only every k-th state is stored, the rest recomputed.

Where time runs one way, the whole stack of layers goes through a chunk of k steps at a time. A
bidirectional layer needs the whole output of the layer below, so there each layer and direction
is a network of its own. Its reverse direction reads every sample backward from the sample's own
end and is then an ordinary forward one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..weights import Weights

if TYPE_CHECKING:
    from ..arrays import Array
    from ..network import Packed
    from .masks import Masks


class Run:
    """One packed network on one input, in chunks of k steps."""

    def __init__(
        self,
        packed: Packed,
        x: Array,
        lengths: Array | None,
        masks: Callable[[int, int], Any] | None,
        k: int,
        reverse: bool = False,
        resets: Array | None = None,
    ) -> None:
        T, B, _ = x.shape
        if reverse and lengths is None:
            lengths = np.full(B, T)
        self.packed, self.x, self.masks = packed, x, masks
        self.lengths, self.reverse = lengths, reverse
        self.resets = self._mirror_resets(resets) if reverse and resets is not None else resets
        self.chunks = [(start, min(start + k, T)) for start in range(0, T, k)]
        self.states: list[tuple[Array, Array | None]] = []  # before each chunk
        self.row: tuple[int, ...] = ()  # shape of one step of the outputs

    def forward(self, h0: Array | None, c0: Array | None, y: Array) -> tuple[Array, Array | None]:
        """Write y, return the final states, and keep no more than the states before each chunk."""
        h, c = self.packed.network.states(self.x.shape[1], self.x.dtype)
        h[...] = 0.0 if h0 is None else h0
        if c is not None:
            c[...] = 0.0 if c0 is None else c0
        self.row = y.shape[1:]
        if self.reverse:
            y[...] = 0.0
        for chunk in self.chunks:
            self.states.append((h, c))
            out = self._scratch(chunk, self.row) if self.reverse else y[slice(*chunk)]
            h, c, _ = self._step(chunk, h, c, out, training=False)
            if self.reverse:
                time, valid = self._mirror(chunk)
                y[time[valid], valid.nonzero()[1]] = out[valid]
        return h, c

    def backward(
        self,
        dy: Array | None,
        dh: Array | None,
        dc: Array | None,
        dx: Array | None,
        dh0: Array,
        dc0: Array | None,
        grads: Any,
    ) -> None:
        """As the engine's `backward`, but in reverse `dx` is added into."""
        dh0[...] = 0.0 if dh is None else dh
        if dc0 is not None:
            dc0[...] = 0.0 if dc is None else dc
        for chunk in reversed(self.chunks):
            y = self._scratch(chunk, self.row)
            _, _, tape = self._step(chunk, *self.states.pop(), y, training=True)
            dh_n, dc_n = dh0.copy(), None if dc0 is None else dc0.copy()
            dx_part = dx
            if dx is not None:
                dx_part = self._scratch(chunk, dx.shape[1:]) if self.reverse else dx[slice(*chunk)]
            dy_part = None if dy is None else self._read(chunk, dy)
            self.packed.backward(tape, dy_part, dh_n, dc_n, dx_part, dh0, dc0, grads)
            if self.reverse and dx_part is not None and dx is not None:
                time, valid = self._mirror(chunk)
                dx[time[valid], valid.nonzero()[1]] += dx_part[valid]

    def _step(
        self, chunk: tuple[int, int], h: Array, c: Array | None, y: Array, training: bool
    ) -> tuple[Array, Array | None, Any]:
        lengths, (start, stop) = self.lengths, chunk
        if lengths is not None:
            lengths = np.clip(lengths - start, 0, stop - start)
        masks = None if self.masks is None else self._draw(self.masks, *chunk)
        resets = None if self.resets is None else self.resets[slice(*chunk)]
        x = self._read(chunk, self.x)
        return self.packed.forward(x, h, c, lengths, masks, y, training, resets)

    def _draw(self, masks: Callable[[int, int], Any], start: int, stop: int) -> Any:
        if not self.reverse:
            return masks(start, stop)
        time, _ = self._mirror((start, stop))
        if time.size:  # each sample reads others of these steps
            start, stop = int(time.min()), int(time.max()) + 1
        drawn, rows = masks(start, stop), np.arange(time.shape[1])
        zones = {
            name: None if zone is None else zone[:, time - start, rows]
            for name, zone in (("zone_h", drawn.zone_h), ("zone_c", drawn.zone_c))
        }
        return drawn._replace(**zones)

    def _read(self, chunk: tuple[int, int], array: Array) -> Array:
        if not self.reverse:
            return array[slice(*chunk)]
        time, _ = self._mirror(chunk)
        return array[time, np.arange(time.shape[1])]

    def _mirror(self, chunk: tuple[int, int]) -> tuple[Array, Array]:
        # the time step that stands for each step of the chunk, and whether there is one, (k, B)
        assert self.lengths is not None
        time = self.lengths - 1 - np.arange(*chunk)[:, None]
        return np.maximum(time, 0), time >= 0

    def _mirror_resets(self, resets: Array) -> Array:
        # a step starts anew where the one after it, which is read before it, does
        time, valid = self._mirror((0, len(resets)))
        out: Array = valid & resets[np.minimum(time + 1, len(resets) - 1), np.arange(time.shape[1])]
        out[:1] = False
        return out

    def _scratch(self, chunk: tuple[int, int], row: tuple[int, ...]) -> Array:
        return np.empty((chunk[1] - chunk[0], *row), self.x.dtype)


class Recomputed:
    """A network that stores its state at every k-th step only; it is called as `Packed` is.

    Parameters
    ----------
    packs : sequence of Packed
        The network, or, of a bidirectional one, each layer and direction.
    k : int
    """

    def __init__(self, packs: Sequence[Packed], k: int) -> None:
        self.packs, self.k = packs, k

    def forward(
        self,
        x: Array,
        h0: Array | None,
        c0: Array | None,
        lengths: Array | None,
        masks: Masks | None,
        y: Array,
        training: bool,
        resets: Array | None = None,
    ) -> tuple[Array, Array | None, Callable[..., None]]:
        """As that of `Packed`; `masks` are drawn anew whenever steps are run."""
        if len(self.packs) == 1:
            drawn = None if masks is None else masks.whole
            run = Run(self.packs[0], x, lengths, drawn, self.k, resets=resets)
            return *run.forward(h0, c0, y), run.backward

        runs: list[Run] = []
        ends: list[tuple[Array, Array | None]] = []
        below = x
        for layer in range(len(self.packs) // 2):
            last = layer == len(self.packs) // 2 - 1
            out = y if last else np.empty(y.shape, y.dtype)
            for d in range(2):
                i = 2 * layer + d
                drawn = None if masks is None else partial(masks.part, i)
                run = Run(self.packs[i], below, lengths, drawn, self.k, d == 1, resets)
                ends.append(run.forward(part(h0, i), part(c0, i), half(out, d)))
                runs.append(run)
            if masks is not None and not last:
                mask_layer(masks, layer, run.chunks, out)
            below = out
        h_n = np.concatenate([h for h, _ in ends])
        c = [c for _, c in ends if c is not None]
        return h_n, np.concatenate(c) if c else None, partial(backward_by_layers, runs, masks)

    def backward(self, backward: Callable[..., None], *args: Any) -> None:
        """Run `backward` with gradients of its own; add them in once it is complete."""
        *rest, grads = args
        sums = [Weights(*[g if g is None else np.zeros_like(g) for g in entry]) for entry in grads]
        backward(*rest, sums)
        for entry, added in zip(grads, sums, strict=True):
            for grad, more in zip(entry, added, strict=True):
                if grad is not None:
                    grad += more


def backward_by_layers(
    runs: list[Run],
    masks: Masks | None,
    dy: Array | None,
    dh_n: Array | None,
    dc_n: Array | None,
    dx: Array | None,
    dh0: Array,
    dc0: Array | None,
    grads: Sequence[Any],
) -> None:
    """Carry gradients back through a bidirectional network."""
    for layer in reversed(range(len(runs) // 2)):
        below = np.empty(runs[2 * layer].x.shape, dh0.dtype) if layer else dx
        for d in range(2):
            i = 2 * layer + d
            dh_dc = part(dh_n, i), part(dc_n, i)
            runs[i].backward(half(dy, d), *dh_dc, below, dh0[i : i + 1], part(dc0, i), [grads[i]])
        if masks is not None and layer and below is not None:
            mask_layer(masks, layer - 1, runs[0].chunks, below)
        dy = below


def part(state: Array | None, i: int) -> Array | None:
    """Return the entry of one layer and direction, still with three axes."""
    return None if state is None else state[i : i + 1]


def half(sequence: Any, d: int) -> Any:
    """Return the columns of direction `d`."""
    if sequence is None:
        return None
    width = sequence.shape[2] // 2
    return sequence[:, :, d * width : (d + 1) * width]


def mask_layer(masks: Masks, layer: int, chunks: list[tuple[int, int]], array: Array) -> None:
    """Multiply the dropout mask of `layer` onto `array`, chunk by chunk."""
    for chunk in chunks:
        mask = masks.between(range(layer, layer + 1), *chunk)
        if mask is not None:
            array[slice(*chunk)] *= mask[0]
