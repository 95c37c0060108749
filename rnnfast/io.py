"""Save and load models and states of training: safetensors or npz, never pickle.

A model's file holds all parameters under the names of ``state_dict`` and a JSON text that says how
to rebuild the model. PyTorch opens the safetensors ones too.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import copy_context
from io import BytesIO
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from .checks import read_json
from .layers.base import Layer, blank
from .layers.sequential import build

if TYPE_CHECKING:
    from .arrays import Array

__all__ = ["load", "load_arrays", "load_state", "save", "save_state"]

FORMAT = 1
KEY = "rnnfast"  # of the JSON text: in the metadata (safetensors), or a member of its own (npz)
LONGEST = 16  # bytes of the JSON text in a compressed npz for each byte of the file
DEFLATED = 1032  # bytes that one of a compressed npz can stand for, https://zlib.net/zlib_tech.html
# of arrays that are written: safetensors' names, NumPy's
KINDS = {"F32": "float32", "F64": "float64", "I64": "int64"}
OTHER_KINDS = {"F16": "float16", "BOOL": "bool"} | {
    f"{letter}{bits}": f"{name}{bits}"
    for letter, name in (("I", "int"), ("U", "uint"))
    for bits in (8, 16, 32, 64)
}


def save(model: Layer, path: str | os.PathLike[str]) -> None:
    """Write a model to a file; an older file is replaced only once the new one is complete.

    Parameters
    ----------
    model : Layer
        A layer of this package, or a `Sequential` of them.
    path : path
        Ends in ".safetensors" (needs ``pip install rnnfast[io]``) or ".npz".

    Raises
    ------
    ValueError
        For another ending, or a type of layer that `load` could not rebuild.
    TypeError
        For a model that is not a layer.
    ImportError
        Where the safetensors library is missing.
    """
    if not isinstance(model, Layer):
        raise TypeError(f"save expected model as a layer, got {type(model).__name__}")
    architecture = {"type": type(model).__name__, "config": model.config()}
    check_path(path)
    _rebuild(architecture)
    _write(path, model.state_dict(), architecture)


def save_state(state: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a mapping of numbers, str, lists, arrays and mappings of these; as `save` otherwise.

    Parameters
    ----------
    state : mapping
        Keys are str without "/". Arrays are of float32, float64 or int64, and in no list.
    path : path

    Raises
    ------
    TypeError, ValueError
        For anything else in `state`, and for another ending.
    """
    arrays: dict[str, Array] = {}

    def without_arrays(tree: Any, at: str) -> Any:
        if not isinstance(tree, Mapping):
            return tree
        rest = {}
        for key, value in tree.items():
            if not isinstance(key, str) or "/" in key:
                raise TypeError(f"save_state expected keys as str without '/', got {key!r}")
            if isinstance(value, np.ndarray):
                if value.dtype.name not in KINDS.values():
                    raise TypeError(
                        f"save_state expected arrays of {', '.join(KINDS.values())}, "
                        f"got {value.dtype} at {at}{key}"
                    )
                arrays[at + key] = np.require(value, value.dtype.newbyteorder("="), "C")
            else:
                rest[key] = without_arrays(value, f"{at}{key}/")
        return rest

    _write(path, arrays, {"state": without_arrays(state, "")})


def load(path: str | os.PathLike[str]) -> Any:
    """Rebuild the model that `save` wrote.

    Parameters
    ----------
    path : path
        Ends in ".safetensors" or ".npz".

    Returns
    -------
    Layer
        Of the type that was saved.

    Raises
    ------
    OSError
        Where the file cannot be opened.
    ValueError
        Where it is damaged, or not a model of rnnfast (`load_arrays` reads the files of other
        libraries); sizes are checked before any parameter is read.
    ImportError
        Where the safetensors library is missing.
    """
    with _opened(path, "a model") as (architecture, file, size):
        if "state" in architecture:
            raise ValueError("it is a training's, which rnnfast.fit(..., resume=path) goes on from")
        # a few too many are let through, so that the error can name one
        model = _rebuild(architecture, most_arrays=len(file.arrays) + 64)
        owners = dict.fromkeys(model.params, model.params)
        owners |= dict.fromkeys(model.buffers, model.buffers)
        wanted = {n: (o[n].shape, o[n].dtype.name) for n, o in owners.items()}
        for name in wanted.keys() | file.arrays.keys():
            if wanted.get(name) != file.arrays.get(name):
                raise ValueError(
                    f"{name} is {_describe(file.arrays.get(name))} there, "
                    f"{_describe(wanted.get(name))} in the model"
                )
        for name, array in _read_all(file, size):
            owners[name].adopt(name, array)
        return model


