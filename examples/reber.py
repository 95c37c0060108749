"""The embedded Reber grammar: which symbols may come next, and what is not of the grammar, row B5.

Many-to-many, aligned: after every symbol a network says which symbols may follow. That is easy but
at the last but one: it is the second symbol of the string once more, so that a network has to
remember that one for as long as the string is. Many-to-one: tell strings of the grammar from ones
with a symbol changed.
"""

from __future__ import annotations

import numpy as np
from common import Options, Row, main, save
from matplotlib.figure import Figure

import rnnfast as rf

SYMBOLS = rf.datasets.REBER_SYMBOLS


def encode(strings: list[str]) -> list[list[int]]:
    return [[SYMBOLS.index(symbol) for symbol in string] for string in strings]


def padded(strings: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Symbols (strings, time), which may follow each (strings, time, symbols), and lengths."""
    lengths = np.array([len(string) for string in strings])
    ids = np.zeros((len(strings), lengths.max()), int)
    allowed = np.zeros((*ids.shape, len(SYMBOLS)), np.float32)
    for i, string in enumerate(strings):
        ids[i, : len(string)] = encode([string])[0]
        allowed[i, : len(string)] = rf.datasets.reber_successors(string)
    return ids, allowed, lengths


def right(guess: np.ndarray, allowed: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Whether a guess is right after every symbol of a string, and no symbol is left out."""
    past = np.arange(allowed.shape[1]) >= lengths[:, None]
    return ((guess == (allowed > 0)).all(axis=2) | past).all(axis=1)


class Trigrams:
    """What has followed two symbols in the training strings."""

    def __init__(self, strings: list[str]) -> None:
        self.seen = {("^^" + string)[i : i + 3] for string in strings for i in range(len(string))}
        self.last = {string[-2:] for string in strings}

    def successors(self, string: str) -> np.ndarray:
        pairs = [("^" + string)[i : i + 2] for i in range(len(string))]
        return np.array([[pair + symbol in self.seen for symbol in SYMBOLS] for pair in pairs])

    def accept(self, string: str) -> bool:
        trigrams = {("^^" + string)[i : i + 3] for i in range(len(string))}
        return trigrams <= self.seen and string[-2:] in self.last


def next_symbols(options: Options) -> Row:
    """After each symbol, which may follow."""
    train = rf.datasets.embedded_reber(100 if options.quick else 2000, seed=0)
    test = rf.datasets.embedded_reber(2000, seed=1)
    ids, allowed, lengths = padded(test)
    trigrams = Trigrams(train)
    by_trigrams = np.zeros_like(allowed, bool)
    for i, string in enumerate(test):
        by_trigrams[i, : len(string)] = trigrams.successors(string)

    shares, seconds = [], []
    for seed in range(options.seeds):
        model = rf.Sequential(
            rf.Embedding(len(SYMBOLS), 8),
            rf.LSTM(8, 32, batch_first=True),
            rf.Linear(32, len(SYMBOLS)),
        )
        rf.init.keras(model, seed)
        history = rf.fit(
            model,
            padded(train),
            loss=rf.losses.logistic,
            optimizer=rf.Adam(model, lr=1e-2),
            epochs=1 if options.quick else 30,
            clip_norm=1.0,
            bucket=True,
            seed=seed,
            progress=False,
        )
        scores = model.predict(ids, lengths)
        shares.append(float(right(scores > 0, allowed, lengths).mean()))
        seconds.append(min(history["seconds"]))

    # one string of middling length
    shown = int(np.argmin(np.abs(lengths - 14)))
    string = test[shown]
    axes = Figure(figsize=(8, 3.6), layout="constrained").subplots()
    image = axes.imshow(
        1 / (1 + np.exp(-scores[shown, : len(string)].T)), vmin=0, vmax=1, cmap="Blues"
    )
    step, symbol = np.nonzero(allowed[shown])
    axes.plot(step, symbol, "o", color="tab:orange", label="allowed by the grammar")
    axes.set_xticks(range(len(string)), string)
    axes.set_yticks(range(len(SYMBOLS)), SYMBOLS)
    axes.set(xlabel="symbols read", ylabel="next symbol", title="What may follow")
    axes.figure.colorbar(image, ax=axes, label="probability")
    axes.figure.legend(loc="outside lower right", frameon=False)
    save(axes, options, "reber")
    return Row(
        "B5",
        "embedded Reber grammar, all next symbols, LSTM 32",
        "strings without an error",
        shares,
        goal=1.0,
        baselines={"trigrams": float(right(by_trigrams, allowed, lengths).mean())},
        higher_is_better=True,
        epoch=float(np.median(seconds)),
    )


def strings_and_labels(n: int, seed: int) -> tuple[list[str], np.ndarray]:
    good = rf.datasets.embedded_reber(n // 2, seed=seed)
    bad = rf.datasets.embedded_reber(n // 2, corrupted=True, seed=seed + 1)
    return good + bad, np.repeat([1, 0], n // 2)


def real_or_corrupted(options: Options) -> Row:
    """Whether a string is of the grammar."""
    strings, y = strings_and_labels(200 if options.quick else 10_000, seed=2)
    test, y_test = strings_and_labels(2000, seed=4)
    trigrams = Trigrams([string for string, real in zip(strings, y, strict=True) if real])
    accepted = np.array([trigrams.accept(string) for string in test])

    scores, seconds = [], []
    for seed in range(options.seeds):
        model = rf.SequenceClassifier(
            cell="gru",
            hidden_size=32,
            vocabulary_size=len(SYMBOLS),
            embedding_size=8,
            learning_rate_init=5e-3,
            max_iter=1 if options.quick else 20,
            random_state=seed,
        ).fit(encode(strings), y)
        scores.append(model.score(encode(test), y_test))
        seconds.append(min(model.history_["seconds"]))
    return Row(
        "B5",
        "embedded Reber grammar, real or corrupted, GRU 32",
        "accuracy",
        scores,
        baselines={
            "most frequent": float(max(np.mean(y_test), 1 - np.mean(y_test))),
            "trigrams": float(np.mean(accepted == y_test)),
        },
        higher_is_better=True,
        epoch=float(np.median(seconds)),
    )


def example(options: Options) -> list[Row]:
    return [next_symbols(options), real_or_corrupted(options)]


if __name__ == "__main__":
    main(example, __doc__)
