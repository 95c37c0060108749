"""Chains of layers."""

from __future__ import annotations

import copy
import pickle
import re

import numpy as np
import pytest
from comparisons import same_slope, same_slopes
from engines import each_engine as each_engine
from samples import copies, small_model

import rnnfast as rf

F8 = {"dtype": np.float64}


def mixed(batch_first=False):
    return rf.Sequential(
        rf.Linear(2, 3, seed=1, **F8),
        rf.LSTM(3, 4, bidirectional=True, batch_first=batch_first, seed=2, **F8),
        rf.LayerNorm(8, **F8),
        rf.Sequential(
            rf.GRU(8, 3, batch_first=batch_first, seed=3, **F8), rf.Linear(3, 3, seed=4, **F8)
        ),
        rf.Last(batch_first),
        rf.Linear(3, 2, seed=5, **F8),
    )


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("lengths", [None, [2, 3, 1]])
def test_finite_differences(batch_first, lengths):
    model = mixed(batch_first)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 3, 2))
    state = [None, (rng.standard_normal((2, 3, 4)),) * 2, None, [np.ones((1, 3, 3)), None]]
    state += [None, None]
    y, _, tape = model.forward(x, state, lengths)
    assert y.shape == (3, 2)
    dy = rng.standard_normal(y.shape)
    dstate = [None, None, None, [rng.standard_normal((1, 3, 3)), None], None, None]

    def loss():
        y, n = model(x, state, lengths)
        return np.vdot(y, dy) + np.vdot(n[3][0], dstate[3][0])

    dx, d0 = model.backward(tape, dy, dstate)
    assert [d is None for d in d0] == [True, False, True, False, True, True]
    same_slope("dx", dx, loss, x)
    same_slope("dstate", d0[3][0], loss, state[3][0])
    same_slopes(model, loss)
    np.testing.assert_array_equal(model.predict(x, lengths), model(x, None, lengths)[0])


def test_names_are_pytorch_names():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    theirs = torch.nn.Sequential(
        torch.nn.Embedding(7, 3), torch.nn.Sequential(torch.nn.Linear(3, 4)), torch.nn.LayerNorm(4)
    )
    ours = rf.Sequential(rf.Embedding(7, 3), rf.Sequential(rf.Linear(3, 4)), rf.LayerNorm(4))
    ours.load_state_dict(theirs.state_dict())
    assert list(ours.params) == list(ours.grads) == list(theirs.state_dict())
    assert repr(ours).replace("))", ")") == repr(theirs).replace(
        ", elementwise_affine=True, bias=True", ""
    ).replace(", elementwise_affine=True", "").replace("))", ")")
    ids = np.array([[1, 2], [3, 6]])
    want = theirs(torch.tensor(ids)).detach().numpy()
    np.testing.assert_allclose(ours(ids)[0], want, rtol=1e-5, atol=1e-6)


def test_steps_equal_the_sequence():
    model = small_model()
    ids = np.random.default_rng(1).integers(0, 7, (5, 2))
    y, n = model(ids)
    state = None
    for t in range(5):
        y_t, state = model.step(ids[t], state)
        np.testing.assert_allclose(y_t, y[t], rtol=1e-12)
    np.testing.assert_allclose(state[1], n[1], rtol=1e-12)
    one, _ = model.step(ids[0, 0, ...])
    np.testing.assert_allclose(one, y[0, 0], rtol=1e-12)
    many = rf.Sequential(rf.RNN(2, 3, seed=1), rf.Last(), rf.Linear(3, 1, seed=1))
    x = np.ones((4, 1, 2), np.float32)
    state = None
    for x_t in x:
        y_t, state = many.step(x_t, state)
    np.testing.assert_allclose(y_t, many.predict(x), rtol=1e-5)


