"""Recurrent networks forward and backward: layers, directions, packed rows, dropout in between.

Letters: B batch, T time steps, I input size, F that of a layer, H hidden size, P projection size (0
without), K size of h (P or H), L layers, D directions; a leading d is a gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..weights import Masks, Weights
from . import quiet
from .cells import CELLS, Array
from .direction import Factors, Record, direction_backward, direction_forward

__all__ = ["backward", "forward", "gates", "pack"]


def pad(rows: Array, places: Array) -> Array:
    """Return packed rows (N, n) as (T, B, n), zero but where `places` (T, B) is true."""
    out = np.zeros((*places.shape, rows.shape[1]), rows.dtype)
    out[places] = rows
    return out


class Packed(NamedTuple):
    """A snapshot of the weights with the sizes of the network."""

    cell: str
    weights: tuple[Weights, ...]  # entry layer * D + direction
    num_layers: int
    num_directions: int
    hidden_size: int
    output_size: int
    zoneout: tuple[float, float]


class Tape(NamedTuple):
    """What forward leaves for backward."""

    inputs: list[Array]  # of each layer, (T, B, F)
    records: list[Record]  # entry layer * D + direction
    active: Array | None
    masks: Masks
    cuts: Array | None


def pack(
    cell: str,
    weights: Sequence[Weights],
    num_layers: int,
    num_directions: int,
    training: bool,
    zoneout: tuple[float, float],
) -> Packed:
    """Take a snapshot of the weights of a network.

    Parameters
    ----------
    cell : str
        Its name in `rnnfast.cells.CELLS`.
    weights : sequence of L * D `Weights`, entry ``layer * D + direction``
        All float32 or all float64; all but ``w_ih`` and ``w_hh`` may be None. With ``w_ln`` the
        sums are layer normalised, slot by slot: the cell's gates, for a GRU r, z and the two of n,
        of x and of h.
    num_layers, num_directions : int
        L and D.
    training : bool
        Whether `forward` will be called with ``training=True``.
    zoneout : (float, float)
        Of h and c: the share of the old state that is kept, where no masks say which units.

    Returns
    -------
    Packed
        Opaque and immutable; later changes of `weights` do not reach it.

    Raises
    ------
    ValueError
        For an unknown cell, a wrong number of weights, layer normalisation of a cell without, or a
        projection to more than H.
    """
    if cell not in CELLS:
        raise ValueError(f"cell must be one of {', '.join(CELLS)}, got {cell!r}")
    if len(weights) != num_layers * num_directions:
        raise ValueError(
            f"weights must have {num_layers * num_directions} entries for {num_layers} layers in "
            f"{num_directions} directions, got {len(weights)}"
        )
    snapshot = tuple(
        Weights(*[None if w is None else np.array(w, order="C") for w in entry])
        for entry in weights
    )
    if snapshot[0].w_ln is not None and not CELLS[cell].facts.has_norm:
        raise ValueError(f"{cell} takes no layer normalisation")
    own = CELLS[cell].facts.own_rows > 0
    if any((entry.w_own is not None) != own for entry in snapshot):
        raise ValueError(f"{cell} takes {'' if own else 'no '}w_own")
    alone = CELLS[cell].facts.input_only
    if any((w.w_hh is None) != alone or (alone and w.b_hh is not None) for w in snapshot):
        raise ValueError(f"{cell} takes {'neither w_hh nor b_hh' if alone else 'w_hh'}")
    H = len(snapshot[0].w_ih) // CELLS[cell].facts.gates
    K = H if snapshot[0].w_hh is None else snapshot[0].w_hh.shape[1]
    if K > H:
        raise ValueError(f"a projection must not be larger than the {H} units, got {K}")
    return Packed(cell, snapshot, num_layers, num_directions, H, K, zoneout)


def factors_of(packed: Packed, masks: Masks, k: int, T: int, dtype: Any) -> Factors:
    # of layer and direction k; zoneout without masks is its expectation
    def zone(given: Array | None, share: float) -> Array | None:
        if given is not None:
            return given[k]
        return np.full((T, 1, 1), share, dtype) if share else None

    return Factors(
        None if masks.recurrent is None else masks.recurrent[k],
        zone(masks.zone_h, packed.zoneout[0]),
        zone(masks.zone_c, packed.zoneout[1]),
    )


def cuts_of(resets: Array | None, active: Array | None) -> Array | None:
    # (T + 1, B, 1): whether the state between step t - 1 and step t is dropped
    if resets is None:
        return None
    cuts = np.zeros((len(resets) + 1, resets.shape[1], 1), bool)
    cuts[:-1, :, 0] = resets
    if active is not None:
        cuts[:-1] &= active
    return cuts


@quiet
def forward(
    packed: Packed,
    x: Array,
    h0: Array | None,
    c0: Array | None,
    lengths: Array | None,
    masks: Masks | None,
    y: Array,
    h_n: Array,
    c_n: Array | None,
    training: bool,
    resets: Array | None = None,
) -> Tape | None:
    """Run a network over a batch of sequences.

    Parameters
    ----------
    packed : Packed
        From `pack`.
    x : (T, B, I) array
        Values at ``t >= lengths[b]`` are ignored, whatever they are. Or rows that are packed,
        (N, I), N the sum of `lengths`, which then must not grow: those of the first step, of as
        many samples as there are, then of the second step, and so on.
    h0 : (L*D, B, K) array or None
        Initial states; None means zeros.
    c0 : (L*D, B, H) array or None
        Initial cell states, LSTM only; None means zeros.
    lengths : (B,) int64 array or None
        Steps of each sample, 0 to T; None means T. The reverse direction of sample b starts at
        step ``lengths[b] - 1``.
    masks : Masks or None
        Of dropout, recurrent dropout and zoneout.
    y : (T, B, D*K) array, or (N, D*K)
        Written: the outputs of the last layer, zero at ``t >= lengths[b]``.
    h_n : (L*D, B, K) array
        Written: the final states; the initial ones for a sample of length 0.
    c_n : (L*D, B, H) array or None
        Written for an LSTM; None otherwise.
    training : bool
        Whether a tape is wanted.
    resets : (T, B) bool array or None
        Where a sample starts anew, as it would in a call of its own: step t finds zeros, whatever
        came before, and no gradient goes across. A reverse direction starts anew behind it, on its
        way from step t to t - 1. Entries at ``t >= lengths[b]`` are ignored.

    Returns
    -------
    Tape or None
        What `backward` needs; None unless `training`.
    """
    cell = CELLS[packed.cell]
    L, D, H, K = packed.num_layers, packed.num_directions, packed.hidden_size, packed.output_size
    T, B = x.shape[:2]
    active = places = None
    if lengths is not None:
        if x.ndim == 2:
            T, B = max(lengths, default=0), len(lengths)
        active = np.arange(T)[:, None, None] < np.array(lengths)[:, None]
        if x.ndim == 2:
            places = active[:, :, 0]
            x = pad(x, places)
    # the tape owns its input; and padding may be NaN, which zero gradients would not silence
    layer_input = np.array(x, order="C") if active is None else np.where(active, x, 0.0)

    masks = masks or Masks()
    cuts = cuts_of(resets, active)
    inputs, records = [], []
    for layer in range(L):
        last = layer == L - 1
        out = y if last and places is None else np.empty((T, B, D * K), x.dtype)
        inputs.append(layer_input)
        for d in range(D):
            k = layer * D + d
            h = np.zeros((B, K), x.dtype) if h0 is None else h0[k].copy()
            c: Any = None
            if cell.facts.has_cell_state:
                c = np.zeros((B, H), x.dtype) if c0 is None else c0[k].copy()
            h_n[k], c, record = direction_forward(
                cell,
                packed.weights[k],
                layer_input,
                h,
                c,
                active,
                cuts,
                factors_of(packed, masks, k, T, x.dtype),
                reverse=d == 1,
                y=out[:, :, d * K : (d + 1) * K],
                training=training,
            )
            if c_n is not None:
                c_n[k] = c
            if record is not None:
                records.append(record)
        layer_input = out if last or masks.between is None else out * masks.between[layer]
    if places is not None:
        y[...] = layer_input[places]

    return Tape(inputs, records, active, masks, cuts) if training else None


@quiet
def quick(
    packed: Packed,
    x: Any,
    state: Any,
    axes: int,
    batch_first: bool,
    training: bool,
    resets: Any = None,
) -> None:
    """Return None: there is no short way here."""


def gates(packed: Packed, tape: Tape) -> Array:
    """Return what the gates did in a call of `forward`.

    Parameters
    ----------
    packed : Packed
        The one given to `forward`.
    tape : Tape
        From `forward`.

    Returns
    -------
    (L*D, G, T, B, H) array
        In PyTorch's order of gates; zero at ``t >= lengths[b]``.
    """
    G, H = CELLS[packed.cell].facts.gates, packed.hidden_size
    T, B, _ = tape.inputs[0].shape
    out = np.zeros((len(tape.records), G, T, B, H), tape.inputs[0].dtype)
    for k, record in enumerate(tape.records):
        for t, saved in enumerate(record.saved):
            out[k, :, t] = saved[:G]  # a cell's gates are the first that it saves
    return out if tape.active is None else np.where(tape.active, out, out.dtype.type(0))


def backward(
    packed: Packed,
    tape: Tape,
    dy: Array | None,
    dh_n: Array | None,
    dc_n: Array | None,
    dx: Array | None,
    dh0: Array | None,
    dc0: Array | None,
    grads: Sequence[Weights] | None,
) -> None:
    """Carry gradients back through a call of `forward`.

    Parameters
    ----------
    packed : Packed
        The one given to `forward`.
    tape : Tape
        From `forward`; serves one backward pass.
    dy : array like `y`, or None
        Gradient of the outputs; None means zeros. Values at ``t >= lengths[b]`` are ignored.
    dh_n : (L*D, B, K) array or None
        Gradient of the final states; None means zeros.
    dc_n : (L*D, B, H) array or None
        Gradient of the final cell states, LSTM only; None means zeros.
    dx : array like `x`, or None
        Written unless None; zero at ``t >= lengths[b]``.
    dh0 : (L*D, B, K) array or None
        Written unless None.
    dc0 : (L*D, B, H) array or None
        Written unless None; LSTM only.
    grads : sequence like the `weights` of `pack`, or None
        Each array is added into; None entries are not computed.
    """
    cell = CELLS[packed.cell]
    L, D, H, K = packed.num_layers, packed.num_directions, packed.hidden_size, packed.output_size
    T, B, _ = tape.inputs[0].shape
    dtype = tape.inputs[0].dtype
    if dy is not None and tape.active is not None:
        dy = pad(dy, tape.active[:, :, 0]) if dy.ndim == 2 else np.where(tape.active, dy, 0.0)

    for layer in range(L - 1, -1, -1):
        want_dx = layer > 0 or dx is not None
        dinput = np.zeros(tape.inputs[layer].shape, dtype) if want_dx else None
        for d in range(D):
            k = layer * D + d
            dh = np.zeros((B, K), dtype) if dh_n is None else dh_n[k]
            dc: Any = None
            if cell.facts.has_cell_state:
                dc = np.zeros((B, H), dtype) if dc_n is None else dc_n[k]
            dinput_d, dh, dc = direction_backward(
                cell,
                packed.weights[k],
                tape.inputs[layer],
                tape.records[k],
                None if dy is None else dy[:, :, d * K : (d + 1) * K],
                dh,
                dc,
                tape.active,
                tape.cuts,
                factors_of(packed, tape.masks, k, T, dtype),
                reverse=d == 1,
                grads=None if grads is None else grads[k],
                want_dx=want_dx,
            )
            if dinput is not None and dinput_d is not None:
                dinput += dinput_d
            if dh0 is not None:
                dh0[k] = dh
            if dc0 is not None:
                dc0[k] = dc
        if layer > 0:
            dy = dinput
            if dy is not None and tape.masks.between is not None:
                dy = dy * tape.masks.between[layer - 1]
        elif dx is not None and dinput is not None:
            if tape.active is None or dx.ndim == 3:
                dx[...] = dinput
            else:
                dx[...] = dinput[tape.active[:, :, 0]]
