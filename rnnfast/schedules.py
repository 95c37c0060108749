"""Learning-rate schedules with the names and formulas of ``torch.optim.lr_scheduler``.

A schedule is a callback of `fit`, or advanced by hand::

    schedule = rf.CosineAnnealingLR(adam, T_max=20)
    rf.fit(model, data, loss=loss, optimizer=adam, epochs=20, callbacks=[schedule])

An optimiser has one schedule at a time: each step sets the rate anew, from the one that the
optimiser had when the schedule was made.

A schedule goes on: a further call of `fit` with the same one continues where the last call left it,
and a resumed training where it was interrupted. To begin anew, set ``optimizer.lr`` and make a new
schedule. `fit` warns where it is to train with a rate of 0.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from .callbacks import (
    Callback,
    check_best,
    check_choice,
    check_mode,
    check_monitor,
    count,
    monitored,
)
from .checks import (
    Checks,
    check_keys,
    check_number,
    check_positive,
    check_probability,
    check_size,
    is_number,
)
from .layers.base import Layer
from .optim import Optimizer

__all__ = [
    "CosineAnnealingLR",
    "ExponentialLR",
    "OneCycleLR",
    "ReduceLROnPlateau",
    "Schedule",
    "StepLR",
]


class Schedule(Callback):
    """What all schedules share. As callbacks they step once an epoch and log the rate as "lr".

    Attributes
    ----------
    optimizer : Optimizer
    base_lr : float
        The optimiser's rate at first.
    steps : int
        Calls of `step` so far.
    """

    _state: tuple[str, ...] = ("base_lr", "steps")

    def _check_optimizer(self, name: str, optimizer: Any) -> Optimizer:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"{type(self).__name__} expected optimizer as an Optimizer, got {optimizer!r}"
            )
        return optimizer

    _checks: ClassVar[Checks] = {
        "optimizer": _check_optimizer,
        "base_lr": check_number,
        "steps": count,
    }
    _fixed = ("optimizer",)

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.base_lr = optimizer.lr
        self.steps = 0

    def step(self) -> None:
        """Advance, and set the optimiser's rate."""
        self.steps += 1
        self.optimizer.lr = self._rate(self.steps)

    def _rate(self, step: int) -> float:
        raise NotImplementedError

    def on_train_begin(self, model: Layer, optimizer: Optimizer) -> None:
        """Check that it is this schedule's optimiser that trains; go on from where it stands."""
        if optimizer is not self.optimizer:
            raise ValueError(
                f"{type(self).__name__} expected to schedule the optimizer given to fit, "
                "got another's schedule"
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Log the rate, and step."""
        logs["lr"] = self.optimizer.lr
        self.step()

    def state_dict(self) -> dict[str, Any]:
        """Return where the schedule stands; the rate itself is in the optimiser's state."""
        return {name: getattr(self, name) for name in self._state}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from where a schedule of the same type and settings stood.

        Raises
        ------
        TypeError, ValueError
            For the state of another; nothing has changed then.
        """
        check_keys(type(self).__name__, "a state", state_dict, self._state)
        checks = self._checks
        self.__dict__.update({n: checks[n](self, n, value) for n, value in state_dict.items()})


class StepLR(Schedule):
    """Multiply the rate by `gamma` every `step_size` epochs.

    Parameters
    ----------
    optimizer : Optimizer
    step_size : int
    gamma : float, default 0.1
    """

    _checks: ClassVar[Checks] = {"step_size": partial(check_size, least=1), "gamma": check_number}

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        super().__init__(optimizer)
        self.step_size = step_size
        self.gamma = gamma

    def _rate(self, step: int) -> float:
        return self.base_lr * self.gamma ** (step // self.step_size)


class ExponentialLR(Schedule):
    """Multiply the rate by `gamma` every epoch.

    Parameters
    ----------
    optimizer : Optimizer
    gamma : float
    """

    _checks: ClassVar[Checks] = {"gamma": check_number}

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        super().__init__(optimizer)
        self.gamma = gamma

    def _rate(self, step: int) -> float:
        return self.base_lr * self.gamma**step


class CosineAnnealingLR(Schedule):
    """Lower the rate to `eta_min` along half a cosine wave (Loshchilov and Hutter, 2017).

    Parameters
    ----------
    optimizer : Optimizer
    T_max : int
        Epochs until it is there; after these it rises again, and after as many more it is back at
        the first rate, as in PyTorch.
    eta_min : float, default 0
        With 0 an epoch after T_max learns nothing, of which `fit` warns.
    """

    _checks: ClassVar[Checks] = {"T_max": partial(check_size, least=1), "eta_min": check_number}

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        super().__init__(optimizer)
        self.T_max = T_max
        self.eta_min = eta_min

    def _rate(self, step: int) -> float:
        return _cosine(self.base_lr, self.eta_min, step / self.T_max)


class OneCycleLR(Schedule):
    """Raise the rate to `max_lr` and lower it to almost nothing (Smith and Topin, 2019).

    Steps once a batch. The momentum stays as it is, as with PyTorch's ``cycle_momentum=False``.

    Parameters
    ----------
    optimizer : Optimizer
        Its rate is set at once.
    max_lr : float
    total_steps : int
        Batches of the whole training, all calls of `fit` together. If `fit` goes on after them,
        the rate stays at the last one, with a warning; `step` by hand raises, as in PyTorch.
    pct_start : float, default 0.3
        Share of the steps in which the rate rises.
    anneal_strategy : {"cos", "linear"}
    div_factor : float, default 25
        The first rate is ``max_lr / div_factor``.
    final_div_factor : float, default 1e4
        The last rate is the first one over `final_div_factor`.
    """

    _checks: ClassVar[Checks] = {
        "max_lr": check_number,
        "total_steps": partial(check_size, least=1),
        "pct_start": check_probability,
        "anneal_strategy": partial(check_choice, one="cos", other="linear"),
        "div_factor": check_positive,
        "final_div_factor": check_positive,
    }

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float,
        total_steps: int,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
    ) -> None:
        super().__init__(optimizer)
        self.max_lr = max_lr
        self.total_steps = total_steps
        self.pct_start = pct_start
        self.anneal_strategy = anneal_strategy
        self.div_factor = div_factor
        self.final_div_factor = final_div_factor
        self.optimizer.lr = self._rate(0)
        self._warned = False

    def step(self) -> None:
        """Advance, and set the optimiser's rate.

        Raises
        ------
        ValueError
            After more than `total_steps` steps.
        """
        if self.steps >= self.total_steps:
            raise ValueError(f"OneCycleLR expected {self.total_steps} steps, as total_steps says")
        super().step()

    def _rate(self, step: int) -> float:
        anneal = _cosine if self.anneal_strategy == "cos" else _line
        first = self.max_lr / self.div_factor
        peak, last = self.pct_start * self.total_steps - 1.0, self.total_steps - 1.0
        step = min(step, self.total_steps - 1)  # after the last batch the rate stays
        if step <= peak and peak > 0.0:
            return anneal(first, self.max_lr, step / peak)
        down = (step - peak) / (last - peak) if last > peak else 0.0
        return anneal(self.max_lr, first / self.final_div_factor, down)

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        """Step; at the end of the cycle stay, and say so once."""
        if self.steps < self.total_steps:
            self.step()
        elif not self._warned:
            self._warned = True
            warnings.warn(
                f"OneCycleLR has made its total_steps={self.total_steps} steps: training goes on "
                f"with its last learning rate, {self.optimizer.lr:.3g}; give more total_steps, one "
                "for each batch of all epochs, or set optimizer.lr and make a new schedule",
                UserWarning,
                stacklevel=2,
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Log the rate."""
        logs["lr"] = self.optimizer.lr


class ReduceLROnPlateau(Schedule):
    """Multiply the rate by `factor` when a value has not improved for some epochs.

    Parameters
    ----------
    optimizer : Optimizer
    mode : {"min", "max"}
        Whether lower or higher is better.
    factor : float, default 0.1
        Below 1.
    patience : int, default 10
        Epochs in a row without improvement that are allowed.
    threshold : float, default 1e-4
        A smaller change is no improvement.
    threshold_mode : {"rel", "abs"}
        Whether `threshold` is a share of the best value.
    cooldown : int, default 0
        Epochs after a reduction that do not count.
    min_lr : float, default 0
    eps : float, default 1e-8
        A reduction by no more than this is left out.
    monitor : str, default "val_loss"
        Name of the value in the logs of `fit`.
    """

    _state = ("base_lr", "steps", "best", "bad_epochs", "cooldown_left")

    _checks: ClassVar[Checks] = {
        "mode": check_mode,
        "factor": partial(check_number, below=1.0),
        "patience": partial(check_size, least=0),
        "threshold": check_number,
        "threshold_mode": partial(check_choice, one="rel", other="abs"),
        "cooldown": partial(check_size, least=0),
        "min_lr": check_number,
        "eps": check_number,
        "monitor": check_monitor,
        "best": check_best,
        "bad_epochs": count,
        "cooldown_left": count,
    }
    _fixed = ("mode",)

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float = 0.0,
        eps: float = 1e-8,
        monitor: str = "val_loss",
    ) -> None:
        super().__init__(optimizer)
        self.mode = mode
        self.factor = factor
        self.patience = patience
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.cooldown = cooldown
        self.min_lr = min_lr
        self.eps = eps
        self.monitor = monitor
        self.best = math.inf if mode == "min" else -math.inf
        self.bad_epochs = 0
        self.cooldown_left = 0

    def step(self, metric: float) -> None:  # type: ignore[override]
        """Look at a new value, and reduce the rate if it is time.

        Parameters
        ----------
        metric : float
        """
        if not is_number(metric):
            raise TypeError(f"ReduceLROnPlateau expected metric as a number, got {metric!r}")
        self.steps += 1
        if self._is_better(metric):
            self.best, self.bad_epochs = float(metric), 0
        else:
            self.bad_epochs += 1
        if self.cooldown_left:
            self.cooldown_left -= 1
            self.bad_epochs = 0
        if self.bad_epochs > self.patience:
            reduced = max(self.optimizer.lr * self.factor, self.min_lr)
            if self.optimizer.lr - reduced > self.eps:
                self.optimizer.lr = reduced
            self.cooldown_left, self.bad_epochs = self.cooldown, 0

    def _is_better(self, metric: float) -> bool:
        sign = -1.0 if self.mode == "min" else 1.0
        if self.threshold_mode == "rel":
            bound = self.best * (1.0 + sign * self.threshold)
        else:
            bound = self.best + sign * self.threshold
        return metric < bound if self.mode == "min" else metric > bound

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Log the rate, and step."""
        metric = monitored(self, self.monitor, logs)
        logs["lr"] = self.optimizer.lr
        self.step(metric)


def _cosine(first: float, last: float, share: float) -> float:
    return last + (first - last) * (1.0 + math.cos(math.pi * share)) / 2.0


def _line(first: float, last: float, share: float) -> float:
    return first + (last - first) * share
