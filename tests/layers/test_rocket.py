"""MiniRocket: features of fixed convolutions."""

from __future__ import annotations

import numpy as np
import pytest

from rnnfast import Linear, MiniRocket, Sequential
from rnnfast.layers.rocket import KERNELS

F8 = {"dtype": np.float64}


def by_definition(layer, sample):
    """Return the features of one sample (T, F), one kernel and tap at a time."""
    after = np.full((max(layer.steps - len(sample), 0), sample.shape[1]), layer.fill)
    sample = np.concatenate([sample, after])
    steps = len(sample)
    shares = []
    views = [sample, np.diff(sample, axis=0, prepend=sample[:1])][: 1 + layer.differences]
    for v, view in enumerate(views):
        for d, dilation in enumerate(layer.dilations):
            for k, twos in enumerate(KERNELS):
                x = view @ layer.buffers["channels"][v, d, k]
                y = np.zeros(steps)
                for t in range(steps):
                    for tap in range(9):
                        at = t + (tap - 4) * dilation
                        if 0 <= at < steps:
                            y[t] += (2.0 if tap in twos else -1.0) * x[at]
                shares += [(y > limit).mean() for limit in layer.buffers["thresholds"][v, d, k]]
    return (np.array(shares) - layer.buffers["mean"]) / layer.buffers["scale"]


@pytest.mark.parametrize("differences", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_definition(channels, differences):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6, 20, channels))
    lengths = np.array([20, 12, 1, 19, 0, 17])
    layer = MiniRocket(channels, 17, 400, differences, 0.5, batch_first=True, seed=1, **F8)
    layer.learn(rng.standard_normal((30, 20, channels)))
    got = layer(x, lengths)
    for i, n in enumerate(lengths):
        np.testing.assert_allclose(got[i], by_definition(layer, x[i, :n]), atol=1e-9)


def test_padding_and_company_change_nothing():
    rng = np.random.default_rng(0)
    layer = MiniRocket(1, 30, 500, batch_first=True, seed=0)
    x = rng.standard_normal((20, 40, 1)).astype(np.float32)
    lengths = rng.integers(0, 41, 20)
    y = layer.learn(x, lengths)
    x[np.arange(40) >= lengths[:, None]] = np.nan
    np.testing.assert_array_equal(layer(x, lengths), y)
    for i, n in enumerate(lengths):
        if n:
            np.testing.assert_array_equal(layer(x[i : i + 1, :n]), y[i : i + 1])


def test_thresholds_are_quantiles_of_samples():
    x = np.random.default_rng(0).standard_normal((5, 12, 1)).astype(np.float32)
    layer = MiniRocket(1, 12, 1, batch_first=True, seed=0)
    layer.learn(x)
    thresholds = layer.buffers["thresholds"]
    of = np.random.default_rng(0).integers(5, size=thresholds.shape[:3])
    at = np.arange(1, thresholds.size + 1).reshape(thresholds.shape) * (5**0.5 + 1) / 2 % 1.0
    results = layer._convolutions(x, np.full(5, 12))
    for v, d, each in results:
        for k, result in each:
            want = np.quantile(result[of[v, d, k]], at[v, d, k])
            np.testing.assert_allclose(thresholds[v, d, k], want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("steps", [20, 3000])
def test_samples_are_taken_a_few_at_a_time(steps):
    x = np.random.default_rng(0).standard_normal((300, steps, 1)).astype(np.float32)
    x = x[: 60_000 // steps]
    layer, same = (MiniRocket(1, steps, 1, batch_first=True, seed=0) for _ in range(2))
    counts = []

    def take(samples):
        counts.append(len(samples))
        return x[samples], None

    out = np.zeros((len(x), layer.out_size + 5), np.float32)
    y = layer.learn_from(take, len(x), out[:, 5:])
    assert sum(counts) <= 2 * len(x)
    assert max(counts) == min(256, 2**15 // steps, len(x))
    np.testing.assert_array_equal(y, same.learn(x))
    np.testing.assert_array_equal(out[:, 5:], y)
    assert not out[:, :5].any()


def test_sizes():
    layer = MiniRocket(2, 100, 2000, seed=0)
    assert layer.dilations == (1, 2, 3, 4, 6, 8, 11)
    assert layer.out_size == 2 * 7 * 84
    assert MiniRocket(1, 1, 1).dilations == (1,)
    read = MiniRocket(20, 100, 2000, seed=0).buffers["channels"].sum(axis=-1)
    assert read.min() == 1
    assert 5 <= read.max() <= 9


def test_learn_gives_vectors_of_length_one():
    x = np.random.default_rng(0).standard_normal((200, 40, 1)).astype(np.float32)
    layer = MiniRocket(1, 40, batch_first=True, seed=0)
    y = layer.learn(x)
    np.testing.assert_array_equal(y, layer(x))
    np.testing.assert_allclose(y.mean(axis=0), 0.0, atol=1e-6)
    np.testing.assert_allclose((y**2).sum(axis=1).mean(), 1.0, rtol=0.02)


def test_layouts_and_copies():
    x = np.random.default_rng(0).standard_normal((4, 30, 2)).astype(np.float32)
    layer = MiniRocket(2, 30, 500, batch_first=True, seed=3)
    layer.learn(x)
    other = MiniRocket(**{**layer.config(), "batch_first": False, "seed": 4})
    other.load_state_dict(layer.state_dict())
    np.testing.assert_array_equal(other(np.ascontiguousarray(x.swapaxes(0, 1))), layer(x))
    np.testing.assert_array_equal(layer(x[1]), layer(x)[1])


def test_gradients_end_there():
    layer = MiniRocket(3, 10, 1, batch_first=True, seed=0)
    model = Sequential(Linear(2, 3, seed=0), layer, Linear(layer.out_size, 2, seed=1))
    x = np.random.default_rng(0).standard_normal((4, 10, 2)).astype(np.float32)
    y, _, tape = model.forward(x)
    dx, _ = model.backward(tape, np.ones_like(y))
    assert not dx.any()
    assert not model[0].grads["weight"].any()
    assert model[2].grads["weight"].any()


def test_refuses():
    with pytest.raises(ValueError, match="MiniRocket expected steps"):
        MiniRocket(1, 0)
    with pytest.raises(ValueError, match="MiniRocket expected fill as a finite number, got nan"):
        MiniRocket(1, 9, fill=np.nan)
    with pytest.raises(ValueError, match="MiniRocket expected input of size 2"):
        MiniRocket(2, 9)(np.zeros((5, 1, 3), np.float32))
