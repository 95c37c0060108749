"""Language models of characters, tokens and voices."""

from __future__ import annotations

import pickle
import re
from itertools import islice

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from support import each_engine as each_engine

from rnnfast import LanguageModel
from rnnfast.layers.seq2seq import log_softmax

QUICK = {
    "hidden_size": 16,
    "steps": 8,
    "max_iter": 20,
    "learning_rate_init": 0.02,
    "random_state": 0,
}
CYCLE = "abcd" * 200


def quick(**parameters):
    return LanguageModel(**{**QUICK, **parameters})


def scales(n=400):
    """Four voices that go up the same scale, each from another note: (time, 4) notes."""
    return np.array([60, 55, 50, 43]) + (np.arange(n)[:, None] + np.arange(4)) % 5


@pytest.fixture(scope="module")
def model():
    return quick().fit(CYCLE)


def test_learns_what_repeats(model):
    assert model.n_iter_ == len(model.loss_curve_) == 20
    assert model.bits_per_character(CYCLE) < 0.05
    assert model.score(CYCLE) == -model.bits_per_character(CYCLE)
    assert model.accuracy(CYCLE) == 1.0
    assert model.generate(10, prompt="ab", temperature=0.2, random_state=0) == "cdabcdabcd"
    assert model.generate(0) == ""


def test_bits_are_those_of_one_call(model):
    text = "abdcabcd?" * 80  # longer than a chunk; "?" is unknown
    ids = model.vocabulary_.encode(text)
    scores, _ = model.model_(ids[None, :-1])
    p = log_softmax(scores[0])[np.arange(len(ids) - 1), ids[1:]]
    assert model.bits_per_character(text) == pytest.approx(-p.mean() / np.log(2), rel=1e-5)
    assert model.accuracy(text) == (scores[0].argmax(axis=1) == ids[1:]).mean()


