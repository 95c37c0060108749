"""What the demo prints and draws."""

from __future__ import annotations

import math
import os
import textwrap
from typing import TYPE_CHECKING

import numpy as np

from .. import backend
from ..core import runtime
from ..io import replace_file

if TYPE_CHECKING:
    from pathlib import Path

    from ..arrays import Array
    from .course import Course
    from .text import Text


def row(name: str, text: str) -> None:
    """Print a named line or more."""
    first, *rest = (part for line in text.split("\n") for part in textwrap.wrap(line, 88))
    print(f"{name:<10}{first}", *(f"{'':<10}{line}" for line in rest), sep="\n", flush=True)


def indent(text: str) -> str:
    """Return a text that stands out."""
    return "\n".join(f"    {line}".rstrip() for line in text.split("\n"))


def describe_engine() -> str:
    """Return what computes."""
    if backend.active().name != "core":
        return "NumPy alone: the compiled engine is not in use, see `python -m rnnfast info`"
    threads = runtime.get_num_threads()
    return f"compiled, {runtime.isa()}, {threads} thread{'s' * (threads > 1)}"


def report(text: Text, bits: dict[str, Array]) -> None:
    """Print the held-out bits per character of several models side by side."""
    new = text.new()
    parts = {"all": np.ones_like(new), f"the {new.mean():.0%} that is new *": new}
    print(f"{'':<12}" + "".join(f"{title:>24}" for title in parts))
    for name, values in bits.items():
        means = [values[part].mean() if part.any() else math.nan for part in parts.values()]
        print(f"    {name:<8}" + "".join(f"{mean:>24.3f}" for mean in means))
    print(
        "\n    * not in a passage of 40 characters or more that the training text holds too: the\n"
        "      documentation repeats itself"
    )


def verdict(gram: float, lstm: float, course: Course) -> str:
    """Return which model needs fewer bits per character, and what to do if it is the 5-gram."""
    gap = f"{abs(1 - lstm / gram):.1%}"
    if lstm < gram:
        return f"The LSTM needs {gap} fewer bits than the 5-gram."
    few = f"The LSTM needs {gap} MORE bits than the 5-gram: {course.done:,} characters were too few"
    settings = course.settings
    if "characters" in dict(settings.asked):
        return f"{few}.\n`rnnfast demo` gives it all of the text and as long as that takes."
    return (
        f"{few} to learn from,\nand this machine learns no more in the time allowed. "
        f"`rnnfast demo --minutes {4 * settings.minutes:g}` gives it four times as long."
    )


def draw(course: Course, gram: float, lstm: float, path: Path) -> str:
    """Draw the learning curve to a PNG file; return what to say about it."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return "No learning curve: that needs matplotlib, pip install 'rnnfast[plot]'."
    seen, bits = np.array(course.losses).T
    window = max(1, min(50, len(bits) // 4))
    smooth = np.convolve(bits, np.full(window, 1 / window), "valid")
    figure = Figure(figsize=(8, 5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(seen / 1e6, bits, color="tab:blue", alpha=0.2, linewidth=0.6)
    axes.plot(
        seen[window - 1 :] / 1e6,
        smooth,
        color="tab:blue",
        label="LSTM, training text, with dropout",
    )
    at, values = np.array(course.held_out).T
    axes.plot(at / 1e6, values, "o-", color="tab:orange", label=f"LSTM, held-out text: {lstm:.3f}")
    axes.axhline(gram, color="black", linestyle="--", label=f"5-gram, held-out text: {gram:.3f}")
    low = min(gram, lstm, float(smooth.min()))
    axes.set(
        ylim=(low - 0.15, max(low + 2.5, gram + 0.5)),
        xlabel="characters learnt, in millions",
        ylabel="bits per character",
        title="A character model of Python's documentation",
    )
    axes.grid(alpha=0.3)
    axes.legend()
    replace_file(path, lambda file: figure.savefig(file, format="png"))
    return f"Learning curve: {os.fspath(path)}"
