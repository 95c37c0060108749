"""What estimators share: parameters, the recurrent layers, training.

Constructors are those of dataclasses: each class lists only what it adds to its parent, and
scikit-learn finds all parameters in the signature. Constraints stand with the fields.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state

from .. import init, training
from ..callbacks import Callback, EarlyStopping, History
from ..layers import Dropout, Sequential
from ..layers.base import Layer
from ..layers.recurrent import RECURRENT_LAYERS
from ..layers.sequential import steps_left
from ..optim import SGD, Adam, AdamW, Nadam, Optimizer, RMSprop
from . import constraints as may_be
from .bases import BaseEstimator
from .constraints import Parameters, parameter
from .convergence import Watch, warn_diverged, warn_interrupted, warn_unless_better

if TYPE_CHECKING:
    from ..arrays import Array

    Network = Callable[[int, int], Layer]

OPTIMIZERS = {c.__name__.lower(): c for c in (SGD, Adam, AdamW, Nadam, RMSprop)}
# parameters that say what the layers are
LAYERS = ("cell", "hidden_size", "num_layers", "bidirectional", "pooling", "dropout")
ROWS = 256  # samples in a call at inference: bounds the memory of all steps' outputs


def predict(model: Any, x: Array, lengths: Array | None, prepare: Any = None) -> Array:
    """Return a model's outputs, computed `ROWS` samples at a time; `prepare` scales these first."""
    parts = []
    for start in range(0, len(x), ROWS):
        rows = x[start : start + ROWS]
        rows = rows if prepare is None else prepare(rows)
        n = None if lengths is None else lengths[start : start + ROWS]
        parts.append(model.predict(rows, n))
    return np.concatenate(parts)


def check_network(owner: Any, model: Sequential, n_outputs: int, keeps_time: bool) -> None:
    """Raise ValueError unless a network has the outputs that an estimator needs."""
    wanted = (n_outputs, keeps_time)
    if (model.out_size, model.keeps_time) != wanted or model.batch_first is False:
        steps = "at each step" if keeps_time else "for each sample, without an axis of time"
        raise ValueError(
            f"{type(owner).__name__} expected network to return a layer, batch first, with "
            f"{n_outputs} outputs {steps}, got {model!r}"
        )


def check_steps_left(owner: Any, model: Layer, ends: Array) -> None:
    """Raise ValueError where a network leaves no step of a series of `ends` steps to tell from."""
    left = steps_left(model, ends)
    if (left < 1).any():
        i = int(np.argmax(left < 1))
        raise ValueError(
            f"{type(owner).__name__} expected X of series that network leaves a step of, got "
            f"X[{i}] of {ends[i]} steps, of which it leaves none"
        )


def check_steps_kept(owner: Any, model: Layer, ends: Array) -> None:
    """Raise ValueError unless the network gives an output for each step."""
    given = model.out_lengths(ends)
    if (given != ends).any():
        i = int(np.argmax(given != ends))
        raise ValueError(
            f"{type(owner).__name__} expected network to give an output at each step, got "
            f"{given[i]} outputs from the {ends[i]} steps of X[{i}]"
        )


def make_network(owner: Any, n_features: int, n_outputs: int) -> Layer:
    """Return what the parameter `network` makes."""
    layer = owner.network(n_features, n_outputs)
    if not isinstance(layer, Layer):
        raise TypeError(f"{type(owner).__name__} expected network to return a layer, got {layer!r}")
    return layer


