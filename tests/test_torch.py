"""`rnnfast.torch` beside torch.nn: values, gradients, errors, and everything around a module."""

from __future__ import annotations

import copy
import gc
import io
import os
import pickle
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest
import tolerances
from cases import Case
from comparisons import close
from engines import each_engine  # noqa: F401

import rnnfast
from rnnfast.core import runtime

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch.nn.utils import parametrizations, parametrize  # noqa: E402
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

import rnnfast.torch as ours  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
    pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning"),  # torch's own use
]

CELLS = {"RNN": "rnn_tanh", "LSTM": "lstm", "GRU": "gru"}
LAYERS, SINGLE = tuple(CELLS), ("RNNCell", "LSTMCell", "GRUCell")
B, T, I, H = 5, 6, 4, 7  # noqa: E741
OPTIONS: list[dict[str, Any]] = [
    {},
    {"bias": False},
    {"batch_first": True},
    {"num_layers": 2, "bidirectional": True},
    {"num_layers": 3, "dropout": 0.4, "batch_first": True},
    {"num_layers": 2, "bidirectional": True, "dropout": 0.5, "bias": False},
]
EVERY = [(name, options) for name in LAYERS for options in OPTIONS]
EVERY += [("RNN", {"nonlinearity": "relu", "num_layers": 2})]
EVERY += [
    ("LSTM", {"proj_size": 3}),
    ("LSTM", {"proj_size": 2, "num_layers": 2, "bidirectional": True, "dropout": 0.3}),
    ("LSTM", {"proj_size": 3, "bias": False}),
]


def pair(name: str, dtype: Any = torch.float32, **options: Any) -> tuple[Any, Any]:
    """torch's own module and ours with the same weights."""
    torch.manual_seed(0)
    theirs = getattr(torch.nn, name)(I, H, dtype=dtype, **options)
    mine = getattr(ours, name)(I, H, dtype=dtype, **options)
    mine.load_state_dict(theirs.state_dict())
    return theirs, mine


def case_of(name: str, options: dict[str, Any]) -> Case:
    cell = CELLS[name.removesuffix("Cell")]
    return Case(
        cell,
        B=B,
        T=T,
        I=I,
        H=H,
        L=options.get("num_layers", 1),
        D=1 + options.get("bidirectional", False),
        P=options.get("proj_size", 0),
    )


def states(module: Any, *batch: int) -> Any:
    """Random initial states that want gradients."""
    stack = module.num_layers * (1 + module.bidirectional)
    h = torch.randn(stack, *batch, module.proj_size or H, dtype=module.weight_hh_l0.dtype)
    if module.mode != "LSTM":
        return h.requires_grad_()
    c = torch.randn(stack, *batch, H, dtype=h.dtype)
    return h.requires_grad_(), c.requires_grad_()


def flat(result: Any) -> list[Any]:
    """The tensors of a call's result."""
    if isinstance(result, PackedSequence):
        return [result.data]
    return [t for part in result for t in flat(part)] if isinstance(result, tuple) else [result]


def everything(module: Any, x: Any, hx: Any = None) -> dict[str, Any]:
    """Outputs, final states and all gradients, by name; the same random numbers at every call."""
    torch.manual_seed(1)
    outputs = flat(module(x, hx))
    torch.manual_seed(2)
    loss = sum((y * torch.randn(y.shape, dtype=y.dtype)).sum() for y in outputs)
    given = {"dx": flat(x)[0]} if flat(x)[0].requires_grad else {}
    given |= dict(zip(("dh0", "dc0"), flat(hx) if hx is not None else [], strict=False))
    given |= {f"d{name}": p for name, p in module.named_parameters()}
    gradients = torch.autograd.grad(loss, list(given.values()))
    names = ("y", "h_n", "c_n") if len(outputs) > 1 or "Cell" not in type(module).__name__ else "y"
    named = dict(zip(names, outputs, strict=False)) | dict(zip(given, gradients, strict=True))
    return {name: t.detach().numpy() for name, t in named.items()}


