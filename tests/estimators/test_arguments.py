"""What a forecaster is given beside its series: matched by name and by id, or refused by name."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from rnnfast.estimators import Forecaster, LinearForecaster

pandas = pytest.importorskip("pandas", reason="pandas is not installed")
RNG = np.random.default_rng(0)
T = 80
DAYS = pandas.date_range("2024-01-01", periods=T, freq="D")
KNOWN = pandas.DataFrame(RNG.standard_normal((T, 2)), DAYS, ["temp", "wind"])
LOAD = pandas.Series(3.0 * KNOWN["temp"] - 100.0 * KNOWN["wind"], DAYS, name="load")
QUICK = {"window": 4, "random_state": 0, "select": "network", "max_iter": 2}
# three shops whose sizes are told beforehand, as a long table
SHOPS = pandas.DataFrame(
    {
        "id": np.repeat(["a", "b", "c"], T),
        "time": np.tile(DAYS, 3),
        "value": np.concatenate([k + RNG.standard_normal(T) for k in (0.0, 10.0, 20.0)]),
    }
)
SIZES = pandas.DataFrame({"area": [0.0, 1.0, 2.0], "staff": [5.0, 3.0, 4.0]}, ["a", "b", "c"])


def test_exogenous_columns_are_matched_by_name():
    model = LinearForecaster(horizon=2, window=4).fit(LOAD[:-2], exogenous=KNOWN[:-2])
    right = model.predict(LOAD[:-2], exogenous=KNOWN)
    np.testing.assert_allclose(right, LOAD[-2:], rtol=1e-6)
    turned = KNOWN[["wind", "temp"]]
    np.testing.assert_array_equal(model.predict(LOAD[:-2], exogenous=turned), right)
    np.testing.assert_allclose(model.predict(exogenous=turned[-2:]), right, rtol=1e-9)
    with pytest.raises(ValueError, match=r"exogenous with the columns .*, got no 'wind', 'rain'"):
        model.predict(LOAD[:-2], exogenous=KNOWN.rename(columns={"wind": "rain"}))


@pytest.mark.parametrize(
    "change",
    [lambda f: f[::-1], lambda f: f[["staff", "area"]], lambda f: f.reset_index(names="id")[::-1]],
    ids=["order", "columns", "column of ids"],
)
def test_static_rows_are_matched_by_id_and_columns_by_name(change):
    model = Forecaster(horizon=2, **QUICK).fit(SHOPS, static=SIZES)
    right = model.predict(SHOPS, static=SIZES)
    pandas.testing.assert_frame_equal(model.predict(SHOPS, static=change(SIZES)), right)
    again = Forecaster(horizon=2, **QUICK).fit(SHOPS, static=change(SIZES))
    if list(change(SIZES).columns)[-2:] == ["area", "staff"]:  # else other weights meet them
        pandas.testing.assert_frame_equal(again.predict(SHOPS, static=SIZES), right)


@pytest.mark.parametrize(
    ("static", "error", "message"),
    [
        (SIZES.set_axis(["a", "b", "z"]), ValueError, "static of each series, got none of 'c'"),
        (SIZES.set_axis(["a", "a", "c"]), ValueError, "one row for each series, got several"),
        (SIZES.rename(columns={"area": "size"}), ValueError, "got no 'area', 'size' beside them"),
        (SIZES.assign(area=[1.0, np.nan, 2.0]), ValueError, "got nan in row 1, the column 'area'"),
        (np.ones((2, 2)), ValueError, r"static of shape \(3, features\), .* got shape \(2, 2\)"),
        (SIZES.assign(area=["x", "y", "z"]), TypeError, "static"),
    ],
    ids=["unknown id", "id twice", "unknown column", "missing", "rows", "words"],
)
def test_static_that_does_not_fit(static, error, message):
    model = Forecaster(horizon=2, **QUICK).fit(SHOPS, static=SIZES)
    with pytest.raises(error, match=f"Forecaster expected .*{message}"):
        model.predict(SHOPS, static=static)


@pytest.mark.parametrize("form", ["Series", "array"])
def test_a_score_takes_the_context_of_what_fit_had(form):
    t = np.arange(144)
    wave = (10 + 0.1 * t) * (1 + 0.3 * np.sin(t * 2 * np.pi / 12))
    if form == "Series":
        wave = pandas.Series(wave, pandas.date_range("2010-01-31", periods=144, freq="ME"))
    model = LinearForecaster(horizon=6, window=24).fit(wave[:-12])
    whole = model.score(wave)
    assert whole > 0.9
    for k in (12, 15, 24, 60):
        assert model.score(wave[-k:]) == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize("missing", ["linear", "mean"])
def test_features_without_any_value_are_named(missing):
    frame = KNOWN.assign(rain=np.nan)
    with pytest.raises(ValueError, match="a value of each feature, got none of the column 'rain'"):
        Forecaster(missing=missing).fit(frame)
    with pytest.raises(ValueError, match="a value of each feature, got none of column 0"):
        Forecaster(missing=missing).fit(np.full(60, np.nan))
