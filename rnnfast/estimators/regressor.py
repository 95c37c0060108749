"""Numbers for each sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import check_array
from sklearn.utils.validation import check_consistent_length

from .. import losses
from .base import Scaler, SequenceEstimator
from .classifier import pool

if TYPE_CHECKING:
    from ..layers.base import Array, Layer


@dataclass(kw_only=True, eq=False, repr=False)
class SequenceRegressor(RegressorMixin, SequenceEstimator):
    """One or several numbers for each sequence, by a recurrent network and squared error.

    ``y`` is (samples,) or (samples, targets). With `standardize` the network learns the
    standardised targets, and `loss_curve_` is in their units.

    Parameters
    ----------
    pooling : {"last", "mean", "max"}
        As for `SequenceClassifier`.
    **parameters
        As for `SequenceEstimator` and `NetworkEstimator`.

    Examples
    --------
    >>> from rnnfast import SequenceRegressor
    >>> X = [[0.1, 0.2], [0.3, 0.1, 0.2], [0.5], [0.0, 0.1, 0.1]]
    >>> y = [0.3, 0.6, 0.5, 0.2]
    >>> sums = SequenceRegressor(max_iter=200, random_state=0).fit(X, y)
    >>> sums.score(X, y) > 0.9
    True
    """

    pooling: str = "last"

    _loss = staticmethod(losses.squared_error)

    def _check_y(
        self, y: Any, x: Array, lengths: Array | None, reset: bool, classes: Any
    ) -> tuple[Array, int]:
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None"
            )
        target = check_array(
            y, dtype=np.float64, order="C", ensure_2d=False, estimator=self, input_name="y"
        )
        check_consistent_length(x, target)
        rows = target.reshape(len(target), -1)
        if reset:
            self._single = target.ndim == 1
            self._y_scaler = Scaler(self, "y")
            if self.standardize:
                self._y_scaler.fit(rows)
        return self._y_scaler(rows), rows.shape[1]

    def _head(self, size: int, n_outputs: int) -> list[Layer]:
        return [pool(self, self.pooling), *super()._head(size, n_outputs)]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def predict(self, X: Any) -> Array:
        """Return the numbers of each sequence.

        Parameters
        ----------
        X : sequences
            See the class.

        Returns
        -------
        (samples,) or (samples, targets) array
            As y was.
        """
        outputs, _ = self._outputs(X)
        y = self._y_scaler.inverse(outputs)
        return y[:, 0] if self._single else y
