"""Layers one after another, and the last time step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .base import (
    Layer,
    Tape,
    check_array,
    check_flag,
    check_floats,
    check_lengths,
    check_sequence,
    check_size,
)
from .composite import Composite

if TYPE_CHECKING:
    from .base import Array


class Last(Layer):
    """Each sample's last time step: turns a network from many-to-many into many-to-one.

    A sample of length 0 gives zeros.

    Parameters
    ----------
    batch_first : bool, default False
        As in the recurrent layers.
    """

    keeps_time = False
    takes_lengths = True
    batch_first: bool
    _arguments = ("batch_first",)

    def __init__(self, batch_first: bool = False) -> None:
        self.batch_first = check_flag("Last", "batch_first", batch_first)
        self._create({})

    def __call__(self, x: Array, lengths: Any = None) -> Array:
        """Return the last steps.

        Parameters
        ----------
        x : (T, B, F) array, (B, T, F) with ``batch_first``, or (T, F) for one sequence
        lengths : (B,) array_like of int, optional
            Steps of each sample, 0 to T; default T.

        Returns
        -------
        y : (B, F) or (F,) array

        Raises
        ------
        TypeError, ValueError
            For wrong shapes or lengths.
        """
        return self._run(x, lengths)[0]

    def forward(self, x: Array, lengths: Any = None) -> tuple[Array, Tape]:
        """Return the last steps and the tape; as a call otherwise."""
        y, last = self._run(x, lengths)
        return y, Tape(self, (x.shape, y.dtype, last))

    def _run(self, x: Array, lengths: Any) -> tuple[Array, Array]:
        check_floats("Last", "input", x)
        check_sequence("Last", x)
        steps = self._time_major(x)
        T, B, F = steps.shape
        given = check_lengths("Last", lengths, T, B)
        last = np.full(B, T - 1) if given is None else given - 1
        y = np.zeros((B, F), x.dtype.newbyteorder("="))
        real = np.flatnonzero(last >= 0)
        y[real] = steps[last[real], real]
        return (y if x.ndim == 3 else y[0]), last

    def backward(self, tape: Tape, dy: Array, input_grad: bool = True) -> Array | None:
        """Return the gradient of x, zero but at the last steps.

        Parameters
        ----------
        tape : Tape
            From `forward`; used up.
        dy : array of the shape of y
        input_grad : bool, default True
            Whether the gradient of x is wanted.

        Returns
        -------
        dx : array of the shape of x, or None
        """
        shape, dtype, last = self._open(tape)
        batched = len(shape) == 3
        wanted = (len(last), shape[2]) if batched else (shape[1],)
        check_array("Last", "dy", dy, dtype, wanted)
        tape.close()
        if not input_grad:
            return None
        dx = np.zeros(shape, dtype)
        real = np.flatnonzero(last >= 0)
        self._time_major(dx)[last[real], real] = (dy if batched else dy[None])[real]
        return dx


class RepeatVector(Layer):
    """The same vector at n time steps: turns many-to-one into one-to-many.

    Parameters
    ----------
    n : int
        Number of steps.
    batch_first : bool, default False
        As in the recurrent layers.
    """

    keeps_time = False
    stepwise = False
    batch_first: bool
    _arguments = ("n", "batch_first")

    def __init__(self, n: int, batch_first: bool = False) -> None:
        self.n = check_size("RepeatVector", "n", n, 1)
        self.batch_first = check_flag("RepeatVector", "batch_first", batch_first)
        self._create({})

    def __call__(self, x: Array) -> Array:
        """Return x at every step.

        Parameters
        ----------
        x : (B, F) array, or (F,) for one sequence

        Returns
        -------
        y : (n, B, F) array, (B, n, F) with ``batch_first``, or (n, F)

        Raises
        ------
        TypeError, ValueError
            For a wrong dtype or shape.
        """
        check_floats("RepeatVector", "input", x)
        if x.ndim not in (1, 2):
            raise ValueError(
                f"RepeatVector expected input with 2 axes, or 1 for one sequence, got {x.shape}"
            )
        x = np.expand_dims(x.astype(x.dtype.newbyteorder("="), copy=False), self._axis(x.ndim))
        return np.repeat(x, self.n, self._axis(x.ndim - 1))

    def forward(self, x: Array) -> tuple[Array, Tape]:
        """Return x at every step and the tape; as a call otherwise."""
        y = self(x)
        return y, Tape(self, (y.shape, y.dtype))

    def backward(self, tape: Tape, dy: Array, input_grad: bool = True) -> Array | None:
        """Return the gradient of x, the sum of dy over the steps.

        Parameters
        ----------
        tape : Tape
            From `forward`; used up.
        dy : array of the shape of y
        input_grad : bool, default True
            Whether the gradient of x is wanted.

        Returns
        -------
        dx : array of the shape of x, or None
        """
        shape, dtype = self._open(tape)
        check_array("RepeatVector", "dy", dy, dtype, shape)
        tape.close()
        return dy.sum(axis=self._axis(len(shape) - 1), dtype=dtype) if input_grad else None

    def _axis(self, ndim: int) -> int:
        # of time in y, for x with so many axes
        return int(self.batch_first and ndim == 2)

    def _out_steps(self, steps: str) -> str:
        return str(self.n)


class Sequential(Composite):
    """Any mix of layers one after another, called as a recurrent layer is.

    The state is a list with an entry for each layer, None for those without a state. ``lengths``
    reach all layers that know them, up to `Last`, and change where a layer changes the number of
    steps.

    Parameters
    ----------
    *layers : Layer
        At least one; each only once; sizes, dtypes and ``batch_first`` must agree.
    config : list, optional
        In place of `layers`: what `config` returned.
    """

    stateful = True

    def __init__(self, *layers: Layer, config: list[Any] | None = None) -> None:
        if config is not None:
            if not isinstance(config, (list, tuple)):
                raise TypeError(
                    f"Sequential expected config as a list of layers, got {type(config).__name__}"
                )
            layers = (*layers, *map(build, config))
        check_chain(layers)
        self.layers: list[Any] = list(layers)
        self.dtype = next((x.dtype for x in layers if x.dtype), None)
        self.batch_first = next((x.batch_first for x in layers if x.batch_first is not None), None)
        self.in_size = next((x.in_size for x in layers if x.in_size or x.out_size), None)
        self.out_size = next((x.out_size for x in reversed(layers) if x.out_size), None)
        self.keeps_time = all(layer.keeps_time for layer in layers)
        self._join({str(i): layer for i, layer in enumerate(self.layers)})

    def __len__(self) -> int:
        """Return the number of layers."""
        return len(self.layers)

    def __getitem__(self, i: int) -> Layer:
        """Return layer `i`."""
        return self.layers[i]

    # ---- calls

    def __call__(
        self, x: Array, state: list[Any] | None = None, lengths: Any = None
    ) -> tuple[Array, list[Any]]:
        """Run all layers for inference.

        Parameters
        ----------
        x : array
            As the first layer takes it.
        state : list, optional
            One entry for each layer, as the last call returned it.
        lengths : (B,) array_like of int, optional
            Steps of each sample.

        Returns
        -------
        y : array
        state : list
        """
        out = []
        for layer, s in zip(self.layers, self._states("state", state), strict=True):
            if layer.stateful:
                x, s = layer(x, s, lengths)
            else:
                x = layer(x, lengths) if layer.takes_lengths else layer(x)
            lengths = layer.out_lengths(lengths)
            out.append(s)
        return x, out

    def predict(self, x: Array, lengths: Any = None) -> Array:
        """Return y alone, from a zero state."""
        return self(x, None, lengths)[0]

    def forward(
        self, x: Array, state: list[Any] | None = None, lengths: Any = None
    ) -> tuple[Array, list[Any], Tape]:
        """Run all layers for training; as a call, but also returns the tape."""
        out, tapes = [], []
        for layer, s in zip(self.layers, self._states("state", state), strict=True):
            if layer.stateful:
                x, s, tape = layer.forward(x, s, lengths)
            else:
                x, tape = layer.forward(x, lengths) if layer.takes_lengths else layer.forward(x)
            lengths = layer.out_lengths(lengths)
            out.append(s)
            tapes.append(tape)
        return x, out, Tape(self, tapes)

    def backward(
        self,
        tape: Tape,
        dy: Array | None,
        dstate: list[Any] | None = None,
        input_grad: bool = True,
    ) -> tuple[Array | None, list[Any]]:
        """Add into the gradients of all layers, last to first.

        Parameters
        ----------
        tape : Tape
            From `forward`; used up.
        dy : array of the shape of y
        dstate : list, optional
            Gradient of the final state, an entry for each layer; None means zeros.
        input_grad : bool, default True
            Whether the gradient of x is wanted. Without it, layers in front of the first one that
            has parameters do no work.

        Returns
        -------
        dx : array of the shape of x, or None
        dstate : list
            Gradient of the initial state.
        """
        tapes = self._open(tape)
        dstates = self._states("dstate", dstate)
        self._check_backward(tape, dstates)
        first = 0
        if not input_grad:
            first = next((i for i, layer in enumerate(self.layers) if len(layer.params)), 0)
        for i in reversed(range(first, len(self.layers))):
            layer, wanted = self.layers[i], input_grad or i > first
            if layer.stateful:
                dy, dstates[i] = layer.backward(tapes[i], dy, dstates[i], input_grad=wanted)
            else:
                dy = layer.backward(tapes[i], dy, input_grad=wanted)
        tape.close()
        return dy, dstates

    def step(self, x_t: Array, state: list[Any] | None = None) -> tuple[Array, list[Any]]:
        """Run a single time step through all layers, for streaming.

        Parameters
        ----------
        x_t : array
            One time step of what the first layer takes.
        state : list, optional
            As the last step returned it.

        Returns
        -------
        y_t : array
            `Last` passes every step on.
        state : list

        Raises
        ------
        ValueError
            For layers that need other steps than the one given, such as `Conv1d`.
        """
        out = []
        for layer, s in zip(self.layers, self._states("state", state), strict=True):
            if not layer.stepwise:
                raise ValueError(
                    f"Sequential cannot run step by step: {type(layer).__name__} takes or makes "
                    "several steps at once"
                )
            if layer.stateful:
                x_t, s = layer.step(x_t, s)
            elif layer.keeps_time:
                x_t = layer(x_t)
            out.append(s)
        return x_t, out

    # ---- configuration

    def config(self) -> dict[str, Any]:
        """Return the layers' types and configurations, JSON-able."""
        return {"config": [{"type": type(x).__name__, "config": x.config()} for x in self.layers]}

    # ---- time

    def out_lengths(self, lengths: Any) -> Any:
        """Return the steps that outputs have where inputs have `lengths`, None or (B,) integers."""
        for layer in self.layers:
            lengths = layer.out_lengths(lengths)
        return lengths

    def _out_steps(self, steps: str) -> str:
        for layer in self.layers:
            steps = layer._out_steps(steps)
        return steps

    # ---- views

    def summary(self) -> str:
        """Return a table of the layers, their output shapes and numbers of parameters."""
        # a vector that is repeated over time has none before
        cut = next((layer for layer in self.layers if not layer.keeps_time), None)
        steps = "" if isinstance(cut, RepeatVector) else "T"
        rows = [("", "layer", "output", "parameters")]
        size = self.in_size
        for i, layer in enumerate(self.layers):
            size = layer.out_size or size
            steps = layer._out_steps(steps)
            axes = ["B", steps] if self.batch_first else [steps, "B"]
            if self.batch_first is None:
                axes = ["..."]
            shape = f"({', '.join(filter(None, [*axes, str(size or '...')]))})"
            count = sum(param.size for param in layer.params.values())
            rows.append((str(i), type(layer).__name__, shape, f"{count:,}"))
        total = sum(param.size for param in self.params.values())
        rows.append(("", "total", "", f"{total:,}"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join(
            f"{i:>{widths[0]}}  {name:<{widths[1]}}  {shape:<{widths[2]}}  {count:>{widths[3]}}"
            for i, name, shape, count in rows
        )

    def __repr__(self) -> str:
        """Return PyTorch's view of the layers."""
        lines = [f"({i}): {layer!r}".replace("\n", "\n  ") for i, layer in enumerate(self.layers)]
        return "\n  ".join(["Sequential(", *lines]) + "\n)"

    # ---- states

    def _states(self, name: str, state: Any) -> list[Any]:
        if state is None:
            return [None] * len(self.layers)
        if not isinstance(state, (list, tuple)):
            raise TypeError(f"Sequential expected {name} as a list, got {type(state).__name__}")
        if len(state) != len(self.layers):
            raise ValueError(
                f"Sequential expected {name} with an entry for each of {len(self.layers)} layers, "
                f"got {len(state)}"
            )
        for layer, s in zip(self.layers, state, strict=True):
            if s is not None and not layer.stateful:
                raise ValueError(f"{type(layer).__name__} has no state, got a {name} for it")
        return list(state)

    def _check_backward(self, tape: Any, dstate: Any) -> None:
        states = self._states("dstate", dstate)
        for layer, layer_tape, ds in zip(self.layers, self._open(tape), states, strict=True):
            layer._check_backward(layer_tape, ds)


def check_chain(layers: tuple[Any, ...]) -> None:
    """Raise TypeError or ValueError unless `layers` can follow each other."""
    if not layers:
        raise ValueError("Sequential expected at least one layer")
    used: set[int] = set()
    seen: dict[str, tuple[int, Any]] = {}  # attribute: layer that fixed it, value
    for i, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            raise TypeError(f"Sequential expected layers, got {type(layer).__name__} at {i}")
        for part in with_parts(layer):
            if id(part) in used:
                raise ValueError(f"Sequential expected each layer once, got {part!r} again at {i}")
            used.add(id(part))
        for name, value in (
            ("dtype", layer.dtype),
            ("batch_first", layer.batch_first),
            ("size", layer.in_size),
        ):
            before, known = seen.setdefault(name, (i, value))
            if known is None:
                seen[name] = i, value
            elif value is not None and value != known:
                what = "input size" if name == "size" else name
                raise ValueError(
                    f"Sequential expected {what} {known} at layer {i}, as layer {before} has it, "
                    f"got {value}"
                )
        if layer.out_size is not None:
            seen["size"] = i, layer.out_size


def with_parts(layer: Layer) -> Iterator[Layer]:
    """Iterate over a layer and all layers in it."""
    yield layer
    if isinstance(layer, Composite):
        for part in layer.parts.values():
            yield from with_parts(part)


def steps_left(layer: Layer, lengths: Any) -> Any:
    """Return how many steps there are of sequences of `lengths` where the axis of time ends.

    Behind the last layer where it does not end.
    """
    for part in layer.layers if isinstance(layer, Sequential) else [layer]:
        following = part.out_lengths(lengths)
        if following is None:
            return steps_left(part, lengths) if isinstance(part, Sequential) else lengths
        lengths = following
    return lengths


def build(entry: Any) -> Layer:
    """Make a layer of this package from a mapping with its "type" and its "config".

    Raises
    ------
    ValueError
        For anything else, or an unknown type.
    """
    from .. import layers  # which imports this module

    name, config = (
        entry.get(k) if isinstance(entry, Mapping) else None for k in ("type", "config")
    )
    if name is None or not isinstance(config, Mapping):
        raise ValueError(
            f"a layer's configuration is a mapping with its type and its config, got {entry!r:.200}"
        )
    if name not in layers.__all__:
        raise ValueError(f"no layer type {name!r}, only {', '.join(layers.__all__)}")
    layer: Layer = getattr(layers, name)(**config)
    return layer
