"""Training that several processes share, and jobs that break off."""

from __future__ import annotations

import importlib.util
import pickle
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import shared_cases as cases
import tolerances
from processes import needs_proc, run_program, start_program

import rnnfast as rf

BESIDE = Path(sys.executable).parent / "mpiexec"
MPIEXEC = str(BESIDE) if BESIDE.exists() else shutil.which("mpiexec")
pytestmark = [
    needs_proc,
    pytest.mark.skipif(
        importlib.util.find_spec("mpi4py") is None or MPIEXEC is None,
        reason="mpi4py or MPI is not installed",
    ),
]
# For Open MPI: more ranks than processors, which leave these to others, and root, as in containers
SETTINGS = {
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "OMPI_MCA_mpi_yield_when_idle": "1",
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
}


class End(rf.Callback):
    """In place of the one in the program `failing_rank`."""


def on_ranks(n):
    return {"under": (MPIEXEC, "-n", str(n)), **SETTINGS}


def check_equal(got, want, updates, dtype=np.float64):
    # products behind an output of each layer, and B * T of the sums of gradients
    products = sum(value[0].size for value in want.values() if np.ndim(value) > 1)
    n = max(cases.CHAIN, tolerances.MEMORY * products + 16 * 30)
    bound = tolerances.updates(updates, cases.RATE / (1 - cases.MOMENTUM), n, dtype)
    sizes = [value.size for name, value in want.items() if "weight" in name]
    of_losses = tolerances.chain(n, dtype, 1.0) + bound * sum(sizes) ** 0.5
    assert got.keys() == want.keys()
    for name, value in want.items():
        if name == "stopped":
            assert got[name] == value
            continue
        loss = name == "losses" or name.startswith("history")
        np.testing.assert_allclose(
            got[name], value, rtol=0, atol=of_losses if loss else bound, err_msg=name
        )


@pytest.fixture(scope="module")
def alone():
    return {name: case(None) for name, case in cases.EQUAL.items()}


@pytest.fixture(scope="module", params=[1, 2, 3])
def shared(request, tmp_path_factory):
    """Ranks, the folder that they wrote into, what they gave."""
    folder = tmp_path_factory.mktemp("shared")
    run_program("shared_training", folder, **on_ranks(request.param))
    return request.param, folder, pickle.loads((folder / f"{request.param}.pickle").read_bytes())


@pytest.mark.parametrize("name", cases.EQUAL)
def test_ranks_do_what_one_process_does(shared, alone, name):
    ranks, _, got = shared
    if ranks == 1:
        np.testing.assert_equal(got[name], alone[name])
    else:
        dtype = next(v.dtype for name, v in alone[name].items() if "weight" in name)
        check_equal(got[name], alone[name], len(alone[name]["losses"]), dtype)


def test_all_ranks_have_the_same_and_a_repeat_has_the_same_bits(shared):
    _, _, got = shared
    assert {*cases.EQUAL, "stops", "resumed"} <= set(got["alike"])
    assert got["again"] == ["dropped", "weighted"]


def test_a_loss_of_nan_on_one_rank_stops_all(shared):
    _, _, got = shared
    want = cases.stops(None)
    assert got["stops"]["stopped"] == want["stopped"] == "nonfinite loss"
    for name in ("0.weight_ih_l0", "2.weight"):
        np.testing.assert_array_equal(got["stops"][name], want[name])


def test_ranks_refuse_what_differs_by_name(shared):
    ranks, _, got = shared
    last = ranks - 1
    words = {
        "n": "data alike on every rank, got 20 samples in batches of 5 on rank 0 and 21 samples in",
        "batch_size": "data alike on every rank, got 20 samples in batches of 5 on rank 0 and 20",
        "epochs": f"epochs alike on every rank, got 2 on rank 0 and 3 on rank {last}",
        "model": "model alike on every rank, got Sequential of 452 parameters (shapes ",
        "clip_norm": f"clip_norm alike on every rank, got 1.0 on rank 0 and None on rank {last}",
        "metrics": "metrics alike on every rank, got {} on rank 0 and {accuracy} on rank ",
        "callbacks": "callbacks alike on every rank, got none on rank 0 and 1 of EarlyStopping on ",
        "validation_split": "data alike on every rank, got 20 samples",
        "shuffle": "shuffle alike on every rank, got True on rank 0 and False on rank ",
    }
    for name, text in words.items():
        want = f"fit expected {text}" if ranks > 1 else ""
        assert got["differing"][name].startswith(want), name
        assert bool(got["differing"][name]) == (ranks > 1), name
    assert "expected validation_split from 0 to 1" in got["differing"]["raised"]
    assert got["differing"]["alone"] == ""
    short = "fit expected batches of 3 samples at least, .* got one of 2 that leaves 1 of the ranks"
    assert bool(re.match(short, got["differing"]["means"])) == (ranks == 3)
    assert got["differing"]["no communicator"].endswith("of this process, got NoneType")


def test_one_rank_alone_calls_what_writes(shared):
    ranks, _, got = shared
    assert got["calls"] == [cases.EPOCHS + 1] + [0] * (ranks - 1)


def test_no_rank_holds_a_mapped_file(shared):
    _, _, got = shared
    assert got["memory"] < 64 << 20


def test_ranks_read_files_of_their_own(shared):
    _, _, got = shared
    loss, want = got["sharded"]
    assert abs(loss - want) <= tolerances.chain(50 * 9, np.float64, want)


def test_ranks_share_the_processors(shared):
    ranks, _, got = shared
    assert got["threads"] == max(1, rf.get_num_threads() // ranks)


def test_a_checkpoint_goes_on_with_more_ranks(shared, tmp_path):
    ranks, folder, got = shared
    path = folder / f"{ranks}.npz"
    want = cases.resumed(None, tmp_path / "whole.npz", 4)
    updates = len(want["losses"])
    check_equal(cases.resumed(None, path, 4, resume=path), want, updates)
    if ranks == 3:
        assert "pair" in got["alike"]
        check_equal(got["pair"], want, updates)


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("raises", "ValueError: rank 1 has had enough"),
        ("catches", "ValueError: rank 1 has had enough"),
        ("exits", "SystemExit: rank 1 has had enough"),
        ("leaves", "expected the same call on every rank, got the end of the program on rank 1"),
        ("evaluates", "fit expected the same call on every rank, got evaluate on rank 1"),
    ],
)
def test_a_rank_that_fails_or_leaves_ends_the_job_with_its_error(tmp_path, how, text):
    result = start_program("failing_rank", tmp_path / "last.npz", how, **on_ranks(2))
    assert result.returncode
    assert result.stderr.count(text) == 1
    assert "epoch 1/4" in result.stderr


def test_a_job_with_a_killed_rank_is_resumed(tmp_path):
    path = tmp_path / "last.npz"
    result = start_program("failing_rank", path, "killed", **on_ranks(2))
    assert result.returncode
    want = cases.resumed(None, tmp_path / "whole.npz", 4, End())
    got = cases.resumed(None, path, 4, End(), resume=path)
    check_equal(got, want, len(want["losses"]))
