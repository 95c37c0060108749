"""Real numbers as users give them."""

from __future__ import annotations

import datetime
import re
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from samples import told

from rnnfast.estimators.numeric import is_missing, to_floats, unmasked


class Unit(np.ndarray):
    """An array with a meaning of its own."""


class Sparse:
    """What tells a sparse array of SciPy's."""

    def toarray(self):
        raise AssertionError


class Bare:
    """Something that is no number."""


def same(values, expected, dtype=np.float64):
    array = to_floats("Owner", values, "X")
    assert array.dtype == dtype
    np.testing.assert_array_equal(array, expected)


def test_numbers_keep_their_values():
    x = np.array([[1.5, 2.0], [3.0, 4.0]])
    assert to_floats("Owner", x, "X") is x
    same(x.astype(np.float32), x, np.float32)
    for dtype in (np.float16, np.longdouble, object):
        same(x.astype(dtype), x)
    for dtype in (np.int8, np.uint64, bool):
        same(np.array([1, 0], dtype), [1.0, 0.0])
    same(x.view(np.matrix), x)
    same(x.tolist(), x)
    same([1, 2.5, True, Decimal("0.5"), Fraction(1, 4), np.float32(2)], [1, 2.5, 1, 0.5, 0.25, 2])


def test_what_is_missing_is_nan():
    same([1.0, None, 3], [1, np.nan, 3])
    same(np.array([1.0, np.nan, None], object), [1, np.nan, np.nan])
    hidden = np.array([9999.0, 1.0])
    for values in (hidden, hidden.astype(int), hidden.astype(object)):
        same(np.ma.array(values, mask=[True, False]), [np.nan, 1.0])
    same(np.ma.array(hidden.astype(np.float32), mask=[1, 0]), [np.nan, 1.0], np.float32)
    same(np.ma.array(hidden), hidden)
    # masks inside lists, which np.asarray drops
    row = np.ma.array(hidden, mask=[True, False])
    same([row, [2.0, 3.0]], [[np.nan, 1.0], [2.0, 3.0]])
    same([[row, row]], [[[np.nan, 1.0]] * 2])
    same([1.0, np.ma.masked], [1.0, np.nan])
    same(np.ma.array(["x", 1.0], object, mask=[True, False]), [np.nan, 1.0])
    assert hidden[0] == 9999.0
    for value in (None, np.nan, np.float32("nan"), np.ma.masked):
        assert is_missing(value)
    for value in (0.0, "", "nan", 1, np.inf, []):
        assert not is_missing(value)


def test_masked_labels():
    labels = np.ma.array(["a", "b"], mask=[False, True])
    assert unmasked(labels).tolist() == ["a", None]
    whole = np.ma.array(["a", "b"])
    assert unmasked(whole) is whole


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (np.array(["2020-01-01"], "M8[D]"), TypeError, r"got dates \(datetime64\[D\]\)"),
        (np.array([1], "m8[s]"), TypeError, r"got time spans \(timedelta64\[s\]\)"),
        ([datetime.date(2020, 1, 1)], TypeError, r"at X\[0\]: a date"),
        ([[1, np.datetime64("2020")]], TypeError, r"at X\[0, 1\]: a date"),
        (np.array(["1", "2"]), TypeError, "got strings .* astype"),
        ([["1", 2]], TypeError, "got strings"),
        (np.array([[1, "2"]], object), TypeError, r"got '2' at X\[0, 1\]: a string"),
        (np.array([b"1"]), TypeError, "got strings"),
        (np.ones(2) * 1j, ValueError, "Complex data not supported"),
        (np.array([1.0, 1j], object), ValueError, r"at X\[1\]: Complex data not supported"),
        ([[1.0, 2.0], [1.0]], ValueError, "nested sequences of different lengths"),
        (np.ones(2).view(Unit), TypeError, "got a Unit, an array with a meaning of its own"),
        (np.rec.array([(1, 2.0)]), TypeError, "got a recarray"),
        (np.zeros(2, "i4,f4"), TypeError, "got records"),
        ([10**400], ValueError, "that float64 can hold"),
        ([Bare()], TypeError, r"at X\[0\]: float\(\) argument must be a string or a real number"),
        (Sparse(), TypeError, r"got sparse data .* X\.toarray\(\)"),
    ],
    ids=told,
)
def test_refuses(values, error, message):
    with pytest.raises(error, match=message) as caught:
        to_floats("Owner", values, "X")
    assert str(caught.value).startswith("Owner expected X")


