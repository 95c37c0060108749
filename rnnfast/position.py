"""What a training continues from: what `Checkpoint` writes and `fit` resumes with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .callbacks import Callback, History
from .checks import check_flag, check_keys, check_size
from .layers.base import Layer
from .layers.masks import MaskSource
from .optim import Optimizer


def mask_sources(model: Layer) -> list[MaskSource]:
    """Return the sources of a model's random masks, each once."""
    return list(dict.fromkeys(model._mask_sources()))


class Position:
    """All that a training continues from, but for its data."""

    def __init__(
        self,
        model: Layer,
        optimizer: Optimizer,
        callbacks: Sequence[Callback],
        rng: np.random.Generator | None,
        most: int,
    ) -> None:
        self.model, self.optimizer, self.callbacks, self.rng = model, optimizer, callbacks, rng
        self.most = most  # epochs, in all
        self.epochs = 0  # complete
        self.stopped = False  # by a callback
        self.history = History()

    def _by_name(self) -> dict[str, Callback]:
        return {f"{i} {type(c).__name__}": c for i, c in enumerate(self.callbacks)}

    def state_dict(self) -> dict[str, Any]:
        """Return numbers, str, lists and dicts of arrays."""
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
        """Continue from what `state_dict` returned, with no more epochs behind it than `most`.

        It raises for anything wrong there; nothing has changed then.
        """
        check_keys("fit", "resume with", state, self.state_dict())
        epochs = _check_history(state, self.most)
        stopped = check_flag("fit", "stopped", state["stopped"])
        callbacks, masks = self._by_name(), mask_sources(self.model)
        check_keys("fit", "callbacks to resume", callbacks, state["callbacks"])
        if (
            len(state["masks"]) != len(masks)
            or state["optimizer"]["type"] != type(self.optimizer).__name__
            or (state["shuffle"] is None) != (self.rng is None)
        ):
            raise ValueError(
                "fit expected model, optimizer and shuffle to be as they were, to resume"
            )
        self.model._check_state(state["model"])
        before = [(part, dict(vars(part))) for part in (self.optimizer, *self.callbacks, *masks)]
        order = None if self.rng is None else self.rng.bit_generator.state
        try:
            for name, callback in callbacks.items():
                callback.load_state_dict(state["callbacks"][name])
            for source, saved in zip(masks, state["masks"], strict=True):
                source.load_state_dict(saved)
            if self.rng is not None:
                _set_order(self.rng, state["shuffle"])
            self.optimizer.load_state_dict(state["optimizer"])
        except BaseException:
            for part, attributes in before:
                vars(part).clear()
                vars(part).update(attributes)
            if self.rng is not None and order is not None:
                self.rng.bit_generator.state = order
            raise
        self.model.load_state_dict(state["model"])
        self.history.update(state["history"])
        self.history.batch_losses.extend(state["batch_losses"].tolist())
        self.epochs, self.stopped = epochs, stopped


def _check_history(state: dict[str, Any], most: int) -> int:
    # the number of epochs, which the history must bear out
    epochs, history, losses = (state[name] for name in ("epochs", "history", "batch_losses"))
    if not isinstance(history, Mapping) or not all(
        isinstance(values, list) and all(isinstance(value, (int, float)) for value in values)
        for values in history.values()
    ):
        raise TypeError("fit expected history as lists of numbers by name")
    if not isinstance(losses, np.ndarray) or losses.ndim != 1 or losses.dtype != np.float64:
        raise TypeError("fit expected batch_losses as a 1-D array of float64")
    epochs = check_size("fit", "epochs behind it", epochs, 0)
    recorded = len(history.get("loss", ()))  # of every epoch; a callback may log others less often
    if epochs != recorded or any(len(values) > epochs for values in history.values()):
        raise ValueError(f"fit expected a history of {epochs} epochs, got one of {recorded}")
    if epochs > most:
        raise ValueError(
            f"fit expected epochs >= {epochs}, those behind it and those to come, got {most}"
        )
    return epochs


def _set_order(rng: np.random.Generator, state: Any) -> None:
    try:
        rng.bit_generator.state = state
    except Exception as error:  # KeyError, OverflowError, ...
        raise ValueError(f"fit expected shuffle as the state of a generator: {error!r}") from error
    if rng.bit_generator.state != state:  # NumPy has cut a number down
        raise ValueError("fit expected shuffle as the state of a generator, with its numbers")
