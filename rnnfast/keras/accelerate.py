"""The recurrent layers of a Keras model on the engine, in place, with the backend PyTorch."""

from __future__ import annotations

from types import MethodType
from typing import Any

from ..cells import CELLS
from .recurrent import RECURRENT_NAMES
from .shared import RECURRENT, keras_library


def accelerate(model: Any) -> Any:
    """Make the recurrent layers of a Keras model run on the engine, in place.

    `SimpleRNN`, `LSTM`, `GRU` and `RNN` of one of their cells, within `Bidirectional` too, get an
    inner loop of their own. Types, weights and every reference to them, an optimiser's for
    instance, stay as they are; `fit`, `predict`, `save` and all else are Keras's. Calls that the
    engine does not serve (another device or dtype, `recurrent_dropout` in training, a mask other
    than right padding, a sample that is masked as a whole) go to Keras's own loop.

    Parameters
    ----------
    model : keras.Model or keras.Layer
        Of the backend PyTorch. Copies of it, and what is loaded from its files, are Keras's own.

    Returns
    -------
    rnnfast.torch.Report
        Which layers were put on the engine, by their paths, or their names before they are built,
        and which were left and why.

    Raises
    ------
    TypeError
        For anything else.
    ValueError
        With another backend of Keras: their arrays cannot be trained without copies.
    ImportError
        As for `from_keras`.
    """
    from ..torch.models import Report

    keras, layers = _layers_of("accelerate", model)
    swapped: dict[str, str] = {}
    left: dict[str, str] = {}
    for layer in layers:
        name = layer.path or layer.name  # there is no path before a layer is built
        while name in swapped or name in left:
            name += "'"
        why = _why_not(keras, layer)
        if why is None:
            layer.inner_loop = MethodType(_inner_loop, layer)
            swapped[name] = type(layer).__name__
        else:
            left[name] = why
    return Report(model, swapped, left)


def restore(model: Any) -> Any:
    """Undo `accelerate`, in place, and return the model."""
    for layer in _layers_of("restore", model)[1]:
        if _is_ours(layer):
            del layer.inner_loop
    return model


def _layers_of(owner: str, model: Any) -> tuple[Any, list[Any]]:
    keras = keras_library()
    if not isinstance(model, keras.layers.Layer):
        raise TypeError(f"{owner} expected model as a Keras model or layer, got {type(model)}")
    backend = keras.backend.backend()
    if backend != "torch":
        raise ValueError(
            f"{owner} expected the backend 'torch' of Keras, got {backend!r}: KERAS_BACKEND=torch, "
            "or from_keras, which needs none to predict and train"
        )
    found = dict.fromkeys(model._flatten_layers())
    return keras, [layer for layer in found if isinstance(layer, keras.layers.RNN)]


def _is_ours(layer: Any) -> bool:
    return getattr(vars(layer).get("inner_loop"), "__func__", None) is _inner_loop


def _why_not(keras: Any, layer: Any) -> str | None:
    if _is_ours(layer):
        return "runs on rnnfast already"
    own = next(kind for kind in type(layer).__mro__ if "inner_loop" in vars(kind))
    if "inner_loop" in vars(layer) or not own.__module__.startswith("keras."):
        return "its inner loop was replaced"
    if type(layer.cell) not in [getattr(keras.layers, f"{name}Cell") for name in RECURRENT_NAMES]:
        return f"its cell is {type(layer.cell).__name__}"
    if _cell_name(keras, layer.cell) is None:
        return "PyTorch, whose cells the engine stands in for, has none of its options"
    return None


def _cell_name(keras: Any, cell: Any) -> str | None:
    # of ours with a kernel of PyTorch
    for name, kind in RECURRENT.items():
        options = {
            option: getattr(keras.activations, value) if option.endswith("activation") else value
            for option, value in kind.options.items()
        }
        same = all(getattr(cell, option) == value for option, value in options.items())
        if type(cell).__name__ == f"{kind.layer}Cell" and same and CELLS[name].in_torch:
            return name
    return None


def _inner_loop(
    self: Any, sequences: Any, initial_state: Any, mask: Any, training: bool = False
) -> Any:
    done = _on_engine(self, sequences, initial_state, mask, training)
    if done is not None:
        return done
    return type(self).inner_loop(self, sequences, initial_state, mask, training=training)


