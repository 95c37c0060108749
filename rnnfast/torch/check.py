"""What the modules of a model gain: each of them timed in torch's kernels and on the engine."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence

ROUNDS, SECONDS = 7, 0.03  # rounds of each side, which take turns, and the time of one


def record(model: Any, inputs: Any, modules: dict[str, Any]) -> dict[str, Any]:
    """Call the model and return, by name, what the modules that it reaches were first called with.

    Parameters
    ----------
    model : torch.nn.Module
    inputs : tensor, or tuple or dict of arguments
    modules : dict of str to torch.nn.Module

    Returns
    -------
    dict of str to (tuple, dict)
        Arguments without their graph.
    """
    calls: dict[str, Any] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(_: Any, args: Any, kwargs: Any) -> None:
            calls.setdefault(name, (_leaves(args), _leaves(kwargs)))

        return hook

    hooks = [
        module.register_forward_pre_hook(keep(name), with_kwargs=True)
        for name, module in modules.items()
    ]
    try:
        with torch.random.fork_rng(devices=[]):
            if isinstance(inputs, dict):
                model(**inputs)
            else:
                model(*(inputs if isinstance(inputs, tuple) else (inputs,)))
    finally:
        for handle in hooks:
            handle.remove()
    return calls


def race(module: Any, args: Any, kwargs: Any) -> tuple[float, float]:
    """Return the microseconds of a call in torch's kernels and on the engine.

    A module in training is timed forward and backward, one in evaluation forward.

    Parameters
    ----------
    module : torch.nn.Module
        That runs on the engine.
    args, kwargs : tuple, dict
        From `record`.
    """
    kind = type(module)
    wanted = [p for p in (*module.parameters(), *_tensors((args, kwargs))) if p.requires_grad]

    def side(forward: Callable[..., Any]) -> Callable[[], None]:
        def call() -> None:
            outputs = [y for y in _tensors(forward(*args, **kwargs)) if y.requires_grad]
            if module.training and outputs:
                ones = [torch.ones_like(y) for y in outputs]
                torch.autograd.grad(outputs, wanted, ones, allow_unused=True)

        return call

    with torch.random.fork_rng(devices=[]), torch.set_grad_enabled(module.training):
        return _take_turns(
            side(lambda *a, **k: kind.forward(module, *a, **k)), side(module.forward)
        )


def _take_turns(first: Callable[[], None], second: Callable[[], None]) -> tuple[float, float]:
    # microseconds of a call: medians
    times: tuple[list[float], list[float]] = ([], [])
    counts = [max(1, int(SECONDS / _clock(call, 1))) for call in (first, second) if not call()]
    for _ in range(ROUNDS):
        for call, count, found in zip((first, second), counts, times, strict=True):
            found.append(1e6 * _clock(call, count) / count)
    return median(times[0]), median(times[1])


def _clock(call: Callable[[], None], count: int) -> float:
    begin = perf_counter()
    for _ in range(count):
        call()
    return perf_counter() - begin


def _leaves(value: Any) -> Any:
    # tensors that have no graph, and want gradients where they did
    if isinstance(value, torch.Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    if isinstance(value, PackedSequence):
        return PackedSequence(_leaves(value.data), *value[1:])
    if isinstance(value, dict):
        return {name: _leaves(part) for name, part in value.items()}
    return type(value)(map(_leaves, value)) if type(value) in (tuple, list) else value


def _tensors(value: Any) -> list[Any]:
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, PackedSequence):
        return [value.data]
    parts = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(parts, (tuple, list)):
        return []
    return [tensor for part in parts for tensor in _tensors(part)]
