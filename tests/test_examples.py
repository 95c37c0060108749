"""Every example's quick form runs to its end and makes its picture, those of little work on both
backends; and what examples/run.py writes.
"""

import importlib
import json
import os
import re
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from rnnfast import backend

EXAMPLES = Path(__file__).parents[1] / "examples"
PAGE = EXAMPLES.parent / "docs" / "results.md"
CHORALES = os.environ.get("RNNFAST_CHORALES")
OTHERS_DATA = {"chorales", "sunspots", "time_series_classification"}  # not ours to bring
EXACT = {"basics", "gradients"}  # their goals bound errors, and hold in the quick form, too
LITTLE_WORK = EXACT | {"gates"}  # for the reference, too
NAMES = sorted(p.stem for p in EXAMPLES.glob("*.py") if p.stem not in ("common", "run"))

pytest.importorskip("matplotlib", reason="examples draw with matplotlib")
pytest.importorskip("sklearn", reason="examples use the estimators")


@pytest.mark.parametrize(
    ("name", "engine"),
    [(name, "core") for name in NAMES] + [(name, "reference") for name in sorted(LITTLE_WORK)],
)
@pytest.mark.filterwarnings("ignore")  # of fits that are this short
def test_quick_form(name, engine, tmp_path, monkeypatch, capsys):
    """In this process, as importing the libraries takes longer than the examples do."""
    program, record = str(EXAMPLES / f"{name}.py"), tmp_path / "record.json"
    arguments = ["--quick", "--out", str(tmp_path), "--record", str(record)]
    arguments += [CHORALES] if name == "chorales" and CHORALES else []
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setattr(sys, "argv", [program, *arguments])
    with backend.use(engine):
        runpy.run_path(program, run_name="__main__")
    rows, printed = json.loads(record.read_text())["rows"], capsys.readouterr().out
    if not rows:
        assert name in OTHERS_DATA, printed
        pytest.skip(printed)
    assert all(row["ours"] for row in rows)
    if name in EXACT:
        bounded = [row for row in rows if row["goal"] is not None]
        assert bounded
        assert [row for row in bounded if max(row["ours"]) > row["goal"]] == []
    assert list(tmp_path.glob("*.png")), "no picture"


@pytest.fixture
def runner(tmp_path, monkeypatch):
    """examples/run.py, its records in a folder of the test's."""
    monkeypatch.syspath_prepend(EXAMPLES)
    runner = importlib.import_module("run")
    shutil.copytree(runner.RECORDS, tmp_path / "results")
    monkeypatch.setattr(runner, "RECORDS", tmp_path / "results")
    return runner


def made_up(value):
    row = {"row": "A1", "what": "nothing", "metric": "MSE", "ours": [value, 0.5], "goal": None}
    return {"rows": [row], "seconds": 1.0, "cpu_seconds": 2.0}


def test_the_page_holds_what_the_records_say(runner):
    assert runner.times_and_hashes() in PAGE.read_text()


def test_only_the_sections_of_what_was_run_change(runner, tmp_path):
    page = tmp_path / "results.md"
    page.write_text(PAGE.read_text())
    runner.write({}, page)
    assert page.read_text() == PAGE.read_text()
    section = runner.section("gates", made_up(0.25))
    runner.write({"gates": section}, page)
    before, after = (re.split("^(?=## )", p.read_text(), flags=re.M) for p in (PAGE, page))
    assert [b.split("\n")[0] for b in before] == [a.split("\n")[0] for a in after]
    assert [a.rstrip() for a, b in zip(after, before, strict=True) if a != b] == [section.rstrip()]


def test_figures_are_compared_to_the_last_bit(runner, monkeypatch):
    for name, value in (("Zilog Z80", 0.25), ("MOS 6502", np.nextafter(0.25, 1))):
        monkeypatch.setattr(runner, "processor", lambda name=name: name)
        runner.save({"gates": made_up(value)})
    said = runner.compared("gates", runner.entry(made_up(0.25))["figures"])
    assert "the same as on Zilog Z80" in said
    assert "other in 1 of 1 rows than on MOS 6502" in said
    hashes = re.search(r"^\| gates \|.*$", runner.times_and_hashes(), re.M)[0]
    assert len(set(re.findall(r"\| 2 s, ([0-9a-f]{12})", hashes))) == 2
