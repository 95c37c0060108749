"""Layers made of layers: one view of all their parameters and gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .base import Layer, Origin, Tape
from .parameters import Parameters

if TYPE_CHECKING:
    from ..arrays import Array
    from .masks import MaskSource


class JoinedParameters(Mapping[str, "Array"]):
    """The parameters (or buffers) of several layers under names such as "0.weight"."""

    def __init__(self, owner: str, parts: Mapping[str, Parameters]) -> None:
        self._owner = owner
        self._parts = parts

    def _find(self, name: str) -> tuple[Parameters, str]:
        part, _, rest = name.partition(".")
        if part not in self._parts:
            raise KeyError(f"{self._owner} has no parameter {name!r}, only {', '.join(self)}")
        return self._parts[part], rest

    def __getitem__(self, name: str) -> Array:
        params, rest = self._find(name)
        return params[rest]

    def __setitem__(self, name: str, value: Any) -> None:
        params, rest = self._find(name)
        params[rest] = value

    def __iter__(self) -> Iterator[str]:
        return (f"{part}.{name}" for part, params in self._parts.items() for name in params)

    def __len__(self) -> int:
        return sum(map(len, self._parts.values()))

    def check(self, name: str, value: Any) -> Array:
        """As `Parameters.check`."""
        params, rest = self._find(name)
        return params.check(rest, value)

    def adopt(self, name: str, array: Array) -> None:
        """As `Parameters.adopt`."""
        params, rest = self._find(name)
        params.adopt(rest, array)

    @property
    def version(self) -> int:
        """Grows with every change."""
        return sum(params.version for params in self._parts.values())


class Composite(Layer):
    """Base of layers that are made of other layers and have no parameters of their own.

    What `forward` saves on the tape starts with the `Calls` of the parts.

    Attributes
    ----------
    parts : dict of str to Layer
    """

    parts: dict[str, Any]

    def _join(self, parts: dict[str, Any]) -> None:
        # the last act of the constructor, in place of _create
        self.parts = parts
        name = type(self).__name__
        self._complete(
            JoinedParameters(name, {n: part.params for n, part in parts.items()}),
            JoinedParameters(name, {n: part.buffers for n, part in parts.items()}),
        )

    @property
    def grads(self) -> dict[str, Array]:
        """Gradients of all parts; a new dict of the parts' own arrays."""
        return {
            f"{part}.{name}": grad
            for part, layer in self.parts.items()
            for name, grad in layer.grads.items()
        }

    def _trainable(self) -> Iterator[tuple[str, Array, Array, Callable[[], None]]]:
        for part, layer in self.parts.items():
            for name, param, grad, bump in layer._trainable():
                yield f"{part}.{name}", param, grad, bump

    def _mask_sources(self) -> Iterator[MaskSource]:
        for layer in self.parts.values():
            yield from layer._mask_sources()

    def _check_backward(self, tape: Any, dstate: Any) -> None:
        for part, part_tape in self._open(tape)[0].tapes.items():
            self.parts[part]._check_backward(part_tape, None)


class Assembly(Composite):
    """Base of layers made of any layers, whose state is a list with an entry for each of them.

    Attributes
    ----------
    layers : tuple of Layer
        In the order in which they are called.
    """

    stateful = True
    layers: tuple[Any, ...]
    # of x, state, lengths, training and the origin of a network that this one is in, or None:
    # y, the state and, in training, the tapes
    _run: Callable[..., tuple[Any, list[Any], list[Any]]]

    def __call__(
        self, x: Any, state: list[Any] | None = None, lengths: Any = None
    ) -> tuple[Any, list[Any]]:
        """Run all layers for inference.

        Parameters
        ----------
        x : array
            As the first layer takes it; a tuple for several inputs.
        state : list, optional
            One entry for each layer, as the last call returned it.
        lengths : (B,) array_like of int, optional
            Steps of each sample.

        Returns
        -------
        y : array
            A tuple for several outputs.
        state : list
        """
        y, out, _ = self._run(x, state, lengths, False)
        return y, out

    def predict(self, x: Any, lengths: Any = None) -> Any:
        """Return y alone, from a zero state."""
        return self(x, None, lengths)[0]

    def forward(
        self, x: Any, state: list[Any] | None = None, lengths: Any = None
    ) -> tuple[Any, list[Any], Tape]:
        """Run all layers for training; as a call, but also returns the tape."""
        y, out, tapes = self._run(x, state, lengths, True)
        return y, out, Tape(self, tapes)

    def _call(
        self, x: Any, state: Any, lengths: Any, training: bool, origin: Origin | None = None
    ) -> tuple[Any, Any, Any]:
        if origin is None:
            return super()._call(x, state, lengths, training)
        y, out, tapes = self._run(x, state, lengths, training, origin)
        return y, out, Tape(self, tapes) if training else None

    # ---- time

    def out_lengths(self, lengths: Any, steps: int | None = None) -> Any:
        """Return the steps that outputs have where inputs have `lengths`, None or (B,) integers.

        Parameters
        ----------
        lengths : (B,) array_like of int, or None
        steps : int, optional
            Of the input, padding included: a `RepeatVector` of as many steps takes the lengths up
            again.
        """
        return self._lengths_behind(lengths, Origin(steps, lengths), every=True)

    def _shape_text(self, steps: str, size: int | None) -> str:
        # of an output, for people to read
        axes = ["B", steps] if self.batch_first else [steps, "B"]
        if self.batch_first is None:
            axes = ["..."]
        return f"({', '.join(filter(None, [*axes, str(size or '...')]))})"

    # ---- states

    def _states(self, name: str, state: Any) -> list[Any]:
        owner = type(self).__name__
        if state is None:
            return [None] * len(self.layers)
        if not isinstance(state, (list, tuple)):
            raise TypeError(f"{owner} expected {name} as a list, got {type(state).__name__}")
        if len(state) != len(self.layers):
            raise ValueError(
                f"{owner} expected {name} with an entry for each of {len(self.layers)} layers, "
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


def count_text(layer: Layer) -> str:
    """Return the number of a layer's parameters."""
    return f"{sum(param.size for param in layer.params.values()):,}"


def table(rows: Sequence[Sequence[str]], aligned: str) -> str:
    """Return rows of text in columns; `aligned`: "<" or ">" for each."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:{a}{w}}" for cell, a, w in zip(row, aligned, widths, strict=True))
        for row in rows
    )


class Calls:
    """Calls of a composite layer's parts, each once, for training or for inference.

    Attributes
    ----------
    tapes : dict of str to Tape
        Of the calls so far; empty at inference.
    """

    def __init__(self, parts: Mapping[str, Any], training: bool) -> None:
        self.parts, self.training = parts, training
        self.tapes: dict[str, Any] = {}

    def __call__(self, part: str, *args: Any) -> Any:
        """Return what the part returns, without its tape."""
        layer = self.parts[part]
        if not self.training:
            return layer(*args)
        *results, self.tapes[part] = layer.forward(*args)
        return results[0] if len(results) == 1 else tuple(results)

    def backward(self, part: str, *args: Any, **keywords: Any) -> Any:
        """Return what the part's backward pass returns."""
        return self.parts[part].backward(self.tapes[part], *args, **keywords)
