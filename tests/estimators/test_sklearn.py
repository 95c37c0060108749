"""scikit-learn's own checks, and its tools around our estimators."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import rnnfast
from rnnfast import backend
from rnnfast.estimators import (
    Forecaster,
    LinearForecaster,
    NaiveForecaster,
    SequenceClassifier,
    SequenceLabeler,
    SequenceRegressor,
)
from rnnfast.estimators.forecaster import SeriesEstimator

QUICK = {"hidden_size": 16, "max_iter": 30, "learning_rate_init": 0.02, "random_state": 0}


class StepLabeler(SequenceLabeler):
    """A label for each sample, at all of its steps: what scikit-learn's checks can give."""

    def _check_y(self, y, x, *rest):
        if y is not None:
            y = repeated(y, x)
        return super()._check_y(y, x, *rest)

    def score(self, X, y):
        return super().score(X, repeated(y, X))


def repeated(y, X):
    return np.repeat(np.reshape(y, (-1, 1)), np.shape(X)[1], axis=1)


STEPS = "columns are time steps, of which there may be any number"
FAILING = {
    "check_n_features_in": STEPS,
    "check_n_features_in_after_fitting": STEPS,
    "check_estimators_partial_fit_n_features": STEPS,
    "check_fit2d_1feature": f"{STEPS} from 2 on",
    "check_fit1d": "one axis makes one long series",
    "check_fit2d_predict1d": "one axis makes one long series",
}


REFERENCE = {
    "check_methods_sample_order_invariance": "NumPy's products depend on a row's place",
    "check_methods_subset_invariance": "NumPy's products depend on the size of the batch",
}


def failing(estimator):
    checks = FAILING if isinstance(estimator, SeriesEstimator) else {}
    return checks | REFERENCE if backend.active().name == "reference" else checks


@parametrize_with_checks(
    [
        SequenceClassifier(**QUICK),
        SequenceRegressor(**QUICK),
        StepLabeler(**QUICK),
        Forecaster(**QUICK),
        LinearForecaster(),
        NaiveForecaster(),
    ],
    expected_failed_checks=failing,
)
def test_conventions(estimator, check):
    check(estimator)


def test_pipeline_grid_search_and_clone():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 8))
    y = np.where(X.sum(axis=1) > 0, "up", "down")
    pipeline = make_pipeline(StandardScaler(), SequenceClassifier(**QUICK))
    grid = GridSearchCV(pipeline, {"sequenceclassifier__cell": ["gru", "rnn"]}, cv=2).fit(X, y)
    assert grid.best_score_ > 0.7
    assert len(cross_val_score(SequenceRegressor(**QUICK), X, X.sum(axis=1), cv=2)) == 2
    model = grid.best_estimator_[-1]
    assert clone(model).get_params() == model.get_params()
    assert not hasattr(clone(model), "model_")


@pytest.mark.parametrize("form", ["list", "3-D"])
def test_cross_validation_of_sequences(form):
    rng = np.random.default_rng(1)
    X = rng.standard_normal((40, 6, 2))
    steps = rng.integers(2, 7, 40)
    if form == "list":
        X = [x[:n] for x, n in zip(X, steps, strict=True)]
    labels = [(x[:, 0] > 0).astype(int) for x in X]
    assert cross_val_score(SequenceLabeler(**QUICK), X, labels, cv=2).mean() > 0.7
    ends = np.array([x[-1, 0] > 0 for x in X])
    grid = GridSearchCV(SequenceClassifier(**QUICK), {"hidden_size": [4, (8, 4)]}, cv=2)
    assert grid.fit(X, ends).score(X, ends) > 0.7
    if form == "3-D":  # no y: its targets are steps of X
        scores = cross_val_score(Forecaster(horizon=2, **QUICK), X, cv=KFold(2))
        assert scores.shape == (2,)


def test_import_says_what_is_missing():
    code = """
import sys
sys.modules["sklearn"] = None
import rnnfast
try:
    rnnfast.Forecaster
except ImportError as error:
    assert "pip install rnnfast[sklearn]" in str(error), error
else:
    raise AssertionError("no ImportError")
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names_of_the_package():
    from rnnfast import estimators

    for name in rnnfast._ESTIMATORS:
        assert getattr(rnnfast, name) is getattr(estimators, name)
    assert sorted(rnnfast._ESTIMATORS) == sorted(estimators.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Estimator'"):
        rnnfast.Estimator  # noqa: B018
