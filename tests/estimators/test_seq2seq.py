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
    with pytest.raises(
        ValueError, match=r"Seq2Seq expected y of symbols that fit has seen, got 'z' in y\[0\]"
    ):
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
        (
            lambda: Seq2Seq().fit("abc", X),
            ValueError,
            "X as a list of sequences, got 'abc'; [X] is a list of one",
        ),
        (lambda: Seq2Seq().fit({"a", "b"}, X), TypeError, "X as a list of sequences, got set"),
        (lambda: Seq2Seq().fit(X, []), ValueError, "as many sequences in y as in X, 4, got 0"),
        (lambda: Seq2Seq().fit([], []), ValueError, "X and y of at least one sequence, got none"),
        (lambda: Seq2Seq().fit(X, [1, 2, 3, 4]), TypeError, "y as a list of sequences, got one"),
        (
            lambda: Seq2Seq(batch_size=0).fit(X, X),
            ValueError,
            "batch_size as an integer >= 1, got 0",
        ),
        (
            lambda: Seq2Seq(max_length=0).fit(X, X),
            ValueError,
            "max_length as an integer >= 1 or None, got 0",
        ),
        (lambda: model.score(X, X[:2]), ValueError, "as many sequences in y as in X, 4, got 2"),
        (lambda: model.predict(np.ones((2, 3))), TypeError, "X of lists of symbols, as in fit"),
        (lambda: model.predict(X, beam_width=0), ValueError, "beam_width >= 1, got 0"),
        (
            lambda: model.predict(X, length_penalty=-1.0),
            ValueError,
            "length_penalty as a finite number >= 0, got -1.0",
        ),
    ]:
        with pytest.raises(error, match=re.escape(f"Seq2Seq expected {message}")):
            call()
    with pytest.raises(ValueError, match="not fitted"):
        Seq2Seq().predict(X)


def test_a_fit_that_fails_changes_nothing():
    model = Seq2Seq(max_iter=1, random_state=0).fit(TEXTS[:9], TEXTS[:9])
    before = model.predict(TEXTS)
    with pytest.raises(ValueError, match="max_length as an integer >= 1 or None, got 0"):
        model.set_params(max_length=0).fit(TEXTS, TEXTS)
    assert model.set_params(max_length=None).predict(TEXTS) == before
    with pytest.raises(ValueError, match="max_length None, as in fit, got 3: another value takes"):
        model.set_params(max_length=3).predict(TEXTS)


def test_names_a_symbol_that_is_new():
    model = Seq2Seq(max_iter=1).fit(["a", "b"], ["1", "2"])
    with pytest.raises(ValueError, match=r"y of symbols that fit has seen, got '3' in y\[0\]"):
        model.partial_fit(["a"], ["13"])


FLOATS = np.linspace(0.0, 1.0, 12).reshape(4, 3)


