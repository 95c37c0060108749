"""The training loop: batches, truncated BPTT, clipping, validation, callbacks, progress."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np

from .batching import ArrayBatches, make_batches
from .callbacks import Callback, History
from .checks import check_flag, check_seed, check_size, is_number
from .io import errors_of, load_state
from .layers.base import Layer
from .optim import Optimizer
from .position import Position
from .progress import Displays
from .schedules import Schedule
from .updates import Means, NotFiniteError, Run, Updates

if TYPE_CHECKING:
    from .updates import Loss, Metrics

    # (x, y[, lengths[, weight]]), or an iterable of such batches, or a function that returns one
    Data = Any

__all__ = ["evaluate", "fit"]

# What `fit` takes as comm where it is given none: estimators train within several calls
_shared: ContextVar[Any] = ContextVar("rnnfast_shared", default=None)


def fit(
    model: Layer,
    data: Data,
    *,
    loss: Loss,
    optimizer: Optimizer,
    epochs: int = 1,
    batch_size: int = 32,
    lengths: Any = None,
    sample_weight: Any = None,
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
    on_nonfinite: str = "continue",
    comm: Any = None,
) -> History:
    """Train a model.

    Parameters
    ----------
    model : Layer
        `Sequential` or any other layer.
    data : pair of arrays, iterable or callable
        Arrays ``(x, y)``, ``(x, y, lengths)`` or ``(x, y, lengths, sample_weight)`` of all samples,
        cut into batches here; the samples are on the axis where the model has its batch. Or an
        iterable of such batches, such as a list or `datasets.text_batches`; or a function without
        arguments that returns one for each epoch. Lengths and weights may be None. x is an array,
        or for a model of several inputs a tuple that starts with one: ``model.forward(*x)``.
    loss : callable
        ``loss(prediction, y) -> (value, dprediction)``, from `rnnfast.losses` for instance.
        Keywords are given where there is something to say: ``lengths`` for ragged batches of a
        model whose predictions have a time axis, ``weight`` for weights, and with either
        ``batch_first``.
    optimizer : Optimizer
        Of `model`.
    epochs, batch_size : int
    lengths : (N,) array_like of int, optional
        Steps of each sample, where `data` is a pair of arrays. What x and y hold past them never
        counts.
    sample_weight : array_like, optional
        Non-negative weights, where `data` is a pair of arrays: (N,), one for each sample, or of the
        shape of y or its first axes, one for each step. A weight of 0 leaves out. Loss and metrics
        are means over the sum of the weights, in each batch and over all batches of an epoch.
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
    on_nonfinite : {"continue", "stop"}
        What happens when the loss of a batch, the norm of its gradient or, after an epoch, a
        parameter is NaN or infinite: training goes on, or ends. Model and optimizer are then as
        they were when the epoch began. The epoch does not enter the history, whose ``stopped_by``
        says what was not finite.
    comm : rnnfast.mpi.Communicator, optional
        Processes that train the model together, ``rnnfast.mpi.world()``, each of which makes this
        call: a process learns from its part of each batch. Model, optimizer, callbacks and order
        become those of rank 0, which alone reads `resume` and calls callbacks that write.

    Returns
    -------
    History

    Warns
    -----
    UserWarning
        Where training goes on with a learning rate of 0, as a schedule may have left it.

    Raises
    ------
    ValueError
        Where the file to resume from is damaged, of another training, or has more than `epochs`
        behind it; model, optimizer, callbacks and random generators are then as they were.
    KeyboardInterrupt
        On Ctrl-C. Between updates the model is as the last one left it; an interrupt inside an
        update may leave some parameters a step ahead of the others.
    """
    with _guarded("fit", comm) as comm:
        run = _make_run("fit", comm, model, loss, metrics, carry_state)
        batch_size = check_size("fit", "batch_size", batch_size, 1)
        epochs = check_size("fit", "epochs", epochs, 0)
        _check_learning(model, optimizer, callbacks, on_nonfinite)
        seed = check_seed("fit", seed)
        rng = np.random.default_rng(seed) if check_flag("fit", "shuffle", shuffle) else None
        display = Displays(progress, unit, epochs, run.leads)
        batches = make_batches(
            "fit", "data", model, data, batch_size, carry_state, rng, lengths, sample_weight
        )
        held_out = _held_out(run, batches, validation, validation_split, batch_size, epochs)
        _arrange(batches, bucket, drop_last)
        updates = Updates(run, optimizer, clip_norm, clip_value, on_nonfinite == "stop")
        run.compare(
            "fit",
            epochs=epochs,
            optimizer=optimizer,
            loss=loss,
            data=batches,
            validation=held_out,
            metrics=metrics,
            callbacks=callbacks,
            carry_state=carry_state,
            clip_norm=clip_norm,
            clip_value=clip_value,
            shuffle=shuffle,
            bucket=bucket,
            drop_last=drop_last,
            on_nonfinite=on_nonfinite,
        )
        position = Position(model, optimizer, callbacks, rng, epochs)
        saved = load_state(resume) if resume is not None and run.leads else None
        for callback in callbacks:
            callback.on_train_begin(model, optimizer)
        if resume is not None and saved is not None:
            with errors_of(resume, "a checkpoint that this training can resume from"):
                position.load_state_dict(saved)
        with run.together(position):
            _train(position, updates, batches, held_out, display)
        return position.history


def evaluate(
    model: Layer,
    data: Data,
    *,
    loss: Loss,
    batch_size: int = 32,
    lengths: Any = None,
    sample_weight: Any = None,
    carry_state: bool = False,
    metrics: Metrics | None = None,
    comm: Any = None,
) -> dict[str, float]:
    """Return the mean loss, and metrics, of a model on data.

    Parameters
    ----------
    model, data, loss, batch_size, lengths, sample_weight, carry_state, metrics, comm
        As for `fit`.

    Returns
    -------
    dict of str to float
        "loss" and the metrics; empty without data.
    """
    with _guarded("evaluate", comm) as comm:
        run = _make_run("evaluate", comm, model, loss, metrics, carry_state)
        batch_size = check_size("evaluate", "batch_size", batch_size, 1)
        batches = make_batches(
            "evaluate", "data", model, data, batch_size, carry_state, None, lengths, sample_weight
        )
        run.compare("evaluate", loss=loss, data=batches, metrics=metrics, carry_state=carry_state)
        return run.evaluate("evaluate", "data", batches)


@contextmanager
def shared(comm: Any) -> Iterator[None]:
    """Let all training inside a ``with`` block be shared by the processes of `comm`."""
    token = _shared.set(comm if comm is None else _check_comm("fit", comm))
    try:
        with _guarded("fit", comm), warnings.catch_warnings():
            if comm is not None and comm.rank:
                warnings.simplefilter("ignore")  # rank 0 says it
            yield
    finally:
        _shared.reset(token)


def agreed(value: Any) -> Any:
    """Return the value that rank 0 has, inside `shared`; else `value`."""
    comm = _shared.get()
    return value if comm is None else comm.agreed(value)


# ---- arguments ---------------------------------------------------------------------------------


def _make_run(owner: str, comm: Any, model: Any, loss: Any, metrics: Any, carry_state: Any) -> Run:
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
    make: Callable[..., Run] = Run if comm is None else comm.run
    return make(model, loss, metrics, check_flag(owner, "carry_state", carry_state))


@contextmanager
def _guarded(owner: str, comm: Any) -> Iterator[Any]:
    # gives the processes to train with, or None; what goes wrong on one alone ends all
    comm = _shared.get() if comm is None else _check_comm(owner, comm)
    with nullcontext() if comm is None else comm.guarded():
        yield comm


def _check_comm(owner: str, comm: Any) -> Any:
    if not callable(getattr(comm, "run", None)):
        raise TypeError(
            f"{owner} expected comm as rnnfast.mpi.world() returns it, got {type(comm).__name__}"
        )
    return comm


def _check_learning(model: Layer, optimizer: Any, callbacks: Any, on_nonfinite: Any) -> None:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"fit expected optimizer as an Optimizer of the model, got {optimizer!r}")
    if optimizer.model is not model:
        raise ValueError(
            "fit expected optimizer as an optimizer of the model to be trained, got another's"
        )
    if not isinstance(callbacks, Sequence) or not all(isinstance(c, Callback) for c in callbacks):
        raise TypeError(f"fit expected callbacks as a sequence of Callback, got {callbacks!r}")
    if on_nonfinite not in ("continue", "stop"):
        raise ValueError(f"fit expected on_nonfinite 'continue' or 'stop', got {on_nonfinite!r}")


def _arrange(batches: Any, bucket: Any, drop_last: Any) -> None:
    # after the samples for validation have been taken away
    arrays = isinstance(batches, ArrayBatches)
    if check_flag("fit", "bucket", bucket) and not (arrays and batches.data.lengths is not None):
        raise ValueError("fit expected data as arrays and their lengths with bucket")
    if check_flag("fit", "drop_last", drop_last) and not arrays:
        raise ValueError("fit expected data as arrays with drop_last")
    if arrays:
        batches.bucket, batches.drop_last = bucket, drop_last
    if drop_last and not len(batches):
        raise ValueError(
            f"fit expected data of at least one batch of {batches.batch_size} samples with "
            f"drop_last, got {len(batches.samples)}"
        )


def _held_out(
    run: Run, batches: Any, validation: Data, share: Any, batch_size: int, epochs: int
) -> Any:
    # the batches for validation, None for none
    if not is_number(share):
        raise TypeError(f"fit expected validation_split as a number, got {share!r}")
    if share:
        if validation is not None:
            raise ValueError("fit expected validation or validation_split, got both")
        if not isinstance(batches, ArrayBatches):
            raise ValueError("fit expected data as arrays with validation_split")
        return batches.split(share)
    if validation is None:
        return None
    held_out = make_batches("fit", "validation", run.model, validation, batch_size, run.carry_state)
    if isinstance(held_out, Iterator) and epochs > 1:
        raise ValueError(
            "fit expected validation as a list, or a function that returns an iterator, "
            "got an iterator, which can be used only once"
        )
    return held_out


def _warn_of_no_rate(optimizer: Optimizer, callbacks: Sequence[Callback]) -> bool:
    # whether an epoch is to be trained without a learning rate
    names = [type(c).__name__ for c in callbacks if isinstance(c, Schedule) and c.base_lr]
    if optimizer.lr or not (names or optimizer.first_lr):  # a user's own 0 is meant
        return False
    what = f", to which {' and '.join(names)} has brought it" if names else ""
    warnings.warn(
        f"fit goes on with a learning rate of 0{what}: no parameter changes; set the optimizer's "
        "lr, or give a schedule that goes on for more epochs or ends above 0",
        UserWarning,
        stacklevel=4,
    )
    return True


# ---- epochs ------------------------------------------------------------------------------------


def _train(
    position: Position, updates: Updates, batches: Any, held_out: Any, display: Displays
) -> None:
    warned = False
    try:
        while position.epochs < position.most and not position.stopped:
            warned = warned or _warn_of_no_rate(position.optimizer, position.callbacks)
            _epoch(position, updates, batches, held_out, display)
    except NotFiniteError as reason:
        position.history.stopped_by = str(reason)
        updates.go_back()
    finally:
        display.close()
        for callback in _called(position, updates.run):
            callback.on_train_end(position.history)


def _called(position: Position, run: Run) -> list[Callback]:
    return [callback for callback in position.callbacks if run.leads or not callback.writes]


def _epoch(
    position: Position, updates: Updates, batches: Any, held_out: Any, display: Displays
) -> None:
    epoch, history, run = position.epochs, position.history, updates.run
    callbacks = _called(position, run)
    started = time.perf_counter()
    for callback in callbacks:
        callback.on_epoch_begin(epoch)
    display.open(epoch, batches)
    updates.begin()
    means, state, number = Means(), None, 0
    for number, batch in enumerate(run.each("fit", "data", batches), 1):
        values, weight, state = updates.learn(batch, state, history.batch_losses)
        logs = means.add(values, weight)
        for callback in callbacks:
            callback.on_batch_end(number - 1, logs)
        display.update(logs, run.model, batch, run.processes)
    if not number:
        raise ValueError(
            f"fit expected data for epoch {epoch + 1}, got no batches; an iterator can be "
            "used only once: give a list, or a function that returns an iterator"
        )
    updates.end()
    logs = dict(means.values)
    if held_out is not None:
        results = run.evaluate("fit", "validation", held_out)
        logs |= {f"val_{name}": value for name, value in results.items()}
    logs["seconds"] = run.agreed(time.perf_counter() - started)
    stop = [callback.on_epoch_end(epoch, logs) for callback in callbacks]
    for name, value in logs.items():
        history.setdefault(name, []).append(value)
    position.epochs, position.stopped = epoch + 1, run.agreed(any(stop))
    for callback in callbacks:
        callback.on_checkpoint(epoch, position.state_dict)
    display.finish(logs)
