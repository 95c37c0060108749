"""What the readers share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..arrays import Array

__all__ = ["joined", "read_lines"]


def joined(series: list[Array]) -> Array | list[Array]:
    """Return series as one array where all have the same length, else as they are."""
    return np.stack(series) if len({len(sample) for sample in series}) == 1 else series


def read_lines(name: str, file: Iterable[bytes]) -> Iterator[tuple[str, str]]:
    """Yield the place and the text of each line of a binary file, without white space around it.

    The place says file and line, for errors; a line that is not UTF-8 raises ValueError.
    """
    for number, line in enumerate(file, 1):
        place = f"{name}, line {number}"
        try:
            yield place, line.decode().strip()
        except UnicodeDecodeError:
            raise ValueError(f"{place}: expected UTF-8 text, got {line[:20]!r}") from None
