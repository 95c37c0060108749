"""Kills and interrupts: files stay whole, trainings go on, long calls end."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest
from processes import needs_fork, run_program

import rnnfast
from rnnfast.io import _rebuild
from rnnfast.layers.base import blank


@needs_fork
@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
def test_kill_while_saving_leaves_a_whole_file(tmp_path, ending):
    """P15: the older file or the newer one, at whatever moment the process dies."""
    if ending == ".safetensors":
        pytest.importorskip("safetensors", reason="safetensors is not installed")
    assert run_program("kills_while_saving", tmp_path / f"model{ending}") == ["25"]


@needs_fork
@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
def test_killed_training_resumes_to_the_same_bits(tmp_path, ending):
    """P15: whatever the moments at which it was killed."""
    if ending == ".safetensors":
        pytest.importorskip("safetensors", reason="safetensors is not installed")
    (kills,) = run_program("resumed_training", tmp_path / f"position{ending}")
    assert int(kills) > 1


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("direction", ["inference", "forward", "backward"])
def test_interrupt_ends_a_long_call(runtime, direction, threads):
    """P16: KeyboardInterrupt soon, gradients untouched, the layer usable."""
    run_program("interrupt", direction, threads)


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
    x = np.ones((1, 1, 1), np.float32)
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
