"""Optimisers with the formulas of ``torch.optim``, and gradient clipping.

An optimiser reads ``model.grads`` and changes ``model.params``; each update is one fused pass of
the backend over a parameter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from . import backend
from .arrays import writable
from .checks import COUNTED, Checked, Checks, check_flag, check_keys, check_number, check_size
from .layers.base import Layer

if TYPE_CHECKING:
    from .arrays import Array

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Nadam",
    "Optimizer",
    "RMSprop",
    "clip_grad_norm",
    "clip_grad_value",
]


def check_model(owner: Any, name: str, model: Any) -> Layer:
    """Return `model`, a layer."""
    if not isinstance(model, Layer):
        raise TypeError(f"{type(owner).__name__} expected {name} as a layer, got {model!r}")
    return model


class Optimizer(Checked):
    """What all optimisers share. Settings may be set at any time.

    Attributes
    ----------
    model : Layer
    lr : float
        Learning rate.
    steps : int
        Calls of `step` so far.
    first_lr : float
        The rate that it was made with.
    """

    _checks: ClassVar[Checks] = {
        "model": check_model,
        "lr": check_number,
        "first_lr": check_number,
        "steps": partial(check_size, least=0, most=COUNTED),
        "momentum": check_number,
        "eps": check_number,
        "weight_decay": check_number,
    }
    _fixed = ("model",)

    _settings: tuple[str, ...] = ()  # hyperparameters beside lr; the constructor takes them by name
    _more: tuple[str, ...] = ()  # of the state, beside what all optimisers have

    def __init__(self, model: Layer, lr: float) -> None:
        self.model = model
        self.lr = lr
        self.first_lr = self.lr
        self.steps = 0
        self._kept: dict[str, dict[str, Array]] = {}

    def _slot_names(self) -> tuple[str, ...]:
        # of the running values that the settings ask for
        return ()

    @property
    def _slots(self) -> dict[str, dict[str, Array]]:
        # running values of each parameter: slot -> parameter -> array
        names = self._slot_names()
        if tuple(self._kept) != names:
            params = self.model.params.items()
            zeros = {s: {n: np.zeros(p.shape, p.dtype) for n, p in params} for s in names}
            self._kept = {slot: self._kept.get(slot, zeros[slot]) for slot in names}
        return self._kept

    def step(self) -> None:
        """Change all parameters of the model by their gradients."""
        dense = backend.active().dense
        everything = list(self.model._trainable())  # checks all gradients before any is used
        running = self._slots.values()
        self._advance()
        for name, param, grad, bump in everything:
            slots = [writable(values, name) for values in running]
            bump()  # as in Parameters.__setitem__
            try:
                self._update(dense, param, grad, *slots)
            finally:
                bump()

    def _advance(self) -> None:
        # once a step, before any parameter changes
        self.steps += 1

    def _update(self, dense: Any, param: Array, grad: Array, *slots: Array) -> None:
        raise NotImplementedError

    def zero_grad(self) -> None:
        """Set all gradients of the model to zero."""
        self.model.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """Return settings, step count and copies of all running values."""
        return {
            "type": type(self).__name__,
            "settings": {name: getattr(self, name) for name in ("lr", *self._settings)},
            "steps": self.steps,
            "slots": {
                slot: {name: array.copy() for name, array in values.items()}
                for slot, values in self._slots.items()
            },
            **{name: getattr(self, f"_{name}") for name in self._more},
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from what `state_dict` of an optimiser of the same type and model returned.

        Raises
        ------
        ValueError, TypeError
            For another optimiser's or another model's state; nothing has changed then.
        """
        own = type(self).__name__
        check_keys(own, "a state", state_dict, ("type", "settings", "steps", "slots", *self._more))
        if state_dict["type"] != own:
            raise ValueError(f"{own} expected its own state, got that of {state_dict['type']}")
        steps = check_size(own, "steps", state_dict["steps"], 0, COUNTED)
        more = {f"_{name}": check_number(own, name, state_dict[name]) for name in self._more}
        check_keys(own, "settings", state_dict["settings"], ("lr", *self._settings))
        fresh = type(self)(self.model, **state_dict["settings"])  # checks the settings
        slots = state_dict["slots"]
        check_keys(own, "a state with running values", slots, self._slots)
        check_keys(own, "a state with running values", slots, fresh._slots)
        for slot, values in fresh._slots.items():
            if not isinstance(slots[slot], Mapping):
                raise TypeError(f"{own} expected {slot} as a mapping, got {slots[slot]!r}")
            given = {name: np.asarray(array) for name, array in slots[slot].items()}
            shapes = {name: array.shape for name, array in values.items()}
            got = {name: array.shape for name, array in given.items()}
            if got != shapes:
                raise ValueError(f"{own} expected {slot} of shapes {shapes}, got {got}")
            for name, array in given.items():
                if array.dtype.kind not in "fiu":
                    raise TypeError(
                        f"{own} expected {slot} of {name} as real numbers, got {array.dtype}"
                    )
                values[name][...] = array
        fresh.steps = steps
        self.__dict__.update(fresh.__dict__ | more)

    def __repr__(self) -> str:
        """Return the settings."""
        settings = [f"{name}={getattr(self, name)!r}" for name in ("lr", *self._settings)]
        return f"{type(self).__name__}({', '.join(settings)})"


