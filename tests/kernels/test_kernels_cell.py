"""A cell's step forward, and a step of BPTT, from the state before it to what goes on from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import tolerances
from contract import cell_of, packed, pitch, random
from contract import kernels as kernels

from rnnfast.cells import CELLS
from rnnfast.reference import cells as reference
from rnnfast.reference import direction
from rnnfast.weights import Weights

ROWS = (1, 2, 3, 4, 7, 8)
MANY_ROWS = 101
B0 = 1  # the row that calls start at; there is one more behind the last, too
each_cell = pytest.mark.parametrize("name", CELLS)


@dataclass
class Step:
    """The arrays of a step in float64, and what the reference makes of them."""

    x: Any
    h: Any  # what W_hh multiplies
    h_prev: Any
    c: Any
    w_ih: Any
    w_hh: Any
    b_ih: Any
    b_hh: Any
    own: Any = ()  # the vectors of a cell's own, (R*H,)
    h_next: Any = None
    c_next: Any = None
    r: Any = None  # the gate that h passes before the product
    saved: Any = None


def make_step(name, rows, H, inputs, drop):
    cell = reference.CELLS[name]
    G, B = cell.facts.gates, rows + 2
    h = random(B, H, seed=1)
    c = random(B, H, seed=2) if cell.facts.has_cell_state else None
    w_ih, w_hh = random(G * H, inputs, seed=3), random(G * H, H, seed=4)
    scale = np.float64(np.float32(1 / np.sqrt(H + inputs)))
    b_ih, b_hh = random(G * H, seed=5), random(G * H, seed=6)
    x = random(B, inputs)
    if rows > 1:  # the first unit of the second row has sums of zero, where activations meet
        x[B0 + 1], h[B0 + 1] = 0, 0
        b_ih[::H], b_hh[::H] = 0, 0
    fed = h * drop if drop is not None else h
    if cell.facts.input_only:
        w_hh, b_hh = 0 * w_hh, 0 * b_hh  # as if there were none
    step = Step(x, fed, h, c, w_ih * scale, w_hh * scale, b_ih, b_hh)
    xw = direction.affine(step.x, step.w_ih, b_ih)
    hw = direction.affine(step.h, step.w_hh, b_hh)
    if cell.facts.reset_before:
        weights = Weights(step.w_ih, step.w_hh, b_ih, b_hh)
        hw, step.r = direction.reset_forward(weights, xw, hw, step.h)
    step.own = own_vectors(name, H)
    step.h_next, step.c_next, step.saved = cell.forward(xw, hw, h, c, *step.own)
    return step


def own_vectors(name, H):
    """Return what a cell takes beside its state: vectors of its own, or nothing."""
    rows = CELLS[name].own_rows
    return (random(rows * H, seed=7),) if rows else ()


def in_slots(info, rows):
    """Return a cell's own vectors (..., R*H) slot by slot (..., S, H), zero where it has none."""
    H = rows.shape[-1] // max(info.own)
    out = np.zeros((*rows.shape[:-1], info.slots, H))
    for slot in range(info.slots):
        if row := info.own[slot]:
            out[..., slot, :] = rows[..., (row - 1) * H : row * H]
    return out


def own_row(memory, info, own):
    return memory.rows("own", in_slots(info, own)[None])[0]


def slot_biases(info, step, H):
    """Return what each slot adds, (S, H)."""
    bias = np.zeros((info.slots, H))
    for first, given in ((info.x_slot, step.b_ih), (info.h_slot, step.b_hh)):
        for slot in range(first, first + info.gates):
            gate = info.order[slot]
            bias[slot] += given[gate * H : (gate + 1) * H]
    return bias


def gate_rows(weight, gate, H):
    return weight[gate * H : (gate + 1) * H]


def wide(kernels, rows, H):
    """Return arrays (S, H, ...) with each slot padded, as if they were one gate of more units."""
    width = kernels.padded(H)
    out = np.zeros((len(rows), width, *np.shape(rows)[2:]))
    out[:, :H] = rows
    return out.reshape(len(rows) * width, *np.shape(rows)[2:])