def agree(mine: dict[str, Any], theirs: dict[str, Any], case: Case) -> None:
    assert mine.keys() == theirs.keys()
    for name, got in mine.items():
        want, dtype = theirs[name], theirs[name].dtype
        close(name, got, want, tolerances.recurrent(case, name, dtype, want), dtype)


def error_of(function: Any) -> tuple[Any, str]:
    with pytest.raises(Exception) as caught:
        function()
    return caught.type, str(caught.value)


def on_engine(tensor: Any) -> bool:
    """Whether a result that has a gradient came through the engine."""
    return "_Recurrent" in type(tensor.grad_fn).__name__


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


def test_relu_cell():
    theirs, mine = pair("RNNCell", nonlinearity="relu")
    x = torch.randn(B, I)
    torch.testing.assert_close(mine(x), theirs(x))
    mine.nonlinearity = theirs.nonlinearity = "sine"
    assert error_of(lambda: mine(x)) == error_of(lambda: theirs(x))


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


def test_errors_are_torchs_own():
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
        for given in arguments:
            want = error_of(lambda m=theirs, g=given: m(*g))
            assert error_of(lambda m=mine, g=given: m(*g)) == want, (name, given)


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


# ---- the graph


@pytest.mark.parametrize("name", [*LAYERS, *SINGLE])
def test_gradcheck_and_gradgradcheck(name):
    options = {} if name in SINGLE else dict(num_layers=2, bidirectional=True, dropout=0.3)
    _, mine = pair(name, torch.float64, **options)
    x = torch.randn(4, I, dtype=torch.float64) if name in SINGLE else torch.randn(2, 2, I).double()
    names, weights = zip(*mine.named_parameters(), strict=True)

    def function(x: Any, *weights: Any) -> Any:
        torch.manual_seed(1)  # the same masks
        named = dict(zip(names, weights, strict=True))
        return tuple(flat(torch.func.functional_call(mine, named, (x,))))

    given = x.requires_grad_(), *(w.detach().clone().requires_grad_() for w in weights)
    assert on_engine(function(*given)[0])
    assert torch.autograd.gradcheck(function, given, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, given, fast_mode=True)


@pytest.mark.parametrize("packed", [False, True])
def test_create_graph_gives_torchs_second_gradients(packed):
    theirs, mine = pair("LSTM", num_layers=2, dropout=0.4)
    lengths = torch.tensor([6, 6, 4, 1, 1])
    x = torch.randn(T, B, I, requires_grad=True)

    def second(module: Any) -> Any:
        torch.manual_seed(4)
        z = x * x
        # the initial state depends on the input as well: each way must be counted once
        hx = (z[:1, :, :1].expand(2, B, H).tanh(), z.new_zeros(2, B, H))
        y = module(pack_padded_sequence(z, lengths) if packed else z, hx)[0]
        loss = flat(y)[0].square().sum()
        first = torch.autograd.grad(loss, [x, module.weight_hh_l0], create_graph=True)
        total = sum(g.square().sum() for g in first)
        return *first, *torch.autograd.grad(total, [x, module.weight_ih_l1])

    for got, want in zip(second(mine), second(theirs), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-5)


def test_a_graph_may_be_used_twice():
    _, mine = pair("LSTM", num_layers=2, dropout=0.5)
    x = torch.randn(T, B, I, requires_grad=True)
    wanted = [x, *mine.parameters()]
    loss = mine(x)[0].square().sum()
    torch.randn(3)
    before = torch.get_rng_state()
    passes = [torch.autograd.grad(loss, wanted, retain_graph=True) for _ in range(3)]
    assert torch.equal(before, torch.get_rng_state())
    for later in passes[1:]:
        assert all(torch.equal(a, b) for a, b in zip(passes[0], later, strict=True))
    loss.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        loss.backward()


def test_weights_changed_before_backward_are_refused_as_by_torch():
    for module in pair("GRU"):
        y, _ = module(torch.randn(T, B, I))
        with torch.no_grad():
            module.weight_hh_l0.mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()


