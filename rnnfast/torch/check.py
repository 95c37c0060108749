"""What the modules of a model gain: each of them timed in torch's kernels and on the engine."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from statistics import median
from timeit import repeat, timeit
from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence

ROUNDS, SECONDS = 7, 0.03  # rounds of each side, which take turns, and the time of one


def record(model: Any, inputs: Any, modules: dict[str, Any]) -> dict[str, Any]:
    """Call the model and return, by name, what the modules that it reaches were first called with.

    These are pairs (args, kwargs), without their graph.
    """
    calls: dict[str, Any] = {}

    def keep(name: str, _: Any, args: Any, kwargs: Any) -> None:
        calls.setdefault(name, (_leaves(args), _leaves(kwargs)))

    hooks = [
        module.register_forward_pre_hook(partial(keep, name), with_kwargs=True)
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
    """Return the microseconds of a call in torch's kernels and on the engine, where the module is.

    A module in training is timed forward and backward, one in evaluation forward.
    """
    kind = type(module)
    wanted = [p for p in (*module.parameters(), *_tensors((args, kwargs))) if p.requires_grad]

    def call(forward: Callable[..., Any]) -> None:
        outputs = [y for y in _tensors(forward(*args, **kwargs)) if y.requires_grad]
        if module.training and outputs:
            ones = [torch.ones_like(y) for y in outputs]
            torch.autograd.grad(outputs, wanted, ones, allow_unused=True)

    sides = [partial(call, forward) for forward in (partial(kind.forward, module), module.forward)]
    with torch.random.fork_rng(devices=[]), torch.set_grad_enabled(module.training):
        # of two calls, as the first one has more to do
        counts = [max(1, int(SECONDS / min(repeat(side, number=1, repeat=2)))) for side in sides]
        rounds = [
            [1e6 * timeit(side, number=n) / n for side, n in zip(sides, counts, strict=True)]
            for _ in range(ROUNDS)
        ]
    theirs, ours = map(median, zip(*rounds, strict=True))
    return theirs, ours


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
