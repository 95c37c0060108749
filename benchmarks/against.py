"""Times the engine of an earlier revision beside the working tree's, in turns.

    python benchmarks/against.py REV [--other REV2] [--cells lstm] [--tasks training] [-k B64]

Both are copied to a temporary folder and compiled there, with this Python and its setuptools,
Cython and NumPy; the checkout stays as it is. Then they take turns for some rounds, each in a
process of its own that is stopped when it is not its turn. The cases are those of tests/cases.py
here; the calls are the layers' public ones, as rnnfast.bench of either revision makes them.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from importlib import util
from pathlib import Path
from statistics import geometric_mean, median

sys.path.append(str(Path(__file__).parents[1] / "tests"))
sys.path.append(str(Path(__file__).parents[1]))  # without rnnfast installed, its sources do

from cases import Case
from compare import add_choice, chosen, take_turns, warn
from workers import Side, Workers, load, no_arrays

import rnnfast
from rnnfast.bench import LAYERS, row, tasks
from rnnfast.core import runtime

ROOT = Path(__file__).parents[1]
NEEDED = ["setuptools>=77", "Cython>=3.1", "numpy>=2.0"]  # as pyproject.toml has it
BEFORE, AFTER = "before", "after"  # the folders, and the workers


def git(*arguments: str) -> bytes:
    """Return what git answers about this repository, or end the run with its complaint."""
    result = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True)
    if result.returncode:
        raise SystemExit(f"git {' '.join(arguments)}: {os.fsdecode(result.stderr).strip()}")
    return result.stdout


def export(revision: str | None, folder: Path) -> str:
    """Copy a revision, or for None the working tree without what git ignores; return its title."""
    folder.mkdir()
    if revision is not None:
        commit = git("rev-parse", "--verify", "--short", f"{revision}^{{commit}}").decode().strip()
        subprocess.run(["tar", "-x", "-C", str(folder)], input=git("archive", commit), check=True)
        return commit
    names = os.fsdecode(git("ls-files", "-z", "--cached", "--others", "--exclude-standard"))
    for name in names.split("\0"):
        if (ROOT / name).is_file():  # neither deleted nor the end of the list
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return "working tree"


def build(title: str, folder: Path) -> None:
    """Compile the extensions in place; the compiler's temporary files lie beside the folder."""
    print(f"compiling: {title}", flush=True)
    with subprocess.Popen(
        [sys.executable, "setup.py", "build_ext", "--inplace"],
        cwd=folder,
        env=os.environ | {"TMPDIR": str(folder.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)  # the compilers too
            process.communicate()  # until the last has gone, and the folder can go
            raise
    if process.returncode or not [*folder.glob("rnnfast/core/*.so")]:  # without a compiler: none
        needed = ", ".join(["a C compiler", *NEEDED])
        raise SystemExit(f"{output}\n{title} does not compile; needed: {needed}")


def identify() -> tuple[str, str, str]:
    """Return this process's rnnfast: its file, the backend and the instruction set."""
    return rnnfast.__file__, rnnfast.backend.active().name, runtime.isa()


def side(case: Case, task: str) -> Side:
    """Build a case as this process's rnnfast does."""
    layer = LAYERS[case.cell](case.I, case.H, seed=0)
    return tasks(layer, case.B, case.T)[task], no_arrays


def race(titles: dict[str, str], folder: Path, options: argparse.Namespace) -> None:
    """Time all cases and print the tables."""
    threads = options.threads or rnnfast.get_num_threads()
    rounds: list[list[float]] = []
    with Workers(threads, {name: str(folder / name) for name in titles}) as workers:
        for name, title in titles.items():
            file, backend, isa = workers[name].ask(identify)
            if backend != "core" or Path(file).parents[1] != folder / name:
                raise SystemExit(f"{title}: not its own engine, but {backend} of {file}")
        print(f"{isa}, float32, threads: {threads}; microseconds")
        for task in options.tasks:
            print("\n" + row(task, "B, T, I, H", *titles.values(), "ratio", "% of peak"))
            ratios = []
            for case in chosen(options):
                for name in titles:
                    workers[name].ask(load, side, case, task)
                times, peaks = take_turns(workers, titles, AFTER, options.rounds, options.seconds)
                rounds += times.values()
                us = {name: median(values) for name, values in times.items()}
                ratios.append(us[BEFORE] / us[AFTER])
                percent = 100 * case.flops(task == "training") / us[AFTER] / 1e3 / median(peaks)
                print(row(case.cell, case.sizes, *us.values(), ratios[-1], percent), flush=True)
            mean = geometric_mean(ratios)
            print(f"{task}: {titles[AFTER]} is {mean:.3f} times as fast (geometric mean)")
    warn(rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("revision", metavar="REV", help="any name that git knows")
    parser.add_argument("--other", metavar="REV2", help="in place of the working tree")
    add_choice(parser)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.2, help="of a round of each")
    options = parser.parse_args()
    chosen(options)  # nothing had better be known before the compiler runs
    missing = [needed for needed in NEEDED if not util.find_spec(needed.partition(">=")[0])]
    if missing:
        quoted = " ".join(f"'{needed}'" for needed in missing)
        raise SystemExit(f"not installed, and needed to compile: pip install {quoted}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # it cleans up as after Ctrl-C
    with tempfile.TemporaryDirectory(prefix="rnnfast-") as temporary:
        folder = Path(temporary)
        revisions = {BEFORE: options.revision, AFTER: options.other}
        titles = {name: export(revision, folder / name) for name, revision in revisions.items()}
        for name, title in titles.items():
            build(title, folder / name)
        race(titles, folder, options)


if __name__ == "__main__":
    main()
