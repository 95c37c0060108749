"""For the tests of ONNX files: graphs made by hand, and what ONNX Runtime makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

# of its modules, since a folder of tests could pass for the package itself
pytest.importorskip("onnx.helper", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

import onnx as onnx
import onnxruntime
from onnx import helper, numpy_helper

import rnnfast

OPSET = 17
HOSTS = ("numpy", "onnxruntime")


def value(name: str, like: Any) -> Any:
    return helper.make_tensor_value_info(
        name, helper.np_dtype_to_tensor_dtype(like.dtype), like.shape
    )


def graph(
    nodes: Sequence[Any],
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Any],
    constants: Mapping[str, Any] | None = None,
    opset: int = OPSET,
    **options: Any,
) -> Any:
    """Make a model; inputs by examples, outputs by their dtypes."""
    kinds = {name: helper.np_dtype_to_tensor_dtype(np.dtype(d)) for name, d in outputs.items()}
    made = helper.make_graph(
        nodes,
        "graph",
        [value(name, array) for name, array in inputs.items()],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in kinds.items()],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(made, opset_imports=opsets, **{"ir_version": 9, **options})


def body(
    nodes: Sequence[Any],
    outputs: Mapping[str, int],
    constants: Mapping[str, Any] | None = None,
    inputs: Sequence[Any] = (),
) -> Any:
    """Return a graph inside a node."""
    return helper.make_graph(
        nodes,
        "body",
        list(inputs),
        [helper.make_tensor_value_info(n, kind, None) for n, kind in outputs.items()],
        [numpy_helper.from_array(a, n) for n, a in (constants or {}).items()],
    )


def run_ort(model: Any, feed: Mapping[str, Any]) -> list[Any]:
    """Run a model, or a file, on ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    given = model if isinstance(model, Path) else model.SerializeToString()
    session = onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    return session.run(None, dict(feed))


def run_reference(model: Any, feed: Mapping[str, Any]) -> list[Any]:
    """Run a model as the standard's own implementation does."""
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(model).run(None, dict(feed))


def same_in_numpy(made: Any, feed: Mapping[str, Any]) -> Any:
    """Compare a model in NumPy with ONNX Runtime, and return it."""
    model = rnnfast.onnx.load(made, host="numpy")
    agree(model.run(None, feed), run_ort(made, feed))
    return model


def agree(got: Sequence[Any], want: Sequence[Any], bound: float = 1e-5) -> None:
    """Compare results: type, shape, and values to `bound` of the largest, at least of 1."""
    assert len(got) == len(want)
    for ours, theirs in zip(got, want, strict=True):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        atol = bound * max(1.0, float(np.abs(theirs).max(initial=0)))
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol)
