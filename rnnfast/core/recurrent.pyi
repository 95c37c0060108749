from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rnnfast.weights import Masks, Weights

Array: TypeAlias = NDArray[Any]

class Packed: ...
class Tape: ...

def pack(
    cell: str,
    weights: list[Weights],
    num_layers: int,
    num_directions: int,
    training: bool,
    zoneout: tuple[float, float],
) -> Packed: ...
def forward(
    packed: Packed,
    x: Array,
    h0: Array | None,
    c0: Array | None,
    lengths: NDArray[np.int64] | None,
    masks: Masks | None,
    y: Array,
    h_n: Array,
    c_n: Array | None,
    training: bool,
    resets: NDArray[np.bool_] | None = None,
) -> Tape | None: ...
def quick(
    packed: Packed,
    x: Any,
    state: Any,
    axes: int,
    batch_first: bool,
    training: bool,
    resets: Any = None,
) -> tuple[Any, ...] | None: ...
def gates(packed: Packed, tape: Tape) -> Array: ...
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
) -> None: ...
