"""What X means: samples, steps and features, told from each other or refused."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from samples import told

from rnnfast import SequenceClassifier, SequenceLabeler, SequenceRegressor
from rnnfast.estimators.sequences import (
    check_ids,
    check_lengths,
    is_ragged,
    is_step,
    read_sequences,
    unpad,
)

QUICK = {"max_iter": 1, "hidden_size": 4, "random_state": 0}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def check_sequences(*arguments, **options):
    return read_sequences(*arguments, **options)[:2]


def refuses(X, message, error=ValueError, **options):
    with pytest.raises(error, match=message):
        read_sequences("Owner", X, **options)


# ---- forms -------------------------------------------------------------------------------------


def test_forms_of_the_same_sequences():
    x = normal(4, 5, 2)
    boxed = np.empty(4, object)
    boxed[:] = list(x)
    forms = [x, list(x), tuple(x), x.tolist(), boxed, x.astype(object), np.asfortranarray(x)]
    for X in forms:
        values, lengths = check_sequences("Owner", X)
        np.testing.assert_array_equal(values, x)
        assert lengths is None
        assert values.flags.c_contiguous
    assert check_sequences("Owner", x)[0] is x
    assert check_sequences("Owner", x.astype(np.float32))[0].dtype == np.float32
    for X in (x[..., 0], list(x[..., 0]), x[..., 0].tolist(), list(x[..., :1])):
        np.testing.assert_array_equal(check_sequences("Owner", X)[0], x[..., :1])


def test_ragged_sequences():
    x = normal(3, 5, 2)
    ends = np.array([5, 2, 3])
    X = [s[:n] for s, n in zip(x, ends, strict=True)]
    for form in (X, [s.tolist() for s in X], [s.astype(object) for s in X]):
        assert is_ragged(form)
        given = read_sequences("Owner", form)
        np.testing.assert_array_equal(given.lengths, ends)
        assert given.form == ("list", 2, (2, 5), None)
        for one, sample in zip(given.values, X, strict=True):
            np.testing.assert_array_equal(one[: len(sample)], sample)
            assert not one[len(sample) :].any()
    np.testing.assert_array_equal(given.values[is_step(given.values, ends)], np.concatenate(X))
    for one, sample in zip(unpad(given.values, ends, X), X, strict=True):
        np.testing.assert_array_equal(one, sample)


def test_what_fit_remembers():
    assert read_sequences("Owner", normal(4, 5, 2)).form == ("cube", 2, (5, 5), None)
    assert read_sequences("Owner", normal(4, 5)).form == ("columns", 1, (5, 5), None)
    padded = read_sequences("Owner", normal(2, 5, 2), lengths=[5, 3])
    assert padded.form == ("cube", 2, (3, 5), None)


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ([normal(2, 3), normal(2, 2)], ValueError, r"X\[1\] of 3 features .* as X\[0\] has, got 2"),
        ([normal(2, 2), normal(0, 2)], ValueError, r"X\[1\] as .* at least one step and feature"),
        ([normal(2, 2), []], ValueError, r"X\[1\] as .* at least one step and feature"),
        ([normal(2)] * 137 + [normal(2, 2, 2)], ValueError, r"X\[137\] as .*\(2, 2, 2\)"),
        ([normal(2)] * 137 + [normal(2) * 1j], ValueError, r"X\[137\] .*Complex"),
        ([normal(2)] * 137 + [["a"]], TypeError, r"X\[137\] of real numbers, got strings"),
        ([[1.0], ["a", "b"]], TypeError, r"X\[1\] of real numbers, got strings"),
        (
            [[[1.0, 2.0], [1.0]], [[1.0, 2.0], [3.0, 4.0]]],
            ValueError,
            r"X\[0\] of real numbers, .*",
        ),
        (normal(2, 3, 4, 5), ValueError, "X as .* at least one step and feature, got shape"),
        (np.ones((2, 3, 0)), ValueError, "at least one step and feature"),
        (np.ones((2, 0, 3)), ValueError, "at least one step and feature"),
        (
            normal(6),
            ValueError,
            r"Reshape your data: X\[np\.newaxis\] is one sample of 6",
        ),
        ([1.0, 2.0], ValueError, r"np\.asarray\(X\)\[np\.newaxis\] is one sample of 2 steps"),
        ([["a", "b"]], TypeError, "got strings"),
        (np.array([["2020"]], "M8[D]"), TypeError, r"got dates \(datetime64\[D\]\)"),
        ({"a": [1.0]}, TypeError, "got dict"),
        ([[1.0], None], ValueError, r"X\[1\] as a sequence, got None"),
        ([np.ones(2), None], ValueError, r"X\[1\] as a sequence, got None"),
        ((x for x in [1.0]), TypeError, "got generator"),
        (None, TypeError, "got NoneType"),
        (3.0, TypeError, "got float"),
    ],
    ids=lambda v: told(v)[:40],
)
def test_refuses(X, error, message):
    refuses(X, message, error)


# ---- against fit -------------------------------------------------------------------------------


ONE, SEVERAL = normal(40, 25, 1), normal(40, 25, 3)


@pytest.mark.parametrize(
    ("fitted", "X", "message"),
    [
        (ONE, ONE[0], r"got 25 samples of one step: X\[np\.newaxis\] is one sample of 25 steps, "
         r"X\[\.\.\., np\.newaxis\] are 25 samples of one step"),
        (ONE, ONE[0, :, 0], r"X\[np\.newaxis\] is one sample of 25 steps"),
        (ONE, list(ONE[0]), r"\[np\.concatenate\(X\)\] is one sample of 25 steps"),
        (ONE, ONE.swapaxes(1, 2), r"1 features .* got 25; X\.swapaxes\(1, 2\) puts the time"),
        (list(ONE), ONE[0], r"X\[np\.newaxis\] is one sample of 25 steps"),
        (SEVERAL, SEVERAL[0], r"3 features .*, got 1; X\[np\.newaxis\] is one sample of 25 steps"),
        (SEVERAL, SEVERAL[0].T, r"got 1; X\.T\[np\.newaxis\] is one sample of 25 steps"),
        (SEVERAL, SEVERAL[0, :, 0], "each step has 3 features, as in fit"),
        (SEVERAL, list(SEVERAL[0]), r"got 1; \[np\.stack\(X\)\] is one sample of 25 steps"),
        (SEVERAL, SEVERAL[0].tolist(), r"got 1; np\.asarray\(X\)\[np\.newaxis\] is one sample"),
        (SEVERAL, SEVERAL.swapaxes(1, 2), r"got 25; X\.swapaxes\(1, 2\) puts the time before"),
        (SEVERAL, [s.T for s in SEVERAL], r"got 25; \[s\.T for s in X\] puts the time before"),
        (SEVERAL, SEVERAL[..., :2], "3 features at each step, as in fit, got 2$"),
        (ONE[..., 0], ONE[0], r"X has 1 features, but .* X\.T is one sample of 25 steps"),
        (ONE[..., 0], ONE[0, :, 0], r"X\[np\.newaxis\] is one sample of 25 steps"),
        (ONE[..., 0], list(ONE[0]), r"\[np\.concatenate\(X\)\] is one sample"),
    ],
    ids=lambda v: str(np.shape(v)) if not isinstance(v, str) else v[:20],
)  # fmt: skip
def test_one_series_is_not_many(fitted, X, message):
    form = read_sequences("Owner", fitted).form
    refuses(X, message, seen=form)
    y = np.arange(40) % 2
    for estimator, target in [
        (SequenceClassifier, y),
        (SequenceRegressor, y * 1.0),
        (SequenceLabeler, np.repeat(y[:, np.newaxis], 25, axis=1)),
    ]:
        model = estimator(**QUICK).fit(fitted, target)
        with pytest.raises(ValueError, match=message):
            model.predict(X)


@pytest.mark.parametrize(
    ("fitted", "X"),
    [
        (ONE, ONE[0].T),
        (ONE, ONE[..., 0]),
        (ONE, ONE[:, :1]),
        (ONE, ONE[:, :10]),
        (ONE, [[0.5]]),
        (ONE, list(ONE[:, :1])),
        (ONE[..., 0], ONE),
        (ONE[..., 0], list(ONE[:3, :, 0])),
        (ONE[:, :1], ONE[:, 0]),
        (ONE[:, 0], ONE[0]),
        ([*ONE, ONE[0, :1]], [[0.5], [0.25]]),
        (SEVERAL, SEVERAL[:, :1]),
        (SEVERAL, [SEVERAL[0, :1]]),
    ],
    ids=lambda v: str(np.shape(v)) if not isinstance(v, list) else "list",
)
def test_what_has_one_meaning_is_taken(fitted, X):
    form = read_sequences("Owner", fitted).form
    assert len(read_sequences("Owner", X, seen=form).values) == len(X)


# ---- padding -----------------------------------------------------------------------------------


def test_lengths_of_padded_arrays():
    x = normal(3, 5, 2)
    ends = np.array([5, 2, 3])
    past = np.arange(5) >= ends[:, np.newaxis]
    expected = np.where(past[..., np.newaxis], 0.0, x)
    for rubbish in (np.nan, np.inf, 7.0):
        padded = np.where(past[..., np.newaxis], rubbish, x)
        before = padded.copy()
        for X in (padded, padded.tolist(), np.ma.masked_invalid(padded)):
            values, lengths = check_sequences("Owner", X, lengths=ends.tolist())
            np.testing.assert_array_equal(values, expected)
            np.testing.assert_array_equal(lengths, ends)
        np.testing.assert_array_equal(padded, before)
    assert check_sequences("Owner", x, lengths=[5, 5, 5])[1] is None
    y = np.arange(3) % 2
    one = SequenceClassifier(**QUICK).fit(padded, y, lengths=ends)
    other = SequenceClassifier(**QUICK).fit([s[:n] for s, n in zip(x, ends, strict=True)], y)
    np.testing.assert_array_equal(
        one.predict_proba(padded, lengths=ends), other.predict_proba(x, lengths=ends)
    )


@pytest.mark.parametrize(
    ("lengths", "error", "message"),
    [
        ([5, 2], ValueError, r"one number for each of 3 samples, got \(2,\)"),
        (5, ValueError, r"one number for each of 3 samples, got \(\)"),
        ([5, 2, 6], ValueError, "lengths from 1 to 5, got 6 for sample 2"),
        ([0, 2, 3], ValueError, "lengths from 1 to 5, got 0 for sample 0"),
        ([5.0, 2.0, 3.0], TypeError, "lengths of int, got float64"),
        (["a", "b", "c"], TypeError, "lengths of int"),
        ([True] * 3, TypeError, "lengths of int, got bool"),
    ],
    ids=str,
)
def test_wrong_lengths(lengths, error, message):
    refuses(normal(3, 5, 2), message, error, lengths=lengths)
    with pytest.raises(error, match=message):
        check_lengths("Owner", lengths, 3, 5)


def test_lists_have_lengths_of_their_own():
    refuses(list(normal(3, 5, 2)), "a padded array with lengths, got a list", lengths=[5, 5, 5])


# ---- token ids ---------------------------------------------------------------------------------


def test_token_ids():
    ids = [[1, 2, 3], [4, 0]]
    for X in (ids, [np.array(s) for s in ids], [np.array(s, np.uint8) for s in ids]):
        values, lengths = check_ids("Owner", X, 5)
        np.testing.assert_array_equal(values, [[1, 2, 3], [4, 0, 0]])
        np.testing.assert_array_equal(lengths, [3, 2])
    padded = np.array([[1, 2, 3], [4, 0, -1]])
    np.testing.assert_array_equal(
        check_ids("Owner", padded, 5, lengths=[3, 2])[0], [[1, 2, 3], [4, 0, 0]]
    )
    np.testing.assert_array_equal(
        check_ids("Owner", [[1, 9], [-1]], 5, unknown_id=0)[0], [[1, 0], [0, 0]]
    )
    column = np.array([[[1], [2]]])
    np.testing.assert_array_equal(check_ids("Owner", column, 5)[0], [[1, 2]])


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ([[1, 2], [1, 50]], ValueError, r"0 to 4, got 1 to 50: 50 in X\[1\], step 1"),
        ([[1, -1]], ValueError, r"-1 in X\[0\], step 1"),
        ([1, 2, 3], ValueError, r"one sequence; \[X\] is a list of one"),
        (np.array([1, 2]), ValueError, r"one sequence; \[X\] is a list of one"),
        ([[1, 2], []], ValueError, r"X\[1\] of at least one step"),
        (np.ones((2, 3), np.float32), TypeError, r"X\[0\] as token ids .*; astype\(int\) makes"),
        ([[1.5]], TypeError, r"X\[0\] as token ids \(integers\), got float64$"),
        ([[1, None]], TypeError, r"X\[0\] as token ids \(integers\), got object"),
        ([[[1, 2]]], ValueError, "a token id for each step, got 2 features"),
        (np.ma.array([[1, 2]], mask=[[0, 1]]), ValueError, r"X\[0\] .*, got masked ones"),
        ([], ValueError, "at least one sample, got none"),
        ("abc", TypeError, "X as sequences, got str"),
        (None, TypeError, "X as sequences, got NoneType"),
    ],
    ids=str,
)
def test_wrong_token_ids(X, error, message):
    with pytest.raises(error, match=message):
        check_ids("Owner", X, 5)


# ---- frames ------------------------------------------------------------------------------------


@pytest.fixture
def pandas():
    return pytest.importorskip("pandas", reason="pandas is not installed")


def frames(pandas, x):
    times = pandas.date_range("2020-01-01", periods=x.shape[1])
    return [pandas.DataFrame(s, times, ["load", "temp"]) for s in x]


def long_frame(pandas, x):
    parts = [pandas.DataFrame(s, columns=["load", "temp"]).assign(id=i) for i, s in enumerate(x)]
    return pandas.concat([p.rename_axis("time").reset_index() for p in parts], ignore_index=True)


def test_rows_of_a_plain_frame_are_samples(pandas):
    x = normal(6, 4)
    for index in (None, np.arange(6)[::-1] + 7, list("abcdef")):
        given = read_sequences("Owner", pandas.DataFrame(x, index, list("abcd")))
        np.testing.assert_array_equal(given.values[..., 0], x)
        assert given.form.kind == "columns"
    nullable = pandas.DataFrame(x).astype("Float64")
    np.testing.assert_array_equal(check_sequences("Owner", nullable)[0][..., 0], x)
    nullable.iloc[3, 2] = pandas.NA
    refuses(nullable, "NaN in sample 3, step 2")


def test_rows_with_times_are_no_samples(pandas):
    x = normal(6, 4)
    for index in (
        pandas.date_range("2020", periods=6),
        pandas.period_range("2020", periods=6, freq="M"),
        pandas.timedelta_range("1h", periods=6),
    ):
        frame = pandas.DataFrame(x, index)
        message = (
            r"got a frame with an index of times: \[X\] is one sample, whose rows are time steps; "
            r"X\.to_numpy\(\) are 6 samples, whose columns are time steps"
        )
        refuses(frame, message)
        with pytest.raises(ValueError, match=message):
            SequenceClassifier(**QUICK).fit(frame, np.arange(6) % 2)
        one = read_sequences("Owner", [frame])
        np.testing.assert_array_equal(one.values, x[np.newaxis])


def test_columns_of_frames_are_matched_by_name(pandas):
    x = normal(5, 6, 2)
    X = frames(pandas, x)
    given = read_sequences("Owner", X)
    np.testing.assert_array_equal(given.values, x)
    assert given.form.names == ["load", "temp"]
    other = [f[["temp", "load"]] if i % 2 else f for i, f in enumerate(X)]
    np.testing.assert_array_equal(read_sequences("Owner", other).values, x)
    turned = [f[["temp", "load"]] for f in X]
    np.testing.assert_array_equal(read_sequences("Owner", turned, seen=given.form).values, x)
    lost = [*X[:3], X[3].rename(columns={"temp": "wind"})]
    refuses(lost, r"X\[3\] with the columns \['load', 'temp'\], .* no 'temp', 'wind' beside them")
    y = np.arange(5) % 2
    model = SequenceClassifier(**QUICK).fit(X, y)
    np.testing.assert_array_equal(model.predict_proba(turned), model.predict_proba(x))
    X[3].iloc[4, 1] = np.nan
    refuses(X, r"NaN in sample 3, step 4, column 1 \('temp'\)")


def test_times_of_samples_tell_their_order(pandas):
    x = normal(3, 6, 2)
    X = frames(pandas, x)
    shuffled = [f.sample(frac=1.0, random_state=i) for i, f in enumerate(X)]
    np.testing.assert_array_equal(read_sequences("Owner", shuffled).values, x)
    twice = [*X[:2], pandas.concat([X[2], X[2][:1]])]
    refuses(twice, r"X\[2\] with each time once, got 2020-01-01 00:00:00 twice")
    gaps = [f.drop(f.index[2]) for f in X]  # the steps that are there
    np.testing.assert_array_equal(read_sequences("Owner", gaps).values, np.delete(x, 2, 1))
    series = [f["load"][::-1] for f in X]
    np.testing.assert_array_equal(read_sequences("Owner", series).values, x[..., :1])


def test_long_frames_are_read_by_name(pandas):
    x = normal(5, 6, 2)
    long = long_frame(pandas, x)
    indexed = long.set_index(["id", "time"])
    for X in (
        long,
        long[["load", "id", "temp", "time"]],
        long.rename(columns={"id": "unique_id", "time": "ds"}),
        long.sample(frac=1.0, random_state=0).sort_values("id"),
        indexed,
    ):
        assert is_ragged(X)
        given = read_sequences("Owner", X)
        np.testing.assert_array_equal(given.values, x)
        assert given.ids == list(range(5))
        assert given.form.names == ["load", "temp"]
    column = read_sequences("Owner", indexed["load"])
    np.testing.assert_array_equal(column.values, x[..., :1])
    assert column.ids == list(range(5))
    short = long.drop(index=[0, 1, 8])
    np.testing.assert_array_equal(read_sequences("Owner", short).lengths, [4, 5, 6, 6, 6])
    refuses(long[::-1], r"in the order of their ids, .* X\.sort_values\('id'\) sorts them")
    refuses(indexed[::-1], r"order of their ids, .* X\.sort_index\(\) sorts them")
    days = pandas.date_range("2024-01-01", periods=6)
    dated = pandas.concat({k: pandas.DataFrame(s, days) for k, s in zip("abcde", x, strict=True)})
    np.testing.assert_array_equal(read_sequences("Owner", dated).values, x)
    refuses(dated.swaplevel(), r"times first; X\.swaplevel\(\)\.sort_index\(\) puts them last")
    y = np.arange(5) % 2
    model = SequenceClassifier(**QUICK).fit(long, y)
    np.testing.assert_array_equal(model.predict_proba(x), model.predict_proba(indexed))
    steps = SequenceLabeler(**QUICK).fit(long, np.repeat(y[:, np.newaxis], 6, axis=1))
    assert [len(labels) for labels in steps.predict(short)] == [4, 5, 6, 6, 6]


def test_columns_that_are_no_numbers(pandas):
    plain = pandas.DataFrame(normal(4, 2), columns=["a", "b"])
    for values, message in [
        (pandas.date_range("2020", periods=4), r"X\['c'\] of real numbers, got dates"),
        (pandas.Categorical(list("abab")), r"got text in the column 'c', 'a' first; X\['c'\] are"),
        (list("abab"), r"got text in the column 'c', 'a' first; X\['c'\] are"),
    ]:
        refuses(plain.assign(c=values), message, TypeError)
    nested = pandas.DataFrame({"dim_0": [pandas.Series(row) for row in normal(4, 5)]})
    refuses(nested, r"a series in each cell of the column 'dim_0'; .*from_sktime\(X\)", TypeError)
    names = [f.assign(c="x") for f in frames(pandas, normal(3, 4, 2))]
    refuses(names, r"X\[0\]\['c'\] of real numbers, got 'x'", TypeError)
    refuses(pandas.concat([plain, plain], axis=1), "different names, got 'a' twice")


def test_frames_of_polars():
    polars = pytest.importorskip("polars", reason="polars is not installed")
    x = normal(3, 4, 2)
    rows = polars.DataFrame(x[0], schema=["a", "b"])
    np.testing.assert_array_equal(check_sequences("Owner", rows)[0][..., 0], x[0])
    np.testing.assert_array_equal(
        check_sequences("Owner", [polars.DataFrame(s, schema=["a", "b"]) for s in x])[0], x
    )
    timed = rows.with_columns(
        date=polars.date_range(polars.date(2020, 1, 1), polars.date(2020, 1, 4))
    )
    refuses(timed, r"the column 'date' of times: \[X\] is one sample, .* X\.drop\('date'\)")
    np.testing.assert_array_equal(check_sequences("Owner", [timed[::-1]])[0][0], x[0])
    refuses(rows.lazy(), r"got a lazy LazyFrame; X\.collect\(\)", TypeError)
    long = polars.DataFrame(
        {"id": np.repeat(list("abc"), 4), "time": np.tile(np.arange(4), 3), "v": x[..., 0].ravel()}
    )
    for form in (long, long.to_arrow()) if _has("pyarrow") else (long,):
        given = read_sequences("Owner", form)
        np.testing.assert_array_equal(given.values, x[..., :1])
        assert given.ids == list("abc")


def _has(module):
    try:
        __import__(module)
    except ImportError:
        return False
    return True


def test_two_axes_after_three_have_the_steps_of_fit():
    X = np.random.default_rng(0).standard_normal((8, 5, 1))
    model = SequenceClassifier(hidden_size=2, max_iter=1, random_state=0).fit(X, np.arange(8) % 2)
    np.testing.assert_array_equal(model.predict(X[..., 0]), model.predict(X))
    assert len(model.predict(X[:, :3])) == len(model.predict(X[:, :3, 0].tolist())) == 8
    with pytest.raises(ValueError, match=r"\(samples, 5\) .* X\[..., np.newaxis\] are 8 sam"):
        model.predict(X[:, :3, 0])
    with pytest.raises(ValueError, match=r"got shape \(5, 8\).*; X.T are 8 samples of 5 steps"):
        model.predict(X[..., 0].T)
