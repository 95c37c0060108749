"""Layer normalisation: of a step's sums, forward and back, and of rows."""

from __future__ import annotations

import numpy as np
import pytest
import tolerances
from cases import DenseCase
from comparisons import check_dense
from contract import cell_of, pitch, random
from contract import kernels as kernels
from kernels.test_kernels_cell import own_row, own_vectors
from run_cases import run_dense

from rnnfast.cells import CELLS
from rnnfast.reference import cells as reference
from rnnfast.reference import dense
from rnnfast.reference.direction import NORM_EPS

B0 = 1
ROWS = (1, 4, 7)
MANY_ROWS = 110  # the larger of two parts is more than are added up together, 64
each_cell = pytest.mark.parametrize("name", [name for name, row in CELLS.items() if row.has_norm])


def statistics(sums):
    """Return the normalised sums (B, S, H), their means and 1 / deviations (B, S, 1)."""
    mean = sums.mean(axis=2, keepdims=True)
    rstd = 1 / np.sqrt(((sums - mean) ** 2).mean(axis=2, keepdims=True) + NORM_EPS)
    return (sums - mean) * rstd, mean, rstd


def bound_of(kernels, name, sums, normal, mean, rstd):
    want = dict(mean=mean, rstd=rstd, y=normal)
    return tolerances.layer_norm(len(sums), sums.shape[2], name, kernels.dtype, want, want)


def gates_of(info, slots):
    """Return the products of x and of h, (B, G*H) each, that give these slots (B, S, H)."""
    B, _, H = slots.shape
    xw, hw = np.zeros((B, info.gates, H)), np.zeros((B, info.gates, H))
    for slot in range(info.slots):
        to = xw if slot < info.x_slot + info.gates else hw
        to[:, info.order[slot]] = slots[:, slot]
    return xw.reshape(B, -1), hw.reshape(B, -1)


def check_norm_forward(kernels, name, rows, H):
    index, info = cell_of(name)
    B, S, write = rows + 2, info.slots, slice(B0, B0 + rows)
    sums, h_prev = random(B, S, H) + 0.5, random(B, H, seed=1)
    c = random(B, H, seed=2) if info.has_cell_state else None
    gamma, beta = 1 + random(S, H, seed=3) / 4, random(S, H, seed=4) / 4
    normal, mean, rstd = statistics(sums)
    xw, hw = gates_of(info, gamma * normal + beta)
    own = own_vectors(name, H)
    h_next, c_next, _ = reference.CELLS[name].forward(xw, hw, h_prev, c, *own)
    with kernels.call(f"{name} norm_forward", rows=rows, H=H) as memory:
        array = memory.rows("normal", sums, write)
        deviations = memory.dense("rstd", (B, S), write)
        fields = dict(hidden=H, normal=array, rstd=deviations, ld=pitch(array))
        fields |= dict(gamma=memory.rows("gamma", gamma[None])[0])
        fields |= dict(beta=memory.rows("beta", beta[None])[0])
        norm = memory.struct("rnnfast_norm", **fields)
        h_out, before = memory.rows("h_out", (B, H), write), memory.rows("h_prev", h_prev)
        gates = memory.rows("gates", (B, S, H), write)
        step = dict(hidden=H, recurrent=H, h_prev=before, ldh=pitch(before), h_out=h_out)
        step |= dict(ldh_out=pitch(h_out), gates=gates, ldg=pitch(gates))
        if own:
            step |= dict(own=own_row(memory, info, *own))
        results = [("h", h_out, h_next)]
        if c is not None:
            c_out = memory.rows("c_out", (B, H), write)
            step |= dict(c=memory.rows("c", c), c_out=c_out, ldc=pitch(c_out))
            results.append(("c", c_out, c_next))
        struct = memory.struct("rnnfast_step", **step)
        kernels.run("norm_forward", struct, norm, B0, B0 + rows, cell=index)
        parts = sums[write], normal[write], mean[write], rstd[write]
        memory.close("normal", array[write], normal[write], bound_of(kernels, "y", *parts))
        got = deviations[write][:, :, None]
        memory.close("rstd", got, rstd[write], bound_of(kernels, "rstd", *parts))
        bound = 2 * bound_of(kernels, "y", *parts) * max(1, np.abs(h_prev).max())
        bound = bound + tolerances.chain(tolerances.ACTIVATION, kernels.dtype, h_next)
        for what, got, want in results:
            memory.close(what, got[write], want[write], bound)