def test_input_gradients_stop_at_the_first_parameters():
    model = rf.Sequential(
        rf.Dropout(0.5, seed=1), rf.Linear(2, 3, seed=1), rf.Dropout(0.5, seed=2), rf.RNN(3, 2)
    )
    x = np.ones((4, 3, 2), np.float32)
    y, _, tape = model.forward(x)
    dx, _ = model.backward(tape, y, input_grad=False)
    assert dx is None
    assert model.grads["1.weight"].any()
    with pytest.raises(RuntimeError, match="used before"):
        model.backward(tape, y, input_grad=False)


def test_parameters():
    model = mixed()
    version = model.params.version
    model.params["3.1.bias"] = [1, 2, 3]
    assert model.params.version > version
    np.testing.assert_array_equal(model[3][1].params["bias"], [1, 2, 3])
    for name in ("9.weight", "weight", "", "00.weight", "3.bias", "²", "-1.weight"):
        assert name not in model.params
        with pytest.raises(KeyError):
            model.params[name] = 0.0
    assert len(model.params) == len(list(model.params)) == len(model.state_dict())
    assert len(model) == 6
    state = model.state_dict()
    state["5.bias"] = np.zeros(3)
    with pytest.raises(ValueError, match="bias of shape"):
        model.load_state_dict(state)


def test_copies():
    model = mixed()
    for twin in copies(model):
        assert repr(twin) == repr(model)
        np.testing.assert_equal(dict(twin.params), dict(model.params))
        twin.params["0.bias"] = np.zeros(3)
        assert model.params["0.bias"].any()
        y, _, tape = twin.forward(np.ones((2, 1, 2)))
        twin.backward(tape, y)
        assert not any(grad.any() for grad in model.grads.values())


def test_summary():
    assert small_model().summary().splitlines() == [
        "   layer      output     parameters",
        "0  Embedding  (T, B, 3)          21",
        "1  LSTM       (T, B, 4)         144",
        "2  LayerNorm  (T, B, 4)           8",
        "3  Linear     (T, B, 7)          35",
        "   total                        208",
    ]
    assert "4  Last        (B, 3)" in mixed(True).summary()
    assert "0  Dropout  (..., ...)" in rf.Sequential(rf.Dropout()).summary()
    model = rf.Sequential(
        rf.BatchNorm1d(1),
        rf.Conv1d(1, 20, 4, stride=2, batch_first=True),
        rf.ReLU(),
        rf.Sequential(rf.Conv1d(20, 5, 3, dilation=2, batch_first=True)),
        rf.Conv1d(5, 5, 3, padding="same", batch_first=True),
        rf.Conv1d(5, 5, 2, padding=1, batch_first=True),
        rf.Last(batch_first=True),
        rf.RepeatVector(7, batch_first=True),
        rf.WaveNet(5, 6, (1, 2), batch_first=True),
    )
    shapes = [
        line.split("(", 1)[1].rsplit(")", 1)[0] for line in model.summary().splitlines()[1:-1]
    ]
    assert shapes == [
        "B, T, 1",
        "B, (T - 2) // 2, 20",
        "B, (T - 2) // 2, 20",
        "B, (T - 2) // 2 - 4, 5",
        "B, (T - 2) // 2 - 4, 5",
        "B, (T - 2) // 2 - 4 + 1, 5",
        "B, 5",
        "B, 7, 5",
        "B, 7, 6",
    ]
    decoder = rf.Sequential(rf.Linear(2, 3), rf.RepeatVector(4), rf.Linear(3, 1)).summary()
    assert [w in decoder for w in ("  (B, 3) ", "(4, B, 3)", "(4, B, 1)")] == [True] * 3


def test_refuses_layers_that_do_not_fit():
    shared = rf.Linear(2, 2)
    for layers, error, message in [
        ((), ValueError, "at least one layer"),
        ((3,), TypeError, "layers, got int at 0"),
        ((shared, shared), ValueError, "each layer once, got Linear(in_features=2"),
        (
            (rf.Linear(2, 3), rf.Linear(2, 3)),
            ValueError,
            "input size 3 at layer 1, as layer 0 has it",
        ),
        (
            (rf.Embedding(9, 4), rf.Dropout(), rf.Last(), rf.LSTM(3, 2)),
            ValueError,
            "input size 4 at layer 3, as layer 0 has it, got 3",
        ),
        ((rf.Linear(2, 3), rf.RNN(3, 2, **F8)), ValueError, "dtype float32 at layer 1"),
        ((rf.RNN(3, 2), rf.Last(batch_first=True)), ValueError, "batch_first False at layer 1"),
    ]:
        with pytest.raises(error, match=re.escape(f"Sequential expected {message}")):
            rf.Sequential(*layers)
    with pytest.raises(ValueError, match="no layer type 'os', only GRU"):
        rf.Sequential(config=[{"type": "os", "config": {}}])


