"""Several inputs as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import check_flag, check_floats, check_size
from .base import Layer, Tape

if TYPE_CHECKING:
    from ..arrays import Array

KINDS = ("sum", "mean", "difference", "product", "max", "min", "concat")


class Merge(Layer):
    """Several inputs as one: their sum, mean, product, maximum, or their features side by side.

    Where several inputs have the maximum, or the minimum, the first one gets the gradient.

    Parameters
    ----------
    kind : {"sum", "mean", "difference", "product", "max", "min", "concat"}
        "difference" is of two inputs, the first without the second.
    parts : int, default 1
        Into how many equal parts the features of an only input are cut first: with 2 it merges the
        directions of a bidirectional layer.
    """

    joins = True

    def __init__(self, kind: str, parts: int = 1) -> None:
        if not isinstance(kind, str) or kind not in KINDS:
            raise ValueError(f"Merge expected kind as one of {KINDS}, got {kind!r}")
        self.kind = kind
        self.parts = check_size("Merge", "parts", parts, 1)
        if kind == "difference" and self.parts > 2:
            raise ValueError(f"Merge expected parts of at most 2 for 'difference', got {parts}")
        self._create({})

    def __call__(self, *inputs: Array) -> Array:
        """Return the inputs as one.

        Parameters
        ----------
        *inputs : arrays of float32 or float64
            Of one dtype and number of axes. The shapes are the same, but for the last axis of
            "concat" and for axes of size 1, which are repeated elsewhere.

        Returns
        -------
        y : array

        Raises
        ------
        TypeError, ValueError
            For wrong dtypes or shapes.
        """
        return self._run(self._arrays(inputs))

    def forward(self, *inputs: Array) -> tuple[Array, Tape]:
        """Return the inputs as one, and the tape; as a call otherwise."""
        arrays = self._arrays(inputs)
        y = self._run(arrays)
        return y, Tape(self, (arrays, y, len(inputs)))

    def _arrays(self, inputs: tuple[Array, ...]) -> list[Array]:
        for x in inputs:
            check_floats("Merge", "inputs", x)
        if len({x.dtype.newbyteorder("=") for x in inputs}) > 1:
            raise TypeError(f"Merge expected inputs of one dtype, got {[x.dtype for x in inputs]}")
        if self.parts > 1 and len(inputs) == 1 and inputs[0].ndim:
            (x,) = inputs
            if x.shape[-1] % self.parts:
                raise ValueError(
                    f"Merge expected features that {self.parts} divides, got {x.shape}"
                )
            return np.split(x, self.parts, axis=-1)
        least = 2 if self.kind == "difference" else 1
        if self.parts > 1 or len(inputs) < least or (least == 2 and len(inputs) > 2):
            wanted = "one input" if self.parts > 1 else f"{least} inputs"
            raise ValueError(f"Merge expected {wanted} for {self!r}, got {len(inputs)}")
        return list(inputs)

    def _run(self, arrays: list[Array]) -> Array:
        shapes = [x.shape for x in arrays]
        alike = [s[:-1] for s in shapes] if self.kind == "concat" else shapes
        sizes = [{n for n in axis if n != 1} for axis in zip(*alike, strict=False)]
        fit = len(set(alike)) == 1 or (self.kind != "concat" and all(len(s) < 2 for s in sizes))
        if len({len(s) for s in shapes}) > 1 or not shapes[0] or not fit:
            raise ValueError(f"Merge expected inputs of the same shape, got {shapes}")
        first, *others = arrays
        if self.kind == "concat":
            y = np.concatenate(arrays, axis=-1)
        else:
            function = {"product": np.multiply, "max": np.maximum, "min": np.minimum}.get(
                self.kind, np.subtract if self.kind == "difference" else np.add
            )
            y = first.astype(first.dtype.newbyteorder("="))
            for x in others:
                y = function(y, x)
            if self.kind == "mean":
                y /= y.dtype.type(len(arrays))
        return y

    def backward(self, tape: Tape, dy: Array, input_grad: bool = True) -> Any:
        """Return the gradients of the inputs.

        Parameters
        ----------
        tape : Tape
            From `forward`; used up.
        dy : array of the shape of y
        input_grad : bool, default True
            Whether the gradients are wanted.

        Returns
        -------
        dinputs : tuple of arrays of the shapes of the inputs, or None
            The array itself for an only input.
        """
        arrays, y, given = self._open(tape)
        self._use_up(tape, dy, y.dtype, y.shape)
        if not input_grad:
            return None
        parts = self._gradients(arrays, y, dy)
        summed = [_summed(part, x.shape) for part, x in zip(parts, arrays, strict=True)]
        if len(arrays) != given:
            return np.concatenate(summed, axis=-1)
        return tuple(summed) if given > 1 else summed[0]

    def _gradients(self, arrays: list[Array], y: Array, dy: Array) -> list[Array]:
        if self.kind == "concat":
            return np.split(dy, np.cumsum([x.shape[-1] for x in arrays])[:-1], axis=-1)
        if self.kind == "difference":
            return [dy, -dy]
        if self.kind == "mean":
            dy = dy / dy.dtype.type(len(arrays))
        if self.kind in ("sum", "mean"):
            return [dy] * len(arrays)
        parts = []
        free = np.ones(y.shape, bool)  # where no input before has the maximum
        for i, x in enumerate(arrays):
            if self.kind == "product":
                part = dy
                for other in (*arrays[:i], *arrays[i + 1 :]):
                    part = part * other
            else:
                part = np.where(free & (x == y), dy, dy.dtype.type(0))
                free &= x != y
            parts.append(part)
        return parts

    def _size_behind(self, sizes: list[int | None]) -> int | None:
        known = [size for size in sizes if size is not None]
        if len(known) < len(sizes):
            return None
        if self.kind == "concat":
            return sum(known)
        return max(known) // self.parts


class Dot(Layer):
    """The products of two inputs, summed over an axis of each: y[b] is ``a[b] @ c[b]``.

    Samples are the first axis of both, whatever other layers have. With axes (2, 2) of (B, T, F)
    and (B, S, F), y (B, T, S) are scores of attention; with (2, 1) of these and (B, S, F) again,
    y (B, T, F) is what is attended to. All steps count, so no lengths are taken.

    Parameters
    ----------
    axes : (int, int)
        Of the first and the second input, 1 or 2.
    vectors : (bool, bool), default (False, False)
        Which of them are (B, F), without an axis of time.
    """

    joins = True
    stepwise = False

    def __init__(self, axes: Any, vectors: Any = (False, False)) -> None:
        for name, pair in ("axes", axes), ("vectors", vectors):
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise ValueError(f"Dot expected {name} as a pair, got {pair!r}")
        self.vectors = tuple(check_flag("Dot", "vectors", flag) for flag in vectors)
        most = [1 if flag else 2 for flag in self.vectors]
        pairs = zip(axes, most, strict=True)
        self.axes = tuple(check_size("Dot", "axes", axis, 1, n) for axis, n in pairs)
        self.batch_first = None if all(self.vectors) else True
        self.keeps_time = not any(self.vectors)
        self._create({})

    def __call__(self, a: Array, c: Array) -> Array:
        """Return the sums of products.

        Parameters
        ----------
        a, c : (B, T, F) arrays of float32 or float64, or (B, F) ones
            Of one dtype, and of the same size along their axes.

        Returns
        -------
        y : array
            (B, the axis left of a, the axis left of c), without those that there are not; (B, 1)
            of two vectors.

        Raises
        ------
        TypeError, ValueError
            For wrong dtypes or shapes.
        """
        return self._run(a, c)[0]

    def forward(self, a: Array, c: Array) -> tuple[Array, Tape]:
        """Return the sums of products, and the tape; as a call otherwise."""
        return self._run(a, c)

    def _run(self, a: Array, c: Array) -> tuple[Array, Tape]:
        for name, x in ("a", a), ("c", c):
            check_floats("Dot", name, x)
        dtype = a.dtype.newbyteorder("=")
        if c.dtype.newbyteorder("=") != dtype:
            raise TypeError(f"Dot expected inputs of one dtype, got {[a.dtype, c.dtype]}")
        fit = all(x.ndim == 3 - flag for x, flag in zip((a, c), self.vectors, strict=True))
        if not fit or len(a) != len(c) or a.shape[self.axes[0]] != c.shape[self.axes[1]]:
            raise ValueError(
                f"Dot expected inputs of {[3 - flag for flag in self.vectors]} axes, of the same "
                f"sizes on the first and on axes {self.axes}, got {a.shape} and {c.shape}"
            )
        rows = np.moveaxis(a, self.axes[0], -1).astype(dtype, copy=False)
        columns = np.moveaxis(c, self.axes[1], 1).astype(dtype, copy=False)
        shape = rows.shape[:-1] + columns.shape[2:]
        rows = rows[:, None] if self.vectors[0] else rows
        columns = columns[..., None] if self.vectors[1] else columns
        y = (rows @ columns).reshape(shape if len(shape) > 1 else (*shape, 1))
        return y, Tape(self, (rows, columns, dtype, y.shape))

    def backward(self, tape: Tape, dy: Array, input_grad: bool = True) -> Any:
        """Return the gradients of the inputs.

        Parameters
        ----------
        tape : Tape
            From `forward`; used up.
        dy : array of the shape of y
        input_grad : bool, default True
            Whether the gradients are wanted.

        Returns
        -------
        da, dc : arrays of the shapes of the inputs, or None
        """
        rows, columns, dtype, shape = self._open(tape)
        self._use_up(tape, dy, dtype, shape)
        if not input_grad:
            return None
        dy = dy.reshape(len(rows), rows.shape[1], columns.shape[2])
        da, dc = dy @ columns.swapaxes(1, 2), rows.swapaxes(1, 2) @ dy
        da = da[:, 0] if self.vectors[0] else da
        dc = dc[..., 0] if self.vectors[1] else dc
        return np.moveaxis(da, -1, self.axes[0]), np.moveaxis(dc, 1, self.axes[1])

    def _inputs(self, x: Any, state: Any, lengths: Any, origin: Any) -> tuple[Any, ...]:
        if lengths is not None:
            raise ValueError("Dot expected no lengths: all steps of its inputs count")
        return super()._inputs(x, state, lengths, origin)

    def _in_time(self, reads: tuple[str, ...]) -> tuple[str, ...]:
        pairs = zip(reads, self.vectors, strict=True)
        return tuple(name for name, flag in pairs if not flag)

    def _size_behind(self, sizes: list[int | None]) -> int | None:
        features = [
            None if flag or axis == 2 else size  # what is left of it is steps, or nothing
            for size, axis, flag in zip(sizes, self.axes, self.vectors, strict=True)
        ]
        return 1 if all(self.vectors) else features[0 if self.vectors[1] else 1]

    def out_steps(self, steps: str, given: str) -> str:
        """Return the steps of outputs as a formula."""
        return "" if not self.keeps_time else steps if self.axes[0] == 2 else "steps"


def _summed(gradient: Array, shape: tuple[int, ...]) -> Array:
    # over the axes along which an input was repeated
    axes = tuple(i for i, n in enumerate(shape) if n != gradient.shape[i])
    return gradient.sum(axis=axes, keepdims=True) if axes else gradient
