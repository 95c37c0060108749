"""Writes what benchmarks measured: JSON, and of compare.py's records tables and two plots."""

from __future__ import annotations

import json
import os
import platform
import re
import textwrap
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import numpy as np
from peers import PEERS

import rnnfast
from rnnfast.cells import CELLS
from rnnfast.core import runtime
from rnnfast.info import processor

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
# What a benchmark writes stands between these lines of a page, or of the README's first paragraphs.
BEGIN, END = "<!-- compare.py writes from here -->", "<!-- to here -->"
BEGIN_RANGE = "<!-- compare.py writes the range from here -->"
ISA_TITLES = {"baseline": "baseline", "avx2": "AVX2", "avx512": "AVX-512"}
SIZES = ("B", "T", "I", "H")
TASKS = ("inference", "training")
UNSTEADY = 1.3
Record = dict[str, Any]


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


def save(data: dict[str, Any], prefix: str = "", by: str = "date") -> Path:
    """Write what `describe` returned to results/PROCESSOR-DATE.json, a result on each line.

    `by` is the field in the name beside the processor: a later record with an equal name takes the
    place of the earlier one.
    """
    head = {key: value for key, value in data.items() if key != "results"}
    text = json.dumps(head, indent=1)[:-2] + ',\n "results": [\n  '
    text += ",\n  ".join(json.dumps(record) for record in data["results"]) + "\n ]\n}\n"
    slug = re.sub("[^a-z0-9]+", "-", f"{data['processor']} {data[by]}".lower())
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{prefix}{slug}.json"
    path.write_text(text)
    return path


def comparisons() -> list[dict[str, Any]]:
    """Return the records of compare.py, one for each processor and instruction set."""
    return [json.loads(path.read_text()) for path in sorted(RESULTS.glob("compare-*.json"))]


def machine(data: dict[str, Any]) -> str:
    """Name processor and instruction set."""
    return f"{data['processor']}, {ISA_TITLES[data['isa']]}"


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
    if peer is None:
        return [r["ratio"] for r in records if r["best"]]
    return [r["us"][peer] / r["us"]["rnnfast"] for r in records if peer in r["us"]]


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def cell_title(cell: str) -> str:
    return CELLS[cell].layer


def of_task(data: dict[str, Any]) -> dict[str, list[Record]]:
    return {task: [r for r in data["results"] if r["task"] == task] for task in TASKS}


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


def mean(values: Sequence[float]) -> str:
    """Return the geometric mean; nothing where a peer is not installed or does not train."""
    return f"{geometric_mean(values):.2f}" if values else ""


def summary(data: dict[str, Any]) -> str:
    """Return what the ratios come to."""
    groups = of_task(data).values()
    rows = []
    for title, peer in [("the best peer", None), *((p.title, name) for name, p in PEERS.items())]:
        means = [ratios(records, peer) for records in groups]
        if any(means):
            rows.append([f"geometric mean over {title}", *map(mean, means)])
    smallest = [
        min((r for r in records if r["best"]), key=lambda r: r["ratio"], default=None)
        for records in groups
    ]
    texts = [
        f"{r['ratio']:.2f}: {cell_title(r['cell'])} {shape_of(r)}" if r else "" for r in smallest
    ]
    rows.append(["smallest ratio over the best peer", *texts])
    return table(["ratio", "inference", "training"], rows)


def unsteady(rounds: Iterable[Sequence[float]]) -> int:
    """Return how many numbers differ much from round to round."""
    return sum(max(values) > UNSTEADY * min(values) for values in rounds)


def all_rounds(data: dict[str, Any]) -> list[list[float]]:
    return [values for r in data["results"] for values in r["rounds_us"].values()]


def markdown(data: dict[str, Any]) -> str:
    """Return a processor's section: how it was measured, the tables, and what they come to."""
    versions = ", ".join(f"{name} {version}" for name, version in data["versions"].items())
    rounds = all_rounds(data)
    text = (
        f"### {machine(data)}\n\n"
        f"{data['system']}, {data['threads']} threads; rnnfast {data['rnnfast']}, {versions}; "
        f"{data['date']}. The FMA peak measured in the same run is {data['peak_gflops']:.0f} "
        f"GFLOP/s. The slowest round took over {UNSTEADY} times the fastest in {unsteady(rounds)} "
        f"of {len(rounds)} numbers.\n"
    )
    tables = [times(task, records) for task, records in of_task(data).items() if records]
    return "\n".join([text, *tables, summary(data)])


