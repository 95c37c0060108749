"""Attention: what a query takes from the steps of a memory, by how well they match."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import contiguous, past_end
from ..checks import (
    check_dtype,
    check_flag,
    check_float_dtype,
    check_lengths,
    check_seed,
    check_size,
)
from .activation import Tanh
from .base import Layer, Tape
from .composite import Calls, Composite
from .linear import Linear

if TYPE_CHECKING:
    from ..arrays import Array

SCORES = ("dot", "general", "concat")


class Attention(Composite):
    """What the kinds of attention share.

    Letters: B batch, Tq query steps, Tk memory steps, H query size, M memory size, A size of the
    additive score's hidden layer.
    """

    dtype: np.dtype[Any]
    batch_first: bool
    additive: bool  # the score is v' tanh(W q + U m), else (W q)' m, or q' m without a W

    def _setup(
        self,
        query_size: int,
        memory_size: int,
        attention_size: int,
        score: str,
        batch_first: bool,
        dtype: Any,
        seed: int | None,
    ) -> None:
        name = type(self).__name__
        self.query_size = check_size(name, "query_size", query_size, 1)
        self.memory_size = self.out_size = check_size(name, "memory_size", memory_size, 1)
        self.batch_first = check_flag(name, "batch_first", batch_first)
        self.dtype = check_float_dtype(name, dtype)
        self.seed = check_seed(name, seed)
        self.additive = score == "concat"
        seeds = np.random.SeedSequence(self.seed).generate_state(3).tolist()

        def linear(inputs: int, outputs: int) -> Linear:
            return Linear(inputs, outputs, bias=False, dtype=self.dtype, seed=seeds.pop())

        if self.additive:
            A = check_size(name, "attention_size", attention_size, 1)
            parts: dict[str, Layer] = {
                "query": linear(self.query_size, A),
                "memory": linear(self.memory_size, A),
                "tanh": Tanh(),
                "score": linear(A, 1),
            }
        elif score == "general":
            parts = {"query": linear(self.query_size, self.memory_size)}
        else:
            parts = {}
        self._join(parts)

    def __call__(self, query: Array, memory: Array, lengths: Any = None) -> tuple[Array, Array]:
        """Return the context of every query.

        Parameters
        ----------
        query : (Tq, B, H) array of the layer's dtype, or (B, Tq, H) with ``batch_first``
        memory : (Tk, B, M) array, or (B, Tk, M)
        lengths : (B,) array_like of int, optional
            Steps of each sample's memory, 0 to Tk; what it holds past them is ignored.

        Returns
        -------
        context : (Tq, B, M) array, or (B, Tq, M)
            Sum of the memory's steps times their weights; zero for a memory of no steps.
        weights : (Tq, B, Tk) array, or (B, Tq, Tk)
            Softmax of the scores over the memory's steps; zero past its end.

        Raises
        ------
        TypeError, ValueError
            For wrong dtypes, shapes or lengths.
        """
        context, weights, _ = self._run(query, memory, lengths, training=False)
        return context, weights

    def forward(
        self, query: Array, memory: Array, lengths: Any = None
    ) -> tuple[Array, Array, Tape]:
        """Return context, weights and the tape; as a call otherwise."""
        return self._run(query, memory, lengths, training=True)

    @np.errstate(all="ignore")
    def _run(
        self, query: Array, memory: Array, lengths: Any, training: bool
    ) -> tuple[Array, Array, Tape]:
        name = type(self).__name__
        for what, array, size in (
            ("query", query, self.query_size),
            ("memory", memory, self.memory_size),
        ):
            check_dtype(name, what, array, self.dtype)
            if array.ndim != 3 or array.shape[2] != size:
                raise ValueError(
                    f"{name} expected {what} with 3 axes, the last of size {size}, "
                    f"got {array.shape}"
                )
        q, m = (self._batch_major(contiguous(a, self.dtype)) for a in (query, memory))
        if len(q) != len(m):
            raise ValueError(
                f"{name} expected a memory of {len(q)} samples, as the query has, got {len(m)}"
            )
        B, Tk, _ = m.shape
        past = past_end(check_lengths(name, lengths, Tk, B), Tk)
        if past is not None:
            m = np.where(past[..., None], m.dtype.type(0), m)

        calls = Calls(self.parts, training)
        if self.additive:
            hidden = calls("query", q)[:, :, None] + calls("memory", m)[:, None]  # (B, Tq, Tk, A)
            scores = calls("score", calls("tanh", hidden))[..., 0]
        else:
            q = calls("query", q) if "query" in self.parts else q
            scores = np.matmul(q, m.swapaxes(1, 2))
        if past is not None:
            np.copyto(scores, -np.inf, where=past[:, None])
        # the least finite number: a sample without memory has no step whose score it could take
        scores -= scores.max(axis=2, keepdims=True, initial=np.finfo(self.dtype).min)
        weights = np.exp(scores, out=scores)
        weights /= np.maximum(weights.sum(axis=2, keepdims=True), 1)  # at least exp(0)
        context = self._laid_out(np.matmul(weights, m))
        tape = Tape(self, (calls, q, m, weights, context.shape))
        return context, self._laid_out(weights), tape

    @np.errstate(all="ignore")
    def backward(
        self, tape: Tape, dcontext: Array, input_grad: bool = True
    ) -> tuple[Array | None, Array | None]:
        """Add into `grads` and return the gradients of query and memory.

        Parameters
        ----------
        tape : Tape
            From `forward`; used up.
        dcontext : array of the shape of the context
        input_grad : bool, default True
            Whether they are wanted.

        Returns
        -------
        dquery : array of the shape of the query, or None
        dmemory : array of the shape of the memory, or None
            Zero past each sample's end.
        """
        calls, q, m, weights, shape = self._open(tape)
        self._use_up(tape, dcontext, self.dtype, shape, "dcontext")
        dc = self._batch_major(contiguous(dcontext, self.dtype))
        dm = np.matmul(weights.swapaxes(1, 2), dc)
        dscores = np.matmul(dc, m.swapaxes(1, 2))
        dscores -= (dscores * weights).sum(axis=2, keepdims=True)
        dscores *= weights
        if self.additive:
            dhidden = calls.backward("tanh", calls.backward("score", dscores[..., None]))
            dq = calls.backward("query", dhidden.sum(axis=2), input_grad=input_grad)
            dkeys = calls.backward("memory", dhidden.sum(axis=1), input_grad=input_grad)
        else:
            dq = np.matmul(dscores, m)
            dkeys = np.matmul(dscores.swapaxes(1, 2), q)
            if "query" in self.parts:
                dq = calls.backward("query", dq, input_grad=input_grad)
        if not input_grad:
            return None, None
        dm += dkeys
        return self._laid_out(dq), self._laid_out(dm)

    def _batch_major(self, array: Array) -> Array:
        return array if self.batch_first else array.swapaxes(0, 1)

    def _laid_out(self, array: Array) -> Array:
        # from (B, T, F) to the caller's layout, as an array of its own
        return array if self.batch_first else np.ascontiguousarray(array.swapaxes(0, 1))


class LuongAttention(Attention):
    """Multiplicative attention of Luong, Pham and Manning (2015), and their additive score.

    The score of a memory step m for a query q is q' m ("dot"), (W q)' m ("general") or
    v' tanh(W q + U m) ("concat"); the context is the sum of all m weighted by its softmax.

    Parameters
    ----------
    query_size, memory_size : int
        Equal for "dot".
    score : {"dot", "general", "concat"}
    attention_size : int, optional
        Rows of W and U for "concat"; by default, `query_size`.
    batch_first : bool, default False
        As in the recurrent layers.
    dtype : {float32, float64}
    seed : int or None
        Of the weights, drawn as those of `Linear`.
    """

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        score: str = "dot",
        attention_size: int | None = None,
        batch_first: bool = False,
        dtype: Any = np.float32,
        seed: int | None = None,
    ) -> None:
        if not isinstance(score, str) or score not in SCORES:
            raise ValueError(
                f"LuongAttention expected score as one of {', '.join(SCORES)}, got {score!r}"
            )
        if score == "dot" and query_size != memory_size:
            raise ValueError(
                "LuongAttention expected query_size and memory_size to be equal for score 'dot', "
                f"got {query_size} and {memory_size}"
            )
        self.score, self.attention_size = score, attention_size
        size = query_size if attention_size is None else attention_size
        self._setup(query_size, memory_size, size, score, batch_first, dtype, seed)


class BahdanauAttention(Attention):
    """Additive attention of Bahdanau, Cho and Bengio (2015).

    The score of a memory step m for a query q is v' tanh(W q + U m); the context is the sum of all
    m weighted by its softmax. It needs memory for (B, Tq, Tk, attention_size) numbers.

    Parameters
    ----------
    query_size, memory_size, attention_size : int
    batch_first : bool, default False
        As in the recurrent layers.
    dtype : {float32, float64}
    seed : int or None
        Of the weights, drawn as those of `Linear`.
    """

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        attention_size: int,
        batch_first: bool = False,
        dtype: Any = np.float32,
        seed: int | None = None,
    ) -> None:
        self.attention_size = attention_size
        self._setup(query_size, memory_size, attention_size, "concat", batch_first, dtype, seed)
