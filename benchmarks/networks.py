"""The forecasting networks of examples/ in rnnfast, PyTorch and Keras: an epoch of each.

Each framework is used as its own manual advises. A function a framework takes the name of a network
and the number of threads, and returns what to time: an epoch over 7,000 series of 50 steps in
batches of 32, squared error and the update by Adam included.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "examples"))

import forecast
import forecast_steps
import wavenet
from cases import Array
from peers import import_keras
from workers import Side, no_arrays

import rnnfast

SERIES, STEPS, BATCH = 7000, 50, 32


@dataclass(frozen=True)
class Network:
    """A network by its kind, and what it forecasts."""

    row: str  # of docs/results.md; "tutorial": of docs/performance.md
    title: str
    build: Callable[[], rnnfast.Sequential]
    kind: str
    ahead: int = 10
    every_step: bool = True  # or after the last one


def tutorial() -> rnnfast.Sequential:
    return rnnfast.Sequential(
        rnnfast.LSTM(1, 20, num_layers=2, batch_first=True),
        rnnfast.Last(batch_first=True),
        rnnfast.Linear(20, 1),
    )


NETWORKS = {
    network.build.__name__: network
    for network in (
        Network("tutorial", "LSTM 20-20 + Linear(1)", tutorial, "lstm", 1, False),
        Network("C2", "Linear(1)", forecast.perceptron, "linear", 1, False),
        Network("C3", "RNN(1)", forecast.one_neuron, "one neuron", 1, False),
        Network("C4", "RNN 20-20 + Linear(1)", forecast.deep, "rnn", 1, False),
        Network("C5", "Linear(10)", forecast_steps.linear, "linear", 10, False),
        Network("C5", "RNN 20-20 + Linear(10)", forecast_steps.rnn_once, "rnn", 10, False),
        Network("C6", "RNN 20-20, each step", forecast_steps.rnn, "rnn"),
        Network(
            "C7", "layer-normalised RNN 20-20", forecast_steps.layer_norm_rnn, "layer-norm rnn"
        ),
        Network("C8", "LSTM 20-20", forecast_steps.lstm, "lstm"),
        Network("C9", "GRU 20-20", forecast_steps.gru, "gru"),
        Network("C10", "Conv1d + GRU 20-20", forecast_steps.conv_gru, "conv gru"),
        Network("C11", "WaveNet", wavenet.wavenet, "wavenet"),
        Network("C12", "gated WaveNet", wavenet.gated_wavenet, "gated wavenet"),
    )
}


def data(network: Network) -> tuple[Array, Array]:
    """Return inputs and targets."""
    series = rnnfast.datasets.sine_waves(SERIES, STEPS + network.ahead, seed=42)
    x = series[:, :STEPS]
    if network.every_step:
        y = forecast_steps.at_every_step(series)
        return x, y[:, 3::2] if network.kind == "conv gru" else y
    return (x[..., 0] if network.kind == "linear" else x), series[:, STEPS:, 0]


def epoch_rnnfast(name: str, threads: int) -> Side:
    rnnfast.set_num_threads(threads)
    network = NETWORKS[name]
    model, (x, y) = network.build(), data(network)
    adam, loss = rnnfast.Adam(model), rnnfast.losses.squared_error

    def epoch() -> Any:
        return rnnfast.fit(
            model, (x, y), loss=loss, optimizer=adam, batch_size=BATCH, progress=False
        )

    return epoch, no_arrays


# ---- PyTorch


def epoch_pytorch(name: str, threads: int) -> Side:
    import torch

    torch.set_num_threads(threads)
    network = NETWORKS[name]
    x, y = (torch.from_numpy(np.ascontiguousarray(array)) for array in data(network))
    model, loss = pytorch_network(network), torch.nn.MSELoss()
    adam = torch.optim.Adam(model.parameters())

    def epoch() -> None:
        for rows in torch.randperm(len(x)).split(BATCH):
            adam.zero_grad()
            loss(model(x[rows]), y[rows]).backward()
            adam.step()

    return epoch, no_arrays


def pytorch_network(network: Network) -> Any:
    import torch
    from torch import nn
    from torch.nn import functional

    class Channels(nn.Module):
        """A convolution of (batch, steps, features), causal where it is padded."""

        def __init__(self, *sizes: int, padded: bool = True, **options: int) -> None:
            super().__init__()
            self.conv = nn.Conv1d(*sizes, **options)
            reach = (self.conv.kernel_size[0] - 1) * self.conv.dilation[0]
            self.padding = reach if padded else 0

        def forward(self, x: Any) -> Any:
            return self.conv(functional.pad(x.mT, (self.padding, 0))).mT

    class Outputs(nn.Module):
        """A recurrent layer without its final state."""

        def __init__(self, layer: Any) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Any) -> Any:
            y = self.layer(x)[0]
            return y if network.every_step else y[:, -1]

    class LayerNormRNN(nn.Module):
        def __init__(self, inputs: int, units: int) -> None:
            super().__init__()
            self.x, self.h = nn.Linear(inputs, units), nn.Linear(units, units, bias=False)
            self.norm, self.units = nn.LayerNorm(units), units

        def forward(self, x: Any) -> Any:
            h, states = x.new_zeros(len(x), self.units), []
            for product in self.x(x).unbind(1):
                h = torch.tanh(self.norm(product + self.h(h)))
                states.append(h)
            return torch.stack(states, 1)

    class GatedWaveNet(nn.Module):
        def __init__(self, inputs: int, width: int, dilations: list[int]) -> None:
            super().__init__()
            self.input = Channels(inputs, width, 2)
            self.convs = nn.ModuleList(Channels(width, 2 * width, 2, dilation=d) for d in dilations)
            self.mixes = nn.ModuleList(nn.Linear(width, width) for _ in dilations)

        def forward(self, x: Any) -> Any:
            x, y = self.input(x), 0
            for conv, mix in zip(self.convs, self.mixes, strict=True):
                a, b = conv(x).chunk(2, -1)
                z = mix(torch.tanh(a) * torch.sigmoid(b))
                x, y = x + z, y + z
            return y

    def recurrent(layer: Any, inputs: int = 1) -> list[Any]:
        layers = Outputs(layer(inputs, 20, num_layers=2, batch_first=True))
        return [layers, nn.Linear(20, network.ahead)]

    def plain_wavenet() -> list[Any]:
        layers: list[Any] = []
        for i, dilation in enumerate((1, 2, 4, 8) * 2):
            layers += [Channels(20 if i else 1, 20, 2, dilation=dilation), nn.ReLU()]
        return [*layers, nn.Linear(20, network.ahead)]

    layers = {
        "linear": lambda: [nn.Linear(STEPS, network.ahead)],
        "one neuron": lambda: [Outputs(nn.RNN(1, 1, batch_first=True))],
        "rnn": lambda: recurrent(nn.RNN),
        "lstm": lambda: recurrent(nn.LSTM),
        "gru": lambda: recurrent(nn.GRU),
        "layer-norm rnn": lambda: [
            LayerNormRNN(1, 20),
            LayerNormRNN(20, 20),
            nn.Linear(20, network.ahead),
        ],
        "conv gru": lambda: [Channels(1, 20, 4, padded=False, stride=2), *recurrent(nn.GRU, 20)],
        "wavenet": plain_wavenet,
        "gated wavenet": lambda: [
            GatedWaveNet(1, 32, [2**i for i in range(10)]),
            nn.ReLU(),
            nn.Linear(32, 32),
            nn.ReLU(),
            nn.Linear(32, network.ahead),
        ],
    }
    return nn.Sequential(*layers[network.kind]())


# ---- Keras


def epoch_keras(name: str, threads: int) -> Side:
    keras = import_keras(threads)
    network = NETWORKS[name]
    x, y = data(network)
    inputs = keras.Input(x.shape[1:])
    model = keras.Model(inputs, keras_network(keras, network, inputs))
    model.compile(optimizer="adam", loss="mse")
    return lambda: model.fit(x, y, batch_size=BATCH, epochs=1, verbose=0), no_arrays


def keras_network(keras: Any, network: Network, x: Any) -> Any:
    """Return the symbolic output for the symbolic input x."""
    layers = keras.layers

    class LayerNormCell(layers.Layer):  # type: ignore[misc,name-defined]
        def __init__(self, units: int) -> None:
            super().__init__()
            self.state_size = self.output_size = units
            self.cell = layers.SimpleRNNCell(units, activation=None)
            self.norm = layers.LayerNormalization()

        def build(self, shape: Any) -> None:
            self.cell.build(shape)
            self.norm.build((None, self.state_size))

        def call(self, x: Any, states: Any) -> Any:
            h = keras.ops.tanh(self.norm(self.cell(x, states)[0]))
            return h, [h]

    def recurrent(x: Any, layer: Any) -> Any:
        x = layer(20, return_sequences=True)(x)
        x = layer(20, return_sequences=network.every_step)(x)
        return layers.Dense(network.ahead)(x)

    def layer_norm_rnn(units: int, return_sequences: bool) -> Any:
        return layers.RNN(LayerNormCell(units), return_sequences=return_sequences)

    def causal(x: Any, width: int, dilation: int, activation: str | None = None) -> Any:
        return layers.Conv1D(
            width, 2, padding="causal", dilation_rate=dilation, activation=activation
        )(x)

    def wavenet(x: Any) -> Any:
        for dilation in (1, 2, 4, 8) * 2:
            x = causal(x, 20, dilation, "relu")
        return layers.Dense(network.ahead)(x)

    def gated_wavenet(x: Any) -> Any:
        x, skips = causal(x, 32, 1), []
        for i in range(10):
            a, b = keras.ops.split(causal(x, 64, 2**i), 2, axis=-1)
            z = layers.Dense(32)(keras.ops.tanh(a) * keras.ops.sigmoid(b))
            x = x + z
            skips.append(z)
        x = layers.Activation("relu")(layers.Add()(skips))
        return layers.Dense(network.ahead)(layers.Dense(32, activation="relu")(x))

    outputs = {
        "linear": lambda: layers.Dense(network.ahead)(x),
        "one neuron": lambda: layers.SimpleRNN(1)(x),
        "rnn": lambda: recurrent(x, layers.SimpleRNN),
        "lstm": lambda: recurrent(x, layers.LSTM),
        "gru": lambda: recurrent(x, layers.GRU),
        "layer-norm rnn": lambda: recurrent(x, layer_norm_rnn),
        "conv gru": lambda: recurrent(layers.Conv1D(20, 4, strides=2)(x), layers.GRU),
        "wavenet": lambda: wavenet(x),
        "gated wavenet": lambda: gated_wavenet(x),
    }
    return outputs[network.kind]()
