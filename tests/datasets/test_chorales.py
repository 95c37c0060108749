"""Chorales: csv files in folders and archives, and MIDI files."""

from __future__ import annotations

import gzip
import io
import os
import re
import sys
import tarfile

import numpy as np
import pytest
from samples import damaged

from rnnfast.datasets import music21_chorales, read_chorales, write_midi

HEADER = "note0,note1,note2,note3\n"
FILES = {
    "train/chorale_001.csv": HEADER + "74,70,65,58\n74,70,65,0\n",
    "train/chorale_000.csv": HEADER + "60,55,52,48\n",
    "train/notes.txt": "no chorale",
    "train/._chorale_000.csv": "Apple's metadata",
    "valid/chorale_002.csv": " 127, 1,0 ,2\r\n127,1,0,2",
    "test/chorale_003.csv": "1,2,3,4\n",
    "chorale_004.csv": "outside of the split",
    "other/chorale_005.csv": "outside of the split",
}


def write(target, files):
    """Write files into a folder or, where the target ends so, a .tgz."""
    if target.suffix != ".tgz":
        for name, text in files.items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_text(text)
        return
    with tarfile.open(target, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))


@pytest.fixture(params=["chorales", "chorales.tgz"])
def target(request, tmp_path):
    return tmp_path / request.param


def same(splits, wanted):
    for chorales, want in zip(splits, wanted, strict=True):
        for got, notes in zip(chorales, want, strict=True):
            assert got.dtype == np.int64
            np.testing.assert_array_equal(got, notes)


WANTED = (
    [[[60, 55, 52, 48]], [[74, 70, 65, 58], [74, 70, 65, 0]]],
    [[[127, 1, 0, 2]] * 2],
    [[[1, 2, 3, 4]]],
)


def test_reads_folders_and_archives(target):
    write(target, FILES)
    same(read_chorales(target), WANTED)


def test_an_archive_may_have_a_folder_around(tmp_path):
    write(tmp_path / "a.tgz", {f"./jsb/{name}": text for name, text in FILES.items()})
    same(read_chorales(str(tmp_path / "a.tgz")), WANTED)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (HEADER + "1,2,3,4\n1,2,3\n", 3, "expected 4 note numbers from 0 to 127, got '1,2,3'"),
        (HEADER + HEADER, 2, "expected 4 note numbers"),
        ("128,2,3,4\n", 1, "expected 4 note numbers"),
        ("-1,2,3,4\n", 1, "expected 4 note numbers"),
        ("1.0,2,3,4\n", 1, "expected 4 note numbers"),
        ("1,2,3,4\n\n1,2,3,4\n", 2, "expected 4 note numbers"),
        (HEADER, None, "expected at least one line of notes, got none"),
        ("", None, "expected at least one line of notes, got none"),
    ],
)
def test_refuses_what_is_not_of_the_form(target, text, line, message):
    write(target, {**FILES, "test/bad.csv": text})
    place = str(target) + (", " if target.suffix else "/") + "test/bad.csv"
    place += f", line {line}" if line else ""
    with pytest.raises(ValueError, match=f"^{re.escape(place)}: {message}"):
        read_chorales(target)


def test_every_split_must_be_there(target):
    write(target, {name: text for name, text in FILES.items() if "valid" not in name})
    with pytest.raises(ValueError, match=r"expected csv files in a folder valid, found none$"):
        read_chorales(target)
    with pytest.raises(FileNotFoundError):
        read_chorales(target.parent / "none")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_in_an_archive_are_refused(tmp_path, kind):
    path = tmp_path / "a.tgz"
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("train/a.csv")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(ValueError, match=r"train/a\.csv: expected a plain file"):
        read_chorales(path)


