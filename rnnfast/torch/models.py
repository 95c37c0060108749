"""Making the recurrent modules of a model run on the engine, and undoing it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils import parametrize

from .instances import install, is_installed, remove, why_not
from .modules import ORIGINALS, turn

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
    """

    model: Any
    swapped: dict[str, str]
    left: dict[str, str]

    def __repr__(self) -> str:
        lines = [f"recurrent modules: {len(self.swapped)} swapped, {len(self.left)} left"]
        names = [*self.swapped.items(), *((n, f"left: {why}") for n, why in self.left.items())]
        return "\n".join([*lines, *(f"  {name or '(the model)'}: {said}" for name, said in names)])


def accelerate(model: Any) -> Report:
    """Make every recurrent module of a model run on the engine, in place.

    Modules of the types `torch.nn.RNN`, `LSTM`, `GRU`, `RNNCell`, `LSTMCell` and `GRUCell`, and of
    subclasses that keep torch's `forward` or call it as ``super().forward``, get a `forward` of
    their own, which their copies keep. Types, parameters, hooks, buffers and every reference to
    them, an optimiser's for instance, stay as they are.

    Parameters
    ----------
    model : torch.nn.Module
        Any model, or a recurrent module itself.

    Returns
    -------
    Report
        Which modules were put on the engine, and which were left and why.

    Raises
    ------
    TypeError
        `model` is no module.
    """
    swapped, left = {}, {}
    for name, module in _recurrent_modules(model):
        kind = parametrize.type_before_parametrizations(module)
        why: str | None = "its forward was replaced"
        if isinstance(module, torch.jit.ScriptModule):
            why = "torch.jit compiled it: accelerate the model that it was made of"
        elif isinstance(module, tuple(ORIGINALS)) or is_installed(module):
            why = "runs on rnnfast already"
        elif "forward" not in vars(module):
            why = why_not(kind)
        if why is None:
            install(module)
            swapped[name] = kind.__name__
        else:
            left[name] = why
    return Report(model, swapped, left)


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
            turn(module, ORIGINALS)
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
