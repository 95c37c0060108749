"""Compares the control word of SSE before and after import and calls, in each thread of the team.

The machine code is ``stmxcsr [rdi]; ret``. The six flags that any operation raises do not count.
The team of threads is asked through GCC's OpenMP, which keeps the same one for a caller.
"""

import ctypes
import mmap
import sys
import threading

code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(bytes([0x0F, 0xAE, 0x1F, 0xC3]))
store = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(ctypes.addressof(ctypes.c_char.from_buffer(code)))


def word():
    value = ctypes.c_uint32()
    store(ctypes.addressof(value))
    return value.value & 0xFFC0


at_start = word()
import numpy as np  # noqa: E402

import rnnfast  # noqa: E402

assert word() == at_start

with open("/proc/self/maps") as file:
    libraries = {line.split()[-1] for line in file if "libgomp" in line}
if not libraries:
    print("no libgomp")
    sys.exit()
gomp, seen = ctypes.CDLL(libraries.pop()), {}


@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def note(_):
    seen[threading.get_native_id()] = word()


def team():
    seen.clear()
    gomp.GOMP_parallel(note, None, 3, 0)
    return dict(seen)


before = team()
assert len(before) == 3
rnnfast.set_num_threads(3)
for cell in (rnnfast.RNN, rnnfast.LSTM, rnnfast.GRU):
    for B in (1, 24):
        layer, x = cell(40, 96), np.ones((20, B, 40), np.float32)
        y, _, tape = layer.forward(x)
        layer.backward(tape, y)
linear = rnnfast.Linear(200, 200)
y, tape = linear.forward(np.ones((200, 200), np.float32))
linear.backward(tape, y)
rnnfast.AdamW(linear).step()
rnnfast.LayerNorm(200)(y)
assert team() == before, "the same threads, in the same state"
assert set(before.values()) == {at_start}
