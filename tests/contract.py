"""csrc/rnnfast.h as Python sees it: structs and kernels by the names that they have there.

The header itself is read, so that no second copy of it can go stale. The compiled package is asked
for nothing that it does not export anyway: `cells`, and `table`, which its own modules import.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from comparisons import close
from numpy.lib.stride_tricks import as_strided
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]
HEADER = Path(__file__).parents[1] / "csrc" / "rnnfast.h"
NUMBERS = {
    "int": ctypes.c_int,
    "unsigned": ctypes.c_uint,
    "ptrdiff_t": ctypes.c_ssize_t,
    "double": ctypes.c_double,
}


def read_header(text: str) -> tuple[dict[str, int], dict[str, Any]]:
    """Return the header's constants, and its structs as ctypes has them."""
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    constants: dict[str, int] = {}
    for body in re.findall(r"enum\s*\{([^}]*)\}", text):
        value = 0
        for name, given in re.findall(r"(\w+)\s*(?:=\s*(\w+))?", body):
            constants[name] = value = int(given, 0) if given else value
            value += 1
    structs: dict[str, Any] = {}
    for body, name in re.findall(r"typedef struct\s*\{([^}]*)\}\s*(\w+);", text):
        fields = [
            field
            for line in body.split(";")
            if line.strip()
            for field in read_field(" ".join(line.split()), constants, structs)
        ]
        structs[name] = type(name, (ctypes.Structure,), {"_fields_": fields})
    return constants, structs


def read_field(
    line: str, constants: dict[str, int], structs: dict[str, Any]
) -> Iterator[tuple[str, Any]]:
    """Yield the names and types that one declaration has, a pointer to a function among them."""

    def kind(declared: str) -> Any:
        if "*" in declared:
            return ctypes.c_char_p if "char" in declared else ctypes.c_void_p
        base = declared.removeprefix("const ").split()[0]
        return None if base == "void" else NUMBERS.get(base) or structs[base]

    if function := re.fullmatch(r"(.*?)\(\*(\w+)\)\s*\((.*)\)", line):
        result, name, arguments = function.groups()
        yield name, ctypes.CFUNCTYPE(kind(result), *map(kind, arguments.split(",")))
        return
    base, names = re.fullmatch(r"((?:const )?\w+)\s*(.*)", line).groups()
    for declared in names.split(","):
        name, size = re.fullmatch(r"\s*\*?\s*(\w+)(?:\[(\w+)\])?\s*", declared).groups()
        declared_kind = kind(f"{base} {declared}")
        if size:
            declared_kind *= constants[size] if size in constants else int(size)
        yield name, declared_kind


CONSTANTS, STRUCTS = read_header(HEADER.read_text())


def exported(module: Any, name: str, result: Any, *arguments: Any) -> Any:
    """Return a C function that a compiled module shares with the modules beside it."""
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype, api.PyCapsule_GetName.argtypes = (
        ctypes.c_char_p,
        [ctypes.py_object],
    )
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    capsule = module.__pyx_capi__[name]
    address = api.PyCapsule_GetPointer(capsule, api.PyCapsule_GetName(capsule))
    return ctypes.CFUNCTYPE(result, *arguments)(address)


def tables(kernels: Any) -> Any:
    """Return the function that gives the table of a set and type: the package's, or faults.py's."""
    pointer = ctypes.POINTER(STRUCTS["rnnfast_kernels"])
    library = os.environ.get("RNNFAST_TEST_KERNELS")
    if library is None:
        return exported(kernels, "table", pointer, ctypes.c_int, ctypes.c_ssize_t)
    function = ctypes.CDLL(library).rnnfast_table
    function.restype, function.argtypes = pointer, [ctypes.c_int, ctypes.c_int]
    return function


def cell_of(name: str) -> tuple[int, Any]:
    """Return the index of a cell in C's tables, and what C knows of it."""
    known = import_module("rnnfast.core.kernels").cells()
    return list(known).index(name), SimpleNamespace(**known[name])


