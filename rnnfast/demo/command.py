"""The demo from its options to its last line."""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..io import load, save
from . import models
from .course import Course, train
from .settings import ASKED, DEFAULTS, OPTIONS, PLANS, QUICK, REFERENCE, Plan, Settings, choose
from .show import describe_engine, draw, indent, report, row, verdict
from .text import Text, ngram_bits

if TYPE_CHECKING:
    from ..layers import Sequential


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give the demo's options to a parser."""
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a small model on little text: shows in seconds that everything works",
    )
    for name, text in OPTIONS.items():
        default: Any = DEFAULTS[name]
        parser.add_argument(
            f"--{name}",
            type=type(default),
            metavar=name[0].upper(),
            help=f"{text} (default: {default})",
        )
    for name, (kind, text) in ASKED.items():
        help_ = f"{text} (default: what suits the speed measured)"
        parser.add_argument(f"--{name}", type=kind, metavar=name[0].upper(), help=help_)


def main(args: argparse.Namespace) -> int:
    """Run the demo with parsed options; return the exit status, 2 for options out of range."""
    given = {name: value for name, value in vars(args).items() if value is not None}
    if args.quick:
        given = QUICK | given
    asked = tuple((name, given[name]) for name in ASKED if name in given)
    try:
        settings = Settings(**{name: given[name] for name in OPTIONS if name in given}, asked=asked)
        check(settings)
    except ValueError as error:
        print(f"rnnfast: {error}", file=sys.stderr)
        return 2
    return run(settings)


def check(settings: Settings) -> None:
    """Raise ValueError unless the demo can run with these settings; make its folder."""
    plan = settings.plan(0.0)
    models.build(plan, 1)
    cut = Text.read(plan.characters).cut
    if plan.batch >= cut:
        raise ValueError(
            f"demo expected batch < {cut}, the characters to learn from, got {plan.batch}"
        )
    try:
        Path(settings.out).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=settings.out).close()
    except OSError as error:
        raise ValueError(
            f"demo expected out as a folder to write into, got {settings.out!r}: {error.strerror}"
        ) from error


def run(settings: Settings, speed: float | None = None) -> int:
    """Run the demo; return 1 where the reloaded model does not go on as the saved one does, else 0.

    `speed`, the characters a second that `REFERENCE` learns, is measured by default.
    """
    began = time.perf_counter()
    print("A character model of Python's own documentation\n")
    row("engine", describe_engine())
    speed = models.measure_speed(Text.read()) if speed is None else speed
    row(
        "speed",
        f"{speed:,.0f} characters a second in training, an LSTM with {REFERENCE.layers} layers of "
        f"{REFERENCE.hidden} units",
    )
    plan = settings.plan(speed)
    row("plan", describe_plan(settings, plan, speed))
    text = Text.read(plan.characters)
    row("text", describe_text(text))
    model = models.build(plan, text.symbols, settings.seed, text.start())
    row("model", describe_model(plan, model))
    row("one step", models.compare_speed(plan, text))

    started = time.perf_counter()
    unseen = text.identity_bits()
    gram = ngram_bits(text.ids, text.cut, text.symbols) + unseen
    row(
        "baseline",
        "5-gram (4 characters of context) of the same text, interpolated modified Kneser-Ney\n"
        f"smoothing: {gram.mean():.3f} bits per character held out, "
        f"{time.perf_counter() - started:.1f} s",
    )

    course = Course(settings, plan, text, float(gram.mean()))
    row("training", describe_training(course, models.measure_speed(text, plan, 0.5)))
    print(flush=True)
    train(course, model)

    lstm = models.held_out_bits(model, text.ids, text.cut, streams=1) + unseen
    print(f"\nHeld out: {text.held_out:,} characters read once, in order. Bits per character:\n")
    report(text, {"5-gram": gram, "LSTM": lstm})
    means = float(gram.mean()), float(lstm.mean())
    print(f"\n{verdict(*means, course)}")

    same = use(settings, model, text)
    print(draw(course, *means, Path(settings.out) / "learning-curve.png"))
    print(f"All of this took {time.perf_counter() - began:.0f} seconds.")
    return 0 if same else 1


def describe_plan(settings: Settings, plan: Plan, speed: float) -> str:
    """Return what was chosen for a speed, and why."""
    chosen = choose(speed)
    faster = [other.speed for other in PLANS if other.speed > chosen.speed]
    band = f"{chosen.speed:,.0f} to {faster[-1]:,.0f}" if faster else f"{chosen.speed:,.0f} or more"
    names = ("hidden", "layers", "batch", "steps", "lr", "dropout")
    return (
        f"for {band} characters a second and {60 * settings.minutes:.0f} seconds:\n"
        + ", ".join(f"{name} {getattr(plan, name):g}" for name in names)
        + f";\n{chosen.why}"
        + "".join(f";\n{name} {value:g} was asked for" for name, value in settings.asked)
    )


def describe_text(text: Text) -> str:
    """Return what is learnt from."""
    return (
        f"pydoc_data.topics of Python {platform.python_version()}: {text.cut:,} characters to "
        f"learn from,\n{len(text.chars)} different ones; the last {text.held_out:,} are held out"
    )


def describe_model(plan: Plan, model: Sequential) -> str:
    """Return how it is made."""
    weights = sum(param.size for param in model.params.values())
    return (
        f"{plan.embedding} numbers a character, LSTM with {plan.layers} "
        f"layer{'s' * (plan.layers > 1)} of {plan.hidden} units, softmax:\n{weights:,} parameters"
    )


def describe_training(course: Course, speed: float) -> str:
    """Return how much is learnt in what time."""
    plan, seconds = course.plan, 60 * course.settings.minutes
    epochs = min(plan.epochs, speed * seconds / course.length)
    return (
        f"at {speed:,.0f} characters a second with this model {seconds:.0f} seconds are enough for "
        f"about {epochs:.1f} epochs\nof {course.length:,} characters, {plan.epochs} at most; the "
        f"learning rate falls from {plan.lr:g} in a straight line"
    )


def use(settings: Settings, model: Sequential, text: Text) -> bool:
    """Let the model write, save it, reload it and let both go on; return whether they agree."""
    print(f"\nSample, at temperature {models.TEMPERATURE}, after the prompt {settings.prompt!r}:\n")
    rng = np.random.default_rng(settings.seed)
    prompt = text.encode(settings.prompt)
    written, position = models.generate(model, text, prompt, settings.sample, rng)
    print(indent(settings.prompt + written))

    path = Path(settings.out) / "model.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    save(model, path)
    reloaded = load(path)
    print(f"\nSaved as {path} ({path.stat().st_size / 1e6:.1f} MB), reloaded, and continued:\n")
    rngs = [np.random.default_rng(settings.seed + 1) for _ in range(2)]
    more, _ = models.generate(reloaded, text, position, settings.sample, rngs[0])
    same, _ = models.generate(model, text, position, settings.sample, rngs[1])
    print(indent(more))
    print(
        f"\nThe model that was saved continues with {'the same' if more == same else 'OTHER'} text."
    )
    return more == same
