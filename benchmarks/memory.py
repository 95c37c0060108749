"""How much memory a call takes at most, and fits of data that are much larger than a batch."""

from __future__ import annotations

import ctypes
import gc
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import rnnfast as rf

# A fit to measure: the arrays that the user holds, and the fit of these or of a few of them.
Fit = tuple[list[Any], Callable[[], Any], Callable[[], Any]]


def resident(field: str) -> float:
    """Return VmRSS (memory now) or VmHWM (its highest) of this process, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1e3
    raise RuntimeError(f"the system does not say {field}")


def peak(call: Callable[[], Any]) -> float:
    """Return the MB that a call takes at most beyond what is there before it."""
    gc.collect()
    # What the C library holds free would be used first and not be seen.
    getattr(ctypes.CDLL(None), "malloc_trim", lambda pad: 0)(0)
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts again from VmRSS
    before = resident("VmRSS")
    call()
    return resident("VmHWM") - before


# ---- fits --------------------------------------------------------------------------------------

N, T, F, BATCH = 20_000, 100, 8, 32


def network() -> Any:
    """Return a network whose batch is small beside the data."""
    return rf.Sequential(rf.LSTM(F, 32, batch_first=True, seed=0), rf.Linear(32, 1, seed=0))


def series(rows: int = N) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((rows, T, F), np.float32), rng.standard_normal(
        (rows, T, 1), np.float32
    )


def fit(model: Any, data: Any, **options: Any) -> None:
    rf.fit(
        model,
        data,
        loss=rf.losses.squared_error,
        optimizer=rf.Adam(model),
        batch_size=BATCH,
        seed=0,
        progress=False,
        **options,
    )


def some(data: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(array[: 2 * BATCH] for array in data)


def plain() -> Fit:
    """Fit arrays as they are."""
    data = series()
    return list(data), lambda: fit(network(), data), lambda: fit(network(), some(data))


def transposed() -> Fit:
    """Fit arrays whose axes were swapped: not contiguous."""
    data = tuple(np.ascontiguousarray(a.swapaxes(0, 1)).swapaxes(0, 1) for a in series())
    return list(data), lambda: fit(network(), data), lambda: fit(network(), some(data))


def ragged() -> Fit:
    """Fit in buckets of similar length, with weights of the steps."""
    data = series()
    lengths = np.random.default_rng(0).integers(1, T, N)
    weight = np.ones((N, T), np.float32)
    data = (*data, lengths, weight)
    return (
        list(data),
        lambda: fit(network(), data, bucket=True),
        lambda: fit(network(), some(data), bucket=True),
    )


def held_out() -> Fit:
    """Fit with a part of the samples held out, and a metric."""
    data = series()
    options = {"validation_split": 0.5, "metrics": {"mae": mae}}
    return list(data), lambda: fit(network(), data, **options), lambda: fit(network(), some(data))


def mapped() -> Fit:
    """Fit memory maps; their pages are the system's own copy, and here before the fit."""
    data = series()
    with tempfile.TemporaryDirectory() as folder:
        for name, array in zip("xy", data, strict=True):
            np.save(Path(folder, name), array)
        data = tuple(np.load(Path(folder, f"{name}.npy"), mmap_mode="r") for name in "xy")
    for array in data:
        array.sum()
    return list(data), lambda: fit(network(), data), lambda: fit(network(), some(data))


def mae(*args: Any, **keywords: Any) -> float:
    return rf.losses.absolute_error(*args, **keywords)[0]


def classified(ragged: bool, **options: Any) -> Fit:
    """Fit a classifier: an array of float64, or a list of sequences of very different lengths."""
    rng = np.random.default_rng(0)
    y = np.arange(N) % 2
    if ragged:
        X = [rng.standard_normal((n, F)) for n in rng.geometric(1 / T, N)]
        held = [*X, y]
    else:
        X = rng.standard_normal((N, T, F))
        held = [X, y]

    def some() -> None:
        estimator(**options).fit(X[: 2 * BATCH], y[: 2 * BATCH])

    return held, lambda: estimator(**options).fit(X, y), some


def estimator(**options: Any) -> Any:
    return rf.SequenceClassifier(batch_size=BATCH, max_iter=1, random_state=0, **options)


STEPS = 50_000


def forecast(**options: Any) -> Fit:
    """Fit a forecaster for one pass over the windows of one long series of float64."""
    series = np.random.default_rng(0).standard_normal(STEPS).cumsum() / 30 + np.sin(
        np.arange(STEPS) * 2 * np.pi / 24
    )
    window = options.get("window", 24)

    def of(steps: int) -> Any:
        return rf.Forecaster(horizon=12, random_state=0, **options).fit(series[:steps])

    return [series], lambda: of(STEPS), lambda: of(window + 12 + 2 * BATCH)


FITS: dict[str, Callable[[], Fit]] = {
    "rf.fit": plain,
    "rf.fit, axes swapped": transposed,
    "rf.fit, buckets and weights": ragged,
    "rf.fit, validation_split": held_out,
    "rf.fit, memory map": mapped,
    "SequenceClassifier, LSTM": partial(classified, ragged=False, cell="lstm"),
    "SequenceClassifier, LSTM, ragged list": partial(classified, ragged=True, cell="lstm"),
    "SequenceClassifier": partial(classified, ragged=False),
    "Forecaster, window 500": partial(forecast, window=500, max_iter=1),
    "Forecaster, window 500, seq2seq": partial(
        forecast, window=500, strategy="seq2seq", max_iter=1
    ),
    "Forecaster, horizon=12": forecast,
}


def fit_memory(make: Callable[[], Fit]) -> tuple[float, float, float]:
    """Return MB: of the data, of a fit beyond them, and of the fit of two batches."""
    data, whole, small = make()
    small()  # loads code, starts threads
    batch = peak(small)
    return sum(array.nbytes for array in data) / 1e6, peak(whole), batch
