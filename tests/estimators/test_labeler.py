"""SequenceLabeler."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")


from rnnfast import Conv1d
from rnnfast.estimators import SequenceLabeler

QUICK = {"hidden_size": 8, "max_iter": 20, "learning_rate_init": 0.02, "random_state": 0}


def signs(n=60, seed=0):
    """Sequences of 1 to 8 steps, and the sign of the sum so far at each."""
    rng = np.random.default_rng(seed)
    X = [rng.standard_normal((steps, 1)) for steps in rng.integers(1, 9, n)]
    return X, [np.where(x[:, 0].cumsum() > 0, "+", "-") for x in X]


@pytest.mark.parametrize("bidirectional", [False, True])
def test_learns(bidirectional):
    X, y = signs()
    model = SequenceLabeler(**QUICK, bidirectional=bidirectional).fit(X, y)
    assert model.score(*signs(seed=1)) > 0.85
    predicted = model.predict(X)
    assert [p.shape for p in predicted] == [label.shape for label in y]
    proba = model.predict_proba(X)
    for p, labels in zip(proba, predicted, strict=True):
        np.testing.assert_allclose(p.sum(axis=1), 1.0, rtol=1e-12)
        np.testing.assert_array_equal(model.classes_[p.argmax(axis=1)], labels)
    # the score counts real steps, not padding
    hits = np.concatenate([p == label for p, label in zip(predicted, y, strict=True)])
    assert model.score(X, y) == hits.mean()


def test_arrays_give_arrays():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 5, 2))
    y = (X[..., 0] > X[..., 1]).astype(int)
    model = SequenceLabeler(**QUICK, early_stopping=True).fit(X, y)
    assert model.score(X, y) > 0.8
    assert len(model.validation_scores_) == model.n_iter_
    predicted = model.predict(X)
    assert predicted.shape == (40, 5)
    assert model.predict_proba(X).shape == (40, 5, 2)
    for one, other in zip(model.predict(list(X)), predicted, strict=True):
        np.testing.assert_array_equal(one, other)


def test_token_ids_and_partial_fit():
    rng = np.random.default_rng(0)
    X = [rng.integers(0, 5, n) for n in rng.integers(2, 8, 60)]
    y = [np.append(False, x[:-1] == 2) for x in X]  # after a 2
    model = SequenceLabeler(**{**QUICK, "cell": "rnn"}, vocabulary_size=5, embedding_size=4)
    for _ in range(20):
        model.partial_fit(X, y, classes=[False, True])
    assert model.score(X, y) > 0.95


def test_refuses_labels():
    X, y = signs(4)
    model = SequenceLabeler(**{**QUICK, "max_iter": 1})
    for wrong, message in [
        (None, "requires y to be passed"),
        ([labels[:1] for labels in y], r"y\[0\] with a label for each of the \d steps"),
        (y[:3], "labels for each of 4 sequences"),
        (
            [np.linspace(0.1, 0.9, len(labels)) for labels in y],
            "Unknown label type: continuous.*SequenceRegressor",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            model.fit(X, wrong)
    model.fit(X, y)
    with pytest.raises(ValueError, match="labels for each of 4 sequences"):
        model.score(X, y[:3])
    swapped = [
        np.zeros(len(labels) + shift) for labels, shift in zip(y, (1, -1, 0, 0), strict=True)
    ]
    for call in (model.fit, model.score):
        with pytest.raises(TypeError, match="y as the labels of each sequence, got 3"):
            call(X, 3)
    with pytest.raises(ValueError, match=r"y\[0\] with a label for each of"):
        model.score(X, swapped)
    with pytest.raises(ValueError, match="y with labels, got none at any step"):
        model.fit(X, [np.full(len(labels), np.nan) for labels in y])


def test_refuses_networks_that_lose_steps():
    X = np.zeros((4, 6, 2))

    def network(n_features, n_outputs):
        return Conv1d(n_features, n_outputs, 3, batch_first=True, seed=0)

    with pytest.raises(ValueError, match=r"4 outputs from the 6 steps of X\[0\]"):
        SequenceLabeler(network=network, max_iter=1).fit(X, np.arange(24).reshape(4, 6) % 2)


def test_rows_that_have_a_label_each_come_in_order_of_time():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    x = np.random.default_rng(0).normal(size=(6, 8))
    times = pandas.date_range("2020", periods=8)
    frames = [pandas.DataFrame({"a": v}, times) for v in x]
    y = [pandas.Series(v > 0, times) for v in x]
    model = SequenceLabeler(max_iter=1, random_state=0).fit(frames, y)
    for wrong in ([*frames[:3], frames[3][::-1]], [f.sample(frac=1.0) for f in frames[:4]]):
        for call in (model.fit, model.score):
            with pytest.raises(ValueError, match=r"X\[\d\] with its rows.*in order of time"):
                call(wrong, y[:4])
        with pytest.raises(ValueError, match=r"X\[\d\] with its rows"):
            model.predict(wrong)
    with pytest.raises(ValueError, match=r"y\[5\] with its rows"):
        model.fit(frames, [*y[:5], y[5][::-1]])
