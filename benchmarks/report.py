"""Writes what benchmarks measured: JSON, and for compare.py a Markdown table and two plots."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import numpy as np
from peers import PEERS

import rnnfast
from rnnfast.cells import CELLS
from rnnfast.core import runtime

RESULTS = Path(__file__).parent / "results"
# The table stands between these lines of a page.
BEGIN, END = "<!-- compare.py writes from here -->", "<!-- to here -->"
SIZES = ("B", "T", "I", "H")
Record = dict[str, Any]


def processor() -> str:
    """Name the processor, as exactly as the system does."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    fields = dict(re.findall(r"^(model name|cpu family|model)\s*: (.*)$", text, re.MULTILINE))
    if "model name" not in fields:
        return platform.processor() or platform.machine()
    return "{model name} family {cpu family} model {model}".format(**fields)


def describe(records: Sequence[Record], **more: Any) -> dict[str, Any]:
    """Return the results under the circumstances, without names of hosts or paths."""
    return {
        "date": date.today().isoformat(),
        "processor": processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "instruction_sets": runtime.instruction_sets(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "rnnfast": rnnfast.__version__,
        "compiler": runtime.kernels.compiler() if runtime.kernels else None,
        **rounded(more),
        "results": [rounded(record) for record in records],
    }


def save(data: dict[str, Any], prefix: str = "") -> Path:
    """Write what `describe` returned to results/PROCESSOR-DATE.json, a result on each line."""
    head = {key: value for key, value in data.items() if key != "results"}
    text = json.dumps(head, indent=1)[:-2] + ',\n "results": [\n  '
    text += ",\n  ".join(json.dumps(record) for record in data["results"]) + "\n ]\n}\n"
    slug = re.sub("[^a-z0-9]+", "-", f"{data['processor']} {data['date']}".lower())
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{prefix}{slug}.json"
    path.write_text(text)
    return path


def rounded(value: Any) -> Any:
    """Return a number, or each one inside, with four digits: timings have no more."""
    if isinstance(value, dict):
        return {key: rounded(v) for key, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


# ---- the table


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with so many digits, or all of those before the point; None: nothing."""
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 10 ** (digits - 1) else f"{value:#.{digits}g}"


def shape_of(record: Record) -> str:
    return ", ".join(str(record[letter]) for letter in SIZES)


def ratios(records: Sequence[Record], peer: str | None = None) -> list[float]:
    """Return how many times as long the best peer, or this one, takes as rnnfast."""
    times = [r["us"].get(peer or r["best"]) for r in records if r["best"]]
    return [t / r["us"]["rnnfast"] for t, r in zip(times, records, strict=True) if t]


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def cell_title(cell: str) -> str:
    return CELLS[cell].layer


def of_task(data: dict[str, Any]) -> dict[str, list[Record]]:
    return {
        task: [r for r in data["results"] if r["task"] == task]
        for task in ("inference", "training")
    }


def times(task: str, records: Sequence[Record]) -> str:
    """Return the table of every engine's times in a task."""
    names = [name for name in (*PEERS, "rnnfast") if any(name in r["us"] for r in records)]
    peers = [PEERS[name].title for name in names[:-1]]
    rows = [
        [
            cell_title(r["cell"]),
            shape_of(r),
            *(number(r["us"].get(name)) for name in names),
            *([PEERS[r["best"]].title, f"{r['ratio']:.2f}"] if r["best"] else ["", ""]),
            number(r["gflops"]),
            number(r["percent_of_peak"], 2),
        ]
        for r in records
    ]
    last = ["rnnfast", "best peer", "ratio", "GFLOP/s", "% of peak"]
    return table([task, "B, T, I, H", *peers, *last], rows)


def summary(data: dict[str, Any]) -> str:
    """Return what the ratios come to."""
    groups = of_task(data).values()
    rows = []
    for title, peer in [("the best peer", None), *((p.title, name) for name, p in PEERS.items())]:
        means = [ratios(records, peer) for records in groups]
        if any(means):
            texts = [f"{geometric_mean(values):.2f}" if values else "" for values in means]
            rows.append([f"geometric mean over {title}", *texts])
    smallest = [
        min((r for r in records if r["best"]), key=lambda r: r["ratio"], default=None)
        for records in groups
    ]
    texts = [
        f"{r['ratio']:.2f}: {cell_title(r['cell'])} {shape_of(r)}" if r else "" for r in smallest
    ]
    rows.append(["smallest ratio over the best peer", *texts])
    return table(["ratio", "inference", "training"], rows)


def markdown(data: dict[str, Any]) -> str:
    """Return for a page how it was measured, the tables, and what they come to."""
    versions = ", ".join(f"{name} {version}" for name, version in data["versions"].items())
    text = (
        f"{data['processor']}, {data['system']}, {data['isa']}, {data['threads']} threads, "
        f"float32; rnnfast {data['rnnfast']}, {versions}; {data['date']}. The FMA peak "
        f"measured in the same run is {data['peak_gflops']:.0f} GFLOP/s.\n\n"
        "Microseconds a call: medians over rounds in which the engines take turns, each alone in "
        "its process. All were found to give the same results. Weights do not change between "
        "calls. Training is forward, then the gradients of all parameters and of x. The ratio is "
        "the best peer's time over rnnfast's.\n"
    )
    tables = [times(task, records) for task, records in of_task(data).items() if records]
    return "\n".join([text, *tables, summary(data)])


def split_page(page: Path, begin: str = BEGIN) -> tuple[str, str]:
    """Return what stands before and after the place of the table, its marks included."""
    text = page.read_text()
    before, found, rest = text.partition(begin)
    _, end, after = rest.partition(END)
    if not (found and end):
        raise SystemExit(f"{page} expected the lines {begin} and {END}, got a page without")
    return before + begin, end + after


def write_into(page: Path, text: str, begin: str = BEGIN) -> None:
    """Put a text between the two lines of a page that mark its place."""
    before, after = split_page(page, begin)
    page.write_text(f"{before}\n\n{text}\n{after}")


# ---- the plots

COLOURS = {"lstm": "#1f77b4", "gru": "#d95f02", "rnn_tanh": "#1b9e77"}


def traffic(record: Record) -> int:
    """Return the bytes that a call must move between registers and whatever holds its arrays.

    Forward: x is read and y written; W_ih is read once, since the inputs of all steps are there at
    the start; W_hh is read once a time step, since a step begins when the one before has ended
    and no register file holds W_hh. Training in addition: gates and state are written and read
    again, the gates' gradients likewise; dy is read and dx written, x and y are read again; W_ih is
    read and W_hh is read once a time step more; their gradients are written. Biases and initial
    states are left out. Threads that share no cache move the weights once each; here they count
    once.
    """
    B, T, I, H = (record[letter] for letter in SIZES)  # noqa: E741
    gates = CELLS[record["cell"]].gates * H
    numbers = B * T * (I + H) + gates * (I + T * H)
    if record["task"] == "training":
        stored = B * T * (2 * gates + H)
        numbers += 2 * stored + 2 * B * T * (I + H) + gates * (I + T * H) + gates * (I + H)
    return 4 * numbers


def new_figure(width: float, height: float, columns: int) -> tuple[Any, list[Any]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, columns, sharey=True, squeeze=False)[0]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.3, linewidth=0.5)
    return figure, list(axes)


def speedup(data: dict[str, Any]) -> Any:
    """Draw the ratio of each shape and cell."""
    figure, axes = new_figure(9, 4.2, 2)
    shapes = list(dict.fromkeys(shape_of(r) for r in data["results"]))
    for ax, task in zip(axes, ("inference", "training"), strict=True):
        for shift, (cell, colour) in zip((-0.22, 0.0, 0.22), COLOURS.items(), strict=True):
            records = [r for r in data["results"] if (r["task"], r["cell"]) == (task, cell)]
            for peer, title, fill in ((None, "best peer", colour), ("torch", "PyTorch", "none")):
                some = [r for r in records if (peer or r["best"]) in r["us"]]
                label = f"{cell.split('_')[0].upper()} over {title}"
                x = [shapes.index(shape_of(r)) + shift for r in some]
                ax.scatter(x, ratios(some, peer), 22, fill, edgecolors=colour, label=label)
        ax.axhline(1.0, color="black", linewidth=1)
        ax.set_yscale("log")
        ticks = [1, 2, 3, 5, 10, 20, 30, 50]
        ax.set_yticks(ticks, [str(t) for t in ticks])
        ax.minorticks_off()
        ax.set_xticks(range(len(shapes)), shapes, rotation=60, ha="right", fontsize=8)
        ax.set_title(f"{task} (B, T, I, H)", fontsize=10)
    axes[0].set_ylabel("times as fast as")
    axes[1].legend(fontsize=7, ncols=2)
    return figure


def roofline(data: dict[str, Any]) -> Any:
    """Draw the rate of each case below what arithmetic and each level of memory allow."""
    figure, axes = new_figure(9, 4.2, 2)
    top = data["peak_gflops"]
    for ax, task in zip(axes, ("inference", "training"), strict=True):
        records = [r for r in data["results"] if r["task"] == task]
        flops_per_byte = [1e3 * r["us"]["rnnfast"] * r["gflops"] / traffic(r) for r in records]
        ends = np.array([min(flops_per_byte) / 2, 2 * max(flops_per_byte)])
        for (level, rate), style in zip(
            data["bandwidths_gbs"].items(), ("-", "--", "-.", ":"), strict=False
        ):
            # up to the roof; log-log, so a straight line
            x = np.minimum(ends, top / rate)
            ax.plot(
                x, rate * x, "k", linestyle=style, linewidth=0.9, label=f"{level}: {rate:.0f} GB/s"
            )
        ax.axhline(top, color="black", linewidth=1.5, label=f"multiply-adds: {top:.0f} GFLOP/s")
        for cell, colour in COLOURS.items():
            some = [i for i, r in enumerate(records) if r["cell"] == cell]
            x, y = (
                [values[i] for i in some]
                for values in (flops_per_byte, [r["gflops"] for r in records])
            )
            ax.scatter(x, y, 22, colour, label=cell_title(cell))
        ax.set(xscale="log", yscale="log", xlim=ends, title=task)
        ax.set_xlabel("operations for each byte that a call must move")
    axes[0].set_ylim(min(r["gflops"] for r in data["results"]) / 2, 1.5 * top)
    axes[0].set_ylabel("GFLOP/s")
    axes[1].legend(fontsize=7, loc="lower right")
    return figure


def plot(data: dict[str, Any], folder: Path, suffix: str = "svg") -> None:
    """Write both plots into a folder."""
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "rnnfast"}):
        for draw in (speedup, roofline):
            # without the date, so that the same data give the same file
            options: dict[str, Any] = {"metadata": {"Date": None}} if suffix == "svg" else {}
            draw(data).savefig(folder / f"{draw.__name__}.{suffix}", **options)
