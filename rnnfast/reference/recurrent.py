"""Recurrent networks forward and backward through time, as plainly as NumPy says it.

The equations of a cell are a pair of functions, the step forward above the step backward; `CELLS`
names them. The drivers below know time, layers, directions, ragged batches, projections, layer
normalisation, dropout and zoneout, and know no cell.

Letters: B batch, T time steps, I input size, H hidden size, P projection size (0 without),
Ho output size (P or H), F input size of a layer, G gates, L layers, D directions; a leading d is a
gradient. Gate order: LSTM i, f, g, o; GRU r, z, n. S slots are what layer normalisation takes one
by one: the gates, but for a GRU r, z, n_x, n_h, since its n keeps the products of x and h apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..weights import Masks, Weights
from . import quiet

__all__ = ["CELLS", "backward", "forward", "gates", "pack"]

Array = NDArray[Any]
Saved = tuple[Array, ...]


def sigmoid(x: Array) -> Array:
    # exp of a negative number cannot overflow, and the small tail keeps its relative accuracy
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, e) / (1.0 + e)


# ---- cells -------------------------------------------------------------------------------------
#
# forward:  xw = x @ w_ih.T + b_ih and hw = h @ w_hh.T + b_hh, both (B, G*H); the state before the
#           step, h (B, Ho) and c (B, H) or None  ->  new h (B, H), new c, what backward needs
# backward: gradients of the new h and the new c, what forward saved
#           ->  dxw, dhw (B, G*H), the part of dh that does not pass through hw, dc


def rnn_tanh_forward(xw: Array, hw: Array, h: Array, c: Any) -> tuple[Array, Any, Saved]:
    h = np.tanh(xw + hw)
    return h, None, (h,)


def rnn_tanh_backward(dh: Array, dc: Any, saved: Saved) -> tuple[Array, Array, Any, Any]:
    (h,) = saved
    dgates = dh * (1.0 - h**2)
    return dgates, dgates, 0.0, None


def rnn_relu_forward(xw: Array, hw: Array, h: Array, c: Any) -> tuple[Array, Any, Saved]:
    h = np.maximum(xw + hw, 0.0)
    return h, None, (h,)


def rnn_relu_backward(dh: Array, dc: Any, saved: Saved) -> tuple[Array, Array, Any, Any]:
    (h,) = saved
    dgates = np.where(h <= 0.0, 0.0, dh)  # a NaN goes on, as in PyTorch
    return dgates, dgates, 0.0, None


def lstm_forward(xw: Array, hw: Array, h: Array, c: Any) -> tuple[Array, Any, Saved]:
    i, f, g, o = np.split(xw + hw, 4, axis=1)
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
    c_next = f * c + i * g
    tanh_c = np.tanh(c_next)
    return o * tanh_c, c_next, (i, f, g, o, c, tanh_c)


def lstm_backward(dh: Array, dc: Any, saved: Saved) -> tuple[Array, Array, Any, Any]:
    i, f, g, o, c, tanh_c = saved
    dc = dc + dh * o * (1.0 - tanh_c**2)
    di = dc * g * i * (1.0 - i)
    df = dc * c * f * (1.0 - f)
    dg = dc * i * (1.0 - g**2)
    do = dh * tanh_c * o * (1.0 - o)
    dgates = np.concatenate([di, df, dg, do], axis=1)
    return dgates, dgates, 0.0, dc * f


def gru_forward(xw: Array, hw: Array, h: Array, c: Any) -> tuple[Array, Any, Saved]:
    xr, xz, xn = np.split(xw, 3, axis=1)
    hr, hz, hn = np.split(hw, 3, axis=1)
    r, z = sigmoid(xr + hr), sigmoid(xz + hz)
    n = np.tanh(xn + r * hn)
    return (1.0 - z) * n + z * h, None, (r, z, n, hn, h)


def gru_backward(dh: Array, dc: Any, saved: Saved) -> tuple[Array, Array, Any, Any]:
    r, z, n, hn, h = saved
    dn = dh * (1.0 - z) * (1.0 - n**2)
    dz = dh * (h - n) * z * (1.0 - z)
    dr = dn * hn * r * (1.0 - r)
    dxw = np.concatenate([dr, dz, dn], axis=1)
    dhw = np.concatenate([dr, dz, dn * r], axis=1)
    return dxw, dhw, dh * z, None


# Cho et al. (2014): hw of n is the product of r * h, and the driver sees to r's gradient


def gru_reset_before_forward(xw: Array, hw: Array, h: Array, c: Any) -> tuple[Array, Any, Saved]:
    r, z, n = np.split(xw + hw, 3, axis=1)
    r, z, n = sigmoid(r), sigmoid(z), np.tanh(n)
    return (1.0 - z) * n + z * h, None, (r, z, n, h)


def gru_reset_before_backward(dh: Array, dc: Any, saved: Saved) -> tuple[Array, Array, Any, Any]:
    r, z, n, h = saved
    dn = dh * (1.0 - z) * (1.0 - n**2)
    dz = dh * (h - n) * z * (1.0 - z)
    dgates = np.concatenate([np.zeros_like(r), dz, dn], axis=1)
    return dgates, dgates, dh * z, None


@dataclass(frozen=True)
class Cell:
    """What the drivers know of a cell."""

    gates: int
    has_c: bool
    apart: int  # of the gates, the last ones, where x @ w_ih.T and h @ w_hh.T are not just added
    forward: Callable[[Array, Array, Array, Any], tuple[Array, Any, Saved]]
    backward: Callable[[Array, Any, Saved], tuple[Array, Array, Any, Any]]
    reset_before: bool = False  # whether w_hh of the last gate multiplies h times the first gate


CELLS = {
    "rnn_tanh": Cell(1, False, 0, rnn_tanh_forward, rnn_tanh_backward),
    "rnn_relu": Cell(1, False, 0, rnn_relu_forward, rnn_relu_backward),
    "lstm": Cell(4, True, 0, lstm_forward, lstm_backward),
    "gru": Cell(3, False, 1, gru_forward, gru_backward),
    "gru_reset_before": Cell(
        3, False, 0, gru_reset_before_forward, gru_reset_before_backward, reset_before=True
    ),
}


# ---- a reset gate before the product -----------------------------------------------------------


def reset_forward(weights: Weights, xw: Array, hw: Array, fed: Array) -> tuple[Array, Array]:
    # hw (B, 3*H), the product of fed (B, H) -> the same with n's product of r * fed, and r
    H, b_hh = fed.shape[1], weights.b_hh
    r = sigmoid(xw[:, :H] + hw[:, :H])
    hn = affine(r * fed, weights.w_hh[2 * H :], None if b_hh is None else b_hh[2 * H :])
    return np.concatenate([hw[:, : 2 * H], hn], axis=1), r


def reset_backward(w_hh: Array, dgates: Array, r: Array, fed: Array) -> tuple[Array, Array]:
    # dgates (B, 3*H) -> the same with r's, and the gradient of fed
    H = fed.shape[1]
    dreset = dgates[:, 2 * H :] @ w_hh[2 * H :]  # of r * fed
    dgates = np.concatenate([dreset * fed * r * (1.0 - r), dgates[:, H:]], axis=1)
    return dgates, dreset * r + dgates[:, : 2 * H] @ w_hh[: 2 * H]


# ---- layer normalisation: Ba, Kiros and Hinton (2016) ------------------------------------------

NORM_EPS = 1e-5


def to_slots(cell: Cell, xw: Array, hw: Array, join: Callable[[Array, Array], Array]) -> Array:
    # products of x and h, (..., G*H) -> slots (..., S*H); `join` makes one of two that share a slot
    joint = xw.shape[-1] // cell.gates * (cell.gates - cell.apart)
    shared = join(xw[..., :joint], hw[..., :joint])
    return np.concatenate([shared, xw[..., joint:], hw[..., joint:]], axis=-1)


def from_slots(cell: Cell, slots: Array) -> tuple[Array, Array]:
    # (..., S*H) -> what reaches the products of x and of h, (..., G*H) each
    GH = slots.shape[-1] // (cell.gates + cell.apart) * cell.gates
    joint = GH // cell.gates * (cell.gates - cell.apart)
    return slots[..., :GH], np.concatenate([slots[..., :joint], slots[..., GH:]], axis=-1)


def norm_forward(cell: Cell, weights: Weights, xw: Array, hw: Array) -> tuple[Array, Array, Saved]:
    # xw, hw (B, G*H) -> such that the cell finds each slot normalised, then scaled and shifted;
    # normalised sums (B, S, H) and 1 / deviation (B, S, 1)
    w_ln, b_ln = weights.w_ln, weights.b_ln
    H = xw.shape[1] // cell.gates
    sums = to_slots(cell, xw, hw, np.add).reshape(len(xw), cell.gates + cell.apart, H)
    centred = sums - sums.mean(axis=2, keepdims=True)
    rstd = 1.0 / np.sqrt((centred**2).mean(axis=2, keepdims=True) + NORM_EPS)
    normal = centred * rstd
    slots = w_ln * normal.reshape(len(xw), len(w_ln))
    xw, hw = from_slots(cell, slots if b_ln is None else slots + b_ln)
    hw[:, : (cell.gates - cell.apart) * H] = 0.0  # these xw has
    return xw, hw, (normal, rstd)


def norm_backward(cell: Cell, w_ln: Array, dslots: Array, saved: Saved) -> tuple[Array, Array]:
    # dslots (B, S*H) -> gradients of x @ w_ih.T and h @ w_hh.T
    normal, rstd = saved
    dnormal = (dslots * w_ln).reshape(normal.shape)
    share = dnormal.mean(axis=2, keepdims=True)
    share = share + normal * (dnormal * normal).mean(axis=2, keepdims=True)
    return from_slots(cell, ((dnormal - share) * rstd).reshape(dslots.shape))


# ---- one layer in one direction ----------------------------------------------------------------


@dataclass(frozen=True)
class Factors:
    """What changes a direction's recurrence: dropout of h, and zoneout of h and of c."""

    recurrent: Array | None  # (B, Ho)
    zone_h: Array | None  # (T, B, Ho) or (T, 1, 1)
    zone_c: Array | None  # (T, B, H) or (T, 1, 1)


