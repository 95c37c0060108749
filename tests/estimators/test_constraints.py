"""Every parameter of every estimator is checked before any work."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from rnnfast.estimators import (
    Forecaster,
    LanguageModel,
    LinearForecaster,
    NaiveForecaster,
    Seq2Seq,
    SequenceClassifier,
    SequenceLabeler,
    SequenceRegressor,
    __all__,
)
from rnnfast.estimators.constraints import InvalidParameter

EVERY = [
    Forecaster,
    LanguageModel,
    LinearForecaster,
    NaiveForecaster,
    Seq2Seq,
    SequenceClassifier,
    SequenceLabeler,
    SequenceRegressor,
]
WRONG = {
    "cell": ["LSTM", None, 3],
    "hidden_size": [0, -1, 2.5, "8", None, [], [8, 0], (8, "a"), True],
    "num_layers": [0, None, 1.0],
    "dropout": [1.0, -0.1, "x", None, 1.5],
    "optimizer": ["Adam", None, 3],
    "learning_rate_init": [0, -1, "x", None, np.nan, np.inf],
    "batch_size": [0, 2.5, "auto"],
    "max_iter": [0, -1, 2.5],
    "clip_norm": [0, -1, "x", np.nan],
    "callbacks": [None, 3, [3], "x"],
    "early_stopping": [None, "yes", 1],
    "validation_fraction": [0, 1, None, "x"],
    "n_iter_no_change": [0, None],
    "tol": [None, -1, "x"],
    "warm_start": ["x", 1],
    "random_state": ["x", -1, 1.5],
    "verbose": ["yes", None, -1],
    "horizon": [0, -1, None, 2.5, [1, 2]],
    "window": [0, -1, 2.5],
    "strategy": ["recursive", None],
    "steps": [0, None],
    "attention": ["luong", True],
    "max_length": [-1],
    "loss": [None, 3, "other"],
    "class_weight": ["even", 3],
    "missing": ["drop", 3],
    "targets": [1.5, [], (), True, {"a"}],  # in a list, what a frame may have as a name
    "panel": ["rows", 3],
    "linear": [None, "yes", 1],
    "standardize": [None, "yes", 1],
    "network": ["lstm", 3],
    "season": [0, 2.5, "week"],
    "normalize": [None, "level-scale", 3],
    "select": [None, "worst", 3],
    "calibration_fraction": [1, -0.1, None, "x"],
    "embedding_size": [0, 2.5, None],
    "symbols": [None, "bytes", 3],
    "bidirectional": ["yes", 1],
    "vocabulary_size": [0, 2.5, "x"],
    "unknown_id": [-1, 2.5, "x"],
    "pooling": ["min", 3],
    "ignore_label": [[0], np.zeros(2)],
    "per_step": ["yes", 1],
}


CHOSEN = (SequenceClassifier, SequenceLabeler, SequenceRegressor)  # by these, where it is None:
BY_DATA = ("cell", "hidden_size", "num_layers", "dropout", "optimizer", "learning_rate_init")


def test_no_estimator_is_left_out():
    assert sorted(kind.__name__ for kind in EVERY) == sorted(__all__)


@pytest.mark.parametrize("kind", EVERY)
def test_every_parameter_has_constraints(kind):
    assert [f.name for f in fields(kind) if not f.metadata.get("accepted")] == []
    kind()._check_parameters()  # which the defaults meet


class Untouched:
    """What must not be looked at."""

    def __getattribute__(self, name):
        raise AssertionError(f"X was looked at: {name}")


@pytest.mark.parametrize("kind", EVERY)
def test_wrong_parameters_are_named_before_any_work(kind):
    for name in (f.name for f in fields(kind)):
        for value in WRONG[name]:
            if value is None and kind in CHOSEN and name in BY_DATA:
                continue
            for fit in ("fit", "partial_fit"):
                model = kind(**{name: value})
                if not hasattr(model, fit):
                    continue
                with pytest.raises(
                    InvalidParameter, match=rf"^{kind.__name__} expected {name} as .*, got"
                ):
                    getattr(model, fit)(Untouched(), Untouched())
                assert set(vars(model)) == {f.name for f in fields(kind)}


@pytest.mark.parametrize(
    "owner", [Forecaster, NaiveForecaster, SequenceClassifier, SequenceLabeler, Seq2Seq]
)
def test_errors_of_python_name_the_class(owner):
    for name in ("fit", "predict", "score"):
        with pytest.raises(TypeError, match=rf"^{owner.__name__}\.{name}\(\) got an unexpected"):
            getattr(owner(), name)([], nonsense=1)

    class Own(owner):
        pass

    with pytest.raises(TypeError, match=r"Own\.predict\(\) got an unexpected"):
        Own().predict([], nonsense=1)
