"""What the documents say of the tests, and whether their programs run and print what they say."""

from __future__ import annotations

import ast
import builtins
import os
import re
import symtable
from pathlib import Path

import pytest
from programs import newcomer

import rnnfast

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


def test_the_table_of_versions_says_what_the_project_asks_for_and_tests():
    page = (DOCS / "stability.md").read_text()
    rows = re.findall(r"^\| ([A-Z]?[\w, -]+) \| ([\d., ]+) \| ([^|]+) \|", page, re.M)
    least = {
        name.strip().lower(): version.strip()
        for names, versions, _ in rows
        for name, version in zip(names.split(","), versions.split(","), strict=True)
    }
    project = (DOCS.parent / "pyproject.toml").read_text()
    renamed = {"pytorch": "torch", "onnx runtime": "onnxruntime"}
    for name, version in least.items():
        wanted = f'"{renamed.get(name, name)}>={version}"'
        assert wanted in project or (name, version) == ("python", "3.10"), wanted
    assert {"python", "numpy", "scikit-learn", "pytorch", "keras", "onnx"} <= set(least)
    tested = {names: versions for names, _, versions in rows}
    torch = re.search(r"^TORCH_VERSION = (\S+)", (DOCS.parent / "Makefile").read_text(), re.M)[1]
    assert tested["PyTorch"] == torch
    calls = (Path(rnnfast.__file__).parent / "torch" / "calls.py").read_text()
    first, last = re.search(r"FIRST, LAST = \((\d+, \d+)\), \((\d+, \d+)\)", calls).groups()
    assert f"from {first.replace(', ', '.')} to {last.replace(', ', '.')}" in page
    assert torch.startswith(last.replace(", ", "."))


# ---- links

README = DOCS.parent / "README.md"
PAGES = [path for path in sorted(DOCS.rglob("*.md")) if "generated" not in path.parts]


def links(text):
    """Return where a page leads to in the repository."""
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.M | re.S)
    return [link for link in re.findall(r"\]\(([^)\s#]+)", text) if "://" not in link]


def test_links_lead_to_files():
    found = [
        (page, to) for page in [*DOCS.parent.glob("*.md"), *PAGES] for to in links(page.read_text())
    ]
    assert len(found) > 50
    dead = [(page, to) for page, to in found if not (page.parent / to).exists()]
    assert dead == []


def test_links_of_the_site_lead_to_its_pages():
    """Files beside README are pages there: docs/conf.py, which knows them by their names alone."""
    included, out = {}, []
    for page in DOCS.glob("*.md"):
        text = page.read_text()
        included |= dict.fromkeys(re.findall(r"{include} \.\./(\w+\.md)", text), page.name)
        out += [to for to in links(text) if re.fullmatch(r"\.\./.*\.md", to)]
    assert {"CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"} <= set(included)
    assert [to for to in out if included.get(to[3:]) != to[3:].lower()] == []
    for name in included:  # `:relative-docs:` knows one folder
        text = (DOCS.parent / name).read_text().partition("\n## Site and source\n")[0]
        assert [to for to in links(text) if not to.startswith("docs/")] == []


# ---- programs in the pages

PROGRAMS = {
    f"{page.stem}-{number}": re.sub(f"^{indent}", "", text, flags=re.M)
    for page in [README, *sorted(DOCS.glob("*.md"))]
    for number, (indent, text) in enumerate(
        re.findall(r"^( *)```python\n(.*?)^ *```", page.read_text(), re.M | re.S)
    )
}


def names_from_outside(code):
    """Return the names that a program takes from the text around it."""
    top = symtable.symtable(code, "a page", "exec")
    tables = [top]
    for table in tables:
        tables += table.get_children()
    own = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported()}
    used = {
        symbol.get_name()
        for table in tables
        for symbol in table.get_symbols()
        if symbol.is_referenced() and (table is top or symbol.is_global())
    }
    return used - own - set(dir(builtins))


COMPLETE = [name for name, code in PROGRAMS.items() if not names_from_outside(code)]


def run(code):
    pytest.importorskip("sklearn", reason="pages show estimators")
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                pytest.importorskip(alias.name)
    exec(compile(code, "a page", "exec"), {"__name__": "page"})


@pytest.mark.parametrize("name", COMPLETE[1:])
def test_programs_of_pages_run(name):
    if re.search(r"n_jobs|\btorch\b", PROGRAMS[name]) and "RNNFAST_SITE" not in os.environ:
        pytest.skip("starts processes, or imports PyTorch: runs beside the site's tests")
    run(PROGRAMS[name])


def test_the_readme_s_program_prints_what_stands_below_it(capsys):
    assert COMPLETE[0] == "README-0"
    run(PROGRAMS["README-0"])
    said = re.search(r"^```\n(test MSE.*)\n```", README.read_text(), re.M)[1]
    number = r"\d+\.\d+"
    printed = capsys.readouterr().out.splitlines()[-1]
    assert re.sub(number, "", printed) == re.sub(number, "", said)
    # Training goes other ways where NumPy rounds other ways; seconds are the machine's.
    ours, theirs = ([float(n) for n in re.findall(number, line)[:2]] for line in (printed, said))
    assert ours == pytest.approx(theirs, rel=0.05)


def test_readme_has_what_a_newcomer_follows():
    commands, program, printed = newcomer.read((TESTS.parent / "README.md").read_text())
    assert any("pip install" in command for command in commands) and "rnnfast info" in commands
    assert "import rnnfast" in program and printed.strip()
