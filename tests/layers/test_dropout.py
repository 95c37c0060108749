"""Dropout, and the random masks of all dropout."""

from __future__ import annotations

import numpy as np
import pytest
from engines import each_engine as each_engine
from samples import odd_layouts

from rnnfast import (
    GRU,
    Dropout,
    GaussianNoise,
)
from rnnfast.layers.masks import MaskSource, Part, part_here


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dropout(p, dtype):
    layer = Dropout(p, seed=1)
    x = np.full((50, 40, 30), 2.0, dtype)
    assert layer(x) is x
    y, tape = layer.forward(x)
    dx = layer.backward(tape, x)
    assert y.dtype == dx.dtype == dtype
    np.testing.assert_array_equal(dx, y)
    kept = 2 / (1 - p) if p < 1 else 0
    assert set(np.unique(y)) <= {0, dtype(2**24 / max(round((1 - p) * 2**24), 1)) * dtype(2)}
    np.testing.assert_allclose(y.max(), kept, rtol=1e-6)
    assert abs((y == 0).mean() - p) <= 5 * np.sqrt(p * (1 - p) / x.size) + 1e-5
    assert np.array_equal(layer.forward(x)[0], y) is (p in (0.0, 1.0))
    np.testing.assert_array_equal(Dropout(p, seed=1).forward(x)[0], y)


def draw(seed=0, call=1, index=0, rows=(0, 200), p=0.3):
    """One mask, 1 where something is kept: rows of a size that fills no group of words."""
    out = np.empty((1, rows[1] - rows[0], 333))
    MaskSource(seed, p, 1.0).fill(call, index, rows[0], out)
    return out[0]


def test_masks_do_not_depend_on_what_is_drawn_beside_them():
    whole = draw()
    np.testing.assert_array_equal(draw(rows=(50, 117)), whole[50:117])
    several = np.empty((3, 200, 9, 37))
    MaskSource(0, 0.3, 1.0).fill(1, 0, 0, several)
    for index in range(3):
        np.testing.assert_array_equal(several[index].reshape(200, 333), draw(index=index))
    again = MaskSource(5, 0.3, 1.0)
    again.load_state_dict(MaskSource(0, 0.3).state_dict())
    again.fill(1, 0, 0, out := np.empty((1, 200, 333)))
    np.testing.assert_array_equal(out[0], whole)


def test_masks_are_as_random_as_they_should_be():
    """Means and covariances of masks, rows and places within five standard deviations."""
    p = 0.3
    deviation = np.sqrt(p * (1 - p))
    masks = {
        "first": draw(),
        "seed": draw(seed=1),
        "call": draw(call=2),
        "call and 2**31": draw(call=1 + 2**31),
        "index": draw(index=1),
        "row": draw(rows=(1, 201)),
        "later rows": draw(rows=(2**20, 2**20 + 200)),
    }
    for name, mask in masks.items():
        n, scaled = mask.size, (mask - (1 - p)) / deviation
        assert abs(scaled.mean()) < 5 / np.sqrt(n), name
        for axis in (0, 1):
            parts = scaled.mean(axis) * np.sqrt(mask.shape[axis])
            assert abs(parts).max() < 5, name
            # sums of squares of independent standard numbers: chi-squared
            assert abs((parts**2).sum() - parts.size) < 5 * np.sqrt(2 * parts.size), name
        for lag in (1, 2, 4, 8, 16, 32, 64, 128):  # the layout of the words
            assert abs((scaled[:, lag:] * scaled[:, :-lag]).mean()) < 5 / np.sqrt(n / 2), name
        assert abs((scaled[1:] * scaled[:-1]).mean()) < 5 / np.sqrt(n / 2), name
        if name != "first":
            first = (masks["first"] - (1 - p)) / deviation
            assert abs((scaled * first).mean()) < 5 / np.sqrt(n), name


def test_probabilities_are_rounded_finely():
    source = MaskSource(0, 1e-6)
    assert source.kept == 2**24 - 17
    source.fill(1, 0, 0, out := np.empty((1, 300, 10_000)))
    assert 0 < (out == 0).sum() < 12  # of 3 expected
    assert np.unique(out[out > 0]) == 2**24 / source.kept


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda _: Dropout(0.5, seed=1),
        lambda first: Dropout(0.5, seed=1, all_steps=True, batch_first=first),
        lambda _: GaussianNoise(1.0, seed=1),
        lambda first: GRU(3, 4, 2, dropout=0.5, zoneout=0.5, batch_first=first, seed=1),
        lambda first: GRU(3, 4, recurrent_dropout=0.5, batch_first=first, seed=1, checkpoint=2),
    ],
)
@pytest.mark.parametrize("rows", [slice(1, None, 3), slice(2, 6), slice(7, None, 9)])
def test_parts_of_a_batch_have_its_masks(make, batch_first, rows):
    x = np.random.default_rng(0).standard_normal((7, 5, 3)).astype(np.float32)
    x = x if batch_first else x.swapaxes(0, 1)
    own = (rows,) if batch_first else (slice(None), rows)
    whole = make(batch_first).forward(x)[0]
    token = part_here.set(Part(7, rows, not batch_first))
    try:
        part = make(batch_first).forward(x[own])[0]
        other = make(batch_first).forward(x)[0]  # which is no part of it
    finally:
        part_here.reset(token)
    np.testing.assert_allclose(part, whole[own], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(other, whole)


def test_dropout_odd_arrays_and_errors():
    x = np.random.default_rng(1).standard_normal((4, 5, 3)).astype(np.float32)
    want = Dropout(seed=1).forward(x)[0]
    for kind, odd in odd_layouts(x).items():
        np.testing.assert_array_equal(Dropout(seed=1).forward(odd)[0], want, err_msg=kind)
    assert Dropout().forward(np.array(1.0))[0].shape == ()
    with pytest.raises(TypeError, match="Dropout expected input as a NumPy array of floats"):
        Dropout().forward(np.arange(3))
    y, tape = Dropout().forward(x)
    with pytest.raises(ValueError, match="Dropout expected dy of shape"):
        Dropout.backward(tape._owner, tape, y[1:])
