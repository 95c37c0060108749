"""Elements in other places: flattened, folded, reversed, repeated, padded."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..arrays import past_end
from ..checks import check_flag, check_floats, check_size
from .base import Layer, Tape

if TYPE_CHECKING:
    from ..arrays import Array


class Kind(NamedTuple):
    """An operation on (B, T, F) arrays, or on (B, F) ones where it makes the axis of time."""

    sizes: tuple[int, ...]  # the least that each size may be
    forward: Callable[..., Array]  # of x and the sizes
    backward: Callable[..., Array]  # of dy, the shape of x and the sizes
    keeps_time: bool = False


def _fold(x: Array, steps: int, features: int) -> Array:
    F = x.shape[1]
    n = F // max(features, 1) if steps < 0 else steps
    each = F // n if features < 0 else features
    if n * each != F:
        raise ValueError(
            f"Rearrange expected a number of features that makes ({steps}, {features}) of them, "
            f"got {F}"
        )
    return x.reshape(len(x), n, each)


def _pad(x: Array, left: int, right: int) -> Array:
    B, T, F = x.shape
    cut = -min(left, 0) - min(right, 0)
    if cut > T:
        raise ValueError(f"Rearrange expected input of at least {cut} steps, got {T}")
    y = np.zeros((B, T + left + right, F), x.dtype)
    inner = x[:, max(-left, 0) : T - max(-right, 0)]
    y[:, max(left, 0) : max(left, 0) + inner.shape[1]] = inner
    return y


def _part(x: Array, i: int, n: int) -> Array:
    if x.shape[2] % n:
        raise ValueError(f"Rearrange expected features that {n} divides, got {x.shape[2]}")
    each = x.shape[2] // n
    return x[..., i * each : (i + 1) * each]


def _unpart(dy: Array, shape: tuple[int, ...], i: int, n: int) -> Array:
    dx = np.zeros(shape, dy.dtype)
    _part(dx, i, n)[...] = dy
    return dx


KINDS = {
    "flatten": Kind(
        (),
        lambda x: x.reshape(len(x), math.prod(x.shape[1:])),
        lambda dy, shape: dy.reshape(shape),
    ),
    "fold": Kind((-1, -1), _fold, lambda dy, shape, *_: dy.reshape(shape)),
    "swap": Kind((), lambda x: x.swapaxes(1, 2), lambda dy, shape: dy.swapaxes(1, 2)),
    "reverse": Kind((), lambda x: x[:, ::-1], lambda dy, shape: dy[:, ::-1], True),
    "repeat": Kind(
        (1,),
        lambda x, n: x.repeat(n, axis=1),
        lambda dy, shape, n: dy.reshape(*shape[:2], n, shape[2]).sum(axis=2),
        True,
    ),
    "pad": Kind(
        (-(1 << 40),) * 2,
        _pad,
        lambda dy, shape, left, right: _pad(dy, -left, -right),
        True,
    ),
    "part": Kind((0, 1), _part, _unpart, True),
}


class Rearrange(Layer):
    """The elements of the input in other places; of a batch, those of each sample for themselves.

    ============== =================================================================================
    kind           y
    ============== =================================================================================
    "flatten"      (B, T*F): all steps of a sample side by side
    "fold", n, f   (B, n, f) of features (B, n*f); -1 for what is left
    "swap"         (B, F, T): features and steps change places
    "reverse"      the steps from the last to the first
    "repeat", n    each step n times
    "pad", l, r    l steps of zeros more before, r behind; as many fewer where negative
    "part", i, n   the i-th of n equal parts of the features
    ============== =================================================================================

    With `lengths`, what lies past a sample's end is zero and stays behind its steps.

    Parameters
    ----------
    kind : str
        One of those above.
    sizes : int or sequence of int, optional
        What follows the kind above.
    batch_first : bool, default False
        As in the recurrent layers.
    """

    takes_lengths = True
    stepwise = False
    batch_first: bool

    def __init__(self, kind: str, sizes: Any = (), batch_first: bool = False) -> None:
        if not isinstance(kind, str) or kind not in KINDS:
            raise ValueError(f"Rearrange expected kind as one of {tuple(KINDS)}, got {kind!r}")
        self.kind = kind
        given = tuple(sizes) if isinstance(sizes, (tuple, list)) else (sizes,)
        least = self._facts.sizes
        if len(given) != len(least):
            raise ValueError(f"Rearrange expected {len(least)} sizes for {kind!r}, got {sizes!r}")
        self.sizes = tuple(
            check_size("Rearrange", "sizes", size, low, 1 << 40)
            for size, low in zip(given, least, strict=True)
        )
        if kind == "fold" and (0 in self.sizes or self.sizes == (-1, -1)):
            raise ValueError(f"Rearrange expected sizes above 0, or -1 once, got {self.sizes}")
        if kind == "part" and self.sizes[0] >= self.sizes[1]:
            raise ValueError(f"Rearrange expected sizes (i, n) with i < n, got {self.sizes}")
        if kind == "fold" and min(self.sizes) > 0:
            self.in_size, self.out_size = math.prod(self.sizes), self.sizes[1]
        self.keeps_time, self.makes_time = self._facts.keeps_time, kind == "fold"
        self.stepwise = kind == "part"
        self.batch_first = check_flag("Rearrange", "batch_first", batch_first)
        self._create({})

    @property
    def _facts(self) -> Kind:
        return KINDS[self.kind]  # which pickles could not hold

    @property
    def needs_all_steps(self) -> bool:  # type: ignore[override]
        """Whether the number of steps shapes what is no axis of time."""
        return self.kind in ("flatten", "swap")

    # ---- calls

    def __call__(self, x: Array, lengths: Any = None) -> Array:
        """Return y.

        Parameters
        ----------
        x : (T, B, F) array, (B, T, F) with ``batch_first``, or (T, F) for one sequence
            For "fold" (B, F), or (F,) for one.
        lengths : (B,) array_like of int, optional
            Steps of each sample, 0 to T; default T.

        Returns
        -------
        y : array
            In the layout of x; without a batch where x has none.

        Raises
        ------
        TypeError, ValueError
            For wrong dtypes, shapes or lengths, and where the sizes do not fit x.
        """
        return self._run(x, lengths)[0]

    def forward(self, x: Array, lengths: Any = None) -> tuple[Array, Tape]:
        """Return y and the tape; as a call otherwise."""
        y, saved = self._run(x, lengths)
        return y, Tape(self, (y.dtype, y.shape, *saved))

    def _run(self, x: Array, lengths: Any) -> tuple[Array, Any]:
        if self.makes_time:
            check_floats("Rearrange", "input", x)
            if x.ndim not in (1, 2):
                raise ValueError(
                    f"Rearrange expected input with 2 axes, or 1 for one sample, got {x.shape}"
                )
        given = None if self.makes_time else self._check_sequences(x, lengths)
        single = x.ndim == (1 if self.makes_time else 2)
        samples = self._by_sample(x.astype(x.dtype.newbyteorder("="), copy=False), single)
        own = self._ends_last(self._own(samples, given), given)
        y = self._facts.forward(own, *self.sizes)
        if given is not None and self.keeps_time:
            y = self._own(y, self.out_lengths(given))
        return self._in_layout(y, single), (samples.shape, single, given)

    def backward(self, tape: Tape, dy: Array, input_grad: bool = True) -> Array | None:
        """Return the gradient of x.

        Parameters
        ----------
        tape : Tape
            From `forward`; used up.
        dy : array of the shape of y
            Ignored past each sample's end.
        input_grad : bool, default True
            Whether the gradient of x is wanted.

        Returns
        -------
        dx : array of the shape of x, or None
            Zero past each sample's end.
        """
        dtype, y_shape, shape, single, given = self._open(tape)
        self._use_up(tape, dy, dtype, y_shape)
        if not input_grad:
            return None
        rows = self._by_sample(dy, single)
        if given is not None and self.keeps_time:
            rows = self._own(rows, self.out_lengths(given))
        dx = self._facts.backward(self._ends_last(rows, given), shape, *self.sizes)
        return self._in_layout(self._own(dx, given), single)

    def _own(self, samples: Array, lengths: Array | None) -> Array:
        # without what lies past the ends
        past = past_end(lengths, samples.shape[1])
        return (
            samples if past is None else np.where(past[..., None], samples.dtype.type(0), samples)
        )

    def _ends_last(self, samples: Array, lengths: Array | None) -> Array:
        # with the padding in front where all steps are to be reversed
        if lengths is None or self.kind != "reverse":
            return samples
        T = samples.shape[1]
        source = (np.arange(T) + lengths[:, None]) % max(T, 1)
        return np.take_along_axis(samples, source[..., None], axis=1)

    def _by_sample(self, x: Array, single: bool) -> Array:
        # a view with samples first
        if single:
            return x[None]
        return x if self.batch_first or x.ndim < 3 else x.swapaxes(0, 1)

    def _in_layout(self, samples: Array, single: bool) -> Array:
        # the inverse
        if single:
            return samples[0]
        return samples if self.batch_first or samples.ndim < 3 else samples.swapaxes(0, 1)

    # ---- sizes and steps

    def _size_behind(self, sizes: list[int | None]) -> int | None:
        if self.kind in ("flatten", "swap"):
            return None
        size = sizes[0]
        if self.kind == "fold" and self.sizes[1] > 0:
            return self.sizes[1]
        if self.kind in ("fold", "part") and size is not None:
            return size // self.sizes[self.kind == "part"]
        return size

    def out_lengths(self, lengths: Any) -> Any:
        """Return the steps that outputs have where inputs have `lengths`, None or (B,) integers."""
        if lengths is None or not self.keeps_time:
            return None
        given = np.asarray(lengths, np.int64)
        if self.kind == "repeat":
            return given * self.sizes[0]
        return np.where(given > 0, np.maximum(given + self.more_steps, 0), 0)

    @property
    def more_steps(self) -> int:
        """How many steps more there are behind "pad"."""
        return sum(self.sizes) if self.kind == "pad" else 0

    def out_steps(self, steps: str, given: str) -> str:
        """Return the steps of outputs as a formula."""
        if self.kind == "fold":
            return str(self.sizes[0]) if self.sizes[0] > 0 else "steps"
        if not steps or self.kind == "flatten":
            return ""
        if self.kind == "swap":
            return "features"
        if self.kind == "repeat":
            n = self.sizes[0]
            return str(int(steps) * n) if steps.isdigit() else f"({steps}) * {n}"
        if steps.isdigit():
            return str(int(steps) + self.more_steps)
        return (
            f"{steps} {'-+'[self.more_steps > 0]} {abs(self.more_steps)}"
            if self.more_steps
            else steps
        )
