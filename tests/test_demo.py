"""The demo, in a form that takes seconds."""

import math
import sys
from dataclasses import replace

import numpy as np
import pytest

from rnnfast import load, num_threads
from rnnfast.__main__ import main
from rnnfast.datasets import pydoc_text
from rnnfast.demo import PLANS, Plan, Settings, Text, choose, command, models, show
from rnnfast.demo import course as courses
from rnnfast.demo.settings import REFERENCE
from rnnfast.demo.text import CODE_POINTS, ngram_bits

SMALL = {"characters": 12_000, "hidden": 16, "epochs": 2, "steps": 16}
TINY = Plan(speed=0, layers=2, lr=5e-3, dropout=0.2, why="", embedding=8, **SMALL)
SPEED = 10_000.0


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setattr(models.time, "sleep", lambda seconds: None)
    with num_threads(1):  # tests may run beside others
        yield Settings(sample=60, out=str(tmp_path / "out"), asked=tuple(SMALL.items()))


def test_demo_shows_everything_it_promises(settings, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(courses.Display, "seconds_between_lines", 0.0)
    assert command.run(settings) == 0  # at the speed that it measures
    shown = capsys.readouterr()
    for words in (
        "characters a second",
        "hidden 16 was asked for",
        "12,000 characters",
        "5-gram",
        "LSTM",
        "bits per character in training",
        "continues with the same text",
        "epoch 2:",
        "MORE bits",
    ):
        assert words in shown.out
    for words in ("loss", "bits per character", "characters/s", "s left"):
        assert words in shown.err
    model = load(tmp_path / "out" / "model.npz")
    assert model.layers[1].hidden_size == 16


def test_progress_bar(settings, capsys):
    pytest.importorskip("tqdm")
    assert command.run(settings, SPEED) == 0
    assert "characters/s" in capsys.readouterr().err


def test_learning_curve(settings, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    command.run(settings, SPEED)
    assert (tmp_path / "out" / "learning-curve.png").read_bytes().startswith(b"\x89PNG")
    assert "learning-curve.png" in capsys.readouterr().out


def test_without_matplotlib(settings, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert command.run(settings, SPEED) == 0
    assert "rnnfast[plot]" in capsys.readouterr().out
    assert not (tmp_path / "out" / "learning-curve.png").exists()


def test_same_seed_same_model(settings, tmp_path):
    models = []
    for _ in range(2):
        assert command.run(settings, SPEED) == 0
        models.append(load(tmp_path / "out" / "model.npz").state_dict())
    for name, array in models[0].items():
        np.testing.assert_array_equal(array, models[1][name])


def test_time_limit_shortens_the_schedule(settings, capsys, monkeypatch):
    monkeypatch.setattr(courses.Course, "grace", 0.0)
    assert command.run(replace(settings, minutes=1e-6), SPEED) == 0
    assert "shortened it to 0.0 of 2 epochs" in capsys.readouterr().out


# ---- the table ---------------------------------------------------------------------------------


def test_plans_go_down_to_every_speed():
    speeds = [plan.speed for plan in PLANS]
    assert speeds == sorted(set(speeds), reverse=True)
    assert speeds[-1] == 0


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: f"{plan.speed:,.0f}")
def test_each_speed_has_its_plan(plan):
    assert choose(plan.speed) is plan
    assert choose(plan.speed * 1.01 + 1) is plan
    if plan.speed:
        assert choose(plan.speed * 0.99) is PLANS[PLANS.index(plan) + 1]


def test_fast_and_slow_machines_differ():
    assert len({choose(speed) for speed in (50_000, 12_000, 4_000, 2_000, 0)}) == 5
    assert choose(math.inf) is PLANS[0]


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: f"{plan.speed:,.0f}")
def test_each_plan_learns_within_its_time(plan):
    """In full size, on a machine that takes 90 seconds for 6 batches."""
    few = {"epochs": plan.epochs, "batch": plan.batch, "steps": plan.steps}
    text = Text.of(pydoc_text()[: 7 * plan.batch * plan.steps], 6 * plan.batch * plan.steps + 1)
    course, clock = train(plan, text, gram=math.inf, batches=6)
    assert course.taken == 6 and clock.now == pytest.approx(90)
    assert course.optimizer.lr <= 0.02 * plan.lr
    assert few["batch"] * few["steps"] == course.size
    losses = [bits for _, bits in course.losses]
    assert losses[0] < np.log2(text.symbols) and losses[-1] < losses[0]
    assert len(course.held_out) >= 1 and np.isfinite(course.held_out[-1][1])
    assert course.extra == 0


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: f"{plan.speed:,.0f}")
def test_each_plan_says_what_and_why(plan, settings, capsys):
    assert command.run(settings, speed=plan.speed) == 0
    out = capsys.readouterr().out
    assert f"{plan.speed:,.0f} characters a second" in out
    assert plan.why in " ".join(out.split())


