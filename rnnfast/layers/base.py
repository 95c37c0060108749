"""What all layers share: parameters, gradients and tapes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from threading import Lock
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

import numpy as np

from ..checks import (
    Checked,
    check_array,
    check_dtype,
    check_features,
    check_floats,
    check_lengths,
    check_sequence,
)
from .parameters import Parameters

if TYPE_CHECKING:
    from ..arrays import Array
    from .masks import MaskSource

# While rnnfast.io builds a model whose arrays it is about to hand in, how many more it may need
blank: ContextVar[float | None] = ContextVar("rnnfast_blank", default=None)


# ---- tapes -------------------------------------------------------------------------------------


class Tape:
    """What one call of a layer's `forward` leaves for one call of its `backward`."""

    __slots__ = ("_owner", "_saved", "_version")

    def __init__(self, owner: Layer, saved: Any, version: int | None = None) -> None:
        self._owner = owner
        self._saved = [saved]
        self._version = version  # of the parameters that backward reads again

    def open(self, owner: Layer) -> Any:
        """Return what `owner` saved; the tape remains usable."""
        if self._owner is not owner:
            raise RuntimeError(
                f"this tape was made by another layer, {self._owner!r}, not by {owner!r}"
            )
        try:
            saved = self._saved[0]
        except IndexError:
            raise self._used() from None
        if self._version not in (None, owner.params.version):
            raise RuntimeError(
                f"the parameters of {type(owner).__name__} changed between forward and backward"
            )
        return saved

    def close(self) -> None:
        """Use the tape up."""
        try:
            self._saved.pop()  # atomic: of two threads, one gets an error
        except IndexError:
            raise self._used() from None

    def _used(self) -> RuntimeError:
        return RuntimeError(
            f"this tape of {type(self._owner).__name__} was used before: a tape serves one "
            "backward pass, call forward again"
        )


# ---- layers ------------------------------------------------------------------------------------

_layers: WeakSet[Layer] = WeakSet()


def _renew_locks() -> None:
    # A thread that held one when the process forked does not exist in the child to release it.
    for layer in _layers:
        layer._lock = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


class Origin(NamedTuple):
    """The axis of time of a network's input: what a `RepeatVector` makes anew."""

    steps: int | None  # None: the input has no such axis
    lengths: Any  # of the samples, or None


