"""Batches: weights of samples and steps, of arrays and of iterables."""

from __future__ import annotations

import re
import tracemalloc
from functools import partial

import numpy as np
import pytest

from rnnfast import (
    GRU,
    SGD,
    Last,
    Linear,
    RepeatVector,
    Sequential,
    evaluate,
    fit,
    losses,
)

CE, MSE, ACC = losses.softmax_cross_entropy, losses.squared_error, losses.accuracy
N, T, K = 9, 5, 3


def network(batch_first=True, last=False, seed=1):
    f8 = {"dtype": np.float64}
    layers = [GRU(2, 4, batch_first=batch_first, seed=seed, **f8)]
    layers += [Last(batch_first)] * last
    return Sequential(*layers, Linear(4, K, seed=seed + 1, **f8))


def samples(last=False, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((N, T, 2))
    y = rng.integers(0, K, (N,) if last else (N, T))
    return x, y, rng.integers(1, T + 1, N), rng.integers(0, 4, N)


def one_step(model, data, **options):
    before = model.state_dict()
    options = {"loss": CE, "optimizer": SGD(model, lr=1.0), "shuffle": False, **options}
    history = fit(model, data, metrics={"accuracy": ACC}, **options)
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
        whole = evaluate(
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
                got = evaluate(model, data, **options)
                assert got == pytest.approx(whole, rel=1e-12)
                history = fit(model, data, optimizer=SGD(model, lr=0.0), **options)
                assert {k: history[k][0] for k in whole} == pytest.approx(whole, rel=1e-12)
        history = fit(
            model,
            (x, y),
            loss=CE,
            optimizer=SGD(model, lr=0.0),
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
            options |= {"loss": loss, "optimizer": SGD(model), "batch_size": 2, "seed": 0}
            fit(model, (x, y), lengths=lengths, sample_weight=given, **options)
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
    model = Sequential(Linear(8, 8, seed=0), Last(True))
    options |= {"loss": MSE, "optimizer": SGD(model), "batch_size": 10}
    tracemalloc.start()
    try:
        fit(model, (x, x[:, 0]), **options)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < x.nbytes / 4


def test_an_epoch_of_zero_weights_changes_nothing():
    x, y, lengths, _ = samples()
    model = network()
    before = model.state_dict()
    history = fit(
        model, (x, y, lengths, np.zeros(N)), loss=CE, optimizer=SGD(model, lr=1.0), batch_size=2
    )
    assert history["loss"] == [0.0]
    np.testing.assert_equal(model.state_dict(), before)


def test_time_first_models_whose_time_is_made_anew():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((7, 4, 2)), rng.standard_normal((7, 4, 1))
    results = []
    for batch_first in (True, False):
        f8 = {"dtype": np.float64}
        model = Sequential(
            GRU(2, 3, batch_first=batch_first, seed=1, **f8),
            Last(batch_first),
            RepeatVector(4, batch_first),
            GRU(3, 1, batch_first=batch_first, seed=2, **f8),
        )
        data = (x, y) if batch_first else (x.swapaxes(0, 1), y.swapaxes(0, 1))
        options = {"loss": MSE, "optimizer": SGD(model), "batch_size": 3, "seed": 0}
        history = fit(model, data, sample_weight=np.arange(7), **options)
        results.append((history["loss"], model.state_dict()))
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-12)
    for name, value in results[0][1].items():
        np.testing.assert_allclose(results[1][1][name], value, rtol=1e-10, atol=1e-14)
    # a vector to a sequence: only y has an axis of time
    for batch_first in (True, False):
        model = Sequential(
            Linear(2, 3, seed=0, **f8),
            RepeatVector(5, batch_first),
            GRU(3, 1, batch_first=batch_first, seed=2, **f8),
        )
        targets = rng.standard_normal((6, 5, 1) if batch_first else (5, 6, 1))
        data = rng.standard_normal((6, 2)), targets
        history = fit(
            model, data, loss=MSE, optimizer=SGD(model), batch_size=4, sample_weight=np.ones(6)
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
            fit(model, data, loss=CE, optimizer=SGD(model), **options)
