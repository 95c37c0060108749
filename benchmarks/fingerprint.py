"""Hashes of what rnnfast computes: two revisions with equal hashes give equal bits.

    python benchmarks/fingerprint.py --out before.json
    python benchmarks/fingerprint.py --against before.json     # on another revision

A line for each case, then the hash of all. The cases are those of tests/cases.py with every
option, then other layers, losses, optimisers, short fits and estimators: outputs, states and all
gradients, in float32 and float64, on NumPy and on every instruction set of this processor. A line
of the engine is the hash of three runs, with 1, 2 and 3 threads. Another processor, or another
NumPy or scikit-learn, may give other hashes. Each revision is hashed by its own copy of this
script, in a checkout of its own with its modules built there; cases that only one has are named.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import util
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "tests"))
sys.path.append(str(Path(__file__).parents[1]))  # without rnnfast installed, its sources do

from cases import CORRECTNESS, THREADS, Case

import rnnfast as rf
from rnnfast.cells import CELLS

NUMPY = "reference"
TYPES = ("float32", "float64")
FAILED = "failed: "  # in place of a hash, before the reason

Call = Callable[[], Any]


def digest(value: Any) -> str:
    """Return the hash of arrays and numbers in any nest of dicts, lists and tuples."""
    state = hashlib.sha256()

    def add(part: Any) -> None:
        if isinstance(part, np.ndarray):
            state.update(f"{part.dtype}{part.shape}".encode())
            text = part.dtype.hasobject
            state.update(repr(part.tolist()).encode() if text else part.tobytes())
        elif isinstance(part, Mapping):
            for name, inner in part.items():
                state.update(str(name).encode())
                add(inner)
        elif isinstance(part, list | tuple):
            state.update(f"{len(part)} of".encode())
            for inner in part:
                add(inner)
        else:
            state.update(repr(part).encode())

    add(value)
    return state.hexdigest()[:16]


class Draw:
    """Random arrays: the same in every revision, and of one case the same in every real type."""

    def __init__(self, name: str, dtype: str) -> None:
        self.rng, self.dtype = np.random.default_rng(zlib.crc32(name.encode())), dtype

    def __call__(self, *shape: int) -> Any:
        return self.rng.standard_normal(shape).astype(np.float32).astype(self.dtype)


# ---- recurrent layers --------------------------------------------------------------------------


def recurrent_layer(case: Case, dtype: str, **more: Any) -> Any:
    row = case.row
    options = dict(row.options, num_layers=case.L, bidirectional=case.D == 2, bias=case.bias)
    options |= dict(dropout=case.dropout) | case.options | ({"proj_size": case.P} if case.P else {})
    layer = getattr(rf, row.layer)(case.I, case.H, dtype=dtype, seed=5, **{**options, **more})
    draw = Draw("norms", dtype)
    for name, array in layer.params.items():
        if "_ln_" in name:  # ones and zeros at first
            layer.params[name] = array + draw(*array.shape) / 4
    return layer


def lengths_of(case: Case, draw: Draw) -> Any:
    if not case.lengths:
        return None
    lengths = draw.rng.integers(0, case.T, case.B, endpoint=True)
    lengths[::5], lengths[1::5] = 0, case.T
    whole = {"full": case.T, "zero": 0}.get(case.lengths)
    return draw.rng.permutation(lengths) if whole is None else np.full(case.B, whole)


def run_recurrent(case: Case, dtype: str, **more: Any) -> Any:
    """Run a layer for inference, a step, and for training and back; return all that comes out."""
    draw = Draw(str(case), dtype)
    layer = recurrent_layer(case, dtype, **more)
    axes = (case.B, case.T) if more.get("batch_first") else (case.T, case.B)
    x, dy = draw(*axes, case.I), draw(*axes, case.D * case.K)

    def state(given: bool) -> Any:
        h, c = draw(case.L * case.D, case.B, case.K), draw(case.L * case.D, case.B, case.H)
        return None if not given else (h, c) if case.row.has_cell_state else h

    before, dafter, lengths = state(case.state), state(True), lengths_of(case, draw)
    out = [layer(x, before, lengths), layer.gates(x, before, lengths)]
    if case.D == 1:
        out.append(layer.step(draw(case.B, case.I), before))
    for _ in range(2):  # the second call draws other masks, and adds to the gradients
        *result, tape = layer.forward(x, before, lengths)
        out += [*result, layer.backward(tape, dy, dafter)]
    return out, dict(layer.grads.items())


def run_one_sequence(cell: str, dtype: str) -> Any:
    """Run a sequence without an axis of the batch, in an odd layout."""
    case = Case(cell, B=1, T=9, I=6, H=11, L=2)
    draw, layer = Draw(cell, dtype), recurrent_layer(case, dtype)
    y, state, tape = layer.forward(draw(18, 12)[::2, ::2])
    return y, state, layer.backward(tape, draw(*y.shape)), dict(layer.grads.items())


def recurrent_cases(dtype: str) -> Iterator[tuple[str, Call]]:
    for case in CORRECTNESS + THREADS:
        yield str(case), partial(run_recurrent, case, dtype)
    for cell in CELLS:
        case = Case(cell, B=7, T=9, I=5, H=19, L=2, lengths="ragged", dropout=0.2, norm=True)
        case = Case(**vars(case) | dict(recurrent=0.2, zone=0.3)).possible()
        for D in (1, 2):
            ways = Case(**vars(case) | dict(D=D))
            yield f"{ways}-batch_first", partial(run_recurrent, ways, dtype, batch_first=True)
            yield f"{ways}-checkpoint4", partial(run_recurrent, ways, dtype, checkpoint=4)
        yield f"{cell}-one-sequence", partial(run_one_sequence, cell, dtype)


# ---- other layers ------------------------------------------------------------------------------


def run_layer(make: Callable[..., Any], arrays: tuple[Any, ...], dtype: str) -> Any:
    """Run a layer on its arrays, for inference, then for training and back."""
    draw, layer = Draw("layer", dtype), make(dtype=dtype)
    out = [layer(*arrays)]
    *result, tape = layer.forward(*arrays)
    out += [result, layer.backward(tape, draw(*result[0].shape))]
    return out, dict(layer.params.items()), dict(layer.grads.items())


def plain(make: Callable[[], Any]) -> Callable[..., Any]:
    """Make a layer that takes the type of its input."""
    return lambda dtype: make()


def layer_cases(dtype: str) -> Iterator[tuple[str, Call]]:
    draw = Draw("layers", dtype)
    rows, steps, query = draw(13, 7), draw(9, 6, 7), draw(5, 6, 7)
    lengths = np.array([9, 0, 4, 1, 9, 3])
    ids = draw.rng.integers(0, 11, (9, 6))
    table: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
        "Linear": (partial(rf.Linear, 7, 19, seed=1), (steps,)),
        "Linear nobias": (partial(rf.Linear, 7, 5, bias=False, seed=1), (rows,)),
        "Embedding": (partial(rf.Embedding, 11, 5, padding_idx=2, seed=1), (ids,)),
        "LayerNorm": (partial(rf.LayerNorm, 7), (steps,)),
        "BatchNorm1d": (partial(rf.BatchNorm1d, 7, batch_first=False), (steps, lengths)),
        "GatedConv1d": (partial(rf.GatedConv1d, 7, 2, 2, seed=1), (steps,)),
        "WaveNet": (partial(rf.WaveNet, 7, 5, [1, 2, 4], seed=1), (steps,)),
        "Bahdanau": (partial(rf.BahdanauAttention, 7, 7, 6, seed=1), (query, steps, lengths)),
        "ReLU": (plain(rf.ReLU), (steps,)),
        "Sigmoid": (plain(rf.Sigmoid), (steps,)),
        "Tanh": (plain(rf.Tanh), (steps,)),
        "Softmax": (plain(rf.Softmax), (steps,)),
        "Last": (plain(rf.Last), (steps, lengths)),
        "Dropout": (plain(partial(rf.Dropout, 0.3, seed=1)), (steps,)),
        "RepeatVector": (plain(partial(rf.RepeatVector, 4)), (rows,)),
        "Activation": (plain(partial(rf.Activation, "gelu")), (rows,)),
        "Rearrange": (plain(partial(rf.Rearrange, "repeat", 2)), (steps, lengths)),
        "Pool1d": (plain(partial(rf.Pool1d, "mean", 3)), (steps, lengths)),
    }
    for kind in ("mean", "max"):
        table[f"Pool {kind}"] = plain(partial(rf.Pool, kind)), (steps, lengths)
    for score in ("dot", "general", "concat"):
        size = 5 if score == "concat" else None
        make = partial(rf.LuongAttention, 7, 7, score, size, seed=1)
        table[f"Luong {score}"] = make, (query, steps, lengths)
    for padding, stride, dilation in (("valid", 2, 1), ("same", 1, 2), ("causal", 1, 3)):
        make = partial(rf.Conv1d, 7, 9, 3, stride, padding, dilation, seed=1)
        table[f"Conv1d {padding}"] = make, (steps,)
    for cell, attention, both in (("lstm", "general", True), ("gru", None, False)):
        options = dict(cell=cell, attention=attention, bidirectional=both, dropout=0.2, seed=1)
        arrays = ids, ids[:5], lengths, np.array([5, 1, 3, 0, 5, 2])
        make = partial(rf.EncoderDecoder, 11, 11, 4, 6, num_layers=2, **options)
        table[f"EncoderDecoder {cell}"] = make, arrays
    for name, (make, arrays) in table.items():
        yield name, partial(run_layer, make, arrays, dtype)


# ---- losses, optimisers, fits ------------------------------------------------------------------


def loss_cases(dtype: str) -> Iterator[tuple[str, Call]]:
    draw = Draw("losses", dtype)
    scores, wanted = 3 * draw(6, 5, 7), draw(6, 5, 7)
    classes, yes = draw.rng.integers(0, 7, (6, 5)), draw.rng.integers(0, 2, (6, 5, 7))
    lengths, weight = np.array([6, 0, 3, 1, 6]), draw.rng.random((6, 5))
    L = rf.losses
    table = {
        "softmax_cross_entropy": (L.softmax_cross_entropy, classes),
        "softmax_cross_entropy soft": (L.softmax_cross_entropy, np.abs(wanted)),
        "label_smoothing": (partial(L.softmax_cross_entropy, label_smoothing=0.2), classes),
        "focal_loss": (L.focal_loss, classes),
        "squared_error": (L.squared_error, wanted),
        "absolute_error": (L.absolute_error, wanted),
        "huber": (partial(L.huber, delta=0.7), wanted),
        "logistic": (L.logistic, yes),
        "accuracy": (L.accuracy, classes),
        "top_k_accuracy": (partial(L.top_k_accuracy, k=2), classes),
    }
    for name, (loss, target) in table.items():
        for options in ({}, {"lengths": lengths}, {"weight": weight}, {"steps": "last"}):
            yield " ".join([name, *options]), partial(loss, scores, target, **options)


def run_optimiser(make: Callable[..., Any], dtype: str, units: int) -> Any:
    """Take four steps with random gradients, cut by norm and by value."""
    model = rf.Sequential(rf.Linear(3, units, dtype=dtype, seed=1), rf.LSTM(units, 5, dtype=dtype))
    for name, array in model.params.items():
        model.params[name] = Draw(name, dtype)(*array.shape)
    optimiser, out = make(model), []
    for step in range(4):
        for name, grad in model.grads.items():
            grad[...] = Draw(f"{name}{step}", dtype)(*grad.shape)
        out.append(rf.clip_grad_norm(model, 2.0 + step))
        rf.clip_grad_value(model, 0.1)
        optimiser.step()
        out.append({name: array.copy() for name, array in model.params.items()})
    return out


def optimiser_cases(dtype: str) -> Iterator[tuple[str, Call]]:
    table: list[tuple[Any, dict[str, Any]]] = [
        (rf.SGD, dict(lr=0.1)),
        (rf.SGD, dict(lr=0.1, momentum=0.9, weight_decay=0.1)),
        (rf.SGD, dict(lr=0.1, momentum=0.9, nesterov=True)),
        (rf.Adam, dict(lr=0.02)),
        (rf.Adam, dict(lr=0.02, betas=(0.8, 0.95), eps=1e-4, weight_decay=0.1)),
        (rf.AdamW, dict(lr=0.02, weight_decay=0.3)),
        (rf.Nadam, dict(lr=0.02, weight_decay=0.1, momentum_decay=0.3)),
        (rf.RMSprop, dict(lr=0.02, alpha=0.9, eps=1e-3)),
        (rf.RMSprop, dict(lr=0.02, momentum=0.8, weight_decay=0.1)),
    ]
    for cls, options in table:
        for units in (7, 5000):
            make = partial(cls, **options)
            yield f"{cls.__name__} {options} {units}", partial(run_optimiser, make, dtype, units)


def run_fit(cell: str, dtype: str, schedule: str = "", **options: Any) -> Any:
    """Fit a small network to ragged sequences; hash its losses, parameters and file."""
    draw, case = Draw(f"fit {cell}", dtype), Case(cell, B=0, T=0, I=4, H=12, zone=0.1)
    layer = recurrent_layer(case, dtype)
    model = rf.Sequential(
        rf.Linear(3, 4, dtype=dtype, seed=1),
        layer,
        rf.Dropout(0.1, seed=2),
        rf.Linear(12, 2, dtype=dtype, seed=3),
    )
    x, y = draw(11, 30, 3), draw(11, 30, 2)
    optimiser = rf.Adam(model, lr=0.01)
    callbacks = [getattr(rf, schedule)(optimiser, 2)] if schedule else []
    lengths = draw.rng.integers(1, 11, 30, endpoint=True)
    settings = dict(epochs=3, batch_size=8, clip_norm=0.5, validation_split=0.2, seed=7) | options
    history = rf.fit(
        model,
        (x, y),
        loss=rf.losses.squared_error,
        optimizer=optimiser,
        lengths=lengths,
        callbacks=callbacks,
        progress=False,
        **settings,
    )
    logs = {name: values for name, values in history.items() if name != "seconds"}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.npz")
        rf.save(model, file)
        return history.batch_losses, logs, rf.load_arrays(file), model.predict(x, lengths)


def fit_cases(dtype: str) -> Iterator[tuple[str, Call]]:
    for cell in CELLS:
        yield cell, partial(run_fit, cell, dtype)
    yield "bucket", partial(run_fit, "gru", dtype, bucket=True)
    yield "carry_state", partial(run_fit, "lstm", dtype, "StepLR", shuffle=False, drop_last=True)


def estimator_cases() -> Iterator[tuple[str, Call]]:
    draw = Draw("estimators", "float32")
    sizes = draw.rng.integers(3, 12, 24)
    X, y = [draw(n, 2) for n in sizes], np.arange(24) % 3
    symbols = [draw.rng.integers(0, 6, n) for n in sizes]
    series = np.sin(np.arange(90) / 3) + draw(90) / 9
    options = dict(max_iter=2, random_state=0)

    def supervised(name: str, X: Any, y: Any, **more: Any) -> Any:
        model = getattr(rf, name)(**options, **more).fit(X, y)
        chances = model.predict_proba(X) if hasattr(model, "predict_proba") else None
        return model.predict(X), chances

    def alone(name: str, data: Any, *predict: Any, **more: Any) -> Any:
        model = getattr(rf, name)(**more).fit(data)
        return model.predict(*predict) if hasattr(model, "predict") else model.score(data)

    fixed = draw(24, 10, 2)
    yield "SequenceClassifier", partial(supervised, "SequenceClassifier", X, y)
    for cell in ("rnn", "gru", "lstm"):
        more = dict(cell=cell, hidden_size=6, missing=None)
        yield f"{cell} classifier", partial(supervised, "SequenceClassifier", fixed, y, **more)
    yield "SequenceRegressor", partial(supervised, "SequenceRegressor", X, draw(24))
    labels = [ids % 3 for ids in symbols]
    yield "SequenceLabeler", partial(supervised, "SequenceLabeler", symbols, labels)
    yield "Seq2Seq", partial(supervised, "Seq2Seq", symbols, symbols)
    yield "LanguageModel", partial(alone, "LanguageModel", "to be or not to be " * 9, **options)
    yield "Forecaster", partial(alone, "Forecaster", series, window=12, horizon=3, **options)
    yield "LinearForecaster", partial(alone, "LinearForecaster", series, horizon=3)


# ---- a run -------------------------------------------------------------------------------------


def all_cases() -> Iterator[tuple[str, Call]]:
    families = (
        recurrent_cases,
        layer_cases,
        loss_cases,
        optimiser_cases,
        fit_cases,
    )
    for dtype, family in product(TYPES, families):
        kind = family.__name__.removesuffix("_cases")
        for name, call in family(dtype):
            yield f"{kind} {dtype} {name}", call
    if util.find_spec("sklearn"):
        for name, call in estimator_cases():
            yield f"estimator {name}", call


def engine_hashes(engine: str, word: str) -> dict[str, str]:
    """Run all cases in this process, which computes on `engine`."""
    hashes = {}
    for name, call in all_cases():
        if word not in f"{engine} {name}":
            continue
        runs = []
        try:
            for threads in (1,) if engine == NUMPY else (1, 2, 3):
                rf.set_num_threads(threads)
                runs.append(call())
            hashes[f"{engine} {name}"] = digest(runs)
        except Exception as error:  # compared like a hash, so that the other cases are seen too
            hashes[f"{engine} {name}"] = f"{FAILED}{type(error).__name__}: {error}"
    return hashes


def engines() -> list[str]:
    """Return `reference` and the instruction sets usable here."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        rf.show_config()
    usable = re.search(r"usable here: ([^;]*);", text.getvalue())
    return [NUMPY, *(usable[1].split(", ") if usable else [])]


