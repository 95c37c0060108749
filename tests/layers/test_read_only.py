"""Networks whose arrays are read-only, as memory maps are, predict and can be trained."""

from __future__ import annotations

import numpy as np
import pytest
from engines import each_engine as each_engine

import rnnfast as rf

joblib = pytest.importorskip("joblib", reason="joblib is not installed")


def networks():
    bf = {"batch_first": True}
    return {
        "lstm": rf.Sequential(
            rf.Embedding(5, 8, seed=0),
            rf.LSTM(8, 16, layer_norm=True, seed=1, **bf),
            rf.LayerNorm(16),
            rf.Last(True),
            rf.Linear(16, 3, seed=2),
        ),
        "gru": rf.Sequential(
            rf.Embedding(5, 8, seed=0),
            rf.Conv1d(8, 8, 2, seed=1, **bf),
            rf.BatchNorm1d(8, **bf),
            rf.GRU(8, 16, bidirectional=True, seed=1, **bf),
            rf.Last(True, True),
            rf.Linear(32, 3, seed=2),
        ),
        "rnn": rf.Sequential(
            rf.Embedding(5, 8, seed=0),
            rf.GatedConv1d(8, 2, 1, seed=1, **bf),
            rf.RNN(8, 16, seed=1, **bf),
            rf.Last(True),
            rf.Linear(16, 3, seed=2),
        ),
    }


@pytest.mark.parametrize("kind", [rf.Adam, rf.Nadam, rf.RMSprop, rf.SGD])
@pytest.mark.parametrize("name", networks())
@pytest.mark.usefixtures("each_engine")
def test_memory_maps(name, kind, tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 5, (12, 6)), rng.integers(0, 3, 12)
    model = networks()[name]
    optimizer = kind(model, momentum=0.9) if kind in (rf.SGD, rf.RMSprop) else kind(model)
    options = {"loss": rf.losses.softmax_cross_entropy, "clip_norm": 0.5, "seed": 0}
    rf.fit(model, (x, y), optimizer=optimizer, **options)
    joblib.dump((model, optimizer), tmp_path / "model.joblib")
    joblib.dump(x, tmp_path / "x.joblib")
    mapped, its = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    mapped_x = joblib.load(tmp_path / "x.joblib", mmap_mode="r")
    assert not any(p.base.flags.writeable for p in mapped.params.values() if p.base is not None)
    saved = (tmp_path / "model.joblib").read_bytes()
    np.testing.assert_array_equal(mapped.predict(mapped_x), model.predict(x))
    for _ in range(2):
        rf.fit(model, (x, y), optimizer=optimizer, **options)
        rf.fit(mapped, (mapped_x, y), optimizer=its, **options)
        np.testing.assert_equal(mapped.state_dict(), model.state_dict())
    assert (tmp_path / "model.joblib").read_bytes() == saved
    again, _ = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    again.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(again.predict(x), model.predict(x))
    again.zero_grad()
    for value in again.grads.values():
        assert not value.any()
