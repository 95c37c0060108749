"""Estimators train and predict alike on both backends; their other tests run on the default one."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from rnnfast import backend
from rnnfast.estimators import (
    Forecaster,
    LanguageModel,
    Seq2Seq,
    SequenceClassifier,
    SequenceLabeler,
    SequenceRegressor,
)

rng = np.random.default_rng(0)
X = rng.standard_normal((24, 8, 2))
UP = X[..., 0].cumsum(axis=1) > 0
TEXTS = ["".join(rng.choice(list("abc"), n)) for n in rng.integers(1, 5, 30)]
SMALL = {"hidden_size": 6, "max_iter": 3, "dropout": 0.2, "random_state": 0}


TEXT = "".join(TEXTS)
NETWORKS = [
    (SequenceClassifier(max_iter=2, random_state=0), (X, UP[:, -1])),  # without settings
    (SequenceClassifier(cell="gru", bidirectional=True, pooling="max", **SMALL), (X, UP[:, 3])),
    (SequenceRegressor(cell="rnn", **SMALL), (X, X[:, 2, 1])),
    (SequenceLabeler(**SMALL), (X, UP)),
    (Forecaster(horizon=2, strategy="seq2seq", **SMALL), (X,)),
    (Seq2Seq(attention="concat", **SMALL), (TEXTS, [text[::-1] for text in TEXTS])),
    (LanguageModel(embedding_size=3, steps=5, **SMALL), (TEXT,)),
]


@pytest.mark.parametrize(("model", "data"), NETWORKS, ids=lambda value: type(value).__name__)
def test_both_backends_give_the_same(model, data, runtime):
    results = []
    for name in ("core", "reference"):
        with backend.use(name):
            model.fit(*data)
            if data[0] is not X:
                said = model.score(*data)
            elif hasattr(model, "predict_proba"):
                said = model.predict_proba(X)
            else:
                said = model.predict(X)
            results.append((model.loss_curve_, said))
    for got, want in zip(*results, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-5)
