"""Sequences of symbols from other sequences, or from vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from ..datasets.formats import pad
from ..generation import Vocabulary, entropy
from ..layers import EncoderDecoder
from ..losses import softmax_cross_entropy
from . import constraints as may_be
from .base import ROWS, NetworkEstimator
from .batches import Batches
from .constraints import parameter
from .scaling import Scaler
from .sequences import FLOATS, plain
from .undo import unchanged_by_errors

if TYPE_CHECKING:
    from ..layers.base import Array

    Source = tuple[Array, Array | None]  # ids and lengths, or vectors
    Target = tuple[Array, Array, Array]  # what is read, what is to be written, lengths


@dataclass(kw_only=True, eq=False, repr=False)
class Seq2Seq(NetworkEstimator):
    """A sequence of symbols from another one: translation, or from a vector: captions.

    An encoder and a decoder, trained by teacher forcing; see `EncoderDecoder`.

    ``X`` may be a list of texts (str), whose symbols are characters; a list of sequences of any
    symbols, words or numbers say, of any lengths; or a (samples, features) array of floats,
    vectors that each start a sequence. ``y`` is a list of texts or of sequences. A source symbol
    that `fit` has not seen counts as the one symbol "unknown".

    Parameters
    ----------
    hidden_size : int
        Units of each layer; a bidirectional encoder's decoder has twice as many.
    embedding_size : int
        Numbers for each symbol.
    bidirectional : bool
        Whether the encoder also reads backwards.
    attention : {"dot", "general", "concat"} or None
        Score of Luong's attention over the encoder's outputs.
    standardize : bool
        Whether features of vectors are brought to mean 0 and variance 1 over the samples of `fit`.
    max_length : int, optional
        Most symbols of a prediction; default twice the longest target of `fit`.
    **parameters
        As for `NetworkEstimator`.

    Attributes
    ----------
    model_ : EncoderDecoder
    source_vocabulary_ : Vocabulary or None
        None for vectors.
    target_vocabulary_ : Vocabulary
    max_length_ : int
    validation_scores_ : list of float
        With `early_stopping`: minus the loss on the part held out.

    Examples
    --------
    >>> from rnnfast import Seq2Seq
    >>> X = ["one two", "two", "two one", "one", "two two", "one one"]
    >>> y = ["12", "2", "21", "1", "22", "11"]
    >>> Seq2Seq(learning_rate_init=0.01, max_iter=100, random_state=0).fit(X, y).predict(X[:2])
    ['12', '2']
    """

    hidden_size: int = parameter(64, may_be.size(1), fixed=True)
    embedding_size: int = parameter(32, may_be.size(1), fixed=True)
    bidirectional: bool = parameter(False, may_be.flag, fixed=True)
    attention: str | None = parameter(
        None, may_be.one_of("dot", "general", "concat"), may_be.none, fixed=True
    )
    standardize: bool = parameter(True, may_be.flag, fixed=True)
    max_length: int | None = parameter(None, may_be.size(0), may_be.none, fixed=True)

    _least_epochs = 50
    _trivial_answer = "the symbols' frequencies alone"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False  # of vectors only
        tags.input_tags.string = tags.target_tags.required = True
        return tags

    # ---- training

    def fit(self, X: Any, y: Any) -> Seq2Seq:
        """Train on pairs of sequences.

        Parameters
        ----------
        X : list of sequences, or (samples, features) array of float
            See the class.
        y : list of sequences
            As many.

        Returns
        -------
        self
        """
        goes_on = self._continues()
        with unchanged_by_errors(self, goes_on):
            return self._fit(X, y, goes_on)

    def partial_fit(self, X: Any, y: Any) -> Seq2Seq:
        """Train for one epoch; symbols of y must be known from the first call.

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
            return self._fit(X, y, goes_on, partial=True)

    def _fit(self, X: Any, y: Any, goes_on: bool, partial: bool = False) -> Seq2Seq:
        sources, targets = self._check_X(X), _check_sequences("y", y)
        if len(sources) != len(targets):
            raise ValueError(
                f"Seq2Seq expected as many sequences in y as in X, {len(sources)}, "
                f"got {len(targets)}"
            )
        if not goes_on:
            self._reset()
            self._learn_symbols(sources, targets)
        data = self._encode(sources), self._encode_targets(targets)
        if goes_on:
            self._go_on(self._network)
        else:
            self._start(self._network())
        some, held_out = np.arange(len(targets)), None
        if self.early_stopping and not partial:
            some, others = train_test_split(
                some, test_size=self.validation_fraction, random_state=self._seed()
            )
            held_out = Batches(_take_pairs(*data), others, self.batch_size)
        self._train(
            Batches(_take_pairs(*data), some, self.batch_size, self._seed()),
            softmax_cross_entropy,
            validation=held_out,
            partial=partial,
            trivial=None
            if partial
            else self._trivial_loss(data[1], some if held_out is None else others),
        )
        return self

    def _trivial_loss(self, target: Target, some: Array) -> float:
        """Return the entropy, in nats, of the symbols of some targets, ends included."""
        _, written, lengths = target
        symbols = written[some][np.arange(written.shape[1]) < lengths[some, np.newaxis]]
        return entropy(symbols)

    def _network(self) -> EncoderDecoder:
        vocabulary = self.source_vocabulary_
        return EncoderDecoder(
            self.n_features_in_ if vocabulary is None else vocabulary.size,
            self.target_vocabulary_.size,
            self.embedding_size,
            self.hidden_size,
            num_layers=self.num_layers,
            cell=self.cell,
            bidirectional=self.bidirectional,
            attention=self.attention,
            dropout=self.dropout,
            source="vector" if vocabulary is None else "symbols",
            batch_first=True,
            seed=self._seed(),
        )

    # ---- prediction

    def predict(self, X: Any, beam_width: int = 1, length_penalty: float = 0.0) -> list[Any]:
        """Return the target of each source.

        Parameters
        ----------
        X : list of sequences, or (samples, features) array of float
            See the class.
        beam_width : int, default 1
            Targets that the search keeps for each source; 1 is greedy.
        length_penalty : float, default 0
            See `EncoderDecoder.decode`.

        Returns
        -------
        list of str, or of lists
            As the y of `fit`.
        """
        check_is_fitted(self)
        source = self._encode(self._check_X(X))
        end = self.target_vocabulary_.end
        targets: list[Array] = []
        for start in range(0, len(source[0]), ROWS):
            rows, _ = self.model_.decode(
                *_take(source, np.arange(start, min(start + ROWS, len(source[0])))),
                start=end,
                end=end,
                max_steps=self.max_length_ + 1,
                beam_width=beam_width,
                length_penalty=length_penalty,
            )
            targets += rows
        # what has not ended by then is one symbol longer
        decoded = [self.target_vocabulary_.decode(ids[: self.max_length_]) for ids in targets]
        return ["".join(symbols) for symbols in decoded] if self._texts else decoded

    def score(self, X: Any, y: Any) -> float:
        """Return the share of predictions that equal their targets exactly.

        Parameters
        ----------
        X, y
            As for `fit`.

        Returns
        -------
        float
        """
        predictions, targets = self.predict(X), _check_sequences("y", y)
        if len(predictions) != len(targets):
            raise ValueError(
                f"Seq2Seq expected as many sequences in y as in X, {len(predictions)}, "
                f"got {len(targets)}"
            )
        equal = [list(a) == list(b) for a, b in zip(predictions, targets, strict=True)]
        return float(np.mean(equal))

    # ---- symbols

    def _check_X(self, X: Any) -> Any:
        # a list of sequences, or an array of vectors
        X = plain(X)
        if not (isinstance(X, np.ndarray) and X.dtype.kind == "f"):
            return _check_sequences("X", X)
        return check_array(X, dtype=FLOATS, order="C", estimator=self, input_name="X")

    def _learn_symbols(self, sources: Any, targets: list[Any]) -> None:
        self.source_vocabulary_: Vocabulary | None = None
        self._scaler = Scaler(self, "X")
        if not isinstance(sources, np.ndarray):
            self.source_vocabulary_ = Vocabulary.learn(sources)
        else:
            self.n_features_in_ = sources.shape[1]
            if self.standardize:
                self._scaler = self._scaler.updated(sources)
        self.target_vocabulary_ = Vocabulary.learn(targets, ends=True, unknown=False)
        self._texts = all(isinstance(target, str) for target in targets)
        longest = max(map(len, targets))
        self.max_length_ = 2 * longest if self.max_length is None else int(self.max_length)

    def _encode(self, sources: Any) -> Source:
        vectors = self.source_vocabulary_ is None
        if isinstance(sources, np.ndarray) != vectors:
            kinds = ("lists of symbols", "vectors (an array of floats)")
            raise TypeError(
                f"Seq2Seq expected X of {kinds[vectors]}, as in fit, got {kinds[not vectors]}"
            )
        if self.source_vocabulary_ is not None:
            return pad([self.source_vocabulary_.encode(source) for source in sources])
        if sources.shape[1] != self.n_features_in_:
            raise ValueError(
                f"Seq2Seq expected X of {self.n_features_in_} features, as in fit, "
                f"got {sources.shape[1]}"
            )
        return self._scaler(sources), None

    def _encode_targets(self, targets: list[Any]) -> Target:
        # the decoder reads the target one step late; the end is also the start
        end = np.array([self.target_vocabulary_.end])
        ids = [self.target_vocabulary_.encode(target) for target in targets]
        read, _ = pad([np.concatenate([end, target]) for target in ids])
        written, _ = pad([np.concatenate([target, end]) for target in ids])
        return read, written, np.array([len(target) + 1 for target in ids])


