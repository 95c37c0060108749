"""Forecaster with nothing but a horizon: what it chooses, and what is never silently wrong."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from samples import peak_memory
from sklearn.model_selection import GridSearchCV, KFold, TimeSeriesSplit, cross_val_score

from rnnfast.estimators import Forecaster, LinearForecaster, NaiveForecaster

FAST = {"max_iter": 3, "random_state": 0}


def growing(n=144, seed=0):
    """A season of 12 months that grows with its level, as airline passengers do."""
    t = np.arange(n)
    noise = np.random.default_rng(seed).normal(0, 5, n)
    return (100 + 2.5 * t) * (1 + 0.2 * np.sin(t * 2 * np.pi / 12)) + noise


def seasonal(n=200, seed=0):
    t = np.arange(n)
    noise = np.random.default_rng(seed).normal(0, 0.3, n)
    return 5 * np.sin(t * 2 * np.pi / 12) + 0.1 * t + noise


def mae(a, b):
    return float(np.mean(np.abs(np.asarray(a) - np.asarray(b))))


# ---- good without settings -----------------------------------------------------------------------


def test_multiplied_seasons_on_a_trend():
    series = growing()
    train, test = series[:-12], series[-12:]
    model = Forecaster(horizon=12, random_state=0).fit(train)
    assert (model.season_, model.window_) == (12, 24)
    simple = [
        NaiveForecaster(horizon=12, season=12).fit(train).predict(),
        LinearForecaster(horizon=12, window=24).fit(train).predict(),
    ]
    assert mae(model.predict(), test) < min(mae(f, test) for f in simple)
    assert np.mean(np.abs(model.predict() - test) / test) < 0.02


def test_a_random_walk_is_its_last_value():
    walk = 100 * np.exp(np.cumsum(np.random.default_rng(3).normal(0, 0.01, 600)))
    model = Forecaster(**FAST).fit(walk[:400])
    contexts = np.stack([walk[o - 120 : o] for o in range(400, 600)])
    assert mae(model.predict(contexts)[:, 0], walk[400:]) < 1.05 * mae(contexts[:, -1], walk[400:])


def test_series_of_all_sizes_count_alike():
    rng = np.random.default_rng(0)
    t, sizes = np.arange(132), 10.0 ** np.linspace(0, 5, 12)
    shape = 1.5 + np.sin(t * 2 * np.pi / 12 + rng.uniform(0, 6, (12, 1)))
    series = sizes[:, np.newaxis] * (shape + 0.1 * rng.standard_normal((12, 132)))
    train, test = series[:, :120], series[:, 120:]
    model = Forecaster(horizon=12, max_iter=2, random_state=0).fit(train)
    error = np.abs(model.predict() - test).mean(axis=1) / sizes
    naive = np.abs(train[:, -12:] - test).mean(axis=1) / sizes
    assert error[:6].mean() < naive[:6].mean() and error[6:].mean() < naive[6:].mean()
    lower, upper = model.predict_interval()
    width = (upper - lower).mean(axis=1) / sizes
    assert width.max() < 3 * width.min()
    inside = ((lower <= test) & (test <= upper)).mean(axis=1)
    assert inside[:6].mean() > 0.75 and inside[6:].mean() > 0.75


@pytest.mark.parametrize("n", [3, 4, 5, 8, 10, 14, 20, 40])
def test_short_series(n):
    series = seasonal(60)[:n]
    forecast = Forecaster(random_state=0).fit(series).predict()
    assert np.abs(forecast - series[-1]).max() < 12
    assert Forecaster(horizon=n - 1, **FAST).fit(series).predict().shape == (n - 1,)


def test_constant_series():
    model = Forecaster(horizon=3, **FAST).fit(np.full(50, 7.0))
    np.testing.assert_allclose(model.predict(), 7.0)
    np.testing.assert_allclose(model.predict_interval()[0], 7.0)


def test_windows_without_change_do_not_rule():
    # half a day is dark; changes are vast in units of windows in which nothing happens
    t = np.arange(180)
    light = np.maximum(np.sin(2 * np.pi * t / 48), 0) * np.random.default_rng(0).uniform(
        0.5, 1, 180
    )
    for end in (110, 120, 130):
        forecast = Forecaster(horizon=24, **FAST).fit(light[:end]).predict()
        assert np.abs(forecast).max() < 3


def test_the_network_begins_with_the_linear_path():
    options = {"max_iter": 1, "learning_rate_init": 1e-9, "random_state": 0}
    table = Forecaster(horizon=4, **options).fit(growing()).backtest_
    assert table["network"]["MAE"] == pytest.approx(table["linear"]["MAE"], rel=1e-3)


# ---- the backtest --------------------------------------------------------------------------------


def test_backtest_of_a_fit():
    model = Forecaster(horizon=6, **FAST).fit(growing())
    table = model.backtest_
    assert list(table) == [
        "forecast",
        "network",
        "linear",
        "smoothing",
        "last value",
        "last season",
    ]
    weights = {name: table[name]["weight"] for name in model.weights_}
    assert weights == model.weights_ and sum(weights.values()) == pytest.approx(1.0)
    assert table["last season"]["MASE"] == pytest.approx(1.0, abs=0.4)
    assert "weight" in str(table)
    best = Forecaster(horizon=6, select="best", **FAST).fit(growing())
    assert sorted(best.weights_.values())[-2:] == [0.0, 1.0]
    alone = Forecaster(horizon=6, select="network", **FAST).fit(growing())
    assert alone.backtest_ is None and alone.weights_ == {"network": 1.0}


def test_backtest_is_out_of_sample():
    series = growing()
    model = Forecaster(horizon=6, **FAST)
    table = model.backtest(series, origins=3, step=4)
    assert table.origins == 3 and not hasattr(model, "model_")
    early = Forecaster(horizon=6, **FAST).fit(series[:-14])
    errors = [mae(early.predict(series[:o]), series[o : o + 6]) for o in (130, 134, 138)]
    assert table["forecast"]["MAE"] == pytest.approx(np.mean(errors), rel=1e-6)
    with pytest.raises(ValueError, match="origins as an integer >= 1, got 0"):
        model.backtest(series, origins=0)
    with pytest.raises(ValueError, match=r"origins from 1 to 2 .* 20 steps .*step=6, got 500"):
        model.backtest(series[:20], origins=500)
    assert model.backtest(series[:20], origins=2).origins == 2
    with pytest.raises(ValueError, match=r"at least 14 steps for a backtest, got 13 \(X\)"):
        model.backtest(series[:13], origins=1)
    windowed = Forecaster(horizon=6, window=12, **FAST)
    with pytest.raises(ValueError, match=r"origins from 1 to 9 .* 40 steps .*step=2, got 10"):
        windowed.backtest(series[:40], origins=10, step=2)
    assert windowed.backtest(series[:40], origins=9, step=2).origins == 9


def test_coverage_of_a_few_origins_is_that_of_the_intervals():
    series = growing()
    model = Forecaster(horizon=6, **FAST)
    table = model.backtest(series, origins=3, step=4)
    model.fit(series[:-14])
    inside = []
    for o in (130, 134, 138):
        lower, upper = model.predict_interval(series[:o])
        inside.append((lower <= series[o : o + 6]) & (series[o : o + 6] <= upper))
    assert table["forecast"]["coverage"] == pytest.approx(np.mean(inside))
    assert np.isnan(table["linear"]["coverage"])
    alone = Forecaster(horizon=6, select="network", **FAST)  # which has no errors to go by
    assert np.isnan(alone.backtest(series, origins=3)["forecast"]["coverage"])


def test_intervals_without_held_out_data():
    series = seasonal(400)
    model = Forecaster(horizon=3, **FAST).fit(series[:300])
    inside = []
    for o in range(300, 397, 3):
        lower, upper = model.predict_interval(series[:o], level=0.8)
        inside.append((lower <= series[o : o + 3]) & (series[o : o + 3] <= upper))
    assert 0.65 < np.mean(inside) < 0.95


# ---- what predict and score take -----------------------------------------------------------------


def test_predict_continues_the_series_of_fit():
    series = seasonal()
    model = Forecaster(horizon=4, **FAST).fit(series)
    np.testing.assert_allclose(model.predict(), model.predict(series))
    longer = model.predict(horizon=30)
    np.testing.assert_allclose(longer[:4], model.predict())
    assert mae(longer, seasonal(230)[200:]) < 1.0
    many = Forecaster(horizon=2, **FAST).fit(np.stack([series, 2 * series]))
    assert many.predict().shape == (2, 2)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(horizon=9), model.predict(horizon=9))


@pytest.mark.parametrize("strategy", ["direct", "iterated", "seq2seq"])
def test_more_steps_than_the_horizon(strategy):
    model = Forecaster(horizon=2, strategy=strategy, **FAST).fit(seasonal())
    assert mae(model.predict(horizon=12), seasonal(212)[200:]) < 1.5
    with pytest.raises(ValueError, match="horizon as an integer >= 1, got 0"):
        model.predict(horizon=0)
    with pytest.raises(ValueError, match="at most 2 for intervals"):
        model.predict_interval(horizon=3)


def test_more_steps_than_the_horizon_need_all_features():
    two = np.stack([seasonal(), seasonal(seed=1)], axis=1)[np.newaxis]
    model = Forecaster(horizon=2, targets=[-1], **FAST).fit(two)
    assert model.predict().shape == (1, 2, 1)
    with pytest.raises(ValueError, match="all features as targets, which are fed back, got 3"):
        model.predict(horizon=3)


@pytest.mark.parametrize("steps", [3, [1, 2, 3], range(1, 4), np.arange(1, 4)])
def test_a_forecasting_horizon_is_no_series(steps):
    model = Forecaster(horizon=4, **FAST).fit(seasonal())
    with pytest.raises(TypeError, match=r"predict\(horizon=3\)"):
        model.predict(steps)


@pytest.mark.parametrize(
    "model",
    [
        Forecaster(horizon=4, **FAST),
        Forecaster(horizon=4, window=20, strategy="iterated", **FAST),
        LinearForecaster(horizon=4),
        NaiveForecaster(horizon=4, season=12),
    ],
    ids=repr,
)
def test_folds_of_a_series(model):
    series = seasonal(150)
    for cv in (
        TimeSeriesSplit(3),
        TimeSeriesSplit(3, test_size=6),
        TimeSeriesSplit(2, test_size=3),
    ):
        scores = cross_val_score(model, series, cv=cv, error_score="raise")
        assert np.isfinite(scores).all()
    scores = cross_val_score(model, series, cv=TimeSeriesSplit(3), error_score="raise")
    assert scores.min() > 0.7


def test_search_over_folds():
    grid = GridSearchCV(Forecaster(horizon=4, **FAST), {"window": [6, 24]}, cv=TimeSeriesSplit(2))
    assert np.isfinite(grid.fit(seasonal(150)).cv_results_["mean_test_score"]).all()
    table = np.stack([seasonal(150), seasonal(150, seed=1)], axis=1)
    one = Forecaster(horizon=4, panel="one", **FAST)
    assert cross_val_score(one, table, cv=TimeSeriesSplit(2), error_score="raise").min() > 0.7
    series = [seasonal(n) for n in (40, 50, 60, 45)]
    scores = cross_val_score(Forecaster(horizon=4, window=8, **FAST), series, cv=KFold(2))
    assert np.isfinite(scores).all()


def test_all_of_a_fold_is_scored():
    series = seasonal(150)
    model = Forecaster(horizon=3, **FAST).fit(series[:100])
    origins = range(100, 148)
    truth = np.concatenate([series[o : o + 3] for o in origins])
    forecast = np.concatenate([model.predict(series[:o]) for o in origins])
    left = np.sum((truth - forecast) ** 2) / np.sum((truth - truth.mean()) ** 2)
    assert model.score(series[100:]) == pytest.approx(1 - left, abs=1e-6)
    assert model.score(series) == pytest.approx(1 - left, abs=1e-6)  # what follows that of fit
    assert model.score(series[:100]) != pytest.approx(1 - left, abs=1e-5)  # within it
    short = np.sum((series[100:102] - model.predict()[:2]) ** 2)
    left = short / np.sum((series[100:102] - series[100:102].mean()) ** 2)
    assert model.score(series[100:102]) == pytest.approx(1 - left)
    with pytest.raises(ValueError, match="at least two steps to score, got 1"):
        model.score(series[100:101])


# ---- the second argument -------------------------------------------------------------------------


def test_exogenous_as_second_argument():
    rng = np.random.default_rng(0)
    z = rng.standard_normal(203)
    y = 3 * z[:200] + 0.1 * rng.standard_normal(200)
    model = Forecaster(horizon=3, window=4, **FAST).fit(y, z[:200])
    same = Forecaster(horizon=3, window=4, **FAST).fit(y, exogenous=z[:200])
    forecast = model.predict(exogenous=z[200:])
    np.testing.assert_array_equal(forecast, same.predict(y, exogenous=z))
    np.testing.assert_allclose(forecast, 3 * z[200:], atol=0.5)
    for wrong, message in [
        (z[:7], "exogenous values of the 200 steps of X, got 7"),
        ("all", "y as exogenous values"),
    ]:
        with pytest.raises((TypeError, ValueError), match=message):
            Forecaster(horizon=3, **FAST).fit(y, wrong)
    with pytest.raises(ValueError, match="exogenous values once"):
        Forecaster(horizon=3, **FAST).fit(y, z[:200], exogenous=z[:200])
    with pytest.raises(ValueError, match="exogenous values of the next 3 steps"):
        model.predict()


@pytest.mark.parametrize("make", [Forecaster, LinearForecaster])
def test_windows_and_their_targets(make):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 6, 2))
    y = 2 * X[:, 1, 0] - X[:, 4, 1] + 3  # not what follows the windows
    options = FAST if make is Forecaster else {}
    model = make(**options).fit(X[:150], y[:150])
    assert model.predict(X[150:]).shape == (50,)
    assert model.score(X[150:], y[150:]) > 0.95
    two = np.stack([y, -y], axis=1)
    assert make(horizon=2, **options).fit(X, two).score(X, two) > 0.95
    with pytest.raises(ValueError, match=r"y of shape \(200, 1\), the targets of the 200 windows"):
        make(**options).fit(X, y[:7])
    with pytest.raises(ValueError, match="expected y, the targets of windows X"):
        model.score(X)
    with pytest.raises(ValueError, match="as fit was given windows"):
        model.predict()


# ---- other things --------------------------------------------------------------------------------


def test_static_features():
    rng = np.random.default_rng(0)
    slopes = rng.uniform(-1, 1, 20)
    X = rng.standard_normal((20, 40)) + 5 * slopes[:, np.newaxis]
    model = Forecaster(horizon=2, window=3, **FAST).fit(X, static=slopes)
    assert model.predict().shape == (20, 2)
    assert mae(model.predict(X[:5], static=slopes[:5, np.newaxis]), model.predict()[:5]) < 1e-9
    with pytest.raises(ValueError, match="static of 1 features, as in fit, got 0"):
        model.predict(X[:5])
    with pytest.raises(ValueError, match=r"static of shape \(20, features\)"):
        Forecaster(**FAST).fit(X, static=slopes[:7])
    with pytest.raises(TypeError, match="static of real numbers"):
        Forecaster(**FAST).fit(X, static=np.full(20, "a"))


def test_short_series_among_many():
    series = [seasonal(n) for n in (60, 70, 10, 65)]
    with pytest.raises(ValueError, match=r"at least 18 steps, got 10 \(X\[2\]\)"):
        Forecaster(horizon=6, window=12, **FAST).fit(series)
    model = Forecaster(horizon=6, **FAST).fit(series)  # continued to the front
    assert model.predict(series).shape == (4, 6)
    given = Forecaster(horizon=6, window=12, **FAST).fit(series[:2])
    with pytest.raises(ValueError, match=r"at least 12 steps, got 10 \(X\[1\]\)"):
        given.predict(series[1:3])


@pytest.mark.parametrize("missing", ["mask", "linear", "ffill", "mean"])
def test_missing_values(missing):
    series = seasonal()
    series[50:55] = np.nan
    with pytest.raises(ValueError, match="NaN in step 50"):
        Forecaster(**FAST).fit(series)
    model = Forecaster(horizon=2, missing=missing, **FAST).fit(series)
    assert mae(model.predict(horizon=5), seasonal(205)[200:]) < 1.5


def test_a_masked_end_is_the_last_value_and_not_the_mean_of_all():
    trend = 100 + np.arange(206.0) + np.random.default_rng(0).normal(0, 0.5, 206)
    series = trend[:200].copy()
    series[196:] = np.nan
    far = {
        how: mae(Forecaster(horizon=6, missing=how, **FAST).fit(series).predict(), trend[200:])
        for how in ("mask", "ffill")
    }
    assert far["mask"] < 1.2 * far["ffill"] < 12.0  # the mean of all is 100 below


def test_contexts_of_less_than_two_seasons_are_not_smoothed():
    series = seasonal(240)
    model = Forecaster(horizon=6, **FAST).fit(series[:180])
    assert model.weights_["smoothing"] > 0.2
    far = {
        k: np.mean(
            [mae(model.predict(series[o - k : o]), series[o : o + 6]) for o in range(180, 230, 5)]
        )
        for k in (23, 24)
    }
    assert far[23] < 2.0 * far[24]
    panel = [series[:180], series[:18], series[60:]]
    model = Forecaster(horizon=6, **FAST).fit(panel)
    assert all(np.isfinite(f).all() for f in model.predict(panel))


def test_warm_fits_keep_the_choice():
    series = seasonal()
    model = Forecaster(horizon=4, warm_start=True, **FAST).fit(series[:150])
    weights, path = model.weights_, model._linear
    model.fit(series)
    assert model.n_iter_ == 6 and model.weights_ == weights and model._linear is path
    assert mae(model.predict(), seasonal(204)[200:]) < 1.0
    with pytest.raises(ValueError, match="horizon 4, as in the fit"):
        model.set_params(horizon=5).fit(series)


def test_partial_fit_learns_scales_as_data_come():
    model = Forecaster(horizon=2, window=12, normalize="none", random_state=0)
    for scale in (1.0, 100.0):
        for _ in range(2):
            model.partial_fit(scale * seasonal())
    assert model._levels.inputs.scale > 100 and model.n_iter_ == 4


@pytest.mark.parametrize("normalize", ["scale", "ratio", "level", "none"])
def test_normalize(normalize):
    series = seasonal()
    model = Forecaster(horizon=2, normalize=normalize, select="network", **FAST).fit(series)
    assert model._levels.kind == normalize
    forecast = model.predict()
    assert mae(forecast, seasonal(202)[200:]) < 1.0
    if normalize in ("scale", "level"):  # the level of a window is its own
        np.testing.assert_allclose(model.predict(series + 1000), forecast + 1000, atol=2e-2)
    if normalize in ("scale", "ratio"):
        np.testing.assert_allclose(
            model.predict(1000 * series), 1000 * forecast, rtol=1e-4, atol=1e-2
        )


@pytest.mark.parametrize("strategy", ["direct", "seq2seq"])
def test_windows_cost_no_memory(strategy):
    series = np.cumsum(np.random.default_rng(0).standard_normal(20_000))
    options = {"hidden_size": 2, "max_iter": 1, "linear": False, "window": 300}
    options["select"] = "network"
    model = Forecaster(horizon=2, strategy=strategy, batch_size=512, **options)
    assert peak_memory(lambda: model.fit(series)) < 20_000 * 300 * 4 / 1.5  # all windows in float32


def test_exogenous_windows_cost_no_memory():
    rng = np.random.default_rng(0)
    series, extra = rng.standard_normal(1500), rng.standard_normal((1500, 4))
    options = {"hidden_size": 2, "max_iter": 1, "select": "network"}
    model = Forecaster(horizon=24, window=60, **options)
    all_windows = 1500 * 60 * (1 + 24 * 4) * 4
    assert peak_memory(lambda: model.fit(series, extra)) < all_windows / 1.2


def test_published_frames():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    index = pandas.date_range("2024-01-01", periods=200, freq="h")
    frame = pandas.DataFrame({"load": seasonal(), "wind": seasonal(seed=1)}, index)
    model = Forecaster(horizon=4, targets="load", **FAST).fit(frame)
    forecast = model.predict()
    assert list(forecast.columns) == ["load"] and forecast.index[0] == pandas.Timestamp(
        "2024-01-09 08:00"
    )
    np.testing.assert_allclose(model.predict(frame[["wind", "load"]]), forecast)
    assert pickle.loads(pickle.dumps(model)).predict().equals(forecast)
    lower, upper = model.predict_interval()
    assert (lower["load"] < upper["load"]).all() and lower.index.equals(forecast.index)
    assert model.score(frame[-40:]) < 1  # not after that of fit: from its own steps
    wide = Forecaster(horizon=2, panel="columns", **FAST).fit(frame)
    assert list(wide.predict().columns) == ["load", "wind"] and wide.n_features_in_ == 1
    long = pandas.concat([frame.assign(id=k) for k in "ab"]).reset_index(names="time")
    both = Forecaster(horizon=2, **FAST).fit(long[["id", "time", "load"]]).predict()
    assert list(both["id"]) == ["a", "a", "b", "b"]
    known = pandas.Series(np.ones(2), index[-1:].shift(1).append(index[-1:].shift(2)))
    told = Forecaster(horizon=2, **FAST).fit(frame["load"], frame["wind"])
    assert told.predict(exogenous=known).name == "load"


def rising(n=202):
    t = np.arange(n)
    return 0.5 * t + 10 * np.sin(t * 2 * np.pi / 12)


@pytest.mark.parametrize("how", ["mask", "linear", "ffill", "mean"])
def test_a_missing_end_is_forecast_too(how):
    y = rising()
    for lost in (1, 4, 13):  # more than a horizon, and than a season
        ended = y[:190].copy()
        ended[-lost:] = np.nan
        model = Forecaster(horizon=12, missing=how, random_state=0, max_iter=3).fit(ended)
        assert mae(model.predict(), y[190:]) < 0.3
        lower, upper = model.predict_interval(ended)
        assert mae((lower + upper) / 2, y[190:]) < 0.3


@pytest.mark.parametrize("how", ["mask", "linear", "ffill", "mean"])
def test_smoothing_passes_over_gaps(how):
    y = rising()
    gaps = y[:190].copy()
    gaps[np.random.default_rng(2).random(190) < 0.2] = np.nan
    model = Forecaster(horizon=12, missing=how, random_state=0, max_iter=3).fit(gaps)
    model.weights_ = {"smoothing": 1.0}
    assert model.season_ == 12 and mae(model.predict(), y[190:]) < 2.0


def test_what_is_filled_in_is_no_truth_to_be_scored_by():
    y = np.sin(np.arange(150) * 2 * np.pi / 12)
    model = NaiveForecaster(season=12, horizon=3, missing="mean").fit(y[:96])
    later = y[96:].copy()
    later[-5:] = np.nan
    assert model.score(later) == pytest.approx(1.0)


def test_what_is_filled_in_is_no_truth_of_a_backtest():
    y = 10.0 + np.sin(np.arange(120) * 2 * np.pi / 12)
    gaps = y.copy()
    gaps[113:118] = np.nan
    model = Forecaster(horizon=12, season=12, missing="linear", random_state=0, max_iter=1)
    assert model.backtest(gaps, origins=1)["last season"]["MAE"] < 1e-9
    assert model.backtest(y, origins=1)["last season"]["MAE"] < 1e-9


def test_targets_among_others_end_where_they_are_known():
    y = rising()
    both = np.stack([y, np.cos(y)], axis=1)
    both[186:190, 0] = np.nan
    model = Forecaster(horizon=12, missing="ffill", targets=0, panel="one", random_state=0)
    model.set_params(max_iter=3).fit(both[:190])
    assert mae(model.predict(horizon=8)[0, :, 0], y[190:198]) < 1.0  # within the horizon of fit
    assert model.predict().shape == (1, 12, 1)


@pytest.mark.parametrize("place", [-1, -3, 100, 20])
def test_a_gross_outlier_counts_as_missing(place):
    y = rising()
    spoilt = y[:190].copy()
    spoilt[place] = 1e4
    model = Forecaster(horizon=12, random_state=0, max_iter=3)
    with pytest.warns(UserWarning, match=rf"10000 at step {place % 190} of X .*as missing"):
        model.fit(spoilt)
    with pytest.warns(UserWarning, match="counts as missing"):
        again = model.predict(spoilt)
    assert model.season_ == 12 and mae(again, y[190:]) < 0.5
    clean = Forecaster(horizon=12, random_state=0, max_iter=3).fit(y[:190])
    with pytest.warns(UserWarning, match="counts as missing"):
        assert mae(clean.predict(spoilt), y[190:]) < 0.5
    outside = y.copy()
    outside[195] = 1e4  # is not forecast, and the score says so
    with pytest.warns(UserWarning, match="counts as missing"):
        assert clean.score(outside) < 0.1 < clean.score(y)


@pytest.mark.parametrize("places", [(50, 100), (-3, -2, -1), (20, 40, 60, 90, 110, 130, 150, 170)])
def test_the_same_gross_outlier_counts_as_missing(places):
    y = rising()
    spoilt = y[:190].copy()
    spoilt[list(places)] = -999.0
    model = Forecaster(horizon=12, random_state=0, max_iter=3)
    with pytest.warns(UserWarning, match=rf"-999 at step {places[0] % 190} of X .*as missing"):
        model.fit(spoilt)
    assert model.season_ == 12 and mae(model.predict(), y[190:]) < 0.5


@pytest.mark.parametrize("seed", range(3))
def test_unequal_gross_outliers_count_as_missing(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(60, 201))
    t = np.arange(n + 6)
    y = 100.0 + 5.0 * np.sin(t * 2 * np.pi / 12) + 0.5 * rng.standard_normal(n + 6)
    spoilt = y[:n].copy()
    sizes = [1e4, -3e3, 5e4][: int(rng.integers(2, 4))]
    spoilt[rng.choice(n, len(sizes), replace=False)] = sizes
    model = Forecaster(horizon=6, random_state=0, max_iter=3)
    clean = mae(model.fit(y[:n]).predict(), y[n:])
    with pytest.warns(UserWarning, match=rf"as {len(sizes)} values do: -3000 \(1x\), .*10000"):
        assert mae(model.fit(spoilt).predict(), y[n:]) < 1.5 * clean


def test_a_number_that_stands_for_what_is_missing_is_named():
    y = rising()[:190]
    spoilt = np.where(np.random.default_rng(0).random(190) < 0.2, -999.0, y)
    times = np.sum(spoilt == -999.0)
    model = Forecaster(horizon=12, random_state=0, max_iter=1)
    with pytest.warns(UserWarning, match=f"-999 comes {times} times in X, .*give NaN"):
        model.fit(spoilt)
    told = Forecaster(horizon=12, missing="linear", random_state=0, max_iter=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told.fit(np.where(spoilt == -999.0, np.nan, spoilt))
    assert mae(told.predict(), rising()[190:202]) < 1.0


@pytest.mark.parametrize("part", [0.05, 0.2])
def test_means_in_place_of_gaps_follow_a_trend(part):
    y = rising()
    gaps = y[:190].copy()
    gaps[np.random.default_rng(2).random(190) < part] = np.nan
    model = Forecaster(horizon=12, missing="mean", random_state=0, max_iter=3).fit(gaps)
    assert mae(model.predict(), y[190:]) < 1.0  # 5 with the mean of the whole series


def test_intervals_at_a_missing_end_are_those_of_more_steps():
    walk = np.cumsum(np.random.default_rng(0).standard_normal(300))
    model = Forecaster(horizon=6, missing="ffill", random_state=0, max_iter=2).fit(walk[:200])

    def width(lost):
        series = walk[:260].copy()
        series[len(series) - lost :] = np.nan
        lower, upper = model.predict_interval(series)
        return upper - lower

    np.testing.assert_allclose(width(2)[:4], width(0)[2:])
    np.testing.assert_allclose(width(2)[4:], width(0)[-1] * np.sqrt([7 / 6, 8 / 6]))
    np.testing.assert_allclose(width(18), width(0)[-1] * np.sqrt(np.arange(19, 25) / 6))
    held = []
    for lost in (0, 4):
        for end in range(220, 290, 7):
            series = walk[:end].copy()
            series[end - lost :] = np.nan
            lower, upper = model.predict_interval(series)
            truth = walk[end : end + 6]
            held.append((lower <= truth) & (truth <= upper))
    assert np.mean(held[10:]) > np.mean(held[:10]) - 0.1  # 0.24 less before
