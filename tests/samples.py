"""What tests feed in: odd arrays, small models, damaged files; and the memory that a call takes."""

from __future__ import annotations

import copy
import pickle
import re
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import rnnfast


def told(value: Any) -> str:
    """Return str(value) without addresses, so that tests have the same names in each process."""
    return re.sub(" at 0x[0-9a-f]+", "", str(value))


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


def laid_out(samples: Any, batch_first: bool) -> Any:
    """Return samples (B, T, ...) as a layer takes them."""
    return samples if batch_first else np.ascontiguousarray(samples.swapaxes(0, 1))


def copies(layer: Any) -> tuple[Any, Any, Any]:
    """Return a layer of the same configuration, a deep copy, and what was pickled."""
    return type(layer)(**layer.config()), copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))


def small_model(**options: Any) -> Any:
    """Return an embedding, a recurrent layer, a norm and a linear layer."""
    options = {"dtype": np.float64, **options}
    return rnnfast.Sequential(
        rnnfast.Embedding(7, 3, dtype=options["dtype"], seed=1),
        rnnfast.LSTM(3, 4, seed=2, **options),
        rnnfast.LayerNorm(4, dtype=options["dtype"]),
        rnnfast.Linear(4, 7, dtype=options["dtype"], seed=3),
    )


def sums(n: int = 64, steps: int = 6, seed: int = 0) -> Any:
    """Return series and the sign of their sum, as two classes; (B, T, 1) and (B,)."""
    x = np.random.default_rng(seed).standard_normal((n, steps, 1))
    return x, (x.sum(axis=(1, 2)) > 0).astype(int)


def classifier(batch_first: bool = True) -> Any:
    """Return a small network for these classes."""
    return rnnfast.Sequential(
        rnnfast.GRU(1, 8, batch_first=batch_first, dtype=np.float64, seed=1),
        rnnfast.Last(batch_first),
        rnnfast.Linear(8, 2, dtype=np.float64, seed=2),
    )


def still(model: Any, lr: float) -> Any:
    """Return an optimizer for estimators that changes nothing."""
    return rnnfast.SGD(model, 0.0)


def peak_memory(call: Callable[[], Any]) -> int:
    """Return the bytes that a call takes at most, of those that Python sees."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


NUMBERS = [b"0", b"-1", b"7", b"99999", b"1e9", b"123456789012345678901", b"null", b"[]", b"{}"]


def with_fault(rng: np.random.Generator, content: bytes) -> bytes:
    """Return the content of a file with a fault of some kind."""
    data, kind = bytearray(content), rng.integers(6)
    first, last = sorted(rng.integers(0, len(data) + 1, 2))
    last = min(last, first + 40)
    digits = [i for i, byte in enumerate(data) if byte in b"0123456789"] if kind == 5 else []
    if digits:  # a number is another one
        i = digits[rng.integers(len(digits))]
        data[i : i + 1] = NUMBERS[rng.integers(len(NUMBERS))]
    elif kind == 1:  # some of it is lost
        del data[first:last]
    elif kind == 2:  # is there twice
        data[first:first] = data[first:last]
    elif kind == 3:  # is something else
        data[first:last] = rng.bytes(last - first)
    elif kind == 4:  # its end is missing
        del data[first:]
    else:  # bits turn over
        for i in rng.integers(0, len(data), rng.integers(1, 4)):
            data[i] ^= 1 << rng.integers(8)
    return bytes(data)


def damaged(content: bytes, count: int) -> Iterator[bytes]:
    """Yield the content of a file with a fault, `count` times."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield with_fault(rng, content)
