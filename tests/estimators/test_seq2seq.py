"""Sequences from sequences, and from vectors."""

from __future__ import annotations

import itertools
import pickle
import re

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from support import each_engine as each_engine

from rnnfast import Seq2Seq

QUICK = {
    "hidden_size": 32,
    "learning_rate_init": 0.02,
    "batch_size": 50,
    "random_state": 0,
}


# every text of up to four characters, in a random order
TEXTS = ["".join(text) for n in range(1, 5) for text in itertools.product("abc", repeat=n)]
np.random.default_rng(0).shuffle(TEXTS)


def backwards(X):
    return [text[::-1] for text in X]


@pytest.fixture(scope="module")
def model():
    return Seq2Seq(**QUICK, max_iter=10).fit(TEXTS, backwards(TEXTS))


@pytest.mark.parametrize(
    "options",
    [{"attention": "general", "bidirectional": True}, {"cell": "gru", "attention": "dot"}, {}],
    ids=str,
)
def test_reverses(options):
    X, held_out = TEXTS[:100], TEXTS[100:]
    model = Seq2Seq(**QUICK, max_iter=120, **options).fit(X, backwards(X))
    assert model.score(X, backwards(X)) == 1.0
    assert model.predict(X, beam_width=3) == backwards(X)
    assert model.score(held_out, backwards(held_out)) >= 0.8


def test_copies_words_and_numbers():
    X = [list(map(ord, text)) for text in TEXTS[:60]]
    words = [["<", *text, ">"] for text in TEXTS[:60]]
    model = Seq2Seq(**QUICK, max_iter=100, attention="concat").fit(X, words)
    assert model.predict(X) == words
    assert model.predict([np.array(x) for x in X]) == words
    assert model.score(X, words) == 1.0


def test_captions_vectors():
    rng = np.random.default_rng(0)
    names = np.array(["red", "green", "blue"])
    classes = rng.integers(0, 3, 300)
    X = np.eye(3)[classes] * 50 + rng.normal(7, 5, (300, 3))
    y = names[classes].tolist()
    model = Seq2Seq(**QUICK, max_iter=20).fit(X[:200], y[:200])
    assert model.source_vocabulary_ is None and model.n_features_in_ == 3
    assert model.predict(X[200:]) == y[200:]
    with pytest.raises(ValueError, match="X of 3 features, as in fit, got 2"):
        model.predict(X[:, :2])
    with pytest.raises(TypeError, match=r"vectors \(an array of floats\), as in fit, got lists of"):
        model.predict(["abc"])


def test_prediction_is_the_layers_decoding(model):
    X = TEXTS[:20]
    end = model.target_vocabulary_.end
    for width, penalty in (1, 0.0), (4, 1.0):
        for text, got in zip(X, model.predict(X, width, penalty), strict=True):
            ids = model.source_vocabulary_.encode(text)[None]
            (want,), _ = model.model_.decode(
                ids, start=end, end=end, max_steps=9, beam_width=width, length_penalty=penalty
            )
            assert got == "".join("abc"[i] for i in want)


def test_length_of_predictions():
    model = Seq2Seq(max_iter=1, random_state=0).fit(["ab", "b"], ["x", "yxy"])
    assert model.max_length_ == 6
    bias = np.array([1.0, 0.0, -50.0])  # never ends
    model.model_.params["output.bias"] = bias
    assert [len(text) for text in model.predict(["a", "bb"])] == [6, 6]
    short = Seq2Seq(max_iter=1, max_length=2, random_state=0).fit(["ab", "b"], ["x", "yxy"])
    short.model_.params["output.bias"] = bias
    assert [len(text) for text in short.predict(["a", "q", ""])] == [2, 2, 2]


def test_early_stopping():
    rng = np.random.default_rng(0)
    X, y = TEXTS, ["".join(rng.choice(list("ab"), 4)) for _ in TEXTS]  # nothing to learn
    model = Seq2Seq(**QUICK, early_stopping=True, n_iter_no_change=3, max_iter=100).fit(X, y)
    assert model.n_iter_ < 100
    assert len(model.validation_scores_) == model.n_iter_


def test_same_seed_same_model_and_partial_fit():
    X = TEXTS[:50]
    models = [Seq2Seq(**QUICK, max_iter=1, warm_start=i == 1) for i in range(3)]
    for _ in range(2):
        models[0].partial_fit(X, X)
        models[1].fit(X, X)
        models[2].fit(X, X)
    assert models[0].loss_curve_ == models[1].loss_curve_
    assert models[2].loss_curve_ == models[0].loss_curve_[:1]
    with pytest.raises(ValueError, match="expected symbols that it knows"):
        models[0].partial_fit(["a"], ["z"])


def test_parameters_pickles_and_searches(model):
    fresh = clone(model)
    assert not hasattr(fresh, "model_")
    assert fresh.get_params() == model.get_params()
    twin = pickle.loads(pickle.dumps(model))
    X = TEXTS[:30]
    assert twin.predict(X) == model.predict(X)
    search = GridSearchCV(Seq2Seq(max_iter=1, random_state=0), {"hidden_size": [4, 8]}, cv=2)
    assert search.fit(X, backwards(X)).best_params_["hidden_size"] in (4, 8)


def test_refuses(model):
    X = TEXTS[:4]
    for call, error, message in [
        (lambda: Seq2Seq().fit(X, X[:3]), ValueError, "as many sequences in y as in X, 4, got 3"),
        (lambda: Seq2Seq().fit("abc", X), ValueError, "X as a list of sequences, got 'abc'"),
        (lambda: Seq2Seq().fit({"a", "b"}, X), ValueError, "X as a list of sequences, got {"),
        (lambda: Seq2Seq().fit(X, []), ValueError, "y as a list of sequences, got []"),
        (lambda: Seq2Seq().fit(X, [1, 2, 3, 4]), TypeError, "y as a list of sequences, got one"),
        (
            lambda: Seq2Seq(batch_size=0).fit(X, X),
            ValueError,
            "batch_size as an integer >= 1, got 0",
        ),
        (
            lambda: Seq2Seq(max_length=-1).fit(X, X),
            ValueError,
            "max_length as an integer >= 0 or None, got -1",
        ),
        (lambda: model.score(X, X[:2]), ValueError, "as many sequences in y as in X, 4, got 2"),
        (lambda: model.predict(np.ones((2, 3))), TypeError, "X of lists of symbols, as in fit"),
    ]:
        with pytest.raises(error, match=re.escape(f"Seq2Seq expected {message}")):
            call()
    with pytest.raises(ValueError, match="not fitted"):
        Seq2Seq().predict(X)


def test_a_fit_that_fails_changes_nothing():
    model = Seq2Seq(max_iter=1, random_state=0).fit(TEXTS[:9], TEXTS[:9])
    before = model.predict(TEXTS)
    with pytest.raises(ValueError, match="max_length as an integer >= 0"):
        model.set_params(max_length=-1).fit(TEXTS, TEXTS)
    assert model.predict(TEXTS) == before


def test_names_a_symbol_that_is_new():
    model = Seq2Seq(max_iter=1).fit(["a", "b"], ["1", "2"])
    with pytest.raises(ValueError, match="symbols that it knows, got '3'"):
        model.partial_fit(["a"], ["13"])
