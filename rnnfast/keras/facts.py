"""What is asked of layers of Keras: their options, shapes, types and weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .graph import named, nodes_of

if TYPE_CHECKING:
    from ..arrays import Array
    from .shared import KerasLayer


def refusal(layer: KerasLayer, option: str, got: Any, supported: Any) -> ValueError:
    """Return the error for an option that has no equal here."""
    return ValueError(f"from_keras: {named(layer)} has {option}={got!r}; supported: {supported}")


def require(layer: KerasLayer, **options: Any) -> None:
    """Raise unless options that a layer has are these."""
    for option, wanted in options.items():
        got = getattr(layer, option, wanted)  # older releases of Keras lack the newest options
        if got != wanted:
            raise refusal(layer, option, got, repr(wanted))


def not_built(layer: KerasLayer, what: str) -> ValueError:
    """Return the error for a layer that does not know enough yet."""
    return ValueError(
        f"from_keras: {named(layer)} is not built, so {what}: build the model, or call it, first"
    )


def built_dtype(layer: KerasLayer) -> str:
    """Return the dtype of a layer, which has to have its weights."""
    if not layer.built:
        raise not_built(layer, "it has no weights")
    name: str = layer.dtype_policy.name
    if name not in ("float32", "float64"):
        raise refusal(layer, "dtype", name, "'float32', 'float64'")
    return name


def as_array(keras: Any, weights: Any) -> Array:
    """Return weights of any backend as an array."""
    return keras.ops.convert_to_numpy(weights)


def input_shape(layer: KerasLayer, *ranks: int) -> tuple[int | None, ...]:
    """Return the shape of a layer's input, which has one of these numbers of axes.

    Of all its calls, since what it becomes depends on that number.
    """
    shapes = [tuple(t.shape) for node in nodes_of(layer) for t in node.arguments.keras_tensors]
    kinds = [str(t.dtype) for node in nodes_of(layer) for t in node.arguments.keras_tensors]
    if not shapes:
        config = layer.get_build_config() if layer.built else None
        given = (config or {}).get("input_shape")
        if given is None:
            raise not_built(layer, "the shape of its input is not known")
        shapes = [tuple(given)]
    wanted = " or ".join(map(str, ranks))
    for shape in shapes:
        if len(shape) not in ranks or len(shape) != len(shapes[0]):
            raise refusal(layer, "input_shape", shape, f"{wanted} axes, the same in all calls")
    if any("float" not in kind for kind in kinds):
        raise refusal(layer, "input dtype", kinds[0], "floats")
    return shapes[0]


def last_axis(layer: KerasLayer) -> None:
    """Raise unless a layer acts on the last axis."""
    # Keras gives an axis as it was written, or as a list
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    if list(axes) not in ([-1], [len(layer.get_build_config()["input_shape"]) - 1]):
        raise refusal(layer, "axis", layer.axis, "-1, the last one")


def function_name(keras: Any, layer: KerasLayer, option: str = "activation") -> str:
    """Return the name of one of Keras's functions, or what another one looks like."""
    function = getattr(layer, option)
    name = getattr(function, "__name__", "")
    # a function of the user's may have the name of one of Keras's
    return name if function is getattr(keras.activations, name, None) else repr(function)
