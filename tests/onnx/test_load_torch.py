"""What PyTorch exports, loaded again."""

from __future__ import annotations

import warnings

import pytest
from engines import each_engine as each_engine
from onnx_graphs import agree, run_ort

import rnnfast


def exported(path, module, *inputs, **axes):
    """Export a module with the named inputs' axes left open, and load it."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    module.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the exporter's own future
        torch.onnx.export(
            module,
            inputs,
            path,
            input_names=list(axes),
            dynamic_axes={n: {i: f"{n}{i}" for i in kept} for n, kept in axes.items()},
            dynamo=False,
        )
    return rnnfast.onnx.load(path)


def same_as_torch(path, module, model, *inputs):
    import torch

    with torch.no_grad():
        outputs = module(*inputs)

    def arrays(result):
        if isinstance(result, (tuple, list)):
            return [array for part in result for array in arrays(part)]
        return [result.numpy()]

    feed = {value.name: x.numpy() for value, x in zip(model.inputs, inputs, strict=True)}
    got = model.run(None, feed)
    agree(got, arrays(outputs))
    agree(got, run_ort(path, feed))


@pytest.mark.parametrize("layers, bidirectional", [(1, False), (1, True), (3, False), (2, True)])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_recurrent_modules(kind, batch_first, layers, bidirectional, tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.manual_seed(0)
    options = {"batch_first": batch_first, "bidirectional": bidirectional}
    module = getattr(torch.nn, kind)(3, 5, layers, **options)
    x = torch.randn(4, 4, 3)
    path = tmp_path / "m.onnx"
    model = exported(path, module, x, x=(0, 1))
    assert [v.name for v in model.inputs] == ["x"]
    for shape in ((4, 4), (7, 2), (1, 1)):
        same_as_torch(path, module, model, torch.randn(*shape, 3))


def test_initial_states(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = torch.nn.LSTM(3, 5, 2, bidirectional=True)

        def forward(self, x, h, c):
            return self.rnn(x, (h, c))

    module, state = Network(), [torch.randn(4, 2, 5) for _ in range(2)]
    inputs = torch.randn(6, 2, 3), *state
    model = exported(tmp_path / "m.onnx", module, *inputs, x=(0,), h=(), c=())
    same_as_torch(tmp_path / "m.onnx", module, model, torch.randn(3, 2, 3), *state)


@pytest.mark.parametrize("enforce_sorted", [True, False])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_packed_sequences(kind, enforce_sorted, tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    rnn = torch.nn.utils.rnn

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = getattr(torch.nn, kind)(3, 5, 2, bidirectional=True, batch_first=True)

        def forward(self, x, lengths):
            x = rnn.pack_padded_sequence(x, lengths, True, enforce_sorted)
            y, state = self.rnn(x)
            return rnn.pad_packed_sequence(y, True)[0], state

    module, lengths = Network(), torch.tensor([6, 4, 4, 1])
    inputs = torch.randn(4, 6, 3), lengths if enforce_sorted else lengths[[1, 3, 0, 2]]
    model = exported(tmp_path / "m.onnx", module, *inputs, x=(0, 1), lengths=(0,))
    same_as_torch(tmp_path / "m.onnx", module, model, *inputs)
    same_as_torch(tmp_path / "m.onnx", module, model, inputs[0][:2], torch.tensor([6, 2]))


def tagger(torch):
    class Tagger(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(11, 6)
            self.rnn = torch.nn.LSTM(6, 5, 2, batch_first=True, bidirectional=True, dropout=0.5)
            self.norm = torch.nn.LayerNorm(10)
            self.linear = torch.nn.Linear(10, 4)

        def forward(self, ids):
            y, _ = self.rnn(self.embedding(ids))
            return torch.log_softmax(self.linear(torch.nn.functional.gelu(self.norm(y))), -1)

    return Tagger(), (torch.randint(0, 11, (3, 7)),), {"ids": (0, 1)}


def convolutions(torch):
    nn = torch.nn

    class Convolutions(nn.Module):
        def __init__(self):
            super().__init__()
            self.front = nn.Sequential(
                nn.Conv1d(2, 6, 5, stride=2, padding=2),
                nn.BatchNorm1d(6),
                nn.ReLU(),
                nn.MaxPool1d(2),
                nn.Conv1d(6, 8, 3, dilation=2, padding=2, groups=2),
                nn.LeakyReLU(0.1),
                nn.AvgPool1d(2, ceil_mode=True),
            )
            self.front[1].running_mean.uniform_()
            self.front[1].running_var.uniform_(0.5, 2)
            self.rnn = nn.GRU(8, 5, bidirectional=True)
            self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(20, 3), nn.Softmax(-1))

        def forward(self, x):
            y, _ = self.rnn(self.front(x).permute(2, 0, 1))
            return self.head(torch.cat([y.mean(0), y.amax(0)], 1))

    return Convolutions(), (torch.randn(3, 2, 45),), {"x": (0, 2)}


def pictures(torch):
    nn = torch.nn

    class Pictures(nn.Module):
        def __init__(self):
            super().__init__()
            self.front = nn.Sequential(
                nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3)
            )
            self.rnn = nn.LSTM(12, 5, bidirectional=True)

        def forward(self, x):
            y = self.front(x)
            y, _ = self.rnn(y.flatten(1, 2).permute(2, 0, 1))
            return y.argmax(-1), y

    return Pictures(), (torch.randn(2, 1, 8, 20),), {"x": (0, 3)}


def attention(torch):
    class Attention(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = torch.nn.GRU(4, 6, batch_first=True)
            self.decoder = torch.nn.LSTMCell(10, 6)
            self.query = torch.nn.Linear(6, 6)

        def forward(self, x, target):
            memory, h = self.encoder(x)
            h = h[-1]
            c = torch.zeros_like(h)
            outputs = []
            for t in range(3):
                scores = torch.bmm(memory, self.query(h).unsqueeze(2)).squeeze(2)
                weights = torch.softmax(scores / 6**0.5, 1)
                context = (memory * weights[:, :, None]).sum(1)
                h, c = self.decoder(torch.cat([target[:, t], context], 1), (h, c))
                outputs.append(torch.where(h > 0, h, torch.exp(h) - 1).clamp(-0.5, 0.5))
            return torch.stack(outputs, 1)

    return Attention(), (torch.randn(3, 8, 4), torch.randn(3, 3, 4)), {"x": (0, 1), "target": (0,)}


@pytest.mark.parametrize("network", [tagger, convolutions, pictures, attention])
def test_networks_around(network, tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.manual_seed(0)
    module, inputs, axes = network(torch)
    model = exported(tmp_path / "m.onnx", module, *inputs, **axes)
    same_as_torch(tmp_path / "m.onnx", module, model, *inputs)
    fewer = [x[:2] for x in inputs]
    same_as_torch(tmp_path / "m.onnx", module, model, *fewer)
