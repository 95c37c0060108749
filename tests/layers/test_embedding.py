"""Embedding and JoinedEmbedding: symbols as vectors."""

from __future__ import annotations

import numpy as np
import pytest
from comparisons import same_slopes
from engines import each_engine as each_engine
from samples import odd_layouts

from rnnfast import (
    Embedding,
    JoinedEmbedding,
)


def test_embedding_gradients():
    layer = Embedding(6, 2, dtype=np.float64, seed=1)
    ids = np.array([[0, 5, 0], [3, 3, 3]])
    y, tape = layer.forward(ids)
    np.testing.assert_array_equal(y, layer.params["weight"][ids])
    dy = np.random.default_rng(5).standard_normal(y.shape)
    assert layer.backward(tape, dy) is None
    same_slopes(layer, lambda: np.vdot(layer(ids), dy))


def test_embedding_padding():
    layer = Embedding(4, 2, padding_idx=1, seed=1)
    assert not layer.params["weight"][1].any()
    assert layer.params["weight"][[0, 2, 3]].all()
    y, tape = layer.forward(np.array([1, 2, 1]))
    layer.backward(tape, np.ones_like(y))
    np.testing.assert_array_equal(layer.grads["weight"], [[0, 0], [0, 0], [1, 1], [0, 0]])


@pytest.mark.parametrize("dtype", ["i1", "u1", ">i2", "u4", "i8", "u8"])
def test_embedding_takes_integers_of_any_kind(dtype):
    layer = Embedding(6, 2, seed=1)
    ids = np.array([[5, 0], [3, 2]], dtype)
    for odd in odd_layouts(ids).values():
        np.testing.assert_array_equal(layer(odd), layer.params["weight"][ids.astype(int)])
    assert layer(ids[:0]).shape == (0, 2, 2)
    assert layer(ids[0, 0, ...]).shape == (2,)


def test_embedding_refuses():
    layer = Embedding(6, 2)
    for ids, error, message in [
        ([1, 2], TypeError, "input as a NumPy array of integers, got list"),
        (np.array([1.0]), TypeError, "input as a NumPy array of integers, got float64"),
        (np.array([True]), TypeError, "input as a NumPy array of integers, got bool"),
        (np.array([6]), ValueError, "ids from 0 to 5, got 6 to 6"),
        (np.array([-1, 3]), ValueError, "ids from 0 to 5, got -1 to 3"),
        (np.array([2**64 - 1], np.uint64), ValueError, "ids from 0 to 5"),
    ]:
        with pytest.raises(error, match=f"Embedding expected {message}"):
            layer(ids)


def test_joined_embedding():
    layer = JoinedEmbedding(6, 2, 3, padding_idx=4, dtype=np.float64, seed=1)
    ids = np.array([[[0, 5, 0], [3, 4, 3]]])
    y, tape = layer.forward(ids)
    np.testing.assert_array_equal(y, layer.params["weight"][ids].reshape(1, 2, 6))
    dy = np.random.default_rng(5).standard_normal(y.shape)
    layer.backward(tape, dy)
    kept = layer.grads["weight"].copy()
    one = Embedding(6, 2, padding_idx=4, dtype=np.float64, seed=1)
    _, tape = one.forward(ids)
    one.backward(tape, dy.reshape(1, 2, 3, 2))
    np.testing.assert_array_equal(kept, one.grads["weight"])
    assert layer(ids[:, :0]).shape == (1, 0, 6)
    with pytest.raises(ValueError, match="JoinedEmbedding expected input of size 3 on the last"):
        layer(ids[..., :2])
    _, tape = layer.forward(ids)
    with pytest.raises(ValueError, match=r"JoinedEmbedding expected dy of shape \(1, 2, 6\)"):
        layer.backward(tape, dy[..., :2])
    np.testing.assert_array_equal(layer.grads["weight"], kept)