@dataclass(kw_only=True, eq=False, repr=False)
class NetworkEstimator(Parameters, BaseEstimator):
    """Parameters and training of all estimators.

    Parameters
    ----------
    cell : {"lstm", "gru", "rnn", "mingru", "minlstm"}
        A plain RNN starts from Keras's weights, which suit it better than PyTorch's.
    hidden_size : int or sequence of int
        Units of a layer; a sequence makes one layer for each of its entries.
    num_layers : int
        Layers of `hidden_size` units, where that is a number; refused beside a sequence of another
        length.
    dropout : float
        Probability of dropping an element between layers and in front of the output.
    optimizer : str or callable
        "adam", "adamw", "nadam", "rmsprop", "sgd", or a function of the model and the learning
        rate that returns an `Optimizer`.
    learning_rate_init : float
    batch_size : int
    max_iter : int or None
        Epochs; None for as many as make the number of updates that the estimator aims at.
    clip_norm : float or None
        Limit of the gradients' norm.
    callbacks : sequence of Callback or callable
        For `rnnfast.fit`. A function is called with the optimizer, once, and returns the callback:
        ``functools.partial(ExponentialLR, gamma=0.9)``. A warm fit or a partial one goes on with
        the same callback.
    early_stopping : bool
        Whether to hold out a part of the data, to stop when the loss on it has not improved by
        `tol` for `n_iter_no_change` epochs, and to return to the weights that were best on it.
    validation_fraction : float
        Size of that part. It and the two that follow have no effect without `early_stopping`.
    n_iter_no_change : int
    tol : float
    warm_start : bool
        Whether `fit` goes on from the weights of the last one. Parameters changed since by
        `set_params` take effect, but for those that shape the network: these raise, in `predict`
        and `score` as well.
    random_state : int, RandomState or None
        Of weights, dropout, the order of samples and held-out parts.
    verbose : bool
        Whether to show the progress of training.

    Attributes
    ----------
    model_ : Layer
        The network, batch first; a `Sequential` but for `Seq2Seq`.
    optimizer_ : Optimizer
    history_ : History
        Losses, metrics and seconds of every epoch.
    loss_curve_ : list of float
        Training loss of every epoch.
    validation_scores_ : list of float or None
        With held-out data, of every epoch: accuracy, or minus the loss where there is none.
    n_iter_, n_updates_ : int
        Epochs and updates so far.
    """

    cell: str = parameter("lstm", may_be.one_of(*RECURRENT_LAYERS), fixed=True)
    hidden_size: int | Sequence[int] = parameter(32, may_be.size(1), may_be.sizes, fixed=True)
    num_layers: int = parameter(1, may_be.size(1), fixed=True)
    dropout: float = parameter(0.0, may_be.share)
    optimizer: str | Callable[[Layer, float], Optimizer] = parameter(
        "adam", may_be.one_of(*OPTIMIZERS), may_be.function
    )
    learning_rate_init: float = parameter(1e-3, may_be.positive)
    batch_size: int = parameter(32, may_be.size(1))
    max_iter: int | None = parameter(None, may_be.size(1))
    clip_norm: float | None = parameter(1.0, may_be.limit, may_be.none)
    callbacks: Sequence[Callback | Callable[[Optimizer], Callback]] = parameter(
        (), may_be.callbacks
    )
    early_stopping: bool = parameter(False, may_be.flag)
    validation_fraction: float = parameter(0.1, may_be.fraction)
    n_iter_no_change: int = parameter(10, may_be.size(1))
    tol: float = parameter(0.0, may_be.not_negative)
    warm_start: bool = parameter(False, may_be.flag)
    random_state: int | np.random.RandomState | None = parameter(None, may_be.random_state)
    verbose: bool = parameter(False, may_be.verbosity)

    _updates: ClassVar[int] = 1000  # that max_iter=None aims at, in at least so many epochs:
    _least_epochs: ClassVar[int] = 1
    _most_epochs: ClassVar[float] = math.inf  # and at most so many, but for the least updates:
    _least_updates: ClassVar[int] = 1
    _keeps_interrupted: ClassVar[bool] = True  # whether Ctrl-C leaves what was learnt
    _trivial_answer: ClassVar[str] = "the same answer for all"

    # ---- for subclasses: a fit is _continues, then _reset and _start(model) or _go_on, _train(...)

    def _continues(self, partial: bool = False) -> bool:
        """Whether a fit, or a partial one, goes on from an earlier one; checks all parameters."""
        self._check_parameters()
        goes_on = (partial or self.warm_start) and hasattr(self, "model_")
        if goes_on:
            self._check_unchanged(self._fixed)
        self._check_used()
        return goes_on

    def _check_used(self) -> None:
        """Raise InvalidParameter for parameters that are set and that others leave unused."""
        if getattr(self, "network", None) is not None:
            self._refuse_set(LAYERS, "network= makes the layers")
        sizes = self.hidden_size
        if np.ndim(sizes) and self.num_layers != len(sizes):  # type: ignore[arg-type]
            self._refuse_set(("num_layers",), "hidden_size lists the layers")

    def _reset(self) -> None:
        """Begin anew: called first, as it decides all seeds."""
        self._random_state = self._new_random_state()

    def _new_random_state(self) -> np.random.RandomState:
        state: np.random.RandomState = training.agreed(check_random_state(self.random_state))
        return state

    def _seed(self) -> int:
        """Draw a seed for a layer, or for the order of samples."""
        return int(self._random_state.randint(np.iinfo(np.int32).max))

    def _twin(self, seed: int, **parameters: Any) -> Any:
        """Return an estimator like this one to rehearse a training with, unseen by the user."""
        callbacks = [c for c in self.callbacks if not isinstance(c, Callback)]
        twin = clone(self).set_params(callbacks=callbacks, verbose=False, **parameters)
        twin._keeps_interrupted = False  # it is not what the user waits for
        twin._random_state = check_random_state(seed)
        return twin

    def _chosen(self, name: str) -> Any:
        """Return a parameter, or what None stands for."""
        return getattr(self, name)

    @property
    def _learner(self) -> Any:
        """What of `model_` is trained by gradients."""
        return self.model_

    def _rates(self, updates: int) -> list[Callback]:
        """Return the schedule of a fit of so many updates."""
        return []

    def _recurrent_layers(self, in_size: int, bidirectional: bool = False) -> list[Layer]:
        """Return the layers that `cell`, `hidden_size`, `num_layers` and `dropout` ask for."""
        given, dropout = self._chosen("hidden_size"), self._chosen("dropout")
        if isinstance(given, Sequence) or np.ndim(given):
            layout, depth = list(given), 1
        else:
            layout, depth = [int(given)], self._chosen("num_layers")
        cell = self._chosen("cell")
        layers: list[Layer] = []
        for size in layout:
            layer = RECURRENT_LAYERS[cell](
                in_size,
                size,
                num_layers=depth,
                batch_first=True,
                bidirectional=bidirectional,
                dropout=dropout if depth > 1 else 0.0,
                seed=self._seed(),
            )
            if cell == "rnn":  # as the published plain RNNs start
                init.keras(layer, self._seed())
            layers.append(layer)
            if dropout:
                layers.append(Dropout(dropout, seed=self._seed()))
            in_size = layer.out_size
        return layers

    def _start(self, model: Layer) -> None:
        """Take a new network; `_train` then trains it."""
        self.model_: Any = model
        self.history_ = History()
        self._fixed = self._fixed_parameters()
        self._make_optimizer()

    def _optimizer_of(self, model: Layer) -> Optimizer:
        given = self._chosen("optimizer")
        make = OPTIMIZERS[given] if isinstance(given, str) else given
        return make(model, self._chosen("learning_rate_init"))

    def _make_optimizer(self) -> None:
        """Make the optimizer of `model_`, and the callbacks that are told of it."""
        self.optimizer_ = self._optimizer_of(self._learner)
        self._make_callbacks()

    def _make_callbacks(self) -> None:
        self._callbacks = [
            c if isinstance(c, Callback) else c(self.optimizer_) for c in self.callbacks
        ]
        names = ("dropout", "optimizer", "learning_rate_init", "callbacks", "random_state")
        self._trained_with = {name: getattr(self, name) for name in names}

    def _go_on(self, rebuild: Callable[[], Layer]) -> None:
        """Let parameters that were changed since the last fit take effect.

        `rebuild` returns the network as the parameters now have it, of the same shape.
        """
        before = self._trained_with
        changed = {name for name, was in before.items() if getattr(self, name) is not was}
        changed = {name for name in changed if getattr(self, name) != before[name]}
        if "random_state" in changed:
            self._random_state = self._new_random_state()
        if "dropout" in changed:
            old, new = self.model_.state_dict(), rebuild()
            new.load_state_dict(dict(zip(new.state_dict(), old.values(), strict=True)))
            self.model_ = new
        if changed & {"dropout", "optimizer"}:
            self._make_optimizer()
        elif changed & {"learning_rate_init", "callbacks"}:
            self.optimizer_.lr = self._chosen("learning_rate_init")
            self._make_callbacks()

    def _epochs(self, batches: int) -> int:
        """Return the epochs of a fit with so many batches an epoch."""
        if self.max_iter is not None:
            return self.max_iter
        epochs = min(math.ceil(self._updates / batches), self._most_epochs)
        return int(max(self._least_epochs, epochs, math.ceil(self._least_updates / batches)))

    def _train(
        self,
        batches: Any,
        loss: Callable[..., Any],
        *,
        validation: Any = None,
        metrics: Mapping[str, Callable[..., float]] | None = None,
        partial: bool = False,
        trivial: float | None = None,
        **options: Any,
    ) -> bool:
        """Train `model_` by `rnnfast.fit`; return whether training came to its end.

        `partial` is one epoch only. `trivial` is the loss of the best answer that is the same for
        all X: on `validation` where that is given, else on the data.
        """
        watch = Watch()
        epochs = 1 if partial else self._epochs(len(batches))
        rates = [] if partial else self._rates(epochs * len(batches))
        callbacks = [*rates, *self._callbacks, watch]
        early = self.early_stopping and validation is not None and not partial
        if early:
            callbacks.append(
                EarlyStopping("val_loss", patience=self.n_iter_no_change, min_delta=self.tol)
            )
        interrupted = False
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # on_nonfinite looks at what follows
                training.fit(
                    self._learner,
                    batches,
                    loss=loss,
                    optimizer=self.optimizer_,
                    epochs=epochs,
                    clip_norm=self.clip_norm,
                    validation=validation,
                    metrics=metrics,
                    callbacks=callbacks,
                    shuffle=False,
                    progress=bool(self.verbose),
                    on_nonfinite="stop",
                    **options,
                )
        except KeyboardInterrupt:
            if not self._keeps_interrupted:
                raise
            interrupted = True
        history = watch.history
        self._keep(history, validation is not None)
        if history.stopped_by is not None:
            warn_diverged(self, history.stopped_by, history.batch_losses[-1], trivial)
        elif interrupted:
            warn_interrupted(self)
        elif not partial:
            losses = history["loss" if validation is None else "val_loss"]
            final = min(losses) if early else losses[-1]
            warn_unless_better(self, final, trivial, len(self.history_.batch_losses))
        return history.stopped_by is None and not interrupted

    def _keep(self, history: History, validated: bool) -> None:
        for name, values in history.items():
            self.history_.setdefault(name, []).extend(values)
        self.history_.batch_losses += history.batch_losses
        self.loss_curve_ = self.history_.setdefault("loss", [])
        self.n_iter_ = len(self.loss_curve_)
        self.n_updates_ = len(self.history_.batch_losses)
        self.validation_scores_ = None
        if validated:
            scores = self.history_.get("val_accuracy")
            self.validation_scores_ = scores or [-v for v in self.history_.get("val_loss", [])]
