"""Symbols and their ids, sampling, and what symbols cost a model that predicts the next one."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence, Sized
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .checks import Checked, check_positive, check_size
from .layers.seq2seq import log_softmax

if TYPE_CHECKING:
    from .arrays import Array

__all__ = [
    "Position",
    "Vocabulary",
    "check_temperature",
    "entropy",
    "read",
    "sample",
    "symbol_bits",
    "write",
]


class Vocabulary(Checked):
    """Symbols and their ids: characters, words, notes, anything hashable.

    Parameters
    ----------
    symbols : sequence
        Each has its place for id.
    ends : bool, default False
        Whether the next id, `end`, is the end of a sequence.
    unknown : bool, default True
        Whether the last id, `unknown`, stands for all other symbols.

    Attributes
    ----------
    size : int
        Number of ids.
    end, unknown : int or None
    dtype : dtype
        The smallest of unsigned integers that holds all ids.
    """

    _fixed = ("symbols", "end", "unknown", "size", "dtype")

    def __init__(
        self, symbols: Sequence[Hashable], ends: bool = False, unknown: bool = True
    ) -> None:
        self.symbols = symbols
        self.end = len(symbols) if ends else None
        self.unknown = len(symbols) + ends if unknown else None
        self.size = len(symbols) + ends + unknown
        self.dtype = np.min_scalar_type(max(self.size - 1, 0))
        self._ids = {symbol: i for i, symbol in enumerate(symbols)}

    @classmethod
    def learn(
        cls,
        sequences: Iterable[Iterable[Any]],
        ends: bool = False,
        unknown: bool = True,
        limit: int | None = None,
    ) -> Vocabulary:
        """Return the vocabulary of some sequences, its symbols sorted.

        Parameters
        ----------
        sequences : iterable of iterables
        ends, unknown : bool
            As for the constructor.
        limit : int, optional
            Largest size; the rarest symbols are then left out.

        Raises
        ------
        TypeError
            For symbols that cannot be hashed or sorted.
        """
        try:
            counts = Counter(chain.from_iterable(sequences))
            symbols = sorted(counts)
        except TypeError as error:
            raise TypeError(
                f"Vocabulary expected symbols that can be hashed and sorted, got others: {error}"
            ) from None
        if limit is not None:
            kept = max(0, limit - ends - unknown)
            symbols = sorted(sorted(symbols, key=counts.__getitem__, reverse=True)[:kept])
        return cls(symbols, ends, unknown)

    def encode(self, sequence: Iterable[Hashable], dtype: Any = np.int64) -> Array:
        """Return the ids of a sequence, (N,) array of `dtype`.

        Raises
        ------
        ValueError
            For a symbol that is not there, where `unknown` is None.
        """
        n = len(sequence) if isinstance(sequence, Sized) else -1
        if self.unknown is not None:
            return np.fromiter((self._ids.get(s, self.unknown) for s in sequence), dtype, n)
        try:
            return np.fromiter((self._ids[symbol] for symbol in sequence), dtype, n)
        except KeyError as error:
            raise ValueError(
                f"Vocabulary expected symbols that it knows, got {error.args[0]!r}"
            ) from None

    def __contains__(self, symbol: Hashable) -> bool:
        """Whether the symbol has an id of its own."""
        return symbol in self._ids

    def decode(self, ids: Iterable[int]) -> list[Any]:
        """Return the symbols of ids; `end` and `unknown` have none."""
        return [self.symbols[i] for i in ids]


def sample(scores: Array, rng: Any, temperature: float = 1.0, top_k: int | None = None) -> Array:
    """Draw ids from the softmax of ``scores / temperature``.

    Parameters
    ----------
    scores : (..., V) array
    rng : numpy.random.Generator or RandomState
    temperature : float, default 1
        Below 1 likely ids become likelier, above 1 all become more alike.
    top_k : int, optional
        Draw from the ids of the k highest scores only; 1 is greedy: always the highest, the first
        of several.

    Returns
    -------
    (...) array of int64

    Raises
    ------
    ValueError
        For wrong options, and for scores that are NaN or inf, or all -inf: no id is likelier than
        another then. An id of score -inf is never drawn.
    """
    check_temperature("sample", temperature)
    given = scores.astype(np.float64)
    highest = given.max(axis=-1, keepdims=True)
    if not np.isfinite(highest).all():
        wrong = highest[~np.isfinite(highest)][0]
        raise ValueError(f"sample expected finite scores, got {wrong} for the highest")
    with np.errstate(over="ignore"):  # to -inf, which is never drawn
        given = (given - highest) / temperature
    if top_k is not None:
        kept = check_size("sample", "top_k", top_k, 1)
        others = np.argsort(-given, axis=-1, kind="stable")[..., kept:]
        np.put_along_axis(given, others, -np.inf, axis=-1)
    limits = np.cumsum(np.exp(given), axis=-1)
    total = limits[..., -1]
    # a product that is rounded up to the total would pass the last id that may be drawn
    drawn = np.minimum(rng.random(total.shape) * total, np.nextafter(total, 0.0))
    return np.count_nonzero(limits <= drawn[..., np.newaxis], axis=-1)


def check_temperature(owner: str, temperature: Any) -> None:
    """Raise TypeError or ValueError unless a temperature is a finite number above 0."""
    try:
        check_positive(owner, "temperature", temperature)
    except ValueError as error:
        raise ValueError(f"{error}; top_k=1 always takes the likeliest") from None


class Position(NamedTuple):
    """Where a sequence stands: the model's state, and its scores for the next symbol."""

    state: Any
    scores: Array


