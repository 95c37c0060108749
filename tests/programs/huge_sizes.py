"""Calls of layers with sizes beyond the memory, each of which must be refused."""

import os
import resource

import numpy as np
from common import normal

import rnnfast

with open("/proc/self/statm") as file:
    taken = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
resource.setrlimit(resource.RLIMIT_AS, (taken + (4 << 30), -1))
x = normal(5, 4, 1)
lstm = rnnfast.LSTM(1, 4, 2, seed=0)
want = lstm(x)[0]


def refused(call, *arguments):
    try:
        call(*arguments)
    except (MemoryError, ValueError):
        return
    raise AssertionError("a call of this size returned")


for T, B in [
    (1 << 20, 1 << 20),
    (1 << 40, 1 << 20),
    (1 << 20, 1 << 40),
    (1 << 60, 1),
    (1, 1 << 60),
    (1 << 31, 1),
    (1, 1 << 31),
    (1 << 33, 1),
    (1, 1 << 33),
]:
    big = np.broadcast_to(np.float32(1), (T, B, 1))
    for layer in (
        lstm,
        rnnfast.GRU(1, 4, bidirectional=True),
        rnnfast.RNN(1, 4, 2, checkpoint=1 << 10),
        rnnfast.Linear(1, 4),
        rnnfast.LayerNorm(1),
        rnnfast.Conv1d(1, 4, 2, padding="causal"),
        rnnfast.Dropout(0.5),
    ):
        refused(layer.forward, big)
        if not isinstance(layer, rnnfast.Dropout):
            refused(layer, big)
for shape in [(1 << 58, 0, 1), (1 << 40, 0, 1), (0, 1 << 40, 1)]:
    refused(lstm.forward, np.zeros(shape, np.float32))
for kind in (rnnfast.LSTM, rnnfast.GRU, rnnfast.RNN, rnnfast.Linear, rnnfast.Embedding):
    for sizes in [(1 << 40, 1 << 20), (1 << 62, 1), (1, 1 << 62), (1 << 31, 1 << 31), (10**30, 1)]:
        refused(kind, *sizes)
        refused(rnnfast.Conv1d, *sizes, 2)
        refused(rnnfast.Conv1d, 1, 1, *sizes)
assert np.array_equal(lstm(x)[0], want)
