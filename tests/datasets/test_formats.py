"""Converters of aeon's, sktime's and tslearn's collections of series."""

from __future__ import annotations

import re
import sys
import warnings

import numpy as np
import pytest

from rnnfast.datasets import (
    from_aeon,
    from_sktime,
    from_tslearn,
    to_aeon,
    to_sktime,
    to_tslearn,
)

FROM = [from_aeon, from_sktime, from_tslearn]
TO = [to_aeon, to_sktime, to_tslearn]


@pytest.fixture
def cube():
    """Four samples of five steps of three features."""
    return np.random.default_rng(0).standard_normal((4, 5, 3))


@pytest.fixture
def ragged(cube):
    return [x[:n] for x, n in zip(cube, (5, 2, 4, 1), strict=True)]


def library(name):
    """Import a library that may be missing, whatever it warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(name.partition(".")[0], reason=f"{name} is not installed")
        return pytest.importorskip(name, reason=f"{name} is not complete")


def same(got, want):
    assert type(got) is type(want)
    assert len(got) == len(want)
    for one, other in zip(got, want, strict=True):
        np.testing.assert_array_equal(one, other)


# ---- without the libraries


def test_axes(cube, ragged):
    same(from_aeon(cube.swapaxes(1, 2)), cube)
    same(from_sktime(cube.swapaxes(1, 2)), cube)
    same(from_tslearn(cube), cube)
    same(to_aeon(cube), cube.swapaxes(1, 2))
    same(to_sktime(cube), cube.swapaxes(1, 2))
    same(to_tslearn(cube), cube)
    same(from_aeon([x.T for x in ragged]), ragged)
    same(to_aeon(ragged), [x.T for x in ragged])
    same(from_aeon(cube[..., 0]), cube[..., :1])
    for to, axis in zip(TO, (1, 1, 2), strict=True):
        same(to(cube[..., 0]), np.expand_dims(cube[..., 0], axis))
    same(to_aeon([x[:, 0] for x in ragged]), [x[:, :1].T for x in ragged])
    boxed = np.empty(len(ragged), object)
    boxed[:] = ragged
    same(to_aeon(boxed), to_aeon(ragged))


def test_nothing_is_copied(cube, ragged):
    for convert in FROM + TO:
        assert np.shares_memory(convert(cube), cube)
    assert all(map(np.shares_memory, from_aeon([x.T for x in ragged]), ragged))
    assert all(map(np.shares_memory, to_aeon(ragged), ragged))
    cube[1, 3:] = np.nan
    assert np.shares_memory(from_tslearn(cube)[1], cube)


def test_padding(cube, ragged):
    padded = to_tslearn(ragged)
    assert padded.shape == cube.shape
    for i, x in enumerate(ragged):
        np.testing.assert_array_equal(padded[i, : len(x)], x)
        assert np.isnan(padded[i, len(x) :]).all()
    same(from_tslearn(padded), ragged)
    same(from_tslearn(np.concatenate([cube, np.full((4, 2, 3), np.nan)], axis=1)), cube)
    assert to_tslearn([x.astype(np.float32) for x in ragged]).dtype == np.float32
    whole = to_tslearn([np.array([1, 2]), np.array([3])])
    np.testing.assert_array_equal(whole, [[[1.0], [2.0]], [[3.0], [np.nan]]])
    same(from_tslearn(np.ones((2, 3, 1), int)), np.ones((2, 3, 1), int))


def test_missing_values_stay(cube):
    cube[0, 2] = np.nan  # a step in the middle
    cube[1, 4, :2] = np.nan  # a part of the last one
    same(from_tslearn(cube), cube)
    same(to_tslearn(cube), cube)
    same(from_aeon(cube), cube.swapaxes(1, 2))
    cube[1, 4] = np.nan
    same(from_tslearn(cube), [cube[0], cube[1, :4], cube[2], cube[3]])
    for series in (cube, list(cube)):
        with pytest.raises(ValueError, match=r"do not end in NaN, got such a one at X\[1\]"):
            to_tslearn(series)
    cube[3] = np.nan
    with pytest.raises(ValueError, match=r"at least one step, got only NaN in X\[3\]"):
        from_tslearn(cube)


@pytest.mark.parametrize("convert", FROM + TO)
@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (np.zeros((2, 3, 4, 5)), ValueError, "got an array of shape (2, 3, 4, 5)"),
        (np.zeros(3), ValueError, "got an array of shape (3,)"),
        (np.zeros((2, 0, 3)), ValueError, "at least one sample, step and channel, got shape"),
        (np.full((2, 3, 1), "a"), TypeError, "of real numbers, got <U1"),
        ({"a": 1}, TypeError, "got dict"),
        ("abc", TypeError, "got str"),
        (None, TypeError, "got NoneType"),
    ],
)
def test_refused_by_all(convert, wrong, error, message):
    with pytest.raises(error, match=re.escape(message)) as caught:
        convert(wrong)
    assert str(caught.value).startswith(f"{convert.__name__} expected X ")


@pytest.mark.parametrize("convert", [from_aeon, *TO])
def test_refused_lists(convert, ragged):
    for wrong, error, message in [
        ([], ValueError, "at least one sample, got none"),
        ([[1.0, 2.0]], TypeError, "expected X[0] as an array"),
        ([np.zeros((2, 3)), np.zeros((3, 2))], ValueError, "as X[0] has, got shape (3, 2)"),
        ([np.zeros((1, 2, 3))], ValueError, "got shape (1, 2, 3)"),
        ([np.zeros((2, 0))], ValueError, "got shape (2, 0)"),
        ([np.array([["a"]])], TypeError, "X[0] of real numbers, got <U1"),
    ]:
        with pytest.raises(error, match=re.escape(message)):
            convert(wrong)


def test_arrays_that_say_too_little_are_refused(ragged):
    with pytest.raises(ValueError, match=r"expected X as a panel: .* got an array of shape \(4, 5"):
        from_sktime(np.zeros((4, 5)))  # a series, or samples?
    with pytest.raises(TypeError, match=r"expected X as a panel: .* got a list of ndarray"):
        from_sktime(ragged)  # time or channels first?
    for wrong in (np.zeros((4, 5)), ragged):
        with pytest.raises(
            (TypeError, ValueError), match=r"expected X as \(samples, time, feature"
        ):
            from_tslearn(wrong)


@pytest.mark.parametrize("form", ["array", "list"])
@pytest.mark.parametrize(
    "both", list(zip(TO, FROM, strict=True)), ids=["aeon", "sktime", "tslearn"]
)
def test_round_trip_into_an_estimator(both, form, cube, ragged):
    estimators = pytest.importorskip("rnnfast.estimators", reason="scikit-learn is not installed")
    to, back = both
    series = cube if form == "array" else ragged
    if to is to_sktime and form == "list":
        pytest.importorskip("pandas", reason="pandas is not installed")
    again = back(to(series))
    same(again, series)
    options = {"hidden_size": 4, "max_iter": 2, "random_state": 0}
    one, other = (
        estimators.SequenceClassifier(**options).fit(X, [0, 1, 0, 1]) for X in (again, series)
    )
    np.testing.assert_array_equal(one.predict_proba(again), other.predict_proba(series))


# ---- pandas


def test_frames(cube, ragged):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = to_sktime(ragged)
    assert frame.shape == (12, 3)
    np.testing.assert_array_equal(frame.loc[2], ragged[2])
    for convert in (from_aeon, from_sktime):
        same(convert(frame), ragged)
        same(convert(to_sktime(list(cube))), cube)
        same(convert(frame.iloc[:5]), cube[:1])
    named = frame.rename(index={0: "d", 1: "a", 2: "c", 3: "b"}, level=0)
    same(from_sktime(named), ragged)

    same(from_sktime([pandas.DataFrame(x) for x in ragged]), ragged)
    same(from_aeon([pandas.DataFrame(x.T) for x in ragged]), ragged)
    same(from_aeon(pandas.DataFrame(cube[..., 0])), cube[..., :1])

    def nested(series):
        return pandas.DataFrame(
            {f"dim_{j}": [pandas.Series(x[:, j]) for x in series] for j in range(3)}
        )

    same(from_sktime(nested(ragged)), ragged)
    same(from_sktime(nested(cube)), cube)
    for cells in (np.asarray, pandas.Series.to_list):
        same(from_sktime(nested(ragged).map(cells)), ragged)

    late, short = nested(ragged), nested(ragged)
    late.iloc[2, 1] = pandas.Series(ragged[2][:, 1], index=range(1, 5))
    short.iloc[2, 1] = pandas.Series(ragged[2][:3, 1])
    reordered = frame.iloc[[0, 2, 1, *range(3, 12)]]
    apart = frame.iloc[[0, 1, 5, 6, 2, 3, 4]]
    for wrong, message in [
        (late, "expected X.iloc[2] of series with the same times"),
        (short, "expected X.iloc[2] of series of one length, got shapes [(4,), (3,), (4,)]"),
        (nested(ragged).map(pandas.Series.to_list).map(str), "expected X.iloc[0] of series of one"),
        (reordered, "expected sample 0 of X with its times in order, each once"),
        (frame.iloc[[0, 0, 1]], "expected sample 0 of X with its times in order, each once"),
        (apart, "expected X with the rows of each sample next to each other"),
        (pandas.concat([frame], keys=["a"]), "of samples and times, got one of 3 levels"),
        ([pandas.DataFrame(ragged[0])[::-1]], "expected X[0] with its times in order"),
        (frame.iloc[:0], "at least one sample, step and channel, got shape (0, 3)"),
    ]:
        with pytest.raises(ValueError, match=re.escape(message)):
            from_sktime(wrong)
    with pytest.raises(TypeError, match=r"expected X as a panel: .* got DataFrame"):
        from_sktime(pandas.DataFrame(cube[0]))  # one series to sktime, many to aeon
    with pytest.raises(TypeError, match="expected X of real numbers, got object"):
        from_aeon(nested(ragged))


def test_without_pandas(monkeypatch, cube, ragged):
    monkeypatch.setitem(sys.modules, "pandas", None)
    to_sktime(cube)
    with pytest.raises(ImportError, match="pip install pandas"):
        to_sktime(ragged)


# ---- the libraries themselves


def test_aeon(cube, ragged):
    conversion = library("aeon.utils.conversion")
    kinds = {"list": ["np-list", "df-list", "pd-multiindex"], "univariate": ["numpy2D", "pd-wide"]}
    for kind in ["numpy3D", *kinds["list"]]:
        same_series(from_aeon(conversion.convert_collection(to_aeon(cube), kind)), cube)
    for kind in kinds["list"]:
        same_series(from_aeon(conversion.convert_collection(to_aeon(ragged), kind)), ragged)
    one = cube[..., :1]
    for kind in kinds["univariate"]:
        same_series(from_aeon(conversion.convert_collection(to_aeon(one), kind)), one)


def test_sktime(cube, ragged):
    convert_to = library("sktime.datatypes").convert_to
    kinds = ["pd-multiindex", "nested_univ", "df-list"]
    for kind in ["numpy3D", *kinds]:
        same_series(from_sktime(convert_to(to_sktime(cube), kind)), cube)
    for kind in kinds:
        same_series(from_sktime(convert_to(to_sktime(ragged), kind)), ragged)


def test_tslearn(ragged):
    utils = library("tslearn.utils")
    theirs = utils.to_time_series_dataset(ragged)
    np.testing.assert_array_equal(to_tslearn(ragged), theirs)
    same(from_tslearn(theirs), ragged)
    assert [len(x) for x in ragged] == [utils.ts_size(x) for x in to_tslearn(ragged)]


def same_series(got, want):
    """As `same`, of an array or a list of equal arrays."""
    same(list(got), list(want))
