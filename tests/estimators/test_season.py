"""The season of series, found from their autocorrelation."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from rnnfast.estimators.season import _faint_season, _season_seen_twice, find_season


def seasonal(n, m, noise=0.3, seed=0):
    rng = np.random.default_rng(seed)
    shape = rng.standard_normal(m)
    return np.tile(shape, n // m + 1)[:n] + noise * rng.standard_normal(n)


@pytest.mark.parametrize(
    ("n", "m"), [(60, 12), (48, 4), (400, 24), (300, 7), (900, 52), (500, 130)]
)
def test_finds_the_season(n, m):
    assert find_season([seasonal(n, m)]) == m


def test_whatever_the_trend():
    t = np.arange(144)
    for trend in (2.5 * t, -0.1 * t**2, 50 * np.exp(t / 60)):
        assert find_season([trend + 3 * seasonal(144, 12)]) == 12
        assert find_season([(100 + np.abs(trend)) * (1 + 0.2 * np.sin(t * 2 * np.pi / 12))]) == 12


def test_random_walks_and_noise_have_none():
    rng = np.random.default_rng(0)
    found = []
    for n in (30, 60, 100, 200, 500):
        for _ in range(10):
            noise = rng.standard_normal(n)
            found += [find_season([noise]) > 1, find_season([np.cumsum(noise)]) > 1]
    assert np.mean(found) <= 0.08  # the limits hold for each lag, and there are many


def test_takes_many_series_together():
    each = [seasonal(40, 12, noise=1.5, seed=seed) * 10.0**seed for seed in range(6)]
    assert find_season(each) == 12
    # with seasons of their own they have none together
    assert find_season([np.sin(t * np.arange(60)) for t in np.linspace(0.2, 2.0, 20)]) == 1


@pytest.mark.parametrize("series", [np.ones(50), np.arange(4.0), np.arange(100.0), np.zeros(1)])
def test_none_where_nothing_comes_again(series):
    assert find_season([series]) == 1


def test_customary_seasons_win_ties():
    t = np.arange(200)
    assert find_season([np.sin(2 * np.pi * t / 47.3)]) == 48
    assert find_season([seasonal(300, 47)]) == 47


@pytest.mark.parametrize("day", [24, 48])
def test_a_week_of_days_where_it_is_clear(day):
    rng = np.random.default_rng(0)
    n = 7 * day * 5
    t = np.arange(n)
    daily = 5.0 * np.sin(t * 2 * np.pi / day)
    weekend = t // day % 7 >= 5
    for noise in (0.1, 0.5, 1.0):
        e = noise * rng.standard_normal(n)
        assert find_season([daily - 6.0 * weekend + e]) == 7 * day  # of level
        assert find_season([daily * np.where(weekend, 0.2, 1.0) + e]) == 7 * day  # of shape
    for noise in (0.1, 1.0):  # days alone, whatever wanders beneath them
        e = noise * rng.standard_normal(n)
        assert find_season([daily + e]) == day
        assert find_season([daily + 0.3 * np.cumsum(e)]) != 7 * day
    assert find_season([(daily - 6.0 * weekend)[: 7 * day * 2]]) == day  # too short to tell


@pytest.mark.parametrize(("n", "m"), [(365, 7), (1500, 24), (400, 12)])
def test_a_customary_season_in_strong_noise(n, m):
    t = np.arange(n)
    rng = np.random.default_rng(0)
    found = [
        find_season([np.sqrt(2) * np.sin(t * 2 * np.pi / m) + 1.75 * rng.standard_normal(n)])
        for _ in range(20)
    ]
    assert found.count(m) >= 15 and set(found) <= {1, m}


def test_what_wanders_has_no_faint_season():
    found = []
    for seed in range(10):
        noise = np.random.default_rng(seed).standard_normal(500)
        walk = np.cumsum(noise)
        found += [_faint_season([s], 500.0) for s in (noise, walk, walk[2:] + walk[:-2])]
    assert set(found) == {1}


@pytest.mark.parametrize(("n", "m"), [(27, 12), (30, 12), (60, 24)])
def test_a_customary_season_seen_twice(n, m):
    t = np.arange(n)
    year = np.sin(t * 2 * np.pi / m) + 0.05 * t
    rng = np.random.default_rng(0)
    found = [find_season([year + 0.2 * rng.standard_normal(n)]) for _ in range(10)]
    assert found.count(m) >= 8
    noise = np.random.default_rng(1).standard_normal((50, n))
    found = [_season_seen_twice([s], n) for s in (*noise, *np.cumsum(noise, axis=1))]
    assert found.count(m) <= 2
    assert find_season([np.ones(n)]) == find_season([0.5 * t]) == 1
