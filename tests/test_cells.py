"""The table of cells: the engine's own, and the layers, know the same facts."""

from __future__ import annotations

import inspect

import pytest

import rnnfast
from rnnfast.cells import CELLS
from rnnfast.layers.recurrent import RECURRENT_LAYERS

each_cell = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)


def test_the_engine_has_the_same_facts():
    kernels = pytest.importorskip("rnnfast.core.kernels", reason="the engine is not built")
    known = kernels.cells()
    shared = ["gates", "slots", "has_cell_state", "has_norm", "reset_before", "input_only"]
    assert {n: [*(f[s] for s in shared), max(f["own"])] for n, f in known.items()} == {
        name: [*(getattr(cell, s) for s in shared), cell.own_rows] for name, cell in CELLS.items()
    }


@each_cell
def test_a_layer_has_its_cell(cell):
    kind = getattr(rnnfast, cell.layer)
    assert kind(2, 3, **cell.options)._cell is cell
    assert ("proj_size" in inspect.signature(kind).parameters) == cell.has_cell_state
    assert RECURRENT_LAYERS[cell.layer.lower()] is kind
    assert bool(cell.own_rows) == bool(cell.own_name)


@each_cell
def test_orders_of_gates_name_each_once(cell):
    for bridge in (cell.onnx, cell.keras):
        assert bridge is None or sorted(bridge.order) == list(range(cell.gates))
    if cell.keras is not None:  # read both ways
        order = cell.keras.order
        assert [order[g] for g in order] == list(range(cell.gates))
