"""The text as symbols, and what it costs an n-gram model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..datasets import pydoc_text
from ..generation import Vocabulary

if TYPE_CHECKING:
    from ..arrays import Array

CODE_POINTS = 0x110000 - 0x800  # characters that Unicode has room for


class Text(NamedTuple):
    """The text as symbols; the first `cut` are for training.

    A character of the training text is its place in `chars`. All others are one more symbol, so
    that neither model knows more of the held-out text than the other.
    """

    chars: str
    ids: Array
    cut: int

    @staticmethod
    def of(text: str, cut: int) -> Text:
        """Return a text of which the first `cut` characters are for training."""
        empty = Text("".join(sorted(set(text[:cut]))), np.empty(0, np.int64), cut)
        return empty._replace(ids=empty.encode(text))

    @staticmethod
    def read(characters: int | None = None) -> Text:
        """Return the documentation, its last 10% held out.

        Only so many characters are to learn from, those just before what is held out; default all.
        """
        text = pydoc_text()
        cut = len(text) * 9 // 10
        first = max(0, cut - (characters or cut))
        return Text.of(text[first:], cut - first)

    @property
    def symbols(self) -> int:
        """How many there are."""
        return Vocabulary(self.chars).size

    @property
    def held_out(self) -> int:
        """How many characters are held out."""
        return len(self.ids) - self.cut

    def start(self) -> Array:
        """Return the logarithm of each symbol's share of the training text, one half added."""
        counts = np.bincount(self.ids[: self.cut], minlength=self.symbols) + 0.5
        return np.log(counts / counts.sum())

    def encode(self, text: str) -> Array:
        """Return the symbols of a text."""
        return Vocabulary(self.chars).encode(text)

    def identity_bits(self) -> Array:
        """Return what it costs to say which character it was, for each one held out."""
        unseen = self.ids[self.cut :] == len(self.chars)
        return np.where(unseen, math.log2(CODE_POINTS - len(self.chars)), 0.0)

    def new(self, window: int = 40) -> Array:
        """Return which characters held out lie in no `window` that the training text holds too."""
        ids = self.ids.astype(np.uint64)
        if self.held_out < window or self.cut < window:
            return np.ones(self.held_out, bool)
        places = len(ids) - window + 1
        hashes = np.zeros(places, np.uint64)
        for j in range(window):
            hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + ids[j : j + places]
        seen = np.isin(hashes[self.cut :], hashes[: self.cut - window + 1])
        edges = np.zeros(self.held_out + 1, np.int64)
        edges[: len(seen)] += seen
        edges[window : window + len(seen)] -= seen
        return np.cumsum(edges)[:-1] == 0


def ngram_bits(ids: Array, cut: int, symbols: int, order: int = 5) -> Array:
    """Return what each symbol from `cut` on costs an n-gram model of the symbols before `cut`.

    Interpolated, modified Kneser-Ney smoothing down to the uniform distribution, with the three
    discounts of each order from its counts of counts (Chen and Goodman, 1998). On this text it is
    stronger than Witten-Bell smoothing and plain absolute discounting. Ids are below `symbols`, and
    ``symbols ** order`` must fit into 63 bits.
    """

    def grams(sequence: Array, k: int) -> Array:  # each run of k symbols as one number
        codes = np.zeros(len(sequence) - k + 1, np.int64)
        for j in range(k):
            codes = codes * symbols + sequence[j : j + len(codes)]
        return codes

    def look_up(keys: Array, values: Array, wanted: Array) -> Array:  # 0 for what is not there
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where(keys[at] == wanted, values[at], 0)

    p = np.full(len(ids) - cut, 1.0 / symbols)
    for k in range(1, order + 1):
        if k == order:
            keys, counts = np.unique(grams(ids[:cut], k), return_counts=True)
        else:  # how many different symbols precede it
            longer = np.unique(grams(ids[:cut], k + 1))
            keys, counts = np.unique(longer % symbols**k, return_counts=True)
        n1, n2, n3, n4 = (max(int((counts == i).sum()), 1) for i in (1, 2, 3, 4))
        y = n1 / (n1 + 2 * n2)
        estimates = [0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
        discounts = np.clip(estimates, 0, [0, 1, 2, 3])[np.minimum(counts, 3)]

        contexts, first = np.unique(keys // symbols, return_index=True)
        wanted = grams(ids[cut - k + 1 :], k)
        total = look_up(contexts, np.add.reduceat(counts, first), wanted // symbols)
        saved = look_up(contexts, np.add.reduceat(discounts, first), wanted // symbols)
        mass = look_up(keys, counts - discounts, wanted) + saved * p
        p = np.where(total > 0, mass / np.maximum(total, 1), p)
    return -np.log2(p)