@pytest.mark.parametrize("name", LAYERS)
def test_training_on_tensors_of_inference_mode(name):
    # features of a frozen encoder: torch trains on them with batch_first, and refuses others
    for batch_first in (True, False):
        theirs, mine = pair(name, batch_first=batch_first)
        with torch.inference_mode():
            x = torch.randn(B, T, I)
        try:
            want = everything(theirs, x)
        except RuntimeError:
            assert error_of(lambda m=mine, x=x: m(x)) == error_of(lambda m=theirs, x=x: m(x))
        else:
            agree(everything(mine, x), want, case_of(name, {}))


def test_only_wanted_gradients_are_computed(each_engine, monkeypatch):  # noqa: F811
    _, mine = pair("LSTM")
    module = rnnfast.backend.active().recurrent
    x, asked = torch.randn(T, B, I), []
    plain = module.backward

    def spy(packed, tape, dy, dh_n, dc_n, dx, dh0, dc0, grads):
        asked.append((dx is not None, dh0 is not None, dc0 is not None, grads is not None))
        return plain(packed, tape, dy, dh_n, dc_n, dx, dh0, dc0, grads)

    monkeypatch.setattr(module, "backward", spy)
    mine(x)[0].sum().backward()
    mine.requires_grad_(False)
    h = torch.zeros(1, B, H, requires_grad=True)
    mine(x, (h, torch.zeros(1, B, H)))[0].sum().backward()
    mine(x.requires_grad_())[0].sum().backward()
    mine.bias_hh_l0.requires_grad_(True)
    mine(x.detach())[0].sum().backward()
    assert asked == [
        (False, False, False, True),
        (False, True, False, False),
        (True, False, False, False),
        (False, False, False, True),
    ]
    assert mine.bias_hh_l0.grad is not None
    assert not mine(x.detach())[0].detach().requires_grad


def test_batched_gradients():
    theirs, mine = pair("GRU")
    x = torch.randn(2, 4, I)
    got, want = (
        torch.autograd.functional.jacobian(lambda x, m=m: m(x)[0], x, vectorize=True)
        for m in (mine, theirs)
    )
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_checkpoint(each_engine, use_reentrant):  # noqa: F811
    _, mine = pair("LSTM", num_layers=2, dropout=0.5)
    x = torch.randn(T, B, I, requires_grad=True)
    torch.manual_seed(1)
    want = torch.autograd.grad(mine(x)[0].square().sum(), x)[0]
    torch.manual_seed(1)
    y = checkpoint(lambda x: mine(x)[0], x, use_reentrant=use_reentrant)
    if each_engine == "reference":  # its tapes are seen by the collector
        kind = rnnfast.reference.recurrent.Tape
        assert not any(type(o) is kind for o in gc.get_objects())
    y.square().sum().backward()
    assert torch.equal(x.grad, want)


def test_saved_tensors_that_were_moved():
    _, mine = pair("LSTM", num_layers=2, dropout=0.5)
    x = torch.randn(T, B, I, requires_grad=True)
    gradients = []
    for hooks in (torch.autograd.graph.save_on_cpu(), torch.enable_grad()):
        torch.manual_seed(1)
        with hooks:
            loss = mine(x)[0].square().sum()
        gradients.append(torch.autograd.grad(loss, x)[0])
    assert torch.equal(*gradients)


