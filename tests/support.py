"""For the tests of everything above the engine: both backends, finite differences, odd arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tolerances
from conftest import RUNTIME, WHY_NOT
from harness import close

import rnnfast
from rnnfast import backend

ENGINES = [
    pytest.param("core", marks=pytest.mark.skipif(RUNTIME is None, reason=WHY_NOT)),
    "reference",
]


@pytest.fixture(params=ENGINES, autouse=True, scope="module")
def each_engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run every test of the module that imports this on both backends."""
    with backend.use(request.param):
        yield request.param


def slopes(function: Callable[[], float], array: Any) -> Any:
    """Central differences of a function by each element of an array that it reads."""
    slope = np.empty_like(array)
    for i in np.ndindex(array.shape):
        kept = array[i]
        array[i] = kept + tolerances.FINITE_STEP
        up = function()
        array[i] = kept - tolerances.FINITE_STEP
        down = function()
        array[i] = kept
        slope[i] = (up - down) / (2 * tolerances.FINITE_STEP)
    return slope


def same_slope(name: str, got: Any, function: Callable[[], float], array: Any) -> None:
    want = slopes(function, array)
    bound = tolerances.FINITE_BOUND * max(1.0, np.abs(want).max(initial=0.0))
    close(name, got, want, bound, np.float64)


def same_slopes(layer: Any, loss: Callable[[], float]) -> None:
    """Compare ``layer.grads`` with finite differences of `loss`, which calls the layer."""
    for name in layer.params:
        array = layer.params[name].copy()

        def perturbed(name: str = name, array: Any = array) -> float:
            layer.params[name] = array
            return loss()

        same_slope(name, layer.grads[name], perturbed, array)
        layer.params[name] = array


def odd_layouts(array: Any) -> dict[str, Any]:
    """Equal arrays, each laid out in another way."""
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    wide[..., ::2] = array
    rows = np.zeros((2 * len(array), *array.shape[1:]), array.dtype)
    rows[1::2] = array
    buffer = np.zeros(array.nbytes + 1, np.uint8)[1:]
    misaligned = buffer.view(array.dtype).reshape(array.shape)
    misaligned[...] = array
    frozen = array.copy()
    frozen.flags.writeable = False
    return {
        "every other column": wide[..., ::2],
        "every other row": rows[1::2],
        "Fortran": np.asfortranarray(array),
        "reversed axes": np.flip(np.flip(array).copy()),
        "misaligned": misaligned,
        "read-only": frozen,
        "swapped bytes": array.astype(array.dtype.newbyteorder()),
    }


def small_model(**options: Any) -> Any:
    """Return an embedding, a recurrent layer, a norm and a linear layer."""
    options = {"dtype": np.float64, **options}
    return rnnfast.Sequential(
        rnnfast.Embedding(7, 3, dtype=options["dtype"], seed=1),
        rnnfast.LSTM(3, 4, seed=2, **options),
        rnnfast.LayerNorm(4, dtype=options["dtype"]),
        rnnfast.Linear(4, 7, dtype=options["dtype"], seed=3),
    )


def damaged(content: bytes, count: int) -> Iterator[bytes]:
    """Cut the content of a file short, change, remove or repeat bytes of it, `count` times."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        start, stop = sorted(rng.integers(len(content) + 1, size=2))
        stop = min(stop, start + 8)
        part = content[start:stop]
        yield (
            content[:start],
            content[:start]
            + bytes(rng.integers(256, size=len(part), dtype=np.uint8))
            + content[stop:],
            content[:start] + content[stop:],
            content[:stop] + part + content[stop:],
        )[rng.integers(4)]
