"""The table of a backtest, weights, margins; ridge regression and smoothing beneath it."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from samples import peak_memory

from rnnfast.estimators.backtest import Backtest, combine, margin, mean_forecast, measure
from rnnfast.estimators.linear import Ridge, Triangle
from rnnfast.estimators.smoothing import Smoothing


def table():
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((40, 3, 1)) + 10
    forecasts = {"good": truth + 0.1 * rng.standard_normal(truth.shape), "bad": truth + 2.0}
    return truth, measure(truth, forecasts, np.full((40, 1), 0.5), {"good": 1.0}, season=4)


def test_table():
    truth, found = table()
    assert found["bad"]["MAE"] == pytest.approx(2.0) == found["bad"]["RMSE"]
    assert found["bad"]["MASE"] == pytest.approx(4.0)
    assert found["bad"]["WAPE"] == pytest.approx(2.0 * truth.size / np.abs(truth).sum())
    assert found["good"]["weight"] == 1.0 and math.isnan(found["bad"]["weight"])
    assert 0.8 < found["good"]["coverage"] <= 1.0
    assert found.best == "good" and list(found) == ["good", "bad"] and len(found) == 2
    np.testing.assert_allclose(found.by_step["bad"], [4.0, 4.0, 4.0])
    lines = str(found).splitlines()
    assert lines[0] == "Backtest of 40 origins, horizon 3, season 4"
    assert lines[1].split() == ["MAE", "RMSE", "MASE", "WAPE", "coverage", "weight"]
    assert lines[3].split()[:4] == ["bad", "2", "2", "4"] and lines[3].split()[-1] == "-"
    assert len({len(line) for line in lines[1:]}) == 1
    assert "no origins" in str(Backtest({}))


def test_values_that_are_filled_in_do_not_count():
    truth, (there, whole) = table()[0], (np.ones((40, 3, 1), bool), table()[1])
    there[:7, 1] = False
    off = np.where(there, truth + 2.0, 1e6)
    found = measure(truth, {"bad": off}, np.full((40, 1), 0.5), season=4, there=there)
    assert [found["bad"][m] for m in ("MAE", "RMSE", "MASE")] == pytest.approx([2.0, 2.0, 4.0])
    assert found["bad"]["WAPE"] == pytest.approx(2.0 / np.abs(truth[there]).mean())
    np.testing.assert_allclose(found.by_step["bad"], whole.by_step["bad"])


def test_table_as_a_frame():
    pytest.importorskip("pandas", reason="pandas is not installed")
    frame = table()[1].to_frame()
    assert list(frame.index) == ["good", "bad"] and frame.loc["bad", "MAE"] == pytest.approx(2.0)


def test_weights():
    weights = combine({"a": 1.0, "b": 1.0, "c": 1.5, "d": 3.0}, 1000)
    assert sum(weights.values()) == pytest.approx(1.0)
    assert weights["a"] == weights["b"] > 4 * weights["c"] > 0.0 == weights["d"]
    few = combine({"a": 1.0, "b": 1.5}, 1)
    assert 0.5 < few["a"] < combine({"a": 1.0, "b": 1.5}, 1000)["a"]
    assert combine({"a": 0.0, "b": 1.0}, 5) == {"a": 1.0, "b": 0.0}
    y = {"a": np.zeros((1, 1, 1)), "b": np.ones((1, 1, 1))}
    assert mean_forecast(y, {"a": 0.25, "b": 0.75}).item() == 0.75


def test_margins_are_conformal():
    residuals = np.sort(np.arange(1.0, 20.0).reshape(19, 1, 1), axis=0)
    assert margin(residuals, 0.9).item() == 18.0  # rank 18 of 20
    assert margin(residuals, 0.99) is None
    # errors of all steps stand in for each other, each in units of its step
    several = np.sort(np.random.default_rng(0).random((5, 4, 1)) * [[[1], [2], [4], [8]]], axis=0)
    reach = margin(several, 0.9)
    np.testing.assert_allclose(reach[1:] / reach[:-1], several.mean(0)[1:] / several.mean(0)[:-1])


def test_ridge_is_least_squares_where_the_penalty_is_small():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 6)) + 3
    y = x @ rng.standard_normal((6, 2)) + 5
    ridge = Ridge()
    for start in range(0, 500, 70):
        ridge.add(x[start : start + 70], y[start : start + 70])
    np.testing.assert_allclose(ridge.solve()(x), y, atol=1e-6)


@pytest.mark.parametrize("n", [3, 50, 300, 2000])
def test_triangle_has_the_products_of_all_rows_in_little_memory(n):
    rows = np.random.default_rng(0).standard_normal((n, 120))
    triangle = Triangle()

    def add():
        for some in np.array_split(rows, 3):
            triangle.add(some)
            triangle.get()

    assert peak_memory(add) < 7 * 120 * 120 * 8
    r = triangle.get()
    assert r.shape == (120, 120) and not np.tril(r, -1).any()
    np.testing.assert_allclose(r.T @ r, rows.T @ rows, atol=1e-9 * n)


def test_ridge_shrinks_what_is_noise():
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((40, 35)), rng.standard_normal((40, 1))
    ridge = Ridge()
    ridge.add(x, y)
    ridge.solve()
    new = rng.standard_normal((500, 35))
    exact = np.linalg.lstsq(np.c_[x, np.ones(40)], y, rcond=None)[0]
    assert np.std(ridge(new)) < 0.3 * np.std(np.c_[new, np.ones(500)] @ exact)


def test_ridge_penalty_is_that_of_generalised_cross_validation():
    rng = np.random.default_rng(2)
    x = rng.standard_normal((60, 10))
    y = x[:, :1] + 2 * rng.standard_normal((60, 1))
    ridge = Ridge()
    ridge.add(x, y)
    ridge.solve()
    a, b = x - x.mean(0), y - y.mean(0)

    def score(penalty):
        hat = a @ np.linalg.solve(a.T @ a + penalty * np.eye(10), a.T)
        return np.sum((b - hat @ b) ** 2) / (60 - 1 - np.trace(hat)) ** 2

    assert score(ridge.penalty) <= min(score(ridge.penalty * f) for f in (0.3, 3.0)) * 1.001
    weights = np.linalg.solve(a.T @ a + ridge.penalty * np.eye(10), a.T @ b)
    np.testing.assert_allclose(ridge.weights, weights, rtol=1e-8)


def test_smoothing_follows_trend_and_season():
    t = np.arange(96)
    series = 50 + 0.5 * t + 5 * np.sin(t * 2 * np.pi / 12)
    smoothing = Smoothing(12, multiplied=False).fit([series[:84]])
    forecast = smoothing.forecast(series[np.newaxis, :84], 12)
    np.testing.assert_allclose(forecast[0], series[84:], atol=0.6)
    grows = (50 + 0.5 * t) * (1 + 0.2 * np.sin(t * 2 * np.pi / 12))
    forecast = Smoothing(12, multiplied=True).fit([grows[:84]]).forecast(grows[np.newaxis, :84], 12)
    np.testing.assert_allclose(forecast[0], grows[84:], rtol=0.02)
    grows = np.exp(0.05 * t)
    forecast = Smoothing(1, multiplied=True).fit([grows[:84]]).forecast(grows[np.newaxis, :84], 12)
    np.testing.assert_allclose(forecast[0], grows[84:], rtol=0.02)


@pytest.mark.parametrize("value", [0.0, -1.0])
@pytest.mark.parametrize("season", [1, 12])
def test_multiplied_smoothing_goes_on_past_a_value_that_is_not_positive(value, season):
    t = np.arange(60)
    series = np.exp(0.03 * t) * (1 + (season > 1) * 0.2 * np.sin(t * 2 * np.pi / 12))
    smoothing = Smoothing(season, multiplied=True).fit([series])
    expected = smoothing.forecast(series[np.newaxis], 6)
    contexts = np.array([series, series, np.zeros(60)])
    contexts[0, 30] = value
    forecast = smoothing.forecast(contexts, 6)
    np.testing.assert_allclose(forecast[0], expected[0], rtol=0.1)
    np.testing.assert_array_equal(forecast[1], expected[0])
    np.testing.assert_allclose(forecast[2], 0.0, atol=1e-12)


def test_smoothing_of_noise_is_its_mean_and_of_a_walk_its_end():
    noise = 5 + np.random.default_rng(0).standard_normal(300)
    forecast = Smoothing(1, multiplied=False).fit([noise]).forecast(noise[np.newaxis], 3)
    np.testing.assert_allclose(forecast, 5.0, atol=0.3)
    walk = np.cumsum(noise - 5)
    forecast = Smoothing(1, multiplied=False).fit([walk]).forecast(walk[np.newaxis], 3)
    np.testing.assert_allclose(forecast, walk[-1], atol=0.5)
    assert Smoothing(12, multiplied=False).fit([walk]).forecast(walk[np.newaxis, :5], 2).shape == (
        1,
        2,
    )
