"""Model files."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import zipfile

import numpy as np
import pytest
from engines import each_engine as each_engine
from samples import small_model

import rnnfast as rf
from rnnfast.io import load_state, save_state


@pytest.fixture
def path(ending, tmp_path):
    return tmp_path / f"model{ending}"


@pytest.mark.parametrize(
    "model",
    [
        rf.LSTM(3, 4, 2, bidirectional=True, proj_size=2, batch_first=True, dtype=np.float64),
        rf.GRU(0, 1, bias=False, checkpoint=3, seed=4),
        rf.RNN(2, 3, nonlinearity="relu", layer_norm=True, recurrent_dropout=0.5),
        rf.LSTM(2, 3, zoneout=(0.1, 0.5), layer_norm=True),
        rf.Linear(3, 2, bias=False),
        rf.Embedding(4, 2, padding_idx=1),
        rf.LayerNorm(3, eps=1e-3),
        rf.Sequential(
            rf.Dropout(0.25, seed=1), rf.RNN(2, 3, 2, dropout=0.5), rf.Sequential(rf.Last())
        ),
        rf.Conv1d(2, 3, 4, 2, padding=1, bias=False),
        rf.WaveNet(2, 3, (1, 2), dtype=np.float64),
        rf.BatchNorm1d(3, momentum=0.5, batch_first=True),
        rf.Sequential(rf.BatchNorm1d(3, affine=False), rf.Tanh(), rf.RepeatVector(2)),
        rf.Sequential(
            rf.Scale(3),
            rf.LayerNorm(3, affine="bias"),
            rf.Activation("elu", 0.5),
            rf.Pool1d("max", 2),
        ),
        rf.Graph(
            [
                ("a", rf.Dropout(0.5, seed=1, all_steps=True, batch_first=True), "x"),
                ("b", rf.GaussianNoise(0.1, True, seed=2), "a"),
                ("c", rf.Rearrange("pad", (1, -1), True), "b"),
                ("y", rf.Dot((2, 2)), ["a", "c"]),
            ]
        ),
    ],
    ids=lambda m: type(m).__name__,
)
def test_round_trip(model, path):
    for name in model.buffers:
        model.buffers[name] = np.full(model.buffers[name].shape, 7)
    rf.save(model, path)
    twin = rf.load(str(path))
    assert type(twin) is type(model)
    np.testing.assert_equal(twin.state_dict(), model.state_dict())
    assert twin.config() == model.config()
    np.testing.assert_equal(dict(twin.params), dict(model.params))
    assert [a.dtype for a in twin.params.values()] == [a.dtype for a in model.params.values()]
    for arrays in twin.params, twin.buffers:  # the arrays are the layer's own
        for name in arrays:
            arrays[name] = np.zeros(arrays[name].shape, int)
    assert os.listdir(path.parent) == [path.name]


def test_a_loaded_model_works(path):
    model = small_model()
    ids = np.random.default_rng(0).integers(0, 7, (5, 2))
    rf.save(model, path)
    twin = rf.load(path)
    np.testing.assert_array_equal(twin.predict(ids), model.predict(ids))
    optimizer = rf.Adam(twin)
    data = rf.datasets.text_batches(ids.ravel(), 2, 3)
    loss = rf.losses.softmax_cross_entropy
    rf.fit(twin, data, loss=loss, optimizer=optimizer)
    assert not np.array_equal(twin.predict(ids), model.predict(ids))


def test_files_open_in_pytorch(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    files = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    ours = rf.LSTM(3, 4, 2, seed=1)
    rf.save(ours, tmp_path / "model.safetensors")
    theirs = torch.nn.LSTM(3, 4, 2)
    theirs.load_state_dict(files.load_file(tmp_path / "model.safetensors"))
    x = np.ones((5, 2, 3), np.float32)
    want = theirs(torch.tensor(x))[0].detach().numpy()
    np.testing.assert_allclose(ours(x)[0], want, rtol=1e-5, atol=1e-6)


def test_a_failed_save_leaves_the_older_file(path, monkeypatch):
    old, new = rf.Linear(2, 2, seed=1), rf.Linear(2, 2, seed=2)
    rf.save(old, path)

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        rf.save(new, path)
    assert os.listdir(path.parent) == [path.name]
    np.testing.assert_equal(dict(rf.load(path).params), dict(old.params))


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions and links")
def test_permissions_and_links_are_the_usual_ones(path):
    mask = os.umask(0o022)
    try:
        rf.save(rf.Linear(2, 2), path)
    finally:
        os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o644
    path.chmod(0o640)
    rf.save(rf.Linear(2, 2), path)
    assert path.stat().st_mode & 0o777 == 0o640
    link = path.with_stem("link")
    link.symlink_to(path)
    rf.save(rf.Linear(3, 3), link)
    assert link.is_symlink()
    assert rf.load(path).in_features == 3


def test_refuses_to_save(path):
    class Mine(rf.layers.base.Layer):
        def __init__(self):
            self._create({})

    with pytest.raises(ValueError, match="no layer type 'Mine', only GRU, LSTM"):
        rf.save(Mine(), path)
    with pytest.raises(ValueError, match=r"path expected to end in .safetensors or .npz, got"):
        rf.save(rf.Linear(2, 2), path.with_suffix(".pt"))
    with pytest.raises(TypeError, match="save expected model as a layer, got NoneType"):
        rf.save(None, path)
    nowhere = path.parent / "nowhere" / path.name
    with pytest.raises(FileNotFoundError, match=re.escape(f"'{nowhere}'")):
        rf.save(rf.Linear(2, 2), nowhere)
    assert os.listdir(path.parent) == []


def test_an_array_twice_is_refused(tmp_path):
    path = tmp_path / "model.npz"
    rf.save(rf.Linear(2, 2), path)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("bias.npy", archive.read("bias.npy"))
    with refused(path) as caught:
        rf.load(path)
    assert "two arrays of one name" in str(caught.value)


def test_a_key_twice_is_refused(path):
    """P30: in the header of .safetensors, which names arrays, and in the description."""
    arrays = {"weight": np.zeros((2, 3), np.float32), "bias": np.zeros(2, np.float32)}
    config = '{"in_features": 9, "in_features": 3, "out_features": 2}'
    write(path, f'{{"format": 1, "type": "Linear", "config": {config}}}', arrays)
    with refused(path) as caught:
        rf.load(path)
    assert "the key 'in_features' is there twice" in str(caught.value)
    if path.suffix == ".safetensors":
        rf.save(rf.Linear(3, 2), path)
        whole = path.read_bytes()
        end = 8 + int.from_bytes(whole[:8], "little")
        entry = json.dumps(json.loads(whole[8:end])["bias"])
        for again in '"bias"', r'"b\u0069as"':
            header = whole[8:end].rstrip()[:-1] + f",{again}:{entry}}}".encode()
            path.write_bytes(len(header).to_bytes(8, "little") + header + whole[end:])
            for read in rf.load, rf.load_arrays:
                with pytest.raises(ValueError, match="the key 'bias' is there twice"):
                    read(path)


def test_without_safetensors(tmp_path, monkeypatch):
    (tmp_path / "model.safetensors").touch()
    monkeypatch.setitem(sys.modules, "safetensors", None)
    for call in (
        lambda: rf.save(rf.Linear(2, 2), tmp_path / "model.safetensors"),
        lambda: rf.load(tmp_path / "model.safetensors"),
    ):
        with pytest.raises(ImportError, match=re.escape("pip install rnnfast[io]")):
            call()
    rf.save(rf.Linear(2, 2), tmp_path / "model.npz")


def refused(path):
    message = re.escape(f"{path} is not a model that rnnfast can load")
    return pytest.raises(ValueError, match=message)


def write(path, text, arrays):
    kind = {".npz": rf.io._write_npz, ".safetensors": rf.io._write_safetensors}
    with open(path, "wb") as file:
        kind[path.suffix](file, arrays, text)


def test_states(path):
    grid = np.arange(6.0).reshape(2, 3)
    state = {
        "numbers": [1, 2.5, 2**100, float("inf"), None, True, "text", np.float32(0.5)],
        "nothing": {},
        "arrays": {
            "float64": grid,
            "transposed": grid.T,
            "swapped": grid.astype(">f4"),
            "deep": {"int64": np.arange(3), "scalar": np.array(7.0), "empty": np.zeros((0, 2))},
        },
    }
    save_state(state, path)
    got = load_state(path)
    np.testing.assert_equal(got, state)
    assert got["arrays"]["swapped"].dtype == np.float32
    assert got["arrays"]["deep"]["int64"].dtype == np.int64
    for wrong, error, message in [
        ({1: 2}, TypeError, "keys as str without '/', got 1"),
        ({"a": {"b/c": 2}}, TypeError, "keys as str without '/', got 'b/c'"),
        ({"a": {"b": np.zeros(2, bool)}}, TypeError, "got bool at a/b"),
        ({"a": [grid]}, TypeError, "cannot hold ndarray"),
        ({"a": print}, TypeError, "cannot hold builtin_function_or_method"),
    ]:
        with pytest.raises(error, match=re.escape(message)):
            save_state(wrong, path)
    np.testing.assert_equal(load_state(path), state)
    for text, arrays, message in [
        ('{"format": 1}', {"a": grid}, "its description is not one of a state"),
        ('{"format": 1, "state": {"a": 1}}', {"a": grid}, "there is no place for a"),
        ('{"format": 1, "state": {"a": [1]}}', {"a/0": grid}, ""),
        ('{"format": 1, "state": {}}', {"a/b": grid}, "'a'"),
    ]:
        write(path, text, arrays)
        with pytest.raises(ValueError, match=f"is not a state that rnnfast can load: {message}"):
            load_state(path)


def test_every_truncation_is_refused(path):
    rf.save(rf.Linear(3, 2), path)
    whole = path.read_bytes()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        with refused(path):
            rf.load(path)


def test_wrong_contents_are_refused(path):
    linear = {"weight": np.zeros((2, 3), np.float32), "bias": np.zeros(2, np.float32)}
    config = {"in_features": 3, "out_features": 2, "bias": True, "seed": None, "dtype": "float32"}
    good = {"format": 1, "type": "Linear", "config": config}
    write(path, json.dumps(good), linear)
    rf.load(path)
    lstm = {"input_size": 1, "hidden_size": 1, "num_layers": 10**15}
    deep = '{"format": 1, "type": "Sequential", "config": {"config": ['
    for text, arrays, message in [
        (json.dumps(good | {"format": 2}), linear, "it is of format 2, this version reads 1"),
        (json.dumps(good | {"type": "Nonsense"}), linear, "no layer type 'Nonsense'"),
        (json.dumps(good | {"type": "__all__"}), linear, "no layer type '__all__'"),
        (json.dumps(good | {"type": 3}), linear, "no layer type 3"),
        (json.dumps(good | {"config": {"x": 1}}), linear, "unexpected keyword argument 'x'"),
        (json.dumps(good | {"config": None}), linear, ""),
        (json.dumps(good | {"config": "x"}), linear, "a mapping with its type and its config"),
        (json.dumps({"format": 1}), linear, "a mapping with its type and its config"),
        ("{}", linear, "its description is not one of a model"),
        ("[]", linear, "its description is not one of a model"),
        ("nonsense", linear, "its description is not JSON"),
        (json.dumps(good), {"weight": linear["weight"]}, "bias is missing there, float32 (2,) in"),
        (json.dumps(good), linear | {"more": linear["bias"]}, "more is float32 (2,) there, miss"),
        (json.dumps(good), linear | {"bias": np.zeros(3, np.float32)}, "bias is float32 (3,)"),
        (json.dumps(good), linear | {"bias": np.zeros(2)}, "bias is float64 (2,) there, float32"),
        (json.dumps(good | {"config": config | {"in_features": 10**12}}), linear, "weight is flo"),
        (json.dumps(good | {"config": config | {"in_features": 10**30}}), linear, ""),
        (json.dumps(good | {"type": "LSTM", "config": lstm}), linear, "fewer parameters than lay"),
        (deep * 300 + "]}}" * 300, linear, ""),
        (deep * 10**5, linear, ""),
    ]:
        write(path, text, arrays)
        with refused(path) as caught:
            rf.load(path)
        assert message in str(caught.value)


def test_files_of_others_are_refused(path):
    arrays = {"weight": np.zeros((2, 3), np.float32)}
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        from safetensors.numpy import save_file

        save_file(arrays, path)
    with refused(path) as caught:
        rf.load(path)
    assert "model.load_state_dict(rnnfast.load_arrays(path))" in str(caught.value)
    np.testing.assert_equal(rf.load_arrays(path), arrays)


def test_arrays(path):
    model = small_model()
    rf.save(model, path)
    np.testing.assert_equal(rf.load_arrays(path), model.state_dict())
    others = {
        kind: np.arange(6).reshape(2, 3).astype(kind)
        for kind in ("f2", "?", "i1", "u1", "i2", "u2", "i4", "u4", "u8")
    }
    if path.suffix == ".npz":
        np.savez(path, **others)
    else:
        from safetensors.numpy import save_file

        save_file(others, path)
    got = rf.load_arrays(path)
    np.testing.assert_equal(got, others)
    assert {name: array.dtype for name, array in got.items()} == {n: np.dtype(n) for n in others}
    whole = path.read_bytes()
    for size in range(0, len(whole), 97):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="is not a file of arrays that rnnfast can load"):
            rf.load_arrays(path)


def test_compressed_arrays(tmp_path):
    path = tmp_path / "arrays.npz"
    for array in np.random.default_rng(0).random((50, 7)), np.zeros((1000, 1000), np.float32):
        np.savez_compressed(path, a=array, b=array[:2])
        np.testing.assert_equal(rf.load_arrays(path), {"a": array, "b": array[:2]})
    header = io.BytesIO()
    entry = {"descr": "<f4", "fortran_order": False, "shape": (10**12,)}
    np.lib.format.write_array_header_1_0(header, entry)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", header.getvalue())
    with pytest.raises(ValueError, match="it is shorter than its arrays"):
        rf.load_arrays(path)


def test_a_state_of_training_is_no_model(path):
    save_state({"model": {"weight": np.zeros((100, 100))}, "numbers": list(range(1000))}, path)
    with refused(path) as caught:
        rf.load(path)
    message = str(caught.value).removeprefix(str(path))
    assert "rnnfast.fit(..., resume=path)" in message
    assert len(message) < 150


def test_a_pickle_is_refused(tmp_path):
    path = tmp_path / "model.npz"
    write(path, json.dumps({"format": 1, "type": "Linear", "config": {}}), {"a": np.array([{}])})
    with refused(path):
        rf.load(path)


@pytest.mark.parametrize("array", [np.array([{}]), np.array(["a"]), np.zeros(1, "f4,i4")], ids=str)
def test_arrays_of_other_than_numbers_are_named(tmp_path, array):
    path = tmp_path / "arrays.npz"
    np.savez(path, x=np.zeros(2), y=array)
    with pytest.raises(ValueError, match=r"y is of .*, not of numbers"):
        rf.load_arrays(path)


def test_no_file(path):
    with pytest.raises(FileNotFoundError):
        rf.load(path)
    path.mkdir()
    with pytest.raises(OSError):
        rf.load(path)
