"""Does all trainings of `shared_cases` on the ranks of this job; rank 0 writes what they gave."""

import pickle
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
import shared_cases as cases

import rnnfast as rf

folder = Path(sys.argv[1])
world = rf.mpi.world()
results = {name: case(world) for name, case in cases.EQUAL.items()}
results["stops"] = cases.stops(world)
sharded = cases.sharded(world, folder)
results["resumed"] = cases.resumed(world, folder / f"{world.size}.npz", 2)
if world.size == 3:  # two ranks begin, three go on
    pair = rf.mpi.Communicator(world.comm.Split(world.rank < 2))
    if world.rank < 2:
        cases.resumed(pair, folder / "pair.npz", 2)
    path = folder / "pair.npz"
    results["pair"] = cases.resumed(world, path, 4, resume=path)
again = {"dropped": cases.dropped(world), "weighted": cases.weighted(world)}
memory = cases.mapped(world, folder / "mapped", 256)


def same(one, other):
    return all(
        np.array_equal(value, other[name], equal_nan=name == "losses")
        for name, value in one.items()
    )


differing = cases.differing(world)
calls = world.comm.gather(cases.written(world))
everywhere = world.comm.gather((results, memory))
if world.rank == 0:
    results["alike"] = [
        name for name in results if all(same(results[name], r[name]) for r, _ in everywhere)
    ]
    results["again"] = [name for name in again if same(again[name], results[name])]
    results["sharded"] = sharded
    results["calls"] = calls
    results["differing"] = differing
    results["memory"] = max(memory for _, memory in everywhere)
    results["threads"] = rf.get_num_threads()
    (folder / f"{world.size}.pickle").write_bytes(pickle.dumps(results))
