"""What estimators share: parameters, checks of sequences, the default network, training.

Constructors are those of dataclasses: each class lists only what it adds to its parent, and
scikit-learn finds all parameters in the signature.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from .. import init, training
from ..callbacks import Callback, EarlyStopping, History
from ..layers import Dropout, Embedding, Linear, Sequential
from ..layers.base import Layer, check_flag, check_size, is_number
from ..layers.seq2seq import CELLS
from ..layers.sequential import steps_left
from ..optim import SGD, Adam, AdamW, Nadam, Optimizer, RMSprop
from .sequences import axes, check_ids, check_sequences, is_ragged, real_steps

if TYPE_CHECKING:
    from ..layers.base import Array

    Network = Callable[[int, int], Layer]

OPTIMIZERS = {c.__name__.lower(): c for c in (SGD, Adam, AdamW, Nadam, RMSprop)}
ROWS = 256  # samples in a call at inference: bounds the memory of all steps' outputs


class Scaler:
    """Brings features to mean 0 and variance 1; changes nothing before `fit`.

    Parameters
    ----------
    owner : estimator
    name : str
        Of what is scaled: both for errors.
    """

    mean: Any = 0.0
    scale: Any = 1.0

    def __init__(self, owner: Any, name: str) -> None:
        self._expected = f"{type(owner).__name__} expected {name}"

    def fit(self, rows: Array) -> Scaler:
        """Learn from (rows, features); features that do not vary are only centred."""
        with np.errstate(over="ignore", invalid="ignore"):
            self.mean = rows.mean(axis=0, dtype=np.float64)
            scale = rows.std(axis=0, dtype=np.float64)
        if not np.isfinite(scale).all():
            raise ValueError(
                f"{self._expected} of values whose variance float64 can hold, got values too "
                f"large: up to {np.abs(rows).max():.3g}"
            )
        # of constant numbers rounding may leave a tiny deviation
        self.scale = np.where(scale > 1e-12 * np.abs(self.mean), scale, 1.0)
        return self

    def __call__(self, x: Array) -> Array:
        """Return x (..., features), scaled, in float32."""
        scaled = (x - self.mean) / self.scale
        largest = np.abs(scaled).max(initial=0.0)
        if not largest <= np.finfo(np.float32).max:
            raise ValueError(
                f"{self._expected} of values that, scaled, float32 can hold, got values too large: "
                f"{largest:.3g}"
            )
        return scaled.astype(np.float32)

    def inverse(self, x: Array) -> Array:
        """Return x (..., features), scaled back, in float64."""
        return x * np.float64(self.scale) + self.mean


def predict(model: Sequential, x: Array, lengths: Array | None) -> Array:
    """Return a model's outputs, computed `ROWS` samples at a time."""
    return np.concatenate(
        [
            model.predict(x[i : i + ROWS], None if lengths is None else lengths[i : i + ROWS])
            for i in range(0, len(x), ROWS)
        ]
    )


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


def make_network(owner: Any, n_features: int, n_outputs: int) -> Layer:
    """Return what the parameter `network` makes."""
    if not callable(owner.network):
        raise TypeError(
            f"{type(owner).__name__} expected network as a function of n_features and n_outputs, "
            f"got {owner.network!r}"
        )
    layer = owner.network(n_features, n_outputs)
    if not isinstance(layer, Layer):
        raise TypeError(f"{type(owner).__name__} expected network to return a layer, got {layer!r}")
    return layer


def check_fraction(owner: Any, name: str) -> float:
    """Return a parameter that is a part of the data."""
    fraction = getattr(owner, name)
    if not is_number(fraction) or not 0.0 < fraction < 1.0:
        raise ValueError(
            f"{type(owner).__name__} expected {name} between 0 and 1, got {fraction!r}"
        )
    return float(fraction)


@contextmanager
def unchanged_by_errors(estimator: BaseEstimator) -> Iterator[None]:
    """Undo what a fit has set or trained if it raises, also by Ctrl-C."""
    before = estimator.__dict__.copy()
    parameters = estimator.get_params(deep=False)
    fitted = {name: value for name, value in before.items() if name not in parameters}
    # training goes on in place; a generator that the caller gave remains the caller's
    given = parameters.get("random_state")
    kept = copy.deepcopy(fitted, {id(given): given})
    try:
        yield
    except BaseException:
        estimator.__dict__ = before | kept
        raise


