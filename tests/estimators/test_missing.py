"""Values that are missing: named by place, or filled as asked for."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from rnnfast import SequenceClassifier
from rnnfast.estimators.missing import (
    MISSING,
    check_finite,
    fill_missing,
    gross_outliers,
    means_around,
    stand_in,
)

NAN = np.nan


def sample(*values):
    return np.array([values], float)[..., np.newaxis]


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("linear", [2, 2, 3, 4, 4, 4]),
        ("ffill", [2, 2, 2, 4, 4, 4]),
        ("mean", [7, 2, 7, 4, 7, 7]),
    ],
)
def test_fill(how, expected):
    x = sample(NAN, 2, NAN, 4, NAN, NAN)
    before = x.copy()
    np.testing.assert_array_equal(fill_missing(x, None, how, [7.0])[0, :, 0], expected)
    np.testing.assert_array_equal(x, before)
    of_list = fill_missing([x[0], x[0, :4]], None, how, [7.0])
    np.testing.assert_array_equal(of_list[0][:, 0], expected)
    np.testing.assert_array_equal(of_list[1][:, 0], expected[:4])


@pytest.mark.parametrize("how", ["linear", "ffill", "mean"])
def test_what_is_past_the_end_stays_out(how):
    x = np.concatenate([sample(1, NAN, 3, 100, NAN), sample(NAN, 5, 6, 7, 8)])
    cut = [
        fill_missing(one[:n][np.newaxis], None, how)[0] for one, n in zip(x, [3, 5], strict=True)
    ]
    filled = fill_missing(x, np.array([3, 5]), how)
    np.testing.assert_array_equal(filled[0, :3], cut[0])
    np.testing.assert_array_equal(filled[1], cut[1])
    assert not filled[0, 3:].any()


@pytest.mark.parametrize("how", ["linear", "ffill", "mean"])
def test_a_sample_without_any_value(how):
    x = np.stack([np.full((3, 1), NAN), np.ones((3, 1))])
    np.testing.assert_array_equal(fill_missing(x, None, how, [5.0])[0, :, 0], [5, 5, 5])
    assert np.isnan(fill_missing(x, None, how, NAN)[0, :, 0]).all()


def test_nothing_is_copied_where_nothing_is_missing():
    x = np.ones((2, 3, 1))
    for how in ("linear", "ffill", "mean"):
        assert fill_missing(x, None, how) is x


@pytest.mark.parametrize(
    ("place", "options", "message"),
    [
        ((3, 4, 1), {}, "got NaN in sample 3, step 4, column 1$"),
        ((3, 4, 1), {"columns": ["load", "temp"]}, r"step 4, column 1 \('temp'\)"),
        ((3, 4, 1), {"samples": list("abcde")}, r"sample 3 \('d'\), step 4"),
        ((0, 4, 1), {"single": True}, "got NaN in step 4, column 1"),
        ((0, 4, 0), {"single": True, "steps": [list("uvwxyz")]}, r"step 4 \('?y'?\), column 0"),
        ((3, 4, 1), {"masked": True}, "got a masked value in sample 3"),
        ((3, 5, slice(None)), {}, "step 5, column 0; where NaN is padding, lengths="),
    ],
    ids=str,
)
def test_the_first_one_is_named(place, options, message):
    x = np.ones((5, 6, 2))
    x[place] = NAN
    for given in (x, list(x)):
        with pytest.raises(ValueError, match=f"^Owner expected X of finite numbers, .*{message}"):
            check_finite("Owner", given, **options)
    assert check_finite("Owner", x, missing="linear")
    x[place] = np.inf
    for missing in (None, "mask"):
        with pytest.raises(ValueError, match="got inf in "):
            check_finite("Owner", x, missing=missing)


def test_advice_names_the_parameter_where_there_is_one():
    x = np.ones((1, 2, 1))
    x[0, 0] = NAN
    message = "step 0; missing='mask', 'linear', 'ffill' or 'mean' would take it"
    with pytest.raises(ValueError, match=message):
        check_finite(SimpleNamespace(missing=None), x)


def test_large_sums_are_no_infinity():
    assert not check_finite("Owner", np.full((2, 3, 1), 3e38, np.float32))
    assert not check_finite("Owner", np.full((2, 3, 1), np.finfo(float).max))


def test_past_the_end_anything_goes():
    x = np.ones((2, 4, 1))
    x[0, 2:] = NAN
    assert not check_finite("Owner", x, np.array([2, 4]))
    with pytest.raises(ValueError, match="sample 0, step 2"):
        check_finite("Owner", x, np.array([3, 4]))


# ---- in estimators -----------------------------------------------------------------------------


def gaps():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20, 8, 2))
    mask = np.zeros(x.shape, bool)
    mask[::3, 2:5, 0] = True
    return x, mask, np.arange(20) % 2


QUICK = {"max_iter": 2, "hidden_size": 4, "random_state": 0}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("how", MISSING)
def test_masked_entries_are_never_read(how):
    x, mask, y = gaps()
    masked = np.ma.array(np.where(mask, 9999.0, x), mask=mask)
    nan = np.where(mask, NAN, x)
    expected = SequenceClassifier(**QUICK, missing=how).fit(nan, y).predict_proba(nan)
    for form in (masked, list(masked), nan.tolist(), np.where(mask, None, x)):
        model = SequenceClassifier(**QUICK, missing=how).fit(form, y)
        np.testing.assert_array_equal(model.predict_proba(form), expected)
    if how in ("mask", "mean"):
        mean = x[..., 0][~mask[..., 0]].mean()
        assert model._scaler.mean[0] == pytest.approx(mean, rel=1e-12)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("how", MISSING)
def test_padding_and_gaps(how):
    x, mask, y = gaps()
    nan = np.where(mask, NAN, x)
    ends = np.where(np.arange(20) % 2, 4, 8)
    short = [one[:n] for one, n in zip(nan, ends, strict=True)]
    padded = np.where(np.arange(8)[:, np.newaxis] < ends[:, np.newaxis, np.newaxis], nan, 1e6)
    one = SequenceClassifier(**QUICK, missing=how).fit(short, y)
    other = SequenceClassifier(**QUICK, missing=how).fit(padded, y, lengths=ends)
    np.testing.assert_array_equal(
        one.predict_proba(short), other.predict_proba(padded, lengths=ends)
    )


def test_a_classifier_names_the_place():
    x, mask, y = gaps()
    bad = x.copy()
    bad[3, 4, 1] = NAN
    ragged = [b[: 3 + i % 5] if i != 3 else b for i, b in enumerate(bad)]
    for X in (bad, ragged):
        with pytest.raises(
            ValueError,
            match="SequenceClassifier expected X of finite numbers, got NaN in sample 3, step 4, "
            "column 1; missing='mask', 'linear', 'ffill' or 'mean' would take it",
        ):
            SequenceClassifier(**QUICK).fit(X, y)
    with pytest.raises(ValueError, match="got inf in sample 3, step 4, column 1"):
        SequenceClassifier(**QUICK, missing="mask").fit(np.nan_to_num(bad, nan=np.inf), y)
    with pytest.raises(ValueError, match="got a masked value in sample 0, step 2, column 0"):
        SequenceClassifier(**QUICK).fit(np.ma.array(x, mask=mask), y)


def test_means_around():
    x = np.arange(40.0)[:, np.newaxis] * [1.0, -2.0, np.nan]
    x[[0, 10, 11, 39]] = np.nan
    around = means_around(x, np.array([0.0, 0.0, 7.0]))
    # eight known steps on each side, fewer at the ends
    np.testing.assert_allclose(around[[0, 10, 11], 0], [4.5, 10.5, 10.5])
    np.testing.assert_allclose(around[39], [34.5, -69.0, 7.0])


@pytest.mark.parametrize(
    "places", [(50, 100), (100, 101), (20, 90, 150), (187, 188, 189), (50, 189), range(3, 9)]
)
def test_the_same_gross_outlier_again(places):
    places = list(places)
    x = np.random.default_rng(0).standard_normal((190, 2))
    x[places, 1] = 9999.0
    assert np.argwhere(gross_outliers(x)).tolist() == [[place, 1] for place in places]


@pytest.mark.parametrize(
    "places",
    [
        range(15, 365, 30),  # paid each month
        [14, 45, 73, 104, 134, 165, 195, 226, 257, 287, 318, 348],  # whatever its days
        (120, 250),  # twice, with no room for a third
        range(300, 330),  # a state, not a fault
    ],
)
def test_the_same_peak_at_intervals_is_meant(places):
    x = np.random.default_rng(0).standard_normal((365, 1))
    x[list(places)] = 500.0
    assert not gross_outliers(x).any()


def test_gross_outliers():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 1))
    for place in (0, 150, 299):
        spoilt = x.copy()
        spoilt[place] = -1e4
        assert np.argwhere(gross_outliers(spoilt)).tolist() == [[place, 0]]
    t = np.arange(1200)
    level = x + np.where(t[:300, np.newaxis] < 299, 0.0, 1.0)
    rare = (x > 2.5) * 1.0  # no deviation to measure by
    for honest in (
        x,
        rng.standard_cauchy((300, 1))[:9],  # too few to tell
        np.exp(0.05 * t[:300, np.newaxis]),  # growth
        level,
        np.where(t[:300] < 290, 0.0, 1e4)[:, np.newaxis] + x,  # another level
        np.where(t % 365 == 100, 1e4, 0.0)[:, np.newaxis] + rng.standard_normal((1200, 1)),
        rare,
    ):
        assert not gross_outliers(honest).any()


@pytest.mark.parametrize("n", [60, 100, 200])
@pytest.mark.parametrize("sizes", [(1e4, -3e3), (1e4, 8e3), (-2e3, 5e4, 7e3)])
def test_unequal_gross_outliers(n, sizes):
    rng = np.random.default_rng(n)
    x = rng.standard_normal((n, 1))
    places = np.sort(rng.choice(n, len(sizes), replace=False))
    x[places, 0] = sizes
    assert np.flatnonzero(gross_outliers(x)).tolist() == places.tolist()


@pytest.mark.parametrize(
    ("places", "sizes"),
    [
        ((49, 99), (900.0, 1100.0)),  # again after as many steps
        ((98, 99), (900.0, 1100.0)),  # a level that goes on
        ((20, 35, 60, 92), (900.0, 4e3, -800.0, 700.0)),  # too many
    ],
)
def test_far_values_that_may_be_meant(places, sizes):
    x = np.random.default_rng(0).standard_normal((100, 1))
    x[list(places), 0] = sizes
    assert not gross_outliers(x).any()


@pytest.mark.parametrize("number", [-999.0, 9999.0, -999.25, 0.0, 1e6])
def test_a_number_that_may_stand_for_what_is_missing(number):
    rng = np.random.default_rng(0)
    x = rng.uniform(80.0, 120.0, 150)
    x[rng.random(150) < 0.2] = number
    assert stand_in(x) == number


def test_nines_need_not_be_far_to_be_told():
    x = np.random.default_rng(0).uniform(0.0, 5000.0, 150)
    x[[20, 90]] = -999.0
    assert stand_in(x) == -999.0
    x[[20, 90]] = 9999.0
    assert stand_in(x) == 9999.0
    x[[20, 90]] = -500.0
    assert stand_in(x) is None


def test_repeated_extremes_that_are_meant():
    rng = np.random.default_rng(0)
    t = np.arange(150)
    x = rng.uniform(80.0, 120.0, 150)
    for honest in (
        x,
        np.where(t % 7 == 6, 0.0, x),  # closed on Sundays
        np.minimum(x, 110.0),  # a limit
        np.where(t < 100, 0.0, x),  # most of the series
        rng.poisson(0.5, 150).astype(float),
        (t > 100) * 1.0,
        np.round(x * 8.325),  # up to 999, among others near to it
        x[:10],
    ):
        assert stand_in(honest) is None
