"""Rewrite dates, "April 22, 2019" as "2019-04-22", character by character: row B6.

An encoder reads a date in one of six forms, a decoder writes it, without and with attention
(Luong, Pham and Manning 2015). No date comes twice, so those of the test are new. The decision
trees, one for each character of the answer, are told what the network has to find out: that dates
can be laid over each other at their first or at their last characters.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from common import Options, Row, main, save
from matplotlib.figure import Figure
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

import rnnfast as rf

Pairs = tuple[list[str], list[str]]


def exact(answers: list[str], truth: list[str]) -> float:
    return float(np.mean([a == b for a, b in zip(answers, truth, strict=True)]))


def nearest(train: Pairs, test: Pairs) -> float:
    """Answer as the training date that is most alike: it is never the same one."""
    grams = TfidfVectorizer(analyzer="char", ngram_range=(1, 4))
    known = NearestNeighbors(n_neighbors=1).fit(grams.fit_transform(train[0]))
    found = known.kneighbors(grams.transform(test[0]), return_distance=False)[:, 0]
    return exact([train[1][i] for i in found], test[1])


def trees(train: Pairs, test: Pairs) -> float:
    def columns(texts: list[str]) -> np.ndarray:
        return np.array([list(f"{text:<18}{text:>18}") for text in texts])

    one_hot = OneHotEncoder(handle_unknown="ignore")
    tree = MultiOutputClassifier(DecisionTreeClassifier(random_state=0))
    model = make_pipeline(one_hot, tree).fit(columns(train[0]), [list(iso) for iso in train[1]])
    return exact(["".join(characters) for characters in model.predict(columns(test[0]))], test[1])


def draw_attention(model: rf.Seq2Seq, text: str) -> Any:
    """Draw what the decoder looks at for each character that it writes."""
    answer = model.predict([text])[0]
    vocabulary, parts = model.target_vocabulary_, model.model_.parts
    read = np.append(vocabulary.end, vocabulary.encode(answer[:-1]))
    source = model.source_vocabulary_.encode(text)
    memory, state = parts["encoder"](parts["source"](source[:, None]))
    h, _ = parts["decoder"](parts["target"](read[:, None]), state)
    _, weights = parts["attention"](h, memory)

    axes = Figure(figsize=(6.4, 4.4), layout="constrained").subplots()
    image = axes.imshow(weights[:, 0], cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.figure.colorbar(image, label="weight")
    axes.set_xticks(range(len(text)), text)
    axes.set_yticks(range(len(answer)), answer)
    axes.set(title="Attention of the decoder", xlabel="read", ylabel="written")
    return axes


def example(options: Options) -> list[Row]:
    train_size, test_size = (1000, 100) if options.quick else (10_000, 2000)
    texts, iso = rf.datasets.date_pairs(train_size + test_size, seed=0)
    train = texts[:train_size], iso[:train_size]
    test = texts[train_size:], iso[train_size:]
    baselines = {"nearest date": nearest(train, test), "decision trees": trees(train, test)}
    rows = []
    for attention in (None, "general"):
        greedy, beam, seconds = [], [], []
        for seed in range(options.seeds):
            model = rf.Seq2Seq(
                hidden_size=128,
                attention=attention,
                learning_rate_init=5e-3,
                max_iter=2 if options.quick else 6,
                random_state=seed,
            )
            model.fit(*train)
            greedy.append(model.score(*test))
            beam.append(exact(model.predict(test[0], beam_width=4), test[1]))
            seconds.append(min(model.history_["seconds"]))
        what = "LSTM encoder-decoder" + (", Luong attention" if attention else "")
        for search, shares in (("greedy", greedy), ("beam of 4", beam)):
            rows.append(
                Row(
                    "B6",
                    f"{what}, {search}",
                    "exact dates",
                    shares,
                    0.99,
                    baselines,
                    higher_is_better=True,
                    epoch=float(np.median(seconds)),
                )
            )
    print("Dates of the test, and what the last network with attention makes of them:")
    for text in test[0][:5]:
        print(f"{text:>18} -> {model.predict([text])[0]}")
    longest = max(test[0], key=len)
    save(draw_attention(model, longest), options, "dates")
    return rows


if __name__ == "__main__":
    main(example, __doc__)
