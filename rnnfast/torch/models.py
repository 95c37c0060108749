"""Making the recurrent modules of a model run on the engine, and undoing it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils import parametrize

from .modules import ORIGINALS, OURS, turn


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

    Modules of exactly the types `torch.nn.RNN`, `LSTM`, `GRU`, `RNNCell`, `LSTMCell` and `GRUCell`,
    parametrized ones too, become those of this module: only their class changes. Parameters,
    hooks, buffers and every reference to them, an optimiser's for instance, stay as they are.

    Parameters
    ----------
    model : torch.nn.Module
        Any model, or a recurrent module itself.

    Returns
    -------
    Report
        Which modules were swapped, and which were left and why.

    Raises
    ------
    TypeError
        `model` is no module.
    """
    swapped, left = {}, {}
    for name, module in _recurrent_modules(model):
        kind = parametrize.type_before_parametrizations(module)
        if isinstance(module, tuple(ORIGINALS)):
            left[name] = "runs on rnnfast already"
        elif "forward" in vars(module):
            left[name] = "its forward was replaced"
        elif turn(module, OURS):
            swapped[name] = kind.__name__
        else:
            left[name] = f"{kind.__name__} is a subclass"
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
    """
    for _, module in _recurrent_modules(model):
        turn(module, ORIGINALS)
    return model


def _recurrent_modules(model: Any) -> list[tuple[str, Any]]:
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"expected model as a torch.nn.Module, got {type(model).__name__}")
    kinds = torch.nn.RNNBase, torch.nn.RNNCellBase
    return [(name, module) for name, module in model.named_modules() if isinstance(module, kinds)]
