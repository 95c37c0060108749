"""Which lines of rnnfast/ and csrc/ the tests run: Python, Cython and C, and which they do not.

    python .ci/covered.py [PYTEST ARGUMENT ...]

The engine is compiled with little optimisation and gcov's counters, in a folder of its own. Threads
may lose counts of each other, but never all: a line that ran has one.
coverage.py counts lines of Python. gcov counts lines of C; Cython says in a comment which of its
lines each piece of the C that it writes is of, and a line is run if any of its C is. Kernels count
together over all instruction sets: what the compiler makes of a line for one is run if it is for
another. Returns 1 where a language has less than 95%, or a test fails.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENOUGH = 95.0  # per cent
COMPILER = """#!/bin/bash
arguments=()
for argument; do case $argument in -O?|-s|-g0) ;; *) arguments+=("$argument") ;; esac; done
exec cc "${arguments[@]}" -O1 --coverage -fprofile-update=single
"""
# file: {line: whether it ran}, of lines that have code
Lines = dict[str, dict[int, bool]]


def build(folder: Path) -> None:
    """Copy the sources and compile them in place, with counters."""
    tracked = subprocess.check_output(["git", "-C", ROOT, "ls-files", "-z"], text=True)
    for name in tracked.split("\0"):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    compiler = folder / "cc"
    compiler.write_text(COMPILER)
    compiler.chmod(0o755)
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    subprocess.run(command, cwd=folder, env=os.environ | {"CC": str(compiler)}, check=True)


def run_tests(folder: Path, arguments: list[str]) -> tuple[int, Lines]:
    """Run the tests; return their exit status and the lines of Python."""
    kept = {"PYTHONPATH": str(folder), "COVERAGE_FILE": str(folder / ".coverage")}
    kept |= {"COVERAGE_RCFILE": str(folder / "pyproject.toml")}
    coverage = [sys.executable, "-m", "coverage"]

    def run(*command: str) -> int:
        return subprocess.call([*coverage, *command], cwd=folder / "tests", env=os.environ | kept)

    source = f"--source={folder / 'rnnfast'}"
    # An import whose lines are counted is slow, and a test of its time says nothing.
    timed = "--deselect=tests/test_install.py::test_import_is_quick"
    status = run("run", source, "-m", "pytest", "-p", "no:cacheprovider", timed, *arguments)
    run("combine", "-q")
    run("json", "-q", "-o", str(folder / "python.json"))
    lines: Lines = {}
    for name, file in json.loads((folder / "python.json").read_text())["files"].items():
        ran = dict.fromkeys(file["executed_lines"], True)
        at = Path(folder, "tests", name).resolve().relative_to(folder.resolve())
        lines[str(at)] = ran | dict.fromkeys(file["missing_lines"], False)
    return status, lines


def compiled_lines(folder: Path) -> Lines:
    """Return the lines of C and Cython, by what gcov counted."""
    lines: Lines = defaultdict(dict)
    for notes in folder.rglob("*.gcno"):
        command = ["gcov", "--json-format", "--stdout", str(notes)]
        report = json.loads(subprocess.check_output(command, cwd=folder, stderr=subprocess.DEVNULL))
        for file in report["files"]:
            path = Path(folder, file["file"])
            if not path.resolve().is_relative_to(folder.resolve()):
                continue
            name = str(path.resolve().relative_to(folder.resolve()))
            written = cython_lines(path) if "rnnfast/core" in name else None
            for line in file["lines"]:
                of = (
                    (name, line["line_number"])
                    if written is None
                    else written.get(line["line_number"])
                )
                if of is not None:
                    ran = lines[of[0]].get(of[1], False)
                    lines[of[0]][of[1]] = ran or line["count"] > 0
    return lines


def cython_lines(path: Path) -> dict[int, tuple[str, int]]:
    """Return of which file and line of Cython each line of a C file is."""
    at, lines = None, {}
    for number, text in enumerate(path.read_text().splitlines(), 1):
        if said := re.match(r'\s*/\* "(rnnfast/core/\w+\.p[yx][xd])":(\d+)$', text):
            at = said[1], int(said[2])
        elif text == "}" or re.match(r'\s*/\* "', text):  # a function ends, or a line of NumPy's
            at = None
        if at is not None:
            lines[number] = at
    return lines


def ranges(numbers: list[int]) -> str:
    """Write numbers as 1-3, 7."""
    parts: list[list[int]] = []
    for n in numbers:
        if parts and n == parts[-1][-1] + 1:
            parts[-1].append(n)
        else:
            parts.append([n])
    return ", ".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts)


def main(arguments: list[str]) -> int:
    """Build, test, report; return the exit status."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        build(folder)
        status, python = run_tests(folder, arguments)
        compiled = compiled_lines(folder)
    kinds = {
        "Python": python,
        "Cython": {n: v for n, v in compiled.items() if n.endswith((".pyx", ".pxd"))},
        "C": {n: v for n, v in compiled.items() if n.startswith("csrc/")},
    }
    print("\nLines that no test ran:")
    for files in kinds.values():
        for name, lines in sorted(files.items()):
            if left := sorted(n for n, ran in lines.items() if not ran):
                print(f"{name}  {1 - len(left) / len(lines):.1%} run, not: {ranges(left)}")
    print()
    for kind, files in kinds.items():
        ran = [each for lines in files.values() for each in lines.values()]
        share = 100 * sum(ran) / max(1, len(ran))
        print(f"{kind:7}{sum(ran):6} of {len(ran):6} lines  {share:.1f}%")
        status = status or int(share < ENOUGH)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
