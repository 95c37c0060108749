"""Series in the forms that users have them, and forecasts in the same form."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from samples import told

from rnnfast.estimators.exogenous import read_exogenous
from rnnfast.estimators.forms import check_targets
from rnnfast.estimators.frames import read_series


@pytest.fixture
def pandas():
    return pytest.importorskip("pandas", reason="pandas is not installed")


@pytest.fixture
def polars():
    return pytest.importorskip("polars", reason="polars is not installed")


def read(X, **options):
    return read_series("Owner", X, **options)


def refuses(X, message, error=ValueError, **options):
    with pytest.raises(error, match=message) as caught:
        read(X, **options)
    assert "Owner expected" in str(caught.value)


def numbers(series, horizon=2):
    """A forecast whose values tell series, step and feature apart."""
    shape = len(series.values), horizon, series.values[0].shape[1]
    return np.arange(np.prod(shape), dtype=float).reshape(shape)


def given(X, horizon=2, **options):
    series = read(X, **options)
    return series.give(numbers(series, horizon))


def hourly(pandas, n=400):
    rng = np.random.default_rng(0)
    index = pandas.date_range("2024-01-01", periods=n, freq="h")
    columns = ["load", "temp", "wind"]
    return pandas.DataFrame(rng.standard_normal((n, 3)), index, columns)


# ---- arrays and lists --------------------------------------------------------------------------


def test_arrays():
    x = np.random.default_rng(0).standard_normal((4, 12, 2))
    for X, kind, n, shape in [
        (x, "cube", 4, (4, 2, 2)),
        (x.tolist(), "cube", 4, (4, 2, 2)),
        (list(x), "list", 4, (4, 2, 2)),
        ([s[: 5 + i] for i, s in enumerate(x)], "list", 4, (4, 2, 2)),
        (x[..., 0], "array", 4, (4, 2)),
        (list(x[..., 0]), "array", 4, (4, 2)),
        ([s[: 5 + i].tolist() for i, s in enumerate(x[..., 0])], "array", 4, (4, 2)),
        (x[0, :, 0], "single", 1, (2,)),
        (x[0, :, 0].tolist(), "single", 1, (2,)),
    ]:
        series = read(X)
        assert (series.kind, len(series.values)) == (kind, n)
        assert series.give(numbers(series)).shape == shape
        features = x[..., :1] if kind in ("array", "single") else x
        for one, sample in zip(series.values, features, strict=False):
            np.testing.assert_array_equal(one, sample[: len(one)])
    assert read(x[0], panel="one").values[0].shape == (12, 2)


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (np.ones((400, 1)), ValueError, r"X\[:, 0\] is one series of 400 steps and 1 feature, "
         r"X\[\.\.\., np\.newaxis\] are 400 series of 1 step$"),
        (np.ones((400, 3)), ValueError, r"X\[np\.newaxis\] is one series of 400 steps and 3 "
         r"features, X\[\.\.\., np\.newaxis\] are 400 series of 3 steps"),
        (np.ones((2, 3, 4, 5)), ValueError, r"got shape \(2, 3, 4, 5\)"),
        (np.ones((2, 0, 3)), ValueError, "at least one step and feature"),
        (np.ones((0, 3)), ValueError, "at least one step and sample"),
        ([], ValueError, "at least one series, got none"),
        ([np.ones((5, 2)), np.ones((5, 3))], ValueError, r"X\[1\] of 2 features .* got 3"),
        ([np.ones(5)] * 137 + [np.ones((5, 2, 2))], ValueError, r"X\[137\] as \(time, features\)"),
        ([np.ones(5)] * 137 + [["a"]], TypeError, r"X\[137\] of real numbers, got strings"),
        (np.array([1.0, np.nan, 2.0]), ValueError, "got NaN in step 1$"),
        ([np.ones(4), np.array([1.0, np.inf])], ValueError, "got inf in sample 1, step 1$"),
        (np.ma.array([1.0, 9999.0], mask=[0, 1]), ValueError, "got a masked value in step 1"),
        (np.array(["2020"], "M8[D]"), TypeError, "got dates"),
        (["a", "b"], TypeError, "got strings"),
        ({"a": [1.0, 2.0]}, TypeError, "as series .*, got dict"),
        ("abc", TypeError, "as series .*, got str"),
        ({1.0, 2.0}, TypeError, "as series .*, got set"),
        (np.float64(3.0), TypeError, "as series .*, got float64"),
        ((x for x in [1.0]), TypeError, "as series .*, got generator"),
        ([np.ones(3), None], ValueError, r"of series, got None at X\[1\]"),
        ([[1.0, 2.0], None], ValueError, r"of series, got None at X\[1\]"),
        (None, TypeError, "as series .*, got NoneType"),
    ],
    ids=lambda v: told(v)[:40],
)  # fmt: skip
def test_refuses(X, error, message):
    refuses(X, message, error)


def test_short_series_may_be_many():
    assert len(read(np.ones((400, 20))).values) == 400
    assert len(read(np.ones((30, 3))).values) == 30
    assert len(read(np.ones((400, 3, 1))).values) == 400


def test_missing_values_stay_where_they_may():
    x = np.array([1.0, np.nan, 3.0])
    series = read(x, missing="linear")
    assert series.has_missing
    assert np.isnan(series.values[0][:, 0]).tolist() == [False, True, False]
    masked = np.ma.array([1.0, 9999.0, 3.0], mask=[0, 1, 0])
    np.testing.assert_array_equal(read(masked, missing="mask").values[0][:, 0], x)
    refuses([1.0, np.inf], "got inf in step 1", missing="mean")


def test_later_series_are_held_against_those_of_fit():
    x = np.random.default_rng(0).standard_normal((20, 30, 3))
    form = read(x).form
    assert pickle.loads(pickle.dumps(form)) == form
    refuses(x[..., :2], "3 features at each step, as in fit, got 2$", seen=form)
    refuses(x.swapaxes(1, 2), r"got 30; np\.swapaxes\(X, 1, 2\) puts the time first", seen=form)
    refuses(x[0, :, :3], r"X\[np\.newaxis\] is one series of 30 steps", seen=form)
    assert len(read(x[:1], seen=form).values) == 1


def test_targets(pandas):
    series = read(hourly(pandas)).form
    for targets, expected in [
        (None, None),
        ("wind", [2]),
        (["wind", "load"], [2, 0]),
        (0, [0]),
        (-1, [2]),
        ([-1, 0], [2, 0]),
        (np.array([1]), [1]),
        (range(2), [0, 1]),
        (("temp", -1), [1, 2]),
    ]:
        assert check_targets("Owner", targets, series) == expected
    bare = read(np.ones((3, 9, 2))).form
    for targets, form, error, message in [
        (["rain"], series, ValueError, r"among the columns \['load', 'temp', 'wind'\], got 'rain'"),
        (3, series, ValueError, "targets from 0 to 2, got 3"),
        ([0, -3], series, ValueError, "different features"),
        ([], series, ValueError, "at least one feature"),
        ("load", bare, TypeError, "positions of features"),
        ([True], bare, TypeError, "positions of features"),
        (0.5, bare, TypeError, "positions of features"),
    ]:
        with pytest.raises(error, match=message):
            check_targets("Owner", targets, form)


# ---- one frame is one series -------------------------------------------------------------------


def test_a_frame_of_hours_is_one_series(pandas):
    frame = hourly(pandas)
    follow = pandas.date_range("2024-01-17 16:00", periods=2, freq="h")
    series = read(frame)
    assert len(series.values) == 1
    np.testing.assert_array_equal(series.values[0], frame)
    forecast = given(frame)
    pandas.testing.assert_index_equal(forecast.index, follow)
    assert list(forecast.columns) == ["load", "temp", "wind"]
    np.testing.assert_array_equal(forecast, numbers(series)[0])
    some = series.give(numbers(series)[..., :2], targets=[2, 0])
    assert list(some.columns) == ["wind", "load"]
    of_list = given([frame, frame * 2])
    assert [type(f) for f in of_list] == [pandas.DataFrame] * 2
    assert np.shape(of_list) == of_list.to_numpy().shape == (2, 2, 3)
    np.testing.assert_array_equal(of_list, numbers(read([frame] * 2)))
    assert (of_list.round(1)[1].index == follow).all()
    one = given(frame["load"])
    assert one.name == "load"
    pandas.testing.assert_index_equal(one.index, follow)
    assert [s.name for s in given([frame["load"], frame["temp"]])] == ["load", "temp"]


def test_a_frame_without_times_is_one_series_too(pandas):
    frame = hourly(pandas).reset_index(drop=True)
    forecast = given(frame)
    assert forecast.index.equals(pandas.RangeIndex(400, 402))
    assert isinstance(forecast.index, pandas.RangeIndex)
    refuses(
        frame[:2],
        r"more columns \(3\) than rows \(2\); \[X\] is this series, \[X\[c\] for c in X\.columns\] "
        r"takes each column as a series, X\.to_numpy\(\) each row",
    )
    assert read([frame[:2]]).values[0].shape == (2, 3)


def test_each_column_a_series(pandas):
    frame = hourly(pandas)
    series = read(frame, panel="columns")
    assert series.ids == ["load", "temp", "wind"]
    assert [v.shape for v in series.values] == [(400, 1)] * 3
    forecast = series.give(numbers(series))
    assert forecast["temp"].tolist() == [2.0, 3.0]
    assert forecast.index[0] == pandas.Timestamp("2024-01-17 16:00")
    refuses(frame.to_numpy(), "a frame with panel='columns'", panel="columns")


@pytest.mark.parametrize(
    "freq", ["MS", "ME", "B", "QS", "QE", "W-SUN", "YE", "BME", "15min", "2D", "D", "s"]
)
def test_times_go_on(pandas, freq):
    index = pandas.date_range("2024-01-31", periods=14, freq=freq)
    for labels in (index[:12], pandas.DatetimeIndex(index[:12].to_numpy(), name="when")):
        forecast = given(pandas.Series(np.arange(12.0), labels))
        assert forecast.index.tolist() == index[12:].tolist()
        assert forecast.index.name == labels.name
        assert forecast.index.dtype == labels.dtype
    short = read(pandas.Series(np.arange(12.0), index[:12])).form
    forecast = given(pandas.Series([1.0, 2.0], index[10:12].to_numpy()), seen=short)
    assert forecast.index.tolist() == index[12:].tolist()


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
@pytest.mark.parametrize("freq", ["D", "h"])
def test_local_times(pandas, zone, freq):
    # clocks change on 2024-03-31
    index = pandas.date_range("2024-03-29", periods=72, freq=freq, tz=zone)
    series = pandas.Series(np.arange(70.0), index[:70])
    assert given(series).index.tolist() == index[70:].tolist()
    gap = series.drop(index[[60]])
    refuses(gap, "nothing between .* where 1 step of")
    assert given(gap, missing="linear").index.tolist() == index[70:].tolist()


def test_other_kinds_of_times(pandas):
    for index, follow in [
        (pandas.period_range("2020-01", periods=6, freq="M"), ["2020-07", "2020-08"]),
        (pandas.RangeIndex(10, 22, 2), [22, 24]),
        (pandas.Index(np.arange(1900, 1906), name="year"), [1906, 1907]),
        (pandas.timedelta_range("1h", periods=6, freq="h"), ["0 days 07:00:00", "0 days 08:00:00"]),
    ]:
        forecast = given(pandas.Series(np.arange(6.0), index))
        assert type(forecast.index) is type(index)
        assert forecast.index.dtype == index.dtype
        assert forecast.index.name == index.name
        assert list(map(str, forecast.index)) == list(map(str, follow))
    decimal = pandas.Series(np.arange(25.0), 1958 + np.arange(25) / 12)
    np.testing.assert_allclose(given(decimal).index, 1958 + np.array([25, 26]) / 12)


def test_shuffled_times_are_sorted(pandas):
    frame = hourly(pandas)
    expected = given(frame)
    for X in (frame[::-1], frame.sample(frac=1.0, random_state=0)):
        np.testing.assert_array_equal(read(X).values[0], frame)
        pandas.testing.assert_frame_equal(given(X), expected)
    numbered = frame.reset_index(drop=True)
    np.testing.assert_array_equal(read(numbered[::-1]).values[0], frame)
    assert given(numbered[::-1]).index.tolist() == [400, 401]


def test_times_that_cannot_be_steps(pandas):
    frame = hourly(pandas)
    series = frame["load"]
    twice = pandas.concat([frame, frame[5:6]])
    refuses(
        twice,
        r"each time once, got 2024-01-01 05:00:00 twice; X\[~X\.index\.duplicated\(\)\] keeps the "
        r"first of each, X\.groupby\(level=0\)\.mean\(\) their mean",
    )
    refuses([frame, twice], r"X\[1\] with each time once")
    gap = series.drop(series.index[100:120])
    message = (
        "without gaps in time, got nothing between 2024-01-05 03:00:00 and 2024-01-06 00:00:00, "
        r"where 20 steps of 1 hour should be; X\.asfreq\('h'\) puts NaN there, "
        r"X\.reset_index\(drop=True\) counts rows as steps"
    )
    refuses(gap, message)
    assert np.isnan(gap.asfreq("h")).sum() == 20
    assert read(gap.reset_index(drop=True)).values[0].shape == (380, 1)
    daily = pandas.Series(np.arange(10.0), pandas.date_range("2024-01-01", periods=10, freq="B"))
    refuses(daily.drop(daily.index[[3]]), r"1 step of 1 business day .* X\.asfreq\('B'\)")
    monthly = pandas.Series(np.arange(10.0), pandas.date_range("2024-01-01", periods=10, freq="MS"))
    refuses(monthly.drop(monthly.index[[3]]), r"1 step of 1 month .* X\.asfreq\('MS'\)")
    refuses(frame.reset_index(drop=True).drop(index=[7]), "between 6 and 8, where 1 step of 1 ")
    irregular = pandas.to_datetime(["2020-01-01", "2020-01-04", "2020-01-05", "2020-02-11"])
    refuses(pandas.Series(np.ones(4), irregular), "regular steps, got steps from 1 day to 37 days")
    missing = pandas.Series(np.ones(2), pandas.DatetimeIndex(["2020-01-01", None]))
    refuses(missing, "a time for each row, got NaT")
    text = pandas.Series(np.ones(2), ["2020-01-01", "2020-01-02"])
    refuses(text, r"got '2020-01-01'; pandas\.to_datetime reads dates from text", TypeError)
    alone = read(pandas.Series([1.0], pandas.DatetimeIndex(["2020-01-01"])))
    with pytest.raises(ValueError, match="at least two times"):
        alone.give(numbers(alone))


def test_gaps_are_filled_where_that_is_asked_for(pandas):
    frame = hourly(pandas)
    gap = frame.drop(frame.index[100:120])
    series = read(gap, missing="linear")
    assert series.has_missing
    assert np.isnan(series.values[0][100:120]).all()
    np.testing.assert_array_equal(np.delete(series.values[0], range(100, 120), 0), gap)
    assert series.index[0].equals(frame.index)
    pandas.testing.assert_index_equal(given(gap[::-1], missing="mean").index, given(frame).index)


def test_what_a_frame_may_not_hold(pandas):
    frame = hourly(pandas)
    refuses(
        frame.reset_index(names="ds"),
        r"dates in the column 'ds'; X\.set_index\('ds'\) makes them the times of its rows",
        TypeError,
    )
    refuses([frame.reset_index(names="ds")], r"'ds'; X\[0\]\.set_index\('ds'\)", TypeError)
    refuses(frame.assign(city="x"), r"X\['city'\] of real numbers, got 'x'", TypeError)
    refuses(frame.assign(c=pandas.Categorical(["u"] * 400)), r"X\['c'\] .* categories", TypeError)
    refuses(frame.assign(id=3), r"a column 'id' without a column of times; X\.reset_index\(names=")
    refuses(frame.reset_index(drop=True).assign(id=3), "'id' without a column of times; a column")
    refuses(pandas.concat([frame, frame], axis=1), "different names, got 'load' twice")
    refuses(frame[[]], "at least one column of numbers")
    refuses(frame[:0], "at least one step")
    refuses(frame["load"][:0], "at least one step")
    refuses([frame, frame.to_numpy()], r"got a mixture: X\[0\] is a DataFrame", TypeError)
    nested = pandas.DataFrame({"dim_0": [frame["load"]] * 3})
    refuses(nested, r"a series in each cell of the column 'dim_0'; .*from_sktime\(X\)", TypeError)
    bad = frame.copy()
    bad.iloc[30, 1] = np.nan
    for X in (bad, bad.astype("Float64"), bad.astype(object)):
        refuses(X, r"got NaN in step 30 \(2024-01-02 06:00:00\), column 1 \('temp'\)")
        assert np.isnan(read(X, missing="ffill").values[0][30, 1])
    refuses(bad["temp"], r"got NaN in step 30 \(2024-01-02 06:00:00\)")
    whole = frame.assign(flag=frame["load"] > 0, n=pandas.array([1] * 400, "Int64"))
    np.testing.assert_array_equal(read(whole).values[0][:, 3], frame["load"] > 0)
    assert read(frame.astype("float32")).values[0].dtype == np.float32


def test_columns_are_matched_by_name(pandas):
    frame = hourly(pandas)
    form = read(frame).form
    assert pickle.loads(pickle.dumps(form)) == form
    turned = frame[["wind", "temp", "load"]]
    for X in (turned, [turned]):
        series = read(X, seen=form)
        assert series.names == ["load", "temp", "wind"]
        np.testing.assert_array_equal(series.values[0], frame)
    refuses(turned[["wind", "temp"]], "with the columns .*, as in fit, got no 'load'$", seen=form)
    refuses(turned.assign(x=1), "as in fit, got 'x' beside them$", seen=form)
    np.testing.assert_array_equal(read([frame, turned]).values[1], frame)
    refuses([frame, turned[["wind"]]], r"X\[1\] with the columns")
    assert read(frame.to_numpy()[np.newaxis], seen=form).kind == "cube"
    refuses(frame.resample("D").mean(), "steps of 1 hour, as in fit, got steps of 1 day", seen=form)
    one = read(frame["load"]).form
    assert read(frame[["temp"]], seen=one).names == ["temp"]


# ---- long frames -------------------------------------------------------------------------------


def long_frame(pandas, n=12):
    times = pandas.date_range("2024-01-01", periods=n, freq="MS")
    parts = [
        pandas.DataFrame({"unique_id": key, "ds": times, "y": np.arange(n) + 100.0 * i})
        for i, key in enumerate(["b", "a"])
    ]
    return pandas.concat(parts, ignore_index=True)


def test_long_frames_are_read_by_name(pandas):
    long = long_frame(pandas)
    series = read(long)
    assert series.ids == ["b", "a"]
    assert (series.names, series.target) == (["y"], 0)
    np.testing.assert_array_equal(series.values[1][:, 0], np.arange(12) + 100.0)
    forecast = series.give(numbers(series))
    assert list(forecast.columns) == ["unique_id", "ds", "y"]
    assert forecast["unique_id"].tolist() == ["b", "b", "a", "a"]
    follow = pandas.to_datetime(["2025-01-01", "2025-02-01"])
    assert forecast["ds"].tolist() == [*follow, *follow]
    assert forecast["y"].tolist() == [0.0, 1.0, 2.0, 3.0]
    for X in (
        long.sample(frac=1.0, random_state=0).sort_values("unique_id", ascending=False),
        long.rename(columns={"unique_id": "id", "ds": "Time", "y": "value"}),
        long[["y", "ds", "unique_id"]],
    ):
        again = read(X)
        assert again.ids == ["b", "a"]
        np.testing.assert_array_equal(again.values, series.values)
    more = long.assign(price=1.0)[["price", "unique_id", "ds", "y"]]
    series = read(more)
    assert (series.names, series.target) == (["y", "price"], 0)
    assert list(series.give(numbers(series)[..., :1], [0]).columns) == ["unique_id", "ds", "y"]
    loads = read(long.rename(columns={"y": "load"}))
    assert (loads.names, loads.target) == (["load"], None)


def test_series_of_different_times(pandas):
    long = long_frame(pandas)[:-3]
    series = read(long)
    assert [len(v) for v in series.values] == [12, 9]
    ends = series.give(numbers(series)).groupby("unique_id")["ds"].min()
    assert ends["a"] == pandas.Timestamp("2024-10-01")
    refuses(long.drop(index=[3]), "X of 'b' without gaps in time, .* 1 step of 1 month")
    refuses(pandas.concat([long, long[:1]]), "X of 'b' with each time once")
    refuses(long.astype({"ds": str}), "got '2024-01-01", TypeError)
    lost = long.copy()
    lost.loc[14, "y"] = np.nan
    refuses(lost, r"NaN in sample 1 \('a'\), step 2 \(2024-03-01 00:00:00\), column 0 \('y'\)")
    refuses(long.assign(city="x"), r"X\['city'\] of real numbers, got 'x'", TypeError)
    nameless = long.astype({"unique_id": object})
    nameless.loc[3, "unique_id"] = None
    refuses(nameless, r"X\['unique_id'\] with an id in each row, got .* in row 3")


def test_an_index_of_series_and_times(pandas):
    long = long_frame(pandas)
    indexed = long.set_index(["unique_id", "ds"])
    series = read(indexed)
    assert series.ids == ["b", "a"]
    forecast = series.give(numbers(series))
    assert forecast.index.names == ["unique_id", "ds"]
    assert forecast.loc["a", "y"].tolist() == [2.0, 3.0]
    assert forecast.index[0] == ("b", pandas.Timestamp("2025-01-01"))
    deep = indexed.assign(region="n").set_index("region", append=True).swaplevel("region", "ds")
    series = read(deep)
    assert series.ids == [("b", "n"), ("a", "n")]
    forecast = series.give(numbers(series))
    assert forecast.index[0] == ("b", "n", pandas.Timestamp("2025-01-01"))
    refuses([indexed], r"index of 2 levels in X\[0\]")


# ---- what is known beside series ---------------------------------------------------------------


def known(exogenous, X, ahead, **options):
    return read_exogenous("Owner", exogenous, read(X, **options), ahead).values


def test_exogenous_arrays():
    x, more = np.ones((5, 12)), np.random.default_rng(0).standard_normal((5, 14, 2))
    np.testing.assert_array_equal(known(more, x, 2), more)
    np.testing.assert_array_equal(known(more[..., 0], x, 2), more[..., :1])
    np.testing.assert_array_equal(known(more[0], x[0], 2), more[:1])
    np.testing.assert_array_equal(known(more[0, :, 0], x[0], 2), more[:1, :, :1])
    for exogenous, X, message in [
        (more, x[:4], "exogenous of each of 4 series, got those of 5"),
        (more[:, :13], x, r"exogenous of 14 steps, as X\[0\] has 12 and the 2 after them, got 13"),
        (more[0, :12], x[0], "exogenous of 14 steps, as X has 12 and the 2 after them, got 12"),
    ]:
        with pytest.raises(ValueError, match=message):
            known(exogenous, X, 2)
    with pytest.raises(ValueError, match="exogenous of 12 steps, as X has 12, got 14"):
        known(more[0], x[0], 0)


def test_exogenous_frames_are_found_by_time(pandas):
    frame = hourly(pandas)
    X, beside = frame["load"][50:300], frame[["temp", "wind"]]
    np.testing.assert_array_equal(known(beside, X, 5)[0], beside[50:305])
    np.testing.assert_array_equal(known(beside[::-1], X, 0)[0], beside[50:300])
    with pytest.raises(ValueError, match="X and the 5 after them, got none at 2024-01-13 15"):
        known(beside[:303], X, 5)
    with pytest.raises(ValueError, match="each step of X, got none at 2024-01-03 02"):
        known(beside[60:], X, 0)
    np.testing.assert_array_equal(known(beside.to_numpy()[50:305], X, 5)[0], beside[50:305])
    wide = known(beside, frame[50:300], 5, panel="columns")
    assert [v.shape for v in wide] == [(255, 2)] * 3


def test_exogenous_long_frames_are_found_by_id(pandas):
    long = long_frame(pandas)
    past = long[long["ds"] < "2024-11-01"]
    values = known(long[::-1], past, 2)
    np.testing.assert_array_equal(values[0][:, 0], np.arange(12.0))
    np.testing.assert_array_equal(values[1][:, 0], np.arange(12) + 100.0)
    with pytest.raises(ValueError, match="exogenous of each series, got none of 'b'"):
        known(long[long["unique_id"] == "a"], past, 2)


# ---- frames of other libraries -----------------------------------------------------------------


def test_frames_of_polars(polars):
    times = np.arange("2024-01-01T00", "2024-01-03T00", dtype="M8[h]").astype("M8[us]")
    values = np.random.default_rng(0).standard_normal((48, 2))
    frame = polars.DataFrame({"date": times, "load": values[:, 0], "temp": values[:, 1]})
    follow = times[-1] + np.arange(1, 3).astype("m8[h]")
    for X in (frame, frame[::-1], frame[["temp", "date", "load"]]):
        series = read(X, seen=read(frame).form)
        np.testing.assert_array_equal(series.values[0], values)
        forecast = series.give(numbers(series))
        assert isinstance(forecast, polars.DataFrame)
        assert forecast.columns == ["date", "load", "temp"]
        assert forecast.schema == frame.schema
        np.testing.assert_array_equal(forecast["date"].to_numpy(), follow)
    assert [f.columns for f in given([frame, frame])] == [["date", "load", "temp"]] * 2
    assert given(frame, panel="columns").columns == ["date", "load", "temp"]
    assert given(frame.drop("date")).columns == ["load", "temp"]
    assert given(frame["load"]).to_list() == [0.0, 1.0]
    zoned = frame.with_columns(polars.col("date").dt.replace_time_zone("Europe/Berlin"))
    forecast = given(zoned)
    assert forecast.schema == zoned.schema
    np.testing.assert_array_equal(forecast["date"].dt.replace_time_zone(None).to_numpy(), follow)
    refuses(frame.lazy(), r"got a lazy LazyFrame; X\.collect\(\) computes them", TypeError)
    refuses(polars.concat([frame, frame[:1]]), "each time once")
    refuses(frame[[*range(10), *range(12, 48)]], "nothing between .*, where 2 steps of 1 hour")
    refuses(frame.with_columns(city=polars.lit("x")), r"X\['city'\] of real numbers", TypeError)
    refuses(
        frame.with_columns(polars.col("date").cast(polars.String)), "read dates from", TypeError
    )
    holes = frame.with_columns(polars.when(polars.col("temp") > 0).then("temp"))
    refuses(holes, r"got NaN in step \d+ \(2024-.*\), column 1 \('temp'\)")


def test_long_frames_of_polars(polars):
    days = np.arange("2024-01", "2024-07", dtype="M8[M]").astype("M8[D]")
    long = polars.DataFrame(
        {"unique_id": ["b"] * 6 + ["a"] * 6, "ds": np.tile(days, 2), "y": np.arange(12.0)}
    )
    forecast = given(long)
    assert forecast.schema == long.schema
    assert forecast["unique_id"].to_list() == ["b", "b", "a", "a"]
    assert list(map(str, forecast["ds"])) == ["2024-07-01", "2024-08-01"] * 2
    past = long.filter(polars.col("ds") < polars.date(2024, 5, 1))
    np.testing.assert_array_equal(known(long, past, 2)[1][:, 0], np.arange(6.0, 12.0))


def test_frames_of_narwhals_and_arrow(pandas):
    narwhals = pytest.importorskip("narwhals", reason="narwhals is not installed")
    frame = hourly(pandas, 20).reset_index(names="date")
    wrapped = narwhals.from_native(frame)
    forecast = given(wrapped)
    assert isinstance(forecast, narwhals.DataFrame)
    assert forecast.columns == ["date", "load", "temp", "wind"]
    assert str(forecast["date"][0]).startswith("2024-01-01 20:00")
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    table = given(pyarrow.Table.from_pandas(frame))
    assert isinstance(table, pyarrow.Table)
    assert str(table["date"][1]).startswith("2024-01-01 21:00")


def test_series_of_several_series(pandas):
    frame = hourly(pandas, 40)
    both = pandas.concat({"b": frame, "a": 2 * frame}, names=["shop", "hour"])
    series, column = read(both), read(both["load"])
    assert column.ids == series.ids and column.kind == "long"
    np.testing.assert_array_equal(column.values[1], series.values[1][:, :1])
    forecast = given(both["load"])
    assert isinstance(forecast, pandas.Series) and forecast.name == "load"
    assert list(forecast.index.names) == ["shop", "hour"] and list(forecast) == [0, 1, 2, 3]
    assert forecast.index[-1] == ("a", pandas.Timestamp("2024-01-02 17:00:00"))
    refuses([both["load"]], r"as one Series of several series, .* 2 levels in X\[0\]")
    for X in (both, both["load"]):
        refuses(X.swaplevel(), r"times first; X\.swaplevel\(\)\.sort_index\(\) puts them last")
    known = read_exogenous("Owner", both["wind"].rename("known"), series, 0)
    np.testing.assert_array_equal(known.values[0], series.values[0][:, 2:])


def test_a_single_column_of_another_name_is_said_to_be_taken(pandas):
    frame = hourly(pandas, 40)
    form = read(frame[["load"]]).form
    with pytest.warns(UserWarning, match="Owner: the column 'temp' of X is taken for .* 'load'"):
        other = read(frame[["temp"]], seen=form)
    np.testing.assert_array_equal(other.values[0][:, 0], frame["temp"])