def test_columns_of_pandas():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    for dtype in ("Float64", "Int64", "float64", "object"):
        same(pandas.Series([1, None, 3], dtype=dtype), [1.0, np.nan, 3.0])
    same(pandas.Series([True, None], dtype="boolean"), [1.0, np.nan])
    same(pandas.Series([1.0, 2.0], dtype="float32"), [1.0, 2.0], np.float32)
    same(pandas.Series(pandas.arrays.SparseArray([0.0, 1.0])), [0.0, 1.0])
    for values, message in [
        (pandas.Series(pandas.date_range("2020", periods=2)), "got dates"),
        (pandas.Series(pandas.date_range("2020", periods=2, tz="UTC")), "a date"),
        (pandas.Series(pandas.period_range("2020", periods=2, freq="M")), "a date"),
        (pandas.Series(["a", "b"]), "a string"),
        (pandas.Series(["a", "b"], dtype="category"), "got categories"),
    ]:
        with pytest.raises(TypeError, match=message):
            to_floats("Owner", values, "X")
    with pytest.raises(TypeError, match=r"got Timestamp.* at X\[0, 0\]: a date"):
        to_floats("Owner", [list(pandas.date_range("2020", periods=2))], "X")


def test_groups_of_pandas_are_no_array():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    groups = pandas.DataFrame({"g": ["a", "b", "a"], "y": [1.0, 2.0, 3.0]}).groupby("g")
    with pytest.raises(TypeError, match="Owner expected X of real numbers, got a DataFrameGroupBy"):
        to_floats("Owner", groups, "X")


def test_columns_of_arrow():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    same(pandas.Series([1, None], dtype="int64[pyarrow]"), [1.0, np.nan])
    same(pandas.Series([1.5, None], dtype="float[pyarrow]"), [1.5, np.nan])
    with pytest.raises(TypeError, match="a string"):
        to_floats("Owner", pandas.Series(["a", None], dtype="string[pyarrow]"), "X")


def test_columns_of_polars():
    polars = pytest.importorskip("polars", reason="polars is not installed")
    same(polars.Series([1, None, 3]), [1.0, np.nan, 3.0])
    same(polars.Series([True, None]), [1.0, np.nan])
    same(polars.Series([1.0, 2.0], dtype=polars.Float32), [1.0, 2.0], np.float32)
    for values, message in [
        (polars.Series([datetime.date(2020, 1, 1)]), "got dates"),
        (polars.Series(["a", None]), "a string"),
        (polars.Series(["a", "b"], dtype=polars.Categorical), "got categories"),
    ]:
        with pytest.raises(TypeError, match=message):
            to_floats("Owner", values, "X")


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("1.5", "astype(float) reads numbers from text"),
        ("2024-01-31", "pandas.to_datetime reads dates from text"),
        ("2024-01-31 10:00", "pandas.to_datetime reads dates from text"),
    ],
)
def test_advice_is_for_what_text_holds(text, advice):
    for values in (np.array([text]), np.array([text, 1.0], object), [text]):
        with pytest.raises(TypeError, match=re.escape(advice)):
            to_floats("Model", values, "X")


def test_words_are_no_numbers_to_read():
    for values in (["up"], np.array(["up", 1.0], object)):
        with pytest.raises(TypeError) as told:
            to_floats("Model", values, "X")
        assert "from text" not in str(told.value)
