"""Every example's quick form runs to its end and makes its picture, those of little work on both
backends.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
CHORALES = os.environ.get("RNNFAST_CHORALES")
OTHERS_DATA = {"chorales", "sunspots", "time_series_classification"}  # not ours to bring
EXACT = {"basics", "gradients"}  # their goals bound errors, and hold in the quick form, too
LITTLE_WORK = EXACT | {"gates"}  # for the reference, too
NAMES = sorted(p.stem for p in EXAMPLES.glob("*.py") if p.stem not in ("common", "run"))

pytest.importorskip("matplotlib", reason="examples draw with matplotlib")
pytest.importorskip("sklearn", reason="examples use the estimators")


@pytest.mark.parametrize(
    ("name", "backend"),
    [(name, "core") for name in NAMES] + [(name, "reference") for name in sorted(LITTLE_WORK)],
)
def test_quick_form(name, backend, tmp_path):
    record = tmp_path / "record.json"
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), "--quick"]
    command += ["--out", str(tmp_path), "--record", str(record)]
    command += [CHORALES] if name == "chorales" and CHORALES else []
    environment = os.environ | {"RNNFAST_BACKEND": backend, "MPLBACKEND": "agg"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = json.loads(record.read_text())["rows"]
    if not rows:
        assert name in OTHERS_DATA, done.stdout
        pytest.skip(done.stdout)
    assert all(row["ours"] for row in rows)
    if name in EXACT:
        bounded = [row for row in rows if row["goal"] is not None]
        assert bounded
        assert [row for row in bounded if max(row["ours"]) > row["goal"]] == []
    assert list(tmp_path.glob("*.png")), "no picture"
