"""Samples in several files."""

from __future__ import annotations

import re

import numpy as np
import pytest
import shared_cases as cases

import rnnfast as rf

D = cases.ragged(20)
PARTS = np.array_split(np.arange(20), [3, 12])


def written(folder, kind):
    files = []
    for i, part in enumerate(PARTS):
        arrays = {name: array[part] for name, array in D.items()}
        path = folder / f"{i}.{kind}"
        if kind == "npy":
            files.append(tuple(folder / f"{i}{name}.npy" for name in arrays))
            for name, array in zip(files[-1], arrays.values(), strict=True):
                np.save(name, array)
            continue
        files.append(path)
        if kind == "npz":
            np.savez(path, **arrays)
        else:
            zarr = pytest.importorskip("zarr", reason="zarr is not installed")
            group = zarr.open_group(str(path), mode="w")
            for name, array in arrays.items():
                group.create_array(name, data=array)
    return files


@pytest.mark.parametrize("kind", ["npz", "npy", "zarr"])
def test_files_are_batches_of_their_samples(tmp_path, kind):
    data = rf.Shards(written(tmp_path, kind))
    batches = [
        tuple(array[part][i : i + 5] for array in D.values())
        for part in PARTS
        for i in range(0, len(part), 5)
    ]
    got = cases.train(cases.labeler(), data, cases.CE, None, batch_size=5, shuffle=False)
    np.testing.assert_equal(got, cases.train(cases.labeler(), batches, cases.CE, None))


@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_ranks_read_each_sample_once(tmp_path, batch_size):
    batches = rf.Shards(written(tmp_path, "npz")).cut(batch_size, None)
    got = [batch.x for rank in range(3) for batch in batches.dealt(rank, 3)]
    np.testing.assert_array_equal(np.sort(np.concatenate(got), 0), np.sort(D["x"], 0))


def test_a_new_order_each_epoch_and_the_same_for_a_seed(tmp_path):
    data = rf.Shards(written(tmp_path, "npz"))

    def losses(seed, **options):
        model = cases.labeler()
        options = {"batch_size": 4, "epochs": 2, "seed": seed, **options}
        history = rf.fit(model, data, loss=cases.CE, optimizer=rf.SGD(model, 0.0), **options)
        return history.batch_losses, history["loss"]

    each, epochs = losses(1)
    assert sorted(each[:6]) != sorted(each[6:])
    np.testing.assert_allclose(epochs[0], epochs[1], rtol=1e-14)  # of the same samples
    assert losses(1)[0] == each != losses(2)[0]


def test_a_resumed_training_reads_on(tmp_path):
    data, path = rf.Shards(written(tmp_path, "npz")), tmp_path / "last.npz"
    whole = cases.resumed(None, path, 4, data=data)
    cases.resumed(None, path, 2, data=data)
    np.testing.assert_equal(cases.resumed(None, path, 4, data=data, resume=path), whole)


def test_what_is_no_file(tmp_path):
    for bad in "a.npz", [], {"a.npz"}:
        with pytest.raises(TypeError, match="Shards expected files as a sequence of paths"):
            rf.Shards(bad)
    for bad in ["a.npy"], [("a.npy",)], [("a.npy", "b.npz")], [("a.npy",) * 5], ["a.csv"], [3]:
        with pytest.raises(
            ValueError, match=re.escape(f"(x, y, ...) that end in .npy, got {bad[0]!r}")
        ):
            rf.Shards(bad)
    np.savez(tmp_path / "a.npz", x=D["x"])
    model = cases.labeler()
    with pytest.raises(ValueError, match=r"a\.npz: Shards expected arrays x and y, got no y"):
        rf.evaluate(model, rf.Shards([tmp_path / "a.npz"]), loss=cases.CE)
    np.savez(tmp_path / "b.npz", x=D["x"], y=D["y"][:9])
    with pytest.raises(ValueError, match=r"as many samples.*b\.npz, got .*, \(9, 9\)"):
        rf.evaluate(model, rf.Shards([str(tmp_path / "b.npz")]), loss=cases.CE)
    for other, carry_state in (cases.labeler(batch_first=False), False), (model, True):
        with pytest.raises(ValueError, match=r"batch_first=True and no carry_state, .* got"):
            rf.evaluate(other, rf.Shards(["b.npz"]), loss=cases.CE, carry_state=carry_state)
    with pytest.raises(ValueError, match="lengths in the batches"):
        rf.evaluate(model, rf.Shards([tmp_path / "a.npz"]), loss=cases.CE, lengths=[1])
