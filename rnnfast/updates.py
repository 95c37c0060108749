"""One batch after the other: predictions, loss and metrics, gradients, the update."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from .batching import Batch, each_batch, gives_time
from .checks import check_number
from .layers.base import Layer
from .layers.sequential import lengths_behind, takes_time, without_padding
from .optim import Optimizer, clip_grad_norm, clip_grad_value
from .weighting import total_weight

if TYPE_CHECKING:
    from .arrays import Array

    Loss = Callable[..., tuple[float, Array]]
    Metrics = Mapping[str, Callable[..., float]]


class Means:
    """Means over the batches of an epoch, weighted by what each of them counts."""

    def __init__(self) -> None:
        self.weight = 0.0
        self.values: dict[str, float] = {}

    def add(self, values: dict[str, float], weight: float) -> dict[str, float]:
        """Return the means so far, a new dict."""
        self.weight += weight
        share = weight / self.weight if self.weight else 1.0
        for name, value in values.items():
            before = self.values.get(name, value)
            self.values[name] = before + share * (value - before)
        return dict(self.values)


class Assessed:
    """A batch and what a model makes of it."""

    batch: Batch
    keywords: dict[str, Any]  # what loss and metrics are told
    prediction: Any
    state: Any = None
    tape: Any = None
    value: float  # the loss
    gradient: Any
    weight = 0.0  # what a batch that processes share counts
    share = 1.0  # of this process in it


class Run:
    """A model and what is asked of its predictions.

    Where several processes train together a subclass of it speaks with the others.

    Attributes
    ----------
    leads : bool
        Whether this process shows and writes what is shown and written once.
    processes : int
    """

    leads = True
    processes = 1

    def __init__(self, model: Any, loss: Loss, metrics: Metrics | None, carry_state: bool) -> None:
        self.model, self.loss, self.metrics = model, loss, metrics or {}
        self.carry_state = carry_state
        self.in_time = gives_time(model)

    def each(self, owner: str, name: str, batches: Any) -> Iterator[Batch]:
        """Iterate over the batches of any source."""
        return each_batch(owner, name, batches)

    def assess(self, batch: Batch, state: Any, training: bool) -> Assessed:
        """Call the model and the loss."""
        found = Assessed()
        found.batch, found.keywords = batch, self.keywords(batch)
        found.prediction, found.state, found.tape = self._call(batch, state, training)
        found.value, found.gradient = self.loss(found.prediction, batch.y, **found.keywords)
        return found

    def backward(self, found: Assessed) -> None:
        """Add the gradients of the loss."""
        self.model.backward(found.tape, found.gradient, input_grad=False)

    def results(self, found: Assessed) -> tuple[dict[str, float], float]:
        """Return loss and metrics of a batch, and what it counts."""
        values = {"loss": found.value}
        for name, metric in self.metrics.items():
            values[name] = metric(found.prediction, found.batch.y, **found.keywords)
        return values, self.weight(found.prediction, found.keywords)

    def evaluate(self, owner: str, name: str, batches: Any) -> dict[str, float]:
        """Return the means of loss and metrics over batches."""
        means, state = Means(), None
        for batch in self.each(owner, name, batches):
            found = self.assess(batch, state, False)
            state = found.state
            means.add(*self.results(found))
        return means.values

    def compare(self, owner: str, **arguments: Any) -> None:
        """Raise an error unless all processes have made this call, with such arguments."""

    @contextmanager
    def together(self, position: Any) -> Iterator[None]:
        """Train inside a ``with`` block, from the `Position` of the process that leads."""
        yield

    def agreed(self, value: Any) -> Any:
        """Return the value of the process that leads."""
        return value

    def keywords(self, batch: Batch) -> dict[str, Any]:
        """Return what loss and metrics are told about a batch."""
        keywords: dict[str, Any] = {}
        if batch.lengths is not None and self.model.keeps_time:
            axis = int(self.model.batch_first is not False)
            steps = batch.x.shape[axis] if isinstance(batch.x, np.ndarray) else None
            ends = lengths_behind(self.model, batch.lengths, steps)
            if ends is not None:
                keywords["lengths"] = ends
        if batch.weight is not None:
            keywords["weight"] = batch.weight
        if keywords and self.in_time:
            keywords["batch_first"] = self.model.batch_first is not False
        return keywords

    def weight(self, prediction: Any, keywords: dict[str, Any]) -> float:
        """Return what a batch counts in means."""
        in_time = self.in_time and self.model.batch_first is not None
        lengths, weight = keywords.get("lengths"), keywords.get("weight")
        batch_first = keywords.get("batch_first", True)
        first = prediction[0] if isinstance(prediction, tuple) else prediction
        return total_weight(first.shape, lengths, weight, batch_first, in_time)

    def _call(self, batch: Batch, state: Any, training: bool) -> Any:
        model, x, lengths = self.model, batch.x, batch.lengths
        served = model._leaves_padding_out and takes_time(model)
        ignored = lengths is not None and not served
        if ignored and not isinstance(x, tuple) and x.ndim > 1:
            x = without_padding("fit", x, lengths, model.batch_first is not False)
        return model._call(x, state if self.carry_state else None, lengths, training)


class NotFiniteError(Exception):
    """A loss or a gradient that is not finite, and which."""


class Updates:
    """One update of the parameters after the other.

    `careful` ones stop at a loss or a gradient that is not finite.
    """

    def __init__(
        self,
        run: Run,
        optimizer: Optimizer,
        clip_norm: float | None,
        clip_value: float | None,
        careful: bool,
    ) -> None:
        self.run, self.optimizer, self.careful = run, optimizer, careful
        self.clip_norm, self.clip_value = (
            None if limit is None else check_number("fit", name, limit, finite=False)
            for name, limit in (("clip_norm", clip_norm), ("clip_value", clip_value))
        )
        self._before: Any = None  # model and optimiser as the epoch began

    def begin(self) -> None:
        """Begin an epoch."""
        if self.careful:
            self._before = self.run.model.state_dict(), self.optimizer.state_dict()

    def end(self) -> None:
        """End an epoch: its last update may have left what no later loss would tell."""
        if self.careful and not all(np.isfinite(p).all() for p in self.run.model.params.values()):
            raise NotFiniteError("nonfinite parameter")

    def learn(
        self, batch: Batch, state: Any, batch_losses: list[float]
    ) -> tuple[dict[str, float], float, Any]:
        """Return loss and metrics of a batch, what it counts, and the state after it."""
        run, model = self.run, self.run.model
        found = run.assess(batch, state, True)
        if self.careful and not math.isfinite(found.value):
            batch_losses.append(found.value)
            raise NotFiniteError("nonfinite loss")
        self.optimizer.zero_grad()
        run.backward(found)
        self._clip(model)
        self.optimizer.step()
        batch_losses.append(found.value)
        return *run.results(found), found.state

    def _clip(self, model: Layer) -> None:
        limit = math.inf if self.clip_norm is None else self.clip_norm
        if self.careful or self.clip_norm is not None:
            norm = clip_grad_norm(model, limit)
            if self.careful and not math.isfinite(norm):
                self.optimizer.zero_grad()
                raise NotFiniteError("nonfinite gradient")
        if self.clip_value is not None:
            clip_grad_value(model, self.clip_value)

    def go_back(self) -> None:
        """Undo the epoch: its last updates may be what led to numbers that are not finite."""
        model, optimizer = self.run.model, self.optimizer
        parameters, running = self._before
        rate = optimizer.lr
        model.load_state_dict(parameters)
        optimizer.load_state_dict(running)
        optimizer.lr = rate  # where the schedule stands now
