"""Losses: against finite differences, PyTorch and their own definitions."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
import pytest
from comparisons import close, same_slope
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnfast.datasets import sine_waves, text_batches
from rnnfast.losses import (
    absolute_error,
    accuracy,
    focal_loss,
    huber,
    logistic,
    softmax_cross_entropy,
    squared_error,
    top_k_accuracy,
)

T, B, C = 4, 3, 5
LOSSES = [softmax_cross_entropy, focal_loss, squared_error, absolute_error, huber, logistic]
smoothed = partial(softmax_cross_entropy, label_smoothing=0.2)
MASKS = [
    {},
    {"lengths": [4, 0, 2]},
    {"lengths": [2, 3, 1], "steps": "last"},
    {"steps": "last"},
    {"weight": np.arange(12.0).reshape(T, B)},
    {"weight": np.array([0.0, 1.0, 2.5])},
    {"weight": np.array([0.0, 1.0, 2.5]), "lengths": [4, 1, 2]},
    {"weight": np.arange(12.0).reshape(T, B), "lengths": [4, 1, 2]},
    {"weight": 2.0, "lengths": [4, 1, 2]},
]


def targets(rng):
    soft = rng.random((T, B, C))
    return [
        (softmax_cross_entropy, rng.integers(0, C, (T, B))),
        (softmax_cross_entropy, np.eye(C, dtype=int)[rng.integers(0, C, (T, B))]),
        (softmax_cross_entropy, soft),
        (focal_loss, rng.integers(0, C, (T, B))),
        (partial(focal_loss, gamma=0.5), soft),
        (smoothed, rng.integers(0, C, (T, B))),
        (smoothed, soft),
        (squared_error, rng.standard_normal((T, B, C))),
        (absolute_error, rng.standard_normal((T, B, C))),
        (huber, rng.standard_normal((T, B, C))),
        (partial(huber, delta=2.5), rng.standard_normal((T, B, C))),
        (logistic, rng.integers(0, 2, (T, B, C))),
        (logistic, soft),
    ]


@pytest.mark.parametrize("options", MASKS, ids=str)
@pytest.mark.parametrize("case", range(13))
def test_finite_differences(case, options):
    rng = np.random.default_rng(case)
    loss, target = targets(rng)[case]
    prediction = 3 * rng.standard_normal((T, B, C))
    value, gradient = loss(prediction, target, **options)
    assert type(value) is float
    same_slope("dprediction", gradient, lambda: loss(prediction, target, **options)[0], prediction)

    # the layout changes nothing
    turned = dict(options, batch_first=True)
    if np.ndim(turned.get("weight", 0)) == 2:
        turned["weight"] = turned["weight"].T
    other = loss(prediction.swapaxes(0, 1), np.swapaxes(target, 0, 1), **turned)
    assert other[0] == pytest.approx(value, rel=1e-14)
    np.testing.assert_allclose(other[1].swapaxes(0, 1), gradient, rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_torch(dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    f = torch.nn.functional
    rng = np.random.default_rng(0)
    scores = 5 * rng.standard_normal((7, C)).astype(dtype)
    classes, soft = rng.integers(0, C, 7), rng.random((7, C)).astype(dtype)
    soft /= soft.sum(axis=1, keepdims=True)
    for ours, theirs, target in [
        (softmax_cross_entropy, f.cross_entropy, classes),
        (softmax_cross_entropy, f.cross_entropy, soft),
        (smoothed, partial(f.cross_entropy, label_smoothing=0.2), classes),
        (smoothed, partial(f.cross_entropy, label_smoothing=0.2), soft),
        (squared_error, f.mse_loss, soft),
        (absolute_error, f.l1_loss, soft),
        (huber, f.huber_loss, soft),
        (partial(huber, delta=2.5), partial(f.huber_loss, delta=2.5), soft),
        (logistic, f.binary_cross_entropy_with_logits, soft),
    ]:
        x = torch.tensor(scores, requires_grad=True)
        want = theirs(x, torch.tensor(target))
        want.backward()
        value, gradient = ours(scores, target)
        eps = float(np.finfo(dtype).eps)
        assert value == pytest.approx(want.item(), rel=10 * eps)
        close("dprediction", gradient, x.grad.numpy(), 10 * eps, dtype)


def test_means_over_valid_steps():
    rng = np.random.default_rng(1)
    prediction, target = rng.standard_normal((T, B, C)), rng.integers(0, C, (T, B))
    lengths = [4, 0, 2]
    each = [
        softmax_cross_entropy(prediction[t, b], target[t, b])[0]
        for b, n in enumerate(lengths)
        for t in range(n)
    ]
    assert softmax_cross_entropy(prediction, target, lengths)[0] == pytest.approx(np.mean(each))
    last = [
        softmax_cross_entropy(prediction[n - 1, b], target[n - 1, b])[0]
        for b, n in [(0, 4), (2, 2)]
    ]
    value, _ = softmax_cross_entropy(prediction, target, lengths, steps="last")
    assert value == pytest.approx(np.mean(last))
    hits = [
        prediction[t, b].argmax() == target[t, b] for b, n in enumerate(lengths) for t in range(n)
    ]
    assert accuracy(prediction, target, lengths) == pytest.approx(np.mean(hits))
    assert accuracy(prediction, np.eye(C)[target], lengths) == pytest.approx(np.mean(hits))


@pytest.mark.parametrize("loss", [*LOSSES, accuracy, partial(top_k_accuracy, k=2)])
def test_a_weight_of_two_counts_twice(loss):
    rng = np.random.default_rng(5)
    ranked = loss not in LOSSES or loss in (softmax_cross_entropy, focal_loss)
    prediction, repeats = rng.standard_normal((6, T, C)), np.array([1, 0, 2, 3, 0, 1])
    target = rng.integers(0, 2, (6, T) if ranked else (6, T, C))
    lengths = np.array([4, 4, 1, 0, 3, 2])

    def first(*args, **keywords):
        result = loss(*args, **keywords)
        return result[0] if loss in LOSSES else result

    # of samples without time, of all steps of samples, of ragged samples
    for p, t, n in [
        (prediction[:, 0], target[:, 0], {}),
        (prediction, target, {"batch_first": True}),
        (prediction, target, {"batch_first": True, "lengths": lengths}),
    ]:
        twice = {k: v if k == "batch_first" else v.repeat(repeats) for k, v in n.items()}
        want = first(p.repeat(repeats, axis=0), t.repeat(repeats, axis=0), **twice)
        for scale in (1, 0.125):
            got = first(p, t, weight=scale * repeats, **n)
            assert got == pytest.approx(want, rel=1e-13)
    # of steps, in the layout of the prediction
    steps = np.broadcast_to(repeats[:, None], (6, T))
    for at_end in ({}, {"lengths": lengths}):
        whole = first(prediction, target, weight=repeats, batch_first=True, **at_end)
        for weight in (steps, np.where(np.arange(T) < lengths[:, None], steps, 9))[
            : 1 + len(at_end)
        ]:
            assert first(
                prediction, target, weight=weight, batch_first=True, **at_end
            ) == pytest.approx(whole, rel=1e-13)
            assert first(
                prediction.swapaxes(0, 1), target.swapaxes(0, 1), weight=weight.T, **at_end
            ) == pytest.approx(whole, rel=1e-13)
    zero = first(prediction, target, weight=np.zeros(6), batch_first=True)
    assert zero == 0.0


@pytest.mark.parametrize("loss", LOSSES)
def test_weight_zero_hides_everything(loss):
    rng = np.random.default_rng(6)
    indexed = loss in (softmax_cross_entropy, focal_loss)
    prediction = rng.standard_normal((6, C)).astype(np.float32)
    target = rng.integers(0, 2, 6) if indexed else rng.integers(0, 2, (6, C)).astype(float)
    weight = np.array([1.0, 0.0, 2.0, 0.0, 0.5, 1.0])
    value, gradient = loss(prediction, target, weight=weight)
    prediction[weight == 0] = np.nan
    target[weight == 0] = -7 if indexed else np.nan  # ignored labels
    again = loss(prediction, target, weight=weight)
    assert again[0] == value
    np.testing.assert_array_equal(again[1], gradient)
    assert not gradient[weight == 0].any()
    assert gradient.dtype == np.float32
    value, gradient = loss(prediction, target, weight=np.zeros(6))
    assert (value, gradient.any()) == (0.0, False)


def test_weights_of_elements():
    rng = np.random.default_rng(7)
    prediction, target, weight = rng.standard_normal((3, 4, T, C))
    weight = np.abs(weight) * (weight < 1)
    for loss, each in [
        (squared_error, (prediction - target) ** 2),
        (absolute_error, np.abs(prediction - target)),
    ]:
        value, gradient = loss(prediction, target, weight=weight, batch_first=True)
        assert value == pytest.approx((weight * each).sum() / weight.sum(), rel=1e-13)
        same_slope(
            "dprediction",
            gradient,
            lambda loss=loss: loss(prediction, target, weight=weight, batch_first=True)[0],
            prediction,
        )


def test_focal_loss():
    rng = np.random.default_rng(8)
    scores, target = rng.standard_normal((7, C)), rng.integers(0, C, 7)
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    own = p[np.arange(7), target]
    for gamma in (0, 0.5, 1, 2, 5.0):
        value, gradient = focal_loss(scores, target, gamma=gamma)
        assert value == pytest.approx(np.mean(-((1 - own) ** gamma) * np.log(own)), rel=1e-12)
        soft = focal_loss(scores, np.eye(C)[target], gamma=gamma)
        assert soft[0] == pytest.approx(value, rel=1e-14)
        np.testing.assert_allclose(soft[1], gradient, rtol=1e-12, atol=1e-16)
    plain = softmax_cross_entropy(scores, target)
    value, gradient = focal_loss(scores, target, gamma=0)
    assert value == pytest.approx(plain[0], rel=1e-13)
    np.testing.assert_allclose(gradient, plain[1], rtol=1e-12, atol=1e-15)
    sure = np.array([[1e30, -1e30, 0.0], [-1e4, 1e4, -np.inf]], np.float32)
    for gamma in (0.0, 0.5, 2.0):
        value, gradient = focal_loss(sure, np.array([0, 1]), gamma=gamma)
        assert (value, np.abs(gradient).max()) == (0.0, 0.0)
        value, gradient = focal_loss(sure[1:], np.array([0]), gamma=gamma)
        assert value == pytest.approx(2e4)
        np.testing.assert_allclose(gradient, [[-1, 1, 0]], atol=1e-6)


def test_several_labels_of_a_sample():
    rng = np.random.default_rng(9)
    for shape, keywords in (((6, 3), {}), ((6, T, 3), {"batch_first": True})):
        scores, labels = rng.standard_normal(shape), rng.integers(0, 2, shape)
        weight = rng.random(6)
        p = 1 / (1 + np.exp(-scores))
        each = -np.log(np.where(labels, p, 1 - p)).reshape(6, -1).mean(axis=1)
        for labels_given in (labels, labels.astype(bool), labels.astype(np.float32)):
            value, gradient = logistic(scores, labels_given, weight=weight, **keywords)
            assert value == pytest.approx((weight * each).sum() / weight.sum(), rel=1e-13)
        same_slope(
            "dprediction",
            gradient,
            lambda s=scores, t=labels, w=weight, k=keywords: logistic(s, t, weight=w, **k)[0],
            scores,
        )


def test_top_k_accuracy():
    rng = np.random.default_rng(1)
    prediction = rng.integers(0, 4, (T, B, C)).astype(float)  # with ties
    target, lengths = rng.integers(0, C, (T, B)), [4, 0, 2]
    for k in range(1, C + 2):
        hits = [
            target[t, b] in np.argsort(-prediction[t, b], kind="stable")[:k]
            for b, n in enumerate(lengths)
            for t in range(n)
        ]
        got = top_k_accuracy(prediction, target, lengths, k=k)
        assert got == pytest.approx(np.mean(hits))
        assert top_k_accuracy(prediction, np.eye(C)[target], lengths, k=k) == got
    got = top_k_accuracy(prediction, target, lengths, k=1)
    assert got == accuracy(prediction, target, lengths) < 1.0
    prediction[...] = np.nan
    assert top_k_accuracy(prediction, target, k=C - 1) == 0.0


@pytest.mark.parametrize("loss", LOSSES)
def test_padding_never_leaks(loss):
    rng = np.random.default_rng(2)
    prediction = rng.standard_normal((T, B, C))
    target = rng.integers(
        0, 2, (T, B) if loss in (softmax_cross_entropy, focal_loss) else (T, B, C)
    ).astype(int if loss in (softmax_cross_entropy, focal_loss) else float)
    lengths = [4, 0, 2]
    want = loss(prediction, target, lengths)
    padding = np.arange(T)[:, None] >= np.array(lengths)
    prediction[padding] = np.nan
    target[padding] = -100
    value, gradient = loss(prediction, target, lengths)
    assert value == want[0]
    np.testing.assert_array_equal(gradient, want[1])
    assert not gradient[padding].any()


@pytest.mark.filterwarnings("error")
def test_extreme_scores():
    scores = np.array([[1e30, -1e30, 0.0], [-1e4, 1e4, 0.0]], np.float32)
    value, gradient = softmax_cross_entropy(scores, np.array([0, 1]))
    assert value == 0.0
    assert not gradient.any()
    value, gradient = softmax_cross_entropy(scores[1:], np.array([[0.0, 1.0, 0.0]]))
    assert value == 0.0
    scores = np.array([-np.inf, 0.0])
    assert softmax_cross_entropy(scores, np.array([0.0, 1.0]))[0] == 0.0
    value, gradient = logistic(np.array([1e30, -1e30, 800.0, -800.0]), np.array([1, 0, 0, 1]))
    assert value == 400.0
    np.testing.assert_array_equal(gradient, [0, 0, 0.25, -0.25])
    # the published softmax(5, 15)
    value, _ = softmax_cross_entropy(np.array([5.0, 15.0]), np.array(1))
    assert np.exp(-value) == pytest.approx(0.999955, abs=5e-7)
    assert value == pytest.approx(0.0000454, rel=1e-3)


def test_values_are_summed_in_double():
    n = 1 << 22
    prediction = np.full((n, 1), 0.1, np.float32)
    value, gradient = squared_error(prediction, np.zeros((n, 1)))
    assert value == pytest.approx(float(np.float32(0.1)) ** 2, rel=1e-7)
    assert gradient.dtype == np.float32


def test_nothing_counts():
    for loss in LOSSES:
        indexed = loss in (softmax_cross_entropy, focal_loss)
        for shape, lengths in [((0, 3, 2), None), ((2, 3, 2), [0, 0, 0]), ((3, 0, 2), [])]:
            target = np.zeros(shape[:-1], int) if indexed else np.zeros(shape)
            value, gradient = loss(np.ones(shape), target, lengths)
            assert value == 0.0
            assert gradient.shape == shape
            assert not gradient.any()
    value, gradient = squared_error(np.array(3.0), 1.0)
    assert (value, gradient) == (4.0, 4.0)


def test_inputs_stay_as_they_are():
    prediction = np.random.default_rng(3).standard_normal((T, B, C))
    kept = prediction.copy()
    prediction.flags.writeable = False
    for loss, target in targets(np.random.default_rng(3)):
        before = target.copy()
        want = loss(prediction, target)
        for odd in (np.asfortranarray(prediction), prediction.astype(">f8")):
            value, gradient = loss(odd, target)
            assert value == want[0]
            np.testing.assert_array_equal(gradient, want[1])
        np.testing.assert_array_equal(prediction, kept)
        np.testing.assert_array_equal(target, before)


def test_refuses():
    p = np.zeros((T, B, C))
    ids = np.zeros((T, B), int)
    for call, error, message in [
        (lambda: softmax_cross_entropy(p.tolist(), ids), TypeError, "prediction as a NumPy array"),
        (lambda: softmax_cross_entropy(p.astype(int), ids), TypeError, "prediction as a NumPy"),
        (lambda: softmax_cross_entropy(p, ids * 1.0), TypeError, "class indices as integers"),
        (lambda: softmax_cross_entropy(p, ids[:, :2]), ValueError, "target of shape (4, 3) (class"),
        (lambda: softmax_cross_entropy(p, ids[0]), ValueError, "target of shape (4, 3) (class"),
        (lambda: softmax_cross_entropy(p, ids + C), ValueError, "class indices from 0 to 4, got 5"),
        (
            lambda: softmax_cross_entropy(p, ids - 1),
            ValueError,
            "indices from 0 to 4, got -1",
        ),
        (
            lambda: softmax_cross_entropy(p, p - 1),
            ValueError,
            "probabilities >= 0 in target, got",
        ),
        (lambda: softmax_cross_entropy(p[..., :0], ids), ValueError, "prediction with classes"),
        (
            lambda: softmax_cross_entropy(p[0], ids[0], [1]),
            ValueError,
            "prediction with axes",
        ),
        (lambda: softmax_cross_entropy(p, ids, [1]), ValueError, "lengths of shape (3,)"),
        (lambda: softmax_cross_entropy(p, ids, [1, 2, 9]), ValueError, "lengths from 0 to 4"),
        (lambda: softmax_cross_entropy(p, ids, weight=-np.ones(T)), ValueError, "weight >= 0"),
        (lambda: softmax_cross_entropy(p, ids, weight=np.ones(T)), ValueError, "weight of shape"),
        (lambda: softmax_cross_entropy(p, ids, steps="some"), ValueError, "steps 'all' or 'last'"),
        (lambda: squared_error(p, p[0]), ValueError, "target of shape (4, 3, 5), got (3, 5)"),
        (lambda: squared_error(p[:, 0, 0], p[:, 0, :1]), ValueError, "target of shape (4,), got"),
        (lambda: logistic(p, p.astype(str)), TypeError, "target as numbers"),
        (lambda: squared_error(p, p, weight="x"), TypeError, "weight as numbers, got <U1"),
        (lambda: squared_error(p, p, weight=[[1], []]), TypeError, "weight as numbers, got [["),
        (
            lambda: squared_error(p, p, weight=np.inf),
            ValueError,
            "weight >= 0 and finite, got in",
        ),
        (lambda: squared_error(p, p, weight=-2.0), ValueError, "weight >= 0 and finite, got -2"),
        (lambda: logistic(p, p + 2), ValueError, "target from 0 to 1, got 2.0 to 2.0"),
        (lambda: accuracy(p, ids + C), ValueError, "class indices from 0 to 4, got 5 to 5"),
        (lambda: accuracy(p, ids * 1.0), TypeError, "class indices as integers, got float64"),
        (lambda: sine_waves(1.5, 2), TypeError, "n_series as an integer, got 1.5"),
        (lambda: sine_waves(1, -2), ValueError, "n_steps >= 0, got -2"),
        (lambda: text_batches(ids[0], 1, 2.0), TypeError, "steps as an integer, got 2.0"),
        (lambda: focal_loss(p, ids, gamma=-1), ValueError, "gamma >= 0 and finite, got -1"),
        (lambda: focal_loss(p, ids, gamma="2"), TypeError, "gamma as a number, got '2'"),
        (lambda: focal_loss(p, ids + C), ValueError, "class indices from 0 to 4, got 5"),
        (
            lambda: squared_error(p, p, weight=np.ones(T)),
            ValueError,
            "weight of shape (3,), one per sample, or (4, 3, 5) or its first axes, got (4,)",
        ),
        (lambda: accuracy(p, ids[0]), ValueError, "target of shape (4, 3) (class indices)"),
        (lambda: top_k_accuracy(p, ids, k=0), ValueError, "k >= 1, got 0"),
        (lambda: huber(p, p, delta=0), ValueError, "delta > 0 and finite, got 0"),
        (lambda: huber(p, p[0]), ValueError, "target of shape (4, 3, 5), got (3, 5)"),
        (lambda: absolute_error(p, ids), ValueError, "target of shape (4, 3, 5), got (4, 3)"),
        (
            lambda: softmax_cross_entropy(p, ids, label_smoothing=1.5),
            ValueError,
            "label_smoothing from 0 to 1, got 1.5",
        ),
    ]:
        with pytest.raises(error, match=f"expected.* {re.escape(message)}"):
            call()


@settings(max_examples=100, deadline=None)
@given(
    loss=st.sampled_from(LOSSES),
    shape=st.lists(st.integers(0, 3), max_size=4).map(tuple),
    target_shape=st.lists(st.integers(0, 3), max_size=4).map(tuple),
    dtype=st.sampled_from(["f4", "f8", "i4", "?", "U1"]),
    target_dtype=st.sampled_from(["f4", "i8", "u1", "?", "c8", "U1"]),
    lengths=st.none() | st.lists(st.integers(0, 3), max_size=3),
    steps=st.sampled_from(["all", "last"]),
)
def test_any_call_works_or_raises(loss, shape, target_shape, dtype, target_dtype, lengths, steps):
    prediction, target = np.zeros(shape, dtype), np.zeros(target_shape, target_dtype)
    try:
        value, gradient = loss(prediction, target, lengths, steps=steps)
    except (TypeError, ValueError) as error:
        assert str(error).startswith(f"{loss.__name__} expected "), error
        return
    assert np.isfinite(value)
    assert gradient.shape == shape
    assert gradient.dtype == prediction.dtype