def _on_engine(layer: Any, x: Any, initial: Any, mask: Any, training: bool) -> Any:
    # last output, outputs and states; None where Keras has to do it
    import torch

    from ..torch.calls import Module, Padded, are_plain, gains, is_plain_eager, network_of, run

    cell = layer.cell
    name = _cell_name(keras_library(), cell)
    if name is None or torch.compiler.is_compiling() or not is_plain_eager():
        return None
    states = list(initial) if isinstance(initial, (list, tuple)) else [initial]
    plain = isinstance(x, torch.Tensor) and x.ndim == 3 and are_plain([x, *states], x.dtype)
    if not plain or (training and cell.recurrent_dropout):
        return None
    B, T, F = x.shape
    if any(state.shape != (B, cell.units) for state in states):  # Keras spreads one over the batch
        return None
    values = [weight.value for weight in cell.weights]
    nbytes = cell.units * (F + cell.units) * x.element_size()
    if not gains(name, T, B * T, nbytes, [x, *states], values):
        return None
    lengths = None
    if mask is not None:
        lengths = _lengths(torch, mask[0] if isinstance(mask, (list, tuple)) else mask, (B, T))
        if lengths is None:
            return None
    if training and cell.dropout:
        dropped = cell.get_dropout_mask(x[:, 0, :])
        if isinstance(dropped, list):  # implementation=1: a mask for each gate
            return None
        x = x * dropped[:, None]
    if layer.stateful:  # Keras writes the final ones over them
        states = [state.clone() for state in states]
    weights = _weights(torch, RECURRENT[name], cell)
    module = Module(network_of(name, 1, 1, cell.units, 0), cell.use_bias)
    if lengths is not None:
        return _ragged(torch, layer, x, states, lengths, weights, module)
    if layer.go_backwards:
        x = x.flip(1)
    h, c = [state[None] for state in states] if len(states) > 1 else (states[0][None], None)
    done = run(layer, weights, module, Padded((B, T), (1, B), True, cell=False), x, h, c)
    if done is None:
        return None
    y, *final = done
    return final[0][0], y, [state[0] for state in final]


def _lengths(torch: Any, mask: Any, shape: tuple[int, int]) -> Any:
    # of right-padded samples that have a step; None for others
    if mask.shape != shape:
        return None
    mask = mask.bool()
    lengths = mask.sum(dim=1)
    if not lengths.min() or not torch.equal(mask, torch.arange(shape[1]) < lengths[:, None]):
        return None
    return lengths


def _ragged(
    torch: Any, layer: Any, x: Any, states: list[Any], lengths: Any, weights: Any, module: Any
) -> Any:
    from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

    from ..torch.calls import Ragged, run

    T, steps = x.shape[1], torch.arange(x.shape[1])
    if layer.go_backwards:
        x = x.take_along_dim(((lengths[:, None] - 1 - steps) % T)[..., None], 1)
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    first = [state[packed.sorted_indices][None] for state in states]
    layout = Ragged(packed.batch_sizes, len(packed.data), 1)
    done = run(layer, weights, module, layout, packed.data, *first, *[None] * (2 - len(first)))
    if done is None:
        return None
    y, *final = done
    final = [state[0][packed.unsorted_indices] for state in final]
    packed = PackedSequence(y, *packed[1:])
    y, _ = pad_packed_sequence(packed, batch_first=True, total_length=T)
    if layer.go_backwards:  # Keras has the padding first there, and zeros for it
        y = y.take_along_dim(((steps + lengths[:, None]) % T)[..., None], 1)
    elif not layer.zero_output_for_mask:  # else the last output goes on
        y = torch.where((steps < lengths[:, None])[..., None], y, final[0][:, None])
    return y[:, -1], y, final


def _weights(torch: Any, kind: Any, cell: Any) -> list[Any]:
    # in PyTorch's order, as views where the order of the gates is Keras's
    def ordered(value: Any) -> Any:
        if list(kind.order) == sorted(kind.order):
            return value
        gates = value.chunk(len(kind.order), -1)
        return torch.cat([gates[gate] for gate in kind.order], -1)

    weights = [ordered(v.value).t() for v in (cell.kernel, cell.recurrent_kernel)]
    if not cell.use_bias:
        return weights
    bias = ordered(cell.bias.value)
    return [*weights, *(bias if kind.biases == 2 else (bias, torch.zeros_like(bias)))]
