"""Counts what the hot loops load: the tiles' inner loops, as the compiler made them.

    python benchmarks/loads.py [--isa avx2] [--bits 64] [--all]

Compiles the kernels of each instruction set of x86 with the flags of setup.py and reads the
assembly of the tiles. A line for each loop of tile_ROWSxPANELSxVECTORSxSUMS, or for three panels
tile_ROWSx3x3_FIRST, of one k or, for most of AVX2's, two: multiply-adds, loads (memory operands of
arithmetic and broadcasts among them), those that are broadcasts, prefetches, loads and prefetches a
multiply-add, and accesses to the stack, which are spills.

Where llvm-mca is installed it adds, for some processors, the percentage of two multiply-adds a
cycle that the loop reaches with all data in the first-level cache. LLVM 14 takes znver3 to do one
multiply-add a cycle, so that 50 % is the most there.

Without --all these are the tiles of the most rows over whole panels. There AVX2 must stay within
MOST loads a multiply-add, and AVX-512 without spills; else the status is 1.
"""

from __future__ import annotations

import argparse
import ast
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST = 0.75  # two loads a cycle feed two multiply-adds, and leave time for the rest
LEVELS = {  # instruction sets, and the processors whose models llvm-mca runs
    "baseline": ("haswell", "skylake", "znver3"),
    "avx2": ("haswell", "skylake", "znver3"),
    "avx512": ("skylake-avx512",),
}
ROUNDS = 200

# Of AT&T syntax.
MULTIPLY = r"v?(fn?madd\d+|mul)p[sd]"
MEMORY = r"(?!lea|prefetch)\S+\s.*\("
BROADCAST = r"vbroadcast|movs[sd]\s.*\(|movddup"
PREFETCH = "prefetch"
SPILL = r"(?!lea|prefetch)\S+\s.*\(%rsp"


def flags() -> list[str]:
    """Return setup.py's flags for GCC, after those of this Python as setuptools has them."""
    own: list[str] = []
    for node in ast.parse((ROOT / "setup.py").read_text()).body:
        named = isinstance(node, ast.Assign) and ast.unparse(node.targets[0])
        if named in ("COMPILE_FLAGS", "GCC_FLAGS"):
            own += ast.literal_eval(node.value)
    return [*shlex.split(sysconfig.get_config_var("CFLAGS") or ""), "-fPIC", *own]


def assembly(isa: str, bits: int) -> str:
    """Compile the kernels of an instruction set and return the assembly."""
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")
    source = ROOT / "csrc" / f"{isa}_f{bits}.c"
    command = [*compiler, *flags(), "-S", "-o", "-", str(source)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def loops(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the innermost loops with multiply-adds of all tiles, and the name of the tile."""
    for name, function in re.findall(r"^(tile_\d\S+):\n(.*?)^\s*\.size\s+\1,", text, re.M | re.S):
        lines = [line.strip() for line in function.splitlines()]
        labels = {line[:-1]: i for i, line in enumerate(lines) if line.endswith(":")}
        for end, line in enumerate(lines):
            start = labels.get(line.split()[-1], end) if line.startswith("j") else end
            body = [line for line in lines[start : end + 1] if line and not line.startswith(".")]
            inner = not any(line.startswith("j") for line in body[:-1])
            if start < end and inner and count(body, MULTIPLY):
                yield name, body


def count(body: list[str], pattern: str) -> int:
    return sum(bool(re.match(pattern, line)) for line in body)


def reached(body: list[str], processor: str) -> float:
    """Return llvm-mca's percentage of two multiply-adds a cycle."""
    command = ["llvm-mca", f"-mcpu={processor}", f"-iterations={ROUNDS}"]
    text = "\n".join(line for line in body if not line.startswith("j"))
    result = subprocess.run(command, input=text, check=True, capture_output=True, text=True)
    found = re.search(r"Total Cycles: +(\d+)", result.stdout)
    if not found:
        raise SystemExit(f"llvm-mca printed no cycles:\n{result.stdout}")
    return 100 * count(body, MULTIPLY) / 2 * ROUNDS / int(found[1])


def table(isa: str, bits: int, every: bool) -> bool:
    """Print the loops of an instruction set; return whether those of full tiles keep the bounds."""
    found = sorted(loops(assembly(isa, bits)))
    # Full tiles have one panel, four vectors with a sum, and the most rows of those that feed them.
    full = {re.sub(r"\d", "", name, count=1): name for name, _ in found if "x1x" in name}
    full = {name for name in full.values() if name.endswith("x4")}
    if not full:
        raise SystemExit(f"{isa}: no loop found in the compiler's assembly")
    processors = LEVELS[isa] if shutil.which("llvm-mca") else ()
    columns = ("FMAs", "loads", "broadcasts", "prefetches", "loads/FMA", "spills", *processors)
    print(f"\n{f'{isa}, float{bits}':<18}" + "".join(f"{name:>15}" for name in columns))
    kept, printed = True, set()
    for name, body in found:
        if not (every or name in full):
            continue
        fmas, spills = count(body, MULTIPLY), count(body, SPILL)
        loads, fetches = count(body, MEMORY), count(body, PREFETCH)
        share = (loads + fetches) / fmas
        numbers = [fmas, loads, count(body, BROADCAST), fetches, f"{share:.2f}", spills]
        numbers += [f"{reached(body, processor):.0f} %" for processor in processors]
        line = f"{name:<18}" + "".join(f"{number:>15}" for number in numbers)
        if line not in printed:  # once for each of the loops of a tile that differ
            print(line)
            printed.add(line)
        bounds = {"avx2": share <= MOST, "avx512": not spills}
        kept &= name not in full or bounds.get(isa, True)
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--isa", choices=LEVELS, nargs="+", default=list(LEVELS))
    parser.add_argument("--bits", type=int, choices=(32, 64), default=32)
    parser.add_argument("--all", action="store_true", help="tiles of fewer rows and vectors too")
    options = parser.parse_args()
    if platform.machine() not in ("x86_64", "AMD64"):
        raise SystemExit(f"loads.py expected x86-64, whose assembly it reads: {platform.machine()}")
    kept = [table(isa, options.bits, options.all) for isa in options.isa]
    print(f"\nAVX2 within {MOST} loads a multiply-add, AVX-512 without spills: {all(kept)}")
    return not all(kept)


if __name__ == "__main__":
    sys.exit(main())
