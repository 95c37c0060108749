"""SequenceClassifier, and what all estimators of sequences share."""

from __future__ import annotations

import pickle
from functools import partial

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from samples import still, told
from sklearn.exceptions import NotFittedError

from rnnfast import SGD, Callback, Conv1d, Last, Linear, OneCycleLR, Sequential, losses
from rnnfast.estimators import SequenceClassifier, SequenceRegressor

TRAINING = {"max_iter": 15, "learning_rate_init": 0.02, "random_state": 0}
QUICK = {"hidden_size": 8, **TRAINING}


def walks(n=80, seed=0):
    """Sequences of 2 to 9 steps of two features, and which of these has the larger sum."""
    rng = np.random.default_rng(seed)
    X = [rng.standard_normal((steps, 2)) for steps in rng.integers(2, 10, n)]
    return X, np.array(["left" if x[:, 0].sum() > x[:, 1].sum() else "right" for x in X])


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pooling": "mean", "bidirectional": True},
        {"pooling": "max", "num_layers": 2, "dropout": 0.1},
        {"hidden_size": (8, 4)},
    ],
    ids=str,
)
def test_learns(cell, options):
    X, y = walks()
    model = SequenceClassifier(cell=cell, **{**QUICK, **options}).fit(X, y)
    assert model.score(*walks(seed=1)) > 0.8
    assert list(model.classes_) == ["left", "right"]
    assert model.n_features_in_ == 2
    assert model.n_iter_ == len(model.loss_curve_) == 15
    proba = model.predict_proba(X)
    np.testing.assert_allclose(proba.sum(axis=1), 1.0, rtol=1e-12)
    np.testing.assert_array_equal(model.classes_[proba.argmax(axis=1)], model.predict(X))


def test_both_directions_are_read_to_their_ends():
    x = np.random.default_rng(0).standard_normal((120, 12, 1))
    first = x[:, 0, 0] > 0  # where the reverse direction ends
    model = SequenceClassifier(**QUICK, bidirectional=True).fit(x, first)
    assert model.score(x, first) > 0.95


def test_a_plain_rnn_starts_orthogonal():
    X, y = walks(10)
    options = {**QUICK, "optimizer": still, "max_iter": 1, "num_layers": 2}
    layer = SequenceClassifier(cell="rnn", **options).fit(X, y).model_[0]
    for name in ("weight_hh_l0", "weight_hh_l1"):
        square = layer.params[name] @ layer.params[name].T
        np.testing.assert_allclose(square, np.eye(8), atol=1e-6)
    assert np.abs(layer.params["weight_ih_l0"]).max() <= np.sqrt(6 / 10)
    assert not layer.params["bias_ih_l1"].any()


def test_padding_and_batches_change_nothing():
    X, y = walks()
    model = SequenceClassifier(**QUICK).fit(X, y)
    alone = np.concatenate([model.predict_proba([x]) for x in X])
    np.testing.assert_allclose(model.predict_proba(X), alone, rtol=1e-5)
    # an object array, and a (samples, time, features) array, are the same sequences
    boxed = np.empty(len(X), object)
    boxed[:] = X
    np.testing.assert_array_equal(model.predict_proba(boxed), model.predict_proba(X))
    same = [x[:2] for x in X]
    np.testing.assert_array_equal(model.predict_proba(np.stack(same)), model.predict_proba(same))


def test_one_feature_three_ways():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 5))
    y = X[:, 2] > 0
    models = [SequenceClassifier(**QUICK).fit(x, y) for x in (X, X[..., None], list(X), X.tolist())]
    for model in models:
        np.testing.assert_array_equal(model.predict_proba(X), models[0].predict_proba(X))
    assert [model.n_features_in_ for model in models] == [5, 1, 1, 5]
    models[2].predict(X[:, :3])  # sequences, of any length
    with pytest.raises(ValueError, match="X has 3 features, but SequenceClassifier is expecting 5"):
        models[0].predict(X[:, :3])


def test_random_state_makes_it_deterministic_and_pickles_go_on():
    X, y = walks(40)
    options = {**QUICK, "dropout": 0.3, "early_stopping": True}
    a, b = (SequenceClassifier(**options).fit(X, y) for _ in range(2))
    np.testing.assert_array_equal(a.predict_proba(X), b.predict_proba(X))
    other = SequenceClassifier(**{**options, "random_state": 1}).fit(X, y)
    assert np.abs(other.predict_proba(X) - a.predict_proba(X)).max() > 1e-3
    twin = pickle.loads(pickle.dumps(a))
    np.testing.assert_array_equal(twin.predict_proba(X), a.predict_proba(X))
    for model in (a, twin):
        model.partial_fit(X, y)
    np.testing.assert_array_equal(twin.predict_proba(X), a.predict_proba(X))


