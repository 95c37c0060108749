"""`resets` of `rnnfast.torch`: samples that start anew on the way."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest
from engines import each_engine as each_engine
from torch_pairs import EVERY, LAYERS, SINGLE, B, H, I, T, error_of, flat, on_engine, pair, states
from torch_pairs import pytestmark as pytestmark

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch.nn.utils.rnn import pack_sequence  # noqa: E402

import rnnfast.torch as ours  # noqa: E402

RESETS = torch.zeros(T, B, dtype=torch.bool)
RESETS[[0, 2, 2, 4, 5, 5], [1, 0, 3, 3, 0, 1]] = True


def in_parts(module: Any, x: Any, hx: Any, resets: Any) -> tuple[Any, list[Any]]:
    """torch's outputs and states, each part between resets called alone; all with steps first."""
    D = 1 + module.bidirectional
    x = x.transpose(0, 1) if module.batch_first else x
    ys, ends = [], []
    for b in range(x.shape[1]):
        cuts = [0, *(resets[1:, b].nonzero()[:, 0] + 1).tolist(), len(x)]
        y, end = [], [None] * D
        for start, stop in pairwise(cuts):
            there = torch.tensor([start == 0 and not resets[0, b], stop == len(x)][:D])
            there = there.repeat(module.num_layers)[:, None]
            given = tuple(torch.where(there, s[:, b], 0.0) for s in flat(hx))
            out, n = module(x[start:stop, b], given if len(given) == 2 else given[0])
            y.append(out)
            end[0] = [s[::D] for s in flat(n)]
            if D == 2 and start == 0:
                end[1] = [s[1::D] for s in flat(n)]
        ys.append(torch.cat(y))
        ends.append([torch.stack(s, 1).flatten(0, 1) for s in zip(*end, strict=True)])
    y = torch.stack(ys, 0 if module.batch_first else 1)
    return y, [torch.stack(s, 1) for s in zip(*ends, strict=True)]


def gradients(module: Any, x: Any, hx: Any, outputs: list[Any]) -> list[Any]:
    torch.manual_seed(7)
    loss = sum((out * torch.randn(out.shape, dtype=out.dtype)).sum() for out in outputs)
    return list(torch.autograd.grad(loss, [x, *flat(hx), *module.parameters()]))


@pytest.mark.parametrize(
    ("name", "options"), [(n, o) for n, o in EVERY if not o.get("dropout")], ids=str
)
def test_equals_torch_part_by_part(name, options):
    theirs, mine = pair(name, torch.float64, **options)
    shape = (B, T) if mine.batch_first else (T, B)
    x = torch.randn(*shape, I, dtype=torch.float64, requires_grad=True)
    hx = states(mine, B)
    y, n = mine(x, hx, resets=RESETS.T if mine.batch_first else RESETS)
    assert on_engine(y)
    wanted, ends = in_parts(theirs, x, hx, RESETS)
    for got, want in zip([y, *flat(n)], [wanted, *ends], strict=True):
        torch.testing.assert_close(got, want)
    got = gradients(mine, x, hx, [y, *flat(n)])
    for a, b in zip(got, gradients(theirs, x, hx, [wanted, *ends]), strict=True):
        torch.testing.assert_close(a, b)
    with torch.no_grad():
        torch.testing.assert_close(
            mine(x, hx, RESETS.T if mine.batch_first else RESETS)[0], y, rtol=0, atol=0
        )


@pytest.mark.parametrize("name", LAYERS)
def test_few_rows_accelerated_modules_and_second_passes(name):
    module = getattr(torch.nn, name)(I, H, 2, dropout=0.5)
    ours.accelerate(module)
    x = torch.randn(2, 1, I, requires_grad=True)
    y, _ = module(x, resets=torch.tensor([[0], [1]]))
    alone = [torch.autograd.grad(y[t].sum(), x, retain_graph=True)[0] for t in range(2)]
    assert not alone[0][1].any()
    assert alone[0][0].any()
    assert not alone[1][0].any()
    assert alone[1][1].any()
    with pytest.raises(RuntimeError, match="none of gradients"):
        torch.autograd.grad(y.sum(), x, create_graph=True)
    one = x[:, 0]
    module.eval()
    torch.testing.assert_close(module(one, resets=[False, True])[0][1], module(one[1:])[0][0])
    torch.testing.assert_close(module(one, resets=[False, False]), module(one))


@pytest.mark.parametrize("name", LAYERS + SINGLE)
def test_errors_about_arguments_name_what_was_called(name):
    theirs, accelerated, mine = (getattr(home, name)(I, H) for home in (torch.nn, torch.nn, ours))
    ours.accelerate(accelerated)
    x = torch.randn(B, I)
    for arguments in ({}, {"input": x, "reset": RESETS}):
        want = error_of(lambda arguments=arguments: theirs(**arguments))
        assert f"{name}.forward() " in want[1]
        for module in (accelerated, mine):
            assert error_of(lambda m=module, arguments=arguments: m(**arguments)) == want
    if name in SINGLE:
        for module in (accelerated, mine):
            with pytest.raises(TypeError, match=rf"{name}\.forward\(\) .* argument 'resets'"):
                module(x, resets=RESETS[0])


def test_what_is_refused():
    mine = ours.GRU(I, H)
    x = torch.randn(T, B, I)
    for call, error, message in [
        (lambda: mine(x, resets=RESETS.float()), TypeError, "GRU expected resets as booleans, got"),
        (lambda: mine(x, resets=RESETS.T), ValueError, f"resets of shape ({T}, {B}), one for each"),
        (lambda: mine(x[..., 1:], resets=RESETS), RuntimeError, "input.size(-1) must be equal to"),
        (lambda: mine(x.double(), resets=RESETS), ValueError, "type"),
        (lambda: mine(pack_sequence([x[:, 0]]), resets=RESETS[:, 0]), ValueError, "PackedSequence"),
    ]:
        with pytest.raises(error, match=re.escape(message)):
            call()
    with (
        torch.autocast("cpu", torch.bfloat16),
        pytest.raises(RuntimeError, match="on the engine alone"),
    ):
        mine(x, resets=RESETS)
