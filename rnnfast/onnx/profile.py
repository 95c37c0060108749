"""Where the time of a model's call goes."""

from __future__ import annotations

from typing import NamedTuple


class Timing(NamedTuple):
    """What one node takes.

    Attributes
    ----------
    host : {"engine", "onnxruntime", "numpy"}
    node : str
        The node's name, or its place in the graph.
    kind : str
        The operator.
    seconds : float
        Of one call of the model.
    """

    host: str
    node: str
    kind: str
    seconds: float


class Profile(list[Timing]):
    """The nodes of a model, those that take longest first."""

    def __init__(self, timings: list[Timing]) -> None:
        super().__init__(sorted(timings, key=lambda timing: -timing.seconds))

    def hosts(self) -> dict[str, float]:
        """Return the seconds of each host."""
        names = sorted({timing.host for timing in self})
        return {name: sum(t.seconds for t in self if t.host == name) for name in names}

    def __str__(self) -> str:
        total = sum(timing.seconds for timing in self) or 1.0
        lines = [
            f"{host:12s} {seconds * 1e6:10.1f} us {seconds / total:6.1%}"
            for host, seconds in self.hosts().items()
        ]
        lines += [
            f"{t.host:12s} {t.seconds * 1e6:10.1f} us {t.seconds / total:6.1%}  {t.kind}  {t.node}"
            for t in self
        ]
        return "\n".join(lines)
