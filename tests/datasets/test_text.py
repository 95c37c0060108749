"""Generated text: dates and reviews."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime

import numpy as np
import pytest

from rnnfast.datasets import date_pairs, reviews
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
