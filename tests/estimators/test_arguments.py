"""What a forecaster is given beside its series: matched by name and by id, or refused by name."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from rnnfast.estimators import Forecaster, LinearForecaster, SequenceClassifier

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


@pytest.mark.parametrize(
    ("X", "y", "options"),
    [
        (KNOWN, LOAD, {}),
        (KNOWN, LOAD.to_numpy(), {}),
        (KNOWN[["wind"]], LOAD, {}),
        ([KNOWN, KNOWN], [LOAD, LOAD], {}),
        (KNOWN.to_numpy(), LOAD.to_numpy(), {"panel": "one"}),
    ],
    ids=["frame", "array", "one column", "lists", "array of one series"],
)
def test_features_and_a_target_are_no_series_and_what_is_known(X, y, options):
    model = LinearForecaster(window=4, **options)
    with pytest.raises(ValueError, match=r"series that are forecast first.*\(y, X\) forecasts y"):
        model.fit(X, y)
    model.fit(X, exogenous=y)
    with pytest.raises(ValueError, match="series that are forecast first"):
        model.score(X, y)
    assert model.n_features_in_ == np.shape(X)[-1]


def test_forecasts_are_cross_validated_with_the_series_first():
    validation = pytest.importorskip("sklearn.model_selection")
    model, folds = LinearForecaster(horizon=2, window=4), validation.TimeSeriesSplit(3)
    scores = validation.cross_val_score(model, LOAD, KNOWN, cv=folds)
    np.testing.assert_allclose(scores, 1.0, rtol=1e-6)
    with pytest.raises(ValueError, match="series that are forecast first"):
        validation.cross_val_score(model, KNOWN, LOAD, cv=folds)


def test_a_column_that_counts_rows_is_spoken_of():
    years = pandas.DataFrame({"Year": np.arange(1900, 1960), "sales": RNG.standard_normal(60)})
    model = LinearForecaster(horizon=2, window=4)
    with pytest.warns(UserWarning, match=r"'Year' of X counts its rows.*X.set_index\('Year'\)"):
        model.fit(years)
    assert list(model.fit(years.set_index("Year")).predict().index) == [1960, 1961]
    LinearForecaster(horizon=2, window=4, targets="sales").fit(years)
    model.fit(years.assign(Year=years["Year"] // 2))  # counts no rows
    model.fit(years.assign(Year=range(60), sales=range(60)))  # nor is there anything else


IDS = [f"s{i}" for i in range(6)]


@pytest.mark.parametrize("X", [pandas.Series(["ab", "ba"] * 3, IDS), ["ab", "ba"] * 3])
def test_what_names_the_samples_has_one_order(X):
    y = pandas.Series([0, 1] * 3, IDS)
    weight = pandas.Series(np.ones(6), IDS)
    model = SequenceClassifier(max_iter=1, hidden_size=4, random_state=0).fit(X, y, weight)
    first = "X" if isinstance(X, pandas.Series) else "y"
    for call in (model.fit, model.score):
        with pytest.raises(ValueError, match=rf"sample_weight in the order of .*of {first}, .'s0'"):
            call(X, y, weight[::-1])
    if first == "X":
        with pytest.raises(ValueError, match=r"y in the order of .*; y.loc\[X.index\] has that"):
            model.fit(X, y[::-1])


def test_lengths_are_in_the_order_of_the_samples():
    lengths = pandas.Series([3, 4, 5] * 2, IDS)
    y, padded = pandas.Series([0, 1] * 3, IDS), RNG.standard_normal((6, 5))
    model = SequenceClassifier(max_iter=1, hidden_size=4, random_state=0)
    model.fit(padded, y, lengths=lengths)
    for call in (model.fit, model.partial_fit, model.score):
        with pytest.raises(ValueError, match=r"lengths in the order of the samples of y"):
            call(padded, y, lengths=lengths[::-1])
    framed = pandas.DataFrame(padded, IDS, [f"t{k}" for k in range(5)])
    with pytest.raises(ValueError, match=r"lengths in the order .*lengths.loc\[X.index\]"):
        SequenceClassifier(max_iter=1).fit(framed, y, lengths=lengths).predict(
            framed, lengths=lengths[::-1]
        )
