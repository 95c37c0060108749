"""Callbacks of the training loop."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from support import each_engine as each_engine

from rnnfast import SGD, Callback, EarlyStopping, Linear, fit, losses


def line(n=24, seed=0):
    """Points of a line, (n, 1) each."""
    x = np.random.default_rng(seed).standard_normal((n, 1))
    return x, 3.0 * x - 1.0


def linear():
    return Linear(1, 1, dtype=np.float64, seed=1)


class Feed(Callback):
    """Put given values into the logs, and keep the parameters of each epoch."""

    def __init__(self, *values):
        self.values, self.params = values, []

    def on_train_begin(self, model, optimizer):
        self.model = model

    def on_epoch_end(self, epoch, logs):
        logs["fed"] = self.values[epoch]
        self.params.append(self.model.state_dict())


def train(model, *callbacks, epochs=8, **options):
    options = {"loss": losses.squared_error, "optimizer": SGD(model, lr=0.1), "seed": 2} | options
    return fit(model, line(), epochs=epochs, callbacks=callbacks, **options)


@pytest.mark.parametrize(
    ("values", "options", "ran", "best"),
    [
        ([5, 4, 3, 3, 3, 0], {"patience": 2}, 5, 2),
        ([5, 4, 3, 3, 3, 0], {"patience": 3}, 6, 5),
        ([5, 4, 3, 2, 1, 0], {"patience": 1}, 6, 5),
        ([5, 4.9, 4.8, 4.5, 4, 4], {"patience": 2, "min_delta": 0.15}, 6, 4),
        ([5, 4.9, 4.9, 4.5, 4, 4], {"patience": 2, "min_delta": 0.15}, 3, 0),
        ([1, 2, 2, 1, 9, 9], {"patience": 2, "mode": "max"}, 4, 1),
        ([math.nan, math.inf, 1, math.nan, 0, 0], {"patience": 3}, 6, 4),
        ([math.nan, math.nan, 0, 0, 0, 0], {"patience": 2}, 2, None),
    ],
)
@pytest.mark.parametrize("restore", [True, False])
def test_early_stopping(values, options, ran, best, restore):
    model, feed = linear(), Feed(*values)
    stop = EarlyStopping("fed", restore_best=restore, **options)
    history = train(model, feed, stop, epochs=6)
    assert len(history["loss"]) == ran
    assert stop.best_epoch == best
    if best is not None:
        assert stop.best == values[best]
    wanted = feed.params[best if restore and best is not None else -1]
    np.testing.assert_equal(dict(model.params), wanted)


def test_early_stopping_starts_anew_with_each_training():
    stop = EarlyStopping("fed", patience=1)
    train(linear(), Feed(1, 2), stop)
    model, feed = linear(), Feed(9, 8, 8)
    assert len(train(model, feed, stop)["loss"]) == 3
    np.testing.assert_equal(dict(model.params), feed.params[1])


def test_an_interrupted_training_has_its_best_parameters():
    class Interrupt(Callback):
        def on_epoch_begin(self, epoch):
            if epoch == 3:
                raise KeyboardInterrupt

    model, feed = linear(), Feed(3, 1, 2)
    with pytest.raises(KeyboardInterrupt):
        train(model, feed, EarlyStopping("fed"), Interrupt())
    np.testing.assert_equal(dict(model.params), feed.params[1])


def test_early_stopping_watches_held_out_samples():
    # the samples held out come from a line of the other slope: what is learnt makes them worse
    x, y = line()
    y[18:] *= -1.0
    model, stop = linear(), EarlyStopping(patience=3)
    options = dict(loss=losses.squared_error, optimizer=SGD(model, lr=0.1), epochs=50)
    history = fit(model, (x, y), validation_split=0.25, callbacks=[stop], **options)
    assert len(history["loss"]) == stop.best_epoch + 4 < 50
    assert stop.best == min(history["val_loss"])
    got, _ = losses.squared_error(model(x[18:]), y[18:])
    assert got == pytest.approx(stop.best, rel=1e-12)


def test_refuses():
    for call, error, message in [
        (lambda: EarlyStopping(3), TypeError, "EarlyStopping expected monitor as a str, got 3"),
        (lambda: EarlyStopping(patience=0), ValueError, "EarlyStopping expected patience >= 1"),
        (lambda: EarlyStopping(min_delta=-1), ValueError, "EarlyStopping expected min_delta >= 0"),
        (lambda: EarlyStopping(mode="low"), ValueError, "expected mode 'min' or 'max', got 'low'"),
        (lambda: EarlyStopping(restore_best=1), TypeError, "expected restore_best as True or Fal"),
        (
            lambda: train(linear(), EarlyStopping()),
            ValueError,
            "EarlyStopping expected monitor as one of loss, seconds, got 'val_loss'",
        ),
    ]:
        with pytest.raises(error, match=re.escape(message)):
            call()
