"""Checks of arguments: each raises before anything is allocated or written."""

from __future__ import annotations

import math
import operator
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

if TYPE_CHECKING:
    from .arrays import Array


COUNTED = 2**53  # a float64 counts up to here, one by one

# ---- attributes


Checks = dict[str, Callable[[Any, str, Any], Any]]


class Checked:
    """What is assigned to an attribute is checked, in the constructor and at any later time.

    Subclasses say how in two tables, which their own subclasses add to.

    Attributes
    ----------
    _checks : dict of str to callable
        For an attribute: called with the object, the name and the value, it returns what is kept,
        or raises.
    _fixed : tuple of str
        Attributes that the constructor alone may set.
    """

    _checks: ClassVar[Checks] = {}
    _fixed: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        """Add the tables of the bases."""
        super().__init_subclass__(**options)
        bases = [vars(kind) for kind in reversed(cls.__mro__)]
        cls._checks = {name: c for own in bases for name, c in own.get("_checks", {}).items()}
        cls._fixed = tuple({name: None for own in bases for name in own.get("_fixed", ())})

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute to what its check returns."""
        if name in self._fixed and name in self.__dict__:
            raise AttributeError(f"{name} of {type(self).__name__} is fixed at construction")
        check = self._checks.get(name)
        super().__setattr__(name, value if check is None else check(self, name, value))


def name_of(owner: Any) -> str:
    """Return how errors call `owner`: a name, or an object by its class."""
    return owner if isinstance(owner, str) else type(owner).__name__


# ---- single values


def check_size(owner: Any, name: str, value: Any, least: int, most: int | None = None) -> int:
    """Return `value` as an int that is at least `least`, and at most `most`."""
    try:
        size = None if isinstance(value, (bool, np.bool_)) else operator.index(value)
    except TypeError:
        size = None
    if size is None:
        raise TypeError(f"{name_of(owner)} expected {name} as an integer, got {value!r}")
    if size < least:
        raise ValueError(f"{name_of(owner)} expected {name} >= {least}, got {size}")
    if most is not None and size > most:
        raise ValueError(f"{name_of(owner)} expected {name} <= {most}, got {size}")
    return size


def check_flag(owner: Any, name: str, value: Any) -> bool:
    """Return `value` as a bool."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name_of(owner)} expected {name} as True or False, got {value!r}")
    return bool(value)


def read_json(text: str | bytes) -> Any:
    """Return the value that JSON stands for; a key twice in an object is a ValueError."""
    import json

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            keys = Counter(key for key, _ in pairs)
            raise ValueError(f"the key {keys.most_common(1)[0][0]!r:.200} is there twice")
        return values

    return json.loads(text, object_pairs_hook=unique)


def is_number(value: Any) -> bool:
    """Whether `value` is a real number, a bool not being one."""
    return isinstance(value, Real) and not isinstance(value, bool)


def check_probability(owner: Any, name: str, value: Any) -> float:
    """Return `value` as a float in [0, 1]."""
    if not is_number(value):
        raise TypeError(f"{name_of(owner)} expected {name} as a number from 0 to 1, got {value!r}")
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name_of(owner)} expected {name} from 0 to 1, got {value!r}")
    return float(value)


def check_positive(owner: Any, name: str, value: Any) -> float:
    """Return `value` as a finite float above 0."""
    if not is_number(value):
        raise TypeError(f"{name_of(owner)} expected {name} as a number, got {value!r}")
    if not 0.0 < value <= sys.float_info.max:
        raise ValueError(f"{name_of(owner)} expected {name} > 0 and finite, got {value!r}")
    return float(value)


