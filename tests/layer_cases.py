"""What the tests of recurrent layers share: small layers, and random inputs and states of them."""

from __future__ import annotations

import numpy as np
import pytest

import rnnfast
from rnnfast.cells import CELLS

B, T, I, H = 4, 6, 5, 7  # noqa: E741
EVERYTHING = {"layer_norm": True, "recurrent_dropout": 0.4, "zoneout": 0.3}


def each(cells):
    """Parametrise a test over the classes of cells and what their constructors are given."""
    rows = [(getattr(rnnfast, cell.layer), cell.options) for cell in cells]
    return pytest.mark.parametrize(("cls", "extra"), rows, ids=[cell.name for cell in cells])


each_cell = each(CELLS.values())
each_torch_cell = each([cell for cell in CELLS.values() if cell.in_torch])


def cell_of(cls, extra):
    return next(c for c in CELLS.values() if c.layer == cls.__name__ and c.options == extra)


def possible(cls, extra, options):
    """The options but those that the cell does not take."""
    cell = cell_of(cls, extra)
    takes = {"layer_norm": cell.has_norm, "recurrent_dropout": not cell.input_only}
    return {n: v for n, v in options.items() if takes.get(n, True)}


def make(cls, **options):
    return cls(I, H, **{"dtype": np.float64, "seed": 3, **options})


def parts(state):
    return list(state) if isinstance(state, tuple) else [state]


def same(got, want):
    for a, b in zip(parts(got), parts(want), strict=True):
        np.testing.assert_array_equal(a, b)


def random_state(layer, rng, batch=(B,)):
    stack = layer.num_layers * (2 if layer.bidirectional else 1)
    h = rng.standard_normal((stack, *batch, layer.network.step_size)).astype(layer.dtype)
    if not layer._cell.has_cell_state:
        return h
    return h, rng.standard_normal((stack, *batch, layer.hidden_size)).astype(layer.dtype)


def random_x(layer, rng, batched=True):
    shape = ((B, T) if layer.batch_first else (T, B)) if batched else (T,)
    return rng.standard_normal((*shape, I)).astype(layer.dtype)
