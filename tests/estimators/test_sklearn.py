"""scikit-learn's own checks, and its tools around our estimators."""

from __future__ import annotations

import doctest
import pickle
from importlib import import_module

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from processes import run_code
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

import rnnfast
from rnnfast import backend
from rnnfast.estimators import (
    Forecaster,
    LanguageModel,
    LinearForecaster,
    NaiveForecaster,
    Seq2Seq,
    SequenceClassifier,
    SequenceLabeler,
    SequenceRegressor,
)
from rnnfast.estimators.series import SeriesEstimator

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
    return np.repeat(np.asarray(y).reshape(-1, 1), np.shape(X)[1], axis=1)


STEPS = "columns are time steps, of which there may be any number"
FAILING = {
    "check_n_features_in": STEPS,
    "check_n_features_in_after_fitting": STEPS,
    "check_fit1d": "one axis makes one long series",
    "check_fit2d_predict1d": "one axis makes one long series",
}
REFERENCE = {
    "check_methods_sample_order_invariance": "NumPy's products depend on a row's place",
    "check_methods_subset_invariance": "NumPy's products depend on the size of the batch",
}


WEIGHTS = {
    "check_sample_weight_equivalence_on_dense_data": "a sample twice is in two batches, at random"
}


def failing(estimator):
    checks = FAILING if isinstance(estimator, SeriesEstimator) else WEIGHTS
    return checks | (REFERENCE if backend.active().name == "reference" else {})


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


# scikit-learn's checks fit 2-D arrays of numbers; of estimators of symbols it checks nothing itself
WITHOUT_DATA = [
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_valid_tag_types",
]
TEXTS = ["one two", "two one", "one", "two two", "two", "one one"]
SYMBOLS = [LanguageModel(**QUICK | {"max_iter": 5}, steps=4), Seq2Seq(**QUICK | {"max_iter": 5})]


@pytest.mark.parametrize("estimator", SYMBOLS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("name", [n for n in WITHOUT_DATA if hasattr(estimator_checks, n)])
def test_conventions_of_estimators_of_symbols(estimator, name):
    getattr(estimator_checks, name)(type(estimator).__name__, clone(estimator))


@pytest.mark.parametrize("estimator", SYMBOLS, ids=lambda e: type(e).__name__)
def test_estimators_of_symbols_in_scikit_learns_tools(estimator):
    def results(model):
        return model.score(TEXTS, TEXTS)

    model = clone(estimator)
    with pytest.raises(NotFittedError):
        results(model)
    assert model.fit(TEXTS, TEXTS) is model
    assert model.get_params() == estimator.get_params()
    assert model.n_iter_ == model.max_iter
    first, before = results(model), model.model_.state_dict()
    assert results(pickle.loads(pickle.dumps(model))) == first
    again = model.fit(TEXTS, TEXTS).model_.state_dict()
    np.testing.assert_equal(again, before)
    assert "hidden_size" in model._repr_html_()
    scores = cross_val_score(estimator, TEXTS, TEXTS, cv=2)
    assert np.isfinite(scores).all()
    grid = GridSearchCV(estimator, {"embedding_size": [2, 3]}, cv=2)
    assert grid.fit(TEXTS, TEXTS).best_params_["embedding_size"] in (2, 3)


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
    side_by_side = GridSearchCV(
        pipeline, {"sequenceclassifier__cell": ["gru", "rnn"]}, cv=2, n_jobs=2
    )
    np.testing.assert_array_equal(side_by_side.fit(X, y).predict(X), grid.predict(X))
    assert "SequenceClassifier" in pipeline._repr_html_()


def test_frames():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    rng = np.random.default_rng(0)
    x, ids = rng.standard_normal((30, 4)), rng.integers(0, 5, (30, 4))
    index = np.arange(30)[::-1] + 7  # not that of positions
    X, tokens = pandas.DataFrame(x, index, list("abcd")), pandas.DataFrame(ids, index)
    up = np.where(x.sum(axis=1) > 0, "up", "down")
    steps, sums = np.where(x > 0, "+", "-"), x[:, :2]
    several = pandas.Series([row[: 2 + i % 3] for i, row in enumerate(x)], index)
    words, both = {"vocabulary_size": 5}, (Forecaster(**QUICK), LinearForecaster())
    quick = {**QUICK, "max_iter": 2}

    def same(model, X, y, arrays):
        one, other = clone(model).fit(X, y), clone(model).fit(*arrays)
        np.testing.assert_equal(one.predict(X), other.predict(arrays[0]))
        if y is not None:
            assert one.score(X, y) == pytest.approx(other.score(*arrays), rel=1e-12)
        return one

    for make, frame, labels, known in [
        (SequenceClassifier, pandas.Series, up, up),
        (SequenceRegressor, pandas.Series, sums[:, 0], sums[:, 0]),
        (SequenceRegressor, pandas.DataFrame, sums, sums),
        (SequenceLabeler, pandas.DataFrame, steps, steps),
    ]:
        y = frame(labels, index=index)
        model = same(make(**quick), X, y, (x, known))
        assert list(model.feature_names_in_) == list("abcd")
        with pytest.raises(ValueError, match="feature names should match"):
            model.predict(X.rename(columns={"a": "z"}))
        same(make(**quick, **words), tokens, y, (ids, known))
    same(
        SequenceClassifier(**quick),
        several,
        pandas.Series(up).astype("category"),
        (list(several), up),
    )
    for model in both:  # a frame is one series, in the order of its index
        model = clone(model).set_params(horizon=2)
        one, other = model.fit(X).predict(), clone(model).fit(x[np.newaxis, ::-1]).predict()
        assert list(one.columns) == list("abcd")
        np.testing.assert_allclose(one, other[0])
    same(Forecaster(**quick, window=5), X["a"], None, (x[::-1, 0], None))
    same(Forecaster(**quick), several, None, (list(several), None))
    texts = pandas.Series(TEXTS, index[: len(TEXTS)])
    same(Seq2Seq(**quick), texts, texts, (TEXTS, TEXTS))
    same(Seq2Seq(**quick), X, tokens, (x, ids))
    for frame, array in [(tokens, ids), (tokens[0], ids[:, 0]), (texts, TEXTS)]:
        one, other = (LanguageModel(**quick).fit(data) for data in (frame, array))
        assert one.score(frame) == other.score(array)


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


def test_metadata_routing():
    rng = np.random.default_rng(1)
    X, known = rng.standard_normal((2, 20, 6, 1))
    X[:, 1:] = known[:, 1:]  # told beforehand
    plain = LinearForecaster()
    with config_context(enable_metadata_routing=True):
        told = clone(plain).set_fit_request(exogenous=True).set_score_request(exogenous=True)
        scores = cross_val_score(told, X, cv=KFold(2), params={"exogenous": known})
    assert scores.min() > 0.99 > cross_val_score(plain, X, cv=KFold(2)).max()


NAMES = ["classifier", "regressor", "labeler", "forecaster", "seq2seq", "language"]


@pytest.mark.parametrize("name", NAMES)
def test_examples_of_the_docstrings(name):
    failed, tried = doctest.testmod(import_module(f"rnnfast.estimators.{name}"))
    assert tried and not failed


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
    run_code(code)


def test_names_of_the_package():
    from rnnfast import estimators

    for name in rnnfast._ESTIMATORS:
        assert getattr(rnnfast, name) is getattr(estimators, name)
    assert sorted(rnnfast._ESTIMATORS) == sorted(estimators.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Estimator'"):
        rnnfast.Estimator  # noqa: B018
