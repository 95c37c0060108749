"""Encoder and decoder."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from comparisons import same_slope, same_slopes
from engines import each_engine as each_engine
from engines import leave_to_the_engine
from samples import copies

from rnnfast import EncoderDecoder, load, losses, save
from rnnfast.layers.seq2seq import log_softmax

S, V = 5, 4  # symbols of source and target
OPTIONS = [
    {},
    {"cell": "gru", "num_layers": 2},
    {"cell": "rnn", "attention": "dot"},
    {"attention": "general", "bidirectional": True, "num_layers": 2},
    {"cell": "gru", "attention": "concat", "bidirectional": True},
    {"source": "vector", "num_layers": 2},
    {"source": "vector", "cell": "gru"},
]
each_option = pytest.mark.parametrize("options", OPTIONS, ids=str)


def make(**options):
    return EncoderDecoder(S, V, 3, 4, **{"dtype": np.float64, "seed": 1, **options})


def data(layer, batch=3, seed=0):
    """Return source, target, and their lengths."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, V, (4, batch))
    lengths = np.array([4, 1, 3])[:batch]
    if layer.source == "vector":
        source, source_lengths = rng.standard_normal((batch, S)).astype(layer.dtype), None
    else:
        source, source_lengths = rng.integers(0, S, (6, batch)), np.array([2, 6, 0])[:batch]
    if layer.batch_first:
        target = target.T
        source = source if layer.source == "vector" else source.T
    return source, target, source_lengths, lengths


@each_option
def test_finite_differences(options, each_engine):
    if options.get("attention") != "dot":
        leave_to_the_engine(each_engine)
    layer = make(**options)
    inputs = data(layer)
    labels = np.random.default_rng(2).integers(0, V, inputs[1].shape)

    def loss():
        return losses.softmax_cross_entropy(layer(*inputs), labels, inputs[3])[0]

    scores, tape = layer.forward(*inputs)
    np.testing.assert_array_equal(scores, layer(*inputs))
    dscores = losses.softmax_cross_entropy(scores, labels, inputs[3])[1]
    dsource = layer.backward(tape, dscores)
    if layer.source == "vector":
        same_slope("dsource", dsource, loss, inputs[0])
    else:
        assert dsource is None
    same_slopes(layer, loss)


@each_option
def test_batch_first(options):
    results = []
    for batch_first in (False, True):
        layer = make(batch_first=batch_first, dropout=0.3, **options)
        scores, tape = layer.forward(*data(layer))
        dsource = layer.backward(tape, scores.copy())
        results.append([scores.swapaxes(0, 1) if batch_first else scores, *layer.grads.values()])
        results[-1] += [] if dsource is None else [dsource]
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


@each_option
def test_a_ragged_batch_equals_its_samples(options):
    layer = make(**options)
    source, target, source_lengths, lengths = data(layer)
    scores = layer(source, target, source_lengths, lengths)
    for b, n in enumerate(lengths):
        if layer.source == "vector":
            alone = layer(source[b : b + 1], target[:n, b : b + 1])
        else:
            alone = layer(source[: source_lengths[b], b : b + 1], target[:n, b : b + 1])
        np.testing.assert_allclose(scores[:n, b], alone[:, 0], rtol=1e-12)


def test_starts_from_the_final_states_of_both_directions():
    layer = make(bidirectional=True, num_layers=2, cell="gru")
    source, target, source_lengths, _ = data(layer)
    _, state = layer.parts["encoder"](layer.parts["source"](source), None, source_lengths)
    start = np.stack([np.concatenate(state[2 * i : 2 * i + 2], axis=-1) for i in range(2)])
    h, _ = layer.parts["decoder"](layer.parts["target"](target), start)
    np.testing.assert_array_equal(layer(source, target, source_lengths), layer.parts["output"](h))


@each_option
@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_beam_search_equals_exhaustive_search(options, length_penalty):
    layer = make(**options)
    source, _, source_lengths, _ = data(layer)
    start, end, steps = 1, 2, 3
    every = [t for n in range(1, steps + 1) for t in itertools.product(range(V), repeat=n)]
    every = [t for t in every if end not in t[:-1] and (t[-1] == end or len(t) == steps)]
    reads = np.array([(start, *t, *(0,) * steps)[:steps] for t in every])

    beams, scores = layer.decode(
        source,
        source_lengths,
        start=start,
        end=end,
        max_steps=steps,
        beam_width=len(every),
        length_penalty=length_penalty,
    )
    for b in range(3):
        many = np.full(len(every), b)
        if layer.source == "vector":
            p = log_softmax(layer(source[many], reads.T))
        else:
            p = log_softmax(layer(source[:, many], reads.T, source_lengths[many]))
        totals = [
            sum(p[i, n, s] for i, s in enumerate(t)) / ((5 + len(t)) / 6) ** length_penalty
            for n, t in enumerate(every)
        ]
        best = every[int(np.argmax(totals))]
        assert beams[b].tolist() == [s for s in best if s != end]
        assert scores[b] == pytest.approx(max(totals), rel=1e-12)


