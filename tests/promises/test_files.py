"""P27 and P31: what any file system has is written to; an error leaves nothing behind."""

from __future__ import annotations

import importlib
import os
import stat
import threading

import numpy as np
import pytest
from processes import needs_proc, run_program

import rnnfast
from rnnfast import datasets

MODEL = rnnfast.Linear(2, 3, seed=0)


def log(path):
    rnnfast.CSVLog(path).on_epoch_end(0, {"loss": 1.0})


def quickdraw(path):
    datasets.write_quickdraw(path, datasets.sketches(1, seed=0))


# what writes files, by their ending
WRITERS = {
    ".npz": lambda path: rnnfast.save(MODEL, path),
    ".safetensors": lambda path: rnnfast.save(MODEL, path),
    ".onnx": lambda path: importlib.import_module("rnnfast.onnx").save(MODEL, path),
    ".csv": log,
    ".mid": lambda path: datasets.write_midi(path, np.full((4, 1), 60)),
    ".ndjson": quickdraw,
}


@pytest.fixture(params=WRITERS)
def ending(request):
    package = {".safetensors": "safetensors", ".onnx": "onnx.helper"}.get(request.param, "rnnfast")
    pytest.importorskip(package, reason=f"{package} is not installed")
    return request.param


def test_names_may_be_as_long_as_the_system_allows(tmp_path, ending, monkeypatch):
    """P31: 255 bytes as a rule, whether the path is absolute or not; a link leads to its file."""
    longest = "n" * (os.pathconf(tmp_path, "PC_NAME_MAX") - len(ending)) + ending
    monkeypatch.chdir(tmp_path)
    os.symlink(longest, "link" + ending)
    for path in longest, tmp_path / longest, "link" + ending:
        WRITERS[ending](path)
        assert sorted(os.listdir()) == sorted([longest, "link" + ending])
        assert os.path.islink("link" + ending)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_fifo_is_written_into(tmp_path, ending):
    """P31: it stays one, and who reads it gets the file."""
    fifo, plain, read = tmp_path / f"fifo{ending}", tmp_path / f"plain{ending}", []
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: read.append(fifo.read_bytes()))
    reader.start()
    WRITERS[ending](fifo)
    reader.join(20)
    WRITERS[ending](plain)
    assert read == [plain.read_bytes()]
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_a_folder_is_refused_by_its_name(tmp_path, ending):
    folder = tmp_path / f"folder{ending}"
    folder.mkdir()
    with pytest.raises(OSError, match=f"folder{ending}"):
        WRITERS[ending](folder)
    assert os.listdir(tmp_path) == [folder.name]


@needs_proc
@pytest.mark.parametrize("kind", [".npz", ".safetensors", ".onnx"])
def test_saving_without_memory_leaves_nothing(tmp_path, kind):
    """P27: with any amount of memory it works, or raises MemoryError and leaves the older file."""
    package = {".safetensors": "safetensors", ".onnx": "onnx.helper"}.get(kind, "rnnfast")
    pytest.importorskip(package, reason=f"{package} is not installed")
    failed, worked = map(int, run_program("saving_without_memory", tmp_path, kind))
    assert failed > 1
    assert worked
