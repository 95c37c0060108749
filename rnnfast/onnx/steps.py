"""The host that needs no ONNX Runtime: a plan of the graph, run by the engine and NumPy."""

from __future__ import annotations

from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from .operators import OLDEST, OPERATORS, Product
from .plan import NESTED, QUANTISED, Plan, Step, run_steps
from .profile import Timing
from .proto import describe, graphs_of, signature, version_of
from .recurrent import USUAL, RecurrentNode
from .subgraphs import Nested

if TYPE_CHECKING:
    from ..arrays import Array


def refuse(proto: Any) -> None:
    """Raise NotImplementedError for what cannot become steps."""
    if proto.functions:
        raise NotImplementedError(
            f"the file defines functions, {proto.functions[0].name!r} for one, which rnnfast "
            "does not run; onnx.inliner.inline_local_functions replaces them"
        )
    version = version_of(proto)
    known = {*OPERATORS, *USUAL, *NESTED}
    for graph in graphs_of(proto.graph):
        for place, node in enumerate(graph.node):
            if (node.domain, node.op_type) == ("com.microsoft", QUANTISED):
                continue
            if node.domain not in ("", "ai.onnx"):
                raise NotImplementedError(
                    f"{describe(node, place)} is of the domain {node.domain!r}; rnnfast runs "
                    f"operators of ONNX, and com.microsoft's {QUANTISED}, alone"
                )
            if node.op_type not in known:
                raise NotImplementedError(
                    f"{describe(node, place)} is not supported; supported operators: "
                    f"{', '.join(sorted(known))}"
                )
    if version < OLDEST:
        raise NotImplementedError(
            f"the model is of version {version} of ONNX's operators, rnnfast runs {OLDEST} and "
            "newer; onnx.version_converter raises it"
        )


class Steps(Plan):
    """A checked model with the types of its values, without ONNX Runtime."""

    host = "numpy"

    def __init__(self, library: Any, proto: Any) -> None:
        self.signature = signature(library, proto)
        self.content = proto.SerializeToString()
        given = [value.name for value in (*self.signature.inputs, *self.signature.optional)]
        super().__init__(library, proto.graph, version_of(proto), given)
        self.kinds = {value.name: value.dtype for value in self.signature.outputs}

    def run(self, names: list[str], feed: dict[str, Array], run_options: Any) -> list[Array]:
        """Compute outputs, as new arrays."""
        if run_options is not None:
            raise ValueError("run_options are for ONNX Runtime; this model runs in NumPy")
        values = self._values(feed)
        with np.errstate(all="ignore"):  # NaN and Inf pass silently, as through the engine
            run_steps(self.steps, values)
            # a half is computed with as float32
            results = [values[name].astype(self.kinds[name], copy=False) for name in names]
        # an array with memory of its own is nobody else's: inputs and constants are views
        alone = len(set(map(id, results))) == len(results)
        return [array if alone and array.flags.owndata else array.copy() for array in results]

    def _values(self, feed: dict[str, Array]) -> dict[str, Any]:
        arrays = {n: array.astype(self.dtypes[n], copy=False) for n, array in feed.items()}
        return {**self.known, **arrays}

    def profile(self, feed: dict[str, Array], rounds: int) -> list[Timing]:
        """Time each step, those of inner graphs by themselves."""
        seconds: dict[int, float] = {}
        seen: dict[int, Step] = {}
        total = 0.0

        def timed(steps: list[Step], values: dict[str, Any]) -> None:
            nonlocal total
            for step in steps:
                function = step.function
                if isinstance(function, Nested):
                    function = partial(function, run=timed)
                alone, before = [step._replace(function=function)], total
                start = perf_counter()
                run_steps(alone, values)
                taken = perf_counter() - start - (total - before)  # without inner steps
                total += taken
                seen[id(step)] = step
                seconds[id(step)] = seconds.get(id(step), 0.0) + taken

        with np.errstate(all="ignore"):
            for _ in range(rounds):
                timed(self.steps, self._values(feed))
        return [self._timing(step, seconds[key] / rounds) for key, step in seen.items()]

    @staticmethod
    def _timing(step: Step, seconds: float) -> Timing:
        function = step.function
        engine = isinstance(function, Product)
        engine = engine or (isinstance(function, RecurrentNode) and function.on_engine)
        title, _, kind = step.title.rstrip(")").rpartition(" (")
        node = title.removeprefix("node ").strip("'")
        return Timing("engine" if engine else "numpy", node, kind, seconds)
