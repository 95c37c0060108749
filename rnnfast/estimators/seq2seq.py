"""Sequences of symbols from other sequences, or from vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils.validation import validate_data

from ..checks import check_size, is_number
from ..datasets.formats import pad
from ..generation import entropy
from ..layers import EncoderDecoder
from ..losses import softmax_cross_entropy
from ..training import shared
from . import constraints as may_be
from .arguments import check_validation
from .base import ROWS, NetworkEstimator
from .batches import Batches, check_sample_weight, split
from .constraints import parameter
from .convergence import refuse_diverged
from .numeric import to_floats
from .scaling import Scaler
from .symbols import Reader, Symbols, has_numbers
from .tables import is_frame, names_of, plain
from .undo import unchanged_by_errors

if TYPE_CHECKING:
    from ..arrays import Array
    from ..generation import Vocabulary

    Source = tuple[Array, Array | None]  # ids and lengths, or vectors
    Target = tuple[Array, Array, Array]  # what is read, what is to be written, lengths


NUMBERS = {
    "X": "np.stack(X) makes vectors, each of which starts a sequence; SequenceRegressor, "
    "SequenceClassifier and Forecaster read sequences of numbers",
    "y": "SequenceRegressor predicts numbers, SequenceClassifier labels, Forecaster continues X",
}


@dataclass(kw_only=True, eq=False, repr=False)
class Seq2Seq(NetworkEstimator):
    """A sequence of symbols from another one: translation, or from a vector: captions.

    An encoder and a decoder, trained by teacher forcing; see `EncoderDecoder`.

    ``X`` may be a list of texts (str), whose symbols are characters; a list of sequences of any
    symbols, words or integers say, of any lengths; or a (samples, features) array or frame of
    floats, vectors that each start a sequence. ``y`` is a list of texts or of sequences. A source
    symbol that `fit` has not seen counts as the one symbol "unknown"; a target of `fit` must be of
    known symbols, and `score` counts one with others as not met.

    Parameters
    ----------
    hidden_size : int
        Units of each layer; a bidirectional encoder's decoder has twice as many.
    embedding_size : int
        Numbers for each symbol.
    bidirectional : bool
        Whether the encoder also reads backwards.
    attention : {"auto", "dot", "general", "concat"} or None
        Score of Luong's attention over the encoder's outputs. "auto" is "general", but None for
        vectors, which leave nothing to attend to.
    standardize : bool
        Whether features of vectors are brought to mean 0 and variance 1 over the samples of `fit`.
    max_length : int, optional
        Most symbols of a prediction; default twice the longest target of `fit`.
    **parameters
        As for `NetworkEstimator`. ``max_iter=None`` makes 3000 updates, but 1 to 200 epochs, and
        500 updates at least.

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
        "auto", may_be.one_of("auto", "dot", "general", "concat"), may_be.none, fixed=True
    )
    standardize: bool = parameter(True, may_be.flag, fixed=True)
    max_length: int | None = parameter(None, may_be.size(1), fixed=True)
    learning_rate_init: float = parameter(3e-3, may_be.positive)

    _updates = 3000
    _most_epochs = 200
    _least_updates = 500
    _trivial_answer = "the symbols' frequencies alone"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False  # of vectors only
        tags.input_tags.string = tags.target_tags.required = True
        return tags

    # ---- training

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        validation_data: Any = None,
        comm: Any = None,
    ) -> Seq2Seq:
        """Train on pairs of sequences.

        Parameters
        ----------
        X : list of sequences, or (samples, features) array of float
            See the class.
        y : list of sequences
            As many.
        sample_weight : (samples,) array_like, optional
            How much each pair counts in the loss.
        validation_data : (X, y) or (X, y, sample_weight), optional
            What the loss is measured on after each epoch, in place of a part held out of X.
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
            return self._fit(X, y, sample_weight, validation_data)

    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, comm: Any = None
    ) -> Seq2Seq:
        """Train for one epoch; symbols of y must be known from the first call.

        Parameters
        ----------
        X, y, sample_weight, comm
            As for `fit`.

        Returns
        -------
        self
        """
        with shared(comm):
            return self._fit(X, y, sample_weight, partial=True)

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        validation_data: Any = None,
        partial: bool = False,
    ) -> Seq2Seq:
        goes_on = self._continues(partial)
        with unchanged_by_errors(self, goes_on):
            sources, targets = self._read_pairs(X, y, learn=not goes_on)
            if not goes_on:
                self._reset()
                self._learn_symbols(sources, targets)
            pairs = self._encode_pairs(sources, targets, sample_weight)
            if goes_on:
                self._go_on(self._network)
            else:
                self._start(self._network())
            held_out = None
            if validation_data is not None:
                X, y, *weight = check_validation(self, validation_data)
                held_out = self._encode_pairs(*self._read_pairs(X, y), *weight)
            self._train_on(pairs, held_out, partial)
        return self

    def _train_on(self, pairs: Pairs, held_out: Pairs | None, partial: bool) -> None:
        """Train on encoded pairs, some of them held out where that is asked for."""
        some, others = np.arange(len(pairs)), np.arange(len(held_out or ()))
        if held_out is None and self.early_stopping and not partial:
            some, others = split(self, len(pairs), self.validation_fraction, self._seed())
            held_out = pairs
        validation = Batches(held_out.take, others, self.batch_size) if held_out else None
        trivial = None
        if not partial:
            known, weight = pairs.symbols(some)
            if held_out is None:
                trivial = entropy(known, weight=weight)
            else:
                measured, weight = held_out.symbols(others)
                trivial = entropy(measured, known, self.target_vocabulary_.size, weight)
        self._train(
            Batches(pairs.take, some, self.batch_size, self._seed()),
            softmax_cross_entropy,
            validation=validation,
            partial=partial,
            trivial=trivial,
        )

    def _network(self) -> EncoderDecoder:
        vocabulary = self.source_vocabulary_
        attention = self.attention
        if attention == "auto":
            attention = None if vocabulary is None else "general"
        return EncoderDecoder(
            self.n_features_in_ if vocabulary is None else vocabulary.size,
            self.target_vocabulary_.size,
            self.embedding_size,
            self.hidden_size,
            num_layers=self.num_layers,
            cell=self.cell,
            bidirectional=self.bidirectional,
            attention=attention,
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

        Raises
        ------
        ValueError
            For wrong arguments, and where the network's outputs are not finite.
        """
        self._check_fitted()
        check_size("Seq2Seq", "beam_width", beam_width, 1)
        if not is_number(length_penalty) or not 0.0 <= length_penalty < np.inf:
            raise ValueError(
                f"Seq2Seq expected length_penalty as a finite number >= 0, got {length_penalty!r}"
            )
        source = self._encode(self._read_X(X))
        end = self.target_vocabulary_.end
        targets: list[Array] = []
        for start in range(0, len(source[0]), ROWS):
            next_ones = np.arange(start, min(start + ROWS, len(source[0])))
            some = _take(source, next_ones, next_ones)
            with np.errstate(over="ignore", invalid="ignore"):  # checked below
                rows, scores = self.model_.decode(
                    *some,
                    start=end,
                    end=end,
                    max_steps=self.max_length_ + 1,
                    beam_width=beam_width,
                    length_penalty=length_penalty,
                )
            refuse_diverged(self, np.asarray(scores), start)
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
        self._check_fitted()
        targets = self._read_pairs(X, y)[1]
        predictions = self.predict(X)
        equal = [list(a) == list(b) for a, b in zip(predictions, targets, strict=True)]
        return float(np.mean(equal))

    # ---- symbols

    def _read_pairs(self, X: Any, y: Any, learn: bool = False) -> tuple[Any, list[Any]]:
        """Return checked sources and targets, as many of each, at least one."""
        sources, targets = self._read_X(X, learn), self._read_sequences("y", y)
        if len(sources) != len(targets):
            raise ValueError(
                f"Seq2Seq expected as many sequences in y as in X, {len(sources)}, "
                f"got {len(targets)}"
            )
        if not len(targets):
            raise ValueError("Seq2Seq expected X and y of at least one sequence, got none")
        if not learn:
            self._reader("y").check_symbols(targets, self._target_symbols)
        return sources, targets

    def _read_X(self, X: Any, learn: bool = False) -> Any:
        """Return a list of sequences, or an array of vectors."""
        array = plain(X)
        is_vectors = isinstance(array, np.ndarray) and (
            array.dtype.kind == "f"
            or (is_frame(X) and has_numbers(X) and any(d.kind == "f" for d in X.dtypes))
            or (array.dtype.kind in "iu" and not learn and self._source_symbols is None)
        )
        sources: Any = self._vectors(X) if is_vectors else self._read_sequences("X", X)
        if learn:
            symbols = None if is_vectors else Symbols.of(sources)
            self._source_symbols: Symbols | None = symbols
        seen = self._source_symbols
        if is_vectors != (seen is None):
            kinds = ("lists of symbols", "vectors (an array of floats)")
            raise TypeError(
                f"Seq2Seq expected X of {kinds[seen is None]}, as in fit, got {kinds[is_vectors]}"
            )
        if is_vectors:
            n_features = sources.shape[1] if learn else self.n_features_in_
            if sources.shape[1] != n_features:
                raise ValueError(
                    f"Seq2Seq expected X of {n_features} features, as in fit, got "
                    f"{sources.shape[1]}"
                )
            validate_data(self, X, reset=learn, skip_check_array=True)
        elif seen is not None:
            self._reader("X").check_symbols(sources, seen)
        return sources

    def _vectors(self, X: Any) -> Array:
        vectors = to_floats(self, X, "X")
        if vectors.ndim == 3:
            raise TypeError(
                "Seq2Seq expected X as sequences of symbols or (samples, features) vectors, got "
                f"shape {vectors.shape}; {NUMBERS['X']}"
            )
        if vectors.ndim != 2 or not vectors.shape[1]:
            raise ValueError(
                "Seq2Seq expected X of vectors as (samples, features), got shape "
                f"{vectors.shape}; X[np.newaxis] is one vector"
            )
        wrong = np.argwhere(~np.isfinite(vectors))
        if len(wrong):
            sample, column = wrong[0]
            name = names_of(X)[column] if is_frame(X) else int(column)
            raise ValueError(
                f"Seq2Seq expected X of finite numbers, got {vectors[sample, column]} in "
                f"X[{sample}], column {name!r}"
            )
        return np.ascontiguousarray(vectors)

    def _read_sequences(self, name: str, given: Any) -> list[Any]:
        """Return a list of str and lists of symbols."""
        reader = self._reader(name)
        given = reader.top(given)
        if isinstance(given, str):
            raise ValueError(f"{reader.wanted}, got {given!r:.80}; [{name}] is a list of one")
        if isinstance(given, np.ndarray):
            if given.ndim == 2:
                return list(given.tolist())
            if given.ndim > 2:
                raise ValueError(f"{reader.wanted}, got an array of shape {given.shape}")
            given = given.tolist()
        return [
            each.tolist() if isinstance(each, np.ndarray) else each
            for each in (reader.sequence(s, f"{name}[{i}]") for i, s in enumerate(given))
        ]

    def _reader(self, name: str) -> Reader:
        return Reader(self, name, "a list of sequences", NUMBERS[name])

    def _learn_symbols(self, sources: Any, targets: list[Any]) -> None:
        if not any(map(len, targets)):
            raise ValueError("Seq2Seq expected y of at least one symbol, got empty sequences only")
        self.source_vocabulary_: Vocabulary | None = None
        self._scaler = Scaler(self, "X")
        if self._source_symbols is not None:
            self.source_vocabulary_ = self._reader("X").learn(sources, ends=False)
        elif self.standardize:
            self._scaler = self._scaler.updated(sources)
        self.target_vocabulary_ = self._reader("y").learn(targets, ends=True, unknown=False)
        self._target_symbols = Symbols.of(targets)
        self._texts = all(isinstance(target, str) for target in targets)
        longest = max(map(len, targets))
        self.max_length_ = 2 * longest if self.max_length is None else int(self.max_length)

    def _encode(self, sources: Any) -> Source:
        if self.source_vocabulary_ is None:
            return self._scaler(sources), None
        if not sources:
            return np.zeros((0, 1), np.int64), np.zeros(0, np.int64)
        return pad(self._reader("X").encode(sources, self.source_vocabulary_))

    def _encode_pairs(self, sources: Any, targets: list[Any], weight: Any = None) -> Pairs:
        return Pairs(
            self._encode(sources),
            self._encode_targets(targets),
            check_sample_weight(self, weight, len(targets)),
        )

    def _encode_targets(self, targets: list[Any]) -> Target:
        # the decoder reads the target one step late; the end is also the start
        vocabulary = self.target_vocabulary_
        end = np.array([vocabulary.end], vocabulary.dtype)
        ids = self._reader("y").encode(targets, vocabulary)
        read, _ = pad([np.concatenate([end, target]) for target in ids])
        written, _ = pad([np.concatenate([target, end]) for target in ids])
        return read, written, np.array([len(target) + 1 for target in ids])


