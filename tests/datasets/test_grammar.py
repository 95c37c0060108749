"""The embedded Reber grammar."""

from __future__ import annotations

import re
from collections import defaultdict

import numpy as np
import pytest

from rnnfast.datasets import REBER_SYMBOLS, embedded_reber, reber_successors

# Reber's automaton as a regular expression; TAIL is what follows its state after X
TAIL = "(?:XT*VP)*(?:S|XT*VV)"
REBER = f"B(?:TS*X{TAIL}|PT*V(?:P{TAIL}|V))E"
EMBEDDED = re.compile(f"B(?:T{REBER}T|P{REBER}P)E")


def test_strings_are_of_the_grammar():
    strings = embedded_reber(3000, seed=0)
    assert all(map(EMBEDDED.fullmatch, strings))
    assert {s[1] for s in strings} == {"T", "P"}
    assert (min(map(len, strings)), max(map(len, strings)) > 25) == (9, True)
    assert strings == embedded_reber(3000, seed=0) != embedded_reber(3000, seed=1)


def test_corrupted_strings_are_not():
    strings = embedded_reber(2000, corrupted=True, seed=0)
    assert not any(map(EMBEDDED.fullmatch, strings))
    # a single symbol away from one that is
    for string in strings[:200]:
        repaired = (
            string[:i] + symbol + string[i + 1 :]
            for i in range(len(string))
            for symbol in REBER_SYMBOLS
        )
        assert any(map(EMBEDDED.fullmatch, repaired))


def test_successors_are_those_that_occur():
    strings = embedded_reber(5000, seed=2)
    seen = defaultdict(set)
    for string in strings:
        allowed = reber_successors(string)
        assert (allowed.shape, allowed.dtype) == ((len(string), 7), bool)
        assert not allowed[-1].any()
        assert allowed[
            np.arange(len(string) - 1), [REBER_SYMBOLS.index(s) for s in string[1:]]
        ].all()
        for t in range(6):  # so short a beginning comes often enough to show all that may follow
            seen[string[: t + 1]].add(string[t + 1])
    for start, symbols in seen.items():
        assert {REBER_SYMBOLS[s] for s in np.flatnonzero(reber_successors(start)[-1])} == symbols


def test_nothing_follows_an_error():
    assert reber_successors("BTBTX").any(axis=1).tolist() == [True] * 5
    assert reber_successors("BTBVX").any(axis=1).tolist() == [True] * 3 + [False] * 2
    assert reber_successors("").shape == (0, 7)


def test_bad_arguments():
    with pytest.raises(ValueError, match="n_strings >= 0"):
        embedded_reber(-1)
    with pytest.raises(TypeError, match="corrupted as True or False"):
        embedded_reber(1, 3)
    with pytest.raises(ValueError, match="characters BTSXPVE, got 'b'"):
        reber_successors("BTb")
    with pytest.raises(TypeError, match="expected a string, got 3"):
        reber_successors(3)
