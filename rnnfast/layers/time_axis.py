"""Layers that end the axis of time, or make one anew: the last step, and a vector repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import check_flag, check_floats, check_size
from .base import Layer, Origin, Tape

if TYPE_CHECKING:
    from ..arrays import Array


class Last(Layer):
    """Each sample's last time step: turns a network from many-to-many into many-to-one.

    A sample of length 0 gives zeros.

    Parameters
    ----------
    batch_first : bool, default False
        As in the recurrent layers.
    bidirectional : bool, default False
        Whether x comes from a bidirectional layer: the second half of its features, those of the
        reverse direction, is then taken from the first step, where that direction ends.
    """

    keeps_time = False
    takes_lengths = True
    batch_first: bool

    def __init__(self, batch_first: bool = False, bidirectional: bool = False) -> None:
        self.batch_first = check_flag("Last", "batch_first", batch_first)
        self.bidirectional = check_flag("Last", "bidirectional", bidirectional)
        self.stepwise = not self.bidirectional
        self._create({})

    def __call__(self, x: Array, lengths: Any = None) -> Array:
        """Return the last steps.

        Parameters
        ----------
        x : (T, B, F) array, (B, T, F) with ``batch_first``, or (T, F) for one sequence
        lengths : (B,) array_like of int, optional
            Steps of each sample, 0 to T; default T.

        Returns
        -------
        y : (B, F) or (F,) array

        Raises
        ------
        TypeError, ValueError
            For wrong shapes or lengths.
        """
        return self._run(x, lengths)[0]

    def forward(self, x: Array, lengths: Any = None) -> tuple[Array, Tape]:
        """Return the last steps and the tape; as a call otherwise."""
        return self._run(x, lengths)

    def _run(self, x: Array, lengths: Any) -> tuple[Array, Tape]:
        given = self._check_sequences(x, lengths)
        steps = self._time_major(x)
        T, B, F = steps.shape
        if self.bidirectional and F % 2:
            raise ValueError(f"Last expected an even number of features, got {x.shape}")
        last = np.full(B, T - 1) if given is None else given - 1
        y = np.zeros((B, F), x.dtype.newbyteorder("="))
        real = np.flatnonzero(last >= 0)
        y[real] = steps[last[real], real]
        if self.bidirectional and len(real):
            y[real, F // 2 :] = steps[0, real, F // 2 :]
        y = y if x.ndim == 3 else y[0]
        return y, Tape(self, (x.shape, y.dtype, y.shape, last))

    def _step(self, x_t: Any, state: Any) -> tuple[Any, Any]:
        # every step is the last one so far
        return (x_t, state) if self.stepwise else super()._step(x_t, state)

    def backward(self, tape: Tape, dy: Array, input_grad: bool = True) -> Array | None:
        """Return the gradient of x, zero but at the steps taken.

        Parameters
        ----------
        tape : Tape
            From `forward`; used up.
        dy : array of the shape of y
        input_grad : bool, default True
            Whether the gradient of x is wanted.

        Returns
        -------
        dx : array of the shape of x, or None
        """
        shape, dtype, y_shape, last = self._open(tape)
        self._use_up(tape, dy, dtype, y_shape)
        if not input_grad:
            return None
        dx = np.zeros(shape, dtype)
        steps, rows = self._time_major(dx), np.atleast_2d(dy)
        real = np.flatnonzero(last >= 0)
        steps[last[real], real] = rows[real]
        if self.bidirectional and len(real):
            half = shape[-1] // 2
            steps[last[real], real, half:] = 0
            steps[0, real, half:] = rows[real, half:]
        return dx


class RepeatVector(Layer):
    """The same vector at n time steps: turns many-to-one into one-to-many.

    In a `Sequential` whose input has as many steps, n or padded to n, as an autoencoder's, the
    lengths of the samples go on behind this layer: what the layers behind it make past a sample's
    end is left out, and so it is in the losses that `rnnfast.fit` calls. With any other n all n
    steps of every sample count.

    Parameters
    ----------
    n : int or None
        Number of steps; None for as many as the input of the `Sequential` has.
    batch_first : bool, default False
        As in the recurrent layers.
    """

    keeps_time = False
    makes_time = True
    stepwise = False
    batch_first: bool

    def __init__(self, n: int | None, batch_first: bool = False) -> None:
        self.n = None if n is None else check_size("RepeatVector", "n", n, 1)
        self.batch_first = check_flag("RepeatVector", "batch_first", batch_first)
        self._create({})

    def __call__(self, x: Array, steps: int | None = None) -> Array:
        """Return x at every step.

        Parameters
        ----------
        x : (B, F) array, or (F,) for one sequence
        steps : int, optional
            Number of steps where n is None; a `Sequential` gives those of its input.

        Returns
        -------
        y : (n, B, F) array, (B, n, F) with ``batch_first``, or (n, F)

        Raises
        ------
        TypeError, ValueError
            For a wrong dtype or shape, or where neither `n` nor `steps` is given.
        """
        check_floats("RepeatVector", "input", x)
        if x.ndim not in (1, 2):
            raise ValueError(
                f"RepeatVector expected input with 2 axes, or 1 for one sequence, got {x.shape}"
            )
        n = steps if self.n is None else self.n
        if n is None:
            raise ValueError(
                "RepeatVector expected steps as an integer where n is None, got None; in a "
                "Sequential they are those of its input, if a layer such as Last ends its time axis"
            )
        x = np.expand_dims(x.astype(x.dtype.newbyteorder("="), copy=False), self._axis(x.ndim))
        return np.repeat(x, n, self._axis(x.ndim - 1))

    def forward(self, x: Array, steps: int | None = None) -> tuple[Array, Tape]:
        """Return x at every step and the tape; as a call otherwise."""
        y = self(x, steps)
        return y, Tape(self, (y.shape, y.dtype))

    def backward(self, tape: Tape, dy: Array, input_grad: bool = True) -> Array | None:
        """Return the gradient of x, the sum of dy over the steps.

        Parameters
        ----------
        tape : Tape
            From `forward`; used up.
        dy : array of the shape of y
        input_grad : bool, default True
            Whether the gradient of x is wanted.

        Returns
        -------
        dx : array of the shape of x, or None
        """
        shape, dtype = self._open(tape)
        self._use_up(tape, dy, dtype, shape)
        return dy.sum(axis=self._axis(len(shape) - 1), dtype=dtype) if input_grad else None

    def _inputs(self, x: Any, state: Any, lengths: Any, origin: Origin | None) -> tuple[Any, ...]:
        return (x,) if origin is None else (x, origin.steps)

    def _lengths_behind(self, lengths: Any, origin: Origin, every: bool = False) -> Any:
        if self.n is None or self.n == origin.steps:
            return origin.lengths
        if every and origin.lengths is not None:
            return np.full(np.shape(origin.lengths), self.n)
        return None

    @property
    def needs_all_steps(self) -> bool:  # type: ignore[override]
        """Whether y has a number of steps of its own."""
        return self.n is not None

    def _axis(self, ndim: int) -> int:
        # of time in y, for x with so many axes
        return int(self.batch_first and ndim == 2)

    def out_steps(self, steps: str, given: str) -> str:
        """Return the steps of outputs as a formula."""
        return given or "T" if self.n is None else str(self.n)
