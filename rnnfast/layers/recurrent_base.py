"""What all recurrent layers share: a stack of layers of one cell, its options, its calls."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from functools import partial
from operator import is_
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .. import backend
from ..arrays import contiguous, ready
from ..cells import Cell
from ..checks import (
    Checks,
    check_array,
    check_dtype,
    check_features,
    check_flag,
    check_float_dtype,
    check_lengths,
    check_probability,
    check_resets,
    check_seed,
    check_sequence,
    check_size,
)
from ..core import runtime
from ..network import Network, Packed
from ..weights import Weights
from .base import Layer, Tape, blank
from .checkpoint import Recomputed
from .masks import Masks, MaskSource, part_here

if TYPE_CHECKING:
    from ..arrays import Array

    State = Any  # (h, c) for an LSTM, h for the others

# of parameters, by the first letter of a field of `Weights`
WORDS = {"w": "weight", "b": "bias"}


class Recurrent(Layer):
    """What all recurrent layers share; a class of a cell has its options and their checks.

    Letters: B batch, T time steps, I input size, H hidden size, P projection size, K size of h
    (P or H), L layers, D directions.
    """

    stateful = True
    _changeable = ("checkpoint",)

    def _check_checkpoint(self, name: str, k: Any) -> int | None:
        return None if k is None else check_size(self, name, k, 1)

    _checks: ClassVar[Checks] = {"checkpoint": _check_checkpoint}
    _cell: Cell  # of the class its default, of a layer its own
    network: Network
    # version, backend, instruction set, whether for training, packed weights
    _pack: tuple[int, Any, str, bool, Packed] | None = None
    _known_grads: tuple[tuple[Any, ...], list[Weights]] = (), []  # checked, and by part
    dtype: np.dtype[Any]
    batch_first: bool
    in_size: int
    out_size: int

    def _setup(self, options: Mapping[str, Any]) -> None:
        # `options`: the constructor's arguments by name, of which it has checked its own
        self._check_options(options)
        name = type(self).__name__
        if self.dropout and self.num_layers == 1 and blank.get() is None:
            warnings.warn(
                f"{name}: dropout acts between layers, so with num_layers=1 it has no effect",
                stacklevel=3,
            )

        pair = self.zoneout if isinstance(self.zoneout, tuple) else (self.zoneout, self.zoneout)
        self.network = Network(
            self._cell,
            self.num_layers,
            2 if self.bidirectional else 1,
            self.hidden_size,
            self.proj_size,
            pair if self._cell.has_cell_state else (self.zoneout, 0.0),
        )
        self.out_size = self.network.out_size
        self._calls = MaskSource(self.seed, self.dropout)  # also counts the calls
        self._sources = (
            self._calls if self.dropout and self.num_layers > 1 else None,
            MaskSource(self.seed, self.recurrent_dropout) if self.recurrent_dropout else None,
            *(MaskSource(self.seed, 1.0 - z, 1.0) if z else None for z in self.network.zoneout),
        )
        self._random = any(self._sources)  # whether training calls draw masks
        self._create_weights()

    def _check_options(self, options: Mapping[str, Any]) -> None:
        # makes attributes of those that all cells have
        name = type(self).__name__
        self.input_size = self.in_size = check_size(name, "input_size", options["input_size"], 0)
        self.hidden_size = check_size(name, "hidden_size", options["hidden_size"], 1)
        self.num_layers = check_size(name, "num_layers", options["num_layers"], 1)
        self.bias = check_flag(name, "bias", options["bias"])
        self.batch_first = check_flag(name, "batch_first", options["batch_first"])
        self.dropout = check_probability(name, "dropout", options["dropout"])
        self.bidirectional = check_flag(name, "bidirectional", options["bidirectional"])
        proj_size = options.get("proj_size", 0)  # of an LSTM only
        self.proj_size = check_size(name, "proj_size", proj_size, 0)
        if self.proj_size >= self.hidden_size:
            raise ValueError(f"{name} expected proj_size < hidden_size, got {proj_size}")
        self.dtype = check_float_dtype(name, options["dtype"])
        self.seed = check_seed(name, options["seed"])
        self.checkpoint: int | None = options["checkpoint"]
        self.layer_norm = check_flag(name, "layer_norm", options.get("layer_norm", False))
        if self.layer_norm and not self._cell.has_norm:
            chosen = ", ".join(f"{option}={v!r}" for option, v in self._cell.options.items())
            raise ValueError(f"{name} expected layer_norm=False with {chosen}, got True")
        recurrent_dropout = options.get("recurrent_dropout", 0.0)
        self.recurrent_dropout = check_probability(name, "recurrent_dropout", recurrent_dropout)
        self.zoneout = self._check_zoneout(options["zoneout"])

    def _create_weights(self) -> None:
        bound = 1.0 / math.sqrt(self.hidden_size)
        rng = np.random.default_rng(self.seed)
        shapes: dict[str, tuple[int, ...]] = {}
        self._names: list[list[str]] = []  # of the weights of each layer and direction; "": none
        for k, entry in enumerate(self.network.shapes(self.input_size, self.bias, self.layer_norm)):
            layer, d = divmod(k, self.network.directions)
            suffix = f"_l{layer}" + ("_reverse" if d else "")
            own = [
                (WORDS[field[0]] + field[1:].replace("own", self._cell.own_name) + suffix, shape)
                for field, shape in entry._asdict().items()
            ]
            self._names.append([name if shape else "" for name, shape in own])
            shapes |= {name: shape for name, shape in own if shape}

        def draw(name: str, shape: tuple[int, ...]) -> Array:
            if "_ln_" in name:
                return np.full(shape, float(name.startswith("weight")))
            return rng.uniform(-bound, bound, shape)

        self._create(shapes, draw)

    def _check_zoneout(self, zoneout: Any) -> Any:
        name = type(self).__name__
        if not self._cell.has_cell_state or not isinstance(zoneout, (tuple, list)):
            return check_probability(name, "zoneout", zoneout)
        if len(zoneout) != 2:
            raise ValueError(f"{name} expected zoneout as a number or a pair, got {zoneout!r}")
        h, c = (check_probability(name, "zoneout", zone) for zone in zoneout)
        return h, c

    def by_part(self, arrays: Mapping[str, Array]) -> list[Weights]:
        """Return parameters, or gradients, of each layer and direction, as backends take them."""
        get = arrays.get
        return [Weights._make(map(get, names)) for names in self._names]  # "": None

    def _grads_by_part(self) -> list[Weights]:
        # checked whole only where `grads` holds other arrays than at the last call
        grads, (known, parts) = self.grads, self._known_grads
        same = known and all(map(is_, known, map(grads.get, self.params._arrays)))
        if not same or not all(grad.flags.carray for grad in known):
            grads = self._checked_grads()
            parts = self.by_part(grads)
            self._known_grads = tuple(map(grads.get, self.params._arrays)), parts
        return parts

    # ---- calls

    def __call__(
        self, x: Array, state: State = None, lengths: Any = None, resets: Any = None
    ) -> tuple[Array, State]:
        """Run the layer for inference: nothing is stored, no dropout, zoneout's expectation.

        Parameters
        ----------
        x : (T, B, I) array, (B, T, I) with ``batch_first``, or (T, I) for one sequence
            Of the layer's dtype (not converted) and any memory layout.
        state : array or pair of arrays, optional
            Initial h (L*D, B, K), for an LSTM (h, c) with c (L*D, B, H); without B for one
            sequence. Default zeros.
        lengths : (B,) array_like of int, optional
            Steps of each sample, 0 to T. What x holds past them is ignored; outputs there are
            zero; the reverse direction starts at each sample's own last step.
        resets : array_like of bool, optional
            (T, B), in the layout of x without features: where a sample starts anew, as an episode
            does. Step t then finds a state of zeros, whatever came before, and `state` where t is
            0; no gradient goes across. The reverse direction starts anew between step t and t - 1.

        Returns
        -------
        y : (T, B, D*K) array, in the layout of x
        state : like `state`
            After each sample's last step.

        Raises
        ------
        TypeError, ValueError
            For wrong dtypes, shapes, lengths or resets.
        """
        # The short way takes microseconds off a call; None: something needs checks or copies.
        if lengths is None:
            done = self.packed(False).quick(x, state, 3, self.batch_first, False, resets)
            if done is not None:
                return done
        arrays, y, cuts = self._checked(x, state, lengths, resets)
        h, c, _ = self.packed(False).forward(*arrays, None, self._time_major(y), False, cuts)
        return y, self._join_state(h, c, x.ndim == 3)

    def forward(
        self, x: Array, state: State = None, lengths: Any = None, resets: Any = None
    ) -> tuple[Array, State, Tape]:
        """Run the layer for training, with dropout and zoneout; also returns the tape."""
        if lengths is None and not self._random and self.checkpoint is None:
            packed = self.packed(True)
            done = packed.quick(x, state, 3, self.batch_first, True, resets)
            if done is not None:
                y, state, saved = done
                B = y.shape[0 if self.batch_first else 1]
                return y, state, Tape(self, (partial(packed.backward, saved), y.shape, B))
        arrays, y, cuts = self._checked(x, state, lengths, resets)
        T, B, _ = arrays[0].shape
        masks: Any = self._draw_masks(B)
        network: Packed | Recomputed
        if self.checkpoint is None:
            network = self.packed(True)
            masks = None if masks is None else masks.whole(0, T)
        else:
            network = Recomputed(self._packs(), self.checkpoint)
        h, c, saved = network.forward(*arrays, masks, self._time_major(y), True, cuts)
        tape = Tape(self, (partial(network.backward, saved), y.shape, B))
        return y, self._join_state(h, c, x.ndim == 3), tape

    def _checked(
        self, x: Array, state: State, lengths: Any, resets: Any
    ) -> tuple[tuple[Array, Array | None, Array | None, Array | None], Array, Array | None]:
        # x, h0, c0 and lengths as backends take them; y in the layout of x, to be written; resets
        name = type(self).__name__
        check_dtype(name, "input", x, self.dtype)
        check_sequence(name, x)
        check_features(name, x, self.input_size)
        T, B, _ = self._time_major(x).shape
        h0, c0 = self._split_state("state", state, B, x.ndim == 3)
        lengths = check_lengths(name, lengths, T, B)
        resets = check_resets(name, resets, x.shape[:-1])
        if resets is not None:
            resets = resets.T if self.batch_first and x.ndim == 3 else resets.reshape(T, B)
        shape = (*x.shape[:-1], self.out_size)
        try:
            y = np.empty(shape, self.dtype)
        except ValueError:  # more bytes than a size can tell
            text = f"{name}: outputs of shape {shape} exceed the address space"
            raise MemoryError(text) from None
        return (self._time_major(self._rows(x)), h0, c0, lengths), y, resets

    def backward(
        self, tape: Tape, dy: Array | None, dstate: State = None, input_grad: bool = True
    ) -> tuple[Array | None, State]:
        """Backpropagate through time: add into `grads`, return the gradients of x and state.

        Parameters
        ----------
        tape : Tape
            From `forward`; used up.
        dy : array of the shape of y, or None
            Gradient of the outputs; ignored past each sample's end. None where only `dstate` is
            given.
        dstate : like the state, optional
            Gradient of the final state; None, or None in the pair of an LSTM, means zeros.
        input_grad : bool, default True
            Whether the gradient of x is wanted.

        Returns
        -------
        dx : array of the shape of x, or None
            Zero past each sample's end.
        dstate : like the state
            Gradient of the initial state.

        Raises
        ------
        RuntimeError
            For a tape of another layer, or one used before.
        TypeError, ValueError
            For wrong dtypes or shapes.
        """
        backward, shape, B = self._open(tape)
        name = type(self).__name__
        batched = len(shape) == 3
        dh_n, dc_n = self._split_state("dstate", dstate, B, batched)
        if dy is not None:
            if not ready(dy, self.dtype, shape):
                check_array(name, "dy", dy, self.dtype, shape)
                dy = self._rows(dy)
            dy = self._time_major(dy)
        elif dh_n is None and dc_n is None:
            raise ValueError(f"{name} expected dy or dstate, got neither")
        grads = self._grads_by_part()
        tape.close()

        dx = np.empty((*shape[:-1], self.input_size), self.dtype) if input_grad else None
        dh0, dc0 = self.network.states(B, self.dtype)
        with self._lock:  # threads that share the layer add into the same gradients
            backward(dy, dh_n, dc_n, None if dx is None else self._time_major(dx), dh0, dc0, grads)
        return dx, self._join_state(dh0, dc0, batched)

    def step(self, x_t: Array, state: State = None, resets: Any = None) -> tuple[Array, State]:
        """Run a single time step, for streaming.

        Parameters
        ----------
        x_t : (B, I) array, or (I,) for one sequence
        state : optional
            As the last step returned it. Default zeros.
        resets : (B,) array_like of bool, optional
            Which samples start anew, from zeros.

        Returns
        -------
        y_t : (B, K) or (K,) array
        state : like `state`

        Raises
        ------
        TypeError, ValueError
            For wrong dtypes or shapes, and for a bidirectional layer, which needs the future.
        """
        done = self.packed(False).quick(x_t, state, 2, False, False, resets)
        if done is not None:
            return done
        name = type(self).__name__
        if self.bidirectional:
            raise ValueError(f"a bidirectional {name} cannot run step by step: it needs the future")
        check_dtype(name, "input", x_t, self.dtype)
        shape = x_t.shape
        if len(shape) not in (1, 2):
            raise ValueError(
                f"{name} expected one step with 2 axes, or 1 for one sequence, got {shape}"
            )
        check_features(name, x_t, self.input_size)
        batched = len(shape) == 2
        B = shape[0] if batched else 1
        h0, c0 = self._split_state("state", state, B, batched)
        resets = check_resets(name, resets, shape[:-1])
        cuts = None if resets is None else resets.reshape(1, B)
        x = contiguous(x_t, self.dtype).reshape(1, B, self.input_size)
        y = np.empty((1, B, self.out_size), self.dtype)
        h, c, _ = self.packed(False).forward(x, h0, c0, None, None, y, False, cuts)
        return (y[0] if batched else y[0, 0]), self._join_state(h, c, batched)

    def gates(
        self, x: Array, state: State = None, lengths: Any = None, resets: Any = None
    ) -> dict[str, Array]:
        """Return what the gates did at every step of an inference call: 0 closed, 1 open.

        Parameters
        ----------
        x, state, lengths, resets
            As for a call.

        Returns
        -------
        dict of str to array
            Of an LSTM "input", "forget", "cell" (the candidate for the cell state, -1 to 1) and
            "output"; of a GRU "reset", "update" and "new" (the candidate for the state, -1 to 1);
            of a MinGRU "update" and "new", of a MinLSTM "forget", "input" and "new", which there is
            g(a), positive and without bound; empty for an RNN. Each (L*D, T, B, H) with T and B in
            the order of x, without B for one sequence; zero past each sample's end.

        Raises
        ------
        TypeError, ValueError
            As a call.
        """
        arrays, y, cuts = self._checked(x, state, lengths, resets)
        if not self._cell.gate_names:
            return {}
        packed = self.packed(True)
        _, _, tape = packed.forward(*arrays, None, self._time_major(y), True, cuts)
        values = packed.gates(tape)
        return {
            name: np.stack([self._as_given(part, x) for part in values[:, g]])
            for g, name in enumerate(self._cell.gate_names)
        }

    # ---- layouts and states

    def _rows(self, array: Array) -> Array:
        # the array, or its copy where the engine cannot read it: the last axis must be dense
        if (
            array.dtype == self.dtype
            and array.flags.aligned
            and array.strides[-1] == self.dtype.itemsize
        ):
            return array
        return np.array(array, self.dtype, order="C")

    def _split_state(
        self, name: str, state: State, B: int, batched: bool
    ) -> tuple[Array | None, Array | None]:
        # h (L*D, B, K) and c (L*D, B, H) as the engine reads them
        if state is None:
            return None, None
        if not self._cell.has_cell_state:
            return self._state_part(name, state, self.network.step_size, B, batched), None
        if not isinstance(state, (tuple, list)) or len(state) != 2:
            raise TypeError(
                f"{type(self).__name__} expected {name} as a pair of arrays (h, c), "
                f"got {type(state).__name__}"
            )
        return (
            self._state_part(name, state[0], self.network.step_size, B, batched),
            self._state_part(name, state[1], self.hidden_size, B, batched),
        )

    def _state_part(
        self, name: str, part: Array | None, size: int, B: int, batched: bool
    ) -> Array | None:
        if part is None:
            return None
        shape = (self.network.stack, B, size) if batched else (self.network.stack, size)
        if not ready(part, self.dtype, shape):
            check_array(type(self).__name__, name, part, self.dtype, shape)
            part = contiguous(part, self.dtype)
        return part if batched else part[:, None]

    def _join_state(self, h: Array, c: Array | None, batched: bool) -> State:
        if not batched:
            h, c = h[:, 0], None if c is None else c[:, 0]
        return h if c is None else (h, c)

    @property
    def state_sizes(self) -> dict[str, int]:
        """Features of the state's arrays, h0, h1, ... and c0, ..., of each layer and direction."""
        sizes = {"h": self.network.step_size, "c": self.network.hidden_size}
        letters = "hc" if self._cell.has_cell_state else "h"
        return {f"{s}{i}": sizes[s] for s in letters for i in range(self.network.stack)}

    def _state_arrays(self, state: Any) -> list[Any]:
        parts = state if self._cell.has_cell_state else (state,)
        n = self.network.stack
        return [None if part is None else part[i] for part in parts for i in range(n)]

    def _state_of(self, arrays: list[Any]) -> Any:
        n = self.network.stack
        parts = []
        for k in range(0, len(arrays), n):
            some = arrays[k : k + n]
            like = next((array for array in some if array is not None), None)
            whole = [np.zeros_like(like) if array is None else array for array in some]
            parts.append(None if like is None else np.stack(whole))
        return tuple(parts) if self._cell.has_cell_state else parts[0]

    def _check_backward(self, tape: Any, dstate: Any) -> None:
        super()._check_backward(tape, dstate)
        _, shape, B = self._open(tape)
        self._split_state("dstate", dstate, B, len(shape) == 3)

    # ---- what the engine needs

    def packed(self, training: bool) -> Packed:
        """Return the network as the active backend reads it, packed anew only after a change."""
        # Threads may race to here: each packs for itself, and the tuple is swapped whole. The
        # version is read first, so that a pack is never taken for newer than it is.
        version, engine, isa = self.params._version, backend.active().recurrent, runtime.isa()
        cached = self._pack
        if (
            cached is None
            or cached[0] != version
            or cached[1] is not engine
            or cached[2] != isa
            or training > cached[3]
        ):
            packed = Packed(self.network, engine, self.by_part(self.params._arrays), training)
            self._pack = cached = (version, engine, isa, training, packed)
        return cached[4]

    def _packs(self) -> list[Packed]:
        # for checkpoints: the whole where time runs one way, else each layer and direction
        if not self.bidirectional:
            return [self.packed(True)]
        part, engine = self.network.part(), backend.active().recurrent
        return [Packed(part, engine, [w], True) for w in self.by_part(self.params._arrays)]

    def _mask_sources(self) -> Iterator[MaskSource]:
        yield self._calls
        yield from filter(None, self._sources)

    def _draw_masks(self, B: int) -> Masks | None:
        if not self._random:
            return None
        with self._lock:
            call = self._calls.next_call()
        K = self.network.step_size
        shapes = (B, self.out_size), (K,), (B, K), (B, self.hidden_size)
        sizes = self.num_layers, self.network.directions, B, self.dtype
        return Masks(self._sources, shapes, call, *sizes, part_here.get())

    def _describe(self) -> str:
        import inspect

        known = inspect.signature(type(self)).parameters
        options = [
            f", {name}={getattr(self, name)!r}"
            for name in self._arguments
            if name not in ("input_size", "hidden_size", "seed")
            and name in known
            and getattr(self, name) != known[name].default
        ]
        return f"{self.input_size}, {self.hidden_size}{''.join(options)}"
