"""Layers one after another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import past_end
from ..checks import check_lengths
from .base import Layer, Origin, Tape
from .composite import Assembly, Composite, count_text, table

if TYPE_CHECKING:
    from ..arrays import Array


# What a configuration may name. The package enters its layers here, as it imports all of them.
TYPES: dict[str, type[Layer]] = {}


class Sequential(Assembly):
    """Any mix of layers one after another, called as a recurrent layer is.

    The state is a list with an entry for each layer, None for those without a state. ``lengths``
    reach all layers that know them, up to one that ends the axis of time (`Last`, `Pool`), and
    change where a layer changes the number of steps. A `RepeatVector` of as many steps as the
    input has takes them up again. What the input holds past a sample's end never counts.

    Parameters
    ----------
    *layers : Layer
        At least one; each only once; sizes, dtypes and ``batch_first`` must agree.
    config : list, optional
        In place of `layers`: what `config` returned.
    """

    def __init__(self, *layers: Layer, config: list[Any] | None = None) -> None:
        if config is not None:
            if not isinstance(config, (list, tuple)):
                raise TypeError(
                    f"Sequential expected config as a list of layers, got {type(config).__name__}"
                )
            if layers:
                raise ValueError("Sequential expected layers or config, got both")
            layers = tuple(map(build, config))
        check_chain(layers)
        self.layers: tuple[Any, ...] = tuple(layers)
        self._arity = layers[0]._arity[0], layers[-1]._arity[1]
        self.dtype = next((x.dtype for x in layers if x.dtype), None)
        self.batch_first = next((x.batch_first for x in layers if x.batch_first is not None), None)
        self.in_size = _in_size(layers)
        self.out_size = self._size_behind([None])
        self.keeps_time, self.makes_time = (_has_time(layers, first) for first in (True, False))
        self._repeats = any(part.makes_time for x in layers for part in with_parts(x))
        self._join({str(i): layer for i, layer in enumerate(self.layers)})

    def __len__(self) -> int:
        """Return the number of layers."""
        return len(self.layers)

    def __getitem__(self, i: int) -> Layer:
        """Return layer `i`."""
        return self.layers[i]

    # ---- calls

    def _run(
        self, x: Array, state: Any, lengths: Any, training: bool, origin: Origin | None = None
    ) -> tuple[Array, list[Any], list[Any]]:
        states = self._states("state", state)
        timed = lengths is not None or self._repeats  # else there is nothing to follow
        if origin is None:
            origin = Origin(None, None)
            if timed:
                first = next(leaves(self))
                clear = not first._leaves_padding_out
                axes, timed_input = first._step_axes, takes_time(self)
                x, origin = begin(
                    "Sequential", x, lengths, axes, self.batch_first, timed_input, clear
                )
        out, tapes = [], []
        for layer, s in zip(self.layers, states, strict=True):
            x, s, tape = layer._call(x, s, lengths, training, origin)
            if timed:
                lengths = layer._lengths_behind(lengths, origin)
            out.append(s)
            tapes.append(tape)
        return x, out, tapes

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
            wanted = input_grad or i > first
            dy, dstates[i] = self.layers[i]._call_back(tapes[i], dy, dstates[i], wanted)
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
            x_t, s = layer._step(x_t, s)
            out.append(s)
        return x_t, out

    # ---- configuration

    def config(self) -> dict[str, Any]:
        """Return the layers' types and configurations, JSON-able."""
        return {"config": [{"type": type(x).__name__, "config": x.config()} for x in self.layers]}

    # ---- time

    def _lengths_behind(self, lengths: Any, origin: Origin, every: bool = False) -> Any:
        for layer in self.layers:
            lengths = layer._lengths_behind(lengths, origin, every)
        return lengths

    def _size_behind(self, sizes: list[int | None]) -> int | None:
        (size,) = sizes
        for layer in self.layers:
            size = layer._size_behind([size])
        return size

    def _steps_left(self, lengths: Any) -> Any:
        for layer in self.layers:
            following = layer.out_lengths(lengths)
            if following is None:
                return layer._steps_left(lengths)
            lengths = following
        return lengths

    def out_steps(self, steps: str, given: str) -> str:
        """Return the steps of outputs as a formula."""
        for layer in self.layers:
            steps = layer.out_steps(steps, given)
        return steps

    # ---- views

    def summary(self) -> str:
        """Return a table of the layers, their output shapes and numbers of parameters."""
        # a vector that is repeated over time has none before
        cut = next((layer for layer in self.layers if not layer.keeps_time), None)
        steps = "" if cut is not None and cut.makes_time else "T"
        rows = [("", "layer", "output", "parameters")]
        size = self.in_size
        for i, layer in enumerate(self.layers):
            size = layer._size_behind([size])
            steps = layer.out_steps(steps, "T")
            shape = self._shape_text(steps, size)
            rows.append((str(i), type(layer).__name__, shape, count_text(layer)))
        rows.append(("", "total", "", count_text(self)))
        return table(rows, "><<>")

    def __repr__(self) -> str:
        """Return PyTorch's view of the layers."""
        lines = [f"({i}): {layer!r}".replace("\n", "\n  ") for i, layer in enumerate(self.layers)]
        return "\n  ".join(["Sequential(", *lines]) + "\n)"