def test_hooks():
    theirs, mine = pair("GRU")
    x = torch.randn(T, B, I, requires_grad=True)
    seen: dict[Any, list[Any]] = {}
    for module in (theirs, mine):
        seen[module] = []
        module.register_forward_pre_hook(lambda m, a: (a[0] * 2,))
        module.register_forward_hook(lambda m, a, r: (r[0] + 1, r[1]))
        module.register_full_backward_hook(lambda m, gi, go: seen[m].extend([gi[0], go[0]]))
        seen[module].append(module(x)[0])
        seen[module][0].square().sum().backward()
        seen[module].append(module.weight_hh_l0.grad)
    for got, want in zip(seen[mine], seen[theirs], strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


# ---- weights


def test_every_change_of_the_weights_is_seen():
    theirs, mine = pair("RNN")
    x = torch.randn(T, B, I)

    def check() -> None:
        for grad in (torch.inference_mode(), torch.enable_grad()):
            with grad:
                torch.testing.assert_close(mine(x)[0], theirs(x)[0])

    def each(change: Any) -> None:
        before = mine(x)[0].detach()
        for module in (mine, theirs):
            change(module)
        check()
        assert not torch.allclose(before, mine(x)[0].detach())

    def step(module: Any, **options: Any) -> None:
        optimizer = torch.optim.Adam(module.parameters(), lr=0.1, **options)
        module(x)[0].square().sum().backward()
        optimizer.step()

    def in_no_grad(module: Any) -> None:
        with torch.no_grad():
            module.weight_hh_l0.mul_(0.5)

    def in_no_grad_then_in_data(module: Any) -> None:
        in_no_grad(module)
        module(x)
        module.weight_hh_l0.data.mul_(-3)

    def in_numpy(module: Any) -> None:
        module.bias_ih_l0.detach().numpy()[0] += 1.0

    def transposed(module: Any) -> None:  # the same memory
        module.weight_hh_l0.data = module.weight_hh_l0.data.t()

    def replaced(module: Any) -> None:
        torch.manual_seed(3)
        module.weight_ih_l0 = torch.nn.Parameter(torch.randn(H, I))

    def loaded(module: Any) -> None:
        torch.manual_seed(5)
        module.load_state_dict({n: torch.randn_like(p) for n, p in module.named_parameters()})

    check()
    each(step)
    each(lambda module: step(module, fused=True))
    each(lambda module: step(module, foreach=True))
    each(in_no_grad)
    each(in_no_grad_then_in_data)
    each(lambda module: module.weight_hh_l0.data.add_(0.25))
    each(lambda module: module.weight_ih_l0.data[1].zero_())
    each(in_numpy)
    each(transposed)
    each(replaced)
    each(loaded)
    each(lambda module: module.share_memory().bias_hh_l0.data.neg_())
    doubled = {name: 2 * p.detach() for name, p in theirs.named_parameters()}
    got, want = (torch.func.functional_call(m, doubled, (x,))[0] for m in (mine, theirs))
    torch.testing.assert_close(got, want)
    check()
    each(lambda module: module.weight_hh_l0.data.mul_(3))


@pytest.mark.parametrize("name", LAYERS)
def test_the_weights_are_those_that_torchs_kernels_take(name):
    class Drop(torch.nn.Module):
        def forward(self, weight: torch.Tensor):
            return torch.nn.functional.dropout(weight, 0.5)

    x = torch.randn(T, B, I)
    theirs, mine = pair(name)
    before = mine(x)[0]
    for module in (theirs, mine):
        module._flat_weights[1] = torch.nn.Parameter(2 * module.weight_hh_l0)
    torch.testing.assert_close(mine(x)[0], theirs(x)[0])
    assert not torch.allclose(mine(x)[0], before)
    theirs, mine = pair(name)
    for module in (theirs, mine):  # as many draws as torch's
        parametrize.register_parametrization(module, "weight_hh_l0", Drop())
    assert on_engine(mine(x)[0])
    agree(everything(mine, x), everything(theirs, x), case_of(name, {}))


@pytest.mark.parametrize("name", SINGLE)
def test_cells_go_by_their_weights_and_not_by_their_flag(name):
    theirs, mine = pair(name)
    x = torch.randn(B, I)
    for bias in (False, True):
        theirs.bias = mine.bias = bias
        agree(everything(mine, x), everything(theirs, x), case_of(name, {}))
        theirs.bias_ih = theirs.bias_hh = mine.bias_ih = mine.bias_hh = None


def test_shared_weights():
    theirs, mine = pair("LSTM", bidirectional=True)
    for module in (theirs, mine):
        for name in ("weight_ih_l0", "weight_hh_l0"):
            setattr(module, f"{name}_reverse", getattr(module, name))
    x = torch.randn(T, B, I)
    agree(everything(mine, x), everything(theirs, x), case_of("LSTM", {"bidirectional": True}))
    twins = ours.GRU(I, H), ours.GRU(I, H)
    twins[1].weight_hh_l0 = twins[0].weight_hh_l0
    sum(m(x)[0].sum() for m in twins).backward()
    alone = [copy.deepcopy(m) for m in twins]
    for module in alone:
        module.zero_grad()
        module(x)[0].sum().backward()
    torch.testing.assert_close(
        twins[0].weight_hh_l0.grad, sum(m.weight_hh_l0.grad for m in alone), rtol=1e-4, atol=1e-5
    )


def test_weights_of_other_shapes_are_torchs_business():
    theirs, mine = pair("RNN")
    x = torch.randn(T, B, I)
    for module in (mine, theirs):
        module.weight_hh_l0.data = module.weight_hh_l0.data[:, :-1]
    assert error_of(lambda: mine(x)) == error_of(lambda: theirs(x))


@pytest.mark.parametrize("norm", ["parametrization", "hook"])
@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")
def test_weight_norm(norm):
    theirs, mine = pair("GRU")
    for module in (theirs, mine):
        kind = parametrizations if norm == "parametrization" else torch.nn.utils
        kind.weight_norm(module, "weight_hh_l0")
    x = torch.randn(T, B, I)
    assert on_engine(mine(x)[0])
    agree(everything(mine, x), everything(theirs, x), case_of("GRU", {}))
    with torch.no_grad():
        for module in (theirs, mine):
            next(p for n, p in module.named_parameters() if p.shape == (3 * H, 1)).mul_(2)
        torch.testing.assert_close(mine(x)[0], theirs(x)[0])


# ---- models


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(9, I)
        self.encoder = torch.nn.Sequential(torch.nn.LSTM(I, H, num_layers=2, batch_first=True))
        self.cell = torch.nn.GRUCell(H, H)
        self.out = torch.nn.Linear(H, 3)

    def forward(self, ids: torch.Tensor):
        y = self.encoder(self.embedding(ids))[0]
        return self.out(self.cell(y[:, -1], y[:, 0]))


class Packs(torch.nn.Module):
    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor):
        lengths = torch.tensor([1, 6, 4, 6, 1])
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return self.layer(packed)[0].data


