"""Texts and other sequences of symbols as users give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..checks import name_of
from .numeric import is_missing
from .tables import is_column, is_frame


def holds_symbols(X: Any) -> bool:
    """Whether X holds strings: texts, or sequences of words; or is one string.

    What is missing (None, NaN) tells nothing.
    """
    if isinstance(X, (str, bytes)):
        return True
    kind = getattr(getattr(X, "dtype", None), "kind", None)
    if kind is not None and kind in "fiubcMm":
        return False
    if is_frame(X) or not hasattr(X, "__len__") or hasattr(X, "toarray") or isinstance(X, dict):
        return False
    for sample in _items(X):
        if isinstance(sample, (str, bytes)):
            return True
        if isinstance(sample, np.ndarray):
            if sample.dtype.kind in "US":
                return True
            if sample.dtype.kind != "O":
                return False
        if is_missing(sample):
            continue
        if not hasattr(sample, "__len__") or is_frame(sample):
            return False
        for symbol in _items(sample):
            if not is_missing(symbol):
                return isinstance(symbol, (str, bytes))
    return False


def read_texts(owner: Any, X: Any) -> list[Sequence[str]]:
    """Return texts, whose symbols are characters, or sequences of words: X that `holds_symbols`."""
    wanted = f"{name_of(owner)} expected X"
    if isinstance(X, (str, bytes)):
        raise TypeError(f"{wanted} as a list of texts, got one; [X] is a list of one text")
    texts: list[Any] = []
    for i, sample in enumerate(_items(X)):
        if is_missing(sample):
            raise ValueError(f"{wanted} with a text for each sample, got {sample!r} in X[{i}]")
        if isinstance(sample, bytes):
            raise TypeError(f"{wanted} of str, got bytes in X[{i}]; .decode() makes them str")
        if isinstance(sample, str):
            text: Any = str(sample)
        elif hasattr(sample, "__len__") and not isinstance(sample, dict):
            text = _words(wanted, f"X[{i}]", sample)
        else:
            raise TypeError(f"{wanted} of texts, got {sample!r} in X[{i}]")
        if texts and isinstance(text, str) != isinstance(texts[0], str):
            one, other = ("a str", "a sequence of words")[:: 1 if isinstance(text, str) else -1]
            raise TypeError(
                f"{wanted} of either texts or sequences of words, got {one} in X[{i}], "
                f"{other} in X[0]"
            )
        if not len(text):
            raise ValueError(f"{wanted} of texts of at least one symbol, got none in X[{i}]")
        texts.append(text)
    if texts and not isinstance(texts[0], str) and _are_numbers(texts[0]):
        raise TypeError(
            f"{wanted} of words, got numbers written as text in X[0], {texts[0][0]!r} first; "
            f"float() reads numbers from text"
        )
    if not texts:
        raise ValueError(f"{wanted} of at least one sample, got none")
    return texts


def _words(wanted: str, name: str, sample: Any) -> list[str]:
    words = []
    for step, word in enumerate(_items(sample)):
        if is_missing(word):
            raise ValueError(f"{wanted} with a word at each step, got {word!r} in {name}[{step}]")
        if isinstance(word, np.ndarray) and word.dtype.kind in "UT":
            raise TypeError(
                f"{wanted} of words, or of real numbers, got text with an axis of features, "
                f"{str(word.flat[0])!r} first; astype(float) reads numbers from text"
            )
        if not isinstance(word, str):
            raise TypeError(f"{wanted} of words (str), got {word!r} in {name}[{step}]")
        words.append(str(word))
    return words


def _are_numbers(words: Sequence[str]) -> bool:
    """Whether all words are numbers, some with a decimal point: hardly symbols."""
    try:
        return all(np.isfinite(float(w)) for w in words) and any("." in w for w in words)
    except ValueError:
        return False


def _items(X: Any) -> Any:
    if isinstance(X, np.ma.MaskedArray):
        return np.where(np.ma.getmaskarray(X), np.nan, np.asarray(X.data, object))
    return X.to_list() if is_column(X) and hasattr(X, "to_list") else X
