"""What type checkers see of losses, optimisers and `fit`: read by mypy and pyright, never run."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import assert_type

import rnnfast as rf

Array = NDArray[Any]
x = np.zeros((5, 3, 4), np.float32)
y = np.zeros(3, np.int64)
model = rf.Sequential(rf.GRU(4, 8), rf.Last(), rf.Linear(8, 2))

for loss in (
    rf.losses.softmax_cross_entropy,
    rf.losses.focal_loss,
    rf.losses.squared_error,
    rf.losses.absolute_error,
    rf.losses.huber,
    rf.losses.logistic,
):
    assert_type(loss(x, y, lengths=[5, 4, 3], weight=None), tuple[float, Array])
assert_type(rf.losses.softmax_cross_entropy(x, y, label_smoothing=0.1), tuple[float, Array])
assert_type(rf.losses.accuracy(x, y), float)
assert_type(rf.losses.top_k_accuracy(x, y, k=3), float)
rf.losses.huber(x, y, delta="1")  # type: ignore[arg-type]

adam = rf.Adam(model, lr=1e-3)
assert_type(adam, rf.Adam)
assert_type(adam.step(), None)
assert_type(adam.zero_grad(), None)
assert_type(adam.lr, float)
assert_type(rf.SGD(model, 0.1, momentum=0.9), rf.SGD)
assert_type(rf.clip_grad_norm(model, 1.0), float)
assert_type(rf.StepLR(adam, 3), rf.StepLR)
rf.Adam(model, rate=1e-3)  # type: ignore[call-arg]

history = rf.fit(
    model,
    (x, y),
    loss=rf.losses.softmax_cross_entropy,
    optimizer=adam,
    epochs=2,
    validation_split=0.2,
    callbacks=[rf.EarlyStopping(patience=3), rf.CosineAnnealingLR(adam, 2)],
    batch_size=16,
    seed=0,
)
assert_type(history, rf.History)
assert_type(history["loss"], list[float])
assert_type(rf.evaluate(model, (x, y), loss=rf.losses.softmax_cross_entropy), dict[str, float])
rf.fit(model, (x, y), loss=rf.losses.squared_error, optimizer=adam, epoch=2)  # type: ignore[call-arg]
