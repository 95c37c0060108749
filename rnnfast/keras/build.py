"""A network of a Keras model: its calls of layers one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ..layers import Graph, Merge, Rearrange, Sequential
from ..layers.base import Layer
from ..layers.graph import Node
from ..layers.recurrent_base import Recurrent
from .facts import refusal
from .graph import calls_of, check_list, is_functional, makes_mask, mask_is_own, named
from .layers import MERGED, OPERATIONS, convert
from .shared import by_layer

if TYPE_CHECKING:
    from .graph import Call
    from .shared import KerasLayer


class Builder:
    """The nodes of a network so far; `masks_as_lengths`: whether a model may mask steps."""

    def __init__(self, keras: Any, masks_as_lengths: bool) -> None:
        self.keras, self.masks_as_lengths = keras, masks_as_lengths
        self.nodes: list[Node] = []
        self.inputs: list[str] = []
        self.names: set[str] = set()
        self.made: dict[int, list[Layer]] = {}  # what each layer of Keras became
        self.same: dict[str, str] = {}  # name of a masked value: the value
        self.masks: dict[str, str] = {}  # value: the input whose steps its mask tells
        self.unmasked: dict[str, Node] = {}  # input: a call that reads its steps without a mask
        self.steps: dict[str, set[str]] = {}  # value: the inputs whose steps it has
        self.dtype: str | None = None

    def build(self, model: Any) -> Sequential | Graph:
        """Return the network of a model, a layer or a list of these."""
        functional = is_functional(model)
        given = [tensor._keras_history[0].name for tensor in model.inputs] if functional else ["x"]
        self.inputs = [self._name(name) for name in given]
        self.steps = {name: {name} for name in self.inputs}
        outputs = [self._value(name) for name in self._read(model, list(self.inputs))]
        self._check_masks()
        if not self.nodes:
            raise ValueError("from_keras expected at least one layer that changes its input")
        value = self.inputs[0]
        chain = len(self.inputs) == 1
        for node in self.nodes:
            chain = chain and node.reads == (value,) and not node.states
            value = node.name
        once = len({id(node.layer) for node in self.nodes}) == len(self.nodes)
        if chain and once and outputs[:1] == [value] and (len(outputs) == 1 or not functional):
            return Sequential(*(node.layer for node in self.nodes))
        return Graph(self.nodes, self.inputs, outputs)

    def _read(self, model: Any, read: list[str]) -> list[str]:
        # adds what a model or a layer does with the values; the names of what it gives
        keras = self.keras
        if isinstance(model, (list, tuple)):
            parts = [x for x in _unnested(model) if not isinstance(x, keras.layers.InputLayer)]
            for part in parts:
                if not isinstance(part, keras.layers.Layer):
                    raise _no_model(part)
            check_list(keras, parts)
            return self._chain(parts, read)
        if isinstance(model, keras.Sequential) and type(model).call is keras.Sequential.call:
            return self._chain(model.layers, read)
        if is_functional(model):
            return self._functional(model, read)
        if isinstance(model, keras.Model):
            raise ValueError(
                f"from_keras expected a Sequential or a functional model, got {named(model)}, "
                "whose own call says what it computes"
            )
        if not isinstance(model, keras.layers.Layer):
            raise _no_model(model)
        return [] if isinstance(model, keras.layers.InputLayer) else self._layer(model, read, [])

    def _chain(self, layers: Any, read: list[str]) -> list[str]:
        outputs = read
        for layer in layers:
            outputs = self._read(layer, outputs[:1])
        return outputs

    def _functional(self, model: Any, read: list[str]) -> list[str]:
        if len(read) != len(model.inputs):
            raise ValueError(
                f"from_keras expected {named(model)} to be given its {len(model.inputs)} inputs, "
                f"got {len(read)}"
            )
        values = {id(tensor): name for tensor, name in zip(model.inputs, read, strict=True)}
        calls = calls_of(model)
        read_later = {id(tensor) for call in calls for tensor in (*call.inputs, *call.states)}
        read_later |= {id(tensor) for tensor in model.outputs}
        for call in calls:
            self._check_call(call, calls)
            given, states = (
                [values[id(tensor)] for tensor in some] for some in (call.inputs, call.states)
            )
            if states and call.mask is None and any(name in self.masks for name in given):
                self._check_padding(call, read_later)
            if states or not isinstance(call.layer, self.keras.Model):
                shapes = [tuple(tensor.shape) for tensor in call.inputs]
                outputs = self._layer(call.layer, self._aligned(call.layer, given, shapes), states)
            else:
                outputs = self._read(call.layer, given)
            values |= {id(t): name for t, name in zip(call.outputs, outputs, strict=True)}
        return [values[id(tensor)] for tensor in model.outputs]

    def _check_call(self, call: Call, calls: list[Call]) -> None:
        if call.other:
            name, value = next(iter(call.other.items()))
            raise ValueError(
                f"from_keras: {named(call.layer)} is called with {name}={value!r:.200}; "
                "supported: inputs, and initial_state of recurrent layers"
            )
        if not mask_is_own(call, calls):
            raise ValueError(
                f"from_keras: {named(call.layer)} is called with a mask of its own; supported: "
                "masks that Masking, or Embedding with mask_zero, makes of an input"
            )

    def _check_padding(self, call: Call, read_later: set[int]) -> None:
        # Keras gives a recurrent layer no mask of its input where there are initial states, too
        layer = call.layer
        both = isinstance(layer, self.keras.layers.Bidirectional)
        behind_padding = call.outputs[getattr(layer, "return_sequences", False) and not both :]
        if any(id(tensor) in read_later for tensor in behind_padding):
            raise ValueError(
                f"from_keras: {named(layer)} is called with initial_state and without mask, where "
                "Keras takes padding for data; supported: with mask=embedding.compute_mask(ids), "
                "or outputs of each step from a single direction"
            )

    def _aligned(self, layer: KerasLayer, read: list[str], shapes: list[Any]) -> list[str]:
        # Keras merges vectors with every step of sequences
        kind, ranks = type(layer).__name__, [*map(len, shapes)]
        if kind not in MERGED or len(set(ranks)) == 1:
            return read
        if not isinstance(layer, self.keras.layers.Layer) or {*ranks} != {2, 3}:
            raise refusal(layer, "inputs with axes", ranks, "the same number, or vectors in layers")
        return [
            name
            if len(shape) == 3
            else self._add(Rearrange("fold", (1, shape[1]), True), [name], f"{layer.name}_step")
            for name, shape in zip(read, shapes, strict=True)
        ]

    def _add(
        self,
        part: Layer,
        reads: list[str],
        name: str,
        masked: str | None = None,
        states: Iterable[str] = (),
    ) -> str:
        # a call of one of our layers; the name of what it gives. masked: the input whose steps are
        name = self._name(name)
        own = (tuple(map(self._value, some)) for some in (reads, states))
        self.nodes.append(Node(name, part, *own))
        steps = set().union(*(self.steps.get(one, ()) for one in reads))
        self.steps[name] = steps if part.keeps_time else set()
        if masked is None:
            self.unmasked |= dict.fromkeys(steps, self.nodes[-1])
        elif part.keeps_time:
            self.masks[name] = masked
        return name

    def _layer(self, layer: KerasLayer, read: list[str], states: list[str]) -> list[str]:
        masked = self._mask(layer, read)
        parts = self._made(layer)
        recurrent: Any = next((part for part in parts if isinstance(part, Recurrent)), None)
        if states and recurrent is None:
            raise refusal(layer, "initial_state", "given", "that of recurrent layers")
        if masked is not None and not parts:  # what reads the input itself has no mask
            name = self._name(layer.name)
            self.same[name], self.masks[name] = self._value(read[0]), masked
            self.steps[name] = self.steps[read[0]]
            return [name]
        value, outputs = read, []
        main = recurrent or parts[0] if parts else None
        for part in parts:
            own = _stacked(part, states) if part is recurrent else ()
            suffix = "" if part is main else f"_{type(part).__name__.lower()}"
            name = self._add(part, value, layer.name + suffix, masked, own)
            masked = masked if part.keeps_time else None
            if part is recurrent:
                names = [f"{name}.{array}" for array in part.state_sizes]
                outputs = next(by_layer(part, names)) if layer.return_state else []
            value = [name]
        if getattr(layer, "merge_mode", "") is None:  # the directions for themselves
            cuts = [Rearrange("part", (i, 2), True) for i in range(2)]
            ways = "forward", "backward"
            value = [
                self._add(cut, value, f"{layer.name}_{way}", masked)
                for cut, way in zip(cuts, ways, strict=True)
            ]
        return [*value, *outputs]

    def _made(self, layer: KerasLayer) -> list[Layer]:
        if id(layer) in self.made:
            return self.made[id(layer)]
        kind = type(layer).__name__
        if not isinstance(layer, self.keras.layers.Layer) and kind in OPERATIONS:
            parts: list[Layer] = [Merge(OPERATIONS[kind])]
        elif type(layer) is self.keras.layers.TimeDistributed:
            parts = self._at_each_step(layer)
        else:
            parts = convert(self.keras, layer)
        for part in parts:
            dtype = part.dtype.name if part.dtype else self.dtype
            if self.dtype not in (None, dtype):
                as_before = f"{self.dtype!r}, as in the layers before it"
                raise refusal(layer, "dtype", dtype, as_before)
            self.dtype = dtype
        self.made[id(layer)] = parts
        return parts

    def _at_each_step(self, layer: KerasLayer) -> list[Layer]:
        # what TimeDistributed becomes: layers that act on each step alone do so anyway
        inner = layer.layer
        if isinstance(inner, self.keras.Model):
            network: Any = Builder(self.keras, False).build(inner)
            parts = list(network.layers) if isinstance(network, Sequential) else [network]
        else:
            parts = convert(self.keras, inner)
        if any(
            part.batch_first is not None or part.joins or part._arity != (1, 1) for part in parts
        ):
            supported = "Dense, LayerNormalization, Dropout, Activation and others of a step alone"
            raise refusal(layer, "layer", type(inner).__name__, supported)
        return parts

    def _mask(self, layer: KerasLayer, read: list[str]) -> str | None:
        # the input whose steps are masked behind the layer
        found = {self.masks.get(name) for name in read}
        if makes_mask(layer):
            if not self.masks_as_lengths:
                raise ValueError(
                    f"from_keras: {named(layer)} masks steps; rnnfast takes lengths in place of "
                    "masks: convert with masks_as_lengths=True and give lengths to every call, "
                    "for instance rnnfast.keras.mask_lengths(x)"
                )
            if read[0] not in self.inputs:
                raise ValueError(
                    f"from_keras: {named(layer)} masks steps behind other layers; "
                    "supported: masks of the model's input"
                )
            return read[0]
        if found == {None}:
            return None
        if len(found) > 1:
            raise ValueError(
                f"from_keras: {named(layer)} reads steps that are masked by different inputs, or "
                "only in part; rnnfast has no equal"
            )
        if getattr(layer, "go_backwards", False) and layer.return_sequences:
            raise refusal(layer, "go_backwards", True, "False for all steps of masked sequences")
        late = isinstance(layer, self.keras.layers.RNN) and not layer.go_backwards
        if late and layer.zero_output_for_mask and not layer.return_sequences:  # zeros, in Keras
            raise refusal(layer, "zero_output_for_mask", True, "False for the last of masked steps")
        if not getattr(layer, "supports_masking", False) or type(layer).__name__ == "Dot":
            raise ValueError(
                f"from_keras: {named(layer)} drops the mask of the layers before it and takes "
                "padding for data; rnnfast has no equal"
            )
        return found.pop()

    def _check_masks(self) -> None:
        for name in {*self.masks.values()}:
            if name in self.unmasked:
                raise ValueError(
                    f"from_keras: layer {self.unmasked[name].name!r} reads all steps of an input "
                    "that others mask; rnnfast has one length for both"
                )

    def _value(self, name: str) -> str:
        return self.same.get(name, name)

    def _name(self, given: str) -> str:
        # one of its own that a graph can have
        base = given.replace(".", "_").replace("/", "_")
        name, i = base, 1
        while name in self.names:
            i += 1
            name = f"{base}_{i}"
        self.names.add(name)
        return name


def _unnested(layers: Any) -> Iterator[Any]:
    for part in layers:
        if isinstance(part, (list, tuple)):
            yield from _unnested(part)
        else:
            yield part


def _no_model(given: Any) -> TypeError:
    return TypeError(
        "from_keras expected model as a keras.Sequential, a functional model, a layer, a list of "
        f"these or a path, got {type(given).__module__}.{type(given).__name__}"
    )


def _stacked(layer: Any, states: list[str]) -> tuple[str, ...]:
    # the inverse of `by_layer`, of one layer
    parts = len(states) // layer.network.directions
    return tuple(state for i in range(parts) for state in states[i::parts])
