"""Kills and interrupts: files stay whole, trainings go on, long calls end."""

from __future__ import annotations

import sys

import pytest
from processes import needs_fork, run_program


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
