"""`rnnfast.torch` beside torch.nn: values, gradients, errors, and the import."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from engines import each_engine as each_engine
from processes import run_code, start_program
from torch_pairs import (
    EVERY,
    LAYERS,
    OPTIONS,
    SINGLE,
    B,
    H,
    I,
    T,
    agree,
    case_of,
    error_of,
    everything,
    flat,
    on_engine,
    pair,
    states,
)
from torch_pairs import pytestmark as pytestmark

import rnnfast

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence  # noqa: E402

import rnnfast.torch as ours  # noqa: E402
from rnnfast.torch import modules  # noqa: E402
from rnnfast.torch.calls import is_known  # noqa: E402

# ---- values and gradients


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name, options", EVERY, ids=str)
def test_every_option_gives_torchs_values_and_gradients(name, options, dtype):
    theirs, mine = pair(name, dtype, **options)
    batch_first = options.get("batch_first", False)
    x = torch.randn(*((B, T) if batch_first else (T, B)), I, dtype=dtype, requires_grad=True)
    hx, case = states(theirs, B), case_of(name, options)
    assert repr(mine) == repr(theirs)
    assert on_engine(mine(x)[0])
    for state in (None, hx):
        agree(everything(mine, x, state), everything(theirs, x, state), case)
    mine.eval(), theirs.eval()
    with torch.no_grad():
        for got, want in zip(flat(mine(x, hx)), flat(theirs(x, hx)), strict=True):
            torch.testing.assert_close(got, want)
    x, hx = torch.randn(T, I, dtype=dtype, requires_grad=True), states(theirs)
    agree(everything(mine, x, hx), everything(theirs, x, hx), case)


@pytest.mark.parametrize("options", [{}, {"bias": False}], ids=str)
@pytest.mark.parametrize("name", SINGLE)
def test_cells_give_torchs_values_and_gradients(name, options):
    theirs, mine = pair(name, **options)
    x = torch.randn(B, I, requires_grad=True)
    h = torch.randn(B, H, requires_grad=True)
    hx = (h, torch.randn(B, H, requires_grad=True)) if name == "LSTMCell" else h
    assert repr(mine) == repr(theirs)
    assert on_engine(flat(mine(x, hx))[0])
    for state in (None, hx):
        agree(everything(mine, x, state), everything(theirs, x, state), case_of(name, {}))
    with torch.inference_mode():
        for got, want in zip(flat(mine(x, hx)), flat(theirs(x, hx)), strict=True):
            torch.testing.assert_close(got, want)
            assert got.is_inference()
        for got, want in zip(flat(mine(x[0])), flat(theirs(x[0])), strict=True):
            torch.testing.assert_close(got, want)


ORDERS = {
    "sorted": ([6, 6, 4, 1, 1], True),
    "unsorted": ([1, 6, 4, 6, 1], False),
    "sorted, unasked": ([6, 5, 4, 3, 2], False),
    "equal": ([6, 6, 6, 6, 6], True),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    "name, options",
    [(n, o) for n in LAYERS for o in (OPTIONS[0], OPTIONS[-1])] + EVERY[-2:-1],
    ids=str,
)
def test_packed_sequences(name, options, order):
    lengths, enforce_sorted = ORDERS[order]
    theirs, mine = pair(name, **options)
    x = torch.randn(B, T, I)
    packed = pack_padded_sequence(x, torch.tensor(lengths), True, enforce_sorted)
    packed.data.requires_grad_()
    y, _ = mine(packed)
    assert on_engine(y.data)
    for field in ("batch_sizes", "sorted_indices", "unsorted_indices"):
        assert getattr(y, field) is getattr(packed, field)
    for hx in (None, states(theirs, B)):
        agree(everything(mine, packed, hx), everything(theirs, packed, hx), case_of(name, options))
    with torch.inference_mode():
        torch.manual_seed(3)
        want = flat(theirs(packed))
        torch.manual_seed(3)
        for got, value in zip(flat(mine(packed)), want, strict=True):
            torch.testing.assert_close(got, value)


@pytest.mark.parametrize("name", LAYERS)
def test_dropout_follows_torchs_generator_and_the_modules_state(name):
    theirs, mine = pair(name, num_layers=3, dropout=0.5)
    x = torch.randn(T, B, I)

    def both() -> tuple[Any, Any]:
        found = []
        for module in (mine, theirs):
            torch.manual_seed(7)
            found.append((module(x)[0], torch.get_rng_state()))
        (got, mine_after), (want, theirs_after) = found
        torch.testing.assert_close(got, want)
        assert torch.equal(mine_after, theirs_after)
        return got

    trained = both()
    mine.dropout = theirs.dropout = 0.9
    assert not torch.allclose(both(), trained)
    mine.dropout = theirs.dropout = 1.0
    both()
    mine.eval(), theirs.eval()
    still = both()
    with torch.no_grad():
        torch.testing.assert_close(both(), still)
        mine.train(), theirs.train()
        assert not torch.allclose(both(), still)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_dropout_after_a_layer_draws_as_after_torchs(name, batch_first):
    # in the order of memory, so that has to be torch's
    theirs, mine = pair(name, num_layers=2, bidirectional=True, batch_first=batch_first)
    x, found = torch.randn(T, B, I), []
    for module in (mine, theirs):
        torch.manual_seed(7)
        y = module(x)[0]
        found.append(torch.nn.functional.dropout(y))
    assert on_engine(mine(x)[0])
    torch.testing.assert_close(*found)


def layouts(x: Any) -> dict[str, Any]:
    wide = torch.zeros(*x.shape[:-1], 2 * x.shape[-1])
    wide[..., ::2] = x
    raw = bytearray(b"\0") + bytearray(x.numpy().tobytes())
    return {
        "every other column": wide[..., ::2],
        "transposed": x.transpose(0, 1).contiguous().transpose(0, 1),
        "Fortran": x.permute(2, 1, 0).contiguous().permute(2, 1, 0),
        "misaligned": torch.from_numpy(np.frombuffer(raw, np.float32, offset=1)).view(x.shape),
        "negated": torch.complex(x, -x).conj().imag,
    }


@pytest.mark.parametrize("layout", layouts(torch.zeros(1, 1, 1)))
@pytest.mark.parametrize("batch_first", [False, True])
def test_input_of_any_layout(layout, batch_first):
    theirs, mine = pair("LSTM", batch_first=batch_first)
    plain = torch.randn(T, B, I)
    x = layouts(plain)[layout]
    h = torch.randn(1, x.shape[not batch_first], 2 * H)[..., ::2]
    assert torch.equal(x, plain)
    agree(everything(mine, x, None), everything(theirs, plain, None), case_of("LSTM", {}))
    torch.testing.assert_close(mine(x, (h, h))[0], theirs(plain, (h, h))[0])
    assert torch.equal(x, plain)
    with torch.inference_mode():
        torch.testing.assert_close(mine(x)[0], theirs(plain)[0])


def test_gradients_of_any_layout():
    theirs, mine = pair("GRU", num_layers=2)
    x = torch.randn(T, B, I, requires_grad=True)
    for loss in (
        lambda y, h: y.sum(),  # a number, expanded
        lambda y, h: y[-1].sum() + h.mT.square().sum(),
        lambda y, h: (y.permute(2, 0, 1) * torch.arange(H)[:, None, None]).sum(),
        lambda y, h: h[0, 0, 0],
    ):
        got, want = (torch.autograd.grad(loss(*m(x)), [x, *m.parameters()]) for m in (mine, theirs))
        for a, b in zip(got, want, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(0, B, I), (T, 0, I), (0, 0, I), (0, I)])
@pytest.mark.parametrize("name", LAYERS)
def test_empty_input_gives_torchs_result_or_error(name, shape):
    theirs, mine = pair(name)
    try:
        want = flat(theirs(torch.zeros(shape)))
    except Exception:
        call = torch.zeros(shape)
        assert error_of(lambda: mine(call)) == error_of(lambda: theirs(call))
    else:
        for got, value in zip(flat(mine(torch.zeros(shape))), want, strict=True):
            assert torch.equal(got, value)


def test_nan_stays_in_its_sample():
    theirs, mine = pair("GRU")
    x = torch.randn(T, B, I)
    x[2, 1] = torch.nan
    got, want = mine(x)[0], theirs(x)[0]
    torch.testing.assert_close(got, want, equal_nan=True)


# ---- errors


@pytest.mark.parametrize("gains", [True, False])
def test_errors_are_torchs_own(monkeypatch, gains):
    monkeypatch.setattr(modules, "gains", lambda *_: gains)
    monkeypatch.setattr(modules, "SINGLE_ROWS", 1 if gains else 64)
    z = torch.zeros
    packed = pack_padded_sequence(z(T, B, I), torch.tensor([6, 5, 4, 3, 2]))
    wide = pack_padded_sequence(z(T, B, I + 1), torch.tensor([6, 5, 4, 3, 2]))
    sizes = packed.batch_sizes
    no_sizes = sizes[None], sizes.sum(), sizes[:0], torch.tensor([1 << 40])
    h = z(1, B, H)
    calls: dict[str, list[tuple[Any, ...]]] = {
        "LSTM": [
            (z(T, B, I + 1),),
            (z(T),),
            (z(1, 1, T, I),),
            (z(T, B, I).double(),),
            (z(T, B, I).int(),),
            (np.zeros((T, B, I)),),
            ([0.0],),
            (None,),
            (z(T, B, I), h),
            (z(T, B, I), (h,)),
            (z(T, B, I), (h, None)),
            (z(T, B, I), (h, z(1, B + 1, H))),
            (z(T, B, I), (z(2, B, H), h)),
            (z(T, I), (h, h)),
            (z(T, B, I), (h, h.double())),
            (packed, (h, z(1, B, H + 1))),
            (wide,),
        ],
        "GRU": [
            (z(T, B, I + 1),),
            (z(T, B, I), (h, h)),
            (z(T, B, I), z(B, H)),
            (z(T, B, I), z(1, 1, H)),
            (z(T, I), h),
            (packed, z(2, B, H)),
            *((PackedSequence(packed.data, sizes), h) for sizes in no_sizes),
        ],
        "LSTMCell": [(z(B, I + 1),), (z(1, B, I),), (z(B, I), (z(B, H), z(B + 1, H)))],
        "GRUCell": [(z(B, I + 1),), (z(B, I), z(B, H + 1)), (z(B, I), z(1, 1, B, H))],
    }
    for name, arguments in calls.items():
        theirs, mine = pair(name)
        swapped = ours.accelerate(copy.deepcopy(theirs)).model
        for given in arguments:
            want = error_of(lambda m=theirs, g=given: m(*g))
            for module in (mine, swapped):
                assert error_of(lambda m=module, g=given: m(*g)) == want, (name, given)


def test_errors_after_a_call_and_a_change():
    theirs, mine = pair("RNN", num_layers=2, dropout=0.5)
    packed = PackedSequence(torch.zeros(8, I), torch.tensor([5, 3]))
    whole = PackedSequence(packed.data, packed.batch_sizes.int())
    assert error_of(lambda: mine(whole)) == error_of(lambda: theirs(whole))
    mine(packed), theirs(packed)
    mine.dropout = theirs.dropout = 2.0
    assert error_of(lambda: mine(packed)) == error_of(lambda: theirs(packed))
    mine.dropout = theirs.dropout = 0.5
    mine.input_size = theirs.input_size = I + 1
    wide = torch.zeros(T, B, I + 1)
    assert error_of(lambda: mine(wide)) == error_of(lambda: theirs(wide))


@pytest.mark.parametrize(
    "arguments, options",
    [
        ((3, 0), {}),
        ((3, 4), {"dropout": 2}),
        ((3, 4), {"bias": 1}),
        ((3.5, 4), {}),
        ((3, 4), {"nonlinearity": "sine"}),
        ((3, 4), {"proj_size": 2}),
        ((), {}),
    ],
)
def test_constructors_refuse_what_torchs_refuse(arguments, options):
    want = error_of(lambda: torch.nn.RNN(*arguments, **options))
    assert error_of(lambda: ours.RNN(*arguments, **options)) == want


# ---- the import


def test_the_module_is_imported_when_asked_for():
    assert rnnfast.torch is ours
    code = "import sys, rnnfast; print('torch' in sys.modules); print(rnnfast.torch.LSTM)"
    assert run_code(code).split() == ["False", "<class", "'rnnfast.torch.modules.LSTM'>"]


def test_without_torch_the_extra_is_named():
    code = """
import sys
sys.modules["torch"] = None
import rnnfast
try:
    rnnfast.torch
except ImportError as error:
    print(error)
"""
    assert "pip install rnnfast[torch]" in run_code(code)


@pytest.mark.parametrize(
    "version, known",
    [
        ("2.3.1", False),
        ("2.4.0", True),
        ("2.13.0+cpu", True),
        ("2.14.0a0+git1", False),
        ("?", False),
    ],
)
def test_versions_whose_private_functions_are_known(version, known):
    assert is_known(version) is known


def test_an_unknown_torch_is_told_of_once_and_keeps_its_kernels():
    assert start_program("unknown_torch").stdout.splitlines() == [
        "1 warning",
        "True",
        "{} {'0': 'PyTorch 99.0.0 is not known'}",
        "LSTM takes resets on the engine alone",
    ]