def overview(records: Sequence[dict[str, Any]]) -> str:
    """Return a table of what the ratios come to on each processor."""
    titles = [f"{task}: {what}" for task in TASKS for what in ("mean", "smallest", "over PyTorch")]
    rows = []
    for data in records:
        every = ratios(data["results"])
        numbers = []
        for some in of_task(data).values():
            numbers += [mean(ratios(some)), f"{min(ratios(some)):.2f}", mean(ratios(some, "torch"))]
        below = f"{sum(ratio < 1 for ratio in every)} of {len(every)}"
        rows.append([machine(data), data["date"], below, *numbers])
    return table(["processor", "measured", "cases below 1.0", *titles], rows)


def all_sections(records: Sequence[dict[str, Any]]) -> str:
    """Return for docs/performance.md the overview and a section for each processor."""
    text = (
        "Ratios are the best peer's time over rnnfast's, means are geometric.\n\n"
        f"{overview(records)}\n"
        "Each shape's ratios, from the processor with the least to that with the greatest:\n\n"
        f"{shape_spans(records)}\n"
        "Below, microseconds a call, float32: medians over rounds in which the engines take turns, "
        "each alone in its process. All were found to give the same results. Weights do not change "
        "between calls. Training is forward, then the gradients of all parameters and of x.\n"
    )
    return "\n".join([text, *map(markdown, records)])


def span(values: Iterable[float]) -> str:
    """Return the least and the greatest number, or the one that they are."""
    texts = [f"{value:.2f}" for value in sorted(values)]
    return texts[0] if texts[0] == texts[-1] else f"{texts[0]} to {texts[-1]}"


def shape_spans(records: Sequence[dict[str, Any]]) -> str:
    """Return a table of the ratios over the best peer, from the least to the greatest processor."""
    found: dict[str, dict[str, list[float]]] = {}
    for record in (r for data in records for r in data["results"] if r["best"]):
        column = f"{cell_title(record['cell'])} {record['task']}"
        found.setdefault(shape_of(record), {}).setdefault(column, []).append(record["ratio"])
    columns = list(next(iter(found.values())))
    rows = [[shape, *(span(by[column]) for column in columns)] for shape, by in found.items()]
    return table(["B, T, I, H", *columns], rows)


def range_of(records: Sequence[dict[str, Any]]) -> str:
    """Return the README's sentence on how fast rnnfast is, over all processors."""
    results = [r for data in records for r in data["results"]]
    peers = [peer.title for name, peer in PEERS.items() if any(name in r["us"] for r in results)]
    every = ratios(results)
    means = [span(geometric_mean(ratios(of_task(d)[task])) for d in records) for task in TASKS]
    return textwrap.fill(
        f"Beside the fastest of {', '.join(peers[:-1])} and {peers[-1]} in each case, RNN, LSTM "
        f"and GRU are {means[0]} times as fast at inference and {means[1]} times in training, "
        f"geometric means on each processor measured ({'; '.join(map(machine, records))}). A "
        f"single case is {span(every)} times as fast; {sum(ratio < 1 for ratio in every)} of "
        f"{len(every)} are slower (`make compare`).",
        110,
        break_on_hyphens=False,
    )


def lost(records: Sequence[dict[str, Any]]) -> str:
    """Return the README's sentence on the cases in which a peer is faster."""
    said = []
    for data in records:
        cases: dict[str, list[str]] = {}
        for r in data["results"]:
            if r["best"] and r["ratio"] < 1:
                what = f"{cell_title(r['cell'])} {r['task']}"
                cases.setdefault(what, []).append(f"{shape_of(r)} ({r['ratio']:.2f})")
        listed = " and in ".join(f"{what} at {'; '.join(at)}" for what, at in cases.items())
        said.append(f"On {machine(data)}, it loses in {listed or 'no case'}.")
    return textwrap.fill(f"{' '.join(said)} Shapes are B, T, I, H.", 110, break_on_hyphens=False)


def write_pages() -> None:
    """Write what all records of compare.py come to into docs/performance.md, plots and README."""
    records = comparisons()
    write_into(ROOT / "docs" / "performance.md", all_sections(records))
    readme = ROOT / "README.md"
    write_into(readme, range_of(records) + "\n", BEGIN_RANGE)
    write_into(readme, f"{overview(records)}\n{lost(records)}\n")
    plot(records, ROOT / "docs")


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


