"""What a training continues from: what `Checkpoint` writes and `fit` resumes with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .callbacks import Callback, History
from .layers.base import Layer
from .layers.masks import MaskSource
from .optim import Optimizer, _keys


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
    ) -> None:
        self.model, self.optimizer, self.callbacks, self.rng = model, optimizer, callbacks, rng
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
        """Continue from what `state_dict` returned."""
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
