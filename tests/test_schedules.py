"""Learning-rate schedules: against torch.optim.lr_scheduler, and in the training loop."""

from __future__ import annotations

import re

import numpy as np
import pytest

from rnnfast import (
    SGD,
    Callback,
    CosineAnnealingLR,
    ExponentialLR,
    Linear,
    OneCycleLR,
    ReduceLROnPlateau,
    StepLR,
    fit,
    losses,
)

FLAT = 1.0 + 0.001 * np.random.default_rng(0).random(60)
WAVES = 1.0 / np.arange(1, 61) + 0.05 * np.sin(np.arange(60))

CASES = [
    (StepLR, {"step_size": 3}),
    (StepLR, {"step_size": 1, "gamma": 0.5}),
    (ExponentialLR, {"gamma": 0.9}),
    (CosineAnnealingLR, {"T_max": 7}),
    (CosineAnnealingLR, {"T_max": 60, "eta_min": 0.01}),
    (OneCycleLR, {"max_lr": 2.0, "total_steps": 61}),
    (OneCycleLR, {"max_lr": 2.0, "total_steps": 61, "anneal_strategy": "linear"}),
    (
        OneCycleLR,
        {
            "max_lr": 0.3,
            "total_steps": 61,
            "pct_start": 0.01,
            "div_factor": 3.0,
            "final_div_factor": 7.0,
        },
    ),
    (ReduceLROnPlateau, {"patience": 4}),
    (ReduceLROnPlateau, {"mode": "max", "factor": 0.5, "patience": 1, "min_lr": 0.01}),
    (ReduceLROnPlateau, {"factor": 0.3, "patience": 2, "cooldown": 3, "threshold_mode": "abs"}),
    (ReduceLROnPlateau, {"mode": "max", "threshold": 0.03, "threshold_mode": "abs", "eps": 0.01}),
]
each_case = pytest.mark.parametrize(("cls", "options"), CASES, ids=str)


def optimizer(lr=0.5):
    return SGD(Linear(1, 1, seed=0), lr=lr)


def rates(schedule, values, optimizer):
    """The rate before each of the steps, and after the last."""
    out = [optimizer.lr]
    for value in values:
        schedule.step(*[value] * isinstance(schedule, ReduceLROnPlateau))
        out.append(optimizer.lr)
    return out


@each_case
@pytest.mark.parametrize("values", [FLAT, WAVES], ids=["flat", "waves"])
@pytest.mark.filterwarnings("ignore:Detected call of")  # of a schedule before its optimiser
def test_torch(cls, options, values):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    theirs = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    extra = {"cycle_momentum": False} if cls is OneCycleLR else {}
    schedule = getattr(torch.optim.lr_scheduler, cls.__name__)(theirs, **options, **extra)
    want = [theirs.param_groups[0]["lr"]]
    for value in values:
        schedule.step(*[value] * (cls is ReduceLROnPlateau))
        want.append(theirs.param_groups[0]["lr"])
    ours = optimizer()
    got = rates(cls(ours, **options), values, ours)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-16)
    assert len(set(got)) > 1


@each_case
def test_resuming_changes_nothing(cls, options):
    straight = optimizer()
    schedule = cls(straight, **options)
    rates(schedule, WAVES[:25], straight)
    resumed = optimizer(9.0)
    again = cls(resumed, **options)
    again.load_state_dict(schedule.state_dict())
    resumed.lr = straight.lr
    assert rates(again, WAVES[25:], resumed) == rates(schedule, WAVES[25:], straight)


def test_nan_is_no_improvement():
    ours = optimizer(1.0)
    schedule = ReduceLROnPlateau(ours, patience=1)
    assert rates(schedule, [5.0, np.nan, np.nan, 4.0], ours) == [1.0, 1.0, 1.0, 0.1, 0.1]
    assert schedule.best == 4.0


class Rates(Callback):
    """The rate that each batch was learnt with."""

    def on_train_begin(self, model, optimizer):
        self.optimizer, self.seen = optimizer, []

    def on_batch_end(self, batch, logs):
        self.seen.append(self.optimizer.lr)


def train(schedule, epochs=3, **options):
    x = np.random.default_rng(0).standard_normal((8, 1)).astype(np.float32)
    ours, seen = schedule.optimizer, Rates()
    history = fit(
        ours.model,
        (x, x),
        loss=losses.squared_error,
        optimizer=ours,
        epochs=epochs,
        batch_size=4,
        callbacks=[seen, schedule],
        **options,
    )
    return history, seen.seen


def test_once_an_epoch():
    history, _ = train(ExponentialLR(optimizer(0.1), gamma=0.5))
    assert history["lr"] == [0.1, 0.05, 0.025]
    for monitor, options in [("loss", {}), ("val_loss", {"validation_split": 0.5})]:
        plateau = ReduceLROnPlateau(optimizer(0.0625), "max", 0.5, 0, 1.0, monitor=monitor)
        history, _ = train(plateau, **options)
        assert history["lr"] == [0.0625, 0.0625, 0.03125]


def test_once_a_batch():
    ours = optimizer()
    want = rates(OneCycleLR(ours, 0.1, 6), range(6), ours)
    schedule = OneCycleLR(optimizer(), 0.1, 6)
    history, seen = train(schedule)
    assert seen == want[:6]
    assert history["lr"] == [want[2], want[4], want[6]]
    assert want[5] == want[6] == pytest.approx(0.1 / 25 / 1e4)
    with pytest.raises(ValueError, match="OneCycleLR expected 6 steps, as total_steps says"):
        schedule.step()


