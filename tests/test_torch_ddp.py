"""PyTorch's own DDP with modules on the engine."""

from __future__ import annotations

import numpy as np
import pytest
import tolerances
from engines import ENGINES
from processes import run_program
from torch_pairs import pytestmark as pytestmark


@pytest.mark.parametrize("engine", ENGINES)
def test_two_processes_learn_what_plain_torch_does_in_one(engine, tmp_path):
    environment = {"OMP_NUM_THREADS": "1", "RNNFAST_BACKEND": engine}
    (error,) = map(float, run_program("torch_ddp", tmp_path, timeout=240, **environment))
    n = 8 * 7 + 4 * 2 * (8 + 8 + 2 + 16 + 4 * 8)  # as in shared_cases, of two layers
    assert error <= tolerances.updates(3, 0.1, n, np.float32)
