"""Symbols, sampling, and what symbols cost."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from engines import each_engine as each_engine
from samples import small_model

from rnnfast.generation import Position, Vocabulary, entropy, read, sample, symbol_bits, write

SCORES = np.log([0.1, 0.4, 0.2, 0.3]).astype(np.float32)


def rng(seed=0):
    return np.random.default_rng(seed)


def test_vocabulary():
    plain = Vocabulary("abc")
    assert (plain.size, plain.end, plain.unknown) == (4, None, 3)
    assert plain.encode("cab?").tolist() == [2, 0, 1, 3]
    assert plain.encode("").dtype == np.int64
    words = Vocabulary(["to", "be"], ends=True)
    assert (words.size, words.end, words.unknown) == (4, 2, 3)
    assert words.decode(words.encode(("be", "to"))) == ["be", "to"]
    numbers = Vocabulary([60, 5], ends=True, unknown=False)
    assert (numbers.size, numbers.end, numbers.unknown) == (3, 2, None)
    assert numbers.encode(np.array([5, 60])).tolist() == [1, 0]
    learnt = Vocabulary.learn(["cab", "dab"], ends=True, unknown=False)
    assert (learnt.symbols, learnt.size) == (list("abcd"), 5)
    for bad in ([[1, "a"]], [[[]]], [3]):
        with pytest.raises(TypeError, match="Vocabulary expected symbols that can be hashed and"):
            Vocabulary.learn(bad)
    with pytest.raises(ValueError, match="Vocabulary expected symbols that it knows"):
        numbers.encode([61])


@pytest.mark.parametrize(
    ("options", "p"),
    [
        ({}, [0.1, 0.4, 0.2, 0.3]),
        ({"temperature": 0.5}, [1 / 30, 16 / 30, 4 / 30, 9 / 30]),
        ({"temperature": 1e9}, [0.25] * 4),
        ({"top_k": 2}, [0, 4 / 7, 0, 3 / 7]),
        ({"top_k": 1, "temperature": 9.0}, [0, 1, 0, 0]),
        ({"top_k": 9}, [0.1, 0.4, 0.2, 0.3]),
    ],
    ids=str,
)
def test_samples_are_distributed_as_they_should(options, p):
    n = 20_000
    drawn = sample(np.tile(SCORES, (n, 1)), rng(), **options)
    shares = np.bincount(drawn, minlength=4) / n
    assert (np.abs(shares - p) <= 4 * np.sqrt(np.multiply(p, np.subtract(1, p)) / n)).all()


def test_samples_of_extreme_draws():
    class Extreme:
        def random(self, shape):
            return np.full(shape, self.value)

    source = Extreme()
    scores = np.array([-np.inf, 0.0, 3.0, -np.inf, -800.0, -np.inf])
    for source.value, want in (0.0, 1), (1.0 - 2.0**-53, 2), (1.0, 2):
        assert sample(scores, source) == want
    assert sample(np.zeros(3), rng(), top_k=1) == 0
    many = sample(np.zeros((2, 3, 5)), rng())
    assert many.shape == (2, 3)
    np.testing.assert_array_equal(many, sample(np.zeros((2, 3, 5)), rng()))


def test_sample_refuses():
    with pytest.raises(ValueError, match="sample expected temperature > 0 and finite, got 0"):
        sample(SCORES, rng(), temperature=0)
    with pytest.raises(ValueError, match="got -1; top_k=1 always takes the likeliest"):
        sample(SCORES, rng(), temperature=-1)
    for wrong in (np.nan, np.inf):
        with pytest.raises(ValueError, match=f"sample expected finite scores, got {wrong}"):
            sample(np.array([[0.0, 1.0], [wrong, 1.0]]), rng())
    with pytest.raises(ValueError, match="sample expected finite scores, got -inf"):
        sample(np.full(3, -np.inf), rng(), top_k=1)
    with pytest.raises(ValueError, match="sample expected top_k >= 1, got 0"):
        sample(SCORES, rng(), top_k=0)


def test_reading_and_writing_are_steps_of_the_model():
    model = small_model()
    ids = rng().integers(0, 7, 6)
    position = read(model, ids, Position(None, np.zeros(7)))
    scores, _ = model(ids[:, None])
    np.testing.assert_allclose(position.scores, scores[-1, 0], rtol=1e-12)
    assert read(model, ids[:0], position) == position
    written = list(islice(write(model, position, rng(1), 2.0), 30))
    assert max(int(symbol) for symbol, _ in written) < 6  # the last id is never drawn
    assert len({int(symbol) for symbol, _ in written}) > 1
    symbols = np.array([symbol for symbol, _ in written])
    after, _ = model(np.concatenate([ids, symbols])[:, None])
    np.testing.assert_allclose(written[-1][1].scores, after[-1, 0], rtol=1e-12)
    again = write(model, position, rng(1), 2.0)
    assert [int(symbol) for symbol, _ in islice(again, 30)] == symbols.tolist()


def test_bits():
    scores = np.stack([SCORES + 700, SCORES - 700])
    got = symbol_bits(scores, np.array([1, 3]))
    np.testing.assert_allclose(got, -np.log2([0.4, 0.3]), rtol=1e-4)
    p = 2.0 ** -symbol_bits(np.tile(SCORES.astype(float), (4, 1)), np.arange(4))
    assert p.sum() == pytest.approx(1.0, rel=1e-12)


def test_entropy():
    symbols = np.array([0, 0, 0, 2], np.uint8)
    expected = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    assert entropy(symbols) == pytest.approx(expected, rel=1e-12)
    assert entropy(np.repeat(symbols, 50_000)) == pytest.approx(expected, rel=1e-12)
    assert entropy(np.array([0, 0, 1]), weight=np.array([1.0, 2.0, 0.0])) == 0.0
    # frequencies of 5, 1 and 2 of 8: each once more than it is there
    other = np.array([0, 0, 0, 0, 2])
    assert entropy(symbols, other, 3) == pytest.approx(
        -(0.75 * np.log(5 / 8) + 0.25 * np.log(2 / 8)), rel=1e-12
    )
    assert entropy(np.zeros(9, int)) == entropy(symbols[:0]) == 0.0


def test_ids_of_few_symbols_are_small():
    assert Vocabulary("abc").encode("cab?", Vocabulary("abc").dtype).dtype == np.uint8
    assert Vocabulary(range(255)).dtype == np.uint8
    assert Vocabulary(range(256)).dtype == np.uint16
    assert "a" in Vocabulary("abc") and "z" not in Vocabulary("abc")


def test_tiny_temperatures_are_greedy():
    scores = np.array([[0.0, 2.0, 1.0], [-3.0, -5.0, -2.0]])
    for temperature in (1e-310, 5e-324):
        ids = sample(scores, np.random.default_rng(0), temperature)
        np.testing.assert_array_equal(ids, [1, 2])
