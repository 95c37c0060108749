"""SequenceClassifier without settings, beside classifiers that people use, on ten public sets.

    python benchmarks/classification.py [--sets GunPoint,OSULeaf] [--seed 0] [--save]
        [--into docs/results.md]
    python benchmarks/classification.py --readers [--sets ...]

`--readers` says instead what each of the default network's two readers would reach alone, and what
both reach, by cross-validation in four parts on the training parts.

The sets are those of the UCR and UEA archives that come inside the packages aeon and sktime
(``pip install aeon sktime``), each with its published training and test part. Default network and
schedule were chosen by cross-validation on the training parts; the test parts serve for this table
alone. Accuracy is that on the test part. Seconds are the processor's, of `fit`, all threads
together: run it with ``OMP_NUM_THREADS=1`` to have those of one core.

* MiniRocket: aeon's `MiniRocketClassifier`; its compilation is not counted.
* logistic: scikit-learn's `LogisticRegression` on the flattened, standardised series.
* MLP: scikit-learn's `MLPClassifier` on the same.

The three take series of one length: shorter ones are filled up with zeros for them.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from compare import page
from report import END, describe, number, save, split_page, table, write_into
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from rnnfast import SequenceClassifier, get_num_threads, num_threads
from rnnfast.datasets import read_ts
from rnnfast.datasets.formats import pad

BEGIN = "<!-- classification.py writes from here -->"
SETS = (
    "ACSF1",
    "ArrowHead",
    "BasicMotions",
    "GunPoint",
    "ItalyPowerDemand",
    "JapaneseVowels",
    "OSULeaf",
    "PLAID",
    "PickupGestureWiimoteZ",
    "UnitTest",
)
NAMES = ("ours", "MiniRocket", "logistic", "MLP")

THREADS = get_num_threads()  # as it is at first


def find(name: str, part: str) -> Path:
    """Return the path of a set's part, in the package that has it."""
    for package in ("aeon", "sktime"):
        spec = importlib.util.find_spec(package)
        for place in (spec.submodule_search_locations or []) if spec else []:
            path = Path(place) / "datasets" / "data" / name / f"{name}_{part}.ts"
            if path.exists():
                return path
    raise SystemExit(f"{name} is in neither aeon nor sktime: pip install aeon sktime")


def classifiers(seed: int) -> dict[str, tuple[Any, str]]:
    """Return the classifiers, and what each takes: sequences, (N, F, T) arrays or rows."""
    from aeon.classification.convolution_based import MiniRocketClassifier

    return {
        "ours": (SequenceClassifier(random_state=seed), "sequences"),
        "MiniRocket": (MiniRocketClassifier(random_state=seed), "channels"),
        "logistic": (
            make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
            "rows",
        ),
        "MLP": (make_pipeline(StandardScaler(), MLPClassifier(random_state=seed)), "rows"),
    }


def forms(x: Any, steps: int) -> dict[str, Any]:
    """Return the series in each form, filled up to so many steps where there have to be."""
    together = pad(x)[0] if isinstance(x, list) else x
    filled = np.zeros((len(x), steps, together.shape[2]), np.float32)
    filled[:, : together.shape[1]] = together[:, :steps]
    channels = np.ascontiguousarray(filled.swapaxes(1, 2))
    return {"sequences": x, "channels": channels, "rows": filled.reshape(len(x), -1)}


def measure(name: str, seed: int) -> dict[str, Any]:
    """Return a set's row: its sizes, and accuracy and seconds of each classifier."""
    x, y = read_ts(find(name, "TRAIN"))
    x_test, y_test = read_ts(find(name, "TEST"))
    lengths = sorted({len(series) for series in x})
    train = forms(x, lengths[-1])
    test = forms(x_test, lengths[-1])
    row: dict[str, Any] = {
        "set": name,
        "train": len(x),
        "test": len(x_test),
        "steps": str(lengths[0]) if len(lengths) == 1 else f"{lengths[0]} to {lengths[-1]}",
        "features": x[0].shape[1],
        "classes": len(np.unique(y)),
    }
    for kind, (model, form) in classifiers(seed).items():
        start = time.process_time()
        with num_threads(THREADS):  # which other libraries change when they run
            model.fit(train[form], y)
        row[f"{kind} s"] = time.process_time() - start
        row[kind] = float(np.mean(model.predict(test[form]) == y_test))
    return row


