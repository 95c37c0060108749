"""Memory: none is lost, none is taken for what cannot be, and any of it may be refused."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from processes import PROGRAMS, needs_proc, run_program


@needs_proc
def test_memory_and_threads_stay_flat():
    """P3: no leak, no cache keyed by shape."""
    growth, threads = map(int, run_program("flat_memory"))
    assert growth < 8 << 20, f"{growth / 5000:.0f} bytes more for each of 5000 calls"
    assert threads == 0


@needs_proc
def test_sizes_beyond_the_memory_are_refused():
    """P12: products of sizes are checked before anything is written."""
    run_program("huge_sizes")


@pytest.fixture(scope="module")
def allocator(tmp_path_factory):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("no C compiler here, or no LD_PRELOAD")
    library = tmp_path_factory.mktemp("allocator") / "allocator.so"
    source = PROGRAMS / "allocator.c"
    subprocess.run([compiler, "-shared", "-fPIC", source, "-o", library, "-ldl"], check=True)
    return str(library)


def test_any_allocation_may_fail(runtime, allocator):
    """P12: every allocation of the engine fails once; nothing leaks, the next call is right."""
    allocations = run_program("failing_allocations", allocator, LD_PRELOAD=allocator)
    assert min(map(int, allocations)) > 4, allocations