def read(model: Any, ids: Array, position: Position) -> Position:
    """Let a model read symbols, step by step.

    Parameters
    ----------
    model : Layer
        With `step`; ids in, scores out.
    ids : (N,) or (N, voices) array of int
    position : Position

    Returns
    -------
    Position
        After them; with scores (V,), or (voices, V).
    """
    state, scores = position
    for t in range(len(ids)):
        y, state = model.step(ids[t : t + 1], state)
        scores = y[0].reshape(*ids.shape[1:], -1)
    return Position(state, scores)


def write(
    model: Any,
    position: Position,
    rng: Any,
    temperature: float = 1.0,
    top_k: int | None = None,
) -> Iterator[tuple[Array, Position]]:
    """Let a model go on for ever.

    Parameters
    ----------
    model, position
        As for `read`.
    rng, temperature, top_k
        As for `sample`. The last id, which stands for unknown symbols, is never drawn.

    Yields
    ------
    symbol : int array of shape () or (voices,)
    position : Position
        After it.
    """
    while True:
        symbol = np.asarray(sample(position.scores[..., :-1], rng, temperature, top_k))
        position = read(model, symbol[np.newaxis], position)
        yield symbol, position


def symbol_bits(scores: Array, symbols: Array) -> Array:
    """Return what each symbol costs a model that gives it a score.

    Parameters
    ----------
    scores : (..., V) array
    symbols : (...) array of int

    Returns
    -------
    (...) array of float64
        Negative log-probability to base 2.
    """
    chosen = np.take_along_axis(log_softmax(scores), symbols[..., np.newaxis], axis=-1)
    return -chosen[..., 0] / math.log(2)


def entropy(
    symbols: Array,
    learnt_from: Array | None = None,
    size: int = 0,
    weight: Array | None = None,
) -> float:
    """Return what a symbol costs, in nats, where only the symbols' frequencies are known.

    Parameters
    ----------
    symbols : (N,) array of int
    learnt_from : (M,) array of int, optional
        Symbols whose frequencies are known, each seen once more than it is there, so that none is
        impossible; default those of `symbols` as they are.
    size : int
        Number of ids: with `learnt_from`.
    weight : (N,) array, optional
        How much each of `symbols` counts.
    """
    counts = _counts(symbols, size, weight)
    n = counts.sum()
    if not n:
        return 0.0
    known = counts if learnt_from is None else _counts(learnt_from, size) + 1
    p = known / known.sum()
    there = counts > 0
    return max(0.0, float(-(counts[there] / n * np.log(p[there])).sum()))


def _counts(symbols: Array, size: int, weight: Array | None = None) -> Array:
    # bincount makes int64 of all that it is given
    largest = int(symbols.max()) + 1 if len(symbols) else 0
    counts = np.zeros(max(size, largest))
    for start in range(0, len(symbols), 65536):
        some = slice(start, start + 65536)
        weights = None if weight is None else weight[some]
        counts += np.bincount(symbols[some], weights, minlength=len(counts))
    return counts
