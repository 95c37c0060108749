"""The recurrent layers of Keras models on the engine, in place."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from keras_models import IDS, B, F, L, T, as_list, inputs, keras, quiet

from rnnfast.cells import CELLS
from rnnfast.keras import accelerate, restore

pytestmark = [
    *quiet,
    pytest.mark.skipif(keras.backend.backend() != "torch", reason="Keras is on another backend"),
]
torch = pytest.importorskip("torch", reason="PyTorch is not installed")


def pair(*layers, ids=False, dtype="float32"):
    """Two models of the same weights, the second one on the engine, and its report."""
    keras.config.set_dtype_policy(dtype)
    try:
        models = []
        for _ in range(2):
            start = keras.Input((T,) if ids else (T, F), dtype="int32" if ids else dtype)
            keras.utils.set_random_seed(1)
            models.append(keras.Sequential([start, *(layer() for layer in layers)]))
    finally:
        keras.config.set_dtype_policy("float32")
    models[1].set_weights(models[0].get_weights())
    return *models, accelerate(models[1])


def calls(monkeypatch):
    """Count the calls that reach the engine."""
    from rnnfast.torch import calls

    done, run = [], calls.run

    def counted(*args):
        outputs = run(*args)
        done.append(outputs is not None)
        return outputs

    monkeypatch.setattr(calls, "run", counted)
    return done


def same(theirs, ours, x, bound=2e-6, **options):
    want, got = (model(x, **options) for model in (theirs, ours))
    for a, b in zip(as_list(got), as_list(want), strict=True):
        np.testing.assert_allclose(a.detach(), b.detach(), atol=bound, rtol=bound)
    return want, got


LAYERS = {
    "LSTM": lambda: L.LSTM(4),
    "LSTM, all steps": lambda: L.LSTM(4, return_sequences=True, use_bias=False),
    "LSTM, states": lambda: L.LSTM(4, return_sequences=True, return_state=True),
    "GRU": lambda: L.GRU(4, return_sequences=True),
    "GRU, states": lambda: L.GRU(4, use_bias=False, return_state=True),
    "GRU, backwards": lambda: L.GRU(4, go_backwards=True, return_sequences=True),
    "SimpleRNN": lambda: L.SimpleRNN(4, activation="relu"),
    "RNN of a cell": lambda: L.RNN(L.LSTMCell(4)),
    "both ways": lambda: L.Bidirectional(L.LSTM(4, return_sequences=True), merge_mode="sum"),
}


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_layers(make, dtype, monkeypatch):
    theirs, ours, report = pair(make, dtype=dtype)
    assert report.swapped and not report.left
    done = calls(monkeypatch)
    x = torch.tensor(inputs(dtype), requires_grad=True)
    results = same(theirs, ours, x)
    assert done and all(done)
    grads = []
    for model, ys in zip((theirs, ours), results, strict=True):
        total = sum((y**2).sum() for y in as_list(ys))
        weights = [w.value for w in model.trainable_weights]
        grads.append(torch.autograd.grad(total, [x, *weights]))
    for a, b in zip(*grads, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5)


def test_few_steps_of_a_frozen_layer_are_no_training(monkeypatch):
    layer, x, done = L.SimpleRNN(4), torch.ones(1, 3, F), calls(monkeypatch)
    layer(x)
    accelerate(layer)
    layer(x)
    assert not done
    layer.trainable = False
    layer(x)
    assert done == [True]


@pytest.mark.parametrize("name", ["LSTM, all steps", "GRU, backwards", "both ways"])
def test_masks(name, monkeypatch):
    theirs, ours, _ = pair(lambda: L.Embedding(IDS, F, mask_zero=True), LAYERS[name], ids=True)
    x = np.maximum(inputs(ids=True), 1)
    for b, n in enumerate([T, 2, 5, 1]):
        x[b, n:] = 0
    done = calls(monkeypatch)
    same(theirs, ours, x)
    assert done and all(done)
    done.clear()
    for other in x[:, ::-1].copy(), np.zeros_like(x):  # padding in front, nothing at all
        same(theirs, ours, other)
    assert not done


def test_training_goes_the_same_way(monkeypatch):
    theirs, ours, _ = pair(
        lambda: L.LSTM(4, return_sequences=True, dropout=0.5), lambda: L.GRU(4), lambda: L.Dense(1)
    )
    x = inputs()
    y, done = x.mean(axis=(1, 2))[:, None], calls(monkeypatch)
    for model in theirs, ours:
        keras.utils.set_random_seed(2)
        model.compile(keras.optimizers.Adam(0.01), "mse")
        model.fit(x, y, batch_size=2, epochs=2, verbose=0, shuffle=False)
    assert done == [True] * 8
    for a, b in zip(theirs.get_weights(), ours.get_weights(), strict=True):
        np.testing.assert_allclose(b, a, atol=2e-5)
    predictions = ours.predict(x, verbose=0)
    np.testing.assert_allclose(predictions, theirs.predict(x, verbose=0), atol=2e-5)
    layer = ours.layers[0]
    weights = [id(w) for w in ours.weights]
    assert restore(ours) is ours and "inner_loop" not in vars(layer)
    assert [id(w) for w in ours.weights] == weights
    done.clear()
    np.testing.assert_allclose(ours.predict(x, verbose=0), predictions, atol=2e-5)
    assert not done


def test_stateful_layers_and_initial_states(monkeypatch):
    done = calls(monkeypatch)
    models = []
    for _ in range(2):
        keras.utils.set_random_seed(1)
        start, h = keras.Input(batch_shape=(B, T, F)), keras.Input(batch_shape=(B, 4))
        y = L.GRU(4, return_sequences=True)(start, initial_state=h)
        models.append(keras.Model([start, h], L.LSTM(4, stateful=True)(y)))
    assert len(accelerate(models[1]).swapped) == 2
    x, h = inputs(), np.ones((B, 4), np.float32)
    for _ in range(2):
        same(*models, [x, h])
    models[1]([x, h]).sum().backward()  # states that are written over since are not read
    assert done and all(done)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("sequences", [False, True])
def test_zeros_for_masked_steps(sequences, backwards, monkeypatch):
    """Keras's last output is one of these zeros where a sample is shorter than others."""
    options = {"zero_output_for_mask": True, "return_sequences": sequences, "return_state": True}
    models = pair(lambda: L.LSTM(4, go_backwards=backwards, **options))[:2]
    theirs, ours = (model.layers[0] for model in models)
    done = calls(monkeypatch)
    same(theirs, ours, inputs(), mask=torch.arange(T) < torch.tensor([T, 2, 5, 1])[:, None])
    assert done == [True]


