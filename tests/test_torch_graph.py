"""`rnnfast.torch` in PyTorch's graph: which gradients, when and how often."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from engines import each_engine as each_engine
from torch_pairs import (
    LAYERS,
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

from torch.nn.utils.rnn import pack_padded_sequence  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402


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


@pytest.mark.parametrize("change", ["x", "h", "y"])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("shape", [(B, T), (1, T), (B, 1)])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_what_torch_lets_change_before_backward(name, batch_first, shape, frozen, change):
    modules = pair(name, num_layers=2, batch_first=batch_first)
    source = torch.randn(*(shape if batch_first else shape[::-1]), I, requires_grad=True)
    start = states(modules[0], shape[0])
    first = start[0] if name == "LSTM" else start

    def gradients(module: Any) -> Any:
        module.requires_grad_(not frozen)
        x, h = source * 1, first * 1
        y, _ = module(x, (h, start[1]) if name == "LSTM" else h)
        {"x": x, "h": h, "y": y}[change].mul_(2)
        wanted = [source, first, *(() if frozen else module.parameters())]
        return torch.autograd.grad(y.square().sum(), wanted)

    theirs, mine = modules
    try:
        want = gradients(theirs)
    except RuntimeError as error:
        assert "inplace" in str(error)
        if change == "x" and not frozen:  # else more may be changed here
            assert error_of(lambda: gradients(mine))[0] is RuntimeError
    else:
        for got, value in zip(gradients(mine), want, strict=True):
            torch.testing.assert_close(got, value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("batch_first", [True, False])
def test_a_residual_that_is_added_in_place(batch_first):
    modules = pair("GRU", batch_first=batch_first)
    x = torch.randn(B, T, I, requires_grad=True)
    results = []
    for module in modules:
        module.requires_grad_(batch_first)  # else torch keeps x itself
        z = x * 1
        for _ in range(3):
            y, _ = module(z)
            z += y[..., :I]
            z[:, -1] = y[:, -1, :I]
        results.append(torch.autograd.grad(z.square().sum(), x, retain_graph=True))
        results.append(torch.autograd.grad(z.square().sum(), x))  # of a second run forward
        z = x * 1
        (grad,) = torch.autograd.grad(module(z)[0].sum() + z.mul_(2).sum(), x, create_graph=True)
        results.append(torch.autograd.grad(grad.square().sum(), x))
    for got, want in zip(results[3:], results[:3], strict=True):
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-4)


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


def test_only_wanted_gradients_are_computed(each_engine, monkeypatch):
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
def test_checkpoint(each_engine, use_reentrant):
    gc.collect()  # tapes that errors in other tests hold
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