def models() -> tuple[Any, Any, Any]:
    torch.manual_seed(0)
    theirs = Model()
    mine = copy.deepcopy(theirs)
    ours.accelerate(mine)
    return theirs, mine, torch.randint(0, 9, (B, T))


def kinds(model: Any) -> list[str]:
    return [type(m).__module__ for m in model.modules() if type(m).__name__ in ("LSTM", "GRUCell")]


def test_accelerate_trains_as_before_and_restore_undoes_it():
    theirs, _, ids = models()
    mine = copy.deepcopy(theirs)
    optimizers = [torch.optim.Adam(m.parameters(), lr=0.05) for m in (theirs, mine)]
    before = [id(p) for p in mine.parameters()]
    report = ours.accelerate(mine)  # the optimiser is there already
    assert report.model is mine
    assert report.swapped == {"encoder.0": "LSTM", "cell": "GRUCell"} and report.left == {}
    assert "encoder.0: LSTM" in repr(report)
    assert [id(p) for p in mine.parameters()] == before
    assert repr(mine) == repr(theirs)
    assert list(mine.state_dict()) == list(theirs.state_dict())
    assert kinds(mine) == ["rnnfast.torch.modules"] * 2
    for _ in range(5):
        losses = []
        for model, optimizer in zip((theirs, mine), optimizers, strict=True):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(ids), ids[:, 0] % 3)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        torch.testing.assert_close(*losses, rtol=1e-4, atol=1e-5)
    again = ours.accelerate(mine)
    assert again.swapped == {} and set(again.left) == {"encoder.0", "cell"}
    assert ours.restore(mine) is mine
    assert kinds(mine) == kinds(theirs) == ["torch.nn.modules.rnn"] * 2


def test_accelerate_says_what_it_leaves():
    class Custom(torch.nn.LSTM):
        def forward(self, input: Any, hx: Any = None) -> Any:
            return super().forward(input * 2, hx)

    patched = torch.nn.GRU(I, H)
    patched.forward = lambda x: x
    shared = torch.nn.RNN(I, H)
    model = torch.nn.ModuleDict({"a": shared, "b": shared, "custom": Custom(I, H), "p": patched})
    report = ours.accelerate(model)
    assert report.swapped == {"a": "RNN"}
    assert report.left == {"custom": "Custom is a subclass", "p": "its forward was replaced"}
    assert type(model["b"]) is ours.RNN and type(model["custom"]) is Custom
    heir = type("Heir", (ours.GRU,), {})(I, H)
    assert ours.accelerate(heir).left == {"": "runs on rnnfast already"}
    alone = torch.nn.LSTMCell(I, H)
    assert "(the model): LSTMCell" in repr(ours.accelerate(alone))
    assert type(alone) is ours.LSTMCell
    for function in (ours.accelerate, ours.restore):
        with pytest.raises(TypeError, match=r"expected model as a torch\.nn\.Module, got list"):
            function([])


