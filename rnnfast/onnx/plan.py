"""A graph as a list of steps, computed by the engine and by NumPy."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from .operators import DTYPES, NEWEST, WIDENED, Product, find
from .proto import attributes_of, describe
from .recurrent import USUAL, RecurrentNode, dequantised
from .subgraphs import Choice, Loop, Nested, Scan

if TYPE_CHECKING:
    from ..arrays import Array

# Their results may be far larger than the file, or take far longer than reading it, so they are not
# computed when it is loaded.
GROWING = {"ConstantOfShape", "Expand", "OneHot", "Pad", "Range", "Tile"}
GROWING |= {"AveragePool", "Conv", "ConvInteger", "ConvTranspose", "MaxPool"}
GROWING |= {"Loop", "Scan", *USUAL}
# and neither are those of sequences, which are no arrays
SEQUENCES = {"SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert"}
SEQUENCES |= {"ConcatFromSequence", "SequenceLength", "SplitToSequence"}

# Their results hold nothing but elements of their first input; Concat's, of all.
MOVING = {"Concat", "Expand", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Tile"}
MOVING |= {"Transpose", "Unsqueeze"}

NESTED = {"If", "Loop", "Scan"}
QUANTISED = "DynamicQuantizeLSTM"  # of com.microsoft
WEIGHTS = {1: "W", 2: "R", 3: "B", 7: "P", 8: "W_scale", 9: "W_zero_point"}
WEIGHTS |= {10: "R_scale", 11: "R_zero_point"}  # of it

Served: TypeAlias = tuple[Callable[..., Any], list[str]]  # what computes a node, and its inputs


class Step(NamedTuple):
    """A node, ready to run."""

    title: str
    function: Callable[..., Any]
    inputs: list[str]
    outputs: list[str]
    dtypes: list[Any]
    done: list[str]  # values that nobody needs after it


def run_steps(steps: Iterable[Step], values: dict[str, Any]) -> None:
    """Add the results of steps to the values."""
    values[""] = None  # the name of what is left out
    try:
        for step in steps:
            _, function, inputs, outputs, dtypes, done = step
            results = function(*[values[name] for name in inputs])
            if not isinstance(results, tuple):
                values[outputs[0]] = _value(results, dtypes[0])
            else:
                for name, dtype, result in zip(outputs, dtypes, results, strict=False):
                    if name:
                        values[name] = _value(result, dtype)
            for name in done:
                del values[name]
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(f"{step.title}: {error}") from error


def _value(result: Any, dtype: Any) -> Any:
    # a sum of scalars is no array, and of another type before NumPy 2; a sequence is a list
    return result if isinstance(result, list) else np.asarray(result, dtype)


class Plan(Nested):
    """A graph, of a checked model with the types of its values, as steps.

    Called with the inputs of the graph and what it captures, it returns the outputs. `given` are
    the values that calls bring, `captured` those of the graphs around it that the steps need.
    Beside the outputs the values in `keep` stay known, where they depend on constants alone.
    """

    def __init__(
        self,
        library: Any,
        graph: Any,
        version: int,
        given: Iterable[str],
        keep: Iterable[str] = (),
        outer: Plan | None = None,
    ) -> None:
        if len(graph.sparse_initializer):
            raise NotImplementedError("sparse initializers are not supported")
        self.library, self.version = library, version
        self.given = list(given)
        self.outputs = [value.name for value in graph.output]
        self.ranks = [len(value.type.tensor_type.shape.dim) for value in graph.input]
        self.shapes = [
            [axis.dim_value for axis in value.type.tensor_type.shape.dim] for value in graph.output
        ]
        self.needed = {*keep, *self.outputs}
        self.own = {*self.given, *(tensor.name for tensor in graph.initializer)}
        self.own.update(name for node in graph.node for name in node.output if name)
        self.zeros: set[str] = set()  # values full of zeros, of shapes that calls choose
        self.dtypes: dict[str, np.dtype[Any]] = {}
        for value in (*graph.input, *graph.value_info, *graph.output):
            kind = value.type.WhichOneof("value")
            if kind == "sequence_type":
                continue
            if kind not in ("tensor_type", None):
                raise NotImplementedError(f"{value.name} is a {kind}; rnnfast knows tensors alone")
            if value.type.tensor_type.elem_type or outer is None:
                self.dtypes[value.name] = self._dtype(value.name, value.type.tensor_type.elem_type)
        arrays = {tensor.name: self._array(tensor) for tensor in graph.initializer}
        self.defaults = {name: arrays.pop(name) for name in self.given if name in arrays}
        self.constants = arrays
        # inputs of one shape alone, which calls are checked for
        bare = [] if outer else [v for v in graph.input if v.name not in self.defaults]
        self.fixed = {value.name: shape for value in bare if (shape := _fixed(value))}

        self.steps: list[Step] = []
        self.products: dict[str, tuple[str, Product]] = {}  # what they multiply, by their results
        self.uses = Counter(name for node in graph.node for name in node.input)
        self.uses.update(self.needed)
        self.outer = outer
        self.budget = 2**22 + 16 * graph.ByteSize()  # elements that are computed at load
        for place, node in enumerate(graph.node):
            self._add(node, describe(node, place))
        self._release()
        self.outer = None

    def _add(self, node: Any, title: str) -> None:
        step = self._step(node, title)
        values = {name: self._constant(name) for name in step.inputs if name}
        known = all(array is not None for array in values.values())
        if not known and self._gives_zeros(node):
            self.zeros.update(node.output)
        # a branch that is left may hold steps of its own that are not to be computed now
        grows = node.op_type in GROWING | SEQUENCES or getattr(step.function, "steps", None)
        if not known or grows or not self._afford(node):
            self.steps.append(step)
            return
        with np.errstate(all="ignore"):
            run_steps([step], values)
        for name in filter(None, node.output):
            self.constants[name] = _frozen(values[name])

    def _afford(self, node: Any) -> bool:
        # whether what nodes of constants give stays in proportion to the file
        arrays = [a for name in node.input if (a := self._constant(name)) is not None]
        plan = self
        while plan.outer is not None:
            plan = plan.outer
        plan.budget -= _most(node.op_type, arrays)
        return plan.budget >= 0

    # ---- values

    def _owner(self, name: str) -> Plan:
        # of the graph that gives a name its value: an inner one may give it another
        plan = self
        while plan.outer is not None and name not in plan.own:
            plan = plan.outer
        return plan

    def _constant(self, name: str) -> Any:
        # an array, or None
        return self._owner(name).constants.get(name)

    def _dtype(self, name: str, element: int) -> np.dtype[Any]:
        if element in WIDENED:
            return np.dtype(np.float32)
        if element not in DTYPES:
            raise NotImplementedError(
                f"{name} is of type {self.library.TensorProto.DataType.Name(element)}; "
                f"rnnfast computes with {', '.join(name for name, _ in DTYPES.values())}"
            )
        return np.dtype(DTYPES[element][1])

    def _array(self, tensor: Any) -> Array:
        dtype = self._dtype(tensor.name or "a constant", tensor.data_type)
        array = self.library.numpy_helper.to_array(tensor)
        return _frozen(array.astype(dtype) if tensor.data_type in WIDENED else array)

    # ---- nodes

    def _step(self, node: Any, title: str) -> Step:
        outputs = list(node.output)
        try:
            function, inputs = self._served(node)
        except NotImplementedError as error:
            raise NotImplementedError(f"{title}: {error}") from None
        except ValueError as error:
            raise ValueError(f"{title}: {error}") from error
        dtypes = [self.dtypes.get(name) for name in outputs]
        return Step(title, function, inputs, outputs, dtypes, [])

    def _served(self, node: Any) -> Served:
        if node.op_type == QUANTISED:
            return self._quantised(node)
        schema = self.library.defs.get_schema(node.op_type, self.version, "")
        if schema.since_version > NEWEST:
            raise NotImplementedError(
                f"version {schema.since_version} of it is newer than {NEWEST}, rnnfast's last"
            )
        if node.op_type in NESTED:
            return self._nested(node, schema.since_version)
        function, inputs = self._on_engine(node) or self._in_numpy(node, schema)
        if node.op_type == "Shape" and (shape := self._owner(inputs[0]).fixed.get(inputs[0])):
            return partial(function, np.broadcast_to(np.zeros(()), shape)), []
        return function, inputs

    def _gives_zeros(self, node: Any) -> bool:
        if node.op_type == "ConstantOfShape":
            fill = self._attributes(node.attribute).get("value")
            return fill is None or not fill.any()
        return node.op_type in MOVING and all(
            name in self._owner(name).zeros
            or ((array := self._constant(name)) is not None and not array.any())
            for name in (node.input if node.op_type == "Concat" else node.input[:1])
        )

    # ---- nodes with graphs inside

    def _nested(self, node: Any, since: int) -> Served:
        attributes = self._attributes(node.attribute)
        names = ("then_branch", "else_branch") if node.op_type == "If" else ("body",)
        plans = [self._inner(attributes.pop(name)) for name in names]
        captured = [name for plan in plans for name in plan.captured]
        inputs = list(node.input)
        if node.op_type == "If":
            chosen = self._constant(inputs[0])
            if chosen is None:
                return Choice(*plans), inputs + captured
            plan = plans[0 if chosen.item() else 1]
            return plan, plan.captured
        if node.op_type == "Loop":
            inputs += [""] * (2 - len(inputs))
            return Loop(plans[0], len(inputs)), inputs + captured
        if since < 9:
            raise NotImplementedError("version 8 of it is not supported, only 9 and newer")
        return Scan(plans[0], len(inputs), **attributes), inputs + captured

    def _inner(self, graph: Any) -> Plan:
        given = [value.name for value in graph.input]
        return Plan(self.library, graph, self.version, given, outer=self)

    # ---- nodes on the engine, whose functions keep the weights

    def _on_engine(self, node: Any) -> Served | None:
        if node.op_type in USUAL:
            return self._recurrent(node)
        if node.op_type in ("MatMul", "Gemm"):
            return self._product(node)
        return self._biased(node) if node.op_type == "Add" else None

    def _recurrent(self, node: Any) -> Served:
        inputs = list(node.input)
        inputs[5:7] = self._started(inputs[5:7])
        places = [place for place in (1, 2, 3, 7) if place < len(inputs)]  # of W, R, B, P
        names = [inputs[place] for place in places]
        attributes = self._attributes(node.attribute)
        arrays = [self._constant(name) for name in names]
        if any(array is None and name for array, name in zip(arrays, names, strict=True)):
            return RecurrentNode(node.op_type, None, **attributes), inputs
        for place in places:
            inputs[place] = ""
        weights: Any = (*arrays, *[None] * (4 - len(arrays)))
        return RecurrentNode(node.op_type, weights, **attributes), inputs

    def _quantised(self, node: Any) -> Served:
        # what quantises its input anew in each step there is float32 here
        inputs = [*node.input, *[""] * (12 - len(node.input))]
        constants: list[Any] = [self._constant(name) for name in inputs]
        for place, name in WEIGHTS.items():
            if constants[place] is None and inputs[place]:
                raise NotImplementedError(f"{name} is supported as a constant only")
        W = dequantised(constants[1], constants[8], constants[9])
        R = dequantised(constants[2], constants[10], constants[11])
        weights = W, R, constants[3], constants[7]
        kept = [inputs[0], "", "", "", inputs[4], *self._started(inputs[5:7])]
        return RecurrentNode("LSTM", weights, **self._attributes(node.attribute)), kept

    def _started(self, names: list[str]) -> list[str]:
        # states of zeros are what a node starts from without them
        return ["" if name in self._owner(name).zeros else name for name in names]

    def _product(self, node: Any) -> Served | None:
        # where a linear layer serves
        attributes = self._attributes(node.attribute)
        weight, *bias = [self._constant(name) for name in node.input[1:]]
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
            bias = self._constant(other)
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
        constants = [self._constant(name) for name in node.input]
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
        steps: list[Step] = []
        for step in reversed(self.steps):
            outputs = [name if name in needed else "" for name in step.outputs]
            if any(outputs):
                ending = set(step.inputs) - needed - {""}
                steps.append(step._replace(outputs=outputs, done=list(ending)))
                needed |= ending
        self.steps = steps[::-1]
        arrays = {name: self._constant(name) for name in needed}
        self.constants = {name: array for name, array in arrays.items() if array is not None}
        self.known = self.constants | self.defaults
        made = {name for step in self.steps for name in step.outputs}
        self.captured = sorted(needed - made - self.known.keys() - set(self.given))
        self.names = [*self.given, *self.captured]

    # ---- calls

    def __call__(self, *arrays: Any, run: Any = None) -> tuple[Array, ...]:
        """Return the outputs, for the inputs and what is captured."""
        values = {**self.known, **dict(zip(self.names, arrays, strict=True))}
        (run or run_steps)(self.steps, values)
        return tuple([values[name] for name in self.outputs])


def _most(kind: str, arrays: list[Array]) -> int:
    # a bound of the elements that a node gives
    sizes, shapes = [array.size for array in arrays], [array.shape for array in arrays]
    if kind in ("Einsum", "Gather", "GatherND"):
        return math.prod(sizes)
    if kind == "Gemm":
        return max(shapes[0], default=1) * max(shapes[1], default=1)
    if kind in ("MatMul", "MatMulInteger"):
        return sizes[0] * sizes[1] // max(1, *shapes[0][-1:]) ** 2
    try:
        return max(sum(sizes), math.prod(np.broadcast_shapes(*shapes)))
    except ValueError:
        return sum(sizes)


def _fixed(value: Any) -> tuple[int, ...] | None:
    tensor = value.type.tensor_type
    known = all(axis.HasField("dim_value") for axis in tensor.shape.dim)
    return tuple(axis.dim_value for axis in tensor.shape.dim) if known else None


def _frozen(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view
