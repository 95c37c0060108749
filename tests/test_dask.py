"""Predictions on a Dask cluster, and many models at once through joblib."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

pytest.importorskip("distributed", reason="Dask is not installed")
pytest.importorskip("pandas", reason="pandas is not installed")
pytest.importorskip("sklearn", reason="scikit-learn is not installed")

import joblib
import pandas
from dask import array as da
from dask import bag as db
from dask import dataframe as dd
from dask import delayed
from dask.system import CPU_COUNT
from distributed import Client, LocalCluster
from sklearn.model_selection import GridSearchCV

import rnnfast as rf
from rnnfast.dask import _threads

rng = np.random.default_rng(0)
X = rng.standard_normal((600, 12, 3)).astype(np.float32)
LENGTHS = rng.integers(1, 13, 600)
Y = (X.sum(axis=(1, 2)) > 0).astype(int)
LONG = pandas.DataFrame(
    {"id": np.repeat(range(40), 5), "time": np.tile(range(5), 40), "a": rng.random(200)}
)
PROCESSORS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def network(batch_first=True):
    return rf.Sequential(rf.LSTM(3, 8, batch_first=batch_first, seed=1), rf.Linear(8, 2, seed=2))


def classifier(**options):
    options = {"optimizer": "sgd", "max_iter": 20, "learning_rate_init": 0.05, **options}
    return rf.SequenceClassifier(hidden_size=4, random_state=0, **options)


@pytest.fixture(scope="module")
def client():
    options: dict[str, Any] = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        yield client


@pytest.mark.parametrize("batch_first", [True, False])
def test_an_array_in_blocks(client, batch_first):
    model, axis = network(batch_first), int(not batch_first)
    x = X.swapaxes(0, axis)
    data = da.from_array(x, chunks=tuple(5 if i == 1 - axis else 100 for i in range(3)))
    got = rf.dask.predict(model, data, LENGTHS)
    assert (got.shape, got.dtype) == ((*x.shape[:2], 2), np.float32)
    np.testing.assert_array_equal(got.compute(), model.predict(x, LENGTHS))


def test_an_estimator(client):
    model = classifier().fit(X[:100], Y[:100])
    data = da.from_array(X, chunks=(100, -1, -1))
    got = rf.dask.predict(model, data, method="predict_proba")
    np.testing.assert_array_equal(got.compute(), model.predict_proba(X))
    n = da.from_array(LENGTHS, chunks=50)
    np.testing.assert_array_equal(
        rf.dask.predict(model, data, n).compute(), model.predict(X, lengths=LENGTHS)
    )


def test_a_block_without_samples(client):
    model, some = classifier().fit(X[:100], Y[:100]), np.arange(600) < 250
    data = da.from_array(X, chunks=(100, -1, -1))[da.from_array(some, chunks=100)]
    for method in "predict", "predict_proba":
        want = getattr(model, method)(X[some])
        np.testing.assert_array_equal(rf.dask.predict(model, data, method=method).compute(), want)


@pytest.mark.parametrize("steps", [True, False])
def test_a_bag_of_ragged_series(client, steps):
    model = network() if steps else rf.Sequential(*network().layers, rf.Last(True))
    series = [x[:n] for x, n in zip(X, LENGTHS, strict=True)]
    got = rf.dask.predict(model, db.from_sequence(series, npartitions=7)).compute()
    assert len(got) == len(series)
    for one, x in zip(got, series, strict=True):
        np.testing.assert_array_equal(one, model.predict(x[np.newaxis])[0])


def test_a_long_frame(client):
    data = dd.from_pandas(LONG.set_index("id"), npartitions=4).reset_index()
    model = classifier(max_iter=200).fit(LONG, (LONG.groupby("id").a.mean() > 0.5).astype(int))
    got = rf.dask.predict(model, data).compute()
    assert got.index.tolist() == list(range(40))
    np.testing.assert_array_equal(got, model.predict(LONG))
    forecaster = rf.LinearForecaster(horizon=2, window=3).fit(LONG)
    pandas.testing.assert_frame_equal(
        rf.dask.predict(forecaster, data).compute().reset_index(drop=True),
        forecaster.predict(LONG).reset_index(drop=True),
    )


def test_partitions_without_samples(client):
    data = dd.from_pandas(LONG.set_index("id"), npartitions=5).reset_index()
    model = classifier().fit(LONG, np.arange(40) % 2)
    some = LONG.id.between(9, 20)
    got = rf.dask.predict(model, data[(data.id > 8) & (data.id < 21)]).compute()
    assert got.index.tolist() == list(range(9, 21))
    np.testing.assert_array_equal(got, model.predict(LONG[some]))
    with pytest.raises(ValueError, match="data of one row at least, got none"):
        rf.dask.predict(model, data[data.id > 40])


def test_each_partition_is_computed_once(tmp_path):
    class Counts:
        """Keeps a file for each call."""

        def predict(self, x):
            import tempfile

            tempfile.mkstemp(dir=tmp_path)
            return x.assign(y=x.a)

    data = dd.from_pandas(LONG, npartitions=4)
    got = rf.dask.predict(Counts(), data)
    pandas.testing.assert_frame_equal(
        got.compute(scheduler="synchronous"), LONG.assign(y=LONG.a), check_index_type=False
    )
    assert len(list(tmp_path.iterdir())) == 4


def test_each_worker_is_sent_the_model_once(client):
    def watch():
        import rnnfast as rf

        rf.Sequential.arrivals, before = 0, rf.Sequential.__setstate__

        def count(self, state):
            rf.Sequential.arrivals += 1
            before(self, state)

        rf.Sequential.__setstate__ = count

    def arrivals():
        import rnnfast as rf

        return rf.Sequential.arrivals

    client.run(watch)
    rf.dask.predict(network(), da.from_array(X, chunks=(20, -1, -1))).compute()
    # the scheduler sends it to one worker, within the tasks, and that one passes it on
    assert all(1 <= n <= 2 for n in client.run(arrivals).values())


def test_a_killed_worker_loses_nothing(client, tmp_path):
    flag = str(tmp_path / "killed")

    class Dies:
        """Ends its process when it is first asked for the last samples."""

        def predict(self, x):
            import os

            if x[0, 0, 0] == 5 and not os.path.exists(flag):
                open(flag, "w").close()
                os._exit(1)
            return x.sum(axis=(1, 2))

    x = np.repeat(np.arange(6.0), 10).reshape(60, 1, 1)
    got = rf.dask.predict(Dies(), da.from_array(x, chunks=(10, 1, 1))).compute()
    assert os.path.exists(flag)
    np.testing.assert_array_equal(got, x[:, 0, 0])


def test_errors(client):
    data = da.from_array(X, chunks=(100, -1, -1))
    with pytest.raises(TypeError, match=r"data as a dask Array, .* got ndarray"):
        rf.dask.predict(network(), X)
    with pytest.raises(TypeError, match=r"model as a layer or a fitted estimator .* got int"):
        rf.dask.predict(3, data)
    with pytest.raises(TypeError, match=r"estimator with predict_proba, got SequenceRegressor"):
        rf.dask.predict(rf.SequenceRegressor(), data, method="predict_proba")
    with pytest.raises(ValueError, match=r"expected lengths of shape \(600,\), got \(3,\)"):
        rf.dask.predict(network(), data, [1, 2, 3])
    with pytest.raises(ValueError, match="lengths beside an array only"):
        rf.dask.predict(network(), db.from_sequence(list(X)), LENGTHS)
    for wrong in 3, [[1.0, 2.0, 3.0]]:
        with pytest.raises(TypeError, match=r"data as a bag of arrays, a series each, got .*3"):
            rf.dask.predict(network(), db.from_sequence([wrong])).compute()
    labeler = rf.SequenceLabeler(hidden_size=2, max_iter=1).fit(LONG, [np.arange(5) % 2] * 40)
    with pytest.raises(TypeError, match="of SequenceLabeler, which gives an array for each"):
        rf.dask.predict(labeler, dd.from_pandas(LONG, npartitions=1))
    with pytest.raises(TypeError, match="of a layer as a dask Array or Bag, got a DataFrame"):
        rf.dask.predict(network(), dd.from_pandas(LONG, npartitions=1))
    with pytest.raises(ValueError, match="method 'predict' of a layer, got 'predict_proba'"):
        rf.dask.predict(network(), data, method="predict_proba")
    with pytest.raises(ValueError, match="expected input of size 3"):  # here, not on a worker
        rf.dask.predict(network(), da.from_array(X[..., :2]))


# ---- threads


def test_threads_of_workers(client):
    assert set(client.run(_threads).values()) == {1}


def test_tasks_in_threads_share_the_processors():
    assert delayed(_threads)().compute(scheduler="threads") == max(1, PROCESSORS // CPU_COUNT)
    assert _threads() == rf.get_num_threads()


def test_joblib_gives_each_process_its_part(runtime):
    got = joblib.Parallel(n_jobs=2)(joblib.delayed(rf.get_num_threads)() for _ in range(4))
    assert set(got) == {max(1, PROCESSORS // 2)}


@pytest.mark.parametrize("backend", ["loky", "dask"])
def test_a_search_finds_what_one_process_finds(client, backend):
    search = GridSearchCV(classifier(), {"learning_rate_init": [0.01, 0.1]}, cv=2)
    search.fit(X[:60], Y[:60])
    want = search.cv_results_["mean_test_score"]
    with joblib.parallel_config(backend, n_jobs=2):
        search.fit(X[:60], Y[:60])
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], want)


def test_layers_in_tasks_of_dask(client):
    model, data = network(), da.from_array(X, chunks=(200, -1, -1))
    blocks = data.map_blocks(model.predict, dtype=np.float32, chunks=(200, 12, 2))
    np.testing.assert_array_equal(blocks.compute(), model.predict(X))