@dataclass(frozen=True)
class Record:
    """What one direction of one layer leaves for its backward pass."""

    h: Array  # (T, B, Ho) what w_hh, or the gate before it, multiplied at each step
    u: Array | None  # (T, B, H) the cell's output before the projection
    saved: list[Saved]  # T entries
    norms: list[Saved]  # T entries, with layer normalisation
    r: Array | None  # (T, B, H) the gate that n's h passed before the product


def affine(x: Array, weight: Array, bias: Array | None) -> Array:
    # (N, K), (M, K), (M,) -> (N, M)
    y: Array = x @ weight.T
    if bias is not None:
        y += bias
    return y


def steps(T: int, reverse: bool) -> range:
    return range(T - 1, -1, -1) if reverse else range(T)


def direction_forward(
    cell: Cell,
    weights: Weights,
    x: Array,
    h: Array,
    c: Any,
    active: Array | None,
    factors: Factors,
    reverse: bool,
    y: Array,
    training: bool,
) -> tuple[Array, Any, Record | None]:
    # x (T, B, F), h (B, Ho), c (B, H) or None, active (T, B, 1) or None, y (T, B, Ho) written
    T, B, F = x.shape
    w_ih, w_hr = weights.w_ih, weights.w_hr
    xw_all = affine(x.reshape(T * B, F), w_ih, weights.b_ih).reshape(T, B, len(w_ih))

    h_fed = np.empty(y.shape, x.dtype) if training else None
    norms: list[Saved] = [()] * T
    r_all = np.empty_like(h_fed) if h_fed is not None and cell.reset_before else None
    u_all = np.empty((T, B, w_hr.shape[1]), x.dtype) if training and w_hr is not None else None
    saved_all: list[Saved] = [()] * T
    for t in steps(T, reverse):
        fed = h if factors.recurrent is None else h * factors.recurrent
        xw, hw = xw_all[t], affine(fed, weights.w_hh, weights.b_hh)
        if cell.reset_before:
            hw, r = reset_forward(weights, xw, hw, fed)
            if r_all is not None:
                r_all[t] = r
        if weights.w_ln is not None:
            xw, hw, norms[t] = norm_forward(cell, weights, xw, hw)
        u, c_next, saved = cell.forward(xw, hw, h, c)
        h_next = u if w_hr is None else u @ w_hr.T
        if factors.zone_h is not None:
            h_next = factors.zone_h[t] * h + (1.0 - factors.zone_h[t]) * h_next
        if factors.zone_c is not None:
            c_next = factors.zone_c[t] * c + (1.0 - factors.zone_c[t]) * c_next
        if h_fed is not None:
            h_fed[t] = fed
            saved_all[t] = saved
        if u_all is not None:
            u_all[t] = u
        if active is None:
            y[t] = h_next
        else:
            # outside its length a sample's state stands still: a reverse pass thus starts at the
            # sample's own last step, and a forward pass ends there
            y[t] = np.where(active[t], h_next, 0.0)
            h_next = np.where(active[t], h_next, h)
            c_next = np.where(active[t], c_next, c) if cell.has_c else None
        h, c = h_next, c_next

    return h, c, None if h_fed is None else Record(h_fed, u_all, saved_all, norms, r_all)


