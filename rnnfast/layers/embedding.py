"""A vector for each symbol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import backend
from ..arrays import contiguous
from ..checks import check_features, check_float_dtype, check_seed, check_size
from .base import Layer, Tape

if TYPE_CHECKING:
    from ..arrays import Array


class Embedding(Layer):
    """Row ``weight[id]`` for each id, as ``torch.nn.Embedding``.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
        Number of rows, and their size.
    padding_idx : int or None
        A row that starts as zeros and gets no gradient.
    dtype : {float32, float64}
    seed : int or None
        Weights are drawn from the standard normal distribution.
    """

    _step_axes = 0  # a symbol
    dtype: np.dtype[Any]
    out_size: int
    symbols = 1  # whose rows stand side by side

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        dtype: Any = np.float32,
        seed: int | None = None,
    ) -> None:
        name = "Embedding"
        self.num_embeddings = check_size(name, "num_embeddings", num_embeddings, 1)
        self.embedding_dim = check_size(name, "embedding_dim", embedding_dim, 1)
        self.out_size = self.symbols * self.embedding_dim
        self.padding_idx = None
        if padding_idx is not None:
            self.padding_idx = check_size(name, "padding_idx", padding_idx, 0)
            if padding_idx >= num_embeddings:
                raise ValueError(
                    f"Embedding expected padding_idx < {num_embeddings}, got {padding_idx}"
                )
        self.dtype = check_float_dtype(name, dtype)
        self.seed = check_seed(name, seed)

        def draw(name: str, shape: tuple[int, ...]) -> Array:
            weight = np.random.default_rng(self.seed).standard_normal(shape)
            if padding_idx is not None:
                weight[padding_idx] = 0.0
            return weight

        self._create({"weight": (self.num_embeddings, self.embedding_dim)}, draw)

    def __call__(self, x: Array) -> Array:
        """Return the rows.

        Parameters
        ----------
        x : (...) array of any integer dtype
            Ids from 0 to num_embeddings - 1.

        Returns
        -------
        y : (..., embedding_dim) array

        Raises
        ------
        TypeError, ValueError
            For an array that does not hold integers, or an id out of range.
        """
        return self._run(x)[0]

    def forward(self, x: Array) -> tuple[Array, Tape]:
        """Return the rows and the tape; as a call otherwise."""
        y, ids = self._run(x)
        return y, Tape(self, (ids, y.shape))

    def _run(self, x: Array) -> tuple[Array, Array]:
        name = type(self).__name__
        if not isinstance(x, np.ndarray) or x.dtype.kind not in "iu":
            got = x.dtype if isinstance(x, np.ndarray) else type(x).__name__
            raise TypeError(f"{name} expected input as a NumPy array of integers, got {got}")
        if x.size and not 0 <= x.min() <= x.max() < self.num_embeddings:
            raise ValueError(
                f"{name} expected ids from 0 to {self.num_embeddings - 1}, "
                f"got {x.min()} to {x.max()}"
            )
        ids = contiguous(x, np.dtype(np.int64)).reshape(-1)
        y = np.empty((len(ids), self.embedding_dim), self.dtype)
        backend.active().dense.embedding(ids, self.params._arrays["weight"], y)
        return y.reshape(*x.shape, self.embedding_dim), ids

    def backward(self, tape: Tape, dy: Array, input_grad: bool = True) -> None:
        """Add into `grads`; ids have no gradient, so None is returned.

        Parameters
        ----------
        tape : Tape
            From `forward`; used up.
        dy : (..., embedding_dim) array
        input_grad : bool
            Ignored.
        """
        ids, shape = self._open(tape)
        self._use_up(tape, dy, self.dtype, shape)
        drows = contiguous(dy, self.dtype).reshape(len(ids), self.embedding_dim)
        if self.padding_idx is not None:
            real = ids != self.padding_idx
            ids, drows = ids[real], drows[real]
        with self._lock:
            backend.active().dense.embedding_backward(ids, drows, self.grads["weight"])

    def _describe(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


class JoinedEmbedding(Embedding):
    """Embeddings of the symbols on the last axis side by side: of several voices, say.

    All symbols share one table; y has the axes of x, the last with ``symbols * embedding_dim``
    features.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
        Number of rows, and their size.
    symbols : int
        Size of the last axis of x.
    padding_idx, dtype, seed
        As for `Embedding`.
    """

    _step_axes = 1

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        symbols: int,
        padding_idx: int | None = None,
        dtype: Any = np.float32,
        seed: int | None = None,
    ) -> None:
        self.symbols = check_size("JoinedEmbedding", "symbols", symbols, 1)
        super().__init__(num_embeddings, embedding_dim, padding_idx, dtype, seed)

    def _run(self, x: Array) -> tuple[Array, Array]:
        if isinstance(x, np.ndarray):
            check_features("JoinedEmbedding", x, self.symbols)
        y, ids = super()._run(x)
        return y.reshape(*x.shape[:-1], self.out_size), ids

    def _describe(self) -> str:
        return f"{super()._describe()}, symbols={self.symbols}"
