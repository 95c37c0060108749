"""The first five minutes of somebody who has a Python and README, and no compiler.

    python tests/programs/newcomer.py WHEELS PYTHON [PYTHON ...]

In each locale the section "Install" is followed in an empty environment, in a folder with a space
in its name: its commands with `rnnfast` in them, then README's first program, whose output must be
the one printed there (but for seconds and last digits), then the quick demo. rnnfast comes from
folder WHEELS, as if it were on the index, and all else from the index.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
LOCALES = (("en_US", "UTF-8"), ("de_DE", "ISO-8859-1"))


def read(text: str) -> tuple[list[str], str, str]:
    """Return README's commands, its first program and what that prints."""
    install = re.search(r"^## Install\n(.*?)^## ", text, re.M | re.S)[1]
    blocks = re.findall(r"^```\w*\n(.*?)^```", install, re.M | re.S)
    lines = [line.partition(" #")[0].strip() for line in "".join(blocks).splitlines()]
    commands = [
        line for line in lines if re.match(r"(pip|python|rnnfast)\b.*\brnnfast|rnnfast", line)
    ]
    program, output = re.search(
        r"^```python\n(.*?)^```\n+```\w*\n(.*?)^```", text, re.M | re.S
    ).groups()
    return commands, program, output


def locales(folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield names of locales and the environment that chooses them; compiled into `folder`."""
    for name, charset in LOCALES:
        made = ["localedef", "--no-archive", "-i", name, "-f", charset, str(folder / name)]
        if subprocess.run(made, capture_output=True).returncode in (0, 1):  # 1: with warnings
            yield f"{name}, {charset}", {"LC_ALL": name, "LOCPATH": str(folder)}
        else:
            yield f"no {name} here: C, ASCII", {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}


def alike(printed: str, said: str) -> bool:
    """Whether outputs are the same but for seconds and the last digits of other numbers."""
    number = r"(\d+(?:\.\d+)?)"
    ours, theirs = (re.split(number, text.strip()) for text in (printed, said))
    if ours[::2] != theirs[::2]:
        return False
    pairs = zip(ours[1::2], theirs[1::2], ours[2::2], strict=True)
    # 5%: training goes other ways where NumPy rounds other ways
    return all(
        behind.startswith(" s ") or abs(float(a) - float(b)) <= 0.05 * float(b)
        for a, b, behind in pairs
    )


def follow(python: str, wheels: Path, home: Path, locale: dict[str, str]) -> None:
    """Do what README says; end the program where something else comes of it."""
    kept = {n: v for n, v in os.environ.items() if not re.match(r"LANG|LC_|PYTHON|RNNFAST|OMP_", n)}
    environment = home / "environment"
    changes = {"PATH": str(environment / "bin"), "CC": "/bin/false", "HOME": str(home)}
    changes |= {"PIP_FIND_LINKS": wheels.as_uri(), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

    def run(command: list[str]) -> str:
        print("+", *command, flush=True)
        result = subprocess.run(
            command, cwd=home, env=kept | changes | locale, capture_output=True, text=True,
            errors="replace",
        )  # fmt: skip
        if result.returncode or "Traceback" in result.stderr:
            sys.exit(f"{result.stdout}{result.stderr}\nit ended with {result.returncode}")
        return result.stdout

    def wanted(what: str, output: str) -> None:
        if not re.search(what, output, re.M):
            sys.exit(f"{output}\nexpected {what!r} in it")

    commands, program, printed = read(README.read_text(encoding="utf-8"))
    if not any("pip install" in command for command in commands):
        sys.exit(f"no command in {README} installs rnnfast")
    run([python, "-m", "venv", str(environment)])
    said = ""
    for command in commands:
        first, *arguments = command.split()
        said += run([str(environment / "bin" / first), *arguments])
    wanted("^backend +core$", said)  # of `rnnfast info`
    (home / "first program.py").write_text(program, encoding="utf-8")
    output = run([str(environment / "bin" / "python"), "first program.py"])
    if not alike(output, printed):
        sys.exit(f"README's program printed\n{output}and not\n{printed}")
    print(output, end="")
    wanted(
        "continues with the same text",
        run([str(environment / "bin" / "rnnfast"), "demo", "--quick"]),
    )


def main(wheels: str, *pythons: str) -> None:
    """Play the newcomer with each Python and each locale."""
    for python in pythons:
        with tempfile.TemporaryDirectory(prefix="a newcomer ") as folder:
            for name, locale in locales(Path(folder)):
                print(f"---- {python}, {name}", flush=True)
                home = Path(folder, f"home of {locale['LC_ALL']}")
                home.mkdir()
                started = time.perf_counter()
                follow(python, Path(wheels).resolve(), home, locale)
                print(f"it took {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
