from typing import Any

from rnnfast.reference.recurrent import *  # noqa: F403
from rnnfast.reference.recurrent import Packed

def quick(
    packed: Packed,
    x: Any,
    state: Any,
    axes: int,
    batch_first: bool,
    training: bool,
    resets: Any = None,
) -> tuple[Any, ...] | None: ...
