"""Warnings of training that came to nothing."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from rnnfast.estimators import SequenceClassifier, SequenceRegressor
from rnnfast.estimators.convergence import correlation

LARGE = {"cell": "gru", "hidden_size": 24, "learning_rate_init": 0.02, "batch_size": 10}


def told(model, X, y, **options):
    """What is said of a fit."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, y, **options)
    return " ".join(str(one.message) for one in caught)


@pytest.mark.parametrize("kind", [SequenceClassifier, SequenceRegressor])
def test_noise_that_is_learnt_by_heart(kind):
    rng = np.random.default_rng(0)
    X, noise = rng.standard_normal((90, 6)), rng.standard_normal(90)
    sums = X.sum(axis=1)
    if kind is SequenceClassifier:
        noise, sums = noise > 0, sums > 0
    model = kind(max_iter=60, random_state=0, **LARGE)
    said = told(model, X[:30], noise[:30], validation_data=(X[30:], noise[30:]))
    assert "not those of the 60 samples held out" in said and "learnt by heart" in said
    assert "by heart" not in told(model, X[:30], sums[:30], validation_data=(X[30:], sums[30:]))
    # nothing is shown by a few samples, and nothing is held out
    assert "by heart" not in told(model, X[:30], noise[:30], validation_data=(X[:9], noise[:9]))
    assert "by heart" not in told(model, X[:30], noise[:30])


def test_correlation():
    x = np.random.default_rng(0).standard_normal((50, 3))
    assert correlation(x, x) == pytest.approx(1.0)
    assert correlation(3.0 - 2.0 * x, x) == pytest.approx(-1.0)
    assert np.isnan(correlation(np.ones((5, 2)), np.ones((5, 2))))
