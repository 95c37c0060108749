"""Interrupts a long call; prints how late it ended.

Forward is interrupted in a call that would take seconds, backward in one that takes longer than the
forward pass that was timed.
"""

import os
import signal
import sys
import threading
import time

import numpy as np

import rnnfast

direction, threads = sys.argv[1], int(sys.argv[2])
rnnfast.set_num_threads(threads)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
layer = rnnfast.LSTM(8, 384, seed=0)
B = 16


def seconds(call):
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def steps(n):
    return np.broadcast_to(np.float32(0.5), (n, B, 8))


def interrupted(call):
    def interrupt():
        global sent
        sent = time.perf_counter()
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(0.3, interrupt)
    timer.start()
    try:
        call()
    except KeyboardInterrupt:
        return time.perf_counter() - sent
    raise AssertionError("the call was not interrupted, or had ended before")


call = layer if direction == "inference" else layer.forward
want, *_ = call(steps(50))
step = min(seconds(lambda: call(steps(50)))[0] for _ in range(3)) / 50
for grad in layer.grads.values():
    grad.fill(7.0)
if direction == "backward":
    whole, (y, _, tape) = seconds(lambda: layer.forward(steps(int(1.0 / step))))
    late = interrupted(lambda: layer.backward(tape, y))
else:
    whole = 10.0 if direction == "inference" else 3.0  # whose tape still fits into memory
    late = interrupted(lambda: call(steps(int(whole / step))))
assert late < 0.3 * whole, f"{late} s after the signal, of a call of some {whole} s"
assert all((grad == 7.0).all() for grad in layer.grads.values()), "gradients were written"
y, _, tape = layer.forward(steps(50))
assert np.array_equal(y, want)
layer.backward(tape, y)
print(late)
