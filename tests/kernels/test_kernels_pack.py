"""`pack`: weights in the order in which the tile reads them."""

from __future__ import annotations

import numpy as np
import pytest
from contract import kernels as kernels
from contract import packed, random


def check_pack(kernels, H, n, gates, order):
    weight = random(gates * H, n)
    want = packed(kernels, weight, gates, order).astype(kernels.dtype)
    panels = kernels.panels(H, gates)
    indices = (np.ctypeslib.ctypes.c_int * 4)(*order)
    for way, source, strides in (
        ("rows", weight, (n, 1)),
        ("transposed", np.ascontiguousarray(weight.T), (1, gates * H)),
    ):
        with kernels.call("pack", H=H, n=n, gates=gates, way=way) as memory:
            given = memory.dense("src", source)
            out = memory.flat("dst", (len(want),), slice(None))
            # inputs in two parts, as gates of a transposed pack come, and panels in two
            for p0, p1 in ((0, panels // 2), (panels // 2, panels)):
                for at, count in ((0, n // 3), (n // 3, n - n // 3)):
                    start = given.ctypes.data + at * strides[1] * given.itemsize
                    args = *strides, H, count, at, n, gates, indices
                    kernels.run("pack", out, start, *args, p0, p1)
            np.testing.assert_array_equal(out, want)


@pytest.mark.parametrize(
    ("gates", "order"), [(1, (0, 0, 0, 0)), (3, (2, 0, 1, 0)), (4, (0, 1, 2, 3))]
)
def test_pack(kernels, gates, order):
    for H in kernels.widths():
        for n in (1, 7, 2 * kernels.lanes + 3):
            check_pack(kernels, H, n, gates, order)
