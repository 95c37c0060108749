"""What has no equal in rnnfast, or in Keras, and is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
from keras_models import L, T, bidirectional, built, keras, quiet

import rnnfast as rf
from rnnfast.keras import from_keras, to_keras

pytestmark = quiet


def tanh(x):  # of another kind than Keras's
    return keras.ops.tanh(x) / 2


REFUSED = [
    (lambda: L.GRU(4, activation="relu"), "(GRU) has activation='relu'; supported: tanh"),
    (lambda: L.GRU(4, activation=tanh), "(GRU) has activation='<function tanh"),
    (
        lambda: L.LSTM(4, recurrent_activation="hard_sigmoid"),
        "(LSTM) has recurrent_activation='hard_sigmoid'; supported: sigmoid",
    ),
    (lambda: L.SimpleRNN(4, activation="elu"), "activation='elu'; supported: tanh, relu"),
    (bidirectional(L.GRU, activation="relu"), "(GRU) has activation='relu'; supported: tanh"),
    (
        lambda: L.Bidirectional(L.LSTM(4, go_backwards=True), backward_layer=L.LSTM(4)),
        "has go_backwards=True",
    ),
    (
        lambda: L.Bidirectional(L.LSTM(4), backward_layer=L.LSTM(3, go_backwards=True)),
        "has units=3; supported: 4, as in the other direction",
    ),
    (
        lambda: L.Bidirectional(L.LSTM(4), backward_layer=L.GRU(4, go_backwards=True)),
        "has backward_layer='GRU'; supported: LSTM",
    ),
    (
        lambda: L.Bidirectional(L.RNN([L.LSTMCell(4), L.LSTMCell(4)])),
        "has cell='StackedRNNCells'; supported: a single cell in Bidirectional",
    ),
    (
        lambda: L.RNN([L.LSTMCell(4), L.LSTMCell(4, activation="relu")]),
        "(RNN) has activation='relu'; supported: tanh",
    ),
    (lambda: L.RNN(type("Own", (L.GRUCell,), {})(4)), "(RNN) has cell='Own'; supported: Simple"),
    (
        lambda: L.RNN([L.GRUCell(4), L.GRUCell(4)], return_state=True),
        "(RNN) has return_state=True; supported: False for several cells",
    ),
    (lambda: L.UnitNormalization(), "(UnitNormalization) has no equal in rnnfast; supported: Acti"),
    (
        lambda: L.Dense(4, activation="sparsemax"),
        "has activation='sparsemax'; supported: linear, r",
    ),
    (lambda: L.Activation("log_softmax"), "(Activation) has activation='log_softmax'"),
    (lambda: L.TimeDistributed(L.RepeatVector(2)), "has layer='RepeatVector'; supported: Dense, "),
    (lambda: L.Reshape((3, 3, -1)), "(Reshape) has target_shape=(3, 3, -1); supported: one or two"),
    (lambda: L.Normalization(axis=1), "(Normalization) has axis="),
    (lambda: L.Conv1D(3, 2, groups=3), "(Conv1D) has groups=3; supported: 1"),
    (lambda: L.LayerNormalization(axis=1), "has axis=[1]; supported: -1, the last one"),
    (lambda: L.BatchNormalization(axis=1), "has axis=1; supported: -1, the last one"),
    (lambda: L.Dropout(0.1, noise_shape=(None, T, 1)), "has noise_shape=(None, 9, 1); supported:"),
    (lambda: L.ReLU(max_value=5), "(ReLU) has max_value=5; supported: None, 6"),
    (lambda: L.Softmax(axis=1), "(Softmax) has axis=1; supported: -1"),
    (lambda: L.GlobalMaxPooling1D(keepdims=True), "has keepdims=True; supported: False"),
    (lambda: L.Dense(4, dtype="bfloat16"), "has dtype='bfloat16'; supported: 'float32', 'float6"),
    (
        lambda: L.Bidirectional(L.GRU(4, dtype="mixed_float16")),
        "has dtype='mixed_float16'; supported: 'float32', 'float6",
    ),
    (
        lambda: L.Bidirectional(
            L.LSTM(4), backward_layer=L.LSTM(4, go_backwards=True, dtype="float64")
        ),
        "has dtype='float64'; supported: 'float32', as in the other direction",
    ),
    (
        lambda: keras.Sequential([L.GRU(4), L.Dense(2, dtype="float64")]),
        "(Dense) has dtype='float64'; supported: 'float32', as in the layers before it",
    ),
    (lambda: L.Masking(), "(Masking) masks steps; rnnfast takes lengths in place of masks"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[m for _, m in REFUSED])
def test_unsupported_layers_and_options(make, message):
    model = built(make, steps=T)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        from_keras(model)
    assert "from_keras: layer '" in str(caught.value)


class Doubling(keras.Sequential):
    def call(self, inputs, **options):
        return 2 * super().call(inputs, **options)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (3, TypeError, "or a path, got builtins.int"),
        (Doubling(), ValueError, "got layer 'doubling' (Doubling), whose own"),
        ([None], TypeError, "or a path, got builtins.NoneType"),
        (L.Dense(3), ValueError, "(Dense) is not built, so it has no weights"),
        ([], ValueError, "at least one layer"),
        (
            L.LSTM(3, stateful=True, name="mine"),
            ValueError,
            "layer 'mine' (LSTM) has stateful=True; supported: False: set it so, and",
        ),
        (type("Own", (L.LSTM,), {})(3), ValueError, "(Own) has no equal in rnnfast"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_model(given, error, message):
    with pytest.raises(error, match=re.escape(message)):
        from_keras(given)


def test_options_that_an_older_keras_does_not_have():
    theirs = built(L.BatchNormalization, steps=T)
    want = from_keras(theirs).state_dict()
    vars(theirs.layers[0]).pop("renorm", None)
    np.testing.assert_equal(from_keras(theirs).state_dict(), want)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (rf.LSTM(3, 4, proj_size=2), "has proj_size=2, which has no equal in Keras"),
        (
            rf.Sequential(rf.GRU(3, 4), rf.Pool1d("max", 2, padding="causal")),
            "has padding='causal', which",
        ),
        (rf.Sequential(rf.Linear(3, 4), rf.Activation("gelu_tanh")), "has kind='gelu_tanh', which"),
        (rf.Sequential(rf.GRU(3, 4), rf.Rearrange("pad", (-1, 1))), "has sizes=(-1, 1), which"),
        (
            rf.Sequential(rf.GRU(3, 4), rf.Rearrange("reverse"), rf.Linear(4, 4)),
            "has kind='reverse', which",
        ),
        (rf.Sequential(rf.Linear(3, 4), rf.Merge("max", parts=2)), "has parts=2, which"),
        (rf.Rearrange("flatten"), "features of input 'x' is not known: no layer tells it in front"),
        (
            rf.Graph([("s", rf.Merge("sum"), ["x", "x"])], outputs="s"),
            "features of input 'x' is not known",
        ),
        (rf.Sequential(rf.GRU(3, 4), rf.Last(), rf.Last()), "behind GRU(3, 4) has no equal"),
        (rf.GRU(3, 4, layer_norm=True), "has layer_norm=True, which"),
        (rf.RNN(3, 4, zoneout=0.5), "has zoneout=0.5, which"),
        (rf.LSTM(3, 4, zoneout=(0.0, 0.5)), "has zoneout=(0.0, 0.5), which"),
        (rf.Conv1d(3, 4, 3, padding=1), "has padding=1, which"),
        (rf.WaveNet(3, 4, (1, 2)), "WaveNet has no equal in Keras"),
        (
            rf.Sequential(rf.Linear(3, 4), rf.Last()),
            "Last(batch_first=False, bidirectional=False) behind Li",
        ),
        (rf.Last(), "behind None has no equal in Keras"),
        (
            rf.Sequential(rf.GRU(3, 4, bidirectional=True), rf.Last()),
            "with bidirectional as there",
        ),
        (rf.Sequential(rf.GRU(3, 4), rf.Last(bidirectional=True)), "with bidirectional as there"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_networks_without_an_equal(model, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        to_keras(model)
    assert str(caught.value).startswith("to_keras: ")


@pytest.mark.parametrize("steps", [None, 5])
def test_weights_for_another_number_of_steps(steps):
    flat = rf.Rearrange("flatten", batch_first=True)
    chain = rf.Sequential(rf.GRU(3, 4, batch_first=True), flat, rf.Linear(24, 2))
    graph = rf.Graph([("h", chain[0], "x"), ("flat", flat, "h"), ("y", chain[2], "flat")])
    for model in chain, graph:
        with pytest.raises(ValueError, match=rf"to_keras expected steps as .*'flatten'.*{steps}"):
            to_keras(model, steps=steps)
        assert to_keras(model, steps=6).output_shape == (None, 2)


def test_a_model_that_changes_nothing():
    for model in [], built(lambda: L.Activation("linear")):
        with pytest.raises(ValueError, match="at least one layer that changes its input"):
            from_keras(model)


def test_what_is_no_network():
    with pytest.raises(TypeError, match="to_keras expected model as a layer, got int"):
        to_keras(3)
