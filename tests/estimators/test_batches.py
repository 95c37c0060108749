"""Samples in batches: each once a pass, in new orders, and padded only where they are taken."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from rnnfast.datasets.formats import pad
from rnnfast.estimators.batches import Batches, Ragged, take_sequences


def test_each_sample_once_in_a_new_order():
    batches = Batches(lambda some, whole: (some,), np.arange(10, 20), 4, seed=0)
    assert len(batches) == 3
    first, second = ([batch for (batch,) in batches] for _ in range(2))
    assert [len(b) for b in first] == [4, 3, 3]  # none of a few samples only
    for each in (first, second):
        assert sorted(np.concatenate(each)) == list(range(10, 20))
    assert list(np.concatenate(first)) != list(np.concatenate(second))
    (again,) = next(iter(Batches(lambda some, _: (some,), np.arange(10, 20), 4, seed=0)))
    np.testing.assert_array_equal(again, first[0])
    plain = Batches(lambda some, _: (some,), np.arange(3), 2)
    assert [b.tolist() for (b,) in plain] == [[0, 1], [2]]


@pytest.mark.parametrize("key", [slice(2), slice(1, None), np.array([3, 0]), np.array([], int)])
def test_ragged_is_what_padding_gives(key):
    arrays = [np.full((n, 2), n, np.float32) for n in (3, 1, 4, 2)]
    padded, lengths = pad(arrays)
    x = Ragged(arrays)
    assert (x.shape, x.ndim, x.dtype, len(x)) == (padded.shape, 3, padded.dtype, 4)
    np.testing.assert_array_equal(x.lengths, lengths)
    np.testing.assert_array_equal(x[key], padded[key])
    for end in (1, 3, 4):
        np.testing.assert_array_equal(x[key, :end], padded[key, :end])


def test_parts_of_batches_are_as_long_as_these():
    n = np.array([3, 1, 4, 2])
    take = take_sequences(np.ones((4, 4, 1)), n, n, None, np.negative, steps_of_y=False)
    batches = Batches(take, np.arange(4), 2)
    for rank in (0, 1):
        parts = [(x.shape, y.tolist(), whole) for (x, y, _), whole in batches.dealt(rank, 2)]
        assert parts == [((1, 3, 1), [n[rank]], 2), ((1, 4, 1), [n[2 + rank]], 2)]


def test_batches_are_cut_to_their_longest():
    arrays = [np.full((n, 1), n, np.float64) for n in (3, 1, 4, 2)]
    n = np.array([3, 1, 4, 2])
    y, weight = np.arange(16).reshape(4, 4), np.arange(4.0)
    take = take_sequences(Ragged(arrays), y, n, weight, np.negative, steps_of_y=True)
    some = np.array([1, 3])
    x, target, lengths, each = take(some, some)
    np.testing.assert_array_equal(x[..., 0], [[-1, 0], [-2, -2]])
    np.testing.assert_array_equal(target, y[[1, 3], :2])
    np.testing.assert_array_equal(lengths, [1, 2])
    np.testing.assert_array_equal(each, [1.0, 3.0])
    whole = take_sequences(np.zeros((4, 5, 1)), y, None, None, np.negative, steps_of_y=False)
    some = np.array([0, 2])
    assert [part.shape for part in whole(some, some)] == [(2, 5, 1), (2, 4)]
