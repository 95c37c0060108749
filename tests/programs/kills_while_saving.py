"""Saves models in children that are killed; prints how many. The file is whole after each."""

import os
import signal
import sys
import time

import numpy as np
from common import rng

import rnnfast

path = sys.argv[1]
models = [rnnfast.Linear(300, 200) for _ in range(2)]
for value, model in enumerate(models):
    for name, param in model.params.items():
        model.params[name] = np.full(param.shape, value)
rnnfast.save(models[0], path)
killed = 0
for i in range(25):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, b".")
        for k in range(10**6):
            rnnfast.save(models[k % 2], path)
    os.read(read, 1)
    time.sleep(rng.uniform(0.0, 0.02))
    os.kill(child, signal.SIGKILL)
    killed += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    os.close(read)
    os.close(write)
    values = {float(v) for param in rnnfast.load(path).params.values() for v in param.ravel()}
    assert len(values) == 1, f"kill {i} left a mixture"
print(killed)
