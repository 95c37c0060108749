"""Data to try things on: generators, and readers of real formats."""

from .chorales import music21_chorales, read_chorales, write_midi
from .formats import from_aeon, from_sktime, from_tslearn, to_aeon, to_sktime, to_tslearn
from .grammar import REBER_SYMBOLS, embedded_reber, reber_successors
from .quickdraw import Drawing, read_quickdraw, sketches, write_quickdraw
from .series import radar_returns, sine_waves, two_signals
from .text import date_pairs, pydoc_text, reviews, text_batches
from .ts import read_ts

__all__ = [
    "REBER_SYMBOLS",
    "Drawing",
    "date_pairs",
    "embedded_reber",
    "from_aeon",
    "from_sktime",
    "from_tslearn",
    "music21_chorales",
    "pydoc_text",
    "radar_returns",
    "read_chorales",
    "read_quickdraw",
    "read_ts",
    "reber_successors",
    "reviews",
    "sine_waves",
    "sketches",
    "text_batches",
    "to_aeon",
    "to_sktime",
    "to_tslearn",
    "two_signals",
    "write_midi",
    "write_quickdraw",
]
