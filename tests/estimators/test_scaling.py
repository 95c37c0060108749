"""Scaler: moments learnt at once, in parts, with gaps, and by estimators from a stream."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from rnnfast.estimators import SequenceClassifier, SequenceRegressor, scaling
from rnnfast.estimators.scaling import Scaler


class Owner:
    pass


def scaler():
    return Scaler(Owner(), "X")


def test_parts_together_are_the_whole(monkeypatch):
    x = 1e6 + np.random.default_rng(0).standard_normal((50, 4, 3)) * [1.0, 1e-3, 0.0]
    monkeypatch.setattr(scaling, "ROWS", 7)
    whole, parts = scaler().updated(x), scaler()
    for start, stop in [(0, 1), (1, 2), (2, 30), (30, 50)]:
        parts = parts.updated(x[start:stop])
    for one in (whole, parts):
        np.testing.assert_allclose(one.mean, x.mean((0, 1)), rtol=1e-14)
        np.testing.assert_allclose(one.scale[:2], x.std((0, 1))[:2], rtol=1e-7)
        assert one.scale[2] == 1.0
        np.testing.assert_allclose(one.inverse(one(x)), x, rtol=1e-6)


def test_padding_and_gaps_do_not_count():
    x = np.random.default_rng(0).standard_normal((5, 4, 2))
    real = np.arange(4) < np.array([1, 2, 3, 4, 4])[:, None]
    padded = np.where(real[..., None], x, 1e9)
    learnt = scaler().updated(padded, real)
    np.testing.assert_allclose(learnt.mean, x[real].mean(0), rtol=1e-12)
    np.testing.assert_allclose(learnt.scale, x[real].std(0), rtol=1e-12)
    x[0, 0, 0] = x[2, 1, 1] = np.nan
    learnt = scaler().updated(x)
    np.testing.assert_allclose(learnt.mean, np.nanmean(x, (0, 1)), rtol=1e-12)
    np.testing.assert_allclose(learnt.scale, np.nanstd(x, (0, 1)), rtol=1e-12)


def test_nothing_learnt_changes_nothing():
    x = np.float32([[1.0, 2.0]])
    np.testing.assert_array_equal(scaler()(x), x)


def test_too_large():
    with pytest.raises(ValueError, match="Owner expected X of values whose variance float64 can"):
        scaler().updated(np.array([[1e200], [-1e200]]))
    with pytest.raises(ValueError, match="float32 can hold, got values too large: 1e\\+39"):
        scaler()(np.array([[1e39]]))


def test_a_stream_teaches_the_scale_of_all_that_came():
    rng = np.random.default_rng(0)
    X = rng.uniform(20, 120, (60, 1)) + rng.standard_normal((60, 8))
    y = 1000.0 * X[:, -1]
    model = SequenceRegressor(hidden_size=4, random_state=0)
    for i in range(60):
        model.partial_fit(X[i : i + 1], y[i : i + 1])
    np.testing.assert_allclose(model._scaler.mean, X.mean(), rtol=1e-12)
    np.testing.assert_allclose(model._scaler.scale, X.std(), rtol=1e-12)
    np.testing.assert_allclose(model._y_scaler.scale, y.std(), rtol=1e-12)
    # and whatever the first one was
    first = SequenceClassifier(hidden_size=4, random_state=0)
    first.partial_fit(np.full((1, 8), 80.0), [0], classes=[0, 1]).partial_fit(X, np.arange(60) % 2)
    assert first._scaler.scale == pytest.approx(np.r_[np.full(8, 80.0), X.ravel()].std())