def direction_backward(
    cell: Cell,
    weights: Weights,
    x: Array,
    record: Record,
    dy: Array | None,
    dh: Array,
    dc: Any,
    active: Array | None,
    factors: Factors,
    reverse: bool,
    grads: Weights | None,
    want_dx: bool,
) -> tuple[Array | None, Array, Any]:
    # x (T, B, F), dy (T, B, Ho) or None, dh (B, Ho), dc (B, H) or None; grads are added into
    # -> dx (T, B, F) or None, dh, dc before the first step
    w_hh, w_hr, w_ln = weights.w_hh, weights.w_hr, weights.w_ln
    T, B, F = x.shape
    GH, Ho = w_hh.shape
    dxw_all = np.empty((T, B, GH), x.dtype)
    dhw_all = np.empty((T, B, GH), x.dtype)
    dslots_all = None if w_ln is None else np.empty((T, B, len(w_ln)), x.dtype)
    dh_all = np.empty((T, B, Ho), x.dtype) if w_hr is not None else None
    for t in steps(T, not reverse):
        dh_t, dc_t = dh if dy is None else dh + dy[t], dc
        dh_kept = dc_kept = 0.0
        if factors.zone_h is not None:
            dh_t, dh_kept = (1.0 - factors.zone_h[t]) * dh_t, factors.zone_h[t] * dh_t
        if factors.zone_c is not None:
            dc_t, dc_kept = (1.0 - factors.zone_c[t]) * dc_t, factors.zone_c[t] * dc_t
        du = dh_t if w_hr is None else dh_t @ w_hr
        dxw, dhw, dh_past, dc_past = cell.backward(du, dc_t, record.saved[t])
        if dslots_all is not None and w_ln is not None:
            dslots = to_slots(cell, dxw, dhw, lambda a, _: a)
            dslots_all[t] = dslots if active is None else np.where(active[t], dslots, 0.0)
            dxw, dhw = norm_backward(cell, w_ln, dslots, record.norms[t])
        if record.r is None:
            dfed = dhw @ w_hh
        else:
            dxw, dfed = reset_backward(w_hh, dxw, record.r[t], record.h[t])
            dhw = dxw
        dh_past = dh_past + (dfed if factors.recurrent is None else dfed * factors.recurrent)
        dh_past = dh_past + dh_kept
        dc_past = dc_past + dc_kept if cell.has_c else None
        if active is not None:
            dxw = np.where(active[t], dxw, 0.0)
            dhw = np.where(active[t], dhw, 0.0)
            dh_t = np.where(active[t], dh_t, 0.0)
            dh_past = np.where(active[t], dh_past, dh)
            dc_past = None if dc_past is None else np.where(active[t], dc_past, dc)
        dxw_all[t], dhw_all[t] = dxw, dhw
        if dh_all is not None:
            dh_all[t] = dh_t
        dh, dc = dh_past, dc_past

    dxw_rows = dxw_all.reshape(T * B, GH)
    dhw_rows = dhw_all.reshape(T * B, GH)
    if grads is not None:
        add_gradients(grads, x, record, dxw_rows, dhw_rows, dslots_all, dh_all)
    dx = (dxw_rows @ weights.w_ih).reshape(T, B, F) if want_dx else None
    return dx, dh, dc


