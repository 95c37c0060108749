"""How ONNX's operators are entered, by name and version, and found.

A function takes the operator's inputs in order, then its attributes by their names. Where an
attribute of older versions became an input, the parameter has the name of both.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

Function = Callable[..., Any]

OLDEST, NEWEST = 7, 28  # versions of the operator set whose definitions the functions follow

# TensorProto's element types that are computed with, and ONNX's names of them
DTYPES: dict[int, tuple[str, Any]] = {
    1: ("float", np.float32),
    2: ("uint8", np.uint8),
    3: ("int8", np.int8),
    4: ("uint16", np.uint16),
    5: ("int16", np.int16),
    6: ("int32", np.int32),
    7: ("int64", np.int64),
    9: ("bool", np.bool_),
    11: ("double", np.float64),
    12: ("uint32", np.uint32),
    13: ("uint64", np.uint64),
}
# those whose numbers are computed with as float32
FLOAT16, BFLOAT16 = 10, 16
WIDENED = {FLOAT16: "float16", BFLOAT16: "bfloat16"}


class Operator(NamedTuple):
    """How to run a node."""

    function: Function
    signature: inspect.Signature
    outputs: float  # how many it can give
    only: Mapping[str, Any]  # values that some arguments must have


# name: {version it came with: function that serves from there on}
OPERATORS: dict[str, dict[int, Operator]] = {}


def operator(
    name: str, since: int = 1, outputs: float = 1, only: Mapping[str, Any] = MappingProxyType({})
) -> Callable[[Function], Function]:
    """Register the function below as what computes an operator."""

    def register(function: Function) -> Function:
        entry = Operator(function, inspect.signature(function), outputs, only)
        OPERATORS.setdefault(name, {})[since] = entry
        return function

    return register


def find(name: str, version: int) -> Operator:
    """Return what serves a version of an operator."""
    versions = OPERATORS[name]
    return versions[max(since for since in versions if since <= version)]
