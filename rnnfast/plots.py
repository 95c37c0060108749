"""Pictures of training, forecasts and networks; they need ``pip install rnnfast[plot]``.

Every function draws into the `ax` it is given, or into a new figure, and returns the Axes; no
figure is known to pyplot: ``plots.learning_curve(history).figure.savefig("curve.png")``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .arrays import Array

__all__ = [
    "backtest",
    "confusion_matrix",
    "forecast",
    "gates",
    "learning_curve",
    "piano_roll",
    "strokes",
]

# of colours that also the colour-blind can tell apart: Okabe and Ito, "Color Universal Design"
BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#444444"
TRIAD = {0: "C", 4: "E", 7: "G"}  # the pitches of an octave that are named beside a piano roll


def learning_curve(history: Any, ax: Axes | None = None) -> Axes:
    """Draw the loss of every epoch, and that of the validation data.

    Parameters
    ----------
    history : History or estimator
        What `rnnfast.fit` returned, or a fitted estimator.
    ax : Axes, optional

    Returns
    -------
    Axes
        The lowest validation loss is marked.
    """
    history = getattr(history, "history_", history)
    if not isinstance(history, Mapping) or "loss" not in history:
        raise TypeError(
            "learning_curve expected history as a History with losses, or a fitted estimator, got "
            f"{type(history).__name__}"
        )
    ax = _axes(ax)
    epochs = np.arange(1, len(history["loss"]) + 1)
    # a dot for each epoch: of a single one there is no line
    ax.plot(epochs, history["loss"], ".-", color=BLUE, label="training")
    held_out = history.get("val_loss")
    if held_out:
        ax.plot(epochs[-len(held_out) :], held_out, ".-", color=ORANGE, label="validation")
        best = int(np.argmin(held_out))
        ax.plot(epochs[-len(held_out) :][best], held_out[best], "o", color=ORANGE)
        ax.legend(frameon=False)
    ax.set(xlabel="epoch", ylabel="loss")
    ax.locator_params(axis="x", integer=True, min_n_ticks=1)
    return _plain(ax)


def forecast(
    truth: Any,
    forecast: Any,
    interval: tuple[Any, Any] | None = None,
    start: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a series, and its forecast with an interval over it.

    Parameters
    ----------
    truth : (time,) array_like
        What is known of the series, past and future.
    forecast : (horizon,) array_like
    interval : pair of (horizon,) array_like, optional
        Lower and upper ends, from `Forecaster.predict_interval`.
    start : int, optional
        Place of the first forecast step in `truth`; default its last `horizon` steps. The length
        of `truth` where nothing is known of the future.
    ax : Axes, optional

    Returns
    -------
    Axes
    """
    known, ahead = _series("truth", truth), _series("forecast", forecast)
    start = len(known) - len(ahead) if start is None else start
    if not 0 <= start <= len(known):
        raise ValueError(f"forecast expected start from 0 to {len(known)}, got {start}")
    ax = _axes(ax)
    steps = np.arange(start, start + len(ahead))
    ax.plot(known, color=GREY, linewidth=1.2, label="truth")
    if interval is not None:
        lower, upper = (_series("interval", end) for end in interval)
        if not len(lower) == len(upper) == len(ahead):
            raise ValueError(
                f"forecast expected interval as two arrays of {len(ahead)} steps, "
                f"got {len(lower)} and {len(upper)}"
            )
        ax.fill_between(
            steps, lower, upper, color=ORANGE, alpha=0.25, linewidth=0, label="interval"
        )
    ax.plot(steps, ahead, ".-", color=ORANGE, linewidth=1.2, label="forecast")
    ax.set(xlabel="step", ylabel="value")
    return _plain(_legend_beside(ax))


