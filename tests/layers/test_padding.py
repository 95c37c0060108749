"""What lies past a sample's end never counts: in no loss, no metric and no layer's gradient."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from engines import each_engine as each_engine
from samples import laid_out

from rnnfast import (
    GRU,
    LSTM,
    RNN,
    SGD,
    Activation,
    Add,
    BatchNorm1d,
    Conv1d,
    Dropout,
    Embedding,
    EncoderDecoder,
    GatedConv1d,
    GaussianNoise,
    Graph,
    JoinedEmbedding,
    Last,
    LayerNorm,
    Linear,
    Merge,
    MiniRocket,
    Pool,
    Pool1d,
    Rearrange,
    ReLU,
    RepeatVector,
    Scale,
    Sequential,
    Sigmoid,
    Softmax,
    Tanh,
    WaveNet,
    evaluate,
    fit,
    layers,
    losses,
)
from rnnfast.cells import CELLS

MSE, MAE = losses.squared_error, losses.absolute_error
F8 = {"dtype": np.float64}
B, T, F, K = 4, 8, 2, 3
LENGTHS = np.array([8, 3, 5, 6])


def rnn(kind=LSTM, inputs=F, size=4, **options):
    return lambda bf: kind(inputs, size, batch_first=bf, seed=1, **options, **F8)


def linear(inputs=4, outputs=K):
    return lambda bf: Linear(inputs, outputs, seed=2, **F8)


def timed(kind, *arguments, **options):
    return lambda bf: kind(*arguments, batch_first=bf, **options)


def plain(kind, *arguments, **options):
    return lambda bf: kind(*arguments, **options)


def conv(inputs=F, outputs=4, size=3, **options):
    return timed(Conv1d, inputs, outputs, size, seed=3, **options, **F8)


def repeated(n):
    return timed(RepeatVector, n)


def added(bf):
    readers = [
        Sequential(rnn(GRU)(bf), timed(Pool, "mean")(bf), linear()(bf)),
        Sequential(timed(MiniRocket, F, T, 1, seed=1, **F8)(bf), linear(168)(bf)),
    ]
    return Add(*readers, weights=(0.5, 2.0))


def branched(bf):
    return Graph(
        [
            ("h", rnn()(bf), "x"),
            ("c", conv(padding="same")(bf), "x"),
            ("product", Merge("product"), ["h", "c"]),
            ("skip", Merge("concat"), ["product", "x"]),
            ("y", linear(4 + F)(bf), "skip"),
        ]
    )


# name: layers; each ends in K features
NETWORKS = {
    **{
        name: [rnn(getattr(layers, cell.layer), bidirectional=True, **cell.options), linear(8)]
        for name, cell in CELLS.items()
    },
    "projection": [rnn(LSTM, num_layers=2, proj_size=3), linear(3)],
    "lstm, layer norm, checkpoint": [rnn(LSTM, layer_norm=True, checkpoint=2), linear()],
    "in front of the recurrent": [
        linear(F, 4),
        plain(LayerNorm, 4, **F8),
        plain(ReLU),
        plain(Dropout, 0.0, seed=0),
        rnn(LSTM, 4, K),
    ],
    "activations": [linear(F, 4), plain(Tanh), plain(Sigmoid), plain(Softmax), rnn(RNN, 4, K)],
    "behind the recurrent": [
        rnn(),
        plain(LayerNorm, 4, **F8),
        plain(Tanh),
        plain(Sigmoid),
        plain(Dropout, 0.0, seed=0),
        plain(Softmax),
        linear(),
    ],
    "embedding": [plain(Embedding, 6, F, seed=0, **F8), rnn(), linear()],
    "embedding, convolution": [plain(Embedding, 6, F, seed=0, **F8), conv(), linear()],
    "joined embedding": [plain(JoinedEmbedding, 6, 1, 2, seed=0, **F8), rnn(), linear()],
    "conv valid": [conv(), linear()],
    "conv same": [conv(padding="same", dilation=2), linear()],
    "conv causal, strided": [conv(padding="causal", stride=2), rnn(GRU, 4), linear()],
    "conv behind linear": [linear(F, F), conv(padding=1, stride=3), linear()],
    "gated": [timed(GatedConv1d, F, 2, 2, seed=0, **F8), linear(F)],
    "wavenet": [timed(WaveNet, F, 4, (1, 2), seed=0, **F8), linear()],
    "added": [added],
    "branched": [branched],
    "features": [timed(MiniRocket, F, T, 1, seed=1, **F8), linear(168)],
    "last": [rnn(), timed(Last), linear()],
    "last, bidirectional": [
        rnn(bidirectional=True),
        timed(Last, bidirectional=True),
        linear(8),
    ],
    "last of linear": [linear(F, 4), timed(Last), linear()],
    "mean": [linear(F, 4), timed(Pool, "mean"), linear()],
    "max": [linear(F, 4), plain(Tanh), timed(Pool, "max"), linear()],
    "pooled convolution": [conv(stride=2), plain(ReLU), timed(Pool, "max"), linear()],
    "pooled windows": [linear(F, 4), timed(Pool1d, "mean", 2), rnn(GRU, 4), linear()],
    "maxima of windows": [conv(), timed(Pool1d, "max", 3, 1, "same"), linear()],
    "turned": [linear(F, 4), timed(Rearrange, "reverse"), rnn(GRU, 4), linear()],
    "more steps": [
        linear(F, 4),
        timed(Rearrange, "repeat", 2),
        timed(Rearrange, "pad", (1, -2)),
        rnn(GRU, 4),
        linear(),
    ],
    "functions": [
        plain(Scale, F, **F8),
        linear(F, 4),
        plain(Activation, "exp"),
        plain(GaussianNoise, 1e-30),
        rnn(GRU, 4, K),
    ],
    "nested": [lambda bf: Sequential(linear(F, 4)(bf), rnn(GRU, 4)(bf)), linear()],
    "repeated": [rnn(), timed(Last), repeated(T), rnn(LSTM, 4), linear()],
    "repeated by the input": [rnn(), timed(Pool, "mean"), repeated(None), rnn(GRU, 4), linear()],
    "repeated, bidirectional": [
        rnn(),
        timed(Last),
        linear(4, 4),
        repeated(T),
        rnn(LSTM, 4, bidirectional=True),
        linear(8),
    ],
    "repeated, convolution": [
        conv(stride=2),
        timed(Last),
        repeated(T),
        conv(4, 4, padding="same"),
        linear(),
    ],
    "encoder and decoder nested": [
        lambda bf: Sequential(linear(F, F)(bf), rnn()(bf), Last(bf)),
        lambda bf: Sequential(RepeatVector(T, bf), rnn(GRU, 4)(bf), linear()(bf)),
    ],
    "repeated, of linear": [linear(F, 4), timed(Last), repeated(T), linear(4, K)],
}


def make(name, bf, n=T):
    """A network; where it repeats, by `n`."""
    if n is T:
        return Sequential(*(one(bf) for one in NETWORKS[name]))

    def renewed(layer):
        if isinstance(layer, Sequential):
            return Sequential(*map(renewed, layer.layers))
        return RepeatVector(n, bf) if isinstance(layer, RepeatVector) else layer

    return renewed(make(name, bf))


def samples(name, rng):
    if "embedding" in name:
        return rng.integers(0, 6, (B, T, 2) if "joined" in name else (B, T))
    return rng.standard_normal((B, T, F))


def alone(name, x, y, ends):
    """Loss, its mean absolute counterpart and gradients of the samples one by one."""
    model = make(name, True, None)  # a repeated vector has as many steps as its sample
    sums, count = np.zeros(2), 0
    scale = []
    for b, n in enumerate(LENGTHS):
        prediction, _, tape = model.forward(x[b : b + 1, :n])
        target = y[b : b + 1, : ends[b]] if ends is not None else y[b : b + 1]
        rows = prediction.shape[1] if ends is not None else 1
        value, gradient = MSE(prediction, target)
        sums += rows * np.array([value, MAE(prediction, target)[0]])
        count += rows
        scale.append((tape, gradient * rows))
    for tape, gradient in scale:
        model.backward(tape, gradient / count)
    return *(sums / count), model.grads


@pytest.mark.parametrize("bf", [True, False], ids=["batch first", "time first"])
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.usefixtures("each_engine")
def test_like_the_samples_alone(name, bf):
    rng = np.random.default_rng(0)
    x = samples(name, rng)
    model = make(name, bf)
    shape = model.predict(laid_out(x, bf)).shape
    in_time = len(shape) == 3
    y = rng.standard_normal((B, shape[1 if bf else 0], K) if in_time else (B, K))
    ends = model.out_lengths(LENGTHS, T) if in_time else None
    loss, metric, grads = alone(name, x, y, ends)
    past = np.arange(T) >= LENGTHS[:, None]
    for poison in (np.nan, 1e30, -np.inf):
        x[past] = -1 if x.dtype.kind == "i" else poison
        if in_time:
            y[np.arange(y.shape[1]) >= ends[:, None]] = poison
        data = laid_out(x, bf), laid_out(y, bf) if in_time else y, LENGTHS
        model = make(name, bf)
        before = model.state_dict()
        options = {"loss": MSE, "metrics": {"mae": MAE_OF}, "batch_size": B}
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            got = evaluate(model, data, **options)
            history = fit(model, data, optimizer=SGD(model, lr=1.0), validation=data, **options)
        assert got == pytest.approx({"loss": loss, "mae": metric}, rel=1e-9)
        assert history["loss"] == pytest.approx([loss], rel=1e-9)
        assert history["mae"] == pytest.approx([metric], rel=1e-9)
        assert np.isfinite(history["val_loss"]).all()
        for parameter, value in grads.items():
            change = before[parameter] - model.params[parameter]
            np.testing.assert_allclose(change, value, rtol=1e-8, atol=1e-11, err_msg=parameter)


def MAE_OF(*args, **keywords):
    return MAE(*args, **keywords)[0]


@pytest.mark.parametrize("bf", [True, False], ids=["batch first", "time first"])
def test_batch_statistics(bf):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((B, T, F)), rng.standard_normal((B, T, K))
    real = np.arange(T) < LENGTHS[:, None]
    norm = {"batch_first": bf, **F8}

    def make():
        return Sequential(
            Linear(F, 4, seed=0, **F8), BatchNorm1d(4, **norm), Tanh(), Linear(4, K, seed=1, **F8)
        )

    rows = Sequential(
        Linear(F, 4, seed=0, **F8), BatchNorm1d(4, **F8), Tanh(), Linear(4, K, seed=1, **F8)
    )
    want = fit(rows, (x[real], y[real]), loss=MSE, optimizer=SGD(rows, lr=1.0), batch_size=999)
    for poison in (np.nan, 1e30):
        x[~real] = y[~real] = poison
        model = make()
        data = laid_out(x, bf), laid_out(y, bf), LENGTHS
        history = fit(model, data, loss=MSE, optimizer=SGD(model, lr=1.0), batch_size=B)
        assert history["loss"] == pytest.approx(want["loss"], rel=1e-10)
        for name, value in rows.state_dict().items():
            np.testing.assert_allclose(model.state_dict()[name], value, rtol=1e-9, atol=1e-12)
        got = evaluate(model, data, loss=MSE)["loss"]
        assert got == pytest.approx(evaluate(rows, (x[real], y[real]), loss=MSE)["loss"], rel=1e-9)


@pytest.mark.parametrize("make", [lambda: Linear(F, K, seed=0, **F8), lambda: LayerNorm(F, **F8)])
def test_a_layer_that_knows_no_lengths_alone(make):
    rng = np.random.default_rng(0)
    model = make()
    x = rng.standard_normal((B, T, F))
    y = rng.standard_normal((B, T, model.out_size or F))
    real = np.arange(T) < LENGTHS[:, None]
    rows = make()
    want = fit(rows, (x[real], y[real]), loss=MSE, optimizer=SGD(rows, lr=1.0), batch_size=999)
    x[~real] = y[~real] = np.nan
    got = fit(model, (x, y, LENGTHS), loss=MSE, optimizer=SGD(model, lr=1.0), batch_size=B)
    assert got["loss"] == pytest.approx(want["loss"], rel=1e-10)
    for name, value in rows.params.items():
        np.testing.assert_allclose(model.params[name], value, rtol=1e-9)


@pytest.mark.parametrize("attention", [None, "dot", "general", "concat"])
@pytest.mark.parametrize("bf", [True, False], ids=["batch first", "time first"])
def test_encoder_decoder(attention, bf):
    def make():
        return EncoderDecoder(6, 5, 3, 4, attention=attention, batch_first=bf, seed=1, **F8)

    rng = np.random.default_rng(0)
    source, target = rng.integers(0, 6, (B, T)), rng.integers(0, 5, (B, 7))
    ends = np.array([2, 7, 1, 5])
    following = rng.integers(0, 5, (B, 7))
    one = make()
    total, tapes = 0.0, []
    for b in range(B):
        n, m = LENGTHS[b], ends[b]
        parts = (laid_out(a[b : b + 1, :k], bf) for a, k in ((source, n), (target, m)))
        scores, tape = one.forward(*parts)
        value, gradient = losses.softmax_cross_entropy(
            scores, laid_out(following[b : b + 1, :m], bf)
        )
        total += value * m
        tapes.append((tape, gradient * m / ends.sum()))
    for tape, gradient in tapes:
        one.backward(tape, gradient)
    for array, n in ((source, LENGTHS), (target, ends), (following, ends)):
        array[np.arange(array.shape[1]) >= n[:, None]] = -1
    model = make()
    before = model.state_dict()
    batch = (
        (laid_out(source, bf), laid_out(target, bf), LENGTHS, ends),
        laid_out(following, bf),
        ends,
    )
    options = {"loss": losses.softmax_cross_entropy}
    history = fit(model, [batch], optimizer=SGD(model, lr=1.0), **options)
    assert history["loss"] == pytest.approx([total / ends.sum()], rel=1e-10)
    for name, value in one.grads.items():
        change = before[name] - model.params[name]
        np.testing.assert_allclose(change, value, rtol=1e-8, atol=1e-11, err_msg=name)


def test_every_layer_is_looked_at():
    made = [layer for name in NETWORKS for layer in leaves(make(name, True))]
    seen = {type(layer).__name__ for layer in made}
    alone = {"BatchNorm1d", "EncoderDecoder", "BahdanauAttention", "LuongAttention", "Sequential"}
    alone |= {"Dot"}  # takes no lengths
    assert seen | alone == set(layers.__all__)


def leaves(layer):
    parts = [leaf for part in getattr(layer, "layers", ()) for leaf in leaves(part)]
    return parts if isinstance(layer, Sequential) else [layer, *parts]


# ---- a vector repeated -------------------------------------------------------------------------


def autoencoder(n, bf=True):
    return Sequential(
        LSTM(1, 3, batch_first=bf, seed=0, **F8),
        Last(bf),
        RepeatVector(n, bf),
        LSTM(3, 1, batch_first=bf, seed=1, **F8),
    )


def test_lengths_behind_a_repeated_vector():
    lengths = np.array([2, 4])
    for n, steps, want in [
        (4, 4, [2, 4]),  # as many as the input has
        (None, 4, [2, 4]),
        (None, None, [2, 4]),
        (3, 4, [3, 3]),  # a horizon: every step counts
        (9, 4, [9, 9]),
        (4, None, [4, 4]),
    ]:
        model = autoencoder(n)
        np.testing.assert_array_equal(model.out_lengths(lengths, steps), want)
    x = np.random.default_rng(0).standard_normal((2, 4, 1))
    for n in (4, None):
        y = autoencoder(n).predict(x, lengths)
        assert not y[0, 2:].any()
        assert y[0, :2].all()
        np.testing.assert_allclose(y[:1, :2], autoencoder(None).predict(x[:1, :2]), rtol=1e-12)
    assert autoencoder(3).predict(x, lengths).all()
    assert autoencoder(None).predict(x[0]).shape == (4, 1)  # a single sequence
    assert "T" in autoencoder(None).summary()


def test_a_horizon_counts_whole():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((B, T, 1)), rng.standard_normal((B, 3, 1))
    for bf in (True, False):
        model = autoencoder(3, bf)
        data = laid_out(x, bf), laid_out(y, bf), LENGTHS
        got = evaluate(model, data, loss=MSE)["loss"]
        each = [
            MSE(model.predict(laid_out(x[b : b + 1, :n], bf)), laid_out(y[b : b + 1], bf))[0]
            for b, n in enumerate(LENGTHS)
        ]
        assert got == pytest.approx(np.mean(each), rel=1e-12)
        # sorted by length a batch may by chance be as long as the horizon
        history = fit(
            model, data, loss=MSE, optimizer=SGD(model, lr=0.0), bucket=True, batch_size=1
        )
        assert history["loss"] == pytest.approx([np.mean(each)], rel=1e-12)


@pytest.mark.parametrize("n", [T, None])
def test_buckets_of_an_autoencoder(n):
    x = np.random.default_rng(0).standard_normal((B, T, 1))
    for bf in (True, False):
        results = []
        for bucket in (True, False):
            model = autoencoder(n, bf)
            data = laid_out(x, bf), laid_out(x, bf), LENGTHS
            options = {"loss": MSE, "optimizer": SGD(model, lr=0.0), "batch_size": 1}
            results.append(sorted(fit(model, data, bucket=bucket, **options).batch_losses))
        np.testing.assert_allclose(*results, rtol=1e-12)


def test_no_steps_to_take():
    vector = np.ones((2, 3))
    with pytest.raises(ValueError, match="RepeatVector expected steps as an integer where n is"):
        RepeatVector(None)(vector)
    assert RepeatVector(None)(vector, 4).shape == (4, 2, 3)
    model = Sequential(Linear(3, 3, **F8), RepeatVector(None), LSTM(3, 2, **F8))
    with pytest.raises(ValueError, match="RepeatVector expected steps as an integer where n is"):
        model.predict(vector)
    copy = Sequential(**autoencoder(None).config())
    assert copy.layers[2].n is None
