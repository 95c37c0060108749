"""What ``python -m rnnfast demo`` does: a character model trained on real text and put to use."""

from __future__ import annotations

import argparse
import math
import os
import platform
import sys
import tempfile
import time
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import backend
from .callbacks import Callback, History
from .core import runtime
from .datasets import pydoc_text, text_batches
from .generation import Position, Vocabulary, read, symbol_bits, write
from .io import load, save
from .layers import LSTM, Dropout, Embedding, Linear, Sequential
from .losses import softmax_cross_entropy
from .optim import AdamW, clip_grad_norm
from .progress import Display
from .training import fit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .layers.base import Array

CODE_POINTS = 0x110000 - 0x800  # characters that Unicode has room for


@dataclass(frozen=True)
class Settings:
    """What can be asked of the demo; all numbers but the first four are of the training."""

    out: str = "demo-output"
    seed: int = 0
    prompt: str = "A list is "
    sample: int = 400  # characters, twice
    epochs: int = 8
    minutes: float = 1.6  # at most
    hidden: int = 256
    embedding: int = 64
    batch: int = 16
    steps: int = 48
    dropout: float = 0.2
    lr: float = 5e-3
    weight_decay: float = 0.05
    clip: float = 1.0
    characters: int | None = None  # of the text; all by default

    def __post_init__(self) -> None:
        for name in ("epochs", "hidden", "embedding", "batch", "steps", "sample"):
            if getattr(self, name) < 1:
                raise ValueError(f"demo expected {name} >= 1, got {getattr(self, name)}")
        if not self.minutes > 0:
            raise ValueError(f"demo expected minutes > 0, got {self.minutes}")
        if not 0.0 <= self.lr < math.inf:
            raise ValueError(f"demo expected lr >= 0 and finite, got {self.lr}")
        if self.seed < 0:
            raise ValueError(f"demo expected seed >= 0, got {self.seed}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give the demo's options to a parser."""
    texts = {
        "out": "folder for the model and the learning curve",
        "epochs": "passes over the training text",
        "minutes": "limit of the training time; a slow machine's schedule is shortened to it",
        "hidden": "units of each LSTM layer",
        "batch": "streams that the training text is cut into",
        "dropout": "probability, after each LSTM layer",
        "lr": "highest learning rate",
        "seed": "of weights, dropout and the sample",
        "prompt": "text that the sample continues",
    }
    for field in fields(Settings):
        if field.name in texts:
            parser.add_argument(
                f"--{field.name}",
                type=type(field.default),
                default=field.default,
                metavar=field.name[0].upper(),
                help=f"{texts[field.name]} (default: {field.default})",
            )


def main(args: argparse.Namespace) -> int:
    """Run the demo with parsed options; return the exit status, 2 for options out of range."""
    names = {field.name for field in fields(Settings)}
    try:
        settings = Settings(**{name: v for name, v in vars(args).items() if name in names})
        check(settings)
    except ValueError as error:
        print(f"rnnfast: {error}", file=sys.stderr)
        return 2
    return run(settings)


def check(settings: Settings) -> None:
    """Raise ValueError unless the demo can run with these settings; make its folder."""
    build(settings, 1)
    cut = Text.read(settings.characters).cut
    if settings.batch >= cut:
        raise ValueError(
            f"demo expected batch < {cut}, the characters to learn from, got {settings.batch}"
        )
    try:
        Path(settings.out).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=settings.out).close()
    except OSError as error:
        raise ValueError(
            f"demo expected out as a folder to write into, got {settings.out!r}: {error.strerror}"
        ) from error


