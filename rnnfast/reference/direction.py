"""One layer in one direction, through time and back, whatever its cell.

Letters: B batch, T time steps, F input size, H hidden size, P projection size (0 without), K
size of h (P or H), G gates; a leading d is a gradient. S slots are what layer normalisation takes
one by one: the gates, but for a GRU r, z, n_x, n_h: its n keeps the products of x and h apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..weights import Weights
from .cells import Array, Cell, Saved, sigmoid

__all__ = ["direction_backward", "direction_forward"]


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
    joint = xw.shape[-1] // cell.facts.gates * (cell.facts.gates - cell.facts.apart)
    shared = join(xw[..., :joint], hw[..., :joint])
    return np.concatenate([shared, xw[..., joint:], hw[..., joint:]], axis=-1)


def from_slots(cell: Cell, slots: Array) -> tuple[Array, Array]:
    # (..., S*H) -> what reaches the products of x and of h, (..., G*H) each
    GH = slots.shape[-1] // cell.facts.slots * cell.facts.gates
    joint = GH // cell.facts.gates * (cell.facts.gates - cell.facts.apart)
    return slots[..., :GH], np.concatenate([slots[..., :joint], slots[..., GH:]], axis=-1)


def norm_forward(cell: Cell, weights: Weights, xw: Array, hw: Array) -> tuple[Array, Array, Saved]:
    # xw, hw (B, G*H) -> such that the cell finds each slot normalised, then scaled and shifted;
    # normalised sums (B, S, H) and 1 / deviation (B, S, 1)
    w_ln, b_ln = weights.w_ln, weights.b_ln
    H = xw.shape[1] // cell.facts.gates
    sums = to_slots(cell, xw, hw, np.add).reshape(len(xw), cell.facts.slots, H)
    centred = sums - sums.mean(axis=2, keepdims=True)
    rstd = 1.0 / np.sqrt((centred**2).mean(axis=2, keepdims=True) + NORM_EPS)
    normal = centred * rstd
    slots = w_ln * normal.reshape(len(xw), len(w_ln))
    xw, hw = from_slots(cell, slots if b_ln is None else slots + b_ln)
    hw[:, : (cell.facts.gates - cell.facts.apart) * H] = 0.0  # these xw has
    return xw, hw, (normal, rstd)


def norm_backward(cell: Cell, w_ln: Array, dslots: Array, saved: Saved) -> tuple[Array, Array]:
    # dslots (B, S*H) -> gradients of x @ w_ih.T and h @ w_hh.T
    normal, rstd = saved
    dnormal = (dslots * w_ln).reshape(normal.shape)
    share = dnormal.mean(axis=2, keepdims=True)
    share = share + normal * (dnormal * normal).mean(axis=2, keepdims=True)
    return from_slots(cell, ((dnormal - share) * rstd).reshape(dslots.shape))


# ---- one layer in one direction ----------------------------------------------------------------


class Factors(NamedTuple):
    """What changes a direction's recurrence: dropout of h, and zoneout of h and of c."""

    recurrent: Array | None  # (B, K)
    zone_h: Array | None  # (T, B, K) or (T, 1, 1)
    zone_c: Array | None  # (T, B, H) or (T, 1, 1)


class Record(NamedTuple):
    """What one direction of one layer leaves for its backward pass."""

    h: Array  # (T, B, K) what w_hh, or the gate before it, multiplied at each step
    u: Array | None  # (T, B, H) the cell's output before the projection
    saved: list[Saved]  # T entries
    norms: list[Saved]  # T entries, with layer normalisation
    r: Array | None  # (T, B, H) the gate that n's h passed before the product


