"""A fit that raises leaves its estimator as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..layers import Add
from ..layers.sequential import with_parts
from ..position import mask_sources


@contextmanager
def unchanged_by_errors(estimator: Any, goes_on: bool) -> Iterator[None]:
    """Undo what a fit has set or trained if it raises.

    A fit that `goes_on` trains the fitted network further, in place. The network's numbers are then
    copied; everything else is set anew, or grows and can be cut back.
    """
    before = estimator.__dict__.copy()
    restore = _snapshot(estimator) if goes_on else None
    try:
        yield
    except BaseException:
        estimator.__dict__ = before
        if restore is not None:
            restore()
        raise


def _snapshot(estimator: Any) -> Any:
    model, optimizer, history = estimator.model_, estimator.optimizer_, estimator.history_
    weights, state = model.state_dict(), optimizer.state_dict()
    # which are no parameters, and which a fit may set
    shares = [(part, part.weights) for part in with_parts(model) if isinstance(part, Add)]
    masks = [(source, source.state_dict()) for source in mask_sources(model)]
    schedules = [(callback, callback.state_dict()) for callback in estimator._callbacks]
    random, random_state = estimator._random_state, estimator._random_state.get_state()
    lengths = {name: len(values) for name, values in history.items()}
    batches = len(history.batch_losses)

    def restore() -> None:
        model.load_state_dict(weights)
        for added, share in shares:
            added.weights = share
        optimizer.load_state_dict(state)
        for source, saved in masks:
            source.load_state_dict(saved)
        for callback, saved in schedules:
            callback.load_state_dict(saved)
        random.set_state(random_state)
        for name in list(history):
            del history[name][lengths.get(name, 0) :]
            if name not in lengths:
                del history[name]
        del history.batch_losses[batches:]

    return restore
