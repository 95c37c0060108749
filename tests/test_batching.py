"""Batches: weights of samples and steps, of arrays and of iterables; shuffled, bucketed, split."""

from __future__ import annotations

import re
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from samples import classifier, peak_memory, sums

import rnnfast as rf

CE, MSE, ACC = rf.losses.softmax_cross_entropy, rf.losses.squared_error, rf.losses.accuracy
N, T, K = 9, 5, 3


def network(batch_first=True, last=False, seed=1):
    f8 = {"dtype": np.float64}
    layers = [rf.GRU(2, 4, batch_first=batch_first, seed=seed, **f8)]
    layers += [rf.Last(batch_first)] * last
    return rf.Sequential(*layers, rf.Linear(4, K, seed=seed + 1, **f8))


def samples(last=False, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((N, T, 2))
    y = rng.integers(0, K, (N,) if last else (N, T))
    return x, y, rng.integers(1, T + 1, N), rng.integers(0, 4, N)


def one_step(model, data, **options):
    before = model.state_dict()
    options = {"loss": CE, "optimizer": rf.SGD(model, lr=1.0), "shuffle": False, **options}
    history = rf.fit(model, data, metrics={"accuracy": ACC}, **options)
    gradient = {name: before[name] - value for name, value in model.params.items()}
    return history["loss"][0], history["accuracy"][0], gradient


def same(got, want):
    assert got[:2] == pytest.approx(want[:2], rel=1e-12)
    for name, value in want[2].items():
        np.testing.assert_allclose(got[2][name], value, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_a_sample_of_weight_two_counts_twice(batch_first, last, ragged):
    x, y, lengths, weight = samples(last)
    rows = np.arange(N).repeat(weight)
    lengths = lengths if ragged else None

    def arranged(x, y):
        return (x, y) if batch_first else (x.swapaxes(0, 1), y if last else y.T)

    want = one_step(
        network(batch_first, last),
        arranged(x[rows], y[rows]),
        lengths=lengths[rows] if ragged else None,
        batch_size=99,
    )
    x, y = arranged(x, y)
    make = partial(network, batch_first, last)
    same(one_step(make(), (x, y), lengths=lengths, sample_weight=0.5 * weight, batch_size=99), want)
    same(one_step(make(), (x, y, lengths, weight), batch_size=99), want)
    same(one_step(make(), [(x, y, lengths, weight)]), want)
    if not last:  # of the steps
        steps = np.repeat(weight[:, None], T, axis=1)
        steps = steps if batch_first else steps.T
        same(one_step(make(), (x, y), lengths=lengths, sample_weight=steps, batch_size=99), want)
        same(one_step(make(), [(x, y, lengths, steps)]), want)


@pytest.mark.parametrize("last", [False, True])
def test_epochs_and_validation_are_means_over_the_weights(last):
    x, y, lengths, weight = samples(last)
    for n in (None, lengths):
        model = network(last=last)
        whole = rf.evaluate(
            model, (x, y, n, weight), loss=CE, batch_size=99, metrics={"accuracy": ACC}
        )
        for size in (1, 2, 4):  # some batches weigh nothing
            for data, options in (
                ((x, y, n, weight), {}),
                ((x, y), {"lengths": n, "sample_weight": weight}),
                (
                    [
                        (x[i : i + size], y[i : i + size], n if n is None else n[i : i + size], w)
                        for i in range(0, N, size)
                        for w in [weight[i : i + size]]
                    ],
                    {},
                ),
            ):
                options |= {"loss": CE, "batch_size": size, "metrics": {"accuracy": ACC}}
                got = rf.evaluate(model, data, **options)
                assert got == pytest.approx(whole, rel=1e-12)
                history = rf.fit(model, data, optimizer=rf.SGD(model, lr=0.0), **options)
                assert {k: history[k][0] for k in whole} == pytest.approx(whole, rel=1e-12)
        history = rf.fit(
            model,
            (x, y),
            loss=CE,
            optimizer=rf.SGD(model, lr=0.0),
            validation=(x, y, n, weight),
            batch_size=2,
            metrics={"accuracy": ACC},
        )
        assert history["val_loss"][0] == pytest.approx(whole["loss"], rel=1e-12)
        assert history["val_accuracy"][0] == pytest.approx(whole["accuracy"], rel=1e-12)


def test_weights_stay_with_their_samples():
    x, y, lengths, weight = samples()
    weight = weight + np.linspace(0, 0.5, N)
    seen = {}

    def loss(prediction, target, lengths, weight, batch_first):
        assert batch_first
        for t, n, w in zip(target, lengths, weight, strict=True):
            seen[tuple(t[:n]), n] = w
        return 0.0, np.zeros_like(prediction)

    steps = weight[:, None] + np.arange(T)
    for options in ({}, {"bucket": True}, {"bucket": True, "validation_split": 0.3}):
        for given in (weight, steps):
            seen.clear()
            model = network()
            options |= {"loss": loss, "optimizer": rf.SGD(model), "batch_size": 2, "seed": 0}
            rf.fit(model, (x, y), lengths=lengths, sample_weight=given, **options)
            assert len(seen) == N
            for t, n, w in zip(y, lengths, given, strict=True):
                w, got = np.atleast_1d(w)[:n], np.atleast_1d(seen[tuple(t[:n]), n])[:n]
                np.testing.assert_array_equal(got, w)


@pytest.mark.parametrize("kind", ["plain", "swapped", "memory map", "buckets", "validation"])
def test_no_copy_of_the_data(kind, tmp_path):
    x = np.random.default_rng(0).standard_normal((2000, 50, 8)).astype(np.float32)
    options = {}
    if kind == "swapped":
        x = np.ascontiguousarray(x.swapaxes(0, 1)).swapaxes(0, 1)
    elif kind == "memory map":
        np.save(tmp_path / "x.npy", x)
        x = np.load(tmp_path / "x.npy", mmap_mode="r")
    elif kind == "buckets":
        options = {"lengths": np.arange(2000) % 50 + 1, "sample_weight": np.ones(2000)}
        options["bucket"] = True
    elif kind == "validation":
        options = {"validation_split": 0.5}
    model = rf.Sequential(rf.Linear(8, 8, seed=0), rf.Last(True))
    options |= {"loss": MSE, "optimizer": rf.SGD(model), "batch_size": 10}
    assert peak_memory(lambda: rf.fit(model, (x, x[:, 0]), **options)) < x.nbytes / 4


def test_an_epoch_of_zero_weights_changes_nothing():
    x, y, lengths, _ = samples()
    model = network()
    before = model.state_dict()
    history = rf.fit(
        model, (x, y, lengths, np.zeros(N)), loss=CE, optimizer=rf.SGD(model, lr=1.0), batch_size=2
    )
    assert history["loss"] == [0.0]
    np.testing.assert_equal(model.state_dict(), before)


def test_time_first_models_whose_time_is_made_anew():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((7, 4, 2)), rng.standard_normal((7, 4, 1))
    results = []
    for batch_first in (True, False):
        f8 = {"dtype": np.float64}
        model = rf.Sequential(
            rf.GRU(2, 3, batch_first=batch_first, seed=1, **f8),
            rf.Last(batch_first),
            rf.RepeatVector(4, batch_first),
            rf.GRU(3, 1, batch_first=batch_first, seed=2, **f8),
        )
        data = (x, y) if batch_first else (x.swapaxes(0, 1), y.swapaxes(0, 1))
        options = {"loss": MSE, "optimizer": rf.SGD(model), "batch_size": 3, "seed": 0}
        history = rf.fit(model, data, sample_weight=np.arange(7), **options)
        results.append((history["loss"], model.state_dict()))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-12)
    for name, value in results[0][1].items():
        np.testing.assert_allclose(results[1][1][name], value, rtol=1e-10, atol=1e-14)
    # a vector to a sequence: only y has an axis of time
    for batch_first in (True, False):
        model = rf.Sequential(
            rf.Linear(2, 3, seed=0, **f8),
            rf.RepeatVector(5, batch_first),
            rf.GRU(3, 1, batch_first=batch_first, seed=2, **f8),
        )
        targets = rng.standard_normal((6, 5, 1) if batch_first else (5, 6, 1))
        data = rng.standard_normal((6, 2)), targets
        history = rf.fit(
            model, data, loss=MSE, optimizer=rf.SGD(model), batch_size=4, sample_weight=np.ones(6)
        )
        assert len(history.batch_losses) == 2


def test_refuses():
    x, y, lengths, weight = samples()
    model = network()
    for data, options, error, message in [
        ((x, y), {"sample_weight": weight[1:]}, ValueError, "fit expected sample_weight of shape"),
        ((x, y), {"sample_weight": np.ones((N, T + 1))}, ValueError, "shape (9,), or as y or its"),
        ((x, y), {"sample_weight": -weight}, ValueError, "fit expected sample_weight >= 0"),
        ((x, y), {"sample_weight": "balanced"}, TypeError, "sample_weight as numbers, got <U8"),
        ((x, y, lengths, weight), {"sample_weight": weight}, ValueError, "sample_weight twice"),
        ([(x, y)], {"sample_weight": weight}, ValueError, "expected sample_weight in the batches"),
        ([(x, y, lengths, weight, 1)], {}, ValueError, "(x, y, lengths, weight), or arrays"),
        (
            (x, y),
            {"validation": (x, y, lengths, weight[1:])},
            ValueError,
            "fit's validation expected sample_weight of shape (9,)",
        ),
    ]:
        with pytest.raises(error, match=re.escape(message)):
            rf.fit(model, data, loss=CE, optimizer=rf.SGD(model), **options)


# ---- which samples are in which batch


def test_shuffling_is_seeded():
    x, _ = sums(20)
    orders = []
    for seed, shuffle in [(1, True), (1, True), (2, True), (None, False)]:
        seen = []
        model = classifier()

        def loss(prediction, target, seen=seen):
            seen.extend(target)
            return 0.0, np.zeros_like(prediction)

        rf.fit(
            model,
            (x, np.arange(20)),
            loss=loss,
            optimizer=rf.SGD(model),
            epochs=2,
            batch_size=7,
            seed=seed,
            shuffle=shuffle,
        )
        assert sorted(seen[:20]) == sorted(seen[20:]) == list(range(20))
        orders.append(seen)
    assert orders[0] == orders[1] != orders[2]
    assert orders[0][:20] != orders[0][20:]
    assert orders[3] == [*range(20)] * 2


@pytest.mark.parametrize("batch_first", [True, False])
def test_validation_split_takes_the_last_samples(batch_first):
    x, y = sums(21)
    lengths = np.random.default_rng(5).integers(1, 7, 21)
    if not batch_first:
        x = x.swapaxes(0, 1)
    parts = [
        (x[s] if batch_first else x[:, s], y[s], lengths[s])
        for s in (slice(0, 14), slice(14, 21))  # floor(21 * (1 - 0.3))
    ]
    results = []
    for data, options in [
        ((x, y, lengths), {"validation_split": 0.3}),
        (parts[0], {"validation": parts[1]}),
    ]:
        model = classifier(batch_first)
        options |= dict(loss=CE, optimizer=rf.Adam(model), epochs=2, batch_size=4, seed=1)
        history = rf.fit(model, data, **options)
        del history["seconds"]
        results.append((history, model.state_dict()))
    np.testing.assert_equal(results[0], results[1])


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("last", [True, False])
def test_buckets(batch_first, last):
    rng = np.random.default_rng(4)
    lengths = rng.integers(0, 12, 50)
    x = np.arange(600.0).reshape(50, 12, 1)  # an element says which sample and step it is
    y = np.arange(50) if last else x[..., 0].astype(int)
    if not batch_first:
        x, y = x.swapaxes(0, 1), y if last else y.T
    layers = [rf.RNN(1, 2, batch_first=batch_first, seed=1, dtype=np.float64)]
    model = rf.Sequential(*layers, *[rf.Last(batch_first)] * last)
    forward, seen = model.forward, []

    def spy(x, state, n):
        seen.append((x, n))
        return forward(x, state, n)

    def loss(prediction, target, **keywords):
        x, n = seen[-1]
        steps = x if batch_first else x.swapaxes(0, 1)
        samples = steps[:, 0, 0].astype(int) // 12
        np.testing.assert_array_equal(n, lengths[samples])
        assert steps.shape[1] == max(1, n.max())
        np.testing.assert_array_equal(
            steps, np.arange(600.0).reshape(50, 12, 1)[samples, : n.max() or 1]
        )
        np.testing.assert_array_equal(target, samples if last else x[..., 0])
        epochs[-1].append(samples)
        return 0.0, np.zeros_like(prediction)

    model.forward = spy
    options = dict(loss=loss, optimizer=rf.SGD(model), batch_size=8, bucket=True, progress=False)
    for shuffle in (True, False):
        epochs = []

        class Epochs(rf.Callback):
            def on_epoch_begin(self, epoch, epochs=epochs):
                epochs.append([])

        rf.fit(
            model,
            (x, y, lengths),
            shuffle=shuffle,
            seed=1,
            epochs=2,
            callbacks=[Epochs()],
            **options,
        )
        for batches in epochs:
            assert sorted(np.concatenate(batches)) == list(range(50))
            ranges = sorted((lengths[b].min(), lengths[b].max()) for b in batches)
            assert all(a[1] <= b[0] for a, b in pairwise(ranges))
        first, second = ([b.tolist() for b in batches] for batches in epochs)
        longest = [lengths[b].max() for b in first]
        assert (first != second) == (sorted(longest) != longest) == shuffle


@pytest.mark.parametrize("padding", ["causal", "valid"])
def test_buckets_of_networks_that_shorten_time(padding):
    rng = np.random.default_rng(5)
    conv = rf.Conv1d(2, 4, 3, stride=2, padding=padding, batch_first=True, seed=0)
    model = rf.Sequential(conv, rf.GRU(4, 5, batch_first=True, seed=1), rf.Linear(5, 3, seed=2))
    start = model.state_dict()
    x, lengths = rng.standard_normal((40, 20, 2), np.float32), rng.integers(1, 15, 40)
    y = rng.standard_normal((40, model.out_lengths(20), 3))
    losses_seen = []
    for bucket in (True, False):
        model.load_state_dict(start)
        options = dict(loss=rf.losses.squared_error, optimizer=rf.SGD(model, lr=0.0), bucket=bucket)
        history = rf.fit(model, (x, y, lengths), batch_size=1, progress=False, **options)
        losses_seen.append(sorted(history.batch_losses))
    np.testing.assert_allclose(*losses_seen, rtol=1e-5)


def test_a_bucket_too_short_for_a_convolution():
    rng = np.random.default_rng(5)
    conv = rf.Conv1d(2, 4, 5, batch_first=True, seed=0)
    model = rf.Sequential(conv, rf.Last(batch_first=True), rf.Linear(4, 3, seed=2))
    x, lengths = rng.standard_normal((8, 9, 2), np.float32), np.array([1, 2, 3, 4, 9, 8, 7, 6])
    options = dict(loss=CE, optimizer=rf.SGD(model, lr=0.0), batch_size=4, progress=False)
    one, other = (
        rf.fit(model, (x, np.arange(8) % 3, lengths), shuffle=False, bucket=bucket, **options)
        for bucket in (True, False)
    )
    np.testing.assert_allclose(sorted(one.batch_losses), sorted(other.batch_losses), rtol=1e-5)


@pytest.mark.parametrize("bucket", [True, False])
def test_drop_last(bucket):
    rng = np.random.default_rng(5)
    x, lengths = rng.standard_normal((9, 6, 1), np.float32), np.arange(1, 10) % 6 + 1
    model = rf.Sequential(rf.Last(batch_first=True), rf.BatchNorm1d(1), rf.Linear(1, 3, seed=2))
    data, seen = (x, np.arange(9), lengths), []

    def loss(prediction, target):
        if len(prediction) > 1:  # else of validation
            seen.append(target)
        return 0.0, np.zeros_like(prediction)

    options = dict(loss=loss, optimizer=rf.SGD(model), batch_size=4, bucket=bucket, progress=False)
    with pytest.raises(ValueError, match="more than one row in a training batch, got 1"):
        rf.fit(model, data, seed=0, **options)
    seen.clear()
    last = tuple(a[:1] for a in data)
    rf.fit(model, data, epochs=20, seed=0, drop_last=True, validation=last, **options)
    assert {len(batch) for batch in seen} == {4}
    assert len(seen) == 40
    epochs = [set(np.concatenate(pair)) for pair in zip(seen[::2], seen[1::2], strict=True)]
    assert {len(epoch) for epoch in epochs} == {8}
    left_out = {min(set(range(9)) - epoch) for epoch in epochs}
    assert len(left_out) > 4  # not the longest ones alone, nor the last