def run_forward(kernels, memory, name, step, rows, H, training):
    """Call a cell's step; return h, c and the row of gates as the backward step takes it."""
    index, info = cell_of(name)
    order = list(info.order)
    write, B = slice(B0, B0 + rows), rows + 2
    gates = memory.rows("gates", (B, info.slots, H), write)
    h, h_prev = memory.rows("h", step.h), memory.rows("h_prev", step.h_prev)
    h_out, y = memory.rows("h_out", (B, H), write), memory.dense("y", (B, H), write)
    c = c_out = None
    if info.has_cell_state:
        c = memory.rows("c", step.c, None if training else write)
        c_out = memory.rows("c_out", (B, H), write) if training else c  # else in place
    fields = dict(input=step.x.shape[1], recurrent=H, hidden=H, ldx=step.x.shape[1])
    fields |= dict(fetch=rows % 3)
    fields |= dict(x=memory.dense("x", step.x), h=h, h_prev=h_prev, ldh=pitch(h))
    fields |= dict(h_out=h_out, ldh_out=pitch(h_out), y=y, ldy=pitch(y), ldg=pitch(gates))
    if c is not None:
        fields |= dict(c=c, c_out=c_out, ldc=pitch(c))
    if step.own:
        fields |= dict(own=own_row(memory, info, *step.own))
    bias = slot_biases(info, step, H)
    if info.reset_before:
        fields |= run_reset(kernels, memory, info, step, rows, H, fields, gates)
        given = (gate_rows(w, order[0], H) for w in (step.w_ih, step.w_hh))
        packs = [packed(kernels, weight, 1, (0,)) for weight in given]
        start = wide(kernels, bias[:1], H)
    else:
        orders = order[info.x_slot :], order[info.h_slot :]
        packs = [
            packed(kernels, weight, info.gates, chosen)
            for weight, chosen in zip((step.w_ih, step.w_hh), orders, strict=True)
        ]
        places = bias if info.gates == 1 else np.zeros((4, H))  # a panel has four
        places[: info.slots] = bias
        padded = wide(kernels, places, H).reshape(len(places), -1, kernels.lanes)
        start = padded.transpose(1, 0, 2).ravel()
    fields |= dict(weight_x=memory.flat("weight_x", packs[0]))
    fields |= dict(bias=memory.flat("bias", start))
    if not info.input_only:
        fields |= dict(weight_h=memory.flat("weight_h", packs[1]))
    if training or info.reset_before:
        fields |= dict(gates=gates)
    panels = kernels.panels(H, 1 if info.reset_before else info.gates)
    struct = memory.struct("rnnfast_step", **fields)
    for p0, p1 in ((0, panels // 2), (panels // 2, panels)):
        kernels.run("forward", struct, B0, B0 + rows, p0, p1, cell=index)
    memory.close("y", y[write], h_out[write], 0)
    return h_out, c_out, gates


def run_reset(kernels, memory, info, step, rows, H, fields, gates):
    """Call `reset_forward`: r and z to their slots, r h to an array for the step to multiply."""
    chosen = list(info.order)[1:3]
    bias = slot_biases(info, step, H)[1:3]
    reset = memory.rows("reset", (rows + 2, H), slice(B0, B0 + rows))
    x, h = (
        packed(kernels, wide(kernels, [gate_rows(w, gate, H) for gate in chosen], H), 1, (0,))
        for w in (step.w_ih, step.w_hh)
    )
    width = kernels.padded(H)
    first = fields | dict(hidden=2 * width, gates=gates[:, 1:], h_out=reset)
    first |= dict(weight_x=memory.flat("reset_x", x), weight_h=memory.flat("reset_h", h))
    first |= dict(bias=memory.flat("reset_bias", wide(kernels, bias, H)), ldh_out=pitch(reset))
    struct = memory.struct("rnnfast_step", **first)
    panels = kernels.panels(2 * width)
    for p0, p1 in ((0, panels // 2), (panels // 2, panels)):
        kernels.run("reset_forward", struct, B0, B0 + rows, p0, p1)
    want = step.r[B0 : B0 + rows]
    bound = tolerances.chain(H + step.x.shape[1] + tolerances.ACTIVATION, kernels.dtype, 1.0)
    memory.close("r", gates[B0 : B0 + rows, 1], want, bound)
    memory.close("r h", reset[B0 : B0 + rows], want * step.h[B0 : B0 + rows], 3 * bound)
    return dict(h=reset, ldh=pitch(reset))


def check_forward(kernels, name, rows, H, inputs=5, training=True):
    step = make_step(name, rows, H, inputs, None)
    with kernels.call(
        f"{name} forward", rows=rows, H=H, inputs=inputs, training=training
    ) as memory:
        h, c, _ = run_forward(kernels, memory, name, step, rows, H, training)
        n = H + inputs + 2 + tolerances.ACTIVATION
        for what, got, want in (("h", h, step.h_next), ("c", c, step.c_next)):
            if got is not None:
                want = want[B0 : B0 + rows]
                bound = tolerances.chain(n, kernels.dtype, want)
                memory.close(what, got[B0 : B0 + rows], want, bound)


@dataclass(frozen=True)
class Options:
    """What a step of BPTT may have to do beside the cell's derivative."""

    last: bool = False  # no step after it
    drop: bool = False
    zone_h: bool = False
    zone_c: bool = False
    cut: bool = False  # every other row starts anew after the step
    mapped: bool = False  # masks in another order of rows

    def __str__(self) -> str:
        return " ".join(name for name, on in vars(self).items() if on) or "plain"


OPTIONS = [
    Options(),
    Options(last=True),
    Options(drop=True),
    Options(zone_h=True),
    Options(zone_h=True, zone_c=True, mapped=True),
    Options(drop=True, zone_h=True, zone_c=True),
    Options(last=True, drop=True, zone_h=True, mapped=True),
    Options(cut=True),
    Options(cut=True, drop=True, zone_h=True),
]


@dataclass
class Back:
    """The arrays that come to a step from the step after, in float64, and its masks."""

    dh_in: Any
    following: Any  # (B, runs, H) the dgates of the step after
    carry: Any
    kept_h: Any
    masks: dict[str, Any]
    order: Any
    cut: Any  # (B,)

    def mask(self, name):
        return self.masks[name][self.order]

    def dh(self, weights, options, carries_dh):
        """Return the gradient of h that the cell takes, and with zoneout what is kept of it."""
        dh = self.dh_in.copy()
        if not options.last:
            product = np.einsum("brh,rhk->bk", self.following, np.array(weights))
            product[self.cut != 0] = 0.0
            dh += product * self.mask("drop") if options.drop else product
        if options.zone_h:
            dh += self.kept_h + (self.carry if carries_dh else 0.0)
            share = self.mask("zone_h")
            return (1 - share) * dh, share * dh
        return dh, None


def make_back(rows, runs, H, options):
    B = rows + 2
    rng = np.random.default_rng(H)
    masks = {
        name: rng.random((B, H)).astype(np.float32).astype(np.float64)
        for name in ("drop", "zone_h", "zone_c")
        if getattr(options, name)
    }
    order = rng.permutation(B) if options.mapped else np.arange(B)
    given = (random(B, H, seed=seed) for seed in (11, 12, 13))
    cut = np.arange(B, dtype=np.intp) % 2 * options.cut
    return Back(next(given), random(B, runs, H, seed=14), *given, masks, order, cut)


def backstep(kernels, memory, rows, H, back, options, weights, write):
    """Return a backward step's fields that do not depend on the cell."""
    following = memory.rows("next", back.following)
    dh_in = memory.rows("dh_in", back.dh_in)
    carry = memory.rows("carry", back.carry, write)
    kept_h = memory.rows("kept_h", back.kept_h, write)
    transposed = np.concatenate([weight.T for weight in weights], axis=1)
    fields = dict(hidden=H, fetch=rows % 3, dh_in=dh_in, ldd=pitch(dh_in))
    fields |= dict(next=None if options.last else following, ldn=pitch(following))
    fields |= dict(n_runs=len(weights), run_length=H, run_pitch=kernels.padded(H))
    fields |= dict(weight_h=memory.flat("weight_h", packed(kernels, transposed, 1, (0,))))
    fields |= dict(carry=carry, ldk=pitch(carry), kept_h=kept_h, ldh=pitch(kept_h))
    fields |= dict(kept_c=memory.rows("kept_c", back.carry.shape, write))
    for name, mask in back.masks.items():
        fields |= {name: memory.dense(name, mask), f"ld_{name}": H}
    if options.mapped:
        fields |= dict(mask_row=back.order.astype(np.intp))
    if options.cut:
        fields |= dict(cut=back.cut)
    return fields


def check_backward(kernels, name, rows, H, options):
    index, info = cell_of(name)
    options = Options(**vars(options) | dict(zone_c=options.zone_c and bool(info.has_cell_state)))
    order, cell = list(info.order), reference.CELLS[name]
    options = replace(options, last=options.last or bool(info.input_only))
    runs = info.gates - info.reset_before  # of dgates that W_hh takes to h itself
    back = make_back(rows, runs, H, options)
    step = make_step(name, rows, H, 3, back.mask("drop") if options.drop else None)
    first = info.h_slot + info.gates - runs
    weights = [gate_rows(step.w_hh, order[s], H) for s in range(first, first + runs)]
    write = slice(B0, B0 + rows)

    dh, kept = back.dh(weights, options, info.carries_dh)
    if info.carries_dh and not options.zone_h:
        dh = dh + back.carry
    dc, dc_kept = back.carry, 0.0
    if options.zone_c:
        share = back.mask("zone_c")
        dc, dc_kept = (1 - share) * dc, share * dc
    dxw, dhw, dh_past, dc_past = cell.backward(dh, dc, step.saved, *step.own)
    dslots = np.stack(
        [
            gate_rows((dxw if slot < info.x_slot + info.gates else dhw).T, order[slot], H).T
            for slot in range(info.slots)
        ],
        axis=1,
    )
    carry = dc_past + dc_kept if info.has_cell_state else dh_past if info.carries_dh else None

    with kernels.call(f"{name} backward", rows=rows, H=H, options=options) as memory:
        h, c, gates = run_forward(kernels, memory, name, step, rows, H, training=True)
        fields = backstep(kernels, memory, rows, H, back, options, weights, write)
        h_prev = memory.rows("h_prev", step.h_prev)
        fields |= dict(carries_dh=info.carries_dh, h_prev=h_prev, h=h, gates=gates)
        fields |= dict(ldg=pitch(gates))
        if c is not None:
            fields |= dict(c=c, c_prev=memory.rows("c_prev", step.c), ldc=pitch(c))
        if step.own:
            added = in_slots(info, cell.own(dxw, step.saved))
            before = random(*added.shape, seed=15)
            fields |= dict(own=own_row(memory, info, *step.own))
            fields |= dict(d_own=memory.rows("d_own", before, write))
        panels = kernels.panels(H)
        struct = memory.struct("rnnfast_backstep", **fields)
        for p0, p1 in ((0, panels // 2), (panels // 2, panels)):
            kernels.run("backward", struct, B0, B0 + rows, p0, p1, cell=index)
        if info.reset_before:
            d = dslots[:, 0] @ gate_rows(step.w_hh, order[0], H)  # of r h
            d = d * back.mask("drop") if options.drop else d
            dslots[:, 1] = d * step.h_prev * step.r * (1 - step.r)
            carry = carry + d * step.r
            last = gate_rows(step.w_hh, order[0], H).T
            fields |= dict(next=gates, ldn=pitch(gates), n_runs=1, zone_h=None, zone_c=None)
            fields |= dict(cut=None)
            fields |= dict(weight_h=memory.flat("reset_ht", packed(kernels, last, 1, (0,))))
            fields |= dict(dh_in=memory.flat("zeros", np.zeros(kernels.padded(H))), ldd=0)
            struct = memory.struct("rnnfast_backstep", **fields)
            for p0, p1 in ((0, panels // 2), (panels // 2, panels)):
                kernels.run("reset_backward", struct, B0, B0 + rows, p0, p1)
        n = H * (runs + 2) + 3 + tolerances.ACTIVATION
        for what, got, want in (
            ("dgates", gates, dslots),
            ("carry", fields["carry"], carry),
            ("kept_h", fields["kept_h"], kept),
            ("d_own", fields.get("d_own"), before + added if step.own else None),
        ):
            if want is not None:
                bound = tolerances.chain(n, kernels.dtype, want[write])
                memory.close(what, got[write], want[write], bound)


def check_recurrent_gradient(kernels, rows, H, runs, options, in_place, carries_dh):
    back = make_back(rows, runs, H, options)
    weights = [random(H, H, seed=20 + run) for run in range(runs)]
    write = slice(B0, B0 + rows)
    size = dict(rows=rows, H=H, runs=runs, options=options, in_place=in_place)
    with kernels.call("recurrent_gradient", **size, carries_dh=carries_dh) as memory:
        fields = backstep(kernels, memory, rows, H, back, options, weights, write)
        dh = memory.rows("dh", back.dh_in if in_place else back.dh_in.shape, write)
        if in_place:
            fields |= dict(dh_in=dh, ldd=pitch(dh))
        struct = memory.struct("rnnfast_backstep", **fields, dh=dh, carries_dh=carries_dh)
        panels = kernels.panels(H)
        for p0, p1 in ((0, panels // 2), (panels // 2, panels)):
            kernels.run("recurrent_gradient", struct, B0, B0 + rows, p0, p1)
        want, kept = back.dh(weights, options, carries_dh)
        bound = tolerances.chain(H * runs + 4, kernels.dtype, want[write])
        memory.close("dh", dh[write], want[write], bound)
        if kept is not None:
            memory.close("kept_h", fields["kept_h"][write], kept[write], bound)


@each_cell
def test_forward(kernels, name):
    for H in kernels.widths():
        for rows in ROWS:
            check_forward(kernels, name, rows, H)
        check_forward(kernels, name, 3, H, training=False)
    check_forward(kernels, name, MANY_ROWS, kernels.lanes + 1)
    check_forward(kernels, name, 4, 3, inputs=2500)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@each_cell
def test_backward(kernels, name, options):
    for H in kernels.widths():
        for rows in (1, 5, 7):
            check_backward(kernels, name, rows, H, options)
    check_backward(kernels, name, MANY_ROWS, kernels.lanes + 1, options)


@pytest.mark.parametrize("options", [o for o in OPTIONS if not o.zone_c], ids=str)
def test_recurrent_gradient(kernels, options):
    for H in kernels.widths():
        for runs in (1, 3, 4):
            for in_place in (False, True):
                rows = 5 if in_place else 7
                check_recurrent_gradient(kernels, rows, H, runs, options, in_place, runs == 3)
