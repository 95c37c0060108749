"""RNNFAST_ISA forces an instruction set, or is refused with a message that helps."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cases import Case, make
from comparisons import check
from run_cases import run, truth

CODE = """
from rnnfast.core import recurrent, runtime
print("chosen", runtime.isa())
"""


def in_a_new_process(value):
    import rnnfast.core

    env = dict(os.environ, RNNFAST_ISA=value)
    env["PYTHONPATH"] = str(Path(rnnfast.core.__file__).parents[2])
    env.pop("RNNFAST_BACKEND", None)
    return subprocess.run(
        [sys.executable, "-c", CODE], env=env, capture_output=True, text=True, timeout=60
    )


def test_a_forced_instruction_set_is_chosen(runtime, isa):
    result = in_a_new_process(isa)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["chosen", isa]


def test_the_best_is_chosen_by_default(runtime):
    result = in_a_new_process("")
    assert result.stdout.split() == ["chosen", runtime.instruction_sets()[-1]], result.stderr


def test_an_unusable_instruction_set_is_refused(runtime):
    kernels = importlib.import_module("rnnfast.core.kernels")
    usable = runtime.instruction_sets()
    beyond_this_cpu = [name for name in kernels.built() if name not in usable]
    for value in ["nonsense", "AVX2", "avx2,avx512", *beyond_this_cpu]:
        result = in_a_new_process(value)
        assert result.returncode != 0, f"{value} was accepted: {result.stdout}"
        message = result.stderr.strip().splitlines()[-1]
        for word in ("RNNFAST_ISA", repr(value), *usable):
            assert word in message, f"{word} is not named by: {message}"


def test_set_isa_refuses_by_name_and_changes_nothing(runtime):
    before = runtime.isa()
    with pytest.raises(ValueError, match="nonsense") as error:
        runtime.set_isa("nonsense")
    for name in runtime.instruction_sets():
        assert name in str(error.value)
    assert runtime.isa() == before


def test_the_instruction_set_may_change_between_calls(core, runtime, isa):
    case = Case("lstm", B=3, T=4, I=5, H=6)
    for name in runtime.instruction_sets():
        runtime.set_isa(name)
        assert runtime.isa() == name
        check(run(core, make(case, np.float32)), truth(case), case, np.float32)
