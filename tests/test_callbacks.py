"""Callbacks of the training loop."""

from __future__ import annotations

import copy
import csv
import math
import re

import numpy as np
import pytest
from engines import each_engine as each_engine

from rnnfast import (
    GRU,
    LSTM,
    SGD,
    Adam,
    AdamW,
    Add,
    Callback,
    Checkpoint,
    CSVLog,
    Dropout,
    EarlyStopping,
    EncoderDecoder,
    Last,
    Linear,
    Nadam,
    ReduceLROnPlateau,
    RMSprop,
    Sequential,
    fit,
    load,
    losses,
    save,
)
from rnnfast.io import load_state, save_state
from rnnfast.layers.base import Layer
from rnnfast.layers.masks import MaskSource
from rnnfast.position import mask_sources


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
    model, feed = linear(), Feed(3, 1, 2)
    with pytest.raises(KeyboardInterrupt):
        train(model, feed, EarlyStopping("fed"), Interrupt(4))
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


# ---- checkpoints


class Interrupt(Callback):
    """Press Ctrl-C after so many batches, unless None."""

    def __init__(self, batches):
        self.left = batches

    def on_batch_end(self, batch, logs):
        if self.left is not None:
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt


def network(seed):
    return Sequential(
        LSTM(2, 5, 2, dropout=0.4, seed=seed, dtype=np.float64),
        Sequential(Dropout(0.3, seed=seed)),
        Last(),
        Linear(5, 1, seed=seed, dtype=np.float64),
    )


@pytest.fixture
def path(ending, tmp_path):
    return tmp_path / f"position{ending}"


OPTIMIZERS = [(Adam, {}), (AdamW, {}), (Nadam, {}), (RMSprop, {"momentum": 0.5}), (SGD, {})]


