"""Language models of characters, tokens and voices."""

from __future__ import annotations

import pickle
import re
import warnings
from itertools import islice

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from samples import peak_memory
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import cross_val_score

from rnnfast import LanguageModel
from rnnfast.callbacks import Callback
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
    model = quick(max_iter=80, batch_size=4, symbols="characters").fit(words)
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
    characters = quick(max_iter=1, symbols="characters")
    scores = cross_val_score(characters, ["abc", "acb"] * 6, cv=3)
    assert scores.shape == (3,) and (scores < 0).all()
    twin = pickle.loads(pickle.dumps(model))
    assert twin.generate(30, 2.0, random_state=5) == model.generate(30, 2.0, random_state=5)


def test_refuses(model):
    for call, error, message in [
        (lambda: quick().fit([]), ValueError, "X of at least one sequence, got none"),
        (
            lambda: quick().fit(["a", np.ones((2, 2, 2), int)]),
            ValueError,
            "arrays in X[1] of shape (time,)",
        ),
        (
            lambda: quick().fit([scales(), scales()[:, :3]]),
            ValueError,
            "X of sequences with 4 voices",
        ),
        (lambda: quick(steps=0).fit(CYCLE), ValueError, "steps as an integer >= 1, got 0"),
        (lambda: model.generate(-1), ValueError, "n >= 0, got -1"),
        (lambda: model.stream(0.0), ValueError, "temperature > 0 and finite, got 0.0; top_k=1"),
        (lambda: model.stream(top_k=0), ValueError, "top_k >= 1, got 0"),
        (lambda: model.stream(random_state="x"), ValueError, "random_state as an integer"),
        (lambda: model.stream(prompt=np.ones(2)), TypeError, "prompt of symbols (str or integers)"),
        (lambda: model.score("a"), ValueError, "X with a symbol to predict, got none"),
        (lambda: model.accuracy(scales()), TypeError, "X of characters, as in fit, got integers"),
    ]:
        with pytest.raises(error, match=re.escape(f"LanguageModel expected {message}")):
            call()
    with pytest.raises(ValueError, match="not fitted"):
        quick().generate(3)


def test_a_fit_that_fails_changes_nothing():
    model = quick(max_iter=1).fit(CYCLE)
    before = model.generate(20, random_state=0)
    with pytest.raises(ValueError, match="sequences with 4 voices"):
        model.fit([scales(), scales()[:, :3]])
    assert model.generate(20, random_state=0) == before


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ("", ValueError, "of at least one symbol, got none"),
        (["", ""], ValueError, "of at least one symbol, got none"),
        (np.zeros(0, int), ValueError, "of at least one symbol, got none"),
        ("a", ValueError, "of at least two symbols, of which the second can be learnt"),
        ([7], ValueError, "of at least two symbols, of which the second can be learnt"),
        ({"a": 1}, TypeError, "as a text, integers, or a list of sequences, got dict"),
        ({"a"}, TypeError, "as a text, integers, or a list of sequences, got set"),
        (3, TypeError, "as a text, integers, or a list of sequences, got int"),
        (None, TypeError, "as a text, integers, or a list of sequences, got NoneType"),
        (
            [3, "a"],
            TypeError,
            "as a text, integers, or a list of sequences, got one of int: 3 in X[",
        ),
        (b"abc" * 9, TypeError, "of str or integers, got bytes in X; X.decode() makes a text"),
        ([b"abc"], TypeError, "of str or integers, got bytes in X[0]; X[0].decode()"),
        (np.array([b"abc"]), TypeError, "of str or integers, got bytes in X; np.char.decode"),
        ([["a", b"b"]], TypeError, "got bytes in X[0][1]"),
        (np.ones(9), TypeError, "of symbols (str or integers), got arrays of float64 in X; astype"),
        (
            [1.5, 2.5],
            TypeError,
            "got 1.5 in X[0]; astype(int) makes symbols of whole numbers; Fore",
        ),
        ([[1, 2.5]], TypeError, "of symbols (str or integers), got 2.5 in X[0][1]"),
        (["ab", None, "cd"], ValueError, "with none missing, got None in X[1]"),
        (np.array(["ab", np.nan], object), ValueError, "with none missing, got nan in X[1]"),
        ([1, 2, None], ValueError, "with none missing, got None in X[2]"),
        ([["a", None]], ValueError, "with a symbol at each step, got None in X[0][1]"),
        (np.ma.masked_equal([1, 2, 3], 2), ValueError, "got a masked one at X[1]"),
        ([np.ma.masked_equal([1, 2, 3], 2)], ValueError, "got a masked one at X[0][1]"),
        (np.array(["2020-01-01"], "M8[D]"), TypeError, "got datetime64[D] in X"),
        (np.array([True, False]), TypeError, "got bool in X"),
        (np.array("abc"), TypeError, "got an array without axes in X"),
        ([[1, "a"]], TypeError, "of symbols that can be hashed and sorted, got others: '<'"),
        ([[[1, 2]]], TypeError, "of symbols that can be hashed and sorted, got others: unhash"),
        ([2**70, 1], ValueError, "of integers that int64 can hold"),
        (np.ones((2, 9), int), ValueError, "more voices than steps: list(X) are 2 sequences"),
        (np.eye(3, dtype=int)[[0, 1, 2] * 9], ValueError, "got one-hot rows, shape (27, 3)"),
        (
            np.lib.stride_tricks.sliding_window_view(np.arange(30), 5),
            ValueError,
            "got windows of one sequence, each of which starts a step later: np.append(X[:, 0]",
        ),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_refuses_what_is_no_text(X, error, message):
    with pytest.raises(error) as caught:
        LanguageModel(max_iter=1).fit(X)
    assert str(caught.value).startswith("LanguageModel expected X ")
    assert message in str(caught.value)


