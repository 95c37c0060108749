"""RNNFAST_ISA is refused with a message that helps; a process may change its instruction set."""

from __future__ import annotations

import importlib

import numpy as np
from cases import Case, make
from comparisons import check
from processes import run_code, start
from run_cases import run, truth

CODE = "from rnnfast.core import recurrent, runtime; print(runtime.isa())"


def test_the_best_is_chosen_by_default(runtime):
    assert run_code(CODE, RNNFAST_ISA="") == runtime.instruction_sets()[-1]


def test_an_unusable_instruction_set_is_refused(runtime):
    kernels = importlib.import_module("rnnfast.core.kernels")
    usable = runtime.instruction_sets()
    beyond_this_cpu = [name for name in kernels.built() if name not in usable]
    for value in ["nonsense", "AVX2", "avx2,avx512", *beyond_this_cpu]:
        result = start("-c", CODE, RNNFAST_ISA=value)
        assert result.returncode != 0, f"{value} was accepted: {result.stdout}"
        message = result.stderr.strip().splitlines()[-1]
        for word in ("RNNFAST_ISA", repr(value), *usable):
            assert word in message, f"{word} is not named by: {message}"


def test_the_instruction_set_may_change_between_calls(core, runtime, isa):
    case = Case("lstm", B=3, T=4, I=5, H=6)
    for name in runtime.instruction_sets():
        runtime.set_isa(name)
        assert runtime.isa() == name
        check(run(core, make(case, np.float32)), truth(case), case, np.float32)
