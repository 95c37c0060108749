"""The cells' equations, as plainly as NumPy says them: the step forward above the step backward.

`CELLS` names the pairs. Letters: B batch, H hidden size, K size of h (H, or P with a
projection), G gates; a leading d is a gradient. Gate order: LSTM i, f, g, o; GRU r, z, n.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..cells import CELLS as FACTS
from ..cells import Cell as Facts

__all__ = ["CELLS"]

Array = NDArray[Any]
Saved = tuple[Array, ...]


def sigmoid(x: Array) -> Array:
    # exp of a negative number cannot overflow, and the small tail keeps its relative accuracy
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, e) / (1.0 + e)


# forward:  xw = x @ w_ih.T + b_ih and hw = h @ w_hh.T + b_hh, both (B, G*H); the state before the
#           step, h (B, K) and c (B, H) or None  ->  new h (B, H), new c, what backward needs
# backward: gradients of the new h and the new c, what forward saved
#           ->  dxw, dhw (B, G*H), the part of dh that does not pass through hw, dc
# own:      of a cell with R vectors of its own, (R*H,), which the pair takes last: gradients of its
#           sums, (B, S*H), what forward saved  ->  those of the vectors, (B, R*H)


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


def lstm_peephole_forward(
    xw: Array, hw: Array, h: Array, c: Any, own: Array
) -> tuple[Array, Any, Saved]:
    p_i, p_f, p_o = np.split(own, 3)
    i, f, g, o = np.split(xw + hw, 4, axis=1)
    i, f, g = sigmoid(i + p_i * c), sigmoid(f + p_f * c), np.tanh(g)
    c_next = f * c + i * g
    o, tanh_c = sigmoid(o + p_o * c_next), np.tanh(c_next)
    return o * tanh_c, c_next, (i, f, g, o, c, tanh_c, c_next)


def lstm_peephole_backward(
    dh: Array, dc: Any, saved: Saved, own: Array
) -> tuple[Array, Array, Any, Any]:
    p_i, p_f, p_o = np.split(own, 3)
    o, tanh_c = saved[3], saved[5]
    dc = dc + p_o * (dh * tanh_c * o * (1.0 - o))
    dgates, _, _, dc = lstm_backward(dh, dc, saved[:6])
    di, df, _, _ = np.split(dgates, 4, axis=1)
    return dgates, dgates, 0.0, dc + p_i * di + p_f * df


def lstm_peephole_own(dgates: Array, saved: Saved) -> Array:
    di, df, _, do = np.split(dgates, 4, axis=1)
    c, c_next = saved[4], saved[6]
    return np.concatenate([di * c, df * c, do * c_next], axis=1)


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


# Feng et al. (2024): the gates are of x alone, and hw is zero


def candidate(x: Array) -> Array:
    return np.where(x < 0.0, sigmoid(x), x + 0.5)


def candidate_slope(g: Array) -> Array:
    return np.where(g < 0.5, g * (1.0 - g), 1.0)


def min_gru_forward(xw: Array, hw: Array, h: Array, c: Any) -> tuple[Array, Any, Saved]:
    z, g = np.split(xw + hw, 2, axis=1)
    z, g = sigmoid(z), candidate(g)
    return (1.0 - z) * h + z * g, None, (z, g, h)


def min_gru_backward(dh: Array, dc: Any, saved: Saved) -> tuple[Array, Array, Any, Any]:
    z, g, h = saved
    dz = dh * (g - h) * z * (1.0 - z)
    dgates = np.concatenate([dz, dh * z * candidate_slope(g)], axis=1)
    return dgates, dgates, dh * (1.0 - z), None


def min_lstm_forward(xw: Array, hw: Array, h: Array, c: Any) -> tuple[Array, Any, Saved]:
    f, i, g = np.split(xw + hw, 3, axis=1)
    # both gates at once may underflow, and their quotient must not be 0 / 0
    lowest = 1.0 + np.log(np.finfo(xw.dtype).tiny)
    f, i, g = sigmoid(np.maximum(f, lowest)), sigmoid(np.maximum(i, lowest)), candidate(g)
    return (f * h + i * g) / (f + i), None, (f, i, g, h)


def min_lstm_backward(dh: Array, dc: Any, saved: Saved) -> tuple[Array, Array, Any, Any]:
    f, i, g, h = saved
    u = i / (f + i)
    du = dh * (g - h) * u * (1.0 - u)
    dg = dh * u * candidate_slope(g)
    dgates = np.concatenate([-du * (1.0 - f), du * (1.0 - i), dg], axis=1)
    return dgates, dgates, dh * (1.0 - u), None


class Cell(NamedTuple):
    """What the drivers know of a cell."""

    facts: Facts
    forward: Callable[..., tuple[Array, Any, Saved]]
    backward: Callable[..., tuple[Array, Array, Any, Any]]
    own: Callable[[Array, Saved], Array] | None = None


CELLS = {
    cell.facts.name: cell
    for cell in (
        Cell(FACTS["rnn_tanh"], rnn_tanh_forward, rnn_tanh_backward),
        Cell(FACTS["rnn_relu"], rnn_relu_forward, rnn_relu_backward),
        Cell(FACTS["lstm"], lstm_forward, lstm_backward),
        Cell(
            FACTS["lstm_peephole"],
            lstm_peephole_forward,
            lstm_peephole_backward,
            lstm_peephole_own,
        ),
        Cell(FACTS["gru"], gru_forward, gru_backward),
        Cell(FACTS["gru_reset_before"], gru_reset_before_forward, gru_reset_before_backward),
        Cell(FACTS["min_gru"], min_gru_forward, min_gru_backward),
        Cell(FACTS["min_lstm"], min_lstm_forward, min_lstm_backward),
    )
}
