"""Pools of processes, by every start method of this system; prints these methods."""

import multiprocessing

import numpy as np
from work import work

import rnnfast


def task(_):
    return work(), rnnfast.get_num_threads()


if __name__ == "__main__":
    rnnfast.set_num_threads(2)
    want = work()
    for method in multiprocessing.get_all_start_methods():
        with multiprocessing.get_context(method).Pool(2) as pool:
            for got, threads in pool.map_async(task, range(4), chunksize=1).get(20):
                assert np.array_equal(got, want), method
                assert threads == 1 or method != "fork"
        print(method)
