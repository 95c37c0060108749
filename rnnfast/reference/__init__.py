"""The specification of the engine: the same functions as `rnnfast.core`, in plain NumPy.

It answers two questions: what should the engine compute, and what runs where no compiler is.
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import numpy as np

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def quiet(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Let NaN, Inf and overflow pass without NumPy's warnings, as they pass through the engine."""

    @wraps(function)
    def wrapper(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with np.errstate(all="ignore"):
            return function(*args, **kwargs)

    return wrapper
