"""Layers side by side, whose outputs are added."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .base import Layer, Tape
from .composite import Calls, Composite
from .sequential import build

if TYPE_CHECKING:
    from ..arrays import Array


class Add(Composite):
    """Several layers that read the same input; y is the sum of their outputs.

    Parameters
    ----------
    *layers : Layer
        Of the same in_size, out_size, dtype and layout; recurrent ones start from zeros. All keep
        the axis of time, and then the number of steps, or none does.
    weights : sequence of float, optional
        What each output is multiplied with; default 1. They are not learnt, may be assigned, and
        a layer of weight 0 is not run.
    config : list, optional
        In place of `layers`: their types and configurations.
    """

    takes_lengths = True
    stepwise = False
    _changeable = ("weights",)

    def __init__(
        self, *layers: Layer, weights: Sequence[float] | None = None, config: Any = None
    ) -> None:
        if config is not None:
            if layers:
                raise ValueError("Add expected layers or config, got both")
            if not isinstance(config, (list, tuple)):
                raise ValueError(f"Add expected config as a list, got {config!r:.200}")
            layers = tuple(build(entry) for entry in config)
        if not layers or not all(isinstance(layer, Layer) for layer in layers):
            raise TypeError(f"Add expected one layer or more, got {layers!r}")
        if len({id(layer) for layer in layers}) < len(layers):
            raise ValueError("Add expected each layer once")
        for name in ("in_size", "out_size", "dtype", "batch_first", "keeps_time", "makes_time"):
            values = [getattr(layer, name) for layer in layers]
            known = [value for value in values if value is not None]
            if any(value != known[0] for value in known):
                raise ValueError(f"Add expected layers of the same {name}, got {values}")
            if not name.endswith("_time"):
                setattr(self, name, known[0] if known else None)
        if any(layer._arity != (1, 1) for layer in layers):
            raise ValueError("Add expected layers of one input and one output, got others")
        self.keeps_time, self.makes_time = layers[0].keeps_time, layers[0].makes_time
        self._join({str(i): layer for i, layer in enumerate(layers)})
        self.weights = [1.0] * len(layers) if weights is None else weights

    @property
    def weights(self) -> tuple[float, ...]:
        """What each output is multiplied with."""
        return self._weights

    @weights.setter
    def weights(self, given: Sequence[float]) -> None:
        weights = np.asarray(given, np.float64)
        if weights.shape != (len(self.parts),) or not np.isfinite(weights).all():
            raise ValueError(
                f"Add expected weights as a finite number for each of {len(self.parts)} layers, "
                f"got {given!r}"
            )
        if not weights.any():
            raise ValueError("Add expected a weight other than 0")
        self._weights = tuple(weights.tolist())

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, in order."""
        return tuple(self.parts.values())

    def __call__(self, x: Array, lengths: Any = None) -> Array:
        """Return the sum.

        Parameters
        ----------
        x : array
            As each of the layers takes it.
        lengths : (B,) array_like of int, optional
            Steps of each sample.

        Returns
        -------
        y : array

        Raises
        ------
        TypeError, ValueError
            As from the layers, or where their outputs have different shapes.
        """
        return self._run(x, lengths, False)[0]

    def predict(self, x: Array, lengths: Any = None) -> Array:
        """Return y, as a call."""
        return self(x, lengths)

    def forward(self, x: Array, lengths: Any = None) -> tuple[Array, Tape]:
        """Return the sum and the tape; as a call otherwise."""
        return self._run(x, lengths, True)

    def _run(self, x: Array, lengths: Any, training: bool) -> tuple[Array, Tape]:
        calls, weights = Calls(self.parts, training), self.weights
        total: Any = None
        for (name, layer), weight in zip(self.parts.items(), weights, strict=True):
            if not weight:
                continue
            y, _, tape = layer._call(x, None, lengths, training)
            if training:
                calls.tapes[name] = tape
            if total is not None and y.shape != total.shape:
                raise ValueError(
                    f"Add expected outputs of the same shape, got {total.shape} and {y.shape}"
                )
            y = y * y.dtype.type(weight)
            total = y if total is None else total + y
        return total, Tape(self, (calls, weights, total))

    def backward(self, tape: Tape, dy: Array, input_grad: bool = True) -> Array | None:
        """Add into the gradients of all layers, and return the gradient of x.

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
        calls, weights, y = self._open(tape)
        self._use_up(tape, dy, y.dtype, y.shape)
        dx: Array | None = None
        for (name, layer), weight in zip(self.parts.items(), weights, strict=True):
            if weight:
                dpart = dy * dy.dtype.type(weight)
                part, _ = layer._call_back(calls.tapes[name], dpart, None, input_grad)
                if input_grad:
                    dx = part if dx is None else dx + part
        return dx

    def config(self) -> dict[str, Any]:
        """Return the layers' types and configurations, JSON-able."""
        layers = [{"type": type(x).__name__, "config": x.config()} for x in self.layers]
        return {"config": layers, "weights": list(self.weights)}

    def out_lengths(self, lengths: Any) -> Any:
        """Return the steps that outputs have where inputs have `lengths`, None or (B,) integers."""
        return self.layers[0].out_lengths(lengths)

    def out_steps(self, steps: str, given: str) -> str:
        """Return the steps of outputs as a formula."""
        return self.layers[0].out_steps(steps, given)

    def _describe(self) -> str:
        lines = [
            f"({name}): {weight:.3g} * {layer!r}".replace("\n", "\n  ")
            for (name, layer), weight in zip(self.parts.items(), self.weights, strict=True)
        ]
        return "\n  " + "\n  ".join(lines) + "\n"
