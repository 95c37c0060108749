"""Layers that read each other's outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from ..checks import check_array
from .base import Layer, Origin, Tape, blank
from .composite import Assembly, count_text, table
from .sequential import begin, build, leaves, takes_time, with_parts

MOST_SIZES = 1000  # of inputs, on which a graph in a file is called by those around it


class Node(NamedTuple):
    """A call of a layer in a graph."""

    name: str
    layer: Any
    reads: tuple[str, ...]
    states: tuple[str, ...]  # where the initial state comes from; empty: zeros, or what is given


class _Tapes(list[Any]):
    # of all calls

    like: tuple[Any, ...] = ()  # dtype and shape of each output


class Graph(Assembly):
    """Layers that read each other's outputs: several inputs and outputs, branches, shared layers.

    Values have names: those of the inputs, and of each call of a layer. A recurrent layer called
    "h" also gives its final state, "h.h0" and of an LSTM "h.c0", (B, K) arrays that others may
    read, or start from; a stack, or both directions, have "h.h0", "h.h1" and so on.

    x is an array, or a tuple for several inputs, and y likewise. The state is a list with an entry
    for each call. ``lengths`` reach all layers that know them, as in `Sequential`; for several
    inputs they are those of all with an axis of time, or a tuple with an entry for each input.
    Layers behind `Merge` take the lengths of its first input that has any.

    A layer that is called several times has one set of parameters, and its gradients add up.

    Parameters
    ----------
    nodes : sequence of (name, layer, reads) or (name, layer, reads, states)
        Each behind what it reads: a name, or a sequence of names for `Merge`. `states` are the
        values that an initial state is made of, in the order of the layer's ``state_sizes``.
        Sizes, dtypes and ``batch_first`` must agree.
    inputs, outputs : str or sequence of str
        Names. Several inputs make x a tuple, several outputs y.
    config : list, optional
        In place of `nodes`: what `config` returned.
    """

    def __init__(
        self,
        nodes: Sequence[Any] = (),
        inputs: str | Sequence[str] = "x",
        outputs: str | Sequence[str] = "y",
        *,
        config: Any = None,
    ) -> None:
        if config is not None and nodes:
            raise ValueError("Graph expected nodes or config, got both")
        self.inputs, self.outputs = _names("inputs", inputs), _names("outputs", outputs)
        self._arity = len(self.inputs), len(self.outputs)
        self.nodes = _checked(_built(config) if config is not None else nodes, self.inputs)
        self.layers: tuple[Any, ...] = tuple(node.layer for node in self.nodes)
        first = {id(node.layer): node for node in reversed(self.nodes)}  # calls of each layer
        parts = {n.name: n.layer for n in self.nodes if first[id(n.layer)] is n}
        _check_parts(parts)
        values = set(self._values())
        unknown = [name for name in self.outputs if name not in values]
        if unknown:
            raise ValueError(f"Graph expected outputs among its values, got {unknown[0]!r}")
        self._known_sizes: dict[tuple[int | None, ...], int | None] = {}
        for name in ("dtype", "batch_first"):
            setattr(self, name, self._common(name))
        self._sizes = self._find_sizes()
        self.in_size, self.out_size = (
            self._sizes[names[0]] for names in (self.inputs, self.outputs)
        )
        self.keeps_time, self.makes_time = (self._has_time(first) for first in (True, False))
        self._timed = self._find_timed()
        self._join(parts)
        self._repeats = any(part.makes_time for x in parts.values() for part in with_parts(x))

    def _values(self) -> list[str]:
        return [*self.inputs, *(name for node in self.nodes for name in _given(node))]

    def _common(self, what: str) -> Any:
        found = None
        for node in self.nodes:
            value = getattr(node.layer, what)
            if found is None:
                found = value
            elif value is not None and value != found:
                raise ValueError(
                    f"Graph expected {what} {found} at {node.name!r}, as the layers before have "
                    f"it, got {value}"
                )
        return found

    def _find_sizes(self, given: Sequence[int | None] = ()) -> dict[str, int | None]:
        # of the last axis of each value
        sizes: dict[str, int | None] = dict.fromkeys(self._values())
        sizes |= dict(zip(self.inputs, given, strict=False))
        inputs = set(self.inputs)
        for node in self.nodes:
            wanted = [("an input", name, node.layer.in_size) for name in node.reads]
            states = zip(node.states, node.layer.state_sizes.values(), strict=False)
            wanted += [("a state", name, size) for name, size in states]
            for what, name, size in wanted:
                if sizes[name] is None and name in inputs:
                    sizes[name] = size
                elif size is not None and sizes[name] not in (None, size):
                    raise ValueError(
                        f"Graph expected {what} of size {size} for {node.name!r}, "
                        f"got {name!r} of size {sizes[name]}"
                    )
            sizes |= {f"{node.name}.{name}": n for name, n in node.layer.state_sizes.items()}
            sizes[node.name] = node.layer._size_behind([sizes[name] for name in node.reads])
        return sizes

    def _size_behind(self, sizes: list[int | None]) -> int | None:
        # kept: graphs that call each other twice, 30 deep, would ask a billion times
        given = tuple(sizes)
        if given not in self._known_sizes:
            if len(self._known_sizes) >= MOST_SIZES and blank.get() is not None:
                raise ValueError(f"a Graph is called on more than {MOST_SIZES} sizes of inputs")
            self._known_sizes[given] = self._find_sizes(sizes)[self.outputs[0]]
        return self._known_sizes[given]

    def _has_time(self, time: bool) -> bool:
        # whether the first output has an axis of time, by whether the inputs have one
        has = dict.fromkeys(self.inputs, time)
        for node in self.nodes:
            read = any(has.get(name, False) for name in node.reads)
            has[node.name] = (read and node.layer.keeps_time) or node.layer.makes_time
        return has.get(self.outputs[0], False)

    def _find_timed(self) -> set[str]:
        # the inputs that have an axis of time of which some layer knows
        known: set[str] = set()
        for node in reversed(self.nodes):
            passes_on = node.layer.batch_first is None and node.name in known
            if passes_on or takes_time(node.layer):
                known.update(node.layer._in_time(node.reads))
        return known.intersection(self.inputs)

    @property
    def _takes_time(self) -> bool:
        return bool(self._timed)

    def _in_and_out_in_time(self) -> tuple[Sequence[bool], Sequence[bool]]:
        if self.batch_first is None:
            return (), ()
        steps = self.all_steps(dict.fromkeys(self._timed, "T"), "T")
        of_x, of_y = ([bool(steps.get(n)) for n in names] for names in (self.inputs, self.outputs))
        return of_x, of_y

    @property
    def _step_axes(self) -> int:  # type: ignore[override]
        return int(self._reader(self.inputs[0])._step_axes)

    def _reader(self, name: str) -> Layer:
        # the first layer that reads an input; one that does nothing where there is none
        reader = next((node.layer for node in self.nodes if name in node.reads), Layer())
        return next(leaves(reader))

    # ---- calls

    def _run(
        self, x: Any, state: Any, lengths: Any, training: bool, origin: Origin | None = None
    ) -> tuple[Any, list[Any], list[Any]]:
        values = dict(self._pairs("x", self.inputs, x))
        ends = self._ends(lengths)
        found = Origin(None, None)
        if lengths is not None or self._repeats:
            found = self._begin(values, ends)
        origin = found if origin is None else origin
        tapes = _Tapes()

        def call(node: Node, read: Any, s: Any) -> tuple[Any, Any]:
            given = _first(ends, node)
            y, s, tape = node.layer._call(read, s, given, training, origin)
            ends[node.name] = node.layer._lengths_behind(given, origin)
            tapes.append(tape)
            return y, s

        y, out = self._each(values, self._states("state", state), call)
        given = (values[name] for name in self.outputs)
        tapes.like = tuple((value.dtype, value.shape) for value in given)
        return y, out, tapes

    def _states(self, name: str, state: Any) -> list[Any]:
        states = super()._states(name, state)
        for node, s in zip(self.nodes, states, strict=True):
            if s is not None and node.states:
                raise ValueError(f"{node.name!r} starts from others, got a {name} for it")
        return states

    def _begin(self, values: dict[str, Any], ends: dict[str, Any]) -> Origin:
        origin = None
        for name in self.inputs:
            end, axes = ends[name], self._reader(name)._step_axes
            timed = name in self._timed or (self.batch_first is not None and end is not None)
            values[name], found = begin(
                "Graph", values[name], end, axes, self.batch_first, timed, True
            )
            if origin is None and found.steps is not None:
                origin = found
        return origin or Origin(None, None)

    def _each(self, values: dict[str, Any], states: list[Any], call: Any) -> tuple[Any, list[Any]]:
        # runs all nodes: y and the state
        out = []
        for node, s in zip(self.nodes, states, strict=True):
            layer = node.layer
            if node.states:
                s = layer._state_of([values[name] for name in node.states])
            read = tuple(values[name] for name in node.reads)
            values[node.name], s = call(node, read if layer.joins else read[0], s)
            values.update(zip(_given(node)[1:], layer._state_arrays(s), strict=True))
            out.append(None if node.states else s)
        y = tuple(values[name] for name in self.outputs)
        return (y if len(y) > 1 else y[0]), out

    def backward(
        self,
        tape: Tape,
        dy: Any,
        dstate: list[Any] | None = None,
        input_grad: bool = True,
    ) -> tuple[Any, list[Any]]:
        """Add into the gradients of all layers, last to first.

        Parameters
        ----------
        tape : Tape
            From `forward`; used up.
        dy : array of the shape of y
            A tuple for several outputs; None for one that has no gradient. Zero past each sample's
            end, as the losses give it.
        dstate : list, optional
            Gradient of the final state, an entry for each call; None means zeros.
        input_grad : bool, default True
            Whether the gradient of x is wanted. Without it, layers behind which no parameters
            lie do no work.

        Returns
        -------
        dx : array of the shape of x, or None
            A tuple for several inputs.
        dstate : list
            Gradient of the initial state.
        """
        tapes = self._open(tape)
        dstates = self._states("dstate", dstate)
        self._check_backward(tape, dstates)
        grads: dict[str, Any] = {}

        def add(name: str, gradient: Any) -> None:
            if gradient is not None:
                before = grads.get(name)
                grads[name] = gradient if before is None else before + gradient

        pairs = self._pairs("dy", self.outputs, dy)
        for (name, gradient), (dtype, shape) in zip(pairs, tapes.like, strict=True):
            if gradient is not None:
                check_array("Graph", f"dy of {name!r}", gradient, dtype, shape)
                add(name, gradient)
        tape.close()
        learning = self._learning(input_grad)
        for i, node in reversed([*enumerate(self.nodes)]):
            d, *finals = (grads.pop(name, None) for name in _given(node))
            ds = self._final(node, dstates[i], finals)
            dstates[i] = None
            if node.name not in learning or (d is None and ds is None):
                continue
            wanted = any(_owner(name) in learning for name in node.reads)
            dx, ds = node.layer._call_back(tapes[i], d, ds, wanted)
            if wanted:
                dxs = dx if len(node.reads) > 1 else (dx,)
                for name, part in zip(node.reads, dxs, strict=True):
                    add(name, part)
            if node.states:
                for name, part in zip(node.states, node.layer._state_arrays(ds), strict=True):
                    add(name, part)
            else:
                dstates[i] = ds
        dx = tuple(grads.get(name) if input_grad else None for name in self.inputs)
        return (dx if len(dx) > 1 else dx[0]), dstates

    def _final(self, node: Node, dstate: Any, finals: list[Any]) -> Any:
        # the gradient of a final state: what was given, and what its readers have sent back
        if all(part is None for part in finals):
            return dstate
        if dstate is not None:
            given = node.layer._state_arrays(dstate)
            finals = [_sum(a, b) for a, b in zip(given, finals, strict=True)]
        return node.layer._state_of(finals)

    def _learning(self, input_grad: bool) -> set[str]:
        # the inputs and calls through which gradients reach what is wanted
        learning = set(self.inputs) if input_grad else set()
        for node in self.nodes:
            read = any(_owner(name) in learning for name in (*node.reads, *node.states))
            if read or len(node.layer.params):
                learning.add(node.name)
        return learning

    def step(self, x_t: Any, state: list[Any] | None = None) -> tuple[Any, list[Any]]:
        """Run a single time step through all layers, for streaming.

        Parameters
        ----------
        x_t : array
            One time step of x.
        state : list, optional
            As the last step returned it.

        Returns
        -------
        y_t : array
        state : list

        Raises
        ------
        ValueError
            For layers that need other steps than the one given, such as `Conv1d`, or that start
            from the state of another.
        """
        for node in self.nodes:
            if node.states:
                raise ValueError(
                    f"Graph cannot run step by step: {node.name!r} starts from a state of others"
                )
        values = dict(self._pairs("x_t", self.inputs, x_t))
        states = self._states("state", state)
        return self._each(values, states, lambda node, read, s: node.layer._step(read, s))

    def _pairs(self, what: str, names: tuple[str, ...], given: Any) -> Iterator[tuple[str, Any]]:
        if len(names) == 1:
            given = (given,)
        if not isinstance(given, (tuple, list)) or len(given) != len(names):
            count = len(given) if isinstance(given, (tuple, list)) else type(given).__name__
            raise ValueError(
                f"Graph expected {what} as a tuple of {len(names)}, {', '.join(names)}, got {count}"
            )
        return zip(names, given, strict=True)

    # ---- configuration

    def config(self) -> dict[str, Any]:
        """Return the calls, with the layers' types and configurations, JSON-able."""
        entries = []
        first: dict[int, str] = {}
        for node in self.nodes:
            entry: dict[str, Any] = {"name": node.name, "reads": list(node.reads)}
            if node.states:
                entry["states"] = list(node.states)
            if id(node.layer) in first:
                entry["layer"] = first[id(node.layer)]
            else:
                first[id(node.layer)] = node.name
                entry |= {"type": type(node.layer).__name__, "config": node.layer.config()}
            entries.append(entry)
        return {"config": entries, "inputs": list(self.inputs), "outputs": list(self.outputs)}

    # ---- time

    def _ends(self, lengths: Any) -> dict[str, Any]:
        # the lengths of the inputs
        if isinstance(lengths, tuple) and len(self.inputs) > 1:
            return dict(self._pairs("lengths", self.inputs, lengths))
        timed = self._timed or self.inputs  # where no layer tells, any of them may have steps
        return {name: lengths if name in timed else None for name in self.inputs}

    def _all_ends(self, lengths: Any, origin: Origin, every: bool) -> dict[str, Any]:
        ends = self._ends(lengths)
        for node in self.nodes:
            ends[node.name] = node.layer._lengths_behind(_first(ends, node), origin, every)
        return ends

    def _lengths_behind(self, lengths: Any, origin: Origin, every: bool = False) -> Any:
        return self._all_ends(lengths, origin, every).get(self.outputs[0])

    def _steps_left(self, lengths: Any) -> Any:
        ends = self._all_ends(lengths, Origin(None, None), False)
        known = [n for n in ends.values() if n is not None]
        return reduce(np.minimum, known) if known else lengths

    def out_steps(self, steps: str, given: str) -> str:
        """Return the steps of the first output as a formula."""
        first = {name: steps for name in self.inputs if name in self._timed or not self._timed}
        return self.all_steps(first, given).get(self.outputs[0], "")

    def all_steps(self, steps: dict[str, str], given: str) -> dict[str, str]:
        """Return the steps of all values as formulas, from those of the inputs."""
        steps = dict(steps)
        for node in self.nodes:
            before = next(filter(None, (steps.get(name, "") for name in node.reads)), "")
            steps[node.name] = node.layer.out_steps(before, given)
        return steps

    # ---- views

    def summary(self) -> str:
        """Return a table of the calls, what they read, output shapes, numbers of parameters."""
        rows = [("", "layer", "reads", "output", "parameters")]
        steps = self.all_steps(dict.fromkeys(self._timed, "T"), "T")
        counted: set[int] = set()
        for node in self.nodes:
            again = id(node.layer) in counted
            counted.add(id(node.layer))
            rows.append(
                (
                    node.name,
                    type(node.layer).__name__,
                    ", ".join((*node.reads, *node.states)),
                    self._shape_text(steps[node.name], self._sizes[node.name]),
                    "shared" if again else count_text(node.layer),
                )
            )
        rows.append(("", "total", "", "", count_text(self)))
        return table(rows, "<<<<>")

    def __repr__(self) -> str:
        """Return the calls, a line each."""
        lines = [
            f"({node.name}): {node.layer!r} of {', '.join((*node.reads, *node.states))}".replace(
                "\n", "\n  "
            )
            for node in self.nodes
        ]
        ends = f"{', '.join(self.inputs)} -> {', '.join(self.outputs)}"
        return "\n  ".join([f"Graph({ends}", *lines]) + "\n)"


