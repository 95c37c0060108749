from collections.abc import Callable
from typing import Any

import numpy as np

DOMAIN: str
OPERATORS: dict[np.dtype[Any], str]
nodes: dict[int, tuple[Callable[..., Any], Any, int]]

def failure() -> tuple[int, BaseException | None]: ...