@dataclass(kw_only=True, eq=False, repr=False)
class NetworkEstimator(BaseEstimator):
    """Parameters and training of all estimators.

    Parameters
    ----------
    cell : {"lstm", "gru", "rnn"}
        A plain RNN starts from Keras's weights, which suit it better than PyTorch's.
    hidden_size : int or sequence of int
        Units of a layer; a sequence makes one layer for each of its entries.
    num_layers : int
        Layers of `hidden_size` units, where that is a number.
    dropout : float
        Probability of dropping an element between layers and in front of the output.
    optimizer : str or callable
        "adam", "adamw", "nadam", "rmsprop", "sgd", or a function of the model and the learning
        rate that returns an `Optimizer`.
    learning_rate_init : float
    batch_size : int
    max_iter : int
        Epochs.
    clip_norm : float or None
        Limit of the gradients' norm.
    callbacks : sequence of Callback or callable
        For `rnnfast.fit`. A function is called with the optimizer at each fit and returns the
        callback: ``functools.partial(ExponentialLR, gamma=0.9)``.
    early_stopping : bool
        Whether to hold out a part of the data, to stop when the loss on it has not improved by
        `tol` for `n_iter_no_change` epochs, and to return to the weights that were best on it.
    validation_fraction : float
        Size of that part.
    n_iter_no_change : int
    tol : float
    warm_start : bool
        Whether `fit` goes on from the weights of the last one.
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
        With `early_stopping`, of every epoch: accuracy, or minus the loss where there is none, on
        the part held out.
    n_iter_ : int
        Epochs so far.
    """

    cell: str = "lstm"
    hidden_size: int | Sequence[int] = 32
    num_layers: int = 1
    dropout: float = 0.0
    optimizer: str | Callable[[Layer, float], Optimizer] = "adam"
    learning_rate_init: float = 1e-3
    batch_size: int = 32
    max_iter: int = 50
    clip_norm: float | None = 1.0
    callbacks: Sequence[Callback | Callable[[Optimizer], Callback]] = ()
    early_stopping: bool = False
    validation_fraction: float = 0.1
    n_iter_no_change: int = 10
    tol: float = 0.0
    warm_start: bool = False
    random_state: int | np.random.RandomState | None = None
    verbose: bool = False

    # ---- for subclasses: a fit is _reset, _start(model), _train(...)

    def _continues(self, partial: bool = False) -> bool:
        """Whether a fit, or a partial one, goes on from an earlier one; checks the switches."""
        for name in ("early_stopping", "standardize", "warm_start"):
            if hasattr(self, name):
                check_flag(type(self).__name__, name, getattr(self, name))
        return (partial or self.warm_start) and hasattr(self, "model_")

    def _reset(self) -> None:
        """Begin anew: called first, as it decides all seeds."""
        self._random_state = check_random_state(self.random_state)

    def _seed(self) -> int:
        """Draw a seed for a layer, or for the order of samples."""
        return int(self._random_state.randint(np.iinfo(np.int32).max))

    def _recurrent_layers(self, in_size: int, bidirectional: bool = False) -> list[Layer]:
        """Return the layers that `cell`, `hidden_size`, `num_layers` and `dropout` ask for."""
        if not isinstance(self.cell, str) or self.cell not in CELLS:
            raise ValueError(
                f"{type(self).__name__} expected cell as one of {', '.join(CELLS)}, "
                f"got {self.cell!r}"
            )
        given: Any = self.hidden_size
        if isinstance(given, Sequence) or np.ndim(given):
            sizes, depth = list(given), 1
        else:
            sizes, depth = [given], self.num_layers
        if not sizes:
            raise ValueError(f"{type(self).__name__} expected hidden_size of at least one layer")
        layers: list[Layer] = []
        for size in sizes:
            layer = CELLS[self.cell](
                in_size,
                size,
                num_layers=depth,
                batch_first=True,
                bidirectional=bidirectional,
                dropout=self.dropout if depth > 1 else 0.0,
                seed=self._seed(),
            )
            if self.cell == "rnn":  # as the published plain RNNs start
                init.keras(layer, self._seed())
            layers.append(layer)
            if self.dropout:
                layers.append(Dropout(self.dropout, seed=self._seed()))
            in_size = layer.out_size
        return layers

    def _start(self, model: Layer) -> None:
        """Take a new network; `_train` then trains it."""
        make = OPTIMIZERS.get(self.optimizer) if isinstance(self.optimizer, str) else self.optimizer
        if not callable(make):
            raise ValueError(
                f"{type(self).__name__} expected optimizer as one of {', '.join(OPTIMIZERS)} or a "
                f"function, got {self.optimizer!r}"
            )
        self.optimizer_ = make(model, self.learning_rate_init)
        self.model_: Any = model
        self.history_ = History()

    def _train(
        self,
        data: Any,
        loss: Callable[..., Any],
        *,
        validation: Any = None,
        metrics: Mapping[str, Callable[..., float]] | None = None,
        epochs: int | None = None,
        **options: Any,
    ) -> None:
        """Train `model_`: `rnnfast.fit` with the estimator's parameters.

        Parameters
        ----------
        data, loss, validation, metrics
            As for `rnnfast.fit`. With `validation` the training stops early.
        epochs : int, optional
            Default `max_iter`.
        **options
            Also for `rnnfast.fit`.
        """
        check_size(type(self).__name__, "max_iter", self.max_iter, 1)
        if not isinstance(self.callbacks, Sequence) or not all(
            isinstance(c, Callback) or callable(c) for c in self.callbacks
        ):
            raise TypeError(
                f"{type(self).__name__} expected callbacks as a sequence of Callback or functions, "
                f"got {self.callbacks!r}"
            )
        callbacks = [c if isinstance(c, Callback) else c(self.optimizer_) for c in self.callbacks]
        if validation is not None:
            callbacks.append(
                EarlyStopping("val_loss", patience=self.n_iter_no_change, min_delta=self.tol)
            )
        history = training.fit(
            self.model_,
            data,
            loss=loss,
            optimizer=self.optimizer_,
            epochs=self.max_iter if epochs is None else epochs,
            batch_size=self.batch_size,
            clip_norm=self.clip_norm,
            validation=validation,
            metrics=metrics,
            callbacks=callbacks,
            seed=self._seed(),
            progress=bool(self.verbose),
            **options,
        )
        for name, values in history.items():
            self.history_.setdefault(name, []).extend(values)
        self.history_.batch_losses += history.batch_losses
        self.loss_curve_ = self.history_["loss"]
        self.n_iter_ = len(self.loss_curve_)
        self.validation_scores_ = None
        if validation is not None:
            scores = self.history_.get("val_accuracy")
            self.validation_scores_ = scores or [-value for value in self.history_["val_loss"]]


