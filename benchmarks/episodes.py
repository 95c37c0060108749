"""Measures `resets`: what they cost, and what an update of a recurrent policy gains by them.

    python benchmarks/episodes.py [--seconds 0.5] [--threads 2]

The first table has calls with resets beside the same calls without, in turns. The second has an
update of PPO (Schulman et al. 2017) with an LSTM, from rollouts in which episodes end, by every way
to keep an episode's state from the next one's: a loop over the steps, as recurrent policies in
PyTorch have it, and `resets`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from report import number, table

import rnnfast
from rnnfast.bench import clock, plan

SHAPES = [(8, 128, 8, 64), (32, 50, 1, 20), (64, 100, 64, 128), (64, 50, 256, 256)]  # B, T, I, H
ENVIRONMENTS, STEPS, SIZE, UNITS, ACTIONS = 8, 256, 16, 128, 4


def in_turns(calls: dict[Any, Callable[[], Any]], seconds: float) -> dict[Any, float]:
    """Return the median microseconds of each call."""
    taken: dict[Any, list[float]] = {name: [] for name in calls}
    n, rounds = plan(next(iter(calls.values())), seconds)
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            taken[name].append(clock(call, n))
    return {name: 1e6 * median(values) for name, values in taken.items()}


def cost(seconds: float) -> None:
    rows = []
    rng = np.random.default_rng(0)
    for cls in (rnnfast.LSTM, rnnfast.GRU):
        for B, T, I, H in SHAPES:  # noqa: E741
            layer = cls(I, H, seed=0)
            x = rng.standard_normal((T, B, I), np.float32)
            dy = rng.standard_normal((T, B, H), np.float32)
            rates = {p: rng.random((T, B)) < p if p else None for p in (0.0, 0.02, 0.1)}

            def train(resets: Any, layer: Any = layer, x: Any = x, dy: Any = dy) -> None:
                _, _, tape = layer.forward(x, resets=resets)
                layer.backward(tape, dy)

            row = [cls.__name__, f"{B}, {T}, {I}, {H}"]
            for call in (lambda resets, layer=layer, x=x: layer(x, resets=resets), train):
                calls = {p: lambda call=call, r=r: call(r) for p, r in rates.items()}
                plain, *others = in_turns(calls, seconds).values()
                row += [number(plain), *(f"{other / plain:.3f}" for other in others)]
            rows.append(row)
    columns = ["cell", "B, T, I, H", "inference, us", "at 2%", "at 10%"]
    print(table([*columns, "training, us", "at 2%", "at 10%"], rows), flush=True)


def epoch(rounds: int, threads: int) -> None:
    import torch

    import rnnfast.torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    observations = torch.randn(STEPS, ENVIRONMENTS, SIZE)
    actions = torch.randint(ACTIONS, (STEPS, ENVIRONMENTS))
    before, advantages, returns = (torch.randn(STEPS, ENVIRONMENTS) for _ in range(3))
    starts = torch.rand(STEPS, ENVIRONMENTS) < 0.02

    def by_steps(lstm: Any) -> Any:
        state, outputs = None, []
        for x, start in zip(observations, starts, strict=True):
            if state is not None:
                state = tuple(torch.where(start[:, None], 0.0, s) for s in state)
            y, state = lstm(x[None], state)
            outputs.append(y)
        return torch.cat(outputs)

    def run(lstm: Any, heads: Any, optimizer: Any, forward: Any) -> float:
        scores = heads(forward(lstm))
        policy = torch.distributions.Categorical(logits=scores[..., :-1])
        ratio = (policy.log_prob(actions) - before.clamp(-2, -1)).exp()
        gain = torch.min(advantages * ratio, advantages * ratio.clamp(0.8, 1.2)).mean()
        loss = (scores[..., -1] - returns).square().mean() - gain - 0.01 * policy.entropy().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([*lstm.parameters(), *heads.parameters()], 0.5)
        optimizer.step()
        return float(loss.detach())

    calls, losses = {}, {}
    for name, module, forward in (
        ("torch.nn.LSTM, a loop over the steps", torch.nn.LSTM, by_steps),
        ("rnnfast.torch.LSTM, the same loop", rnnfast.torch.LSTM, by_steps),
        (
            "rnnfast.torch.LSTM(resets=)",
            rnnfast.torch.LSTM,
            lambda lstm: lstm(observations, resets=starts)[0],
        ),
        (
            "torch.nn.LSTM that mixes episodes up",
            torch.nn.LSTM,
            lambda lstm: lstm(observations)[0],
        ),
    ):
        torch.manual_seed(1)
        lstm, heads = module(SIZE, UNITS), torch.nn.Linear(UNITS, ACTIONS + 1)
        optimizer = torch.optim.Adam([*lstm.parameters(), *heads.parameters()], 3e-4)
        calls[name] = lambda a=(lstm, heads, optimizer, forward): run(*a)
        losses[name] = calls[name]()
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = perf_counter()
            call()
            taken[name].append(1e3 * (perf_counter() - start))
    last = median(taken["rnnfast.torch.LSTM(resets=)"])
    rows = [
        [name, f"{median(t):.1f}", f"{median(t) / last:.2f}", f"{losses[name]:.6f}"]
        for name, t in taken.items()
    ]
    print(f"\n{ENVIRONMENTS} environments, {STEPS} steps, {UNITS} units, episodes of 50 steps\n")
    print(table(["an update", "ms", "to resets=", "first loss"], rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=0.5, help="for each row and kind of call")
    parser.add_argument("--rounds", type=int, default=15, help="of updates")
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    rnnfast.set_num_threads(chosen.threads)
    cost(chosen.seconds)
    epoch(chosen.rounds, chosen.threads)
