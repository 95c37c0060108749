"""A training step with every function that may start a team of threads."""

from common import normal, rng

import rnnfast

model = rnnfast.Sequential(
    rnnfast.LSTM(32, 96, seed=0), rnnfast.LayerNorm(96), rnnfast.Linear(96, 300, seed=1)
)
embedding = rnnfast.Embedding(100, 256, seed=2)
optimizer = rnnfast.Adam(model, lr=0.0)
x, ids = normal(40, 16, 32), rng.integers(0, 100, (40, 16))


def work(update=True):
    y, _, tape = model.forward(x)
    model.backward(tape, y)
    rows, tape = embedding.forward(ids)
    embedding.backward(tape, rows)
    if update:
        optimizer.step()
    return y
