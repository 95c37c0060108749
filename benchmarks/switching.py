"""Measures what docs/switching.md says that a user of another library gains: a table a function.

    python benchmarks/switching.py [keras onnx sktime] [--rounds 5]

The model is the other library's own, the task that of its manual; rnnfast takes its place as
docs/switching.md tells, with the same weights where they carry over. Sides of a ratio take turns,
each in a process of its own that is stopped meanwhile (workers.py). PyTorch has a program of its
own, torch_dropin.py.
"""

from __future__ import annotations

import tempfile
import warnings
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
from claims import Settings, main, show
from peers import import_keras, named, onnx_session
from workers import Side, no_arrays

import rnnfast


def can_import(*packages: str) -> bool:
    """Whether packages are installed; says which are not."""
    missing = [package for package in packages if util.find_spec(package) is None]
    if missing:
        print(f"\nskipped: {', '.join(missing)} is not installed")
    return not missing


# ---- Keras: https://keras.io/examples/nlp/bidirectional_lstm_imdb and
# https://keras.io/examples/timeseries/timeseries_weather_forecasting


def imdb(threads: int) -> Any:
    keras = import_keras(threads)
    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((200,), dtype="int32"),
            layers.Embedding(20_000, 128),
            layers.Bidirectional(layers.LSTM(64, return_sequences=True)),
            layers.Bidirectional(layers.LSTM(64)),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


def weather(threads: int) -> Any:
    keras = import_keras(threads)
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((120, 7)), keras.layers.LSTM(32), keras.layers.Dense(1)])


def reviews(count: int) -> Any:
    return np.random.default_rng(0).integers(0, 20_000, (count, 200)).astype(np.int32)