@each_option
def test_greedy_takes_the_highest_score(options):
    layer = make(batch_first=True, **options)
    source, _, source_lengths, _ = data(layer)
    targets, scores = layer.decode(source, source_lengths, start=0, end=3, max_steps=5)
    for b, target in enumerate(targets):
        read, total = [0], 0.0
        one = None if source_lengths is None else source_lengths[b : b + 1]
        while len(read) <= 5:
            p = log_softmax(layer(source[b : b + 1], np.array([read]), one))[0, -1]
            total += p.max()
            read.append(int(p.argmax()))
            if read[-1] == 3:
                break
        assert target.tolist() == [s for s in read[1:] if s != 3]
        assert scores[b] == pytest.approx(total, rel=1e-12)


def test_decoding_ends():
    layer = make()
    source, _, source_lengths, _ = data(layer)
    bias = np.zeros(V)
    bias[3] = 50.0
    layer.params["output.bias"] = bias
    for end, length in (3, 0), (2, 7):
        for width in (1, 3):
            targets, scores = layer.decode(
                source, source_lengths, start=0, end=end, max_steps=7, beam_width=width
            )
            assert [len(t) for t in targets] == [length] * 3
            np.testing.assert_allclose(scores, 0.0, atol=1e-12)
    targets, scores = layer.decode(source[:, :0], start=0, end=3, max_steps=7)
    assert targets == [] and scores.shape == (0,)


def test_saves_and_copies(tmp_path, ending):
    layer = make(attention="general", dropout=0.5, num_layers=2)
    inputs = data(layer)
    save(layer, tmp_path / f"model{ending}")
    for twin in (load(tmp_path / f"model{ending}"), *copies(layer)):
        assert repr(twin) == repr(layer)
        np.testing.assert_array_equal(twin(*inputs), layer(*inputs))


def test_refuses_and_writes_nothing():
    layer = make()
    source, target, source_lengths, lengths = data(layer)
    scores, tape = layer.forward(source, target, source_lengths, lengths)

    def decode(**changes):
        layer.decode(source, **{"start": 0, "end": 1, "max_steps": 3, **changes})

    for call, error, message in [
        (lambda: make(cell="elman"), ValueError, "cell as one of ('rnn', 'lstm', 'gru', 'min"),
        (lambda: make(attention="additive"), ValueError, "attention as one of (None, 'dot', "),
        (lambda: make(source="vector", attention="dot"), ValueError, "source 'symbols' with"),
        (lambda: layer(source[0], target), ValueError, "source as an array with 2 axes, got (3,)"),
        (lambda: layer(source, [[1]]), ValueError, "target as an array with 2 axes, got list"),
        (lambda: layer(source, target[:, :2]), ValueError, "as many targets as sources, 3, got 2"),
        (lambda: layer(source, target, [9, 1, 1]), ValueError, "lengths from 0 to 6"),
        (lambda: layer(source, target, None, [1]), ValueError, "lengths of shape (3,)"),
        (lambda: layer.backward(tape, scores[:2]), ValueError, "dscores of shape (4, 3, 4), got"),
        (lambda: decode(start=4), ValueError, "start < 4, got 4"),
        (lambda: decode(end=-1), ValueError, "end >= 0, got -1"),
        (lambda: decode(max_steps=0), ValueError, "max_steps >= 1, got 0"),
        (lambda: decode(beam_width=1.5), TypeError, "beam_width as an integer, got 1.5"),
        (lambda: decode(length_penalty=-1), ValueError, "length_penalty > 0 and finite, got -1"),
        (lambda: decode(length_penalty=None), TypeError, "length_penalty as a number, got None"),
    ]:
        with pytest.raises(error, match=re.escape(f"EncoderDecoder expected {message}")):
            call()
    vectors = make(source="vector")
    with pytest.raises(ValueError, match="no source_lengths for vectors"):
        vectors(np.ones((3, S)), target, source_lengths)
    with pytest.raises(ValueError, match="Embedding expected ids from 0 to 3"):
        layer(source, target + 1)
    assert not any(grad.any() for grad in layer.grads.values())
    layer.backward(tape, scores)
    with pytest.raises(RuntimeError, match="used before"):
        layer.backward(tape, scores)
