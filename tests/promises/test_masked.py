"""P32, below the estimators: masked values are refused, as no layer or loss would see the mask."""

from __future__ import annotations

import numpy as np
import pytest

import rnnfast as rf

X = np.ones((4, 2, 3), np.float32)


def masked(array, which=1):
    return np.ma.masked_array(array, mask=np.arange(array.size).reshape(array.shape) < which)


lstm, linear = rf.LSTM(3, 3, seed=0), rf.Linear(3, 3, seed=0)
CALLS = {
    "input of a recurrent layer": lambda mask: lstm(mask(X)),
    "input of another": lambda mask: linear(mask(X)),
    "input of a model": lambda mask: rf.Sequential(linear).predict(mask(X)),
    "training": lambda mask: lstm.forward(mask(X)),
    "a step": lambda mask: lstm.step(mask(X[0])),
    "state": lambda mask: lstm(X, (mask(np.zeros((1, 2, 3), np.float32)),) * 2),
    "lengths": lambda mask: lstm(X, lengths=mask(np.array([4, 2]))),
    "resets": lambda mask: lstm(X, resets=mask(np.zeros((4, 2), bool))),
    "prediction": lambda mask: rf.losses.squared_error(mask(X), X),
    "target": lambda mask: rf.losses.squared_error(X, mask(X)),
    "weight": lambda mask: rf.losses.squared_error(X, X, weight=mask(np.ones((4, 2)))),
    "classes": lambda mask: rf.losses.softmax_cross_entropy(X, mask(np.zeros((4, 2), int))),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_masked_values_are_refused(call):
    with pytest.raises(TypeError, match="without masked values, got 1: fill them"):
        call(masked)


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_masked_array_without_masked_values_is_an_array(call):
    call(lambda array: masked(array, 0))


@pytest.mark.parametrize("layer", [rf.Activation, rf.Merge, rf.Rearrange])
def test_a_list_is_no_kind(layer):
    with pytest.raises(ValueError, match=r"expected kind as one of .* got \['elu'\]"):
        layer(["elu"])
