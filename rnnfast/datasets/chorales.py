"""Chorales: four voices, a note number each for every sixteenth note."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from math import ceil
from reprlib import repr as short
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import check_positive, check_size
from ..io import replace_file
from .files import read_lines

if TYPE_CHECKING:
    from ..arrays import Array

__all__ = ["music21_chorales", "read_chorales", "write_midi"]

SPLITS = ("train", "valid", "test")
VOICES = 4
STEPS = 4  # of a quarter note
NOTES = {str(note): note for note in range(128)}
LARGEST = 1 << 20  # bytes of a chorale's file; Bach's have some thousands
UNPACKED = 1 << 22  # bytes that any archive may unpack to; Bach's has a million
RATIO = 64  # more bytes for each byte of the archive; Bach's has 15


def read_chorales(path: str | os.PathLike[str]) -> tuple[list[Array], list[Array], list[Array]]:
    """Read Bach's chorales from csv files.

    The form in which "Hands-On Machine Learning with Scikit-Learn, Keras, and TensorFlow", 2nd
    edition, chapter 15, hands them out (jsb_chorales.tgz): each file has four MIDI note numbers a
    line, 0 being silence, one line a sixteenth note, after a line of column names if there is one.
    The split is that of N. Boulanger-Lewandowski, Y. Bengio and P. Vincent, "Modeling temporal
    dependencies in high-dimensional sequences", ICML 2012.

    Parameters
    ----------
    path : path
        A folder with the folders train, valid and test, or the .tgz of one, which is read in place.

    Returns
    -------
    train, valid, test : lists of (time, 4) arrays of int64
        In the order of the files' names.

    Raises
    ------
    OSError
        Where a file cannot be opened.
    ValueError
        For a damaged archive, a line that is not of this form, or a folder without chorales; the
        message has file and line.
    """
    path = os.fspath(path)
    found: dict[str, list[tuple[str, Array]]] = {split: [] for split in SPLITS}
    files = _in_folders(path) if os.path.isdir(path) else _in_archive(path)
    for split, name, place, lines in files:
        found[split].append((name, _parse(place, lines)))
    for split, chorales in found.items():
        if not chorales:
            raise ValueError(f"{path}: expected csv files in a folder {split}, found none")
        chorales.sort(key=lambda entry: entry[0])
    train, valid, test = ([notes for _, notes in found[split]] for split in SPLITS)
    return train, valid, test


def _in_folders(path: str) -> Iterator[tuple[str, str, str, Iterable[bytes]]]:
    """Yield split, name, name with path, and lines of each csv file in the folders of a folder."""
    for split in SPLITS:
        folder = os.path.join(path, split)
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            if _is_chorale(name):
                place = os.path.join(folder, name)
                with open(place, "rb") as file:
                    yield split, name, place, file


def _in_archive(path: str) -> Iterator[tuple[str, str, str, Iterable[bytes]]]:
    """Do the same for a .tgz; nothing is extracted to the disk."""
    import gzip
    import tarfile
    import zlib

    most = UNPACKED + RATIO * os.path.getsize(path)
    try:
        with gzip.open(path) as packed:
            # as a stream to its very end, where gzip's checksum is
            stream: Any = _Bounded(packed, most)
            seen: set[str] = set()
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                for member in archive:
                    *_, split, name = ("/" + member.name).split("/")
                    place = f"{path}, {member.name}"
                    wanted = split in SPLITS and _is_chorale(name)
                    if wanted and (not member.isfile() or member.size > LARGEST):
                        raise ValueError(
                            f"{place}: expected a plain file of at most {LARGEST} bytes"
                        )
                    if (
                        archive.offset > most
                    ):  # tarfile would look for the next one far past the end
                        raise EOFError(f"{member.name} is longer than the archive")
                    if not wanted:
                        continue
                    if member.name in seen:
                        raise ValueError(f"{place}: expected each file once, got it twice")
                    seen.add(member.name)
                    file: Any = archive.extractfile(member)
                    yield split, name, place, file.read().splitlines()
            while stream.read(1 << 16):
                pass
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, RecursionError) as error:
        raise ValueError(f"{path}: expected a .tgz archive, got a damaged one: {error}") from error


class _Bounded:
    """A stream that raises EOFError once it has given more than `most` bytes."""

    def __init__(self, stream: Any, most: int) -> None:
        self._stream, self._most, self._given = stream, most, 0

    def read(self, size: int) -> bytes:
        data: bytes = self._stream.read(size)
        self._given += len(data)
        if self._given > self._most:
            raise EOFError(f"it unpacks to more than {self._most} bytes")
        return data


def _is_chorale(name: str) -> bool:
    return name.endswith(".csv") and not name.startswith(".")


def _parse(place: str, lines: Iterable[bytes]) -> Array:
    notes: list[list[int]] = []
    for number, (where, line) in enumerate(read_lines(place, lines), 1):
        cells = [cell.strip() for cell in line.split(",")]
        if number == 1 and len(cells) == VOICES and all(c[:1].isalpha() for c in cells):
            continue  # column names
        if len(cells) != VOICES or not all(cell in NOTES for cell in cells):
            raise ValueError(
                f"{where}: expected {VOICES} note numbers from 0 to 127, got {short(line)}"
            )
        notes.append([NOTES[cell] for cell in cells])
    if not notes:
        raise ValueError(f"{place}: expected at least one line of notes, got none")
    return np.array(notes, np.int64)


def music21_chorales(limit: int | None = None) -> list[Array]:
    """Return the chorales of music21's own corpus that have four voices.

    Needs ``pip install rnnfast[music]``. At each sixteenth note, the note that sounds in each part.

    Parameters
    ----------
    limit : int, optional
        Only so many chorales, from the start; reading all of them takes a while.

    Returns
    -------
    list of (time, 4) arrays of int64
        As from `read_chorales`: soprano to bass, 0 for silence.

    Raises
    ------
    ImportError
        Where music21 is missing.
    """
    if limit is not None:
        limit = check_size("music21_chorales", "limit", limit, 0)
    try:
        from music21.corpus.chorales import Iterator as Scores
    except ImportError as error:
        raise ImportError(
            "music21_chorales needs the music21 library: pip install rnnfast[music]"
        ) from error
    chorales: list[Array] = []
    for score in Scores() if limit != 0 else ():
        if len(score.parts) != VOICES:
            continue
        notes = np.zeros((ceil(score.highestTime * STEPS), VOICES), np.int64)
        for voice, part in enumerate(score.parts):
            for note in part.flatten().notes:
                start = ceil(note.offset * STEPS)
                stop = ceil((note.offset + note.quarterLength) * STEPS)
                notes[start:stop, voice] = max(pitch.midi for pitch in note.pitches)
        chorales.append(notes)
        if len(chorales) == limit:
            break
    return chorales


TICKS = 120  # of a step
LOUDNESS = 80
CHANNELS = [channel for channel in range(16) if channel != 9]  # which is percussion


def write_midi(path: str | os.PathLike[str], notes: Any, tempo: float = 80.0) -> None:
    """Write voices as a standard MIDI file, for any player or notation program.

    Format 1 of "Standard MIDI Files 1.0" (MIDI Manufacturers Association, 1988): a track, and a
    channel, for each voice.

    Parameters
    ----------
    path : path
        A file that is there is overwritten.
    notes : (time, voices) array_like of int
        MIDI note numbers, up to 127, for each sixteenth note; 0 is silence. At least one step, and
        one to 15 voices. Equal numbers in a row make one held note.
    tempo : float, default 80.0
        Quarter notes a minute.

    Raises
    ------
    TypeError, ValueError
        For notes or a tempo that are not so; nothing is written.
    """
    notes = np.asarray(notes)
    if notes.dtype.kind not in "iu":
        raise TypeError(f"write_midi expected notes as integers, got {notes.dtype}")
    if notes.ndim != 2 or not len(notes) or not 1 <= notes.shape[1] <= len(CHANNELS):
        raise ValueError(
            f"write_midi expected notes of shape (time, voices) with at least one step and 1 to "
            f"{len(CHANNELS)} voices, got {notes.shape}"
        )
    if not 0 <= notes.min() <= notes.max() <= 127:
        raise ValueError(
            f"write_midi expected notes from 0 to 127, got {notes.min()} to {notes.max()}"
        )
    microseconds = round(60e6 / check_positive("write_midi", "tempo", tempo))
    if not 1 <= microseconds < 1 << 24:
        raise ValueError(f"write_midi expected tempo from 3.6 to 60e6, got {tempo!r}")
    tracks = [b"\x00\xff\x51\x03" + microseconds.to_bytes(3, "big") + b"\x00\xff\x2f\x00"]
    tracks += [_track(notes[:, v].tolist(), CHANNELS[v]) for v in range(notes.shape[1])]
    head = b"".join(n.to_bytes(2, "big") for n in (1, len(tracks), TICKS * STEPS))
    content = _chunk(b"MThd", head) + b"".join(_chunk(b"MTrk", track) for track in tracks)
    replace_file(path, lambda file: file.write(content))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return kind + len(data).to_bytes(4, "big") + data


def _track(voice: list[int], channel: int) -> bytes:
    """Return the events of a voice: note on, note off, and the end of the track."""
    data, waited, start = b"", 0, 0
    for now in range(1, len(voice) + 1):
        if now < len(voice) and voice[now] == voice[start]:
            continue
        note, length = voice[start], (now - start) * TICKS
        start = now
        if note == 0:
            waited = length
            continue
        data += _delay(waited) + bytes((0x90 | channel, note, LOUDNESS))
        data += _delay(length) + bytes((0x80 | channel, note, 0))
        waited = 0
    return data + _delay(waited) + b"\xff\x2f\x00"


def _delay(ticks: int) -> bytes:
    """Return a number in MIDI's variable length: 7 bits a byte, the top bit on all but the last."""
    data = bytes((ticks & 0x7F,))
    while ticks := ticks >> 7:
        data = bytes((ticks & 0x7F | 0x80,)) + data
    return data
