"""Times training programs that people have before and after `rnnfast.torch.accelerate`.

    python benchmarks/torch_programs.py [name ...] [--rounds 7] [--seconds 0.2] [--busy]

Each program builds a model and returns what one of its steps does: the loops of pytorch/examples
(word_language_model, time_sequence_prediction) written down here, and models of fastai, skorch,
sb3-contrib and neuralforecast taken out of their packages where those are installed. Both models
start from the same weights and random numbers; the loss of the first steps must agree before
anything is timed; they take turns in one process. `--busy` runs a second process that computes
meanwhile.
"""

from __future__ import annotations

import argparse
import copy
import logging
import sys
from collections.abc import Callable
from importlib import util
from statistics import median
from typing import Any

import numpy as np
import torch
from busy import busy_processes
from compare import at_least_one, warn
from report import number, table
from torch_dropin import begin, take_turns

import rnnfast
import rnnfast.torch

nn = torch.nn
# A program: the model to accelerate, and a step of it, which returns its loss.
Program = tuple[Any, Callable[[], float]]


class LanguageModel(nn.Module):
    """An embedding, two recurrent layers of 200 units, and a linear decoder."""

    def __init__(self, layer: str, words: int, **options: Any) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.2)
        self.encoder = nn.Embedding(words, 200)
        self.rnn = getattr(nn, layer)(200, 200, 2, dropout=0.2, **options)
        self.decoder = nn.Linear(200, words)

    def forward(self, tokens: Any, state: Any) -> Any:
        y, state = self.rnn(self.drop(self.encoder(tokens)), state)
        return torch.log_softmax(self.decoder(self.drop(y)).flatten(0, 1), -1), state


