"""Predict the notes of Bach's chorales one by one, and write a chorale: row D1.

Data, windows, network and published accuracy are those of Geron, Hands-On Machine Learning with
Scikit-Learn, Keras, and TensorFlow, 2nd edition, chapter 15, exercise 10: windows of 33 chords, 16
apart, are sequences of 132 notes, soprano to bass, each of which predicts the next. Different from
there, and chosen on the validation split, are transposition at random, dropout, and 10 epochs of
one cycle for 20 of a constant rate. Three seeds, for time.

Baselines: the same voice's last note, and the note that followed most often on the longest context
that the training chorales hold too, of up to as many notes as serves the validation split best.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np
from common import Options, Row, main, save

import rnnfast as rf
from rnnfast.generation import sample

WHERE = """\
This example reads the chorales of Bach in csv files of note numbers: give it the path of
jsb_chorales.tgz, or of the folder that it unpacks to. The book's author hands it out in the folder
datasets/jsb_chorales of https://github.com/ageron/handson-ml2."""

CHORDS, APART, VOICES = 33, 16, 4
SHIFT = 5  # semitones, up and down
LOWEST = 36 - SHIFT
SYMBOLS = 81 + SHIFT - LOWEST + 2  # notes, and silence


def windows(chorales: list[np.ndarray]) -> np.ndarray:
    """Return (windows, notes)."""
    starts = [(c, i) for c in chorales for i in range(0, len(c) - CHORDS + 1, APART)]
    return np.array([chorale[i : i + CHORDS].ravel() for chorale, i in starts])


def to_ids(notes: np.ndarray) -> np.ndarray:
    return np.maximum(notes - LOWEST + 1, 0)


def held(notes: np.ndarray) -> float:
    """Accuracy of the voice's last note; the first three notes of a window have none."""
    return float((notes[:, VOICES:] == notes[:, :-VOICES]).sum() / notes[:, 1:].size)


def longest_context(chorales: list[np.ndarray], splits: list[np.ndarray]) -> list[float]:
    """Accuracy on each split; the first one decides how long a context may be."""
    followers: defaultdict[bytes, Counter[int]] = defaultdict(Counter)
    limits = (4, 8, 12, 16)
    for chorale in chorales:
        notes = chorale.astype(np.uint8).tobytes()
        for i, note in enumerate(notes):
            for length in range(min(i, limits[-1]) + 1):
                followers[notes[i - length : i]][note] += 1
    likeliest = {context: max(notes, key=notes.__getitem__) for context, notes in followers.items()}

    def accuracy(split: np.ndarray, limit: int) -> float:
        right = 0
        for notes in map(bytes, split.astype(np.uint8)):
            for i in range(1, len(notes)):
                start = max(0, i - limit)
                while notes[start:i] not in likeliest:
                    start += 1
                right += likeliest[notes[start:i]] == notes[i]
        return right / split[:, 1:].size

    best = max(limits, key=lambda limit: accuracy(splits[0], limit))
    return [accuracy(split, best) for split in splits]


def network(seed: int) -> rf.Sequential:
    layers: list[rf.layers.Layer] = [rf.Embedding(SYMBOLS, 5)]
    width = 5
    for channels, dilation in ((32, 1), (48, 2), (64, 4), (96, 8)):
        layers += [
            rf.Conv1d(width, channels, 2, padding="causal", dilation=dilation, batch_first=True),
            rf.ReLU(),
            rf.BatchNorm1d(channels),
        ]
        width = channels
    layers += [rf.LSTM(width, 256, batch_first=True), rf.Dropout(0.3, seed=seed)]
    model = rf.Sequential(*layers, rf.Linear(256, SYMBOLS))
    rf.init.keras(model, seed)
    return model


def train(model: rf.Sequential, notes: np.ndarray, epochs: int, seed: int) -> rf.History:
    rng = np.random.default_rng(seed)
    size = 32

    def epoch() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        order = rng.permutation(len(notes))
        for start in range(0, len(notes), size):
            batch = notes[order[start : start + size]]
            shift = rng.integers(-SHIFT, SHIFT + 1, (len(batch), 1))
            ids = to_ids(np.where(batch > 0, batch + shift, 0))
            yield ids[:, :-1], ids[:, 1:]

    nadam = rf.Nadam(model)
    steps = epochs * -(-len(notes) // size)
    return rf.fit(
        model,
        epoch,
        loss=rf.losses.softmax_cross_entropy,
        optimizer=nadam,
        epochs=epochs,
        callbacks=[rf.OneCycleLR(nadam, max_lr=3e-3, total_steps=steps)],
        progress=False,
    )


def accuracy(model: rf.Sequential, notes: np.ndarray) -> float:
    ids = to_ids(notes)
    return rf.evaluate(
        model,
        (ids[:, :-1], ids[:, 1:]),
        loss=rf.losses.softmax_cross_entropy,
        metrics={"accuracy": rf.losses.accuracy},
    )["accuracy"]


def compose(model: rf.Sequential, start: np.ndarray, chords: int, temperature: float) -> np.ndarray:
    """Continue some chords; a note depends on those before it in its own chord and 32 chords."""
    rng = np.random.default_rng(0)
    ids = to_ids(start.ravel())
    for _ in range(chords * VOICES):
        first = max(0, len(ids) // VOICES - CHORDS + 1) * VOICES
        scores = model.predict(ids[np.newaxis, first:])[0, -1]
        ids = np.append(ids, sample(scores, rng, temperature))
    return np.where(ids > 0, ids + LOWEST - 1, 0).reshape(-1, VOICES)


def example(options: Options) -> list[Row]:
    if options.path is None:
        print(WHERE)
        return []
    splits = rf.datasets.read_chorales(options.path)
    if options.quick:
        splits = tuple(split[:1] for split in splits)
    notes, valid, test = map(windows, splits)
    context = longest_context(splits[0], [valid, test])
    baselines = {"the voice's last note": held(test), "longest known context": context[1]}
    shares, seconds = [], []
    for seed in range(options.seeds):
        model = network(seed)
        history = train(model, notes, 1 if options.quick else 10, seed)
        shares.append(accuracy(model, test))
        seconds.append(min(history["seconds"]))
        print(f"seed {seed}: accuracy on the validation split {accuracy(model, valid):.4f}")

    given = 8
    chorale = compose(model, splits[2][0][:given], 4 if options.quick else 120, temperature=0.7)
    rf.datasets.write_midi(options.out / "chorale.mid", chorale)
    print(f"a chorale: {options.out / 'chorale.mid'}")
    axes = rf.plots.piano_roll(chorale)
    axes.axvline(given, color="black", linestyle=":")
    axes.set_xlabel("sixteenth notes; Bach's before the dotted line, the network's after it")
    axes.set_title("A chorale that the network continues")
    save(axes, options, "chorales")
    return [
        Row(
            "D1",
            "convolutions, LSTM, transposition",
            "accuracy of notes",
            shares,
            0.8164,
            baselines,
            higher_is_better=True,
            epoch=float(np.median(seconds)),
        )
    ]


if __name__ == "__main__":
    main(example, __doc__, seeds=3, path="jsb_chorales.tgz, or the folder that it unpacks to")
