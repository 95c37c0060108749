"""Trainings that one process or several do: `tests/test_mpi.py` compares the two."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np
from samples import classifier, sums
from sklearn.exceptions import ConvergenceWarning

import rnnfast as rf

CE, MSE = rf.losses.softmax_cross_entropy, rf.losses.squared_error
EPOCHS, RATE, MOMENTUM = 2, 0.02, 0.5
# of sums behind a gradient, as in tolerances.py: B * T products, and 4 steps of an LSTM of 8 units
CHAIN = 12 * 9 + 4 * (3 + 8 + 2 + 16 + 4 * 8)
F8 = {"dtype": np.float64}


def labeler(batch_first: bool = True, dtype: Any = np.float64, **options: Any) -> Any:
    return rf.Sequential(
        rf.LSTM(3, 8, batch_first=batch_first, seed=1, dtype=dtype, **options),
        rf.Linear(8, 4, seed=2, dtype=dtype),
    )


def ragged(n: int = 22, time: int = 9) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "x": rng.standard_normal((n, time, 3)),
        "y": rng.integers(0, 4, (n, time)),
        "lengths": rng.integers(0, time + 1, n),
        "weight": rng.random((n, time)),
    }


def train(model: Any, data: Any, loss: Any, comm: Any, **options: Any) -> dict[str, Any]:
    optimizer = rf.SGD(model, RATE, MOMENTUM)
    options = {"epochs": EPOCHS, "clip_norm": 1.0, "seed": 3, **options}
    history = rf.fit(model, data, loss=loss, optimizer=optimizer, comm=comm, **options)
    values = {name: values for name, values in history.items() if name != "seconds"}
    result = {"losses": np.array(history.batch_losses), **model.state_dict()}
    result |= {f"history {name}": np.array(each) for name, each in values.items()}
    return {**result, "stopped": history.stopped_by}


def weighted(comm: Any, batch_first: bool = True, dtype: Any = np.float64) -> Any:
    # batches of 5, the last one of 2: on three ranks one has none of it
    d = ragged()
    if not batch_first:
        d |= {name: d[name].swapaxes(0, 1) for name in ("x", "y", "weight")}
    return train(
        labeler(batch_first, dtype),
        (d["x"].astype(dtype), d["y"], d["lengths"], d["weight"]),
        CE,
        comm,
        batch_size=5,
        bucket=True,
        validation_split=0.2,
        metrics={"accuracy": rf.losses.accuracy},
    )


def last_step(comm: Any) -> Any:
    # the loss is divided by another number than the steps of the batch
    d = ragged()
    data = d["x"], d["y"], np.maximum(d["lengths"], 1)
    return train(labeler(), data, partial(CE, steps="last"), comm, batch_size=7)


def own_loss(comm: Any) -> Any:
    def loss(prediction: Any, target: Any) -> Any:
        error = prediction - np.eye(4)[target]
        return float((error**4).mean()), 4 * error**3 / error.size

    d = ragged()
    return train(labeler(), (d["x"], d["y"]), loss, comm, batch_size=10)


def truncated(comm: Any, streams: int = 5) -> Any:
    ids = np.random.default_rng(1).integers(0, 6, 200)
    model = rf.Sequential(
        rf.Embedding(6, 3, seed=1, **F8), rf.GRU(3, 8, seed=2, **F8), rf.Linear(8, 6, seed=3, **F8)
    )
    data = rf.datasets.text_batches(ids, streams, 7)
    return train(model, data, CE, comm, carry_state=True, validation=data)


def normalised(comm: Any) -> Any:
    d = ragged()
    model = rf.Sequential(
        rf.Linear(3, 8, seed=1, **F8),
        rf.BatchNorm1d(8, batch_first=True, **F8),
        rf.GRU(8, 4, batch_first=True, seed=2, **F8),
        rf.Linear(4, 4, seed=3, **F8),
    )
    data = d["x"], d["y"], np.maximum(d["lengths"], 1)
    return train(model, data, CE, comm, batch_size=8, drop_last=True)


def several_inputs(comm: Any) -> Any:
    rng = np.random.default_rng(0)
    source, target = rng.integers(0, 5, (6, 8)), rng.integers(0, 5, (4, 8))
    batch = (source, target, np.full(8, 6), np.full(8, 4)), (target + 1) % 5, np.full(8, 4)
    model = rf.EncoderDecoder(5, 5, 3, 4, seed=1, **F8)
    return train(model, [batch, batch], CE, comm)


def static(comm: Any) -> Any:
    # time first, and beside the sequences an input and outputs without time, one not learnt from
    def loss(prediction: Any, target: Any) -> Any:
        (steps, d_steps), (last, d_last) = map(CE, prediction[:2], target)
        return steps + last, (d_steps, d_last, None)

    model = rf.Graph(
        [
            ("start", rf.Linear(5, 4, seed=1, **F8), "z"),
            ("dropped", rf.Dropout(0.2, seed=2), "start"),
            ("h", rf.GRU(3, 4, seed=3, **F8), "x", "dropped"),
            ("steps", rf.Linear(4, 4, seed=4, **F8), "h"),
            ("last", rf.Last(), "h"),
            ("end", rf.Linear(4, 2, seed=5, **F8), "last"),
        ],
        ("z", "x"),
        ("steps", "end", "dropped"),
    )
    rng, batches = np.random.default_rng(0), []
    for n in (7, 2, 1, 5):
        x = rng.standard_normal((n, 5)), rng.standard_normal((6, n, 3))
        batches.append((x, (rng.integers(0, 4, (6, n)), rng.integers(0, 2, n))))
    return train(model, batches, loss, comm)


def vectors(comm: Any) -> Any:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((7, 3)), rng.integers(0, 5, (4, 7))
    model = rf.EncoderDecoder(3, 5, 3, 4, source="vector", seed=1, **F8)
    return train(model, [((x, y), (y + 1) % 5)] * 2, CE, comm)


def stops(comm: Any) -> Any:
    x, y = sums(20)
    x[7] = np.nan
    return train(classifier(), (x, y), CE, comm, batch_size=8, on_nonfinite="stop")


def own_batches(comm: Any, **options: Any) -> Any:
    # rank 0 has three batches, the others two
    d = ragged(24)
    model = labeler(**options)
    parts = [slice(4 * i, 4 * i + 4) for i in range(6)]
    batches = [(d["x"][part], d["y"][part]) for part in parts]
    if comm is None or comm.size == 1:
        pairs = [(batches[0], batches[3]), (batches[1], batches[4]), (batches[2],)]
        whole = [tuple(map(np.concatenate, zip(*p, strict=True))) for p in pairs]
        return train(model, whole, CE, None)
    mine = batches[:3] if comm.rank == 0 else batches[3:5] if comm.rank == 1 else []
    return train(model, rf.mpi.Own(lambda: iter(mine)), CE, comm)


RANDOM = {"num_layers": 2, "dropout": 0.3, "recurrent_dropout": 0.2, "zoneout": 0.1}


def dropped(comm: Any, batch_first: bool = True, **options: Any) -> Any:
    # everything random; batches of 5, in buckets, the last one of 2
    d, where = ragged(), {"batch_first": batch_first}
    if not batch_first:
        d |= {name: d[name].swapaxes(0, 1) for name in ("x", "y")}
    model = rf.Sequential(
        rf.Dropout(0.1, seed=1),
        rf.GaussianNoise(0.3, seed=2),
        labeler(batch_first, **RANDOM, **options),
        rf.Dropout(0.2, seed=3, all_steps=True, **where),
        rf.GaussianNoise(0.2, multiplied=True, seed=4),
        rf.Dropout(0.2, seed=5),
        rf.Linear(4, 4, seed=6, **F8),
    )
    data = d["x"], d["y"], d["lengths"]
    return train(model, data, CE, comm, batch_size=5, bucket=True)


def dropped_streams(comm: Any) -> Any:
    # of two streams three ranks have nothing on one of them, which counts on
    ids = np.random.default_rng(1).integers(0, 6, 200)
    model = rf.Sequential(
        rf.Embedding(6, 3, seed=1, **F8),
        rf.Dropout(0.1, seed=2),
        rf.GRU(3, 8, seed=3, zoneout=0.1, **F8),
        rf.Linear(8, 6, seed=4, **F8),
    )
    return train(model, rf.datasets.text_batches(ids, 2, 7), CE, comm, carry_state=True)


SMALL = {"clip_norm": 1.0, "learning_rate_init": RATE, "optimizer": "sgd", "random_state": 0}


def fitted(model: Any, x: Any, y: Any, comm: Any) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of a few updates
        model.fit(x, y, comm=comm)
    return {**model.model_.state_dict(), "losses": np.array(model.history_.batch_losses)}


def gone_on(comm: Any) -> Any:
    x, y = sums(30)
    model = rf.SequenceClassifier(hidden_size=4, dropout=0.2, batch_size=7, **SMALL)
    losses = []
    for _ in range(2):
        model.partial_fit(x.astype(np.float32), y, classes=[0, 1], comm=comm)
        losses += model.history_.batch_losses
    return {**model.model_.state_dict(), "losses": np.array(losses)}


def estimated(comm: Any) -> Any:
    x, y = sums(30)
    options = {"hidden_size": 4, "max_iter": 3, "batch_size": 7, "early_stopping": True}
    return fitted(rf.SequenceClassifier(**options, **SMALL), x.astype(np.float32), y, comm)


def default_network(comm: Any) -> Any:
    x, y = sums(40, 30)
    return fitted(rf.SequenceClassifier(max_iter=2, **SMALL), x.astype(np.float32), y, comm)


def labels(comm: Any) -> Any:
    d = ragged()
    x = [row[: max(n, 1)] for row, n in zip(d["x"], d["lengths"], strict=True)]
    y = [row[: max(n, 1)] for row, n in zip(d["y"], d["lengths"], strict=True)]
    options = {"hidden_size": 8, "num_layers": 2, "dropout": 0.2, "max_iter": 2, "batch_size": 5}
    return fitted(rf.SequenceLabeler(**options, **SMALL), x, y, comm)


def pairs(comm: Any) -> Any:
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    options = {"hidden_size": 8, "num_layers": 2, "dropout": 0.2, "max_iter": 2, "batch_size": 4}
    model = rf.Seq2Seq(embedding_size=3, **options, **SMALL)
    return fitted(model, words, [word[::-1] for word in words], comm)


def resumed(comm: Any, path: Any, epochs: int, *callbacks: Any, **options: Any) -> Any:
    d = ragged()
    callbacks = (*callbacks, rf.Checkpoint(path), rf.EarlyStopping("loss"))
    options = {"data": (d["x"], d["y"], d["lengths"]), **options}
    return train(labeler(), loss=CE, comm=comm, epochs=epochs, callbacks=callbacks, **options)


def refused(comm: Any, **options: Any) -> str:
    """Return what `fit` says of what differs by rank."""
    options = {"n": 20, "model": labeler(), "batch_size": 5, **options}
    n, model = options.pop("n"), options.pop("model")
    try:
        train(model, (ragged(n)["x"], ragged(n)["y"]), CE, comm, **options)
    except ValueError as error:
        return str(error)
    return ""


def differing(comm: Any) -> dict[str, str]:
    """Return what `fit` says of what differs on the last rank, by name."""
    last = int(comm.rank == comm.size - 1)
    alone = rf.mpi.Communicator(comm.comm.Split(comm.rank))
    found = {
        name: refused(comm, **{name: values[last]})
        for name, values in {
            "n": (20, 21),
            "batch_size": (5, 6),
            "epochs": (2, 3),
            "model": (labeler(), labeler(num_layers=2)),
            "clip_norm": (1.0, None),
            "metrics": ({}, {"accuracy": rf.losses.accuracy}),
            "callbacks": ([], [rf.EarlyStopping("loss")]),
            "validation_split": (0.0, 0.5),
            "shuffle": (True, False),
        }.items()
    }
    # all raise the same, none waits
    found["raised"] = refused(comm, validation_split=2.0)
    means = rf.Sequential(rf.BatchNorm1d(3, batch_first=True, **F8), labeler())
    found["means"] = refused(comm, model=means, batch_size=9)
    try:
        rf.mpi.Communicator(None)
    except TypeError as error:
        found["no communicator"] = str(error)
    found["alone"] = refused(alone, n=20 + comm.rank)
    return found


class Writes(rf.Callback):
    """Counts the calls after the first one."""

    writes = True

    def __init__(self) -> None:
        self.calls = 0

    def on_epoch_end(self, epoch: int, logs: Any) -> None:
        self.calls += 1

    def on_train_end(self, history: Any) -> None:
        self.calls += 1


def written(comm: Any) -> int:
    d, callback = ragged(), Writes()
    train(labeler(), (d["x"], d["y"]), CE, comm, callbacks=[callback])
    return callback.calls


class Memory(rf.Callback):
    """The most memory of its own, without mapped files, that this process has had, in bytes."""

    def __init__(self) -> None:
        self.most = 0

    def on_batch_end(self, batch: int, logs: Any) -> None:
        with open("/proc/self/status") as file:
            kilobytes = next(line.split()[1] for line in file if line.startswith("RssAnon"))
        self.most = max(self.most, 1024 * int(kilobytes))


def mapped(comm: Any, path: Any, megabytes: int) -> int:
    """Return the memory that training on a file of so many megabytes has added."""
    if comm is None or comm.rank == 0:
        with open(path, "wb") as file:
            file.truncate(megabytes << 20)  # zeros, which take no place on the disk
    if comm is not None:
        comm.agreed(None)  # the file is there
    x = np.memmap(path, np.float32, "r").reshape(-1, 64, 16)
    y = np.zeros((len(x), 1), np.float32)
    model, memory = rf.Sequential(rf.Last(True), rf.Linear(16, 1, seed=1)), Memory()
    memory.on_batch_end(0, None)
    before = memory.most
    optimizer = rf.SGD(model)
    rf.fit(model, (x, y), loss=MSE, optimizer=optimizer, callbacks=[memory], comm=comm)
    return memory.most - before


def sharded(comm: Any, folder: Any) -> Any:
    """Return the loss of an epoch without a step, and that of all samples at once."""
    d, files = ragged(50), []
    for i, part in enumerate(np.array_split(np.arange(50), [9, 30, 31])):
        files.append(folder / f"{i}.npz")
        if comm is None or comm.rank == 0:
            np.savez(files[-1], **{name: array[part] for name, array in d.items()})
    if comm is not None:
        comm.agreed(None)  # the files are there
    model, options = labeler(), {"batch_size": 7, "comm": comm}
    optimizer = rf.SGD(model, 0.0)
    history = rf.fit(model, rf.Shards(files), loss=CE, optimizer=optimizer, seed=1, **options)
    return history["loss"][0], rf.evaluate(model, tuple(d.values()), loss=CE)["loss"]


EQUAL = {
    "weighted": weighted,
    "time first": partial(weighted, batch_first=False),
    "float32": partial(weighted, dtype=np.float32),
    "last step": last_step,
    "own loss": own_loss,
    "truncated": truncated,
    "two streams": partial(truncated, streams=2),
    "normalised": normalised,
    "several inputs": several_inputs,
    "static input": static,
    "vectors": vectors,
    "own batches": own_batches,
    "dropped": dropped,
    "dropped, time first": partial(dropped, batch_first=False),
    "dropped, drawn twice": partial(dropped, checkpoint=2),
    "dropped, two streams": dropped_streams,
    "dropped, own batches": partial(own_batches, **RANDOM),
    "estimated": estimated,
    "gone on": gone_on,
    "default network": default_network,
    "labels": labels,
    "pairs": pairs,
}
