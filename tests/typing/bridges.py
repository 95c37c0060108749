"""What type checkers see of the bridges: read by mypy and pyright, never run.

What belongs to the other libraries is left open, since none of these need be installed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import assert_type

import rnnfast as rf

Array = NDArray[Any]
x = np.zeros((5, 3, 4), np.float32)
network = rf.Sequential(rf.LSTM(4, 8), rf.Linear(8, 1))
foreign: Any = ...

assert_type(rf.torch.accelerate(foreign), rf.torch.Report)
assert_type(rf.keras.from_keras("model.keras"), rf.Sequential | rf.Graph)
rf.keras.to_keras("model.keras")  # type: ignore[arg-type]

session = rf.onnx.load("model.onnx", host="numpy")
assert_type(session, rf.onnx.Model)
assert_type(session.host, str)
assert_type(session.run(None, {"x": x}), list[Array])
assert_type(session.get_inputs(), list[rf.onnx.Value])
assert_type(session.profile({"x": x}), rf.onnx.Profile)
assert_type(rf.onnx.save(network, "model.onnx"), None)
