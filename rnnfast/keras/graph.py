"""Which layer of a Keras model reads which."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .shared import KerasLayer


# operations that make masks, and that join those of the inputs of a layer
MASKING = ("NotEqual", "Any", "LogicalAnd", "LogicalOr", "ExpandDims", "Concatenate")
SHAPING = ("ZerosLike", "OnesLike")  # that use the shape alone


class Call(NamedTuple):
    """A call of a layer in a functional model; tensors are Keras's symbolic ones."""

    layer: KerasLayer
    inputs: list[Any]
    states: list[Any]  # the initial ones
    mask: Any  # of the steps, or None
    other: dict[str, Any]  # all other arguments
    outputs: list[Any]


def named(layer: KerasLayer) -> str:
    """Return what errors call a layer."""
    return f"layer {layer.name!r} ({type(layer).__name__})"


def makes_mask(layer: KerasLayer) -> bool:
    """Whether a layer masks steps by its input."""
    return type(layer).__name__ == "Masking" or bool(getattr(layer, "mask_zero", False))


def is_functional(model: Any) -> bool:
    """Whether a model is a graph of layers, whose calls Keras has noted."""
    owner = next((kind for kind in type(model).__mro__ if "call" in vars(kind)), object)
    return owner.__name__ == "Functional" and owner.__module__.startswith("keras.")


def calls_of(model: Any) -> list[Call]:
    """Return the calls of a functional model, each behind those that it reads.

    A layer that is used twice has two of them.
    """
    done: set[int] = set()
    ordered: list[Call] = []
    waiting = [(_node_behind(tensor), False) for tensor in reversed(model.outputs)]
    while waiting:
        node, ready = waiting.pop()
        if id(node) in done or node.is_input:
            continue
        call = _call(node)
        if ready:
            done.add(id(node))
            ordered.append(call)
        else:
            waiting.append((node, True))
            read = [*call.inputs, *call.states, *_tensors(call.other)]
            waiting += [(_node_behind(tensor), False) for tensor in reversed(read)]
    return ordered


def check_list(keras: Any, layers: list[KerasLayer]) -> None:
    """Raise ValueError unless layers of a list follow each other where they have been called."""
    if len(layers) < 2:
        return
    calls = [[_call(node) for node in nodes_of(layer)] for layer in layers]
    all_calls = [call for some in calls for call in some]
    inside = {id(layer) for layer in layers}
    before = None
    for layer, own in zip(layers, calls, strict=True):
        for call in own:
            read = [_place(tensor) for tensor in (*call.inputs, *call.states)]
            if before is None:
                follows = len(read) == 1 and id(read[0][0]) not in inside
            else:
                follows = read == [(before, 0)]
            if not follows or call.states or call.other or not mask_is_own(call, all_calls):
                raise _no_chain(layer, [source for source, _ in read], before)
        before = layer
    for node in getattr(before, "_outbound_nodes", ()):
        if not isinstance(node.operation, keras.layers.Layer):
            raise ValueError(
                f"from_keras expected a list of layers that follow each other, got "
                f"{named(before)}, whose output goes on to {named(node.operation)}, no layer; "
                "give the model itself"
            )


def mask_is_own(call: Call, calls: Iterable[Call]) -> bool:
    """Whether the mask of a call, if any, is what a layer among `calls` makes of its input."""
    waiting = [] if call.mask is None else [call.mask]
    own = [maker.inputs for maker in calls if makes_mask(maker.layer)]
    while waiting:
        tensor = waiting.pop()
        kind = type(_place(tensor)[0]).__name__
        if kind in SHAPING:
            continue
        if kind in MASKING:
            waiting += _node_behind(tensor).arguments.keras_tensors
        elif not any(tensor is inputs[0] for inputs in own):
            return False
    return True


def _no_chain(layer: KerasLayer, read: list[Any], before: Any) -> ValueError:
    what = ", ".join(map(named, read))
    place = f"behind {named(before)}" if before is not None else "at the start"
    return ValueError(
        f"from_keras expected a list of layers that follow each other, got {named(layer)} {place}, "
        f"which in its model reads {what}; give the model itself, or a keras.Sequential of layers "
        "that are to follow each other all the same"
    )


# ---- what Keras notes --------------------------------------------------------------------------


def _call(node: Any) -> Call:
    first, *args = node.arguments.args or (None,)
    keywords = dict(node.arguments.kwargs)
    if not hasattr(node.operation, "weights") and all(list(_tensors(x)) for x in (first, *args)):
        first, args = [first, *args], []  # an operation such as x + y
    states = keywords.pop("initial_state", None)
    if args and hasattr(node.operation, "get_initial_state"):
        states, *args = args
    mask = keywords.pop("mask", None)
    if isinstance(mask, (list, tuple, dict)):  # of several inputs
        mask = mask.values() if isinstance(mask, dict) else mask
        mask = next((one for one in mask if one is not None), None)
    if keywords.get("training") in (None, False):
        keywords.pop("training", None)
    other = {name: value for name, value in keywords.items() if value is not None}
    other |= {f"argument {i}": value for i, value in enumerate(args, 1) if value is not None}
    inputs, given = list(_tensors(first)), list(_tensors(states))
    for name, value, found in (("inputs", first, inputs), ("initial_state", states, given)):
        if len(found) < _count(value) or isinstance(value, dict):
            other[name] = value  # constants among them, or names, whose order may be another
    return Call(node.operation, inputs, given, mask, other, list(node.output_tensors))


def _tensors(value: Any) -> Iterator[Any]:
    if hasattr(value, "_keras_history"):
        yield value
    elif isinstance(value, (list, tuple, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors(part)


def _count(value: Any) -> int:
    # the arrays and tensors in the argument of a call
    if isinstance(value, (list, tuple, dict)):
        parts = value.values() if isinstance(value, dict) else value
        return sum(_count(part) for part in parts)
    return int(value is not None)


def nodes_of(layer: KerasLayer) -> list[Any]:
    """Return Keras's notes of the calls of a layer."""
    return [node for node in getattr(layer, "_inbound_nodes", ()) if not node.is_input]


def _place(tensor: Any) -> tuple[KerasLayer, int]:
    # the layer whose output it is, and which of the outputs
    layer, _, i = tensor._keras_history
    return layer, i


def _node_behind(tensor: Any) -> Any:
    layer, number, _ = tensor._keras_history
    return layer._inbound_nodes[number]
