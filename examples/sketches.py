"""Tell what a sketch shows from the strokes of its pen: row D2.

Generated drawings of twelve things, or, given a folder, real ones of the Quick, Draw! data set: its
simplified .ndjson files, up to 2,000 drawings of each. A quarter is held out. Some strokes of the
generated ones are left out, at times so many that nobody could tell what they show. The baseline,
k-nearest neighbours tuned by cross-validation, sees the finished picture, blurred.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from common import Options, Row, main, save
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter
from sklearn.metrics import top_k_accuracy_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neighbors import KNeighborsClassifier

import rnnfast as rf


def read(options: Options) -> list[rf.datasets.Drawing]:
    limit = 10 if options.quick else 2000
    if options.path is None:
        return rf.datasets.sketches(120 if options.quick else 8000, seed=0)
    files = sorted(options.path.glob("*.ndjson"))
    return [drawing for file in files for drawing in rf.datasets.read_quickdraw(file, limit)]


def bitmap(steps: np.ndarray) -> np.ndarray:
    """Return the ink on each of 16 by 16 cells."""
    points = np.cumsum(steps[:, :2], axis=0)
    points = (points - points.min(axis=0)) / max(np.ptp(points, axis=0).max(), 1)
    drawn = steps[:-1, 2] == 0  # lines from a point to the next, but between strokes
    shares = np.linspace(0, 1, 20)[:, np.newaxis, np.newaxis]
    ink = ((1 - shares) * points[:-1][drawn] + shares * points[1:][drawn]).reshape(-1, 2)
    counts, _, _ = np.histogram2d(*ink.T, bins=16, range=[[0, 1], [0, 1]])
    return gaussian_filter(np.minimum(counts, 10), 1).ravel()


def network(n_features: int, n_outputs: int, seed: int) -> rf.Sequential:
    layers: list[rf.layers.Layer] = []
    width = n_features
    for channels in (32, 64):
        conv = rf.Conv1d(width, channels, 5, stride=2, padding=2, batch_first=True, seed=seed)
        layers += [conv, rf.BatchNorm1d(channels, batch_first=True), rf.ReLU()]
        width = channels
    return rf.Sequential(
        *layers,
        rf.LSTM(width, 128, batch_first=True, bidirectional=True, seed=seed),
        rf.Pool("max", batch_first=True),
        rf.Dropout(0.3, seed=seed),
        rf.Linear(256, n_outputs, seed=seed),
    )


def example(options: Options) -> list[Row]:
    drawings = read(options)
    words = np.array([drawing.word for drawing in drawings])
    train, test = train_test_split(np.arange(len(words)), random_state=0, stratify=words)
    steps = [drawing.steps for drawing in drawings]

    pictures = np.array([bitmap(drawing) for drawing in steps])
    grid = {"n_neighbors": [1, 3, 5, 10, 20, 40], "weights": ["uniform", "distance"]}
    neighbours = GridSearchCV(KNeighborsClassifier(), grid, cv=3)
    neighbours.fit(pictures[train], words[train])
    baseline = neighbours.predict_proba(pictures[test])

    beliefs, seconds = [], []
    epochs = 2 if options.quick else 15
    batches = math.ceil(len(train) / 32)
    for seed in range(options.seeds):
        model = rf.SequenceClassifier(
            network=partial(network, seed=seed),
            callbacks=[partial(rf.OneCycleLR, max_lr=3e-3, total_steps=epochs * batches)],
            max_iter=epochs,
            random_state=seed,
        )
        model.fit([steps[i] for i in train], words[train])
        beliefs.append(model.predict_proba([steps[i] for i in test]))
        seconds.append(min(model.history_["seconds"]))

    answers, truth = model.classes_[beliefs[-1].argmax(axis=1)], words[test]
    wrong, right = np.flatnonzero(answers != truth), np.flatnonzero(answers == truth)
    panels = Figure(figsize=(12, 6.5), layout="constrained").subplots(4, 8)
    for axes in panels.flat:
        axes.set_axis_off()  # the last ones stay empty in a quick run
    for axes, i in zip(panels.flat, [*wrong[:8], *right], strict=False):
        rf.plots.strokes(steps[test[i]], axes)
        missed = answers[i] != truth[i]
        axes.set_title(
            f"{answers[i]}\n({truth[i]})" if missed else answers[i],
            color="red" if missed else "black",
            fontsize=10,
        )
    panels[0, 0].figure.suptitle(
        "What the network takes drawings for (red: wrong, with the truth below)"
    )
    save(panels[0, 0], options, "sketches")

    def top(probabilities: np.ndarray, k: int) -> float:
        return float(top_k_accuracy_score(truth, probabilities, k=k, labels=model.classes_))

    return [
        Row(
            "D2",
            f"Conv1d + LSTM, {len(model.classes_)} words",
            f"top-{k} accuracy",
            [top(belief, k) for belief in beliefs],
            baselines={"k-nearest neighbours": top(baseline, k)},
            higher_is_better=True,
            epoch=float(np.median(seconds)),
        )
        for k in (1, 5)
    ]


if __name__ == "__main__":
    main(example, __doc__, path="folder of Quick, Draw! .ndjson files")
