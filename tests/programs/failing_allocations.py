"""Fails each of the engine's allocations once; prints how many small and large layers make."""

import ctypes
import sys

import numpy as np
from common import normal, rng

import rnnfast
from rnnfast.core import kernels

allocator = ctypes.CDLL(sys.argv[1])
countdown, alive = (ctypes.c_long.in_dll(allocator, name) for name in ("countdown", "alive"))


def call(network, linear, conv, x, lengths):
    for layer in (network, linear, conv):
        layer.zero_grad()
    network._pack = None
    z, _ = network(x)
    y, _, tape = network.forward(x, lengths=lengths)
    out, linear_tape = linear.forward(y)
    out, conv_tape = conv.forward(out)
    dy = linear.backward(linear_tape, conv.backward(conv_tape, out))
    dx, _ = network.backward(tape, dy)
    grads = [grad.copy() for layer in (network, conv) for grad in layer.grads.values()]
    return [z, y, out, dy, dx, *grads]


def forget(network):
    network._pack = None
    kernels.release()  # what the engine keeps for the next call


rnnfast.set_num_threads(2)
for size, H, T, B in [(3, 5, 4, 2), (20, 90, 30, 16)]:  # small blocks, and large ones too
    network = rnnfast.LSTM(size, H, 2, bidirectional=True, seed=0)
    linear = rnnfast.Linear(2 * H, 7, seed=1)
    conv = rnnfast.Conv1d(7, H, 5, padding="causal", dilation=2, seed=2)
    given = network, linear, conv, normal(T, B, size), rng.integers(0, T + 1, B)

    want = call(*given)
    forget(network)
    before, n, done = alive.value, 0, False
    while not done:
        n += 1
        for _ in range(3):
            countdown.value = n
            try:
                call(*given)
                done = countdown.value > 0  # there are fewer than n
                assert done, "a failed allocation went unseen"
            except MemoryError:
                assert not any(grad.any() for grad in network.grads.values())
            countdown.value = 0
            forget(network)
            leaked = alive.value - before
            assert not leaked, f"{leaked} blocks leaked after failure {n}"
    assert all(np.array_equal(a, b) for a, b in zip(call(*given), want, strict=True))
    print(n)
