"""Save and load models: safetensors or npz, never pickle.

A file holds all parameters under the names of ``state_dict`` and a JSON text that says how to
rebuild the model. PyTorch opens the safetensors ones too.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from .layers.base import Layer, blank
from .layers.sequential import build

if TYPE_CHECKING:
    from .layers.base import Array

__all__ = ["load", "save"]

FORMAT = 1
KEY = "rnnfast"  # of the JSON text: in the metadata (safetensors), or a member of its own (npz)
LONGEST = 1 << 24  # bytes of the JSON text


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
    import json

    if not isinstance(model, Layer):
        raise TypeError(f"save expected model as a layer, got {type(model).__name__}")
    target = os.path.realpath(os.fspath(path))
    write = {".safetensors": _write_safetensors, ".npz": _write_npz}[_ending(target)]
    architecture = {"type": type(model).__name__, "config": model.config()}
    _rebuild(architecture)
    text = json.dumps({"format": FORMAT, **architecture})

    # in the same folder, so that the last step is a mere renaming
    temporary = f"{target}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
    try:
        with open(temporary, "xb") as file:
            if os.name == "posix" and os.path.exists(target):
                os.fchmod(file.fileno(), stat.S_IMODE(os.stat(target).st_mode))
            write(file, model.state_dict(), text)
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
        folder = os.open(os.path.dirname(target), os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


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
        Where it is damaged, or not a model of rnnfast; sizes are checked before any parameter is
        read.
    ImportError
        Where the safetensors library is missing.
    """
    import json

    path = os.fspath(path)
    open_file = {".safetensors": _open_safetensors, ".npz": _open_npz}[_ending(path)]
    with open(path, "rb"):  # its errors are plainer than the libraries'
        size = os.path.getsize(path)
    if open_file is _open_safetensors:
        _safetensors()
    try:
        with open_file(path) as file:
            try:
                architecture = json.loads(file.text)
            except (ValueError, RecursionError):
                raise ValueError("its description is not JSON") from None
            if not isinstance(architecture, dict) or "format" not in architecture:
                raise ValueError("its description is not one of a model")
            if architecture["format"] != FORMAT:
                raise ValueError(
                    f"it is of format {architecture['format']}, this version reads {FORMAT}"
                )
            model = _rebuild(architecture, most_layers=len(file.arrays))
            owners = dict.fromkeys(model.params, model.params)
            owners |= dict.fromkeys(model.buffers, model.buffers)
            wanted = {n: (o[n].shape, o[n].dtype.name) for n, o in owners.items()}
            for name in wanted.keys() | file.arrays.keys():
                if wanted.get(name) != file.arrays.get(name):
                    raise ValueError(
                        f"{name} is {_describe(file.arrays.get(name))} there, "
                        f"{_describe(wanted.get(name))} in the model"
                    )
            if sum(owner[name].nbytes for name, owner in owners.items()) > size:
                raise ValueError("it is shorter than its parameters")
            for name, (_, dtype) in wanted.items():
                array = np.require(file.read(name), np.dtype(dtype), ["C", "A", "W"])
                owners[name].adopt(name, array)
            return model
    except MemoryError:
        raise
    except Exception as error:  # of JSON, of zip, of safetensors, of constructors
        raise ValueError(f"{path} is not a model that rnnfast can load: {error}") from error


def _ending(path: str) -> str:
    ending = os.path.splitext(path)[1].lower()
    if ending not in (".safetensors", ".npz"):
        raise ValueError(f"path expected to end in .safetensors or .npz, got {path!r}")
    return ending


def _describe(entry: tuple[tuple[int, ...], str] | None) -> str:
    return "missing" if entry is None else f"{entry[1]} {entry[0]}"


def _rebuild(architecture: Any, most_layers: float = np.inf) -> Layer:
    # without memory for the parameters: a damaged file may ask for any size
    def check(config: Any) -> None:
        if isinstance(config, list):
            for entry in config:
                check(entry)
        elif isinstance(config, Mapping):
            count = config.get("num_layers")
            if isinstance(count, int) and count > most_layers:
                raise ValueError("it has fewer parameters than layers")
            check(config.get("config"))

    check(architecture)
    token = blank.set(True)
    try:
        return build(architecture)
    finally:
        blank.reset(token)


class _File(NamedTuple):
    """An open file."""

    text: str
    arrays: dict[str, tuple[tuple[int, ...], str]]  # name: shape and dtype
    read: Callable[[str], Array]


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
    file.write(_safetensors().numpy.save(arrays, {KEY: text}))


@contextmanager
def _open_safetensors(path: str) -> Iterator[_File]:
    with _safetensors().safe_open(path, framework="numpy") as file:
        text = (file.metadata() or {}).get(KEY)
        if text is None:
            raise ValueError("it holds parameters only; read these with layer.load_state_dict")
        arrays = {}
        for name in file.keys():  # noqa: SIM118  (not a mapping)
            entry = file.get_slice(name)
            kind = entry.get_dtype()
            kind = {"F32": "float32", "F64": "float64", "I64": "int64"}.get(kind, kind)
            arrays[name] = tuple(entry.get_shape()), kind
        yield _File(text, arrays, file.get_tensor)


# ---- npz ---------------------------------------------------------------------------------------


def _write_npz(file: BinaryIO, arrays: dict[str, Array], text: str) -> None:
    encoded = np.frombuffer(text.encode(), np.uint8)
    np.savez(file, **{KEY: encoded}, **arrays)  # type: ignore[arg-type]


@contextmanager
def _open_npz(path: str) -> Iterator[_File]:
    from zipfile import ZipFile

    from numpy.lib import format as npy

    with ZipFile(path) as archive:

        def header(name: str) -> tuple[tuple[int, ...], str]:
            with archive.open(f"{name}.npy") as member:
                if npy.read_magic(member) != (1, 0):
                    raise ValueError(f"{name} has an unknown header")
                shape, _, dtype = npy.read_array_header_1_0(member)
                return shape, dtype.name

        def read(name: str) -> Array:
            with archive.open(f"{name}.npy") as member:
                array: Array = npy.read_array(member, allow_pickle=False)
                if member.read(1):  # which also makes zipfile compare its checksum
                    raise ValueError(f"{name} is longer than its header says")
                return array

        names = [name.removesuffix(".npy") for name in archive.namelist()]
        if len(set(names)) < len(names):
            raise ValueError("it holds two arrays of one name")
        if KEY not in names:
            raise ValueError("it holds arrays only; read these with layer.load_state_dict")
        arrays = {name: header(name) for name in names}
        (length,), kind = arrays.pop(KEY)
        if kind != "uint8" or length > LONGEST:
            raise ValueError("its description is damaged")
        yield _File(read(KEY).tobytes().decode(), arrays, read)
