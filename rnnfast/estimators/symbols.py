"""Sequences of symbols as users give them, for the models that write: what they hold is checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import chain
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..checks import name_of
from ..generation import Vocabulary
from .numeric import is_integer, is_integer_type, is_missing, refuse_sparse
from .tables import (
    ID_NAMES,
    TIME_NAMES,
    check_names,
    is_column,
    is_frame,
    is_pandas,
    match_names,
    names_of,
    plain,
    refuse_lazy,
    rows,
)

if TYPE_CHECKING:
    from ..arrays import Array

ROWS = 65536  # symbols of an array that are Python objects at a time


class Symbols(NamedTuple):
    """What the symbols of sequences are.

    Parameters
    ----------
    type : {str, int, object}
        object for others, and where there are none.
    words : bool
        Whether any is a str of several characters.
    """

    type: type
    words: bool

    @classmethod
    def of(cls, sequences: Iterable[Any]) -> Symbols:
        """Return what the symbols of checked sequences are."""
        types: set[type] = set()
        words = False
        for sequence in sequences:
            if isinstance(sequence, np.ndarray):
                types.add(int)
            elif isinstance(sequence, str):
                types.add(str)
            else:
                own = set(map(type, sequence))
                types |= own
                if str in own:
                    words = words or any(isinstance(s, str) and len(s) != 1 for s in sequence)
        if types and all(issubclass(t, str) for t in types):
            return cls(str, words)
        if types and all(map(is_integer_type, types)):
            return cls(int, False)
        return cls(object, False)

    def __str__(self) -> str:
        """Return what they are, for errors."""
        if self.type is str:
            return "words" if self.words else "characters"
        return "integers" if self.type is int else "other symbols"


class Reader:
    """Checks sequences of symbols.

    Parameters
    ----------
    owner : estimator or str
        For errors.
    name : str
        The user's argument.
    form : str
        What it should be.
    numbers : str
        What to do with numbers that are no symbols.
    """

    def __init__(self, owner: Any, name: str, form: str, numbers: str) -> None:
        self.name, self.numbers = name, numbers
        self.owner = name_of(owner)
        self.expected = f"{self.owner} expected {name}"
        self.wanted = f"{self.expected} as {form}"

    def top(self, X: Any) -> Any:
        """Return X as a str, an array of integers, or a list that is still to be checked."""
        refuse_lazy(self.owner, X, self.name)
        refuse_sparse(self.owner, X, self.name)
        if isinstance(X, (Mapping, Set)) or not hasattr(X, "__iter__"):  # a set has no order
            raise TypeError(f"{self.wanted}, got {type(X).__name__}")
        if is_frame(X):
            X = self._rows(X)
        return self._given(X, self.name)

    def sequence(self, given: Any, name: str) -> Any:
        """Return one sequence as a str, an array of integers, or a list of symbols."""
        if is_missing(given):
            raise ValueError(
                f"{self.expected} with a sequence for each sample, got {given!r} in {name}"
            )
        if isinstance(given, Real) and not isinstance(given, Integral):
            self._refuse_numbers(f"{given!r} in {name}")
        if is_frame(given):
            given = self._rows(given)
        given = self._given(given, name)
        if isinstance(given, np.ndarray) and given.ndim not in (1, 2):
            raise ValueError(
                f"{self.owner} expected arrays in {name} of shape (time,) or (time, voices), got "
                f"{given.shape}"
            )
        if isinstance(given, list):
            self._check_symbols(given, name)
        return given

    def _given(self, X: Any, name: str) -> Any:
        if isinstance(X, str):
            return str(X)
        if isinstance(X, (bytes, bytearray, memoryview)):
            raise TypeError(
                f"{self.expected} of str or integers, got {type(X).__name__} in {name}; "
                f"{name}.decode() makes a text of them, list({name}) integers"
            )
        if isinstance(X, np.ndarray):
            return self._from_array(X, name)
        if is_column(X):
            X = X.to_list() if hasattr(X, "to_list") else X.to_pylist()
        if not isinstance(X, Sequence) and not (name == self.name and hasattr(X, "__iter__")):
            place = "" if name == self.name else f" in {name}"
            raise TypeError(f"{self.wanted}, got one of {type(X).__name__}: {X!r:.80}{place}")
        return list(X)

    def _from_array(self, X: Array, name: str) -> Any:
        if isinstance(X, np.ma.MaskedArray):
            mask = np.ma.getmaskarray(X)
            if mask.any():
                place = ", ".join(map(str, np.argwhere(mask)[0]))
                raise ValueError(
                    f"{self.expected} with a symbol at each step, got a masked one at "
                    f"{name}[{place}]"
                )
            X = X.data
        if X.ndim == 0:
            raise TypeError(f"{self.wanted}, got an array without axes in {name}")
        kind = X.dtype.kind
        if kind in "iu":
            return np.asarray(X)
        if kind in "UTO":
            return X.tolist()
        if kind == "S":
            raise TypeError(
                f"{self.expected} of str or integers, got bytes in {name}; "
                "np.char.decode makes str of them"
            )
        if kind == "f":
            self._refuse_numbers(f"arrays of {X.dtype} in {name}")
        raise TypeError(f"{self.expected} of symbols (str or integers), got {X.dtype} in {name}")

    def _rows(self, X: Any) -> Array:
        """Return the rows of a frame of numbers."""
        array: Array = plain(X)
        if array.dtype == object and has_numbers(X):  # of pandas's nullable types
            floats = rows(self.owner, X, self.name, names_of(X))
            whole = all(d.kind in "iu" for d in X.dtypes) and np.isfinite(floats).all()
            return X.to_numpy(np.int64) if whole else floats
        if array.dtype.kind not in "iuf":
            column = f"{self.name}[{names_of(X)[0]!r}]"
            raise TypeError(
                f"{self.wanted}, got a frame; {column}, one column, is a list of sequences"
            )
        return array

    def voices(self, X: Any, known: list[Any] | None) -> tuple[Array, list[Any]]:
        """Return the rows of a frame of voices, and the names of these, in the order of `known`."""
        names = match_names(self.owner, check_names(self.owner, X, self.name), known, self.name)
        for column in names:
            if str(column).lower() in (*ID_NAMES, *TIME_NAMES):
                raise ValueError(
                    f"{self.expected} as a frame whose columns are voices, got a column "
                    f"{column!r}; {self.name}.drop(columns=[{column!r}]) leaves the others"
                )
        index: Any = getattr(X, "index", None)
        if getattr(index, "dtype", np.dtype(int)).kind == "M" and not index.is_monotonic_increasing:
            raise ValueError(
                f"{self.expected} as a frame in order of time, got times that go back; "
                f"{self.name}.sort_index() sorts them"
            )
        return self._rows(X[names] if known is not None and names != names_of(X) else X), names

    def check_voices(self, X: Array) -> None:
        """Raise ValueError where a (time, voices) array looks like something else."""
        time, voices = X.shape
        if voices > time:
            raise ValueError(
                f"{self.expected} as (time, voices), got shape {X.shape}, more voices than steps: "
                f"list({self.name}) are {time} sequences, {self.name}.T has {voices} steps"
            )
        if voices > 2 and time > 2 and ((X == 0) | (X == 1)).all() and (X.sum(axis=1) == 1).all():
            raise ValueError(
                f"{self.expected} of symbols, got one-hot rows, shape {X.shape}; "
                f"np.argmax({self.name}, axis=1) are the symbols"
            )
        if voices > 2 and np.ptp(X) and np.array_equal(X[1:, :-1], X[:-1, 1:]):
            raise ValueError(
                f"{self.expected} as (time, voices), got windows of one sequence, each of which "
                f"starts a step later: np.append({self.name}[:, 0], {self.name}[-1, 1:]) is the "
                "sequence"
            )

    def _check_symbols(self, symbols: list[Any], name: str) -> None:
        if set(map(type, symbols)) <= {str, int}:
            return
        for step, symbol in enumerate(symbols):
            place = f"{name}[{step}]"
            if is_missing(symbol):
                raise ValueError(
                    f"{self.expected} with a symbol at each step, got {symbol!r} in {place}"
                )
            if isinstance(symbol, Real) and not isinstance(symbol, Integral):
                self._refuse_numbers(f"{symbol!r} in {place}")
            if isinstance(symbol, (bytes, bytearray)):
                raise TypeError(
                    f"{self.expected} of symbols (str or integers), got bytes in {place}; "
                    ".decode() makes str of them"
                )

    def _refuse_numbers(self, got: str) -> None:
        raise TypeError(
            f"{self.expected} of symbols (str or integers), got {got}; astype(int) makes symbols "
            f"of whole numbers; {self.numbers}"
        )

    # ---- symbols, and those of fit

    def encode(self, sequences: Sequence[Any], vocabulary: Vocabulary) -> list[Array]:
        """Return the ids of sequences; names a symbol that the vocabulary does not have."""
        if vocabulary.unknown is None:
            for i, sequence in enumerate(sequences):
                for symbol in sequence:
                    if symbol not in vocabulary:
                        raise ValueError(
                            f"{self.expected} of symbols that fit has seen, got {symbol!r} in "
                            f"{self.name}[{i}]"
                        )
        return [vocabulary.encode(sequence, vocabulary.dtype) for sequence in sequences]

    def learn(self, sequences: Iterable[Any], ends: bool, unknown: bool = True) -> Vocabulary:
        """Return the vocabulary of checked sequences."""
        try:
            return Vocabulary.learn(map(flat, sequences), ends=ends, unknown=unknown)
        except TypeError as error:
            reason = str(error).rpartition("got others: ")[2]
            raise TypeError(
                f"{self.expected} of symbols that can be hashed and sorted, got others: {reason}"
            ) from None

    def check_symbols(self, sequences: Sequence[Any], seen: Symbols) -> None:
        """Raise TypeError where no symbol can be one of those of `fit`, for their type alone."""
        for i, sequence in enumerate(sequences):
            own = Symbols.of([sequence])
            if not len(sequence) or seen.type is object:
                continue
            wrong = own.type is not seen.type and not _any_of(sequence, seen.type)
            of_words = not isinstance(sequence, str) and own.words
            if wrong or (seen.type is str and of_words and not seen.words):
                got = str(own)
            elif seen.words and isinstance(sequence, str):
                got = "a str, which .split() cuts into words"
            else:
                continue
            place = f" in {self.name}[{i}]" if len(sequences) > 1 else ""
            raise TypeError(
                f"{self.expected} of {seen}, as in fit, got {got}: {sequence!r:.60}{place}"
            )


class Reading(NamedTuple):
    """How a language model reads X.

    Parameters
    ----------
    several : bool
        Whether X is several sequences, which the model learns the ends of.
    texts : bool
        Whether all of them are given as str.
    symbols : Symbols
    names : list, optional
        Of the voices, where X is a frame.
    """

    several: bool
    texts: bool
    symbols: Symbols
    names: list[Any] | None = None


def read_language(
    reader: Reader, X: Any, how: str = "auto", seen: Reading | None = None
) -> tuple[list[Any], Reading]:
    """Return a sequence or several, as str, arrays of int and lists of symbols, and how X was read.

    `how`, "auto", "characters" or "words", is what the symbols of texts are; `seen` is how the X of
    `fit` was read. Texts of words are lists.
    """
    names, several = None, True
    if is_frame(X):
        X, names = reader.voices(X, None if seen is None else seen.names)
    given = reader.top(X)
    if seen is None and isinstance(given, np.ndarray) and given.ndim == 2:
        reader.check_voices(given)
    if isinstance(given, str) or (isinstance(given, np.ndarray) and given.ndim < 3):
        given, several = [given], False
    elif len(given) and all(map(is_integer, given)):
        given, several = [_integers(reader, given)], False
    elif len(given) and all(isinstance(s, str) for s in given):
        several = _are_texts(reader, given, how, seen)
        given = given if several else [given]
    if not len(given):
        raise ValueError(f"{reader.expected} of at least one sequence, got none")
    for i, one in enumerate(given):
        if is_missing(one):
            raise ValueError(
                f"{reader.expected} with none missing, got {one!r} in {reader.name}[{i}]"
            )
    sequences = [
        reader.sequence(s, f"{reader.name}[{i}]" if several else reader.name)
        for i, s in enumerate(given)
    ]
    texts = all(isinstance(s, str) for s in sequences)
    words = how == "words" if seen is None else seen.symbols.words
    if words:
        sequences = [s.split() if isinstance(s, str) else s for s in sequences]
    if seen is not None:
        reader.check_symbols(sequences, seen.symbols)
        return sequences, seen
    symbols = Symbols.of(sequences)
    if how != "auto" and symbols.type is not str:
        raise TypeError(f"{reader.expected} of str with symbols={how!r}, got {symbols}")
    if how == "characters" and symbols.words:
        raise TypeError(f"{reader.expected} of texts with symbols='characters', got words")
    symbols = symbols._replace(words=words or symbols.words)
    return sequences, Reading(several, texts, symbols, names)


def read_prompt(reader: Reader, prompt: Any, seen: Reading) -> Any:
    """Read one sequence, whose symbols should be those of `fit`."""
    if is_frame(prompt):
        prompt, _ = reader.voices(prompt, seen.names)
    sequence = reader.sequence(reader.top(prompt), reader.name)
    if seen.symbols.words and isinstance(sequence, str):
        sequence = sequence.split()
    reader.check_symbols([sequence], seen.symbols)
    return sequence


def _are_texts(reader: Reader, strings: list[str], how: str, seen: Reading | None) -> bool:
    """Return whether each of some str is a text, or each a symbol of one sequence."""
    phrases = any(len(s.split()) > 1 for s in strings)
    single = all(len(s) == 1 for s in strings)
    repeated = any(strings) and len(set(strings)) < len(strings)
    if seen is not None:
        if seen.symbols.words:
            return phrases
        if not seen.several and not phrases and not single and repeated:
            raise ValueError(
                f"{reader.expected} as a text of characters, as in fit, got {len(strings)} str; "
                f"' '.join({reader.name}) is one text"
            )
        return seen.several or not single
    if how == "auto" and not phrases and not single and repeated:
        raise ValueError(
            f"{reader.expected} as a text, or texts of characters, got {len(strings)} str without "
            f"spaces, some of them more than once: symbols='words' reads these as one text of "
            "words, symbols='characters' each of them as a text"
        )
    return phrases if how == "words" else how == "characters" or not single


def _integers(reader: Reader, given: list[Any]) -> Array:
    array = np.array(given)
    if array.dtype.kind not in "iu":
        raise ValueError(f"{reader.expected} of integers that int64 can hold, got larger ones")
    return array


def has_numbers(X: Any) -> bool:
    """Whether all columns of a frame of pandas are numbers, some of which may be missing."""
    return is_pandas(X) and all(getattr(d, "kind", "O") in "iuf" for d in X.dtypes)


def flat(sequence: Any) -> Iterable[Any]:
    """Return a sequence's symbols as a dict knows them, those of several voices in turn."""
    if not isinstance(sequence, np.ndarray):
        return sequence
    one = sequence.reshape(-1)
    pieces = (one[start : start + ROWS].tolist() for start in range(0, len(one), ROWS))
    return chain.from_iterable(pieces)


