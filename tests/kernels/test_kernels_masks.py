"""`fill_mask`: the bits of Threefry; `mask_rows`: dropout and zoneout with what it has drawn."""

from __future__ import annotations

import numpy as np
import pytest
import tolerances
from contract import CONSTANTS, pitch, random
from contract import kernels as kernels

from rnnfast.reference import dense

GROUP = CONSTANTS["RNNFAST_MASK_GROUP"]
KEY = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)


def check_fill_mask(kernels, entries, rows, size, kept, counter):
    call, index, first = counter
    groups = entries * rows * -(-size // GROUP)
    with kernels.call("fill_mask", entries=entries, rows=rows, size=size, kept=kept) as memory:
        out = memory.dense("out", (entries, rows, size), slice(None))
        fields = dict(key=KEY, call=call, index=index, first=first, rows=rows, size=size)
        struct = memory.struct("rnnfast_mask", **fields, kept=kept, value=1.25, out=out)
        for g0, g1 in ((0, groups // 3), (groups // 3, groups)):
            kernels.run("fill_mask", struct, g0, g1)
        want = np.empty(out.shape, kernels.dtype)
        dense.fill_mask(KEY, call, index, first, kept, 1.25, want)
        np.testing.assert_array_equal(out, want)


def test_fill_mask(kernels):
    for size in (1, 63, 64, 65, 130, 200):
        for kept in (0, 1, 3 << 22, 1 << 24):
            check_fill_mask(kernels, 2, 3, size, kept, (7, 5, 11))
    last = 2**32 - 1  # counters go round
    check_fill_mask(kernels, 1, 1, 70, 1 << 23, (last, last, 0))


def check_mask_rows(kernels, rows, columns, alias, dropout=False, mapped=False):
    fresh, old = random(rows + 3, columns), random(rows + 3, columns, seed=1)
    share = np.random.default_rng(columns).random((rows + 3, columns)).astype(np.float32)
    order = np.random.default_rng(1).permutation(rows + 3)
    b0, b1 = 1, 1 + rows
    size = dict(rows=rows, columns=columns, alias=alias, dropout=dropout, mapped=mapped)
    with kernels.call("mask_rows", **size) as memory:
        write = slice(b0, b1)
        arrays = {
            "fresh": memory.rows("fresh", fresh, write if alias == "fresh" else None),
            "old": memory.rows("old", old, write if alias == "old" else None),
        }
        to = arrays.get(alias)
        if to is None:
            to = memory.rows("to", fresh.shape, write)
        mask = memory.dense("mask", share)
        struct = memory.struct(
            "rnnfast_masked",
            columns=columns,
            to=to,
            fresh=arrays["fresh"],
            old=None if dropout else arrays["old"],
            ld=pitch(to),
            mask=mask,
            ldm=columns,
            mask_row=order.astype(np.intp) if mapped else None,
        )
        middle = columns // 2 // kernels.lanes * kernels.lanes
        for u0, u1 in ((0, middle), (middle, columns)):
            kernels.run("mask_rows", struct, b0, b1, u0, u1)
        m = share[order if mapped else slice(None)][b0:b1].astype(np.float64)
        fresh, old = fresh[b0:b1], old[b0:b1]
        want = m * fresh if dropout else m * old + (1 - m) * fresh
        absolute = np.abs(m * fresh) if dropout else np.abs(m * old) + np.abs((1 - m) * fresh)
        memory.close("to", to[b0:b1], want, tolerances.sums(2, kernels.dtype, absolute))


@pytest.mark.parametrize("mapped", [False, True], ids=["own rows", "mapped rows"])
@pytest.mark.parametrize("alias", ["", "fresh", "old"], ids=["apart", "to fresh", "to old"])
def test_mask_rows(kernels, alias, mapped):
    for columns in kernels.widths():
        check_mask_rows(kernels, 3, columns, alias, mapped=mapped)
        if alias != "old":
            check_mask_rows(kernels, 3, columns, alias, dropout=True, mapped=mapped)
