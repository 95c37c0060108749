"""Sketches in the format of Quick, Draw!."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from samples import damaged

from rnnfast.datasets import Drawing, read_quickdraw, sketches, write_quickdraw

NOSE = {
    "word": "nose",
    "countrycode": "AE",
    "timestamp": "2017-03-01 20:41:36.70725 UTC",
    "recognized": False,
    "key_id": "5891796615823360",
    "drawing": [[[3, 5, 4], [0, 255, 7]], [[9], [8]]],
}
NOSE_STEPS = [[3, 0, 0], [2, 255, 0], [-1, -248, 1], [5, 1, 1]]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "nose.ndjson"


def write(path, *changes):
    path.write_text("".join(json.dumps({**NOSE, **change}) + "\n" for change in changes))


def test_reads_the_format(path):
    raw = [[[3.5, 5], [0, 1e3], [0, 16]]]  # with times
    write(path, {}, {"drawing": raw, "recognized": True})
    nose, second = read_quickdraw(path)
    assert nose.steps.dtype == np.float32
    np.testing.assert_array_equal(nose.steps, NOSE_STEPS)
    assert nose[1:] == ("nose", "AE", False)
    np.testing.assert_array_equal(second.steps, [[3.5, 0, 0], [1.5, 1000, 1]])
    assert second.recognized is True


def test_limit(path):
    write(path, {}, {}, {"word": 3})  # what is past the limit is not even looked at
    assert len(read_quickdraw(str(path), limit=2)) == 2
    assert read_quickdraw(path, limit=0) == []
    with pytest.raises(ValueError, match="line 3: expected word as a str, got 3"):
        read_quickdraw(path, limit=3)
    with pytest.raises(ValueError, match="limit >= 0"):
        read_quickdraw(path, limit=-1)


def test_round_trip(path):
    drawings = sketches(30, seed=0)
    drawings += [Drawing(np.array([[0.5, 2, 1]], "f4"), 'a "cat"\n', "CH", False)]
    write_quickdraw(path, drawings)
    for got, want in zip(read_quickdraw(path), drawings, strict=True):
        np.testing.assert_array_equal(got.steps, want.steps)
        assert got[1:] == want[1:]
    entry = json.loads(path.read_text().splitlines()[0])
    assert entry.keys() == NOSE.keys()
    assert all(isinstance(v, int) for stroke in entry["drawing"] for axis in stroke for v in axis)


@pytest.mark.parametrize(
    ("steps", "got"),
    [
        ([[1, 2, 0]], "(1, 3)"),
        ([[1, 2, 0.5], [1, 2, 1]], "(2, 3)"),
        ([[1, np.nan, 1]], "(1, 3)"),
        ([[1, 2]], "(1, 2)"),
        (np.zeros((0, 3)), "(0, 3)"),
    ],
)
def test_writes_nothing_that_it_could_not_read(path, steps, got):
    path.write_text("before")
    with pytest.raises(ValueError, match=f"in drawing 3, got {re.escape(got)}"):
        write_quickdraw(path, [*sketches(3), Drawing(np.array(steps), "x")])
    assert path.read_text() == "before"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"word": None}, "expected word as a str, got None"),
        ({"recognized": "yes"}, "expected recognized as a bool, got 'yes'"),
        ({"drawing": "[]"}, "expected drawing as a list"),
        ({"drawing": []}, "at least one stroke"),
        ({"drawing": [[[1, 2]]]}, "expected a stroke as"),
        ({"drawing": [[[1, 2], [3]]]}, "lists of one length"),
        ({"drawing": [[[], []]]}, "lists of one length"),
        ({"drawing": [[1, 2]]}, "lists of one length"),
        ({"drawing": [[[1, True], [3, 4]]]}, "coordinates up to 1e9, got True"),
        ({"drawing": [[[1, [2]], [3, 4]]]}, "coordinates up to 1e9"),
        ({"drawing": [[[1, float("nan")], [3, 4]]]}, "coordinates up to 1e9, got nan"),
        ({"drawing": [[[1, 10**400], [3, 4]]]}, "coordinates up to 1e9"),
    ],
)
def test_refuses_what_is_not_of_the_format(path, change, message):
    write(path, {}, change)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}, line 2: .*{message}"):
        read_quickdraw(path)


def test_a_key_twice_is_refused(path):
    """P30."""
    write(path, {})
    path.write_text(path.read_text().replace('"word"', '"word": "ear", "word"'))
    with pytest.raises(ValueError, match=r"line 1: expected a JSON object.*'word' is there twice"):
        read_quickdraw(path)


def test_damaged_files(path):
    write_quickdraw(path, sketches(4, seed=0))
    for content in damaged(path.read_bytes(), 400):
        path.write_bytes(content)
        try:
            drawings = read_quickdraw(path)
        except ValueError as error:
            assert re.match(f"{re.escape(str(path))}, line [1-5]: expected ", str(error))
        else:
            assert all(d.steps.shape[1] == 3 and np.isfinite(d.steps).all() for d in drawings)


def test_sketches():
    drawings = sketches(60, seed=0)
    words = [d.word for d in drawings]
    assert words[:3] == ["airplane", "basketball", "bicycle"]
    assert words[:12] == sorted(set(words)) == words[12:24]
    lengths = set()
    for steps, *_ in drawings:
        points = np.cumsum(steps[:, :2], axis=0)
        assert (points.min(axis=0) == 0).all()
        assert points.max() == 255
        assert steps.dtype == np.float32
        lengths.add(len(steps))
    assert len(lengths) > 10
    for one, other in zip(drawings, sketches(60, seed=0), strict=True):
        np.testing.assert_array_equal(one.steps, other.steps)
    with pytest.raises(ValueError, match="n_drawings >= 0"):
        sketches(-1)