def backtest(table: Any, ax: Axes | None = None) -> Axes:
    """Draw the error of each way of forecasting, step by step ahead.

    Parameters
    ----------
    table : Backtest or Forecaster
        A fitted forecaster's `backtest_`, what its `backtest` returned, or the forecaster.
    ax : Axes, optional

    Returns
    -------
    Axes
        The mean absolute scaled error of each step ahead; the legend tells weights.
    """
    table = getattr(table, "backtest_", table)
    if not getattr(table, "by_step", None):
        raise TypeError(
            "backtest expected table as a Backtest with origins, or a fitted Forecaster, got "
            f"{type(table).__name__}"
        )
    ax = _axes(ax)
    colors = {"forecast": ORANGE, "network": BLUE, "linear": GREEN, "smoothing": PURPLE}
    for name, errors in table.by_step.items():
        weight = table[name]["weight"]
        ax.plot(
            np.arange(1, len(errors) + 1),
            errors,
            "--" if name.startswith("last") else ".-",
            color=colors.get(name, GREY),
            alpha=0.5 if name == "last value" else 1.0,
            label=name if np.isnan(weight) else f"{name} ({weight:.2f})",
        )
    ax.set(xlabel="steps ahead", ylabel="MASE")
    ax.set_ylim(bottom=0)
    ax.locator_params(axis="x", integer=True, min_n_ticks=1)
    return _plain(_legend_beside(ax))


