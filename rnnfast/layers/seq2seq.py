"""Encoder and decoder: a sequence of symbols from another one, or from a vector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import (
    check_flag,
    check_float_dtype,
    check_lengths,
    check_positive,
    check_probability,
    check_seed,
    check_size,
)
from .activation import Tanh
from .attention import SCORES, LuongAttention
from .base import Tape
from .composite import Calls, Composite
from .dropout import Dropout
from .embedding import Embedding
from .linear import Linear
from .recurrent import RECURRENT_LAYERS
from .sequential import without_padding

if TYPE_CHECKING:
    from ..arrays import Array


class EncoderDecoder(Composite):
    """A recurrent encoder whose final state starts a recurrent decoder (Sutskever et al., 2014).

    Training is by teacher forcing: the decoder reads the target, one step late, and learns to
    give its next symbol; so each whole sequence is one call of the engine. With attention (Luong
    et al., 2015, without input feeding) the decoder's output h and its context c over the
    encoder's outputs become ``tanh(W [c; h])`` before the scores.

    `rnnfast.fit` trains it on batches ``((source, target, source_lengths, lengths), next_symbols,
    lengths)``.

    Letters: Ts source steps, Tt target steps, B batch, V target symbols.

    Parameters
    ----------
    source_size : int
        Number of source symbols, or of features for ``source="vector"``.
    target_size : int
        Number of target symbols, V.
    embedding_size, hidden_size : int
    num_layers : int, default 1
        Of the encoder, and of the decoder.
    cell : {"lstm", "gru", "rnn", "mingru", "minlstm"}
    bidirectional : bool, default False
        Whether the encoder reads both ways; the decoder then starts from both final states side by
        side and has twice `hidden_size`.
    attention : {"dot", "general", "concat"} or None
        Score of the attention over the encoder's outputs; None for no attention.
    dropout : float, default 0
        Probability, between layers and before the scores, in `forward` only.
    source : {"symbols", "vector"}
        What is encoded. The decoder's initial state is a linear function of a vector.
    batch_first : bool, default False
        Whether sequences are (B, T) instead of (T, B).
    dtype : {float32, float64}
    seed : int or None
    """

    dtype: np.dtype[Any]
    batch_first: bool

    def __init__(
        self,
        source_size: int,
        target_size: int,
        embedding_size: int,
        hidden_size: int,
        num_layers: int = 1,
        cell: str = "lstm",
        bidirectional: bool = False,
        attention: str | None = None,
        dropout: float = 0.0,
        source: str = "symbols",
        batch_first: bool = False,
        dtype: Any = np.float32,
        seed: int | None = None,
    ) -> None:
        name = "EncoderDecoder"
        self.source_size = check_size(name, "source_size", source_size, 1)
        self.target_size = self.out_size = check_size(name, "target_size", target_size, 1)
        self.embedding_size = check_size(name, "embedding_size", embedding_size, 1)
        self.hidden_size = check_size(name, "hidden_size", hidden_size, 1)
        self.num_layers = check_size(name, "num_layers", num_layers, 1)
        for what, value, known in (
            ("cell", cell, tuple(RECURRENT_LAYERS)),
            ("attention", attention, (None, *SCORES)),
            ("source", source, ("symbols", "vector")),
        ):
            if value not in known:
                raise ValueError(f"{name} expected {what} as one of {known}, got {value!r}")
        self.cell, self.attention, self.source = cell, attention, source
        self.bidirectional = check_flag(name, "bidirectional", bidirectional)
        self.dropout = check_probability(name, "dropout", dropout)
        if source == "vector" and (attention or bidirectional):
            raise ValueError(
                f"{name} expected source 'symbols' with attention and bidirectional: "
                "a vector has no steps"
            )
        self.batch_first = check_flag(name, "batch_first", batch_first)
        self.dtype = check_float_dtype(name, dtype)
        self.seed = check_seed(name, seed)
        self._join(self._make_parts())

    def _make_parts(self) -> dict[str, Any]:
        L, E, H = self.num_layers, self.embedding_size, self.hidden_size
        size = 2 * H if self.bidirectional else H  # of the decoder
        seeds = np.random.SeedSequence(self.seed).generate_state(8).tolist()

        def make(kind: Callable[..., Any], *sizes: Any, **options: Any) -> Any:
            return kind(*sizes, dtype=self.dtype, seed=seeds.pop(), **options)

        between = {"num_layers": L, "dropout": self.dropout if L > 1 else 0.0}
        kind = RECURRENT_LAYERS[self.cell]
        parts: dict[str, Any] = {}
        if self.source == "symbols":
            parts["source"] = make(Embedding, self.source_size, E)
            parts["encoder"] = make(kind, E, H, bidirectional=self.bidirectional, **between)
        else:
            states = 1 + kind._cell.has_cell_state
            parts["encoder"] = make(Linear, self.source_size, states * L * H)
        parts["target"] = make(Embedding, self.target_size, E)
        parts["decoder"] = make(kind, E, size, **between)
        if self.attention:
            parts["attention"] = make(LuongAttention, size, size, self.attention)
            parts["combine"] = make(Linear, 2 * size, size)
            parts["tanh"] = Tanh()
        parts["dropout"] = Dropout(self.dropout, seed=seeds.pop())
        parts["dropout"]._steps_first = True
        parts["output"] = make(Linear, size, self.target_size)
        return parts

    # ---- calls

    def __call__(
        self, source: Array, target: Array, source_lengths: Any = None, lengths: Any = None
    ) -> Array:
        """Return the scores of each target step's next symbol.

        Parameters
        ----------
        source : (Ts, B) array of int, or (B, Ts) with ``batch_first``; or (B, features) array
            Symbols, or vectors of the layer's dtype.
        target : (Tt, B) array of int, or (B, Tt)
            What the decoder reads: a start symbol and the symbols so far.
        source_lengths, lengths : (B,) array_like of int, optional
            Steps of each source and of each target; what is past them is ignored.

        Returns
        -------
        scores : (Tt, B, V) array, or (B, Tt, V)
            Past a target's end they mean nothing.

        Raises
        ------
        TypeError, ValueError
            For wrong dtypes, shapes, lengths or symbols.
        """
        return self._run(source, target, source_lengths, lengths, training=False)[0]

    def forward(
        self, source: Array, target: Array, source_lengths: Any = None, lengths: Any = None
    ) -> tuple[Array, Tape]:
        """Return the scores and the tape; as a call otherwise."""
        return self._run(source, target, source_lengths, lengths, training=True)

    def _run(
        self, source: Array, target: Array, source_lengths: Any, lengths: Any, training: bool
    ) -> tuple[Array, Tape]:
        name = type(self).__name__
        B = self._check_source(source, source_lengths)
        _check_matrix(name, "target", target)
        target = self._swapped(target)
        if target.shape[1] != B:
            raise ValueError(
                f"{name} expected as many targets as sources, {B}, got {target.shape[1]}"
            )
        target = without_padding(name, target, lengths, False)
        calls = Calls(self.parts, training)
        state, memory = self._encode(calls, source, source_lengths)
        h, _ = calls("decoder", calls("target", target), state, lengths)
        scores = self._swapped(self._score(calls, h, memory, source_lengths))
        return scores, Tape(self, (calls, scores.shape))

    def backward(self, tape: Tape, dscores: Array, input_grad: bool = True) -> Array | None:
        """Add into `grads`; return the gradient of a vector, None for symbols.

        Parameters
        ----------
        tape : Tape
            From `forward`; used up.
        dscores : array of the shape of the scores
            Zero past each target's end, as the losses give it.
        input_grad : bool, default True
            Whether the gradient of a vector is wanted.

        Returns
        -------
        dsource : (B, features) array or None
        """
        calls, shape = self._open(tape)
        self._use_up(tape, dscores, self.dtype, shape, "dscores")
        dh = calls.backward("output", self._swapped(dscores))
        dh = calls.backward("dropout", dh)
        dmemory = None
        if self.attention:
            dboth = calls.backward("combine", calls.backward("tanh", dh))
            dcontext, dh = np.split(dboth, 2, axis=-1)
            dquery, dmemory = calls.backward("attention", dcontext)
            dh = dh + dquery
        dx, dstate = calls.backward("decoder", dh)
        calls.backward("target", dx)
        if self.source == "vector":
            dparts = np.stack(dstate if isinstance(dstate, tuple) else (dstate,))  # (n, L, B, H)
            dflat = dparts.transpose(2, 0, 1, 3).reshape(
                dparts.shape[2], self.parts["encoder"].out_size
            )
            dvector: Array | None = calls.backward("encoder", dflat, input_grad=input_grad)
            return dvector
        dx, _ = calls.backward("encoder", dmemory, _each(self._split_directions, dstate))
        calls.backward("source", dx)
        return None

    def _encode(self, calls: Calls, source: Array, lengths: Any) -> tuple[Any, Array | None]:
        # the decoder's initial state, and what attention may look at
        if self.source == "vector":
            flat = calls("encoder", source)
            n = 1 + self.parts["decoder"].network.cell.has_cell_state
            parts = flat.reshape(len(flat), n, self.num_layers, self.hidden_size)
            states = tuple(np.ascontiguousarray(parts.transpose(1, 2, 0, 3)))
            return states if len(states) == 2 else states[0], None
        steps = without_padding(type(self).__name__, self._swapped(source), lengths, False)
        memory, state = calls("encoder", calls("source", steps), None, lengths)
        return _each(self._join_directions, state), memory

    def _score(self, calls: Calls, h: Array, memory: Array | None, lengths: Any) -> Any:
        if self.attention:
            context, _ = calls("attention", h, memory, lengths)
            h = calls("tanh", calls("combine", np.concatenate([context, h], axis=-1)))
        return calls("output", calls("dropout", h))

    # ---- decoding

    def decode(
        self,
        source: Array,
        source_lengths: Any = None,
        *,
        start: int,
        end: int,
        max_steps: int,
        beam_width: int = 1,
        length_penalty: float = 0.0,
    ) -> tuple[list[Array], Array]:
        """Write the target of each source, symbol by symbol, by beam search.

        A beam of width 1 is greedy: always the symbol of the highest score.

        Parameters
        ----------
        source, source_lengths
            As for a call.
        start : int
            Symbol that the decoder reads first.
        end : int
            Symbol that ends a target.
        max_steps : int
            Most symbols of a target, `end` included.
        beam_width : int, default 1
            W: how many unfinished and finished targets are kept for each source.
        length_penalty : float, default 0
            Targets of n symbols, `end` included, are compared by their log-probability over
            ((5 + n) / 6) ** length_penalty (Wu et al., 2016); 0 favours short ones.

        Returns
        -------
        targets : list of B arrays of int64
            The best target of each source, without `start` and `end`.
        scores : (B,) array of float64
            By which they are the best.
        """
        name = type(self).__name__
        B = self._check_source(source, source_lengths)
        V, W = self.target_size, check_size(name, "beam_width", beam_width, 1)
        for what, symbol in ("start", start), ("end", end):
            if check_size(name, what, symbol, 0) >= V:
                raise ValueError(f"{name} expected {what} < {V}, got {symbol}")
        check_size(name, "max_steps", max_steps, 1)
        if length_penalty != 0:
            check_positive(name, "length_penalty", length_penalty)

        calls = Calls(self.parts, training=False)
        state, memory = self._encode(calls, source, source_lengths)
        # Rows are (W, B): attention takes the targets of a source for steps of one query.
        state = _each(lambda part: np.tile(part, (1, W, 1)), state)
        symbols = np.full((W, B), start)
        total = np.full((W, B), -np.inf)  # log-probabilities
        total[0] = 0.0  # all targets of a source are still the same one
        size = np.zeros((W, B), np.int64)
        done = np.zeros((W, B), bool)
        best = np.zeros((W, B))
        written = np.empty((0, W, B), np.int64)
        for _ in range(max_steps):
            x = self.parts["target"](symbols.reshape(-1))
            h, state = self.parts["decoder"].step(x, state)
            scores = self._score(calls, h.reshape(W, B, h.shape[1]), memory, source_lengths)
            gains = log_softmax(scores)
            gains[done] = -np.inf
            gains[done, end] = 0.0  # finished targets stay as they are
            size += ~done
            candidates = total[..., None] + gains
            ranks = candidates / ((5 + size[..., None]) / 6) ** length_penalty
            ranks = ranks.transpose(1, 0, 2).reshape(B, W * V)
            chosen = np.argsort(-ranks, axis=1, kind="stable")[:, :W]
            best = np.take_along_axis(ranks, chosen, axis=1).T
            parents, symbols = np.divmod(chosen.T, V)
            samples = np.arange(B)
            total = candidates[parents, samples, symbols]
            size, done = size[parents, samples], done[parents, samples] | (symbols == end)
            written = np.concatenate([written[:, parents, samples], symbols[None]])
            rows = (parents * B + samples).reshape(-1)
            state = _each(partial(np.take, indices=rows, axis=1), state)
            if done.all():
                break
        # of a target that has not ended, size counts every symbol
        sizes = size[0] - done[0]
        return [written[:n, 0, b] for b, n in enumerate(sizes)], best[0]

    # ---- layouts and states

    def _check_source(self, source: Array, lengths: Any) -> int:
        # the number of samples
        name = type(self).__name__
        _check_matrix(name, "source", source)
        if self.source == "vector":
            if lengths is not None:
                raise ValueError(f"{name} expected no source_lengths for vectors, got {lengths!r}")
            return len(source)
        steps, samples = self._swapped(source).shape
        check_lengths(name, lengths, steps, samples)
        return samples

    def _in_and_out_in_time(self) -> tuple[Sequence[bool], Sequence[bool]]:
        return (self.source == "symbols", True), (True,)

    def _swapped(self, array: Array) -> Array:
        # between the user's layout and (T, B, ...), either way
        return array.swapaxes(0, 1) if self.batch_first else array

    def _join_directions(self, part: Array) -> Array:
        # (L*D, B, H) -> (L, B, D*H)
        LD, B, H = part.shape
        L, D = self.num_layers, LD // self.num_layers
        return part.reshape(L, D, B, H).swapaxes(1, 2).reshape(L, B, D * H)

    def _split_directions(self, part: Array) -> Array:
        (L, B, DH), H = part.shape, self.hidden_size
        return part.reshape(L, B, DH // H, H).swapaxes(1, 2).reshape(L * (DH // H), B, H)


def log_softmax(scores: Array) -> Array:
    """Return the logarithms, in float64, of the softmax over the last axis."""
    shifted = scores.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted


def _each(function: Callable[[Array], Array], state: Any) -> Any:
    # an LSTM's state is a pair
    return tuple(map(function, state)) if isinstance(state, tuple) else function(state)


def _check_matrix(owner: str, name: str, array: Any) -> None:
    if not isinstance(array, np.ndarray) or array.ndim != 2:
        got = array.shape if isinstance(array, np.ndarray) else type(array).__name__
        raise ValueError(f"{owner} expected {name} as an array with 2 axes, got {got}")
