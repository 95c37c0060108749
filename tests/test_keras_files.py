"""Files of Keras; Keras is imported when it is called."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from keras_models import IDS, L, bidirectional, built, inputs, quiet, same_predictions
from processes import run_code

from rnnfast import ReLU
from rnnfast.keras import from_keras, mask_lengths, to_keras

pytestmark = quiet


@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["str", "path"])
def test_files(kind, tmp_path):
    path = tmp_path / "model.keras"
    theirs = built(
        lambda: L.Embedding(IDS, 5),
        bidirectional(L.LSTM, return_sequences=True),
        L.BatchNormalization,
        lambda: L.GRU(4, reset_after=False),
        lambda: L.Dense(2, activation="softmax"),
        ids=True,
    )
    theirs.compile("adam", "sparse_categorical_crossentropy")
    theirs.save(path)
    ours = from_keras(kind(path))
    np.testing.assert_equal(ours.state_dict(), from_keras(theirs).state_dict())
    same_predictions(ours, theirs, inputs(ids=True))
    to_keras(ours).save(tmp_path / "back.keras")
    np.testing.assert_equal(
        from_keras(tmp_path / "back.keras").state_dict(), from_keras(to_keras(ours)).state_dict()
    )
    theirs.save(tmp_path / "model.h5")  # Keras 2's
    np.testing.assert_equal(from_keras(kind(tmp_path / "model.h5")).state_dict(), ours.state_dict())
    with pytest.raises(FileNotFoundError, match="absent"):
        from_keras(tmp_path / "absent.keras")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    for damaged in b"no zip file", content, content[: len(content) // 2]:
        (tmp_path / "other.keras").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"other\.keras is not what Keras can load"):
            from_keras(tmp_path / "other.keras")


def test_files_of_weights(tmp_path):
    layers = bidirectional(L.LSTM), lambda: L.Dense(2)
    theirs, other = built(*layers, steps=4), built(*layers, steps=4)
    for weight in other.weights:
        weight.assign(weight + 1)
    other.save_weights(tmp_path / "model.weights.h5")
    before = theirs.get_weights()
    ours = from_keras(theirs, weights=tmp_path / "model.weights.h5")
    np.testing.assert_equal(ours.state_dict(), from_keras(other).state_dict())
    np.testing.assert_equal(theirs.get_weights(), before)
    with pytest.raises(ValueError, match="a file of a whole model, got"):
        from_keras(tmp_path / "model.weights.h5")
    with pytest.raises(TypeError, match="weights only beside a Keras model, got list"):
        from_keras(theirs.layers, weights=tmp_path / "model.weights.h5")
    with pytest.raises(FileNotFoundError, match="absent"):
        from_keras(theirs, weights=tmp_path / "absent.weights.h5")
    (tmp_path / "other.weights.h5").write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"other\.weights\.h5 is not what Keras can load"):
        from_keras(theirs, weights=tmp_path / "other.weights.h5")


@pytest.mark.parametrize("time_major", [False, True])
def test_files_of_keras_2(time_major, tmp_path):
    h5py = pytest.importorskip("h5py")
    theirs = built(lambda: L.GRU(4, return_sequences=True), bidirectional(L.LSTM), steps=4)
    theirs.save(tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5", "r+") as file:
        config = json.loads(file.attrs["model_config"])
        for entry in config["config"]["layers"][1:]:
            inner = entry["config"].get("layer", entry)["config"]
            inner["time_major"] = time_major
        file.attrs["model_config"] = json.dumps(config)
    if time_major:
        with pytest.raises(ValueError, match="has time_major=True; supported: False"):
            from_keras(tmp_path / "model.h5")
    else:
        got = from_keras(tmp_path / "model.h5").state_dict()
        np.testing.assert_equal(got, from_keras(theirs).state_dict())


# ---- Keras is imported when called ---------------------------------------------------------------


def test_keras_is_imported_when_it_is_called():
    code = "import rnnfast, sys; rnnfast.keras.from_keras; print('keras' in sys.modules)"
    assert run_code(code) == "False"


def test_without_keras(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", None)
    for call in (lambda: from_keras([]), lambda: to_keras(ReLU())):
        with pytest.raises(ImportError, match=r"pip install rnnfast\[keras\], and torch, jax or"):
            call()
    np.testing.assert_array_equal(mask_lengths([[1, 0]]), [1])