@pytest.mark.parametrize(("cls", "options"), OPTIMIZERS, ids=str)
@pytest.mark.parametrize("shuffle", [True, False])
def test_resuming_equals_a_training_in_one_go(path, cls, options, shuffle):
    """With masks, too, whose seed nobody knows."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((4, 30, 2)), rng.standard_normal((30, 1))
    first = network(None)

    def go(model, interrupt=None, **more):
        optimizer = cls(model, lr=0.01, **options)
        plateau = ReduceLROnPlateau(optimizer, factor=0.7, patience=0)
        stop, log = EarlyStopping(patience=4), CSVLog(path.with_suffix(".csv"))
        history = fit(
            model,
            (x, y),
            loss=losses.squared_error,
            optimizer=optimizer,
            epochs=12,
            batch_size=7,
            validation_split=0.2,
            shuffle=shuffle,
            callbacks=[plateau, stop, Checkpoint(path, every=2), log, Interrupt(interrupt)],
            **more,
        )
        del history["seconds"]
        states = model, optimizer, plateau, stop
        return history, history.batch_losses, [s.state_dict() for s in states]

    with pytest.raises(KeyboardInterrupt):
        go(copy.deepcopy(first), 4 * 5 - 1, seed=3)  # in the fifth epoch
    got = go(network(None), resume=path, seed=4)
    rows = path.with_suffix(".csv").read_text().splitlines()
    want = go(first, seed=3)
    np.testing.assert_equal(got, want)
    assert len(rows) == 1 + len(want[0]["loss"])
    again = go(network(None), resume=path)  # stopped for good, or nothing left to do
    assert again[0]["loss"] == want[0]["loss"][: len(again[0]["loss"])]


def recurrent(kind, seed, **options):
    return kind(2, 3, 2, seed=seed, dtype=np.float64, dropout=0.4, recurrent_dropout=0.2, **options)


def within_sequential(seed):
    both = recurrent(GRU, seed, bidirectional=True, zoneout=0.3)
    inner = Sequential(both, Sequential(Dropout(0.3, seed=seed)))
    return Sequential(inner, Last(), Linear(6, 1, seed=seed, dtype=np.float64))


def within_add(seed):
    paths = [
        Sequential(recurrent(LSTM, seed, zoneout=(0.2, 0.3)), Last()),
        Sequential(Last(), Dropout(0.3, seed=seed), Linear(2, 3, seed=seed, dtype=np.float64)),
    ]
    return Sequential(Add(*paths), Linear(3, 1, seed=seed, dtype=np.float64))


def within_encoder_decoder(seed):
    options = dict(attention="dot", source="symbols", bidirectional=True, dropout=0.4)
    return EncoderDecoder(5, 4, 3, 4, 2, dtype=np.float64, seed=seed, **options)


@pytest.mark.parametrize("make", [within_sequential, within_add, within_encoder_decoder])
def test_resuming_finds_random_layers_within_others(make, path):
    rng = np.random.default_rng(0)
    data, loss = (rng.standard_normal((4, 20, 2)), rng.standard_normal((20, 1))), None
    if make is within_encoder_decoder:
        source, target = rng.integers(0, 5, (6, 20)), rng.integers(0, 4, (3, 20))
        data, loss = [((source, target), target)], losses.softmax_cross_entropy

    def go(model, epochs, **more):
        options = dict(loss=loss or losses.squared_error, batch_size=7, epochs=epochs, seed=3)
        history = fit(model, data, optimizer=SGD(model), **options, **more)
        return model.state_dict(), history.batch_losses

    first = make(None)
    kept = [Checkpoint(path)]
    go(copy.deepcopy(first), 2, callbacks=kept)
    got = go(make(None), 4, resume=path, callbacks=kept)
    np.testing.assert_equal(got, go(first, 4))


def reachable(value):
    """The sources of random masks in a layer, wherever it keeps them."""
    if isinstance(value, MaskSource):
        return {value}
    if isinstance(value, Layer):
        value = vars(value)
    if isinstance(value, dict):
        value = list(value.values())
    return set().union(*map(reachable, value)) if isinstance(value, (list, tuple)) else set()


@pytest.mark.parametrize("make", [network, within_sequential, within_add, within_encoder_decoder])
def test_every_random_source_is_declared_once(make):
    model = make(1)
    sources = mask_sources(model)
    assert len(sources) == len(set(sources)) > 1
    assert set(sources) == reachable(model)


def test_a_stopped_training_stays_stopped(path):
    model, feed = linear(), Feed(3, 1, 2, 2)
    options = dict(optimizer=SGD(model, lr=0.1))
    want = train(model, feed, EarlyStopping("fed", 2), Checkpoint(path), **options)
    other = linear()
    got = train(other, feed, EarlyStopping("fed", 2), Checkpoint(path), resume=path)
    assert got == want
    assert len(got["loss"]) == 4
    np.testing.assert_equal(dict(other.params), feed.params[1])


def test_more_epochs(path):
    straight, resumed = linear(), linear()
    want = train(straight, epochs=5)
    train(resumed, Checkpoint(path, every=3), epochs=4)
    model = linear()
    got = train(model, Checkpoint(path), epochs=5, resume=path)
    assert got["loss"] == want["loss"]
    np.testing.assert_equal(dict(model.params), dict(straight.params))
    assert len(load_state(path)["history"]["loss"]) == 5


def test_refuses_to_resume(path):
    train(linear(), Checkpoint(path), epochs=1)
    save(linear(), path.with_stem("model"))
    other, dropping = Linear(1, 2, dtype=np.float64), Sequential(linear(), Dropout())
    for model, options, callbacks, error, message in [
        (linear(), {}, [], ValueError, "fit expected callbacks to resume ['0 Checkpoint'], got []"),
        (linear(), {"shuffle": False}, [Checkpoint(path)], ValueError, "to be as they were"),
        (linear(), {"optimizer": Adam}, [Checkpoint(path)], ValueError, "to be as they were"),
        (dropping, {}, [Checkpoint(path)], ValueError, "to be as they were"),
        (other, {}, [Checkpoint(path)], ValueError, "Linear expected"),
        (
            linear(),
            {"resume": path.with_stem("model")},
            [],
            ValueError,
            f"{path.with_stem('model')} is not a state that rnnfast can load",
        ),
        (linear(), {"resume": path.with_stem("none")}, [], FileNotFoundError, "none"),
        (linear(), {"resume": "a.pt"}, [], ValueError, "path expected to end in .safetensors or"),
    ]:
        before = model.state_dict()
        options = {"resume": path, **options}
        options["optimizer"] = options.get("optimizer", SGD)(model, lr=0.1)
        with pytest.raises(error, match=re.escape(message)):
            train(model, *callbacks, **options)
        np.testing.assert_equal(dict(model.params), before)
    with pytest.raises(ValueError, match=re.escape("is not a model that rnnfast can load")):
        load(path)


def entries(tree, *place):
    """The places of all numbers, str, lists and arrays in mappings, and in lists of mappings."""
    inside = isinstance(tree, dict) or (isinstance(tree, list) and isinstance(tree[0], dict))
    if not inside:
        yield place
    elif tree:
        keys = tree if isinstance(tree, dict) else range(len(tree))
        for key in keys:
            yield from entries(tree[key], *place, key)


def put(tree, place, value):
    """A copy of a state with another value at a place, or with none."""
    tree = copy.deepcopy(tree)
    *folders, key = place
    inside = tree
    for folder in folders:
        inside = inside[folder]
    if value is None:
        del inside[key]
    else:
        inside[key] = value
    return tree


WRONG = {
    "epochs": ["x", 2.0, 1e9, 10**9, -3, math.nan, 1],
    "stopped": [1, "x"],
    "steps": ["x", 1.0, 1e9, 10**300, -3, math.nan],
    "lr": ["x", -1.0, math.nan, math.inf],
    "base_lr": ["x", -1.0, math.nan, math.inf],
    "best": ["x", math.nan, []],
    "wait": ["x", -1, 1.5, 10**300],
    "best_epoch": ["x", -1],
    "bad_epochs": ["x", -1, math.nan],
    "cooldown_left": ["x", -1, math.nan],
    "calls": ["x", -1, 1e9],
    "entropy": ["x", -1],
    "product": ["x", -1.0, math.nan],
    "has_uint32": ["x", 2**70],
    "state": ["x", -1, 2**200],
    "loss": [["x"], [], 3.0, [1.0] * 3],
}


def test_a_damaged_checkpoint_changes_nothing(tmp_path):
    """P29, P28: each entry is taken away, and is something else."""
    path, damaged = tmp_path / "whole.npz", tmp_path / "damaged.npz"

    def parts(seed):
        model = Sequential(linear(), Dropout(0.5, seed=seed))
        optimizer = Nadam(model, lr=0.1 + seed)
        own = [EarlyStopping("loss"), ReduceLROnPlateau(optimizer, monitor="loss")]
        return model, optimizer, [*own, CSVLog(tmp_path / "log.csv"), Checkpoint(path)]

    def go(model, optimizer, callbacks, **options):
        train(model, *callbacks, epochs=2, optimizer=optimizer, **options)

    go(*parts(0))
    whole = load_state(path)
    model, optimizer, callbacks = parts(1)
    for callback in callbacks:
        callback.on_train_begin(model, optimizer)

    def now():
        own = [part.state_dict() for part in (model, optimizer, *callbacks)]
        return own, [source.state_dict() for source in mask_sources(model)]

    before, tried = now(), 0
    places = list(entries(whole))
    assert {place[-1] for place in places} >= WRONG.keys()
    for place in places:
        wrong = [None, "x", {}, [{}]] if place[-1] != "seconds" else ["x"]  # others tell the epochs
        for value in [*wrong, *WRONG.get(place[-1], ())]:
            if (value is None and place[:-1] == ("history",)) or "rows" in place[:-1]:
                continue  # a callback may log what it likes
            save_state(put(whole, place, value), damaged)
            message = f"{damaged} is not a checkpoint that this training can resume from: "
            with pytest.raises(ValueError, match=re.escape(message) + "."):
                go(model, optimizer, callbacks, resume=damaged)
            tried += 1
            np.testing.assert_equal(now(), before, err_msg=f"{place} {value}")
    assert tried > 100
    go(model, optimizer, callbacks, resume=path)
    assert optimizer.steps == whole["optimizer"]["steps"]


def test_an_error_of_a_users_callback_changes_nothing(path):
    class Picky(Callback):
        def state_dict(self):
            return {"seen": 1}

        def load_state_dict(self, state_dict):
            self.seen = state_dict["unseen"]

    train(linear(), EarlyStopping("loss"), Picky(), Checkpoint(path), epochs=1)
    model, stop, picky = linear(), EarlyStopping("loss"), Picky()
    before = model.state_dict()
    with pytest.raises(ValueError, match=re.escape(f"{path} is not a checkpoint") + ".*unseen"):
        train(model, stop, picky, Checkpoint(path), resume=path)
    np.testing.assert_equal(dict(model.params), before)
    assert stop.best_epoch is None


def test_refuses_fewer_epochs_than_are_behind(path):
    train(linear(), Checkpoint(path), epochs=3)
    with pytest.raises(ValueError, match="epochs >= 3, those behind it and those to come, got 2"):
        train(linear(), Checkpoint(path), epochs=2, resume=path)


def test_csv_log(tmp_path):
    path = tmp_path / "log.csv"

    class Late(Callback):
        def on_epoch_end(self, epoch, logs):
            if epoch == 1:
                logs["late"] = np.float32(0.5)

    log = CSVLog(path)
    for _ in range(2):  # the second training takes the place of the first
        history = train(linear(), Late(), log, epochs=2)
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row.pop("epoch") for row in rows] == ["1", "2"]
    assert [float(row["loss"]) for row in rows] == history["loss"]
    assert [row["late"] for row in rows] == ["", "0.5"]
    assert rows[0].keys() == history.keys()


def test_refuses():
    for call, error, message in [
        (lambda: Checkpoint("a.pt"), ValueError, "path expected to end in .safetensors or .npz"),
        (lambda: Checkpoint("a.npz", 0), ValueError, "Checkpoint expected every >= 1, got 0"),
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
