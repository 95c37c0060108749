"""Comparisons of results: within bounds, equal to the bit, or with finite differences."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import tolerances
from cases import Case, DenseCase, Problem, make
from numpy.typing import DTypeLike, NDArray
from run_cases import RUNNERS, Draw, masks_alone, run
from samples import odd_layouts

from rnnfast.reference import dense

Array = NDArray[Any]


def check(
    got: Mapping[str, Array], want: Mapping[str, Array], case: Case, dtype: DTypeLike
) -> None:
    """Raise AssertionError unless all results are within the table's bounds of the wanted ones."""
    assert got.keys() == want.keys(), f"results {sorted(got)}, wanted {sorted(want)}"
    for name, value in got.items():
        close(name, value, want[name], tolerances.recurrent(case, name, dtype, want[name]), dtype)


def close(name: str, got: Any, want: Any, bound: Any, dtype: DTypeLike) -> None:
    """Raise AssertionError unless ``|got - want| <= bound``, element by element, shapes equal."""
    assert got.dtype == dtype, f"{name} is {got.dtype}, wanted {np.dtype(dtype)}"
    assert got.shape == want.shape, f"{name} has shape {got.shape}, wanted {want.shape}"
    error = np.abs(got.astype(np.float64) - want)
    wrong = ~(error <= bound)  # NaN is wrong too
    if wrong.any():
        index = tuple(int(i) for i in np.argwhere(wrong)[0])
        limit = np.broadcast_to(bound, got.shape)[index]
        raise AssertionError(
            f"{name}: {wrong.sum()} of {got.size} elements off; first at {index}: got "
            f"{got[index]}, wanted {want[index]}, error {error[index]:.3g}, bound {limit:.3g}"
        )


def same_bits(got: Mapping[str, Array], want: Mapping[str, Array], why: str) -> None:
    """Raise AssertionError unless all results are equal to the bit."""
    assert got.keys() == want.keys()
    different = [name for name in got if digest(got[name]) != digest(want[name])]
    assert not different, f"{', '.join(different)} changed {why}"


def digest(array: Array) -> str:
    return hashlib.sha256(repr((array.dtype, array.shape)).encode() + array.tobytes()).hexdigest()


def check_dense(
    got: Mapping[str, Array], want: Mapping[str, Array], case: DenseCase, dtype: DTypeLike
) -> None:
    """Raise AssertionError unless all results are within the table's bounds of the wanted ones."""
    assert got.keys() == want.keys()
    draw = Draw(case, np.float64, absolute=True)
    absolute = RUNNERS[case.function](dense, case, draw)
    for name, value in got.items():
        bound = tolerances.dense(case, name, dtype, want, absolute)
        close(name, value, want[name], bound, value.dtype if name == "sum_squares" else dtype)


def check_packed_rows(module: Any, p: Problem) -> None:
    """Packed rows must give the bits of padded ones, with samples longest first."""
    assert p.lengths is not None
    padded = copy.copy(p)
    padded.lengths = -np.sort(-p.lengths)
    active = np.arange(p.case.T)[:, None] < padded.lengths
    rows = copy.copy(padded)
    rows.x, rows.dy = p.x[active], p.dy[active]
    want = run(module, padded)
    want |= {name: want[name][active] for name in ("y", "dx")}
    same_bits(run(module, rows), want, "with packed rows")


