"""SequenceRegressor without settings, beside regressors that people use, on public sets.

    python benchmarks/regression.py [--sets Covid3Month,Tecator] [--seed 0] [--into docs/results.md]
    python benchmarks/regression.py --cross-validate [--sets ...] [--names ours,ridge]

`--cross-validate` says the same by cross-validation in four parts on the training parts, which is
what defaults are chosen by.

The sets are those with a number for each series that come inside the packages aeon and sktime
(``pip install aeon sktime``), each with its published training and test part. RMSE is the root of
the mean squared error on the test part. Seconds are the processor's, of `fit`, of all threads:
run it with ``OMP_NUM_THREADS=1`` to have those of one core.

* mean: of the targets of the training part.
* ridge: scikit-learn's `RidgeCV` on the flattened, standardised series.
* MLP: scikit-learn's `MLPRegressor` on the same, with standardised targets.
* MiniRocket: aeon's `MiniRocketRegressor`; its compilation is not counted.
"""

from __future__ import annotations

import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from classification import THREADS, find, forms, parser_of, tabulate
from report import number, table
from sklearn.compose import TransformedTargetRegressor
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from rnnfast import SequenceRegressor, num_threads
from rnnfast.datasets import read_ts

BEGIN = "<!-- regression.py writes from here -->"
SETS = ("CardanoSentiment", "Covid3Month", "Tecator")
NAMES = ("ours", "mean", "ridge", "MLP", "MiniRocket")
PARTS = 4


def regressor(name: str, seed: int) -> tuple[Any, str]:
    """Return a regressor, and what it takes: sequences, (N, F, T) arrays or rows."""
    if name == "ours":
        return SequenceRegressor(random_state=seed), "sequences"
    if name == "MiniRocket":
        from aeon.regression.convolution_based import MiniRocketRegressor

        return MiniRocketRegressor(random_state=seed), "channels"
    mlp = TransformedTargetRegressor(MLPRegressor(random_state=seed), transformer=StandardScaler())
    flat = {"mean": DummyRegressor(), "ridge": RidgeCV(np.logspace(-3, 3, 13)), "MLP": mlp}
    return make_pipeline(StandardScaler(), flat[name]), "rows"


def error(name: str, seed: int, train: Any, y: Any, test: Any, y_test: Any) -> tuple[float, float]:
    """Return the root of the mean squared error, and the seconds of `fit`."""
    model, form = regressor(name, seed)
    start = time.process_time()
    with num_threads(THREADS):  # which other libraries change when they run
        model.fit(train[form], y)
    seconds = time.process_time() - start
    return float(np.sqrt(np.mean((model.predict(test[form]) - y_test) ** 2))), seconds


def measure(name: str, seed: int) -> dict[str, Any]:
    """Return a set's row: its sizes, and error and seconds of each regressor."""
    x, y = read_ts(find(name, "TRAIN"))
    x_test, y_test = read_ts(find(name, "TEST"))
    steps, features = x.shape[1:]
    row: dict[str, Any] = {"set": name, "train": len(x), "test": len(x_test)}
    row |= {"steps": steps, "features": features}
    for kind in NAMES:
        row[kind], row[f"{kind} s"] = error(
            kind, seed, forms(x, steps), y, forms(x_test, steps), y_test
        )
    return row


def cross_validated(name: str, seed: int, names: list[str]) -> dict[str, float]:
    """Return each regressor's error on parts of the training part, over all samples."""
    x, y = read_ts(find(name, "TRAIN"))
    squares: dict[str, list[float]] = {kind: [] for kind in names}
    for train, others in KFold(PARTS, shuffle=True, random_state=seed).split(x):
        data = forms(x[train], x.shape[1]), y[train], forms(x[others], x.shape[1]), y[others]
        for kind in names:
            squares[kind].append(error(kind, seed, *data)[0] ** 2 * len(others))
    return {kind: float(np.sqrt(sum(values) / len(x))) for kind, values in squares.items()}


def markdown(data: dict[str, Any]) -> str:
    """Return the table, with what it was measured on."""
    columns = ("set", "train", "test", "steps", "features")
    head = [*columns, *NAMES, *(f"{name}, s" for name in NAMES if name != "mean")]
    rows = [
        [
            *(str(row[name]) for name in columns),
            *(number(row[name], 3) for name in NAMES),
            *(number(row[f"{name} s"], 2) for name in NAMES if name != "mean"),
        ]
        for row in data["results"]
    ]
    where = f"{data['processor']}, {data['cpus']} CPUs, {data['threads']} thread"
    return f"{table(head, rows)}\n\nMeasured on {data['date']}: {where}, seed {data['seed']}."


def main() -> None:
    """Measure, print and write."""
    parser = parser_of(__doc__, SETS, BEGIN)
    parser.add_argument("--names", default=",".join(NAMES), help="with --cross-validate")
    parser.add_argument("--cross-validate", action="store_true", help="on training parts")
    options = parser.parse_args()
    if options.cross_validate:
        warnings.simplefilter("ignore")  # peers' own
        for name in options.sets.split(","):
            found = cross_validated(name, options.seed, options.names.split(","))
            print(name, *(f"{kind} {value:.4g}" for kind, value in found.items()), flush=True)
        return
    rocket = regressor("MiniRocket", 0)[0], np.arange(8.0)
    tabulate(options, BEGIN, rocket, measure, NAMES, markdown)


if __name__ == "__main__":
    main()