def test_a_file_twice_in_an_archive_is_refused(tmp_path):
    """P30."""
    path = tmp_path / "a.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name in "train/a.csv", "valid/a.csv", "train/a.csv":
            member = tarfile.TarInfo(name)
            member.size = 8
            archive.addfile(member, io.BytesIO(b"1,2,3,4\n"))
    with pytest.raises(ValueError, match=r"train/a\.csv: expected each file once, got it twice"):
        read_chorales(path)


def test_huge_members_are_refused_unread(tmp_path):
    path = tmp_path / "a.tgz"
    member = tarfile.TarInfo("train/a.csv")
    member.size = 1 << 40
    path.write_bytes(gzip.compress(member.tobuf()))
    with pytest.raises(ValueError, match=r"train/a\.csv: expected a plain file of at most"):
        read_chorales(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([("x", tarfile.GNUTYPE_LONGNAME, 20 << 20), b"a" * (20 << 20)], "unpacks to more than"),
        ([("x", tarfile.XHDTYPE, 20 << 20), b"0" * (20 << 20)], "unpacks to more than"),
        ([("x", tarfile.REGTYPE, 0)] * 20_000, "unpacks to more than"),
        ([("x", tarfile.REGTYPE, 1 << 60)], "x is longer than the archive"),
        ([("x", tarfile.GNUTYPE_LONGNAME, 1), b"a" * 512] * 2000, "recursion"),
    ],
    ids=["long name", "names of pax", "members", "size", "names in names"],
)
def test_records_of_an_archive_are_bounded_by_its_size(tmp_path, content, message):
    """P25."""
    path = tmp_path / "a.tgz"
    with gzip.open(path, "wb") as file:
        for part in content:
            if isinstance(part, tuple):
                member = tarfile.TarInfo(part[0])
                member.type, member.size = part[1:]
                part = member.tobuf(tarfile.GNU_FORMAT)
            file.write(part)
    assert path.stat().st_size < 100_000
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}: expected a .tgz.*{message}"):
        read_chorales(path)


def test_damaged_archives(tmp_path):
    path = tmp_path / "a.tgz"
    write(path, FILES)
    refused = 0
    for content in damaged(path.read_bytes(), 300):
        path.write_bytes(content)
        try:
            same(read_chorales(path), WANTED)  # gzip's own header has bits that do not matter
        except ValueError as error:
            assert str(error).startswith(str(path))
            refused += 1
    assert refused > 200
    path.write_bytes(b"not an archive")
    with pytest.raises(ValueError, match=r"expected a \.tgz archive"):
        read_chorales(path)


def test_damaged_tar_within_a_sound_gzip(tmp_path):
    path = tmp_path / "a.tgz"
    write(path, FILES)
    for content in damaged(gzip.decompress(path.read_bytes()), 400):
        path.write_bytes(gzip.compress(content, 1))
        try:
            splits = read_chorales(path)
        except ValueError as error:
            assert str(error).startswith(str(path))
        else:
            assert all(notes.shape[1] == 4 for chorales in splits for notes in chorales)


def test_the_real_chorales():
    path = os.environ.get("RNNFAST_CHORALES")
    if path is None:
        pytest.skip("RNNFAST_CHORALES does not say where jsb_chorales.tgz is")
    splits = read_chorales(path)
    assert list(map(len, splits)) == [229, 76, 77]
    notes = np.concatenate([notes for chorales in splits for notes in chorales])
    assert (notes[notes > 0].min(), notes.max()) == (36, 81)
    # the published baseline, 0.7473: windows of 33 steps, 16 apart, are sequences of 132 notes each
    # of which predicts the next, by the same voice's last note; the first three have none
    starts = [(notes, start) for notes in splits[2] for start in range(0, len(notes) - 32, 16)]
    windows = np.array([notes[start : start + 33].ravel() for notes, start in starts])
    held = windows[:, 4:] == windows[:, :-4]
    assert held.sum() / windows[:, 1:].size == pytest.approx(0.7473, abs=5e-5)