def test_overtime_never_exceeds_what_was_asked_for():
    assert Settings().spare == 60
    assert Settings(minutes=0.3).spare == pytest.approx(12)
    assert Settings(overtime=0.5).spare == 30
    assert Settings(asked=(("epochs", 1),)).spare == 0


@pytest.mark.parametrize("name, value", [("hidden", 32), ("epochs", 3), ("lr", 1e-3)])
def test_what_is_asked_for_wins(name, value):
    for plan in PLANS:
        got = Settings(asked=((name, value),)).plan(plan.speed)
        assert got == replace(plan, **{name: value})


# ---- speed -------------------------------------------------------------------------------------


class Clock:
    """Time that passes when a test says so."""

    now = 0.0

    def __call__(self):
        return self.now


def test_speed_is_what_is_read_in_a_second(monkeypatch):
    clock = Clock()

    def slow(*args, **kwargs):
        clock.now += 0.25

    monkeypatch.setattr(models, "clip_grad_norm", slow)
    text = Text.read(12_000)
    speed = models.measure_speed(text, TINY, seconds=1.0, clock=clock)
    assert speed == pytest.approx(TINY.batch * TINY.steps / 0.25)
    assert clock.now == pytest.approx(5 * 0.25)  # the first does not count
    assert models.measure_speed(text, TINY, seconds=0.0) > 0


def test_speeds_are_of_the_model_that_results_name():
    assert (REFERENCE.layers, REFERENCE.hidden) == (2, 256)


def test_comparison_with_numpy_ends_in_time():
    text = Text.read(12_000)
    line = models.compare_speed(TINY, text, seconds=0.0)
    assert "medians of 2" in line or "no engine" in line


# ---- overtime ----------------------------------------------------------------------------------


def train(plan, text, gram, batches, bits=None, overtime=1.0):
    """Train on a machine of which 90 seconds are enough for some batches."""
    clock = Clock()

    class Machine(courses.Course):
        def on_batch_end(self, batch, logs):
            clock.now += 90 / batches
            super().on_batch_end(batch, logs)

    course = Machine(Settings(overtime=overtime), plan, text, gram, clock)
    with pytest.MonkeyPatch.context() as patch, num_threads(1):
        if bits is not None:
            found = iter(bits)
            patch.setattr(
                courses,
                "held_out_bits",
                lambda *args, **kwargs: next(found) - text.identity_bits(),
            )
        courses.train(course, models.build(plan, text.symbols, 0, text.start()))
    return course, clock


@pytest.fixture
def long_text():
    return Text.of(pydoc_text()[:12_000], 11_000)


def test_no_overtime_below_the_5_gram(long_text, capsys):
    course, clock = train(TINY, long_text, 2.0, 24, bits=[1.9])
    assert course.extra == 0 and clock.now == pytest.approx(90)
    assert "Going on" not in capsys.readouterr().out


def test_overtime_ends_when_the_5_gram_is_beaten(long_text, capsys):
    course, clock = train(TINY, long_text, 2.0, 24, bits=[2.1, 1.9])
    assert course.extra == 30 and clock.now == pytest.approx(120)
    assert course.taken == 32
    out = capsys.readouterr().out
    assert "5.0% above the 5-gram" in out
    assert "Going on for 30 s" in out and "60 s are left" in out
    assert "120 seconds, 30 of them overtime" in out


def test_overtime_is_bounded(long_text, capsys):
    course, clock = train(TINY, long_text, 2.0, 24, bits=[2.3, 2.2, 2.1])
    assert course.extra == 60 and clock.now == pytest.approx(150)
    out = capsys.readouterr().out
    assert out.count("Going on for 30 s") == 2 and "30 s are left" in out
    text = show.verdict(2.0, 2.1, course)
    assert "5.0% MORE bits" in text and "--minutes 6" in text
    assert "5.0% fewer bits" in show.verdict(2.0, 1.9, course)


def test_overtime_may_be_declined(long_text):
    course, clock = train(TINY, long_text, 2.0, 24, bits=[2.3], overtime=0.0)
    assert course.extra == 0 and clock.now == pytest.approx(90)


def test_no_overtime_that_cannot_help(long_text, capsys):
    course, clock = train(TINY, long_text, 2.0, 24, bits=[2.5])
    assert course.extra == 0 and clock.now == pytest.approx(90)
    assert "25.0% MORE bits" in show.verdict(2.0, 2.5, course)
    course.settings = Settings(asked=(("characters", 10),), minutes=0.1)
    assert "`rnnfast demo` gives it all of the text" in show.verdict(2.0, 2.5, course)


def test_overtime_goes_on_where_the_text_was_left(long_text):
    places = []

    class Watched(courses.text_batches):
        def __iter__(self):
            for i, batch in enumerate(super().__iter__()):
                places.append(i)
                yield batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(courses, "text_batches", Watched)
        course, _ = train(TINY, long_text, 2.0, 24, bits=[2.1, 1.9])
    assert course.done == 32 * TINY.batch * TINY.steps
    assert places[:24] == list(range(24))
    assert places[-8:] == list(range(24, 32))


