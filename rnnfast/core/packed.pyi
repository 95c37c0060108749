from rnnfast.weights import Weights

class Packed: ...

def pack(
    cell: str,
    weights: list[Weights],
    num_layers: int,
    num_directions: int,
    training: bool,
    zoneout: tuple[float, float],
) -> Packed: ...