def test_generation_is_reproducible():
    model = quick(max_iter=1).fit(CYCLE)
    texts = [model.generate(50, 2.0, random_state=seed) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert set(texts[0]) == set("abcd")
    twin = quick(max_iter=1).fit(CYCLE)
    assert twin.generate(50, 2.0, random_state=1) == texts[0]
    assert twin.loss_curve_ == model.loss_curve_


def test_streaming_equals_generating():
    model = quick(max_iter=1).fit(CYCLE)
    stream = model.stream(2.0, prompt="ba", random_state=3)
    assert "".join(islice(stream, 40)) == model.generate(40, 2.0, prompt="ba", random_state=3)


def test_top_1_is_greedy():
    model = quick(max_iter=2).fit(CYCLE)
    text = "bd"
    for _ in range(12):
        scores, _ = model.model_(model.vocabulary_.encode(text)[None])
        text += "abcd"[int(scores[0, -1, :4].argmax())]
    for temperature in (0.5, 5.0):
        assert model.generate(12, temperature, top_k=1, prompt="bd") == text[2:]


def test_several_sequences_have_ends():
    words = ["abc", "abd"] * 40
    model = quick(max_iter=80, batch_size=4).fit(words)
    written = {model.generate(9, 0.5, random_state=seed) for seed in range(20)}
    assert written == {"abc", "abd"}
    assert model.generate(9, prompt="abd") == ""
    # 2 of 3 symbols are certain, the third costs a bit; ends do not count
    assert model.bits_per_character(words) == pytest.approx(1 / 3, abs=0.1)
    assert model.bits_per_character("abc") < 1.0


@pytest.mark.parametrize(
    ("kind", "data", "prompt", "rest"),
    [
        ("numbers", np.tile([60, 72, 5], 200), [72], [5, 60, 72]),
        ("a list of numbers", [60, 72, 5] * 200, np.array([72]), [5, 60, 72]),
        ("words", [["to", "be", "or"] * 20] * 10, ["to"], ["be", "or", "to"]),
    ],
)
def test_symbols_of_any_kind(kind, data, prompt, rest):
    model = quick().fit(data)
    got = model.generate(3, prompt=prompt, top_k=1)
    assert isinstance(got, list if kind == "words" else np.ndarray)
    assert list(got) == rest
    assert list(islice(model.stream(prompt=prompt, top_k=1), 3)) == rest


@pytest.mark.parametrize("several", [False, True])
def test_voices(several):
    notes = scales()
    model = quick(max_iter=40, batch_size=8).fit([notes[:100]] * 4 if several else notes)
    assert model.n_voices_ == 4
    assert model.accuracy(notes) > 0.98
    written = model.generate(7, prompt=notes[:3], top_k=1)
    np.testing.assert_array_equal(written, notes[3:10])
    step = next(model.stream(prompt=notes[:3], top_k=1))
    np.testing.assert_array_equal(step, notes[3])
    assert model.generate(0).shape == (0, 4)
    flat = quick(max_iter=30).fit(notes.ravel())
    np.testing.assert_array_equal(
        flat.generate(8, prompt=notes[:3].ravel(), top_k=1), notes[3:5].ravel()
    )


@pytest.mark.parametrize("options", [{}, {"cell": "gru", "num_layers": 2, "dropout": 0.1}])
def test_early_stopping(options):
    rng = np.random.default_rng(0)
    for data in (
        "".join(rng.choice(list("ab"), 300)),
        [*map("".join, rng.choice(list("ab"), (30, 9)))],
    ):
        model = quick(early_stopping=True, n_iter_no_change=3, max_iter=200, **options).fit(data)
        assert model.n_iter_ < 200
        assert len(model.validation_scores_) == model.n_iter_
        best = model.history_["val_loss"].index(min(model.history_["val_loss"]))
        assert best == model.n_iter_ - 4


def test_partial_fit_and_warm_start():
    model, twin = quick(max_iter=1), quick(max_iter=1, warm_start=True)
    for _ in range(3):
        model.partial_fit(CYCLE)
        twin.fit(CYCLE)
    assert model.n_iter_ == twin.n_iter_ == 3
    assert model.loss_curve_ == twin.loss_curve_
    model.partial_fit("abxy" * 50)  # x and y are unknown
    assert set(model.generate(100, 5.0, random_state=0)) <= set("abcd")


def test_parameters_and_pickles(model):
    fresh = clone(model)
    assert not hasattr(fresh, "model_")
    assert fresh.get_params() == model.get_params()
    assert fresh.set_params(steps=5).steps == 5
    scores = cross_val_score(quick(max_iter=1), ["abc", "acb"] * 6, cv=3)
    assert scores.shape == (3,) and (scores < 0).all()
    twin = pickle.loads(pickle.dumps(model))
    assert twin.generate(30, 2.0, random_state=5) == model.generate(30, 2.0, random_state=5)


def test_refuses(model):
    for call, error, message in [
        (lambda: quick().fit([]), ValueError, "X of at least one sequence, got none"),
        (lambda: quick().fit(np.ones(9)), TypeError, "arrays in X of integers, got float64"),
        (lambda: quick().fit([1.5, 2.5]), TypeError, "X as a text, integers, or a list"),
        (
            lambda: quick().fit(["a", np.ones((2, 2, 2), int)]),
            ValueError,
            "arrays in X of shape (time,)",
        ),
        (lambda: quick().fit([scales(), scales()[:, :3]]), ValueError, "sequences with 4 voices"),
        (lambda: quick(steps=0).fit(CYCLE), ValueError, "steps as an integer >= 1, got 0"),
        (lambda: model.generate(-1), ValueError, "n >= 0, got -1"),
        (lambda: model.stream(0.0), ValueError, "temperature > 0 and finite, got 0.0"),
        (lambda: model.stream(top_k=0), ValueError, "top_k >= 1, got 0"),
        (lambda: model.stream(prompt=np.ones(2)), TypeError, "arrays in prompt of integers"),
        (lambda: quick().fit([""]).score([""]), ValueError, "X with a symbol to predict, got none"),
        (lambda: model.accuracy(scales()), ValueError, "sequences with no axis of voices"),
    ]:
        with pytest.raises(error, match=re.escape(f"LanguageModel expected {message}")):
            call()
    with pytest.raises(TypeError, match="Vocabulary expected symbols that can be hashed and sort"):
        quick().fit([[1, "a"]])
    with pytest.raises(ValueError, match="expected at least 2 symbols"):
        quick().fit("a")
    with pytest.raises(ValueError, match="not fitted"):
        quick().generate(3)


def test_a_fit_that_fails_changes_nothing():
    model = quick(max_iter=1).fit(CYCLE)
    before = model.generate(20, random_state=0)
    with pytest.raises(ValueError, match="sequences with 4 voices"):
        model.fit([scales(), scales()[:, :3]])
    assert model.generate(20, random_state=0) == before


@pytest.mark.parametrize(
    ("X", "error"),
    [("", ValueError), ({"a": 1}, TypeError), ({"a", "b"}, TypeError), (3, TypeError)],
    ids=str,
)
def test_refuses_what_is_no_text(X, error):
    with pytest.raises(error, match="LanguageModel expected X"):
        LanguageModel(max_iter=1).fit(X)


@pytest.mark.parametrize("fraction", [5, 1.0, -0.5, "a"])
def test_refuses_fractions(fraction):
    model = LanguageModel(max_iter=1, early_stopping=True, validation_fraction=fraction)
    with pytest.raises(ValueError, match="validation_fraction as a number between 0 and 1"):
        model.fit("abcd" * 20)
