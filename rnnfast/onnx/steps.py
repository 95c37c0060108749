"""A graph as a list of steps, computed by the engine and by NumPy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from .operators import DTYPES, NEWEST, OLDEST, OPERATORS, Product, find
from .profile import Timing
from .proto import attributes_of, describe, signature, version_of
from .recurrent import USUAL, RecurrentNode

if TYPE_CHECKING:
    from ..arrays import Array

# Their results may be far larger than the file, so they are not computed when it is loaded.
GROWING = {"ConstantOfShape", "Expand", "OneHot", "Pad", "Range", "Tile"}

# Their results hold nothing but elements of their first input; Concat's, of all.
MOVING = {"Concat", "Expand", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Tile"}
MOVING |= {"Transpose", "Unsqueeze"}

Served: TypeAlias = tuple[Callable[..., Any], list[str]]  # what computes a node, and its inputs


class Step(NamedTuple):
    """A node, ready to run."""

    title: str
    function: Callable[..., Any]
    inputs: list[str]
    outputs: list[str]
    dtypes: list[Any]
    done: list[str]  # values that nobody needs after it


def _run(steps: Iterable[Step], values: dict[str, Any]) -> None:
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


def refuse(proto: Any) -> None:
    """Raise NotImplementedError for what cannot become steps."""
    if proto.functions:
        raise NotImplementedError(
            f"the file defines functions, {proto.functions[0].name!r} for one, which rnnfast "
            "does not run; onnx.inliner.inline_local_functions replaces them"
        )
    version = version_of(proto)
    for place, node in enumerate(proto.graph.node):
        if node.domain not in ("", "ai.onnx"):
            raise NotImplementedError(
                f"{describe(node, place)} is of the domain {node.domain!r}; rnnfast runs "
                "operators of ONNX alone"
            )
        if node.op_type not in OPERATORS and node.op_type not in USUAL:
            raise NotImplementedError(
                f"{describe(node, place)} is not supported; supported operators: "
                f"{', '.join(sorted([*OPERATORS, *USUAL]))}"
            )
    if version < OLDEST:
        raise NotImplementedError(
            f"the model is of version {version} of ONNX's operators, rnnfast runs {OLDEST} and "
            "newer; onnx.version_converter raises it"
        )


class Steps:
    """A graph without ONNX Runtime.

    Parameters
    ----------
    library : module
        onnx.
    proto : onnx.ModelProto
        A checked model, with the types of its values.
    keep : iterable of str
        Values beside the outputs that stay known, where they depend on constants alone.
    """

    host = "numpy"

    def __init__(self, library: Any, proto: Any, keep: Iterable[str] = ()) -> None:
        graph = proto.graph
        self.library = library
        self.version = version_of(proto)
        self.dtypes: dict[str, np.dtype[Any]] = {}
        for value in (*graph.input, *graph.value_info, *graph.output):
            kind = value.type.WhichOneof("value")
            if kind != "tensor_type":
                raise NotImplementedError(f"{value.name} is a {kind}; rnnfast knows tensors alone")
            self.dtypes[value.name] = self._dtype(value.name, value.type.tensor_type.elem_type)
        self.signature = signature(library, proto)
        self.constants = {tensor.name: self._array(tensor) for tensor in graph.initializer}
        optional = {value.name for value in self.signature.optional}
        self.defaults = {name: self.constants.pop(name) for name in optional}
        self.needed = {*keep, *(value.name for value in self.signature.outputs)}

        self.steps: list[Step] = []
        self.zeros: set[str] = set()  # values full of zeros, of shapes that calls choose
        self.products: dict[str, tuple[str, Product]] = {}  # what they multiply, by their results
        self.uses = Counter(name for node in graph.node for name in node.input)
        self.uses.update(self.needed)
        for place, node in enumerate(graph.node):
            step = self._step(node, describe(node, place))
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

    def _array(self, tensor: Any) -> Array:
        self._dtype(tensor.name or "a constant", tensor.data_type)
        return _frozen(self.library.numpy_helper.to_array(tensor))

    # ---- nodes

    def _step(self, node: Any, title: str) -> Step:
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
        return Step(title, function, inputs, outputs, dtypes, [])

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
        values = attributes_of(self.library, attributes)
        tensor = self.library.TensorProto
        return {n: self._array(v) if isinstance(v, tensor) else v for n, v in values.items()}

    def _release(self) -> None:
        # drops steps, results and constants that nobody needs, and lets steps drop what they are
        # the last to use
        needed = set(self.needed)
        steps, self.steps = self.steps, []
        for step in reversed(steps):
            outputs = [name if name in needed else "" for name in step.outputs]
            if any(outputs):
                ending = set(step.inputs) - needed - {""}
                self.steps.insert(0, step._replace(outputs=outputs, done=list(ending)))
                needed |= ending
        self.constants = {name: a for name, a in self.constants.items() if name in needed}
        self.known = self.constants | self.defaults

    # ---- calls

    def run(self, names: list[str], feed: dict[str, Array], run_options: Any) -> list[Array]:
        """Compute outputs, as new arrays."""
        if run_options is not None:
            raise ValueError("run_options are for ONNX Runtime; this model runs in NumPy")
        values = self.known | feed
        _run(self.steps, values)
        # an array with memory of its own is nobody else's: inputs and constants are views
        results = [values[name] for name in names]
        alone = len(set(map(id, results))) == len(results)
        return [array if alone and array.flags.owndata else array.copy() for array in results]

    def profile(self, feed: dict[str, Array], rounds: int) -> list[Timing]:
        """Time each step."""
        values: dict[str, Any] = {**self.known, **feed}
        timings = []
        for step in self.steps:
            inputs = [values.get(name) for name in step.inputs]
            start = perf_counter()
            for _ in range(rounds):
                trial = dict(zip(step.inputs, inputs, strict=True))
                _run([step._replace(done=[])], trial)
            seconds = (perf_counter() - start) / rounds
            values |= trial
            title, _, kind = step.title.rstrip(")").rpartition(" (")
            node = title.removeprefix("node ").strip("'")
            timings.append(Timing(self._place(step.function), node, kind, seconds))
        return timings

    @staticmethod
    def _place(function: Any) -> str:
        if isinstance(function, RecurrentNode):
            return "engine" if function.on_engine else "numpy"
        return "engine" if isinstance(function, Product) else "numpy"


def _frozen(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view
