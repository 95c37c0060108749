"""How far a training is, on standard error."""

from __future__ import annotations

import math
import sys
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from .checks import check_flag
from .layers.base import Layer

if TYPE_CHECKING:
    from .batching import Batch


class Display:
    """A tqdm bar with values and time left, or a line of them every few seconds without tqdm.

    `total` is the number of batches where that is known, `unit` what is counted a second, `leave`
    whether the bar stays when it is closed.
    """

    seconds_between_lines = 5.0

    def __init__(self, title: str, total: int | None, unit: str, leave: bool = True) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done = self.amount = 0
        self.began = self.printed = time.perf_counter()
        self.bar: Any = None
        try:
            from tqdm import tqdm
        except ImportError:
            return
        terminal = sys.stderr.isatty()
        self.bar = tqdm(
            total=total,
            desc=title,
            unit="batch",
            file=sys.stderr,
            mininterval=0.2 if terminal else self.seconds_between_lines,
            dynamic_ncols=terminal,
            leave=leave,
        )

    def update(self, text: str, amount: int, total: int | None = None) -> None:
        """Count one batch more, of `amount` units; `total` in place of the former one."""
        self.done += 1
        self.amount += amount
        self.total = total or self.total
        text = f"{text}, {self._rate()}"
        if self.bar is not None:
            self.bar.total = self.total
            self.bar.set_postfix_str(text, refresh=False)
            self.bar.update()
            return
        now = time.perf_counter()
        if now - self.printed >= self.seconds_between_lines:
            self.printed = now
            of = left = ""
            if self.total:
                of = f"/{self.total}"
                seconds = (now - self.began) / self.done * (self.total - self.done)
                left = f", {seconds:.0f} s left"
            self.print(f"{self.title}, batch {self.done}{of}: {text}{left}", sys.stderr)

    def finish(self, text: str) -> None:
        """Show `text` as the result, and close."""
        text = f"{text}, {self._rate()}"
        if self.bar is not None:
            self.bar.set_postfix_str(text)
            self.close()
        else:
            seconds = time.perf_counter() - self.began
            self.print(f"{self.title}: {text}, {seconds:.1f} s", sys.stderr)

    def print(self, line: str, file: Any = None) -> None:
        """Print a line above the bar."""
        file = file or sys.stdout
        with nullcontext() if self.bar is None else self.bar.external_write_mode(file):
            print(line, file=file, flush=True)

    def close(self) -> None:
        """Close the bar."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def _rate(self) -> str:
        seconds = max(time.perf_counter() - self.began, 1e-9)
        return f"{self.amount / seconds:,.0f} {self.unit}/s"


class Displays:
    """The display of one epoch after the other, where progress is to be shown."""

    def __init__(self, progress: Any, unit: Any, epochs: int, leads: bool = True) -> None:
        if not isinstance(unit, str):
            raise TypeError(f"fit expected unit as a str, got {unit!r}")
        if progress is None:
            self.wanted = sys.stderr is not None and sys.stderr.isatty()
        else:
            self.wanted = check_flag("fit", "progress", progress)
        self.wanted = self.wanted and leads  # of several processes one shows what all do
        self.unit, self.epochs = unit, epochs
        self.current: Display | None = None

    def open(self, epoch: int, batches: Any) -> None:
        """Show an epoch."""
        if self.wanted:
            total = len(batches) if hasattr(batches, "__len__") else None
            self.current = Display(f"epoch {epoch + 1}/{self.epochs}", total, self.unit)

    def update(self, logs: dict[str, float], model: Layer, batch: Batch, times: int) -> None:
        """Show what a batch has brought; as much as that was learnt `times`."""
        if self.current:
            self.current.update(_text(logs), times * _amount(model, batch, self.unit))

    def finish(self, logs: dict[str, float]) -> None:
        """Show what the epoch has brought."""
        if self.current:
            self.current.finish(_text({k: v for k, v in logs.items() if k != "seconds"}))

    def close(self) -> None:
        """End, wherever an epoch is."""
        if self.current:
            self.current.close()


def _amount(model: Layer, batch: Batch, unit: str) -> int:
    # samples, or else time steps, of a batch
    if batch.x is None:
        return 0
    x = batch.x[0] if isinstance(batch.x, tuple) else batch.x
    if unit == "samples" or model.batch_first is None:
        return x.shape[int(model.batch_first is False)]
    return int(np.sum(batch.lengths)) if batch.lengths is not None else math.prod(x.shape[:2])


def _text(logs: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in logs.items())
