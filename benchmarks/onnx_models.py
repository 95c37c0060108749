"""Times a model that PyTorch exported: on ONNX Runtime, and through rnnfast.onnx.load.

    python benchmarks/onnx_models.py [--threads 2] [--rounds 5] [--seconds 0.5]

The model is a tagger: embedding, two recurrent layers, linear layer, log-softmax. Sides take turns,
each in a process of its own that is stopped meanwhile (workers.py), and must agree.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from claims import Settings, show
from peers import onnx_session
from workers import Side

import rnnfast

WORDS, TAGS = 10_000, 20
SHAPES = [(1, 1, 32, 64), (1, 50, 64, 128), (32, 50, 64, 128), (16, 100, 256, 256)]  # B, T, I, H


def export(path: Path, kind: str, inputs: int, hidden: int, bidirectional: bool) -> None:
    import torch

    class Tagger(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            options = {"batch_first": True, "bidirectional": bidirectional}
            self.embedding = torch.nn.Embedding(WORDS, inputs)
            self.recurrent = getattr(torch.nn, kind)(inputs, hidden, 2, **options)
            self.linear = torch.nn.Linear(hidden * (1 + bidirectional), TAGS)

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


def onnx_runtime(path: Path, batch: int, steps: int, threads: int) -> Side:
    session, feed = onnx_session(path.read_bytes(), threads), {"ids": ids(batch, steps)}
    return lambda: session.run(None, feed), lambda result: {"y": result[0]}


def rnnfast_model(path: Path, batch: int, steps: int, threads: int) -> Side:
    model, feed = rnnfast.onnx.load(path), {"ids": ids(batch, steps)}
    return lambda: model.run(None, feed), lambda result: {"y": result[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="each round of each side")
    options = parser.parse_args()
    settings = Settings(options.rounds, options.seconds, options.threads)
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        for kind in ("LSTM", "GRU", "RNN"):
            for bidirectional in (False, True):
                for B, T, inputs, hidden in SHAPES:
                    export(path, kind, inputs, hidden, bidirectional)
                    arguments = path, B, T, settings.threads
                    taken = settings.race(
                        {
                            "ONNX Runtime": (onnx_runtime, *arguments),
                            "rnnfast": (rnnfast_model, *arguments),
                        }
                    )
                    title = f"{kind}, both directions" if bidirectional else kind
                    ratio = taken["ONNX Runtime"] / taken["rnnfast"]
                    lines.append([title, f"{B}, {T}, {inputs}, {hidden}", *taken.values(), ratio])
    columns = ["layers", "B, T, I, H", "ONNX Runtime, us", "rnnfast, us", "ratio"]
    show("A tagger exported by PyTorch", columns, lines)


if __name__ == "__main__":
    main()
