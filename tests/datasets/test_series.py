"""Generated signals."""

from __future__ import annotations

import numpy as np
import pytest

from rnnfast.datasets import radar_returns, sine_waves, two_signals


def test_sine_waves_ten_steps_ahead_are_the_published_ones():
    series = sine_waves(10_000, 60, seed=42)[7000:9000]
    naive = np.mean((series[:, 50:] - series[:, 49:50]) ** 2)
    assert naive == pytest.approx(0.256974, abs=5e-7)


def test_sine_waves_are_the_published_ones():
    series = sine_waves(10_000, 51, seed=42)
    assert series.shape == (10_000, 51, 1)
    assert series.dtype == np.float32
    held_out = series[7000:9000]
    naive = np.mean((held_out[:, -2] - held_out[:, -1]) ** 2)
    assert naive == pytest.approx(0.020211, abs=5e-7)


def belief(x, n_classes):
    """Return for each step the score of each class, by what two_signals says of the posterior."""
    speeds = np.linspace(-np.pi / 6, np.pi / 6, n_classes)
    signal = x[..., 0] + 1j * x[..., 1]
    steps = np.arange(x.shape[1])[:, np.newaxis]
    return np.abs(np.cumsum(signal[..., np.newaxis] * np.exp(-1j * speeds * steps), axis=1))


def test_two_signals_tell_their_class_only_over_time():
    x, y = two_signals(3000, 30, seed=0)
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((3000, 30, 2), "f4", (3000,), "i8")
    assert set(y) == {0, 1, 2, 3}
    accuracy = np.mean(belief(x, 4).argmax(axis=-1) == y[:, np.newaxis], axis=0)
    assert accuracy[0] < 0.3
    assert accuracy[[1, 4, 9, 29]].tolist() == sorted(accuracy[[1, 4, 9, 29]])
    assert accuracy[29] > 0.98
    for c in range(4):  # any step by itself: mean 0, variance 1/2 of the circle and 1 of the noise
        step = x[y == c, 17]
        np.testing.assert_allclose(step.mean(axis=0), 0, atol=0.2)
        np.testing.assert_allclose(np.cov(step.T), 1.5 * np.eye(2), atol=0.25)


def test_two_signals_without_noise():
    x, y = two_signals(50, 9, n_classes=3, noise=0, seed=1)
    np.testing.assert_allclose(np.hypot(x[..., 0], x[..., 1]), 1, atol=1e-6)
    turn = np.angle((x[..., 0] + 1j * x[..., 1])[:, 1:] / (x[..., 0] + 1j * x[..., 1])[:, :-1])
    np.testing.assert_allclose(turn, np.repeat((y[:, None] - 1) * np.pi / 6, 8, axis=1), atol=1e-6)


def test_radar_returns_are_echoes_of_the_pulse():
    x, y = radar_returns(400, 32, noise=0, seed=0)
    assert (x.shape, x.dtype, y.shape, y.dtype) == ((400, 32, 2), "f4", (400, 32), "i8")
    assert (np.abs(x[:, :8, 0]) == 1).all()
    assert (x[:, 8:, 0] == 0).all()
    assert (x[:, :8, 1] == 0).all()
    assert (x[y == 0][:, 1] == 0).all()
    kinds = set()
    for (sent, received), where in zip(np.moveaxis(x, 2, 1), y, strict=True):
        runs = np.flatnonzero(np.diff(where, prepend=0, append=0)).reshape(-1, 2)
        kinds.add(tuple(runs[:, 1] - runs[:, 0]))
        for start, stop in runs if len(runs) == 2 else ():  # two that do not overlap
            gain = received[start:stop] / sent[:8]
            assert 0.5 <= abs(gain[0]) <= 1
            np.testing.assert_allclose(gain, gain[0], rtol=1e-6)
    assert {(), (8,), (8, 8)} < kinds


def test_radar_returns_have_noise():
    quiet, y = radar_returns(2000, noise=0, seed=3)
    loud, same = radar_returns(2000, noise=0.5, seed=3)
    np.testing.assert_array_equal(y, same)
    assert np.std(loud - quiet, axis=(0, 1)).tolist() == [0, pytest.approx(0.5, abs=0.01)]


@pytest.mark.parametrize("generate", [two_signals, radar_returns])
def test_seeds_and_bad_arguments(generate):
    for a, b in zip(generate(5, 8, seed=3), generate(5, 8, seed=3), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (generate(5, 8, seed=3)[0] != generate(5, 8, seed=4)[0]).any()
    assert [len(a) for a in generate(0, 8)] == [0, 0]
    for error, arguments in [
        (ValueError, {"n_samples": -1}),
        (TypeError, {"n_steps": 8.0}),
        (ValueError, {"noise": -0.1}),
        (ValueError, {"noise": np.inf}),
        (TypeError, {"noise": "1"}),
        (ValueError, {"seed": -1}),
    ]:
        (name,) = arguments
        with pytest.raises(error, match=f"^{generate.__name__} expected {name}"):
            generate(**{"n_samples": 5, "n_steps": 8, **arguments})


def test_smallest_sizes():
    with pytest.raises(ValueError, match="n_classes >= 2"):
        two_signals(1, 1, 1)
    with pytest.raises(ValueError, match="n_steps >= 4"):
        radar_returns(1, 3)
    assert radar_returns(3, 4)[0].shape == (3, 4, 2)
