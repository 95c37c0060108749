"""What programs share: random arrays, and how many threads this process has."""

import os

import numpy as np

rng = np.random.default_rng(0)


def normal(*shape):
    return rng.standard_normal(shape).astype(np.float32)


def number_of_threads():
    return len(os.listdir("/proc/self/task"))
