"""The default network and schedule of SequenceClassifier and SequenceRegressor."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from samples import still
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

import rnnfast as rf
from rnnfast import GRU, LSTM, SGD, Add, Callback, ExponentialLR, MiniRocket
from rnnfast.estimators import SequenceClassifier, SequenceLabeler, SequenceRegressor, architecture

QUICK = {"max_iter": 3, "random_state": 0}


def waves(n=40, seed=0, ragged=True):
    """Noisy sines, slow or fast, of 20 to 40 steps, and which they are."""
    rng = np.random.default_rng(seed)
    fast = np.arange(n) % 2
    steps = rng.integers(20, 41, n) if ragged else np.full(n, 30)
    X = [
        np.sin((0.4 + 0.25 * f) * np.arange(t) + rng.uniform(0, 7)) + 0.3 * rng.standard_normal(t)
        for f, t in zip(fast, steps, strict=True)
    ]
    return (X if ragged else np.array(X)), np.array(["slow", "fast"])[fast]


def test_without_settings():
    model = SequenceClassifier(random_state=0).fit(*waves())
    added = model.model_[0]
    assert isinstance(added, Add)
    assert isinstance(added.layers[0][0], MiniRocket)
    cell = next(layer for layer in added.layers[1] if isinstance(layer, GRU))
    assert (cell.hidden_size, cell.bidirectional) == (32, True)
    assert sum(added.weights) == pytest.approx(1.0)
    assert added.weights[0] in architecture.SHARES
    assert model.n_updates_ == len(model.history_.batch_losses) == 300
    assert model.score(*waves(seed=1)) > 0.9


@pytest.mark.parametrize(
    "given",
    [
        {"cell": "lstm"},
        {"hidden_size": 8},
        {"num_layers": 1},
        {"bidirectional": False},
        {"pooling": "last"},
    ],
    ids=str,
)
def test_a_network_that_is_asked_for(given):
    X, y = waves(16)
    model = SequenceClassifier(**QUICK, **given).fit(X, y)
    assert isinstance(model.model_[0], LSTM)
    assert model.model_[0].hidden_size == given.get("hidden_size", 32)


def test_training_settings_leave_the_default_network():
    X, y = waves(20)
    options = {"dropout": 0.0, "optimizer": "sgd", "learning_rate_init": 0.1, "batch_size": 4}
    model = SequenceClassifier(**QUICK, **options).fit(X, y)
    assert isinstance(model.model_[0], Add)
    assert not any("Dropout" in type(x).__name__ for x in model.model_[0].layers[1])
    assert isinstance(model.optimizer_, SGD)
    assert model.optimizer_.lr == 0.1  # again, after the schedule
    assert model.n_updates_ == 15


@pytest.mark.parametrize(
    ("samples", "size", "count"),
    [(4, 16, 40), (30, 16, 300), (500, 16, 640), (3000, 46, 1000), (10**6, 64, 1000)],
)
def test_sizes(samples, size, count):
    assert architecture.batch_size(samples) == size
    assert architecture.updates(samples, -(-samples // size)) == count


@pytest.mark.parametrize("steps", [1, 5, 64, 65, 400, 513, 1500, 20000])
def test_recurrent_layer_reads_few_steps(steps):
    model = SequenceClassifier(random_state=0)
    model._automatic, model._width, model._n_outputs = True, 2, 3
    model._reset()
    layers = architecture.recurrent_reader(model, steps)
    at = next(i for i, layer in enumerate(layers) if isinstance(layer, GRU))
    left = rf.Sequential(*layers[:at]).out_lengths(np.array([steps, 1]))
    assert left.tolist() == [left[0], 1]
    assert min(steps, 32) <= left[0] <= 64


def test_padding_and_batches_change_nothing():
    X, y = waves()
    model = SequenceClassifier(**QUICK).fit(X, y)
    alone = np.concatenate([model.predict_proba([x]) for x in X])
    np.testing.assert_allclose(model.predict_proba(X), alone, rtol=2e-4, atol=1e-6)
    padded = np.full((len(X), 50), 1e9)
    for row, x in zip(padded, X, strict=True):
        row[: len(x)] = x
    lengths = [len(x) for x in X]
    again = SequenceClassifier(**QUICK).fit(padded, y, lengths=lengths)
    got = again.predict_proba(padded, lengths=lengths)
    assert got.shape == (40, 2)
    assert np.isfinite(got).all()


def test_same_seed_same_network_and_copies():
    X, y = waves(20)
    model = SequenceClassifier(**QUICK).fit(X, y)
    want = model.predict_proba(X)
    np.testing.assert_array_equal(clone(model).fit(X, y).predict_proba(X), want)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict_proba(X), want)
    assert (
        np.abs(
            SequenceClassifier(max_iter=3, random_state=1).fit(X, y).predict_proba(X) - want
        ).max()
        > 0
    )


def test_saved(tmp_path):
    X, y = waves(20, ragged=False)
    model = SequenceClassifier(**QUICK).fit(X, y)
    rf.save(model.model_, tmp_path / "model.npz")
    x = X[..., np.newaxis].astype(np.float32)
    np.testing.assert_array_equal(
        rf.load(tmp_path / "model.npz").predict(x), model.model_.predict(x)
    )


def test_partial_fit_trains_the_recurrent_reader_alone():
    X, y = waves(20)
    model = SequenceClassifier(**QUICK).fit(X, y)
    added = model.model_[0]
    before, weights = model.model_.state_dict(), added.weights
    model.partial_fit(X, y)
    assert model.n_iter_ == 4
    after = model.model_.state_dict()
    changed = {name for name in before if (before[name] != after[name]).any()}
    assert changed
    assert all(name.startswith("0.1.") for name in changed)
    assert added.weights == weights


def test_a_stream_has_recurrent_layers():
    X, y = waves(20)
    model = SequenceClassifier(random_state=0).partial_fit(X, y)
    assert isinstance(model.model_[0], LSTM)


def test_warm_fits_keep_the_shares():
    X, y = waves(20)
    model = SequenceClassifier(warm_start=True, **QUICK).fit(X, y)
    weights = model.model_[0].weights
    model.set_params(dropout=0.5).fit(X, y)
    assert model.model_[0].weights == weights
    assert model.n_iter_ == 6
    with pytest.raises(ValueError, match="expected hidden_size None"):
        model.set_params(hidden_size=8).fit(X, y)


def test_warm_fits_solve_the_readout_of_their_own_data():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 10, 1))
    y, means = (x.mean((1, 2)) > 0).astype(int), x.mean((1, 2))
    classifier = SequenceClassifier(warm_start=True, **QUICK).fit(x, y)
    assert classifier.fit(x, 1 - y).score(x, 1 - y) > 0.95
    regressor = SequenceRegressor(warm_start=True, **QUICK).fit(x, means)
    assert regressor.fit(x, means + 5.0).score(x, means + 5.0) > 0.95


@pytest.mark.parametrize("others", [slice(5), slice(None)], ids=["few", "of other lengths"])
def test_warm_fits_keep_a_readout_that_their_data_cannot_solve(others):
    x = np.random.default_rng(0).standard_normal((40, 10, 1))
    model = SequenceRegressor(warm_start=True, **QUICK).fit(x, x.mean((1, 2)))
    before = model.model_.state_dict()
    model.fit(x[others, : 7 if others.stop is None else 10], x.mean((1, 2))[others])
    after = model.model_.state_dict()
    changed = {name for name in before if (before[name] != after[name]).any()}
    assert changed and all(name.startswith("0.1.") for name in changed)


def test_a_warm_fit_that_raises_leaves_the_readout():
    x = np.random.default_rng(0).standard_normal((40, 10, 1))
    model = SequenceRegressor(warm_start=True, **QUICK).fit(x, x.mean((1, 2)))
    before = model.predict(x)

    class Stop(Callback):
        def on_epoch_begin(self, epoch):
            raise RuntimeError("stop")

    model.set_params(callbacks=[Stop()])
    with pytest.raises(RuntimeError, match="stop"):
        model.fit(x, np.sin(9.0 * x[:, 3, 0]))
    np.testing.assert_array_equal(model.predict(x), before)


def test_partial_fits_keep_the_units_of_the_readout():
    x = np.random.default_rng(0).standard_normal((60, 10, 1))
    model = SequenceRegressor(optimizer=still, **QUICK)
    model.fit(x, x.mean((1, 2)))
    before = model.predict(x)
    model.partial_fit(100.0 * x[:2], [500.0, -500.0])
    assert np.abs(model.predict(x) - before).max() < 0.05


def test_shares_follow_what_each_reader_is_worth():
    X, y = waves(60)
    idle = SequenceClassifier(optimizer=still, **QUICK)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the readout has learnt, whatever the network has not
        idle.fit(X, y)
    assert idle.model_[0].weights[0] == max(architecture.SHARES)
    assert idle.score(*waves(seed=1)) > 0.9
    assert architecture.likely_share(0.0, 1.0) == 0.75
    assert architecture.likely_share(0.5, 1.0) == 0.375
    assert architecture.likely_share(1.2, 1.0) == 0.0
    assert architecture.likely_share(0.0, 0.0) == 0.0


def test_a_share_that_is_not_surely_worse_comes_first():
    best = np.random.default_rng(0).uniform(0.0, 1.0, 40)
    surely, perhaps = best + 0.3, best + np.where(np.arange(40) % 2, 0.5, -0.45)
    first = architecture.first_of_the_best
    assert first(np.array([surely, best]), None) == 1
    assert first(np.array([perhaps, best]), None) == 0
    assert first(np.array([best, best]), None) == 0
    odd = (np.arange(40) % 2).astype(float)
    assert first(np.array([perhaps, best]), odd) == 1
    assert first(np.array([perhaps, best]), 1.0 - odd) == 0


def test_numbers_that_the_exact_reader_tells_are_hardly_changed():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 12, 1))
    model = SequenceRegressor(max_iter=2, random_state=0).fit(x, x.sum((1, 2)))
    assert model.model_[0].weights[0] == architecture.ALMOST
    weighted = SequenceRegressor(max_iter=2, random_state=0, loss="huber")
    weighted.fit(x, x.sum((1, 2)), rng.uniform(0.5, 2.0, 60))
    assert weighted.model_[0].weights[0] == architecture.ALMOST


def test_samples_of_long_series_are_read_a_few_at_a_time():
    x = np.random.default_rng(0).standard_normal((60, 1500))
    largest = []

    class Watched(SequenceClassifier):
        def _prepared(self, x):
            largest.append(len(x))
            return super()._prepared(x)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        Watched(max_iter=1, batch_size=8, random_state=0).fit(x, np.arange(60) % 2)
    assert max(largest) <= 2**15 // 1500


def test_nothing_to_learn_is_said():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 10)), np.arange(60) % 2
    options = {"optimizer": still}
    with pytest.warns(
        ConvergenceWarning, match="no better than the .* of the classes' frequencies"
    ):
        SequenceClassifier(**QUICK, **options).fit(X, y)


def test_own_schedule_has_its_way():
    X, y = waves(20)
    options = {"callbacks": [lambda adam: ExponentialLR(adam, 0.5)], "learning_rate_init": 0.01}
    model = SequenceClassifier(**QUICK, **options).fit(X, y)
    assert model.history_["lr"] == [0.01, 0.005, 0.0025]


def test_cosine():
    model = rf.Linear(1, 1)
    adam = rf.Adam(model, lr=0.1)
    cosine, rates = architecture.Cosine(20), []
    cosine.on_train_begin(model, adam)
    for batch in range(20):
        rates.append(adam.lr)
        cosine.on_batch_end(batch, {})
    cosine.on_train_end(None)
    assert adam.lr == 0.1
    assert rates[:2] == pytest.approx([0.1 / 3, 0.2 / 3])
    assert rates[2] == pytest.approx(0.1)
    assert (np.diff(rates[2:]) < 0).all()
    assert rates[11] == pytest.approx(0.05)
    assert 0 < rates[-1] < 0.001


def test_weights_leave_samples_out():
    X, y = waves(40)
    wrong = y.copy()
    wrong[:20] = np.where(y[:20] == "slow", "fast", "slow")
    weight = np.repeat([0.0, 1.0], 20)
    model = SequenceClassifier(max_iter=20, random_state=0).fit(X, wrong, weight)
    assert model.score(*waves(seed=1)) > 0.9


def test_several_labels_and_outputs():
    X, y = waves(60)
    high = np.array([x.mean() for x in X]) > 0
    both = np.stack([y == "slow", high], axis=1).astype(int)
    labels = SequenceClassifier(max_iter=20, random_state=0).fit(X, both)
    assert labels.predict_proba(X).shape == (60, 2)
    assert (labels.predict(X) == both).mean() > 0.9
    outputs = np.stack([y, np.where(high, "up", "down")], axis=1)
    two = SequenceClassifier(max_iter=20, random_state=0).fit(X, outputs)
    assert (two.predict(X) == outputs).mean() > 0.9


def test_regression():
    rng = np.random.default_rng(0)
    speed = rng.uniform(0.2, 1.0, 120)
    X = np.sin(speed[:, None] * np.arange(50) + rng.uniform(0, 7, (120, 1)))
    model = SequenceRegressor(random_state=0).fit(X[:80], speed[:80])
    assert isinstance(model.model_[0], Add)
    assert model.score(X[80:], speed[80:]) > 0.9


def test_targets_for_each_step_and_symbols_have_recurrent_layers():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((16, 5))
    steps = SequenceRegressor(**QUICK).fit(X, X.cumsum(axis=1))
    assert isinstance(steps.model_[0], LSTM)
    labels = SequenceLabeler(**QUICK).fit(X, (X > 0).astype(int))
    assert isinstance(labels.model_[0], GRU) and labels.model_[0].bidirectional
    past = SequenceLabeler(bidirectional=False, cell="lstm", **QUICK).fit(X, (X > 0).astype(int))
    assert isinstance(past.model_[0], LSTM) and not past.model_[0].bidirectional
    ids = SequenceClassifier(vocabulary_size=4, **QUICK).fit(
        rng.integers(4, size=(16, 5)), [0, 1] * 8
    )
    assert isinstance(ids.model_[1], LSTM)


@pytest.mark.parametrize(("samples", "first"), [(1, LSTM), (11, LSTM), (12, Add)])
def test_few_samples(samples, first):
    model = SequenceClassifier(**QUICK).fit(*waves(samples))
    assert isinstance(model.model_[0], first)


def test_interrupted_fits_keep_what_was_learnt():
    class Stop(rf.Callback):
        def on_epoch_end(self, epoch, logs):
            raise KeyboardInterrupt

    X, y = waves(40)
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        model = SequenceClassifier(callbacks=[Stop()], random_state=0).fit(X, y)
    assert 0.0 < model.model_[0].weights[0] <= 0.75
    assert model.score(*waves(seed=1)) > 0.8


@pytest.mark.parametrize("place", ["first", "mean"])
def test_what_stands_at_a_place_of_the_series_is_found(place):
    x = np.random.default_rng(0).standard_normal((400, 16, 1))
    y = (x[:, 0, 0] if place == "first" else x.mean((1, 2))) > 0
    model = SequenceClassifier(max_iter=2, random_state=0).fit(x[:150], y[:150])
    assert model.score(x[150:], y[150:]) > 0.85
    # of any length, the last steps as those of fit
    np.testing.assert_allclose(
        model.predict_proba(list(x[:5])), model.predict_proba(x[:5]), rtol=1e-5
    )
    model.predict([x[0, :5], np.concatenate([x[1], x[2]])])


def test_the_linear_reader_is_what_was_solved():
    x = np.random.default_rng(0).standard_normal((200, 10, 2))
    y = x[:, :, 0].sum(1)
    model = SequenceRegressor(max_iter=2, random_state=0).fit(x[:80], y[:80])
    assert model.score(x[80:], y[80:]) > 0.98
    exact = model.model_[0].layers[0]
    assert exact.weights[1] == 1.0
    conv = exact.layers[1].layers[0].params["weight"][0]
    assert np.abs(conv[0]).min() > 5 * np.abs(conv[1]).max()


@pytest.mark.parametrize("options", [{}, {"early_stopping": True, "validation_fraction": 0.3}])
def test_a_network_that_is_ruined_is_told_of_and_left_out(options):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((64, 20, 1)), np.arange(64) % 2
    x[y == 1] += np.sin(np.arange(20))[:, np.newaxis]
    model = SequenceClassifier(learning_rate_init=1e3, max_iter=4, random_state=0, **options)
    with pytest.warns(ConvergenceWarning, match="no better than the 0.6"):
        model.fit(x, y)
    assert model.score(x, y) > 0.85 and model.predict_proba(x).max() < 1.0
