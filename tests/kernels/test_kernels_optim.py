"""The fused updates of the optimisers."""

from __future__ import annotations

import numpy as np
import pytest
from cases import DENSE
from comparisons import check_dense
from contract import kernels as kernels
from run_cases import run_dense

from rnnfast.reference import dense

UPDATES = ("sgd", "adam", "nadam", "rmsprop")


class Update:
    """A kernel under the name and arguments of `rnnfast.reference.dense`, in two parts."""

    def __init__(self, kernels, memory):
        self.kernels, self.memory = kernels, memory

    def __getattr__(self, name):
        def update(param, grad, *rest):
            arrays = [part for part in (param, *rest) if isinstance(part, np.ndarray)]
            placed = [self.memory.dense(f"array {i}", a, slice(None)) for i, a in enumerate(arrays)]
            given = iter(placed[1:])
            rest = [next(given) if isinstance(part, np.ndarray) else part for part in rest]
            states = [part for part in rest if part is None or isinstance(part, np.ndarray)]
            numbers = np.array(rest[len(states) :], np.float64)
            running = np.array(
                [0 if part is None else part.ctypes.data for part in states], np.intp
            )
            slope, n = self.memory.dense("grad", grad), len(param)
            for i0, i1 in ((0, n // 3), (n // 3, n)):
                self.kernels.run(name, placed[0], slope, running, numbers, i0, i1)
            for array, result in zip(arrays, placed, strict=True):
                array[...] = result

        return update


def check_update(kernels, case):
    with kernels.call(case.function, N=case.N, options=dict(case.options)) as memory:
        got = run_dense(Update(kernels, memory), case, kernels.dtype)
        check_dense(got, run_dense(dense, case, np.float64), case, kernels.dtype)


@pytest.mark.parametrize("function", UPDATES)
def test_update(kernels, function):
    for case in DENSE:
        if case.function == function:
            check_update(kernels, case)