def add_gradients(
    grads: Weights,
    x: Array,
    record: Record,
    dxw: Array,
    dhw: Array,
    dslots_all: Array | None,
    dh_all: Array | None,
) -> None:
    # x (T, B, F), dxw and dhw (T*B, G*H), dslots_all (T, B, S*H), dh_all (T, B, Ho)
    TB, GH = dxw.shape
    Ho = record.h.shape[2]
    if grads.w_ih is not None:
        grads.w_ih[...] += dxw.T @ x.reshape(TB, x.shape[2])
    if grads.w_hh is not None:
        n = 0 if record.r is None else Ho  # columns of dhw whose h passed r first
        grads.w_hh[: GH - n] += dhw[:, : GH - n].T @ record.h.reshape(TB, Ho)
        if record.r is not None:
            grads.w_hh[-n:] += dhw[:, -n:].T @ (record.r * record.h).reshape(TB, Ho)
    if grads.b_ih is not None:
        grads.b_ih[...] += dxw.sum(axis=0)
    if grads.b_hh is not None:
        grads.b_hh[...] += dhw.sum(axis=0)
    if grads.w_hr is not None and dh_all is not None and record.u is not None:
        grads.w_hr[...] += dh_all.reshape(TB, Ho).T @ record.u.reshape(TB, record.u.shape[2])
    if grads.w_ln is not None and dslots_all is not None:
        for dslots, (normal, _) in zip(dslots_all, record.norms, strict=True):
            grads.w_ln[...] += (dslots * normal.reshape(dslots.shape)).sum(axis=0)
    if grads.b_ln is not None and dslots_all is not None:
        grads.b_ln[...] += dslots_all.sum(axis=(0, 1))


