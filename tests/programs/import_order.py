"""Imports libraries in the order given, calls each by turns; prints hashes of our results."""

import hashlib
import sys

import numpy as np


def load_rnnfast():
    global rnnfast
    import rnnfast

    rnnfast.set_num_threads(2)


def load_torch():
    global torch
    import torch

    torch.set_num_threads(2)


def load_sklearn():
    import sklearn.cluster  # noqa: F401


def call_rnnfast():
    layer = rnnfast.GRU(30, 100, seed=0)
    y, _, tape = layer.forward(x)
    layer.backward(tape, y)
    return [y, *layer.grads.values()]


def call_torch():
    layer = torch.nn.GRU(30, 100)
    state = rnnfast.GRU(30, 100, seed=0).state_dict()
    layer.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
    y, _ = layer(torch.tensor(x))
    y.square().sum().backward()
    return [y.detach().numpy()]


def call_sklearn():
    from sklearn.cluster import KMeans

    return [KMeans(4, n_init=2, random_state=0).fit(x.reshape(-1, 30)).inertia_]


x = np.random.default_rng(0).standard_normal((40, 16, 30)).astype(np.float32)
for name in sys.argv[1:]:
    globals()["load_" + name]()
results = {}
for _ in range(3):
    for name in sys.argv[1:]:
        results.setdefault(name, []).append(globals()["call_" + name]())
for first, *others in results.values():
    for other in others:
        assert all(np.allclose(a, b, rtol=1e-6) for a, b in zip(first, other, strict=True))
if "torch" in results:
    assert np.abs(results["torch"][0][0] - results["rnnfast"][0][0]).max() < 1e-5
print(*(hashlib.sha256(array.tobytes()).hexdigest() for array in results["rnnfast"][0]))