class Layer(Checked):
    """Base of all layers: parameters and calls, no other state, so one layer serves many threads.

    Public attributes are fixed at construction; the few that may be set later say so.

    ``layer(x)`` is inference and stores nothing, ``layer.forward(x)`` also returns a tape, and
    ``layer.backward(tape, dy)`` adds into `grads` and returns the gradient of x. Arrays given to
    `forward` must not change before `backward` has run.

    Attributes
    ----------
    params : Parameters
        Read-only views by name, PyTorch's names; assign to change one.
    buffers : Parameters
        What belongs to the layer's state but is not learnt by gradients, such as running means.
    grads : dict of str to ndarray
        Gradients with the same names and shapes, written in place.
    dtype : numpy.dtype or None
        float32 or float64; None where the layer has no parameters and takes either.
    """

    stateful = False  # calls take and return a state, as recurrent layers and Sequential do
    keeps_time = True  # the output has a time axis where the input has one
    makes_time = False  # the output has a time axis where the input has none
    takes_lengths = False  # calls take lengths, but no state
    joins = False  # calls take several inputs, and give one output
    stepwise = True  # can be called on a single step, given the state after the one before
    needs_all_steps = False  # the number of steps shapes more than the axis of time
    batch_first: bool | None = None
    in_size: int | None = None  # of the last axis; None: any
    out_size: int | None = None  # None: as the input
    dtype: np.dtype[Any] | None = None
    _step_axes = 1  # of what one sample has at one step: features
    _arity = (1, 1)  # inputs and outputs, each a tuple where there are several; `joins` apart

    params: Any
    buffers: Any
    __call__: Callable[..., Any]
    forward: Callable[..., Any]
    backward: Callable[..., Any]
    step: Callable[..., Any]  # where the layer is stateful
    _arguments: tuple[str, ...] = ()  # of the constructor, without dtype
    _changeable: tuple[str, ...] = ()  # public attributes that every call reads anew

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        constructor = vars(cls).get("__init__")
        if constructor and cls.__module__.startswith("rnnfast."):  # others keep those of their base
            code = constructor.__code__  # `inspect` would be a good part of an import's time
            names = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
            cls._arguments = tuple(name for name in names if name != "dtype")

    def _create(
        self,
        shapes: dict[str, tuple[int, ...]],
        draw: Callable[[str, tuple[int, ...]], Array] | None = None,
        buffers: Mapping[str, Array] = MappingProxyType({}),
    ) -> None:
        # the last act of every constructor
        arrays: dict[str, Array] = {}
        left = blank.get()
        if left is not None:
            left -= len(shapes) + len(buffers)
            if left < 0:
                raise ValueError("it has fewer arrays than its layers need")
            blank.set(left)
        for name, shape in shapes.items():
            if left is not None or draw is None:
                arrays[name] = np.broadcast_to(np.zeros((), self.dtype), shape)
            else:
                arrays[name] = np.ascontiguousarray(draw(name, shape), self.dtype)
        kept = {n: array if left is not None else array.copy() for n, array in buffers.items()}
        name = type(self).__name__
        self._complete(Parameters(name, arrays), Parameters(name, kept))

    def _complete(self, params: Any, buffers: Any) -> None:
        self.params = params
        self.buffers = buffers
        self._grads: dict[str, Array] | None = None
        self._lock = Lock()
        self._made = frozenset(vars(self))  # names; what others add later is theirs to change
        _layers.add(self)

    def __setattr__(self, name: str, value: Any) -> None:
        made = self.__dict__.get("_made")
        if made is not None and not name.startswith("_") and name not in self._changeable:
            known = name in made or hasattr(type(self), name)
            if known and not callable(getattr(type(self), name, None)):  # methods may be wrapped
                raise AttributeError(f"{name} of {type(self).__name__} is fixed at construction")
        super().__setattr__(name, value)

    # ---- gradients

    @property
    def grads(self) -> dict[str, Array]:
        """Gradients by parameter name; backward passes add into them."""
        if self._grads is None:
            with self._lock:
                if self._grads is None:
                    self._grads = {n: np.zeros(a.shape, a.dtype) for n, a in self.params.items()}
        return self._grads

    def zero_grad(self) -> None:
        """Set all gradients to zero."""
        for grad in self.grads.values():
            grad.fill(0)

    def _checked_grads(self) -> dict[str, Array]:
        grads = self.grads
        for name, param in self.params._arrays.items():
            grad = grads.get(name)
            if not (
                isinstance(grad, np.ndarray)
                and grad.shape == param.shape
                and grad.dtype == param.dtype
                and grad.flags.carray
            ):
                raise ValueError(
                    f"{type(self).__name__} expected grads[{name!r}] as a writable C-contiguous "
                    f"{param.dtype} array of shape {param.shape}"
                )
        return grads

    def _trainable(self) -> Iterator[tuple[str, Array, Array, Callable[[], None]]]:
        # name, writable parameter, gradient, what to call before and after it changes
        grads = self._checked_grads()
        for name, param in self.params._arrays.items():
            own = param if param.flags.writeable else self.params.writable(name)
            yield name, own, grads[name], self.params.bump

    def _mask_sources(self) -> Iterator[MaskSource]:
        # what the layer draws random masks from; a resumed training sets their positions
        return iter(())

    # ---- state dict, configuration, copies

    def state_dict(self) -> dict[str, Array]:
        """Return copies of all parameters and buffers under PyTorch's names."""
        return {name: array.copy() for name, array in {**self.params, **self.buffers}.items()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Copy parameters and buffers in from arrays or tensors under PyTorch's names.

        Parameters
        ----------
        state_dict : mapping of str to array_like
            Exactly the names in `params` and `buffers`, with their shapes; converted to their
            dtypes.

        Raises
        ------
        ValueError, TypeError
            For missing or unknown names, wrong shapes or dtypes; nothing has changed then.
        """
        for params, name, array in self._check_state(state_dict):
            params[name] = array

    def _check_state(self, state_dict: Any) -> list[tuple[Any, str, Array]]:
        # for each name, whose it is and its array; raises as load_state_dict does
        if not isinstance(state_dict, Mapping):
            raise TypeError(
                f"{type(self).__name__} expected state_dict as a mapping of names to arrays, "
                f"got {type(state_dict).__name__}"
            )
        owners = dict.fromkeys(self.params, self.params) | dict.fromkeys(self.buffers, self.buffers)
        missing = [name for name in owners if name not in state_dict]
        unknown = [name for name in state_dict if name not in owners]
        if missing or unknown:
            raise ValueError(
                f"{type(self).__name__} expected a state dict with its own parameter names; "
                f"missing: {', '.join(missing) or 'none'}; unknown: {', '.join(unknown) or 'none'}"
            )
        checked = []
        for name, value in state_dict.items():
            try:
                checked.append((owners[name], name, owners[name].check(name, value)))
            except (TypeError, ValueError) as error:
                if "." not in name:
                    raise
                raise type(error)(f"{name}: {error}") from None  # which of the layers' weights
        return checked

    def config(self) -> dict[str, Any]:
        """Return the constructor's arguments, JSON-able: ``type(layer)(**layer.config())``."""
        config = {name: getattr(self, name) for name in self._arguments}
        if self.dtype is not None:
            config["dtype"] = self.dtype.name
        return config

    def __getstate__(self) -> dict[str, Any]:
        left_out = "_lock", "_pack", "_known_grads"
        return {name: v for name, v in self.__dict__.items() if name not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if not all(grad.flags.writeable for grad in (self.__dict__.get("_grads") or {}).values()):
            self._grads = None  # memory-mapped: zeros when they are asked for
        self._lock = Lock()
        _layers.add(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._describe()})"

    def _describe(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in self._arguments)

    # ---- calls in the one form that layers made of layers and `fit` use

    @property
    def _leaves_padding_out(self) -> bool:
        # whether calls take lengths, so that what lies past a sample's end never counts
        return self.stateful or self.takes_lengths

    def _call(
        self, x: Any, state: Any, lengths: Any, training: bool, origin: Origin | None = None
    ) -> tuple[Any, Any, Any]:
        # y; the state behind it, or what was given where there is none; in training the tape.
        # origin: of the network that this layer is in.
        arguments = self._inputs(x, state, lengths, origin)
        if training:
            y, *given, tape = self.forward(*arguments)
            return y, given[0] if given else state, tape
        if self.stateful:
            return *self(*arguments), None
        return self(*arguments), state, None

    def _inputs(self, x: Any, state: Any, lengths: Any, origin: Origin | None) -> tuple[Any, ...]:
        # the arguments of a call
        if self.stateful:
            return x, state, lengths
        if isinstance(x, tuple):  # of a batch: all that the layer takes
            return x
        return (x, lengths) if self.takes_lengths else (x,)

    def _call_back(self, tape: Any, dy: Any, dstate: Any, input_grad: bool) -> tuple[Any, Any]:
        # the gradients of x and of the state; that of the state as given where there is none
        if self.stateful:
            dx, dstate = self.backward(tape, dy, dstate, input_grad=input_grad)
            return dx, dstate
        return self.backward(tape, dy, input_grad=input_grad), dstate

    def _step(self, x_t: Any, state: Any) -> tuple[Any, Any]:
        # y of a single time step, and the state behind it as `_call` gives it
        if not self.stepwise:
            raise ValueError(
                f"Sequential cannot run step by step: {type(self).__name__} takes or makes "
                "several steps at once"
            )
        if self.stateful:
            return self.step(x_t, state)
        return self(*self._inputs(x_t, state, None, None)), state

    def _lengths_behind(self, lengths: Any, origin: Origin, every: bool = False) -> Any:
        # The lengths behind this layer in a chain, None where all steps of all samples count;
        # with `every` also where a `RepeatVector` has made them count.
        return self.out_lengths(lengths)

    # ---- the state as (B, K) arrays, one for each layer and direction: h0, h1, ..., c0, c1, ...

    @property
    def state_sizes(self) -> dict[str, int]:
        """Features of the state's arrays by name; none where it has no such form."""
        return {}

    def _state_arrays(self, state: Any) -> list[Any]:
        # in the order of their names; None for what is None
        return []

    def _state_of(self, arrays: list[Any]) -> Any:
        # the inverse; zeros for some that are None
        raise NotImplementedError

    # ---- time

    @property
    def _takes_time(self) -> bool:
        # whether it knows of an axis of time of its input
        return self.batch_first is not None and not self.makes_time

    def _in_time(self, reads: tuple[str, ...]) -> tuple[str, ...]:
        # those of its inputs that have an axis of time where one has
        return reads

    def _in_and_out_in_time(self) -> tuple[Sequence[bool], Sequence[bool]]:
        # whether each input and output has an axis of time; empty where all are alike
        return (), ()

    def _steps_left(self, lengths: Any) -> Any:
        # see sequential.steps_left
        following = self.out_lengths(lengths)
        return lengths if following is None else following

    def _size_behind(self, sizes: list[int | None]) -> int | None:
        # the size of the last axis of y by those of the inputs; None: unknown
        return self.out_size or sizes[0]

    def out_lengths(self, lengths: Any) -> Any:
        """Return the steps that outputs have where inputs have `lengths`, None or (B,) integers."""
        return lengths if self.keeps_time else None

    def out_steps(self, steps: str, given: str) -> str:
        """Return the same as a formula, "" without a time axis; `given`: steps of the input."""
        return steps if self.keeps_time else ""

    # ---- layouts

    def _time_major(self, array: Array) -> Array:
        # a view (T, B, F) of a sequence in the user's layout
        if array.ndim == 2:
            return array[:, None]
        return array.swapaxes(0, 1) if self.batch_first else array

    def _as_given(self, array: Array, like: Array) -> Array:
        # the inverse of _time_major for an array that has the axes of `like`
        if like.ndim == 2:
            return array[:, 0]
        return array.swapaxes(0, 1) if self.batch_first else array

    def _check_sequences(self, x: Any, lengths: Any) -> Array | None:
        # raises unless x is sequences that the layer can take; `lengths` as an array, or None
        name = type(self).__name__
        if self.dtype is None:
            check_floats(name, "input", x)
        else:
            check_dtype(name, "input", x, self.dtype)
        check_sequence(name, x)
        if self.in_size is not None:
            check_features(name, x, self.in_size)
        T, B, _ = self._time_major(x).shape
        return check_lengths(name, lengths, T, B)

    # ---- backward passes

    def _open(self, tape: Any) -> Any:
        if not isinstance(tape, Tape):
            raise TypeError(
                f"{type(self).__name__} expected tape as forward returned it, "
                f"got {type(tape).__name__}"
            )
        return tape.open(self)

    def _use_up(self, tape: Tape, dy: Any, dtype: Any, shape: Any, name: str = "dy") -> None:
        # what a backward pass checks before it writes anything; then the open tape is used up
        check_array(type(self).__name__, name, dy, dtype, shape)
        self._check_backward(tape, None)
        tape.close()

    def _check_backward(self, tape: Any, dstate: Any) -> None:
        # raises before a chain of layers has written anything
        self._open(tape)
        self._checked_grads()
