"""Masks of Keras as lengths."""

from __future__ import annotations

import numpy as np
import pytest
from comparisons import close
from keras_models import (
    IDS,
    B,
    F,
    L,
    T,
    as_list,
    as_numpy,
    bidirectional,
    built,
    float32_bound,
    inputs,
    keras,
    quiet,
    same_predictions,
)

from rnnfast.keras import from_keras, mask_lengths, without_masked

pytestmark = quiet


@pytest.mark.parametrize("first", [0, 1])
def test_a_mask_is_not_for_those_that_read_the_input_itself(first):
    start = keras.Input((T, F))
    masked = [lambda: L.LSTM(4)(L.Masking()(start)), lambda: L.GRU(4)(start)]
    heads = [masked[first](), masked[1 - first]()]
    with pytest.raises(ValueError, match="one length for both"):
        from_keras(keras.Model(start, L.Add()(heads)), masks_as_lengths=True)


def test_masks_of_a_graph():
    ids, other = keras.Input((T,), dtype="int32"), keras.Input((5,), dtype="int32")
    embedding = L.Embedding(IDS, F, mask_zero=True)
    _, h = L.GRU(F, return_state=True)(embedding(ids))
    x = L.GRU(F, return_sequences=True)(embedding(other), initial_state=h)
    theirs = keras.Model([ids, other], L.GlobalAveragePooling1D()(L.Add()([x, x])))
    rng, ends = np.random.default_rng(0), ([T, 2, 1, 5], [5, 1, 4, 5])
    xs = [rng.integers(1, IDS, (B, n)) for n in (T, 5)]
    for x, lengths in zip(xs, ends, strict=True):
        x[np.arange(x.shape[1]) >= np.array(lengths)[:, None]] = 0
    ours = from_keras(theirs, masks_as_lengths=True)
    want = as_numpy(theirs(xs, training=False))
    close("y", ours.predict(tuple(xs), ends), want, float32_bound(ours, want), ours.dtype)
    with pytest.raises(ValueError, match="masks steps; rnnfast takes lengths"):
        from_keras(theirs)
    mixed = L.Add()([embedding(ids), L.Embedding(IDS, F)(ids)])
    for outputs in mixed, [L.GRU(2)(embedding(ids)), L.GRU(2)(L.Embedding(IDS, F)(ids))]:
        with pytest.raises(ValueError, match=r"only in part|reads all steps of an input that"):
            from_keras(keras.Model(ids, outputs), masks_as_lengths=True)


def started(layer, given=False, late=True):
    """A layer that starts from states, on masked steps, of which Keras gives it no mask itself."""
    ids, h = keras.Input((T,), dtype="int32"), keras.Input((4,))
    embedding = L.Embedding(IDS, F, mask_zero=True)
    states = [h] * (2 if isinstance(layer, L.Bidirectional) else 1)
    mask = embedding.compute_mask(ids) if given else None
    outputs = layer(embedding(ids), initial_state=states, mask=mask)
    steps = outputs if late else L.GlobalAveragePooling1D()(outputs[0])
    return keras.Model([ids, h], steps)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: L.GRU(4),
        lambda: L.GRU(4, return_sequences=True, return_state=True),
        lambda: L.Bidirectional(L.GRU(4, return_sequences=True)),
    ],
    ids=["last step", "state", "both ways"],
)
def test_initial_states_on_masked_steps(layer):
    with pytest.raises(ValueError, match="with initial_state and without mask, where Keras takes"):
        from_keras(started(layer()), masks_as_lengths=True)
    theirs = started(layer(), given=True)
    ours = from_keras(theirs, masks_as_lengths=True)
    ids, ends = np.full((B, T), 1), np.array([T, 2, 1, 5])
    ids[np.arange(T) >= ends[:, None]] = 0
    h = np.random.default_rng(0).standard_normal((B, 4)).astype(np.float32)
    got, want = ours.predict((ids, h), (ends, None)), theirs([ids, h], training=False)
    for a, b in zip(as_list(got), as_list(want), strict=True):
        b = as_numpy(b)
        if b.ndim == 3:  # past the ends there are zeros here
            b = b * (np.arange(T) < ends[:, None])[..., None]
        close("y", a, b, float32_bound(ours, b), ours.dtype)


def test_zeros_for_masked_steps_as_the_last_ones():
    embedding = L.Embedding(IDS, F, mask_zero=True)
    theirs = built(lambda: embedding, lambda: L.LSTM(4, zero_output_for_mask=True), ids=True)
    with pytest.raises(ValueError, match="zero_output_for_mask=True; supported: False for the la"):
        from_keras(theirs, masks_as_lengths=True)


def test_initial_states_whose_final_ones_nobody_reads():
    layer = L.GRU(4, return_sequences=True, return_state=True)
    from_keras(started(layer, late=False), masks_as_lengths=True)


