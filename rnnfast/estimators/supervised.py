"""Estimators from sequences to targets: what classifier, regressor and labeler share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import validate_data

from ..generation import Vocabulary
from ..layers import Embedding, Last, Linear, Pool, Sequential
from ..layers.recurrent import RECURRENT_LAYERS
from ..training import shared
from . import architecture
from . import constraints as may_be
from .arguments import check_order, check_validation
from .base import (
    OPTIMIZERS,
    check_network,
    check_steps_kept,
    check_steps_left,
    make_network,
    predict,
)
from .batches import Batches, Ragged, check_sample_weight, take_sequences, with_weight
from .constraints import parameter
from .convergence import (
    refuse_diverged,
    trivial_loss,
    warn_if_by_heart,
    warn_interrupted,
    warn_unless_better,
)
from .missing import MISSING, fill_missing
from .scaling import Scaler
from .sequences import check_ids, counts, read_sequences
from .texts import holds_symbols, read_texts
from .times import refuse_unsorted
from .undo import unchanged_by_errors

if TYPE_CHECKING:
    from typing_extensions import Self

    from ..arrays import Array
    from ..layers.base import Layer
    from ..optim import Optimizer
    from .base import Network

RUINED = 2.0  # times the trivial loss: a network that spoils what the exact readout says


@dataclass(kw_only=True, eq=False, repr=False)
class SequenceEstimator(architecture.DefaultNetwork):
    """Estimators from sequences to targets.

    Every ``X`` may be

    * a (samples, time, features) array, with `lengths` where it is padded;
    * a list of (time, features) arrays, or of 1-D arrays, of any lengths: time steps that are not
      there cost nothing;
    * a (samples, time) array or frame, series of one feature; as in scikit-learn all must then
      have the same number of columns (steps);
    * a list of frames or Series, a sample each, whose columns are matched by name; a long frame
      (id, time and values in each row), a sample for each id in the order of the ids;
    * with `vocabulary_size`, token ids: a (samples, time) array or a list of sequences of int;
    * texts: a list of str, whose symbols are characters, or of lists of words.

    Parameters
    ----------
    cell, hidden_size, num_layers, dropout, optimizer, learning_rate_init, batch_size : optional
        As for `NetworkEstimator`. Left at None they are what suits the network: the default one
        of the class where it has one, else an LSTM of 32 units (of `SequenceLabeler` a
        bidirectional GRU) and Adam.
    bidirectional : bool, optional
        Whether the network also reads sequences backwards.
    network : callable, optional
        ``network(n_features, n_outputs)`` returns a layer that replaces the default network: it
        gets (samples, time, n_features), batch first, and should take a seed of its own. `cell`,
        `hidden_size`, `num_layers`, `bidirectional`, `pooling` and `dropout` are refused beside it.
    standardize : bool
        Whether features (and a regressor's targets) are brought to mean 0 and variance 1 over the
        samples and steps of all fits so far, partial ones too.
    missing : {"mask", "linear", "ffill", "mean"}, optional
        What becomes of NaN, None and masked entries in X; default: an error that names the first.
        "mask" puts the mean there and tells the network by another feature for each feature;
        "linear" interpolates along time, "ffill" repeats the last value, "mean" takes the
        feature's mean.
    vocabulary_size : int, optional
        Number of tokens, where X holds token ids; an `Embedding` then comes first. Of texts, how
        many symbols are kept at most, the most frequent ones and one for all others; default all.
    embedding_size : int
        Its size, the network's n_features; refused where X holds numbers.
    unknown_id : int, optional
        The token id that ids outside the vocabulary count as; default: an error. Refused where X
        does not hold token ids.
    **parameters
        As for `NetworkEstimator`.

    Attributes
    ----------
    n_features_in_ : int
        Features of a time step; of a (samples, time) array, its columns.
    vocabulary_ : Vocabulary
        Of texts. Symbols that `fit` has not seen are the one symbol "unknown".
    """

    # None is more than the base accepts: mypy takes fields for attributes that anyone may set
    cell: str | None = parameter(None, may_be.one_of(*RECURRENT_LAYERS), fixed=True)  # type: ignore[assignment]
    hidden_size: int | Sequence[int] | None = parameter(  # type: ignore[assignment]
        None, may_be.size(1), may_be.sizes, fixed=True
    )
    num_layers: int | None = parameter(None, may_be.size(1), fixed=True)  # type: ignore[assignment]
    bidirectional: bool | None = parameter(None, may_be.flag, fixed=True)
    dropout: float | None = parameter(None, may_be.share)  # type: ignore[assignment]
    optimizer: str | Callable[[Layer, float], Optimizer] | None = parameter(  # type: ignore[assignment]
        None, may_be.one_of(*OPTIMIZERS), may_be.function
    )
    learning_rate_init: float | None = parameter(None, may_be.positive)  # type: ignore[assignment]
    batch_size: int | None = parameter(None, may_be.size(1))  # type: ignore[assignment]
    network: Network | None = parameter(None, may_be.function, fixed=True)
    standardize: bool = parameter(True, may_be.flag, fixed=True)
    missing: str | None = parameter(None, may_be.one_of(*MISSING), fixed=True)
    vocabulary_size: int | None = parameter(None, may_be.size(1), fixed=True)
    embedding_size: int = parameter(32, may_be.size(1), fixed=True)
    unknown_id: int | None = parameter(None, may_be.size(0), fixed=True)

    _told_by_scores: ClassVar[bool] = True  # classes, for which scores have a slope of their own

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        lengths: Any = None,
        validation_data: Any = None,
        comm: Any = None,
    ) -> Self:
        """Train on sequences.

        Parameters
        ----------
        X : sequences
            See the class.
        y : targets
            See the class.
        sample_weight : (samples,) array_like, optional
            How much each sample counts in the loss.
        lengths : (samples,) array_like of int, optional
            Steps of each sample of a padded array X; what follows them is not looked at.
        validation_data : (X, y) or (X, y, sample_weight), optional
            What the loss is measured on after each epoch, in place of a part held out of X.
        comm : rnnfast.mpi.Communicator, optional
            Processes that train together, each with the same arguments: see `rnnfast.fit`.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            For wrong data and parameters; the estimator is then as it was before.
        """
        with shared(comm):
            return self._fit(X, y, sample_weight, lengths, validation_data)

    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        lengths: Any = None,
        comm: Any = None,
    ) -> Self:
        """Train for one epoch; as `fit` otherwise. Nothing is held out.

        Parameters
        ----------
        X, y, sample_weight, lengths, comm
            As for `fit`.

        Returns
        -------
        self
        """
        with shared(comm):
            return self._fit(X, y, sample_weight, lengths, partial=True)

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        lengths: Any,
        validation_data: Any = None,
        partial: bool = False,
        classes: Any = None,
    ) -> Self:
        goes_on = self._continues(partial)
        with unchanged_by_errors(self, goes_on):
            check_order(self, X, y=y, sample_weight=sample_weight, lengths=lengths)
            x, n = self._check_X(X, lengths, reset=not goes_on)
            target = self._check_y(y, x, n, not goes_on, classes)
            self._refuse_unsorted()
            weight = self._check_weight(sample_weight, target, x, n)
            if not goes_on:
                self._reset()
                self._scaler = Scaler(self, "X")
                self._choose(x, n is None, partial)
            if not self._keeps_units(partial):
                self._learn_scale(x, target, n, weight)
            if goes_on:
                self._go_on(self._network)
                self._choose_again(x, n is None, partial)
            else:
                self._start(self._network())
            self._check_steps(x, n)
            self._train_on(x, target, n, weight, self._check_validation(validation_data), partial)
        return self

    def _train_on(
        self,
        x: Array,
        target: Array,
        lengths: Array | None,
        weight: Array | None,
        validation: tuple[Any, ...] | None,
        partial: bool,
    ) -> None:
        """Train on checked data, a part of them held out where that is asked for."""
        target = self._as_learnt(target)
        some = np.arange(len(x)) if weight is None else with_weight(weight)
        held_out = None
        take = take_sequences(x, target, lengths, weight, self._prepared, self._per_step)
        measured = target, lengths, weight, some
        if validation is not None:
            xv, target_v, lengths_v, weight_v = validation
            target_v = self._as_learnt(target_v)
            others = np.arange(len(xv))
            of_v = take_sequences(xv, target_v, lengths_v, weight_v, self._prepared, self._per_step)
            held_out = Batches(of_v, others, self._chosen("batch_size"))
            measured = target_v, lengths_v, weight_v, others
        elif self.early_stopping and not partial:
            strata = self._strata(target)
            some, others = train_test_split(
                some,
                test_size=self.validation_fraction,
                random_state=self._seed(),
                stratify=None if strata is None else strata[some],
            )
            held_out = Batches(take, others, self._chosen("batch_size"))
            measured = target, lengths, weight, others
        trivial = None if partial else trivial_loss(self, *measured)
        solved, without, warm = None, trivial, bool(self.history_.batch_losses)
        if self._unsolved:
            solved, trivial = self._solve(take, lengths, target, weight, some, trivial, warm)
        ended = self._train(
            Batches(take, some, self._chosen("batch_size"), self._seed()),
            self._loss(),
            validation=held_out,
            metrics=self._metrics(),
            partial=partial,
            trivial=trivial,
        )
        if solved is not None and ended:
            if trivial is None and without and self._final_loss() > RUINED * without:
                warn_unless_better(self, self._final_loss(), without, self.n_updates_)
                self._share(1.0)
                return
            share = None
            try:
                if not warm:
                    share = architecture.probed_share(self, solved, take, target, weight)
            except KeyboardInterrupt:
                warn_interrupted(self)
            self._share(self._shares[0] if share is None else share)
        if held_out is not None and ended and not partial and not self._per_step:
            warn_if_by_heart(self, Batches(take, some, self._chosen("batch_size")), held_out)

    def _final_loss(self) -> float:
        """Return the loss of the weights that training kept."""
        held_out = self.history_.get("val_loss")
        if held_out:
            return float(min(held_out) if self.early_stopping else held_out[-1])
        return float(self.loss_curve_[-1])

    # ---- what subclasses say

    def _check_y(
        self, y: Any, x: Array, lengths: Array | None, reset: bool, classes: Any = None
    ) -> Array:
        """Return checked targets as the loss takes them; sets `_n_outputs`."""
        raise NotImplementedError

    def _as_learnt(self, target: Array) -> Array:
        """Return targets in the units of the network's outputs."""
        return target

    def _loss(self) -> Callable[..., Any]:
        """Return the loss of the network's outputs."""
        raise NotImplementedError

    def _scores(self, target: Array) -> Array:
        """Return targets as numbers (N, n_outputs) for least squares."""
        raise NotImplementedError

    def _metrics(self) -> Mapping[str, Callable[..., float]] | None:
        return None

    def _constant(self, target: Array, weight: Array) -> Array:
        """Return about the best outputs (n_outputs,) that are the same for all (N, ...) targets."""
        raise NotImplementedError

    def _strata(self, target: Array) -> Array | None:
        """Return the classes that both parts should hold in equal shares, or None."""
        return None

    # ---- the network

    def _network(self) -> Sequential:
        layers: list[Layer] = []
        size = self._channels
        if self._vocabulary_size is not None:
            size = self.embedding_size
            layers.append(Embedding(self._vocabulary_size, size, seed=self._seed()))
        elif self.missing == "mask":
            size = 2 * size
        self._width = size
        if self.network is None:
            layers += self._default_layers(size)
            model = Sequential(*layers)
        else:
            model = Sequential(*layers, make_network(self, size, self._n_outputs))
        check_network(self, model, self._n_outputs, self._per_step)
        return model

    def _default_layers(self, size: int) -> list[Layer]:
        if self._automatic:
            return architecture.default_layers(self, self._steps)
        if self._per_step and getattr(self, "pooling", None) is not None:
            raise ValueError(
                f"{type(self).__name__} expected pooling=None with a target for each step, got "
                f"{self.pooling!r}"
            )
        both = self._chosen("bidirectional")
        layers = self._recurrent_layers(size, both)
        width = next(layer.out_size for layer in reversed(layers) if layer.out_size)
        if not self._per_step:
            pooling = self._chosen("pooling")
            layers.append(
                Last(batch_first=True, bidirectional=both)
                if pooling == "last"
                else Pool(pooling, batch_first=True)
            )
        return [*layers, Linear(width, self._n_outputs, seed=self._seed())]

    def _outputs(self, X: Any, lengths: Any = None) -> tuple[Array, Array | None]:
        """Return the network's outputs, and the lengths of X."""
        self._check_fitted()
        check_order(self, X, lengths=lengths)
        x, n = self._check_X(X, lengths, reset=False)
        self._refuse_unsorted()
        self._check_steps(x, n)
        outputs = predict(self.model_, x, n, self._prepared)
        refuse_diverged(self, outputs)
        return outputs, n

    # ---- sequences

    def _check_steps(self, x: Array, lengths: Array | None) -> None:
        """Raise ValueError where the network does not give the steps that are needed."""
        ends = np.full(len(x), x.shape[1]) if lengths is None else lengths
        check = check_steps_kept if self._per_step else check_steps_left
        check(self, self.model_, ends)

    def _check_X(self, X: Any, lengths: Any, reset: bool) -> tuple[Array, Array | None]:
        """Return X as (samples, time, features), or ids (samples, time), and its lengths."""
        if reset:
            self._form: Any = None
            self._texts, self._vocabulary_size = holds_symbols(X), self.vocabulary_size
            self._check_used_with_symbols()
        self._unsorted: str | None = None
        if self._texts or self._vocabulary_size is not None:
            return self._check_symbols(X, lengths, reset)
        read = read_sequences(
            self, X, lengths=lengths, missing=self.missing, seen=self._form, padded=False
        )
        if reset:
            self._form = read.form
            self.n_features_in_ = self._channels = read.form.n_features
        if read.form.kind == self._form.kind == "columns":
            validate_data(self, X, reset=reset, skip_check_array=True)
        x, self._unsorted = read.values, read.unsorted
        if read.has_missing and self.missing in ("linear", "ffill"):
            if isinstance(x, Ragged):
                x = Ragged(fill_missing(x.arrays, None, self.missing, means=np.nan))
            else:
                x = fill_missing(x, read.lengths, self.missing, means=np.nan)
        return x, read.lengths

    def _refuse_unsorted(self) -> None:
        """Raise ValueError where rows of the last X, with an answer each, were not in order."""
        if self._per_step:
            refuse_unsorted(self, self._unsorted)

    def _check_used_with_symbols(self) -> None:
        """Raise InvalidParameter for parameters that numbers, or symbols, leave unused."""
        if self._texts:
            self._refuse_set(("unknown_id",), "texts have a symbol for what fit has not seen")
        elif self._vocabulary_size is None:
            names = ("embedding_size", "unknown_id")
            self._refuse_set(names, "X holds numbers: vocabulary_size says that they are token ids")
        if self._texts or self._vocabulary_size is not None:
            self._refuse_set(("missing",), "only numbers are filled in")

    def _check_symbols(self, X: Any, lengths: Any, reset: bool) -> tuple[Array, Array | None]:
        """Return texts or token ids as ids (samples, time), and lengths."""
        owner = type(self).__name__
        if holds_symbols(X) != self._texts:
            wanted, got = ("texts", "numbers") if self._texts else ("token ids", "texts")
            raise TypeError(f"{owner} expected X of {wanted}, as in fit, got {got}")
        if self._texts:
            texts = read_texts(self, X)
            kind = "texts" if isinstance(texts[0], str) else "lists of words"
            if reset:
                self._text_kind = kind
            elif kind != self._text_kind:
                raise TypeError(f"{owner} expected X of {self._text_kind}, as in fit, got {kind}")
            if lengths is not None:
                raise ValueError(f"{owner} expected lengths of padded arrays only, got texts")
            if reset:
                self.vocabulary_ = Vocabulary.learn(texts, limit=self.vocabulary_size)
                self._vocabulary_size = self.vocabulary_.size
            X = [self.vocabulary_.encode(text) for text in texts]
        if reset:
            self.n_features_in_ = self._channels = 1
        size: int = self._vocabulary_size or 0
        if self.unknown_id is not None and self.unknown_id >= size:
            raise ValueError(f"{owner} expected unknown_id < {size}, got {self.unknown_id}")
        return check_ids(self, X, size, lengths=lengths, unknown_id=self.unknown_id)

    def _check_weight(
        self, sample_weight: Any, target: Array, x: Array, lengths: Array | None
    ) -> Array | None:
        """Return the weight of each sample, (N,), or of each of its steps, (N, T), or None."""
        return check_sample_weight(self, sample_weight, len(x))

    def _check_validation(self, given: Any) -> tuple[Any, ...] | None:
        if given is None:
            return None
        check_validation(self, given)
        try:
            return self._read_validation(*given)
        except (TypeError, ValueError) as error:
            kind = ValueError if isinstance(error, ValueError) else TypeError
            raise kind(f"validation_data: {error}") from error

    def _read_validation(self, X: Any, y: Any, sample_weight: Any = None) -> tuple[Any, ...]:
        check_order(self, X, y=y, sample_weight=sample_weight)
        x, lengths = self._check_X(X, None, reset=False)
        target = self._check_y(y, x, lengths, False)
        self._refuse_unsorted()
        self._check_steps(x, lengths)
        return x, target, lengths, self._check_weight(sample_weight, target, x, lengths)

    def _learn_scale(
        self, x: Array, target: Array, lengths: Array | None, weight: Array | None
    ) -> None:
        if self._vocabulary_size is None and (self.standardize or self.missing is not None):
            self._scaler = self._scaler.updated(x, counts(x, lengths, weight))

    def _prepared(self, x: Array) -> Array:
        """Return a batch of X as the network takes it."""
        if self._vocabulary_size is not None:
            return x
        scale = self._scaler if self.standardize else Scaler(self, "X")
        if self.missing is None:
            return scale(x)
        gaps = np.isnan(x)
        scaled = scale(np.where(gaps, self._scaler.mean, x))
        if self.missing != "mask":
            return scaled
        return np.concatenate([scaled, gaps.astype(np.float32)], axis=-1)
