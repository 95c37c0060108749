"""Folds of one series by sktime's splitters; `make test-bridges` installs these."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score

from rnnfast.estimators import Forecaster, LinearForecaster, NaiveForecaster

splitters = pytest.importorskip("sktime.split", reason="sktime is not installed")
T = np.arange(144)
SERIES = (10 + 0.1 * T) * (1 + 0.3 * np.sin(T * 2 * np.pi / 12))
SERIES = SERIES + 0.1 * np.random.default_rng(0).standard_normal(144)
AHEAD = np.arange(1, 7)
SPLITTERS = {
    "expanding": splitters.ExpandingWindowSplitter(fh=AHEAD, initial_window=90, step_length=20),
    "sliding": splitters.SlidingWindowSplitter(fh=AHEAD, window_length=90, step_length=20),
    "single": splitters.SingleWindowSplitter(fh=AHEAD, window_length=90),
}
each = pytest.mark.parametrize("cv", SPLITTERS.values(), ids=SPLITTERS)


def as_frame(series):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    return pandas.Series(series, pandas.date_range("2010-01-31", periods=len(series), freq="ME"))


@each
@pytest.mark.parametrize("form", [np.asarray, as_frame], ids=["array", "Series"])
@pytest.mark.parametrize(
    "model",
    [
        Forecaster(horizon=6, hidden_size=8, max_iter=2, random_state=0),
        LinearForecaster(horizon=6, window=24),
        NaiveForecaster(horizon=6, season=12),
    ],
    ids=lambda m: type(m).__name__,
)
def test_folds(cv, form, model):
    series = form(SERIES)
    folds = list(cv.split(series))
    assert folds
    for train, test in folds:
        given = series.iloc[train] if hasattr(series, "iloc") else series[train]
        truth = series.iloc[test] if hasattr(series, "iloc") else series[test]
        model.fit(given)
        expected = r2_score(np.asarray(truth), np.asarray(model.predict()))
        assert model.score(truth) == pytest.approx(expected)
        assert expected > 0.5


@each
def test_scikit_learns_tools_take_them(cv):
    folds = list(cv.split(SERIES))
    scores = cross_val_score(LinearForecaster(horizon=6, window=24), SERIES, cv=folds)
    assert len(scores) == len(folds) and scores.min() > 0.5
    search = GridSearchCV(LinearForecaster(horizon=6), {"window": [6, 24]}, cv=folds)
    assert search.fit(SERIES).best_params_ == {"window": 24}
