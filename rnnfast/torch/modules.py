"""The modules: which calls of them go to the engine, and how those look there."""

from __future__ import annotations

from types import FunctionType
from typing import Any

import torch
from torch.nn.utils import parametrize
from torch.nn.utils.rnn import PackedSequence

from ..cells import CELLS
from ..checks import check_resets
from .calls import (
    SINGLE_ROWS,
    TENSORS,
    Module,
    Padded,
    Ragged,
    are_plain,
    gains,
    is_plain_eager,
    network_of,
    run,
)


class _Module(torch.nn.Module):
    def forward(self, input: Any, hx: Any = None) -> Any:
        if not torch.compiler.is_compiling() and is_plain_eager():
            result = self._on_engine(input, hx)
            if result is not None:
                return result
            if isinstance(input, torch.fx.Proxy):  # a leaf of the graph, as torch's own modules are
                path = input.tracer.path_of_module(self)
                return input.tracer.create_proxy("call_module", path, (input, hx), {})
        return super().forward(input, hx)

    def __prepare_scriptable__(self) -> Any:  # torch.jit.script asks for what to compile instead
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__)
        turn_back(twin)
        return twin


class _Layer(_Module):
    def forward(self, input: Any, hx: Any = None, resets: Any = None) -> Any:
        """As torch's; `resets`, booleans of the axes of input but the last, as `rnnfast.LSTM`'s."""
        if resets is None:
            return super().forward(input, hx)
        name = type(self).__name__
        if isinstance(input, PackedSequence):
            raise ValueError(
                f"{name} takes no resets with a PackedSequence: pack what lies between them as "
                "sequences of their own"
            )
        resets = check_resets(name, resets, tuple(input.shape[:-1]))
        result = None
        if resets is not None and not torch.compiler.is_compiling() and is_plain_eager():
            result = self._on_engine(input, hx, resets)
        if result is None:
            result = super().forward(input, hx)  # without resets; with them for torch's own errors
            if resets is not None:
                raise RuntimeError(
                    f"{name} takes resets on the engine alone: CPU tensors of float32 or float64, "
                    "outside torch.compile, tracing, autocast and functorch, with a known PyTorch"
                )
        return result

    def in_torch(self, input: Any, hx: Any = None) -> Any:
        """Return what torch's kernel gives if it is quicker than the engine, else None.

        Called with a module of torch's own class. Of a few steps, the checks of torch's forward
        are a good part. So they are made here, where they are cheap, and calls that do not pass
        them are left to torch's forward.
        """
        if type(input) not in TENSORS or _gains(self, input, _steps(self, input), [input]):
            return None
        weights, pair = _flat_weights(self), self.mode == "LSTM"
        if input.is_nested or input.dim() != 3 or self.proj_size:
            return None
        *axes, inputs = input.shape
        if inputs != self.input_size or input.dtype is not weights[0].dtype:
            return None
        shape = (
            self.num_layers * (1 + self.bidirectional),
            axes[not self.batch_first],
            self.hidden_size,
        )
        if hx is None:
            h = torch.zeros(shape, dtype=input.dtype, device=input.device)
            hx = (h, h) if pair else h
        elif pair:
            if (
                type(hx) is not tuple
                or len(hx) != 2
                or not all(_fits(state, shape) for state in hx)
            ):
                return None
        elif not _fits(hx, shape):
            return None
        options = self.bias, self.num_layers, self.dropout, self.training, self.bidirectional
        kernel = getattr(torch._VF, self.mode.lower())
        y, *final = kernel(input, hx, weights, *options, self.batch_first)
        return y, tuple(final) if pair else final[0]

    def _on_engine(self, input: Any, hx: Any, resets: Any = None) -> Any:
        packed = isinstance(input, PackedSequence)
        x = input.data if packed else input
        cell, inputs, units = self.mode.lower(), self.input_size, self.hidden_size
        if type(x) not in TENSORS:
            return None
        h, c = _split(hx, CELLS[cell].has_cell_state)
        given = [t for t in (x, h, c) if t is not None]
        steps = input.batch_sizes.numel() if packed else _steps(self, x)
        if resets is None and not _gains(self, x, steps, given, packed):
            return None  # before the checks below, as a single step hardly lasts longer than they
        if not are_plain(given, x.dtype) or x.shape[-1:] != (inputs,):
            return None
        directions = 2 if self.bidirectional else 1
        network = network_of(cell, self.num_layers, directions, units, self.proj_size)
        dropout = self.dropout if self.training and self.num_layers > 1 else 0.0
        axes, stack = x.shape[:-1], network.stack
        layout: Padded | Ragged
        if packed:
            sizes = input.batch_sizes
            if len(axes) != 1 or sizes.dim() != 1 or sizes.dtype is not torch.int64:
                return None
            layout = Ragged(sizes, len(x), stack)
            if not layout.fits:
                return None
            if hx is not None and input.sorted_indices is not None:
                hx = self.permute_hidden(hx, input.sorted_indices)
                h, c = _split(hx, network.cell.has_cell_state)
        elif len(axes) == 2:
            batch = axes[not self.batch_first]
            layout = Padded(axes, (stack, batch), self.batch_first, cell=False)
        elif len(axes) == 1:
            layout = Padded(axes, (stack,), False, cell=False)
        else:
            return None
        if (h is not None and h.shape != (*layout.state_axes, network.step_size)) or (
            c is not None and c.shape != (*layout.state_axes, units)
        ):
            return None
        module = Module(network, self.bias, dropout)
        if resets is not None:
            resets = resets.T if layout.batch_first else resets.reshape(layout.steps, layout.batch)
        outputs = run(_owner(self), _flat_weights(self), module, layout, x, h, c, resets)
        if outputs is None:
            return None
        y, *states = outputs
        state = tuple(states) if network.cell.has_cell_state else states[0]
        if packed:
            y = PackedSequence(y, *input[1:])
            state = self.permute_hidden(state, input.unsorted_indices)
        return y, state


