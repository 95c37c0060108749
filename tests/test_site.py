"""The site: the reference names everything public."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path

import rnnfast

ROOT = Path(__file__).parents[1]
PACKAGE = Path(rnnfast.__file__).parent
MODULES = [name for name in rnnfast.__all__ if inspect.ismodule(getattr(rnnfast, name))]
MODULES += rnnfast._BRIDGES


def exported(module: str) -> list[str]:
    """Read `__all__` from the source, as the bridges import what they are named after."""
    path = PACKAGE / module
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return ast.literal_eval(node.value)
    raise AssertionError(f"{path} has no __all__")


def public_names() -> set[str]:
    """Each name once, by the shortest way to it."""
    top = {*rnnfast.__all__, *exported("estimators")} - {"__version__", *MODULES}
    below = {f"{m}.{n}" for m in MODULES for n in exported(m)}
    same = {f"optim.{name}" for name in top}  # from rnnfast import Adam
    return top | below - same


def test_every_public_name_has_its_place_in_the_reference():
    entries = re.findall(r"^   ([\w.]+)$", (ROOT / "docs" / "reference.rst").read_text(), re.M)
    assert sorted(entries) == sorted(public_names())


def test_every_example_has_a_page_in_the_gallery(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs")
    gallery = importlib.import_module("gallery")
    monkeypatch.setattr(gallery, "PAGES", tmp_path)
    gallery.write_pages()
    examples = {path.stem for path in (ROOT / "examples").glob("*.py")} - {"common", "run"}
    assert {path.stem for path in tmp_path.glob("*.md")} == examples
    page = (tmp_path / "gates.md").read_text()
    assert page.startswith("# Look into the gates of an LSTM\n")
    assert "| A2 | remember the last marked value" in page
    cards = (tmp_path / "cards.txt").read_text()
    assert sorted(re.findall(r":link: generated/gallery/(\w+)", cards)) == sorted(examples)
    pictures = re.findall(r":img-top: gallery/(\S+)", cards)
    assert sorted(pictures) == sorted(path.name for path in (ROOT / "docs/gallery").iterdir())
