"""The next symbol of a sequence: texts, tokens, and music of several voices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import chain, islice
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from ..datasets import text_batches
from ..generation import Position, Vocabulary, entropy, read, symbol_bits, write
from ..layers import Embedding, JoinedEmbedding, Linear, Sequential
from ..layers.base import check_positive, check_size
from ..losses import softmax_cross_entropy
from . import constraints as may_be
from .base import NetworkEstimator
from .constraints import parameter
from .sequences import plain
from .undo import unchanged_by_errors

if TYPE_CHECKING:
    from ..layers.base import Array

CHUNK = 512  # steps of a call at inference


def next_symbols_loss(scores: Array, target: Array) -> tuple[float, Array]:
    """Return the cross-entropy of the next symbols, of one voice or several, and its gradient."""
    by_voice = scores.reshape(*target.shape, -1)
    value, gradient = softmax_cross_entropy(by_voice, target)
    return value, gradient.reshape(scores.shape)


class ShuffledSequences:
    """Batches of one stream of several sequences, which are in a new order each time.

    Parameters
    ----------
    ids : list of arrays of int
    batches : callable
        Of such a list.
    seed : int
        Of the order.
    """

    def __init__(
        self, ids: list[Array], batches: Callable[[list[Array]], text_batches], seed: int
    ) -> None:
        self.ids, self.batches = ids, batches
        self.rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.batches(self.ids))

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        """Iterate over the batches."""
        return iter(self.batches([self.ids[i] for i in self.rng.permutation(len(self.ids))]))


@dataclass(kw_only=True, eq=False, repr=False)
class LanguageModel(NetworkEstimator):
    """A model of the next symbol, which can also write.

    An embedding, recurrent layers and a softmax, trained by truncated BPTT with carried state:
    the text is cut into `batch_size` streams that are read side by side, `steps` symbols at a
    time. Every ``X`` may be

    * a text (str): its symbols are characters;
    * an array or a list of int, (time,): its symbols are these numbers;
    * a (time, voices) array of int, voices that sound together: one embedding for all, side by
      side, and a softmax for each voice, drawn independently given the past. ``X.ravel()``, with
      one note after another, lets each note depend on those that sound with it;
    * a list of any of these, or of lists of any symbols, words say: several sequences. The model
      then also learns where they begin and end.

    A symbol that `fit` has not seen counts as the one symbol "unknown", which is never generated.

    Parameters
    ----------
    embedding_size : int
        Numbers for each symbol.
    steps : int
        Time steps that gradients go back.
    **parameters
        As for `NetworkEstimator`; `batch_size` is the number of streams. With `early_stopping`,
        the last `validation_fraction` of a text is held out, or that share of several sequences.

    Attributes
    ----------
    vocabulary_ : Vocabulary
    n_voices_ : int or None
        None for symbols one after another.
    validation_scores_ : list of float
        With `early_stopping`: minus the loss on the part held out.

    Examples
    --------
    >>> from rnnfast import LanguageModel
    >>> model = LanguageModel(hidden_size=16, steps=8, learning_rate_init=0.02, random_state=0)
    >>> model.fit("abcd" * 200).generate(8, prompt="ab", top_k=1)
    'cdabcdab'
    """

    hidden_size: int | Sequence[int] = parameter(128, may_be.size(1), may_be.sizes, fixed=True)
    embedding_size: int = parameter(32, may_be.size(1), fixed=True)
    steps: int = parameter(64, may_be.size(1))
    batch_size: int = parameter(16, may_be.size(1))
    learning_rate_init: float = parameter(2e-3, may_be.positive)

    _least_epochs = 20
    _trivial_answer = "the symbols' frequencies alone"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = tags.input_tags.string = True
        return tags

    # ---- training

    def fit(self, X: Any, y: Any = None) -> LanguageModel:
        """Train on a text or several.

        Parameters
        ----------
        X : text, array or list
            See the class.
        y : None
            Ignored.

        Returns
        -------
        self
        """
        goes_on = self._continues()
        with unchanged_by_errors(self, goes_on):
            return self._fit(X, goes_on)

    def partial_fit(self, X: Any, y: Any = None) -> LanguageModel:
        """Train for one epoch; symbols new after the first call are unknown.

        Parameters
        ----------
        X, y
            As for `fit`.

        Returns
        -------
        self
        """
        goes_on = self._continues(partial=True)
        with unchanged_by_errors(self, goes_on):
            return self._fit(X, goes_on, partial=True)

    def _fit(self, X: Any, goes_on: bool, partial: bool = False) -> LanguageModel:
        sequences, several = self._check(X)
        if not goes_on:
            self._reset()
            self._learn_symbols(sequences, several)
        ids = [self._encode(sequence) for sequence in sequences]
        if goes_on:
            self._go_on(self._network)
        else:
            self._start(self._network())
        held_out: list[Array] = []
        if self.early_stopping and not partial:
            if several:
                ids, held_out = train_test_split(
                    ids,
                    test_size=self.validation_fraction,
                    random_state=self._seed(),
                )
            else:
                cut = round(len(ids[0]) * (1 - self.validation_fraction))
                ids, held_out = [ids[0][:cut]], [ids[0][cut:]]
        self._train(
            ShuffledSequences(ids, self._batches, self._seed()) if several else self._batches(ids),
            next_symbols_loss,
            validation=self._batches(held_out) if held_out else None,
            partial=partial,
            trivial=None
            if partial
            else entropy(np.concatenate([i.ravel() for i in held_out or ids])),
            carry_state=True,
            unit="symbols",
        )
        return self

    def _network(self) -> Sequential:
        sizes = self.vocabulary_.size, self.embedding_size
        embedding: Embedding
        if self.n_voices_ is None:
            embedding = Embedding(*sizes, seed=self._seed())
        else:
            embedding = JoinedEmbedding(*sizes, self.n_voices_, seed=self._seed())
        layers = self._recurrent_layers(embedding.out_size)
        width = next(layer.out_size for layer in reversed(layers) if layer.out_size)
        outputs = self.vocabulary_.size * (self.n_voices_ or 1)
        return Sequential(embedding, *layers, Linear(width, outputs, seed=self._seed()))

    # ---- generation

    def generate(
        self,
        n: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        prompt: Any = None,
        random_state: Any = None,
    ) -> Any:
        """Write.

        Parameters
        ----------
        n : int
            Number of symbols (of time steps, with voices); less where the model ends a sequence.
        temperature : float, default 1
            Below 1 likely symbols become likelier, above 1 all become more alike.
        top_k : int, optional
            Choose among the k likeliest symbols only; 1 always takes the likeliest.
        prompt : text, array or list, optional
            What to continue. Without one, the first symbol is any; after `fit` on several
            sequences, one that begins them.
        random_state : int, RandomState or None

        Returns
        -------
        str, array or list
            Of the kind that `fit` was given, without the prompt.
        """
        n = check_size("LanguageModel", "n", n, 0)
        symbols = list(islice(self.stream(temperature, top_k, prompt, random_state), n))
        if self._kind == "text":
            return "".join(symbols)
        if self._kind == "array":
            return np.array(symbols, np.int64).reshape(len(symbols), *self._voices())
        return symbols

    def stream(
        self,
        temperature: float = 1.0,
        top_k: int | None = None,
        prompt: Any = None,
        random_state: Any = None,
    ) -> Iterator[Any]:
        """Write symbol by symbol, as `generate`, for as long as they are asked for.

        Parameters
        ----------
        temperature, top_k, prompt, random_state
            As for `generate`.

        Returns
        -------
        iterator
            Over characters, numbers, arrays (voices,) or symbols.
        """
        check_is_fitted(self)
        check_positive("LanguageModel", "temperature", temperature)
        if top_k is not None:
            check_size("LanguageModel", "top_k", top_k, 1)
        rng = check_random_state(random_state)
        read_first = np.empty((0, *self._voices()), np.int64)
        if prompt is not None:
            read_first = self._encode(_check_sequence("prompt", prompt))
        if self.vocabulary_.end is not None:
            read_first = self._join([read_first])[:-1]
        unread = np.zeros((*self._voices(), self.vocabulary_.size), np.float32)
        position = read(self.model_, read_first, Position(None, unread))
        return self._write(position, rng, temperature, top_k)

    def _write(
        self, position: Position, rng: Any, temperature: float, top_k: int | None
    ) -> Iterator[Any]:
        for ids, _ in write(self.model_, position, rng, temperature, top_k):
            if (ids == self.vocabulary_.end).any():
                return
            symbols = self.vocabulary_.decode(ids.reshape(-1))
            yield symbols[0] if self.n_voices_ is None else np.array(symbols)

    # ---- how well it knows a text

    def bits_per_character(self, X: Any) -> float:
        """Return what a symbol of X costs the model: the mean of -log2 of its probability.

        The state is carried through; the first symbol of all counts only after `fit` on several
        sequences. Ends of sequences do not count.

        Parameters
        ----------
        X : text, array or list
            See the class.

        Returns
        -------
        float
        """
        return self._mean(X, symbol_bits)

    def accuracy(self, X: Any) -> float:
        """Return the share of the symbols of X that are the likeliest by the model.

        Parameters
        ----------
        X : text, array or list
            See the class; what counts is as in `bits_per_character`.

        Returns
        -------
        float
        """
        return self._mean(X, lambda scores, symbols: scores.argmax(axis=-1) == symbols)

    def score(self, X: Any, y: Any = None) -> float:
        """Return minus `bits_per_character`: more is better.

        Parameters
        ----------
        X : text, array or list
            See the class.
        y : None
            Ignored.

        Returns
        -------
        float
        """
        return -self.bits_per_character(X)

    def _mean(self, X: Any, value: Callable[[Array, Array], Array]) -> float:
        check_is_fitted(self)
        ids = [self._encode(sequence) for sequence in self._check(X)[0]]
        total, count, state = 0.0, 0, None
        for x, symbols in text_batches(self._join(ids), 1, CHUNK, batch_first=True):
            scores, state = self.model_(x, state)
            values = value(scores.reshape(*symbols.shape, -1), symbols)
            counted = symbols != self.vocabulary_.end
            total += float(values[counted].sum())
            count += int(counted.sum())
        if not count:
            raise ValueError("LanguageModel expected X with a symbol to predict, got none")
        return total / count

    # ---- symbols

    def _check(self, X: Any) -> tuple[list[Any], bool]:
        # sequences, each a str, an integer array or a list, and whether X was a list of them
        X = plain(X)
        if isinstance(X, (Mapping, Set)) or not hasattr(X, "__iter__"):
            raise TypeError(
                "LanguageModel expected X as a text, integers, or a list of sequences, "
                f"got {type(X).__name__}"
            )
        if (isinstance(X, str) and not X) or (isinstance(X, np.ndarray) and not X.size):
            raise ValueError("LanguageModel expected X of at least one symbol, got none")
        if isinstance(X, str):
            return [X], False
        if isinstance(X, np.ndarray) and X.dtype != object and X.ndim < 3:
            return [_check_sequence("X", X)], False
        sequences = list(X)
        if not sequences:
            raise ValueError("LanguageModel expected X of at least one sequence, got none")
        if all(isinstance(symbol, Integral) for symbol in sequences):
            return [np.array(sequences)], False
        return [_check_sequence("X", sequence) for sequence in sequences], True

    def _learn_symbols(self, sequences: list[Any], several: bool) -> None:
        self.vocabulary_ = Vocabulary.learn(map(_flat, sequences), ends=several)
        first = sequences[0]
        self.n_voices_ = (
            first.shape[1] if isinstance(first, np.ndarray) and first.ndim == 2 else None
        )
        if all(isinstance(sequence, str) for sequence in sequences):
            self._kind = "text"
        elif all(isinstance(symbol, Integral) for symbol in self.vocabulary_.symbols):
            self._kind = "array"
        else:
            self._kind = "list"

    def _voices(self) -> tuple[int, ...]:
        return () if self.n_voices_ is None else (self.n_voices_,)

    def _encode(self, sequence: Any) -> Array:
        shape = sequence.shape if isinstance(sequence, np.ndarray) else (len(sequence),)
        if shape[1:] != self._voices():
            voices = self.n_voices_ or "no axis of"
            raise ValueError(
                f"LanguageModel expected sequences with {voices} voices, got shape {shape}"
            )
        return self.vocabulary_.encode(_flat(sequence)).reshape(shape)

    def _join(self, ids: list[Array]) -> Array:
        # one stream; where there may be several sequences, an end before, between and after them
        if self.vocabulary_.end is None:
            return np.concatenate(ids)
        end = np.full((1, *self._voices()), self.vocabulary_.end)
        return np.concatenate([end, *chain.from_iterable((sequence, end) for sequence in ids)])

    def _batches(self, ids: list[Array]) -> text_batches:
        stream = self._join(ids)
        streams = min(self.batch_size, max(len(stream) - 1, 1))
        return text_batches(stream, streams, self.steps, batch_first=True)


def _check_sequence(name: str, sequence: Any) -> Any:
    if not isinstance(sequence, (Sequence, np.ndarray)):  # a str is a Sequence
        raise TypeError(
            f"LanguageModel expected {name} as a text, integers, or a list of sequences, "
            f"got one of {type(sequence).__name__}"
        )
    if isinstance(sequence, np.ndarray):
        if sequence.dtype.kind not in "iu":
            raise TypeError(
                f"LanguageModel expected arrays in {name} of integers, got {sequence.dtype}"
            )
        if sequence.ndim not in (1, 2):
            raise ValueError(
                f"LanguageModel expected arrays in {name} of shape (time,) or (time, voices), "
                f"got {sequence.shape}"
            )
    return sequence


def _flat(sequence: Any) -> Any:
    # symbols that a dict knows; several voices one after another
    return sequence.ravel().tolist() if isinstance(sequence, np.ndarray) else sequence
