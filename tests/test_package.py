"""The package as a whole: its public names, its rooms, and what importing it costs."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from processes import run_code

import rnnfast


def test_public_names_exist():
    for name in rnnfast.__all__:
        assert getattr(rnnfast, name) is not None
    assert sorted(set(rnnfast.__all__)) == sorted(rnnfast.__all__)


def test_names_imported_when_used_can_be_completed():
    assert {"Forecaster", "Seq2Seq", "torch", "mpi", *rnnfast.__all__} <= set(dir(rnnfast))


def test_import_brings_in_nothing_heavy():
    # measured: ours takes 7% of NumPy's own import; any of these would be a good part of the rest
    code = """
import sys
import numpy
before = set(sys.modules)
import rnnfast
print(*sorted(m.partition(".")[0] for m in set(sys.modules) - before))
"""
    heavy = {"argparse", "asyncio", "dataclasses", "email", "inspect", "json", "keras", "logging"}
    heavy |= {"matplotlib", "pathlib", "pydoc_data", "safetensors", "sklearn", "tempfile", "torch"}
    heavy |= {"tqdm", "unittest", "zipfile"}
    assert not heavy & set(run_code(code).split())


def test_modules_of_estimators_can_be_read_in_one_go():
    for path in (Path(rnnfast.__file__).parent / "estimators").glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 500, path.name


# ---- rooms: modules and packages of rnnfast itself


def imported_rooms(node, package):
    """Iterate over the rooms that code of a package, () for rnnfast itself, imports from."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and getattr(child.test, "id", "") == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.ImportFrom) and child.level == len(package) + 1:
            names = [child.module] if child.module else [alias.name for alias in child.names]
            yield from (name.partition(".")[0] for name in names)
        yield from imported_rooms(child, package)


def test_imports_go_down_the_picture_of_the_rooms():
    text = (Path(__file__).parents[1] / "docs/design.md").read_text()
    picture = next(block for block in text.split("```") if "__main__ →" in block)
    order = re.findall(r"\w+", re.sub(r"\|.*", "", picture))
    package = Path(rnnfast.__file__).parent
    rooms = {path.stem for path in package.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert sorted(order) == sorted(rooms - {"__init__", "__pycache__"})
    for file in package.rglob("*.py"):
        *folders, _ = file.relative_to(package).parts
        room = folders[0] if folders else file.stem
        for other in imported_rooms(ast.parse(file.read_text()), folders):
            if room != "__init__":
                assert order.index(room) < order.index(other), f"{file} imports {other}"
            assert {room, other} != {"core", "reference"}, file