def confusion_matrix(truth: Any, prediction: Any, ax: Axes | None = None) -> Axes:
    """Draw how many samples of each class were given each class.

    Parameters
    ----------
    truth, prediction : (samples,) array_like
    ax : Axes, optional

    Returns
    -------
    Axes
        Colours are shares of a true class, numbers are counts.
    """
    truth, prediction = np.asarray(truth), np.asarray(prediction)
    if truth.ndim != 1 or truth.shape != prediction.shape or not len(truth):
        raise ValueError(
            "confusion_matrix expected truth and prediction with a class for each sample, got "
            f"shapes {truth.shape} and {prediction.shape}"
        )
    classes, codes = np.unique(np.concatenate([truth, prediction]), return_inverse=True)
    counts = np.zeros((len(classes), len(classes)), int)
    np.add.at(counts, (codes[: len(truth)], codes[len(truth) :]), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    ax = _axes(ax)
    image = ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (i, j), count in np.ndenumerate(counts):
        if count:
            color = "white" if shares[i, j] > 0.5 else "black"
            ax.text(j, i, str(count), ha="center", va="center", color=color)
    places = range(len(classes))
    rotation = 45 if max(len(str(c)) for c in classes) > 4 else 0
    ax.set_xticks(places, classes, rotation=rotation, ha="right" if rotation else "center")
    ax.set_yticks(places, classes)
    ax.set(xlabel="predicted class", ylabel="true class")
    ax.figure.colorbar(image, ax=ax, label="share of the true class")
    return ax


def gates(layer: Any, x: Array, index: int = -1, axes: Sequence[Axes] | None = None) -> Any:
    """Draw what each gate of each unit did at each step, as heat maps.

    Parameters
    ----------
    layer : LSTM, GRU, MinLSTM or MinGRU
    x : (T, I) array
        One sequence, as the layer takes it.
    index : int, default -1
        Layer and direction, of the layer's L*D; default the last.
    axes : sequence of Axes, optional
        One for each gate.

    Returns
    -------
    (gates,) array of Axes
        An LSTM's "input", "forget", "cell" and "output", a GRU's "reset", "update" and "new", a
        MinLSTM's "forget", "input" and "new", a MinGRU's "update" and "new".
    """
    x = np.asarray(x)
    if x.ndim != 2:
        raise ValueError(f"gates expected x as one sequence (T, I), got shape {x.shape}")
    values = layer.gates(x) if hasattr(layer, "gates") else {}
    if not values:
        raise ValueError(f"gates expected layer as a recurrent layer with gates, got {layer!r}")
    if axes is not None and len(axes) != len(values):
        raise ValueError(f"gates expected axes for each of {len(values)} gates, got {len(axes)}")
    if axes is None:
        axes = _figure((8.0, 1.7 * len(values))).subplots(len(values), sharex=True)
    for ax, (name, value) in zip(axes, values.items(), strict=True):
        candidate = name in ("cell", "new")  # for the state, not a gate from closed to open
        unbounded = candidate and layer.network.cell.unbounded
        signed = candidate and not unbounded
        image = ax.imshow(
            value[index].T,
            aspect="auto",
            interpolation="nearest",
            cmap="RdBu_r" if signed else "viridis",
            vmin=-1 if signed else 0,
            vmax=None if unbounded else 1,
        )
        ax.set(ylabel="unit", title=f"{name} candidate" if candidate else f"{name} gate")
        ticks = None if unbounded else [-1, 0, 1] if signed else [0, 0.5, 1]
        bar = ax.figure.colorbar(image, ax=ax, ticks=ticks)
        if not candidate:
            bar.ax.set_yticklabels(["0 closed", "0.5", "1 open"])
    axes[-1].set_xlabel("step")
    return np.asarray(axes)


def strokes(drawing: Any, ax: Axes | None = None) -> Axes:
    """Draw a sketch, each stroke in a colour of its own.

    Parameters
    ----------
    drawing : (steps, 3) array_like
        Moves dx, dy (y grows downwards) and 1 at the end of a stroke, else 0.
    ax : Axes, optional

    Returns
    -------
    Axes
    """
    steps = np.asarray(drawing, float)
    if steps.ndim != 2 or steps.shape[1] != 3:
        raise ValueError(f"strokes expected drawing of shape (steps, 3), got {steps.shape}")
    ax = _axes(ax, (4.0, 4.0))
    points = steps[:, :2].cumsum(axis=0)
    ends = np.flatnonzero(steps[:-1, 2] > 0) + 1
    for stroke in np.split(points, ends):
        ax.plot(*stroke.T, linewidth=2, solid_capstyle="round")
    ax.set_aspect("equal", adjustable="datalim")  # so that panels of a grid are of one size
    ax.invert_yaxis()
    ax.set_axis_off()
    return ax


def piano_roll(notes: Any, voices: Sequence[str] | None = None, ax: Axes | None = None) -> Axes:
    """Draw music: time to the right, pitch upwards, a voice in each colour.

    Parameters
    ----------
    notes : (time, voices) array_like of int
        MIDI note numbers, 60 for the middle C; 0 for silence. Equal notes in a row are one note.
    voices : sequence of str, optional
        Their names; default soprano, alto, tenor and bass where there are four.
    ax : Axes, optional

    Returns
    -------
    Axes
    """
    played = np.asarray(notes)
    if played.ndim != 2 or played.dtype.kind not in "iu" or not len(played):
        raise ValueError(
            f"piano_roll expected notes as integers of shape (time, voices), got {played.dtype} "
            f"{played.shape}"
        )
    count = played.shape[1]
    if voices is None:
        four = ("soprano", "alto", "tenor", "bass")
        voices = four if count == 4 else [f"voice {i + 1}" for i in range(count)]
    if len(voices) != count:
        raise ValueError(f"piano_roll expected {count} names of voices, got {len(voices)}")
    ax = _axes(ax, (9.0, 4.0))
    colors = (BLUE, GREEN, ORANGE, PURPLE)
    for i, voice in enumerate(voices):
        line = played[:, i]
        starts = np.flatnonzero(np.diff(line, prepend=-1))
        widths = np.diff(starts, append=len(line))
        sounding = line[starts] > 0
        ax.barh(
            line[starts][sounding],
            widths[sounding],
            left=starts[sounding],
            height=0.85,
            color=colors[i % len(colors)],
            edgecolor="white",
            linewidth=0.5,
            label=voice,
        )
    heard = played[played > 0]
    if heard.size:
        low, high = int(heard.min()), int(heard.max())
        ticks = [note for note in range(low, high + 1) if note % 12 in TRIAD]
        ax.set_yticks(ticks, [f"{TRIAD[note % 12]}{note // 12 - 1}" for note in ticks])
    ax.grid(axis="y", alpha=0.3)
    ax.set_axisbelow(True)
    ax.set(xlabel="step", ylabel="pitch", xlim=(0, len(played)))
    ax.locator_params(axis="x", integer=True)
    return _plain(_legend_beside(ax))


def _figure(size: tuple[float, float]) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "rnnfast.plots needs the matplotlib library: pip install rnnfast[plot]"
        ) from error
    return Figure(figsize=size, layout="constrained")


def _axes(ax: Axes | None, size: tuple[float, float] = (6.4, 4.0)) -> Any:
    return _figure(size).subplots() if ax is None else ax


def _legend_beside(ax: Any) -> Any:
    # within the axes it would lie on the curves, above them on a title
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax


def _plain(ax: Any) -> Any:
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _series(name: str, values: Any) -> Array:
    array = np.asarray(values, float)
    if array.ndim != 1:
        raise ValueError(f"forecast expected {name} on one axis (time,), got shape {array.shape}")
    return array
