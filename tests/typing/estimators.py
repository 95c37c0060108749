"""What type checkers see of estimators: read by mypy and pyright, never run."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from typing_extensions import assert_type

import rnnfast as rf
from rnnfast.estimators.backtest import Backtest

Array = NDArray[Any]
X = np.zeros((6, 5, 4))

classifier = rf.SequenceClassifier(random_state=0).fit(X, ["a", "b"] * 3)
assert_type(classifier, rf.SequenceClassifier)
assert_type(classifier.partial_fit(X, ["a", "b"] * 3), rf.SequenceClassifier)
assert_type(classifier.predict(X), Array)
assert_type(classifier.score(X, ["a", "b"] * 3), float)

regressor = rf.SequenceRegressor().fit(X, np.arange(6.0))
assert_type(regressor, rf.SequenceRegressor)
assert_type(regressor.score(X, np.arange(6.0)), float)
assert_type(rf.SequenceLabeler().fit(X, X[..., 0]), rf.SequenceLabeler)

forecaster = rf.Forecaster(horizon=3).fit(X[0])
assert_type(forecaster, rf.Forecaster)
assert_type(forecaster.backtest(X[0], origins=2), Backtest)
assert_type(forecaster.backtest(X[0]).best, str)

assert_type(rf.LanguageModel().fit("abcabc"), rf.LanguageModel)
assert_type(rf.Seq2Seq().fit(["ab"], ["ba"]).predict(["ab"]), list[Any])

others: list[BaseEstimator] = [classifier, regressor, forecaster]  # they derive from scikit-learn's

# refused: an ignored error that is none would be an error
rf.SequenceClassifier(epochs=3)  # type: ignore[call-arg]
rf.SequenceClassifier(hidden_size="large")  # type: ignore[arg-type]
rf.Forecaster(horizon=3, window=2.5)  # type: ignore[arg-type]
rf.Seq2Seq(hidden_size=8, max_iter=3, random_state=0)
