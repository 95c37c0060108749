"""A model as the onnx library reads it: checked, with the types of its values."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from .operators import DTYPES

# the types of inputs and outputs; nodes compute with those of DTYPES alone in NumPy
ELEMENTS: dict[int, tuple[str, Any]] = {**DTYPES, 10: ("float16", np.float16)}

DEEPEST = 20  # graphs inside each other
UNCHECKED = "rnnfast.unchecked"  # a domain that the checker does not know


class Value(NamedTuple):
    """An input or output of a model.

    Attributes
    ----------
    name : str
    shape : list of int, str or None
        A number, the name of a length that calls choose, or None for one without a name. Empty,
        as in onnxruntime, where only calls tell the number of axes.
    dtype : numpy.dtype
    """

    name: str
    shape: list[int | str | None]
    dtype: np.dtype[Any]

    @property
    def type(self) -> str:
        """The type as onnxruntime writes it, like ``tensor(float)``."""
        return next(f"tensor({name})" for name, dtype in ELEMENTS.values() if dtype == self.dtype)


class Signature(NamedTuple):
    """What a model takes and gives.

    `optional` are the inputs that have a default, `free` the names of those of any shape.
    """

    inputs: list[Value]
    optional: list[Value]
    outputs: list[Value]
    free: set[str]


def parse(library: Any, source: Any) -> tuple[Any, str]:
    """Return the model of a path, of bytes or a copy of a ModelProto, and what errors call it."""
    if isinstance(source, library.ModelProto):
        proto = library.ModelProto()
        proto.CopyFrom(source)
        return proto, "the ModelProto"
    if isinstance(source, bytes):
        return library.load_model_from_string(source), f"the {len(source)} bytes"
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(
            "load expected model as a path, bytes or an onnx.ModelProto, "
            f"got {type(source).__name__}"
        )
    path = os.fspath(source)
    return library.load(path), str(path)


def check(library: Any, proto: Any) -> Any:
    """Return a valid model with the types of all its values.

    Inference comes first: the checker wants the outputs' shapes, which some exporters leave out.
    Others write wrong ones, which strict inference would refuse.
    """
    versions = {(entry.domain or "ai.onnx", entry.version) for entry in proto.opset_import}
    for what, names in (  # the checker finds other names that are there twice
        ("output", [value.name for value in proto.graph.output]),
        ("domain", [domain for domain, _ in versions]),
    ):
        if len(set(names)) < len(names):
            raise ValueError(f"it has two {what}s of one name, among {', '.join(names):.200}")
    version, known = version_of(proto), library.defs.onnx_opset_version()
    if version > known:  # its definitions may have changed what an operator does
        raise NotImplementedError(
            f"the model is of version {version} of ONNX's operators, the onnx library that is "
            f"installed knows {known}; a newer release may know it"
        )
    for tensor in _tensors(proto):
        for axis in tensor.shape.dim:
            if axis.dim_value < 0:  # some exporters' way to leave a length to calls
                axis.ClearField("value")
    proto = library.shape_inference.infer_shapes(proto)
    bare = [tensor for tensor in _tensors(proto) if not tensor.HasField("shape")]
    for tensor in bare:
        tensor.shape.SetInParent()  # empty, where not even the number of axes is known
    deprecated = [  # from version 18 to 20, but written
        node
        for graph in graphs_of(proto.graph)
        for node in graph.node
        if (node.domain, node.op_type) == ("", "GroupNormalization")
    ]
    for node in deprecated:
        node.domain = UNCHECKED
    proto.opset_import.append(library.helper.make_opsetid(UNCHECKED, 1))
    library.checker.check_model(proto)
    proto.opset_import.pop()
    for node in deprecated:
        node.domain = ""
    for tensor in bare:  # which ONNX Runtime would take for a scalar's
        tensor.ClearField("shape")
    return proto


def graphs_of(graph: Any, depth: int = 0) -> Iterator[Any]:
    """Yield a graph and those inside it; ValueError where too many are inside each other."""
    if depth > DEEPEST:
        raise ValueError(f"more than {DEEPEST} graphs are inside each other")
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from graphs_of(attribute.g, depth + 1)


def _tensors(proto: Any) -> list[Any]:
    # the types of inputs and outputs
    values = [v for graph in graphs_of(proto.graph) for v in (*graph.input, *graph.output)]
    return [v.type.tensor_type for v in values if v.type.HasField("tensor_type")]


def version_of(proto: Any) -> int:
    """Return the version of ONNX's operators that a model is written in."""
    for entry in proto.opset_import:
        if entry.domain in ("", "ai.onnx"):
            return int(entry.version)
    raise ValueError("it says no version of ONNX's operators")


def signature(library: Any, proto: Any) -> Signature:
    """Return what a model takes and gives."""

    def value(entry: Any) -> Value:
        kind = entry.type.WhichOneof("value")
        if kind != "tensor_type":
            raise NotImplementedError(f"{entry.name} is a {kind}; rnnfast knows tensors alone")
        tensor = entry.type.tensor_type
        if tensor.elem_type not in ELEMENTS:
            raise NotImplementedError(
                f"{entry.name} is of type {library.TensorProto.DataType.Name(tensor.elem_type)}; "
                f"rnnfast takes and gives {', '.join(name for name, _ in ELEMENTS.values())}"
            )
        axes = [axis.WhichOneof("value") for axis in tensor.shape.dim]
        shape = [kind and getattr(d, kind) for d, kind in zip(tensor.shape.dim, axes, strict=True)]
        return Value(entry.name, shape, np.dtype(ELEMENTS[tensor.elem_type][1]))

    graph = proto.graph
    inputs = [value(entry) for entry in graph.input]
    constants = {tensor.name for tensor in graph.initializer}
    # before version 4 of the format, constants had to be among the inputs
    given = [v for v in inputs if v.name in constants and proto.ir_version >= 4]
    required = [v for v in inputs if v.name not in constants]
    free = {entry.name for entry in graph.input if not entry.type.tensor_type.HasField("shape")}
    return Signature(required, given, [value(entry) for entry in graph.output], free)


def describe(node: Any, place: int) -> str:
    """Name a node in an error."""
    return f"node {node.name or place!r} ({node.op_type})"


def attributes_of(library: Any, attributes: Any) -> dict[str, Any]:
    """Return attributes as Python's values; tensors stay what they are."""

    def plain(value: Any) -> Any:
        if isinstance(value, bytes):
            return value.decode()
        if isinstance(value, str) or not isinstance(value, Sequence):
            return value
        return [plain(entry) for entry in value]

    get = library.helper.get_attribute_value
    return {attribute.name: plain(get(attribute)) for attribute in attributes}
