"""Damaged files are refused in words, at no cost of memory."""

from __future__ import annotations

import json
import zipfile
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from processes import needs_proc
from samples import with_fault

import rnnfast
from rnnfast import io


def damaged_inside(rng, arrays, text, write):
    """Return a file that is whole, but its contents are not."""
    name = list(arrays)[rng.integers(len(arrays))]
    array, kind = arrays[name], rng.integers(5)
    if kind == 0:
        text = with_fault(rng, text.encode()).decode(errors="replace")
    elif kind == 1:
        arrays = {other: value for other, value in arrays.items() if other != name}
    elif kind == 2:
        arrays = {with_fault(rng, name.encode() + b"0").decode("ascii", "replace"): array, **arrays}
    elif kind == 3:
        shape = rng.permutation([*array.shape, 1, rng.integers(3)])
        arrays = {**arrays, name: np.resize(array, shape)}
    else:
        arrays = {**arrays, name: array.astype(rng.choice(["f2", "f8", "i8", "u1", "?"]))}
    file = BytesIO()
    write(file, arrays, text)
    return file.getvalue()


def with_damaged_header(rng, whole):
    """Return a safetensors file whose header is damaged and has the length that it says."""
    size = int.from_bytes(whole[:8], "little")
    header = with_fault(rng, whole[8 : 8 + size])
    return len(header).to_bytes(8, "little") + header + whole[8 + size :]


@contextmanager
def memory_limit(more):
    """Let this process take `more` bytes than it has, not more; the next one is a MemoryError."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


TANH = {"type": "Tanh", "config": {}}
NARROW = {"input_size": 1, "hidden_size": 1}


def doubled(inner):
    """Return a graph that calls `inner` twice."""
    calls = [{"name": "a", "reads": ["x"], **inner}, {"name": "b", "reads": ["a"], "layer": "a"}]
    return {"type": "Graph", "config": {"config": calls, "inputs": ["x"], "outputs": ["b"]}}


def deep(levels):
    entry = TANH
    for _ in range(levels):
        entry = doubled(entry)
    return entry


@needs_proc
@pytest.mark.parametrize(
    "entry",
    [
        {"type": "WaveNet", "config": {"in_channels": 1, "channels": 1, "dilations": [1] * 10**6}},
        {"type": "LSTM", "config": {**NARROW, "num_layers": 10**15}},
        {
            "type": "EncoderDecoder",
            "config": {
                "source_size": 9,
                "target_size": 9,
                "embedding_size": 1,
                "hidden_size": 1,
                "num_layers": 10**15,
            },
        },
        {"type": "MiniRocket", "config": {"in_channels": 1, "steps": 9, "num_features": 10**10}},
        {"type": "MiniRocket", "config": {"in_channels": 10**9, "steps": 9}},
        {"type": "BatchNorm1d", "config": {"num_features": 10**12}},
        {"type": "Sequential", "config": {"config": [{"type": "LSTM", "config": NARROW}] * 10**4}},
        deep(40),
    ],
    ids=lambda entry: entry["type"],
)
def test_lists_and_counts_in_a_description_are_no_work(tmp_path, entry):
    """P25: layers are made as far as the file has arrays for them, and no arrays but these."""
    path = tmp_path / "file.npz"
    with open(path, "wb") as file:
        io._write_npz(file, {"a": np.zeros(2)}, json.dumps({"format": 1, **entry}))
    made = []
    real = rnnfast.layers.base.Layer._create
    with pytest.MonkeyPatch.context() as patch, memory_limit(128 << 20):
        patch.setattr(
            rnnfast.layers.base.Layer,
            "_create",
            lambda self, *args: (made.append(self), real(self, *args)),
        )
        with pytest.raises(ValueError, match="is not a model that rnnfast can load"):
            rnnfast.load(path)
    assert len(made) <= 100


def test_a_packed_description_or_another_method_of_packing_is_refused(tmp_path):
    """P25: what unpacks to a thousand times its size."""
    path = tmp_path / "file.npz"
    rnnfast.save(rnnfast.Linear(2, 2), path)
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    text = json.loads(contents["rnnfast.npy"][128:])

    def write(method, **more):
        encoded = np.frombuffer(json.dumps({**text, **more}).encode(), np.uint8)
        file = BytesIO()
        np.lib.format.write_array(file, encoded)
        with zipfile.ZipFile(path, "w", method) as archive:
            for name, content in {**contents, "rnnfast.npy": file.getvalue()}.items():
                archive.writestr(name, content)

    write(zipfile.ZIP_DEFLATED)
    rnnfast.load(path)
    write(zipfile.ZIP_DEFLATED, more="a" * 10**5)
    with pytest.raises(ValueError, match="its description is damaged"):
        rnnfast.load(path)
    for method in zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA:
        write(method)
        for read in rnnfast.load, rnnfast.load_arrays:
            with pytest.raises(ValueError, match="compressed by another method than deflate"):
                read(path)


@needs_proc
@pytest.mark.parametrize("what", ["model", "state", "file of arrays"])
def test_damaged_files_are_refused_or_harmless(tmp_path, ending, what):
    """P14: 15,000 in all. Nothing but ValueError, and no memory for what they claim to be."""
    path = tmp_path / f"file{ending}"
    write = io._write_npz if ending == ".npz" else io._write_safetensors
    model = rnnfast.Sequential(
        rnnfast.GRU(1, 2, seed=1), rnnfast.LayerNorm(2), rnnfast.Linear(2, 1)
    )
    if what == "state":
        io.save_state(rnnfast.SGD(model, momentum=0.5).state_dict(), path)
    else:
        rnnfast.save(model, path)
    read = {"model": rnnfast.load, "state": io.load_state}.get(what, rnnfast.load_arrays)
    with io._opened(path, what) as (_, file, size):
        text, arrays = file.text, dict(io._read_all(file, size))
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    with memory_limit(32 << 20):
        for i in range(2500):
            if i % 3 == 0:
                data = with_fault(rng, whole)
            elif i % 3 == 1 or ending == ".npz":
                data = damaged_inside(rng, arrays, text, write)
            else:
                data = with_damaged_header(rng, whole)
            path.write_bytes(data)
            try:
                read(path)
            except ValueError as error:
                message = f"{path} is not a {what} that rnnfast can load: "
                assert str(error).startswith(message)
                assert len(str(error)) > len(message)
                refused += 1
    least = 500 if what == "file of arrays" else 1000  # damage to a description that nobody reads
    assert least < refused < 2500
