"""SequenceRegressor."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")


from rnnfast.estimators import SequenceRegressor

QUICK = {"hidden_size": 16, "max_iter": 60, "learning_rate_init": 0.02, "random_state": 0}


def sums(n=80, seed=0):
    """Sequences of 1 to 6 steps of two features, and the sum of each feature, far from 0."""
    rng = np.random.default_rng(seed)
    X = [rng.standard_normal((steps, 2)) for steps in rng.integers(1, 7, n)]
    return X, np.array([1000 + 50 * x.sum(axis=0) for x in X])


def test_learns_one_and_several_targets():
    X, y = sums()
    several = SequenceRegressor(**QUICK).fit(X, y)
    assert several.score(X, y) > 0.9
    assert several.predict(X).shape == (80, 2)
    one = SequenceRegressor(**QUICK, pooling="mean").fit(X, y[:, 0])
    assert one.score(X, y[:, 0]) > 0.8
    assert one.predict(X).shape == (80,)
    assert one.n_features_in_ == 2


def test_standardizes_both_sides():
    X, y = sums()
    far = [1e6 + 1e3 * x for x in X]
    near, moved = (SequenceRegressor(**QUICK).fit(x, y) for x in (X, far))
    np.testing.assert_allclose(moved.predict(far), near.predict(X), rtol=1e-3)
    plain = SequenceRegressor(**QUICK, standardize=False).fit(X, y)
    assert plain.score(X, y) < 0  # sixty epochs do not reach 1000
    constant = [np.concatenate([x, np.full((len(x), 1), 0.1)], axis=1) for x in X]
    assert np.isfinite(SequenceRegressor(**QUICK).fit(constant, y).predict(constant)).all()


def test_early_stopping_scores_minus_the_loss():
    X, y = sums()
    model = SequenceRegressor(**QUICK, early_stopping=True).fit(X, y)
    np.testing.assert_array_equal(model.validation_scores_, -np.array(model.history_["val_loss"]))


def test_refuses_targets():
    X, _ = sums(4)
    for y, message in [
        (None, "requires y to be passed"),
        ([1.0, 2.0, 3.0], "inconsistent numbers of samples"),
        ([1.0, 2.0, 3.0, np.nan], r"finite numbers, got NaN or a masked value at y\[3"),
    ]:
        with pytest.raises(ValueError, match=message):
            SequenceRegressor().fit(X, y)


def test_refuses_what_float32_cannot_hold():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((5, 4)), rng.standard_normal(5)
    model = SequenceRegressor(max_iter=1, random_state=0)
    for name, large in (("X", (1e300 * X, y)), ("y", (X, 1e200 * y))):
        with pytest.raises(ValueError, match=f"^SequenceRegressor expected {name} of .* too large"):
            model.fit(*large)
    with pytest.raises(ValueError, match=r"^SequenceRegressor expected X of .* too large"):
        SequenceRegressor(max_iter=1, standardize=False).fit(1e60 * X, y)
    assert np.isfinite(model.fit(1e60 * X, 1e60 * y).predict(1e60 * X)).all()
    with pytest.raises(ValueError, match="too large"):
        model.predict(1e160 * X)


def test_rows_that_have_a_target_each_come_in_order_of_time():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    x = np.random.default_rng(0).normal(size=(6, 8))
    times = pandas.date_range("2020", periods=8)
    frames = [pandas.DataFrame({"a": v}, times) for v in x]
    mixed = [*frames[:3], frames[3][::-1], *frames[4:]]
    model = SequenceRegressor(max_iter=1, random_state=0, standardize=False, hidden_size=4)
    model.fit(frames, x)
    for call in (model.fit, model.score):
        with pytest.raises(ValueError, match=r"X\[3\] with its rows.*in order of time"):
            call(mixed, x)
    with pytest.raises(ValueError, match=r"X\[3\] with its rows"):
        model.predict(mixed)
    with pytest.raises(ValueError, match=r"validation_data: .*X\[3\] with its rows"):
        model.fit(frames, x, validation_data=(mixed, x))
    # a target for each frame, or targets that say their times, stand beside rows in any order
    totals = SequenceRegressor(max_iter=1, random_state=0, hidden_size=4).fit(frames, x.sum(axis=1))
    np.testing.assert_array_equal(totals.predict(mixed), totals.predict(frames))
    named = [pandas.Series(v, times) for v in x]
    turned = [named[0][::-1], *named[1:]]
    assert model.fit(frames, turned).score(frames, named) == model.score(frames, turned)
