"""Models that packages ship, on both hosts, against ONNX Runtime."""

from __future__ import annotations

import pytest
from onnx_graphs import HOSTS, agree, run_ort
from shipped_models import PACKAGES, feed_of, folder_of

import rnnfast

# ONNX Runtime quantises what is float32 in NumPy: `test_recurrent.py` compares these nodes
QUANTISED = {"text2tashkeel"}
SHIPPED = [
    (package, model)
    for package, (_, models) in PACKAGES.items()
    for model in models
    if package not in QUANTISED
]


@pytest.mark.parametrize("package, model", SHIPPED)
def test_models_of_packages(package, model):
    folder = folder_of(PACKAGES[package][0])
    if folder is None:
        pytest.skip(f"{package} is not installed")
    hosts = [rnnfast.onnx.load(folder / model.file, host=host) for host in HOSTS]
    for call in model.calls.values():
        feed = feed_of(call)
        want = run_ort(folder / model.file, feed)
        for loaded in hosts:
            agree(loaded.run(None, feed), want, bound=1e-4)