def word_language_model(layer: str, **options: Any) -> Program:
    """Batch 20, 35 steps, the state carried on, SGD by hand at rate 20, gradients clipped."""
    words = 2_000
    model = LanguageModel(layer, words, **options)
    tokens = torch.randint(0, words, (36, 20))
    state = None

    def step() -> float:
        nonlocal state
        model.zero_grad()
        y, state = model(tokens[:-1], state)
        state = tuple(s.detach() for s in state) if layer == "LSTM" else state.detach()
        loss = nn.functional.nll_loss(y, tokens[1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        for p in model.parameters():
            p.data.add_(p.grad, alpha=-2.0)
        return loss.item()

    return model, step


class Waves(nn.Module):
    """Two LSTM cells of 51 units, called step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.LSTMCell(1, 51), nn.LSTMCell(51, 51)
        self.linear = nn.Linear(51, 1)

    def forward(self, x: Any) -> Any:
        outputs = []
        h1 = c1 = h2 = c2 = x.new_zeros(len(x), 51)
        for value in x.split(1, dim=1):
            h1, c1 = self.first(value, (h1, c1))
            h2, c2 = self.second(h1, (h2, c2))
            outputs.append(self.linear(h2))
        return torch.cat(outputs, 1)


def time_sequence_prediction() -> Program:
    """A closure of LBFGS: 97 sine waves of 999 steps in float64."""
    model = Waves().double()
    waves = torch.sin(torch.arange(1000.0).double() / 20 + 6 * torch.rand(97, 1).double())

    def step() -> float:
        model.zero_grad()
        loss = nn.functional.mse_loss(model(waves[:, :-1]), waves[:, 1:])
        loss.backward()
        return loss.item()

    return model, step


def awd_lstm() -> Program:
    """fastai's AWD-LSTM as it comes: 400, 1152, 3 layers, weight dropout; batch 64, 72 steps."""
    from fastai.text.models.awdlstm import AWD_LSTM

    model = AWD_LSTM(5000, 400, 1152, 3)
    tokens = torch.randint(0, 5000, (64, 72))
    sgd = torch.optim.SGD(model.parameters(), 0.01)

    def step() -> float:
        sgd.zero_grad()
        loss = model(tokens).square().mean()
        loss.backward()
        sgd.step()
        return loss.item()

    return model, step


class Last(nn.Module):
    """An LSTM, and the classes of its last step."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(8, 32, batch_first=True)
        self.head = nn.Linear(32, 3)

    def forward(self, x: Any) -> Any:
        return self.head(self.rnn(x)[0][:, -1])


def skorch_classifier() -> Program:
    """An epoch of skorch: 512 series of 40 steps, batches of 64."""
    from skorch import NeuralNetClassifier

    net = NeuralNetClassifier(
        Last, criterion=nn.CrossEntropyLoss, batch_size=64, train_split=None, verbose=0
    ).initialize()
    x = np.random.default_rng(0).standard_normal((512, 40, 8), np.float32)
    y = (x[:, :, 0].sum(1) > 0).astype(np.int64)

    def step() -> float:
        net.partial_fit(x, y, epochs=1)
        return net.history[-1, "train_loss"]

    return net.module_, step


def recurrent_ppo() -> Program:
    """128 steps of sb3-contrib's RecurrentPPO in CartPole, and what it learns from them.

    From the same weights each time, since how many calls it makes depends on the episodes.
    """
    from sb3_contrib import RecurrentPPO

    agent = RecurrentPPO(
        "MlpLstmPolicy", "CartPole-v1", n_steps=128, batch_size=128, n_epochs=4, seed=0
    )

    start = copy.deepcopy(agent.get_parameters())

    def step() -> float:
        agent.set_parameters(start)
        agent.set_random_seed(0)
        agent.learn(128)
        return float(agent.logger.name_to_value["train/loss"])

    return agent.policy, step


def neuralforecast(name: str) -> Program:
    """Three steps of neuralforecast: 8 series, windows of 48 hours, a model as it comes.

    A forecaster copies the model, so each starts from the same weights.
    """
    import pandas as pd
    from neuralforecast import NeuralForecast, models

    logging.disable(logging.WARNING)
    quiet = dict.fromkeys(
        ("enable_progress_bar", "enable_model_summary", "enable_checkpointing", "logger"), False
    )
    model = getattr(models, name)(h=12, input_size=48, max_steps=3, accelerator="cpu", **quiet)
    hours = np.arange(960)
    series = [
        pd.DataFrame(
            {
                "unique_id": str(i),
                "ds": pd.Timestamp("2020-01-01") + pd.to_timedelta(hours, "h"),
                "y": np.sin(hours * np.pi / 12 + i),
            }
        )
        for i in range(8)
    ]
    frame = pd.concat(series)

    def step() -> float:
        forecaster = NeuralForecast(models=[model], freq="h")
        forecaster.fit(frame)
        return float(forecaster.models[0].train_trajectories[-1][1])

    return model, step


# By name: the program, and the package that it needs.
PROGRAMS: dict[str, tuple[Callable[[], Program], str]] = {
    "word language model, LSTM": (lambda: word_language_model("LSTM"), ""),
    "word language model, GRU": (lambda: word_language_model("GRU"), ""),
    "word language model, RNN tanh": (lambda: word_language_model("RNN"), ""),
    "word language model, RNN relu": (lambda: word_language_model("RNN", nonlinearity="relu"), ""),
    "time sequence prediction": (time_sequence_prediction, ""),
    "fastai, AWD-LSTM": (awd_lstm, "fastai"),
    "skorch, LSTM": (skorch_classifier, "skorch"),
    "sb3-contrib, RecurrentPPO": (recurrent_ppo, "sb3_contrib"),
    "neuralforecast, LSTM": (lambda: neuralforecast("LSTM"), "neuralforecast"),
    "neuralforecast, GRU": (lambda: neuralforecast("GRU"), "neuralforecast"),
    "neuralforecast, RNN": (lambda: neuralforecast("RNN"), "neuralforecast"),
}


def race(make: Callable[[], Program], rounds: int, seconds: float) -> list[list[float]]:
    """Return the microseconds of a step before and after, round by round."""
    sides, losses = [], []
    for accelerate in (False, True):
        torch.manual_seed(0)
        model, step = make()
        if accelerate:
            rnnfast.torch.accelerate(model)
        torch.manual_seed(1)
        losses.append([step() for _ in range(2)])
        sides.append(step)
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)
    return take_turns(sides, rounds, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="parts of programs' names")
    parser.add_argument("--rounds", type=at_least_one, default=7)
    parser.add_argument("--seconds", type=float, default=0.2, help="of a round of each side")
    parser.add_argument(
        "--threads", type=at_least_one, help="of both sides; default: what each takes by itself"
    )
    parser.add_argument("--busy", action="store_true", help="beside a process that computes")
    options = parser.parse_args()
    begin(options.threads, "beside a busy process" if options.busy else "quiet")
    rows, everything = [], []
    with busy_processes(int(options.busy)):
        for name, (make, package) in PROGRAMS.items():
            if options.names and not any(part in name for part in options.names):
                continue
            if package and not util.find_spec(package):
                print(f"skipped: {name}, as {package} is not installed")
                continue
            times = race(make, options.rounds, options.seconds)
            before, after = map(median, times)
            rows.append([name, *map(number, (before / 1e3, after / 1e3, before / after))])
            everything += times
            print(".", end="", file=sys.stderr, flush=True)
    print(f"\n{table(['program', 'ms a step, torch', 'accelerated', 'times faster'], rows)}")
    warn(everything)


if __name__ == "__main__":
    main()
