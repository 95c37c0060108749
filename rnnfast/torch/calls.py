"""One call of a module on the engine: what may run there, weights, layouts, the graph's node."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch.autograd import forward_ad

from .. import backend
from ..cells import CELLS
from ..core import runtime
from ..network import Network, Packed
from ..weights import Masks, Weights

Array = NDArray[Any]

TENSORS = (torch.Tensor, torch.nn.Parameter)  # no subclass: those want to see every operation
_DTYPES: dict[Any, np.dtype[Any]] = {
    torch.float32: np.dtype(np.float32),
    torch.float64: np.dtype(np.float64),
}
# A call of the engine costs some microseconds, and reads all weights to see whether they are still
# those of the last pack, or packs them and sets their gradients to zero. What torch spends on each
# step makes up for that (docs/switching.md, Calls of few steps). Bytes: of a gate's weights.
SINGLE_ROWS, _SINGLE_BYTES = 64, 1 << 16  # of a single step
_TRAINED = 1 << 18  # in training each doubling from these bytes on takes a step more
_SERVED = 1 << 13  # at inference the bytes that gain grow with the square of the steps
_CACHED = 1 << 20  # below these bytes the engine's LSTM gains on oneDNN's from the first step on
# With AVX2 alone, training an LSTM of more bytes, on as many rows, takes oneDNN 0.83 to 0.96 of the
# engine's time, at 32 samples and more of one processor.
_MANY_ROWS, _HUGE = 1 << 10, 1 << 24


# ---- what may run on the engine

FIRST, LAST = (2, 4), (2, 13)


def is_known(version: str) -> bool:
    """Return whether torch's private functions, which are asked below, are known of a version."""
    release = re.match(r"(\d+)\.(\d+)", version)
    return release is not None and FIRST <= tuple(map(int, release.groups())) <= LAST


KNOWN = is_known(torch.__version__)
if not KNOWN:
    warnings.warn(
        f"rnnfast.torch knows PyTorch {FIRST[0]}.{FIRST[1]} to {LAST[0]}.{LAST[1]}, got "
        f"{torch.__version__}: modules stay with PyTorch's own kernels",
        RuntimeWarning,
        stacklevel=2,
    )


def is_plain_eager() -> bool:
    """Return whether nothing but autograd wants to see or change what torch does in this thread."""
    return KNOWN and not (
        torch._C._is_tracing()
        or torch._C._len_torch_dispatch_stack()
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
        or torch.is_autocast_enabled("cpu")
    )


def are_plain(tensors: Iterable[Any], dtype: Any) -> bool:
    """Return whether the engine can read all tensors, and their dtype is this one."""
    for tensor in tensors:
        if (
            type(tensor) not in TENSORS
            or tensor.dtype is not dtype
            or not tensor.is_cpu
            or tensor.layout is not torch.strided
            or tensor.is_nested
        ):
            return False
    return dtype in _DTYPES


def needs_grad(tensors: Iterable[Any]) -> bool:
    """Return whether autograd follows a call of these; what is no tensor does not count."""
    return torch.is_grad_enabled() and any(getattr(t, "requires_grad", False) for t in tensors)


