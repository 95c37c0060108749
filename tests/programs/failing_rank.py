"""Trains on the ranks of this job until rank 1 raises, exits or is killed in the third epoch.

Or until it leaves, or does something else, before a second training.
"""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import shared_cases as cases

import rnnfast as rf

path, how = sys.argv[1:]
world = rf.mpi.world()
rf.mpi.PATIENCE = 1.0


class End(rf.Callback):
    def on_epoch_begin(self, epoch):
        if epoch == 2 and world.rank == 1:
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if how == "exits":
                sys.exit("rank 1 has had enough")
            if how in ("raises", "catches"):
                raise ValueError("rank 1 has had enough")


try:
    cases.resumed(world, path, 4, End(), progress=True)
except ValueError:
    if how != "catches":
        raise
if how == "evaluates" and world.rank == 1:
    x, y = cases.ragged()["x"], cases.ragged()["y"]
    rf.evaluate(cases.labeler(), (x, y), loss=cases.CE, comm=world)
if how == "evaluates" or (how == "leaves" and world.rank == 0):
    cases.resumed(world, path, 4, End())