@pytest.mark.parametrize(
    ("X", "y", "error", "message"),
    [
        (TEXTS[:4], FLOATS[:, 0], TypeError, "y of symbols (str or integers), got arrays of float"),
        (TEXTS[:4], FLOATS, TypeError, "SequenceRegressor predicts numbers"),
        (TEXTS[:4], FLOATS.tolist(), TypeError, "y of symbols (str or integers), got 0.0 in y[0]"),
        (TEXTS[:4], list(FLOATS[:, 0]), TypeError, "y of symbols (str or integers), got np.float"),
        (
            TEXTS[:4],
            ["a", "b", None, "c"],
            ValueError,
            "sequence for each sample, got None in y[2]",
        ),
        (TEXTS[:4], [["a"], ["b", np.nan], [], []], ValueError, "at each step, got nan in y[1][1]"),
        (TEXTS[:4], [b"a"] * 4, TypeError, "y of str or integers, got bytes in y[0]"),
        (TEXTS[:4], [""] * 4, ValueError, "y of at least one symbol, got empty sequences only"),
        (TEXTS[:4], [["a", 1]] * 4, TypeError, "y of symbols that can be hashed and sorted"),
        (
            TEXTS[:4],
            "abcd",
            ValueError,
            "y as a list of sequences, got 'abcd'; [y] is a list of one",
        ),
        (list(FLOATS), TEXTS[:4], TypeError, "X of symbols (str or integers), got arrays of float"),
        (FLOATS.tolist(), TEXTS[:4], TypeError, "np.stack(X) makes vectors"),
        (FLOATS[..., None], TEXTS[:4], TypeError, "SequenceRegressor, SequenceClassifier"),
        (
            FLOATS[:, 0],
            TEXTS[:4],
            ValueError,
            "X of vectors as (samples, features), got shape (4,)",
        ),
        (
            np.where(FLOATS[2, 1] == FLOATS, np.nan, FLOATS),
            TEXTS[:4],
            ValueError,
            "X of finite numbers, got nan in X[2], column 1",
        ),
        (
            np.ma.masked_greater(FLOATS, 0.95),
            TEXTS[:4],
            ValueError,
            "X of finite numbers, got nan in X[3], column 2",
        ),
        (
            np.ma.masked_equal(np.arange(8).reshape(4, 2), 5),
            TEXTS[:4],
            ValueError,
            "a symbol at each step, got a masked one at X[2, 1]",
        ),
        (np.array(["2020-01-01"] * 4, "M8[D]"), TEXTS[:4], TypeError, "got datetime64[D] in X"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_refuses_what_holds_no_symbols(X, y, error, message):
    with pytest.raises(error) as caught:
        Seq2Seq(max_iter=1).fit(X, y)
    assert str(caught.value).startswith("Seq2Seq expected ")
    assert message in str(caught.value)


def test_vectors_of_integers_and_nullable_columns():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    X = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]])
    model = Seq2Seq(max_iter=1, random_state=0).fit(X, ["a", "b", "c"])
    assert model.predict(X.astype(int)) == model.predict(X)
    frame = pandas.DataFrame({"a": [0.5, 1.5], "b": [1, 2]}).astype({"a": "Float64", "b": "Int64"})
    twin = Seq2Seq(max_iter=1, random_state=0).fit(frame, ["a", "b"])
    plain = Seq2Seq(max_iter=1, random_state=0).fit(frame.to_numpy(float), ["a", "b"])
    np.testing.assert_equal(twin.model_.state_dict(), plain.model_.state_dict())
    frame.loc[1, "a"] = pandas.NA
    with pytest.raises(ValueError, match=r"got nan in X\[1\], column 'a'"):
        twin.predict(frame)
    ids = pandas.DataFrame({"a": [1, 2], "b": [3, 4]}).astype("Int64")
    assert Seq2Seq(max_iter=1).fit(ids, ids).source_vocabulary_.symbols == [1, 2, 3, 4]


def test_names_columns_of_frames():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    X = pandas.DataFrame(FLOATS, columns=list("abc"))
    model = Seq2Seq(max_iter=1, random_state=0).fit(X, TEXTS[:4])
    assert list(model.feature_names_in_) == list("abc")
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(X[["b", "a", "c"]])
    X.loc[1, "b"] = np.inf
    with pytest.raises(ValueError, match=r"got inf in X\[1\], column 'b'"):
        model.predict(X)
    with pytest.raises(TypeError, match=r"got a frame; X\['text'\], one column, is a list"):
        Seq2Seq().fit(pandas.DataFrame({"text": TEXTS[:4]}), TEXTS[:4])


@pytest.mark.parametrize(
    ("known", "new", "message"),
    [
        (["abc", "cab"], [[1, 2]], "X of characters, as in fit, got integers"),
        (["abc", "cab"], [["abc"]], "X of characters, as in fit, got words"),
        ([["to", "be"], ["be"]], ["to be"], r"X of words, as in fit, got a str, which \.split\(\)"),
        ([[1, 2], [2]], ["12"], "X of integers, as in fit, got characters"),
    ],
    ids=str,
)
def test_symbols_are_of_the_kind_of_fit(known, new, message):
    model = Seq2Seq(max_iter=1, random_state=0).fit(known, ["x", "y"])
    with pytest.raises(TypeError, match=message):
        model.predict(new)
    with pytest.raises(TypeError, match="y of characters, as in fit, got integers"):
        model.score(known, [[1], [2]])


