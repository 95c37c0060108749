"""Text: batches of it, that of pydoc, generated dates and reviews."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime

import numpy as np
import pytest

from rnnfast.datasets import date_pairs, pydoc_text, reviews, text_batches
from rnnfast.datasets.text import ASIDES, BLAME, PRAISE

PARSERS = ("%B %d, %Y", "%d %B %Y", "%b %d, %Y", "%d %b %Y", "%m/%d/%Y", "%d.%m.%Y")


def parse(text):
    for parser in PARSERS:
        try:
            return parser, datetime.strptime(text, parser).date().isoformat()
        except ValueError:
            continue
    raise AssertionError(text)


def test_date_pairs():
    texts, iso = date_pairs(3000, seed=0)
    parsed = [parse(text) for text in texts]
    assert [day for _, day in parsed] == iso
    assert len(set(iso)) == 3000
    assert {text.count("May") for text, day in zip(texts, iso, strict=True) if "-05-" in day} == {
        0,
        1,
    }
    counts = Counter(parser for parser, _ in parsed)
    assert min(counts.values()) > 400
    assert len(counts) == 6
    assert (texts, iso) == date_pairs(3000, seed=0) != date_pairs(3000, seed=1)


def test_date_formats():
    texts, iso = date_pairs(2, ["{year} {mon} {m} {day:03}"], seed=0)
    for text, day in zip(texts, iso, strict=True):
        year, month, d = day.split("-")
        mon = datetime.strptime(month, "%m").strftime("%b")
        assert text == f"{year} {mon} {int(month)} {d.zfill(3)}"
    with pytest.raises(ValueError, match=r"formats with year.*got '\{hour\}'"):
        date_pairs(1, ["{hour}"])
    with pytest.raises(TypeError, match="formats as strings, got 3"):
        date_pairs(1, [3])
    with pytest.raises(ValueError, match="at least one template"):
        date_pairs(1, [])
    with pytest.raises(ValueError, match="n_pairs <= 3287182"):
        date_pairs(10_000_000)


def test_reviews():
    tokens, y = reviews(4000, seed=0)
    assert (len(tokens), y.shape, y.dtype) == (4000, (4000,), "i8")
    assert 0.45 < y.mean() < 0.55
    assert len(set(map(len, tokens))) > 10
    for words, label in zip(tokens, y, strict=True):
        text = " ".join(words)
        for aside in ASIDES:
            text = text.replace(aside + " . ", "")
        good, bad = ([text.find(w) for w in names if w in text] for names in (PRAISE, BLAME))
        assert len(good) == len(bad) == 1
        # the other adjective is denied or seeming: said after one of these, before the next clause
        before = {1: text[: bad[0]], 0: text[: good[0]]}[label].split()[-4:]
        assert {"not", "expected", "called", "call", "calls", "seemed", "never"} & {*before}
    assert tokens == reviews(4000, seed=0)[0] != reviews(4000, seed=1)[0]


def test_no_bag_of_words_tells_the_label():
    tokens, y = reviews(20_000, seed=1)
    words = sorted({word for sample in tokens for word in sample})
    column = {word: i for i, word in enumerate(words)}
    bags = np.zeros((len(tokens), len(words)))
    for row, sample in zip(bags, tokens, strict=True):
        for word in sample:
            row[column[word]] += 1
    fitted = np.linalg.lstsq(bags[:10_000], 2.0 * y[:10_000] - 1, rcond=None)[0]
    assert abs(np.mean((bags[10_000:] @ fitted > 0) == y[10_000:]) - 0.5) < 0.02
    labels = defaultdict(list)  # and no pair of adjectives does
    for sample, label in zip(tokens, y, strict=True):
        labels[tuple(sorted({*PRAISE, *BLAME} & {*sample}))].append(label)
    assert len(labels) == 64
    assert all(0.35 < np.mean(group) < 0.65 for group in labels.values())


def test_reviews_bad_arguments():
    assert reviews(0)[0] == []
    with pytest.raises(ValueError, match="n_samples >= 0"):
        reviews(-1)


def test_batches_of_several_voices():
    ids = np.arange(26).reshape(13, 2)
    (x, y), (x2, _) = text_batches(ids, 3, 3)
    np.testing.assert_array_equal(x[:, 1], ids[4:7])
    np.testing.assert_array_equal(y[:, 1], ids[5:8])
    np.testing.assert_array_equal(x2[:, 1], ids[7:8])
    (x_first, _), _ = text_batches(ids, 3, 3, batch_first=True)
    np.testing.assert_array_equal(x_first.swapaxes(0, 1), x)


@pytest.mark.parametrize("batch_first", [False, True])
def test_text_batches(batch_first):
    ids = np.arange(101)
    batches = text_batches(ids, 4, 10, batch_first)
    for _ in range(2):
        got = list(batches)
        assert len(got) == len(batches) == 3
        xs, ys = ([b[i] if batch_first else b[i].T for b in got] for i in (0, 1))
        assert [x.shape for x in xs] == [(4, 10), (4, 10), (4, 5)]
        np.testing.assert_array_equal(np.concatenate(xs, axis=1), ids[:100].reshape(4, 25))
        np.testing.assert_array_equal(np.concatenate(ys, axis=1), ids[1:].reshape(4, 25))
    with pytest.raises(ValueError, match="at least 5 symbols for 4 streams, got 4"):
        text_batches(ids[:4], 4, 10)
    with pytest.raises(ValueError, match="batch_size >= 1"):
        text_batches(ids, 0, 10)
    with pytest.raises(TypeError, match="ids as integers on one axis"):
        text_batches(ids * 1.0, 1, 10)


def test_pydoc_text():
    text = pydoc_text()
    assert 300_000 < len(text) < 900_000
    assert text == pydoc_text()
