"""What an epoch of Keras's `fit` takes before and after `rnnfast.keras.accelerate`.

    KERAS_BACKEND=torch python benchmarks/keras_epoch.py [--samples 1024] [--rounds 3]

A recurrent layer of 64 units and a `Dense`, batches of 64, Adam; the least of the rounds, which
take turns after one that is not counted.
"""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

import numpy as np

os.environ.setdefault("KERAS_BACKEND", "torch")
import keras

import rnnfast as rf

STEPS, FEATURES, UNITS = 50, 32, 64


def model(kind: str, both: bool) -> Any:
    keras.utils.set_random_seed(0)
    layer = getattr(keras.layers, kind)(UNITS)
    layer = keras.layers.Bidirectional(layer) if both else layer
    made = keras.Sequential([keras.Input((STEPS, FEATURES)), layer, keras.layers.Dense(1)])
    made.compile("adam", "mse")
    return made


def epoch(made: Any, x: Any, y: Any) -> float:
    start = time.perf_counter()
    made.fit(x, y, batch_size=64, epochs=1, shuffle=False, verbose=0)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    settings = parser.parse_args()
    x = np.random.default_rng(0).standard_normal((settings.samples, STEPS, FEATURES), np.float32)
    y = x.mean(axis=(1, 2))[:, np.newaxis]
    print("| layer | Keras, s | accelerated, s | times as fast |\n|---|---|---|---|")
    for kind, both in (("LSTM", False), ("GRU", False), ("SimpleRNN", False), ("LSTM", True)):
        pair = [model(kind, both) for _ in range(2)]
        rf.keras.accelerate(pair[1])
        times = [[epoch(one, x, y) for one in pair] for _ in range(1 + settings.rounds)]
        theirs, ours = np.min(times[1:], axis=0)
        difference = max(
            float(abs(a - b).max())
            for a, b in zip(*(one.get_weights() for one in pair), strict=True)
        )
        assert difference < 1e-3, f"other weights, by {difference}"
        name = f"Bidirectional({kind})" if both else kind
        print(f"| {name} | {theirs:.3g} | {ours:.3g} | {theirs / ours:.3g} |", flush=True)


if __name__ == "__main__":
    main()
