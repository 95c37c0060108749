"""Optimisers: against torch.optim and against their formulas."""

from __future__ import annotations

import numpy as np
import pytest
from comparisons import close
from engines import each_engine as each_engine
from samples import small_model

from rnnfast import (
    SGD,
    Adam,
    AdamW,
    Linear,
    Nadam,
    RMSprop,
    backend,
    clip_grad_norm,
    clip_grad_value,
)

CASES = [
    (SGD, {"lr": 0.1}),
    (SGD, {"lr": 0.1, "weight_decay": 0.1}),
    (SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}),
    (SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    (Adam, {}),
    (Adam, {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1}),
    (AdamW, {"lr": 0.02}),
    (AdamW, {"lr": 0.02, "weight_decay": 0.3}),
    (Nadam, {}),
    (Nadam, {"lr": 0.02, "betas": (0.8, 0.95), "weight_decay": 0.1, "momentum_decay": 0.3}),
    (RMSprop, {}),
    (RMSprop, {"lr": 0.02, "alpha": 0.9, "eps": 1e-3, "momentum": 0.8, "weight_decay": 0.1}),
]
each_case = pytest.mark.parametrize(("cls", "options"), CASES, ids=str)


def torch_class(torch, cls):
    return getattr(torch.optim, {Nadam: "NAdam"}.get(cls, cls.__name__))


def set_grads(model, step):
    rng = np.random.default_rng(step)
    for grad in model.grads.values():
        grad[...] = rng.standard_normal(grad.shape)