def test_accelerate_below_parametrizations():
    theirs = torch.nn.LSTM(I, H)
    parametrizations.weight_norm(theirs, "weight_hh_l0")
    mine = copy.deepcopy(theirs)
    ours.accelerate(mine)
    x = torch.randn(T, B, I)
    assert on_engine(mine(x)[0]) and not on_engine(theirs(x)[0])
    torch.testing.assert_close(mine(x)[0], theirs(x)[0])
    ours.restore(mine)
    assert not on_engine(mine(x)[0])
    parametrize.remove_parametrizations(mine, "weight_hh_l0")
    assert type(mine) is torch.nn.LSTM


def test_copies():
    theirs, mine, ids = models()
    want = mine(ids)
    file = io.BytesIO()
    torch.save(mine, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    for twin in (copy.deepcopy(mine), pickle.loads(pickle.dumps(mine)), loaded):
        assert kinds(twin) == ["rnnfast.torch.modules"] * 2
        assert torch.equal(twin(ids), want)
        with torch.no_grad():
            twin.cell.weight_hh.zero_()
        assert not torch.equal(twin(ids), want) and torch.equal(mine(ids), want)
    theirs.load_state_dict(mine.state_dict())
    torch.testing.assert_close(theirs(ids), want)


# ---- what goes to torch's own kernels


@pytest.mark.filterwarnings("ignore")  # of torch, about its own tracers
def test_scripted():
    theirs, mine, ids = models()
    scripted = torch.jit.script(mine)
    assert torch.equal(scripted(ids), theirs(ids))
    assert kinds(mine) == ["torch.nn.modules.rnn"] * 2  # torch puts there what it compiled
    ours.accelerate(mine)
    with torch.no_grad():  # the same parameters
        mine.out.bias.add_(1)
    torch.testing.assert_close(scripted(ids), mine(ids))


@pytest.mark.filterwarnings("ignore")  # of torch, about its own tracers
def test_traced_and_exported():
    theirs, mine, ids = models()
    want = theirs(ids)
    traced = torch.jit.trace(mine, (ids,))
    assert torch.equal(traced(ids), want)
    assert "aten::lstm" in str(traced.inlined_graph)
    packs = [Packs(layer) for layer in pair("LSTM")]
    x = torch.randn(B, T, I)
    assert torch.equal(torch.jit.trace(packs[1], (x,))(x), packs[0](x))
    exported = torch.export.export(mine, (ids,))
    assert torch.equal(exported.module()(ids), want)
    graph = torch.fx.symbolic_trace(mine)
    assert [n.target for n in graph.graph.nodes if n.op == "call_module"] == [
        n.target for n in torch.fx.symbolic_trace(theirs).graph.nodes if n.op == "call_module"
    ]
    torch.testing.assert_close(graph(ids), want)


@pytest.mark.parametrize("compiler", ["eager", "aot_eager"])
@pytest.mark.filterwarnings("ignore")  # of torch, about its own tracers
def test_compiled(compiler):
    theirs, mine, ids = models()
    torch._dynamo.reset()
    compiled = torch.compile(mine, backend=compiler)
    torch.testing.assert_close(compiled(ids), theirs(ids))
    with torch.no_grad():
        torch.testing.assert_close(compiled(ids), theirs(ids))
    compiled(ids).sum().backward()
    theirs(ids).sum().backward()
    for got, want in zip(mine.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(got.grad, want.grad, rtol=1e-4, atol=1e-5)


def test_other_dtypes_devices_and_modes():
    from torch.autograd import forward_ad
    from torch.utils.flop_counter import FlopCounterMode

    theirs, mine = pair("GRU", torch.float64)
    x = torch.randn(T, B, I, dtype=torch.float64)

    def derivative(module: Any) -> Any:
        with forward_ad.dual_level():
            y = module(forward_ad.make_dual(x, torch.ones_like(x)))[0]
            return forward_ad.unpack_dual(y).tangent

    def gradient(module: Any) -> Any:
        return torch.func.grad(lambda x: module(x)[0].sum())(x)

    def lower(module: Any) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return module(x)[0]

    def flops(module: Any) -> Any:
        with FlopCounterMode(display=False) as counter:
            module(x)
        return torch.tensor(counter.get_total_flops())

    class Subclass(torch.Tensor):
        pass

    for function in (
        derivative,
        gradient,
        lower,
        flops,
        lambda m: m(x.as_subclass(Subclass))[0],
        lambda m: copy.deepcopy(m).bfloat16()(x.bfloat16())[0],
    ):
        got, want = function(mine), function(theirs)
        assert torch.equal(got, want) and type(got) is type(want)
    assert copy.deepcopy(mine).to("meta")(x.to("meta"))[0].is_meta


# ---- processes and threads

PARALLEL = """
import os
import sys
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
import rnnfast.torch

rank, file = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
torch.manual_seed(0)
plain, x = torch.nn.LSTM(4, 7, num_layers=2), torch.randn(6, 8, 4)
model = torch.nn.LSTM(4, 7, num_layers=2)
model.load_state_dict(plain.state_dict())
rnnfast.torch.accelerate(model)
parallel = DistributedDataParallel(model)
adam, reference = (torch.optim.Adam(m.parameters(), lr=0.1) for m in (model, plain))
for _ in range(3):
    adam.zero_grad(), reference.zero_grad()
    parallel(x[:, 4 * rank : 4 * rank + 4])[0].square().mean().backward()
    plain(x)[0].square().mean().backward()
    adam.step(), reference.step()
for got, want in zip(model.parameters(), plain.parameters()):
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-4)
dist.barrier()
os._exit(0)  # a process that ends with gloo's threads still there is aborted now and then
"""


def test_distributed_data_parallel(each_engine, tmp_path):  # noqa: F811
    environment = {**os.environ, "RNNFAST_BACKEND": each_engine, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PARALLEL]
    processes = [
        subprocess.Popen(
            [*command, str(rank), str(tmp_path / "meet")],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for process in processes:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
    finally:
        for process in processes:
            process.kill()


def test_one_module_serves_many_threads():
    _, mine = pair("GRU", num_layers=2)
    xs = [torch.randn(T, B, I) for _ in range(4)]

    def gradients(x: Any) -> Any:
        return torch.autograd.grad(mine(x)[0].square().sum(), list(mine.parameters()))

    want, got = [gradients(x) for x in xs], [[] for _ in xs]
    engine = rnnfast.backend.active().name

    def work(i: int) -> None:
        with rnnfast.backend.use(engine):
            got[i] = [gradients(xs[i]) for _ in range(20)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(xs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for ours_, theirs in zip(got, want, strict=True):
        assert len(ours_) == 20
        for found in ours_:
            assert all(torch.equal(a, b) for a, b in zip(found, theirs, strict=True))


def test_torchs_number_of_threads_holds_for_the_engine():
    _, mine = pair("LSTM")
    x, before, limit = torch.randn(T, B, I), torch.get_num_threads(), runtime._limit
    try:
        for count in (1, 3, 2):
            torch.set_num_threads(count)
            mine(x)
            assert rnnfast.get_num_threads() == count
        rnnfast.set_num_threads(4)
        mine(x)
        assert rnnfast.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)
        mine(x)
        rnnfast.set_num_threads(limit or None)


# ---- the import


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_the_module_is_imported_when_asked_for():
    assert rnnfast.torch is ours
    code = "import sys, rnnfast; print('torch' in sys.modules); print(rnnfast.torch.LSTM)"
    assert run(code).split() == ["False", "<class", "'rnnfast.torch.modules.LSTM'>"]


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
    assert "pip install rnnfast[torch]" in run(code)
