"""Prints how much memory and how many threads 5000 calls of random sizes have added."""

import os

from common import normal, number_of_threads, rng

import rnnfast

layers = [
    rnnfast.LSTM(6, 24, 2, bidirectional=True, dropout=0.2, seed=0),
    rnnfast.LSTM(6, 24, checkpoint=4, seed=1),
    rnnfast.GRU(6, 40, seed=2),
    rnnfast.RNN(6, 70, 2, seed=3),
]
optimizers = [rnnfast.Adam(layer) for layer in layers]


def call(i):
    layer = layers[i % len(layers)]
    T, B = rng.integers(0, 26), rng.integers(0, 20)
    x, lengths = normal(T, B, 6), rng.integers(0, T + 1, B) if i % 3 else None
    layer(x, lengths=lengths)
    y, _, tape = layer.forward(x, lengths=lengths)
    if i % 5:  # else the tape is dropped unused
        layer.backward(tape, y)
    if i % 7 == 0:  # what was packed is packed again
        optimizers[i % len(layers)].step()
        layer.zero_grad()


def now():
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE"), number_of_threads()


rnnfast.set_num_threads(2)
for i in range(1000):
    call(i)
memory, threads = now()
for i in range(5000):
    call(i)
print(now()[0] - memory, now()[1] - threads)