@each_case
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_torch(cls, options, dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    model = small_model(dtype=dtype)
    params = [torch.nn.Parameter(torch.tensor(p.copy())) for p in model.params.values()]
    theirs = torch_class(torch, cls)(params, **options)
    ours = cls(model, **options)
    assert ours.lr == theirs.param_groups[0]["lr"]
    torch.set_default_dtype(torch.float64)  # which NAdam keeps its product of momenta in
    try:
        for step in range(4):
            set_grads(model, step)
            for p, grad in zip(params, model.grads.values(), strict=True):
                p.grad = torch.tensor(grad)
            ours.step()
            theirs.step()
    finally:
        torch.set_default_dtype(torch.float32)
    for p, (name, array) in zip(params, model.params.items(), strict=True):
        close(name, array, p.detach().numpy(), 100 * np.finfo(dtype).eps, dtype)


def test_defaults_are_pytorch_defaults():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    for cls in (SGD, Adam, AdamW, Nadam, RMSprop):
        ours = cls(Linear(2, 2))
        theirs = torch_class(torch, cls)(torch.nn.Linear(2, 2).parameters())
        for name in ("lr", *ours._settings):
            if (cls, name) != (SGD, "lr"):
                assert getattr(ours, name) == theirs.defaults[name], name


def test_sgd_by_hand():
    model = Linear(1, 1, dtype=np.float64)
    model.params["weight"] = [[2.0]]
    model.params["bias"] = [1.0]
    version = model.params.version
    optimizer = SGD(model, lr=0.5)
    model.grads["weight"][:] = 4.0
    optimizer.step()
    assert model.params["weight"] == 0.0
    assert model.params["bias"] == 1.0
    assert model.params.version > version
    optimizer.zero_grad()
    assert not model.grads["weight"].any()
    optimizer.lr = 0.25
    model.grads["bias"][:] = 4.0
    optimizer.step()
    assert model.params["bias"] == 0.0


@each_case
def test_resuming_changes_nothing(cls, options):
    straight, resumed = small_model(), small_model()
    optimizer = cls(straight, **options)
    for step in range(3):
        set_grads(straight, step)
        optimizer.step()
        if step == 1:
            state, params = optimizer.state_dict(), straight.state_dict()
    resumed.load_state_dict(params)
    again = cls(resumed, **{**options, "lr": 9.0})
    again.load_state_dict(state)
    assert again.lr == optimizer.lr
    set_grads(resumed, 2)
    again.step()
    assert again.steps == 3
    np.testing.assert_equal(dict(resumed.params), dict(straight.params))


def test_state_of_another_is_refused():
    model = small_model()
    with pytest.raises(ValueError, match="Adam expected its own state, got that of AdamW"):
        Adam(model).load_state_dict(AdamW(model).state_dict())
    with pytest.raises(ValueError, match="SGD expected a state with running values"):
        SGD(model).load_state_dict(SGD(model, momentum=0.5).state_dict())
    with pytest.raises(ValueError, match="Adam expected m of shapes"):
        Adam(model).load_state_dict(Adam(Linear(2, 2)).state_dict())


def test_a_broken_state_changes_nothing():
    model = small_model()
    optimizer = Adam(model)
    set_grads(model, 0)
    optimizer.step()
    good, other = optimizer.state_dict(), Adam(model, lr=9.0).state_dict()
    name = next(iter(model.params))
    slots, m = other["slots"], other["slots"]["m"]
    without = {key: value for key, value in other.items() if key != "steps"}
    for state, error, message in [
        (None, TypeError, "a state as a mapping, got NoneType"),
        (without, ValueError, "a state .*'steps'.*, got"),
        ({**other, "steps": -1}, ValueError, "steps >= 0, got -1"),
        ({**other, "steps": 1.5}, TypeError, "steps as an integer"),
        ({**other, "steps": 2**53 + 1}, ValueError, "steps <= 9007199254740992, got"),
        ({**other, "settings": {"lr": 1.0}}, ValueError, r"settings \['lr', 'betas'"),
        ({**other, "settings": {**other["settings"], "eps": -1.0}}, ValueError, "eps >= 0"),
        ({**other, "settings": {**other["settings"], "betas": 1}}, TypeError, "betas as a pair"),
        ({**other, "slots": {"m": m}}, ValueError, r"a state .* \['m', 'v'\], got \['m'\]"),
        ({**other, "slots": {**slots, "v": None}}, TypeError, "v as a mapping"),
        ({**other, "slots": {**slots, "v": {}}}, ValueError, "v of shapes"),
        (
            {**other, "slots": {**slots, "v": {**m, name: m[name] + 1j}}},
            TypeError,
            "v of .* as real numbers, got complex",
        ),
    ]:
        with pytest.raises(error, match=f"Adam expected {message}"):
            optimizer.load_state_dict(state)
        np.testing.assert_equal(optimizer.state_dict(), good)
    state = SGD(model).state_dict()
    state["settings"]["momentum"] = 0.9
    with pytest.raises(ValueError, match="running values"):
        SGD(model).load_state_dict(state)


@each_case
def test_any_number_of_steps_can_lie_behind(cls, options):
    """P28: no loop makes up for them."""
    model = small_model()
    optimizer = cls(model, **options)
    optimizer.load_state_dict({**optimizer.state_dict(), "steps": 2**53 - 1})
    set_grads(model, 0)
    optimizer.step()
    assert optimizer.steps == 2**53
    assert all(np.isfinite(array).all() for array in model.params.values())


def test_refuses_settings():
    model = Linear(2, 2)
    for call, error, message in [
        (lambda: SGD(model, lr=-1), ValueError, "SGD expected lr >= 0, got -1"),
        (lambda: SGD(model, lr="a"), TypeError, "SGD expected lr as a number, got 'a'"),
        (lambda: SGD(model, lr=np.nan), ValueError, "SGD expected lr >= 0, got nan"),
        (lambda: SGD(model, lr=np.inf), ValueError, "SGD expected lr >= 0 and finite, got inf"),
        (lambda: SGD(model, 0.1, 0.9, nesterov=1), TypeError, "SGD expected nesterov as True or"),
        (lambda: Adam(None), TypeError, "Adam expected model as a layer, got None"),
        (lambda: Adam(model, betas=0.9), TypeError, "Adam expected betas as a pair"),
        (lambda: Adam(model, betas=(0.9,)), TypeError, "Adam expected betas as a pair"),
        (lambda: SGD(model, nesterov=True), ValueError, "SGD expected momentum > 0 with nesterov"),
        (lambda: Adam(model, betas=(0.9, 1.0)), ValueError, r"betas\[1\] >= 0 and < 1, got 1.0"),
        (lambda: AdamW(model, weight_decay=-1), ValueError, "AdamW expected weight_decay >= 0"),
        (lambda: Nadam(model, momentum_decay=-1), ValueError, "Nadam expected momentum_decay >="),
        (lambda: RMSprop(model, alpha=2), ValueError, "RMSprop expected alpha >= 0 and < 1"),
        (lambda: clip_grad_norm(model, -1), ValueError, "clip_grad_norm expected max_norm >= 0"),
        (lambda: clip_grad_value(model, None), TypeError, "clip_grad_value expected value as a"),
    ]:
        with pytest.raises(error, match=message):
            call()
    optimizer = SGD(model)
    with pytest.raises(ValueError, match="lr >= 0"):
        optimizer.lr = -1.0
    assert repr(optimizer) == "SGD(lr=0.01, momentum=0.0, nesterov=False, weight_decay=0.0)"


def test_replaced_gradients_are_refused_before_anything_changes():
    model = small_model()
    before = model.state_dict()
    set_grads(model, 0)
    model[3].grads["bias"] = np.zeros(3)
    with pytest.raises(ValueError, match=r"Linear expected grads\['bias'\]"):
        Adam(model).step()
    np.testing.assert_equal(dict(model.params), before)


def test_an_interrupted_step_is_seen_by_the_layers(monkeypatch):
    model = small_model()
    ids = np.zeros((2, 1), int)
    model(ids)

    def interrupted(param, *rest):
        param += 1.0
        raise KeyboardInterrupt

    monkeypatch.setattr(backend.active().dense, "sgd", interrupted)
    optimizer = SGD(model)
    version = model.params.version
    with pytest.raises(KeyboardInterrupt):
        optimizer.step()
    assert model.params.version > version


def test_clip_grad_norm():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    for limit in (0.5, 1e3, np.inf):
        model = small_model()
        set_grads(model, 0)
        params = [torch.nn.Parameter(torch.tensor(g)) for g in model.grads.values()]
        for p, grad in zip(params, model.grads.values(), strict=True):
            p.grad = torch.tensor(grad)
        want = torch.nn.utils.clip_grad_norm_(params, limit).item()
        assert clip_grad_norm(model, limit) == pytest.approx(want, rel=1e-13)
        for p, grad in zip(params, model.grads.values(), strict=True):
            np.testing.assert_allclose(grad, p.grad.numpy(), rtol=1e-12)


def test_clip_grad_value():
    model = small_model()
    set_grads(model, 0)
    before = {name: grad.copy() for name, grad in model.grads.items()}
    clip_grad_value(model, 0.3)
    for name, grad in model.grads.items():
        np.testing.assert_array_equal(grad, np.clip(before[name], -0.3, 0.3))
