"""SequenceLabeler with several recurrent layers, on generated tasks whose labels are known.

    python benchmarks/labels.py

* states: those of a Markov chain of three, each step of which is seen through noise.
* segments: slow sine, fast sine or nothing, 15 to 40 steps each, under noise.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from report import table

from rnnfast import SequenceLabeler

STEPS = 80
LAYERS: dict[str, dict[str, Any]] = {
    "LSTM": {"cell": "lstm", "bidirectional": False},
    "GRU": {"cell": "gru", "bidirectional": False},
    "bidirectional LSTM": {"cell": "lstm", "bidirectional": True},
    "bidirectional GRU (default)": {},
}


def states(n: int, seed: int) -> tuple[Any, Any]:
    """Return noisy observations (n, STEPS, 3) of the states (n, STEPS) of a Markov chain."""
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=(n, STEPS))
    for t in range(1, STEPS):
        y[:, t] = np.where(rng.random(n) < 0.9, y[:, t - 1], y[:, t])
    return np.eye(3)[y] + rng.standard_normal((n, STEPS, 3)), y


def segments(n: int, seed: int) -> tuple[Any, Any]:
    """Return noisy series (n, STEPS) of segments, and the kind of each step's."""
    rng = np.random.default_rng(seed)
    x, y = np.zeros((n, STEPS)), np.zeros((n, STEPS), int)
    for i in range(n):
        t = 0
        while t < STEPS:
            kind, steps = rng.integers(3), min(int(rng.integers(15, 40)), STEPS - t)
            x[i, t : t + steps] = np.sin((0.0, 0.3, 0.6)[kind] * np.arange(steps))
            y[i, t : t + steps] = kind
            t += steps
    return x + 0.5 * rng.standard_normal(x.shape), y


def main() -> None:
    """Print the share of steps labelled right, and the seconds of `fit`."""
    rows = []
    for name, make in {"states": states, "segments": segments}.items():
        x, y = make(150, 0)
        other, wanted = make(100, 1)
        row = [name]
        for layers in LAYERS.values():
            start = time.process_time()
            model = SequenceLabeler(random_state=0, **layers).fit(x, y)
            seconds = time.process_time() - start
            row.append(f"{model.score(other, wanted):.3f} ({seconds:.1f} s)")
        print(*row, flush=True)
        rows.append(row)
    print(table(["task", *LAYERS], rows))


if __name__ == "__main__":
    main()
