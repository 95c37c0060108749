"""Sketches in the format of Google's Quick, Draw! data set."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import islice
from reprlib import repr as short
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..checks import check_seed, check_size, read_json
from ..io import replace_file
from .files import read_lines

if TYPE_CHECKING:
    from ..arrays import Array

__all__ = ["Drawing", "read_quickdraw", "sketches", "write_quickdraw"]


class Drawing(NamedTuple):
    """A sketch, and what the format says of it.

    Attributes
    ----------
    steps : (T, 3) array of float32
        The pen's way: dx, dy and 1 at the end of a stroke, else 0. The first step counts from the
        origin, so that the sums of dx and dy are the points; y grows downwards.
    word : str
        What was to be drawn, such as "cat".
    countrycode : str
        Where, in two letters (ISO 3166-1 alpha-2).
    recognized : bool
        Whether the game recognised it.
    """

    steps: Array
    word: str
    countrycode: str = ""
    recognized: bool = True


def read_quickdraw(path: str | os.PathLike[str], limit: int | None = None) -> list[Drawing]:
    """Read sketches from a file of the Quick, Draw! data set.

    The simplified drawings (.ndjson, one JSON object a line, points in a square of 256 pixels), and
    the raw ones, whose times are left out: https://github.com/googlecreativelab/quickdraw-dataset.

    Parameters
    ----------
    path : path
        The data set has one file for each word.
    limit : int, optional
        Read only so many drawings, from the start.

    Returns
    -------
    list of Drawing

    Raises
    ------
    OSError
        Where the file cannot be opened.
    ValueError
        For a line that is not of this format; the message has its number.
    """
    if limit is not None:
        limit = check_size("read_quickdraw", "limit", limit, 0)
    with open(path, "rb") as file:
        lines = islice(read_lines(os.fspath(path), file), limit)
        return [_parse(place, line) for place, line in lines]


def _parse(place: str, line: str) -> Drawing:
    try:
        entry = read_json(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place}: expected a JSON object, got {short(line)}: {error}") from None
    if not isinstance(entry, dict):
        raise ValueError(f"{place}: expected a JSON object, got {short(line)}")
    kinds = {"word": str, "countrycode": str, "recognized": bool, "drawing": list}
    for key, kind in kinds.items():
        if not isinstance(entry.get(key), kind):
            raise ValueError(
                f"{place}: expected {key} as a {kind.__name__}, got {short(entry.get(key))}"
            )
    if not entry["drawing"]:
        raise ValueError(f"{place}: expected at least one stroke in drawing, got none")
    strokes = [_stroke(place, stroke) for stroke in entry["drawing"]]
    return Drawing(_steps(strokes), entry["word"], entry["countrycode"], entry["recognized"])


def _stroke(place: str, stroke: Any) -> Array:
    """Return the (points, 2) array of a stroke [[x...], [y...]] or [[x...], [y...], [t...]]."""
    if not isinstance(stroke, list) or len(stroke) not in (2, 3):
        raise ValueError(f"{place}: expected a stroke as [[x...], [y...]], got {short(stroke)}")
    x, y = stroke[:2]
    if not (isinstance(x, list) and isinstance(y, list) and 0 < len(x) == len(y)):
        raise ValueError(f"{place}: expected x and y as lists of one length, got {short(stroke)}")
    for value in (*x, *y):
        if type(value) not in (int, float) or not -1e9 <= value <= 1e9:  # NaN is not either
            raise ValueError(f"{place}: expected coordinates up to 1e9, got {short(value)}")
    return np.array((x, y), np.float64).T


def _steps(strokes: list[Array]) -> Array:
    """Return the steps of `Drawing` for strokes as (points, 2) arrays."""
    steps = np.zeros((sum(map(len, strokes)), 3), np.float32)
    steps[:, :2] = np.diff(np.concatenate(strokes), axis=0, prepend=[[0, 0]])
    steps[np.cumsum([len(stroke) for stroke in strokes]) - 1, 2] = 1
    return steps


def write_quickdraw(path: str | os.PathLike[str], drawings: Iterable[Drawing]) -> None:
    """Write sketches in the format of the Quick, Draw! data set that `read_quickdraw` reads.

    Parameters
    ----------
    path : path
        A file that is there is overwritten.
    drawings : iterable of Drawing
        Points come back exactly where they are whole numbers, as in the data set's simplified
        drawings.

    Raises
    ------
    ValueError
        For a drawing whose steps are not of shape (T, 3), with T >= 1, finite, and 1 at the end of
        strokes, the last step being one, and else 0; nothing is written.
    """
    import json

    lines = []
    for number, drawing in enumerate(drawings):
        steps = np.asarray(drawing.steps)
        if (
            steps.ndim != 2
            or steps.shape[1] != 3
            or not len(steps)
            or not np.isfinite(steps).all()
            or not np.isin(steps[:, 2], (0, 1)).all()
            or not steps[-1, 2]
        ):
            raise ValueError(
                "write_quickdraw expected steps of shape (T, 3) as read_quickdraw returns, with a "
                f"last column of 0 and 1 that ends in 1, in drawing {number}, got {steps.shape}"
            )
        points = np.cumsum(steps[:, :2], axis=0, dtype=np.float64)
        if (points == np.rint(points)).all():
            points = points.astype(np.int64)
        strokes = np.split(points, np.flatnonzero(steps[:-1, 2]) + 1)
        entry = {
            "word": drawing.word,
            "countrycode": drawing.countrycode,
            "timestamp": "1970-01-01 00:00:00.00000 UTC",
            "recognized": bool(drawing.recognized),
            "key_id": str(number),
            "drawing": [stroke.T.tolist() for stroke in strokes],
        }
        lines.append(json.dumps(entry, separators=(",", ":")) + "\n")
    replace_file(path, lambda file: file.write("".join(lines).encode()))


def sketches(n_drawings: int, seed: int | None = None) -> list[Drawing]:
    """Return generated sketches of airplanes, basketballs, cats and nine other things.

    Small stand-ins for the Quick, Draw! categories of these names, for tests and examples: strokes
    of random proportions, each shaken, stretched, turned, sometimes left out and drawn from either
    end, in random order. With too many left out, a drawing may be any of several things. Like the
    data set's simplified drawings they start at 0 and reach 255 in whole pixels.

    Parameters
    ----------
    n_drawings : int
        The words take turns, in alphabetical order.
    seed : int or None

    Returns
    -------
    list of Drawing
    """
    n_drawings = check_size("sketches", "n_drawings", n_drawings, 0)
    rng = np.random.default_rng(check_seed("sketches", seed))
    drawings = []
    for number in range(n_drawings):
        word = tuple(WORDS)[number % len(WORDS)]
        strokes = WORDS[word](rng)
        keep = [stroke for stroke in strokes if rng.random() > 0.2] or strokes
        angle = rng.normal(0, 0.2)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        turn *= rng.uniform(0.7, 1.0, (2, 1))
        shaken = [(s + rng.normal(0, 0.05, s.shape)) @ turn for s in keep]
        shaken = [shaken[i][:: rng.choice((-1, 1))] for i in rng.permutation(len(shaken))]
        points = np.concatenate(shaken)
        low = points.min(axis=0)
        scale = 255 / (points - low).max()
        pixels = [np.rint((stroke - low) * scale) for stroke in shaken]
        drawings.append(Drawing(_steps(pixels), word))
    return drawings


def _ellipse(x: float, y: float, rx: float, ry: float, start: float = 0, end: float = 1) -> Array:
    """Return points on an ellipse from one part of a turn to another."""
    angle = 2 * np.pi * np.linspace(start, end, max(3, round(14 * abs(end - start))))
    return np.stack((x + rx * np.cos(angle), y + ry * np.sin(angle)), axis=1)


def _line(*points: tuple[float, float]) -> Array:
    return np.array(points, float)


def _box(left: float, top: float, right: float, bottom: float) -> Array:
    return _line((left, top), (right, top), (right, bottom), (left, bottom), (left, top))


def _airplane(rng: np.random.Generator) -> list[Array]:
    body, wing, tail = rng.uniform(0.08, 0.2), rng.uniform(0.5, 0.9), rng.uniform(0.2, 0.4)
    half = np.array([(0.2, body), (-0.3, wing), (-0.5, wing), (-0.1, body)])
    fin = _line((-0.8, -body), (-1.1, -tail), (-1.0, 0))
    return [_ellipse(0, 0, 1, body), half, half * (1, -1), fin]


def _basketball(rng: np.random.Generator) -> list[Array]:
    bow = rng.uniform(0.3, 0.6)
    seams = [_ellipse(-1, 0, bow, 0.8, -0.25, 0.25), _ellipse(1, 0, bow, 0.8, 0.25, 0.75)]
    cross = [_line((-1, 0), (0, 0), (1, 0)), _line((0, -1), (0, 0), (0, 1))]
    return [_ellipse(0, 0, 1, 1), *cross, *seams]


def _cat(rng: np.random.Generator) -> list[Array]:
    ear, wide = rng.uniform(1.2, 1.6), rng.uniform(0.9, 1.2)
    half = [
        _line((0.8, -0.6), (0.7, -ear), (0.2, -0.95)),
        _ellipse(0.4, -0.2, 0.1, 0.1),
        _line((0.3, 0.2), (1.4, 0.1)),
        _line((0.3, 0.35), (1.4, 0.45)),
    ]
    return [_ellipse(0, 0, wide, 1), *half, *(stroke * (-1, 1) for stroke in half)]


def _bicycle(rng: np.random.Generator) -> list[Array]:
    wheel, saddle = rng.uniform(0.4, 0.6), rng.uniform(-0.9, -0.6)
    frame = _line((-0.8, 0.4), (-0.3, saddle), (0.5, saddle), (0, 0.4), (-0.8, 0.4))
    fork = _line((0.8, 0.4), (0.5, saddle), (0.5, saddle - 0.3), (0.8, saddle - 0.3))
    return [*(_ellipse(x, 0.4, wheel, wheel) for x in (-0.8, 0.8)), frame, fork]


def _clock(rng: np.random.Generator) -> list[Array]:
    hour, minute = rng.uniform(0, 2 * np.pi, 2)
    hands = [
        _line((0, 0), (length * np.sin(angle), -length * np.cos(angle)))
        for length, angle in ((0.5, hour), (0.8, minute))
    ]
    marks = [_line((0.85, 0), (1, 0)), _line((0, 0.85), (0, 1))]
    return [_ellipse(0, 0, 1, 1), *hands, *marks, *(-mark for mark in marks)]


def _envelope(rng: np.random.Generator) -> list[Array]:
    high, flap = rng.uniform(0.5, 0.8), rng.uniform(-0.1, 0.4)
    return [_box(-1, -high, 1, high), _line((-1, -high), (0, flap), (1, -high))]


def _eyeglasses(rng: np.random.Generator) -> list[Array]:
    glass = rng.uniform(0.3, 0.45)
    arm = _line((0.5 + glass, 0), (1.2, -0.3), (1.3, 0))
    glasses = [_ellipse(x, 0, glass, glass) for x in (-0.5, 0.5)]
    return [*glasses, _ellipse(0, 0, 0.5 - glass, 0.1, 0.5, 1), arm, arm * (-1, 1)]


def _fish(rng: np.random.Generator) -> list[Array]:
    high, tail = rng.uniform(0.3, 0.6), rng.uniform(0.3, 0.6)
    fins = _line((0.8, 0), (1.3, -tail), (1.3, tail), (0.8, 0))
    return [_ellipse(0, 0, 0.8, high), fins, _ellipse(-0.5, -0.1, 0.06, 0.06)]


def _flower(rng: np.random.Generator) -> list[Array]:
    petals = [
        _ellipse(0.5 * np.cos(angle), 0.5 * np.sin(angle) - 0.4, 0.25, 0.25)
        for angle in np.linspace(0, 2 * np.pi, rng.integers(5, 8), endpoint=False)
    ]
    return [_ellipse(0, -0.4, 0.25, 0.25), *petals, _line((0, 0.3), (0, rng.uniform(0.8, 1.4)))]


def _house(rng: np.random.Generator) -> list[Array]:
    eaves, door = rng.uniform(-0.4, 0.1), rng.uniform(-0.6, 0.3)
    roof = _line((-1, eaves), (0, eaves - rng.uniform(0.5, 1)), (1, eaves))
    return [_box(-0.8, eaves, 0.8, 1), roof, _box(door, 0.5, door + 0.3, 1)]


def _smiley_face(rng: np.random.Generator) -> list[Array]:
    mouth = _ellipse(0, 0.2, rng.uniform(0.4, 0.6), rng.uniform(0.2, 0.5), 0, 0.5)
    return [_ellipse(0, 0, 1, 1), *(_ellipse(x, -0.3, 0.1, 0.1) for x in (-0.35, 0.35)), mouth]


def _sun(rng: np.random.Generator) -> list[Array]:
    disc = rng.uniform(0.4, 0.7)
    rays = [
        np.outer((disc + 0.1, 1.1), (np.cos(angle), np.sin(angle)))
        for angle in np.linspace(0, 2 * np.pi, rng.integers(6, 11), endpoint=False)
    ]
    return [_ellipse(0, 0, disc, disc), *rays]


WORDS = {
    "airplane": _airplane,
    "basketball": _basketball,
    "bicycle": _bicycle,
    "cat": _cat,
    "clock": _clock,
    "envelope": _envelope,
    "eyeglasses": _eyeglasses,
    "fish": _fish,
    "flower": _flower,
    "house": _house,
    "smiley face": _smiley_face,
    "sun": _sun,
}