class Kernels:
    """The kernels of one instruction set for one real type.

    Attributes
    ----------
    isa : str
    dtype : dtype
    lanes : int
        Numbers in a vector.
    """

    def __init__(self, isa: str, dtype: DTypeLike) -> None:
        kernels = import_module("rnnfast.core.kernels")
        table = tables(kernels)
        self.isa, self.dtype = isa, np.dtype(dtype)
        self.table = table(kernels.built().index(isa), self.dtype.itemsize).contents
        assert self.table.isa.decode() == isa
        assert self.table.itemsize == self.dtype.itemsize
        self.lanes, self.tile_rows = self.table.lanes, self.table.rows

    def run(self, kernel: str, *arguments: Any, cell: int | None = None) -> Any:
        """Call a kernel, of a cell, of all or of an optimiser; arrays give their address."""
        if cell is not None:
            function = getattr(self._rows("cell", "rnnfast_cell_kernels")[cell], kernel)
        elif hasattr(self.table, kernel):
            function = getattr(self.table, kernel)
        else:
            rows = self._rows("optimisers", "rnnfast_optimiser")
            function = next(row for row in rows if row.name in (kernel.encode(), None)).update
        return function(*(a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments))

    def _rows(self, field: str, struct: str) -> Any:
        return ctypes.cast(getattr(self.table, field), ctypes.POINTER(STRUCTS[struct]))

    def padded(self, n: int) -> int:
        """Return what a row of n numbers takes in whole cache lines."""
        line = CONSTANTS["RNNFAST_LINE"] // self.dtype.itemsize
        return -(-n // line) * line

    def panels(self, hidden: int, gates: int = 1) -> int:
        units = self.lanes * (CONSTANTS["RNNFAST_VECTORS"] if gates == 1 else 1)
        return -(-hidden // units)

    def widths(self) -> list[int]:
        """Return widths around those of a vector, a panel and twice three panels."""
        L = self.lanes
        return sorted({1, 2, L - 1, L, L + 1, 3 * L, 4 * L - 1, 4 * L, 4 * L + 1, 25 * L + 3})

    @contextmanager
    def call(self, kernel: str, **size: Any) -> Iterator[Memory]:
        """Give memory for a call. A failure says which kernel, set, type and size it is of."""
        memory = Memory(self)
        try:
            yield memory
            memory.check()
        except AssertionError as error:
            sizes = ", ".join(f"{name} {value}" for name, value in size.items())
            raise AssertionError(f"{kernel}, {self.isa}, {self.dtype}, {sizes}: {error}") from None


class Memory:
    """Arrays for a call of a kernel.

    Between rows, beyond the last and in the lanes that pad a row stand NaN. `check` finds every
    write to where none belongs.
    """

    GUARD = 64  # numbers before and behind an array

    def __init__(self, kernels: Kernels) -> None:
        self.kernels = kernels
        self.blocks: list[tuple[str, Array, Array, Array]] = []  # name, all of it, before, writable
        self.kept: list[Array] = []  # whose addresses are in structs

    def place(
        self,
        name: str,
        values: Any,
        pitches: tuple[int, ...],
        width: int,
        rows: slice | None,
        aligned: bool = True,
    ) -> Array:
        """Lay out an array.

        Parameters
        ----------
        name : str
        values : array or tuple
            What it holds; of a tuple, a shape, NaN.
        pitches : tuple of int
            Numbers between neighbours on each axis but the last.
        width : int
            Numbers of a row, padding included, that a kernel may write.
        rows : slice or None
            Of the first axis, what a kernel may write; None: nothing.
        aligned : bool
            Whether it starts at a cache line.
        """
        shape = shape_of(values)
        item, dtype = self.kernels.dtype.itemsize, self.kernels.dtype
        span = sum((n - 1) * p for n, p in zip(shape, pitches, strict=False) if n) + width
        raw = np.zeros((span + 2 * self.GUARD) * item + 128, np.uint8)
        start = -raw.ctypes.data % 64 + (0 if aligned else item)
        flat = raw[start : start + (span + 2 * self.GUARD) * item].view(dtype)
        flat[...] = np.nan
        strides = [*(p * item for p in pitches), item]
        view = as_strided(flat[self.GUARD :], shape, strides)
        if not isinstance(values, tuple):
            view[...] = values
        writable = np.zeros(len(flat), bool)
        if rows is not None:
            whole = (*shape[:-1], width)
            as_strided(writable[self.GUARD :], whole, [*pitches, 1])[rows] = True
        self.blocks.append((name, flat, flat.copy(), writable))
        return view

    def rows(self, name: str, values: Any, write: slice | None = None) -> Array:
        """Lay out rows as the engine has them: padded, (B, n), or with slots, (B, S, n)."""
        shape = shape_of(values)
        width = self.kernels.padded(shape[-1])
        slots = width * int(np.prod(shape[1:-1]))
        pitch = slots + self.kernels.padded(1)  # a line more: that of a row is not its width
        pitches = (pitch,) if len(shape) == 2 else (pitch, width)
        return self.place(name, values, pitches, width, write)

    def dense(self, name: str, values: Any, write: slice | None = None) -> Array:
        """Lay out an array of the caller's: not padded, and off the cache line."""
        shape = shape_of(values)
        pitches = tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape) - 1))
        return self.place(name, values, pitches, shape[-1], write, aligned=False)

    def flat(self, name: str, values: Any, write: slice | None = None) -> Array:
        """Lay out packed weights: all in one, from a cache line on."""
        shape = shape_of(values)
        return self.place(name, values, shape[-1:] if len(shape) == 2 else (), shape[-1], write)

    def struct(self, name: str, **fields: Any) -> Any:
        """Fill a struct; arrays give their address. Returns what a kernel takes."""
        struct = STRUCTS[name]()
        for field, value in fields.items():
            if isinstance(value, np.ndarray):
                self.kept.append(value)
                value = value.ctypes.data
            if isinstance(value, list | tuple):
                value = type(getattr(struct, field))(*value)
            setattr(struct, field, value)
        return ctypes.byref(struct)

    def close(self, name: str, got: Any, want: Any, bound: Any) -> None:
        close(name, np.ascontiguousarray(got), want, bound, self.kernels.dtype)

    def check(self) -> None:
        """Raise AssertionError where a number has changed that nobody may write."""
        for name, flat, before, writable in self.blocks:
            bits = f"u{flat.dtype.itemsize}"
            wrong = np.flatnonzero((flat.view(bits) != before.view(bits)) & ~writable)
            assert not len(wrong), (
                f"{name} was written {wrong[0] - self.GUARD} numbers from its start"
            )


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def kernels(runtime: Any, isa: str, request: pytest.FixtureRequest) -> Kernels:
    """The kernels of each instruction set of this machine, in both real types."""
    return Kernels(isa, request.param)


