"""Runs code, and the programs of tests/programs, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import rnnfast

PROGRAMS = Path(__file__).parent / "programs"
needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="no /proc here")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


def run_program(name, *arguments, **options):
    """Run a program; what it printed, by words."""
    return printed(start_program(name, *arguments, **options)).split()


def start_program(name, *arguments, **options):
    """Run a program; its code, and what it printed."""
    return start(PROGRAMS / f"{name}.py", *arguments, **options)


def run_code(code, *arguments, **options):
    """Run code; what it printed."""
    return printed(start("-c", code, *arguments, **options)).strip()


def printed(result):
    assert result.returncode == 0, f"{result.returncode}: {result.stdout}{result.stderr[-4000:]}"
    return result.stdout


def start(*arguments, under=(), timeout=120, **changes):
    """Run Python; its code, and what it printed. `changes`: to the environment."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RNNFAST_", "OMP_"))}
    # where other processes have the processors too, threads that spin make a test ten times as long
    kept |= {"OMP_WAIT_POLICY": "passive", "PYTHONPATH": str(Path(rnnfast.__file__).parents[1])}
    return subprocess.run(
        [*under, sys.executable, *map(str, arguments)],
        env=kept | changes,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