def affine(x: Array, weight: Array, bias: Array | None) -> Array:
    # (N, F), (M, F), (M,) -> (N, M)
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
    cuts: Array | None,
    factors: Factors,
    reverse: bool,
    y: Array,
    training: bool,
) -> tuple[Array, Any, Record | None]:
    """Run one layer in one direction; return the final h and c, and a record for training.

    x (T, B, F), h (B, K), c (B, H) or None, active (T, B, 1) or None, cuts (T + 1, B, 1) or None, y
    (T, B, K) written.
    """
    T, B, F = x.shape
    w_ih, w_hh, w_hr = weights.w_ih, weights.w_hh, weights.w_hr
    own = () if weights.w_own is None else (weights.w_own,)
    xw_all = affine(x.reshape(T * B, F), w_ih, weights.b_ih).reshape(T, B, len(w_ih))

    h_fed = np.empty(y.shape, x.dtype) if training else None
    norms: list[Saved] = [()] * T
    r_all = np.empty_like(h_fed) if h_fed is not None and cell.facts.reset_before else None
    u_all = np.empty((T, B, w_hr.shape[1]), x.dtype) if training and w_hr is not None else None
    saved_all: list[Saved] = [()] * T
    for t in steps(T, reverse):
        if cuts is not None:
            h = np.where(cuts[t + reverse], 0.0, h)
            c = None if c is None else np.where(cuts[t + reverse], 0.0, c)
        fed = h if factors.recurrent is None else h * factors.recurrent
        xw = xw_all[t]
        hw = np.zeros_like(xw) if w_hh is None else affine(fed, w_hh, weights.b_hh)
        if cell.facts.reset_before:
            hw, r = reset_forward(weights, xw, hw, fed)
            if r_all is not None:
                r_all[t] = r
        if weights.w_ln is not None:
            xw, hw, norms[t] = norm_forward(cell, weights, xw, hw)
        u, c_next, saved = cell.forward(xw, hw, h, c, *own)
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
            c_next = np.where(active[t], c_next, c) if cell.facts.has_cell_state else None
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
    cuts: Array | None,
    factors: Factors,
    reverse: bool,
    grads: Weights | None,
    want_dx: bool,
) -> tuple[Array | None, Array, Any]:
    """Carry gradients back; return dx, and dh, dc before the first step.

    x (T, B, F), dy (T, B, K) or None, dh (B, K), dc (B, H) or None; grads are added into;
    dx (T, B, F), or None where it is not wanted.
    """
    w_hh, w_hr, w_ln = weights.w_hh, weights.w_hr, weights.w_ln
    own = () if weights.w_own is None else (weights.w_own,)
    T, B, F = x.shape
    GH, K = len(weights.w_ih), dh.shape[1]
    dxw_all = np.empty((T, B, GH), x.dtype)
    dhw_all = np.empty((T, B, GH), x.dtype)
    dslots_all = None if w_ln is None else np.empty((T, B, len(w_ln)), x.dtype)
    dh_all = np.empty((T, B, K), x.dtype) if w_hr is not None else None
    for t in steps(T, not reverse):
        dh_t, dc_t = dh if dy is None else dh + dy[t], dc
        dh_kept = dc_kept = 0.0
        if factors.zone_h is not None:
            dh_t, dh_kept = (1.0 - factors.zone_h[t]) * dh_t, factors.zone_h[t] * dh_t
        if factors.zone_c is not None:
            dc_t, dc_kept = (1.0 - factors.zone_c[t]) * dc_t, factors.zone_c[t] * dc_t
        du = dh_t if w_hr is None else dh_t @ w_hr
        dxw, dhw, dh_past, dc_past = cell.backward(du, dc_t, record.saved[t], *own)
        if dslots_all is not None and w_ln is not None:
            dslots = to_slots(cell, dxw, dhw, lambda a, _: a)
            dslots_all[t] = dslots if active is None else np.where(active[t], dslots, 0.0)
            dxw, dhw = norm_backward(cell, w_ln, dslots, record.norms[t])
        dfed: Any = 0.0
        if record.r is not None:
            dhw, dfed = reset_backward(w_hh, dxw, record.r[t], record.h[t])
            dxw = dhw
        elif w_hh is not None:
            dfed = dhw @ w_hh
        dh_past = dh_past + (dfed if factors.recurrent is None else dfed * factors.recurrent)
        dh_past = dh_past + dh_kept
        dc_past = dc_past + dc_kept if cell.facts.has_cell_state else None
        if active is not None:
            dxw = np.where(active[t], dxw, 0.0)
            dhw = np.where(active[t], dhw, 0.0)
            dh_t = np.where(active[t], dh_t, 0.0)
            dh_past = np.where(active[t], dh_past, dh)
            dc_past = None if dc_past is None else np.where(active[t], dc_past, dc)
        if cuts is not None:
            dh_past = np.where(cuts[t + reverse], 0.0, dh_past)
            dc_past = None if dc_past is None else np.where(cuts[t + reverse], 0.0, dc_past)
        dxw_all[t], dhw_all[t] = dxw, dhw
        if dh_all is not None:
            dh_all[t] = dh_t
        dh, dc = dh_past, dc_past

    dxw_rows = dxw_all.reshape(T * B, GH)
    dhw_rows = dhw_all.reshape(T * B, GH)
    if grads is not None:
        add_gradients(cell, grads, x, record, dxw_rows, dhw_rows, dslots_all, dh_all)
    dx = (dxw_rows @ weights.w_ih).reshape(T, B, F) if want_dx else None
    return dx, dh, dc


def add_gradients(
    cell: Cell,
    grads: Weights,
    x: Array,
    record: Record,
    dxw: Array,
    dhw: Array,
    dslots_all: Array | None,
    dh_all: Array | None,
) -> None:
    # x (T, B, F), dxw and dhw (T*B, G*H), dslots_all (T, B, S*H), dh_all (T, B, K)
    TB, GH = dxw.shape
    K = record.h.shape[2]
    if grads.w_ih is not None:
        grads.w_ih[...] += dxw.T @ x.reshape(TB, x.shape[2])
    if grads.w_hh is not None:
        n = 0 if record.r is None else K  # columns of dhw whose h passed r first
        grads.w_hh[: GH - n] += dhw[:, : GH - n].T @ record.h.reshape(TB, K)
        if record.r is not None:
            grads.w_hh[-n:] += dhw[:, -n:].T @ (record.r * record.h).reshape(TB, K)
    if grads.b_ih is not None:
        grads.b_ih[...] += dxw.sum(axis=0)
    if grads.b_hh is not None:
        grads.b_hh[...] += dhw.sum(axis=0)
    if grads.w_hr is not None and dh_all is not None and record.u is not None:
        grads.w_hr[...] += dh_all.reshape(TB, K).T @ record.u.reshape(TB, record.u.shape[2])
    if grads.w_own is not None and cell.own is not None:
        dgates_all = dxw.reshape(*x.shape[:2], GH) if dslots_all is None else dslots_all
        for dgates, saved in zip(dgates_all, record.saved, strict=True):
            grads.w_own[...] += cell.own(dgates, saved).sum(axis=0)
    if grads.w_ln is not None and dslots_all is not None:
        for dslots, (normal, _) in zip(dslots_all, record.norms, strict=True):
            grads.w_ln[...] += (dslots * normal.reshape(dslots.shape)).sum(axis=0)
    if grads.b_ln is not None and dslots_all is not None:
        grads.b_ln[...] += dslots_all.sum(axis=(0, 1))