def test_the_rate_rises_again_and_falls(long_text):
    rates = []

    class Watched(courses.Cycle):
        def rate(self, share):
            rates.append(super().rate(share))
            return rates[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(courses, "Cycle", Watched)
        train(TINY, long_text, 2.0, 24, bits=[2.1, 1.9])
    first, second = rates[1:25], rates[26:]
    assert first[2:] == sorted(first[2:], reverse=True)
    assert second == sorted(second, reverse=True)
    assert max(first) > 0.9 * TINY.lr and 0.2 * TINY.lr < max(second) <= 0.25 * TINY.lr
    assert rates[-1] < 0.02 * TINY.lr


# ---- command line -----------------------------------------------------------------------------


def test_command_line(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    asked = []
    monkeypatch.setattr(command, "run", lambda settings: asked.append(settings) or 0)
    assert main(["demo", "--epochs", "3", "--minutes", "0.5", "--out", "here"]) == 0
    assert asked == [Settings(asked=(("epochs", 3),), minutes=0.5, out="here")]
    assert main(["demo", "--quick", "--hidden", "32", "--seed", "1"]) == 0
    quick = (("hidden", 32), ("layers", 1), ("epochs", 4), ("characters", 20_000))
    assert asked[1:] == [Settings(asked=quick, minutes=0.1, seed=1)]
    with pytest.raises(SystemExit) as stop:
        main(["demo", "--help"])
    assert stop.value.code == 0
    assert "--minutes" in capsys.readouterr().out


@pytest.mark.parametrize(
    "option",
    [
        "--epochs=0",
        "--minutes=0",
        "--hidden=-1",
        "--dropout=2",
        "--batch=0",
        "--batch=100000000",
        "--lr=-1",
        "--lr=inf",
        "--seed=-1",
        "--out=file",
        "--out=file/below",
        "--out=/proc/nowhere",
    ],
)
def test_options_out_of_range(option, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert main(["demo", option]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert option.split("=")[0][2:] in err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("seconds", ["nan", "-1", "inf"])
def test_bench_seconds_out_of_range(seconds, capsys):
    assert main(["bench", "--seconds", seconds]) == 2
    wanted = f"rnnfast: bench expected seconds >= 0 and finite, got {float(seconds)}\n"
    assert capsys.readouterr() == ("", wanted)


@pytest.mark.parametrize("threads", ["0", "-1", "100000"])
def test_bench_threads_out_of_range(threads, capsys):
    assert main(["bench", "--threads", threads]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("rnnfast: ")


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_ngram_probabilities_sum_to_one(order):
    rng = np.random.default_rng(3)
    symbols, train = 6, rng.integers(0, 5, 400)  # symbol 5 does not occur
    for context in ([0, 1, 2, 3], [4, 4, 4, 5], [5, 5, 5, 5]):
        bits = []
        for symbol in range(symbols):
            ids = np.array([*train, *context, symbol])
            bits.append(ngram_bits(ids, len(train), symbols, order)[-1])
        assert sum(2.0 ** -np.array(bits)) == pytest.approx(1.0, rel=1e-12)


def test_ngram_learns_what_repeats():
    ids = np.tile(np.arange(8), 200)
    assert ngram_bits(ids, 1400, 9).max() < 0.1


def test_streams_and_carried_state_agree():
    text = Text.read(6_000)
    model = models.build(TINY, text.symbols)
    whole = models.held_out_bits(model, text.ids, text.cut, streams=1, chunk=100)
    parts = models.held_out_bits(model, text.ids, text.cut, streams=7)
    assert whole.shape == parts.shape == (text.held_out,)
    np.testing.assert_allclose(parts, whole, atol=1e-3)
    scores, _ = model(text.ids[:-1, None])
    p = np.exp(scores[:, 0].astype(float))
    p /= p.sum(axis=1, keepdims=True)
    wanted = -np.log2(p[np.arange(len(p)), text.ids[1:]])[text.cut - 1 :]
    np.testing.assert_allclose(whole, wanted, atol=1e-3)


def test_unseen_characters_cost_both_models_the_same():
    text = Text("ab", np.array([0, 1, 0, 2, 1]), 3)
    assert text.symbols == 3
    assert text.encode("bZ").tolist() == [1, 2]
    assert text.identity_bits().tolist() == [np.log2(CODE_POINTS - 2), 0.0]


def test_new_text():
    train, fresh = "abcdefgh" * 20, "hgfedcba" * 20
    text = Text("abcdefgh", Text("abcdefgh", np.empty(0), 0).encode(train + fresh), 160)
    assert text.new().all()
    text = text._replace(ids=text.encode(train + fresh[:50] + train[:60] + fresh[:50]))
    new = text.new()
    assert new[:49].all() and new[111:].all()
    assert not new[51:110].any()