def run(settings: Settings) -> int:
    """Run the demo.

    Parameters
    ----------
    settings : Settings

    Returns
    -------
    int
        0; 1 where the reloaded model does not continue as the saved one does.
    """
    began = time.perf_counter()
    out = Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)

    text = Text.read(settings.characters)
    model = build(settings, text.symbols)
    print("A character model of Python's own documentation\n")
    row(
        "text",
        f"pydoc_data.topics of Python {platform.python_version()}: {len(text.ids):,} characters, "
        f"{len(text.chars)} different ones;\nthe last {text.held_out:,} are held out",
    )
    weights = sum(param.size for param in model.params.values())
    row(
        "model",
        f"{settings.embedding} numbers a character, LSTM with 2 layers of {settings.hidden} units, "
        f"softmax:\n{weights:,} parameters",
    )
    row("engine", describe_engine())
    row("one step", compare_speed(settings, text))

    started = time.perf_counter()
    unseen = text.identity_bits()
    gram = ngram_bits(text.ids, text.cut, text.symbols) + unseen
    seconds = time.perf_counter() - started
    row(
        "baseline",
        "5-gram (4 characters of context), interpolated modified Kneser-Ney smoothing, "
        f"{seconds:.1f} s",
    )

    curve = train(settings, model, text)

    lstm = held_out_bits(model, text.ids, text.cut, streams=1) + unseen
    print(f"\nHeld out: {text.held_out:,} characters read once, in order. Bits per character:\n")
    report(text, {"5-gram": gram, "LSTM": lstm})

    print(f"\nSample, at temperature {TEMPERATURE}, after the prompt {settings.prompt!r}:\n")
    rng = np.random.default_rng(settings.seed)
    written, position = generate(model, text, text.encode(settings.prompt), settings.sample, rng)
    print(indent(settings.prompt + written))

    path = out / "model.npz"
    save(model, path)
    reloaded = load(path)
    print(f"\nSaved as {path} ({path.stat().st_size / 1e6:.1f} MB), reloaded, and continued:\n")
    rngs = [np.random.default_rng(settings.seed + 1) for _ in range(2)]
    more, _ = generate(reloaded, text, position, settings.sample, rngs[0])
    same, _ = generate(model, text, position, settings.sample, rngs[1])
    print(indent(more))
    print(
        f"\nThe model that was saved continues with {'the same' if more == same else 'OTHER'} text."
    )

    print(draw(curve, float(gram.mean()), float(lstm.mean()), out / "learning-curve.png"))
    print(f"All of this took {time.perf_counter() - began:.0f} seconds.")
    return 0 if more == same else 1


def row(name: str, text: str) -> None:
    """Print a named line or two."""
    first, *rest = text.split("\n")
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


# ---- text --------------------------------------------------------------------------------------


class Text(NamedTuple):
    """The text as symbols; the first `cut` are for training.

    A character of the training text is its place in `chars`. All others are one more symbol, so
    that neither model knows more of the held-out text than the other.
    """

    chars: str
    ids: Array
    cut: int

    @staticmethod
    def read(limit: int | None = None) -> Text:
        """Return the first `limit` characters of the documentation, with the last 10% held out."""
        text = pydoc_text()[:limit]
        cut = len(text) * 9 // 10
        empty = Text("".join(sorted(set(text[:cut]))), np.empty(0, np.int64), cut)
        return empty._replace(ids=empty.encode(text))

    @property
    def symbols(self) -> int:
        """How many there are."""
        return Vocabulary(self.chars).size

    @property
    def held_out(self) -> int:
        """How many characters are held out."""
        return len(self.ids) - self.cut

    def encode(self, text: str) -> Array:
        """Return the symbols of a text."""
        return Vocabulary(self.chars).encode(text)

    def identity_bits(self) -> Array:
        """Return what it costs to say which character it was, for each one held out."""
        unseen = self.ids[self.cut :] == len(self.chars)
        return np.where(unseen, math.log2(CODE_POINTS - len(self.chars)), 0.0)

    def new(self, window: int = 40) -> Array:
        """Return which characters held out lie in no `window` that the training text holds too."""
        ids = self.ids.astype(np.uint64)
        if self.held_out < window or self.cut < window:
            return np.ones(self.held_out, bool)
        places = len(ids) - window + 1
        hashes = np.zeros(places, np.uint64)
        for j in range(window):
            hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + ids[j : j + places]
        seen = np.isin(hashes[self.cut :], hashes[: self.cut - window + 1])
        edges = np.zeros(self.held_out + 1, np.int64)
        edges[: len(seen)] += seen
        edges[window : window + len(seen)] -= seen
        return np.cumsum(edges)[:-1] == 0


