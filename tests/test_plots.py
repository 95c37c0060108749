"""What the pictures show."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

from engines import each_engine as each_engine
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from processes import run_code

from rnnfast import GRU, LSTM, RNN, History, MinGRU, MinLSTM, Sequential, plots


def drawn(ax):
    """Whether the figure can be rendered, and shows something."""
    canvas = FigureCanvasAgg(np.ravel(ax)[0].figure)
    canvas.draw()
    return (np.asarray(canvas.buffer_rgba())[..., :3] < 200).any()


def clear_of_each_other(ax):
    """Whether a title and the legend do not lie on each other, nor the legend on the axes."""
    ax.set_title("The title of a picture, so long that it fills all of the space above the axes")
    assert drawn(ax)
    legend = ax.get_legend().get_window_extent()
    return not legend.overlaps(ax.title.get_window_extent()) and not legend.overlaps(ax.bbox)


def history(**values):
    made = History()
    made.update(values)
    return made


def test_backtest():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    from rnnfast.estimators.backtest import Backtest, measure

    truth = np.zeros((6, 3, 1))
    table = measure(truth, {"forecast": truth + 1, "network": truth + 2}, np.ones((6, 1)))
    ax = plots.backtest(table)
    assert [line.get_label() for line in ax.get_lines()] == ["forecast", "network"]
    np.testing.assert_array_equal(ax.get_lines()[1].get_xydata(), [[1, 2], [2, 2], [3, 2]])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("steps ahead", "MASE") and drawn(ax)
    fitted = type("Fitted", (), {"backtest_": table})()
    mine = Figure().subplots()
    assert plots.backtest(fitted, ax=mine) is mine
    with pytest.raises(TypeError, match="a Backtest with origins, or a fitted Forecaster"):
        plots.backtest(Backtest({}))


def test_learning_curve():
    losses = {"loss": [3.0, 2.0, 1.0, 0.5], "val_loss": [2.5, 1.5, 1.7, 1.9]}
    ax = plots.learning_curve(history(**losses))
    training, validation, best = ax.get_lines()
    np.testing.assert_array_equal(training.get_xydata(), [[1, 3], [2, 2], [3, 1], [4, 0.5]])
    np.testing.assert_array_equal(validation.get_ydata(), losses["val_loss"])
    np.testing.assert_array_equal(best.get_xydata(), [[2, 1.5]])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "loss")
    assert drawn(ax)
    # a single epoch is a dot, and there is no epoch 0.98
    ax = plots.learning_curve(history(loss=[3.0]))
    assert drawn(ax)
    assert ax.get_lines()[0].get_marker() == "."
    assert [tick for tick in ax.get_xticks() if 0.5 < tick < 1.5] == [1]
    # in the axes of one's own; of an estimator that went on after a partial fit
    mine = Figure().subplots()
    fitted = type("Fitted", (), {"history_": history(loss=[3.0, 2.0, 1.0], val_loss=[2.0, 1.0])})()
    assert plots.learning_curve(fitted, ax=mine) is mine
    np.testing.assert_array_equal(mine.get_lines()[1].get_xdata(), [2, 3])
    with pytest.raises(TypeError, match="a History with losses, or a fitted estimator, got dict"):
        plots.learning_curve({})


def test_forecast():
    truth = np.arange(10.0)
    ax = plots.forecast(truth, [8.0, 9.5], ([7.0, 8.0], [9.0, 11.0]))
    known, ahead = ax.get_lines()
    np.testing.assert_array_equal(known.get_ydata(), truth)
    np.testing.assert_array_equal(ahead.get_xydata(), [[8, 8], [9, 9.5]])
    box = ax.collections[0].get_paths()[0].get_extents()
    assert (box.x0, box.x1, box.y0, box.y1) == (8, 9, 7, 11)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "truth",
        "interval",
        "forecast",
    ]
    assert clear_of_each_other(ax)
    beyond = plots.forecast(truth, [10.0], start=10)
    np.testing.assert_array_equal(beyond.get_lines()[1].get_xdata(), [10])
    for arguments, message in [
        ((truth[:, None], [1.0]), "truth on one axis"),
        ((truth, [1.0], None, 11), "start from 0 to 10, got 11"),
        ((truth, [1.0, 2.0], ([1.0], [2.0])), "two arrays of 2 steps, got 1 and 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            plots.forecast(*arguments)


def test_confusion_matrix():
    ax = plots.confusion_matrix(["a", "a", "b", "a"], ["a", "b", "b", "a"])
    np.testing.assert_allclose(ax.images[0].get_array(), [[2 / 3, 1 / 3], [0, 1]])
    assert {text.get_position(): text.get_text() for text in ax.texts} == {
        (0, 0): "2",
        (1, 0): "1",
        (1, 1): "1",
    }
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["a", "b"]
    assert drawn(ax)
    with pytest.raises(ValueError, match=r"got shapes \(2,\) and \(1,\)"):
        plots.confusion_matrix([1, 2], [1])


@pytest.mark.parametrize(("cell", "count"), [(LSTM, 4), (GRU, 3), (MinGRU, 2), (MinLSTM, 3)])
def test_gates(cell, count):
    layer = cell(2, 5, num_layers=2, seed=0)
    x = np.random.default_rng(0).standard_normal((7, 2)).astype(np.float32)
    axes = plots.gates(layer, x, index=0)
    assert axes.shape == (count,)
    for ax, value in zip(axes, layer.gates(x).values(), strict=True):
        np.testing.assert_array_equal(ax.images[0].get_array(), value[0].T)
    assert drawn(axes)
    with pytest.raises(ValueError, match=r"one sequence \(T, I\), got shape \(1, 7, 2\)"):
        plots.gates(layer, x[None])
    with pytest.raises(ValueError, match=r"recurrent layer with gates, got RNN\("):
        plots.gates(RNN(2, 5), x)


@pytest.mark.parametrize(
    ("cell", "limits"),
    [(LSTM, [(0, 1), (0, 1), (-1, 1), (0, 1)]), (GRU, [(0, 1), (0, 1), (-1, 1)])],
)
def test_colours_of_gates_span_what_they_can_be(cell, limits):
    axes = plots.gates(cell(2, 5, seed=0), np.ones((7, 2), np.float32))
    assert [ax.images[0].get_clim() for ax in axes] == limits


def test_colours_of_a_candidate_without_bound_span_what_it_is():
    layer, x = MinGRU(2, 5, seed=0), np.full((7, 2), 30, np.float32)
    update, new = plots.gates(layer, x)
    assert update.images[0].get_clim() == (0, 1)
    highest = layer.gates(x)["new"].max()
    assert highest > 2
    assert new.images[0].get_clim() == (0, highest)
    assert [ax.get_title() for ax in (update, new)] == ["update gate", "new candidate"]


def test_strokes():
    # a line to the right, then one downwards from its end
    ax = plots.strokes([[0, 0, 0], [2, 0, 1], [0, 1, 0], [0, 1, 1]])
    first, second = ax.get_lines()
    np.testing.assert_array_equal(first.get_xydata(), [[0, 0], [2, 0]])
    np.testing.assert_array_equal(second.get_xydata(), [[2, 1], [2, 2]])
    assert ax.yaxis_inverted()
    assert drawn(ax)
    with pytest.raises(ValueError, match=r"shape \(steps, 3\), got \(2, 2\)"):
        plots.strokes(np.ones((2, 2)))


def test_piano_roll():
    ax = plots.piano_roll([[72, 48], [72, 0], [74, 48], [74, 48]])
    high, low = ax.containers
    assert [(bar.get_x(), bar.get_width()) for bar in high] == [(0, 2), (2, 2)]
    assert [bar.get_y() + bar.get_height() / 2 for bar in high] == [72, 74]
    assert [(bar.get_x(), bar.get_width()) for bar in low] == [(0, 1), (2, 2)]
    labels = [tick.get_text() for tick in ax.get_yticklabels()]
    assert labels == ["C3", "E3", "G3", "C4", "E4", "G4", "C5"]
    assert clear_of_each_other(ax)
    assert drawn(plots.piano_roll(np.zeros((3, 4), int)))  # silence
    with pytest.raises(ValueError, match=r"integers of shape \(time, voices\), got float64"):
        plots.piano_roll(np.ones((2, 2)))
    with pytest.raises(ValueError, match="2 names of voices, got 1"):
        plots.piano_roll(np.ones((2, 2), int), voices=["solo"])


def test_no_global_figure_and_a_word_on_what_is_missing():
    code = """
import sys
from rnnfast import plots
plots.forecast([1.0, 2.0], [2.0])
assert "matplotlib.pyplot" not in sys.modules
sys.modules["matplotlib.figure"] = None
try:
    plots.forecast([1.0, 2.0], [2.0])
except ImportError as error:
    assert "pip install rnnfast[plot]" in str(error), error
else:
    raise AssertionError("no ImportError")
"""
    run_code(code)


def test_gates_refuses():
    x = np.zeros((5, 2), np.float32)
    with pytest.raises(ValueError, match=r"recurrent layer with gates, got Sequential\("):
        plots.gates(Sequential(GRU(2, 3)), x)
    with pytest.raises(ValueError, match="axes for each of 3 gates, got 0"):
        plots.gates(GRU(2, 3), x, axes=[])
