from collections.abc import Callable
from typing import Any

import numpy as np

DOMAIN: str
OPERATORS: dict[np.dtype[Any], str]
nodes: dict[int, Callable[..., Any]]

def failure() -> tuple[int, BaseException | None]: ...
