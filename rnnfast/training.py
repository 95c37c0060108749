"""The training loop: batches, truncated BPTT, clipping, validation, callbacks, progress."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .callbacks import Callback, History
from .io import load_state
from .layers.base import Layer, check_flag, check_lengths, check_seed, check_size, is_number
from .layers.dropout import MaskSource
from .layers.sequential import steps_left, with_parts
from .optim import Optimizer, _keys, _number, clip_grad_norm, clip_grad_value
from .progress import Display

if TYPE_CHECKING:
    from .layers.base import Array

    Loss = Callable[..., tuple[float, Array]]
    Metrics = Mapping[str, Callable[..., float]]
    # (x, y), or an iterable of batches (x, y[, lengths]), or a function that returns one
    Data = Any

__all__ = ["evaluate", "fit"]


def fit(
    model: Layer,
    data: Data,
    *,
    loss: Loss,
    optimizer: Optimizer,
    epochs: int = 1,
    batch_size: int = 32,
    lengths: Any = None,
    carry_state: bool = False,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    validation: Data = None,
    validation_split: float = 0.0,
    metrics: Metrics | None = None,
    callbacks: Sequence[Callback] = (),
    resume: str | os.PathLike[str] | None = None,
    shuffle: bool = True,
    bucket: bool = False,
    drop_last: bool = False,
    seed: int | None = None,
    progress: bool | None = None,
    unit: str = "samples",
) -> History:
    """Train a model.

    Parameters
    ----------
    model : Layer
        `Sequential` or any other layer.
    data : pair of arrays, iterable or callable
        Arrays ``(x, y)`` or ``(x, y, lengths)`` of all samples, cut into batches here; the samples
        are on the axis where the model has its batch. Or an iterable of batches ``(x, y)`` or
        ``(x, y, lengths)``, such as a list or `datasets.text_batches`; or a function without
        arguments that returns one for each epoch. x is an array, or for a model of several
        inputs a tuple that starts with one: ``model.forward(*x)``.
    loss : callable
        ``loss(prediction, y) -> (value, dprediction)``, from `rnnfast.losses` for instance. For
        ragged batches of a model that keeps the time axis, ``lengths`` and ``batch_first`` are
        given as keywords.
    optimizer : Optimizer
        Of `model`.
    epochs, batch_size : int
    lengths : (N,) array_like of int, optional
        Steps of each sample, where `data` is a pair of arrays.
    carry_state : bool, default False
        Truncated BPTT: each batch starts from the final state of the one before; gradients stop
        there. `data` must give batches in order then. Every epoch starts from zeros.
    clip_norm, clip_value : float, optional
        Limit of the gradients' norm, and of each element.
    validation : optional
        Like `data`; evaluated after every epoch.
    validation_split : float, default 0
        Share of the samples of arrays that is held out in place of `validation`: the last ones,
        before shuffling.
    metrics : mapping of str to callable, optional
        ``metric(prediction, y) -> float``, keywords as for `loss`; `losses.accuracy` for instance.
    callbacks : sequence of Callback
    resume : path, optional
        What a `Checkpoint` wrote: training continues after its last epoch, up to `epochs` in all.
        With the same arguments otherwise, the result is that of a training that was never
        interrupted, to the bit; `data` that is a function must not depend on its earlier calls.
    shuffle : bool, default True
        Whether arrays are cut into batches in a new random order each epoch.
    bucket : bool, default False
        Whether a batch is made of samples of similar length, for arrays with lengths: it is cut to
        the longest of them, so that no layer works on more padding than need be.
    drop_last : bool, default False
        Whether samples of arrays that do not fill a last batch wait for another epoch, as in
        PyTorch's DataLoader; `BatchNorm1d` wants this where they are a single one. Validation uses
        all samples.
    seed : int or None
        Of that order.
    progress : bool, optional
        Whether to show progress on standard error, with tqdm where it is installed. Default:
        where standard error is a terminal.
    unit : str, default "samples"
        What the display counts a second: "samples", or any other word for time steps, say
        "characters".

    Returns
    -------
    History

    Raises
    ------
    KeyboardInterrupt
        On Ctrl-C. Between updates the model is as the last one left it; an interrupt inside an
        update may leave some parameters a step ahead of the others.
    """
    batch_size, carry_state = _check("fit", model, loss, batch_size, carry_state, metrics)
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"fit expected optimizer as an Optimizer of the model, got {optimizer!r}")
    if optimizer.model is not model:
        raise ValueError(
            "fit expected optimizer as an optimizer of the model to be trained, got another's"
        )
    epochs = check_size("fit", "epochs", epochs, 0)
    if clip_norm is not None:
        clip_norm = _number("fit", "clip_norm", clip_norm, finite=False)
    if clip_value is not None:
        clip_value = _number("fit", "clip_value", clip_value, finite=False)
    if not isinstance(callbacks, Sequence) or not all(isinstance(c, Callback) for c in callbacks):
        raise TypeError(f"fit expected callbacks as a sequence of Callback, got {callbacks!r}")
    seed = check_seed("fit", seed)
    rng = np.random.default_rng(seed) if check_flag("fit", "shuffle", shuffle) else None
    bucket = check_flag("fit", "bucket", bucket)
    if not isinstance(unit, str):
        raise TypeError(f"fit expected unit as a str, got {unit!r}")
    batches = _batches("fit", "data", model, data, batch_size, lengths, carry_state, rng)
    if bucket:
        if not isinstance(batches, _ArrayBatches) or len(batches.arrays) != 3:
            raise ValueError("fit expected data as arrays and their lengths with bucket")
        batches.bucket = True
    drop_last = check_flag("fit", "drop_last", drop_last)
    if drop_last and not isinstance(batches, _ArrayBatches):
        raise ValueError("fit expected data as arrays with drop_last")
    if not is_number(validation_split):
        raise TypeError(f"fit expected validation_split as a number, got {validation_split!r}")
    if validation_split:
        if validation is not None:
            raise ValueError("fit expected validation or validation_split, got both")
        if not isinstance(batches, _ArrayBatches):
            raise ValueError("fit expected data as arrays with validation_split")
        validation = batches.split(validation_split)
    elif validation is not None:
        validation = _batches(
            "fit", "validation", model, validation, batch_size, None, carry_state, None
        )
        if isinstance(validation, Iterator) and epochs > 1:
            raise ValueError(
                "fit expected validation as a list, or a function that returns an iterator, "
                "got an iterator, which can be used only once"
            )
    if drop_last:
        batches.drop_last = True
        if not len(batches):
            raise ValueError(
                f"fit expected data of at least one batch of {batch_size} samples with drop_last, "
                f"got {len(batches.samples)}"
            )
    if progress is not None:
        progress = check_flag("fit", "progress", progress)
    else:
        progress = sys.stderr is not None and sys.stderr.isatty()
    display = None

    position = _Position(model, optimizer, callbacks, rng)
    history = position.history
    saved = None if resume is None else load_state(resume)

    for callback in callbacks:
        callback.on_train_begin(model, optimizer)
    if saved is not None:
        position.load_state_dict(saved)
    try:
        while position.epochs < epochs and not position.stopped:
            epoch = position.epochs
            started = time.perf_counter()
            for callback in callbacks:
                callback.on_epoch_begin(epoch)
            if progress:
                total = len(batches) if hasattr(batches, "__len__") else None
                display = Display(f"epoch {epoch + 1}/{epochs}", total, unit)
            means, state = _Means(), None
            for batch, (x, y, n) in enumerate(_each("fit", "data", batches)):
                prediction, state, tape = _forward(model, x, state if carry_state else None, n)
                keywords = _loss_keywords(model, n)
                value, gradient = loss(prediction, y, **keywords)
                optimizer.zero_grad()
                model.backward(tape, gradient, input_grad=False)
                if clip_norm is not None:
                    clip_grad_norm(model, clip_norm)
                if clip_value is not None:
                    clip_grad_value(model, clip_value)
                optimizer.step()

                history.batch_losses.append(value)
                values = {"loss": value, **_measure(metrics, prediction, y, keywords)}
                logs = means.add(values, prediction, keywords)
                for callback in callbacks:
                    callback.on_batch_end(batch, logs)
                if display:
                    display.update(_text(logs), _amount(model, x, n, unit))
            if not means.weight:
                raise ValueError(
                    f"fit expected data for epoch {epoch + 1}, got no batches; an iterator can be "
                    "used only once: give a list, or a function that returns an iterator"
                )
            logs = dict(means.values)
            if validation is not None:
                results = _evaluate("fit", model, validation, loss, carry_state, metrics)
                logs |= {f"val_{name}": value for name, value in results.items()}
            logs["seconds"] = time.perf_counter() - started
            stop = [callback.on_epoch_end(epoch, logs) for callback in callbacks]
            for name, value in logs.items():
                history.setdefault(name, []).append(value)
            position.epochs, position.stopped = epoch + 1, any(stop)
            for callback in callbacks:
                callback.on_checkpoint(epoch, position.state_dict)
            if display:
                display.finish(_text({k: v for k, v in logs.items() if k != "seconds"}))
    finally:
        if display:
            display.close()
        for callback in callbacks:
            callback.on_train_end(history)
    return history


def evaluate(
    model: Layer,
    data: Data,
    *,
    loss: Loss,
    batch_size: int = 32,
    lengths: Any = None,
    carry_state: bool = False,
    metrics: Metrics | None = None,
) -> dict[str, float]:
    """Return the mean loss, and metrics, of a model on data.

    Parameters
    ----------
    model, data, loss, batch_size, lengths, carry_state, metrics
        As for `fit`.

    Returns
    -------
    dict of str to float
        "loss" and the metrics; empty without data.
    """
    batch_size, carry_state = _check("evaluate", model, loss, batch_size, carry_state, metrics)
    batches = _batches("evaluate", "data", model, data, batch_size, lengths, carry_state, None)
    return _evaluate("evaluate", model, batches, loss, carry_state, metrics)


def _evaluate(
    owner: str,
    model: Layer,
    batches: Any,
    loss: Loss,
    carry_state: bool,
    metrics: Metrics | None,
) -> dict[str, float]:
    means, state = _Means(), None
    for x, y, n in _each(owner, "validation" if owner == "fit" else "data", batches):
        if model.stateful:
            prediction, state = model(x, state if carry_state else None, n)
        else:
            prediction = model(*_inputs(model, x, n))
        keywords = _loss_keywords(model, n)
        values = {"loss": loss(prediction, y, **keywords)[0]}
        values |= _measure(metrics, prediction, y, keywords)
        means.add(values, prediction, keywords)
    return means.values


def _check(
    owner: str, model: Any, loss: Any, batch_size: Any, carry_state: Any, metrics: Any
) -> tuple[int, bool]:
    if not isinstance(model, Layer):
        raise TypeError(f"{owner} expected model as a layer, got {model!r}")
    if not callable(loss):
        raise TypeError(f"{owner} expected loss as a function, got {loss!r}")
    if metrics is not None and not (
        isinstance(metrics, Mapping)
        and all(isinstance(name, str) and callable(f) for name, f in metrics.items())
    ):
        raise TypeError(f"{owner} expected metrics as a mapping of str to function, got {metrics}")
    if metrics is not None and "loss" in metrics:
        raise ValueError(f"{owner} expected metrics of other names than 'loss', the loss's own")
    return (
        check_size(owner, "batch_size", batch_size, 1),
        check_flag(owner, "carry_state", carry_state),
    )


def mask_sources(model: Layer) -> list[MaskSource]:
    """Return the sources of a model's random masks, each once."""
    sources = (
        source
        for layer in with_parts(model)
        for value in vars(layer).values()
        for source in (value if isinstance(value, tuple) else (value,))
        if isinstance(source, MaskSource)
    )
    return list(dict.fromkeys(sources))


