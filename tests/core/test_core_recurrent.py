"""The engine against the float64 reference, on every instruction set, in both real types."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tolerances
from cases import CORRECTNESS, THREADS, Case, make, named
from comparisons import (
    check,
    check_packed_rows,
    check_projection_is_bounded,
    check_segments,
    close,
    same_bits,
)
from run_cases import (
    copy_of,
    inputs,
    masks_alone,
    name_grads,
    poisoned,
    run,
    run_forward,
    truth,
    weight_grads,
)

from rnnfast.cells import CELLS
from rnnfast.reference import recurrent as reference
from rnnfast.weights import Masks, Weights

pytestmark = pytest.mark.usefixtures("isa")
both_types = pytest.mark.parametrize("dtype", [np.float32, np.float64])
every_cell = pytest.mark.parametrize("cell", CELLS)


def small(cell, **changes):
    """A case with every option at once, and with each of its sizes different."""
    sizes = dict(B=7, T=6, I=5, H=19, L=2, D=2, lengths="ragged", dropout=0.4)
    sizes |= dict(norm=True, recurrent=0.3, zone=0.3)
    sizes["P"] = 11 if CELLS[cell].has_cell_state else 0
    return Case(cell, **{**sizes, **changes}).possible()


@both_types
@pytest.mark.parametrize("case", **named(CORRECTNESS))
def test_equals_the_reference(core, runtime, case, dtype):
    with runtime.num_threads(2):
        check(run(core, make(case, dtype)), truth(case), case, dtype)


@pytest.mark.parametrize("case", **named(THREADS))
def test_equals_the_reference_where_threads_share_the_work(core, runtime, case):
    with runtime.num_threads(3):
        check(run(core, make(case, np.float32)), truth(case), case, np.float32)


@every_cell
def test_inference_gives_the_bits_of_training(core, cell):
    for case in (small(cell), Case(cell, B=1, T=4, I=300, H=70)):
        problem = make(case, np.float32)
        inference, _, tape = run_forward(core, problem, training=False)
        training, _, _ = run_forward(core, problem, training=True)
        assert tape is None
        same_bits(inference, training, "with training")


@every_cell
def test_only_wanted_results_are_computed_and_none_means_zeros(core, cell):
    problem = make(small(cell), np.float64)
    full = run(core, problem)
    _, packed, tape = run_forward(core, problem, training=True)
    dx = poisoned(full["dx"].shape, np.float64)
    core.backward(packed, tape, problem.dy, problem.dh_n, problem.dc_n, dx, None, None, None)
    same_bits({"dx": dx}, {"dx": full["dx"]}, "without the other results")

    _, packed, tape = run_forward(core, problem, training=True)
    grads = weight_grads(problem)
    core.backward(packed, tape, problem.dy, problem.dh_n, problem.dc_n, None, None, None, grads)
    got = name_grads(grads)
    same_bits(got, {name: full[name] for name in got}, "without the other results")

    for name in ("dy", "dh_n", "dc_n"):
        given = copy_of(problem)
        if getattr(given, name) is None:
            continue
        getattr(given, name)[...] = 0.0
        zeros = run(core, given)
        setattr(given, name, None)
        none = run(core, given)
        for result, value in none.items():  # not to the bit: 0 + -0 is 0
            assert np.array_equal(value, zeros[result]), f"{result} with {name}=None"


@both_types
@every_cell
def test_gradients_of_parameters_are_added(core, cell, dtype):
    case = small(cell)
    problem = make(case, dtype)
    _, packed, tape = run_forward(core, problem, training=True)
    grads = weight_grads(problem)
    for entry in grads:
        for g in entry:
            if g is not None:
                g[...] = 1.0
    core.backward(packed, tape, problem.dy, problem.dh_n, problem.dc_n, None, None, None, grads)
    want = {name: truth(case)[name] + 1 for name in name_grads(grads)}
    check(name_grads(grads), want, case, dtype)


@every_cell
def test_the_pack_is_a_snapshot(core, cell):
    problem = make(small(cell), np.float32)
    want, packed, _ = run_forward(core, problem)
    for weights in problem.weights:
        for array in weights:
            if array is not None:
                array[...] = np.nan
    got = {name: poisoned(a.shape, a.dtype) for name, a in want.items()}
    p = problem
    core.forward(
        packed, p.x, p.h0, p.c0, p.lengths, p.masks, got["y"], got["h_n"], got.get("c_n"), False
    )
    same_bits(got, want, "after the weights changed")


@every_cell
def test_inputs_may_be_read_only_and_stay_as_they_are(core, cell):
    problem = make(small(cell), np.float32)
    before = inputs(copy_of(problem))
    want = run(core, problem)
    same_bits(inputs(problem), before, "though it is an input")
    for array in inputs(problem).values():
        array.flags.writeable = False
    same_bits(run(core, problem), want, "with read-only inputs")


def strided(x):
    """Arrays equal to x (T, B, I) in every layout that the core takes."""
    T, B, I = x.shape  # noqa: E741
    wide = np.full((T, B, I + 5), np.nan, x.dtype)
    wide[:, :, 2 : I + 2] = x
    yield "part of wider rows", wide[:, :, 2 : I + 2]
    yield "batch first", np.ascontiguousarray(x.transpose(1, 0, 2)).transpose(1, 0, 2)
    yield "backwards in time", np.ascontiguousarray(x[::-1])[::-1]
    yield "backwards in the batch", np.ascontiguousarray(x[:, ::-1])[:, ::-1]
    sparse = np.full((2 * T, 3 * B, I), np.nan, x.dtype)
    sparse[::2, ::3] = x
    yield "every other row", sparse[::2, ::3]


@every_cell
def test_x_y_and_their_gradients_may_be_strided(core, cell):
    problem = make(small(cell), np.float32)
    want = run(core, problem)
    for name in ("x", "dy"):
        for layout, array in strided(getattr(problem, name)):
            same_bits(run(core, copy_with(problem, **{name: array})), want, f"{name} {layout}")

    forward, _, _ = run_forward(core, problem)
    for layout, y in strided(poisoned(want["y"].shape, np.float32)):
        got, _, _ = run_forward(core, problem, y=y)
        same_bits(got, forward, f"with y {layout}")
        only_written(y, layout)
    for layout, dx in strided(poisoned(want["dx"].shape, np.float32)):
        _, packed, tape = run_forward(core, problem, training=True)
        states = (np.empty_like(want["dh0"]), np.empty_like(want["dc0"]) if "dc0" in want else None)
        given = (problem.dy, problem.dh_n, problem.dc_n)
        core.backward(packed, tape, *given, dx, *states, weight_grads(problem))
        same_bits({"dx": dx}, {"dx": want["dx"]}, f"with dx {layout}")
        only_written(dx, layout)

    for axis in (0, 1):  # one time step, or one sample, for all: a stride of 0
        row = np.take(problem.x, [1], axis)
        x = np.broadcast_to(row, problem.x.shape)
        want = run(core, copy_with(problem, x=x.copy()))
        same_bits(run(core, copy_with(problem, x=x)), want, "with a broadcast x")


def only_written(view, layout):
    whole = view if view.base is None else view.base
    assert np.isnan(whole).sum() == whole.size - view.size, f"more was written, {layout}"


def copy_with(problem, **changes):
    changed = copy.copy(problem)
    for name, value in changes.items():
        setattr(changed, name, value)
    return changed


@every_cell
def test_full_lengths_give_the_bits_of_no_lengths(core, cell):
    problem = make(small(cell, lengths="full"), np.float32)
    same_bits(run(core, copy_with(problem, lengths=None)), run(core, problem), "with full lengths")


@both_types
@every_cell
def test_packed_rows_give_the_bits_of_padded_ones(core, cell, dtype):
    nobody = small(cell, lengths="zero", dropout=0.0, zone=0.0)
    for case in (small(cell), small(cell, B=29, T=10, H=48, L=1), nobody):
        check_packed_rows(core, make(case, dtype))


@both_types
@every_cell
def test_resets_make_calls_of_their_own(core, cell, dtype):
    for case in (small(cell, resets=0.3), small(cell, B=2, H=190, L=1, lengths="", resets=0.4)):
        check_segments(core, make(case, dtype), dtype)


@every_cell
def test_resets_inference_gives_the_bits_of_training_and_padding_is_ignored(core, cell):
    problem = make(small(cell, resets=0.3), np.float32)
    training, _, _ = run_forward(core, problem, training=True)
    inference, _, _ = run_forward(core, problem, training=False)
    same_bits(inference, training, "with training")
    want = run(core, problem)
    past = np.arange(problem.case.T)[:, None] >= problem.lengths
    same_bits(
        run(core, copy_with(problem, resets=problem.resets | past)), want, "by resets of padding"
    )
    check_packed_rows(core, problem)


def test_resets_of_another_kind_are_refused(core):
    problem = make(Case("gru", B=2, T=3, I=1, H=2), np.float32)
    for resets in (np.zeros((2, 3), bool), np.zeros((3, 2), np.int8), [[True, False]] * 3):
        with pytest.raises(ValueError, match=r"resets must be a bool array of shape \(3, 2\), got"):
            run_forward(core, copy_with(problem, resets=resets))


def test_projection_is_bounded(core):
    check_projection_is_bounded(core)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([6, 6, 5, 4, 3, 2, 1], "x must have 27 rows, the sum of lengths, got 26"),
        ([4, 4, 4, 5, 4, 3, 2], "lengths must be from 0 to 4, got 5"),
        ([6, 5, 4, 2, 3, 3, 3], "lengths of packed rows must not grow"),
        ([-1, 6, 6, 6, 6, 3, 0], "lengths must be from 0 to 0, got -1"),
        ([1 << 62, 6, 6, 6, 6, 3, 0], f"lengths must be from 0 to 26, got {1 << 62}"),
    ],
)
def test_packed_rows_must_fit_the_lengths(core, lengths, message):
    problem = make(small("lstm"), np.float32)
    x = np.zeros((26, 5), np.float32)
    rows = copy_with(problem, x=x, lengths=np.array(lengths), masks=None)
    with pytest.raises(ValueError, match=message):
        run_forward(core, rows)


@every_cell
def test_padding_never_leaks(core, cell):
    problem = make(small(cell, B=13), np.float32)
    want = run(core, problem)
    padding = np.arange(problem.x.shape[0])[:, None] >= problem.lengths
    for garbage in (np.nan, np.inf, 1e30):
        dirty = copy_of(problem)
        dirty.x[padding] = garbage
        dirty.dy[padding] = garbage
        same_bits(run(core, dirty), want, f"with {garbage} in the padding")
    assert not want["y"][padding].any()
    assert not want["dx"][padding].any()


@both_types
@every_cell
def test_ragged_batch_equals_each_sample_alone(core, cell, dtype):
    case = small(cell, B=8, T=7)
    problem = make(case, dtype)
    got = run(core, problem)
    want = {name: np.zeros_like(value) for name, value in got.items()}
    for b, length in enumerate(problem.lengths):
        one = slice(b, b + 1)
        alone = copy_with(problem, lengths=None, case=small(cell, B=1, T=int(length), lengths=""))
        for name in ("x", "dy"):
            setattr(alone, name, getattr(problem, name)[:length, one].copy())
        alone.masks = masks_alone(problem, b)
        for name in ("h0", "c0", "dh_n", "dc_n"):
            if getattr(problem, name) is not None:
                setattr(alone, name, getattr(problem, name)[:, one].copy())
        for name, value in run(core, alone).items():
            if name in ("y", "dx"):
                want[name][:length, one] = value
            elif name in ("h_n", "c_n", "dh0", "dc0"):
                want[name][:, one] = value
            else:
                want[name] += value
    check(got, want, case, dtype)


@every_cell
@pytest.mark.parametrize("sizes", [dict(B=13, H=33), dict(B=2, H=200), dict(B=8, H=16, I=300)])
def test_nan_and_inf_stay_in_their_sample(core, runtime, cell, sizes):
    for lengths in ("", "full"):
        problem = make(small(cell, P=0, lengths=lengths, dropout=0.0, **sizes), np.float32)
        bad = 1
        rest = np.arange(problem.case.B) != bad
        with runtime.num_threads(3):
            want = run(core, problem)
            for name in ("x", "h0", "c0", "dy", "dh_n", "dc_n"):
                for garbage in (np.nan, np.inf, -np.inf):
                    if getattr(problem, name) is None:
                        continue
                    dirty = copy_of(problem)
                    getattr(dirty, name)[:, bad, ::3] = garbage
                    got = run(core, dirty)
                    for result in ("y", "h_n", "c_n", "dx", "dh0", "dc0"):
                        if result in got:
                            same_bits(
                                {result: got[result][:, rest]},
                                {result: want[result][:, rest]},
                                f"in other samples by {garbage} in {name}",
                            )
                    if name == "x" and np.isnan(garbage):
                        assert np.isnan(got["y"][:, bad]).all(), "NaN was turned into a number"


@both_types
@every_cell
def test_huge_inputs_saturate(core, cell, dtype):
    case = small(cell, L=1, dropout=0.0, norm=False)  # whose squares overflow
    problem = make(case, dtype)
    # an unbounded candidate passes x on to gradients, whose products with x must fit
    problem.x[...] = np.copysign(1e15 if CELLS[cell].input_only else 1e30, problem.x)
    want = run(reference, copy_with(problem, dtype=np.dtype(np.float64), **in_float64(problem)))
    got = run(core, problem)
    for name, value in got.items():
        assert np.isfinite(value).all(), name
        if np.abs(want[name]).max() < 1e6:  # a relu does not saturate, nor do its gradients
            bound = tolerances.recurrent(case, name, dtype, want[name])
        else:
            bound = tolerances.recurrent(case, name, dtype, 1.0) * np.abs(want[name]).max()
        close(name, value, want[name], bound, dtype)
    if np.abs(want["y"]).max() <= 1.0 and not case.P:
        assert np.abs(got["y"]).max() <= 1.0, "a saturated state lies beyond one"


def in_float64(problem):
    changed = {
        name: getattr(problem, name).astype(np.float64)
        for name in ("x", "h0", "c0", "dy", "dh_n", "dc_n")
        if getattr(problem, name) is not None
    }
    if problem.masks is not None:
        changed["masks"] = Masks(
            *[None if m is None else m.astype(np.float64) for m in problem.masks]
        )
    changed["weights"] = [
        Weights(*[None if w is None else w.astype(np.float64) for w in entry])
        for entry in problem.weights
    ]
    return changed


@every_cell
def test_one_pack_serves_many_threads_at_once(core, runtime, cell):
    problem = make(small(cell, B=16, H=64), np.float32)
    want = run(core, problem)
    c = problem.case
    packed = core.pack(c.cell, problem.weights, c.L, c.D, True, c.zones)

    class OnePack:
        pack = staticmethod(lambda *_: packed)
        forward, backward = staticmethod(core.forward), staticmethod(core.backward)

    with runtime.num_threads(2), ThreadPoolExecutor(8) as pool:
        for got in pool.map(lambda _: run(OnePack, problem), range(24)):
            same_bits(got, want, "with several threads calling")


@pytest.mark.parametrize("field", Weights._fields)
def test_engine_and_python_name_weights_alike(core, field):
    [weights] = make(Case("lstm_peephole", B=1, T=1, I=2, H=3, P=2, norm=True), "f4").weights
    wrong = weights._replace(**{field: getattr(weights, field).astype(np.int32)})
    core.pack("lstm_peephole", [weights], 1, 1, True, (0.0, 0.0))
    with pytest.raises(TypeError, match="float" if field == "w_ih" else f"{field} must"):
        core.pack("lstm_peephole", [wrong], 1, 1, True, (0.0, 0.0))


@pytest.mark.parametrize("I", [0, 3, 40])
@pytest.mark.parametrize("missing", ["b_ih", "b_hh"])
@pytest.mark.parametrize("cell", [name for name, row in CELLS.items() if not row.input_only])
def test_either_bias_may_be_missing_alone(core, cell, missing, I):  # noqa: E741
    rng, H, gates = np.random.default_rng(0), 5, CELLS[cell].gates
    shapes = [(gates * H, I), (gates * H, H), (gates * H,), (gates * H,)]
    weights = Weights(*[rng.standard_normal(shape) for shape in shapes])._replace(**{missing: None})
    if rows := CELLS[cell].own_rows:
        weights = weights._replace(w_own=rng.standard_normal(rows * H))
    x, dy = rng.standard_normal((4, 3, I)), rng.standard_normal((4, 3, H))

    def gradients(recurrent):
        packed = recurrent.pack(cell, [weights], 1, 1, True, (0.0, 0.0))
        c_n = np.empty((1, 3, H)) if CELLS[cell].has_cell_state else None
        y, h_n = np.empty((4, 3, H)), np.empty((1, 3, H))
        tape = recurrent.forward(packed, x, None, None, None, None, y, h_n, c_n, True)
        grads = Weights(*[None if w is None else np.zeros_like(w) for w in weights])
        recurrent.backward(packed, tape, dy, None, None, None, None, None, [grads])
        return grads

    for got, want in zip(gradients(core), gradients(reference), strict=True):
        assert (got is None) == (want is None)
        if want is not None:
            np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)
