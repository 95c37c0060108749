"""Results do not depend on threads, nor on which of the two wide instruction sets computes."""

from __future__ import annotations

import ctypes
import mmap
import platform
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np
import pytest
from cases import CORRECTNESS, THREADS, Case, make, named
from comparisons import same_bits
from engines import fused_sets
from run_cases import run, run_forward

from rnnfast.cells import CELLS

both_types = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@both_types
@pytest.mark.parametrize("case", **named(THREADS))
def test_any_number_of_threads_gives_the_same_bits(core, runtime, isa, case, dtype):
    problem = make(case, dtype)
    with runtime.num_threads(1):
        want = run(core, problem)
    for threads in (2, 3, 7):
        with runtime.num_threads(threads):
            same_bits(run(core, problem), want, f"with {threads} threads instead of 1")


@both_types
@pytest.mark.parametrize("cell", CELLS)
def test_all_sets_with_fused_multiply_adds_give_the_same_bits(core, runtime, cell, dtype):
    first, *others = fused_sets(runtime)
    before = runtime.isa()
    try:
        for case in (c for c in CORRECTNESS + THREADS if c.cell == cell):
            problem, results = make(case, dtype), []
            for name in (first, *others):
                runtime.set_isa(name)
                results.append(run(core, problem))
            for name, result in zip(others, results[1:], strict=True):
                same_bits(result, results[0], f"with {name} instead of {first} in {case}")
    finally:
        runtime.set_isa(before)


@pytest.mark.parametrize("options", [{}, dict(norm=True, recurrent=0.3, zone=0.3)], ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_where_the_engine_changes_its_ways_changes_no_bit(core, runtime, cell, options):
    from rnnfast.core import job

    case = Case(cell, B=5, T=7, I=33, H=130, L=2, **options).possible()
    problem = make(case, np.float32)
    before, never, always = job.tune(), 1 << 60, 0
    with runtime.num_threads(3):
        want = run(core, problem)
        try:
            for work, shared, slices, rows, size, kept in product(
                (always, never), (always, never), (0, 100), (0, 100), (1, 1 << 20), (always, never)
            ):
                changes = dict(
                    serial_work=work,
                    shared_step_work=shared,
                    shared_rows=slices,
                    few_rows=rows,
                    product_rows=rows,
                    shared_weights=0,
                    cached_weights=0,
                    far_weights=kept,
                    product_bytes=size,
                    kept_sums_work=kept,
                )
                job.tune(**changes)
                same_bits(run(core, problem), want, f"with {changes}")
        finally:
            job.tune(**before)


OPTIONS = [{}, dict(norm=True, zone=0.3, draw=False, resets=0.3), dict(P=5)]


@both_types
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_a_direction_a_thread_gives_the_same_bits(core, runtime, cell, options, dtype):
    # a lone sample in two directions, at inference
    from rnnfast.core import job

    problem = make(Case(cell, B=1, T=9, I=33, H=40, D=2, **options).possible(), dtype)
    before = job.tune()
    with runtime.num_threads(1):
        want, _, _ = run_forward(core, problem)
    try:
        for threads, rows, size in product((2, 4), (0, 100), (1, 4096, 1 << 20)):
            changes = dict(few_rows=rows, product_rows=rows, product_bytes=size)
            job.tune(serial_work=0, cached_weights=0, **changes)
            with runtime.num_threads(threads):
                got, _, _ = run_forward(core, problem)
            same_bits(got, want, f"with {threads} threads and {changes}")
    finally:
        job.tune(**before)


def control_word():
    """The floating-point control register of this thread (x86): rounding, masks, flushing."""
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\x0f\xae\x1f\xc3")  # stmxcsr [rdi]; ret
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    word = ctypes.c_uint32()
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)(ctypes.addressof(word))
    return word.value & 0xFFC0  # without the six flags that any operation raises


def floating_point_state():
    tiny = np.full(8, np.finfo(np.float32).smallest_subnormal, np.float32)
    # compared as integers, for where denormals are taken for zero they equal it
    denormals_count = bool(((tiny * np.float32(3)).view(np.int32) == 3).all())
    try:
        word = control_word() if platform.machine() == "x86_64" else None
    except OSError:  # a kernel that grants no executable memory
        word = None
    return denormals_count, word


@pytest.mark.parametrize("cell", CELLS)
def test_floating_point_state_is_left_alone(core, runtime, isa, cell):
    problem = make(Case(cell, B=24, T=5, I=9, H=40, L=2, D=2, lengths="ragged"), np.float32)

    def before_and_after(_):
        before = floating_point_state()
        run(core, problem)
        return before, floating_point_state()

    with runtime.num_threads(3), ThreadPoolExecutor(4) as pool:
        for before, after in [before_and_after(0), *pool.map(before_and_after, range(8))]:
            assert before[0], "denormals were flushed before the call"
            assert after == before
