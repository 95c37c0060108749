"""Recurrent networks forward and backward through time, as plainly as NumPy says it.

The equations of a cell are a pair of functions, the step forward above the step backward; `CELLS`
names them. The drivers below know time, layers, directions, ragged batches, dropout masks and
projections, and know no cell.

Letters: B batch, T time steps, I input size, H hidden size, P projection size (0 without),
Ho output size (P or H), F input size of a layer, G gates, L layers, D directions; a leading d is a
gradient. Gate order: LSTM i, f, g, o; GRU r, z, n.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import quiet

__all__ = ["CELLS", "backward", "forward", "gates", "pack"]

Array = NDArray[Any]
# w_ih (G*H, F), w_hh (G*H, Ho), b_ih (G*H,) or None, b_hh (G*H,) or None, w_hr (P, H) or None
Weights = tuple[Array, Array, Array | None, Array | None, Array | None]
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


@dataclass(frozen=True)
class Cell:
    """What the drivers know of a cell."""

    gates: int
    has_c: bool
    forward: Callable[[Array, Array, Array, Any], tuple[Array, Any, Saved]]
    backward: Callable[[Array, Any, Saved], tuple[Array, Array, Any, Any]]


CELLS = {
    "rnn_tanh": Cell(1, False, rnn_tanh_forward, rnn_tanh_backward),
    "rnn_relu": Cell(1, False, rnn_relu_forward, rnn_relu_backward),
    "lstm": Cell(4, True, lstm_forward, lstm_backward),
    "gru": Cell(3, False, gru_forward, gru_backward),
}


# ---- one layer in one direction ----------------------------------------------------------------


@dataclass(frozen=True)
class Record:
    """What one direction of one layer leaves for its backward pass."""

    h: Array  # (T, B, Ho) the state before each step
    u: Array | None  # (T, B, H) the cell's output before the projection
    saved: list[Saved]  # T entries


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
    reverse: bool,
    y: Array,
    training: bool,
) -> tuple[Array, Any, Record | None]:
    # x (T, B, F), h (B, Ho), c (B, H) or None, active (T, B, 1) or None, y (T, B, Ho) written
    w_ih, w_hh, b_ih, b_hh, w_hr = weights
    T, B, F = x.shape
    xw = affine(x.reshape(T * B, F), w_ih, b_ih).reshape(T, B, len(w_ih))

    h_before = np.empty(y.shape, x.dtype) if training else None
    u_all = np.empty((T, B, w_hr.shape[1]), x.dtype) if training and w_hr is not None else None
    saved_all: list[Saved] = [()] * T
    for t in steps(T, reverse):
        u, c_next, saved = cell.forward(xw[t], affine(h, w_hh, b_hh), h, c)
        h_next = u if w_hr is None else u @ w_hr.T
        if h_before is not None:
            h_before[t] = h
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

    return h, c, None if h_before is None else Record(h_before, u_all, saved_all)


def direction_backward(
    cell: Cell,
    weights: Weights,
    x: Array,
    record: Record,
    dy: Array | None,
    dh: Array,
    dc: Any,
    active: Array | None,
    reverse: bool,
    grads: Sequence[Array | None] | None,
    want_dx: bool,
) -> tuple[Array | None, Array, Any]:
    # x (T, B, F), dy (T, B, Ho) or None, dh (B, Ho), dc (B, H) or None; grads are added into
    # -> dx (T, B, F) or None, dh, dc before the first step
    w_ih, w_hh, _, _, w_hr = weights
    T, B, F = x.shape
    GH, Ho = w_hh.shape
    dxw_all = np.empty((T, B, GH), x.dtype)
    dhw_all = np.empty((T, B, GH), x.dtype)
    dh_all = np.empty((T, B, Ho), x.dtype) if w_hr is not None else None
    for t in steps(T, not reverse):
        dh_t = dh if dy is None else dh + dy[t]
        du = dh_t if w_hr is None else dh_t @ w_hr
        dxw, dhw, dh_past, dc_past = cell.backward(du, dc, record.saved[t])
        dh_past = dh_past + dhw @ w_hh
        if active is not None:
            dxw = np.where(active[t], dxw, 0.0)
            dhw = np.where(active[t], dhw, 0.0)
            dh_t = np.where(active[t], dh_t, 0.0)
            dh_past = np.where(active[t], dh_past, dh)
            dc_past = np.where(active[t], dc_past, dc) if cell.has_c else None
        dxw_all[t], dhw_all[t] = dxw, dhw
        if dh_all is not None:
            dh_all[t] = dh_t
        dh, dc = dh_past, dc_past

    dxw_rows = dxw_all.reshape(T * B, GH)
    dhw_rows = dhw_all.reshape(T * B, GH)
    if grads is not None:
        dw_ih, dw_hh, db_ih, db_hh, dw_hr = grads
        if dw_ih is not None:
            dw_ih += dxw_rows.T @ x.reshape(T * B, F)
        if dw_hh is not None:
            dw_hh += dhw_rows.T @ record.h.reshape(T * B, Ho)
        if db_ih is not None:
            db_ih += dxw_rows.sum(axis=0)
        if db_hh is not None:
            db_hh += dhw_rows.sum(axis=0)
        if dw_hr is not None and dh_all is not None and record.u is not None:
            dw_hr += dh_all.reshape(T * B, Ho).T @ record.u.reshape(T * B, dw_hr.shape[1])
    dx = (dxw_rows @ w_ih).reshape(T, B, F) if want_dx else None
    return dx, dh, dc


# ---- the whole network -------------------------------------------------------------------------


@dataclass(frozen=True)
class Packed:
    """A snapshot of the weights with the sizes of the network."""

    cell: str
    weights: tuple[Weights, ...]  # entry layer * D + direction
    num_layers: int
    num_directions: int
    hidden_size: int
    output_size: int


@dataclass(frozen=True)
class Tape:
    """What forward leaves for backward."""

    inputs: list[Array]  # of each layer, (T, B, F)
    records: list[Record]  # entry layer * D + direction
    active: Array | None
    masks: Array | None


def pack(
    cell: str,
    weights: Sequence[Sequence[Array | None]],
    num_layers: int,
    num_directions: int,
    training: bool,
) -> Packed:
    """Take a snapshot of the weights of a network.

    Parameters
    ----------
    cell : {"rnn_tanh", "rnn_relu", "lstm", "gru"}
    weights : sequence of L * D 5-tuples, entry ``layer * D + direction``
        ``(w_ih (G*H, F), w_hh (G*H, Ho), b_ih (G*H,) or None, b_hh (G*H,) or None,
        w_hr (P, H) or None)``, all float32 or all float64.
    num_layers, num_directions : int
        L and D.
    training : bool
        Whether `forward` will be called with ``training=True``.

    Returns
    -------
    Packed
        Opaque and immutable; later changes of `weights` do not reach it.

    Raises
    ------
    ValueError
        For an unknown cell or a wrong number of weights.
    """
    if cell not in CELLS:
        raise ValueError(f"cell must be one of {', '.join(CELLS)}, got {cell!r}")
    if len(weights) != num_layers * num_directions:
        raise ValueError(
            f"weights must have {num_layers * num_directions} entries for {num_layers} layers in "
            f"{num_directions} directions, got {len(weights)}"
        )
    snapshot: Any = tuple(
        tuple(None if w is None else np.array(w, order="C") for w in entry) for entry in weights
    )
    GH, Ho = snapshot[0][1].shape
    return Packed(cell, snapshot, num_layers, num_directions, GH // CELLS[cell].gates, Ho)


@quiet
def forward(
    packed: Packed,
    x: Array,
    h0: Array | None,
    c0: Array | None,
    lengths: Array | None,
    masks: Array | None,
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
        Values at ``t >= lengths[b]`` are ignored, whatever they are.
    h0 : (L*D, B, Ho) array or None
        Initial states; None means zeros.
    c0 : (L*D, B, H) array or None
        Initial cell states, LSTM only; None means zeros.
    lengths : (B,) int64 array or None
        Steps of each sample, 0 to T; None means T. The reverse direction of sample b starts at
        step ``lengths[b] - 1``.
    masks : (L-1, T, B, D*Ho) array or None
        Factors for the outputs of all layers but the last (dropout).
    y : (T, B, D*Ho) array
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
    T, B, _ = x.shape
    active = None if lengths is None else np.arange(T)[:, None, None] < np.array(lengths)[:, None]
    # the tape owns its input; and padding may be NaN, which zero gradients would not silence
    layer_input = np.array(x, order="C") if active is None else np.where(active, x, 0.0)

    inputs, records = [], []
    for layer in range(L):
        last = layer == L - 1
        out = y if last else np.empty((T, B, D * Ho), x.dtype)
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
                reverse=d == 1,
                y=out[:, :, d * Ho : (d + 1) * Ho],
                training=training,
            )
            if c_n is not None:
                c_n[k] = c
            if record is not None:
                records.append(record)
        layer_input = out if last or masks is None else out * masks[layer]

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
    grads: Sequence[Sequence[Array | None]] | None,
) -> None:
    """Carry gradients back through a call of `forward`.

    Parameters
    ----------
    packed : Packed
        The one given to `forward`.
    tape : Tape
        From `forward`; serves one backward pass.
    dy : (T, B, D*Ho) array or None
        Gradient of the outputs; None means zeros. Values at ``t >= lengths[b]`` are ignored.
    dh_n : (L*D, B, Ho) array or None
        Gradient of the final states; None means zeros.
    dc_n : (L*D, B, H) array or None
        Gradient of the final cell states, LSTM only; None means zeros.
    dx : (T, B, I) array or None
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
    B = tape.inputs[0].shape[1]
    dtype = tape.inputs[0].dtype
    if dy is not None and tape.active is not None:
        dy = np.where(tape.active, dy, 0.0)

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
            if dy is not None and tape.masks is not None:
                dy = dy * tape.masks[layer - 1]
        elif dx is not None:
            dx[...] = dinput