# ---- models ------------------------------------------------------------------------------------


def build(settings: Settings, symbols: int) -> Sequential:
    """Return the untrained model."""
    seeds = np.random.SeedSequence(settings.seed).generate_state(4).tolist()
    return Sequential(
        Embedding(symbols, settings.embedding, seed=seeds[0]),
        LSTM(settings.embedding, settings.hidden, 2, dropout=settings.dropout, seed=seeds[1]),
        Dropout(settings.dropout, seed=seeds[2]),
        Linear(settings.hidden, symbols, seed=seeds[3]),
    )


def make_optimizer(settings: Settings, model: Sequential) -> AdamW:
    """Return the optimiser that the demo trains with."""
    return AdamW(model, settings.lr, weight_decay=settings.weight_decay)


def held_out_bits(
    model: Any, ids: Array, cut: int, streams: int, context: int = 256, chunk: int = 512
) -> Array:
    """Return what each symbol from `cut` on costs the model, in bits.

    Parameters
    ----------
    model : Sequential
    ids : (N,) array of int
    cut : int
    streams : int
        Parts that are read side by side, for speed; with 1 the state is carried from the first
        to the last symbol.
    context : int
        Symbols that each part's state is warmed up on, those just before it.
    chunk : int
        Steps of one call.

    Returns
    -------
    (N - cut,) array
    """
    context = min(context, cut)
    size = -(-(len(ids) - cut) // streams)
    starts = np.arange(cut, len(ids), size) - context
    time_steps = np.arange(size + context)[:, None]
    columns = ids[np.minimum(starts + time_steps, len(ids) - 1)]  # (time, streams)
    bits = np.empty((len(columns) - 1, len(starts)))
    state = None
    for t in range(0, len(bits), chunk):
        x, y = columns[:-1][t : t + chunk], columns[1:][t : t + chunk]
        scores, state = model(x, state)
        bits[t : t + chunk] = symbol_bits(scores, y)
    return bits[context - 1 :].T.reshape(-1)[: len(ids) - cut]


def ngram_bits(ids: Array, cut: int, symbols: int, order: int = 5) -> Array:
    """Return what each symbol from `cut` on costs an n-gram model of the symbols before `cut`.

    Interpolated, modified Kneser-Ney smoothing down to the uniform distribution, with the three
    discounts of each order from its counts of counts (Chen and Goodman, 1998). On this text it is
    stronger than Witten-Bell smoothing and plain absolute discounting.

    Parameters
    ----------
    ids : (N,) array of int
    cut : int
    symbols : int
        V: all ids are below.
    order : int
        n; ``V ** n`` must fit into 63 bits.

    Returns
    -------
    (N - cut,) array
    """

    def grams(sequence: Array, k: int) -> Array:  # each run of k symbols as one number
        codes = np.zeros(len(sequence) - k + 1, np.int64)
        for j in range(k):
            codes = codes * symbols + sequence[j : j + len(codes)]
        return codes

    def look_up(keys: Array, values: Array, wanted: Array) -> Array:  # 0 for what is not there
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return np.where(keys[at] == wanted, values[at], 0)

    p = np.full(len(ids) - cut, 1.0 / symbols)
    for k in range(1, order + 1):
        if k == order:
            keys, counts = np.unique(grams(ids[:cut], k), return_counts=True)
        else:  # how many different symbols precede it
            longer = np.unique(grams(ids[:cut], k + 1))
            keys, counts = np.unique(longer % symbols**k, return_counts=True)
        n1, n2, n3, n4 = (max(int((counts == i).sum()), 1) for i in (1, 2, 3, 4))
        y = n1 / (n1 + 2 * n2)
        estimates = [0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
        discounts = np.clip(estimates, 0, [0, 1, 2, 3])[np.minimum(counts, 3)]

        contexts, first = np.unique(keys // symbols, return_index=True)
        wanted = grams(ids[cut - k + 1 :], k)
        total = look_up(contexts, np.add.reduceat(counts, first), wanted // symbols)
        saved = look_up(contexts, np.add.reduceat(discounts, first), wanted // symbols)
        mass = look_up(keys, counts - discounts, wanted) + saved * p
        p = np.where(total > 0, mass / np.maximum(total, 1), p)
    return -np.log2(p)


def report(text: Text, bits: dict[str, Array]) -> None:
    """Print the held-out bits per character of several models side by side."""
    new = text.new()
    parts = {"all": np.ones_like(new), f"the {new.mean():.0%} that is new *": new}
    print(f"{'':<12}" + "".join(f"{title:>24}" for title in parts))
    for name, values in bits.items():
        means = [values[part].mean() if part.any() else math.nan for part in parts.values()]
        print(f"    {name:<8}" + "".join(f"{mean:>24.3f}" for mean in means))
    gram, lstm = (float(bits[name].mean()) for name in ("5-gram", "LSTM"))
    print(
        "\n    * not in a passage of 40 characters or more that the training text holds too: the\n"
        "      documentation repeats itself\n\n"
        f"The LSTM needs {abs(1 - lstm / gram):.1%} {'fewer' if lstm < gram else 'MORE'} bits than "
        "the 5-gram."
    )


# ---- speed -------------------------------------------------------------------------------------


def compare_speed(settings: Settings, text: Text, rounds: int = 5) -> str:
    """Time the same training steps on the engine and on NumPy, in turns; return the result."""
    if backend.active().name != "core":
        return "no engine to compare with the NumPy reference"
    x, y = next(iter(text_batches(text.ids[: text.cut], settings.batch, settings.steps)))
    seconds: dict[str, list[float]] = {"core": [], "reference": []}
    losses: dict[str, list[float]] = {"core": [], "reference": []}
    runs = {}
    for name in seconds:
        model = build(settings, text.symbols)
        runs[name] = model, make_optimizer(settings, model)
    for _ in range(rounds):
        for name, (model, optimizer) in runs.items():
            # The other's threads wait for work in a loop before they sleep; what they take of the
            # processors is neither's own time. The first step comes upon the other's caches.
            time.sleep(0.2)
            with backend.use(name):
                for repeat in range(3):
                    started = time.perf_counter()
                    scores, _, tape = model.forward(x)
                    loss, gradient = softmax_cross_entropy(scores, y)
                    optimizer.zero_grad()
                    model.backward(tape, gradient, input_grad=False)
                    clip_grad_norm(model, settings.clip)
                    optimizer.step()
                    elapsed = time.perf_counter() - started
                    losses[name].append(loss)
                    if repeat:
                        seconds[name].append(elapsed)
    engine, numpy = (float(np.median(seconds[name])) for name in ("core", "reference"))
    apart = max(abs(a - b) for a, b in zip(losses["core"], losses["reference"], strict=True))
    return (
        f"of training on {x.size:,} characters: {engine * 1e3:.1f} ms, on the NumPy reference "
        f"{numpy * 1e3:.0f} ms:\n{numpy / engine:.1f} times as fast (medians of "
        f"{len(seconds['core'])}, measured in turns; the losses agree to {apart:.0e})"
    )


# ---- training ----------------------------------------------------------------------------------


class Course(Callback):
    """Progress, learning rate, time limit, and the learning curve."""

    grace = 5.0  # seconds before the time limit may shorten the schedule: the first steps are slow

    def __init__(self, settings: Settings, text: Text) -> None:
        self.settings, self.text = settings, text
        self.batches = text_batches(text.ids[: text.cut], settings.batch, settings.steps)
        self.length = self.batches.length * settings.batch  # characters of an epoch
        self.total = settings.epochs * self.length
        self.done = 0
        self.share = 0.0  # of the schedule
        self.recent = 0.0
        self.losses: list[tuple[int, float]] = []  # characters learnt, loss in bits
        self.held_out: list[tuple[int, float]] = []

    def each_batch(self) -> Iterator[tuple[Array, Array]]:
        """Iterate over one epoch, or up to the time limit."""
        for x, y in self.batches:
            self.size = x.size
            yield x, y
            if self.share >= 1.0:
                return

    def loss(self, scores: Array, target: Array) -> tuple[float, Array]:
        """Return the cross-entropy and its gradient; keep the former."""
        value, gradient = softmax_cross_entropy(scores, target)
        self.losses.append((self.done + target.size, value / math.log(2)))
        keep = min(0.95, 1 - 1 / len(self.losses))
        self.recent = keep * self.recent + (1 - keep) * value
        return value, gradient

    def on_train_begin(self, model: Any, optimizer: Any) -> None:
        """Start the clock."""
        self.model, self.optimizer = model, optimizer
        self.display = Display("training", None, "characters", leave=False)
        self.began = self.epoch_began = time.perf_counter()
        self._set_rate()

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        """Advance the schedule."""
        self.done += self.size
        elapsed = time.perf_counter() - self.began
        late = elapsed / (60.0 * self.settings.minutes) if elapsed > self.grace else 0.0
        self.share = max(self.done / self.total, late)
        self._set_rate()
        text = f"loss {self.recent:.3f}, {self.recent / math.log(2):.3f} bits per character"
        total = len(self.batches) * self.settings.epochs * self.done / (self.share * self.total)
        self.display.update(text, self.size, round(total))

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> bool:
        """Read the held-out text; stop at the time limit."""
        now = time.perf_counter()
        rate = (self.done - epoch * self.length) / (now - self.epoch_began)
        bits = held_out_bits(self.model, self.text.ids, self.text.cut, streams=16)
        bits += self.text.identity_bits()
        self.held_out.append((self.done, float(bits.mean())))
        self.display.print(
            f"epoch {epoch + 1}/{self.settings.epochs}: {logs['loss'] / math.log(2):.3f} bits per "
            f"character in training, {bits.mean():.3f} held out; {rate:,.0f} characters/s"
        )
        self.epoch_began = time.perf_counter()
        return self.share >= 1.0

    def on_train_end(self, history: History) -> None:
        """Say how long it took."""
        self.display.close()

    def _set_rate(self) -> None:
        # up over the first 2% of the schedule, then down in a straight line
        warm = min(1.0, self.share / 0.02 + 0.01)
        self.optimizer.lr = self.settings.lr * warm * (1.0 - min(self.share, 0.99))


def train(settings: Settings, model: Sequential, text: Text) -> Course:
    """Train the model by truncated BPTT with carried state."""
    course = Course(settings, text)
    print(
        f"\nTraining: {settings.epochs} epochs of {course.length:,} characters, {settings.batch} "
        f"streams, {settings.steps} steps of truncated BPTT\n",
        flush=True,
    )
    fit(
        model,
        course.each_batch,
        loss=course.loss,
        optimizer=make_optimizer(settings, model),
        epochs=settings.epochs,
        carry_state=True,
        clip_norm=settings.clip,
        callbacks=[course],
        progress=False,
    )
    seconds = time.perf_counter() - course.began
    print(f"\nTrained in {seconds:.0f} seconds.", flush=True)
    if course.done < course.total:
        print(
            f"The limit of {settings.minutes:g} minutes shortened the schedule to "
            f"{course.done / course.length:.1f} of {settings.epochs} epochs."
        )
    return course


# ---- use ---------------------------------------------------------------------------------------

TEMPERATURE = 0.7


def generate(
    model: Sequential, text: Text, start: Array | Position, length: int, rng: np.random.Generator
) -> tuple[str, Position]:
    """Let the model write.

    Parameters
    ----------
    model : Sequential
    text : Text
        Whose symbols it learnt.
    start : (N,) array of int, or Position
        What to continue.
    length : int
    rng : numpy.random.Generator

    Returns
    -------
    written : str
    position : Position
        To continue from.
    """
    if isinstance(start, Position):
        position = start
    else:
        position = read(model, start, Position(None, np.zeros(text.symbols, np.float32)))
    written = list(islice(write(model, position, rng, TEMPERATURE), length))
    return "".join(text.chars[symbol] for symbol, _ in written), written[-1][1]


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
    figure.savefig(path)
    return f"Learning curve: {os.fspath(path)}"
