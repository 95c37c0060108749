"""Eight threads call at once; prints the most threads there were for each number asked for."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from common import number_of_threads
from work import work

import rnnfast


def settled(most):
    end = time.monotonic() + 5
    while number_of_threads() > most and time.monotonic() < end:
        time.sleep(0.01)
    return number_of_threads()


before, callers = number_of_threads(), 8
for limit in map(int, sys.argv[1:]) or [None]:
    rnnfast.set_num_threads(limit)
    each = limit or rnnfast.get_num_threads()
    with ThreadPoolExecutor(callers) as pool:

        def call(_):
            return work(update=False), number_of_threads()

        results = list(pool.map(call, range(64)))
    most = max(threads for _, threads in results)
    assert most <= before + callers * each, f"{most} threads, {before} before, {each} a call"
    assert settled(before) <= before, "threads outlive their callers"
    for got, _ in results:
        assert np.array_equal(got, results[0][0])
    print(most)
