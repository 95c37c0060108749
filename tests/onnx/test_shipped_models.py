"""Models that packages ship, on both hosts, against ONNX Runtime."""

from __future__ import annotations

import onnx
import pytest
from onnx_graphs import HOSTS, agree, run_ort
from shipped_models import PACKAGES, feed_of, folder_of

import rnnfast

SHIPPED = [(package, model) for package, (_, models) in PACKAGES.items() for model in models]


@pytest.mark.parametrize("package, model", SHIPPED)
def test_models_of_packages(package, model):
    folder = folder_of(PACKAGES[package][0])
    if folder is None:
        pytest.skip(f"{package} is not installed")
    # What is rounded to 8 bits differs by a step where NumPy's sums differ in the last bit, and by
    # more behind it: `test_operators.py` and `test_recurrent.py` compare these nodes one by one.
    graph = onnx.load(folder / model.file).graph
    quantised = any(node.op_type.startswith("DynamicQuantize") for node in graph.node)
    names = ["onnxruntime"] if quantised else HOSTS
    hosts = [rnnfast.onnx.load(folder / model.file, host=host) for host in names]
    for call in model.calls.values():
        feed = feed_of(call)
        want = run_ort(folder / model.file, feed)
        for loaded in hosts:
            agree(loaded.run(None, feed), want, bound=1e-4)
