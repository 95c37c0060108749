"""The arrays of a network by name, as both backends take them.

Letters: I input size of a layer, H hidden size, K size of h (P with a projection, else H), G gates,
S slots (what layer normalisation takes one by one), B batch, T time steps, L layers, D directions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .arrays import Array


class Weights(NamedTuple):
    """The weights of one layer and direction, their gradients, or what else belongs to each."""

    w_ih: Any  # (G*H, I)
    w_hh: Any  # (G*H, K), or None
    b_ih: Any = None  # (G*H,) or None, as b_hh
    b_hh: Any = None
    w_hr: Any = None  # (P, H): the projection, or None
    w_ln: Any = None  # (S*H,): gamma and beta of layer normalisation, or None
    b_ln: Any = None
    w_own: Any = None  # (R*H,): R vectors of the cell's own, or None


class Masks(NamedTuple):
    """The random factors of one call of a network. None: all are one, or as `pack` was told."""

    between: Array | None = None  # (L-1, T, B, D*K): of the outputs of all layers but the last
    recurrent: Array | None = None  # (L*D, B, K): of h where w_hh multiplies it
    zone_h: Array | None = None  # (L*D, T, B, K): the fraction of its old h that each unit keeps
    zone_c: Array | None = None  # (L*D, T, B, H): and of its old c
