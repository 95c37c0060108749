"""Modules of torch's own classes on the engine: methods of one module, which its copies keep."""

from __future__ import annotations

import copy
import copyreg
import inspect
from collections.abc import Callable
from functools import lru_cache, partial
from types import MethodType
from typing import Any
from weakref import ref

import torch
from torch.nn.utils import parametrize

from .calls import is_plain_eager
from .modules import OURS

# what torch's forward calls before its kernel, and the engine does not
_CHECKS = (
    "check_forward_args",
    "check_hidden_size",
    "check_input",
    "get_expected_cell_size",
    "get_expected_hidden_size",
)


class _Method:
    # A function as the method of one module. It does not keep the module alive: in a cycle with it
    # the weights would wait for the collector.
    __slots__ = "__func__", "__weakref__", "_module"

    def __init__(self, function: Callable[..., Any], module: Any) -> None:
        self.__func__, self._module = function, ref(module)

    @property
    def __self__(self) -> Any:
        module = self._module()
        if module is None:
            raise ReferenceError(f"the module of this {self.__func__.__name__} is gone")
        return module

    @property
    def __name__(self) -> str:  # torch.jit.trace asks for it, as of any bound method
        return self.__func__.__name__

    @property
    def __code__(self) -> Any:  # torch.export asks for it, too
        return self.__wrapped__.__code__

    @property
    def __wrapped__(self) -> Any:  # whose signature inspect shows
        module, function = self.__self__, self.__func__
        return MethodType(getattr(type(module), function.__name__, function), module)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__func__(self.__self__, *args, **kwargs)

    def __deepcopy__(self, memo: Any) -> _Method:
        return _Method(self.__func__, copy.deepcopy(self.__self__, memo))

    def __reduce__(self) -> Any:
        return _bind, (self.__func__, self.__self__)


def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
    """Run the forward of our class, or of a subclass of both, on the module's attributes."""
    own: Any = type(self)
    ours = OURS.get(own)
    if (
        ours is not None
        and not kwargs
        and 0 < len(args) < 3
        and not torch.compiler.is_compiling()
        and is_plain_eager()
    ):
        # ahead of all that a twin looks at, which lasts as long as a step
        result = ours.in_torch(self, *args)
        if result is not None:
            return result
    kind = _class_on_engine(own)
    return kind.forward(_twin(kind, vars(self)), *args, **kwargs)


def __prepare_scriptable__(self: Any) -> Any:  # torch.jit.script asks for what to compile instead
    return _twin(type(self), _without_methods(vars(self)))


def _replicate_for_data_parallel(self: Any) -> Any:
    replica = type(self)._replicate_for_data_parallel(self)
    install(replica)
    return replica


_METHODS = {f.__name__: f for f in (forward, __prepare_scriptable__, _replicate_for_data_parallel)}


def _twin(kind: Any, attributes: dict[str, Any]) -> Any:
    twin = object.__new__(kind)
    object.__setattr__(twin, "__dict__", attributes)
    return twin


class _Unseen:
    # first of the bases: classes that keep a list of their subclasses do not hear of ours
    def __init_subclass__(cls, **_: Any) -> None:
        pass


@lru_cache
def _class_on_engine(kind: Any) -> Any:
    # where super().forward of a subclass leads to the engine, and from there to torch
    if kind in OURS:
        return OURS[kind]
    return type(kind)(kind.__name__, (_Unseen, kind, OURS[original(kind)]), {})


def original(kind: Any) -> Any:
    """Return the class of torch.nn that this one is, or the first one that it derives from."""
    return next((base for base in kind.__mro__ if base in OURS), None)


def why_not(kind: Any) -> str | None:
    """Return why modules of a class that derives from torch's cannot run on the engine, or None."""
    if issubclass(kind, torch.nn.RNNCell):
        return "PyTorch's kernels are the quicker ones"
    torchs = original(kind)
    for base in kind.__mro__[: kind.__mro__.index(torchs)]:
        own = vars(base)
        code = getattr(inspect.unwrap(own["forward"]), "__code__", None) if "forward" in own else 0
        if code != 0 and not {"super", "forward"} <= set(getattr(code, "co_names", ())):
            return f"{base.__name__}.forward does not call super().forward"
        for name in _CHECKS:
            if name in own:
                return f"{base.__name__} replaces {name}"
        if own.get("__slots__"):
            return f"{base.__name__} has __slots__"
    try:
        _class_on_engine(kind)
    except TypeError as error:
        return f"{kind.__name__} cannot be derived from: {error}"
    return None


def install(module: Any) -> None:
    """Give the module its own methods, and those to all copies of it."""
    _register(parametrize.type_before_parametrizations(module))
    vars(module).update({name: _Method(f, module) for name, f in _METHODS.items()})


def is_installed(module: Any) -> bool:
    """Return whether the module has our methods, be it below another forward."""
    own = vars(module)
    return "forward" in own and any(map(_is_ours, own.values()))


def remove(module: Any) -> None:
    """Take the methods away from the module, if it has any.

    Raises
    ------
    RuntimeError
        Its forward was replaced since.
    """
    own = vars(module)
    if is_installed(module) and not _is_ours(own["forward"]):
        raise RuntimeError(
            f"the forward of this {type(module).__name__} was replaced after accelerate: "
            "put that back first"
        )
    for name in _METHODS:
        if _is_ours(own.get(name)):
            del own[name]


def _is_ours(method: Any) -> bool:
    if isinstance(method, partial):
        return method.func in _METHODS.values()
    return isinstance(method, _Method)


def _without_methods(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if not _is_ours(value)}


def _register(kind: Any) -> None:
    reducer = copyreg.dispatch_table.get(kind)
    if getattr(reducer, "func", None) is not _reduce:
        copyreg.pickle(kind, partial(_reduce, reducer))


def _reduce(reducer: Any, module: Any) -> Any:
    # Of all modules of a class, for `copy`, `pickle` and what stands on them. The methods belong to
    # one module, so copies, shallow ones too, are made without them and given their own. `reducer`
    # is what the table had before, a program's own or None. It may call what it found there itself,
    # even one of ours, which has another reducer or none.
    reduced = reducer(module) if reducer else module.__reduce_ex__(4)
    if isinstance(reduced, str):  # the name of a global, which copies are, too
        return reduced
    make, args, *rest = reduced
    if rest and isinstance(rest[0], dict):
        rest[0] = _without_methods(rest[0])
    if not is_installed(module):
        return make, args, *rest
    return _make, (make, *args), *rest


def _bind(function: Callable[..., Any], module: Any) -> Any:
    # A method that was pickled alone keeps its module. Where a pickler wrote the module without
    # copyreg's table, the class is not in it yet, and copies need it there.
    _register(type(module))
    return partial(function, module)


def _make(make: Callable[..., Any], *args: Any) -> Any:
    module = make(*args)
    install(module)
    return module