def check_norm_backward(kernels, name, rows, H, parameters):
    _, info = cell_of(name)
    B, S, write = rows + 2, info.slots, slice(B0, B0 + rows)
    normal, _, rstd = statistics(random(B, S, H))
    normal = normal.astype(np.float32).astype(np.float64)
    da, gamma = random(B, S, H, seed=1), 1 + random(S, H, seed=2) / 4
    d = gamma * da
    share = d.mean(axis=2, keepdims=True) + normal * (d * normal).mean(axis=2, keepdims=True)
    with kernels.call("norm_backward", slots=S, rows=rows, H=H, parameters=parameters) as memory:
        array, gates = memory.rows("normal", normal), memory.rows("gates", da, write)
        fields = dict(hidden=H, normal=array, ld=pitch(array), gates=gates)
        fields |= dict(rstd=memory.dense("rstd", rstd[:, :, 0]))
        fields |= dict(gamma=memory.rows("gamma", gamma[None])[0])
        before = random(B, S, H, seed=3)
        if parameters:
            for what in ("dgamma", "dbeta"):
                fields |= {what: memory.rows(what, before, write)}
        struct = memory.struct("rnnfast_norm", **fields)
        kernels.run("norm_backward", struct, S, B0, B0 + rows)
        want = ((d - share) * rstd)[write]
        scale = (np.abs(rstd) * np.abs(d).max(initial=1.0))[write]
        bound = tolerances.chain(H + tolerances.ROUNDINGS["layer_norm"], kernels.dtype, scale)
        memory.close("gates", gates[write], want, bound)
        if parameters:
            for what, added in (("dgamma", da * normal), ("dbeta", da)):
                absolute = (np.abs(before) + np.abs(added))[write]
                bound = tolerances.sums(2, kernels.dtype, absolute)
                memory.close(what, fields[what][write], (before + added)[write], bound)


@each_cell
def test_norm_forward(kernels, name):
    for H in kernels.widths():
        for rows in ROWS:
            check_norm_forward(kernels, name, rows, H)
    check_norm_forward(kernels, name, MANY_ROWS, kernels.lanes + 1)


@pytest.mark.parametrize("parameters", [False, True], ids=["dx", "all"])
@each_cell
def test_norm_backward(kernels, name, parameters):
    for H in kernels.widths():
        for rows in ROWS:
            check_norm_backward(kernels, name, rows, H, parameters)
    check_norm_backward(kernels, name, MANY_ROWS, kernels.lanes + 1, parameters)


class LayerNorm:
    """The kernels under the names and arguments of `rnnfast.reference.dense`, rows in two parts."""

    def __init__(self, kernels, memory):
        self.kernels, self.memory = kernels, memory

    def layer_norm(self, x, gamma, beta, eps, y, mean, rstd):
        N, K = x.shape
        out = {
            name: self.memory.dense(name, array, slice(None))
            for name, array in (("y", y), ("mean", mean), ("rstd", rstd))
        }
        fields = dict(columns=K, eps=eps, **out)
        for name, array in (("x", x), ("gamma", gamma), ("beta", beta)):
            fields |= {name: self.memory.dense(name, array)}
        struct = self.memory.struct("rnnfast_layer_norm", **fields)
        for b0, b1 in ((0, N // 3), (N // 3, N)):
            self.kernels.run("layer_norm", struct, b0, b1)
        y[...], mean[...], rstd[...] = out.values()

    def layer_norm_backward(self, x, gamma, mean, rstd, dy, dx, dgamma, dbeta):
        N, K = x.shape
        out = {
            name: self.memory.dense(name, array, slice(None))
            for name, array in (("dx", dx), ("dgamma", dgamma), ("dbeta", dbeta))
        }
        fields = dict(columns=K, **out)
        given = (("x", x), ("gamma", gamma), ("mean", mean), ("rstd", rstd), ("dy", dy))
        fields |= {name: self.memory.dense(name, array) for name, array in given}
        struct = self.memory.struct("rnnfast_layer_norm", **fields)
        for b0, b1 in ((0, N // 3), (N // 3, N)):
            self.kernels.run("layer_norm_backward", struct, b0, b1)
        middle = K // 2
        for u0, u1 in ((0, middle), (middle, K)):
            self.kernels.run("layer_norm_columns", struct, N, u0, u1)
        dx[...], dgamma[...], dbeta[...] = out.values()


def check_layer_norm(kernels, rows, columns):
    case = DenseCase("layer_norm", rows, columns)
    with kernels.call("layer_norm", rows=rows, columns=columns) as memory:
        got = run_dense(LayerNorm(kernels, memory), case, kernels.dtype)
        check_dense(got, run_dense(dense, case, np.float64), case, kernels.dtype)


def test_layer_norm(kernels):
    for columns in kernels.widths():
        for rows in ROWS:
            check_layer_norm(kernels, rows, columns)
    check_layer_norm(kernels, MANY_ROWS, kernels.lanes + 1)
    check_layer_norm(kernels, 3, 1000)
