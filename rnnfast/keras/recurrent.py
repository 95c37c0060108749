"""Recurrent layers of this package for those of Keras."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import layers
from ..cells import CELLS
from ..layers import Dropout, Last, Merge, Rearrange
from ..layers.base import Layer
from ..layers.recurrent_base import Recurrent
from .facts import as_array, built_dtype, function_name, refusal, require
from .shared import MERGE_MODES, RECURRENT, by_gates

if TYPE_CHECKING:
    from .shared import KerasLayer

RECURRENT_NAMES = tuple(dict.fromkeys(kind.layer for kind in RECURRENT.values()))


def recurrent(keras: Any, layer: KerasLayer) -> list[Layer]:
    """Return what `SimpleRNN`, `LSTM`, `GRU` and `RNN` of their cells become."""
    cells = _cells(keras, layer)
    if len(cells) > 1 and layer.return_state:
        raise refusal(layer, "return_state", True, "False for several cells")
    parts: list[Layer] = [Rearrange("reverse", (), True)] if layer.go_backwards else []
    for cell in cells:
        parts += _parts(keras, layer, [cell])
    return parts if layer.return_sequences else [*parts, Last(batch_first=True)]


def bidirectional(keras: Any, layer: KerasLayer) -> list[Layer]:
    """Return what `Bidirectional` becomes, but for the parts that merge_mode=None cuts it into."""
    kinds: dict[str | None, str] = {mode: kind for kind, mode in MERGE_MODES.items()}
    kinds[None] = "concat"
    if layer.merge_mode not in kinds:
        raise refusal(layer, "merge_mode", layer.merge_mode, ", ".join(map(str, kinds)))
    ahead, back = layer.forward_layer, layer.backward_layer
    known = [getattr(keras.layers, name) for name in (*RECURRENT_NAMES, "RNN")]
    for direction in (ahead, back):
        if type(direction) not in known:
            supported = ", ".join((*RECURRENT_NAMES, "RNN"))
            raise refusal(layer, "layer", type(direction).__name__, supported)
    require(ahead, go_backwards=False)
    cells = [_cells(keras, direction) for direction in (ahead, back)]
    if max(map(len, cells)) > 1:
        raise refusal(ahead, "cell", type(ahead.cell).__name__, "a single cell in Bidirectional")
    pair = [cell for (cell,) in cells]
    if type(pair[0]) is not type(pair[1]):
        raise refusal(layer, "backward_layer", type(back).__name__, type(ahead).__name__)
    same = ("units", "use_bias", "recurrent_dropout", "dropout")
    options = [
        {option: getattr(cell, option) for option in same}
        | {**_cell_options(keras, direction, cell), "dtype": cell.dtype_policy.name}
        for direction, cell in zip((ahead, back), pair, strict=True)
    ]
    for option, value in options[0].items():
        if options[1][option] != value:
            raise refusal(back, option, options[1][option], f"{value!r}, as in the other direction")
    parts = _parts(keras, ahead, pair)
    if not ahead.return_sequences:
        parts.append(Last(batch_first=True, bidirectional=True))
    kind = kinds[layer.merge_mode]
    return parts if kind == "concat" else [*parts, Merge(kind, parts=2)]


def _cells(keras: Any, layer: KerasLayer) -> list[Any]:
    # one behind the other
    if layer.stateful:
        supported = "False: set it so, and hand the state of a call, y, state = model(x), on"
        raise refusal(layer, "stateful", True, supported)
    cells = layer.cell.cells if type(layer.cell) is keras.layers.StackedRNNCells else [layer.cell]
    for cell in cells:
        if type(cell) not in [getattr(keras.layers, f"{name}Cell") for name in RECURRENT_NAMES]:
            supported = ", ".join(f"{name}Cell" for name in RECURRENT_NAMES)
            raise refusal(layer, "cell", type(cell).__name__, supported)
    return list(cells)


def _cell_options(keras: Any, layer: KerasLayer, cell: Any) -> dict[str, Any]:
    # those that choose a cell, once there is one for their values
    kind = type(cell).__name__.removesuffix("Cell")
    rows = [row.options for row in RECURRENT.values() if row.layer == kind]
    found = {}
    for option in rows[0]:
        is_function = option.endswith("activation")
        found[option] = function_name(keras, cell, option) if is_function else getattr(cell, option)
        known = list(dict.fromkeys(row[option] for row in rows))
        if found[option] not in known:
            raise refusal(layer, option, found[option], ", ".join(map(str, known)))
    return found


def _parts(keras: Any, layer: KerasLayer, cells: list[Any]) -> list[Layer]:
    # cells: of each direction
    ahead = cells[0]
    chosen = type(ahead).__name__.removesuffix("Cell"), _cell_options(keras, layer, ahead)
    name, kind = next((n, k) for n, k in RECURRENT.items() if (k.layer, k.options) == chosen)
    built_dtype(layer)
    dtype = built_dtype(ahead)  # a wrapper may have another one
    state = {}
    for cell, suffix in zip(cells, ("", "_reverse"), strict=False):
        kernels = {"ih": cell.kernel, "hh": cell.recurrent_kernel}
        for part, kernel in kernels.items():
            state[f"weight_{part}_l0{suffix}"] = by_gates(kind, as_array(keras, kernel)).T
        if ahead.use_bias:
            bias = by_gates(kind, as_array(keras, cell.bias))
            pair = bias if bias.ndim == 2 else (bias, np.zeros_like(bias))
            state[f"bias_ih_l0{suffix}"], state[f"bias_hh_l0{suffix}"] = pair
    made: Recurrent = getattr(layers, CELLS[name].layer)(
        state["weight_ih_l0"].shape[1],
        ahead.units,
        bias=ahead.use_bias,
        batch_first=True,
        bidirectional=len(cells) == 2,
        recurrent_dropout=ahead.recurrent_dropout,
        dtype=dtype,
        **CELLS[name].options,
    )
    made.load_state_dict(state)
    if not ahead.dropout:
        return [made]
    return [Dropout(ahead.dropout, all_steps=True, batch_first=True), made]
