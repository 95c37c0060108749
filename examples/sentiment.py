"""Tell praise from blame in short film reviews: row B2.

Many-to-one on texts of different lengths: an embedding, an LSTM over the words that are there, and
the class from the last of them. Only the order of the words tells the two apart, so that a bag of
words is right half the time, however well it is tuned.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from common import Options, Row, logistic_regression, main, save
from matplotlib.figure import Figure
from sklearn.feature_extraction.text import CountVectorizer

import rnnfast as rf


def picture(words: list[str], belief: np.ndarray) -> Any:
    """What is believed after each word of a review."""
    axes = Figure(figsize=(9, 4), layout="constrained").subplots()
    places = range(len(words))
    axes.plot(places, belief, "o-")
    axes.axhline(0.5, color="grey", linewidth=1, linestyle="--", label="even odds")
    axes.legend(frameon=False)
    axes.set_xticks(places, words, rotation=60, ha="right")
    axes.set(ylabel="probability of praise", ylim=(-0.03, 1.03))
    axes.set_title("Belief after each word of a review")
    return axes


def example(options: Options) -> list[Row]:
    texts, y = rf.datasets.reviews(200 if options.quick else 20_000, seed=0)
    texts_test, y_test = rf.datasets.reviews(2000, seed=1)
    baselines = {}
    for name, longest in (("bag of words", 1), ("of 1 to 3 words in a row", 3)):
        counts = CountVectorizer(token_pattern=r"\S+", ngram_range=(1, longest))
        model = logistic_regression([" ".join(text) for text in texts], y, counts)
        baselines[name] = model.score([" ".join(text) for text in texts_test], y_test)

    # id 0 stands for words that the training texts do not have
    ids = {word: i for i, word in enumerate(sorted({w for text in texts for w in text}), start=1)}
    x, x_test = ([[ids.get(w, 0) for w in text] for text in part] for part in (texts, texts_test))
    # beginnings of texts as well, so that the network learns what to believe halfway
    ends = np.random.default_rng(2)
    beginnings = [text[: ends.integers(1, len(text) + 1)] for text in x]
    scores, seconds = [], []
    for seed in range(options.seeds):
        model = rf.SequenceClassifier(
            vocabulary_size=len(ids) + 1,
            embedding_size=16,
            hidden_size=32,
            learning_rate_init=3e-3,
            max_iter=1 if options.quick else 4,
            random_state=seed,
        ).fit(x + beginnings, np.tile(y, 2))
        scores.append(model.score(x_test, y_test))
        seconds.append(min(model.history_["seconds"]))

    shown = min(range(50), key=lambda i: abs(len(x_test[i]) - 18))  # one of middling length
    belief = model.predict_proba_steps(x_test[shown : shown + 1])[0][:, 1]
    save(picture(texts_test[shown], belief), options, "sentiment")
    return [
        Row(
            "B2",
            "sentiment of ragged texts, Embedding 16 + LSTM 32",
            "accuracy",
            scores,
            baselines=baselines,
            higher_is_better=True,
            epoch=float(np.median(seconds)),
        )
    ]


if __name__ == "__main__":
    main(example, __doc__)