def load_arrays(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Read the arrays of a file of any library, such as the state dict of a PyTorch model.

    ``model.load_state_dict(rnnfast.load_arrays(path))`` reads them into a model of the same form.

    Parameters
    ----------
    path : path
        Ends in ".safetensors" or ".npz".

    Returns
    -------
    dict of str to array

    Raises
    ------
    OSError
        Where the file cannot be opened.
    ValueError
        Where it is damaged, or holds what NumPy has no type for, such as bfloat16.
    ImportError
        Where the safetensors library is missing.
    """
    with _opened_file(path, "a file of arrays") as (file, size):
        for name, (_, kind) in file.arrays.items():
            if kind in ("BF16", "F8_E4M3", "F8_E5M2"):
                raise ValueError(
                    f"{name} is {kind}, which NumPy does not have: write it as float32, in PyTorch "
                    "by model.float()"
                )
        return dict(_read_all(file, size))


def load_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read what `save_state` wrote; raises as `load` does."""
    with _opened(path, "a state") as (description, file, size):
        state = description.get("state")
        if not isinstance(state, dict):
            raise ValueError("its description is not one of a state")
        for name, array in _read_all(file, size):
            *folders, key = name.split("/")
            inside: Any = state
            for folder in folders:
                inside = inside[folder]
            if not isinstance(inside, dict) or key in inside:
                raise ValueError(f"there is no place for {name}")
            inside[key] = array
        return state


def check_path(path: Any) -> str:
    """Return the ending of `path`, once it is sure that files of its format can be written."""
    ending = os.path.splitext(os.fspath(path))[1].lower()
    if ending not in (".safetensors", ".npz"):
        raise ValueError(f"path expected to end in .safetensors or .npz, got {os.fspath(path)!r}")
    if ending == ".safetensors":
        _safetensors()
    return ending


def replace_file(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Write a file; an older one is replaced only once the new one is complete.

    What is no file, a FIFO or a device, is written into, once all is known that is to be written.
    """
    target = os.fsdecode(path)
    if os.path.islink(target):
        target = os.path.realpath(target)
    if os.path.exists(target) and not os.path.isfile(target):
        content = BytesIO()
        write(content)
        with open(target, "wb") as sink:
            sink.write(content.getbuffer())
        return
    folder = os.path.dirname(target) or "."
    # in the same folder, so that the last step is a mere renaming; short, as names have an end
    temporary = os.path.join(folder, f".{os.urandom(8).hex()}.tmp")
    try:
        with open(temporary, "xb") as file:
            if os.name == "posix" and os.path.exists(target):
                os.fchmod(file.fileno(), stat.S_IMODE(os.stat(target).st_mode))
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename == temporary:
            raise OSError(error.errno, error.strerror, os.fspath(path)) from None
        raise
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _write(
    path: str | os.PathLike[str], arrays: dict[str, Array], description: dict[str, Any]
) -> None:
    import json

    def plain(value: Any) -> Any:
        if isinstance(value, np.generic):
            return value.item()
        raise TypeError(f"{path} cannot hold {type(value).__name__} {value!r:.200}")

    write = {".safetensors": _write_safetensors, ".npz": _write_npz}[check_path(path)]
    text = json.dumps({"format": FORMAT, **description}, default=plain)
    replace_file(path, lambda file: write(file, arrays, text))


@contextmanager
def _opened(path: str | os.PathLike[str], what: str) -> Iterator[tuple[dict[str, Any], _File, int]]:
    # the description, the arrays and the size of a file of ours; as _opened_file otherwise
    with _opened_file(path, what) as (file, size):
        if file.text is None:
            raise ValueError(
                "it holds arrays only; make a model of their form, and "
                "model.load_state_dict(rnnfast.load_arrays(path)) reads them into it"
            )
        try:
            description = read_json(file.text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"its description is not JSON: {error}") from None
        if not isinstance(description, dict) or "format" not in description:
            raise ValueError(f"its description is not one of {what}")
        if description["format"] != FORMAT:
            raise ValueError(
                f"it is of format {description['format']}, this version reads {FORMAT}"
            )
        yield description, file, size


@contextmanager
def _opened_file(path: str | os.PathLike[str], what: str) -> Iterator[tuple[_File, int]]:
    # the arrays and the size of a file; errors in the block are the file's
    path = os.fspath(path)
    open_file = {".safetensors": _open_safetensors, ".npz": _open_npz}[check_path(path)]
    with open(path, "rb"):  # its errors are plainer than the libraries'
        size = os.path.getsize(path)
    with errors_of(path, f"{what} that rnnfast can load"), open_file(path) as file:
        yield file, size


@contextmanager
def errors_of(path: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Raise ValueError, which says that file `path` is not `what`, for errors in the block."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # of JSON, of zip, of safetensors, of constructors
        why = str(error) or type(error).__name__
        raise ValueError(f"{os.fspath(path)} is not {what}: {why}") from error


def _read_all(file: _File, size: int) -> Iterator[tuple[str, Array]]:
    sizes = [math.prod(shape) * np.dtype(kind).itemsize for shape, kind in file.arrays.values()]
    if min(sizes, default=0) < 0 or sum(sizes) > size * file.ratio:
        raise ValueError("it is shorter than its arrays")
    for name, (_, kind) in file.arrays.items():
        yield name, np.require(file.read(name), np.dtype(kind), ["C", "A", "W"])


def _describe(entry: tuple[tuple[int, ...], str] | None) -> str:
    return "missing" if entry is None else f"{entry[1]} {entry[0]}"


def _rebuild(architecture: Any, most_arrays: float = np.inf) -> Layer:
    # without memory for the parameters: a damaged file may ask for any size
    def check(config: Any) -> None:
        if isinstance(config, list):
            for entry in config:
                check(entry)
        elif isinstance(config, Mapping):
            count = config.get("num_layers")
            if isinstance(count, int) and count > most_arrays:
                raise ValueError("it has fewer parameters than layers")
            for entry in config.values():
                check(entry)

    check(architecture)

    def build_blank() -> Layer:
        blank.set(most_arrays)
        return build(architecture)

    return copy_context().run(build_blank)  # which no interrupt leaves set


class _File(NamedTuple):
    """An open file."""

    text: str | None  # the description
    arrays: dict[str, tuple[tuple[int, ...], str]]  # name: shape and dtype
    read: Callable[[str], Array]
    ratio: int = 1  # bytes of arrays that a byte of the file can hold


# ---- safetensors -------------------------------------------------------------------------------


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            "files that end in .safetensors need the safetensors library: "
            "pip install rnnfast[io]; .npz files do not"
        ) from error
    return safetensors


def _write_safetensors(file: BinaryIO, arrays: dict[str, Array], text: str) -> None:
    # https://github.com/huggingface/safetensors#format. The library would form the whole file in
    # memory, and end the process where there is not enough.
    import json

    names = {name: kind for kind, name in (KINDS | OTHER_KINDS).items()}
    header: dict[str, Any] = {"__metadata__": {KEY: text}}
    ordered = sorted(arrays.items(), key=lambda entry: -entry[1].itemsize)  # so all are aligned
    at = 0
    for name, array in ordered:
        offsets = at, at + array.nbytes
        header[name] = dict(dtype=names[array.dtype.name], shape=array.shape, data_offsets=offsets)
        at += array.nbytes
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    file.write(len(encoded).to_bytes(8, "little") + encoded)
    for _, array in ordered:
        file.write(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).data)


@contextmanager
def _open_safetensors(path: str) -> Iterator[_File]:
    kinds = KINDS | OTHER_KINDS
    with _safetensors().safe_open(path, framework="numpy") as file:
        with open(path, "rb") as header:  # of two entries of one name the library takes the last
            read_json(header.read(int.from_bytes(header.read(8), "little")))
        arrays = {}
        for name in file.keys():  # noqa: SIM118  (not a mapping)
            entry = file.get_slice(name)
            kind = entry.get_dtype()
            arrays[name] = tuple(entry.get_shape()), kinds.get(kind, kind)
        yield _File((file.metadata() or {}).get(KEY), arrays, file.get_tensor)


# ---- npz ---------------------------------------------------------------------------------------


def _write_npz(file: BinaryIO, arrays: dict[str, Array], text: str) -> None:
    encoded = np.frombuffer(text.encode(), np.uint8)
    np.savez(file, **{KEY: encoded}, **arrays)  # type: ignore[arg-type]


@contextmanager
def _open_npz(path: str) -> Iterator[_File]:
    from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

    from numpy.lib import format as npy

    with ZipFile(path) as archive:

        def header(name: str) -> tuple[tuple[int, ...], str]:
            with archive.open(f"{name}.npy") as member:
                if npy.read_magic(member) != (1, 0):
                    raise ValueError(f"{name} has an unknown header")
                shape, _, dtype = npy.read_array_header_1_0(member)
                if dtype.kind not in "biufc":
                    raise ValueError(f"{name} is of {dtype}, not of numbers")
                return shape, dtype.name

        def read(name: str) -> Array:
            with archive.open(f"{name}.npy") as member:
                array: Array = npy.read_array(member, allow_pickle=False)
                if member.read(1):  # which also makes zipfile compare its checksum
                    raise ValueError(f"{name} is longer than its header says")
                return array

        methods = {info.compress_type for info in archive.infolist()}
        if not methods <= {ZIP_STORED, ZIP_DEFLATED}:  # the others' ratios have no such bound
            raise ValueError("it is compressed by another method than deflate")
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        if len(set(names)) < len(names):
            raise ValueError("it holds two arrays of one name")
        arrays = {name: header(name) for name in names}
        text = None
        if KEY in arrays:
            (length,), kind = arrays.pop(KEY)
            if kind != "uint8" or length > LONGEST * os.path.getsize(path):
                raise ValueError("its description is damaged")
            text = read(KEY).tobytes().decode()
        yield _File(text, arrays, read, DEFLATED if ZIP_DEFLATED in methods else 1)
