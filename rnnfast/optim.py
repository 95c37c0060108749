"""Optimisers with the formulas of ``torch.optim``, and gradient clipping.

An optimiser reads ``model.grads`` and changes ``model.params``; each update is one fused pass of
the backend over a parameter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from . import backend
from .checks import COUNTED, check_flag, check_keys, check_size
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


class Optimizer:
    """What all optimisers share.

    Attributes
    ----------
    model : Layer
    lr : float
        Learning rate; may be set at any time.
    steps : int
        Calls of `step` so far.
    first_lr : float
        The rate that it was made with.
    """

    _settings: tuple[str, ...] = ()  # hyperparameters beside lr; the constructor takes them by name
    _more: tuple[str, ...] = ()  # of the state, beside what all optimisers have

    def __init__(self, model: Layer, lr: float, slots: tuple[str, ...]) -> None:
        if not isinstance(model, Layer):
            raise TypeError(f"{type(self).__name__} expected model as a layer, got {model!r}")
        self.model = model
        self.lr = lr
        self.first_lr = self.lr
        self.steps = 0
        # running values of each parameter: slot -> parameter -> array
        self._slots: dict[str, dict[str, Array]] = {
            slot: {name: np.zeros(p.shape, p.dtype) for name, p in model.params.items()}
            for slot in slots
        }

    @property
    def lr(self) -> float:
        """Learning rate."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._lr = _number(self, "lr", value)

    def step(self) -> None:
        """Change all parameters of the model by their gradients."""
        dense = backend.active().dense
        everything = list(self.model._trainable())  # checks all gradients before any is used
        self._advance()
        for name, param, grad, bump in everything:
            slots = [_writable(values, name) for values in self._slots.values()]
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
        more = {f"_{name}": _number(own, name, state_dict[name]) for name in self._more}
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

    def __init__(
        self,
        model: Layer,
        lr: float = 1e-2,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        self.momentum = _number(self, "momentum", momentum)
        self.nesterov = check_flag("SGD", "nesterov", nesterov)
        self.weight_decay = _number(self, "weight_decay", weight_decay)
        if self.nesterov and not self.momentum:
            raise ValueError("SGD expected momentum > 0 with nesterov, got 0")
        super().__init__(model, lr, ("velocity",) if self.momentum else ())

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

    def __init__(
        self,
        model: Layer,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        try:
            beta1, beta2 = betas
        except (TypeError, ValueError):
            raise TypeError(
                f"{type(self).__name__} expected betas as a pair of numbers, got {betas!r}"
            ) from None
        self.betas = _number(self, "betas[0]", beta1, 1.0), _number(self, "betas[1]", beta2, 1.0)
        self.eps = _number(self, "eps", eps)
        self.weight_decay = _number(self, "weight_decay", weight_decay)
        super().__init__(model, lr, ("m", "v"))

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
        self.momentum_decay = _number(self, "momentum_decay", momentum_decay)
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

    def __init__(
        self,
        model: Layer,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        self.alpha = _number(self, "alpha", alpha, 1.0)
        self.eps = _number(self, "eps", eps)
        self.momentum = _number(self, "momentum", momentum)
        self.weight_decay = _number(self, "weight_decay", weight_decay)
        super().__init__(model, lr, ("square_avg", "velocity")[: 2 if self.momentum else 1])

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
    limit = _number("clip_grad_norm", "max_norm", max_norm, finite=False)
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
    limit = _number("clip_grad_value", "value", value, finite=False)
    for _, _, grad, _ in model._trainable():
        np.clip(grad, -limit, limit, out=grad)


def _writable(arrays: dict[str, Array], name: str) -> Array:
    # one that is read-only, memory-mapped say, is copied first
    if not arrays[name].flags.writeable:
        arrays[name] = np.array(arrays[name], order="C")
    return arrays[name]


def _number(
    owner: Any, name: str, value: Any, below: float = math.inf, finite: bool = True
) -> float:
    owner = owner if isinstance(owner, str) else type(owner).__name__
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{owner} expected {name} as a number, got {value!r}")
    if not 0.0 <= value < below and (finite or value != math.inf):
        limit = f" and < {below:g}" if below < math.inf else " and finite" * (value == math.inf)
        raise ValueError(f"{owner} expected {name} >= 0{limit}, got {value!r}")
    return float(value)