def same(a: Any, b: Any) -> bool:
    """Whether two arguments hold the same."""
    if a is b:
        return True
    a, b = plain(a), plain(b)
    try:
        if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
            return bool(np.array_equal(a, b))
        return type(a) is type(b) and bool(a == b)
    except ValueError:  # arrays in lists
        return len(a) == len(b) and all(map(same, a, b))


def check_no_pair(given: Any) -> None:
    """Raise ValueError for validation data of a language model that are a pair (X, y)."""
    if isinstance(given, tuple) and len(given) in (2, 3) and not all(map(is_integer, given)):
        raise ValueError(
            "LanguageModel expected validation_data as a text, or a list of texts, got a tuple of "
            f"{len(given)}, as others take (X, y): validation_data[0] is the text alone, "
            "list(validation_data) several texts"
        )


def check_no_targets(X: Any, y: Any) -> None:
    """Raise ValueError for targets of a language model: it has none but X."""
    if y is not None and not same(X, y):
        raise ValueError(
            f"LanguageModel expected y as None, got {type(y).__name__}: its targets are the next "
            "symbols of X, so X is the whole text; validation_data= takes another one"
        )


def _any_of(sequence: Any, wanted: type) -> bool:
    if isinstance(sequence, (str, np.ndarray)):
        return False
    return any(isinstance(s, str) if wanted is str else is_integer(s) for s in sequence)
