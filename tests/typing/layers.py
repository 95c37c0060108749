"""What type checkers see of layers and networks: read by mypy and pyright, never run."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import assert_type

import rnnfast as rf
from rnnfast.layers.base import Layer, Tape

Array = NDArray[Any]
x = np.zeros((5, 3, 4), np.float32)

lstm = rf.LSTM(4, 8, num_layers=2, bidirectional=True, seed=0)
assert_type(lstm, rf.LSTM)
assert_type(lstm(x), tuple[Array, Any])
assert_type(lstm(x, state=None, lengths=[5, 4, 3]), tuple[Array, Any])
y, state, tape = lstm.forward(x)
assert_type(y, Array)
assert_type(tape, Tape)
assert_type(lstm.backward(tape, y), tuple[Array | None, Any])
assert_type(lstm.step(x[0], state), tuple[Array, Any])
assert_type(lstm.gates(x), dict[str, Array])
assert_type(lstm.state_dict(), dict[str, Array])
assert_type(lstm.grads, dict[str, Array])
assert_type(rf.GRU(4, 8, reset_after=False)(x), tuple[Array, Any])
assert_type(rf.RNN(4, 8, nonlinearity="relu")(x), tuple[Array, Any])
assert_type(rf.MinGRU(4, 8)(x), tuple[Array, Any])
rf.LSTM("4", 8)  # type: ignore[arg-type]
rf.LSTM(4, 8, layers=2)  # type: ignore[call-arg]
rf.GRU(4)  # type: ignore[call-arg]

linear = rf.Linear(8, 2)
assert_type(linear(y), Array)
scores, left = linear.forward(y)
assert_type(scores, Array)
assert_type(linear.backward(left, scores), Array | None)
rf.Linear(8)  # type: ignore[call-arg]

model = rf.Sequential(lstm, rf.Last(), rf.Linear(16, 1))
assert_type(model, rf.Sequential)
assert_type(model[0], Layer)
assert_type(model(x), tuple[Any, list[Any]])
assert_type(model.forward(x), tuple[Any, list[Any], Tape])
assert_type(model.config(), dict[str, Any])

assert_type(rf.save(model, "model.npz"), None)
assert_type(rf.load_arrays("model.safetensors"), dict[str, Array])
rf.save("model.npz", model)  # type: ignore[arg-type]

assert_type(rf.get_num_threads(), int)
assert_type(rf.set_num_threads(2), None)
assert_type(rf.__version__, str)
assert_type(rf.backend.active().name, str)
