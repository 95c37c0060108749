"""What a training shows of its progress."""

from __future__ import annotations

import re
import sys

import pytest
from samples import classifier, sums

from rnnfast import SGD, Callback, fit
from rnnfast.losses import softmax_cross_entropy as CE


def test_quiet_unless_asked(capsys):
    model = classifier()
    fit(model, sums(4), loss=CE, optimizer=SGD(model))
    assert capsys.readouterr() == ("", "")


def test_bar(capsys):
    pytest.importorskip("tqdm", reason="tqdm is not installed")
    model = classifier()

    class Extra(Callback):
        def on_batch_end(self, batch, logs):
            logs["bits"] = 3.25

    options = dict(loss=CE, optimizer=SGD(model), epochs=2, batch_size=2, callbacks=[Extra()])
    fit(model, sums(4), progress=True, unit="characters", validation=sums(4), **options)
    out, err = capsys.readouterr()
    assert out == ""
    for word in ("epoch 1/2", "epoch 2/2", "2/2", "loss ", "val_loss ", "characters/s"):
        assert word in err
    assert re.search(r"\d\d:\d\d<\d\d:\d\d", err), "time passed, and time left"


def test_lines_without_tqdm(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr("rnnfast.progress.Display.seconds_between_lines", 0.0)
    model = classifier()
    fit(model, sums(4), loss=CE, optimizer=SGD(model), batch_size=2, progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"epoch 1/1, batch 1/2: loss \S+, \S+ samples/s, \d+ s left", lines[0])
    assert re.fullmatch(r"epoch 1/1: loss \S+, \S+ samples/s, \S+ s", lines[2])
    assert len(lines) == 3
