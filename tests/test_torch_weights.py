"""Weights of PyTorch's layers in ours, and ours in PyTorch's."""

from __future__ import annotations

import re

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")

import torch
from engines import each_engine as each_engine
from torch import nn

import rnnfast as rf

FLOATS = np.random.default_rng(0).standard_normal((5, 2, 3))  # (time, batch, features)
IDS = np.array([[1, 0, 3], [2, 2, 1]])


def run(theirs, x):
    """Return what PyTorch's module gives; of a convolution on features last."""
    x = torch.tensor(x)
    with torch.no_grad():
        if isinstance(theirs, nn.Conv1d):
            return theirs(x.permute(1, 2, 0)).permute(2, 0, 1).numpy()
        if isinstance(theirs, nn.BatchNorm1d):
            return theirs(x.flatten(0, 1)).unflatten(0, x.shape[:2]).numpy()
        for layer in theirs if isinstance(theirs, nn.Sequential) else [theirs]:
            x = layer(x)
            x = x[0] if isinstance(x, tuple) else x
        return x.numpy()


def outputs(ours, x):
    y = ours(x)
    return y[0] if isinstance(y, tuple) else y


def moved(theirs):
    """Give running means, and what starts at 0 or 1, other values."""
    with torch.no_grad():
        for p in theirs.parameters():
            p.uniform_(-1, 1)
        for name, b in theirs.named_buffers():
            b.fill_(7) if name.endswith("tracked") else b.uniform_(0.5, 2)
    return theirs.double().eval()


f8 = {"dtype": np.float64}
PAIRS = [
    (nn.LSTM(3, 4, 2, bidirectional=True), rf.LSTM(3, 4, 2, bidirectional=True, **f8), FLOATS),
    (nn.LSTM(3, 4, proj_size=2), rf.LSTM(3, 4, proj_size=2, **f8), FLOATS),
    (nn.GRU(3, 4, 2), rf.GRU(3, 4, 2, **f8), FLOATS),
    (nn.RNN(3, 4, bias=False), rf.RNN(3, 4, bias=False, **f8), FLOATS),
    (nn.Linear(3, 2), rf.Linear(3, 2, **f8), FLOATS),
    (nn.Embedding(4, 2), rf.Embedding(4, 2, **f8), IDS),
    (nn.Conv1d(3, 2, 3, stride=2), rf.Conv1d(3, 2, 3, stride=2, **f8), FLOATS),
    (nn.LayerNorm(3), rf.LayerNorm(3, **f8), FLOATS),
    (nn.BatchNorm1d(3), rf.BatchNorm1d(3, **f8), FLOATS),
    (
        nn.Sequential(
            nn.Embedding(4, 3), nn.GRU(3, 5), nn.LayerNorm(5), nn.ReLU(), nn.Linear(5, 2)
        ),
        rf.Sequential(
            rf.Embedding(4, 3, **f8),
            rf.GRU(3, 5, **f8),
            rf.LayerNorm(5, **f8),
            rf.ReLU(),
            rf.Linear(5, 2, **f8),
        ),
        IDS,
    ),
]
each_pair = pytest.mark.parametrize(
    ("theirs", "ours", "x"), PAIRS, ids=[type(theirs).__name__ for theirs, _, _ in PAIRS]
)


@each_pair
@pytest.mark.parametrize("way", ["tensors", "with gradients", ".safetensors"])
def test_theirs_in_ours(theirs, ours, x, way, tmp_path):
    theirs = moved(theirs)
    if way == ".safetensors":
        path = tmp_path / "model.safetensors"
        pytest.importorskip("safetensors.torch", reason="safetensors is not installed").save_file(
            theirs.state_dict(), path
        )
        with pytest.raises(ValueError, match=r"model.load_state_dict\(rnnfast.load_arrays\(path"):
            rf.load(path)
        state = rf.load_arrays(path)
    else:
        state = theirs.state_dict(keep_vars=way == "with gradients")
    ours.load_state_dict(state)
    np.testing.assert_allclose(outputs(ours, x), run(theirs, x), rtol=1e-10, atol=1e-12)
    np.testing.assert_equal(
        ours.state_dict(), {n: t.numpy() for n, t in theirs.state_dict().items()}
    )


@each_pair
@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
def test_ours_in_theirs(theirs, ours, x, ending, tmp_path):
    path = tmp_path / f"model{ending}"
    moved(theirs)  # others than ours
    if ending == ".npz":
        rf.save(ours, path)
        theirs.load_state_dict({n: torch.tensor(a) for n, a in rf.load_arrays(path).items()})
    else:
        library = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
        rf.save(ours, path)
        theirs.load_state_dict(library.load_file(path))
    np.testing.assert_allclose(run(theirs, x), outputs(ours, x), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_other_types_are_converted(dtype, tmp_path):
    theirs = nn.Linear(3, 2).to(getattr(torch, dtype))
    ours = rf.Linear(3, 2, seed=0)
    ours.load_state_dict(theirs.state_dict())
    np.testing.assert_array_equal(ours.params["weight"], theirs.weight.detach().float().numpy())
    library = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    path = tmp_path / "model.safetensors"
    library.save_file(theirs.state_dict(), path)
    if dtype == "bfloat16":
        with pytest.raises(ValueError, match="bias is BF16, which NumPy does not have: write it"):
            rf.load_arrays(path)
        return
    twin = rf.Linear(3, 2, seed=1)
    twin.load_state_dict(rf.load_arrays(path))
    np.testing.assert_equal(twin.state_dict(), ours.state_dict())


def test_a_state_dict_of_another_form_is_refused():
    ours = rf.Sequential(rf.LSTM(3, 4), rf.Linear(4, 2))
    before = ours.state_dict()
    for theirs, message in [
        (nn.Sequential(nn.LSTM(3, 4), nn.Linear(4, 2, bias=False)), "missing: 1.bias; unknown: no"),
        (nn.Sequential(nn.LSTM(3, 4), nn.Linear(4, 2), nn.LayerNorm(2)), "unknown: 2.weight, 2.bi"),
        (
            nn.Sequential(nn.LSTM(3, 4), nn.Linear(4, 3)),
            "1.weight: Linear expected weight of shape (2, 4), got (3, 4)",
        ),
    ]:
        with pytest.raises(ValueError, match=re.escape(message)):
            ours.load_state_dict(theirs.state_dict())
    np.testing.assert_equal(ours.state_dict(), before)
