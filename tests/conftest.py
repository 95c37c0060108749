"""Fixtures: the compiled core, once for each instruction set of this machine; kinds of files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from typing import Any

import pytest

# Before OpenMP is loaded, which reads it then. Threads that spin while they wait keep
# processors from NumPy's BLAS and from other programs: some fits then take 15 times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# On small matrices more threads of NumPy's BLAS gain nothing, and spin: tests/core took 1.6 times
# the processor time. NumPy is there before this file, as pytest looks up the warnings to ignore, so
# a variable of the environment would come too late.
with suppress(ImportError):
    import_module("threadpoolctl").threadpool_limits(1, user_api="blas")


def find_core() -> tuple[Any, str]:
    """Return the module `rnnfast.core.runtime`, or None and the reason."""
    try:
        for name in ("recurrent", "dense"):
            import_module(f"rnnfast.core.{name}")
        return import_module("rnnfast.core.runtime"), ""
    except ModuleNotFoundError as error:
        # one that is there and does not load is a defect; so is none where it was asked for
        if os.environ.get("RNNFAST_BACKEND") == "core" or "rnnfast" not in str(error.name):
            raise
        return None, f"the compiled core is not built: {error}"


RUNTIME, WHY_NOT = find_core()


def pytest_generate_tests(metafunc: Any) -> None:
    if "isa" in metafunc.fixturenames:
        names = [pytest.param("none", marks=pytest.mark.skip(reason=WHY_NOT))]
        if RUNTIME is not None:
            names = RUNTIME.instruction_sets()
        metafunc.parametrize("isa", names, indirect=True)


@pytest.fixture
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test on one instruction set; every one that the machine has gets its turn."""
    before = RUNTIME.isa()
    RUNTIME.set_isa(request.param)
    yield request.param
    RUNTIME.set_isa(before)


@pytest.fixture
def any_call_gains(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let torch's modules run on the engine however small the call, where they are right."""
    modules = import_module("rnnfast.torch.modules")
    monkeypatch.setattr(modules, "gains", lambda cell, steps, rows, *_: rows > 0)
    monkeypatch.setattr(modules, "SINGLE_ROWS", 1)


@pytest.fixture(params=[".npz", ".safetensors"])
def ending(request: pytest.FixtureRequest) -> str:
    """How the names of the files end that models and states are saved to."""
    if request.param == ".safetensors":
        pytest.importorskip("safetensors", reason="safetensors is not installed")
    return request.param


@pytest.fixture
def runtime() -> Any:
    """The module `rnnfast.core.runtime`."""
    if RUNTIME is None:
        pytest.skip(WHY_NOT)
    return RUNTIME


@pytest.fixture
def core(runtime: Any) -> Any:
    """The module `rnnfast.core.recurrent`."""
    return import_module("rnnfast.core.recurrent")


@pytest.fixture
def core_dense(runtime: Any) -> Any:
    """The module `rnnfast.core.dense`."""
    return import_module("rnnfast.core.dense")


@pytest.fixture
def engine() -> Any:
    """The compiled module `recurrent` where there is one, else the reference."""
    return import_module(f"rnnfast.{'reference' if RUNTIME is None else 'core'}.recurrent")


@pytest.fixture
def engine_dense() -> Any:
    """The compiled module `dense` where there is one, else the reference."""
    return import_module(f"rnnfast.{'reference' if RUNTIME is None else 'core'}.dense")
