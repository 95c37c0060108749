"""For the tests of `rnnfast.torch`: a module of torch.nn beside ours, their results and errors."""

from __future__ import annotations

from typing import Any

import pytest
import tolerances
from cases import Case
from comparisons import close

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

from torch.nn.utils.rnn import PackedSequence  # noqa: E402

import rnnfast.torch as ours  # noqa: E402
from rnnfast.cells import CELLS as TABLE  # noqa: E402

pytestmark = [
    pytest.mark.usefixtures("any_call_gains"),
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
    pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning"),  # torch's own use
]

CELLS = {c.layer: c.name for c in TABLE.values() if c.in_torch and not c.options}
LAYERS, SINGLE = tuple(CELLS), ("LSTMCell", "GRUCell")
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
    node = tensor.grad_fn
    if type(node).__name__ == "TransposeBackward0":  # of a result with its steps behind the samples
        node = node.next_functions[0][0]
    return "_Recurrent" in type(node).__name__
