"""What parameters may be: constraints in the metadata of fields, checked in one loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from types import FunctionType
from typing import Any, ClassVar, cast

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ..callbacks import Callback
from ..checks import is_number
from .numeric import is_integer


class InvalidParameter(ValueError, TypeError):
    """A parameter that is out of range, or of the wrong kind."""


@dataclass(frozen=True)
class Constraint:
    """What a value may be.

    Parameters
    ----------
    text : str
        For errors: "an integer >= 1".
    holds : callable
        Of the value.
    """

    text: str
    holds: Callable[[Any], bool]


def parameter(default: Any, *accepted: Constraint, fixed: bool = False) -> Any:
    """Return a dataclass field with constraints.

    Parameters
    ----------
    default : object
    *accepted : Constraint
        A value must satisfy one of them; None is accepted where it is the default.
    fixed : bool, default False
        Whether the fitted network depends on the value, so that a fit which goes on from an earlier
        one cannot change it.
    """
    if default is None and not any(constraint.holds(None) for constraint in accepted):
        accepted = (*accepted, none)
    return field(default=default, metadata={"accepted": accepted, "fixed": fixed})


def size(least: int) -> Constraint:
    """Accept integers from `least` on."""
    return Constraint(f"an integer >= {least}", lambda v: is_integer(v) and v >= least)


def number(text: str, high: float = np.inf, zero: bool = True) -> Constraint:
    """Accept real numbers from 0, or from above it, to below `high`."""
    return Constraint(text, lambda v: is_number(v) and bool(0.0 <= v < high and (zero or v)))


def one_of(*names: str) -> Constraint:
    """Accept some words."""
    return Constraint(
        f"one of {', '.join(map(repr, names))}", lambda v: isinstance(v, str) and v in names
    )


def _is_sizes(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        value = value.tolist() if value.ndim == 1 else [value.item()] if value.ndim == 0 else ()
    if not isinstance(value, Sequence) or isinstance(value, str):
        return False
    return len(value) > 0 and all(is_integer(v) and v >= 1 for v in value)


def _is_callbacks(value: Any) -> bool:
    return isinstance(value, Sequence) and all(
        isinstance(c, Callback) or callable(c) for c in value
    )


def _is_random_state(value: Any) -> bool:
    if is_integer(value):
        return bool(0 <= value < 2**32)
    return value is None or isinstance(value, np.random.RandomState)


none = Constraint("None", lambda v: v is None)
flag = Constraint("True or False", lambda v: isinstance(v, (bool, np.bool_)))
function = Constraint("a function", callable)
not_negative = number("a finite number >= 0")
positive = number("a finite number > 0", zero=False)
limit = Constraint("a number > 0", lambda v: is_number(v) and bool(v > 0.0))
fraction = number("a number between 0 and 1", 1.0, zero=False)
share = number("a number from 0 to below 1", 1.0)
sizes = Constraint("a sequence of integers >= 1", _is_sizes)
callbacks = Constraint("a sequence of Callback or functions", _is_callbacks)
random_state = Constraint("an integer from 0 to 2**32 - 1, a RandomState or None", _is_random_state)
verbosity = Constraint("True or False", lambda v: flag.holds(v) or (is_integer(v) and v >= 0))


class Parameters:
    """What dataclasses of parameters made with `parameter` share."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    _fixed: dict[str, Any]  # what `fit` had for the parameters that shape the network
    _free: ClassVar[tuple[str, ...]] = ()  # which of these take effect in `predict` all the same

    def __init_subclass__(cls, **options: Any) -> None:
        """Give inherited methods the name of the class, which Python's errors then speak of."""
        super().__init_subclass__(**options)
        for base in cls.__mro__[1:]:
            for name, method in vars(base).items() if issubclass(base, Parameters) else ():
                public = isinstance(method, FunctionType) and not name.startswith("_")
                if public and getattr(cls, name) is method:
                    setattr(cls, name, _named(method, f"{cls.__qualname__}.{name}"))

    def _check_parameters(self) -> None:
        """Raise InvalidParameter for the first parameter that is not as its field says."""
        for each in fields(self):
            accepted = each.metadata.get("accepted")
            value = getattr(self, each.name)
            if accepted and not any(constraint.holds(value) for constraint in accepted):
                wanted = " or ".join(constraint.text for constraint in accepted)
                raise InvalidParameter(
                    f"{type(self).__name__} expected {each.name} as {wanted}, got {value!r}"
                )

    def _fixed_parameters(self) -> dict[str, Any]:
        """Return the parameters that shape the network."""
        return {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if each.metadata.get("fixed")
        }

    def _check_unchanged(self, before: dict[str, Any]) -> None:
        """Raise InvalidParameter unless the parameters that shape the network are as before."""
        for name, was, now in self._changed(before):
            raise InvalidParameter(
                f"{type(self).__name__} expected {name} {was!r}, as in the fit that this one goes "
                f"on from, got {now!r}: a network of another shape needs a new estimator, or fit "
                "with warm_start=False"
            )

    def _changed(self, before: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
        for name, now in self._fixed_parameters().items():
            was = before[name]
            if now is not was and not _equal(now, was):
                yield name, was, now

    def _check_fitted(self) -> None:
        """Raise unless fitted, and for parameters changed since that wait for the next fit."""
        check_is_fitted(self)
        for name, was, now in self._changed(self._fixed):
            if name not in self._free:
                raise InvalidParameter(
                    f"{type(self).__name__} expected {name} {was!r}, as in fit, got {now!r}: "
                    "another value takes effect in the next fit"
                )

    def _refuse_set(self, names: Sequence[str], reason: str) -> None:
        """Raise InvalidParameter where one of some parameters is set, which would change nothing.

        Parameters
        ----------
        names : sequence of str
            Of parameters; what the estimator does not have is passed over.
        reason : str
            Why they change nothing, after "as".
        """
        for each in fields(self):
            if each.name not in names:
                continue
            value, default = getattr(self, each.name), cast(Any, each.default)
            if value is not default and not np.array_equal(value, default):
                raise InvalidParameter(
                    f"{type(self).__name__} expected {each.name} left at {default!r}, as "
                    f"{reason}, got {value!r}"
                )


def _named(function: FunctionType, name: str) -> FunctionType:
    """Return a copy of a function with another qualified name."""
    code, space, closure = function.__code__, function.__globals__, function.__closure__
    copy = FunctionType(code, space, function.__name__, function.__defaults__, closure)
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__dict__.update(function.__dict__)
    copy.__module__, copy.__doc__ = function.__module__, function.__doc__
    copy.__annotations__, copy.__qualname__ = function.__annotations__, name
    return copy


def _equal(a: Any, b: Any) -> bool:
    if any(isinstance(v, np.ndarray) for v in (a, b)):
        return bool(np.array_equal(a, b))
    return type(a) is type(b) and bool(a == b)
