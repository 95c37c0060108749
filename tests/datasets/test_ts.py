"""The .ts format."""

from __future__ import annotations

import os
import re
from importlib.util import find_spec

import numpy as np
import pytest
from samples import damaged

from rnnfast.datasets import read_ts

HEADER = """# speakers
% another comment
@problemName Tiny Vowels
@timeStamps false
@missing true
@univariate false
@dimension 2
@equalLength {equal}
@classLabel true ae O
@data
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "Tiny.ts"


def test_ragged(path):
    path.write_text(HEADER.format(equal="false") + "1,2,?:4,5e-1,6:ae\n\n 7 , NaN:-9,10 : O\n")
    x, y = read_ts(path)
    assert isinstance(x, list)
    np.testing.assert_array_equal(x[0], [[1, 4], [2, 0.5], [np.nan, 6]])
    np.testing.assert_array_equal(x[1], [[7, -9], [np.nan, 10]])
    assert x[0].dtype == x[1].dtype == np.float32
    assert y.tolist() == ["ae", "O"]


def test_equal_lengths(path):
    path.write_text(HEADER.format(equal="true") + "1,2:4,5:ae\n6,7:8,9.1:O\n")
    x, y = read_ts(str(path), dtype=np.float64)
    want = np.array([[[1, 4], [2, 5]], [[6, 8], [7, 9.1]]])
    np.testing.assert_array_equal(x, want)
    assert x.dtype == np.float64
    assert y.tolist() == ["ae", "O"]


def test_targets(path):
    path.write_text("@univariate true\n@targetLabel true\n@data\n1,2:0.25\n3,4:-1\n")
    x, y = read_ts(path)
    assert x.shape == (2, 2, 1)
    np.testing.assert_array_equal(y, [0.25, -1])
    assert y.dtype == np.float64


def test_no_labels(path):
    path.write_text("@classLabel false\n@DATA\r\n1:2\n3:4")
    x, y = read_ts(path)
    np.testing.assert_array_equal(x, [[[1, 2]], [[3, 4]]])
    assert y is None


EQUAL = HEADER.format(equal="true")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", None, "expected the tag @data, found none"),
        ("@univariate true\n", None, "expected the tag @data, found none"),
        (EQUAL, None, "at least one sample"),
        ("1,2:3\n", 1, "expected a tag like @data, got '1,2:3'"),
        ("@univariate\n@data\n1", 1, "expected @univariate and true or false"),
        ("@dimensions two\n@data\n1", 1, "expected @dimensions and a number"),
        ("@dimensions 1\n@x\n@dimension 2\n@data\n1", 3, "expected each tag once, got '@dimension"),
        ("@timestamps true\n@data\n(0,1)", 2, "without time stamps"),
        ("@univariate true\n@dimensions 2\n@data\n1", 3, "@dimensions 1 with @univariate true"),
        ("@classLabel true a\n@targetLabel true\n@data\n1:a", 3, "got both"),
        ("@univariate true\n@data\n1,2\n1:2\n", 4, "expected 1 channels, got 2"),
        (EQUAL + "1:2:ae\n1:ae\n", 12, "expected 2 channels, got 1"),
        (EQUAL + "1:2:ae\n1:2\n", 12, "expected one of the labels ae, O, got '2'"),
        (EQUAL + "ae\n", 11, "channels of one length, got none"),
        (EQUAL + "1,2:3:ae\n", 11, r"channels of one length, got \[1, 2\]"),
        (EQUAL + "1:2:ae\n1,2:3,4:ae\n", 12, "expected 1 time steps like the others, got 2"),
        (EQUAL + "1:x:ae\n", 11, r"expected numbers, got \['x'\]"),
        (EQUAL + "1,:2,3:ae\n", 11, r"expected numbers, got \['1', ''\]"),
        (EQUAL + "1:inf:ae\n", 11, "expected finite numbers"),
        (EQUAL + "1:1e39:ae\n", 11, "expected finite numbers"),
        ("@seriesLength 3\n@equalLength true\n@data\n1,2\n", 4, "expected 3 time steps"),
        ("@targetLabel true\n@data\n1:?\n", 3, "expected a number as label"),
    ],
)
def test_refuses_what_is_not_of_the_format(path, text, line, message):
    """P30 too: a tag that is there twice."""
    path.write_text(text)
    place = str(path) if line is None else f"{path}, line {line}"
    with pytest.raises(ValueError, match=f"^{re.escape(place)}: .*{message}"):
        read_ts(path)


def test_other_bad_calls(path):
    path.write_bytes(EQUAL.encode() + b"\xff:2:ae\n")
    with pytest.raises(ValueError, match="line 11: expected UTF-8 text"):
        read_ts(path)
    with pytest.raises(TypeError, match="read_ts expected dtype float32 or float64"):
        read_ts(path, dtype=int)
    with pytest.raises(FileNotFoundError):
        read_ts(path.parent / "none.ts")


def test_damaged_files(path):
    text = EQUAL + "".join(f"{i},{i / 7:.3f}:{-i},?:{'ae' if i % 2 else 'O'}\n" for i in range(9))
    for content in damaged(text.encode(), 400):
        path.write_bytes(content)
        try:
            x, y = read_ts(path)
        except ValueError as error:
            assert re.match(f"{re.escape(str(path))}(, line \\d+)?: expected ", str(error))
        else:
            assert y is None or len(x) == len(y)
            assert all(sample.ndim == 2 and not np.isinf(sample).any() for sample in x)


def shipped(package):
    """Return the folder of data sets in an installed package, which need not be importable."""
    spec = find_spec(package)
    if spec is None:
        pytest.skip(f"{package} is not installed")
    return os.path.join(spec.submodule_search_locations[0], "datasets", "data")


@pytest.mark.parametrize("package", ["aeon", "sktime"])
@pytest.mark.parametrize(
    ("name", "train", "test", "shape", "classes"),
    [
        ("JapaneseVowels", 270, 370, (None, 12), 9),
        ("BasicMotions", 40, 40, (100, 6), 4),
        ("ItalyPowerDemand", 67, 1029, (24, 1), 2),
        ("GunPoint", 50, 150, (150, 1), 2),
    ],
)
def test_archive(package, name, train, test, shape, classes):
    folder = os.path.join(shipped(package), name)
    for part, size in (("TRAIN", train), ("TEST", test)):
        x, y = read_ts(os.path.join(folder, f"{name}_{part}.ts"))
        assert len(x) == len(y) == size
        assert len(set(y)) == classes
        assert isinstance(x, list) == (shape[0] is None)
        assert {(shape[0] and len(sample), sample.shape[1]) for sample in x} == {shape}
    if shape[0] is None:
        assert (min(map(len, x)), max(map(len, x))) == (7, 29)


def test_reads_what_aeon_reads():
    aeon = pytest.importorskip("aeon.datasets", reason="aeon is not installed")
    folder = shipped("aeon")
    for name in ("JapaneseVowels", "BasicMotions", "Covid3Month"):
        path = os.path.join(folder, name, f"{name}_TRAIN.ts")
        x, y = read_ts(path, dtype=np.float64)
        theirs, labels = aeon.load_from_ts_file(path)
        assert len(x) == len(theirs)
        for one, other in zip(x, theirs, strict=True):
            np.testing.assert_array_equal(one, other.T)
        if y.dtype.kind == "U":  # aeon lowers the case
            y, labels = np.char.lower(y), labels.astype(str)
        np.testing.assert_array_equal(y, labels)


def test_a_name_that_comes_twice_changes_nothing(tmp_path):
    # as in UnitTest_TEST.ts of aeon and sktime
    text = "@problemName UnitTest\n@problemName Chinatown\n@univariate true\n@classLabel true a b\n"
    path = tmp_path / "two_names.ts"
    path.write_text(text + "@data\n1,2:a\n3,4:b\n")
    x, y = read_ts(path)
    np.testing.assert_array_equal(np.asarray(x)[..., 0], [[1, 2], [3, 4]])
    assert y.tolist() == ["a", "b"]
