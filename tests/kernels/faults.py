"""Plant small faults in csrc, one at a time, and see whether the tests beside this file fail.

    python tests/kernels/faults.py [NAME ...]

Each fault is a line that somebody might have written. The kernels are compiled with it for the best
instruction set of this machine, in float32, without optimisation, and the tests of kernels for
these run on that library; half a minute a fault. A fault that survives asks for a test. Returns 1
where one survives, or where its line is no longer there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from rnnfast.core import runtime

TESTS = Path(__file__).parents[1]
CSRC = TESTS.parent / "csrc"
COMPILE = (*os.environ.get("CC", "cc").split(), "-O0", "-g0", "-fPIC", "-fno-math-errno", "-w")


class Fault(NamedTuple):
    """A line of a file of csrc, and what is written in its place."""

    file: str
    right: str
    wrong: str


FAULTS = {
    "sigmoid of large numbers overflows": Fault("act.h", "vmin(-x[e], EXP_BOUND)", "-x[e]"),
    "tanh ends too early": Fault("act.h", "& ~sign), EXP_BOUND / 4)", "& ~sign), EXP_BOUND / 16)"),
    "a peephole of another gate": Fault("cell_lstm.h", "g, e, 0) * di +\n", "g, e, 1) * di +\n"),
    "a GRU's n_h without r": Fault(
        "cell_gru.h", "store(gates + 3 * H, dn * r)", "store(gates + 3 * H, dn)"
    ),
    "the slope where pieces meet": Fault(
        "cell_min.h", "choose(g < (real)0.5, g *", "choose(g <= (real)0.5, g *"
    ),
    "the last square left out": Fault("elementwise.h", "i < n; i++, l++", "i < n - 1; i++, l++"),
    "the next run is not entered": Fault("gradient.h", "    at->run++;\n", ""),
    "tiles of unequal rows overlap": Fault(
        "gradient.h", "(at->i < at->longer ? at->i : at->longer)", "at->longer"
    ),
    "gates are not put in order": Fault(
        "gradient.h", "o->order ? o->order[at.run] : at.run", "at.run"
    ),
    "masks of all chunks alike": Fault("masks.h", "(unsigned)m->first + row", "row"),
    "rows are not sorted for a mask": Fault(
        "masks.h", "(m->mask_row ? m->mask_row[b] : b) * m->ldm", "b * m->ldm"
    ),
    "a row is written too far": Fault(
        "matmul.h",
        "acc[r * RNNFAST_VECTORS + v], n - v * LANES)",
        "acc[r * RNNFAST_VECTORS + v], n)",
    ),
    "padding counts in the variance": Fault(
        "norm.h",
        "only(load_n(row + at, left) - mean[r * slots + s], left)",
        "load_n(row + at, left) - mean[r * slots + s]",
    ),
    "rows past the first 64 read the first": Fault(
        "norm.h",
        "const real *x = (const real *)m->x + b * K",
        "const real *x = (const real *)m->x + b0 * K",
    ),
    "a mean of the gradient left out": Fault("norm.h", "(d - d_mean[r] - n *", "(d - n *"),
    "Nesterov's momentum counted in full": Fault(
        "optim.h", "nesterov ? (real)momentum * step + g", "nesterov ? step + g"
    ),
    "lanes past the units keep what was there": Fault("pack.h", "to[l] = 0;", ";"),
    "a reset of the block's first row": Fault(
        "step.h", "s->cut && s->cut[b + r]", "s->cut && s->cut[b]"
    ),
    "every pass takes the first weights": Fault(
        "tile.h", "            pass[n].w += done * op->pitch;\n", ""
    ),
    "a lane too many": Fault("vec.h", "return lane < (bits)n;", "return lane <= (bits)n;"),
}


def compile_to(folder: Path, name: str) -> None:
    """Compile a file of `folder`; its object lies beside it."""
    command = [*COMPILE, f"-I{folder}", "-c", f"{folder}/{name}.c", "-o", f"{folder}/{name}.o"]
    subprocess.run(command, check=True)


def survives(folder: Path, isa: str) -> bool:
    """Whether the tests of kernels pass with the library of `folder`."""
    compile_to(folder, f"{isa}_f32")
    objects = [str(path) for path in folder.glob("*.o")]
    library = folder / "kernels.so"
    subprocess.run([*COMPILE, "-shared", *objects, "-o", str(library), "-lm"], check=True)
    chosen = f"{isa} and float32 and not can_fail"
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", chosen]
    result = subprocess.run(
        [*command, "kernels"],
        cwd=TESTS,
        env=os.environ | {"RNNFAST_TEST_KERNELS": str(library)},
        capture_output=True,
        text=True,
    )
    if result.returncode not in (0, 1):  # neither all passed nor some failed
        sys.exit(result.stdout + result.stderr)
    return result.returncode == 0


def main(names: list[str]) -> int:
    """Plant the faults; return the exit status."""
    if unknown := [name for name in names if name not in FAULTS]:
        sys.exit(f"expected names among {', '.join(FAULTS)}, got {unknown[0]!r}")
    isa, left = runtime.isa(), []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(shutil.copytree(CSRC, Path(temporary, "csrc")))
        for path in folder.glob("*.c"):
            compile_to(folder, path.stem)
        if not survives(folder, isa):
            sys.exit("the tests fail without a fault")
        for name in names or FAULTS:
            file, right, wrong = FAULTS[name]
            text = (CSRC / file).read_text()
            if text.count(right) != 1:
                sys.exit(f"{name}: expected one place in {file} with {right!r}")
            (folder / file).write_text(text.replace(right, wrong))
            alive = survives(folder, isa)
            shutil.copy(CSRC / file, folder / file)
            left += [name] * alive
            print(f"{'SURVIVED' if alive else 'caught'}: {name} ({file})", flush=True)
    print(f"{len(names or FAULTS) - len(left)} of {len(names or FAULTS)} caught ({isa}, float32)")
    return bool(left)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