def test_refuses_states_and_writes_nothing():
    model = small_model()
    ids = np.zeros((2, 3), int)
    with pytest.raises(TypeError, match="expected state as a list, got ndarray"):
        model(ids, np.zeros(3))
    with pytest.raises(ValueError, match="state with an entry for each of 4 layers, got 1"):
        model(ids, [None])
    y, n, tape = model.forward(ids)
    wrong = [None, (n[1][0][:, :1], None), None, None]
    with pytest.raises(ValueError, match=r"LSTM expected dstate of shape \(1, 3, 4\)"):
        model.backward(tape, y, wrong)
    with pytest.raises(ValueError, match="Linear has no state, got a dstate for it"):
        model.backward(tape, y, [None, None, None, 1])
    with pytest.raises(ValueError, match="Linear expected dy of shape"):
        model.backward(tape, y[:1])
    assert not any(grad.any() for grad in model.grads.values())
    model.backward(tape, y, n)
    assert all(grad.any() for grad in model.grads.values())


def test_backward_writes_all_or_nothing():
    x = np.ones((2, 1, 3), np.float32)

    def change_parameters(model):
        model[0].params["bias"] = np.ones(3)

    def spoil_gradient(model):
        model[0].grads["bias"] = np.zeros(2)

    for layers in (rf.Linear(3, 3), rf.LSTM(3, 4)), (rf.Sequential(rf.Linear(3, 3)), rf.LSTM(3, 4)):
        model = rf.Sequential(*layers)
        linear = layers[0] if isinstance(layers[0], rf.Linear) else layers[0][0]
        for harm, error in (change_parameters, RuntimeError), (spoil_gradient, ValueError):
            y, _, tape = model.forward(x)
            harm([linear])
            with pytest.raises(error):
                model.backward(tape, y)
            assert not any(grad.any() for grad in model[1].grads.values())
            model[1].backward(tape.open(model)[1], y)  # is not used up
            model[1].zero_grad()


def test_refuses_a_layer_used_twice_at_any_depth():
    shared = rf.Linear(2, 2)
    for layers in (
        (shared, rf.Sequential(shared)),
        (rf.Sequential(rf.Sequential(shared)), rf.Sequential(shared)),
    ):
        with pytest.raises(ValueError, match=r"each layer once, got Linear.* again at 1"):
            rf.Sequential(*layers)


def test_refuses_a_state_for_a_stateless_layer_and_odd_configurations():
    model = rf.Sequential(rf.Linear(2, 2), rf.RNN(2, 2))
    for call in (model, model.forward):
        with pytest.raises(ValueError, match="Linear has no state, got a state for it"):
            call(np.ones((1, 1, 2), np.float32), [1, None])
    for config, error in (3, TypeError), ([{}], ValueError), ([3], ValueError):
        with pytest.raises(error, match="config"):
            rf.Sequential(config=config)


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]
)
def test_arguments_are_fixed_at_construction(duplicate):
    for layer, name in [
        (rf.LSTM(2, 3, 2, dropout=0.5), "dropout"),
        (rf.GRU(2, 3), "hidden_size"),
        (rf.Dropout(), "p"),
        (rf.Linear(2, 3), "dtype"),
    ]:
        before = repr(layer)
        with pytest.raises(AttributeError, match=rf"{name} of .* is fixed at construction"):
            setattr(duplicate(layer), name, getattr(layer, name))
        assert repr(layer) == before