TEXT = "the cat sat on the mat and the dog sat on the log . "
WORDS = TEXT.split() * 20


@pytest.mark.parametrize("form", [list, tuple, np.array, lambda w: np.array(w, object)])
def test_flat_lists_of_words_are_not_texts_of_characters(form):
    with pytest.raises(ValueError, match="symbols='words' reads these as one text of words, symbo"):
        quick().fit(form(WORDS))
    model = quick(symbols="words").fit(form(WORDS))
    assert set(model.vocabulary_.symbols) == set(WORDS) and model.vocabulary_.end is None
    for prompt in ("the dog", ["the", "dog"], np.array(["the", "dog"])):
        assert model.generate(3, prompt=prompt, top_k=1) == ["sat", "on", "the"]
    assert model.accuracy(WORDS) == model.accuracy(" ".join(WORDS)) > 0.7
    texts = quick(symbols="characters", max_iter=1).fit(form(WORDS))
    assert texts.vocabulary_.end is not None and "t" in texts.vocabulary_.symbols


def test_words_of_texts():
    text = " ".join(WORDS)
    one = quick(symbols="words").fit(text)
    assert one.generate(3, prompt="the dog", top_k=1) == "sat on the"
    several = quick(symbols="words", max_iter=1).fit([text, text, "the end"])
    assert several.vocabulary_.end is not None and "end" in several.vocabulary_
    assert isinstance(several.generate(3, random_state=0), str)
    nested = quick().fit([WORDS])
    assert nested.vocabulary_.end is not None
    assert nested.generate(2, prompt="the dog", top_k=1) == ["sat", "on"]
    with pytest.raises(TypeError, match="X of str with symbols='words', got integers"):
        quick(symbols="words").fit([1, 2, 3])
    with pytest.raises(TypeError, match="X of texts with symbols='characters', got words"):
        quick(symbols="characters").fit([["to", "be"]])
    with pytest.raises(ValueError, match="symbols as one of 'auto', 'characters', 'words', got 3"):
        quick(symbols=3).fit(text)


def test_flat_lists_of_str_that_are_clear():
    names = ["anna", "otto", "emma", "karl"]
    model = quick(max_iter=1).fit(names)
    assert model.vocabulary_.end is not None and "a" in model.vocabulary_
    assert model.bits_per_character(["anna", "anna"]) > 0
    phrases = quick(max_iter=1).fit(["to be", "to be", "or"])
    assert phrases.vocabulary_.end is not None and " " in phrases.vocabulary_
    single = quick().fit(list(CYCLE))
    assert single.vocabulary_.end is None
    assert single.generate(4, prompt="ab", top_k=1) == list("cdab")
    assert single.bits_per_character(CYCLE) == single.bits_per_character(list(CYCLE))


def test_a_later_list_of_words_is_no_text_of_characters(model):
    with pytest.raises(ValueError, match=r"as in fit, got 4 str; ' '.join\(X\) is one text"):
        model.score(["ab", "cd", "ab", "cd"])
    assert model.score(["abcd", "dabc"]) < 0


