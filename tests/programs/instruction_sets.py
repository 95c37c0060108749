"""Runs the engine on each instruction set of the argument; refuses those beyond the processor."""

import os
import sys
from functools import partial

import numpy as np

import rnnfast
from rnnfast.core import dense, kernels, recurrent, runtime  # noqa: F401

usable = sys.argv[1].split(",")
assert runtime.instruction_sets() == usable and runtime.isa() == usable[-1]
for name in kernels.built():
    if name not in usable:
        os.environ["RNNFAST_ISA"] = name
        for call in (kernels.select, partial(runtime.set_isa, name)):
            try:
                call()
                raise AssertionError(f"{name} was accepted")
            except ValueError as error:
                assert name in str(error) and usable[-1] in str(error)


def train(kind, dtype):
    layer = kind(5, 37, 2, bidirectional=True, dtype=dtype, seed=0)
    linear, norm = rnnfast.Linear(74, 9, dtype=dtype, seed=1), rnnfast.LayerNorm(9, dtype=dtype)
    model = rnnfast.Sequential(layer, linear, norm)
    x = np.random.default_rng(0).standard_normal((4, 7, 5)).astype(dtype)
    y, _, tape = model.forward(x, lengths=[4, 0, 3, 1, 4, 2, 4])
    dx, _ = model.backward(tape, y)
    results = [y, dx, *(grad.copy() for grad in model.grads.values())]
    for optimizer in (rnnfast.SGD, rnnfast.Adam, rnnfast.RMSprop):
        optimizer(model, 1e-3, weight_decay=0.1).step()
    return results  # not the parameters: updates by the gradient's sign make much of little


for dtype in (np.float32, np.float64):
    for kind in (rnnfast.RNN, rnnfast.LSTM, rnnfast.GRU):
        with rnnfast.backend.use("reference"):
            want = train(kind, dtype)
        for name in usable:
            runtime.set_isa(name)
            for a, b in zip(train(kind, dtype), want, strict=True):
                assert np.allclose(a, b, rtol=1e-3, atol=1e-4), (name, kind)
        print(kind.__name__)
