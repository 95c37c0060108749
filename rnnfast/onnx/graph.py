"""A graph of ONNX as it grows: its nodes, and those that many layers need.

Opset 17 is the first with LayerNormalization; ONNX Runtime reads it from 1.12 (2022) on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..version import __version__
from .library import onnx_library

__all__ = ["Graph"]

OPSET = 17
IR_VERSION = 8  # of the releases that brought the opset
LARGEST = 2**31 - 2**20  # bytes of parameters: a protobuf message ends at 2 GiB


class Graph:
    """The nodes, constants, inputs and outputs of a graph so far.

    `dtype` is that of all numbers that are no integers. `states`: whether recurrent layers take
    their initial states from inputs, and add to `final` the name, value and axes of what they give
    for them. `names`: a user's, of inputs and outputs, which values within the graph must not have.
    """

    def __init__(self, dtype: np.dtype[Any], states: bool, names: Iterable[str] = ()) -> None:
        self.onnx = onnx_library()
        self.dtype, self.states = dtype, states
        self._users = set(names)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.final: list[tuple[str, str, list[Any]]] = []
        self.origin: tuple[str, int, str] | None = None  # input, its axis of time, lengths
        self._bytes = 0
        self._named: set[str] = set()

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node of one output and return the output's name; "" for an input left out."""
        return self.add_many(kind, inputs, 1, **attributes)[0]

    def add_many(
        self, kind: str, inputs: tuple[str, ...], outputs: int, **attributes: Any
    ) -> list[str]:
        """Add a node and return the names of its outputs."""
        name = self._within(f"{kind}_{len(self.nodes)}")
        names = [name] if outputs == 1 else [f"{name}.{i}" for i in range(outputs)]
        node = self.onnx.helper.make_node(kind, inputs, names, name, **attributes)
        self.nodes.append(node)
        return names

    def cast(self, value: str, dtype: Any) -> str:
        """Add a conversion to `dtype`."""
        return self.add("Cast", value, to=self._kind(dtype))

    def constant(self, value: Any, dtype: Any = None, name: str = "") -> str:
        """Add a constant, of the graph's dtype if not of another, and return its name.

        A name that is there already is that of the weights of a layer that is called again.
        """
        if name and name in self._named:
            return name
        array = np.asarray(value, dtype or self.dtype)
        self._bytes += array.nbytes
        if self._bytes > LARGEST:
            raise ValueError("an ONNX file holds less than 2 GiB of parameters")
        self._named.add(name)
        name = name or self._within(f"constant_{len(self.constants)}")
        array = np.ascontiguousarray(array).reshape(array.shape)
        self.constants.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def shape(self, *sizes: int) -> str:
        """Add a constant of int64, for shapes and axes."""
        return self.constant(sizes, np.int64)

    def input(self, name: str, axes: list[Any], dtype: Any = None) -> str:
        """Add an input with sizes, or names, of its axes."""
        if any(known.name == name for known in self.inputs):
            raise ValueError(
                f"an ONNX graph cannot have two inputs {name!r}: a layer that is called twice with "
                "its states, or an input with the name of the lengths of another"
            )
        self.inputs.append(self._value(name, axes, dtype))
        return name

    def output(self, name: str, value: str, axes: list[Any]) -> None:
        """Make `value` an output, of another name where an input or output has this one already."""
        base, i = name, 1
        while any(known.name == name for known in (*self.inputs, *self.outputs)):
            i += 1
            name = f"{base}_{i}"
        self.nodes.append(self.onnx.helper.make_node("Identity", [value], [name], name))
        self.outputs.append(self._value(name, axes, None))

    def _within(self, name: str) -> str:
        return f"within_{name}" if name in self._users else name

    def _value(self, name: str, axes: list[Any], dtype: Any) -> Any:
        kind = self._kind(dtype or self.dtype)
        return self.onnx.helper.make_tensor_value_info(name, kind, axes)

    def _kind(self, dtype: Any) -> int:
        return int(self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def finish(self) -> bytes:
        """Return the content of a file, once ONNX's own checker has passed it."""
        helper = self.onnx.helper
        graph = helper.make_graph(self.nodes, "rnnfast", self.inputs, self.outputs, self.constants)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="rnnfast",
            producer_version=__version__,
        )
        self.onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString()


# ---- shapes and lengths ------------------------------------------------------------------------


def axes_of(batch_first: bool | None, steps: Any, *rest: Any) -> list[Any]:
    return ["batch", steps, *rest] if batch_first else [steps, "batch", *rest]


def swapped(g: Graph, x: str, swap: bool | None, axes: int = 2) -> str:
    # time first from batch first, or back
    return g.add("Transpose", x, perm=[1, 0, 2][:axes]) if swap else x


def real_steps(g: Graph, x: str, batch_first: bool | None, lengths: str) -> str:
    # which of the steps of x are a sample's own: (T, B, 1), or (B, T, 1)
    axis = int(bool(batch_first))
    steps = g.add("Squeeze", g.add("Shape", x, start=axis, end=axis + 1))
    steps = g.cast(steps, np.int32)
    zero, one = (g.constant(i, np.int32) for i in (0, 1))
    times = g.add("Unsqueeze", g.add("Range", zero, steps, one), g.shape(1 - axis))
    real = g.add("Less", times, g.add("Unsqueeze", lengths, g.shape(axis)))
    return g.add("Unsqueeze", real, g.shape(2))


def cleared(g: Graph, x: str, batch_first: bool | None, lengths: str, value: float = 0.0) -> str:
    # `value` past the samples' ends
    if not lengths:
        return x
    return g.add("Where", real_steps(g, x, batch_first, lengths), x, g.constant(value))


def not_empty(g: Graph, y: str, lengths: str, otherwise: str = "") -> str:
    # y (..., B, F), with zeros, or what is given, where a sample has no steps
    some = g.add("Less", g.constant(0, np.int32), lengths)
    some = g.add("Unsqueeze", some, g.shape(1))
    return g.add("Where", some, y, otherwise or g.constant(0.0))
