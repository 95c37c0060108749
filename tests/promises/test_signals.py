"""Kills and interrupts: files stay whole, trainings go on, long calls end."""

from __future__ import annotations

import importlib
import os
import signal
import sys

import numpy as np
import pytest
from processes import needs_fork, run_program

import rnnfast
from rnnfast.io import _rebuild
from rnnfast.layers.base import blank


@needs_fork
def test_kill_while_saving_leaves_a_whole_file(tmp_path, ending):
    """P15: the older file or the newer one, at whatever moment the process dies."""
    assert run_program("kills_while_saving", tmp_path / f"model{ending}") == ["25"]


@needs_fork
def test_killed_training_resumes_to_the_same_bits(tmp_path, ending):
    """P15: whatever the moments at which it was killed."""
    (kills,) = run_program("resumed_training", tmp_path / f"position{ending}")
    assert int(kills) > 1


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("direction", ["inference", "forward", "backward"])
def test_interrupt_ends_a_long_call(runtime, direction, threads):
    """P16: KeyboardInterrupt soon, gradients untouched, the layer usable."""
    run_program("interrupt", direction, threads)


def ones(*shape):
    return np.ones(shape)


def linear(core_dense):
    x, y = ones(1600, 1600), np.full((1600, 1600), np.nan)
    return (y,), lambda: core_dense.linear(x, x, None, y)


def linear_input(core_dense):
    dx, dw = np.full((1600, 1600), np.nan), np.zeros((1600, 1600))
    x = ones(1600, 1600)
    return (dx, dw), lambda: core_dense.linear_backward(x, x, x, dx, dw, None)


def linear_weight(core_dense):
    x, dw = ones(1600, 1600), np.zeros((1600, 1600))
    return (dw,), lambda: core_dense.linear_backward(x, x, x, None, dw, None)


def conv(core_dense):
    x, w, y = ones(1, 2400, 800), ones(800, 800, 3), np.full((1, 2398, 800), np.nan)
    return (y,), lambda: core_dense.conv1d(x, w, None, 1, 1, y)


def conv_input(core_dense):
    x, w, y = ones(1, 2400, 800), ones(800, 800, 3), ones(1, 2398, 800)
    dx, dw = np.full(x.shape, np.nan), np.zeros(w.shape)
    return (dx, dw), lambda: core_dense.conv1d_backward(x, w, y, 1, 1, dx, dw, None)


def conv_weight(core_dense):
    x, w, y, dw = ones(1, 2400, 800), ones(800, 800, 3), ones(1, 2398, 800), np.zeros((800, 800, 3))
    return (dw,), lambda: core_dense.conv1d_backward(x, w, y, 1, 1, None, dw, None)


def one_step(_):
    packed = rnnfast.GRU(600, 600, dtype=np.float64, seed=0).packed(True)
    x, y = ones(1, 2000, 600), np.full((1, 2000, 600), np.nan)
    return (y,), lambda: packed.forward(x, None, None, None, None, y, False)


def one_step_back(_):
    layer = rnnfast.GRU(600, 600, dtype=np.float64, seed=0)
    packed, (x, y) = layer.packed(True), np.ones((2, 1, 2000, 600))
    _, _, tape = packed.forward(x, None, None, None, None, y, True)
    dx, dh0, grads = np.full(x.shape, np.nan), np.empty((1, 2000, 600)), layer.grads
    back = [tape, y, None, None, dx, dh0, None, layer.by_part(grads)]
    return (dx, *grads.values()), lambda: packed.backward(*back)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="POSIX signals")
