"""Read ONNX's graphs of recurrent networks, and find a host that runs them."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

from .library import onnx_library
from .model import Host, Model
from .proto import check, parse
from .session import Session
from .steps import Steps, refuse

if TYPE_CHECKING:
    import onnx

HOSTS = (None, "onnxruntime", "numpy")


def load(
    model: str | os.PathLike[str] | bytes | onnx.ModelProto, *, host: str | None = None
) -> Model:
    """Read a model of ONNX, to run its recurrences on the engine.

    Parameters
    ----------
    model : path, bytes or onnx.ModelProto
        A file, its content, or what the onnx library makes of it. Weights in files beside a file
        are read too.
    host : {"onnxruntime", "numpy"}, optional
        What runs everything but the recurrences: ONNX Runtime, where each recurrent node that the
        engine covers calls the engine, or NumPy. None: ONNX Runtime where it is installed and takes
        the model, else NumPy.

    Returns
    -------
    Model
        Called like onnxruntime's `InferenceSession`.

    Raises
    ------
    OSError
        Where a file cannot be opened.
    TypeError
        For a model that is none of these.
    NotImplementedError
        For what no host supports: an operator or an attribute's value (both named, with the node),
        a type of numbers, in NumPy a custom domain, a function of the file, or a version of the
        operators before 7.
    ValueError
        For another host, and where the file is damaged, or no valid model.
    ImportError
        Where the onnx library, or the host asked for, is missing.
    """
    if host not in HOSTS:
        raise ValueError(f"load expected host as 'onnxruntime', 'numpy' or None, got {host!r}")
    library = onnx_library()
    if isinstance(model, (str, os.PathLike)):
        with open(model, "rb"):  # its errors are plainer than the library's
            pass
    said = "the model"
    try:
        proto, said = parse(library, model)
        return Model(_hosted(library, proto, host), partial(load, host=host))
    except (ImportError, MemoryError, NotImplementedError, TypeError):
        raise
    except Exception as error:  # of protobuf, of onnx, of weights of wrong shapes
        why = str(error) or type(error).__name__
        raise ValueError(f"{said} is not a model that rnnfast can load: {why}") from error


def _hosted(library: Any, proto: Any, host: str | None) -> Host:
    if host == "numpy":
        refuse(proto)
        return Steps(library, check(library, proto))
    try:
        return Session(library, check(library, proto))
    except Exception as error:
        if host is not None:
            raise
        refusal = error
    try:
        return _hosted(library, proto, "numpy")
    except NotImplementedError as error:
        raise NotImplementedError(f"{error} (in NumPy). {refusal}") from refusal
    finally:
        del refusal  # whose traceback holds this frame, and the session's content