# ---- the whole network -------------------------------------------------------------------------


def pad(rows: Array, places: Array) -> Array:
    """Return packed rows (N, n) as (T, B, n), zero but where `places` (T, B) is true."""
    out = np.zeros((*places.shape, rows.shape[1]), rows.dtype)
    out[places] = rows
    return out


@dataclass(frozen=True)
class Packed:
    """A snapshot of the weights with the sizes of the network."""

    cell: str
    weights: tuple[Weights, ...]  # entry layer * D + direction
    num_layers: int
    num_directions: int
    hidden_size: int
    output_size: int
    zoneout: tuple[float, float]


@dataclass(frozen=True)
class Tape:
    """What forward leaves for backward."""

    inputs: list[Array]  # of each layer, (T, B, F)
    records: list[Record]  # entry layer * D + direction
    active: Array | None
    masks: Masks | None


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
    cell : {"rnn_tanh", "rnn_relu", "lstm", "gru", "gru_reset_before"}
    weights : sequence of L * D `Weights`, entry ``layer * D + direction``
        All float32 or all float64; all but ``w_ih`` and ``w_hh`` may be None. With ``w_ln`` the
        sums are layer normalised, slot by slot.
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
    if CELLS[cell].reset_before and snapshot[0].w_ln is not None:
        raise ValueError(f"{cell} takes no layer normalisation")
    GH, Ho = snapshot[0].w_hh.shape
    H = GH // CELLS[cell].gates
    if Ho > H:
        raise ValueError(f"a projection must not be larger than the {H} units, got {Ho}")
    return Packed(cell, snapshot, num_layers, num_directions, H, Ho, zoneout)


