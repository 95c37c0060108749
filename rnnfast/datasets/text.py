"""Text: real, and generated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..checks import Checked, Checks, check_flag, check_seed, check_size

if TYPE_CHECKING:
    from ..arrays import Array

__all__ = ["date_pairs", "pydoc_text", "reviews", "text_batches"]

DATE_FORMATS = (
    "{month} {day}, {year}",
    "{day} {month} {year}",
    "{mon} {day}, {year}",
    "{day} {mon} {year}",
    "{m:02}/{day:02}/{year}",
    "{day:02}.{m:02}.{year}",
)
# calendar.month_name would follow the locale
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


def pydoc_text() -> str:
    """Return Python's own reference documentation, about 465,000 characters.

    Every Python carries it, as ``pydoc_data.topics``; the text differs a little between versions.
    """
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))


class text_batches(Checked):
    """Batches of consecutive pieces of a text, for truncated BPTT with carried state.

    The text is cut into `batch_size` streams; sample b of each batch continues sample b of the
    batch before. May be iterated over again and again, each time from the start.

    Parameters
    ----------
    ids : (N,) or (N, voices) array of int
        The text as symbols, one or several at each step.
    batch_size : int
        Number of streams, B.
    steps : int
        Time steps of each batch; the last one may be shorter.
    batch_first : bool, default False

    Yields
    ------
    x, y : (steps, batch_size) array, or (batch_size, steps) with ``batch_first``
        For several voices, with one axis more. y holds, for each symbol of x, the next one.

    Raises
    ------
    ValueError
        For a text too short to give every stream two symbols.
    """

    _checks: ClassVar[Checks] = {"steps": partial(check_size, least=1), "batch_first": check_flag}
    _fixed = ("length", "x", "y")

    def __init__(self, ids: Array, batch_size: int, steps: int, batch_first: bool = False) -> None:
        batch_size = check_size("text_batches", "batch_size", batch_size, 1)
        self.steps = steps
        self.batch_first = batch_first
        ids = np.asarray(ids)
        if ids.ndim not in (1, 2) or ids.dtype.kind not in "iu":
            raise TypeError(
                "text_batches expected ids as integers on one axis, or two for several voices, "
                f"got {ids.dtype} {ids.shape}"
            )
        self.length = (len(ids) - 1) // batch_size  # of each stream
        if self.length < 1:
            raise ValueError(
                f"text_batches expected at least {batch_size + 1} symbols for {batch_size} "
                f"streams, got {len(ids)}"
            )
        used = self.length * batch_size
        shape = (batch_size, self.length, *ids.shape[1:])
        self.x = ids[:used].reshape(shape)
        self.y = ids[1 : used + 1].reshape(shape)

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-self.length // self.steps)

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        """Iterate over the batches."""
        for start in range(0, self.length, self.steps):
            x, y = (stream[:, start : start + self.steps] for stream in (self.x, self.y))
            yield (x, y) if self.batch_first else (x.swapaxes(0, 1), y.swapaxes(0, 1))


def date_pairs(
    n_pairs: int, formats: Sequence[str] = DATE_FORMATS, seed: int | None = None
) -> tuple[list[str], list[str]]:
    """Return dates as people write them and the same dates in ISO 8601.

    Such as "April 22, 2019" and "2019-04-22". The days are drawn from the years 1000 to 9999, and
    none comes twice, so that any split of the pairs holds whole dates out. After exercise 9 of
    chapter 16 of "Hands-On Machine Learning with Scikit-Learn, Keras, and TensorFlow", 2nd edition.

    Parameters
    ----------
    n_pairs : int
    formats : sequence of str
        Templates of `str.format`, each date's being drawn from these. They have ``year``,
        ``month`` ("April"), ``mon`` ("Apr"), ``m`` (4) and ``day``. The default has six.
    seed : int or None

    Returns
    -------
    texts, iso : lists of str

    Raises
    ------
    ValueError
        For more pairs than there are days, or a template that is none.
    """
    from datetime import date

    n_pairs = check_size("date_pairs", "n_pairs", n_pairs, 0)
    first, last = date(1000, 1, 1).toordinal(), date(9999, 12, 31).toordinal()
    if n_pairs > last - first + 1:
        raise ValueError(f"date_pairs expected n_pairs <= {last - first + 1}, got {n_pairs}")
    formats = [_check_date_format(template) for template in formats]
    if not formats:
        raise ValueError("date_pairs expected at least one template in formats, got none")
    rng = np.random.default_rng(check_seed("date_pairs", seed))
    days = rng.choice(last - first + 1, n_pairs, replace=False) + first
    dates = [date.fromordinal(day) for day in days.tolist()]
    texts = [
        _write_date(formats[choice], day.year, day.month, day.day)
        for choice, day in zip(rng.integers(len(formats), size=n_pairs), dates, strict=True)
    ]
    return texts, [day.isoformat() for day in dates]


def _check_date_format(template: str) -> str:
    if not isinstance(template, str):
        raise TypeError(f"date_pairs expected formats as strings, got {template!r}")
    try:
        _write_date(template, 2019, 4, 22)
    except (KeyError, IndexError, AttributeError, ValueError, TypeError) as error:
        raise ValueError(
            f"date_pairs expected formats with year, month, mon, m and day, got {template!r}"
        ) from error
    return template


def _write_date(template: str, year: int, month: int, day: int) -> str:
    name = MONTHS[month - 1]
    return template.format(year=year, month=name, mon=name[:3], m=month, day=day)


PRAISE = ("brilliant", "charming", "clever", "gripping", "moving", "superb", "touching", "witty")
BLAME = ("boring", "clumsy", "dreadful", "dull", "hollow", "shallow", "tedious", "tiresome")
SUBJECTS = ("acting", "cast", "dialogue", "ending", "film", "music", "plot", "story")
ADVERBS = ("quite", "rather", "really", "truly", "very")

# {good} is what the review says it was, {bad} what it says it was not; each may be praise or blame
OPINIONS = (
    "the {subject} was {good} and not {bad}",
    "the {subject} was not {bad} but {good}",
    "i expected a {bad} {subject} but it was {good}",
    "they called the {subject} {bad} and i found it {good}",
    "nobody could call the {subject} {bad} , it is {good}",
    "the {subject} is {good} , whoever calls it {bad} is wrong",
    "the {subject} seemed {bad} at first and turned out {good}",
    "first the {subject} looked {good} , and it never got {bad}",
)
ASIDES = (
    "i saw it last night",
    "we went with friends",
    "it runs for two hours",
    "the house was full",
    "it opened last week",
    "my sister had read the book",
)


def reviews(n_samples: int, seed: int | None = None) -> tuple[list[list[str]], Array]:
    """Return short film reviews in which only the order of the words tells praise from blame.

    Each names one adjective of praise and one of blame and says, with a negation or a contrast,
    which holds, among up to three other sentences that say nothing. Exchanging the two adjectives
    gives a review that is as probable, has the same words and the other label: whatever looks at
    the bag of words alone is right half the time.

    Parameters
    ----------
    n_samples : int
    seed : int or None

    Returns
    -------
    tokens : list of lists of str
        Of different lengths.
    y : (n_samples,) array of int64
        1 for praise, 0 for blame.
    """
    n_samples = check_size("reviews", "n_samples", n_samples, 0)
    rng = np.random.default_rng(check_seed("reviews", seed))

    def pick(words: Sequence[str]) -> str:
        return words[int(rng.integers(len(words)))]

    y = rng.integers(2, size=n_samples)
    tokens = []
    for label in y:
        good, bad = (PRAISE, BLAME) if label else (BLAME, PRAISE)
        said, denied = (
            f"{pick(ADVERBS)} {pick(words)}" if rng.integers(2) else pick(words)
            for words in (good, bad)
        )
        opinion = pick(OPINIONS).format(subject=pick(SUBJECTS), good=said, bad=denied)
        sentences = [pick(ASIDES) for _ in range(rng.integers(4))]
        sentences.insert(rng.integers(len(sentences) + 1), opinion)
        tokens.append(" . ".join([*sentences, ""]).split())
    return tokens, y
