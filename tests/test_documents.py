"""What the documents say of the tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
DOCS = TESTS.parent / "docs"


@pytest.mark.parametrize("name", ["promises.md", "numerics.md"])
def test_cited_tests_exist(name):
    cited = re.findall(r"`([^`\s]+)`", (DOCS / name).read_text())
    files = [c.partition("::")[0].removeprefix("tests/") for c in cited if re.search(r"\.py\b", c)]
    assert [f for f in files if "test_" in f and not list(TESTS.rglob(f))] == []
    known = "".join(path.read_text() for path in TESTS.rglob("test_*.py"))
    tests = re.findall(r"`[^`\s]*?(test_\w+)`", (DOCS / name).read_text())
    assert [test for test in tests if f"def {test}(" not in known] == []
    assert tests


def test_the_citation_names_the_repository_of_the_metadata():
    root = TESTS.parent
    metadata = re.search(r'^Repository = "(.+)"', (root / "pyproject.toml").read_text(), re.M)[1]
    assert f"\nrepository-code: {metadata}\n" in (root / "CITATION.cff").read_text()