# ---- names and nodes ---------------------------------------------------------------------------


def _names(what: str, given: Any) -> tuple[str, ...]:
    names = (given,) if isinstance(given, str) else given
    if (
        not isinstance(names, (list, tuple))
        or not names
        or not all(isinstance(name, str) and name for name in names)
    ):
        raise TypeError(f"Graph expected {what} as a name or a sequence of names, got {given!r}")
    return tuple(names)


def _checked(nodes: Any, inputs: tuple[str, ...]) -> tuple[Node, ...]:
    if not isinstance(nodes, (list, tuple)) or not nodes:
        raise ValueError(f"Graph expected nodes as a sequence of at least one, got {nodes!r:.200}")
    values = dict.fromkeys(inputs)
    if len(values) < len(inputs):
        raise ValueError(f"Graph expected inputs of different names, got {inputs}")
    dotted = [name for name in inputs if "." in name]  # as the arrays of final states have
    if dotted:
        raise ValueError(f"Graph expected inputs with names without '.', got {dotted[0]!r}")
    checked = []
    for given in nodes:
        if not isinstance(given, (list, tuple)) or len(given) not in (3, 4):
            raise ValueError(
                f"Graph expected nodes of (name, layer, reads) or (name, layer, reads, states), "
                f"got {given!r:.200}"
            )
        name, layer, reads, *states = given
        if not isinstance(layer, Layer):
            raise TypeError(f"Graph expected layers, got {type(layer).__name__} at {name!r}")
        if not isinstance(name, str) or not name or "." in name or name in values:
            raise ValueError(f"Graph expected node names without '.', each once, got {name!r}")
        if layer._arity != (1, 1):
            raise ValueError(
                f"Graph expected a layer of one input and one output at {name!r}, got "
                f"{layer._arity[0]} inputs and {layer._arity[1]} outputs"
            )
        own = _names("states", states[0]) if states and states[0] else ()
        node = Node(name, layer, _names("reads", reads), own)
        for read in (*node.reads, *node.states):
            if read not in values:
                raise ValueError(
                    f"Graph expected {name!r} to read inputs or what stands before it, "
                    f"{', '.join(values)}, got {read!r}"
                )
        if len(node.reads) > 1 and not layer.joins:
            raise ValueError(
                f"Graph expected one value to read for {name!r}, {type(layer).__name__}, got "
                f"{len(node.reads)}"
            )
        if node.states and len(node.states) != len(layer.state_sizes):
            raise ValueError(
                f"Graph expected states of {name!r}, {type(layer).__name__}, for each of "
                f"{', '.join(layer.state_sizes)}, got {len(node.states)}"
            )
        values.update(dict.fromkeys(_given(node)))
        checked.append(node)
    return tuple(checked)