def test_schedules_go_on_across_fits():
    for make in (
        lambda o: ExponentialLR(o, gamma=0.5),
        lambda o: StepLR(o, 2),
        lambda o: CosineAnnealingLR(o, 20),
        lambda o: OneCycleLR(o, 0.1, 18),
    ):
        straight, parts = (make(optimizer(0.1)) for _ in range(2))
        want = train(straight, 9)[0]["lr"]
        assert [lr for epochs in (3, 1, 1, 4) for lr in train(parts, epochs)[0]["lr"]] == want
        assert len(set(want)) > 3


def test_a_rate_of_zero_is_spoken_of():
    schedule = CosineAnnealingLR(optimizer(0.1), 3)
    train(schedule)  # of three epochs
    ours = schedule.optimizer
    assert ours.lr == 0.0
    with pytest.warns(UserWarning, match="learning rate of 0, to which CosineAnnealingLR has"):
        train(schedule)  # it rises again
    for again in (CosineAnnealingLR, ExponentialLR):  # new ones start from the rate that is left
        ours.lr = 0.0
        with pytest.warns(UserWarning, match="fit goes on with a learning rate of 0: no parameter"):
            train(again(ours, 1))
    with pytest.warns(UserWarning, match="CosineAnnealingLR has brought it") as seen:
        train(CosineAnnealingLR(optimizer(0.1), 1))  # within a call, once
    assert len(seen) == 1
    train(ExponentialLR(optimizer(0.0), 0.5))  # what the user wants is not warned of


def test_one_cycle_ends():
    schedule = OneCycleLR(optimizer(), 0.1, 6)
    train(schedule)
    last = schedule.optimizer.lr
    with pytest.warns(UserWarning, match="OneCycleLR has made its total_steps=6 steps") as seen:
        history, rates = train(schedule)
    assert len(seen) == 1
    assert rates == [last] * 6
    assert history["lr"] == [last] * 3
    train(schedule)  # once is enough
    with pytest.warns(UserWarning, match="its last learning rate, 4e-07; give more total_steps"):
        train(OneCycleLR(optimizer(), 0.1, 4))


def test_refuses():
    ours = optimizer()
    for call, error, message in [
        (lambda: StepLR(None, 1), TypeError, "StepLR expected optimizer as an Optimizer, got None"),
        (lambda: StepLR(ours, 0), ValueError, "StepLR expected step_size >= 1, got 0"),
        (lambda: StepLR(ours, 1, -1), ValueError, "StepLR expected gamma >= 0, got -1"),
        (lambda: ExponentialLR(ours, "a"), TypeError, "ExponentialLR expected gamma as a number"),
        (lambda: CosineAnnealingLR(ours, 1.5), TypeError, "expected T_max as an integer, got 1.5"),
        (lambda: CosineAnnealingLR(ours, 1, np.nan), ValueError, "expected eta_min >= 0, got nan"),
        (lambda: OneCycleLR(ours, -1, 5), ValueError, "OneCycleLR expected max_lr >= 0, got -1"),
        (lambda: OneCycleLR(ours, 1, 0), ValueError, "expected total_steps >= 1, got 0"),
        (lambda: OneCycleLR(ours, 1, 5, 2.0), ValueError, "expected pct_start from 0 to 1, got 2"),
        (lambda: OneCycleLR(ours, 1, 5, 0.3, "sin"), ValueError, "'cos' or 'linear', got 'sin'"),
        (lambda: OneCycleLR(ours, 1, 5, div_factor=0), ValueError, "expected div_factor > 0"),
        (lambda: ReduceLROnPlateau(ours, "low"), ValueError, "mode 'min' or 'max', got 'low'"),
        (lambda: ReduceLROnPlateau(ours, factor=1), ValueError, "expected factor >= 0 and < 1"),
        (lambda: ReduceLROnPlateau(ours, threshold_mode="x"), ValueError, "'rel' or 'abs'"),
        (lambda: ReduceLROnPlateau(ours, monitor=1), TypeError, "expected monitor as a str, got 1"),
        (lambda: ReduceLROnPlateau(ours).step("a"), TypeError, "expected metric as a number"),
        (
            lambda: train(ReduceLROnPlateau(ours)),
            ValueError,
            "ReduceLROnPlateau expected monitor as one of loss, seconds, got 'val_loss'",
        ),
        (
            lambda: ExponentialLR(ours, 0.5).on_train_begin(ours.model, SGD(ours.model)),
            ValueError,
            "ExponentialLR expected to schedule the optimizer given to fit",
        ),
        (
            lambda: ExponentialLR(ours, 0.5).load_state_dict(ReduceLROnPlateau(ours).state_dict()),
            ValueError,
            "ExponentialLR expected a state ['base_lr', 'steps'], got",
        ),
        (
            lambda: ExponentialLR(ours, 0.5).load_state_dict({"base_lr": "a", "steps": 1}),
            TypeError,
            "ExponentialLR expected base_lr as a number, got 'a'",
        ),
    ]:
        with pytest.raises(error, match=re.escape(message)):
            call()
