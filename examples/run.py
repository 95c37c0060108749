"""Runs all examples and writes docs/results.md: `make examples`.

    python examples/run.py [--quick] [--only NAME ...] [--data NAME=PATH ...] [--into FILE]

Rows of examples that are not run, and what benchmarks/epochs.py writes into the page, stay.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import Row, table

import rnnfast as rf

HERE = Path(__file__).parent
EXAMPLES = sorted(p.stem for p in HERE.glob("*.py") if p.stem not in ("common", "run"))

HEAD = """# Results

What every example finds beside what was published and beside baselines: medians over seeds, and
the worst seed. `make examples` writes this page; each row names the program that repeats it.
"Reached" compares the median with the goal: the published figure, or, where none is published,
one that was set beforehand; in basics and gradients, which compare two ways to compute the same
numbers, what rounding explains. Baselines are tuned, and settings chosen on parts of the training
split; the programs say how. Test figures were nevertheless seen before some choices: a first
exploration of time_series_classification printed test accuracies (the settings here are those of
cross-validation); the tail of sunspots was seen before its validation was changed from one block
to three origins; the sizes in two_signals, sentiment, reber and gates, whose data are generated,
were set by hand with their own figures in view.
"""


EPOCHS = """## Seconds an epoch

Training, loss and update included, 7,000 series of 50 steps, batch 32, Adam; the frameworks take
turns (`make epochs`).

<!-- epochs.py writes from here -->
<!-- to here -->
"""


def run(name: str, arguments: list[str]) -> dict[str, Any] | None:
    """Run one example; its record, or None where its data are missing."""
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record.json"
        print(f"\n== {name}", flush=True)
        command = [sys.executable, str(HERE / f"{name}.py"), "--record", str(record), *arguments]
        subprocess.run(command, check=True)
        found: dict[str, Any] = json.loads(record.read_text())
    return found if found["rows"] else None


def place(section: str) -> tuple[str, int]:
    """Sections in the order of their first rows: A2 before B1 before B10."""
    found = re.search(r"^\| ([A-Z])(\d+)", section, re.MULTILINE)
    return (found[1], int(found[2])) if found else ("", 0)


def section(name: str, record: dict[str, Any]) -> str:
    rows = [Row(**row) for row in record["rows"]]
    where = f"{platform.machine()}, {rf.get_num_threads()} threads"
    return (
        f"## {name}\n\n{table(rows)}\n\n"
        f"`python examples/{name}.py`: {record['seconds']:.0f} s on {where}.\n"
    )


def sections(page: str) -> dict[str, str]:
    """What the page holds already, by example."""
    found = re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    return {name: f"## {name}\n{text.rstrip()}\n" for name, text in found if name in EXAMPLES}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="quick forms; no page is written")
    parser.add_argument("--only", nargs="+", choices=EXAMPLES, default=EXAMPLES, metavar="NAME")
    parser.add_argument(
        "--data", nargs="+", default=[], metavar="NAME=PATH", help="files that examples read"
    )
    parser.add_argument("--into", type=Path, default=HERE.parent / "docs" / "results.md")
    options = parser.parse_args()
    paths = dict(entry.split("=", 1) for entry in options.data)

    page = options.into.read_text() if options.into.exists() else ""
    title = EPOCHS.splitlines()[0]
    kept = page[page.index(title) :] if title in page else EPOCHS
    parts = sections(page)
    for name in options.only:
        quick = ["--quick"] if options.quick else []
        record = run(name, [*quick, *([paths[name]] if name in paths else [])])
        if record:
            parts[name] = section(name, record)
    if not options.quick:
        ordered = sorted(parts.values(), key=place)
        options.into.write_text("\n".join([HEAD, *ordered, kept]).rstrip() + "\n")
        print(f"written: {options.into}")


if __name__ == "__main__":
    main()
