"""What can be asked of the demo, and the table from which it takes the rest."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any


@dataclass(frozen=True)
class Plan:
    """A row of the table: a model and its training, for machines from `speed` on.

    `speed` is in characters a second of training with `REFERENCE`, so that one figure compares all
    machines.
    """

    speed: float
    hidden: int
    layers: int
    lr: float
    dropout: float
    epochs: int  # at most; a slow machine's schedule is shortened to the time limit
    why: str
    characters: int | None = None  # of the text, to learn from; all by default
    embedding: int = 64
    batch: int = 16
    steps: int = 48
    weight_decay: float = 0.05
    clip: float = 1.0

    def __post_init__(self) -> None:
        for name in ("epochs", "hidden", "layers", "embedding", "batch", "steps", "characters"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"demo expected {name} >= 1, got {value}")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"demo expected dropout from 0 to below 1, got {self.dropout}")
        if not 0.0 <= self.lr < math.inf:
            raise ValueError(f"demo expected lr >= 0 and finite, got {self.lr}")


# Chosen for the fewest held-out bits from the compute of 90 seconds at such speeds; what they reach
# is in docs/results.md, "The demo".
PLANS = (
    Plan(
        speed=30_000,
        hidden=256,
        layers=2,
        lr=5e-3,
        dropout=0.2,
        epochs=8,
        why="with time for many epochs a second layer pays, and dropout against overfitting",
    ),
    Plan(
        speed=7_000,
        hidden=256,
        layers=1,
        lr=1e-2,
        dropout=0.15,
        epochs=12,
        why="one layer, at a higher rate, learns more in the time that it takes to read the text "
        "a few times",
    ),
    Plan(
        speed=3_200,
        hidden=256,
        layers=1,
        lr=1e-2,
        dropout=0.0,
        epochs=6,
        why="one layer; no dropout, because the text is read hardly more than twice",
    ),
    Plan(
        speed=1_800,
        hidden=256,
        layers=1,
        lr=1e-2,
        dropout=0.0,
        epochs=5,
        characters=200_000,
        why="less text, for both models, so that it is read more than once",
    ),
    Plan(
        speed=0,
        hidden=192,
        layers=1,
        lr=1e-2,
        dropout=0.0,
        epochs=6,
        characters=150_000,
        why="a smaller layer, and less text, for both models, so that it is read more than once",
    ),
)
REFERENCE = Plan(speed=0, hidden=256, layers=2, lr=5e-3, dropout=0.2, epochs=1, why="")


def choose(speed: float) -> Plan:
    """Return the plan for a machine that learns `speed` characters a second with `REFERENCE`."""
    return next(plan for plan in PLANS if speed >= plan.speed)


# What the command line offers of a plan.
ASKED = {
    "hidden": (int, "units of each LSTM layer"),
    "layers": (int, "LSTM layers"),
    "epochs": (int, "passes over the training text, at most"),
    "characters": (int, "characters to learn from"),
    "batch": (int, "streams that the training text is cut into"),
    "steps": (int, "steps of truncated BPTT"),
    "dropout": (float, "probability, after each LSTM layer"),
    "lr": (float, "highest learning rate"),
}


@dataclass(frozen=True)
class Settings:
    """What can be asked of the demo besides a plan's numbers.

    `asked` holds the numbers of a plan that were asked for; they win over the table.
    """

    out: str = "demo-output"
    seed: int = 0
    prompt: str = "A list is "
    sample: int = 400  # characters, twice
    minutes: float = 1.5
    overtime: float = 1.0
    asked: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if self.sample < 1:
            raise ValueError(f"demo expected sample >= 1, got {self.sample}")
        if not self.minutes > 0:
            raise ValueError(f"demo expected minutes > 0, got {self.minutes}")
        if not 0 <= self.overtime < math.inf:
            raise ValueError(f"demo expected overtime >= 0 and finite, got {self.overtime}")
        if self.seed < 0:
            raise ValueError(f"demo expected seed >= 0, got {self.seed}")

    @property
    def spare(self) -> float:
        """How many seconds of overtime there are: none where the epochs were asked for."""
        return 0.0 if "epochs" in dict(self.asked) else min(60 * self.overtime, 40 * self.minutes)

    def plan(self, speed: float) -> Plan:
        """Return the plan for a speed, with what was asked for."""
        return replace(choose(speed), **dict(self.asked))


OPTIONS = {
    "out": "folder for the model and the learning curve",
    "minutes": "limit of the training time",
    "overtime": "minutes at most, and two thirds of the limit, that the training goes on if it "
    "ended above the 5-gram; none with --epochs",
    "seed": "of weights, dropout and the sample",
    "prompt": "text that the sample continues",
}
DEFAULTS = {field.name: field.default for field in fields(Settings)}
# What --quick asks for where nothing else is asked.
QUICK = {"minutes": 0.1, "epochs": 4, "hidden": 64, "layers": 1, "characters": 20_000}