MASKED = {
    "backwards": [lambda: L.GRU(4, go_backwards=True, zero_output_for_mask=True)],
    "last step": [lambda: L.LSTM(4)],
    "two layers": [lambda: L.GRU(4, return_sequences=True), lambda: L.SimpleRNN(4)],
    "both ways": [bidirectional(L.LSTM, return_sequences=True), bidirectional(L.GRU)],
    "mean": [
        lambda: L.GRU(4, return_sequences=True),
        lambda: L.Dense(4, activation="relu"),
        L.GlobalAveragePooling1D,
    ],
    "behind the mask": [
        lambda: L.GRU(4),
        lambda: L.RepeatVector(5),
        lambda: L.Conv1D(4, 3),
        L.GlobalMaxPooling1D,
    ],
}


@pytest.mark.parametrize("layers", MASKED.values(), ids=MASKED)
@pytest.mark.parametrize("ids", [True, False], ids=["ids", "features"])
def test_masks_as_lengths(layers, ids):
    first = (lambda: L.Embedding(IDS, F, mask_zero=True)) if ids else (lambda: L.Masking(0.5))
    theirs = built(first, *layers, ids=ids)
    lengths = [T, 1, 4, T - 1]
    x = np.maximum(inputs(ids=ids), 1) if ids else inputs()
    for b, n in enumerate(lengths):
        x[b, n:] = 0 if ids else 0.5
    found = mask_lengths(x, 0 if ids else 0.5)
    np.testing.assert_array_equal(found, lengths)
    for given in theirs, theirs.layers, keras.Model(theirs.inputs, theirs.outputs):
        ours = from_keras(given, masks_as_lengths=True)
        same_predictions(ours, theirs, x, found)
    with pytest.raises(ValueError, match="masks steps; rnnfast takes lengths in place of masks"):
        from_keras(theirs)


@pytest.mark.parametrize("ids", [True, False], ids=["ids", "features"])
def test_masks_anywhere(ids):
    """What Keras passes over, at the start, in between and everywhere, is moved behind the rest."""
    first = (lambda: L.Embedding(IDS, F, mask_zero=True)) if ids else (lambda: L.Masking(0.5))
    layers = [bidirectional(L.LSTM, return_sequences=True), lambda: L.GRU(4)]
    theirs = built(first, *layers, ids=ids)
    x = np.maximum(inputs(ids=ids), 1) if ids else inputs()
    for b, masked in enumerate(([], [0, 1, 2], [3, 5, 8], [0, 4, 7, 8])):
        x[b, masked] = 0 if ids else 0.5
    moved, lengths = without_masked(x, 0 if ids else 0.5)
    np.testing.assert_array_equal(lengths, [T, T - 3, T - 3, T - 4])
    ours = from_keras(theirs, masks_as_lengths=True)
    want = as_numpy(theirs(x, training=False))
    close("y", ours.predict(moved, lengths), want, float32_bound(ours, want), ours.dtype)
    with pytest.raises(ValueError, match="without_masked moves such steps"):
        mask_lengths(x, 0 if ids else 0.5)
    with pytest.raises(ValueError, match=r"without_masked expected x with 2 axes \(ids\) or 3"):
        without_masked([1, 2])


def test_masks_of_layers_that_lose_them():
    for layer in lambda: L.GRU(4, go_backwards=True, return_sequences=True), L.Flatten:
        model = built(L.Masking, layer, steps=T)
        with pytest.raises(ValueError, match=r"steps of masked|drops the mask"):
            from_keras(model, masks_as_lengths=True)
    start = keras.Input((T, F))
    h = L.Masking()(start)
    with pytest.raises(ValueError, match="drops the mask of the layers before"):
        from_keras(keras.Model(start, L.Dot(axes=(2, 2))([h, h])), masks_as_lengths=True)


def test_mask_lengths():
    np.testing.assert_array_equal(mask_lengths([[3, 0, 0], [0, 0, 0], [1, 2, 3]]), [1, 0, 3])
    x = np.array([[[1.0, 0], [0, 2], [0, 0]]])
    np.testing.assert_array_equal(mask_lengths(x), [2])
    np.testing.assert_array_equal(mask_lengths(x + 1, mask_value=1), [2])
    tenths = np.full((1, 2, 1), 0.1, np.float32)
    np.testing.assert_array_equal(mask_lengths(tenths, np.float64(0.1)), [0])
    np.testing.assert_array_equal(mask_lengths(x[:0]), np.zeros(0))
    with pytest.raises(ValueError, match=r"in sample 1; keras\.utils\.pad_sequences pads"):
        mask_lengths([[1, 0], [0, 1]])
    with pytest.raises(ValueError, match=r"x with 2 axes \(ids\) or 3 \(features\), got \(3,\)"):
        mask_lengths([1, 2, 3])


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([L.Masking, lambda: L.Conv1D(3, 2)], "drops the mask of the layers before it"),
        ([L.Masking, L.GlobalMaxPooling1D], "drops the mask of the layers before it"),
        ([lambda: L.Dense(4), L.Masking], "masks steps behind other layers"),
    ],
)
def test_masks_that_lengths_cannot_replace(layers, message):
    with pytest.raises(ValueError, match=message):
        from_keras(built(*layers, steps=T), masks_as_lengths=True)


def test_masks_as_lengths_is_a_flag():
    with pytest.raises(TypeError, match="expected masks_as_lengths as True or False, got 1"):
        from_keras(L.ReLU(), masks_as_lengths=1)
