"""Which engines a test runs on: both backends, or the instruction sets that agree to the bit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conftest import RUNTIME, WHY_NOT

from rnnfast import backend

ENGINES = [
    pytest.param("core", marks=pytest.mark.skipif(RUNTIME is None, reason=WHY_NOT)),
    "reference",
]


@pytest.fixture(params=ENGINES, autouse=True, scope="module")
def each_engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run every test of the module that imports this on both backends."""
    with backend.use(request.param):
        yield request.param


def leave_to_the_engine(each_engine: str) -> None:
    """Skip what the reference takes many times as long for, where the compiled engine shows it.

    tests/reference compares each function of the reference with finite differences.
    """
    if each_engine == "reference" and RUNTIME is not None:
        pytest.skip("the compiled engine shows it, and is quicker")


def fused_sets(runtime):
    """The instruction sets here that must agree to the bit, two or more.

    They add element by element in one order with fused multiply-adds; the baseline of x86 has none
    and rounds twice.
    """
    sets = [name for name in runtime.instruction_sets() if name != "baseline"]
    if len(sets) < 2:
        pytest.skip(
            f"this machine has {runtime.instruction_sets()}, no two with fused multiply-adds"
        )
    return sets