def _check_sequences(name: str, sequences: Any) -> list[Any]:
    sequences = plain(sequences)
    if (
        isinstance(sequences, (str, Mapping, Set))  # the latter have no order of their own
        or not hasattr(sequences, "__len__")
        or len(sequences) == 0
    ):
        raise ValueError(f"Seq2Seq expected {name} as a list of sequences, got {sequences!r:.80}")
    checked = [s.tolist() if isinstance(s, np.ndarray) else s for s in sequences]
    for sequence in checked:
        if not isinstance(sequence, (str, list, tuple)):
            raise TypeError(
                f"Seq2Seq expected {name} as a list of sequences, got one with {sequence!r:.80}"
            )
    return checked


def _take_pairs(source: Source, target: Target) -> Callable[[Array], Any]:
    """Return the `take` of pairs, as `rnnfast.fit` has them for an `EncoderDecoder`."""
    read, written, lengths = target

    def take(some: Array) -> Any:
        x, source_lengths = _take(source, some)
        n = lengths[some]
        T = n.max()
        return (x, read[some, :T], source_lengths, n), written[some, :T], n

    return take


def _take(source: Source, some: Array) -> Source:
    # no longer than the longest of them: attention looks at all steps
    x, lengths = source
    if lengths is None:
        return x[some], None
    n = lengths[some]
    return x[some, : n.max()], n
