"""Windows as views: what they hold, and what they cost."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from samples import peak_memory

from rnnfast.estimators.windows import Samples, Windows


def test_windows_of_several_series():
    series = [np.arange(20.0).reshape(10, 2), 100 + np.arange(8.0).reshape(4, 2)]
    extra = [1000 + np.arange(12.0)[:, None], 2000 + np.arange(6.0)[:, None]]
    static = np.array([[7.0], [8.0]])
    w = Windows(series, 3, 2, [1], extra, static)
    places = np.concatenate([w.at(0, 3, 8), w.at(1, 1, 2)])
    np.testing.assert_array_equal(w.series_of(places), [0] * 6 + [1, 1])
    np.testing.assert_array_equal(w.steps(places), [3, 4, 5, 6, 7, 8, 1, 2])
    x, known, y = w.context(places), w.known(places), w.following(places)
    for i, (s, t) in enumerate(zip(w.series_of(places), w.steps(places), strict=True)):
        front = np.maximum(np.arange(t - 3, t), 0)  # the first step again, where there are few
        np.testing.assert_array_equal(x[i], series[s][front])
        beside = np.maximum(np.arange(t - 3, t + 2), 0)
        np.testing.assert_array_equal(known[i], extra[s][beside])
        np.testing.assert_array_equal(y[i], series[s][t : t + 2, 1:])
    np.testing.assert_array_equal(w.static(places)[:, 0], [7] * 6 + [8, 8])
    np.testing.assert_array_equal(w.context(w.ends(), 1)[:, 0], [s[-1] for s in series])
    np.testing.assert_array_equal(w.known(w.ends())[:, -2:], [e[-2:] for e in extra])
    np.testing.assert_array_equal(np.concatenate(list(w.chunks(places))), places)


def test_windows_and_their_targets():
    x, y = np.arange(24.0).reshape(4, 3, 2), np.arange(8.0).reshape(4, 2, 1)
    w = Samples(x, y, [0])
    some = np.array([2, 0])
    np.testing.assert_array_equal(w.context(some), x[some])
    np.testing.assert_array_equal(w.context(some, 1), x[some, -1:])
    np.testing.assert_array_equal(w.context(some, 4)[:, 0], x[some, 0])
    np.testing.assert_array_equal(w.following(some), y[some])
    assert w.known(some) is None and w.static(some) is None


def test_windows_are_not_copies():
    data = np.zeros((200_000, 1))

    def take():
        w = Windows([data], 500, 24, [0])
        assert w.flat is data
        for chunk in list(w.chunks(w.at(0, 500, len(data) - 24)))[:3]:
            w.context(chunk)

    assert peak_memory(take) < 20 * data.nbytes  # all windows are 500 times the data