ANY_SIZE = 1 << 50  # of features: what a layer gives for it tells whether it keeps their number


def keeps_size(layer: Layer) -> bool:
    """Whether a layer gives as many features as it reads, whatever their number."""
    try:
        return layer._size_behind([ANY_SIZE]) == ANY_SIZE
    except ValueError:  # of a graph with layers that want another size
        return False


def _in_size(layers: Iterable[Layer]) -> int | None:
    # of the first layer that wants a size, unless those before it change the size
    for layer in layers:
        if layer.in_size or not keeps_size(layer):
            return layer.in_size
    return None


def _has_time(layers: Iterable[Layer], time: bool) -> bool:
    # whether the output has an axis of time, by whether the input has one
    for layer in layers:
        time = (time and layer.keeps_time) or layer.makes_time
    return time


def leaves(layer: Layer) -> Iterator[Layer]:
    """Iterate over the layers of a chain, whatever the Sequentials that hold them."""
    if isinstance(layer, Sequential):
        for part in layer.layers:
            yield from leaves(part)
    else:
        yield layer


def takes_time(layer: Layer) -> bool:
    """Whether the input has an axis of time that some layer knows."""
    knowing = next((leaf for leaf in leaves(layer) if leaf.batch_first is not None), None)
    return knowing is not None and knowing._takes_time


def begin(
    owner: str,
    x: Any,
    lengths: Any,
    step_axes: int,
    batch_first: bool | None,
    timed: bool,
    clear: bool,
) -> tuple[Any, Origin]:
    """Return an input without what lies past the samples' ends, and its axis of time.

    `step_axes`: of what one sample has at one step; `timed`: whether x has an axis of time that
    some layer knows; `clear`: whether what lies past the ends would count.
    """
    if not isinstance(x, np.ndarray) or not timed:
        return x, Origin(None, lengths)
    single = x.ndim == 1 + step_axes
    axis = int(bool(batch_first) and not single)
    if x.ndim <= axis:
        return x, Origin(None, lengths)  # the layers say what is wrong
    if lengths is not None and not single and clear:
        x = without_padding(owner, x, lengths, bool(batch_first))
    return x, Origin(x.shape[axis], lengths)


def lengths_behind(model: Layer, lengths: Any, steps: int | None) -> Any:
    """Return the lengths of a model's predictions, None where all of their steps count.

    `steps` are those of the input, padding included.
    """
    return model._lengths_behind(lengths, Origin(steps, lengths))


def without_padding(owner: str, x: Array, lengths: Any, batch_first: bool) -> Array:
    """Return a batch of sequences with zeros past the samples' ends.

    For layers that know no lengths: whatever is there must not reach their gradients, and NaN
    times a gradient of zero would.
    """
    B, T = x.shape[:2] if batch_first else x.shape[1::-1]
    past = past_end(check_lengths(owner, lengths, T, B), T)
    if past is None or not past.any():
        return x
    mask = past if batch_first else past.T
    return np.where(mask.reshape(mask.shape + (1,) * (x.ndim - 2)), x.dtype.type(0), x)


def check_chain(layers: tuple[Any, ...]) -> None:
    """Raise TypeError or ValueError unless `layers` can follow each other."""
    if not layers:
        raise ValueError("Sequential expected at least one layer")
    used: set[int] = set()
    seen: dict[str, tuple[int, Any]] = {}  # attribute: layer that fixed it, value
    for i, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            raise TypeError(f"Sequential expected layers, got {type(layer).__name__} at {i}")
        before, behind = layer._arity
        if (before > 1 and i) or (behind > 1 and i < len(layers) - 1):
            raise ValueError(
                f"Sequential expected several inputs of its first layer alone, and several outputs "
                f"of its last, got {before} inputs and {behind} outputs at {i}; a Graph says which "
                "of them is read"
            )
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
        size = layer._size_behind([seen["size"][1]])
        if layer.out_size is not None or size != seen["size"][1]:
            seen["size"] = i, size


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
    return layer._steps_left(lengths)


def build(entry: Any) -> Layer:
    """Make a layer of this package from a mapping with its "type" and its "config".

    Raises
    ------
    ValueError
        For anything else, or an unknown type.
    """
    name, config = (
        entry.get(k) if isinstance(entry, Mapping) else None for k in ("type", "config")
    )
    if name is None or not isinstance(config, Mapping):
        raise ValueError(
            f"a layer's configuration is a mapping with its type and its config, got {entry!r:.200}"
        )
    if not isinstance(name, str) or name not in TYPES:
        raise ValueError(f"no layer type {name!r}, only {', '.join(TYPES)}")
    return TYPES[name](**config)
