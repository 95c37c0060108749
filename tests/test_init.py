"""Initial weights: their scales and structure."""

import numpy as np
import pytest
from layer_cases import each_cell, make

import rnnfast
from rnnfast import GRU, LSTM, RNN, Embedding, LayerNorm, Linear, Sequential


@pytest.mark.parametrize("layer", [RNN, LSTM, GRU])
def test_recurrent_weights_are_orthogonal(layer):
    net = layer(3, 20, num_layers=2, bidirectional=True, seed=0)
    rnnfast.init.keras(net, seed=1)
    for name, value in net.params.items():
        if name.startswith("weight_hh"):
            np.testing.assert_allclose(value.T @ value, np.eye(20), atol=1e-5)
        elif name.startswith("weight_ih"):
            bound = np.sqrt(6 / sum(value.shape))
            assert 0.8 * bound < np.abs(value).max() <= bound


@each_cell
def test_nothing_is_left_of_the_seed_of_a_layer(cls, extra):
    nets = [make(cls, seed=seed, num_layers=2, bidirectional=True, **extra) for seed in (1, 2)]
    for net in nets:
        rnnfast.init.keras(net, seed=0)
    for name, value in nets[0].params.items():
        np.testing.assert_array_equal(value, nets[1].params[name], err_msg=name)


def test_peepholes_are_glorots():
    net = LSTM(3, 200, peepholes=True, seed=0)
    rnnfast.init.keras(net, seed=1)
    bound = np.sqrt(3 / 200)
    assert 0.98 * bound < np.abs(net.params["weight_ch_l0"]).max() <= bound


def test_biases_are_zero_but_the_forget_gates():
    net = LSTM(3, 4, seed=0)
    rnnfast.init.keras(net, seed=1)
    np.testing.assert_array_equal(net.params["bias_ih_l0"], np.repeat([0, 1, 0, 0], 4))
    assert not net.params["bias_hh_l0"].any()
    gru = GRU(3, 4, seed=0)
    rnnfast.init.keras(gru)
    assert not gru.params["bias_ih_l0"].any()


def test_reaches_every_part_and_changes_no_scale():
    net = Sequential(Embedding(9, 8), LayerNorm(8), Linear(8, 4))
    before = net.state_dict()
    rnnfast.init.keras(net, seed=0)
    after = net.state_dict()
    assert 0.03 < np.abs(after["0.weight"]).max() <= 0.05
    np.testing.assert_array_equal(after["1.weight"], before["1.weight"])
    assert 0.6 < np.abs(after["2.weight"]).max() <= np.sqrt(6 / 12)


def test_the_seed_decides():
    nets = [Linear(5, 6, seed=i) for i in range(3)]
    for net, seed in zip(nets, (7, 7, 8), strict=True):
        rnnfast.init.keras(net, seed)
    a, b, c = (net.params["weight"] for net in nets)
    np.testing.assert_array_equal(a, b)
    assert (a != c).all()


def test_refuses_what_is_not_a_layer():
    with pytest.raises(TypeError, match="keras expected model as a layer, got list"):
        rnnfast.init.keras([])
