"""Measures what rnnfast adds to NumPy: seconds of import, bytes on the disk.

    python benchmarks/import_time.py

Imports run in fresh processes that take turns; medians are printed. The size is that of the
package's folder, compiled Python included; NumPy is all that rnnfast needs beside it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from statistics import median

import rnnfast

RUNS = 25
MOST = 1.3  # both imports, as a multiple of NumPy's alone
MOST_MB = 6.0
PROGRAM = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"


def seconds(modules: str) -> float:
    """Return how long a fresh interpreter takes to import `modules`."""
    # Not in the folder of the sources, which has no compiled modules.
    folder = Path(__file__).parent
    command = [sys.executable, "-c", PROGRAM.format(modules)]
    result = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return float(result.stdout)


def main() -> None:
    alone, both = [], []
    for run in range(RUNS + 1):
        pair = seconds("numpy"), seconds("numpy, rnnfast")
        if run:  # the first reads the disk and compiles to bytecode
            alone.append(pair[0])
            both.append(pair[1])
    numpy_ms, both_ms = 1e3 * median(alone), 1e3 * median(both)
    ratio = both_ms / numpy_ms
    files = [f for f in Path(rnnfast.__file__).parent.rglob("*") if f.is_file()]
    size = sum(f.stat().st_size for f in files) / 1e6
    print(f"import numpy           {numpy_ms:6.1f} ms")
    print(f"import numpy, rnnfast  {both_ms:6.1f} ms, {ratio:.2f} x (wanted: at most {MOST})")
    print(f"size without NumPy     {size:6.2f} MB (wanted: at most {MOST_MB:.0f})")


if __name__ == "__main__":
    main()
