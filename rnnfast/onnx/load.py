"""Run ONNX's graphs of recurrent networks."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from ..checks import check_dtype
from .library import onnx_library
from .operators import DTYPES, NEWEST, OLDEST, OPERATORS, Product, find
from .recurrent import USUAL, RecurrentNode

if TYPE_CHECKING:
    from ..arrays import Array

# Their results may be far larger than the file, so they are not computed when it is loaded.
GROWING = {"ConstantOfShape", "Expand", "OneHot", "Pad", "Range", "Tile"}

# Their results hold nothing but elements of their first input; Concat's, of all.
MOVING = {"Concat", "Expand", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Tile"}
MOVING |= {"Transpose", "Unsqueeze"}


def load(path: str | os.PathLike[str]) -> Model:
    """Read a model from an ONNX file, to run it on the engine.

    Parameters
    ----------
    path : path
        Weights in files beside it are read too.

    Returns
    -------
    Model
        Called like onnxruntime's `InferenceSession`.

    Raises
    ------
    OSError
        Where a file cannot be opened.
    NotImplementedError
        For what is not supported: an operator or an attribute's value (both named, with the node),
        a custom domain, a function of the file, a type of numbers such as float16, a version of the
        operators before 7.
    ValueError
        Where the file is damaged, or no valid model.
    ImportError
        Where the onnx library is missing.
    """
    library = onnx_library()
    path = os.fspath(path)
    with open(path, "rb"):  # its errors are plainer than the library's
        pass
    try:
        return Model(_Graph(library, _read(library, path)))
    except (MemoryError, NotImplementedError):
        raise
    except Exception as error:  # of protobuf, of onnx, of weights of wrong shapes
        why = str(error) or type(error).__name__
        raise ValueError(f"{path} is not a model that rnnfast can load: {why}") from error


class Value(NamedTuple):
    """An input or output of a model.

    Attributes
    ----------
    name : str
    shape : list of int, str or None
        A number, the name of a length that calls choose, or None for one without a name. Empty,
        as in onnxruntime, for an output whose number of axes only calls tell.
    dtype : numpy.dtype
    """

    name: str
    shape: list[int | str | None]
    dtype: np.dtype[Any]

    @property
    def type(self) -> str:
        """The type as onnxruntime writes it, like ``tensor(float)``."""
        return next(f"tensor({name})" for name, dtype in DTYPES.values() if dtype == self.dtype)


class Model:
    """A graph that `load` has read. Any number of threads may call it at once.

    Attributes
    ----------
    inputs, outputs : list of Value
        In the order of the graph. Inputs that have a default are not among them.
    """

    def __init__(self, graph: _Graph) -> None:
        self.inputs = graph.inputs
        self.outputs = graph.outputs
        self._names = [value.name for value in self.outputs]
        self._required = {value.name for value in self.inputs}
        self._feeds = {value.name: value for value in [*self.inputs, *graph.optional]}
        self._known = graph.constants | graph.defaults
        self._steps = graph.steps

    def get_inputs(self) -> list[Value]:
        """Return `inputs`, as onnxruntime does."""
        return self.inputs

    def get_outputs(self) -> list[Value]:
        """Return `outputs`, as onnxruntime does."""
        return self.outputs

    def __call__(self, *args: Array, **kwargs: Array) -> Any:
        """Run the model on arrays in the order of `inputs`, or by their names.

        Returns
        -------
        array or tuple of array
            The only output, or all of them in the order of `outputs`.

        Raises
        ------
        TypeError, ValueError
            As `run` does.
        """
        if len(args) > len(self.inputs):
            raise TypeError(f"the model takes {len(self.inputs)} inputs, got {len(args)}")
        feed = {value.name: array for value, array in zip(self.inputs, args, strict=False)}
        for name in kwargs.keys() & feed.keys():
            raise TypeError(f"the model got its input {name!r} twice")
        results = self.run(None, feed | kwargs)
        return results[0] if len(results) == 1 else tuple(results)

    def run(
        self, output_names: Sequence[str] | None, input_feed: Mapping[str, Array]
    ) -> list[Array]:
        """Run the model, with the arguments of ``onnxruntime.InferenceSession.run``.

        Parameters
        ----------
        output_names : sequence of str or None
            Which outputs to return; None for all.
        input_feed : mapping of str to ndarray
            Inputs by name, with the dtypes of `inputs` (not converted) and their shapes.

        Returns
        -------
        list of ndarray
            New arrays.

        Raises
        ------
        TypeError
            For what is no array, or one of another dtype.
        ValueError
            For an unknown or missing name, for a wrong shape, and where a node cannot compute
            with what it gets, say an index that an embedding does not have.
        """
        wanted = self._names if output_names is None else list(output_names)
        for name in wanted:
            if name not in self._names:
                known = ", ".join(self._names)
                raise ValueError(f"the model has no output {name!r}, only {known}")
        values = self._known | self._checked(input_feed)
        _run(self._steps, values)
        # an array with memory of its own is nobody else's: inputs and constants are views
        results = [values[name] for name in wanted]
        alone = len(set(map(id, results))) == len(results)
        return [array if alone and array.flags.owndata else array.copy() for array in results]

    def _checked(self, feed: Mapping[str, Array]) -> dict[str, Array]:
        names = self._feeds.keys()
        if not self._required <= feed.keys() <= names:
            listed = ", ".join(repr(value.name) for value in self.inputs)
            for name in feed.keys() - names:
                raise ValueError(f"the model has no input {name!r}, only {listed}")
            missing = min(self._required - feed.keys())
            raise ValueError(f"the model needs the inputs {listed}, got no {missing!r}")
        arrays = {}
        for name, array in feed.items():
            _, shape, dtype = self._feeds[name]
            check_dtype("the model", name, array, dtype)
            if len(shape) != array.ndim or any(
                [
                    length != given and isinstance(length, int)
                    for length, given in zip(shape, array.shape, strict=True)
                ]
            ):
                wanted = ", ".join("?" if length is None else str(length) for length in shape)
                raise ValueError(
                    f"the model expected {name} of shape ({wanted}), got {array.shape}"
                )
            arrays[name] = array.view() if array.dtype == dtype else array.astype(dtype)
        return arrays

    def __repr__(self) -> str:
        def listed(values: list[Value]) -> str:
            return ", ".join(f"{v.name}: {v.dtype} {v.shape}" for v in values)

        return f"Model(inputs=({listed(self.inputs)}), outputs=({listed(self.outputs)}))"


# ---- reading -----------------------------------------------------------------------------------


def _read(library: Any, path: str) -> Any:
    # a valid model, with the types of all its values
    proto = library.load(path)
    if proto.functions:
        raise NotImplementedError(
            f"the file defines functions, {proto.functions[0].name!r} for one, which rnnfast "
            "does not run; onnx.inliner.inline_local_functions replaces them"
        )
    if len(proto.graph.sparse_initializer):
        raise NotImplementedError("sparse initializers are not supported")
    version = _version(proto)
    for place, node in enumerate(proto.graph.node):
        if node.domain not in ("", "ai.onnx"):
            raise NotImplementedError(
                f"{_describe(node, place)} is of the domain {node.domain!r}; rnnfast runs "
                "operators of ONNX alone"
            )
        if node.op_type not in OPERATORS and node.op_type not in USUAL:
            raise NotImplementedError(
                f"{_describe(node, place)} is not supported; supported operators: "
                f"{', '.join(sorted([*OPERATORS, *USUAL]))}"
            )
    if version < OLDEST:
        raise NotImplementedError(
            f"the model is of version {version} of ONNX's operators, rnnfast runs {OLDEST} and "
            "newer; onnx.version_converter raises it"
        )
    known = library.defs.onnx_opset_version()
    if version > known:  # its definitions may have changed what an operator does
        raise NotImplementedError(
            f"the model is of version {version} of ONNX's operators, the onnx library that is "
            f"installed knows {known}; a newer release may know it"
        )
    # Inference first: the checker wants the outputs' shapes, which some exporters leave out. Others
    # write wrong ones, which strict inference would refuse.
    proto = library.shape_inference.infer_shapes(proto)
    tensors = [v.type.tensor_type for v in proto.graph.output if v.type.HasField("tensor_type")]
    for tensor in tensors:
        tensor.shape.SetInParent()  # empty, where not even the number of axes is known
    library.checker.check_model(proto)
    return proto


def _version(proto: Any) -> int:
    for entry in proto.opset_import:
        if entry.domain in ("", "ai.onnx"):
            return int(entry.version)
    raise ValueError("it says no version of ONNX's operators")


def _describe(node: Any, place: int) -> str:
    return f"node {node.name or place!r} ({node.op_type})"


Served: TypeAlias = tuple[Callable[..., Any], list[str]]  # what computes a node, and its inputs


class _Step(NamedTuple):
    """A node, ready to run."""

    title: str
    function: Callable[..., Any]
    inputs: list[str]
    outputs: list[str]
    dtypes: list[Any]
    done: list[str]  # values that nobody needs after it


def _run(steps: Iterable[_Step], values: dict[str, Any]) -> None:
    # adds the results of steps to the values
    values[""] = None  # the name of what is left out
    try:
        with np.errstate(all="ignore"):  # NaN and Inf pass silently, as through the engine
            for step in steps:
                _, function, inputs, outputs, dtypes, done = step
                results = function(*[values[name] for name in inputs])
                # a sum of scalars is no array, and of another type before NumPy 2
                if not isinstance(results, tuple):
                    values[outputs[0]] = np.asarray(results, dtypes[0])
                else:
                    for name, dtype, result in zip(outputs, dtypes, results, strict=False):
                        if name:
                            values[name] = np.asarray(result, dtype)
                for name in done:
                    del values[name]
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(f"{step.title}: {error}") from error


class _Graph:
    """What a model needs of the file."""

    def __init__(self, library: Any, proto: Any) -> None:
        graph = proto.graph
        self.library = library
        self.version = _version(proto)
        self.dtypes: dict[str, np.dtype[Any]] = {}
        for value in (*graph.input, *graph.value_info, *graph.output):
            kind = value.type.WhichOneof("value")
            if kind != "tensor_type":
                raise NotImplementedError(f"{value.name} is a {kind}; rnnfast knows tensors alone")
            self.dtypes[value.name] = self._dtype(value.name, value.type.tensor_type.elem_type)
        inputs = [self._value(value) for value in graph.input]
        self.outputs = [self._value(value) for value in graph.output]

        self.constants = {tensor.name: self._array(tensor) for tensor in graph.initializer}
        self.inputs = [value for value in inputs if value.name not in self.constants]
        # before version 4 of the format, constants had to be among the inputs
        self.optional = [
            value for value in inputs if value.name in self.constants and proto.ir_version >= 4
        ]
        self.defaults = {value.name: self.constants.pop(value.name) for value in self.optional}

        self.steps: list[_Step] = []
        self.zeros: set[str] = set()  # values full of zeros, of shapes that calls choose
        self.products: dict[str, tuple[str, Product]] = {}  # what they multiply, by their results
        self.uses = Counter(name for node in graph.node for name in node.input)
        self.uses.update(value.name for value in self.outputs)
        for place, node in enumerate(graph.node):
            step = self._step(node, _describe(node, place))
            known = all(name in self.constants for name in node.input if name)
            if not known and self._gives_zeros(node):
                self.zeros.update(node.output)
            if not known or node.op_type in GROWING:
                self.steps.append(step)
                continue
            values = {name: self.constants[name] for name in node.input if name}
            _run([step], values)
            for name in filter(None, node.output):
                self.constants[name] = _frozen(values[name])
        self._release()

    # ---- values

    def _dtype(self, name: str, element: int) -> np.dtype[Any]:
        if element not in DTYPES:
            raise NotImplementedError(
                f"{name} is of type {self.library.TensorProto.DataType.Name(element)}; "
                f"rnnfast computes with {', '.join(name for name, _ in DTYPES.values())}"
            )
        return np.dtype(DTYPES[element][1])

    def _value(self, value: Any) -> Value:
        shape = [
            getattr(axis, axis.WhichOneof("value")) if axis.WhichOneof("value") else None
            for axis in value.type.tensor_type.shape.dim
        ]
        return Value(value.name, shape, self.dtypes[value.name])

    def _array(self, tensor: Any) -> Array:
        self._dtype(tensor.name or "a constant", tensor.data_type)
        return _frozen(self.library.numpy_helper.to_array(tensor))

    # ---- nodes

    def _step(self, node: Any, title: str) -> _Step:
        outputs = list(node.output)
        schema = self.library.defs.get_schema(node.op_type, self.version, "")
        try:
            if schema.since_version > NEWEST:
                raise NotImplementedError(
                    f"version {schema.since_version} of it is newer than {NEWEST}, rnnfast's last"
                )
            function, inputs = self._on_engine(node) or self._in_numpy(node, schema)
        except NotImplementedError as error:
            raise NotImplementedError(f"{title}: {error}") from None
        except ValueError as error:
            raise ValueError(f"{title}: {error}") from error
        dtypes = [self.dtypes.get(name) for name in outputs]
        return _Step(title, function, inputs, outputs, dtypes, [])

    def _gives_zeros(self, node: Any) -> bool:
        if node.op_type == "ConstantOfShape":
            fill = self._attributes(node.attribute).get("value")
            return fill is None or not fill.any()
        return node.op_type in MOVING and all(
            name in self.zeros or (name in self.constants and not self.constants[name].any())
            for name in (node.input if node.op_type == "Concat" else node.input[:1])
        )

    # ---- nodes on the engine, whose functions keep the weights

    def _on_engine(self, node: Any) -> Served | None:
        if node.op_type in USUAL:
            return self._recurrent(node)
        if node.op_type in ("MatMul", "Gemm"):
            return self._product(node)
        return self._biased(node) if node.op_type == "Add" else None

    def _recurrent(self, node: Any) -> Served:
        inputs = list(node.input)
        # states of zeros are what a node starts from without them
        inputs[5:7] = ["" if name in self.zeros else name for name in inputs[5:7]]
        places = [place for place in (1, 2, 3, 7) if place < len(inputs)]  # of W, R, B, P
        names = [inputs[place] for place in places]
        attributes = self._attributes(node.attribute)
        if not all(name in self.constants for name in names if name):
            return RecurrentNode(node.op_type, None, **attributes), inputs
        for place in places:
            inputs[place] = ""
        arrays = [self.constants.get(name) for name in names]
        weights: Any = (*arrays, *[None] * (4 - len(arrays)))
        return RecurrentNode(node.op_type, weights, **attributes), inputs

    def _product(self, node: Any) -> Served | None:
        # where a linear layer serves
        attributes = self._attributes(node.attribute)
        weight, *bias = [self.constants.get(name) for name in node.input[1:]]
        if weight is None or weight.ndim != 2 or not weight.size or weight.dtype.kind != "f":
            return None
        weight = weight.T if attributes.pop("transB", 0) else weight
        if any(array is None or array.shape != weight.shape[1:] for array in bias):
            return None
        if attributes.pop("transA", 0) or any(factor != 1 for factor in attributes.values()):
            return None
        product = Product(weight, *bias)
        self.products[node.output[0]] = node.input[0], product
        return product, [node.input[0]]

    def _biased(self, node: Any) -> Served | None:
        # a sum of a product that nobody else needs, and of a bias
        for name, other in (node.input, node.input[::-1]):
            x, product = self.products.get(name, ("", None))
            bias = self.constants.get(other)
            if product is None or bias is None or product.bias is not None:
                continue
            if bias.shape == product.weight.shape[1:] and self.uses[name] == 1:
                return Product(product.weight, bias), [x]
        return None

    # ---- nodes in NumPy

    def _in_numpy(self, node: Any, schema: Any) -> Served:
        operator = find(node.op_type, schema.since_version)
        defaults = [attribute.default_value for attribute in schema.attributes.values()]
        attributes = self._attributes([default for default in defaults if default.type])
        attributes |= self._attributes(node.attribute)
        if node.op_type == "Split":
            attributes["num_outputs"] = len(node.output)
        constants = [self.constants.get(name) for name in node.input]
        try:
            bound = operator.signature.bind(*constants, **attributes).arguments
        except TypeError as error:
            raise NotImplementedError(str(error)) from None
        for name, wanted in operator.only.items():
            # what is None comes with the call
            if name in bound and (bound[name] is None or bound[name] != wanted):
                raise NotImplementedError(f"{name} is supported as {wanted} only")
        if any(name for place, name in enumerate(node.output) if place >= operator.outputs):
            raise NotImplementedError(f"no more than {operator.outputs} outputs are supported")
        return partial(operator.function, **attributes), list(node.input)

    def _attributes(self, attributes: Iterable[Any]) -> dict[str, Any]:
        def plain(value: Any) -> Any:
            if isinstance(value, bytes):
                return value.decode()
            if isinstance(value, self.library.TensorProto):
                return self._array(value)
            return [plain(entry) for entry in value] if isinstance(value, Sequence) else value

        get = self.library.helper.get_attribute_value
        return {attribute.name: plain(get(attribute)) for attribute in attributes}

    def _release(self) -> None:
        # drops steps, results and constants that nobody needs, and lets steps drop what they are
        # the last to use
        needed = {value.name for value in self.outputs}
        steps, self.steps = self.steps, []
        for step in reversed(steps):
            outputs = [name if name in needed else "" for name in step.outputs]
            if any(outputs):
                ending = set(step.inputs) - needed - {""}
                self.steps.insert(0, step._replace(outputs=outputs, done=list(ending)))
                needed |= ending
        self.constants = {name: a for name, a in self.constants.items() if name in needed}


def _frozen(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view