def random(*shape: int, seed: int = 0) -> Array:
    """Random float32 numbers, as float64: those of a kernel and those of NumPy are the same."""
    rng = np.random.default_rng([seed, *shape])
    return rng.standard_normal(shape).astype(np.float32).astype(np.float64)


def shape_of(values: Any) -> tuple[int, ...]:
    return values if isinstance(values, tuple) else np.shape(values)


def pitch(array: Array) -> int:
    """Return the numbers between rows."""
    return int(array.strides[0] // array.itemsize)


def packed(kernels: Kernels, weight: Array, gates: int, order: Any) -> Array:
    """Pack weights (G*H, n) as csrc/rnnfast.h says; NaN where a pack leaves room."""
    L, V = kernels.lanes, CONSTANTS["RNNFAST_VECTORS"]
    H, n = len(weight) // gates, weight.shape[1]
    if gates > 1:
        whole = np.zeros((kernels.panels(H, gates) * L, n, gates))
        for slot in range(gates):
            whole[:H, :, slot] = weight[order[slot] * H : (order[slot] + 1) * H]
        return whole.reshape(-1, L, n, gates).transpose(0, 2, 3, 1).ravel()
    vectors = -(-H // L)
    units = np.zeros((vectors * L, n))
    units[:H] = weight
    out = np.full((kernels.panels(H), n * V * L), np.nan)
    for p, panel in enumerate(out):
        part = units[p * V * L : (p + 1) * V * L]
        panel[: part.size] = part.reshape(-1, L, n).transpose(2, 0, 1).ravel()
    return out.ravel()
