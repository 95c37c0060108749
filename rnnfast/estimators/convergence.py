"""Whether training came to anything, and who is told if it did not."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

from sklearn.exceptions import ConvergenceWarning

from ..callbacks import Callback, History

if TYPE_CHECKING:
    from ..layers.base import Layer
    from ..optim import Optimizer

MARGIN = 0.01  # part of the trivial answer's loss that training must save


class Diverged(Exception):
    """The loss of a batch is no number."""


class Watch(Callback):
    """Ends a training whose loss is not finite, and returns to the weights of the epoch before.

    Attributes
    ----------
    history : History
        Of the epochs that ended, also where training was interrupted.
    epochs : int
        Epochs that ended with a finite loss.
    """

    def on_train_begin(self, model: Layer, optimizer: Optimizer) -> None:
        """Keep the weights."""
        self.model, self.history, self.epochs = model, History(), 0
        self._weights = model.state_dict()

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        """Look at the loss."""
        if not math.isfinite(logs["loss"]):
            raise Diverged(logs["loss"])

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> bool | None:
        """Keep the weights."""
        if not math.isfinite(logs.get("val_loss", 0.0)):
            raise Diverged(logs["val_loss"])
        self._weights = self.model.state_dict()
        self.epochs += 1
        return None

    def on_train_end(self, history: History) -> None:
        """Keep the history."""
        self.history = history

    def go_back(self) -> None:
        """Give the model the weights of the last epoch that ended well."""
        self.model.load_state_dict(self._weights)


def warn_diverged(owner: Any, epoch: int, loss: float, trivial: float | None) -> None:
    """Say that training ended early, and why."""
    beside = "" if trivial is None else f", where {owner._trivial_answer} has {trivial:.4g}"
    warnings.warn(
        f"{type(owner).__name__}: training diverged in epoch {epoch}: the loss is {loss}{beside}. "
        f"The weights from before that epoch are kept. Try a smaller learning_rate_init than "
        f"{owner.learning_rate_init:g}, or clip_norm=1.0, or standardize=True where it is off",
        ConvergenceWarning,
        stacklevel=2,
    )


def warn_unless_better(owner: Any, loss: float, trivial: float | None, updates: int) -> None:
    """Say so where training ends no better than the trivial answer.

    Parameters
    ----------
    owner : NetworkEstimator
    loss : float
        At the end of training, on held-out data where there are some.
    trivial : float or None
        Of the best answer that does not look at X.
    updates : int
        Updates so far.
    """
    if trivial is None or loss < (1.0 - MARGIN) * trivial:
        return
    warnings.warn(
        f"{type(owner).__name__}: training ends with a loss of {loss:.4g} after {updates} updates, "
        f"no better than {owner._trivial_answer}, which has {trivial:.4g}: nothing was learnt that "
        "would help. Try more epochs (max_iter), another learning_rate_init, or other inputs",
        ConvergenceWarning,
        stacklevel=2,
    )
