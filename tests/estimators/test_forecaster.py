"""Forecaster and the baselines."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from samples import still, told
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import r2_score

from rnnfast import GRU, Conv1d, Last, Linear, Sequential, datasets
from rnnfast.estimators import Forecaster, LinearForecaster, NaiveForecaster

TRAINING = {"max_iter": 10, "learning_rate_init": 0.02, "random_state": 0}
QUICK = {"cell": "gru", "hidden_size": 12, **TRAINING}
STRATEGIES = ["direct", "iterated", "seq2seq"]
BARE = {"select": "network", "normalize": "none", "linear": False}  # nothing but a network


def waves(n=40, steps=30, seed=0):
    return datasets.sine_waves(n, steps, seed=seed)[..., 0].astype(np.float64)


# ---- baselines ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "naive", "linear"), [(51, 0.020211, 0.00293), (60, 0.256974, 0.01549)]
)
def test_published_baselines(steps, naive, linear):
    # Hands-On Machine Learning, 2nd edition, chapter 15: one step and ten steps ahead
    series, horizon = datasets.sine_waves(10_000, steps, seed=42), steps - 50
    x, truth = series[7000:9000, :50], series[7000:9000, 50:]
    for model, want in [
        (NaiveForecaster(horizon=horizon), naive),
        (LinearForecaster(horizon=horizon), linear),
    ]:
        forecast = model.fit(series[:7000]).predict(x)
        assert forecast.shape == (2000, horizon, 1)
        assert np.mean((forecast - truth) ** 2) == pytest.approx(want, abs=5e-6)


def test_naive_repeats_the_season():
    model = NaiveForecaster(horizon=5, season=3).fit([[0.0, 1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(model.predict([[0.0, 1.0, 2.0, 3.0]]), [[1, 2, 3, 1, 2]])
    with pytest.raises(ValueError, match="at least 3 steps, got 2"):
        model.predict([[1.0, 2.0]])


def test_linear_solves_what_is_linear():
    # x_t = x_{t-1} - 0.9 x_{t-2} + z_t, with z known in advance
    rng = np.random.default_rng(0)
    z = rng.standard_normal(80)
    x = np.zeros(80)
    for t in range(2, 80):
        x[t] = x[t - 1] - 0.9 * x[t - 2] + z[t]
    model = LinearForecaster(horizon=3, window=2).fit(x[:60], exogenous=z[:60])
    np.testing.assert_allclose(model.predict(x[:70], exogenous=z[:73]), x[70:73], atol=1e-9)
    assert model.coef_.shape == (2 * (1 + 3) + 1, 3)
    with pytest.raises(ValueError, match="expected a window, or series of one length"):
        LinearForecaster().fit([x, x[:50]])


# ---- the network -------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_beats_the_naive_forecast(strategy):
    X = waves()
    model = Forecaster(horizon=4, strategy=strategy, **QUICK).fit(X)
    test = waves(60, seed=1)
    assert model.score(test) > NaiveForecaster(horizon=4).fit(X).score(test) + 0.2
    forecast = model.predict(test[:, :-4])
    assert forecast.shape == (60, 4)
    origins = range(model.window_, 27)
    truth = np.concatenate([test[:, t : t + 4].ravel() for t in origins])
    from_all = [model.predict(test[:, :t, None]).ravel() for t in origins]
    assert model.score(test) == pytest.approx(r2_score(truth, np.concatenate(from_all)), abs=1e-3)
    np.testing.assert_array_equal(
        Forecaster(**model.get_params()).fit(X).predict(X), model.predict(X)
    )
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_forms_of_one_series(strategy):
    wave = np.sin(0.4 * np.arange(200))
    model = Forecaster(horizon=3, window=12, strategy=strategy, **QUICK).fit(wave)
    assert model.n_features_in_ == 1
    forecast = model.predict(wave[:150])
    assert forecast.shape == (3,)
    np.testing.assert_allclose(forecast, wave[150:153], atol=0.2)
    np.testing.assert_array_equal(model.predict(wave[None, :150]), forecast[None])
    np.testing.assert_array_equal(model.predict([wave[:150]]), forecast[None])
    np.testing.assert_array_equal(model.predict(wave[None, :150, None]), forecast[None, :, None])
    # only the window counts
    np.testing.assert_array_equal(model.predict(wave[100:150]), forecast)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_series_of_any_lengths(strategy):
    X = [
        x[:n] for x, n in zip(waves(40), np.random.default_rng(0).integers(12, 31, 40), strict=True)
    ]
    for window in (None, 8):
        options = {**QUICK, "max_iter": 3}
        model = Forecaster(horizon=2, window=window, strategy=strategy, **options).fit(X)
        alone = np.concatenate([model.predict([x]) for x in X])
        np.testing.assert_allclose(model.predict(X), alone, rtol=1e-4, atol=1e-6)


def test_targets_and_inputs_known_in_the_past_only():
    # feature 1 tells what feature 0 will do next
    rng = np.random.default_rng(0)
    leader = rng.standard_normal((100, 12, 1))
    X = np.concatenate([np.roll(leader, 1, axis=1), leader], axis=2)
    model = Forecaster(targets=[0], **QUICK).fit(X)
    assert model.predict(X[:, :-1]).shape == (100, 1, 1)
    assert model.score(X) > 0.8
    Forecaster(targets=(0, 1), strategy="iterated", **{**QUICK, "max_iter": 1}).fit(X)
    with pytest.raises(ValueError, match="all features as targets with strategy 'iterated'"):
        Forecaster(targets=[0], strategy="iterated", **QUICK).fit(X)
    with pytest.raises(ValueError, match=r"targets from 0 to 1, got \[2\]"):
        Forecaster(targets=[2], **QUICK).fit(X)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_exogenous_inputs_known_in_the_future(strategy):
    rng = np.random.default_rng(0)
    z = rng.standard_normal((150, 12))
    X = z + 0.01 * rng.standard_normal((150, 12))  # nothing but z tells of the next step
    model = Forecaster(horizon=2, strategy=strategy, **{**QUICK, "max_iter": 40})
    model.fit(X[:100], exogenous=z[:100])
    assert model.score(X[100:], exogenous=z[100:]) > 0.8
    assert model.predict(X[:, :-2], exogenous=z).shape == (150, 2)
    for exogenous, message in [
        (None, "1 features and 1 exogenous ones, as in fit, got 1 and 0"),
        (z[:, :-1], r"exogenous of 12 steps, as X\[0\] has 10 and the 2 after them, got 11"),
        (z[:5], "exogenous of each of 150 series, got those of 5"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.predict(X[:, :-2], exogenous=exogenous)


def test_seq2seq_learns_at_every_step():
    X = waves(40)
    options = {**TRAINING, **BARE, "max_iter": 1, "optimizer": still, "window": 27}
    with pytest.warns(ConvergenceWarning, match="no better"):
        model = Forecaster(horizon=3, strategy="seq2seq", standardize=False, **options).fit(X)
    x = X.astype(np.float32)[..., None]
    prediction = model.model_.predict(x[:, :-3])
    truth = np.stack([x[:, 1 + k : 28 + k, 0] for k in range(3)], axis=2)
    assert model.loss_curve_[0] == pytest.approx(np.mean((prediction - truth) ** 2), rel=1e-5)


def strided(n_features, n_outputs):
    return Sequential(
        Conv1d(n_features, 8, 4, stride=2, batch_first=True, seed=1),
        GRU(8, 8, batch_first=True, seed=2),
        Linear(8, n_outputs, seed=3),
    )


def test_networks_that_shorten_series():
    X = waves(60, 31)  # contexts of 28 steps: outputs after steps 3, 5, ..., 27
    options = {
        **TRAINING,
        **BARE,
        "max_iter": 1,
        "optimizer": still,
        "network": strided,
        "window": 28,
    }
    with pytest.warns(ConvergenceWarning, match="no better"):
        model = Forecaster(horizon=3, strategy="seq2seq", standardize=False, **options).fit(X)
    x = X.astype(np.float32)[..., None]
    prediction = model.model_.predict(x[:, :-3])
    truth = np.stack([x[:, 4 + k : 29 + k : 2, 0] for k in range(3)], axis=2)
    assert prediction.shape == truth.shape == (60, 13, 3)
    assert model.loss_curve_[0] == pytest.approx(np.mean((prediction - truth) ** 2), rel=1e-5)
    np.testing.assert_allclose(model.predict(X[:, :-3]), prediction[:, -1], rtol=1e-6)
    with pytest.raises(ValueError, match="an output at the last step of series"):
        model.set_params(window=27).fit(X)
    options = {**TRAINING, "window": 28, "select": "network", "max_iter": 30}
    trained = Forecaster(horizon=3, strategy="seq2seq", network=strided, **options).fit(X)
    assert trained.score(X) > 0.5


def test_partial_fit_and_early_stopping():
    X = waves()
    model = Forecaster(**QUICK)
    for _ in range(3):
        model.partial_fit(X)
    assert model.n_iter_ == 3 and model.weights_ == {"network": 1.0}
    options = {**QUICK, "max_iter": 300, "learning_rate_init": 0.1, "n_iter_no_change": 3}
    options["select"] = "network"
    for series, window in [(X, None), (np.sin(0.3 * np.arange(300)), 10)]:
        model = Forecaster(early_stopping=True, window=window, **options).fit(series)
        assert model.n_iter_ < 300
        assert np.argmin(model.history_["val_loss"]) == model.n_iter_ - 4


# ---- intervals ---------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_intervals_cover_what_they_say(strategy):
    X = waves(400, 20)
    options = {**QUICK, "max_iter": 3, "calibration_fraction": 0.5}
    model = Forecaster(horizon=3, strategy=strategy, **options).fit(X)
    assert model.residuals_.shape == (200 * (18 - model.window_), 3, 1)
    test = waves(2000, 20, seed=1)
    lower, upper = model.predict_interval(test[:, :-3], level=0.8)
    covered = ((lower <= test[:, -3:]) & (test[:, -3:] <= upper)).mean(axis=0)
    # of 200 held-out series of one window the coverage were Beta(161, 40), a deviation of 0.028
    assert (np.abs(covered - 0.8) < 0.1).all()
    np.testing.assert_allclose((lower + upper) / 2, model.predict(test[:, :-3]))
    wide = model.predict_interval(test[:, :-3], level=0.95)
    assert (wide[1] - wide[0] > upper - lower).all()


def test_intervals_of_one_series():
    rng = np.random.default_rng(0)
    noisy = np.sin(0.3 * np.arange(400)) + 0.1 * rng.standard_normal(400)
    model = Forecaster(horizon=2, window=10, calibration_fraction=0.25, **QUICK).fit(noisy)
    # the windows whose first forecast step is among the last 100
    assert model.residuals_.shape == (99, 2, 1)
    lower, upper = model.predict_interval(noisy)
    assert lower.shape == upper.shape == (2,)
    with pytest.raises(ValueError, match=r"more than 99 windows .* for level 0\.999"):
        model.predict_interval(noisy, level=0.999)
    with pytest.raises(ValueError, match="level between 0 and 1, got 90"):
        model.predict_interval(noisy, level=90)
    plain = Forecaster(window=10, select="network", **{**QUICK, "max_iter": 1}).fit(noisy)
    with pytest.raises(ValueError, match="calibration_fraction > 0 in fit"):
        plain.predict_interval(noisy)


@pytest.mark.parametrize(
    ("options", "series", "message"),
    [
        (
            {"strategy": "recursive"},
            np.ones((3, 9)),
            "strategy as one of 'direct', 'iterated', 'seq2seq'",
        ),
        ({"horizon": 0}, np.ones((3, 9)), "horizon as an integer >= 1, got 0"),
        ({"window": 9}, np.ones((3, 9)), "at least 10 steps, got 9"),
        ({"horizon": 9}, np.ones((3, 9)), "at least 10 steps, got 9"),
        (
            {"calibration_fraction": 1.0},
            np.ones((3, 9)),
            "calibration_fraction as a number from 0 to below 1",
        ),
        ({"calibration_fraction": 0.9}, np.ones((3, 9)), "to leave some of 3 series, got 0.9"),
        ({"network": strided}, np.ones((3, 9)), "1 outputs for each sample, without an axis"),
    ],
    ids=told,
)
def test_refuses(options, series, message):
    with pytest.raises(ValueError, match=message):
        Forecaster(**{**TRAINING, **options}).fit(series)


def plain_last(n_features, n_outputs):
    return Sequential(Last(batch_first=True), Linear(n_features, n_outputs, seed=0))


def test_network_of_ones_own():
    X = waves()
    model = Forecaster(network=plain_last, **TRAINING, **BARE).fit(X)
    naive = NaiveForecaster().fit(X)
    assert model.score(X) == pytest.approx(naive.score(X), abs=0.1)


@pytest.mark.parametrize(
    ("model", "changed"),
    [
        (Forecaster(**{**QUICK, "max_iter": 1}, horizon=4, window=20), {"strategy": "iterated"}),
        (Forecaster(**{**QUICK, "max_iter": 1}, horizon=4, window=20), {"targets": [1]}),
        (LinearForecaster(horizon=4, window=20), {"targets": [1]}),
        (NaiveForecaster(horizon=4, season=3), {"season": 2}),
    ],
    ids=str,
)
def test_changed_parameters_wait_for_the_next_fit(model, changed):
    wave = np.sin(0.3 * np.arange(60))
    two = np.stack([wave, wave**2], 1)[np.newaxis]
    model = clone(model)
    before = model.fit(two).predict(two)
    was, name = model.get_params(), next(iter(changed))
    model.set_params(**changed)
    for call in (model.predict, model.score):
        with pytest.raises(ValueError, match=f"expected {name} .*, as in fit, got"):
            call(two)
    np.testing.assert_array_equal(model.set_params(**{name: was[name]}).predict(two), before)
    model.set_params(horizon=8, **changed)
    assert model.fit(two).predict(two).shape == (1, 8, 1 if "targets" in changed else 2)


@pytest.mark.parametrize(
    "model",
    [
        Forecaster(**{**QUICK, "max_iter": 1}, horizon=4, window=20),
        LinearForecaster(horizon=4, window=20),
        NaiveForecaster(horizon=4, season=3),
    ],
    ids=str,
)
def test_a_changed_horizon_is_what_predict_goes_by(model):
    wave = np.sin(0.3 * np.arange(60)) + 0.1 * np.random.default_rng(0).standard_normal(60)
    model = clone(model)
    whole = model.fit(wave).predict()
    np.testing.assert_array_equal(model.set_params(horizon=3).predict(), whole[:3])
    near = model.score(wave[:50])
    assert near != model.set_params(horizon=4).score(wave[:50])
    model.set_params(horizon=6)
    if isinstance(model, LinearForecaster):
        with pytest.raises(ValueError, match="horizon of at most 4, as in fit, got 6"):
            model.predict()
    else:
        np.testing.assert_allclose(model.predict()[:4], whole)
    if isinstance(model, Forecaster):
        with pytest.raises(ValueError, match="horizon of at most 4 for intervals, got 6"):
            model.predict_interval(level=0.5)
    windows = np.lib.stride_tricks.sliding_window_view(wave, 24)
    model.set_params(horizon=4, **({"season": 1} if isinstance(model, NaiveForecaster) else {}))
    model.fit(windows[:, :20], windows[:, 20:]).set_params(horizon=3)
    with pytest.raises(ValueError, match="expected horizon=4, as targets y were given for it"):
        model.predict(windows[:, :20])


def test_going_on_needs_the_same_horizon():
    model = Forecaster(**{**QUICK, "max_iter": 1}, horizon=4).fit(waves(5))
    with pytest.raises(ValueError, match="horizon 4, as in the fit that this one goes on from"):
        model.set_params(horizon=5).partial_fit(waves(5))


def test_refuses_networks_without_an_output_at_the_last_step():
    def network(n_features, n_outputs):
        return Conv1d(n_features, n_outputs, 4, stride=2, batch_first=True, seed=0)

    model = Forecaster(
        horizon=2, window=19, strategy="seq2seq", network=network, max_iter=1, select="network"
    )
    with pytest.raises(ValueError, match="an output at the last step"):
        model.fit(waves(5))
    model.set_params(window=20).fit(waves(5)).predict(waves(5))


@pytest.mark.parametrize(
    ("targets", "error"), [(0.5, TypeError), ([], ValueError), ([0, 0], ValueError)]
)
def test_refuses_targets(targets, error):
    with pytest.raises(error, match="expected targets"):
        LinearForecaster(targets=targets).fit(waves(5))
