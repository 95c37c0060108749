"""Forecast ten values at every step by convolutions alone: rows C11 and C12.

Data, figures and measures as in forecast_steps.py. WaveNet: causal convolutions whose dilations
double; gated WaveNet: tanh times sigmoid, residual and skip connections (van den Oord et al. 2016).
"""

from __future__ import annotations

from common import Options, Row, main
from forecast_steps import STEPS, Plan, at_each_step

import rnnfast as rf


def wavenet() -> rf.Sequential:
    layers: list[rf.layers.Layer] = []
    for i, dilation in enumerate((1, 2, 4, 8) * 2):
        width = 20 if i else 1
        conv = rf.Conv1d(width, 20, 2, padding="causal", dilation=dilation, batch_first=True)
        layers += [conv, rf.ReLU()]
    return rf.Sequential(*layers, rf.Linear(20, STEPS))


def gated_wavenet() -> rf.Sequential:
    return rf.Sequential(
        rf.WaveNet(1, 32, dilations=[2**i for i in range(10)], batch_first=True),
        rf.ReLU(),
        rf.Linear(32, 32),
        rf.ReLU(),
        rf.Linear(32, STEPS),
    )


def example(options: Options) -> list[Row]:
    plain = [Plan("C11", "WaveNet", wavenet, (0.0188, 0.0072))]
    rows = at_each_step(options, plain, {}, "WaveNet")
    beside = rows[0].median, rows[1].median
    gated = [
        Plan("C12", "gated WaveNet, 2 epochs", gated_wavenet, (0.1217, 0.1217), epochs=2),
        Plan("C12", "gated WaveNet, 20 epochs (goal: C11)", gated_wavenet, beside),
    ]
    return rows + at_each_step(options, gated, {}, gated[1].what)


if __name__ == "__main__":
    main(example, __doc__, seeds=3)
