"""Layers made of layers: one view of all their parameters and gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .base import Layer
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
        """Return a read-only view."""
        params, rest = self._find(name)
        return params[rest]

    def __setitem__(self, name: str, value: Any) -> None:
        """Copy an array in."""
        params, rest = self._find(name)
        params[rest] = value

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return (f"{part}.{name}" for part, params in self._parts.items() for name in params)

    def __len__(self) -> int:
        """Return how many there are."""
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
        self._create({})
        self.parts = parts
        name = type(self).__name__
        self.params = JoinedParameters(name, {n: part.params for n, part in parts.items()})
        self.buffers = JoinedParameters(name, {n: part.buffers for n, part in parts.items()})

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