@pytest.mark.parametrize("name", ["LSTM, states", "GRU, backwards", "SimpleRNN"])
def test_one_state_or_mask_for_all_samples_stays_with_keras(name, monkeypatch):
    models = pair(LAYERS[name])[:2]
    theirs, ours = (model.layers[0] for model in models)
    done = calls(monkeypatch)
    same(theirs, ours, inputs(), mask=torch.arange(T)[None] < 3)
    states = [torch.ones(1, 4)] * len(theirs.cell.state_size if "LSTM" in name else [4])
    same(theirs, ours, inputs(), initial_state=states)
    assert not done


def test_layers_without_a_path_are_all_reported():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.three = L.LSTM(3, name="a"), L.GRU(3), L.LSTM(3, name="a")

    report = accelerate(Own())
    assert [*report.swapped.values()] == ["LSTM", "GRU", "LSTM"] and "a" in report.swapped


def test_what_stays_with_keras(monkeypatch, tmp_path):
    class Own(L.LSTM):
        def inner_loop(self, *args, **options):
            return super().inner_loop(*args, **options)

    theirs, ours, report = pair(
        lambda: Own(4, return_sequences=True, name="own"),
        lambda: L.LSTM(4, activation="relu", return_sequences=True, name="relu"),
        lambda: L.GRU(4, reset_after=False, return_sequences=True, name="before"),
        lambda: L.RNN([L.GRUCell(2), L.GRUCell(2)], return_sequences=True, name="stack"),
        lambda: L.GRU(4, recurrent_dropout=0.5, name="dropout"),
    )
    assert [path.split("/")[-1] for path in report.swapped] == ["dropout"]
    reasons = {path.split("/")[-1]: why for path, why in report.left.items()}
    assert reasons == {
        "own": "its inner loop was replaced",
        "relu": "PyTorch, whose cells the engine stands in for, has none of its options",
        "before": "PyTorch, whose cells the engine stands in for, has none of its options",
        "stack": "its cell is StackedRNNCells",
    }
    assert "4 left" in repr(report)
    done = calls(monkeypatch)
    ours(inputs(), training=True)  # recurrent dropout
    assert not done
    same(theirs, ours, inputs())
    assert done == [True]
    again = accelerate(ours)
    assert not again.swapped and "runs on rnnfast already" in again.left.values()
    _, ours, _ = pair(lambda: L.GRU(4))
    for twin in copy.deepcopy(ours), keras.models.clone_model(ours):
        assert not any("inner_loop" in vars(layer) for layer in twin.layers)


def test_refuses(monkeypatch):
    for bad in None, torch.nn.LSTM(2, 3), [L.LSTM(3)]:
        with pytest.raises(TypeError, match="accelerate expected model as a Keras model or layer"):
            accelerate(bad)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="expected the backend 'torch' of Keras, got 'jax'"):
        accelerate(L.LSTM(3))


def test_cells_have_a_kernel_of_torch():
    assert {name for name, cell in CELLS.items() if cell.in_torch and cell.keras} == {
        "rnn_tanh",
        "rnn_relu",
        "lstm",
        "gru",
    }