class SGD(Optimizer):
    """Stochastic gradient descent with momentum.

    Parameters
    ----------
    model : Layer
    lr : float
    momentum : float, default 0
    nesterov : bool, default False
    weight_decay : float, default 0
    """

    _settings = ("momentum", "nesterov", "weight_decay")

    def _check_momentum(self, name: str, value: Any) -> float:
        momentum = check_number(self, name, value)
        if not momentum and getattr(self, "nesterov", False):
            raise ValueError("SGD expected momentum > 0 with nesterov, got 0")
        return momentum

    def _check_nesterov(self, name: str, value: Any) -> bool:
        nesterov = check_flag(self, name, value)
        if nesterov and not self.momentum:
            raise ValueError("SGD expected momentum > 0 with nesterov, got 0")
        return nesterov

    _checks: ClassVar[Checks] = {"momentum": _check_momentum, "nesterov": _check_nesterov}

    def __init__(
        self,
        model: Layer,
        lr: float = 1e-2,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        self.momentum = momentum
        self.nesterov = nesterov
        self.weight_decay = weight_decay
        super().__init__(model, lr)

    def _slot_names(self) -> tuple[str, ...]:
        return ("velocity",) if self.momentum else ()

    def _update(self, dense: Any, param: Array, grad: Array, *slots: Array) -> None:
        velocity = slots[0] if slots else None
        dense.sgd(param, grad, velocity, self.lr, self.momentum, self.weight_decay, self.nesterov)


class Adam(Optimizer):
    """Adam; weight decay is added to the gradient.

    Parameters
    ----------
    model : Layer
    lr : float
    betas : pair of float
        Decay of the running means of the gradient and of its square.
    eps : float
        Added to the root of the latter.
    weight_decay : float, default 0
    """

    _settings: tuple[str, ...] = ("betas", "eps", "weight_decay")
    _decoupled = False

    def _check_betas(self, name: str, betas: Any) -> tuple[float, float]:
        try:
            beta1, beta2 = betas
        except (TypeError, ValueError):
            raise TypeError(
                f"{type(self).__name__} expected betas as a pair of numbers, got {betas!r}"
            ) from None
        return check_number(self, "betas[0]", beta1, 1.0), check_number(
            self, "betas[1]", beta2, 1.0
        )

    _checks: ClassVar[Checks] = {"betas": _check_betas}

    def __init__(
        self,
        model: Layer,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        self.betas = betas
        self.eps = eps
        self.weight_decay = weight_decay
        super().__init__(model, lr)

    def _slot_names(self) -> tuple[str, ...]:
        return "m", "v"

    def _update(self, dense: Any, param: Array, grad: Array, *slots: Array) -> None:
        dense.adam(
            param,
            grad,
            *slots,
            self.lr,
            *self.betas,
            self.eps,
            self.weight_decay,
            self._decoupled,
            self.steps,
        )


class AdamW(Adam):
    """Adam whose weight decay shrinks the parameters directly.

    Parameters
    ----------
    model : Layer
    lr, betas, eps
        As for `Adam`.
    weight_decay : float, default 1e-2
    """

    _decoupled = True

    def __init__(
        self,
        model: Layer,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(model, lr, betas, eps, weight_decay)


class Nadam(Adam):
    """Adam with Nesterov's momentum (Dozat, 2016), as ``torch.optim.NAdam``.

    The momentum grows to ``betas[0]``: in step t it is
    ``betas[0] * (1 - 0.5 * 0.96 ** (t * momentum_decay))``.

    Parameters
    ----------
    model : Layer
    lr : float
    betas, eps, weight_decay
        As for `Adam`.
    momentum_decay : float, default 4e-3
    """

    _settings = ("betas", "eps", "weight_decay", "momentum_decay")
    _more = ("product",)
    _checks: ClassVar[Checks] = {"momentum_decay": check_number}

    def __init__(
        self,
        model: Layer,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
    ) -> None:
        super().__init__(model, lr, betas, eps, weight_decay)
        self.momentum_decay = momentum_decay
        self._product = 1.0  # of the momenta of all steps so far

    def _momentum(self, step: int) -> float:
        return self.betas[0] * (1.0 - 0.5 * 0.96 ** (step * self.momentum_decay))

    def _advance(self) -> None:
        super()._advance()
        self._product *= self._momentum(self.steps)

    def _update(self, dense: Any, param: Array, grad: Array, *slots: Array) -> None:
        dense.nadam(
            param,
            grad,
            *slots,
            self.lr,
            *self.betas,
            self.eps,
            self.weight_decay,
            self._momentum(self.steps),
            self._momentum(self.steps + 1),
            self._product,
            self.steps,
        )


class RMSprop(Optimizer):
    """Gradients divided by the root of their running mean square.

    Parameters
    ----------
    model : Layer
    lr : float
    alpha : float, default 0.99
        Decay of the running mean.
    eps : float
        Added to its root.
    momentum : float, default 0
    weight_decay : float, default 0
    """

    _settings = ("alpha", "eps", "momentum", "weight_decay")
    _checks: ClassVar[Checks] = {"alpha": partial(check_number, below=1.0)}

    def __init__(
        self,
        model: Layer,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        self.alpha = alpha
        self.eps = eps
        self.momentum = momentum
        self.weight_decay = weight_decay
        super().__init__(model, lr)

    def _slot_names(self) -> tuple[str, ...]:
        return ("square_avg", "velocity") if self.momentum else ("square_avg",)

    def _update(self, dense: Any, param: Array, grad: Array, *slots: Array) -> None:
        velocity = slots[1] if len(slots) == 2 else None
        dense.rmsprop(
            param,
            grad,
            slots[0],
            velocity,
            self.lr,
            self.alpha,
            self.eps,
            self.momentum,
            self.weight_decay,
        )


def clip_grad_norm(model: Layer, max_norm: float) -> float:
    """Scale all gradients so that their common Euclidean norm is at most `max_norm`.

    Parameters
    ----------
    model : Layer
    max_norm : float
        Infinity: only measure.

    Returns
    -------
    float
        The norm before. Where it is not finite the gradients are of no use, as in PyTorch.
    """
    limit = check_number("clip_grad_norm", "max_norm", max_norm, finite=False)
    dense = backend.active().dense
    gradients = [grad for _, _, grad, _ in model._trainable()]
    norm = math.sqrt(sum(dense.sum_squares(grad) for grad in gradients))
    scale = limit / (norm + 1e-6)
    if limit < math.inf and not scale >= 1.0:
        with np.errstate(all="ignore"):  # NaN and Inf pass silently, as through the engine
            for grad in gradients:
                grad *= scale
    return norm


def clip_grad_value(model: Layer, value: float) -> None:
    """Bring every element of all gradients into [-value, value].

    Parameters
    ----------
    model : Layer
    value : float
    """
    limit = check_number("clip_grad_value", "value", value, finite=False)
    for _, _, grad, _ in model._trainable():
        np.clip(grad, -limit, limit, out=grad)
