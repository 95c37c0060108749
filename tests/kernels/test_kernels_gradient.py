"""Weight gradients, which are sums over rows: `outer` with `outer_add`, and `narrow`."""

from __future__ import annotations

import ctypes
from itertools import pairwise

import numpy as np
import pytest
import tolerances
from contract import CONSTANTS, STRUCTS, pitch, random
from contract import kernels as kernels

# Rows of a call, block by block, each block as runs of the whole.
FEW = [[(1, 3)]]
TWO_BLOCKS = [[(0, 60), (70, 68)], [(140, 1), (150, 19)]]
BLOCKS = {"few": FEW, "two blocks": TWO_BLOCKS}


def runs_of(block):
    return (STRUCTS["rnnfast_run"] * len(block))(*block), len(block)


def rows_of(blocks):
    return np.concatenate([np.arange(start, start + n) for block in blocks for start, n in block])


def check_outer(kernels, blocks, inputs, runs, length, ordered=False):
    rows = rows_of(blocks)
    order = np.random.default_rng(runs).permutation(runs) if ordered else np.arange(runs)
    a, g = random(rows[-1] + 1, inputs), random(rows[-1] + 1, runs, length, seed=1)
    size = dict(rows=len(rows), inputs=inputs, runs=runs, length=length, ordered=ordered)
    with kernels.call("outer", **size) as memory:
        tiles = kernels.run("tiles_per_panel", runs, length) * kernels.panels(inputs)
        tile = kernels.table.tile_bytes // kernels.dtype.itemsize
        before = random(runs * length, inputs, seed=2)
        out = memory.dense("out", before, slice(None))
        given, gradient = memory.dense("a", a), memory.rows("g", g)
        fields = dict(
            a=given,
            lda=inputs,
            n_a=inputs,
            g=gradient,
            ldg=pitch(gradient),
            n_runs=runs,
            run_length=length,
            run_pitch=gradient.strides[1] // gradient.itemsize,
            order=order.astype(np.intc) if ordered else None,
            out=out,
        )
        for q0, q1 in pairwise([0, tiles // 5, tiles // 2, tiles]):
            sums = memory.flat("sums", ((q1 - q0) * tile,), slice(None))
            struct = memory.struct("rnnfast_outer", **fields, sums=sums)
            for i, block in enumerate(blocks):
                kernels.run("outer", struct, *runs_of(block), i == 0, q0, q1)
            kernels.run("outer_add", struct, q0, q1)
        flat = g[rows].transpose(1, 2, 0).reshape(runs, length, -1)
        product, absolute = flat @ a[rows], np.abs(flat) @ np.abs(a[rows])
        want, bound = (part.reshape(runs, length, inputs).copy() for part in (before, abs(before)))
        want[order] += product
        bound[order] += absolute
        bound = tolerances.sums(len(rows) + 1, kernels.dtype, bound).reshape(out.shape)
        memory.close("out", out, want.reshape(out.shape), bound)


def check_narrow(kernels, blocks, inputs, columns, ones=False):
    rows = rows_of(blocks)
    inputs = 1 if ones else inputs
    a, g = random(rows[-1] + 1, inputs), random(rows[-1] + 1, columns, seed=1)
    a = np.ones_like(a) if ones else a
    size = dict(rows=len(rows), inputs=inputs, columns=columns, ones=ones)
    with kernels.call("narrow", **size) as memory:
        given, gradient = memory.dense("a", a), memory.rows("g", g)
        before = random(inputs, columns, seed=2)
        sums = memory.rows("sums", before, slice(None))
        for block in blocks:
            source = None if ones else given
            args = source, inputs, inputs, gradient, pitch(gradient), *runs_of(block)
            kernels.run("narrow", *args, columns, sums, pitch(sums))
        want = before + a[rows].T @ g[rows]
        absolute = np.abs(before) + np.abs(a[rows]).T @ np.abs(g[rows])
        memory.close("sums", sums, want, tolerances.sums(len(rows) + 1, kernels.dtype, absolute))


@pytest.mark.parametrize("blocks", BLOCKS.values(), ids=BLOCKS)
def test_outer(kernels, blocks):
    for inputs in kernels.widths():
        for runs, length in ((1, 1), (1, 7), (3, 4), (4, 17)):
            check_outer(kernels, blocks, inputs, runs, length)
        check_outer(kernels, blocks, inputs, 4, 5, ordered=True)


def test_outer_of_several_bands(kernels):
    check_outer(kernels, TWO_BLOCKS, max(kernels.widths()), 4, 290)


@pytest.mark.parametrize("blocks", BLOCKS.values(), ids=BLOCKS)
def test_narrow(kernels, blocks):
    for columns in kernels.widths():
        for inputs in (1, 2, 3, 5, 7, 8):
            check_narrow(kernels, blocks, inputs, columns)
        check_narrow(kernels, blocks, 1, columns, ones=True)


def test_a_block_is_as_long_as_the_contract_says():
    assert max(sum(n for _, n in block) for block in TWO_BLOCKS) == CONSTANTS["RNNFAST_BLOCK_ROWS"]
    assert ctypes.sizeof(STRUCTS["rnnfast_run"]) == 2 * ctypes.sizeof(ctypes.c_ssize_t)