def gains(
    cell: str,
    steps: int,
    rows: int,
    nbytes: int,
    inputs: list[Any],
    weights: list[Any],
    onednn: bool = False,
) -> bool:
    """Return whether a layer gains on the engine, by its steps, rows and a gate's bytes of weights.

    `rows`: of all steps. `onednn`: whether oneDNN computes it for torch if it is an LSTM.
    """
    if rows == 0:
        return False
    training = needs_grad(inputs + weights)
    rnn = cell.startswith("rnn")  # torch's steps of these are the quickest
    if onednn and cell == "lstm":
        if training:
            huge = nbytes > _HUGE and rows >= _MANY_ROWS
            return not (huge and runtime.isa() == "avx2")
        if nbytes < _CACHED:
            return True
    elif steps == 1:
        return not rnn and rows >= SINGLE_ROWS and nbytes <= _SINGLE_BYTES
    if training:
        return steps >= 2 + 2 * rnn + (nbytes // _TRAINED).bit_length()
    weighed = steps + min(rows, 32 * steps) / 8
    return steps >= 2 + rnn and weighed**2 >= nbytes / _SERVED


# ---- threads

_threads = 0  # of torch, at the last call; 0: there was none


def _follow_torch_threads() -> None:
    # torch.set_num_threads holds for the engine as well: of its calls before the first one here if
    # it asks for fewer than the engine would take by itself, later always
    global _threads
    count = torch.get_num_threads()
    if count != _threads:
        if _threads or (not runtime._limit and count < runtime.get_num_threads()):
            runtime.set_num_threads(count)
        _threads = count


# ---- weights


@lru_cache
def network_of(cell: str, num_layers: int, directions: int, units: int, P: int) -> Network:
    """Return a network; the same one for the same arguments."""
    return Network(CELLS[cell], num_layers, directions, units, P)


class Module(NamedTuple):
    """What the engine and torch's kernels must know of a module beside its weights."""

    network: Network
    bias: bool
    dropout: float = 0.0  # 0 in evaluation

    def entries(self, flat: Sequence[Any]) -> list[Weights]:
        """Return weights, or their gradients, by layer and direction, as the engine takes them."""
        names = ["w_ih", "w_hh"] + ["b_ih", "b_hh"] * self.bias
        names += ["w_hr"] * bool(self.network.proj_size)
        return [
            Weights(**dict(zip(names, flat[start : start + len(names)], strict=True)))
            for start in range(0, len(flat), len(names))
        ]

    def shapes(self, input_size: int) -> list[tuple[int, ...]]:
        """Return those of the weights."""
        each = self.network.shapes(input_size, self.bias)
        return [shape for entry in each for shape in entry if shape]


class _Pack(NamedTuple):
    """Weights in the engine's layout, and what they were made of."""

    packed: Packed
    training: bool
    made_for: tuple[Any, ...]  # engine, instruction set, network, whether with biases, input size
    shapes: list[tuple[int, ...]]
    versions: list[int]  # torch's counters
    copies: list[Any] | None  # bytes


_packs: WeakKeyDictionary[Any, _Pack] = WeakKeyDictionary()


def _pack(
    owner: Any,
    module: Module,
    input_size: int,
    engine: Any,
    weights: Sequence[Any],
    training: bool,
) -> Packed | None:
    # The last pack if the weights are still what it was made of. They are not where torch's version
    # counters have moved, as between the steps of a training loop. Else they are compared byte by
    # byte, since the counters miss changes through `.data`, NumPy views and other processes; for
    # that, the second pack of a version is made of copies. None: shapes are not the module's.
    made_for = engine, runtime.isa(), *module[:2], input_size
    arrays = [_array(weight) for weight in weights]
    shapes = [array.shape for array in arrays]
    versions = [0 if weight.is_inference() else weight._version for weight in weights]
    kept, copies = _packs.get(owner), None
    if kept is None or kept.made_for != made_for or kept.shapes != shapes:
        if shapes != module.shapes(input_size):
            return None
    elif kept.versions == versions:
        if kept.copies == arrays and kept.training >= training:  # memcmp, to the first difference
            return kept.packed
        copies = [bytearray(array) for array in arrays]
        arrays = [
            np.frombuffer(copy, array.dtype).reshape(array.shape)
            for copy, array in zip(copies, arrays, strict=True)
        ]
    packed = Packed(module.network, engine, module.entries(arrays), training)
    # as a whole, so that threads that race each have one that fits
    _packs[owner] = _Pack(packed, training, made_for, shapes, versions, copies)
    return packed


# ---- tensors as arrays


def _array(tensor: Any) -> Array:
    # C-contiguous and aligned: the tensor's own memory where that is
    array: Array = tensor.numpy(force=True)
    return array if array.flags.carray else array.copy()


def _rows(tensor: Any) -> Array:
    # aligned, with adjacent elements on the last axis: the tensor's own memory where that is
    array: Array = tensor.numpy(force=True)
    good = array.strides[-1] == array.itemsize and array.flags.aligned
    return array if good else array.copy()


def _zeros(shape: Sequence[int], dtype: Any) -> Array:
    # in a block of those that the engine keeps: pages fresh from the system, at each step of a
    # loop, would take longer than the gradients of few rows
    array: Array = backend.active().dense.empty(tuple(shape), dtype)
    array.fill(0)
    return array


class Layout:
    """Where steps and samples lie in a call's tensors."""

    lengths: Array | None = None
    batch_first = False
    steps: int
    batch: int
    rows: tuple[int, ...]  # axes of the outputs of a layer within torch's kernels, all but the last
    state_axes: tuple[int, ...]  # of states, all but the last

    def load_state(self, tensor: Any) -> Array:
        """Return a state (L*D, B, n) as the engine reads it."""
        return _array(tensor).reshape(-1, self.batch, tensor.shape[-1])

    def give_state(self, array: Array) -> Any:
        """Return a state (L*D, B, n) as a tensor."""
        return torch.from_numpy(array.reshape(*self.state_axes, array.shape[-1]))


class Padded(Layout):
    """Sequences of equal length: many, or one alone; or a cell's single step."""

    def __init__(
        self, axes: Sequence[int], state_axes: Sequence[int], batch_first: bool, cell: bool
    ) -> None:
        # axes of tensors, all but the last: (T, B), (B, T) with batch_first, (T,), or a cell's (B,)
        self.axes, self.state_axes, self.batch_first = axes, tuple(state_axes), batch_first
        steps, batch = (1, *axes) if cell else (*axes, 1)[:2]
        self.steps, self.batch = self.rows = (batch, steps) if batch_first else (steps, batch)

    def load(self, tensor: Any) -> Array:
        """Return (T, B, n) as the engine reads it."""
        array = _rows(tensor)
        if self.batch_first:
            return array.swapaxes(0, 1)
        return array.reshape(self.steps, self.batch, array.shape[-1])

    def blank(self, n: int, dtype: Any) -> Array:
        """Return (T, B, n) for the engine to write, and for `give`."""
        # in this order with batch_first, too, as torch's: dropout on it draws in memory's order
        return np.empty((self.steps, self.batch, n), dtype)

    def load_masks(self, tensor: Any) -> Array:
        """Return (L - 1, T, B, n) of factors for outputs between layers."""
        return tensor.numpy()

    def give(self, array: Array) -> Any:
        """Return (T, B, n) as a tensor."""
        if self.batch_first:
            return torch.from_numpy(array.swapaxes(0, 1))
        return torch.from_numpy(array.reshape(*self.axes, array.shape[-1]))

    def in_torch(self, kernel: Callable[..., Any], x: Any, states: Any, *args: Any) -> Any:
        """Call torch's own kernel."""
        y, *states = kernel(
            x if self.batch_first else x.reshape(self.steps, self.batch, -1),
            states,
            *args,
            self.batch_first,
        )
        y = y if self.batch_first else y.reshape(*self.axes, y.shape[-1])
        return y, *(state.reshape(*self.state_axes, state.shape[-1]) for state in states)


class Ragged(Layout):
    """The data of a PackedSequence: rows step by step, the samples of a step longest first."""

    lengths: Array

    def __init__(self, batch_sizes: Any, rows: int, stack: int) -> None:
        array = batch_sizes.numpy()
        sizes = array.tolist()
        # whether sizes and rows are a PackedSequence's
        self.fits = sum(sizes) == rows and sizes[-1] > 0 and sizes == sorted(sizes, reverse=True)
        self.batch_sizes, self.rows, self.steps = batch_sizes, (rows,), len(sizes)
        self.batch = sizes[0] if self.fits else 0
        shorter = array[::-1].searchsorted(np.arange(self.batch), "right")  # than T, by how much
        self.lengths = len(sizes) - shorter
        self.state_axes = stack, self.batch

    def blank(self, n: int, dtype: Any) -> Array:
        """Return (N, n) for the engine to write, and for `give`."""
        return np.empty((*self.rows, n), dtype)

    def load(self, tensor: Any) -> Array:
        """Return (N, n) as the engine reads it."""
        return _rows(tensor)

    def load_masks(self, tensor: Any) -> Array:
        """Return (L - 1, T, B, n), zero past each sample's end."""
        array = tensor.numpy()
        masks = np.zeros((len(array), self.steps, self.batch, array.shape[-1]), array.dtype)
        masks[:, np.arange(self.steps)[:, None] < self.lengths] = array
        return masks

    def give(self, array: Array) -> Any:
        """Return (N, n) as a tensor."""
        return torch.from_numpy(array)

    def in_torch(self, kernel: Callable[..., Any], x: Any, states: Any, *args: Any) -> Any:
        """Call torch's own kernel."""
        return kernel(x, self.batch_sizes, states, *args)


# ---- one call


class _Call:
    """A call's module, packed weights and layout: what its backward pass needs beside tensors."""

    def __init__(
        self, module: Module, packed: Packed, layout: Padded | Ragged, resets: Array | None
    ) -> None:
        self.module, self.packed, self.layout, self.resets = module, packed, layout, resets
        self.rng_state = torch.get_rng_state() if module.dropout else None

    def forward(self, x: Any, h0: Any, c0: Any, training: bool) -> tuple[tuple[Any, ...], Any]:
        """Return outputs and final states, and the tape."""
        layout, array = self.layout, self.layout.load(x)
        y = layout.blank(self.module.network.out_size, array.dtype)
        h0, c0 = (None if state is None else layout.load_state(state) for state in (h0, c0))
        masks = self._masks(x) if self.module.dropout else None
        h_n, c_n, tape = self.packed.forward(
            array, h0, c0, layout.lengths, masks, y, training, self.resets
        )
        states = (h_n,) if c_n is None else (h_n, c_n)
        return (layout.give(y), *map(layout.give_state, states)), tape

    def _masks(self, x: Any) -> Masks:
        # of dropout between layers, drawn as torch's kernels draw them
        net, layout = self.module.network, self.layout
        masks = x.new_ones((net.num_layers - 1, *layout.rows, net.out_size))
        for i in range(len(masks)):
            torch.dropout_(masks[i], self.module.dropout, True)
        return Masks(between=layout.load_masks(masks))

    def backward(
        self, tape: Any, weights: Sequence[Any], wanted: Sequence[bool], grads: Sequence[Any]
    ) -> tuple[Any, ...]:
        """Return the gradients of x, h0, c0 and the weights, as far as `wanted`."""
        layout = self.layout
        dtype = _DTYPES[weights[0].dtype]
        dy, *dstates = grads
        dy = None if dy is None else layout.load(dy)
        dh_n, dc_n, *_ = (*(None if d is None else layout.load_state(d) for d in dstates), None)
        dx = layout.blank(weights[0].shape[1], dtype) if wanted[0] else None
        states = self.module.network.states(layout.batch, dtype)
        dh0, dc0 = (s if want else None for s, want in zip(states, wanted[1:3], strict=True))
        dweights = [_zeros(w.shape, dtype) for w in weights] if any(wanted[3:]) else None
        entries = None if dweights is None else self.module.entries(dweights)
        self.packed.backward(tape, dy, dh_n, dc_n, dx, dh0, dc0, entries)
        return (
            None if dx is None else layout.give(dx),
            None if dh0 is None else layout.give_state(dh0),
            None if dc0 is None else layout.give_state(dc0),
            *(
                torch.from_numpy(dweights[i]) if dweights and want else None
                for i, want in enumerate(wanted[3:])
            ),
        )

    def again(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call `function` with the random numbers that the forward pass had."""
        if self.rng_state is None:
            return function(*args)
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self.rng_state)
            return function(*args)

    def torch_forward(self, x: Any, h0: Any, c0: Any, weights: Sequence[Any]) -> tuple[Any, ...]:
        """Run torch's own kernel."""
        net, has_c = self.module.network, self.module.network.cell.has_cell_state
        sizes = [net.step_size, net.hidden_size] if has_c else [net.step_size]
        axes = net.stack, self.layout.batch
        states = [
            x.new_zeros((*axes, n)) if state is None else state.reshape(*axes, n)
            for state, n in zip((h0, c0), sizes, strict=False)
        ]
        options = self.module.bias, net.num_layers, self.module.dropout, True, net.directions == 2
        kernel = getattr(torch._VF, net.cell.name)
        given = states if has_c else states[0]
        return self.layout.in_torch(kernel, x, given, list(weights), *options)

    def torch_backward(
        self, tensors: Sequence[Any], wanted: Sequence[bool], grads: Sequence[Any]
    ) -> Iterator[Any]:
        """Return the gradients as torch's own kernels give them: differentiable ones."""
        if self.resets is not None:
            raise RuntimeError(
                "with resets there are gradients, but none of gradients (create_graph), nor under "
                "autocast or functorch (is_grads_batched)"
            )
        # An alias of each tensor, so that what one of them owes to another is not counted here.
        with torch.enable_grad():
            inputs = [t.view_as(t) if want else t for t, want in zip(tensors, wanted, strict=True)]
            x, h0, c0, *weights = inputs
            outputs = self.again(self.torch_forward, x, h0, c0, weights)
        given = [(y, dy) for y, dy in zip(outputs, grads, strict=True) if dy is not None]
        results = iter(
            torch.autograd.grad(
                [y for y, _ in given],
                [t for t, want in zip(inputs, wanted, strict=True) if want],
                [dy for _, dy in given],
                create_graph=torch.is_grad_enabled(),
                allow_unused=True,
            )
        )
        return (next(results) if want else None for want in wanted)


class _Recurrent(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, call: _Call, x: Any, h0: Any, c0: Any, *weights: Any) -> tuple[Any, ...]:
        outputs, tape = call.forward(x, h0, c0, True)
        # The tape hangs on a saved tensor, so that it is given up when those are: by the backward
        # pass, and by the hooks with which torch.utils.checkpoint keeps nothing.
        holder = torch.empty(0)
        holder.tape = tape
        ctx.call = call
        ctx.save_for_backward(holder, x, h0, c0, *weights)
        ctx.set_materialize_grads(False)
        return outputs

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        call, wanted = ctx.call, ctx.needs_input_grad[1:]
        holder, *tensors = ctx.saved_tensors
        is_batched = torch._C._functorch.is_legacy_batchedtensor  # is_grads_batched
        batched = any(grad is not None and is_batched(grad) for grad in grads)
        if torch.is_grad_enabled() or batched or not is_plain_eager():
            return None, *call.torch_backward(tensors, wanted, grads)
        tape = vars(holder).pop("tape", None)
        if tape is None:  # used by a backward pass before this one (retain_graph), or moved
            x, h0, c0 = tensors[:3]
            _, tape = call.again(call.forward, x, h0, c0, True)
        return None, *call.backward(tape, tensors[3:], wanted, grads)


def run(
    owner: Any,
    weights: Sequence[Any],
    module: Module,
    layout: Padded | Ragged,
    x: Any,
    h0: Any,
    c0: Any,
    resets: Array | None = None,
) -> tuple[Any, ...] | None:
    """Return a module's outputs and final states, or None where torch had better do it.

    The pack of the weights, which are in torch's order, is kept for `owner`.
    """
    # without the compiled engine torch's own kernels are the faster ones
    if resets is None and runtime.kernels is None and backend._chosen.get() is None:
        return None
    if not are_plain(weights, x.dtype):
        return None
    tensors = [t for t in (x, h0, c0, *weights) if t is not None]
    training = needs_grad(tensors)
    if training and any(t.is_inference() for t in tensors):  # cannot be saved for backward
        return None
    _follow_torch_threads()
    engine = backend.active().recurrent
    packed = _pack(owner, module, x.shape[-1], engine, weights, training)
    if packed is None:
        return None
    if not (training or module.dropout or resets is not None) and isinstance(layout, Padded):
        h, c = (None if t is None else layout.load_state(t) for t in (h0, c0))
        flip, pair = layout.batch_first, module.network.cell.has_cell_state
        x_read = _rows(x) if flip else layout.load(x)
        done = packed.quick(x_read, (h, c) if pair else h, 3, flip, False)
        if done is not None:
            y, final = done
            y = layout.give(y.swapaxes(0, 1) if flip else y)
            return y, *map(layout.give_state, final if pair else [final])
    if not training:
        return _Call(module, packed, layout, resets).forward(x, h0, c0, False)[0]
    # What backward reads may be changed in place before it where torch's kernels read a copy, or
    # nothing: x with its steps behind the samples; inputs and states if no weight has a gradient.
    if not any(weight.requires_grad for weight in weights):
        x, h0, c0 = (None if t is None else t.clone() for t in (x, h0, c0))
    flip = layout.batch_first
    if isinstance(layout, Padded) and flip:
        layout = Padded(layout.axes[::-1], layout.state_axes, False, cell=False)
        x = x.transpose(0, 1).contiguous()
    y, *states = _Recurrent.apply(_Call(module, packed, layout, resets), x, h0, c0, *weights)
    return y.transpose(0, 1) if flip else y, *states
