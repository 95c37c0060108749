"""Generated signals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..checks import check_seed, check_size, is_number

if TYPE_CHECKING:
    from ..arrays import Array

__all__ = ["radar_returns", "sine_waves", "two_signals"]


def sine_waves(n_series: int, n_steps: int, seed: int | None = None) -> Array:
    """Return time series that are each the sum of two random sine waves and noise.

    The data of the forecasting table in "Hands-On Machine Learning with Scikit-Learn, Keras, and
    TensorFlow", 2nd edition, chapter 15; with seed 42, the same numbers.

    Parameters
    ----------
    n_series, n_steps : int
    seed : int or None

    Returns
    -------
    (n_series, n_steps, 1) array of float32
    """
    n_series = check_size("sine_waves", "n_series", n_series, 0)
    n_steps = check_size("sine_waves", "n_steps", n_steps, 0)
    rand = np.random.RandomState(seed).rand
    frequency1, frequency2, offset1, offset2 = rand(4, n_series, 1)
    time = np.linspace(0, 1, n_steps)
    series = 0.5 * np.sin((time - offset1) * (frequency1 * 10 + 10))
    series += 0.2 * np.sin((time - offset2) * (frequency2 * 20 + 20))
    series += 0.1 * (rand(n_series, n_steps) - 0.5)
    return series[..., np.newaxis].astype(np.float32)


def two_signals(
    n_samples: int,
    n_steps: int,
    n_classes: int = 4,
    noise: float = 1.0,
    seed: int | None = None,
) -> tuple[Array, Array]:
    """Return pairs of signals (a_t, b_t), of classes that no single step tells apart.

    The pair moves round the unit circle from a random start, ``a_t = cos(w t + p)`` and
    ``b_t = sin(w t + p)``, with normal noise on both. The class is the speed w, in radians a step,
    one of ``linspace(-pi / 6, pi / 6, n_classes)``. As p is uniform, each step taken by itself
    looks the same for all classes; what tells them apart is how steps follow on one another, so
    that the belief in a class grows with time. The most probable class is, by the posterior with
    p integrated out, the one with the largest ``abs(sum_t (a_t + i b_t) exp(-i w t))``.

    Parameters
    ----------
    n_samples, n_steps : int
    n_classes : int, default 4
        At least 2.
    noise : float, default 1.0
        Standard deviation.
    seed : int or None

    Returns
    -------
    x : (n_samples, n_steps, 2) array of float32
    y : (n_samples,) array of int64
        From 0 to ``n_classes - 1``.
    """
    n_samples = check_size("two_signals", "n_samples", n_samples, 0)
    n_steps = check_size("two_signals", "n_steps", n_steps, 0)
    n_classes = check_size("two_signals", "n_classes", n_classes, 2)
    noise = check_noise("two_signals", noise)
    rng = np.random.default_rng(check_seed("two_signals", seed))
    y = rng.integers(n_classes, size=n_samples)
    speed = np.linspace(-np.pi / 6, np.pi / 6, n_classes)[y]
    angle = speed[:, np.newaxis] * np.arange(n_steps) + rng.uniform(0, 2 * np.pi, (n_samples, 1))
    x = np.stack((np.cos(angle), np.sin(angle)), axis=-1)
    x += noise * rng.standard_normal(x.shape)
    return x.astype(np.float32), y


def radar_returns(
    n_samples: int, n_steps: int = 32, noise: float = 0.5, seed: int | None = None
) -> tuple[Array, Array]:
    """Return what a radar sends and receives, and where in it the echoes lie.

    The sent signal is a pulse of ``n_steps // 4`` steps, of random signs (a binary phase code), and
    silence. The received signal has up to two echoes of it, each delayed by at least the pulse and
    scaled by a factor between 0.5 and 1 in size and of either sign, and normal noise.

    Parameters
    ----------
    n_samples : int
    n_steps : int, default 32
        At least 4.
    noise : float, default 0.5
        Standard deviation, in the received signal.
    seed : int or None

    Returns
    -------
    x : (n_samples, n_steps, 2) array of float32
        The sent and the received signal.
    y : (n_samples, n_steps) array of int64
        1 where the received signal holds an echo, else 0.
    """
    n_samples = check_size("radar_returns", "n_samples", n_samples, 0)
    n_steps = check_size("radar_returns", "n_steps", n_steps, 4)
    noise = check_noise("radar_returns", noise)
    rng = np.random.default_rng(check_seed("radar_returns", seed))
    pulse = n_steps // 4
    x = np.zeros((n_samples, n_steps, 2))
    y = np.zeros((n_samples, n_steps), np.int64)
    x[:, :pulse, 0] = rng.choice((-1.0, 1.0), (n_samples, pulse))
    n_echoes = rng.integers(3, size=n_samples)
    for sample in np.repeat(np.arange(n_samples), n_echoes):
        start = rng.integers(pulse, n_steps - pulse + 1)
        gain = rng.uniform(0.5, 1.0) * rng.choice((-1.0, 1.0))
        x[sample, start : start + pulse, 1] += gain * x[sample, :pulse, 0]
        y[sample, start : start + pulse] = 1
    x[..., 1] += noise * rng.standard_normal((n_samples, n_steps))
    return x.astype(np.float32), y


def check_noise(owner: str, noise: float) -> float:
    """Return `noise` as a finite float of at least 0."""
    if not is_number(noise):
        raise TypeError(f"{owner} expected noise as a number, got {noise!r}")
    if not 0.0 <= noise < np.inf:
        raise ValueError(f"{owner} expected noise >= 0 and finite, got {noise!r}")
    return float(noise)
