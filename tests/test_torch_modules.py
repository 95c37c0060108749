"""`rnnfast.torch` as modules: their weights, calls that go to torch's own kernels, threads."""

from __future__ import annotations

import copy
import threading
from typing import Any

import pytest
from engines import each_engine as each_engine
from torch_pairs import (
    EVERY,
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
from rnnfast.core import runtime

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch.nn.utils import parametrizations, parametrize  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence  # noqa: E402

import rnnfast.torch as ours  # noqa: E402
from rnnfast.torch import calls, modules  # noqa: E402

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


# ---- what goes to torch's own kernels


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_nested_tensors_give_torchs_error():
    for name in ("LSTM", "GRUCell"):
        theirs, mine = pair(name)
        for layout in (torch.strided, torch.jagged):
            x = torch.nested.nested_tensor([torch.zeros(n, I) for n in (3, 5)], layout=layout)
            assert error_of(lambda m=mine, x=x: m(x)) == error_of(lambda m=theirs, x=x: m(x))


def gains(cell: str, steps: int, batch: int, nbytes: int, onednn: bool, training: bool) -> bool:
    with torch.set_grad_enabled(training):
        weights = [torch.ones(1, requires_grad=True)]
        return calls.gains(cell, steps, steps * batch, nbytes, [], weights, onednn)


@pytest.mark.parametrize(
    "cell, units, batch, training, steps",
    [
        ("gru", 64, 1, True, 2),
        ("gru", 256, 1, True, 4),
        ("gru", 256, 32, True, 4),
        ("gru", 1024, 32, True, 8),
        ("rnn_tanh", 64, 1, True, 4),
        ("rnn_relu", 1024, 1, True, 10),
        ("gru", 64, 1, False, 2),
        ("gru", 64, 64, False, 1),
        ("gru", 64, 64, True, 1),
        ("gru", 64, 63, True, 2),
        ("gru", 256, 1, False, 8),
        ("gru", 256, 64, False, 2),
        ("rnn_tanh", 64, 64, False, 3),
        ("rnn_tanh", 1024, 1, False, 29),
        ("rnn_tanh", 1024, 1024, False, 7),
    ],
)
def test_few_steps_go_to_torch(cell, units, batch, training, steps):
    nbytes = units * 2 * units * 4
    gained = [gains(cell, n, batch, nbytes, False, training) for n in range(40)]
    assert gained.index(True) == steps and all(gained[steps:])


def test_few_steps_of_onednns_lstm_go_there_at_inference():
    for nbytes in (1 << 19, 1 << 20, 1 << 21):
        assert gains("lstm", 1, 1, nbytes, True, True)
        assert gains("lstm", 1, 1, nbytes, True, False) == (nbytes < 1 << 20)
        assert not gains("lstm", 1, 1, nbytes, False, False)
        assert gains("lstm", 15, 1, nbytes, True, False)
        assert not gains("lstm", 1, 0, nbytes, True, True)


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM", "GRUCell", "LSTMCell"])
def test_calls_go_where_the_rule_says(monkeypatch, name):
    monkeypatch.setattr(modules, "gains", calls.gains)
    monkeypatch.setattr(modules, "SINGLE_ROWS", calls.SINGLE_ROWS)
    theirs, layer = pair(name)
    swapped = copy.deepcopy(theirs)
    ours.accelerate(swapped)
    served = []

    def spy(*args: Any) -> Any:
        served.append(args)
        return calls.run(*args)

    monkeypatch.setattr(modules, "run", spy)

    def is_served(*args: Any) -> bool:
        here = []
        for module in (layer, swapped):
            served.clear()
            for got, want in zip(flat(module(*args)), flat(theirs(*args)), strict=True):
                torch.testing.assert_close(got, want)
            here.append(bool(served))
        assert here[0] == here[1]
        return here[0]

    if name in SINGLE:
        assert [is_served(torch.randn(n, I)) for n in (1, 63, 64)] == [False, False, True]
        assert not is_served(torch.randn(I))
        return
    least = {"RNN": (4, 3), "GRU": (2, 2), "LSTM": (1, 1)}[name]
    h = torch.zeros(1, 1, H)
    state = (h, h) if name == "LSTM" else h
    for steps in range(1, 5):
        x = torch.randn(steps, 1, I)
        assert is_served(x) == is_served(x, state) == is_served(x[:, 0]) == (steps >= least[0])
        with torch.no_grad():
            assert is_served(x) == is_served(x, state) == (steps >= least[1])
    assert is_served(torch.randn(1, 64, I)) == (name != "RNN")
    for module in (theirs, layer, swapped):
        module.batch_first = True
    assert is_served(torch.randn(1, 4, I)) and is_served(torch.randn(2, 1, I)) == (name == "LSTM")
    for module in (theirs, layer, swapped):
        module.batch_first = False
        module.requires_grad_(False)
    x = torch.randn(3, 1, I)
    assert is_served(x)
    if name == "RNN":
        assert not is_served(x.clone().requires_grad_())
        assert not is_served(x, h.clone().requires_grad_())


@pytest.mark.parametrize("name, options", [*EVERY, ("LSTMCell", {}), ("GRUCell", {"bias": False})])
def test_calls_that_torch_does_better_are_torchs(monkeypatch, name, options):
    monkeypatch.setattr(modules, "gains", lambda *_: False)
    monkeypatch.setattr(modules, "SINGLE_ROWS", 64)
    theirs, _ = pair(name, **options)
    swapped = ours.accelerate(copy.deepcopy(theirs)).model
    axes = (B,) if name in SINGLE else (T, B)
    x = torch.randn(*axes, I).requires_grad_()
    given: list[tuple[Any, ...]] = [(x,), (x[0],)]
    if name not in SINGLE:
        hx = states(theirs, T if theirs.batch_first else B)
        given += [(x, hx), (x, list(hx) if name == "LSTM" else hx)]
    for args in given:
        for training in (True, False):
            results = []
            for module in (theirs, swapped):
                torch.manual_seed(3)
                outputs = flat(module.train(training)(*args))
                sum(y.sum() for y in outputs).backward()
                wanted = [
                    *module.parameters(),
                    x,
                    *(t for h in args[1:] for t in flat(h if torch.is_tensor(h) else tuple(h))),
                ]
                results.append([*outputs, *(tensor.grad for tensor in wanted)])
                for tensor in wanted:
                    tensor.grad = None
            for got, want in zip(*results, strict=True):
                assert torch.equal(got, want)
    if name in LAYERS:
        with torch.no_grad():
            swapped.weight_hh_l0.zero_()
            swapped.weight_hh_l0 = torch.nn.Parameter(theirs.weight_hh_l0.clone())
        for got, want in zip(flat(swapped(x)), flat(theirs(x)), strict=True):
            assert torch.equal(got, want)


@pytest.mark.filterwarnings("ignore")  # of torch, about its own tracers
def test_traces_where_the_rule_differs_without_gradients(monkeypatch):
    monkeypatch.setattr(modules, "gains", calls.gains)
    layer = ours.accelerate(torch.nn.RNN(I, H)).model
    x = torch.randn(3, 1, I)  # the trace is compared with one without gradients
    torch.testing.assert_close(torch.jit.trace(layer, (x,))(x)[0], layer(x)[0])


@pytest.mark.filterwarnings("ignore")  # of torch, about its own tracers
def test_export_of_a_layer():
    layer, x = ours.accelerate(torch.nn.GRU(I, H)).model, torch.randn(T, B, I)
    exported = torch.export.export(layer, (x,)).module()
    torch.testing.assert_close(exported(x)[0], layer(x)[0])


def test_what_counts_for_large_lstms(monkeypatch):
    monkeypatch.setattr(modules, "gains", calls.gains)
    monkeypatch.setattr(calls, "_HUGE", 4 * I * H)
    monkeypatch.setattr(calls, "_MANY_ROWS", T * B)
    x = torch.randn(T, B, I)
    engine = runtime.isa() != "avx2"
    for options, dtype, there in [
        ({}, torch.float32, engine),
        ({"num_layers": 2, "bidirectional": True}, torch.float32, engine),
        ({}, torch.float64, True),
        ({"proj_size": 3}, torch.float32, True),
    ]:
        layer = ours.LSTM(I, H, dtype=dtype, **options)
        assert on_engine(layer(x.to(dtype))[0]) == there
        twice = [layer(x.to(dtype))[0] for _ in range(2)]
        assert torch.equal(*twice)
    layer = ours.LSTM(I, H)
    assert on_engine(layer(pack_padded_sequence(x, [T] * B))[0].data)
    assert on_engine(layer(x[1:])[0])
    assert on_engine(layer(x, resets=torch.arange(T)[:, None].expand(T, B) == 2)[0])
    assert on_engine(ours.GRU(I, H)(x)[0])
    for isa in ("avx2", "avx512"):
        monkeypatch.setattr(runtime, "isa", lambda isa=isa: isa)
        for nbytes, steps in [(1 << 24, T), (4 * I * H + 1, T - 1), (4 * I * H + 1, T)]:
            there = isa == "avx2" and steps == T
            assert gains("lstm", steps, B, nbytes, True, True) != there
            assert gains("lstm", 50, B, nbytes, True, False)
            assert gains("lstm", 50, B, nbytes, False, True)


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


# ---- threads


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
