"""The register tile: `matmul`, and the gates' sums that `input_product` and `slot_sums` leave."""

from __future__ import annotations

import numpy as np
import pytest
import tolerances
from contract import CONSTANTS, packed, pitch, random
from contract import kernels as kernels

# The last is past what rows share at a time and past what a pass keeps in the second-level cache.
ROWS = (1, 2, 3, 5, 7)
MANY_ROWS, DEEP = 101, 2500


def check_matmul(kernels, rows, N, runs, length, bias=True, accumulate=False, scatter=False):
    a, weight = random(rows + 3, runs, length), random(N, runs * length, seed=1)
    offset = random(N, seed=2) if bias else np.zeros(N)
    before = random(rows + 3, N, seed=3)
    places = np.random.default_rng(rows).permutation(rows + 3)
    b0, b1 = 2, 2 + rows
    size = dict(rows=rows, N=N, runs=runs, length=length, bias=bias, accumulate=accumulate)
    with kernels.call("matmul", **size, scatter=scatter) as memory:
        written = places[b0:b1] if scatter else slice(b0, b1)
        given = memory.rows("a", a)
        out = memory.dense("out", before if accumulate else before.shape, written)
        start = np.zeros(kernels.panels(N) * CONSTANTS["RNNFAST_VECTORS"] * kernels.lanes)
        start[:N] = offset
        struct = memory.struct(
            "rnnfast_matmul",
            a=given,
            lda=pitch(given),
            n_runs=runs,
            run_length=length,
            run_pitch=given.strides[1] // given.itemsize,
            weight=memory.flat("weight", packed(kernels, weight, 1, (0,))),
            bias=memory.flat("bias", start) if bias else None,
            out=out,
            ldo=pitch(out),
            n_out=N,
            out_row=places.astype(np.intp) if scatter else None,
            accumulate=accumulate,
            fetch=rows % 3,
        )
        panels = kernels.panels(N)
        for p0, p1 in ((0, panels // 2), (panels // 2, panels)):
            kernels.run("matmul", struct, b0, b1, p0, p1)
        first = before[written] if accumulate else offset
        flat = a[b0:b1].reshape(rows, -1)
        want = flat @ weight.T + first
        absolute = np.abs(flat) @ np.abs(weight).T + np.abs(first)
        bound = tolerances.sums(runs * length, kernels.dtype, absolute)
        memory.close("out", out[written], want, bound)


def test_matmul(kernels):
    for N in kernels.widths():
        for rows in ROWS:
            check_matmul(kernels, rows, N, 1, 13)
    for N in (3, 4 * kernels.lanes + 5):
        for length in (1, 2, 31):
            for runs in (1, 3, 4):
                check_matmul(kernels, 4, N, runs, length, bias=False)
        check_matmul(kernels, MANY_ROWS, N, 1, 9)
        check_matmul(kernels, 5, N, 1, DEEP)
        check_matmul(kernels, MANY_ROWS, N, 3, DEEP // 4)


def test_matmul_adds_and_scatters(kernels):
    for N in (1, kernels.lanes + 1, 9 * kernels.lanes):
        for scatter in (False, True):
            check_matmul(kernels, 7, N, 2, 5, bias=False, accumulate=True, scatter=scatter)
            check_matmul(kernels, 7, N, 2, 5, bias=True, scatter=scatter)


# Of each layout of gates: how many, in how many slots, which of them x and h feed.
LAYOUTS = {1: (1, 0, 0), 2: (2, 0, 0), 3: (4, 0, 1), 4: (4, 0, 0)}
ORDER = {1: (0,), 2: (1, 0), 3: (2, 0, 1), 4: (0, 1, 2, 3)}


def sums_of_slots(gates, H, x, h, w_x, w_h, bias):
    """Return what each slot adds up, (rows, S, H), and the same of magnitudes."""
    slots, x_slot, h_slot = LAYOUTS[gates]
    total = np.zeros((len(x), slots, H)) + bias
    for first, array, weight in ((x_slot, x, w_x), (h_slot, h, w_h)):
        if array is not None:
            product = (array @ weight.T).reshape(len(array), gates, H)
            total[:, first : first + gates] += product[:, ORDER[gates]]
    return total


def packed_bias(kernels, bias):
    """Lay (S, H) out as a packed bias is: panel by panel, or of a single gate at one go."""
    slots, H = bias.shape
    places = places_of(slots)
    width = kernels.panels(H, slots) * kernels.lanes * (CONSTANTS["RNNFAST_VECTORS"] // places)
    out = np.zeros((places, width))
    out[:slots, :H] = bias
    return out.reshape(places, -1, kernels.lanes).transpose(1, 0, 2).ravel()


def places_of(slots):
    """How many slots a panel has room for."""
    return 1 if slots == 1 else CONSTANTS["RNNFAST_VECTORS"]


def step_of(kernels, memory, gates, rows, H, inputs, recurrent):
    """Return arguments of a step and the sums that it must form, with those of magnitudes."""
    slots = LAYOUTS[gates][0]
    x, h = random(rows + 3, inputs), random(rows + 3, recurrent, seed=1)
    w_x, w_h = random(gates * H, inputs, seed=2), random(gates * H, recurrent, seed=3)
    bias = random(slots, H, seed=4)
    fields = dict(
        input=inputs,
        recurrent=recurrent,
        hidden=H,
        fetch=rows % 3,
        x=memory.dense("x", x),
        ldx=inputs,
        h=memory.rows("h", h),
        weight_x=memory.flat("weight_x", packed(kernels, w_x, gates, ORDER[gates])),
        weight_h=memory.flat("weight_h", packed(kernels, w_h, gates, ORDER[gates])),
        bias=memory.flat("bias", packed_bias(kernels, bias)),
    )
    return fields | dict(ldh=pitch(fields["h"])), (x, h, w_x, w_h, bias)


def check_input_product(kernels, gates, rows, H, inputs):
    size = dict(gates=gates, rows=rows, H=H, inputs=inputs)
    b0, b1, panels = 1, 1 + rows, kernels.panels(H, gates)
    with kernels.call("input_product", **size) as memory:
        fields, (x, _, w_x, _, bias) = step_of(kernels, memory, gates, rows, H, inputs, 3)
        slots = LAYOUTS[gates][0]
        width = len(packed_bias(kernels, bias))
        out = memory.rows("gates", (rows + 3, width), slice(b0, b1))
        struct = memory.struct("rnnfast_step", **fields, product_out=out, ldp=pitch(out))
        for p0, p1 in ((0, panels // 2), (panels // 2, panels)):
            kernels.run("input_product", struct, gates, b0, b1, p0, p1)
        vectors = out[b0:b1].reshape(rows, -1, places_of(slots), kernels.lanes)
        got = vectors.transpose(0, 2, 1, 3)[:, :slots].reshape(rows, slots, -1)[:, :, :H]
        given = gates, H, x[b0:b1], None, w_x, None, bias
        magnitudes = [abs(a) if isinstance(a, np.ndarray) else a for a in given]
        bound = tolerances.sums(inputs, kernels.dtype, sums_of_slots(*magnitudes))
        memory.close("gates", got, sums_of_slots(*given), bound)


def check_slot_sums(kernels, gates, rows, H, inputs, recurrent, product):
    size = dict(gates=gates, rows=rows, H=H, inputs=inputs, recurrent=recurrent, product=product)
    b0, b1, panels = 1, 1 + rows, kernels.panels(H, gates)
    slots = LAYOUTS[gates][0]
    with kernels.call("slot_sums", **size) as memory:
        fields, given = step_of(kernels, memory, gates, rows, H, inputs, recurrent)
        x, h, w_x, w_h, bias = given
        if product:  # in place of x and the bias
            sums = sums_of_slots(gates, H, x, None, w_x, None, bias)
            lines = np.array([packed_bias(kernels, row) for row in sums])
            fields["product"] = memory.rows("product", lines)
            fields["ldp"] = pitch(fields["product"])
            fields["x"] = fields["bias"] = None
        out = memory.rows("gates", (rows + 3, slots, H), slice(b0, b1))
        struct = memory.struct("rnnfast_step", **fields, sums=out, ldg=pitch(out))
        for p0, p1 in ((0, panels // 2), (panels // 2, panels)):
            kernels.run("slot_sums", struct, gates, b0, b1, p0, p1)
        given = gates, H, x[b0:b1], h[b0:b1], w_x, w_h, bias
        magnitudes = [abs(a) if isinstance(a, np.ndarray) else a for a in given]
        absolute = sums_of_slots(*magnitudes)
        bound = tolerances.sums(inputs + recurrent, kernels.dtype, absolute)
        memory.close("gates", out[b0:b1], sums_of_slots(*given), bound)


@pytest.mark.parametrize("gates", LAYOUTS)
def test_input_product(kernels, gates):
    for H in kernels.widths():
        for rows in ROWS:
            check_input_product(kernels, gates, rows, H, 11)
    check_input_product(kernels, gates, MANY_ROWS, 2 * kernels.lanes + 1, 5)
    check_input_product(kernels, gates, 4, 2 * kernels.lanes + 1, DEEP)


@pytest.mark.parametrize("product", [False, True], ids=["x", "product"])
@pytest.mark.parametrize("gates", [1, 3, 4])  # it writes one slot or four
def test_slot_sums(kernels, gates, product):
    for H in kernels.widths():
        for rows in ROWS:
            check_slot_sums(kernels, gates, rows, H, 5, 11, product)
    check_slot_sums(kernels, gates, MANY_ROWS, 2 * kernels.lanes + 1, 3, 7, product)
    check_slot_sums(kernels, gates, 4, 2 * kernels.lanes + 1, 3, DEEP, product)