def test_nothing_to_predict(model):
    assert model.predict([]) == []
    assert Seq2Seq(max_iter=1).fit(FLOATS, TEXTS[:4]).predict(FLOATS[:0]) == []
    with pytest.raises(ValueError, match="X and y of at least one sequence, got none"):
        model.score([], [])


def test_targets_of_unseen_symbols_are_not_met(model):
    assert model.score(["a", "b"], ["z", "bz"]) == 0.0


def test_network_that_gives_no_numbers():
    model = Seq2Seq(max_iter=1, random_state=0).fit(["ab", "b"], ["x", "yxy"])
    model.model_.params["output.bias"] = np.array([np.nan, 0.0, 0.0])
    for width in (1, 2):
        with pytest.raises(ValueError, match=r"outputs are finite, got NaN or inf for X\[0\]"):
            model.predict(["ab", "b"], beam_width=width)


def test_parameters_changed_before_a_warm_fit():
    X = TEXTS[:40]
    model = Seq2Seq(**QUICK, max_iter=1, warm_start=True).fit(X, X)
    for changed in ({"hidden_size": 8}, {"attention": None}, {"cell": "gru"}, {"max_length": 3}):
        name = next(iter(changed))
        before = model.get_params()[name]
        with pytest.raises(ValueError, match=f"Seq2Seq expected {name} "):
            model.set_params(**changed).fit(X, X)
        with pytest.raises(ValueError, match=f"Seq2Seq expected {name} "):
            model.partial_fit(X, X)
        model.set_params(**{name: before})
    weights = model.model_.state_dict()
    model.set_params(learning_rate_init=1e-30).fit(X, X)
    np.testing.assert_equal(model.model_.state_dict(), weights)


def test_sample_weight_and_validation_data():
    X, y = TEXTS[:20], backwards(TEXTS[:20])
    weight = np.r_[np.ones(10), np.zeros(10)]
    wrong = ["ccc"] * 10
    one = Seq2Seq(**QUICK, max_iter=8).fit(X, y[:10] + wrong, weight)
    other = Seq2Seq(**QUICK, max_iter=8).fit(X, y, weight)
    np.testing.assert_allclose(one.loss_curve_, other.loss_curve_, rtol=1e-6)
    every = Seq2Seq(**QUICK, max_iter=8).fit(X, y)
    assert not np.allclose(one.loss_curve_, every.loss_curve_, rtol=1e-3)
    model = Seq2Seq(**QUICK, max_iter=3).fit(X, y, validation_data=(X, y))
    assert len(model.validation_scores_) == 3
    held = Seq2Seq(**QUICK, max_iter=3).fit(X, y, validation_data=(X, y[:10] + wrong, weight))
    only = Seq2Seq(**QUICK, max_iter=3).fit(X, y, validation_data=(X[:10], y[:10]))
    np.testing.assert_allclose(held.validation_scores_, only.validation_scores_, rtol=1e-5)
    for bad, error, message in [
        ({"sample_weight": np.ones(3)}, ValueError, r"sample_weight of shape \(20,\)"),
        ({"sample_weight": -weight}, ValueError, "sample_weight >= 0 and finite"),
        ({"sample_weight": ["a"] * 20}, TypeError, "sample_weight as numbers"),
        ({"validation_data": X}, ValueError, r"validation_data as \(X, y\)"),
        ({"validation_data": (X, y[:3])}, ValueError, "as many sequences in y as in X"),
        ({"validation_data": (X, ["z"] * 20)}, ValueError, "y of symbols that fit has seen"),
    ]:
        with pytest.raises(error, match=f"Seq2Seq expected {message}"):
            Seq2Seq(max_iter=1).fit(X, y, **bad)


def test_default_network_learns_by_itself():
    X, y = TEXTS[:12], backwards(TEXTS[:12])
    model = Seq2Seq(hidden_size=16, embedding_size=8, random_state=0).fit(X, y)
    assert model.score(X, y) == 1.0
    assert model.n_iter_ == 500
    assert [Seq2Seq()._epochs(n) for n in (10, 100, 100_000)] == [200, 30, 1]


def test_holding_out_of_too_few():
    with pytest.raises(ValueError, match="Seq2Seq expected X of samples to train on beside those"):
        Seq2Seq(max_iter=1, early_stopping=True).fit(["a"], ["b"])
