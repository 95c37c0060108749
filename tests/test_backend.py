"""Which backend computes, who may change it, and that both have the same functions."""

import ast
import inspect
import threading
from importlib import import_module
from pathlib import Path

import pytest

from rnnfast import backend
from rnnfast.core import runtime

MISSING = ModuleNotFoundError("No module named it", name="rnnfast.core.kernels")
needs_engine = pytest.mark.skipif(
    runtime.kernels is None, reason=f"the compiled core is not built: {runtime.failure}"
)


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Let each test choose anew what a process chooses once."""
    monkeypatch.delenv("RNNFAST_BACKEND", raising=False)
    backend._default.cache_clear()
    backend._load.cache_clear()
    yield
    backend._default.cache_clear()
    backend._load.cache_clear()


@needs_engine
def test_engine_is_the_default_where_it_is_installed():
    active = backend.active()
    assert active.name == "core"
    assert active.recurrent.__name__ == "rnnfast.core.recurrent"
    assert active.dense.__name__ == "rnnfast.core.dense"


@pytest.mark.parametrize("name", ["reference", pytest.param("core", marks=needs_engine)])
def test_environment_chooses(monkeypatch, name):
    monkeypatch.setenv("RNNFAST_BACKEND", name)
    assert backend.active().name == name


@pytest.mark.parametrize("name", ["Core", "numpy", " "])
def test_unknown_names_are_refused(monkeypatch, name):
    monkeypatch.setenv("RNNFAST_BACKEND", name)
    with pytest.raises(ValueError, match=f"RNNFAST_BACKEND expected.*core.*reference.*'{name}'"):
        backend.active()
    with (
        pytest.raises(ValueError, match=f"name expected.*core.*reference.*'{name}'"),
        backend.use(name),
    ):
        pass


def test_missing_engine_falls_back_and_says_so_once(monkeypatch):
    monkeypatch.setattr(runtime, "failure", MISSING)
    with pytest.warns(RuntimeWarning, match=r"No module named it.*NumPy") as record:
        assert backend.active().name == "reference"
        assert backend.active().name == "reference"
    assert len(record) == 1


def test_missing_engine_is_an_error_where_it_was_asked_for(monkeypatch):
    monkeypatch.setattr(runtime, "failure", MISSING)
    with pytest.raises(ImportError, match="No module named it"), backend.use("core"):
        pass
    monkeypatch.setenv("RNNFAST_BACKEND", "core")
    with pytest.raises(ImportError, match="No module named it"):
        backend.active()


@pytest.mark.parametrize(
    "fault",
    [
        RuntimeError("RNNFAST_ISA"),
        ImportError("libgomp.so.1: cannot open shared object file"),
        ModuleNotFoundError("No module named 'numpy.rec'", name="numpy.rec"),
    ],
)
def test_engine_that_does_not_start_is_not_passed_over(monkeypatch, fault):
    monkeypatch.setattr(runtime, "failure", fault)
    for _ in range(2):
        with pytest.raises(type(fault), match=str(fault)):
            backend.active()
    with backend.use("reference") as active:  # the way around it
        assert active.name == backend.active().name == "reference"


def test_use_nests_and_ends(monkeypatch):
    monkeypatch.setattr(runtime, "failure", MISSING)
    monkeypatch.setenv("RNNFAST_BACKEND", "reference")
    outer = backend.active()
    with pytest.raises(KeyError), backend.use("reference") as inner:
        assert backend.active() is inner
        with pytest.raises(ImportError), backend.use("core"):
            pass
        assert backend.active() is inner
        raise KeyError
    assert backend.active() is outer


@needs_engine
def test_use_holds_for_one_thread():
    seen = []
    with backend.use("reference"):
        thread = threading.Thread(target=lambda: seen.append(backend.active().name))
        thread.start()
        thread.join()
        assert backend.active().name == "reference"
    assert seen == ["core"]


ENGINE_ONLY = {"fma_loop", "read_loop"}  # for measuring it


@needs_engine
@pytest.mark.parametrize("module", ["recurrent", "dense"])
def test_backends_are_interchangeable(module):
    def parameters(function):
        return list(inspect.signature(function).parameters)

    core = vars(import_module(f"rnnfast.core.{module}"))
    names = {n for n, f in core.items() if inspect.isroutine(f) and not n.startswith("_")}
    reference = import_module(f"rnnfast.reference.{module}")
    for name in names - ENGINE_ONLY:
        assert parameters(getattr(reference, name)) == parameters(core[name]), name
    assert names >= set(reference.__all__)
    stub = Path(backend.__file__).parent / "core" / f"{module}.pyi"
    for node in ast.parse(stub.read_text()).body:
        if isinstance(node, ast.FunctionDef):
            assert [arg.arg for arg in node.args.args] == parameters(core[node.name]), node.name
