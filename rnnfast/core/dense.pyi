from typing import Any

from numpy.typing import DTypeLike, NDArray

from rnnfast.reference.dense import *  # noqa: F403

# Of the engine alone: for measuring the processor's peak.
def fma_loop(dtype: DTypeLike, loops: int) -> float: ...
def read_loop(x: NDArray[Any], loops: int) -> float: ...