def check_segments(module: Any, p: Problem, dtype: DTypeLike) -> None:
    """A call with resets must give what calls of the parts between them give."""
    assert p.resets is not None
    got = run(module, p)
    want = {name: np.zeros_like(value) for name, value in got.items()}
    for b in range(p.case.B):
        length = p.case.T if p.lengths is None else int(p.lengths[b])
        cuts = [0, *(np.flatnonzero(p.resets[1:length, b]) + 1), length]
        for start, stop in pairwise(cuts):
            # directions come to the state given, and to the end, at either end of the sample
            first, last = start == 0, stop == length
            starts = np.array([first and not p.resets[: min(length, 1), b].any(), last] * p.case.L)
            starts, ends = (
                both[:: 3 - p.case.D] for both in (starts, np.array([last, first] * p.case.L))
            )
            steps, one = slice(start, stop), slice(b, b + 1)
            alone = copy.copy(p)
            alone.case = replace(p.case, B=1, T=stop - start, lengths="", resets=0.0)
            alone.lengths = alone.resets = None
            alone.x, alone.dy = p.x[steps, one].copy(), p.dy[steps, one].copy()
            alone.masks = masks_alone(p, b, steps)
            for name, there in dict(h0=starts, c0=starts, dh_n=ends, dc_n=ends).items():
                if getattr(p, name) is not None:
                    given = np.where(there[:, None, None], getattr(p, name)[:, one], 0.0)
                    setattr(alone, name, given.astype(p.dtype))
            where = dict(h_n=ends, c_n=ends, dh0=starts, dc0=starts)
            for name, value in run(module, alone).items():
                if name in ("y", "dx"):
                    want[name][steps, one] = value
                elif name in where:
                    want[name][where[name], b] = value[where[name], 0]
                else:
                    want[name] += value
    check(got, want, p.case, dtype)


def check_projection_is_bounded(module: Any) -> None:
    weights = make(Case("lstm", B=1, T=1, I=2, H=3, P=5)).weights
    with pytest.raises(ValueError, match="not be larger than the 3 units, got 5"):
        module.pack("lstm", weights, 1, 1, False, (0.0, 0.0))


def slopes(function: Callable[[], float], array: Any) -> Any:
    """Central differences of a function by each element of an array that it reads."""
    slope = np.empty_like(array)
    for i in np.ndindex(array.shape):
        kept = array[i]
        array[i] = kept + tolerances.FINITE_STEP
        up = function()
        array[i] = kept - tolerances.FINITE_STEP
        down = function()
        array[i] = kept
        slope[i] = (up - down) / (2 * tolerances.FINITE_STEP)
    return slope


def same_slope(name: str, got: Any, function: Callable[[], float], array: Any) -> None:
    want = slopes(function, array)
    bound = tolerances.FINITE_BOUND * max(1.0, np.abs(want).max(initial=0.0))
    close(name, got, want, bound, np.float64)


def same_slopes(layer: Any, loss: Callable[[], float]) -> None:
    """Compare ``layer.grads`` with finite differences of `loss`, which calls the layer."""
    for name in layer.params:
        array = layer.params[name].copy()

        def perturbed(name: str = name, array: Any = array) -> float:
            layer.params[name] = array
            return loss()

        same_slope(name, layer.grads[name], perturbed, array)
        layer.params[name] = array


def checked(layer: Any, x: Any, *args: Any) -> None:
    """Compare gradients with finite differences."""
    y, tape = layer.forward(x, *args)
    dy = np.random.default_rng(5).standard_normal(y.shape)

    def loss() -> float:
        return float(np.vdot(layer(x, *args), dy))

    dx = layer.backward(tape, dy)
    same_slope("dx", dx, loss, x)
    same_slopes(layer, loss)


def same_in_any_layout(layer: Any, x: Any) -> None:
    """Compare results, forward and backward, on arrays in odd layouts with those on plain ones."""
    y, tape = layer.forward(x)
    dy = np.random.default_rng(2).standard_normal(y.shape).astype(y.dtype)
    want = [y, layer.backward(tape, dy), *(grad.copy() for grad in layer.grads.values())]
    odd = odd_layouts(dy)
    for kind, odd_x in odd_layouts(x).items():
        layer.zero_grad()
        y, tape = layer.forward(odd_x)
        got = [y, layer.backward(tape, odd[kind]), *layer.grads.values()]
        np.testing.assert_array_equal(odd_x, x)
        for a, b in zip(got, want, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b, err_msg=kind)
