"""ONNX's If, Loop and Scan: nodes with graphs inside."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ..arrays import Array
    from .plan import Plan


class Nested:
    """What computes a node by graphs inside it; `run` goes through their steps."""

    def __call__(self, *arrays: Any, run: Any = None) -> tuple[Array, ...]:
        """Return the outputs; behind a node's inputs come what its graphs capture."""
        raise NotImplementedError


class Choice(Nested):
    """If: one of two graphs."""

    def __init__(self, then: Plan, other: Plan) -> None:
        self.then, self.other = then, other

    def __call__(self, *arrays: Any, run: Any = None) -> tuple[Array, ...]:
        """Return the outputs of the graph that is chosen."""
        condition, *captured = arrays
        count = len(self.then.captured)
        if condition.item():
            return self.then(*captured[:count], run=run)
        return self.other(*captured[count:], run=run)


class _Rounds(Nested):
    """A graph that runs again and again: states that go round, and what each round leaves."""

    def __init__(self, body: Plan, states: int, inputs: int, first: int) -> None:
        # `first` is the first output that is a state
        if len(body.given) != inputs or len(body.outputs) < first + states or states < 0:
            raise ValueError(
                f"its body has {len(body.given)} inputs and {len(body.outputs)} outputs; with "
                f"{states} states it needs {inputs}, and {first + states} or more"
            )
        self.body, self.states, self.first = body, states, first + states
        self.kept = body.outputs[self.first :]

    def _stacked(self, place: int, parts: list[Array], axis: int) -> Array:
        if parts:
            return np.stack(parts, axis)
        lengths = self.body.shapes[self.first + place]
        dtype = self.body.dtypes.get(self.kept[place], np.dtype(np.float32))
        return np.stack([np.zeros(lengths, dtype)], axis).take([], axis)


class Loop(_Rounds):
    """Loop: as often as a number, or a condition, says."""

    def __init__(self, body: Plan, inputs: int) -> None:
        super().__init__(body, inputs - 2, inputs, 1)

    def __call__(self, *arrays: Any, run: Any = None) -> tuple[Array, ...]:
        """Return the last states, and what the rounds leave as stacks."""
        count, go, *rest = arrays
        states, captured = rest[: self.states], rest[self.states :]
        go = np.array(True) if go is None else go
        rounds = itertools.count() if count is None else range(count.item())
        shape = (1,) * self.body.ranks[0]  # of the number of the round: () or (1,)
        kept: list[list[Array]] = [[] for _ in self.kept]
        for i in rounds:
            if not go.item():
                break
            number = np.full(shape, i, np.int64)
            go, *results = self.body(number, go, *states, *captured, run=run)
            states = results[: self.states]
            for parts, part in zip(kept, results[self.states :], strict=True):
                parts.append(part)
        return *states, *(self._stacked(place, parts, 0) for place, parts in enumerate(kept))


class Scan(_Rounds):
    """Scan: once for each place along an axis of its inputs."""

    def __init__(
        self,
        body: Plan,
        inputs: int,
        num_scan_inputs: int,
        scan_input_axes: list[int] | None = None,
        scan_input_directions: list[int] | None = None,
        scan_output_axes: list[int] | None = None,
        scan_output_directions: list[int] | None = None,
    ) -> None:
        super().__init__(body, inputs - num_scan_inputs, inputs, 0)
        if num_scan_inputs < 1:
            raise ValueError(f"num_scan_inputs expected to be >= 1, got {num_scan_inputs}")
        outputs = len(self.kept)
        self.reads = self._ways(num_scan_inputs, scan_input_axes, scan_input_directions)
        self.writes = self._ways(outputs, scan_output_axes, scan_output_directions)

    @staticmethod
    def _ways(count: int, axes: Any, directions: Any) -> list[tuple[int, slice]]:
        # an axis and an order for each
        turns = [slice(None, None, -1 if back else 1) for back in directions or [0] * count]
        return list(zip(axes or [0] * count, turns, strict=True))

    def __call__(self, *arrays: Any, run: Any = None) -> tuple[Array, ...]:
        """Return the last states, and what the rounds leave as stacks."""
        end = self.states + len(self.reads)
        states, scanned, captured = arrays[: self.states], arrays[self.states : end], arrays[end:]
        ways = zip(scanned, self.reads, strict=True)
        turned = [np.moveaxis(array, axis, 0)[order] for array, (axis, order) in ways]
        if len(lengths := {len(array) for array in turned}) > 1:
            raise ValueError(f"its inputs differ in length: {sorted(lengths)}")
        kept: list[list[Array]] = [[] for _ in self.kept]
        for slices in zip(*turned, strict=True):
            results = self.body(*states, *map(np.asarray, slices), *captured, run=run)
            states = results[: self.states]
            for parts, part in zip(kept, results[self.states :], strict=True):
                parts.append(part)
        return *states, *(
            self._stacked(place, parts[order], axis)
            for place, (parts, (axis, order)) in enumerate(zip(kept, self.writes, strict=True))
        )
