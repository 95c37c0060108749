"""Texts and sequences of words, told from numbers."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from rnnfast import SequenceClassifier, SequenceLabeler
from rnnfast.estimators.texts import holds_symbols, read_texts

WORDS = [["the", "cat"], ["a"]]


@pytest.mark.parametrize(
    ("X", "expected"),
    [
        (["anna", "otto"], ["anna", "otto"]),
        (("anna", "otto"), ["anna", "otto"]),
        (np.array(["anna", "eva"]), ["anna", "eva"]),
        (np.array(["anna", "eva"], object), ["anna", "eva"]),
        (WORDS, WORDS),
        ([tuple(w) for w in WORDS], WORDS),
        ([np.array(w) for w in WORDS], WORDS),
        ([np.array(w, object) for w in WORDS], WORDS),
        (np.array([["a", "b"], ["c", "d"]]), [["a", "b"], ["c", "d"]]),
        (["12", "3"], ["12", "3"]),
        ([["1", "2"]], [["1", "2"]]),
    ],
    ids=str,
)
def test_reads(X, expected):
    assert holds_symbols(X)
    texts = read_texts("Owner", X)
    assert [t if isinstance(t, str) else list(t) for t in texts] == expected
    assert all(type(s) is str for text in texts for s in text)


@pytest.mark.parametrize(
    "X",
    [
        [[1.0, 2.0], [3.0]],
        np.ones((2, 3)),
        np.ones((2, 3), object),
        [np.ones(3), np.ones(2)],
        [1, 2, 3],
        [[None, 1.0]],
        [None, [1.0]],
        [],
        [[[1.0]], [[2.0]]],
        np.array([["2020"]], "M8[D]"),
        {"a": "b"},
        3,
        None,
    ],
    ids=str,
)
def test_numbers_are_no_texts(X):
    assert not holds_symbols(X)


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ("anna", TypeError, r"as a list of texts, got one; \[X\] is a list of one text"),
        (["anna", None], ValueError, r"a text for each sample, got None in X\[1\]"),
        (["anna", np.nan], ValueError, r"a text for each sample, got nan in X\[1\]"),
        ([None, "anna"], ValueError, r"got None in X\[0\]"),
        (["anna", 3], TypeError, r"got 3 in X\[1\]"),
        (["anna", ["a"]], TypeError, r"got a sequence of words in X\[1\], a str in X\[0\]"),
        ([["a"], "anna"], TypeError, r"got a str in X\[1\], a sequence of words in X\[0\]"),
        ([["a", None]], ValueError, r"a word at each step, got None in X\[0\]\[1\]"),
        ([["a", 3]], TypeError, r"words \(str\), got 3 in X\[0\]\[1\]"),
        (["anna", ""], ValueError, r"at least one symbol, got none in X\[1\]"),
        ([["a"], []], ValueError, r"at least one symbol, got none in X\[1\]"),
        ([b"anna"], TypeError, r"bytes in X\[0\]"),
        ([["1.5", "2"]], TypeError, r"numbers written as text in X\[0\], '1\.5' first"),
        (np.ma.array(["a", "b"], mask=[0, 1]), ValueError, r"got nan in X\[1\]"),
    ],
    ids=str,
)
def test_refuses(X, error, message):
    assert holds_symbols(X)
    with pytest.raises(error, match=message) as caught:
        read_texts("Owner", X)
    assert str(caught.value).startswith("Owner expected X")


def test_columns():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    for dtype in ("object", "str", "category"):
        X = pandas.Series(["anna", "eva"], [7, 3], dtype=dtype)
        assert holds_symbols(X)
        assert read_texts("Owner", X) == ["anna", "eva"]
    with pytest.raises(ValueError, match=r"got nan in X\[1\]"):
        read_texts("Owner", pandas.Series(["anna", np.nan, "abd"]))
    assert read_texts("Owner", pandas.Series(WORDS)) == WORDS
    assert not holds_symbols(pandas.DataFrame({"a": ["b"]}))
    assert not holds_symbols(pandas.Series([1.0]))


def test_columns_of_polars():
    polars = pytest.importorskip("polars", reason="polars is not installed")
    assert read_texts("Owner", polars.Series(["anna", "eva"])) == ["anna", "eva"]
    assert read_texts("Owner", polars.Series(WORDS)) == WORDS
    with pytest.raises(ValueError, match=r"got None in X\[1\]"):
        read_texts("Owner", polars.Series(["anna", None]))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_estimators_take_texts():
    names = ["anna", "maria", "peter", "karl", "eva", "otto"] * 4
    y = ["f", "f", "m", "m", "f", "m"] * 4
    quick = {"max_iter": 2, "hidden_size": 4, "random_state": 0}
    model = SequenceClassifier(**quick).fit(names, y)
    for form in (np.array(names), [list(n) for n in names]):
        np.testing.assert_array_equal(
            SequenceClassifier(**quick).fit(form, y).predict_proba(form),
            model.predict_proba(names),
        )
    assert model.predict(["zoe"]).shape == (1,)  # with a letter that is new
    with pytest.raises(ValueError, match=r"a text for each sample, got None in X\[1\]"):
        model.predict(["anna", None])
    with pytest.raises(TypeError, match=r"\[X\] is a list of one text"):
        model.predict("anna")
    with pytest.raises(TypeError, match="numbers written as text"):
        SequenceClassifier(**quick).fit([["1.5", "2.5"]] * 2, ["a", "b"])
    with pytest.raises(TypeError, match=r"an axis of features, '1\.5' first; astype"):
        SequenceClassifier(**quick).fit(np.full((4, 3, 2), "1.5"), ["a", "b"] * 2)
    tagger = SequenceLabeler(**quick).fit(WORDS, [["D", "N"], ["D"]])
    assert [len(tags) for tags in tagger.predict(WORDS)] == [2, 1]
