"""`accelerate` and `restore`: modules of torch's own classes, their copies, and whole models."""

from __future__ import annotations

import copy
import copyreg
import gc
import inspect
import io
import pickle
import weakref
from multiprocessing.reduction import ForkingPickler
from typing import Any, ClassVar

import pytest
from engines import each_engine as each_engine
from processes import run_code
from torch_pairs import B, H, I, T, flat, on_engine, pair
from torch_pairs import pytestmark as pytestmark

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch.nn.utils import parametrizations, parametrize  # noqa: E402
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence  # noqa: E402

import rnnfast.torch as ours  # noqa: E402
from rnnfast.torch import check  # noqa: E402


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


class Last(torch.nn.Module):
    def forward(self, outputs: tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]):
        return outputs[0][-1]


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


def accelerated(model: Any) -> list[bool]:
    """Which of the modules of torch's own types run on the engine."""
    types = torch.nn.LSTM, torch.nn.GRUCell
    x = torch.randn(4, 1, I), torch.randn(4, H)
    return [
        on_engine(flat(m(x[type(m) is torch.nn.GRUCell]))[0])
        for m in model.modules()
        if type(m) in types
    ]


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
    assert accelerated(mine) == [True] * 2
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
    assert accelerated(mine) == [False] * 2
    assert [vars(m).keys() for m in mine.modules()] == [vars(m).keys() for m in theirs.modules()]


def test_accelerate_says_what_it_leaves():
    class Alone(torch.nn.LSTM):
        def forward(self, input: Any, hx: Any = None) -> Any:
            return input, hx

    class Lenient(torch.nn.GRU):
        def check_forward_args(self, input: Any, hidden: Any, batch_sizes: Any) -> None:
            pass

    class Slim(torch.nn.GRUCell):
        __slots__ = ("extra",)

    patched = torch.nn.GRU(I, H)
    patched.forward = lambda x: x
    shared = torch.nn.RNN(I, H)
    model = torch.nn.ModuleDict({"a": shared, "b": shared, "alone": Alone(I, H), "p": patched})
    model.update({"lenient": Lenient(I, H), "slim": Slim(I, H), "cell": torch.nn.RNNCell(I, H)})
    report = ours.accelerate(model)
    assert report.swapped == {"a": "RNN"}
    assert report.left == {
        "alone": "Alone.forward does not call super().forward",
        "p": "its forward was replaced",
        "lenient": "Lenient replaces check_forward_args",
        "slim": "Slim has __slots__",
        "cell": "PyTorch's kernels are the quicker ones",
    }
    assert on_engine(model["b"](torch.randn(T, B, I))[0])
    assert not on_engine(model["lenient"](torch.randn(T, B, I))[0])
    for heir in (type("Heir", (ours.GRU,), {})(I, H), model["b"]):
        assert ours.accelerate(heir).left == {"": "runs on rnnfast already"}
    alone = torch.nn.LSTMCell(I, H)
    assert "(the model): LSTMCell" in repr(ours.accelerate(alone))
    assert on_engine(alone(torch.randn(4, I))[0])
    for function in (ours.accelerate, ours.restore):
        with pytest.raises(TypeError, match=r"expected model as a torch\.nn\.Module, got list"):
            function([])


@pytest.mark.filterwarnings("ignore")  # of torch, about its own tracers
def test_accelerate_says_that_it_leaves_what_torch_compiled():
    model = torch.nn.Sequential(torch.nn.LSTM(I, H), Last(), torch.nn.GRUCell(H, H)).eval()
    x = torch.randn(T, B, I)
    scripted = torch.jit.script(model)
    for compiled in (scripted, torch.jit.trace(model, (x,)), torch.nn.ModuleDict({"m": scripted})):
        report = ours.accelerate(compiled)
        assert report.swapped == {} and len(report.left) == 2
        assert set(report.left.values()) == {
            "torch.jit compiled it: accelerate the model that it was made of"
        }
        ours.restore(compiled)
    assert list(ours.accelerate(torch.jit.freeze(scripted)).left) == [""]
    assert ours.accelerate(torch.jit.script(torch.nn.Linear(2, 2))).left == {}


@pytest.mark.filterwarnings("ignore")  # of torch, about its own quantization
def test_types_stay_what_they_were():
    model = torch.nn.Sequential(torch.nn.LSTM(I, H), Last(), torch.nn.GRUCell(H, H))
    types = [type(m) for m in model]
    names = list(model.state_dict())
    assert ours.accelerate(model).left == {}
    assert [type(m) for m in model] == types and list(model.state_dict()) == names
    assert inspect.signature(model[0].forward) == inspect.signature(torch.nn.GRU(1, 1).forward)
    quantized = torch.ao.quantization.quantize_dynamic(model, {torch.nn.LSTM, torch.nn.GRUCell})
    assert {type(m).__module__ for m in quantized if type(m) is not Last} == {
        "torch.ao.nn.quantized.dynamic.modules.rnn"
    }
    assert quantized(torch.randn(T, B, I)).shape == (B, H)