def new_figure(rows: int) -> tuple[Any, Any]:
    """Return a figure, and its axes: a row for each processor, a column for each task."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.2 + 3 * rows), layout="constrained")
    axes = figure.subplots(rows, len(TASKS), sharey=True, squeeze=False)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.3, linewidth=0.5)
    return figure, axes


def speedup(records: Sequence[dict[str, Any]]) -> Any:
    """Draw the ratio of each processor, shape and cell."""
    figure, axes = new_figure(len(records))
    shapes = list(dict.fromkeys(shape_of(r) for data in records for r in data["results"]))
    for line, data in zip(axes, records, strict=True):
        for ax, (task, results) in zip(line, of_task(data).items(), strict=True):
            draw_ratios(ax, results, shapes)
            ax.set_title(f"{machine(data)}: {task}", fontsize=9)
            ax.set_xticks(range(len(shapes)), [])
        line[0].set_ylabel("times as fast as")
    for ax in axes[-1]:
        ax.set_xticks(range(len(shapes)), shapes, rotation=60, ha="right", fontsize=8)
        ax.set_xlabel("B, T, I, H", fontsize=8)
    axes[0, 1].legend(fontsize=7, ncols=2)
    return figure


def draw_ratios(ax: Any, results: Sequence[Record], shapes: Sequence[str]) -> None:
    for shift, (cell, colour) in zip((-0.22, 0.0, 0.22), COLOURS.items(), strict=True):
        some = [r for r in results if r["cell"] == cell]
        for peer, title, fill in ((None, "best peer", colour), ("torch", "PyTorch", "none")):
            timed = [r for r in some if (peer or r["best"]) in r["us"]]
            label = f"{cell_title(cell)} over {title}"
            x = [shapes.index(shape_of(r)) + shift for r in timed]
            ax.scatter(x, ratios(timed, peer), 22, fill, edgecolors=colour, label=label)
    ax.axhline(1.0, color="black", linewidth=1)
    ax.set_yscale("log")
    ticks = [0.5, 0.7, 1, 2, 3, 5, 10, 20, 30, 50, 100]
    ax.set_yticks(ticks, [f"{t:g}" for t in ticks])
    ax.minorticks_off()


def roofline(records: Sequence[dict[str, Any]]) -> Any:
    """Draw the rate of each case below what arithmetic and each level of memory allow."""
    figure, axes = new_figure(len(records))
    for line, data in zip(axes, records, strict=True):
        for ax, (task, results) in zip(line, of_task(data).items(), strict=True):
            draw_rates(ax, results, data)
            ax.set_title(f"{machine(data)}: {task}", fontsize=9)
        line[0].set_ylabel("GFLOP/s")
        line[1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    rates = [r["gflops"] for data in records for r in data["results"]]
    axes[0, 0].set_ylim(min(rates) / 2, 1.5 * max(data["peak_gflops"] for data in records))
    for ax in axes[-1]:
        ax.set_xlabel("operations for each byte that a call must move")
    return figure


def draw_rates(ax: Any, results: Sequence[Record], data: dict[str, Any]) -> None:
    top = data["peak_gflops"]
    flops_per_byte = [1e3 * r["us"]["rnnfast"] * r["gflops"] / traffic(r) for r in results]
    ends = np.array([min(flops_per_byte) / 2, 2 * max(flops_per_byte)])
    styles = ("-", "--", "-.", ":")
    for (level, rate), style in zip(data["bandwidths_gbs"].items(), styles, strict=False):
        x = np.minimum(ends, top / rate)  # up to the roof; log-log, so a straight line
        ax.plot(x, rate * x, "k", linestyle=style, linewidth=0.9, label=f"{level}: {rate:.0f} GB/s")
    ax.axhline(top, color="black", linewidth=1.5, label=f"FMA peak: {top:.0f} GFLOP/s")
    for cell, colour in COLOURS.items():
        some = [i for i, r in enumerate(results) if r["cell"] == cell]
        x, y = [flops_per_byte[i] for i in some], [results[i]["gflops"] for i in some]
        ax.scatter(x, y, 22, colour, label=cell_title(cell))
    ax.set(xscale="log", yscale="log", xlim=ends)


def plot(records: Sequence[dict[str, Any]], folder: Path, suffix: str = "svg") -> None:
    """Write both plots into a folder."""
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "rnnfast"}):
        for draw in (speedup, roofline):
            # without the date, so that the same records give the same file
            options: dict[str, Any] = {"metadata": {"Date": None}} if suffix == "svg" else {}
            draw(records).savefig(folder / f"{draw.__name__}.{suffix}", **options)
