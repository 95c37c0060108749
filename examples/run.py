"""Runs all examples and writes docs/results.md: `make examples`.

    python examples/run.py [--quick | --check | --record] [--only NAME ...] [--data NAME=PATH ...]

Rows of examples that are not run, and all other sections of the page, stay. The figures of every
seed go to a record of this processor and instruction set, benchmarks/results/examples-*.json, and
are compared to the bit with the records of others. --record leaves the examples' own sections to
another machine; --check writes nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path
from typing import Any

from common import Row, table

import rnnfast as rf
from rnnfast.core import runtime
from rnnfast.info import processor

HERE = Path(__file__).parent
RECORDS = HERE.parent / "benchmarks" / "results"
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


MACHINES = """## Processors

Seconds of the processor, all threads together, and a hash of the figures of every seed to the last
bit: where hashes are equal, so are the figures. Baselines and times are no part of it.
`python examples/run.py --check` runs examples anew and compares their figures with the records in
benchmarks/results/examples-*.json.

<!-- run.py writes from here -->
<!-- to here -->
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
        before = os.times()
        subprocess.run(command, check=True)
        after = os.times()
        found: dict[str, Any] = json.loads(record.read_text())
    spent = after.children_user + after.children_system
    found["cpu_seconds"] = spent - before.children_user - before.children_system
    return found if found["rows"] else None


def entry(record: dict[str, Any]) -> dict[str, Any]:
    """What a machine's record holds of an example."""
    return {
        "date": date.today().isoformat(),
        "threads": rf.get_num_threads(),
        "cpu_seconds": round(record["cpu_seconds"], 1),
        "figures": [[row["what"], row["metric"], row["ours"]] for row in record["rows"]],
    }


def fingerprint(figures: list[Any]) -> str:
    return hashlib.sha256(json.dumps(figures).encode()).hexdigest()[:12]


def path_of_record() -> Path:
    slug = re.sub("[^a-z0-9]+", "-", f"{processor()} {runtime.isa()}".lower())
    return RECORDS / f"examples-{slug}.json"


def machines() -> dict[Path, dict[str, Any]]:
    """All records, by their paths."""
    return {p: json.loads(p.read_text()) for p in sorted(RECORDS.glob("examples-*.json"))}


def compared(name: str, figures: list[Any]) -> str:
    """Say for each record whether it has the same figures of an example."""
    said = [f"figures: {fingerprint(figures)}"]
    for record in machines().values():
        if name in record["examples"]:
            theirs = record["examples"][name]["figures"]
            other = [a != b for a, b in zip(figures, theirs, strict=False)]
            differ = sum(other) + abs(len(figures) - len(theirs))
            same = f"other in {differ} of {len(theirs)} rows than" if differ else "the same as"
            said.append(f"{same} on {record['processor']}, {record['isa']}")
    return "; ".join(said)


def times_and_hashes() -> str:
    """Return the table of all records."""
    records = list(machines().values())
    lines = [
        "| example | " + " | ".join(f"{r['processor']}, {r['isa']}" for r in records) + " |",
        "|---" * (1 + len(records)) + "|",
    ]
    for name in EXAMPLES:
        found = [r["examples"].get(name) for r in records]
        cells = [
            f"{e['cpu_seconds']:.0f} s, {fingerprint(e['figures'])}" if e else "" for e in found
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def place(section: str) -> tuple[str, int]:
    """Sections in the order of their first rows: A2 before B1 before B10."""
    found = re.search(r"^\| ([A-Z])(\d+)", section, re.MULTILINE)
    return (found[1], int(found[2])) if found else ("", 0)


def section(name: str, record: dict[str, Any]) -> str:
    rows = [Row(**row) for row in record["rows"]]
    where = f"{processor()}, {runtime.isa()}, {rf.get_num_threads()} threads"
    return (
        f"## {name}\n\n{table(rows)}\n\n"
        f"`python examples/{name}.py`: {record['seconds']:.0f} s on {where}.\n"
    )


def sections(page: str) -> tuple[dict[str, str], str]:
    """What the page holds already: by example, and the sections of others."""
    examples, others = {}, []
    for text in re.split("^(?=## )", page, flags=re.MULTILINE)[1:]:
        name = text.splitlines()[0].removeprefix("## ")
        if name in EXAMPLES:
            examples[name] = text.rstrip() + "\n"
        else:
            others.append(text)
    return examples, "".join(others)


def save(records: dict[str, dict[str, Any]]) -> None:
    """Write the record of this machine, an example on each line."""
    path = path_of_record()
    examples = machines().get(path, {}).get("examples", {})
    examples |= {name: entry(record) for name, record in records.items()}
    lines = ",\n".join(f"  {json.dumps(n)}: {json.dumps(e)}" for n, e in sorted(examples.items()))
    head = json.dumps({"processor": processor(), "isa": runtime.isa()}, indent=1)[:-2]
    path.write_text(f'{head},\n "examples": {{\n{lines}\n }}\n}}\n')
    print(f"written: {path}")


def write(new: dict[str, str], into: Path) -> None:
    """Write the page with new sections of examples and the table of all records."""
    parts, others = sections(into.read_text() if into.exists() else "")
    parts |= new
    page = "\n".join([HEAD, *sorted(parts.values(), key=place), others or MACHINES + "\n" + EPOCHS])
    begin, end = "<!-- run.py writes from here -->\n", "<!-- to here -->"
    before, _, rest = page.partition(begin)
    after = rest.partition(end)[2]
    into.write_text(f"{before}{begin}\n{times_and_hashes()}\n\n{end}{after}".rstrip() + "\n")
    print(f"written: {into}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--quick", action="store_true", help="quick forms; nothing is written")
    form.add_argument("--check", action="store_true", help="nothing is written")
    form.add_argument("--record", action="store_true", help="the examples' sections stay")
    parser.add_argument("--only", nargs="+", choices=EXAMPLES, default=EXAMPLES, metavar="NAME")
    parser.add_argument(
        "--data", nargs="+", default=[], metavar="NAME=PATH", help="files that examples read"
    )
    parser.add_argument("--into", type=Path, default=HERE.parent / "docs" / "results.md")
    options = parser.parse_args()
    paths = dict(entry.split("=", 1) for entry in options.data)

    records = {}
    for name in options.only:
        quick = ["--quick"] if options.quick else []
        record = run(name, [*quick, *([paths[name]] if name in paths else [])])
        if record:
            records[name] = record
            figures = entry(record)["figures"]
            print(compared(name, figures) if not options.quick else fingerprint(figures))
    if not (options.quick or options.check):
        save(records)
        new = {name: section(name, record) for name, record in records.items()}
        write({} if options.record else new, options.into)


if __name__ == "__main__":
    main()