def readers(name: str, seed: int) -> dict[str, float]:
    """Return the accuracy of both readers together and alone, on parts of the training part."""
    x, y = read_ts(find(name, "TRAIN"))
    rows = np.empty(len(x), object)
    rows[:] = list(x)
    right: dict[str, list[float]] = {"both": [], "exact": [], "recurrent": []}
    parts = StratifiedKFold(4, shuffle=True, random_state=seed).split(y, y)
    for train, others in parts:
        model = SequenceClassifier(random_state=seed).fit(rows[train], y[train])
        added = model.model_[0]
        each = {"both": added.weights, "exact": (1.0, 0.0), "recurrent": (0.0, 1.0)}
        for kind, added.weights in each.items():
            right[kind].append(model.score(rows[others], y[others]))
    return {kind: float(np.mean(values)) for kind, values in right.items()}


def markdown(data: dict[str, Any]) -> str:
    """Return the table, with what it was measured on."""
    columns = ("set", "train", "test", "steps", "features", "classes")
    head = [*columns, *NAMES, *(f"{name}, s" for name in NAMES)]
    rows = [
        [
            *(str(row[name]) for name in columns),
            *(f"{row[name]:.3f}" for name in NAMES),
            *(number(row[f"{name} s"], 2) for name in NAMES),
        ]
        for row in data["results"]
    ]
    mean = {name: np.mean([row[name] for row in data["results"]]) for name in NAMES}
    empty = [""] * (len(columns) - 1)
    rows.append(["mean", *empty, *(f"{mean[name]:.3f}" for name in NAMES), *[""] * len(NAMES)])
    where = f"{data['processor']}, {data['cpus']} CPUs, {data['threads']} thread"
    return f"{table(head, rows)}\n\nMeasured on {data['date']}: {where}, seed {data['seed']}."


def parser_of(text: str, sets: tuple[str, ...], begin: str) -> argparse.ArgumentParser:
    """Return the options that tables of public sets share."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--sets", default=",".join(sets), help="names, separated by commas")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--into", type=page, help=f"write the table between {begin} and {END}")
    return parser


def tabulate(
    options: argparse.Namespace,
    begin: str,
    rocket: tuple[Any, np.ndarray],
    measure: Callable[[str, int], dict[str, Any]],
    names: tuple[str, ...],
    markdown: Callable[[dict[str, Any]], str],
) -> dict[str, Any]:
    """Measure each set, print the rows and the table, and write it; return what was measured.

    The rocket is fitted to eight targets beforehand, which compiles it.
    """
    if options.into:
        split_page(options.into, begin)  # known before the run
    warnings.simplefilter("ignore")  # peers' own
    small = np.random.default_rng(0).standard_normal((8, 2, 20)).astype(np.float32)
    for channels in (small, small[:, :1]):
        rocket[0].fit(channels, rocket[1])
    records = []
    for name in options.sets.split(","):
        row = measure(name, options.seed)
        records.append(row)
        print(name, *(f"{k} {row[k]:.4g} ({row[f'{k} s']:.1f} s)" for k in names), flush=True)
    data = describe(records, seed=options.seed, threads=THREADS)
    print(markdown(data))
    if options.into:
        write_into(options.into, markdown(data), begin)
    return data


def main() -> None:
    """Measure, print and write."""
    parser = parser_of(__doc__, SETS, BEGIN)
    parser.add_argument("--save", action="store_true", help="write results/classification-*.json")
    parser.add_argument("--readers", action="store_true", help="both readers, on training parts")
    options = parser.parse_args()
    if options.readers:
        for name in options.sets.split(","):
            found = readers(name, options.seed)
            print(name, *(f"{kind} {value:.3f}" for kind, value in found.items()), flush=True)
        return
    rocket = classifiers(0)["MiniRocket"][0], np.arange(8) % 2
    data = tabulate(options, BEGIN, rocket, measure, NAMES, markdown)
    if options.save:
        print(f"written: results/{save(data, 'classification-').name}")


if __name__ == "__main__":
    main()
