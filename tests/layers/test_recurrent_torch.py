"""RNN, LSTM and GRU against torch.nn: values, states, gradients, names."""

from __future__ import annotations

import numpy as np
import pytest
import tolerances
from cases import Case
from comparisons import close
from engines import each_engine as each_engine
from layer_cases import (
    B,
    H,
    I,
    T,
    each_torch_cell,
    make,
    parts,
    random_state,
    random_x,
)

from rnnfast import LSTM

OPTIONS = [
    {},
    {"bias": False},
    {"batch_first": True},
    {"num_layers": 3},
    {"bidirectional": True},
    {"num_layers": 2, "bidirectional": True, "batch_first": True},
]


def both(cls, options, dtype=np.float64):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    kind = torch.float64 if dtype == np.float64 else torch.float32
    theirs = getattr(torch.nn, cls.__name__)(I, H, dtype=kind, **options)
    ours = make(cls, dtype=dtype, **options)
    ours.load_state_dict(theirs.state_dict())
    return torch, ours, theirs


def compare(torch, ours, theirs, x, state, lengths=None):
    """Compare outputs, final states and every gradient of one forward and backward pass."""
    rng = np.random.default_rng(9)
    tx = torch.tensor(x, requires_grad=True)
    ts = [torch.tensor(s, requires_grad=True) for s in parts(state)]
    given = tx
    if lengths is not None:
        pack = torch.nn.utils.rnn.pack_padded_sequence
        given = pack(tx, lengths, batch_first=ours.batch_first, enforce_sorted=False)
    ty, tn = theirs(given, tuple(ts) if len(ts) == 2 else ts[0])
    if lengths is not None:
        unpack = torch.nn.utils.rnn.pad_packed_sequence
        ty, _ = unpack(ty, batch_first=ours.batch_first, total_length=T)
    y, n, tape = ours.forward(x, state, lengths)

    dy = rng.standard_normal(y.shape).astype(x.dtype)
    dn = [rng.standard_normal(s.shape).astype(x.dtype) for s in parts(n)]
    total = (ty * torch.tensor(dy)).sum()
    for s, ds in zip(tn if len(ts) == 2 else (tn,), dn, strict=True):
        total = total + (s * torch.tensor(ds)).sum()
    total.backward()
    dx, d0 = ours.backward(tape, dy, tuple(dn) if len(dn) == 2 else dn[0])

    got = {"y": y, "dx": dx, "h_n": parts(n)[0], "dh0": parts(d0)[0]}
    want = {"y": ty, "dx": tx.grad, "h_n": parts(tn)[0], "dh0": ts[0].grad}
    if len(ts) == 2:
        got |= {"c_n": n[1], "dc0": d0[1]}
        want |= {"c_n": tn[1], "dc0": ts[1].grad}
    got |= ours.grads
    want |= {name: p.grad for name, p in theirs.named_parameters()}
    directions = 2 if ours.bidirectional else 1
    case = Case(ours._cell.name, B, T, I, H, ours.num_layers, directions, ours.proj_size)
    assert got.keys() == want.keys()
    for name, value in got.items():
        truth = want[name].detach().numpy()
        close(name, value, truth, tolerances.recurrent(case, name, x.dtype, truth), x.dtype)


@each_torch_cell
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_torch(cls, extra, options, dtype):
    torch, ours, theirs = both(cls, {**extra, **options}, dtype)
    rng = np.random.default_rng(0)
    compare(torch, ours, theirs, random_x(ours, rng), random_state(ours, rng))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_torch_projection(options):
    torch, ours, theirs = both(LSTM, {"proj_size": 3, **options})
    rng = np.random.default_rng(0)
    compare(torch, ours, theirs, random_x(ours, rng), random_state(ours, rng))


@each_torch_cell
@pytest.mark.parametrize("options", [{}, OPTIONS[-1]], ids=str)
def test_torch_unbatched(cls, extra, options):
    torch, ours, theirs = both(cls, {**extra, **options})
    rng = np.random.default_rng(0)
    compare(torch, ours, theirs, random_x(ours, rng, False), random_state(ours, rng, ()))


@each_torch_cell
@pytest.mark.parametrize("options", [{}, OPTIONS[-1]], ids=str)
def test_torch_packed_sequence(cls, extra, options):
    torch, ours, theirs = both(cls, {**extra, **options})
    rng = np.random.default_rng(0)
    lengths = [3, T, 1, 4]
    compare(torch, ours, theirs, random_x(ours, rng), random_state(ours, rng), lengths)


@each_torch_cell
@pytest.mark.parametrize("options", [*OPTIONS, {"dropout": 0.5, "num_layers": 2}], ids=str)
def test_torch_names_and_repr(cls, extra, options):
    _, ours, theirs = both(cls, {**extra, **options})
    names = {name: tuple(p.shape) for name, p in theirs.named_parameters()}
    assert {name: p.shape for name, p in ours.params.items()} == names
    if not extra:  # PyTorch leaves the nonlinearity out
        assert repr(ours) == repr(theirs)