def test_a_module_goes_when_its_last_reference_goes():
    layer = torch.nn.GRU(I, H)
    ours.accelerate(layer)
    layer(torch.randn(T, B, I))
    forward, gone = layer.forward, weakref.ref(layer)
    gc.disable()
    try:
        del layer
        assert gone() is None
    finally:
        gc.enable()
    with pytest.raises(ReferenceError, match="the module of this forward is gone"):
        forward(torch.randn(T, B, I))


def test_restore_below_another_forward_says_so():
    layer = torch.nn.GRU(I, H)
    ours.accelerate(layer)
    inner = layer.forward
    layer.forward = lambda *args: inner(*args)
    assert on_engine(layer(torch.randn(T, B, I))[0])
    assert ours.accelerate(layer).left == {"": "runs on rnnfast already"}
    with pytest.raises(RuntimeError, match="the forward of this GRU was replaced after accelerate"):
        ours.restore(layer)
    layer.forward = inner
    ours.restore(layer)
    assert not on_engine(layer(torch.randn(T, B, I))[0])


def test_a_forward_that_was_replaced_and_deleted_can_be_accelerated_again():
    layer = torch.nn.GRU(I, H)
    ours.accelerate(layer)
    before = layer.forward
    layer.forward = lambda *args: before(*args)
    del layer.forward
    x = torch.randn(T, B, I)
    assert not on_engine(layer(x)[0])
    assert ours.accelerate(layer).swapped == {"": "GRU"}
    assert on_engine(layer(x)[0])
    ours.restore(layer)
    assert not on_engine(layer(x)[0])


class Listed(torch.nn.GRU):
    """A class that keeps a list of its subclasses, and refuses a name twice."""

    names: ClassVar = set()

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        if cls.__name__ in Listed.names:
            raise ValueError(f"duplicate {cls.__name__}")
        Listed.names.add(cls.__name__)


class Member(Listed):
    pass


def test_classes_that_list_their_subclasses_do_not_hear_of_ours():
    layer = Member(I, H)
    assert ours.accelerate(layer).swapped == {"": "Member"}
    assert on_engine(layer(torch.randn(T, B, I))[0])
    assert Listed.names == {"Member"}


class Handles:
    """As pytorch-forecasting's layers: one that lies between a class and torch's."""

    def forward(self, x: Any, hx: Any = None, lengths: Any = None) -> Any:
        if lengths is None:
            self.calls = getattr(self, "calls", 0) + 1
            return super().forward(x, hx=hx)
        packed = pack_padded_sequence(x, lengths, self.batch_first, enforce_sorted=False)
        y, state = super().forward(packed, hx=hx)
        return pad_packed_sequence(y, batch_first=self.batch_first)[0], state


class Named(torch.nn.LSTM):
    """A subclass that documents."""


class Handling(Handles, torch.nn.LSTM):
    pass


class Doubling(torch.nn.GRUCell):
    def forward(self, input: Any, hx: Any = None) -> Any:
        return super().forward(2 * input, hx)


@pytest.mark.parametrize("parametrized", [False, True])
@pytest.mark.parametrize("kind", [Named, Handling, Doubling])
def test_subclasses_whose_forward_ends_in_torchs(kind, parametrized):
    theirs = kind(I, H)
    if parametrized:
        name = "weight_hh" if kind is Doubling else "weight_hh_l0"
        parametrizations.weight_norm(theirs, name)
    mine = copy.deepcopy(theirs)
    assert ours.accelerate(mine).swapped == {"": kind.__name__}
    assert type(mine) is type(theirs)
    x = torch.randn(B, I) if kind is Doubling else torch.randn(T, B, I)
    calls = [{}] + [{"lengths": torch.tensor([1, 6, 4, 6, 1])}] * (kind is Handling)
    copies = [mine, copy.deepcopy(mine)]
    if not parametrized:
        copies += [copy.copy(mine), pickle.loads(pickle.dumps(mine))]
    for module in copies:
        for call in calls:
            got, want = flat(module(x, **call))[0], flat(theirs(x, **call))[0]
            assert on_engine(got) or "lengths" in call
            torch.testing.assert_close(got, want)
    if kind is Handling:
        assert mine.calls == 1  # attributes are the module's own
    ours.restore(mine)
    assert not on_engine(flat(mine(x))[0])


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


# ---- check=


