"""The embedded Reber grammar."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..checks import check_flag, check_seed, check_size

if TYPE_CHECKING:
    from ..arrays import Array

__all__ = ["REBER_SYMBOLS", "embedded_reber", "reber_successors"]

REBER_SYMBOLS = "BTSXPVE"

# the Reber grammar: for each state, the symbols that may come and the states they lead to
_REBER = [{"B": 1}, {"T": 2, "P": 3}, {"S": 2, "X": 4}, {"T": 3, "V": 5}, {"X": 3, "S": 6}]
_REBER += [{"P": 4, "V": 6}, {"E": 7}, {}]


def _embedded() -> list[dict[str, int]]:
    """Return the embedded grammar in the form of _REBER: two copies of that, T and P around."""
    size = len(_REBER)
    grammar = [{"B": 1}, {"T": 2, "P": 2 + size}]
    end = 2 + 2 * size
    for start, symbol in ((2, "T"), (2 + size, "P")):
        grammar += [{s: start + state for s, state in moves.items()} for moves in _REBER]
        grammar[-1] = {symbol: end}
    return [*grammar, {"E": end + 1}, {}]


_EMBEDDED = _embedded()


def embedded_reber(n_strings: int, corrupted: bool = False, seed: int | None = None) -> list[str]:
    """Return strings of the embedded Reber grammar, such as "BTBTXSETE".

    The symbol after the first B, a T or a P, comes again before the last E, after a string of
    Reber's own grammar, whose length has no limit: a network has to remember it all that time.
    The two symbols possible at a fork are equally probable. S. E. Fahlman, "The recurrent
    cascade-correlation architecture", NIPS 1990; S. Hochreiter and J. Schmidhuber, "Long short-term
    memory", Neural Computation 9 (1997), experiment 1.

    Parameters
    ----------
    n_strings : int
    corrupted : bool, default False
        Whether to put another symbol into one random place of each string, such that it is no
        longer of the grammar.
    seed : int or None

    Returns
    -------
    list of str
        Over the characters of ``REBER_SYMBOLS``.
    """
    n_strings = check_size("embedded_reber", "n_strings", n_strings, 0)
    corrupted = check_flag("embedded_reber", "corrupted", corrupted)
    rng = np.random.default_rng(check_seed("embedded_reber", seed))
    strings = []
    for _ in range(n_strings):
        string, state = "", 0
        while moves := _EMBEDDED[state]:
            string += list(moves)[rng.integers(len(moves))]
            state = moves[string[-1]]
        strings.append(_corrupt(string, rng) if corrupted else string)
    return strings


def _corrupt(string: str, rng: np.random.Generator) -> str:
    while True:
        place = rng.integers(len(string))
        symbol = REBER_SYMBOLS[rng.integers(len(REBER_SYMBOLS))]
        changed = string[:place] + symbol + string[place + 1 :]
        if _states(changed)[-1] != len(_EMBEDDED) - 1:
            return changed


def _states(string: str) -> list[int | None]:
    """Return the state after each symbol; None from the first that the grammar does not allow."""
    state: int | None = 0
    states = []
    for symbol in string:
        state = None if state is None else _EMBEDDED[state].get(symbol)
        states.append(state)
    return states


def reber_successors(string: str) -> Array:
    """Return which symbols the embedded Reber grammar allows after each symbol of a string.

    Parameters
    ----------
    string : str
        Over the characters of ``REBER_SYMBOLS``.

    Returns
    -------
    (len(string), 7) array of bool
        Element t, s: whether ``REBER_SYMBOLS[s]`` may follow ``string[: t + 1]``. Nothing may
        follow the whole of a string of the grammar, nor anything that has left the grammar.

    Raises
    ------
    TypeError
        For something that is no string.
    ValueError
        For a character that is not one of the symbols.
    """
    if not isinstance(string, str):
        raise TypeError(f"reber_successors expected a string, got {string!r}")
    if foreign := set(string) - set(REBER_SYMBOLS):
        raise ValueError(
            f"reber_successors expected the characters {REBER_SYMBOLS}, got {min(foreign)!r}"
        )
    moves = [{} if state is None else _EMBEDDED[state] for state in _states(string)]
    allowed = [[symbol in after for symbol in REBER_SYMBOLS] for after in moves]
    return np.array(allowed, bool).reshape(len(string), len(REBER_SYMBOLS))
