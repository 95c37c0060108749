"""Other libraries in the process, and other processors."""

from __future__ import annotations

import os
import shutil
import sys
from importlib.util import find_spec

import pytest
from processes import run_program


@pytest.mark.parametrize("library", ["torch", "sklearn"])
def test_import_order_does_not_matter(library):
    """P18: each has an OpenMP of its own, perhaps another one."""
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    alone = run_program("import_order", "rnnfast")
    assert run_program("import_order", "rnnfast", library) == alone
    assert run_program("import_order", library, "rnnfast") == alone


@pytest.mark.skipif(sys.platform != "linux" or os.uname().machine != "x86_64", reason="not x86-64")
@pytest.mark.parametrize(
    ("processor", "usable"),
    [
        ("Nehalem", "baseline"),
        ("SandyBridge", "baseline"),
        ("Haswell,-fma", "baseline"),
        ("Haswell,-xsave", "baseline"),
        ("Haswell", "baseline,avx2"),
    ],
)
def test_older_processors_meet_no_instruction_they_lack(runtime, processor, usable):
    """P20: on processors that qemu emulates, which ends a program at the first such instruction."""
    emulator = shutil.which("qemu-x86_64") or shutil.which("qemu-x86_64-static")
    if emulator is None:
        pytest.skip("qemu-user is not installed")
    # NumPy's own BLAS does not always ask what it may use
    blas = {"OPENBLAS_CORETYPE": "Prescott", "OPENBLAS_NUM_THREADS": "1"}
    cells = run_program("instruction_sets", usable, under=[emulator, "-cpu", processor], **blas)
    assert cells == ["RNN", "LSTM", "GRU"] * 2
