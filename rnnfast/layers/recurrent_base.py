"""What RNN, LSTM and GRU share: a stack of layers of one cell, its options, its calls."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import backend
from ..arrays import contiguous, ready
from ..cells import Cell
from ..checks import (
    check_array,
    check_dtype,
    check_features,
    check_flag,
    check_float_dtype,
    check_lengths,
    check_probability,
    check_seed,
    check_sequence,
    check_size,
)
from ..core import runtime
from ..weights import Weights
from .base import Layer, Tape, blank
from .checkpoint import forward_by_chunks
from .dropout import Masks, MaskSource

if TYPE_CHECKING:
    from ..arrays import Array

    State = Any  # (h, c) for an LSTM, h for the others


def arguments(constructor: Callable[..., None]) -> tuple[str, ...]:
    """Return the names of a constructor's arguments but dtype, which `Layer.config` adds."""
    code = constructor.__code__  # `inspect` would be a good part of an import's time
    names = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
    return tuple(name for name in names if name != "dtype")


class Recurrent(Layer):
    """What RNN, LSTM and GRU share; a class of a cell has its options and their checks.

    Letters: B batch, T time steps, I input size, H hidden size, P projection size, K size of h
    (P or H), L layers, D directions.
    """

    stateful = True
    _changeable = ("checkpoint",)
    _cell: Cell  # of the class its default, of a layer its own
    # version, backend, instruction set, whether for training, packed weights
    _pack: tuple[int, Any, str, bool, Any] | None = None
    dtype: np.dtype[Any]
    batch_first: bool
    in_size: int
    out_size: int

    def _setup(self, options: Mapping[str, Any]) -> None:
        # `options`: the constructor's arguments by name, of which it has checked its own
        self._check_options(options)
        name = type(self).__name__
        if self.dropout and self.num_layers == 1 and not blank.get():
            warnings.warn(
                f"{name}: dropout acts between layers, so with num_layers=1 it has no effect",
                stacklevel=3,
            )

        self._directions = 2 if self.bidirectional else 1
        self._stack = self.num_layers * self._directions  # L*D
        self._step_size = self.proj_size or self.hidden_size  # K
        self.out_size = self._directions * self._step_size
        pair = self.zoneout if isinstance(self.zoneout, tuple) else (self.zoneout, self.zoneout)
        self._zones = pair if self._cell.has_cell_state else (self.zoneout, 0.0)  # of h and of c
        self._calls = MaskSource(self.seed, self.dropout)  # also counts the calls
        self._sources = (
            self._calls if self.dropout and self.num_layers > 1 else None,
            MaskSource(self.seed, self.recurrent_dropout) if self.recurrent_dropout else None,
            *(MaskSource(self.seed, 1.0 - zone, 1.0) if zone else None for zone in self._zones),
        )
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
        checkpoint = options["checkpoint"]
        if checkpoint is not None:
            checkpoint = check_size(name, "checkpoint", checkpoint, 1)
        self.checkpoint: int | None = checkpoint
        self.layer_norm = check_flag(name, "layer_norm", options["layer_norm"])
        if self.layer_norm and not self._cell.has_norm:
            chosen = ", ".join(f"{option}={v!r}" for option, v in self._cell.options.items())
            raise ValueError(f"{name} expected layer_norm=False with {chosen}, got True")
        recurrent_dropout = options["recurrent_dropout"]
        self.recurrent_dropout = check_probability(name, "recurrent_dropout", recurrent_dropout)
        self.zoneout = self._check_zoneout(options["zoneout"])

    def _create_weights(self) -> None:
        bound = 1.0 / math.sqrt(self.hidden_size)
        rng = np.random.default_rng(self.seed)
        entries = self._entries()
        self._names = [[name for name, _ in entry] for entry in entries]
        shapes = {n: s for entry in entries for n, s in entry if n}

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

    def _entries(self) -> list[Weights]:
        # for each layer and direction name ("" for none) and shape of the engine's weights
        P, H, GH = self.proj_size, self.hidden_size, self._cell.gates * self.hidden_size
        SH = self._cell.slots * H
        entries = []
        for k in range(self._stack):
            layer, d = divmod(k, self._directions)
            suffix = f"_l{layer}" + ("_reverse" if d else "")
            entries.append(
                Weights(
                    w_ih=(f"weight_ih{suffix}", (GH, self.out_size if layer else self.input_size)),
                    w_hh=(f"weight_hh{suffix}", (GH, self._step_size)),
                    b_ih=(f"bias_ih{suffix}" if self.bias else "", (GH,)),
                    b_hh=(f"bias_hh{suffix}" if self.bias else "", (GH,)),
                    w_hr=(f"weight_hr{suffix}" if P else "", (P, H)),
                    w_ln=(f"weight_ln{suffix}" if self.layer_norm else "", (SH,)),
                    b_ln=(f"bias_ln{suffix}" if self.layer_norm and self.bias else "", (SH,)),
                )
            )
        return entries

    def _mask_sources(self) -> Iterator[MaskSource]:
        yield self._calls
        yield from filter(None, self._sources)

    def _weights(self, arrays: Mapping[str, Array]) -> list[Weights]:
        # parameters or gradients as the engine takes them
        return [Weights._make([arrays[n] if n else None for n in names]) for names in self._names]

    # ---- calls

    def __call__(self, x: Array, state: State = None, lengths: Any = None) -> tuple[Array, State]:
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

        Returns
        -------
        y : (T, B, D*K) array, in the layout of x
        state : like `state`
            After each sample's last step.

        Raises
        ------
        TypeError, ValueError
            For wrong dtypes, shapes or lengths.
        """
        if lengths is None and (done := self._infer(x, state, 3, self.batch_first)):
            return done
        y, state, _ = self._run(x, state, lengths, training=False)
        return y, state

    def forward(
        self, x: Array, state: State = None, lengths: Any = None
    ) -> tuple[Array, State, Tape]:
        """Run the layer for training, with dropout and zoneout; also returns the tape."""
        y, state, tape = self._run(x, state, lengths, training=True)
        assert tape is not None
        return y, state, tape

    def _infer(
        self, x: Any, state: Any, axes: int, batch_first: bool
    ) -> tuple[Array, State] | None:
        # The short way, which takes microseconds off a call; None: something needs the long way's
        # checks or copies.
        if not self._cell.has_cell_state:
            h, c = state, None
        elif state is None:
            h = c = None
        elif type(state) is tuple and len(state) == 2:
            h, c = state
        else:
            return None
        engine = backend.active()
        done = engine.recurrent.infer(self._packed(engine, False), x, h, c, axes, batch_first)
        if done is None:
            return None
        y, h, c = done
        return y, (h if c is None else (h, c))

    def _run(
        self,
        x: Array,
        state: State,
        lengths: Any,
        training: bool,
        gates: list[Array] | None = None,
    ) -> tuple[Array, State, Tape | None]:
        # `gates`, a list, is given their values
        name = type(self).__name__
        check_dtype(name, "input", x, self.dtype)
        check_sequence(name, x)
        check_features(name, x, self.input_size)
        batched = x.ndim == 3
        T, B, _ = self._time_major(x).shape
        h0, c0 = self._split_state("state", state, B, batched)
        lengths = check_lengths(name, lengths, T, B)
        shape = (*x.shape[:-1], self.out_size)
        if math.prod(shape) * self.dtype.itemsize > sys.maxsize:
            raise MemoryError(f"{name}: outputs of shape {shape} exceed the address space")

        y = np.empty(shape, self.dtype)
        h_n, c_n = self._blank_state(B)
        engine = backend.active()
        arrays = self._time_major(self._rows(x)), h0, c0, lengths
        results = self._time_major(y), h_n, c_n
        if not training:
            packed = self._packed(engine, gates is not None)
            saved = engine.recurrent.forward(packed, *arrays, None, *results, gates is not None)
            if gates is not None:
                gates.append(engine.recurrent.gates(packed, saved))
            return y, self._join_state(h_n, c_n, batched), None
        backward: Callable[..., None]
        if self.checkpoint is None:
            packed = self._packed(engine, training)
            masks = self._draw_masks(B)
            drawn = None if masks is None else masks.whole(0, T)
            saved = engine.recurrent.forward(packed, *arrays, drawn, *results, True)
            backward = partial(engine.recurrent.backward, packed, saved)
        else:
            backward = forward_by_chunks(
                engine.recurrent,
                self._packs(engine),
                *arrays,
                self._draw_masks(B),
                *results,
                self.checkpoint,
            )
        return y, self._join_state(h_n, c_n, batched), Tape(self, (backward, y.shape, B))

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
            check_array(name, "dy", dy, self.dtype, shape)
            dy = self._time_major(self._rows(dy))
        elif dh_n is None and dc_n is None:
            raise ValueError(f"{name} expected dy or dstate, got neither")
        grads = self._weights(self._checked_grads())
        tape.close()

        dx = np.empty((*shape[:-1], self.input_size), self.dtype) if input_grad else None
        dh0, dc0 = self._blank_state(B)
        with self._lock:  # threads that share the layer add into the same gradients
            backward(dy, dh_n, dc_n, None if dx is None else self._time_major(dx), dh0, dc0, grads)
        return dx, self._join_state(dh0, dc0, batched)

    def step(self, x_t: Array, state: State = None) -> tuple[Array, State]:
        """Run a single time step, for streaming.

        Parameters
        ----------
        x_t : (B, I) array, or (I,) for one sequence
        state : optional
            As the last step returned it. Default zeros.

        Returns
        -------
        y_t : (B, K) or (K,) array
        state : like `state`

        Raises
        ------
        TypeError, ValueError
            For wrong dtypes or shapes, and for a bidirectional layer, which needs the future.
        """
        if done := self._infer(x_t, state, 2, False):
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
        x = contiguous(x_t, self.dtype).reshape(1, B, self.input_size)
        y = np.empty((1, B, self.out_size), self.dtype)
        h_n, c_n = self._blank_state(B)
        engine = backend.active()
        packed = self._packed(engine, False)
        engine.recurrent.forward(packed, x, h0, c0, None, None, y, h_n, c_n, False)
        return (y[0] if batched else y[0, 0]), self._join_state(h_n, c_n, batched)

    def gates(self, x: Array, state: State = None, lengths: Any = None) -> dict[str, Array]:
        """Return what the gates did at every step of an inference call: 0 closed, 1 open.

        Parameters
        ----------
        x, state, lengths
            As for a call.

        Returns
        -------
        dict of str to array
            Of an LSTM "input", "forget", "cell" (the candidate for the cell state, -1 to 1) and
            "output"; of a GRU "reset", "update" and "new" (the candidate for the state, -1 to 1);
            empty for an RNN. Each (L*D, T, B, H) with T and B in the order of x, without B for one
            sequence; zero past each sample's end.

        Raises
        ------
        TypeError, ValueError
            As a call.
        """
        values: list[Array] = []
        self._run(x, state, lengths, False, values if self._cell.gate_names else None)
        return {
            name: np.stack([self._as_given(part, x) for part in values[0][:, g]])
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
            return self._state_part(name, state, self._step_size, B, batched), None
        if not isinstance(state, (tuple, list)) or len(state) != 2:
            raise TypeError(
                f"{type(self).__name__} expected {name} as a pair of arrays (h, c), "
                f"got {type(state).__name__}"
            )
        return (
            self._state_part(name, state[0], self._step_size, B, batched),
            self._state_part(name, state[1], self.hidden_size, B, batched),
        )

    def _state_part(
        self, name: str, part: Array | None, size: int, B: int, batched: bool
    ) -> Array | None:
        if part is None:
            return None
        shape = (self._stack, B, size) if batched else (self._stack, size)
        if not ready(part, self.dtype, shape):
            check_array(type(self).__name__, name, part, self.dtype, shape)
            part = contiguous(part, self.dtype)
        return part if batched else part[:, None]

    def _blank_state(self, B: int) -> tuple[Array, Array | None]:
        # h and c for the engine to write
        h = np.empty((self._stack, B, self._step_size), self.dtype)
        if not self._cell.has_cell_state:
            return h, None
        return h, np.empty((self._stack, B, self.hidden_size), self.dtype)

    def _join_state(self, h: Array, c: Array | None, batched: bool) -> State:
        if not batched:
            h, c = h[:, 0], None if c is None else c[:, 0]
        return h if c is None else (h, c)

    def _check_backward(self, tape: Any, dstate: Any) -> None:
        super()._check_backward(tape, dstate)
        _, shape, B = self._open(tape)
        self._split_state("dstate", dstate, B, len(shape) == 3)

    # ---- what the engine needs

    def _packed(self, engine: Any, training: bool) -> Any:
        # Threads may race to here: each packs for itself, and the tuple is swapped whole. The
        # version is read first, so that a pack is never taken for newer than it is.
        version, isa = self.params.version, runtime.isa()
        cached = self._pack
        if (
            cached is None
            or cached[0] != version
            or cached[1] is not engine
            or cached[2] != isa
            or training > cached[3]
        ):
            weights = self._weights(self.params._arrays)
            packed = engine.recurrent.pack(
                self._cell.name, weights, self.num_layers, self._directions, training, self._zones
            )
            self._pack = cached = (version, engine, isa, training, packed)
        return cached[4]

    def _packs(self, engine: Any) -> list[Any]:
        # for checkpoints: the whole where time runs one way, else each layer and direction
        if not self.bidirectional:
            return [self._packed(engine, True)]
        weights = self._weights(self.params._arrays)
        pack = engine.recurrent.pack
        return [pack(self._cell.name, [entry], 1, 1, True, self._zones) for entry in weights]

    def _draw_masks(self, B: int) -> Masks | None:
        if not any(self._sources):
            return None
        with self._lock:
            call = self._calls.next_call()
        shapes = (B, self.out_size), (self._step_size,), (B, self._step_size), (B, self.hidden_size)
        sizes = self.num_layers, self._directions, B, self.dtype
        return Masks(self._sources, shapes, call, *sizes)

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
