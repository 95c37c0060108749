"""Computes where the system starts no threads; prints how many it took then, and later."""

import os
import resource

import numpy as np

import rnnfast


def threads():
    return len(os.listdir("/proc/self/task"))


def results():
    layer, linear = rnnfast.LSTM(32, 64, seed=0), rnnfast.Linear(64, 64, seed=0)
    x = np.ones((20, 16, 32), np.float32)
    h, _, tape = layer.forward(x)
    y, linear_tape = linear.forward(h)
    layer.backward(tape, linear.backward(linear_tape, y))
    return [h, y, *layer.grads.values(), *linear.grads.values()]


rnnfast.set_num_threads(1)
want = results()  # which also takes the memory
others = threads()  # NumPy's
rnnfast.set_num_threads(4)
with open("/proc/self/statm") as file:
    now = int(file.read().split()[0]) * resource.getpagesize()
limits = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (now + (2 << 20), limits[1]))  # no thread's stack fits
few = results()
print(threads() - others)
resource.setrlimit(resource.RLIMIT_AS, limits)
many = results()
print(threads() - others)
for a, b, c in zip(want, few, many, strict=True):
    assert np.array_equal(a, b) and np.array_equal(a, c)
