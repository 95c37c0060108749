"""How far a training is, on standard error."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from typing import Any


class Display:
    """A tqdm bar with values and time left, or a line of them every few seconds without tqdm.

    Parameters
    ----------
    title : str
    total : int or None
        Batches, where that is known.
    unit : str
        What is counted a second: "samples", say.
    leave : bool, default True
        Whether the bar stays when it is closed.
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
