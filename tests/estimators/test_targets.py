"""Targets: several labels, several outputs, weights of classes and samples, each step."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.metrics import recall_score
from sklearn.multioutput import MultiOutputClassifier

from rnnfast import losses
from rnnfast.estimators import SequenceClassifier, SequenceLabeler, SequenceRegressor

RNG = np.random.default_rng(0)
X = RNG.standard_normal((120, 12, 2))
BOTH = np.stack([X[:, :, 0].mean(1) > 0, X[:, :, 1].mean(1) > 0, X.mean((1, 2)) > 0], 1).astype(int)
QUICK = {"max_iter": 25, "learning_rate_init": 0.02, "random_state": 0, "hidden_size": 16}


def test_several_labels():
    model = SequenceClassifier(pooling="mean", **QUICK).fit(X, BOTH)
    predicted = model.predict(X)
    assert (predicted == BOTH).mean() > 0.95
    p = model.predict_proba(X)
    assert p.shape == (120, 3)
    np.testing.assert_array_equal(p > 0.5, predicted == 1)
    assert model.score(X, BOTH) == (predicted == BOTH).all(1).mean()
    assert list(model.classes_) == [0, 1, 2]
    assert MultiOutputClassifier(SequenceClassifier(**{**QUICK, "max_iter": 1})).fit(X, BOTH)


def test_several_outputs():
    names = np.stack(
        [np.where(BOTH[:, 0], "up", "down"), np.array(["a", "b", "c"])[BOTH.sum(1) % 3]], 1
    )
    model = SequenceClassifier(pooling="mean", **QUICK).fit(X, names)
    assert [list(c) for c in model.classes_] == [["down", "up"], ["a", "b", "c"]]
    predicted = model.predict(X)
    assert (predicted == names).mean(0)[0] > 0.95
    first, second = model.predict_proba(X)
    assert first.shape == (120, 2) and second.shape == (120, 3)
    np.testing.assert_allclose(second.sum(1), 1.0)
    with pytest.raises(ValueError, match="y of 2 columns, as in fit, got one axis"):
        model.partial_fit(X, names[:, 0])


def test_lists_of_labels_are_refused_with_what_makes_columns():
    with pytest.raises(ValueError, match="MultiLabelBinarizer makes these"):
        SequenceClassifier().fit(X[:4], [["a"], ["a", "b"]] * 2)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (
            X[:, 0, 0],
            "Unknown label type: continuous.*of classes.*SequenceRegressor learns numbers",
        ),
        (X[..., np.newaxis] > 0, r"y as .*got shape \(120, 12, 2, 1\); SequenceLabeler learns"),
    ],
)
def test_targets_of_other_estimators_are_refused_with_their_names(y, message):
    with pytest.raises(ValueError, match=message):
        SequenceClassifier(max_iter=1).fit(X, y)


def rare(n, seed):
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.08).astype(int)
    x = rng.standard_normal((n, 10, 1))
    x[y == 1, 4:7] += 1.0
    return x, y


def test_class_weight_finds_more_of_a_rare_class():
    x, y = rare(400, 0)
    xt, yt = rare(400, 1)
    plain = SequenceClassifier(**QUICK, pooling="mean").fit(x, y)
    balanced = SequenceClassifier(**QUICK, pooling="mean", class_weight="balanced").fit(x, y)
    assert recall_score(yt, balanced.predict(xt)) > recall_score(yt, plain.predict(xt)) + 0.2
    given = SequenceClassifier(
        **QUICK, pooling="mean", class_weight={0: 400 / 2 / (y == 0).sum(), 1: 400 / 2 / y.sum()}
    ).fit(x, y)
    np.testing.assert_allclose(given.predict_proba(xt), balanced.predict_proba(xt), rtol=1e-5)
    # as sample_weight
    weight = np.where(y, 400 / 2 / y.sum(), 400 / 2 / (y == 0).sum())
    weighted = SequenceClassifier(**QUICK, pooling="mean").fit(x, y, sample_weight=weight)
    np.testing.assert_allclose(weighted.predict_proba(xt), balanced.predict_proba(xt), rtol=1e-5)
    with pytest.raises(ValueError, match=r"class_weight for the classes \[0 1\], got \['x'\]"):
        SequenceClassifier(class_weight={"x": 1}).fit(x, y)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones(3), r"sample_weight of shape \(120,\)"),
        (-np.ones(120), "sample_weight >= 0 and finite, got -1.0"),
        (np.zeros(120), "sample_weight >= 0 and finite, got zeros only"),
        (np.full(120, np.nan), "sample_weight >= 0 and finite, got nan"),
    ],
)
def test_refuses_weights(weight, message):
    for model, y in [(SequenceClassifier(), BOTH[:, 0]), (SequenceRegressor(), X[:, 0, 0])]:
        with pytest.raises(ValueError, match=message):
            model.fit(X, y, sample_weight=weight)


def test_samples_of_weight_zero_teach_nothing():
    y = BOTH[:, 0].copy()
    weight = np.ones(120)
    weight[60:] = 0.0
    models = []
    for wrong in (y, np.r_[y[:60], 1 - y[60:]]):
        models.append(SequenceClassifier(**{**QUICK, "max_iter": 3}).fit(X, wrong, weight))
    np.testing.assert_array_equal(models[0].predict_proba(X), models[1].predict_proba(X))


def test_samples_of_weight_zero_do_not_set_scales():
    target = X[:, :, 0].mean(1)
    weight = np.ones(120)
    weight[60:] = 0.0
    x, wrong = X.copy(), target.copy()
    x[60:], wrong[60:] = 1e6, 1e9
    for options in ({}, {"hidden_size": 8}):
        quick = {**options, "max_iter": 3, "random_state": 0}
        model = SequenceRegressor(**quick).fit(x, wrong, weight)
        alone = SequenceRegressor(**quick).fit(X, target, weight)
        np.testing.assert_allclose(model._y_scaler.scale, target[:60].std(), rtol=1e-6)
        np.testing.assert_array_equal(model.predict(X[:60]), alone.predict(X[:60]))


def test_focal_loss_and_a_loss_of_ones_own():
    y = BOTH[:, 0]

    def smoothed(scores, target, *args, **options):
        return losses.softmax_cross_entropy(scores, target, *args, label_smoothing=0.2, **options)

    for loss in ("focal", smoothed):
        assert SequenceClassifier(**QUICK, pooling="mean", loss=loss).fit(X, y).score(X, y) > 0.9
    target = X[:, :, 0].mean(1)
    for loss in ("absolute_error", "huber"):
        model = SequenceRegressor(**QUICK, pooling="mean", loss=loss).fit(X, target)
        assert model.score(X, target) > 0.8


# ---- a target for each step ----------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["(n, time)", "(n, time, 1)", "(n, time, 2)", "list"])
def test_a_number_for_each_step(shape):
    y = np.cumsum(X[..., 0], 1) * 0.3 + X[..., 1]
    data, target = X, y
    if shape == "(n, time, 1)":
        target = y[..., None]
    elif shape == "(n, time, 2)":
        target = np.stack([y, 1000.0 * X[..., 1]], 2)
    elif shape == "list":
        ends = 5 + np.arange(120) % 8
        data, target = ([a[:n] for a, n in zip(v, ends, strict=True)] for v in (X, y))
    model = SequenceRegressor(**{**QUICK, "max_iter": 60}).fit(data, target)
    assert model.score(data, target) > 0.9
    predicted = model.predict(data)
    if shape == "list":
        assert [p.shape for p in predicted] == [t.shape for t in target]
    else:
        assert predicted.shape == target.shape


def test_steps_of_padded_arrays():
    ends = 5 + np.arange(120) % 8
    y = X[..., 0] * 2.0
    real = np.arange(12) < ends[:, None]
    poisoned, other = np.where(real[..., None], X, np.nan), np.where(real, y, 7e9)
    quick = {**QUICK, "max_iter": 3}
    padded = SequenceRegressor(**quick).fit(poisoned, other, lengths=ends)
    ragged = SequenceRegressor(**quick).fit(
        [a[:n] for a, n in zip(X, ends, strict=True)], [a[:n] for a, n in zip(y, ends, strict=True)]
    )
    assert padded.loss_curve_ == ragged.loss_curve_
    some = padded.predict(poisoned, lengths=ends)
    for row, alone, n in zip(some, ragged.predict(list(X)), ends, strict=True):
        np.testing.assert_allclose(row[:n], alone[:n], rtol=1e-4, atol=1e-5)
    assert padded.score(poisoned, other, lengths=ends) == pytest.approx(
        ragged.score(
            [a[:n] for a, n in zip(X, ends, strict=True)],
            [a[:n] for a, n in zip(y, ends, strict=True)],
        )
    )


def test_per_step_says_which_reading_is_meant():
    y = X[:, :, 0]
    steps = SequenceRegressor(**{**QUICK, "max_iter": 1}).fit(X, y)
    whole = SequenceRegressor(**{**QUICK, "max_iter": 1}, per_step=False).fit(X, y)
    assert steps.model_.out_size == 1 and whole.model_.out_size == 12
    with pytest.raises(ValueError, match="pooling=None with a target for each step, got 'mean'"):
        SequenceRegressor(pooling="mean").fit(X, y)
    with pytest.raises(ValueError, match="a target for each of X's steps"):
        SequenceRegressor(per_step=True).fit(X, y[:, :5])


# ---- labels of steps -----------------------------------------------------------------------------


def tagged(n=60):
    rng = np.random.default_rng(0)
    ids = [rng.integers(1, 9, k) for k in rng.integers(3, 9, n)]
    return ids, [np.where(np.r_[0, x[:-1]] < 4, "B", "O") for x in ids]


@pytest.mark.parametrize("mark", ["?", None, -1])
def test_steps_without_a_label_do_not_count(mark):
    ids, tags = tagged()
    rng = np.random.default_rng(1)
    holes = [np.where(rng.random(len(t)) < 0.3, mark, t.astype(object)) for t in tags]
    ignore = {} if mark is None else {"ignore_label": mark}
    words = {"vocabulary_size": 9, "embedding_size": 8}
    model = SequenceLabeler(**QUICK, **words, **ignore).fit(ids, holes)
    assert list(model.classes_) == ["B", "O"]
    assert model.score(ids, tags) > 0.95
    there = [np.array([v != mark and v is not None for v in h]) for h in holes]
    right = np.concatenate([p == t for p, t in zip(model.predict(ids), tags, strict=True)])
    assert model.score(ids, holes) == pytest.approx(right[np.concatenate(there)].mean())


def test_padded_labels_with_lengths():
    ids, tags = tagged()
    ends = [len(x) for x in ids]
    X, y = np.zeros((60, 8), int), np.full((60, 8), "PAD", object)
    for i, (a, b) in enumerate(zip(ids, tags, strict=True)):
        X[i, : len(a)], y[i, : len(a)] = a, b
    quick = {**QUICK, "max_iter": 3, "vocabulary_size": 9}
    padded = SequenceLabeler(**quick).fit(X, y, lengths=ends)
    ragged = SequenceLabeler(**quick).fit(ids, tags)
    assert list(padded.classes_) == ["B", "O"]
    assert padded.loss_curve_ == ragged.loss_curve_
    assert padded.score(X, y, lengths=ends) == ragged.score(ids, tags)


def test_several_labels_a_step():
    y = (X > 0).astype(int)
    model = SequenceLabeler(**QUICK).fit(X, y)
    assert model.predict(X).shape == y.shape
    assert model.score(X, y) > 0.9
    assert model.predict_proba(X).shape == y.shape


def test_class_weight_of_steps():
    ids, tags = tagged()
    quick = {**QUICK, "max_iter": 2, "vocabulary_size": 9}
    heavy = SequenceLabeler(**quick, class_weight={"B": 20.0}).fit(ids, tags)
    plain = SequenceLabeler(**quick).fit(ids, tags)
    found = [np.concatenate(model.predict(ids)) == "B" for model in (heavy, plain)]
    assert found[0].sum() > found[1].sum()


@pytest.mark.parametrize(
    ("labels", "wrong", "message"),
    [
        ([0, 1, 1, 0], ["0", "1", "1", "0"], "y as numbers, of the classes .*got text, .'0'"),
        (["a", "b", "b", "a"], [0, 1, 1, 0], "y as text, .*got numbers, .0"),
        ([True, False] * 2, ["True", "False"] * 2, "y as numbers, .*got text"),
        (
            np.array(["a", "b"] * 2, object),
            np.array([0, 1] * 2, object),
            "y as text, .*got numbers",
        ),
        (np.array(["a", "b"] * 2), np.array([b"a", b"b"] * 2), "y as text, .*got bytes"),
    ],
    ids=["text for ints", "ints for text", "text for booleans", "objects", "bytes"],
)
def test_labels_of_another_type_are_refused(labels, wrong, message):
    X = np.random.default_rng(0).normal(size=(4, 3))
    model = SequenceClassifier(max_iter=1, hidden_size=4, random_state=0).fit(X, labels)
    for call in (model.score, model.partial_fit):
        with pytest.raises(TypeError, match=f"SequenceClassifier expected {message}"):
            call(X, wrong)
    each = SequenceLabeler(max_iter=1, hidden_size=4, random_state=0)
    each.fit(X, np.stack([labels] * 3, axis=1))
    with pytest.raises(TypeError, match=f"SequenceLabeler expected {message}"):
        each.score(X, np.stack([wrong] * 3, axis=1))


def test_numbers_of_any_type_are_the_same_labels():
    X = np.random.default_rng(0).normal(size=(4, 3))
    y = np.array([0, 1, 1, 0])
    model = SequenceClassifier(max_iter=1, hidden_size=4, random_state=0).fit(X, y)
    for same in (y.astype(float), y.astype(bool), y.astype(object), y.astype(np.uint8)):
        assert model.score(X, same) == model.score(X, y)
    assert model.score(X, y + 2) == 0.0  # classes that fit has not seen are errors, no mistake