def test_partial_fit_and_warm_start():
    X, y = walks()
    model = SequenceClassifier(**QUICK)
    model.partial_fit(X[:1], y[:1], classes=["left", "right", "up"])
    for _ in range(14):
        model.partial_fit(X, y)
    assert model.score(X, y) > 0.8
    assert model.n_iter_ == 15
    assert model.predict_proba(X).shape == (80, 3)
    with pytest.raises(ValueError, match=r"expected y of the classes .*, got \['down'\]"):
        model.partial_fit(X[:1], ["down"])

    cold = SequenceClassifier(**QUICK).fit(X, y)
    assert cold.fit(X, y).n_iter_ == 15
    before = cold.loss_curve_[-1]
    warm = cold.set_params(warm_start=True, max_iter=3).fit(X, y)
    assert warm.n_iter_ == 18
    assert warm.loss_curve_[15] < 2 * before


def test_early_stopping_restores_the_best_weights():
    X, y = walks(60)
    model = SequenceClassifier(
        **{**QUICK, "max_iter": 200, "learning_rate_init": 0.1},
        early_stopping=True,
        validation_fraction=0.3,
        n_iter_no_change=3,
    ).fit(X, y)
    assert model.n_iter_ < 200
    assert len(model.validation_scores_) == model.n_iter_
    assert np.argmin(model.history_["val_loss"]) == model.n_iter_ - 4


def test_belief_at_each_step():
    X, y = walks()
    model = SequenceClassifier(**QUICK).fit(X, y)
    belief = model.predict_proba_steps(X)
    assert [b.shape for b in belief] == [(len(x), 2) for x in X]
    for t in (1, 2):
        now = model.predict_proba([x[:t] for x in X])
        np.testing.assert_allclose([b[t - 1] for b in belief], now, rtol=1e-5)
    # of a network whose steps see the future or each other: the beliefs of its prefixes
    model = SequenceClassifier(**QUICK, bidirectional=True, pooling="mean").fit(X, y)
    x = np.stack([x[:2] for x in X])
    belief = model.predict_proba_steps(x)
    assert belief.shape == (80, 2, 2)
    np.testing.assert_allclose(belief[:, 0], model.predict_proba(x[:, :1]), rtol=1e-5)
    np.testing.assert_allclose(belief[:, 1], model.predict_proba(x), rtol=1e-5)


def test_token_ids():
    rng = np.random.default_rng(0)
    X = [rng.integers(0, 10, n) for n in rng.integers(1, 8, 80)]
    y = np.array([3 in x for x in X])
    model = SequenceClassifier(**QUICK, vocabulary_size=10, embedding_size=6).fit(X, y)
    assert model.score(X, y) > 0.9
    assert model.model_[0].num_embeddings == 10
    ids = [x.tolist() for x in X]
    np.testing.assert_array_equal(model.predict_proba(ids), model.predict_proba(X))
    two = np.array([[1, 3], [2, 5]])
    np.testing.assert_array_equal(model.predict(two), model.predict(list(two)))
    for wrong, error, message in [
        ([[1, 10]], ValueError, "token ids from 0 to 9, got 1 to 10"),
        ([[1.5]], TypeError, r"X\[0\] as token ids \(integers\), got float64"),
        ([[[1, 2]]], ValueError, "a token id for each step, got 2 features"),
        ([], ValueError, "at least one sample, got none"),
        (None, TypeError, "X as sequences, got NoneType"),
    ]:
        with pytest.raises(error, match=message):
            model.predict(wrong)
    with pytest.raises(ValueError, match="vocabulary_size as an integer >= 1 or None, got 0"):
        SequenceClassifier(vocabulary_size=0).fit(X, y)


def small(n_features, n_outputs):
    return Sequential(Last(batch_first=True), Linear(n_features, n_outputs, seed=1))


def sgd(model, lr):
    return SGD(model, lr, momentum=0.9)


def test_network_optimizer_and_callbacks_of_ones_own():
    X, y = walks()
    y = np.array([x[-1, 0] > 0 for x in X])
    schedule = partial(OneCycleLR, max_lr=0.5, total_steps=15 * 3)
    model = SequenceClassifier(**TRAINING, network=small, optimizer=sgd, callbacks=[schedule])
    model.fit(X, y)
    assert model.score(X, y) > 0.9
    assert [type(layer).__name__ for layer in model.model_[0].layers] == ["Last", "Linear"]
    assert model.optimizer_.lr != QUICK["learning_rate_init"]
    assert pickle.loads(pickle.dumps(model)).score(X, y) == model.score(X, y)