class RNN(_Layer, torch.nn.RNN):
    """`torch.nn.RNN` on the engine: same arguments and `resets`, results, errors."""


class LSTM(_Layer, torch.nn.LSTM):
    """`torch.nn.LSTM` on the engine: same arguments and `resets`, results, errors."""


class GRU(_Layer, torch.nn.GRU):
    """`torch.nn.GRU` on the engine: same arguments and `resets`, results, errors."""


class _Cell(_Module):
    _engine_cell: str

    def in_torch(self, input: Any, hx: Any = None) -> Any:
        """Return what torch's cell gives if it is quicker than the engine's, else None."""
        few = type(input) in TENSORS and _are_few(input)
        return type(self).forward(self, input, hx) if few else None

    def _engine_weights(self) -> list[Any]:
        # torch's cells go by the weights themselves, not by self.bias
        own = self._parameters
        names = "weight_ih", "weight_hh", "bias_ih", "bias_hh"
        weights = [own[n] if n in own else getattr(self, n, None) for n in names]
        return [weight for weight in weights if weight is not None]

    def _on_engine(self, input: Any, hx: Any) -> Any:
        if type(input) not in TENSORS or _are_few(input):
            return None
        cell = self._engine_cell
        h, c = _split(hx, CELLS[cell].has_cell_state)
        given = [t for t in (input, h, c) if t is not None]
        if not are_plain(given, input.dtype) or input.shape[1] != self.input_size:
            return None
        axes = input.shape[:-1]
        if any(t.shape != (*axes, self.hidden_size) for t in given[1:]):
            return None
        weights = self._engine_weights()
        nbytes = self.hidden_size * (self.input_size + self.hidden_size) * input.element_size()
        if not gains(cell, 1, len(input), nbytes, given, weights):
            return None
        module = Module(network_of(cell, 1, 1, self.hidden_size, 0), len(weights) == 4)
        layout = Padded(axes, axes, False, cell=True)
        outputs = run(_owner(self), weights, module, layout, input, h, c)
        if outputs is None:
            return None
        y, _, *c = outputs  # y is the new h
        return (y, *c) if c else y


