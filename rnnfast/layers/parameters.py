"""The parameters of a layer, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import as_array, writable

if TYPE_CHECKING:
    from ..arrays import Array


class Parameters(Mapping[str, "Array"]):
    """The parameters of a layer by name.

    Reading gives a read-only view: layers keep a packed copy of their weights for each version, so
    an edit in place would go unseen. Assigning copies an array in, converted to the layer's dtype:
    ``layer.params["bias"] = array``.

    Attributes
    ----------
    version : int
        Grows with every change.
    """

    def __init__(self, owner: str, arrays: dict[str, Array]) -> None:
        self._owner = owner
        self._arrays = arrays
        self._version = 0

    @property
    def version(self) -> int:
        """Grows with every change."""
        return self._version

    def __getitem__(self, name: str) -> Array:
        view = self._arrays[name].view()
        view.flags.writeable = False
        return view

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __setitem__(self, name: str, value: Any) -> None:
        given = self.check(name, value)
        # Before, as an interrupt must not leave what was computed from the array in use; after, as
        # another thread may compute in between.
        self.bump()
        try:
            self.writable(name)[...] = given
        finally:
            self.bump()

    def writable(self, name: str) -> Array:
        """Return the array itself; one that is read-only, memory-mapped say, is copied first."""
        return writable(self._arrays, name)

    def check(self, name: str, value: Any) -> Array:
        """Return `value` as an array that may be assigned to parameter `name`, or raise."""
        if name not in self._arrays:
            raise KeyError(f"{self._owner} has no parameter {name!r}, only {', '.join(self)}")
        wanted, given = self._arrays[name], as_array(value)
        if not np.can_cast(given.dtype, wanted.dtype, "same_kind"):
            raise TypeError(
                f"{self._owner} expected {name} of a dtype that converts to {wanted.dtype}, "
                f"got {given.dtype}"
            )
        if given.shape != wanted.shape:
            raise ValueError(
                f"{self._owner} expected {name} of shape {wanted.shape}, got {given.shape}"
            )
        return given

    def adopt(self, name: str, array: Array) -> None:
        """Make the checked `array` itself the parameter `name`; only for a blank layer."""
        self._arrays[name] = array

    def bump(self) -> None:
        """Note that an array is about to change, or has changed."""
        self._version += 1

    def __repr__(self) -> str:
        shapes = ", ".join(f"{name}: {array.shape}" for name, array in self._arrays.items())
        return f"Parameters({shapes})"