def wide(n_features, n_outputs):
    return Sequential(Last(batch_first=True), Linear(n_features, 5))


def time_first(n_features, n_outputs):
    return Sequential(Last(), Linear(n_features, n_outputs))


def every_step(n_features, n_outputs):
    return Linear(n_features, n_outputs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"cell": "esn"},
            "expected cell as one of 'rnn', 'lstm', 'gru', 'mingru', 'minlstm' or None",
        ),
        (
            {"optimizer": "lbfgs"},
            "expected optimizer as one of 'sgd', 'adam', .* or a function or None, got 'lbfgs'",
        ),
        ({"pooling": "min"}, "expected pooling as one of 'last', 'mean', 'max' or None, got 'min'"),
        (
            {"hidden_size": 0},
            "expected hidden_size as an integer >= 1 or a sequence of .* or None, got 0",
        ),
        ({"network": wide}, "with 2 outputs for each sample, without an axis of time"),
        ({"network": every_step}, "with 2 outputs for each sample, without an axis of time"),
        ({"network": time_first}, "a layer, batch first, with 2 outputs"),
        ({"hidden_size": ()}, "a sequence of integers >= 1 or None, got \\(\\)"),
        ({"batch_size": 0}, "expected batch_size as an integer >= 1 or None, got 0"),
    ],
    ids=told,
)
def test_refuses_parameters(options, message):
    X, y = walks(10)
    with pytest.raises(ValueError, match=message):
        SequenceClassifier(**{**TRAINING, **options}).fit(X, y)


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ([np.ones((2, 3)), np.ones((2, 2))], ValueError, r"X\[1\] of 3 features .*, got 2"),
        ([np.ones((2, 2)), np.ones((0, 2))], ValueError, r"X\[1\] as .* at least one step"),
        ([np.ones((2, 2)), [["a", "b"]]], TypeError, "of real numbers, got strings"),
        ([np.ones((2, 2)), np.full((1, 2), np.nan)], ValueError, "NaN in sample 1, step 0"),
        ([np.ones((2, 2, 2)), np.ones((1, 2))], ValueError, r"got shape \(2, 2, 2\)"),
        ([np.ones((2, 3))] * 2, ValueError, "X of 2 features at each step, as in fit, got 3"),
        (np.full((2, 2, 2), np.inf), ValueError, "got inf in sample 0, step 0"),
        (np.ones((2, 2, 2, 2)), ValueError, r"X as \(samples, time, features\)"),
        (np.ones((2, 3, 0)), ValueError, "at least one step and feature"),
        (np.ones((2, 0, 3)), ValueError, "at least one step and feature"),
        ({"a": [1.0]}, TypeError, r"X as \(samples, time, features\) .*, got dict"),
        ("abc", TypeError, r"X as \(samples, time, features\) .*, got str"),
        (None, TypeError, r"X as \(samples, time, features\) .*, got NoneType"),
    ],
    ids=str,
)
def test_refuses_sequences(X, error, message):
    model = SequenceClassifier(**{**QUICK, "max_iter": 1}).fit(*walks(10))
    with pytest.raises(error, match=message):
        model.predict(X)


def test_refuses_what_is_no_communicator():
    with pytest.raises(TypeError, match=r"comm as rnnfast\.mpi\.world\(\) returns it, got int"):
        SequenceClassifier(**QUICK).fit(*walks(10), comm=3)


def test_a_fit_that_fails_changes_nothing():
    X, y = walks(10)
    model = SequenceClassifier(**QUICK).fit(X, y)
    before = model.predict_proba(X)
    for wrong_x, wrong_y, options in [
        ([np.ones((2, 3))] * 2, ["up"], {}),
        ([np.ones((2, 3))] * 2, [0.5, 0.7], {}),
        (np.ones((2, 5)), ["up", "down"], {"batch_size": 0}),
    ]:
        with pytest.raises(ValueError):
            model.set_params(**options).fit(wrong_x, wrong_y)
        np.testing.assert_array_equal(model.predict_proba(X), before)
        assert list(model.classes_) == ["left", "right"]


def test_unfitted():
    for model in (SequenceClassifier(), SequenceRegressor()):
        with pytest.raises(NotFittedError):
            model.predict([[1.0, 2.0]])
    with pytest.raises(NotFittedError):
        SequenceClassifier().predict_proba_steps([[1.0, 2.0]])


def test_inputs_are_not_changed():
    X, y = walks(10)
    kept = [x.copy() for x in X]
    SequenceClassifier(**QUICK).fit(X, y).predict(X)
    for x, before in zip(X, kept, strict=True):
        np.testing.assert_array_equal(x, before)