@pytest.mark.parametrize("training", [True, False])
def test_check_leaves_what_is_slower(training, monkeypatch, capsys):
    asked: list[Any] = []

    def slower(module: Any, *call: Any) -> tuple[float, float]:
        asked.append(check.race(module, *call))
        return (2.0, 1.0) if type(module) is torch.nn.GRUCell else (1.0, 2.0)

    monkeypatch.setattr("rnnfast.torch.models.race", slower)
    monkeypatch.setattr(check, "SECONDS", 1e-4)
    model = Model().train(training)
    model.spare = torch.nn.GRU(I, H)
    ids = torch.randint(0, 9, (B, T))
    for inputs in (ids, (ids,), {"ids": ids}):
        before = torch.get_rng_state()
        report = ours.accelerate(model, check=inputs)
        assert torch.equal(torch.get_rng_state(), before)
        assert report.swapped == {"cell": "GRUCell", "spare": "GRU"}
        assert report.left == {"encoder.0": "slower on rnnfast"}
        assert report.times == {"cell": (2.0, 1.0), "encoder.0": (1.0, 2.0)}
        assert "encoder.0: left: slower on rnnfast; 1 us in torch, 2 us on rnn" in repr(report)
        assert capsys.readouterr().out == f"{report}\n"
        assert accelerated(model) == [False, True]
        ours.restore(model)
    assert len(asked) == 6 and all(time > 0 for times in asked for time in times)
    assert all(p.grad is None for p in model.parameters())


def test_check_times_packed_sequences_and_changes_nothing_if_the_model_raises(capsys):
    model = Packs(torch.nn.GRU(I, H))
    assert set(ours.accelerate(model, check=torch.randn(B, T, I)).times) == {"layer"}
    ours.restore(model)
    with pytest.raises(AttributeError):
        ours.accelerate(model, check="no tensor")
    assert "forward" not in vars(model.layer) and not model.layer._forward_pre_hooks


def test_check_leaves_a_scripted_model_alone():
    scripted = torch.jit.script(torch.nn.Sequential(torch.nn.GRU(I, H)))
    report = ours.accelerate(scripted, torch.randn(T, B, I))
    assert not report.swapped and report.left


def test_check_puts_everything_back_if_a_module_raises(monkeypatch):
    model = torch.nn.ModuleList([torch.nn.GRU(I, H), torch.nn.GRU(I, H)])
    model.forward = lambda x: [layer(x)[0] for layer in model]
    calls = iter([(2.0, 1.0)])
    monkeypatch.setattr("rnnfast.torch.models.race", lambda *args: next(calls))
    with pytest.raises(StopIteration):
        ours.accelerate(model, torch.randn(T, B, I))
    assert not any(on_engine(y) for y in model.forward(torch.randn(T, B, I)))


# ---- copies


