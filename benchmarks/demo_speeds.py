"""What the demo reaches on machines of other speeds: the table in docs/results.md, "The demo".

    python benchmarks/demo_speeds.py [--speeds 50000 12000 ...] [--seed 0]

It takes the demo's plan for each speed and trains by it, on a clock that goes on with the work: a
character of the plan's model costs what it takes of this machine's processor time, beside one of
the model by which speeds are told. So the figures do not depend on what else runs here.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from report import processor, table

from rnnfast.demo import Settings, Text, choose, course, models, ngram_bits
from rnnfast.demo.settings import REFERENCE, Plan

READING = 3.0  # characters that are read in the time in which one is learnt


def cost(plan: Plan, text: Text, rounds: int = 3) -> float:
    """Return what a character costs in training, times what it costs `REFERENCE`'s model."""
    ratios = []
    for _ in range(rounds):
        speeds = [models.measure_speed(text, p, 1.0, time.process_time) for p in (REFERENCE, plan)]
        ratios.append(speeds[0] / speeds[1])
    return median(ratios)


class Work(course.Course):
    """A course in which time passes with the work."""

    speed: float  # characters a second of the plan's model

    def __init__(self, *args: Any) -> None:
        self.now = 0.0
        super().__init__(*args, clock=lambda: self.now)

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        """Let the time of the batch pass."""
        self.now += self.size / self.speed
        super().on_batch_end(batch, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> bool:
        """Let the time of reading the held-out text pass."""
        self.now += self.text.held_out / (READING * self.speed)
        return super().on_epoch_end(epoch, logs)


def reach(speed: float, seed: int) -> list[str]:
    """Train on a machine of a speed; return a row of the table."""
    plan, settings = choose(speed), Settings(seed=seed)
    text = Text.read(plan.characters)
    unseen = text.identity_bits()
    gram = float((ngram_bits(text.ids, text.cut, text.symbols) + unseen).mean())
    model = models.build(plan, text.symbols, seed, text.start())
    work = Work(settings, plan, text, gram)
    work.speed = speed / cost(plan, text)
    course.train(work, model)
    lstm = models.held_out_bits(model, text.ids, text.cut, streams=1) + unseen
    return [
        f"{speed:,.0f}",
        f"{plan.layers} x {plan.hidden}",
        f"{plan.lr:g}",
        f"{plan.dropout:g}",
        f"{text.cut:,}",
        f"{work.done / work.length:.1f}",
        f"{work.now:.0f}",
        f"{gram:.3f}",
        f"{lstm.mean():.3f}",
        f"{lstm.mean() / gram - 1:+.1%}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--speeds", type=float, nargs="+", default=[50_000, 12_000, 7_700, 4_000, 2_500, 1_500]
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    titles = [
        "characters/s of 2 x 256",
        "LSTM",
        "rate",
        "dropout",
        "characters to learn from",
        "epochs",
        "seconds",
        "5-gram",
        "LSTM, bits",
        "difference",
    ]
    rows = [reach(speed, options.seed) for speed in options.speeds]
    print(f"\n{table(titles, rows)}\n\n{processor()}, Python {sys.version.split()[0]}")


if __name__ == "__main__":
    main()