def factors_of(packed: Packed, masks: Masks | None, k: int, T: int, dtype: Any) -> Factors:
    # of layer and direction k; zoneout without masks is its expectation
    masks = masks or Masks()

    def zone(given: Array | None, share: float) -> Array | None:
        if given is not None:
            return given[k]
        return np.full((T, 1, 1), share, dtype) if share else None

    return Factors(
        None if masks.recurrent is None else masks.recurrent[k],
        zone(masks.zone_h, packed.zoneout[0]),
        zone(masks.zone_c, packed.zoneout[1]),
    )


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
    h0 : (L*D, B, Ho) array or None
        Initial states; None means zeros.
    c0 : (L*D, B, H) array or None
        Initial cell states, LSTM only; None means zeros.
    lengths : (B,) int64 array or None
        Steps of each sample, 0 to T; None means T. The reverse direction of sample b starts at
        step ``lengths[b] - 1``.
    masks : Masks or None
        Of dropout, recurrent dropout and zoneout.
    y : (T, B, D*Ho) array, or (N, D*Ho)
        Written: the outputs of the last layer, zero at ``t >= lengths[b]``.
    h_n : (L*D, B, Ho) array
        Written: the final states; the initial ones for a sample of length 0.
    c_n : (L*D, B, H) array or None
        Written for an LSTM; None otherwise.
    training : bool
        Whether a tape is wanted.

    Returns
    -------
    Tape or None
        What `backward` needs; None unless `training`.
    """
    cell = CELLS[packed.cell]
    L, D, H, Ho = packed.num_layers, packed.num_directions, packed.hidden_size, packed.output_size
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

    between = None if masks is None else masks.between
    inputs, records = [], []
    for layer in range(L):
        last = layer == L - 1
        out = y if last and places is None else np.empty((T, B, D * Ho), x.dtype)
        inputs.append(layer_input)
        for d in range(D):
            k = layer * D + d
            h = np.zeros((B, Ho), x.dtype) if h0 is None else h0[k].copy()
            c: Any = None
            if cell.has_c:
                c = np.zeros((B, H), x.dtype) if c0 is None else c0[k].copy()
            h_n[k], c, record = direction_forward(
                cell,
                packed.weights[k],
                layer_input,
                h,
                c,
                active,
                factors_of(packed, masks, k, T, x.dtype),
                reverse=d == 1,
                y=out[:, :, d * Ho : (d + 1) * Ho],
                training=training,
            )
            if c_n is not None:
                c_n[k] = c
            if record is not None:
                records.append(record)
        layer_input = out if last or between is None else out * between[layer]
    if places is not None:
        y[...] = layer_input[places]

    return Tape(inputs, records, active, masks) if training else None


@quiet
def infer(packed: Packed, x: Any, h0: Any, c0: Any, axes: int, batch_first: bool) -> None:
    """Return None: there is no short way here."""


def gates(packed: Packed, tape: Tape) -> Array:
    """Return what the gates of an LSTM or a GRU did in a call of `forward`.

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
    G, H = CELLS[packed.cell].gates, packed.hidden_size
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
    dh_n : (L*D, B, Ho) array or None
        Gradient of the final states; None means zeros.
    dc_n : (L*D, B, H) array or None
        Gradient of the final cell states, LSTM only; None means zeros.
    dx : array like `x`, or None
        Written unless None; zero at ``t >= lengths[b]``.
    dh0 : (L*D, B, Ho) array or None
        Written unless None.
    dc0 : (L*D, B, H) array or None
        Written unless None; LSTM only.
    grads : sequence like the `weights` of `pack`, or None
        Each array is added into; None entries are not computed.
    """
    cell = CELLS[packed.cell]
    L, D, H, Ho = packed.num_layers, packed.num_directions, packed.hidden_size, packed.output_size
    T, B, _ = tape.inputs[0].shape
    dtype = tape.inputs[0].dtype
    if dy is not None and tape.active is not None:
        dy = pad(dy, tape.active[:, :, 0]) if dy.ndim == 2 else np.where(tape.active, dy, 0.0)

    for layer in range(L - 1, -1, -1):
        want_dx = layer > 0 or dx is not None
        dinput = np.zeros(tape.inputs[layer].shape, dtype) if want_dx else None
        for d in range(D):
            k = layer * D + d
            dh = np.zeros((B, Ho), dtype) if dh_n is None else dh_n[k]
            dc: Any = None
            if cell.has_c:
                dc = np.zeros((B, H), dtype) if dc_n is None else dc_n[k]
            dinput_d, dh, dc = direction_backward(
                cell,
                packed.weights[k],
                tape.inputs[layer],
                tape.records[k],
                None if dy is None else dy[:, :, d * Ho : (d + 1) * Ho],
                dh,
                dc,
                tape.active,
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
            between = None if tape.masks is None else tape.masks.between
            if dy is not None and between is not None:
                dy = dy * between[layer - 1]
        elif dx is not None and dinput is not None:
            if tape.active is None or dx.ndim == 3:
                dx[...] = dinput
            else:
                dx[...] = dinput[tape.active[:, :, 0]]