def test_copies():
    theirs, mine, ids = models()
    want = mine(ids)
    file = io.BytesIO()
    torch.save(mine, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    for twin in (copy.deepcopy(mine), pickle.loads(pickle.dumps(mine)), loaded):
        assert accelerated(twin) == [True] * 2
        assert torch.equal(twin(ids), want)
        with torch.no_grad():
            twin.cell.weight_hh.zero_()
        assert not torch.equal(twin(ids), want) and torch.equal(mine(ids), want)
    theirs.load_state_dict(mine.state_dict())
    torch.testing.assert_close(theirs(ids), want)


def test_what_shares_attributes_with_a_module_has_a_forward_of_its_own():
    layer = torch.nn.LSTM(I, H, num_layers=2, dropout=0.5)
    plain = copy.deepcopy(layer)
    ours.accelerate(layer)
    x = torch.randn(T, B, I)
    shallow, replica = copy.copy(layer), layer._replicate_for_data_parallel()
    for twin in (shallow, replica):
        assert twin.forward is not layer.forward and twin.forward.__self__ is twin
        twin.eval()
        assert layer.training
    want = plain.eval()(x)[0]
    assert on_engine(shallow(x)[0])
    torch.testing.assert_close(shallow(x)[0], want)
    for name, parameter in plain.named_parameters():  # as DataParallel does it
        setattr(replica, name, 2 * parameter)
        parameter.data *= 2
    assert on_engine(replica(x)[0])
    torch.testing.assert_close(replica(x)[0], plain(x)[0])
    torch.testing.assert_close(shallow(x)[0], want)
    assert on_engine(pickle.loads(pickle.dumps(shallow.forward))(x)[0])
    for kind in (torch.nn.LSTM, torch.nn.GRU):  # modules that nobody accelerated
        other = kind(I, H)
        for twin in (copy.copy(other), copy.deepcopy(other), pickle.loads(pickle.dumps(other))):
            assert vars(twin).keys() == vars(other).keys()
            assert not on_engine(twin(x)[0])


class Stored(torch.nn.GRU):
    """For which a program has a function in copyreg's table."""


def stored(layer):
    return rebuilt, (layer.input_size, layer.hidden_size), layer.__reduce_ex__(4)[2]


def rebuilt(*sizes):
    layer = Stored(*sizes)
    layer.note = "rebuilt"
    return layer


@pytest.mark.parametrize("late", [False, True])
def test_a_program_may_say_itself_how_its_modules_are_copied(late, monkeypatch):
    monkeypatch.delitem(copyreg.dispatch_table, Stored, raising=False)
    if late:
        ours.accelerate(Stored(I, H))
    monkeypatch.setitem(copyreg.dispatch_table, Stored, stored)
    layer, plain, x = Stored(I, H), Stored(I, H), torch.randn(T, B, I)
    ours.accelerate(layer)
    for module in (layer, plain):
        for twin in (copy.copy(module), copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            assert twin.note == "rebuilt"
            assert torch.equal(twin(x)[0], module(x)[0])
            assert on_engine(twin(x)[0]) == (module is layer)
            assert ours.restore(twin) is twin and not on_engine(twin(x)[0])


class Wrapped(torch.nn.GRU):
    """For which a program wraps the function that it finds there."""


def test_a_program_may_wrap_the_function_that_it_finds(monkeypatch):
    x, layer, plain = torch.randn(T, B, I), Wrapped(I, H), Wrapped(I, H)
    seen: list[Any] = []

    def wrap() -> None:
        found = copyreg.dispatch_table[Wrapped]

        def wrapper(module: Any) -> Any:
            seen.append(module)
            return found(module)

        copyreg.pickle(Wrapped, wrapper)

    monkeypatch.setitem(copyreg.dispatch_table, Wrapped, None)  # so that it goes in the end
    ours.accelerate(layer)
    for times in (1, 2):
        wrap()
        ours.accelerate(Wrapped(I, H))
        for module in (layer, plain):
            seen.clear()
            for twin in (copy.copy(module), pickle.loads(pickle.dumps(module))):
                assert torch.equal(twin(x)[0], module(x)[0])
                assert on_engine(twin(x)[0]) == (module is layer)
                assert ours.restore(twin) is twin and not on_engine(twin(x)[0])
            assert seen == [module] * 2 * times


class Known(torch.nn.GRU):
    """For which that function gives a name of this module."""


KNOWN = Known(I, H)


def test_a_module_may_be_one_that_copies_are_too(monkeypatch):
    monkeypatch.setitem(copyreg.dispatch_table, Known, lambda _: "KNOWN")
    ours.accelerate(KNOWN)
    for twin in (copy.copy(KNOWN), copy.deepcopy(KNOWN), pickle.loads(pickle.dumps(KNOWN))):
        assert twin is KNOWN
    ours.restore(KNOWN)


LOADING = """
import copy, pickle, sys, torch
assert not any(name.startswith("rnnfast") for name in sys.modules)
whole = torch.load(sys.argv[1], weights_only=False)
import rnnfast.torch
with open(sys.argv[2], "rb") as file:
    private = pickle.load(file)
x = torch.ones(5, 2, 3)
assert torch.equal(whole(x)[0], private(x)[0])
for layer in whole, private:
    twin = copy.copy(layer)
    assert twin.forward.__self__ is twin
    assert rnnfast.torch.accelerate(layer).left == {"": "runs on rnnfast already"}
    assert vars(rnnfast.torch.restore(layer)).keys() == vars(torch.nn.LSTM(3, 4)).keys()
"""


def test_loading_where_nobody_has_imported_us(tmp_path):
    layer = torch.nn.LSTM(3, 4)
    ours.accelerate(layer)
    torch.save(layer, tmp_path / "whole")
    with open(tmp_path / "private", "wb") as file:  # as of a program with a table of its own
        pickler = pickle.Pickler(file)
        pickler.dispatch_table = {}
        pickler.dump(layer)
    run_code(LOADING, tmp_path / "whole", tmp_path / "private")


def test_what_goes_to_another_process_goes_on_there():
    layer, x = torch.nn.LSTM(I, H), torch.randn(T, B, I)
    ours.accelerate(layer)
    twin = ForkingPickler.loads(ForkingPickler.dumps(layer))
    assert twin.forward.__self__ is twin
    assert on_engine(twin(x)[0])
    torch.testing.assert_close(twin(x), layer(x), rtol=0, atol=0)


# ---- models that torch compiles


@pytest.mark.filterwarnings("ignore")  # of torch, about its own tracers
def test_scripted():
    theirs, mine, ids = models()
    scripted = torch.jit.script(mine)
    assert torch.equal(scripted(ids), theirs(ids))
    assert accelerated(mine) == [False] * 2  # torch puts there what it compiled
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


@pytest.mark.filterwarnings("ignore")  # of torch, about its own tracers
def test_compiled(each_engine):
    # of seconds each; aot_eager traces the gradients, too
    compiler = "aot_eager" if each_engine == "core" else "eager"
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
