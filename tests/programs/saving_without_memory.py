"""Saves a model in as little memory as there may be; prints how often that failed, and worked.

Each failure is a MemoryError, and leaves the older file alone in its folder.
"""

import importlib
import os
import resource
import sys

import rnnfast

folder, ending = sys.argv[1:]
save = importlib.import_module("rnnfast.onnx").save if ending == ".onnx" else rnnfast.save
path = os.path.join(folder, f"model{ending}")
save(rnnfast.Linear(2, 2, seed=0), path)
with open(path, "rb") as file:
    old = file.read()
model = rnnfast.Linear(1024, 2048, seed=0)  # 8 MB
save(model, path)  # imports what it needs
with open(path, "rb") as file:
    whole = file.read()
with open(path, "wb") as file:
    file.write(old)

failed = worked = 0
_, most = resource.getrlimit(resource.RLIMIT_AS)
for extra in range(0, 128 << 20, 4 << 20):
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + extra, most))
    try:
        save(model, path)
        worked += 1
    except MemoryError:
        failed += 1
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    assert os.listdir(folder) == [os.path.basename(path)]
    with open(path, "rb") as file:
        assert file.read() == (whole if worked else old)
    if worked:
        break
print(failed, worked)
