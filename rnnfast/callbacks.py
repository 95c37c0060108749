"""What `fit` calls after batches and epochs, and what it returns."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from .checks import (
    COUNTED,
    Checked,
    Checks,
    check_flag,
    check_keys,
    check_number,
    check_size,
    is_number,
)
from .io import check_path, replace_file, save_state
from .layers.base import Layer
from .optim import Optimizer, check_model

if TYPE_CHECKING:
    from .arrays import Array

__all__ = ["CSVLog", "Callback", "Checkpoint", "EarlyStopping", "History"]


class Callback(Checked):
    """What `fit` calls; override any of these.

    Attributes
    ----------
    writes : bool
        Whether it writes files: of several processes that train together one alone calls it then,
        after `on_train_begin`, which all call.
    """

    _checks: ClassVar[Checks] = {"writes": check_flag}
    writes = False

    def on_train_begin(self, model: Layer, optimizer: Optimizer) -> None:
        """Training starts."""

    def on_epoch_begin(self, epoch: int) -> None:
        """Epoch `epoch`, counted from 0, starts."""

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        """Batch `batch` has been learnt.

        `logs` holds the means of loss and metrics over the epoch so far; what is added to it is
        shown in the progress display.
        """

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> bool | None:
        """Epoch `epoch` ends; return True to stop training.

        `logs` holds the epoch's loss, metrics, their ``"val_..."`` counterparts and seconds; what
        is added to it enters the `History`.
        """

    def on_train_end(self, history: History) -> None:
        """Training has ended, or was interrupted."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training must know: numbers, str, lists and dicts of arrays."""
        return {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned; called after `on_train_begin`."""

    def on_checkpoint(self, epoch: int, state: Callable[[], dict[str, Any]]) -> None:
        """Epoch `epoch` is over for all callbacks; ``state()`` is what `fit` can resume from."""


class History(dict[str, list[float]]):
    """What `fit` returns: ``history["loss"]``, "val_loss", "seconds", metrics: one value an epoch.

    Attributes
    ----------
    batch_losses : list of float
        The loss of every batch of all epochs.
    stopped_by : str or None
        "nonfinite loss", "nonfinite gradient" or "nonfinite parameter" where one of these has ended
        the training, with ``fit(..., on_nonfinite="stop")``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.batch_losses: list[float] = []
        self.stopped_by: str | None = None


def check_monitor(owner: Callback, name: str, monitor: Any) -> str:
    """Return `monitor`, the name of a value in the logs."""
    if not isinstance(monitor, str):
        raise TypeError(f"{type(owner).__name__} expected {name} as a str, got {monitor!r}")
    return monitor


def check_choice(owner: Callback, name: str, value: Any, one: str, other: str) -> str:
    """Return `value`, one of two words."""
    if value not in (one, other):
        raise ValueError(
            f"{type(owner).__name__} expected {name} {one!r} or {other!r}, got {value!r}"
        )
    return str(value)


def check_best(owner: Callback, name: str, best: Any) -> float:
    """Return `best`, the best value so far, infinite where there is none."""
    if not is_number(best) or math.isnan(best):
        raise ValueError(f"{type(owner).__name__} expected {name} as a number, got {best!r}")
    return float(best)


check_mode = partial(check_choice, one="min", other="max")
count = partial(check_size, least=0, most=COUNTED)


class EarlyStopping(Callback):
    """Stop training when a value of the logs has not improved for some epochs.

    Parameters
    ----------
    monitor : str, default "val_loss"
        Name of the value: "val_loss", "val_accuracy", ...
    patience : int, default 5
        Stop after so many epochs in a row without improvement.
    min_delta : float, default 0
        A smaller change is no improvement.
    mode : {"min", "max"}
        Whether lower or higher is better.
    restore_best : bool, default True
        Whether the model gets the parameters of its best epoch back when training ends, for
        whatever reason it does.

    Attributes
    ----------
    best : float
        The best value so far.
    best_epoch : int or None
        Its epoch, counted from 0.
    """

    def _check_best_epoch(self, name: str, epoch: Any) -> int | None:
        return None if epoch is None else check_size(self, name, epoch, 0)

    _checks: ClassVar[Checks] = {
        "monitor": check_monitor,
        "patience": partial(check_size, least=1),
        "min_delta": check_number,
        "mode": check_mode,
        "restore_best": check_flag,
        "model": check_model,
        "best": check_best,
        "best_epoch": _check_best_epoch,
        "wait": count,
    }
    _fixed = ("mode",)

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 5,
        min_delta: float = 0.0,
        mode: str = "min",
        restore_best: bool = True,
    ) -> None:
        self.monitor = monitor
        self.patience = patience
        self.min_delta = min_delta
        self.mode = mode
        self.restore_best = restore_best
        self._reset()

    def _reset(self) -> None:
        self.best = math.inf if self.mode == "min" else -math.inf
        self.best_epoch: int | None = None
        self.wait = 0  # epochs since
        self._weights: dict[str, Array] = {}

    def on_train_begin(self, model: Layer, optimizer: Optimizer) -> None:
        """Forget an earlier training."""
        self.model = model
        self._reset()

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> bool:
        """Look at the value."""
        value = monitored(self, self.monitor, logs)
        gain = self.best - value if self.mode == "min" else value - self.best
        if gain > self.min_delta:
            self.best, self.best_epoch, self.wait = value, epoch, 0
            if self.restore_best:
                self._weights = self.model.state_dict()
            return False
        self.wait += 1
        return self.wait >= self.patience

    def state_dict(self) -> dict[str, Any]:
        """Return the best value, when it was, and its parameters."""
        return {
            "best": self.best,
            "best_epoch": self.best_epoch,
            "wait": self.wait,
            "weights": self._weights,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` returned; raises before anything changes."""
        check_keys("EarlyStopping", "a state", state_dict, self.state_dict())
        names = ("best", "best_epoch", "wait")
        checked = {name: self._checks[name](self, name, state_dict[name]) for name in names}
        weights = state_dict["weights"]
        if weights != {}:
            self.model._check_state(weights)
        self.__dict__.update(checked, _weights=dict(weights))

    def on_train_end(self, history: History) -> None:
        """Restore the best parameters."""
        if self._weights:
            self.model.load_state_dict(self._weights)


class Checkpoint(Callback):
    """Write all that training continues from to a file: ``fit(..., resume=path)``.

    That is the parameters, the optimiser's state, those of schedules and all other callbacks, the
    history and the positions of all random numbers that `fit` and the layers draw. The older file
    is replaced once the new one is complete, so that a kill at any moment leaves one of the two.
    The argument ``checkpoint`` of recurrent layers is another thing: it saves memory in a call.

    Parameters
    ----------
    path : path
        Ends in ".safetensors" (needs ``pip install rnnfast[io]``) or ".npz".
    every : int, default 1
        Write after every so many epochs.
    """

    writes = True

    def _check_path(self, name: str, path: Any) -> Any:
        check_path(path)
        return path

    _checks: ClassVar[Checks] = {"path": _check_path, "every": partial(check_size, least=1)}

    def __init__(self, path: str | os.PathLike[str], every: int = 1) -> None:
        self.path = path
        self.every = every

    def on_checkpoint(self, epoch: int, state: Callable[[], dict[str, Any]]) -> None:
        """Write."""
        if (epoch + 1) % self.every == 0:
            save_state(state(), self.path)


class CSVLog(Callback):
    """Write the logs of all epochs to a CSV file, anew after every epoch.

    Parameters
    ----------
    path : path
    """

    writes = True

    def _check_path(self, name: str, path: Any) -> Any:
        return os.fspath(path)

    def _check_rows(self, name: str, rows: Any) -> list[Any]:
        if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
            raise TypeError(f"CSVLog expected rows as a list of mappings, got {rows!r:.200}")
        return list(rows)

    _checks: ClassVar[Checks] = {"path": _check_path, "rows": _check_rows}

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []

    def on_train_begin(self, model: Layer, optimizer: Optimizer) -> None:
        """Forget an earlier training."""
        self.rows = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Write."""
        import csv
        from io import StringIO

        self.rows.append({"epoch": epoch + 1, **logs})
        text = StringIO(newline="")
        table = csv.DictWriter(text, {name: None for row in self.rows for name in row})
        table.writeheader()
        table.writerows(self.rows)
        replace_file(self.path, lambda file: file.write(text.getvalue().encode()))

    def state_dict(self) -> dict[str, Any]:
        """Return the rows."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue after these rows; raises before anything changes."""
        check_keys("CSVLog", "a state", state_dict, ["rows"])
        self.rows = state_dict["rows"]


def monitored(owner: Callback, monitor: str, logs: Mapping[str, float]) -> float:
    """Return the value named `monitor` of an epoch's logs."""
    if monitor not in logs:
        raise ValueError(
            f"{type(owner).__name__} expected monitor as one of {', '.join(logs)}, got {monitor!r}"
        )
    return float(logs[monitor])
