"""What the tests of the Keras bridge share: models with random weights, and comparisons."""

from __future__ import annotations

import os
from importlib.util import find_spec

import numpy as np
import pytest
import tolerances
from cases import Case
from comparisons import close

from rnnfast.keras import from_keras, to_keras

for name in ("torch", "tensorflow"):
    if find_spec(name):
        os.environ.setdefault("KERAS_BACKEND", name)
keras = pytest.importorskip("keras", reason="Keras, or a backend of it, is not installed")
L, as_numpy = keras.layers, keras.ops.convert_to_numpy
quiet = [
    # Keras's own, of its arrays and of what it makes of masks
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Layer .* does not support masking:UserWarning"),
]

B, T, F = 4, 9, 3  # samples, steps and features of inputs
IDS = 7  # ids, 0 among them


def built(*layers, dtype="float32", ids=False, steps=None):
    """A Keras model with random weights, moving means and biases among them."""
    keras.config.set_dtype_policy(dtype)
    try:
        shape = (steps,) if ids else (steps, F)
        start = keras.Input(shape, dtype="int32" if ids else dtype)
        model = keras.Sequential([start, *(layer() for layer in layers)])
    finally:
        keras.config.set_dtype_policy("float32")
    rng = np.random.default_rng(0)
    for weight in model.weights:
        least = 0.5 if "variance" in weight.path else -0.5
        weight.assign(rng.uniform(least, least + 1, weight.shape))
    return model


def inputs(dtype="float32", ids=False, seed=1):
    rng = np.random.default_rng(seed)
    if ids:
        return rng.integers(0, IDS, (B, T))
    return rng.standard_normal((B, T, F)).astype(dtype)


def same_predictions(ours, theirs, x, *lengths):
    want = as_numpy(theirs(x, training=False))
    got = ours.predict(x, *lengths)
    # Keras forms products and means of float64 in float32
    close("prediction", got, want, float32_bound(ours, want), ours.dtype)


def float32_bound(ours, want):
    # as of a recurrent network whose every layer has the largest sums of all of them
    rows = [p.reshape(len(p), -1).shape for p in ours.params.values() if p.ndim > 1]
    H, longest = (max(sizes, default=F) for sizes in zip(*rows, strict=True))
    case = Case("lstm", B, T, longest, H, L=len(ours.layers))
    return tolerances.recurrent(case, "y", np.float32, want)


def bidirectional(kind, **options):
    return lambda: L.Bidirectional(kind(4, **options))


def functional(make):
    """A functional model with random weights and inputs for it."""
    theirs = keras.Model(*make())
    rng = np.random.default_rng(0)
    for weight in theirs.weights:
        weight.assign(rng.uniform(-0.5, 0.5, weight.shape))
    xs = [
        rng.integers(0, IDS, (B, *x.shape[1:]))
        if "int" in x.dtype
        else rng.standard_normal((B, *x.shape[1:])).astype("f4")
        for x in theirs.inputs
    ]
    return theirs, xs if len(xs) > 1 else xs[0]


def as_list(values):
    return list(values) if isinstance(values, (list, tuple)) else [values]


def as_ours(xs):
    return tuple(xs) if isinstance(xs, list) else xs


def same_gradients(ours, theirs, xs):
    """Compare with torch's, brought into our layout as weights are."""
    if keras.backend.backend() != "torch":
        return
    import torch

    rng = np.random.default_rng(4)
    y, _, tape = ours.forward(as_ours(xs))
    several = isinstance(y, tuple)
    dy = [rng.standard_normal(part.shape).astype("f4") for part in (y if several else [y])]
    want = theirs(xs, training=True)
    pairs = zip(want if several else [want], dy, strict=True)
    loss = sum((part * torch.from_numpy(d)).sum() for part, d in pairs)
    weights = theirs.trainable_weights
    gradients = torch.autograd.grad(loss, [w.value for w in weights], allow_unused=True)
    ours.backward(tape, tuple(dy) if several else dy[0], input_grad=False)
    before = theirs.get_weights()
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.assign(0 * weight if gradient is None else gradient)
    want = from_keras(theirs).state_dict()
    theirs.set_weights(before)
    for name, got in ours.grads.items():
        if "bias_hh" in name and not want[name].any():  # Keras has one bias for both
            continue
        case = Case("lstm", B, T, max(got.shape), max(got.shape), L=len(ours.layers))
        bound = tolerances.recurrent(case, "parameter", np.float32, want[name])
        close(name, got, want[name], bound, ours.dtype)


def check(theirs, x):
    """From Keras, to Keras and from there again: the same predictions, the same networks."""
    ours = from_keras(theirs)
    assert ours.dtype == next(layer.compute_dtype for layer in theirs.layers if layer.weights)
    same_predictions(ours, theirs, x)
    again = to_keras(ours, steps=T)
    assert again.built
    same_predictions(ours, again, x)
    twin = from_keras(again)
    assert repr(twin) == repr(ours)
    np.testing.assert_equal(twin.state_dict(), ours.state_dict())
