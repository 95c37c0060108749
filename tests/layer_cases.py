"""What the tests of RNN, LSTM and GRU share: small layers, and random inputs and states of them."""

from __future__ import annotations

import numpy as np
import pytest

from rnnfast import GRU, LSTM, RNN

B, T, I, H = 4, 6, 5, 7  # noqa: E741
TORCH_CELLS = [(RNN, {}), (RNN, {"nonlinearity": "relu"}), (LSTM, {}), (GRU, {})]
CELLS = [*TORCH_CELLS, (GRU, {"reset_after": False})]
NAMES = ["rnn", "relu", "lstm", "gru", "gru_reset_before"]
EVERYTHING = {"layer_norm": True, "recurrent_dropout": 0.4, "zoneout": 0.3}
each_cell = pytest.mark.parametrize(("cls", "extra"), CELLS, ids=NAMES)
each_torch_cell = pytest.mark.parametrize(("cls", "extra"), TORCH_CELLS, ids=NAMES[:-1])


def possible(extra, options):
    """The options, without layer normalisation for the cell that does not take it."""
    return {n: v for n, v in options.items() if n != "layer_norm" or "reset_after" not in extra}


def make(cls, **options):
    return cls(I, H, **{"dtype": np.float64, "seed": 3, **options})


def parts(state):
    return list(state) if isinstance(state, tuple) else [state]


def same(got, want):
    for a, b in zip(parts(got), parts(want), strict=True):
        np.testing.assert_array_equal(a, b)


def random_state(layer, rng, batch=(B,)):
    stack = layer.num_layers * (2 if layer.bidirectional else 1)
    h = rng.standard_normal((stack, *batch, layer._step_size)).astype(layer.dtype)
    if not isinstance(layer, LSTM):
        return h
    return h, rng.standard_normal((stack, *batch, layer.hidden_size)).astype(layer.dtype)


def random_x(layer, rng, batched=True):
    shape = ((B, T) if layer.batch_first else (T, B)) if batched else (T,)
    return rng.standard_normal((*shape, I)).astype(layer.dtype)