class _Position:
    """All that a training continues from, but for its data."""

    def __init__(
        self,
        model: Layer,
        optimizer: Optimizer,
        callbacks: Sequence[Callback],
        rng: np.random.Generator | None,
    ) -> None:
        self.model, self.optimizer, self.callbacks, self.rng = model, optimizer, callbacks, rng
        self.epochs = 0  # complete
        self.stopped = False  # by a callback
        self.history = History()

    def _by_name(self) -> dict[str, Callback]:
        return {f"{i} {type(c).__name__}": c for i, c in enumerate(self.callbacks)}

    def state_dict(self) -> dict[str, Any]:
        return {
            "epochs": self.epochs,
            "stopped": self.stopped,
            "history": dict(self.history),
            "batch_losses": np.array(self.history.batch_losses, np.float64),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "callbacks": {name: c.state_dict() for name, c in self._by_name().items()},
            "masks": [source.state_dict() for source in mask_sources(self.model)],
            "shuffle": self.rng and self.rng.bit_generator.state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        _keys("fit", "resume with", state, self.state_dict())
        _keys("fit", "callbacks to resume", self._by_name(), state["callbacks"])
        masks = mask_sources(self.model)
        if (
            len(state["masks"]) != len(masks)
            or state["optimizer"]["type"] != type(self.optimizer).__name__
            or (state["shuffle"] is None) != (self.rng is None)
        ):
            raise ValueError(
                "fit expected model, optimizer and shuffle to be as they were, to resume"
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name, callback in self._by_name().items():
            callback.load_state_dict(state["callbacks"][name])
        for source, saved in zip(masks, state["masks"], strict=True):
            source.load_state_dict(saved)
        if self.rng is not None:
            self.rng.bit_generator.state = state["shuffle"]
        self.history.update(state["history"])
        self.history.batch_losses.extend(state["batch_losses"].tolist())
        self.epochs, self.stopped = state["epochs"], state["stopped"]


# ---- batches -----------------------------------------------------------------------------------


class _ArrayBatches:
    """Samples of arrays cut into batches."""

    def __init__(
        self,
        arrays: Sequence[Any],
        axes: Sequence[int],
        times: Sequence[int | None],
        batch_size: int,
        rng: np.random.Generator | None,
        model: Layer,
    ) -> None:
        self.arrays, self.batch_size, self.rng = arrays, batch_size, rng
        self.axes, self.times = axes, times  # of samples and of time steps in each array
        self.model = model  # knows the steps of y from those of x
        self.samples = np.arange(arrays[0].shape[axes[0]])
        self.bucket = False  # whether the samples of a batch are of similar length
        self.drop_last = False  # whether all batches are full

    def split(self, share: float) -> _ArrayBatches:
        """Take the last `share` of the samples away and return batches of them, in order."""
        cut = math.floor(len(self.samples) * (1.0 - share)) if 0.0 < share < 1.0 else 0
        if not cut:
            raise ValueError(
                "fit expected validation_split from 0 to 1 that leaves samples to learn from, "
                f"got {share} of {len(self.samples)} samples"
            )
        settings = self.axes, self.times, self.batch_size
        last = _ArrayBatches(self.arrays, *settings, None, self.model)
        self.samples, last.samples = self.samples[:cut], self.samples[cut:]
        return last

    def __len__(self) -> int:
        full, rest = divmod(len(self.samples), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        order, starts = self.samples.copy(), np.arange(len(self)) * self.batch_size
        if self.rng is not None:
            self.rng.shuffle(order)
        if self.drop_last:  # before they are sorted by length: any may be among the last
            order = order[: len(self) * self.batch_size]
        arrays = self.arrays
        if self.bucket:
            lengths = arrays[2]
            order = order[lengths[order].argsort(kind="stable")]
            if self.rng is not None:
                self.rng.shuffle(starts)
        for start in starts:
            some = order[start : start + self.batch_size]
            if self.bucket:
                arrays = self._cut(max(1, lengths[some].max()))
            yield tuple(_take(a, some, axis) for a, axis in zip(arrays, self.axes, strict=True))

    def _cut(self, steps: int) -> list[Array]:
        # the arrays without what follows the first steps of x, and those of y that they lead to
        after = self.model.out_lengths(steps)
        if steps_left(self.model, steps) < 1:  # nothing to learn, but convolutions want their taps
            return list(self.arrays)
        kept = steps, after, None
        return [
            a if time is None else a[(slice(None),) * time + (slice(n),)]
            for a, time, n in zip(self.arrays, self.times, kept, strict=True)
        ]


def _take(array: Array, some: Array, axis: int) -> Array:
    # ndarray.take would first copy the whole of an array that is not contiguous.
    if array.flags.c_contiguous:
        return array.take(some, axis)
    return array[(slice(None),) * axis + (some,)]


def _batches(
    owner: str,
    name: str,
    model: Layer,
    data: Data,
    batch_size: int,
    lengths: Any,
    carry_state: bool,
    rng: np.random.Generator | None,
) -> Any:
    expected = f"{owner} expected {name}"
    arrays = isinstance(data, tuple) and all(isinstance(a, np.ndarray) for a in data[:2])
    if not arrays:
        if lengths is not None:
            raise ValueError(
                f"{owner} expected lengths in the batches, as {name} is not a pair of arrays"
            )
        if not callable(data) and (
            not isinstance(data, Iterable) or isinstance(data, (str, np.ndarray))
        ):
            raise TypeError(
                f"{expected} as (x, y), an iterable of batches or a function, "
                f"got {type(data).__name__}"
            )
        if isinstance(data, (tuple, list)):
            for batch in data:
                _check_batch(owner, name, batch)
        return data
    if carry_state:
        raise ValueError(
            f"{expected} as an iterable of consecutive batches with carry_state, such as "
            "datasets.text_batches, got arrays"
        )
    if len(data) == 3:
        if lengths is not None:
            raise ValueError(f"{owner} got lengths twice, in {name} and as an argument")
        *data, lengths = data
    if len(data) != 2:
        raise ValueError(f"{expected} as (x, y) or (x, y, lengths), got {len(data)} entries")
    x, y = data
    time_first = model.batch_first is False  # None: no layer knows of time
    axes = [int(time_first), int(time_first and model.keeps_time)]
    if x.ndim <= axes[0] or y.ndim <= axes[1]:
        raise ValueError(
            f"{expected} with samples on axis {axes[0]} of x and {axes[1]} of y, "
            f"got shapes {x.shape} and {y.shape}"
        )
    samples = x.shape[axes[0]]
    if y.shape[axes[1]] != samples:
        raise ValueError(
            f"{expected} with as many samples in y (axis {axes[1]}) as in x (axis {axes[0]}), "
            f"got shapes {y.shape} and {x.shape}"
        )
    everything = [x, y]
    time = 1 - axes[0]
    times = [time, time if model.keeps_time and y.ndim > time else None]
    if lengths is not None:
        if x.ndim < 2:
            raise ValueError(f"{expected} with a time axis in x for lengths, got shape {x.shape}")
        whose = owner if name == "data" else f"{owner}'s {name}"
        everything.append(check_lengths(whose, lengths, x.shape[time], samples))
        axes.append(0)
        times.append(None)
    return _ArrayBatches(everything, axes, times, batch_size, rng, model)


def _check_batch(owner: str, name: str, batch: Any) -> None:
    if not isinstance(batch, (tuple, list)) or len(batch) not in (2, 3, 4):
        raise ValueError(
            f"{owner} expected {name} of batches (x, y) or (x, y, lengths), or arrays of all "
            f"samples as a tuple (x, y), got a batch that is {_kind(batch)}"
        )
    x = batch[0]
    first = x[0] if isinstance(x, tuple) and x else x
    if not isinstance(first, np.ndarray):
        raise TypeError(
            f"{owner} expected {name} with x as a NumPy array, got {_kind(batch[0])} in a batch"
        )


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    size = f" of {len(value)}" if isinstance(value, (tuple, list)) else ""
    return f"{type(value).__name__}{size}"


def _each(owner: str, name: str, batches: Any) -> Iterator[tuple[Any, Any, Any]]:
    for batch in batches() if callable(batches) else batches:
        _check_batch(owner, name, batch)
        x, y, *n = batch
        yield x, y, n[0] if n else None


# ---- one batch ---------------------------------------------------------------------------------


def _forward(model: Any, x: Array, state: Any, lengths: Any) -> tuple[Array, Any, Any]:
    if model.stateful:
        prediction, state, tape = model.forward(x, state, lengths)
        return prediction, state, tape
    prediction, tape = model.forward(*_inputs(model, x, lengths))
    return prediction, None, tape


def _inputs(model: Layer, x: Any, lengths: Any) -> tuple[Any, ...]:
    if isinstance(x, tuple):
        return x
    return (x, lengths) if model.takes_lengths else (x,)


def _loss_keywords(model: Layer, lengths: Any) -> dict[str, Any]:
    if lengths is None or not model.keeps_time:
        return {}
    return {"lengths": model.out_lengths(lengths), "batch_first": bool(model.batch_first)}


def _measure(
    metrics: Metrics | None, prediction: Array, y: Any, keywords: dict[str, Any]
) -> dict[str, float]:
    return {name: metric(prediction, y, **keywords) for name, metric in (metrics or {}).items()}


def _amount(model: Layer, x: Any, lengths: Any, unit: str) -> int:
    # samples, or else time steps, of a batch
    x = x[0] if isinstance(x, tuple) else x
    if unit == "samples" or model.batch_first is None:
        return x.shape[int(model.batch_first is False)]
    return int(np.sum(lengths)) if lengths is not None else math.prod(x.shape[:2])


def _text(logs: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in logs.items())


class _Means:
    """Means over the batches of an epoch, weighted by the number of predictions."""

    def __init__(self) -> None:
        self.weight = 0.0
        self.values: dict[str, float] = {}

    def add(
        self, values: dict[str, float], prediction: Array, keywords: dict[str, Any]
    ) -> dict[str, float]:
        """Return the means so far, a new dict."""
        weight = float(np.sum(keywords["lengths"])) if keywords else float(prediction.size)
        self.weight += weight
        share = weight / self.weight if self.weight else 1.0
        for name, value in values.items():
            before = self.values.get(name, value)
            self.values[name] = before + share * (value - before)
        return dict(self.values)