def test_columns_and_frames():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    names = pandas.Series(["anna", "otto", "emma"], index=[5, 6, 7])
    assert quick(max_iter=1).fit(names).vocabulary_.end is not None
    names[6] = None
    with pytest.raises(ValueError, match=r"X with none missing, got (None|nan) in X\[1\]"):
        quick().fit(names)
    with pytest.raises(TypeError, match=r"got a frame; X\['text'\], one column, is a list of seq"):
        quick().fit(pandas.DataFrame({"text": ["anna", "otto"]}))
    voices = pandas.DataFrame({"low": [1, 2, 3] * 9, "high": [7, 8, 9] * 9})
    model = quick(max_iter=1).fit(voices)
    assert (
        model.score(voices[["high", "low"]])
        == model.score(voices)
        == model.score(voices.astype("Int64"))
    )
    assert model.generate(2, prompt=voices[:3], random_state=0).shape == (2, 2)
    with pytest.raises(ValueError, match=r"expected X.*'low'"):
        model.score(voices[["high"]])
    dates = pandas.date_range("2020-01-01", periods=27)
    with pytest.raises(ValueError, match=r"got a column 'date'; X.drop\(columns=\['date'\]\)"):
        quick().fit(voices.assign(date=dates))
    with pytest.raises(ValueError, match=r"got times that go back; X.sort_index\(\)"):
        quick().fit(voices.set_index(dates[::-1]))
    with pytest.raises(TypeError, match=r"symbols \(str or integers\), got arrays of float64"):
        quick().fit(pandas.DataFrame({"a": [0.5, 1.5]}))


def test_prompts(model):
    for prompt, error, message in [
        ([1, 2], TypeError, "prompt of characters, as in fit, got integers"),
        (3, TypeError, "prompt as a text, integers, or a list of symbols, got int"),
        (b"ab", TypeError, "prompt of str or integers, got bytes"),
        (["abc", "d"], TypeError, "prompt of characters, as in fit, got words"),
        ({"a": 1}, TypeError, "prompt as a text, integers, or a list of symbols, got dict"),
        (["a", None], ValueError, r"prompt with a symbol at each step, got None in prompt\[1\]"),
    ]:
        with pytest.raises(error, match=f"LanguageModel expected {message}"):
            model.generate(3, prompt=prompt)
    with pytest.warns(UserWarning, match="prompt has symbols that fit has not seen.*: 'X', 'é'"):
        assert set(model.generate(5, prompt="Xéab", top_k=1)) <= set("abcd")
    assert model.generate(3, prompt="", random_state=0) == model.generate(3, random_state=0)
    numbers = quick(max_iter=1).fit([60, 72, 5] * 200)
    with pytest.raises(TypeError, match="prompt of integers, as in fit, got characters"):
        numbers.generate(3, prompt="ab")


def test_a_second_argument_is_not_ignored(model):
    twin = np.array([1, 2, 3] * 40)
    for X, same, other in [
        (CYCLE, "".join(list(CYCLE)), CYCLE[1:]),
        (twin, twin.copy(), twin[1:]),
        ([twin, twin], [twin.copy(), twin.copy()], [twin, twin[1:]]),
    ]:
        assert quick(max_iter=1).fit(X, same).n_iter_ == 1
        for call in ("fit", "partial_fit"):
            with pytest.raises(
                ValueError, match=r"LanguageModel expected y as None, got .*X is the"
            ):
                getattr(quick(max_iter=1), call)(X, other)
    with pytest.raises(ValueError, match="LanguageModel expected y as None"):
        model.score(CYCLE, [1, 2])


def test_cross_validation_of_one_sequence():
    for X in (list(CYCLE), np.array([1, 2, 3] * 100), [1, 2, 3] * 100, np.array(list(CYCLE))):
        scores = cross_val_score(quick(max_iter=1), X, cv=3)
        assert np.isfinite(scores).all()


def test_validation_data():
    model = quick(max_iter=3).fit(CYCLE, validation_data="abcd" * 20)
    assert len(model.validation_scores_) == 3
    for bad, error, message in [
        ("", ValueError, "validation_data of at least two symbols"),
        (3, TypeError, "validation_data as a text"),
        ([1, 2], TypeError, "validation_data of characters, as in fit, got integers"),
    ]:
        with pytest.raises(error, match=f"LanguageModel expected {message}"):
            quick(max_iter=1).fit(CYCLE, validation_data=bad)


def test_held_out_parts_of_little_data():
    for X in ("abcabc", [1, 2, 3], [list("ab")]):
        with pytest.raises(ValueError, match="LanguageModel expected X of two symbols at least on"):
            quick(max_iter=1, early_stopping=True).fit(X)
    model = quick(max_iter=2, early_stopping=True).fit([list(CYCLE)])  # its end is held out
    assert len(model.validation_scores_) == 2