class Pairs:
    """Encoded pairs of sources and targets.

    Parameters
    ----------
    source : tuple
        Ids and lengths, or vectors and None.
    target : tuple
        What is read, what is to be written, and lengths.
    weight : (N,) array, or None
    """

    def __init__(self, source: Source, target: Target, weight: Array | None) -> None:
        self.source, self.target, self.weight = source, target, weight

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.target[2])

    def take(self, some: Array, whole: Array) -> Any:
        """Return a batch, as `Batches` has it, for an `EncoderDecoder`."""
        read, written, lengths = self.target
        x, source_lengths = _take(self.source, some, whole)
        n, T = lengths[some], lengths[whole].max()
        batch = (x, read[some, :T], source_lengths, n), written[some, :T], n
        return batch if self.weight is None else (*batch, self.weight[some])

    def symbols(self, some: Array) -> tuple[Array, Array | None]:
        """Return the symbols to be written of some pairs, and the weight of each."""
        _, written, lengths = self.target
        real = np.arange(written.shape[1]) < lengths[some, np.newaxis]
        weight = None if self.weight is None else np.repeat(self.weight[some], lengths[some])
        return written[some][real], weight


def _take(source: Source, some: Array, whole: Array) -> Source:
    # no longer than the longest of a batch: attention looks at all steps
    x, lengths = source
    if lengths is None:
        return x[some], None
    return x[some, : lengths[whole].max()], lengths[some]
