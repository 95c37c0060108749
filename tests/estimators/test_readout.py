"""Ridge regression with exact leave-one-out errors."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from samples import peak_memory
from sklearn.linear_model import Ridge

from rnnfast import losses
from rnnfast.estimators import readout


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("features", [5, 60])
def test_each_sample_left_out(features, weighted):
    rng = np.random.default_rng(0)
    z = rng.standard_normal((30, features)) / np.sqrt(features)
    y = z @ rng.standard_normal((features, 2)) + 0.3 * rng.standard_normal((30, 2)) + 1.0
    weight = rng.uniform(0.5, 2.0, 30) if weighted else None
    solved = readout.ridge(z, y, weight)
    w = np.ones(30) if weight is None else weight / weight.mean()

    def left_out(penalty):
        each = []
        for i in range(30):
            rest = np.arange(30) != i
            # the penalty belongs to the weights' scale
            model = Ridge(penalty).fit(z[rest], y[rest], w[rest])
            each.append(model.predict(z[i : i + 1])[0])
        return np.array(each)

    np.testing.assert_allclose(solved.left_out, left_out(solved.penalty), rtol=1e-6, atol=1e-8)
    errors = [(w[:, None] * (y - left_out(p)) ** 2).sum() for p in readout.PENALTIES]
    assert solved.penalty == readout.PENALTIES[np.argmin(errors)]
    model = Ridge(solved.penalty).fit(z, y, w)
    np.testing.assert_allclose(solved.weight, model.coef_, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(solved.bias, model.intercept_, rtol=1e-6)


def test_nothing_to_learn_is_shrunk_to_the_mean():
    rng = np.random.default_rng(0)
    z, y = rng.standard_normal((40, 50)) / 7.0, rng.standard_normal((40, 1))
    solved = readout.ridge(z, y)
    assert solved.penalty == readout.PENALTIES[-1]
    assert np.abs(z @ solved.weight.T).max() < 0.1


@pytest.mark.parametrize("shape", [(600, 1500), (1500, 600)])
def test_memory_is_two_square_matrices(shape):
    rng = np.random.default_rng(0)
    z, y = rng.standard_normal(shape).astype(np.float32), rng.standard_normal((shape[0], 2))
    parts = 3 * readout.PART * max(shape) * 8
    assert peak_memory(lambda: readout.ridge(z, y)) < 2 * min(shape) ** 2 * 8 + parts


def test_many_samples_and_features():
    """Of more than one part."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((300, 290)) / 17.0
    y = z @ rng.standard_normal((290, 2)) + 0.1 * rng.standard_normal((300, 2))
    other = readout.ridge(np.concatenate([z, np.zeros((300, 20))], axis=1), y)  # by samples
    solved = readout.ridge(z, y)
    assert other.penalty == solved.penalty
    np.testing.assert_allclose(other.weight[:, :290], solved.weight, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(other.left_out, solved.left_out, rtol=1e-6, atol=1e-9)
    model = Ridge(solved.penalty).fit(z, y)
    np.testing.assert_allclose(solved.weight, model.coef_, rtol=1e-6, atol=1e-9)


def test_slopes():
    rng = np.random.default_rng(0)
    codes = rng.integers(3, size=200)
    right = np.where(codes[:, None] == np.arange(3), 1.0, -1.0)

    def loss(scores):
        return losses.softmax_cross_entropy(scores, codes)[0]

    sure = readout.slope(right, loss)
    noisy = right.copy()
    noisy[::3] = noisy[::3, ::-1]
    unsure = readout.slope(noisy, loss)
    assert sure > 3 * unsure
    assert np.isfinite(sure)
    best = min(loss((s * noisy).astype(np.float32)) for s in readout.SLOPES)
    assert loss((unsure * noisy).astype(np.float32)) < best + 0.05
