"""The next symbol of a sequence: texts, tokens, and music of several voices."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import check_random_state

from ..checks import check_size
from ..datasets import text_batches
from ..generation import Position, check_temperature, entropy, read, symbol_bits, write
from ..layers import Embedding, JoinedEmbedding, Linear, Sequential
from ..training import shared
from . import constraints as may_be
from .base import NetworkEstimator
from .batches import ShuffledSequences, split
from .constraints import parameter
from .convergence import refuse_diverged
from .rehearsal import Plan, next_symbols_loss, plan_training
from .symbols import (
    Reader,
    Reading,
    check_no_pair,
    check_no_targets,
    flat,
    read_language,
    read_prompt,
)
from .undo import unchanged_by_errors

if TYPE_CHECKING:
    from ..arrays import Array

CHUNK = 512  # steps of a call at inference
FORM = "a text, integers, or a list of sequences"
NUMBERS = "Forecaster continues series of numbers"


@dataclass(kw_only=True, eq=False, repr=False)
class LanguageModel(NetworkEstimator):
    """A model of the next symbol, which can also write.

    An embedding, recurrent layers and a softmax, trained by truncated BPTT with carried state:
    the text is cut into `batch_size` streams that are read side by side, `steps` symbols at a
    time. Every ``X`` may be

    * a text (str): its symbols are characters, or words with ``symbols="words"``;
    * an array or a list of int, (time,): its symbols are these numbers;
    * a (time, voices) array or frame of int, voices that sound together: one embedding for all,
      side by side, and a softmax for each voice, drawn independently given the past.
      ``X.ravel()``, with one note after another, lets each note depend on those that sound with it;
    * a list of any of these, or of lists of any symbols, words say: several sequences. The model
      then also learns where they begin and end; an empty one ends at once.

    A list, array or Series of str is either several texts of characters or one text of words:
    `symbols` says which. Where that is "auto", single characters are one text, and str with spaces
    between words, or that are all different, are several texts; str without spaces, some of them
    more than once, are refused. A later X is read as that of `fit` was.

    A symbol that `fit` has not seen counts as the one symbol "unknown", also in a warm fit and in
    `partial_fit`; it is never generated, and costs many bits.

    Parameters
    ----------
    embedding_size : int
        Numbers for each symbol.
    steps : int
        Time steps that gradients go back.
    symbols : {"auto", "characters", "words"}
        What the symbols of texts are. Words are what is between spaces. "auto": characters of a
        text; of a list of str, see above.
    **parameters
        As for `NetworkEstimator`; `batch_size` is the number of streams. With `early_stopping`,
        the last `validation_fraction` of a text is held out, or that share of several sequences.
        ``max_iter=None`` makes 3000 updates, but 1 to 30 epochs. Where 30 epochs are fewer than 500
        updates, a twin learns all but the last `validation_fraction` first, for up to 500 updates:
        there are as many epochs as were best for that end, with labels smoothed by 0.1 where that
        was better. A warning says so where even these were no better on it than the symbols'
        frequencies.

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
    symbols: str = parameter("auto", may_be.one_of("auto", "characters", "words"), fixed=True)
    learning_rate_init: float = parameter(2e-3, may_be.positive)

    _updates = 3000
    _most_epochs = 30
    _least_updates = 500
    _trivial_answer = "the symbols' frequencies alone"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = tags.input_tags.string = True
        return tags

    # ---- training

    def fit(
        self, X: Any, y: Any = None, *, validation_data: Any = None, comm: Any = None
    ) -> LanguageModel:
        """Train on a text or several.

        Parameters
        ----------
        X : text, array or list
            See the class.
        y : None
            The targets are X's next symbols. scikit-learn's tools may give X once more.
        validation_data : text, array or list, optional
            As X, without targets: what the loss is measured on after each epoch, in place of a part
            held out of X. A pair (X, y) is refused.
        comm : rnnfast.mpi.Communicator, optional
            Processes that train together, each with the same arguments: see `rnnfast.fit`.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            For wrong data and parameters; the estimator is then as it was before.
        """
        with shared(comm):
            return self._fit(X, y, validation_data)

    def partial_fit(self, X: Any, y: Any = None, *, comm: Any = None) -> LanguageModel:
        """Train for one epoch; symbols new after the first call are unknown.

        Parameters
        ----------
        X, y, comm
            As for `fit`.

        Returns
        -------
        self
        """
        with shared(comm):
            return self._fit(X, y, partial=True)

    def _fit(
        self, X: Any, y: Any, validation_data: Any = None, partial: bool = False
    ) -> LanguageModel:
        goes_on = self._continues(partial)
        check_no_targets(X, y)
        with unchanged_by_errors(self, goes_on):
            sequences = self._read(X, learn=not goes_on)
            if not goes_on:
                self._reset()
                self._learn_symbols(sequences)
            ids = [self._encode(sequence) for sequence in sequences]
            if (
                goes_on
                and any(map(len, ids))
                and all((i == self.vocabulary_.unknown).all() for i in ids)
            ):
                raise ValueError(
                    "LanguageModel expected X of symbols that the fit which this one goes on from "
                    "has seen, some at least, got none"
                )
            if goes_on:
                self._go_on(self._network)
            else:
                self._plan = Plan(0, 0.0)
                if not partial and validation_data is None:
                    self._rehearse(ids)
                self._start(self._network())
            held_out: list[Array] = []
            if validation_data is not None:
                check_no_pair(validation_data)
                held_out = [self._encode(s) for s in self._read(validation_data, "validation_data")]
            elif self.early_stopping and not partial:
                ids, held_out = self._held_out(ids)
            self._train_on(ids, held_out, partial)
        return self

    def _train_on(self, ids: list[Array], held_out: list[Array], partial: bool) -> None:
        several = self._reading.several
        self._train(
            ShuffledSequences(ids, self._batches, self._seed()) if several else self._batches(ids),
            functools.partial(next_symbols_loss, smoothing=self._plan.smoothing),
            validation=self._batches(held_out, "validation_data") if held_out else None,
            partial=partial,
            trivial=None if partial or self._plan.smoothing else self._trivial_loss(ids, held_out),
            carry_state=True,
            unit="symbols",
        )

    def _rehearse(self, ids: list[Array]) -> None:
        """Find how many epochs are best where a text is too short for the default ones."""
        if self.max_iter is not None or self.early_stopping:
            return
        epochs = self._epochs(len(self._batches(ids)))
        if epochs > self._most_epochs:
            self._plan = plan_training(self, ids, epochs)

    def _epochs(self, batches: int) -> int:
        planned = getattr(self, "_plan", None)
        if self.max_iter is None and planned is not None and planned.epochs:
            return int(planned.epochs)
        return super()._epochs(batches)

    def _held_out(self, ids: list[Array]) -> tuple[list[Array], list[Array]]:
        """Return what is trained on, and what is held out: sequences, or the end of one."""
        if len(ids) > 1:
            some, others = split(self, len(ids), self.validation_fraction, self._seed())
            return [ids[i] for i in some], [ids[i] for i in others]
        n = len(ids[0])
        cut = round(n * (1 - self.validation_fraction))
        if not 2 <= cut <= n - 2:
            raise ValueError(
                "LanguageModel expected X of two symbols at least on either side of "
                f"validation_fraction={self.validation_fraction}, got {n} symbols"
            )
        return [ids[0][:cut]], [ids[0][cut:]]

    def _trivial_loss(self, ids: list[Array], held_out: list[Array]) -> float:
        """Return the loss of the symbols' frequencies, of each voice its own."""
        stream = self._columns(ids)
        if not held_out:
            return float(np.mean([entropy(voice) for voice in stream]))
        pairs = zip(self._columns(held_out), stream, strict=True)
        return float(np.mean([entropy(v, known, self.vocabulary_.size) for v, known in pairs]))

    def _columns(self, ids: list[Array]) -> Array:
        stream = self._join(ids)
        return stream.reshape(len(stream), -1).T

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
            What to continue: a sequence of the symbols of `fit`; a str is cut into words where
            these are the symbols. Without one, the first symbol is any; after `fit` on several
            sequences, one that begins them.
        random_state : int, RandomState or None

        Returns
        -------
        str, array or list
            Of the kind that `fit` was given, without the prompt.

        Warns
        -----
        UserWarning
            For symbols of the prompt that `fit` has not seen: they count as unknown.

        Raises
        ------
        ValueError
            For wrong arguments, and where the network's outputs are not finite.
        """
        n = check_size("LanguageModel", "n", n, 0)
        symbols = list(islice(self.stream(temperature, top_k, prompt, random_state), n))
        if self._reading.texts:
            return (" " if self._reading.symbols.words else "").join(symbols)
        if self._reading.symbols.type is int:
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
        self._check_fitted()
        check_temperature("LanguageModel", temperature)
        if top_k is not None:
            check_size("LanguageModel", "top_k", top_k, 1)
        if not may_be.random_state.holds(random_state):
            raise ValueError(
                f"LanguageModel expected random_state as {may_be.random_state.text}, got "
                f"{random_state!r}"
            )
        rng = check_random_state(random_state)
        read_first = np.empty((0, *self._voices()), np.int64)
        if prompt is not None:
            read_first = self._encode_prompt(prompt)
        if self.vocabulary_.end is not None:
            read_first = self._join([read_first])[:-1]
        unread = np.zeros((*self._voices(), self.vocabulary_.size), np.float32)
        position = read(self.model_, read_first, Position(None, unread))
        refuse_diverged(self, position.scores, None)
        return self._write(position, rng, temperature, top_k)

    def _encode_prompt(self, prompt: Any) -> Array:
        reader = Reader(self, "prompt", "a text, integers, or a list of symbols", NUMBERS)
        sequence = read_prompt(reader, prompt, self._reading)
        ids = self._encode(sequence, "prompt")
        if (ids == self.vocabulary_.unknown).any():
            new = sorted({s for s in flat(sequence) if s not in self.vocabulary_}, key=repr)
            warnings.warn(
                "LanguageModel: prompt has symbols that fit has not seen, and which count as "
                f"unknown: {', '.join(map(repr, new[:5]))}{', ...' if len(new) > 5 else ''}",
                UserWarning,
                stacklevel=4,
            )
        return ids

    def _write(
        self, position: Position, rng: Any, temperature: float, top_k: int | None
    ) -> Iterator[Any]:
        for ids, after in write(self.model_, position, rng, temperature, top_k):
            if (ids == self.vocabulary_.end).any():
                return
            symbols = self.vocabulary_.decode(ids.reshape(-1))
            yield symbols[0] if self.n_voices_ is None else np.array(symbols)
            refuse_diverged(self, after.scores, None)

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
            As for `fit`.

        Returns
        -------
        float
        """
        check_no_targets(X, y)
        return -self.bits_per_character(X)

    def _mean(self, X: Any, value: Callable[[Array, Array], Array]) -> float:
        self._check_fitted()
        ids = [self._encode(sequence) for sequence in self._read(X)]
        total, count, state = 0.0, 0, None
        stream = self._join(ids)
        for x, symbols in _batches_of(stream, 1, CHUNK):
            scores, state = self.model_(x, state)
            refuse_diverged(self, scores, None)
            values = value(scores.reshape(*symbols.shape, -1), symbols)
            counted = symbols != self.vocabulary_.end
            total += float(values[counted].sum())
            count += int(counted.sum())
        if not count:
            raise ValueError("LanguageModel expected X with a symbol to predict, got none")
        return total / count

    # ---- symbols

    def _read(self, X: Any, name: str = "X", learn: bool = False) -> list[Any]:
        """Return the sequences of X, each a str, an array of int or a list of symbols."""
        reader = Reader(self, name, FORM, NUMBERS)
        seen: Reading | None = None if learn else self._reading
        sequences, reading = read_language(reader, X, self.symbols, seen)
        self._reading: Reading = reading
        return sequences

    def _learn_symbols(self, sequences: list[Any]) -> None:
        if not any(map(len, sequences)):
            raise ValueError("LanguageModel expected X of at least one symbol, got none")
        reader = Reader(self, "X", FORM, NUMBERS)
        self.vocabulary_ = reader.learn(sequences, ends=self._reading.several)
        first = sequences[0]
        self.n_voices_ = (
            first.shape[1] if isinstance(first, np.ndarray) and first.ndim == 2 else None
        )

    def _voices(self) -> tuple[int, ...]:
        return () if self.n_voices_ is None else (self.n_voices_,)

    def _encode(self, sequence: Any, name: str = "X") -> Array:
        shape = sequence.shape if isinstance(sequence, np.ndarray) else (len(sequence),)
        if shape[1:] != self._voices():
            voices = self.n_voices_ or "no axis of"
            raise ValueError(
                f"LanguageModel expected {name} of sequences with {voices} voices, got shape "
                f"{shape}"
            )
        vocabulary = self.vocabulary_
        ids = vocabulary.encode(flat(sequence), vocabulary.dtype)
        return ids if self.n_voices_ is None else ids.reshape(shape)

    def _join(self, ids: list[Array]) -> Array:
        # one stream; where there may be several sequences, an end before, between and after them
        if self.vocabulary_.end is None:
            return ids[0] if len(ids) == 1 else np.concatenate(ids)
        end = np.full((1, *self._voices()), self.vocabulary_.end, ids[0].dtype)
        return np.concatenate([end, *chain.from_iterable((sequence, end) for sequence in ids)])

    def _batches(self, ids: list[Array], name: str = "X") -> text_batches:
        stream = self._join(ids)
        if len(stream) < 2:
            raise ValueError(
                f"LanguageModel expected {name} of at least two symbols, of which the second can "
                f"be learnt from the first, got {len(stream)}"
            )
        return _batches_of(stream, min(self.batch_size, len(stream) - 1), self.steps)


def _batches_of(stream: Array, streams: int, steps: int) -> Any:
    return text_batches(stream, streams, steps, batch_first=True) if len(stream) > 1 else ()