def test_loss_is_the_cross_entropy_of_its_probabilities():
    X, y = walks(20)
    model = SequenceClassifier(**{**QUICK, "optimizer": still, "max_iter": 1}).fit(X, y)
    codes = np.searchsorted(model.classes_, y)
    want, _ = losses.softmax_cross_entropy(np.log(model.predict_proba(X)), codes)
    assert model.loss_curve_[0] == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_iter": 0}, ValueError, "max_iter as an integer >= 1 or None, got 0"),
        ({"callbacks": 3}, TypeError, "callbacks as a sequence"),
        ({"callbacks": Callback()}, TypeError, "callbacks as a sequence"),
        ({"callbacks": ["a"]}, TypeError, "callbacks as a sequence"),
        ({"network": 3}, TypeError, "network as a function"),
        ({"cell": []}, ValueError, "cell as one of"),
        ({"hidden_size": np.array(4.5)}, TypeError, "hidden_size as an integer >= 1"),
        ({"early_stopping": "yes"}, TypeError, "early_stopping as True or False, got 'yes'"),
        ({"warm_start": 1}, TypeError, "warm_start as True or False, got 1"),
        ({"standardize": None}, TypeError, "standardize as True or False, got None"),
        ({"early_stopping": True, "validation_fraction": 1.0}, ValueError, "between 0 and 1"),
    ],
    ids=told,
)
def test_refuses_wrong_kinds(options, error, message):
    with pytest.raises(error, match=message):
        SequenceClassifier(**{**QUICK, "max_iter": 1, **options}).fit(*walks(10))


def test_hidden_size_as_numpy_has_it():
    X, y = walks(10)
    for size in (np.int64(4), np.array(4), np.array([4])):
        model = SequenceClassifier(**{**QUICK, "hidden_size": size}).fit(X, y)
        assert model.model_[0].hidden_size == 4


def convolution(n_features, n_outputs):
    return Sequential(
        Conv1d(n_features, 4, 3, batch_first=True, seed=0),
        Last(batch_first=True),
        Linear(4, n_outputs, seed=0),
    )


def test_no_belief_before_a_convolution_has_its_steps():
    X = [np.arange(2.0 * n).reshape(n, 2) for n in (3, 4, 5)]
    model = SequenceClassifier(**TRAINING, network=convolution).fit(X, [0, 1, 0])
    for x, belief in zip(X, model.predict_proba_steps(X), strict=True):
        assert np.isnan(belief[:2]).all()
        for t in range(3, len(x) + 1):
            np.testing.assert_allclose(belief[t - 1], model.predict_proba([x[:t]])[0], rtol=1e-5)


def test_short_series_need_a_step_whatever_comes_with_them():
    X, y = walks(20)
    model = SequenceClassifier(network=convolution, max_iter=1)
    with pytest.raises(ValueError, match=r"X\[\d+\] of 2 steps, of which it leaves none"):
        model.fit(X, y)
    model.fit([np.zeros((n, 2)) for n in (3, 4)], [0, 1])
    for batch in ([np.zeros((2, 2))], [np.zeros((2, 2)), np.zeros((5, 2))]):
        with pytest.raises(ValueError, match=r"X\[0\] of 2 steps"):
            model.predict(batch)


def test_belief_of_frames_comes_in_order_of_time():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frames = [
        pandas.DataFrame({"a": v}, pandas.date_range("2020", periods=5))
        for v in np.random.default_rng(0).normal(size=(6, 5))
    ]
    mixed = [frames[0][::-1], *frames[1:]]
    model = SequenceClassifier(max_iter=1, hidden_size=4, random_state=0).fit(mixed, [0, 1] * 3)
    np.testing.assert_array_equal(model.predict_proba(mixed), model.predict_proba(frames))
    with pytest.raises(ValueError, match=r"X\[0\] with its rows"):
        model.predict_proba_steps(mixed)


def test_labels_of_steps_belong_to_a_labeler():
    X = np.random.default_rng(0).normal(size=(12, 5))
    model = SequenceClassifier(max_iter=1, hidden_size=4, random_state=0)
    with pytest.warns(UserWarning, match="column for each of the 5 steps.*SequenceLabeler learns"):
        model.fit(X, (X > 0).astype(int))
    model.fit(X, (X[:, :4] > 0).astype(int))  # several labels, as there are other steps
    with pytest.raises(ValueError, match="lists of labels; SequenceLabeler learns"):
        model.fit([X[0], X[1, :3]], [[0, 1, 1, 0, 1], [0, 0, 1]])
