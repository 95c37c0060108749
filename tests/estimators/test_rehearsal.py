"""Short texts: how long a language model learns from them, and when it says that it has not."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.exceptions import ConvergenceWarning

from rnnfast.estimators import LanguageModel

QUICK = {"hidden_size": 24, "steps": 32, "learning_rate_init": 0.01, "random_state": 0}


def words(n, seed):
    rng = np.random.default_rng(seed)
    lexicon = ["the", "model", "learns", "a", "long", "text", "of", "symbols", "and", "writes"]
    return " ".join(rng.choice(lexicon, n))


def test_a_short_text_is_not_learnt_by_heart():
    text, other = words(160, 0), words(400, 1)
    model = LanguageModel(**QUICK).fit(text)
    heart = LanguageModel(max_iter=200, **QUICK).fit(text)
    known = np.array([text.count(c) for c in other], float) / len(text)
    frequencies = -np.log2(np.maximum(known, 0.5 / len(text))).mean()
    assert model.n_iter_ < 120
    assert model.bits_per_character(other) < 0.9 * frequencies
    assert model.bits_per_character(other) < 0.9 * heart.bits_per_character(other)


def test_a_short_text_without_order_is_told_of():
    text = "".join(np.random.default_rng(0).choice(list("abcdefgh"), 300))
    with pytest.warns(ConvergenceWarning, match="on the end of X, held out, .* the symbols' freq"):
        LanguageModel(**QUICK).fit(text)
    several = [text[i : i + 40] for i in range(0, 280, 40)]
    with pytest.warns(ConvergenceWarning, match="on the end of X, held out"):
        LanguageModel(**QUICK).fit(several)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        LanguageModel(**QUICK).fit("abcd" * 100)
