"""Deliberate defects of kernels: the tests beside this file must catch them, and say where."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
from cases import DenseCase
from contract import Kernels
from kernels.test_kernels_cell import (
    Options,
    check_backward,
    check_forward,
    check_recurrent_gradient,
)
from kernels.test_kernels_gradient import FEW, check_narrow, check_outer
from kernels.test_kernels_masks import check_fill_mask, check_mask_rows
from kernels.test_kernels_norm import check_layer_norm, check_norm_backward, check_norm_forward
from kernels.test_kernels_optim import check_update
from kernels.test_kernels_pack import check_pack
from kernels.test_kernels_product import check_input_product, check_matmul, check_slot_sums
from kernels.test_kernels_vectors import check_activate, check_add, check_multiply


class Defective(Kernels):
    """Kernels of which one spoils an array that it has written."""

    def __init__(self, isa, dtype, kernel, array, defect):
        super().__init__(isa, dtype)
        self.spoilt, self.defect, self.memory = (kernel, array), defect, None

    @contextmanager
    def call(self, kernel, **size):
        with super().call(kernel, **size) as self.memory:
            yield self.memory

    def run(self, kernel, *arguments, cell=None):
        if kernel != self.spoilt[0]:
            return super().run(kernel, *arguments, cell=cell)
        blocks = [block for block in self.memory.blocks if block[0] == self.spoilt[1]]
        before = [flat.copy() for _, flat, _, _ in blocks]
        result = super().run(kernel, *arguments, cell=cell)
        for (_, flat, _, writable), old in zip(blocks, before, strict=True):
            bits = f"u{flat.dtype.itemsize}"
            changed = np.flatnonzero(flat.view(bits) != old.view(bits))
            if len(changed):
                self.defect(flat, old, writable, changed[0])
        return result


def leave_a_number_out(flat, before, writable, first):
    flat[first] = before[first]


def be_off_by_a_little(flat, before, writable, first):
    flat[first] += 1e-3 * max(1, abs(flat[first]))


def write_in_front(flat, before, writable, first):
    flat[np.flatnonzero(writable)[0] - 1] = 0


MASKED = Options(drop=True, zone_h=True, zone_c=True)
UPDATE = DenseCase("rmsprop", 33, options=(("momentum", 0.9),))
SIZES = "19|33|70"  # one of which each has
# a check with its arguments, the kernel with the defect, and the array that it spoils
CHECKS = [
    (check_pack, (19, 5, 1, (0, 0, 0, 0)), "pack", "dst"),
    (check_pack, (19, 5, 3, (2, 0, 1, 0)), "pack", "dst"),
    (check_matmul, (5, 19, 2, 7), "matmul", "out"),
    (check_input_product, (4, 5, 19, 3), "input_product", "gates"),
    (check_slot_sums, (3, 5, 19, 3, 4, False), "slot_sums", "gates"),
    (check_forward, ("rnn_relu", 3, 19), "forward", "h_out"),
    (check_forward, ("lstm", 3, 19), "forward", "h_out"),
    (check_forward, ("lstm", 3, 19), "forward", "c_out"),
    (check_forward, ("gru", 3, 19), "forward", "y"),
    (check_forward, ("gru_reset_before", 3, 19), "reset_forward", "gates"),
    (check_backward, ("lstm", 3, 19, MASKED), "forward", "gates"),
    (check_backward, ("lstm", 3, 19, MASKED), "backward", "gates"),
    (check_backward, ("lstm", 3, 19, MASKED), "backward", "carry"),
    (check_backward, ("gru", 3, 19, MASKED), "backward", "kept_h"),
    (check_backward, ("gru", 3, 19, Options()), "backward", "carry"),
    (check_backward, ("gru_reset_before", 3, 19, Options()), "reset_backward", "gates"),
    (check_backward, ("gru_reset_before", 3, 19, Options()), "reset_backward", "carry"),
    (check_recurrent_gradient, (3, 19, 3, MASKED, False, 0), "recurrent_gradient", "dh"),
    (check_norm_forward, ("gru", 3, 19), "norm_forward", "normal"),
    (check_norm_forward, ("gru", 3, 19), "norm_forward", "rstd"),
    (check_norm_forward, ("lstm", 3, 19), "norm_forward", "c_out"),
    (check_norm_backward, ("gru", 3, 19, True), "norm_backward", "gates"),
    (check_norm_backward, ("gru", 3, 19, True), "norm_backward", "dgamma"),
    (check_layer_norm, (4, 19), "layer_norm", "y"),
    (check_layer_norm, (4, 19), "layer_norm_backward", "dx"),
    (check_layer_norm, (4, 19), "layer_norm_columns", "dbeta"),
    (check_fill_mask, (2, 3, 70, 1 << 23, (7, 5, 11)), "fill_mask", "out"),
    (check_mask_rows, (3, 19, "old"), "mask_rows", "old"),
    (check_outer, (FEW, 19, 3, 7), "outer", "sums"),
    (check_outer, (FEW, 19, 3, 7), "outer_add", "out"),
    (check_narrow, (FEW, 5, 19), "narrow", "sums"),
    (check_update, (UPDATE,), "rmsprop", "array 0"),
    (check_update, (UPDATE,), "rmsprop", "array 1"),
    (check_activate, (1, np.linspace(-3, 3, 19), True), "activate", "x"),
    (check_add, (19, 3), "add", "to"),
    (check_multiply, (19,), "multiply", "to"),
]


@pytest.mark.parametrize(
    "defect", [leave_a_number_out, be_off_by_a_little, write_in_front], ids=lambda f: f.__name__
)
@pytest.mark.parametrize("case", CHECKS, ids=lambda case: f"{case[2]}-{case[3]}")
def test_a_defective_kernel_is_caught(runtime, isa, case, defect):
    check, arguments, kernel, array = case
    check(Kernels(isa, np.float32), *arguments)
    with pytest.raises(AssertionError, match=rf"\w+, {isa}, float32, .*\b({SIZES})\b"):
        check(Defective(isa, np.float32, kernel, array, defect), *arguments)
