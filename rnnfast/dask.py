"""Predictions for more data than fit into memory, on Dask."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from .batching import gives_time
from .core.runtime import get_num_threads
from .datasets.formats import pad
from .layers.base import Layer
from .layers.sequential import takes_time

__all__ = ["predict"]

ROWS = 256  # samples in a call of a layer: bounds the memory of all steps' outputs


def predict(model: Any, data: Any, lengths: Any = None, *, method: str = "predict") -> Any:
    """Return predictions that Dask computes a block of samples at a time, when it is asked to.

    The model is one value of the graph: each worker is sent it once, and what a worker that dies
    has taken along is computed again. A worker's tasks share its threads.

    Parameters
    ----------
    model : Layer or fitted estimator
    data : dask Array, DataFrame or Bag
        An array as the model takes it, in blocks along the axis of samples. A frame, for
        estimators: each partition holds whole samples, a long one all rows of an id, say; the
        first one with any is predicted at once, which tells the columns. A bag of series of any
        lengths, a (time, features) array each.
    lengths : (N,) dask Array or array_like of int, optional
        Steps of each sample, where `data` is an array.
    method : str, default "predict"
        What of an estimator is called: "predict_proba", say.

    Returns
    -------
    dask Array, DataFrame, Series or Bag
        Of the kind of `data`: what `method` returns, or a layer's output; a Series by id of what
        is an array for a frame. In a bag the prediction of each series.

    Raises
    ------
    ImportError
        Without Dask: ``pip install rnnfast[dask]``.
    TypeError, ValueError
        For data that is none of these, or that the model does not take.
    """
    try:
        from dask import array, bag, delayed
        from distributed import get_worker as _  # noqa: F401
    except ImportError as error:
        raise ImportError("rnnfast.dask needs Dask: pip install 'rnnfast[dask]'") from error
    if isinstance(model, Layer) and method != "predict":
        raise ValueError(f"predict expected method 'predict' of a layer, got {method!r}")
    if not isinstance(model, Layer) and not callable(getattr(model, str(method), None)):
        raise TypeError(
            f"predict expected model as a layer or a fitted estimator with {method}, got "
            f"{type(model).__name__}"
        )
    sent, task = delayed(model, traverse=False), delayed(_predict, pure=True)
    if isinstance(data, array.Array):
        return _of_array(model, sent, task, data, lengths, method)
    if lengths is not None:
        raise ValueError("predict expected lengths beside an array only")
    if isinstance(data, bag.Bag):
        one = delayed(_predict_each, pure=True)
        return bag.from_delayed([one(sent, part, method) for part in data.to_delayed()])
    if not hasattr(data, "to_delayed"):
        raise TypeError(
            f"predict expected data as a dask Array, DataFrame or Bag, got {type(data).__name__}"
        )
    if isinstance(model, Layer):
        raise TypeError("predict expected data of a layer as a dask Array or Bag, got a DataFrame")
    from dask import dataframe

    one = delayed(_predict_frame, pure=True)
    parts = iter(data.to_delayed())
    # a part of the result: Dask would compute it for its columns, and again
    computed = (one(sent, part, method, None).compute() for part in parts)
    done = next((frame for frame in computed if frame is not None), None)
    if done is None:
        raise ValueError("predict expected data of one row at least, got none")
    others = [one(sent, part, method, done.iloc[:0]) for part in parts]
    return dataframe.from_delayed([delayed(done), *others], done)


def _of_array(model: Any, sent: Any, task: Any, data: Any, lengths: Any, method: str) -> Any:
    from dask import array

    axis, behind = _axes(model)
    if data.ndim <= axis:
        raise ValueError(f"predict expected data with samples on axis {axis}, got {data.shape}")
    data = data.rechunk({i: -1 for i in range(data.ndim) if i != axis})
    sizes = data.chunks[axis]
    parts = [None] * len(sizes)
    if lengths is not None:
        if not hasattr(lengths, "to_delayed"):
            lengths = array.from_array(np.asarray(lengths))
        if lengths.shape != (data.shape[axis],) and not np.isnan(data.shape[axis]):
            raise ValueError(
                f"predict expected lengths of shape ({data.shape[axis]},), got {lengths.shape}"
            )
        parts = lengths.rechunk((sizes,)).to_delayed().ravel().tolist()
    # what comes out, by a single sample: an error of the model is raised here, not on a worker
    shape = [1 if i == axis else size for i, size in enumerate(data.shape)]
    steps = None if lengths is None else np.full(1, shape[1 - axis])
    one = _predict(model, np.zeros(shape, data.dtype), steps, method)
    blocks = []
    for block, size, part in zip(data.to_delayed().ravel(), sizes, parts, strict=True):
        out = [size if i == behind else n for i, n in enumerate(one.shape)]
        made = task(sent, block, part, method)
        blocks.append(array.from_delayed(made, out, one.dtype))
    return array.concatenate(blocks, behind)


def _axes(model: Any) -> tuple[int, int]:
    # where input and output have their samples
    if not isinstance(model, Layer) or model.batch_first is not False:
        return 0, 0
    return int(takes_time(model)), int(gives_time(model))


def _threads() -> int:
    # for a task beside the others of its process
    from dask.system import CPU_COUNT
    from distributed import get_worker

    try:
        tasks = get_worker().state.nthreads
    except ValueError:  # on no worker of a cluster
        tasks = 1 if threading.current_thread() is threading.main_thread() else CPU_COUNT
    return max(1, get_num_threads() // tasks)


def _predict(model: Any, x: Any, lengths: Any, method: str) -> Any:
    from threadpoolctl import threadpool_limits

    # of this thread alone, as OpenMP has it: `set_num_threads` would be every task's
    with threadpool_limits(_threads(), user_api="openmp"):
        if not isinstance(model, Layer):
            told = {} if lengths is None else {"lengths": lengths}
            if isinstance(x, np.ndarray) and not len(x):  # which estimators refuse
                one = np.zeros((1, *x.shape[1:]), x.dtype)
                return getattr(model, method)(one)[:0]
            return getattr(model, method)(x, **told)
        axis, behind = _axes(model)
        parts = []
        for start in range(0, max(x.shape[axis], 1), ROWS):
            some = slice(start, start + ROWS)
            rows = x[(slice(None),) * axis + (some,)]
            n = None if lengths is None else lengths[some]
            parts.append(model._call(rows, None, n, False)[0])
        return np.concatenate(parts, behind)


def _predict_each(model: Any, part: Any, method: str) -> list[Any]:
    series = list(part)
    if not series:
        return []
    if not isinstance(model, Layer):
        return list(_predict(model, series, None, method))
    for one in series:
        if not isinstance(one, np.ndarray) or not one.ndim:
            raise TypeError(f"predict expected data as a bag of arrays, a series each, got {one!r}")
    x, lengths = pad(series)
    axis, behind = _axes(model)
    y = _predict(model, x.swapaxes(0, 1) if axis else x, lengths, method)
    y = y.swapaxes(0, 1) if behind else y
    if lengths is None or not gives_time(model):
        return list(y)
    ends = model.out_lengths(lengths)
    return [row[:end] for row, end in zip(y, ends, strict=True)]


def _predict_frame(model: Any, part: Any, method: str, of_none: Any) -> Any:
    if not len(part):
        return of_none
    import pandas

    from .estimators.panels import from_frame

    values = _predict(model, part, None, method)
    if isinstance(values, list):  # which Dask would keep as text
        raise TypeError(
            f"predict expected data as a dask Array or Bag for {method} of "
            f"{type(model).__name__}, which gives an array for each sample, got a DataFrame"
        )
    if not isinstance(values, np.ndarray):
        return values
    ids = from_frame(model, part, "X", None)[2]
    index = part.index if ids is None else pandas.Index(ids, name="id")
    if values.ndim == 1:
        return pandas.Series(values, index, name=method)
    return pandas.DataFrame(values, index)
