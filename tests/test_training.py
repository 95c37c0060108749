"""The training loop."""

from __future__ import annotations

import re

import numpy as np
import pytest
from engines import each_engine as each_engine
from samples import classifier, small_model, sums

import rnnfast as rf

CE, MSE = rf.losses.softmax_cross_entropy, rf.losses.squared_error


def test_learns_and_reports():
    model, data = classifier(), sums(256)
    history = rf.fit(
        model,
        data,
        loss=CE,
        optimizer=rf.Adam(model, lr=0.02),
        epochs=8,
        validation=sums(64, seed=1),
        metrics={"accuracy": rf.losses.accuracy},
        seed=3,
    )
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy", "seconds"}
    assert all(len(values) == 8 for values in history.values())
    assert len(history.batch_losses) == 8 * 8
    assert history["loss"][0] == pytest.approx(np.mean(history.batch_losses[:8]))
    assert history["val_accuracy"][-1] > 0.9
    final = rf.evaluate(model, sums(64, seed=1), loss=CE, metrics={"accuracy": rf.losses.accuracy})
    assert final == {
        "loss": pytest.approx(history["val_loss"][-1]),
        "accuracy": pytest.approx(history["val_accuracy"][-1]),
    }


def test_a_batch_is_one_step_by_hand():
    x, y = sums(8)
    model, twin = classifier(), classifier()
    rf.fit(model, (x, y), loss=CE, optimizer=rf.SGD(model, lr=0.1), batch_size=8, shuffle=False)
    prediction, _, tape = twin.forward(x)
    twin.backward(tape, CE(prediction, y)[1])
    rf.SGD(twin, lr=0.1).step()
    np.testing.assert_equal(dict(model.params), dict(twin.params))