def test_network_that_gives_no_numbers():
    model = quick(max_iter=1).fit(CYCLE)
    (name,) = [name for name in model.model_.params if name.endswith("2.bias")]
    model.model_.params[name] = np.full(5, np.nan)
    for call in (
        lambda: model.generate(3),
        lambda: model.generate(3, prompt="ab"),
        lambda: model.score(CYCLE),
        lambda: model.accuracy(CYCLE),
    ):
        with pytest.raises(ValueError, match="a network whose outputs are finite, got NaN or inf"):
            call()


def test_parameters_changed_before_a_warm_fit():
    model = quick(max_iter=1, warm_start=True).fit(CYCLE)
    for name, value in {"hidden_size": 8, "embedding_size": 3, "symbols": "characters"}.items():
        before = model.get_params()[name]
        model.set_params(**{name: value})
        for call in (model.fit, model.partial_fit):
            with pytest.raises(ValueError, match=f"LanguageModel expected {name} "):
                call(CYCLE)
        model.set_params(**{name: before})
    weights = model.model_.state_dict()
    model.set_params(learning_rate_init=1e-30).fit(CYCLE)
    np.testing.assert_equal(model.model_.state_dict(), weights)
    model.fit("abxy" * 50)  # x and y are unknown
    with pytest.raises(ValueError, match="has seen, some at least, got none"):
        model.fit("xyz" * 50)


def test_warnings_of_training_that_comes_to_nothing():
    rng = np.random.default_rng(0)
    text = "".join(rng.choice(list("abcd"), 600))
    with pytest.warns(ConvergenceWarning, match="of the symbols' frequencies alone"):
        quick(max_iter=2, early_stopping=True, validation_fraction=0.3).fit(text)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # a part held out that is short has frequencies of its own, which nobody could know before
        words = rng.permutation(np.repeat([f"w{i}" for i in range(40)], 40)).tolist()
        chain = [w for word in words for w in (word, word)]
        quick(symbols="words", early_stopping=True, validation_fraction=0.01).fit(chain)


def test_default_epochs():
    assert [LanguageModel()._epochs(n) for n in (1, 20, 200, 10_000)] == [500, 30, 15, 1]
    model = quick(max_iter=None).fit(CYCLE)
    assert 60 <= model.n_iter_ <= 72 and model.accuracy(CYCLE) == 1.0
    assert quick(max_iter=2).fit(CYCLE).n_iter_ == 2


def test_memory_of_a_fit():
    text = "".join(np.random.default_rng(0).choice(list("abcdefgh"), 300_000))

    class Stop(Callback):
        def on_batch_end(self, batch, logs):
            raise KeyboardInterrupt

    def fit(text):
        model = quick(max_iter=1, callbacks=[Stop()], batch_size=64)
        with pytest.warns(ConvergenceWarning):
            model.fit(text)

    little = peak_memory(lambda: fit(text[:10_000]))
    assert peak_memory(lambda: fit(text)) - little < 2 * len(text)


def test_partial_fits_keep_no_copies_of_their_history():
    model = quick().partial_fit(CYCLE)

    def peak():
        return peak_memory(lambda: model.partial_fit(CYCLE))

    peak()
    first = peak()
    model.history_.batch_losses += [0.0] * 100_000
    model.history_["loss"] += [0.0] * 100_000
    # the first calls may let the lists grow, which then have room for more
    assert min(peak() for _ in range(3)) < first + 50_000


@pytest.mark.parametrize("fraction", [5, 1.0, -0.5, "a"])
def test_refuses_fractions(fraction):
    model = LanguageModel(max_iter=1, early_stopping=True, validation_fraction=fraction)
    with pytest.raises(ValueError, match="validation_fraction as a number between 0 and 1"):
        model.fit("abcd" * 20)


def test_validation_data_are_a_text_or_several():
    model = LanguageModel(hidden_size=4, max_iter=1, random_state=0)
    text = "abcd" * 30
    for pair in ((text, text), (text, None), (list(text), list(text[1:]))):
        with pytest.raises(ValueError, match=r"validation_data as a text, .* a tuple of 2, as"):
            model.fit(text, validation_data=pair)
    assert len(model.fit(text, validation_data=text).validation_scores_) == 1
    several = LanguageModel(hidden_size=4, max_iter=1, random_state=0)
    assert several.fit([text, text[:50]], validation_data=[text]).validation_scores_
