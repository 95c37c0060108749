"""Updates: training that blows up ends with numbers that are finite."""

from __future__ import annotations

import numpy as np
import pytest

from rnnfast import (
    GRU,
    RNN,
    SGD,
    Adam,
    BatchNorm1d,
    CosineAnnealingLR,
    EarlyStopping,
    Last,
    Linear,
    Sequential,
    fit,
    losses,
)

MSE = losses.squared_error


def network(**options):
    return Sequential(
        GRU(1, 4, batch_first=True, seed=1, **options),
        Last(True),
        Linear(4, 1, seed=2),
    )


def data(n=12, bad=None):
    x = np.random.default_rng(0).standard_normal((n, 5, 1)).astype(np.float32)
    y = x.sum(axis=1)
    if bad is not None:
        y[bad] = np.nan
    return x, y


def finite(model, optimizer):
    arrays = [*model.state_dict().values()]
    arrays += [a for slot in optimizer.state_dict()["slots"].values() for a in slot.values()]
    return all(np.isfinite(a).all() for a in arrays)


@pytest.mark.parametrize("kind", [SGD, Adam])
def test_a_loss_of_nan_undoes_the_epoch_and_ends_training(kind):
    x, y = data(bad=6)
    whole = network()
    options = dict(loss=MSE, batch_size=2, shuffle=False, on_nonfinite="stop")
    history = fit(whole, (x, y), optimizer=kind(whole), epochs=9, **options)
    assert history.stopped_by == "nonfinite loss"
    assert len(history.batch_losses) == 4
    assert np.isnan(history.batch_losses[-1])
    assert "loss" not in history  # of no complete epoch
    np.testing.assert_equal(whole.state_dict(), network().state_dict())
    # as ever without it
    optimizer = kind(whole)
    history = fit(whole, (x, y), loss=MSE, optimizer=optimizer, batch_size=2)
    assert history.stopped_by is None
    assert not finite(whole, optimizer)


@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_gradient_that_is_not_finite(clip):
    def loss(prediction, target):
        value, gradient = MSE(prediction, target)
        return value, np.full_like(gradient, np.inf if target[0] == 4 else 1e-3)

    model = network()
    x, y = data()[0], np.arange(12)[:, None].astype(np.float32)
    optimizer = SGD(model)
    history = fit(
        model,
        (x, y),
        loss=lambda p, t: loss(p, t),
        optimizer=optimizer,
        batch_size=2,
        shuffle=False,
        clip_norm=clip,
        on_nonfinite="stop",
    )
    assert history.stopped_by == "nonfinite gradient"
    assert len(history.batch_losses) == 2
    assert optimizer.steps == 0
    np.testing.assert_equal(model.state_dict(), network().state_dict())


@pytest.mark.parametrize("rate", [1e20, 1e38])
def test_spoilt_parameters_are_those_of_the_epochs_begin(rate):
    x, y = data()
    model = Sequential(RNN(1, 4, batch_first=True, seed=1), Last(True), Linear(4, 1, seed=2))
    before = model.state_dict()
    optimizer = SGD(model, lr=rate, momentum=0.9)
    history = fit(
        model, (x, y), loss=MSE, optimizer=optimizer, epochs=5, batch_size=4, on_nonfinite="stop"
    )
    assert history.stopped_by in ("nonfinite loss", "nonfinite gradient", "nonfinite parameter")
    assert finite(model, optimizer)
    assert optimizer.lr == rate
    if not all((model.params[name] != before[name]).any() for name in before):
        np.testing.assert_equal(model.state_dict(), before)


def test_running_means_are_not_spoilt():
    x, y = data()
    x[7] = np.inf
    model = Sequential(Last(True), BatchNorm1d(1), Linear(1, 1, seed=2))
    before = model.state_dict()
    optimizer = SGD(model)
    stopping = EarlyStopping("loss")
    schedule = CosineAnnealingLR(optimizer, 5)
    history = fit(
        model,
        (x, y),
        loss=MSE,
        optimizer=optimizer,
        batch_size=2,
        shuffle=False,
        on_nonfinite="stop",
        callbacks=[stopping, schedule],
    )
    assert history.stopped_by == "nonfinite loss"
    np.testing.assert_equal(model.state_dict(), before)


def test_refuses():
    model = network()
    with pytest.raises(ValueError, match="fit expected on_nonfinite 'continue' or 'stop', got 1"):
        fit(model, data(), loss=MSE, optimizer=SGD(model), on_nonfinite=1)
