"""Making the recurrent modules of a model run on the engine, and undoing it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.utils import parametrize

from .calls import KNOWN
from .check import race, record
from .instances import install, is_installed, remove, why_not
from .modules import ORIGINALS, turn_back

_NAMES = {kind.__name__ for kind in ORIGINALS.values()}
_CELLS = "lstm", "gru", "rnn_tanh", "rnn_relu"
_KERNELS = *_CELLS, *(f"{cell}_cell" for cell in _CELLS)


@dataclass(frozen=True)
class Report:
    """What `accelerate` did.

    Attributes
    ----------
    model : torch.nn.Module
        The model that was given.
    swapped : dict of str to str
        Class by name, as in ``named_modules``, of the modules that were put on the engine.
    left : dict of str to str
        The reason by name, of the recurrent modules that were left as they are.
    times : dict of str to (float, float)
        With `check`, by name: the microseconds of a call in torch's kernels and on the engine.
    """

    model: Any
    swapped: dict[str, str]
    left: dict[str, str]
    times: dict[str, tuple[float, float]] = field(default_factory=dict)

    def __repr__(self) -> str:
        lines = [f"recurrent modules: {len(self.swapped)} swapped, {len(self.left)} left"]
        for name, said in [*self.swapped.items(), *self.left.items()]:
            line = f"  {name or '(the model)'}: {'left: ' * (name in self.left)}{said}"
            if name in self.times:
                theirs, ours = self.times[name]
                line += f"; {theirs:.4g} us in torch, {ours:.4g} us on rnnfast"
            lines.append(line)
        return "\n".join(lines)


def accelerate(model: Any, check: Any = None) -> Report:
    """Make every recurrent module of a model run on the engine, in place.

    Modules of the types `torch.nn.RNN`, `LSTM`, `GRU`, `LSTMCell` and `GRUCell`, and of
    subclasses that keep torch's `forward` or call it as ``super().forward``, get a `forward` of
    their own, which their copies keep. An `RNNCell` is left: torch's kernel is quicker. Types,
    parameters, hooks, buffers and every reference to them, an optimiser's for instance, stay as
    they are.

    Parameters
    ----------
    model : torch.nn.Module
        Any model, or a recurrent module itself.
    check : tensor, or tuple or dict of arguments, optional
        An input of the model. The model is called with it once, as it is; then every module that
        this call reaches is timed both ways on what it got first: forward and backward if it is in
        training, else forward. Modules that are slower on the engine are left, and the report is
        printed. This takes about half a second a module.

    Returns
    -------
    Report
        Which modules were put on the engine, and which were left and why.

    Raises
    ------
    TypeError
        `model` is no module.
    """
    swapped: dict[str, str] = {}
    left, times = {}, {}
    modules = dict(_recurrent_modules(model))
    plain = {n: m for n, m in modules.items() if not isinstance(m, torch.jit.ScriptModule)}
    calls = {} if check is None else record(model, check, plain)
    for name, module in modules.items():
        kind = parametrize.type_before_parametrizations(module)
        why: str | None = "its forward was replaced"
        if isinstance(module, torch.jit.ScriptModule):
            why = "torch.jit compiled it: accelerate the model that it was made of"
        elif isinstance(module, tuple(ORIGINALS)) or is_installed(module):
            why = "runs on rnnfast already"
        elif not KNOWN:
            why = f"PyTorch {torch.__version__} is not known"
        elif "forward" not in vars(module):
            why = why_not(kind)
        if why is None:
            install(module)
            if name in calls:
                try:
                    times[name] = theirs, ours = race(module, *calls[name])
                except BaseException:
                    for done in (name, *swapped):
                        remove(modules[done])
                    raise
                if ours > theirs:
                    remove(module)
                    why = "slower on rnnfast"
        if why is None:
            swapped[name] = kind.__name__
        else:
            left[name] = why
    report = Report(model, swapped, left, times)
    if check is not None:
        print(report)
    return report


def restore(model: Any) -> Any:
    """Undo `accelerate`: every recurrent module is torch's own again, in place.

    Parameters
    ----------
    model : torch.nn.Module

    Returns
    -------
    torch.nn.Module
        The model that was given.

    Raises
    ------
    TypeError
        `model` is no module.
    RuntimeError
        The `forward` of a module was replaced after `accelerate`.
    """
    for _, module in _recurrent_modules(model):
        if not isinstance(module, torch.jit.ScriptModule):
            remove(module)
            turn_back(module)
    return model


def _recurrent_modules(model: Any) -> list[tuple[str, Any]]:
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"expected model as a torch.nn.Module, got {type(model).__name__}")
    return [(name, module) for name, module in model.named_modules() if _is_recurrent(module)]


def _is_recurrent(module: Any) -> bool:
    if isinstance(module, torch.jit.ScriptModule):
        if module.original_name in _NAMES:
            return True
        graph = str(getattr(module, "graph", ""))  # a frozen one holds what its parts did
        return any(f"aten::{kernel}(" in graph for kernel in _KERNELS)
    return isinstance(module, (torch.nn.RNNBase, torch.nn.RNNCellBase))