def days(count: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((count, 120, 7), np.float32)
    return x, x[:, -1, :1]


def predict_keras(count: int, threads: int) -> Side:
    model, x = imdb(threads), reviews(count)
    if count == 1:
        return lambda: model.predict_on_batch(x), named
    return lambda: model.predict(x, verbose=0), named


def predict_from_keras(count: int, threads: int) -> Side:
    rnnfast.set_num_threads(threads)
    model, x = rnnfast.keras.from_keras(imdb(threads)), reviews(count)
    return lambda: model.predict(x), named


def fit_keras(count: int, threads: int) -> Side:
    model, (x, y) = weather(threads), days(count)
    model.compile(optimizer="adam", loss="mse")
    return lambda: model.fit(x, y, batch_size=256, verbose=0), no_arrays


def fit_from_keras(count: int, threads: int) -> Side:
    rnnfast.set_num_threads(threads)
    model, data = rnnfast.keras.from_keras(weather(threads)), days(count)
    adam, loss = rnnfast.Adam(model), rnnfast.losses.squared_error

    def fit() -> Any:
        return rnnfast.fit(model, data, loss=loss, optimizer=adam, batch_size=256, progress=False)

    return fit, no_arrays


def keras(settings: Settings) -> None:
    """Time predictions of the IMDB example, and an epoch of the weather example."""
    if not can_import("keras", "tensorflow"):
        return
    lines = []
    for title, count, builds in (
        ("IMDB, predict one review", 1, (predict_keras, predict_from_keras)),
        ("IMDB, predict 320 reviews", 320, (predict_keras, predict_from_keras)),
        ("weather, fit 5,120 samples once", 5120, (fit_keras, fit_from_keras)),
    ):
        arguments = count, settings.threads
        us = settings.race(
            {name: (b, *arguments) for name, b in zip(("Keras", "rnnfast"), builds, strict=True)}
        )
        lines.append([title, us["Keras"] / 1e3, us["rnnfast"] / 1e3, us["Keras"] / us["rnnfast"]])
    show("Keras", ["", "Keras, ms", "rnnfast, ms", "times as fast"], lines)


# ---- ONNX: a tagger as PyTorch exports it

WORDS, TAGS = 10_000, 20
SHAPES = ((1, 1, 32, 64), (1, 50, 64, 128), (32, 50, 64, 128), (16, 100, 256, 256))  # B, T, I, H


def export(path: Path, kind: str, inputs: int, hidden: int) -> None:
    import torch

    class Tagger(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(WORDS, inputs)
            self.recurrent = getattr(torch.nn, kind)(inputs, hidden, 2, batch_first=True)
            self.linear = torch.nn.Linear(hidden, TAGS)

        def forward(self, ids: Any) -> Any:
            return torch.log_softmax(self.linear(self.recurrent(self.embedding(ids))[0]), -1)

    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the exporter's own future
        torch.onnx.export(
            Tagger().eval(),
            (torch.zeros(2, 3, dtype=torch.int64),),
            path,
            input_names=["ids"],
            dynamic_axes={"ids": {0: "batch", 1: "steps"}},
            dynamo=False,
        )


def ids(batch: int, steps: int) -> Any:
    return np.random.default_rng(0).integers(0, WORDS, (batch, steps))


def run_onnx_runtime(path: Path, batch: int, steps: int, threads: int) -> Side:
    session, feed = onnx_session(path.read_bytes(), threads), {"ids": ids(batch, steps)}
    return lambda: session.run(None, feed), lambda result: named(result[0])


def run_loaded(path: Path, batch: int, steps: int, threads: int) -> Side:
    rnnfast.set_num_threads(threads)
    model, feed = rnnfast.onnx.load(path), {"ids": ids(batch, steps)}
    return lambda: model.run(None, feed), lambda result: named(result[0])


def onnx(settings: Settings) -> None:
    """Time an exported model in ONNX Runtime and here."""
    if not can_import("torch", "onnx", "onnxruntime"):
        return
    sides = {"ORT": run_onnx_runtime, "rnnfast": run_loaded}
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        for kind in ("LSTM", "GRU", "RNN"):
            for B, T, inputs, hidden in SHAPES:
                export(path, kind, inputs, hidden)
                arguments = path, B, T, settings.threads
                us = settings.race({name: (side, *arguments) for name, side in sides.items()})
                shape = f"{B}, {T}, {inputs}, {hidden}"
                lines.append([kind, shape, us["ORT"], us["rnnfast"], us["ORT"] / us["rnnfast"]])
    title = (
        "ONNX: embedding, two recurrent layers, linear layer and log-softmax, as PyTorch exports it"
    )
    show(title, ["", "B, T, I, H", "ONNX Runtime, us", "rnnfast, us", "times as fast"], lines)


# ---- sktime: a classifier of its own, on PyTorch


def panel() -> tuple[Any, Any]:
    """Return series (samples, channels, time), as sktime has them, and their classes."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 256)
    return rng.standard_normal((256, 6, 100)) + y[:, None, None], y


SIZE, LAYERS, BATCH, EPOCHS = 64, 2, 32, 5


def fit_sktime(threads: int) -> Side:
    import torch
    from sktime.classification.deep_learning import gru

    torch.set_num_threads(threads)
    X, y = panel()
    model = gru.GRUClassifier(
        hidden_dim=SIZE,
        n_layers=LAYERS,
        batch_first=True,
        num_epochs=EPOCHS,
        batch_size=BATCH,
        random_state=0,
    )
    return lambda: model.fit(X, y), no_arrays


def fit_in_place_of_sktime(threads: int) -> Side:
    rnnfast.set_num_threads(threads)
    X, y = panel()
    model = rnnfast.SequenceClassifier(
        cell="gru",
        hidden_size=SIZE,
        num_layers=LAYERS,
        max_iter=EPOCHS,
        batch_size=BATCH,
        random_state=0,
    )
    return lambda: model.fit(rnnfast.datasets.from_sktime(X), y), no_arrays


def sktime(settings: Settings) -> None:
    """Time the fit of sktime's GRUClassifier, and of SequenceClassifier of the same sizes."""
    if not can_import("sktime", "torch", "sklearn"):
        return
    sides = {"sktime": fit_sktime, "rnnfast": fit_in_place_of_sktime}
    us = settings.race({k: (side, settings.threads) for k, side in sides.items()}, least=1)
    title = f"GRU {SIZE}-{SIZE}, 256 series of 100 steps and 6 channels, {EPOCHS} epochs"
    line = [title, us["sktime"] / 1e6, us["rnnfast"] / 1e6, us["sktime"] / us["rnnfast"]]
    show("sktime", ["", "sktime, s", "rnnfast, s", "times as fast"], [line])


TABLES = {f.__name__: f for f in (keras, onnx, sktime)}

if __name__ == "__main__":
    main(TABLES, __doc__)
