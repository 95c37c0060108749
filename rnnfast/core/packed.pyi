from typing import Any

class Packed: ...

def pack(
    cell: str,
    weights: list[tuple[Any, ...]],
    num_layers: int,
    num_directions: int,
    training: bool,
    zoneout: tuple[float, float],
) -> Packed: ...
