"""Sequences of symbols as they are given."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from rnnfast.estimators.symbols import ROWS, Reader, Symbols, flat, same


@pytest.mark.parametrize(
    ("sequences", "expected", "text"),
    [
        (["abc", ""], (str, False), "characters"),
        ([["a", "b"]], (str, False), "characters"),
        ([["a", "to"], "b"], (str, True), "words"),
        ([np.array([1, 2])], (int, False), "integers"),
        ([[1, np.int8(2)], []], (int, False), "integers"),
        ([[1, "a"]], (object, False), "other symbols"),
        ([[True]], (object, False), "other symbols"),
        ([[]], (object, False), "other symbols"),
    ],
)
def test_what_symbols_are(sequences, expected, text):
    found = Symbols.of(sequences)
    assert tuple(found) == expected
    assert str(found) == text


def test_flat_symbols_of_arrays():
    array = np.arange(ROWS + 10).reshape(-1, 2)[:, ::-1]
    symbols = list(flat(array))
    assert symbols == array.ravel().tolist()
    assert {type(s) for s in symbols} == {int}
    assert flat("abc") == "abc"


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("ab", "ab", True),
        ("ab", ["a", "b"], False),
        ([1, 2], np.array([1, 2]), True),
        ([np.array([1, 2]), "a"], [np.array([1, 2]), "a"], True),
        ([np.array([1, 2])], [np.array([1, 3])], False),
        ([np.array([1, 2])], [np.array([1, 2])] * 2, False),
    ],
)
def test_whether_two_arguments_are_the_same(a, b, expected):
    assert same(a, b) is expected


def test_reader_names_the_argument():
    reader = Reader("Model", "target", "a list of sequences", "Other reads numbers")
    with pytest.raises(TypeError, match="Model expected target as a list of sequences, got int"):
        reader.top(3)
    with pytest.raises(
        TypeError, match=r"Model expected target of symbols .*; Other reads numbers"
    ):
        reader.sequence([1, 2.5], "target[4]")
    with pytest.raises(ValueError, match=r"Model expected target .*got None in target\[4\]\[1\]"):
        reader.sequence([1, None], "target[4]")
    with pytest.raises(TypeError, match=r"Model expected target as a dense array, got sparse"):
        reader.top(pytest.importorskip("scipy.sparse").eye(3).tocsr())