def hashes_of(engine: str, word: str) -> dict[str, str]:
    """Run all cases in a process of their own."""
    env = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    env["RNNFAST_BACKEND"] = NUMPY if engine == NUMPY else "core"
    env["RNNFAST_ISA"] = "" if engine == NUMPY else engine
    command = [sys.executable, __file__, "--only", engine, "-k", word]
    text = subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True, text=True).stdout
    hashes: dict[str, str] = json.loads(text)
    return hashes


def differences(hashes: dict[str, str], before: dict[str, str], word: str) -> list[str]:
    """Say which of the earlier hashes are others now, or gone."""
    there = {name: value for name, value in before.items() if word in name}
    for name in sorted(hashes.keys() - there.keys()):
        print(f"new: {name}")
    return [
        f"{name}: {value}, now {hashes.get(name, 'missing')}"
        for name, value in there.items()
        if hashes.get(name) != value
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the hashes as JSON")
    parser.add_argument("--against", type=Path, metavar="FILE", help="list what differs from it")
    parser.add_argument("-k", default="", metavar="WORD", help="only cases whose line has it")
    parser.add_argument("--only", metavar="ENGINE", help=argparse.SUPPRESS)  # in this process
    options = parser.parse_args(arguments)
    here, hashed = (Path(file).resolve().parents[1] for file in (__file__, rf.__file__))
    if hashed != here and (hashed / "benchmarks").is_dir():
        parser.error(f"rnnfast is imported from {hashed}: call the script that is there")
    if options.only:
        warnings.simplefilter("ignore")
        print(json.dumps(engine_hashes(options.only, options.k)))
        return 0
    hashes: dict[str, str] = {}
    for engine in engines():
        part = hashes_of(engine, options.k)
        for name, value in part.items():
            print(f"{value} {name}", flush=True)
        hashes |= part
    failed = [name for name, value in hashes.items() if value.startswith(FAILED)]
    print(f"{digest(hashes)} all {len(hashes)} cases, {len(failed)} of which failed")
    if options.out:
        options.out.write_text(json.dumps(hashes, indent=0) + "\n")
    different = []
    if options.against:
        different = differences(hashes, json.loads(options.against.read_text()), options.k)
        print("\n".join([*different, f"{len(different)} differ from {options.against}"]))
    return int(bool(different or failed))


if __name__ == "__main__":
    raise SystemExit(main())