class LSTMCell(_Cell, torch.nn.LSTMCell):
    """`torch.nn.LSTMCell` on the engine: same arguments, parameters, results and errors."""

    _engine_cell = "lstm"


class GRUCell(_Cell, torch.nn.GRUCell):
    """`torch.nn.GRUCell` on the engine: same arguments, parameters, results and errors."""

    _engine_cell = "gru"


OURS: dict[Any, Any] = {
    torch.nn.RNN: RNN,
    torch.nn.LSTM: LSTM,
    torch.nn.GRU: GRU,
    torch.nn.LSTMCell: LSTMCell,
    torch.nn.GRUCell: GRUCell,
}
ORIGINALS = {ours: torchs for torchs, ours in OURS.items()}

for _kind in ORIGINALS:
    # Python's errors about arguments name a function by its __qualname__, so each class has its own
    _f = _kind.forward
    _own = FunctionType(_f.__code__, _f.__globals__, None, _f.__defaults__, _f.__closure__)
    _own.__annotations__, _own.__qualname__ = _f.__annotations__, f"{_kind.__name__}.forward"
    _kind.forward = _own


def turn_back(module: Any) -> None:
    """Give a module of ours torch's own class; others stay as they are."""
    kind = type(module)
    if kind in ORIGINALS:
        module.__class__ = ORIGINALS[kind]
    elif parametrize.is_parametrized(module) and kind.__bases__[0] in ORIGINALS:
        # torch made its class for its properties, and copies of the module share it
        properties = {n: v for n, v in vars(kind).items() if n not in ("__dict__", "__weakref__")}
        module.__class__ = type(kind.__name__, (ORIGINALS[kind.__bases__[0]],), properties)


def _owner(module: Any) -> Any:
    # what lasts as long as the module and no copy has: of a twin (instances.py) its forward
    return vars(module).get("forward", module)


def _flat_weights(layer: Any) -> list[Any]:
    # those that torch's kernels would take: its list, which is brought up to date as its own
    # forward does it, but only if it might be needed, since that looks at each weight twice
    own = layer._parameters
    pairs = zip(layer._flat_weights_names, layer._flat_weights, strict=False)
    if any(own.get(name) is not weight for name, weight in pairs):
        layer._update_flat_weights()
    return layer._flat_weights


def _fits(state: Any, shape: tuple[int, ...]) -> bool:
    return type(state) in TENSORS and state.shape == shape


def _are_few(x: Any) -> bool:
    return x.dim() != 2 or len(x) < SINGLE_ROWS


def _steps(layer: Any, x: Any) -> int:
    if x.is_nested or x.dim() < 2:
        return 0  # torch has something to say
    return x.shape[layer.batch_first and x.dim() > 2]


def _gains(layer: Any, x: Any, steps: int, given: list[Any], packed: bool = False) -> bool:
    inputs, units = layer.input_size, layer.hidden_size
    onednn = not packed and not layer.proj_size and x.dtype is torch.float32
    rows, nbytes = x.numel() // inputs, units * (inputs + units) * x.element_size()
    return gains(layer.mode.lower(), steps, rows, nbytes, given, layer._flat_weights, onednn)


def _split(hx: Any, has_c: bool) -> tuple[Any, Any]:
    # h and c, each None where there is none, and no tensors where torch has something to say
    if hx is None or not has_c:
        return hx, None
    given = isinstance(hx, (tuple, list)) and len(hx) == 2 and all(t is not None for t in hx)
    return tuple(hx) if given else (False, False)
