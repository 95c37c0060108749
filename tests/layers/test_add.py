"""Add: layers side by side."""

from __future__ import annotations

import numpy as np
import pytest

import rnnfast as rf
from rnnfast import GRU, LSTM, Add, Last, Linear, Sequential, losses

F8 = {"dtype": np.float64}


def readers():
    ahead = Sequential(GRU(2, 4, seed=0, **F8), Last(), Linear(4, 3, seed=1, **F8))
    return ahead, Sequential(LSTM(2, 3, seed=2, **F8), Last())


def test_sum_and_gradients():
    a, b = readers()
    model = Add(a, b, weights=(0.5, -2.0))
    x = np.random.default_rng(0).standard_normal((6, 4, 2))
    lengths = [6, 2, 0, 4]
    y, tape = model.forward(x, lengths)
    np.testing.assert_array_equal(y, model(x, lengths))
    ya, _, tape_a = a.forward(x, None, lengths)
    yb, _, tape_b = b.forward(x, None, lengths)
    np.testing.assert_allclose(y, 0.5 * ya - 2.0 * yb, rtol=1e-12)
    dy = np.random.default_rng(1).standard_normal(y.shape)
    dx = model.backward(tape, dy)
    got = {name: grad.copy() for name, grad in model.grads.items()}
    model.zero_grad()
    dxa, _ = a.backward(tape_a, 0.5 * dy)
    dxb, _ = b.backward(tape_b, -2.0 * dy)
    np.testing.assert_allclose(dx, dxa + dxb, rtol=1e-10, atol=1e-14)
    for name, grad in model.grads.items():
        np.testing.assert_allclose(got[name], grad, rtol=1e-10, atol=1e-14)


def test_trains_and_is_saved(tmp_path):
    model = Sequential(Add(*readers(), weights=[1.0, 0.25]))
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((5, 16, 2)), rng.standard_normal((16, 3))
    adam = rf.Adam(model, lr=0.05)
    history = rf.fit(model, (x, y), loss=losses.squared_error, optimizer=adam, epochs=20)
    assert history["loss"][-1] < 0.7 * history["loss"][0]
    rf.save(model, tmp_path / "model.npz")
    again = rf.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(again.predict(x), model.predict(x))
    assert again[0].weights == (1.0, 0.25)


def test_a_layer_without_weight_is_not_run():
    a, b = readers()
    b.predict = b.forward = None
    model = Add(a, b, weights=(1.0, 0.0))
    x = np.ones((3, 1, 2))
    np.testing.assert_array_equal(model(x), a.predict(x))
    model.weights = (0.5, 0.0)
    np.testing.assert_array_equal(model(x), 0.5 * a.predict(x))


@pytest.mark.parametrize(
    ("layers", "options", "message"),
    [
        ((), {}, "one layer or more"),
        ((Linear(2, 3), Linear(2, 4)), {}, "layers of the same out_size, got \\[3, 4\\]"),
        ((Linear(2, 3), Linear(2, 3, **F8)), {}, "layers of the same dtype"),
        ((LSTM(2, 3), Sequential(LSTM(2, 3), Last())), {}, "layers of the same keeps_time"),
        (
            (Linear(2, 3),),
            {"weights": (1.0, 2.0)},
            "weights as a finite number for each of 1 layers",
        ),
        (
            (Linear(2, 3),),
            {"weights": (np.nan,)},
            "weights as a finite number for each of 1 layers",
        ),
        ((Linear(2, 3),), {"weights": (0.0,)}, "a weight other than 0"),
    ],
    ids=str,
)
def test_refuses(layers, options, message):
    with pytest.raises((TypeError, ValueError), match=f"Add expected {message}"):
        Add(*layers, **options)