@pytest.mark.parametrize(
    "call",
    [linear, linear_input, linear_weight, conv, conv_input, conv_weight, one_step, one_step_back],
)
def test_a_signal_cuts_every_long_product_short(runtime, core_dense, call):
    """P24: outputs end early, and gradients are untouched."""
    tune = importlib.import_module("rnnfast.core.job").tune
    kept, isa = tune()["kept_sums_work"], runtime.isa()

    def handler(*_):
        raise InterruptedError

    old = signal.signal(signal.SIGALRM, handler)
    try:
        tune(kept_sums_work=1)
        runtime.set_isa("baseline")  # the slowest
        written, run = call(core_dense)  # a second's work
        before = [array.copy() for array in written]
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with runtime.num_threads(1), pytest.raises(InterruptedError):
            run()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
        runtime.set_isa(isa)
        tune(kept_sums_work=kept)
    for array, was in zip(written, before, strict=True):
        if np.isnan(was).any():  # zero: made zero before it is added to
            assert (np.isnan(array) | (array == 0.0)).any()
        else:
            np.testing.assert_array_equal(array, was)


def interrupted(act, at):
    """Whether an interrupt at instruction number `at` of the package's code came before the end."""
    left = at

    def trace(frame, event, _):
        nonlocal left
        if f"{os.sep}rnnfast{os.sep}" not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = True
        left -= event == "opcode"
        if left < 0:
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    try:
        sys.settrace(trace)
        act()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def assign(layer, optimizer, state):
    layer.params["weight_hh_l0"] = state["weight_hh_l0"]


def load_state(layer, optimizer, state):
    layer.load_state_dict(state)


def learn(layer, optimizer, state):
    optimizer.step()


@pytest.mark.parametrize("change", [assign, load_state, learn])
def test_an_interrupted_change_is_seen_by_the_next_call(change):
    """P23: at whatever instruction; what a layer computes with follows from its parameters."""
    x = np.ones((2, 1, 1), np.float32)
    layer, fresh = (rnnfast.RNN(1, 1, bias=False, seed=0) for _ in range(2))
    optimizer = rnnfast.SGD(layer, 0.5)
    for grad in layer.grads.values():
        grad.fill(1.0)
    at, changed = 0, 0
    while True:
        layer(x)  # packs
        before = layer.state_dict()
        new = {name: array + 1.0 for name, array in before.items()}
        more = interrupted(lambda: change(layer, optimizer, new), at)  # noqa: B023
        after = layer.state_dict()
        fresh.load_state_dict(after)
        np.testing.assert_array_equal(layer(x)[0], fresh(x)[0], err_msg=f"instruction {at}")
        changed += more and any((after[name] != before[name]).any() for name in after)
        if not more:
            break
        at += 1
    assert changed > 1


def test_an_interrupted_load_leaves_new_layers_as_they_are():
    """P23: layers made after it draw their weights."""
    at = 0
    while interrupted(lambda: _rebuild({"type": "ReLU", "config": {}}), at):
        assert blank.get() is None, f"instruction {at}"
        at += 1
    assert at > 100


@pytest.mark.parametrize("kind", [rnnfast.LSTM, rnnfast.GRU])
@pytest.mark.parametrize("threads", [1, 2])  # that share the units
def test_a_step_in_pieces_gives_the_same_bits(runtime, kind, threads):
    """P24: a step of many rows is cut into pieces, between which signals are checked."""
    tune = importlib.import_module("rnnfast.core.job").tune
    layer, rng = kind(512, 512, seed=0), np.random.default_rng(0)
    x, dy = rng.standard_normal((2, 2, 1000, 512), dtype=np.float32)
    lengths, some = rng.integers(0, 3, 1000), np.arange(0, 1000, 9)

    def results(rows):
        y, _, tape = layer.forward(x[:, rows], lengths=lengths[rows])
        dx, dstate = layer.backward(tape, dy[:, rows])
        return y, dx, *(dstate if isinstance(dstate, tuple) else (dstate,))

    kept = tune()["large_weights"]
    try:
        tune(large_weights=1)
        with runtime.num_threads(threads):
            whole = results(np.arange(1000))
    finally:
        tune(large_weights=kept)
    with runtime.num_threads(1):
        for array, alone in zip(whole, results(some), strict=True):
            np.testing.assert_array_equal(array[:, some], alone)
