"""What all examples share: options, the table that they print, and the record that run.py collects.

An example is a function from options to rows, handed to `main`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Row:
    """A figure beside what it is to be compared with."""

    row: str  # of docs/results.md
    what: str
    metric: str
    ours: list[float]  # a value for each seed
    goal: float | None = None  # published, or to be reached
    baselines: dict[str, float] = field(default_factory=dict)
    higher_is_better: bool = False
    epoch: float | None = None  # seconds
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.ours)

    @property
    def reached(self) -> bool | None:
        if self.goal is None:
            return None
        return self.median >= self.goal if self.higher_is_better else self.median <= self.goal


@dataclass
class Options:
    quick: bool
    seeds: int
    out: Path
    path: Path | None


Example = Callable[[Options], "list[Row]"]


def main(example: Example, description: str | None, seeds: int = 5, path: str = "") -> None:
    """Parse the command line, run the example, print its table.

    `seeds`: runs that a median is taken over; `path`: what a file argument holds, "" for none.
    """
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small run that only shows the way")
    parser.add_argument("--seeds", type=int, default=seeds, help="runs (%(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("example-output"), help="folder of pictures (%(default)s)"
    )
    parser.add_argument("--record", type=Path, help="JSON file that takes the rows")
    if path:
        parser.add_argument("path", type=Path, nargs="?", help=path)
    args = parser.parse_args()
    options = Options(
        args.quick, 1 if args.quick else args.seeds, args.out, getattr(args, "path", None)
    )
    options.out.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    rows = example(options)
    seconds = time.perf_counter() - began
    print(table(rows))
    print(f"{seconds:.0f} s" + (", a quick run: its figures mean little" if args.quick else ""))
    if args.record:
        record = {"seconds": seconds, "rows": [asdict(row) for row in rows]}
        args.record.write_text(json.dumps(record, indent=1))


def table(rows: list[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| row | what | figure | ours | worst | goal | reached | baselines | s an epoch |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        worst = min(row.ours) if row.higher_is_better else max(row.ours)
        cells: list[Any] = [
            row.row,
            row.what + (f" ({row.note})" if row.note else ""),
            row.metric,
            f"{row.median:.4g}",
            f"{worst:.4g}" if len(row.ours) > 1 else "",
            "" if row.goal is None else f"{row.goal:.4g}",
            {True: "yes", False: "no", None: ""}[row.reached],
            ", ".join(f"{name} {value:.4g}" for name, value in row.baselines.items()),
            "" if row.epoch is None else f"{row.epoch:.2g}",
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def save(axes: Any, options: Options, name: str) -> None:
    """Save the figure that the axes are part of."""
    path = options.out / f"{name}.png"
    axes.figure.savefig(path, dpi=120, bbox_inches="tight")
    print(f"picture: {path}")


def logistic_regression(x: Any, y: Any, *before: Any) -> Any:
    """Logistic regression after the transformers `before`, its C chosen by cross-validation."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    model = make_pipeline(*before, LogisticRegression(max_iter=1000))
    search = GridSearchCV(model, {"logisticregression__C": [0.01, 0.1, 1.0, 10.0, 100.0]})
    with threadpool_limits(1, user_api="blas"):  # for matrices this small more threads only wait
        return search.fit(x, y)