def check_number(
    owner: Any, name: str, value: Any, below: float = math.inf, finite: bool = True
) -> float:
    """Return `value` as a float that is at least 0, less than `below` and, as a rule, finite."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name_of(owner)} expected {name} as a number, got {value!r}")
    if not 0.0 <= value < below and (finite or value != math.inf):
        limit = f" and < {below:g}" if below < math.inf else " and finite" * (value == math.inf)
        raise ValueError(f"{name_of(owner)} expected {name} >= 0{limit}, got {value!r}")
    return float(value)


def check_seed(owner: Any, seed: Any) -> int | None:
    """Return `seed` as an int, or None."""
    return None if seed is None else check_size(owner, "seed", seed, 0)


def check_keys(owner: str, what: str, given: Any, wanted: Iterable[str]) -> None:
    """Raise unless `given` is a mapping whose keys are `wanted`."""
    if not isinstance(given, Mapping):
        raise TypeError(f"{owner} expected {what} as a mapping, got {type(given).__name__}")
    if given.keys() != set(wanted):
        raise ValueError(f"{owner} expected {what} {list(wanted)}, got {list(given)}")


def check_float_dtype(owner: str, dtype: Any) -> np.dtype[Any]:
    """Return `dtype` as numpy.dtype float32 or float64."""
    try:
        given = np.dtype("V" if dtype is None else dtype)  # NumPy takes None for float64
    except TypeError:
        given = np.dtype("V")
    if given not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"{owner} expected dtype float32 or float64, got {dtype!r}")
    return given


def check_dtype(owner: str, name: str, array: Any, dtype: np.dtype[Any]) -> None:
    """Raise TypeError unless `array` is a NumPy array of `dtype`, in either byte order."""
    if not isinstance(array, np.ndarray):
        raise TypeError(
            f"{owner} expected {name} as a NumPy array of {dtype}, got {type(array).__name__}"
        )
    if array.dtype != dtype and array.dtype.newbyteorder("=") != dtype:
        raise TypeError(f"{owner} expected {name} of dtype {dtype}, got {array.dtype}")
    refuse_masked(owner, name, array)


def check_floats(owner: str, name: str, array: Any) -> None:
    """Raise TypeError unless `array` is a NumPy array of float32 or float64."""
    if not isinstance(array, np.ndarray) or array.dtype.newbyteorder("=") not in ("f4", "f8"):
        got = getattr(array, "dtype", type(array).__name__)
        raise TypeError(
            f"{owner} expected {name} as a NumPy array of floats, float32 or float64, got {got}"
        )
    refuse_masked(owner, name, array)


def refuse_masked(owner: str, name: str, array: Any) -> None:
    """Raise TypeError for a masked array with masked values, whose mask nobody would see."""
    if type(array) is not np.ndarray and isinstance(array, np.ma.MaskedArray):
        count = int(np.ma.count_masked(array))
        if count:
            raise TypeError(
                f"{owner} expected {name} without masked values, got {count}: fill them, or leave "
                "padded steps out by lengths"
            )


def check_array(
    owner: str, name: str, array: Any, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> None:
    """Raise unless `array` is a NumPy array of `dtype` and `shape`."""
    check_dtype(owner, name, array, dtype)
    if array.shape != shape:
        raise ValueError(f"{owner} expected {name} of shape {shape}, got {array.shape}")


def check_features(owner: str, array: Array, size: int) -> None:
    """Raise ValueError unless the last axis of the input `array` has `size` elements."""
    if array.ndim == 0 or array.shape[-1] != size:
        raise ValueError(
            f"{owner} expected input of size {size} on the last axis, got {array.shape}"
        )


def check_sequence(owner: str, x: Array) -> None:
    """Raise ValueError unless `x` has the axes of a batch of sequences, or of a single one."""
    if x.ndim not in (2, 3):
        raise ValueError(
            f"{owner} expected input with 3 axes, or 2 for one sequence, got {x.shape}"
        )


def check_lengths(
    owner: str, lengths: Any, steps: int, batch: int, name: str = "lengths"
) -> Array | None:
    """Return `lengths` as a fresh (B,) int64 array with entries in [0, T], or None."""
    if lengths is None:
        return None
    given = _array_of(owner, name, lengths, "iu", "integers")
    if given.shape != (batch,):
        raise ValueError(
            f"{owner} expected {name} of shape ({batch},), one for each sample, got {given.shape}"
        )
    if given.size and not 0 <= given.min() <= given.max() <= steps:
        raise ValueError(
            f"{owner} expected {name} from 0 to {steps}, the number of time steps, "
            f"got {given.min()} to {given.max()}"
        )
    return given.astype(np.int64)


def _array_of(owner: str, name: str, value: Any, kinds: str, wanted: str) -> Array:
    try:
        given = np.asarray(value)
    except ValueError:  # ragged
        raise TypeError(f"{owner} expected {name} as {wanted}, got {value!r}") from None
    refuse_masked(owner, name, value)
    if given.dtype.kind not in kinds and given.size:
        raise TypeError(f"{owner} expected {name} as {wanted}, got {given.dtype}")
    return given


def check_resets(owner: str, resets: Any, shape: tuple[int, ...]) -> Array | None:
    """Return `resets` as a fresh bool array of this shape; None where there are none."""
    if resets is None:
        return None
    given = _array_of(owner, "resets", resets, "biu", "booleans")
    if given.shape != shape:
        raise ValueError(
            f"{owner} expected resets of shape {shape}, one for each step of the input, "
            f"got {given.shape}"
        )
    if given.dtype != bool and given.size and not 0 <= given.min() <= given.max() <= 1:
        raise ValueError(f"{owner} expected resets of 0 and 1, got {given.min()} to {given.max()}")
    return given.astype(bool) if given.any() else None
