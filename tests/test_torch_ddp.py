"""PyTorch's own DDP with modules on the engine."""

from __future__ import annotations

import numpy as np
import tolerances
from processes import run_program
from torch_pairs import pytestmark as pytestmark


def test_two_processes_learn_what_one_does(tmp_path):
    (error,) = map(float, run_program("torch_ddp", tmp_path, timeout=240, OMP_NUM_THREADS="1"))
    n = 8 * 7 + 4 * (3 + 8 + 2 + 16 + 4 * 8)  # as in shared_cases
    assert error <= tolerances.updates(3, 0.1, n, np.float32)
