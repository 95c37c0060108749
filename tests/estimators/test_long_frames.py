"""Long frames whose columns have other names: refused, with the call that gives them these."""

from __future__ import annotations

import re

import numpy as np
import pytest
import scipy.sparse

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from rnnfast.estimators import Forecaster, LinearForecaster, SequenceClassifier

pandas = pytest.importorskip("pandas", reason="pandas is not installed")
DAYS = pandas.date_range("2024-01-01", periods=30)
SALES = pandas.DataFrame(
    {"store": np.repeat(["a", "b"], 30), "date": np.tile(DAYS, 2), "sales": np.arange(60.0)}
)
COUNTS = np.tile(np.arange(30), 2)
FRAMES = {
    "words and dates": SALES,
    "numbers and dates": SALES.assign(store=np.repeat([7, 9], 30)),
    "categories": SALES.assign(store=SALES.store.astype("category")),
    "dates in text": SALES.assign(date=SALES.date.astype(str)),
    "words and counts": SALES.assign(date=COUNTS),
    "named time": SALES.assign(date=COUNTS, store=np.repeat([7, 9], 30)),
    "in another order": SALES.sample(frac=1.0, random_state=0)[["sales", "date", "store"]],
    "an index of dates": SALES.set_index("date"),
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_the_call_that_is_meant(frame):
    call = "X.rename(columns={'store': 'id', 'date': 'time'})"
    if frame.index.name:
        call = call.replace("X.", "X.reset_index().")
    for fit in (
        lambda X: LinearForecaster(horizon=2, window=4).fit(X),
        lambda X: SequenceClassifier(max_iter=1).fit(X, [0, 1]),
    ):
        with pytest.raises(ValueError, match=re.escape(f"other names: {call} has these")):
            fit(frame)
    if frame is SALES:
        renamed = eval(call, {"X": frame})
        fitted = LinearForecaster(horizon=2, window=4).fit(renamed)
        assert fitted.predict(renamed).shape == (4, 3)
        SequenceClassifier(max_iter=1).fit(renamed, [0, 1])


def test_a_frame_of_one_series_is_none():
    hours = pandas.DataFrame(
        {"day": np.repeat(np.arange(5), 24), "hour": np.tile(np.arange(24), 5), "load": 1.0}
    )
    for frame in (hours, hours.set_index(pandas.date_range("2024-01-01", periods=120, freq="h"))):
        assert LinearForecaster(window=4).fit(frame).n_features_in_ == 3
    with pytest.raises(TypeError, match="got dates in the column 'date'"):
        LinearForecaster(window=4).fit(SALES[:30])  # of one store only


def test_targets_that_name_samples_in_another_order():
    long = SALES.rename(columns={"store": "id", "date": "time"})
    wide = pandas.DataFrame(np.arange(12.0).reshape(3, 4), ["a", "b", "c"])
    model = SequenceClassifier(max_iter=1)
    for X, names in ((long, ["b", "a"]), (wide, ["c", "a", "b"])):
        y = pandas.Series(np.arange(len(names)) % 2, names)
        with pytest.raises(ValueError, match=r"y in the order of the samples of X, \['a', 'b'"):
            model.fit(X, y)
        model.fit(X, y.sort_index())
        for call in (model.score, lambda X, y: model.fit(X, y.to_numpy(), sample_weight=y + 1.0)):
            with pytest.raises(ValueError, match=r"\.loc\[.*\] has that order"):
                call(X, y)
    model.fit(wide.reset_index(drop=True), pandas.Series([0, 1, 0], [2, 0, 1]))  # a count of rows
    with pytest.raises(TypeError, match="y as a dense array, got sparse data"):
        model.fit(wide, scipy.sparse.csr_matrix([[0], [1], [0]]))


def test_dates_as_text_are_spoken_of():
    frame = pandas.DataFrame({"when": [f"2024-01-{d:02d}" for d in range(1, 13)], "v": range(12)})
    with pytest.raises(TypeError, match=r"'when', '2024-01-01' first; pandas.to_datetime reads"):
        SequenceClassifier().fit(frame, [0, 1] * 6)
    with pytest.raises(TypeError, match=r"pandas.to_datetime reads dates from text, set_index"):
        Forecaster().fit(frame)
