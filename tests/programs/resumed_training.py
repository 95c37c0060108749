"""A training killed at random times equals one that was not; prints the number of kills.

Each child continues from the checkpoint of the one before, with a model of its own whose weights
and masks are other ones until the checkpoint is read.
"""

import os
import signal
import sys
import time

import numpy as np
from common import normal, rng

import rnnfast

path = sys.argv[1]
x, lengths = normal(64, 9, 3), rng.integers(1, 10, 64)
y = (x.sum(axis=(1, 2)) > 0).astype(int)


def train(seed, resume=None, callbacks=()):
    model = rnnfast.Sequential(
        rnnfast.LSTM(3, 12, 2, dropout=0.3, batch_first=True, seed=seed),
        rnnfast.Dropout(0.2, seed=seed),
        rnnfast.Last(batch_first=True),
        rnnfast.Linear(12, 2, seed=seed),
    )
    adam = rnnfast.Adam(model, lr=0.02)
    plateau = rnnfast.ReduceLROnPlateau(adam, factor=0.5, patience=1)
    stop = rnnfast.EarlyStopping(patience=1000)
    history = rnnfast.fit(
        model,
        (x, y, lengths),
        loss=rnnfast.losses.softmax_cross_entropy,
        optimizer=adam,
        epochs=30,
        batch_size=8,
        validation_split=0.25,
        bucket=True,
        seed=seed,
        resume=resume,
        callbacks=[plateau, stop, *callbacks],
    )
    del history["seconds"]
    states = [each.state_dict() for each in (model, adam, plateau, stop)]
    return dict(history), history.batch_losses, states


want = train(0)
kills = 0
while True:
    child = os.fork()
    if child == 0:
        earlier = path if os.path.exists(path) else None
        train(1 if earlier else 0, earlier, [rnnfast.Checkpoint(path)])
        os._exit(0)
    time.sleep(rng.uniform(0.0, 0.04 + 0.004 * kills))  # in the end a child has the time it needs
    os.kill(child, signal.SIGKILL)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
        break
    kills += 1
got = train(1, path, [rnnfast.Checkpoint(path)])
np.testing.assert_equal(got, want)
print(kills)
