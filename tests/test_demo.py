"""The demo, in a form that takes seconds."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from rnnfast import demo, load, num_threads
from rnnfast.__main__ import main

TINY = demo.Settings(characters=12_000, hidden=16, embedding=8, epochs=2, steps=16, sample=60)


@pytest.fixture
def settings(tmp_path):
    with num_threads(1):  # tests may run beside others
        yield replace(TINY, out=str(tmp_path / "out"))


def test_demo_shows_everything_it_promises(settings, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(demo.Display, "seconds_between_lines", 0.0)
    assert demo.run(settings) == 0
    shown = capsys.readouterr()
    for words in (
        "12,000 characters",
        "5-gram",
        "LSTM",
        "bits per character in training",
        "continues with the same text",
        "epoch 2/2",
    ):
        assert words in shown.out
    for words in ("loss", "bits per character", "characters/s", "s left"):
        assert words in shown.err
    model = load(tmp_path / "out" / "model.npz")
    assert model.layers[1].num_layers == 2


def test_progress_bar(settings, capsys):
    pytest.importorskip("tqdm")
    assert demo.run(settings) == 0
    assert "characters/s" in capsys.readouterr().err


def test_learning_curve(settings, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    demo.run(settings)
    assert (tmp_path / "out" / "learning-curve.png").read_bytes().startswith(b"\x89PNG")
    assert "learning-curve.png" in capsys.readouterr().out


def test_without_matplotlib(settings, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert demo.run(settings) == 0
    assert "rnnfast[plot]" in capsys.readouterr().out
    assert not (tmp_path / "out" / "learning-curve.png").exists()


def test_same_seed_same_model(settings, tmp_path):
    models = []
    for _ in range(2):
        assert demo.run(settings) == 0
        models.append(load(tmp_path / "out" / "model.npz").state_dict())
    for name, array in models[0].items():
        np.testing.assert_array_equal(array, models[1][name])


def test_time_limit_shortens_the_schedule(settings, capsys, monkeypatch):
    monkeypatch.setattr(demo.Course, "grace", 0.0)
    assert demo.run(replace(settings, minutes=1e-6)) == 0
    assert "shortened the schedule to 0.0 of 2 epochs" in capsys.readouterr().out


def test_command_line(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    asked = []
    monkeypatch.setattr(demo, "run", lambda settings: asked.append(settings) or 0)
    assert main(["demo", "--epochs", "3", "--minutes", "0.5", "--out", "here"]) == 0
    assert asked == [demo.Settings(epochs=3, minutes=0.5, out="here")]
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
            bits.append(demo.ngram_bits(ids, len(train), symbols, order)[-1])
        assert sum(2.0 ** -np.array(bits)) == pytest.approx(1.0, rel=1e-12)


def test_ngram_learns_what_repeats():
    ids = np.tile(np.arange(8), 200)
    assert demo.ngram_bits(ids, 1400, 9).max() < 0.1


def test_streams_and_carried_state_agree():
    text = demo.Text.read(6_000)
    model = demo.build(TINY, text.symbols)
    whole = demo.held_out_bits(model, text.ids, text.cut, streams=1, chunk=100)
    parts = demo.held_out_bits(model, text.ids, text.cut, streams=7)
    assert whole.shape == parts.shape == (text.held_out,)
    np.testing.assert_allclose(parts, whole, atol=1e-3)
    scores, _ = model(text.ids[:-1, None])
    p = np.exp(scores[:, 0].astype(float))
    p /= p.sum(axis=1, keepdims=True)
    wanted = -np.log2(p[np.arange(len(p)), text.ids[1:]])[text.cut - 1 :]
    np.testing.assert_allclose(whole, wanted, atol=1e-3)


def test_unseen_characters_cost_both_models_the_same():
    text = demo.Text("ab", np.array([0, 1, 0, 2, 1]), 3)
    assert text.symbols == 3
    assert text.encode("bZ").tolist() == [1, 2]
    assert text.identity_bits().tolist() == [np.log2(demo.CODE_POINTS - 2), 0.0]


def test_new_text():
    train, fresh = "abcdefgh" * 20, "hgfedcba" * 20
    text = demo.Text("abcdefgh", demo.Text("abcdefgh", np.empty(0), 0).encode(train + fresh), 160)
    assert text.new().all()
    text = text._replace(ids=text.encode(train + fresh[:50] + train[:60] + fresh[:50]))
    new = text.new()
    assert new[:49].all() and new[111:].all()
    assert not new[51:110].any()
