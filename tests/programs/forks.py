"""Forks after parallel calls, alone and beside a busy thread; each child computes the same."""

import os
import signal
import threading
import time

import numpy as np
from common import number_of_threads, rng
from work import work

import rnnfast

rnnfast.set_num_threads(3)
want = work()


def right():
    return np.array_equal(work(), want) and number_of_threads() <= threads


def child_is_right(body):
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # ends a child that hangs
        os._exit(0 if body() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


threads = number_of_threads()
for i in range(20):
    assert child_is_right(right), f"fork {i}"
assert child_is_right(lambda: right() and child_is_right(right)), "a fork of a fork"

# forks while another thread computes, and holds what locks there are
stop = threading.Event()


def others():
    while not stop.is_set():
        work()


thread = threading.Thread(target=others)
thread.start()
try:
    for i in range(20):
        time.sleep(0.002 * rng.random())
        assert child_is_right(lambda: np.array_equal(work(), want)), f"fork {i} beside a thread"
finally:
    stop.set()
    thread.join()
assert np.array_equal(work(), want)