def test_music21_has_the_same_chorales():
    pytest.importorskip("music21", reason="music21 is not installed")
    chorales = music21_chorales(limit=2)
    assert len(chorales) == 2
    assert music21_chorales(limit=0) == []
    for notes in chorales:
        assert (notes.dtype, notes.shape[1]) == (np.int64, 4)
        assert len(notes) > 100
    # BWV 269, "Aus meines Herzens Grunde": G major chords
    assert chorales[0][:4].tolist() == [[67, 62, 59, 43]] * 4


def test_music21_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "music21.corpus.chorales", None)
    with pytest.raises(ImportError, match=r"pip install rnnfast\[music\]"):
        music21_chorales(1)


# ---- MIDI --------------------------------------------------------------------------------------


def test_midi_bytes(tmp_path):
    # two steps of 60, one of silence, one of 62; below, silence and a long note
    notes = np.array([[60, 0], [60, 48], [0, 48], [62, 48]])
    write_midi(tmp_path / "a.mid", notes, tempo=120)
    want = """
        4D546864 00000006 0001 0003 01E0
        4D54726B 0000000B 00 FF5103 07A120 00 FF2F00
        4D54726B 00000015 00 903C50 8170 803C00 78 903E50 78 803E00 00 FF2F00
        4D54726B 0000000D 78 913050 8268 813000 00 FF2F00
    """
    assert (tmp_path / "a.mid").read_bytes() == bytes.fromhex(want)


def test_midi_for_another_reader(tmp_path):
    mido = pytest.importorskip("mido", reason="mido is not installed")
    rng = np.random.default_rng(0)
    notes = np.repeat(rng.integers(0, 128, (80, 15)), rng.integers(1, 200, 80), axis=0)
    notes[rng.random(notes.shape[0]) < 0.1] = 0
    write_midi(tmp_path / "a.mid", notes, tempo=72)
    song = mido.MidiFile(tmp_path / "a.mid")
    assert (song.type, song.ticks_per_beat, len(song.tracks)) == (1, 480, 16)
    assert mido.tempo2bpm(song.tracks[0][0].tempo) == pytest.approx(72, rel=1e-4)
    channels = set()
    for voice, track in zip(notes.T, song.tracks[1:], strict=True):
        got, now, sounding = np.zeros(len(voice), int), 0, 0
        for message in track:
            before, now = now, now + message.time
            assert now % 120 == 0
            got[before // 120 : now // 120] = sounding
            if message.type == "note_on":
                assert sounding == 0
                sounding = message.note
                channels.add(message.channel)
            elif message.type == "note_off":
                assert sounding == message.note
                sounding = 0
        np.testing.assert_array_equal(got, voice)
    assert channels == set(range(16)) - {9}


@pytest.mark.parametrize(
    ("error", "notes", "tempo", "message"),
    [
        (TypeError, [[60.0]], 80, "notes as integers, got float64"),
        (ValueError, [60], 80, r"notes of shape \(time, voices\).*got \(1,\)"),
        (ValueError, np.zeros((0, 4), int), 80, r"notes of shape.*at least one step.*got \(0, 4\)"),
        (ValueError, np.zeros((1, 16), int), 80, r"notes of shape.*1 to 15 voices, got \(1, 16\)"),
        (ValueError, [[128]], 80, "notes from 0 to 127, got 128 to 128"),
        (ValueError, [[-1]], 80, "notes from 0 to 127, got -1 to -1"),
        (ValueError, [[60]], 3, "tempo from 3.6 to 60e6, got 3"),
        (ValueError, [[60]], 0, "tempo > 0"),
        (TypeError, [[60]], "fast", "tempo as a number"),
    ],
)
def test_midi_bad_arguments(tmp_path, error, notes, tempo, message):
    with pytest.raises(error, match=f"^write_midi expected {message}"):
        write_midi(tmp_path / "a.mid", notes, tempo)
    assert not list(tmp_path.iterdir())
