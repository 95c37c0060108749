"""Times RNN, LSTM and GRU on the engine and on the reference, as a user calls them.

    cd benchmarks && pytest -k "lstm and not reference" --threads 1,2

Each number is the median of some rounds of many calls. Percent of peak is the share of the
multiply-adds that the processor did in short bursts between these rounds. conftest.py has the
options, the table and the file of results.
"""

from __future__ import annotations

from typing import Any

import pytest
from cases import BENCHMARK, BENCHMARK_OPTIONS, Case, named

import rnnfast
from rnnfast.bench import tasks


@pytest.mark.parametrize("case", **named(BENCHMARK + BENCHMARK_OPTIONS))
@pytest.mark.parametrize("task", ["inference", "training"])
def test_recurrent(bench: Any, dtype: str, task: str, case: Case) -> None:
    kind = getattr(rnnfast, case.row.layer)
    layer = kind(case.I, case.H, **case.row.options, **case.options, dtype=dtype, seed=0)
    cell = " ".join([case.cell, *case.options])
    shape = dict(cell=cell, B=case.B, T=case.T, I=case.I, H=case.H)
    bench(tasks(layer, case.B, case.T)[task], case.flops(task == "training"), task=task, **shape)