@dataclass(kw_only=True, eq=False, repr=False)
class SequenceEstimator(NetworkEstimator):
    """Estimators from sequences to targets.

    Every ``X`` may be

    * a (samples, time, features) array;
    * a list of (time, features) arrays, or of 1-D arrays, of any lengths: time steps that are not
      there cost nothing;
    * a (samples, time) array, series of one feature; as in scikit-learn all must then have the
      same number of columns (steps);
    * with `vocabulary_size`, token ids: a (samples, time) array or a list of sequences of int.

    Parameters
    ----------
    bidirectional : bool
        Whether the network also reads sequences backwards.
    network : callable, optional
        ``network(n_features, n_outputs)`` returns a layer that replaces the default network: it
        gets (samples, time, n_features), batch first, and should take a seed of its own.
    standardize : bool
        Whether features (and a regressor's targets) are brought to mean 0 and variance 1 over the
        samples and steps of `fit`, or of the first `partial_fit`.
    vocabulary_size : int, optional
        Number of tokens, where X holds token ids; an `Embedding` then comes first.
    embedding_size : int
        Its size, the network's n_features.
    **parameters
        As for `NetworkEstimator`.

    Attributes
    ----------
    n_features_in_ : int
        Features of a time step; of a (samples, time) array, its columns.
    """

    bidirectional: bool = False
    network: Network | None = None
    standardize: bool = True
    vocabulary_size: int | None = None
    embedding_size: int = 32

    _keeps_time: ClassVar[bool] = False  # of the network
    _loss: ClassVar[Callable[..., Any]]
    _metrics: ClassVar[Mapping[str, Callable[..., float]] | None] = None

    def fit(self, X: Any, y: Any) -> Any:
        """Train on sequences.

        Parameters
        ----------
        X : sequences
            See the class.
        y : targets
            See the class.

        Returns
        -------
        self
        """
        return self._fit(X, y, self._continues())

    def partial_fit(self, X: Any, y: Any) -> Any:
        """Train for one epoch; as `fit` otherwise. There is no early stopping.

        Parameters
        ----------
        X, y
            As for `fit`.

        Returns
        -------
        self
        """
        return self._fit(X, y, self._continues(partial=True), partial=True)

    def _fit(
        self, X: Any, y: Any, goes_on: bool, partial: bool = False, classes: Any = None
    ) -> Any:
        with unchanged_by_errors(self):
            x, lengths = self._check_X(X, reset=not goes_on)
            target, n_outputs = self._check_y(y, x, lengths, not goes_on, classes)
            if not goes_on:
                self._reset()
                self._learn_scale(x, lengths)
                self._start(self._network(n_outputs))
            self._check_steps(x, lengths)
            data = [self._scaled(x), target] + ([] if lengths is None else [lengths])
            held_out = None
            if self.early_stopping and not partial:
                some, others = train_test_split(
                    np.arange(len(x)),
                    test_size=check_fraction(self, "validation_fraction"),
                    random_state=self._seed(),
                    stratify=self._strata(target),
                )
                data, held_out = [a[some] for a in data], tuple(a[others] for a in data)
            self._train(
                tuple(data),
                self._loss,
                validation=held_out,
                metrics=self._metrics,
                epochs=1 if partial else None,
            )
        return self

    # ---- what subclasses say

    def _check_y(
        self, y: Any, x: Array, lengths: Array | None, reset: bool, classes: Any
    ) -> tuple[Array, int]:
        """Return checked targets as the loss takes them, and the number of outputs."""
        raise NotImplementedError

    def _strata(self, target: Array) -> Array | None:
        """Return the classes that both parts should hold in equal shares, or None."""
        return None

    def _head(self, size: int, n_outputs: int) -> list[Layer]:
        """Return the layers that follow the recurrent ones."""
        return [Linear(size, n_outputs, seed=self._seed())]

    # ---- the network

    def _network(self, n_outputs: int) -> Sequential:
        layers: list[Layer] = []
        size = self._channels
        if self._vocabulary_size is not None:
            size = self.embedding_size
            layers.append(Embedding(self._vocabulary_size, size, seed=self._seed()))
        if self.network is None:
            layers += self._recurrent_layers(size, self.bidirectional)
            width = next(x.out_size for x in reversed(layers) if x.out_size)
            model = Sequential(*layers, *self._head(width, n_outputs))
        else:
            model = Sequential(*layers, make_network(self, size, n_outputs))
        check_network(self, model, n_outputs, self._keeps_time)
        return model

    def _outputs(self, X: Any) -> tuple[Array, Array | None]:
        """Return the network's outputs, and the lengths of X."""
        check_is_fitted(self)
        x, lengths = self._check_X(X, reset=False)
        self._check_steps(x, lengths)
        return predict(self.model_, self._scaled(x), lengths), lengths

    # ---- sequences

    def _check_steps(self, x: Array, lengths: Array | None) -> None:
        """Raise ValueError where the network does not give the steps that are needed."""
        ends = np.full(len(x), x.shape[1]) if lengths is None else lengths
        if not self._keeps_time:
            check_steps_left(self, self.model_, ends)
            return
        given = self.model_.out_lengths(ends)
        if (given != ends).any():
            i = int(np.argmax(given != ends))
            raise ValueError(
                f"{type(self).__name__} expected network to give an output at each step, got "
                f"{given[i]} outputs from the {ends[i]} steps of X[{i}]"
            )

    def _check_X(self, X: Any, reset: bool) -> tuple[Array, Array | None]:
        """Return X as (samples, time, features), or ids (samples, time), and its lengths."""
        if reset:
            self._vocabulary_size = size = self.vocabulary_size
            if size is not None:
                self._vocabulary_size = check_size(type(self).__name__, "vocabulary_size", size, 1)
        if self._vocabulary_size is not None:
            x, lengths = check_ids(self, X, self._vocabulary_size)
        else:
            x, lengths = check_sequences(self, X)
        channels = x.shape[2] if x.ndim == 3 else 1
        columns = x.ndim == 3 and not is_ragged(X) and axes(X) == 2
        if reset:
            self._columns, self._channels = columns, channels
        if columns and self._columns:
            validate_data(self, X, reset=reset, skip_check_array=True)
        elif reset:
            self.n_features_in_ = channels
        if channels != self._channels:
            raise ValueError(
                f"{type(self).__name__} expected X of {self._channels} features at each step, as "
                f"in fit, got {channels}"
            )
        return x, lengths

    def _learn_scale(self, x: Array, lengths: Array | None) -> None:
        self._scaler = Scaler(self, "X")
        if self.standardize and self._vocabulary_size is None:
            self._scaler.fit(real_steps(x, lengths))

    def _scaled(self, x: Array) -> Array:
        return x if self._vocabulary_size is not None else self._scaler(x)
