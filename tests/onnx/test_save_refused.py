"""What cannot become an ONNX graph, and the errors that say so."""

from __future__ import annotations

import math
import os
import re
import sys

import pytest

# of its modules, since a folder of tests could pass for the package itself
pytest.importorskip("onnx.helper", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from engines import each_engine as each_engine

import rnnfast
import rnnfast.onnx
from rnnfast import (
    GRU,
    LSTM,
    RNN,
    BatchNorm1d,
    Dropout,
    Embedding,
    EncoderDecoder,
    Linear,
    LuongAttention,
    RepeatVector,
    Sequential,
)
from rnnfast.layers.base import blank
from rnnfast.onnx.save import LAYERS, WHOLE

F, H = 3, 5


def test_every_layer_has_an_exporter():
    kinds = {getattr(rnnfast.layers, name) for name in rnnfast.layers.__all__}
    assert kinds == LAYERS.keys() | WHOLE.keys()


class Doubled(Linear):
    """A layer of a user's own."""


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (LSTM(F, H, layer_norm=True), {}, "LSTM cannot be exported to ONNX with layer_norm=True"),
        (RNN(0, H), {}, "RNN cannot be exported to ONNX with input_size=0"),
        (GRU(F, H, zoneout=0.1), {}, "GRU cannot be exported to ONNX with zoneout=0.1"),
        (
            Sequential(Linear(F, F), Sequential(LSTM(F, H, zoneout=(0.0, 0.2)))),
            {},
            "LSTM (layer 1.0) cannot be exported to ONNX with zoneout=(0.0, 0.2)",
        ),
        (LSTM(F, H, proj_size=2), {"states": True}, "LSTM cannot be exported to ONNX with proj_si"),
        (Doubled(F, H), {}, "Doubled cannot be exported to ONNX: only Activation, Add, Bat"),
        (
            Sequential(Dropout(), LuongAttention(F, F)),
            {},
            "LuongAttention (layer 1) cannot be exported to ONNX: it takes several inputs",
        ),
        (
            Sequential(BatchNorm1d(F), LSTM(F, H)),
            {"lengths": True},
            "BatchNorm1d (layer 0) cannot be exported with lengths",
        ),
        (Linear(F, H), {"lengths": True}, "Linear has no layer that takes lengths"),
        (
            Sequential(RepeatVector(2), LSTM(F, H)),
            {"lengths": True},
            "Sequential has no layer that takes lengths",
        ),
        (Linear(F, H), {"states": True}, "Linear has no layer whose state can be exported"),
        (EncoderDecoder(3, 3, 2, 2), {"states": True}, "EncoderDecoder has no layer whose state"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_refused(model, options, message, tmp_path):
    with pytest.raises(ValueError, match=re.escape(message)):
        rnnfast.onnx.save(model, tmp_path / "model.onnx", **options)
    assert not os.listdir(tmp_path)


def test_too_large(tmp_path):
    token = blank.set(math.inf)  # parameters that take no memory
    try:
        model = Embedding(1 << 20, 1 << 10)
    finally:
        blank.reset(token)
    with pytest.raises(ValueError, match="less than 2 GiB"):
        rnnfast.onnx.save(model, tmp_path / "model.onnx")


def test_bad_arguments(tmp_path):
    model, path = Linear(2, 3), tmp_path / "model.onnx"
    for bad in None, "LSTM", LSTM, {"type": "LSTM"}:
        with pytest.raises(TypeError, match="save expected model as a layer"):
            rnnfast.onnx.save(bad, path)
    for name in "model", "model.npz", "model.onnx.txt":
        with pytest.raises(ValueError, match=re.escape("expected to end in .onnx")):
            rnnfast.onnx.save(model, tmp_path / name)
    for name in "lengths", "states", "time":
        with pytest.raises(TypeError, match=f"save expected {name} as True or False"):
            rnnfast.onnx.save(model, path, **{name: 1})
    with pytest.raises(TypeError):
        rnnfast.onnx.save(model, 3)
    with pytest.raises(FileNotFoundError):
        rnnfast.onnx.save(model, tmp_path / "missing" / "model.onnx")
    assert not os.listdir(tmp_path)


def test_without_onnx(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=re.escape("pip install rnnfast[onnx]")):
        rnnfast.onnx.save(Linear(2, 3), tmp_path / "model.onnx")
