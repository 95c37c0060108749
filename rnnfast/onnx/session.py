"""A graph in ONNX Runtime, where the recurrent nodes call the engine."""

from __future__ import annotations

import itertools
import json
import os
import tempfile
import weakref
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..core.runtime import get_num_threads
from .library import onnxruntime_library
from .operators import OLDEST, OPERATORS, WIDENED
from .plan import Plan
from .profile import Timing
from .proto import attributes_of, describe, graphs_of, signature, version_of
from .recurrent import USUAL, RecurrentNode

if TYPE_CHECKING:
    from ..arrays import Array

PROVIDERS = ["CPUExecutionProvider"]
QUIET = 3  # ONNX Runtime's level of errors: warnings are about names and unused weights
SPIN = "1000"  # microseconds
# what ONNX Runtime's threads share, and spin after
THREADED = {"Conv", "ConvTranspose", "ConvInteger", "Gemm", "MatMul", "MatMulInteger", *USUAL}

_numbers = itertools.count()


class Session:
    """A session of ONNX Runtime, for a checked model with the types of its values.

    The model is changed. `profile`: how the file begins in which ONNX Runtime writes the times of
    nodes.
    """

    host = "onnxruntime"

    def __init__(self, library: Any, proto: Any, profile: str | None = None) -> None:
        runtime = onnxruntime_library()
        from ..core import custom_op  # the engine may not be installed

        self._library, self._operators = library, custom_op
        self.content = proto.SerializeToString()
        self.signature = signature(library, proto)
        served = list(_serve(library, proto))
        self.served = {number: title for number, title, _ in served}
        kinds = {node.op_type for graph in graphs_of(proto.graph) for node in graph.node}
        threads = 0 if kinds.isdisjoint(THREADED) else get_num_threads()
        custom_op.nodes.update(
            {number: (node, node.packed(), threads) for number, _, node in served}
        )
        weakref.finalize(self, _forget, custom_op.nodes, list(self.served))
        proto.opset_import.append(library.helper.make_opsetid(custom_op.DOMAIN, 1))
        options = runtime.SessionOptions()
        options.log_severity_level = QUIET
        options.intra_op_num_threads = get_num_threads()
        if self.served:
            # between its own nodes, but not for long beside the engine's threads
            options.add_session_config_entry("session.intra_op.spin_duration_us", SPIN)
            version = tuple(map(int, runtime.__version__.split(".")[:2]))
            if version < (1, 26):  # which does not know that
                options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.register_custom_ops_library(custom_op.__file__)
        if profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = profile
        changed = proto.SerializeToString()
        self._session = runtime.InferenceSession(changed, options, providers=PROVIDERS)

    def run(self, names: list[str], feed: dict[str, Array], run_options: Any) -> list[Array]:
        """Compute outputs, as new arrays."""
        try:
            return self._session.run(names, feed, run_options)
        except Exception as error:
            number, cause = self._operators.failure()
            if cause is None:
                raise ValueError(str(error)) from error
            if isinstance(cause, MemoryError) or not isinstance(cause, Exception):
                raise cause from None
            raise ValueError(f"{self.served[number]}: {cause}") from cause

    def profile(self, feed: dict[str, Array], rounds: int) -> list[Timing]:
        """Time each node in a session of its own."""
        names = [value.name for value in self.signature.outputs]
        with tempfile.TemporaryDirectory() as folder:
            proto = self._library.load_model_from_string(self.content)
            session = Session(self._library, proto, os.path.join(folder, "profile"))
            for _ in range(1 + rounds):  # the first call allocates
                session.run(names, feed, None)
            with open(session._session.end_profiling(), encoding="utf-8") as file:
                events = json.load(file)
        times: dict[tuple[str, str], list[float]] = defaultdict(list)
        for event in events:
            node, _, what = event["name"].rpartition("_")
            if event["cat"] == "Node" and what == "time" and node.endswith("_kernel"):
                kind = event["args"]["op_name"]
                times[node.removesuffix("_kernel"), kind].append(event["dur"] * 1e-6)
        own = self._operators.OPERATORS.values()
        # the first call comes first, and a node in a loop runs several times a call
        return [
            Timing(
                "engine" if kind in own else self.host,
                node,
                kind,
                sum(spans[len(spans) // (rounds + 1) :]) / rounds,
            )
            for (node, kind), spans in times.items()
        ]


def _forget(nodes: dict[int, Any], numbers: list[int]) -> None:
    for number in numbers:
        nodes.pop(number, None)


# ---- which nodes the engine serves ---------------------------------------------------------------


def _serve(library: Any, proto: Any) -> Iterator[tuple[int, str, RecurrentNode]]:
    # puts an operator of ours in place of recurrent nodes, in branches and bodies too
    from ..core import custom_op

    version = version_of(proto)

    def visit(graph: Any, scopes: list[_Scope]) -> Iterator[tuple[int, str, RecurrentNode]]:
        scopes = [*scopes, _Scope(graph, proto.ir_version)]
        for place, node in enumerate(graph.node):
            for attribute in node.attribute:
                if attribute.type == library.AttributeProto.GRAPH:
                    yield from visit(attribute.g, scopes)
            served = _on_engine(library, node, scopes, version)
            if served is None:
                continue
            number = next(_numbers)
            yield number, describe(node, place), served
            inputs = [*node.input, *[""] * 8]
            new = library.helper.make_node(
                custom_op.OPERATORS[served.dtype],
                [inputs[0], *inputs[4:7]],
                list(node.output),
                node.name,
                domain=custom_op.DOMAIN,
                node=number,
                dropped=0,
            )
            node.CopyFrom(new)
        _absorb(library, graph, scopes, version)

    yield from visit(proto.graph, [])


def _absorb(library: Any, graph: Any, scopes: list[_Scope], version: int) -> None:
    # Lets the engine's nodes do what Unsqueeze does before and Squeeze after them, since each node
    # costs ONNX Runtime about a microsecond. "dropped" has four bits for each of X, initial_h,
    # initial_c, Y, Y_h and Y_c: the axes of length 1 that the tensor lacks.
    from ..core import custom_op

    own = [node for node in graph.node if node.domain == custom_op.DOMAIN]
    if not own:
        return
    uses = Counter(value.name for inner in graphs_of(graph) for value in inner.output)
    for inner in graphs_of(graph):
        for node in inner.node:
            uses.update(node.input)
    users = {name: node for node in graph.node for name in node.input}  # the last in this graph
    gone: dict[str, Any] = {}  # nodes that nobody needs any more, by the values that go with them

    def axes(node: Any, kind: str, rank: int) -> int:
        # as bits; 0: not such a node, or axes that are not known
        if node is None or node.op_type != kind or node.domain not in ("", "ai.onnx"):
            return 0
        given = attributes_of(library, node.attribute).get("axes")
        if len(node.input) > 1 and node.input[1]:
            try:
                given = _fold(library, [node.input[1]], scopes, version)[node.input[1]].tolist()
            except (_Varies, NotImplementedError):
                return 0
        if not given or not all(-rank <= axis < rank for axis in given):
            return 0
        return sum(1 << axis for axis in {axis % rank for axis in given})

    for node in own:
        dropped = 0
        for place, i in enumerate((0, 2, 3)):
            maker: Any = scopes[-1].nodes.get(node.input[i]) if node.input[i] else None
            if bits := axes(maker, "Unsqueeze", 3):
                dropped |= bits << 4 * place
                uses[node.input[i]] -= 1
                if not uses[node.input[i]]:
                    gone[node.input[i]] = maker
                node.input[i] = maker.input[0]
        for i, name in enumerate(node.output):
            user: Any = users.get(name) if uses[name] == 1 else None
            if bits := axes(user, "Squeeze", 3 if i else 4):
                dropped |= bits << 4 * (3 + i)
                gone[name] = user
                node.output[i] = user.output[0]
        next(a for a in node.attribute if a.name == "dropped").i = dropped
    for node in gone.values():
        graph.node.remove(node)
    for value in [value for value in graph.value_info if value.name in gone]:
        graph.value_info.remove(value)


class _Scope:
    """What the names of a graph are, without those of the graphs around it."""

    def __init__(self, graph: Any, ir_version: int) -> None:
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.given = {value.name for value in graph.input}  # defaults, too, may be replaced
        if ir_version < 4:  # when constants had to be among the inputs
            self.given -= self.constants.keys()
        self.nodes = {name: node for node in graph.node for name in node.output if name}
        values = (*graph.input, *graph.value_info, *graph.output)
        kinds = [(tensor.name, tensor.data_type) for tensor in graph.initializer]
        kinds += [(value.name, value.type.tensor_type.elem_type) for value in values]
        self.halves = {name for name, kind in kinds if kind in WIDENED}

    def __contains__(self, name: str) -> bool:
        return name in self.given or name in self.constants or name in self.nodes


def _on_engine(library: Any, node: Any, scopes: list[_Scope], version: int) -> RecurrentNode | None:
    # None where ONNX Runtime is to compute the node: its weights change, or no cell covers it
    if node.op_type not in USUAL or node.domain not in ("", "ai.onnx"):
        return None
    inputs = [*node.input, *[""] * 8]
    names = [inputs[place] for place in (1, 2, 3, 7)]  # W, R, B, P
    if any(name in scope.halves for name in names for scope in scopes):
        return None  # ONNX Runtime casts what its own nodes get
    try:
        known = _fold(library, [name for name in names if name], scopes, version)
        arrays: Any = tuple(known[name] if name else None for name in names)
        served = RecurrentNode(node.op_type, arrays, **attributes_of(library, node.attribute))
    except (_Varies, NotImplementedError):
        return None
    return served if served.on_engine else None


class _Varies(Exception):
    """A value depends on what calls bring."""


def _fold(library: Any, names: list[str], scopes: list[_Scope], version: int) -> dict[str, Array]:
    # the values of names, by a graph of what they depend on
    made: dict[str, Any] = {}  # by their results, in order
    constants: dict[str, Any] = {}

    places: dict[str, int] = {}

    def need(name: str, place: int) -> None:
        # what a name is in a graph: an inner graph may give one of an outer graph another value
        if not name:
            return
        place = next((i for i in range(place, -1, -1) if name in scopes[i]), -1)
        if places.setdefault(name, place) != place:  # two values of one name
            raise _Varies(name)
        if name in made or name in constants:
            return
        scope = scopes[place]
        if place < 0 or name in scope.given:
            raise _Varies(name)
        if name in scope.constants:
            constants[name] = scope.constants[name]
            return
        node = scope.nodes[name]
        if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS or version < OLDEST:
            raise _Varies(name)
        for other in node.input:
            need(other, place)
        for other in filter(None, node.output):
            if places.setdefault(other, place) != place:
                raise _Varies(other)
            made[other] = node

    for name in names:
        need(name, len(scopes) - 1)
    helper = library.helper
    nodes = {id(node): node for node in made.values()}
    graph = helper.make_graph(list(nodes.values()), "constants", [], [], [*constants.values()])
    opsets = [helper.make_opsetid("", version)]
    model = library.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=opsets))
    known = Plan(library, model.graph, version, (), names).constants
    if not known.keys() >= set(names):
        raise _Varies(names)
    return known