def _check_parts(parts: dict[str, Any]) -> None:
    used: set[int] = set()
    for name, layer in parts.items():
        for part in with_parts(layer):
            if id(part) in used:
                raise ValueError(f"Graph expected {part!r} as a layer of its own, got it in {name}")
            used.add(id(part))


def _built(config: Any) -> list[Any]:
    # nodes of what `Graph.config` returned
    if not isinstance(config, (list, tuple)):
        raise TypeError(f"Graph expected config as a list of calls, got {type(config).__name__}")
    layers: dict[str, Layer] = {}
    nodes = []
    for entry in config:
        if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
            raise ValueError(f"Graph expected config of calls with a name, got {entry!r:.200}")
        shared = entry.get("layer")
        if shared is not None and (not isinstance(shared, str) or shared not in layers):
            raise ValueError(f"Graph expected the name of a layer before, got {shared!r:.200}")
        layer = build(entry) if shared is None else layers[shared]
        layers[entry["name"]] = layer
        nodes.append((entry["name"], layer, entry.get("reads"), entry.get("states", ())))
    return nodes


def _given(node: Node) -> list[str]:
    # the values of a call: its output, then the arrays of its final state
    return [node.name, *(f"{node.name}.{name}" for name in node.layer.state_sizes)]


def _owner(name: str) -> str:
    # the input or the call that gives a value
    return name.partition(".")[0]


def _first(ends: dict[str, Any], node: Node) -> Any:
    # the lengths of what a call reads
    found = (ends.get(name) for name in node.reads)
    return next((lengths for lengths in found if lengths is not None), None)


def _sum(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else np.add(a, b)