def test_layouts_and_sources_agree():
    x, y = sums(20)
    lengths = np.random.default_rng(5).integers(1, 7, 20)
    x_t = np.ascontiguousarray(x.swapaxes(0, 1))
    halves = [slice(0, 8), slice(8, 16), slice(16, 20)]
    results = []
    for batch_first, data, n in [
        (True, (x, y), lengths),
        (True, (x, y, lengths), None),
        (True, [(x[s], y[s], lengths[s]) for s in halves], None),
        (True, lambda: iter([(x[s], y[s], lengths[s]) for s in halves]), None),
        (False, (x_t, y), lengths),
    ]:
        model = classifier(batch_first)
        optimizer = rf.Adam(model)
        options = dict(loss=CE, optimizer=optimizer, epochs=2, batch_size=8, shuffle=False)
        history = rf.fit(model, data, lengths=n, validation=data if n is None else None, **options)
        results.append((history["loss"], model.state_dict()))
    for loss, params in results[1:]:
        np.testing.assert_allclose(loss, results[0][0], rtol=1e-12)
        for name, value in params.items():
            np.testing.assert_allclose(value, results[0][1][name], rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("batch_first", [True, False])
def test_ragged_labels_for_every_step(batch_first):
    model = rf.Sequential(
        rf.RNN(1, 4, batch_first=batch_first, seed=1, dtype=np.float64),
        rf.Linear(4, 2, seed=2, dtype=np.float64),
    )
    x, _ = sums(5)
    y = (x[..., 0].cumsum(axis=1) > 0).astype(int)
    lengths = np.array([6, 1, 3, 2, 5])
    if not batch_first:
        x, y = x.swapaxes(0, 1), y.swapaxes(0, 1)
    got = rf.evaluate(model, (x, y, lengths), loss=CE, batch_size=2)["loss"]
    prediction = model.predict(x, lengths)
    want, _ = CE(prediction, y, lengths, batch_first=batch_first)
    assert got == pytest.approx(want, rel=1e-12)
    history = rf.fit(
        model, (x, y), lengths=lengths, loss=CE, optimizer=rf.Adam(model), epochs=2, batch_size=2
    )
    assert history["loss"][1] < history["loss"][0]


def test_lengths_follow_the_steps_of_the_model():
    f8 = {"dtype": np.float64}
    strided = rf.Sequential(
        rf.Conv1d(1, 3, 3, stride=2, batch_first=True, seed=1, **f8), rf.Linear(3, 2, seed=2, **f8)
    )
    wavenet = rf.WaveNet(1, 2, (1, 2), batch_first=True, seed=1, **f8)
    rng = np.random.default_rng(1)
    x, lengths = rng.standard_normal((3, 9, 1)), np.array([9, 4, 6])
    for model, ends in (strided, [4, 1, 2]), (wavenet, lengths):
        labels = rng.integers(0, 2, (3, max(ends)))
        alone = []
        for b, end in enumerate(ends):
            y = model(x[b : b + 1, : lengths[b]])
            y = y[0] if model.stateful else y
            alone.append(CE(y, labels[b : b + 1, :end])[0] * end)
        before = model.state_dict()
        got = rf.evaluate(model, (x, labels, lengths), loss=CE)
        np.testing.assert_allclose(got["loss"], sum(alone) / sum(ends), rtol=1e-12)
        history = rf.fit(model, (x, labels, lengths), loss=CE, optimizer=rf.SGD(model), seed=1)
        np.testing.assert_allclose(history["loss"], got["loss"], rtol=1e-12)
        assert any((before[name] != model.params[name]).any() for name in before)


def test_models_without_time():
    x = np.random.default_rng(0).standard_normal((40, 3))
    y = x @ np.array([[1.0], [2.0], [-1.0]])
    model = rf.Linear(3, 1, dtype=np.float64, seed=1)
    history = rf.fit(model, (x, y), loss=MSE, optimizer=rf.SGD(model, lr=0.1), epochs=30, seed=0)
    assert history["loss"][-1] < 1e-3


def test_models_of_several_inputs():
    rng = np.random.default_rng(0)
    source, target = rng.integers(0, 5, (6, 8)), rng.integers(0, 5, (4, 8))
    batch = (source, target, np.full(8, 6), np.full(8, 4)), (target + 1) % 5, np.full(8, 4)
    model, twin = (rf.EncoderDecoder(5, 5, 3, 4, dtype=np.float64, seed=1) for _ in range(2))
    history = rf.fit(model, [batch], loss=CE, optimizer=rf.SGD(model, lr=0.1), validation=[batch])
    scores, tape = twin.forward(*batch[0])
    value, gradient = CE(scores, batch[1])
    twin.backward(tape, gradient)
    rf.SGD(twin, lr=0.1).step()
    np.testing.assert_equal(dict(model.params), dict(twin.params))
    assert history["loss"] == [pytest.approx(value)]
    assert history["val_loss"] == [pytest.approx(CE(twin(*batch[0]), batch[1])[0])]
    with pytest.raises(TypeError, match="x as a NumPy array, got tuple of 2 in a batch"):
        rf.fit(model, [(([1], source), target)], loss=CE, optimizer=rf.SGD(model))


def test_carried_state():
    ids = np.random.default_rng(0).integers(0, 7, 61)
    data = rf.datasets.text_batches(ids, 3, 8)

    class States(rf.Callback):
        def on_train_begin(self, model, optimizer):
            self.seen = []
            forward = model.forward
            model.forward = lambda x, state, n: self.seen.append(state) or forward(x, state, n)

    for carry in (True, False):
        model, states = small_model(), States()
        options = dict(loss=CE, optimizer=rf.SGD(model, lr=0.0), carry_state=carry, validation=data)
        history = rf.fit(model, data, epochs=2, callbacks=[states], **options)
        assert (
            [s is None for s in states.seen] == ([True] + [False] * 2) * 2 if carry else [True] * 6
        )
        if carry:
            x = data.x.T
            want, _ = CE(model.predict(x), data.y.T)
            assert history["loss"][0] == pytest.approx(want, rel=1e-12)
            assert history["val_loss"][0] == pytest.approx(want, rel=1e-12)


def test_clipping():
    x, y = sums(8)
    for options, bound in [({"clip_norm": 1e-3}, 1e-3), ({"clip_value": 1e-3}, 1e-3)]:
        model = classifier()
        before = model.state_dict()
        rf.fit(model, (x, y), loss=CE, optimizer=rf.SGD(model, lr=1.0), batch_size=8, **options)
        change = np.concatenate([(model.params[n] - before[n]).ravel() for n in before])
        size = np.linalg.norm(change) if "clip_norm" in options else np.abs(change).max()
        assert size == pytest.approx(bound, rel=1e-2)


def test_callbacks():
    calls = []

    class Log(rf.Callback):
        def on_train_begin(self, model, optimizer):
            calls.append("begin")

        def on_epoch_begin(self, epoch):
            calls.append(f"epoch {epoch}")

        def on_batch_end(self, batch, logs):
            calls.append(f"batch {batch} {sorted(logs)}")

        def on_epoch_end(self, epoch, logs):
            logs["mine"] = epoch
            return epoch == 1

        def on_train_end(self, history):
            calls.append(f"end {history['mine']}")

    model = classifier()
    history = rf.fit(
        model,
        sums(4),
        loss=CE,
        optimizer=rf.SGD(model),
        epochs=9,
        batch_size=2,
        callbacks=[Log(), rf.Callback()],
    )
    epoch = ["batch 0 ['loss']", "batch 1 ['loss']"]
    assert calls == ["begin", "epoch 0", *epoch, "epoch 1", *epoch, "end [0, 1]"]
    assert history["mine"] == [0, 1]


def test_interruption_leaves_everything_usable():
    class Interrupt(rf.Callback):
        ended = False

        def on_batch_end(self, batch, logs):
            if batch == 1:
                raise KeyboardInterrupt

        def on_train_end(self, history):
            self.ended = True

    model, callback = classifier(), Interrupt()
    options = dict(loss=CE, optimizer=rf.Adam(model), batch_size=8)
    with pytest.raises(KeyboardInterrupt):
        rf.fit(model, sums(64), callbacks=[callback], **options)
    assert callback.ended
    assert np.isfinite(rf.fit(model, sums(64), **options)["loss"][0])


def test_no_input_gradient_is_computed():
    class Spy(rf.LSTM):
        def backward(self, tape, dy, dstate=None, input_grad=True):
            asked.append(input_grad)
            return super().backward(tape, dy, dstate, input_grad)

    asked = []
    options = {"batch_first": True, "dtype": np.float64}
    model = rf.Sequential(Spy(1, 3, **options), Spy(3, 2, **options))
    x, _ = sums(4)
    rf.fit(model, (x, np.zeros((4, 6, 2))), loss=MSE, optimizer=rf.SGD(model))
    assert asked == [True, False]


def test_refuses():
    x, y = sums(8)
    model, other = classifier(), classifier()
    for data, options, error, message in [
        ((x, y), {"optimizer": rf.SGD(other)}, ValueError, "an optimizer of the model"),
        ((x, y), {"carry_state": True}, ValueError, "consecutive batches with carry_state"),
        ((x, y[1:]), {}, ValueError, "as many samples in y (axis 0) as in x (axis 0)"),
        ((x, y, x, y, x), {}, ValueError, "(x, y, lengths, sample_weight), got 5 entries"),
        ((x, y, y + 1), {"lengths": y + 1}, ValueError, "lengths twice"),
        ((x, y), {"lengths": y + 9}, ValueError, "lengths from 0 to 6"),
        ((x, y), {"lengths": y[1:]}, ValueError, "lengths of shape (8,)"),
        ((x, y), {"batch_size": 0}, ValueError, "batch_size >= 1"),
        ((x, y), {"epochs": 1.5}, TypeError, "epochs as an integer"),
        ([(x, y)], {"lengths": y + 1}, ValueError, "lengths in the batches"),
        (3, {}, TypeError, "data as (x, y), an iterable of batches or a function, got int"),
        ([x], {}, ValueError, "batches (x, y), (x, y, lengths) or"),
        (
            (),
            {},
            ValueError,
            "data as (x, y), (x, y, lengths) or (x, y, lengths, sample_weight), got 0",
        ),
        ([], {}, ValueError, "data for epoch 1, got no batches"),
        ([x, y], {}, ValueError, "got a batch that is an array of shape (8, 6, 1)"),
        ((x.tolist(), y.tolist()), {}, ValueError, "got a batch that is list of 8"),
        ([(x.tolist(), y)], {}, TypeError, "data with x as a NumPy array, got list of 8"),
    ]:
        with pytest.raises(error, match=re.escape(message)):
            rf.fit(model, data, **{"loss": CE, "optimizer": rf.SGD(model), **options})
    once = iter([(x, y)])
    with pytest.raises(ValueError, match="data for epoch 2, got no batches; an iterator can be"):
        rf.fit(model, once, loss=CE, optimizer=rf.SGD(model), epochs=2)
    time_major = rf.GRU(1, 2)
    with pytest.raises(ValueError, match=re.escape("samples on axis 1 of x and 1 of y")):
        rf.fit(time_major, (x[0, :, 0], y), loss=CE, optimizer=rf.SGD(time_major))


def test_refuses_before_anything_is_written():
    data = x, y = sums(8)
    model = classifier()
    before = model.state_dict()
    for name, value, error, message in [
        ("loss", 3, TypeError, "as a function, got 3"),
        ("optimizer", None, TypeError, "as an Optimizer of the model, got None"),
        ("clip_norm", -1, ValueError, ">= 0, got -1"),
        ("clip_norm", np.nan, ValueError, ">= 0, got nan"),
        ("clip_value", "a", TypeError, "as a number, got 'a'"),
        ("metrics", [rf.losses.accuracy], TypeError, "as a mapping of str to function, got ["),
        ("metrics", {"a": 1}, TypeError, "as a mapping of str to function, got {'a': 1}"),
        ("metrics", {"loss": rf.losses.accuracy}, ValueError, "of other names than 'loss'"),
        ("validation", (x, y[1:]), ValueError, "with as many samples in y"),
        ("validation", 3, TypeError, "as (x, y), an iterable of batches or a function, got int"),
        ("validation", [x], ValueError, "of batches (x, y), (x, y, lengths)"),
        ("validation", iter([data]), ValueError, "as a list, or a function"),
        ("bucket", 1, TypeError, "as True or False, got 1"),
        ("drop_last", 1, TypeError, "as True or False, got 1"),
        ("validation_split", 0.9, ValueError, "from 0 to 1 that leaves"),
        ("validation_split", 1.0, ValueError, "from 0 to 1 that leaves"),
        ("validation_split", -0.5, ValueError, "from 0 to 1 that leaves"),
        ("validation_split", True, TypeError, "as a number, got True"),
        ("callbacks", rf.Callback(), TypeError, "as a sequence of Callback, got <"),
        ("callbacks", [print], TypeError, "as a sequence of Callback, got [<"),
        ("seed", -1, ValueError, ">= 0, got -1"),
        ("shuffle", 1, TypeError, "as True or False, got 1"),
        ("carry_state", None, TypeError, "as True or False, got None"),
        ("progress", "no", TypeError, "as True or False, got 'no'"),
        ("unit", 1, TypeError, "as a str, got 1"),
        ("comm", 3, TypeError, "as rnnfast.mpi.world() returns it, got int"),
    ]:
        options = {"loss": CE, "optimizer": rf.SGD(model), "epochs": 2, name: value}
        with pytest.raises(error, match=re.escape(f"fit expected {name} {message}")):
            rf.fit(model, data, **options)
    both = {"validation": data, "validation_split": 0.5}
    for given, options, message in [
        (data, both, "validation or validation_split, got both"),
        ([data], {"validation_split": 0.5}, "data as arrays with validation_split"),
        ([data], {"bucket": True}, "data as arrays and their lengths with bucket"),
        (data, {"bucket": True}, "data as arrays and their lengths with bucket"),
        ([data], {"drop_last": True}, "data as arrays with drop_last"),
        (data, {"drop_last": True, "batch_size": 99}, "data of at least one batch of 99 samples"),
    ]:
        with pytest.raises(ValueError, match=f"fit expected {message}"):
            rf.fit(model, given, loss=CE, optimizer=rf.SGD(model), **options)
    with pytest.raises(TypeError, match="fit expected model as a layer, got None"):
        rf.fit(None, data, loss=CE, optimizer=rf.SGD(model))
    np.testing.assert_equal(model.state_dict(), before)
    for bad, options in [((x, y[1:]), {}), (3, {}), ([x], {}), (data, {"metrics": 1})]:
        with pytest.raises((ValueError, TypeError), match=r"^evaluate expected (data|metrics)"):
            rf.evaluate(model, bad, loss=CE, **options)
