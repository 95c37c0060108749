"""Threads and forked processes: their number, several callers at once, children that compute."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from comparisons import same_bits
from engines import ENGINES
from processes import needs_fork, needs_proc, run_program

import rnnfast


@needs_fork
@needs_proc
def test_forked_children_compute():
    """P4: after a parallel call a child runs forward and backward, alone and beside threads."""
    run_program("forks")


def test_multiprocessing_pools():
    """P4: every start method that this system has."""
    assert "spawn" in run_program("pools")


@needs_proc
def test_callers_in_many_threads_get_their_number_of_threads():
    """P5: each Python thread that calls has a team of its own, no larger than was asked for."""
    run_program("callers", 1, 3, 2, 1)
    run_program("callers", OMP_NUM_THREADS="1")


@pytest.mark.skipif(not os.path.exists("/proc/thread-self/schedstat"), reason="no such counts here")
def test_beside_busy_processes_short_calls_take_one_thread(runtime):
    """P2, P5, P33: unless a number was set, and with the same bits."""
    if runtime.kernels.openmp():
        run_program("beside_others")


def step(layer, x):
    """One training step of a layer; its output and gradients."""
    layer.zero_grad()
    y, _, tape = layer.forward(x)
    dx, _ = layer.backward(tape, y)
    return {"y": y, "dx": dx, **{name: grad.copy() for name, grad in layer.grads.items()}}


def test_eight_threads_train_layers_of_their_own():
    """P17: with teams of threads, and large enough that these are used."""
    rng = np.random.default_rng(0)
    kinds = [rnnfast.LSTM, rnnfast.GRU, rnnfast.RNN]
    layers = [kinds[i % 3](20, 64, 1 + i % 2, bidirectional=i > 4, seed=i) for i in range(8)]
    xs = [rng.standard_normal((20, 1 + 3 * i, 20)).astype(np.float32) for i in range(8)]
    with rnnfast.num_threads(2), ThreadPoolExecutor(8) as pool:
        want = [step(layer, x) for layer, x in zip(layers, xs, strict=True)]
        for _ in range(8):
            for got, expected in zip(pool.map(step, layers, xs), want, strict=True):
                same_bits(got, expected, "with eight threads calling")


@pytest.mark.parametrize("engine", ENGINES)
def test_eight_threads_serve_and_train_one_layer(engine):
    """P17: outputs to the bit; gradients are added in any order."""
    rng = np.random.default_rng(1)
    layer = rnnfast.LSTM(20, 64, 2, seed=0)
    xs = [rng.standard_normal((20, 1 + i % 11, 20)).astype(np.float32) for i in range(48)]
    backend = rnnfast.backend.use
    with backend(engine), rnnfast.num_threads(2), ThreadPoolExecutor(8) as pool:
        want = [step(layer, x) for x in xs]
        layer.zero_grad()
        layer._pack = None  # all threads find it missing

        def call(x):
            with backend(engine):  # which holds for one thread
                served, _ = layer(x)
                y, _, tape = layer.forward(x)
                dx, _ = layer.backward(tape, y)
            return {"y": y, "dx": dx}, served

        for (got, served), expected in zip(pool.map(call, xs), want, strict=True):
            same_bits(got, {name: expected[name] for name in got}, "with eight threads calling")
            same_bits({"y": served}, {"y": got["y"]}, "without training")
    for name, grad in layer.grads.items():
        total = sum(expected[name].astype(np.float64) for expected in want)
        scale = sum(np.abs(expected[name]) for expected in want).max()
        assert np.abs(grad - total).max() <= 48 * np.finfo(np.float32).eps * scale, name


@needs_proc
def test_a_call_runs_on_fewer_threads_where_the_system_starts_no_more(runtime):
    """P26: OpenMP alone would end the process."""
    few, many = map(int, run_program("no_threads"))
    assert few == 0
    assert many == (3 if runtime.kernels.openmp() else 0)
