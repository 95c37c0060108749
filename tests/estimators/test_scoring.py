"""What a score takes for the context of a series, and what it says where that is in doubt."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.metrics import r2_score
from sklearn.model_selection import KFold, TimeSeriesSplit, cross_val_score

from rnnfast.estimators import LinearForecaster, NaiveForecaster

T = np.arange(200)
WAVE = (10 + 0.1 * T) * (1 + 0.3 * np.sin(T * 2 * np.pi / 12))


def by_hand(model, series, origins):
    truth = np.concatenate([series[o : o + model.horizon] for o in origins])
    forecast = np.concatenate([model.predict(series[:o]) for o in origins])
    return r2_score(truth, forecast)


def test_a_part_of_the_series_of_fit_keeps_its_place():
    noisy = WAVE + np.random.default_rng(0).standard_normal(200)
    model = LinearForecaster(horizon=3, window=24).fit(noisy)
    for first, last in ((60, 90), (150, 190), (100, 110), (170, 200)):
        found = model.score(noisy[first:last])
        assert found == pytest.approx(by_hand(model, noisy[:last], range(first, last - 2)))
    own = by_hand(model, noisy[:90], range(24, 88))  # what begins with it has nothing before it
    assert model.score(noisy[:90]) == pytest.approx(own)


@pytest.mark.parametrize("model", [LinearForecaster(horizon=3, window=24), NaiveForecaster()])
def test_a_series_that_begins_with_a_jump_is_told_of(model):
    model.fit(WAVE[60:160])
    with pytest.warns(UserWarning, match=r"X is taken to follow .* jump larger than any there"):
        model.score(WAVE[:50])
    with pytest.warns(UserWarning, match="TimeSeriesSplit"):
        cross_val_score(LinearForecaster(window=24), WAVE, cv=KFold(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.score(WAVE[160:])
        model.score(WAVE[100:])
        cross_val_score(LinearForecaster(window=24), WAVE, cv=TimeSeriesSplit(3))


def test_series_with_times_need_no_guess():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    series = pandas.Series(WAVE, pandas.date_range("2020-01-31", periods=200, freq="ME"))
    model = LinearForecaster(horizon=3, window=24).fit(series[60:160])
    before = LinearForecaster(horizon=3, window=24).fit(WAVE[60:160])
    own = by_hand(before, WAVE[:50], range(24, 48))
    assert model.score(series[:50]) == pytest.approx(own)  # from its own steps
    assert model.score(series[165:]) == pytest.approx(by_hand(before, WAVE[165:], range(24, 33)))
    with pytest.raises(ValueError, match="series of at least 24 steps, got 20"):
        model.score(series[165:185])


def test_exogenous_values_stay_beside_their_steps():
    rng = np.random.default_rng(0)
    known = rng.standard_normal(200)
    load = np.concatenate([[0.0], 3 * known[:-1]]) + 0.1 * rng.standard_normal(200)
    model = LinearForecaster(window=4).fit(load[:150], exogenous=known[:150])
    assert model.score(load[60:100], exogenous=known[60:100]) > 0.9
    assert model.score(load[150:], exogenous=known[150:]) > 0.9
