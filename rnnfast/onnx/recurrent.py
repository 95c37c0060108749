"""ONNX's RNN, LSTM and GRU: on the engine where its cells cover them, else step by step in NumPy.

The equations are those of the operators' definitions, https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import layers
from ..cells import CELLS, Cell
from ..checks import check_array, check_lengths
from ..layers.recurrent_base import Recurrent
from .operators import OPERATORS, reverse

if TYPE_CHECKING:
    from ..arrays import Array

    Activation = Callable[[Array], Array]
    Weights = tuple[Array, Array, Array | None, Array | None]  # W, R, B, P


# what the operators take for `activations` where a node names none
USUAL = {
    "RNN": ("tanh",),
    "LSTM": ("sigmoid", "tanh", "tanh"),
    "GRU": ("sigmoid", "tanh"),
}


def _affine(x: Array, alpha: float = 1.0, beta: float = 0.0) -> Array:
    return alpha * x + beta


def _scaled_tanh(x: Array, alpha: float = 1.0, beta: float = 1.0) -> Array:
    return alpha * np.tanh(beta * x)


# by ONNX's name in lower case: the function, and how many of alpha and beta it takes
ACTIVATIONS: dict[str, tuple[Any, int]] = {
    name.lower(): (OPERATORS[name][1].function, parameters)
    for name, parameters in (
        ("Relu", 0),
        ("Tanh", 0),
        ("Sigmoid", 0),
        ("LeakyRelu", 1),
        ("ThresholdedRelu", 1),
        ("HardSigmoid", 2),
        ("Elu", 1),
        ("Softsign", 0),
        ("Softplus", 0),
    )
}
ACTIVATIONS |= {"affine": (_affine, 2), "scaledtanh": (_scaled_tanh, 2)}


class RecurrentNode:
    """One node: what its attributes say, and its networks where its weights are constants.

    `weights` are of the operator's shapes; None where every call brings them. Attributes that the
    operator does not know raise NotImplementedError or ValueError.
    """

    def __init__(
        self,
        kind: str,
        weights: Weights | None,
        direction: str = "forward",
        layout: int = 0,
        hidden_size: int | None = None,
        activations: list[str] | None = None,
        activation_alpha: list[float] | None = None,
        activation_beta: list[float] | None = None,
        clip: float | None = None,
        input_forget: int = 0,
        linear_before_reset: int = 0,
    ) -> None:
        if direction not in ("forward", "reverse", "bidirectional"):
            raise ValueError(f"direction {direction!r} is none of forward, reverse, bidirectional")
        if clip is not None and not clip > 0:
            raise ValueError(f"clip expected to be > 0, got {clip}")
        self.kind = kind
        self.facts = next(c for c in CELLS.values() if c.onnx is not None and c.onnx.op == kind)
        self.direction = direction
        self.layout = layout
        self.hidden_size = hidden_size
        self.clip = clip
        self.input_forget = input_forget
        self.linear_before_reset = linear_before_reset
        directions = 2 if direction == "bidirectional" else 1
        usual = USUAL[kind]
        names = [n.lower() for n in activations or usual * directions]
        if len(names) != len(usual) * directions:
            raise ValueError(f"{len(usual) * directions} activations are needed, got {names}")
        alphas, betas = list(activation_alpha or ()), list(activation_beta or ())
        functions = [_activation(name, alphas, betas) for name in names]
        self.names = [tuple(names[: len(usual)]), tuple(names[len(usual) :])][:directions]
        self.functions = [functions[: len(usual)], functions[len(usual) :]][:directions]
        self.networks = [] if weights is None else self._build(*weights)
        # whether one layer computes it, with axes and steps in its own order
        self.short = self.on_engine and direction != "reverse" and not layout

    @property
    def on_engine(self) -> bool:
        """Whether a layer computes it."""
        return bool(self.networks) and isinstance(self.networks[0], Recurrent)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of its weights, where a layer computes it."""
        return self.networks[0].dtype

    def packed(self) -> Any:
        """Return the weights as a backend reads them, if a usual call needs nothing else."""
        return self.networks[0].packed(False).handle if self.short else None

    # ---- networks

    def _build(self, W: Array, R: Array, B: Array | None, P: Array | None) -> list[Any]:
        # one for each direction, or one layer for both; they go forward in time
        D = len(self.names)
        gates = self.facts.gates
        H = R.shape[-1]
        if self.hidden_size not in (None, H):
            raise ValueError(f"R expected of {self.hidden_size} hidden units, got {R.shape}")
        for name, array, wanted in (
            ("W", W, (D, gates * H, W.shape[-1])),
            ("R", R, (D, gates * H, H)),
            ("B", B, (D, 2 * gates * H)),
            ("P", P, (D, 3 * H)),
        ):
            if array is not None and array.shape != wanted:
                raise ValueError(f"{name} expected of shape {wanted}, got {array.shape}")
        cell = self._covered(P)
        if cell is not None:
            return [self._layer(cell, W, R, B, P)]
        B = np.zeros((D, 2 * gates * H), W.dtype) if B is None else B
        P = np.zeros((D, 3 * H), R.dtype) if P is None else P
        parts = zip(self.functions, W, R, B, P, strict=True)
        return [_Steps(self, *part) for part in parts]

    def _covered(self, P: Array | None) -> Cell | None:
        # the cell that computes this, if one does
        if self.clip is not None or self.input_forget or self.names[0] != self.names[-1]:
            return None
        given = {"linear_before_reset": int(bool(self.linear_before_reset))}
        for cell in CELLS.values():
            if cell.onnx is not None and cell.onnx.op == self.kind:
                if bool(cell.onnx.peepholes) != (P is not None):
                    continue
                wanted = dict(cell.onnx.attributes)
                names = tuple(n.lower() for n in wanted.pop("activations", USUAL[self.kind]))
                if names == self.names[0] and wanted.items() <= given.items():
                    return cell
        return None

    def _layer(self, cell: Cell, W: Array, R: Array, B: Array | None, P: Array | None) -> Any:
        assert cell.onnx is not None
        H = R.shape[-1]
        layer = getattr(layers, cell.layer)(
            W.shape[-1],
            H,
            bias=B is not None,
            bidirectional=len(W) == 2,
            dtype=W.dtype,
            **cell.options,
        )

        def reordered(array: Array, order: tuple[int, ...] = cell.onnx.order) -> Array:
            places = np.argsort(order)
            return array.reshape(len(places), H, *array.shape[1:])[places].reshape(array.shape)

        state = {}
        for d, suffix in enumerate(("", "_reverse")[: len(W)]):
            state[f"weight_ih_l0{suffix}"] = reordered(W[d])
            state[f"weight_hh_l0{suffix}"] = reordered(R[d])
            if B is not None:
                inputs, recurrent = np.split(B[d], 2)
                state[f"bias_ih_l0{suffix}"] = reordered(inputs)
                state[f"bias_hh_l0{suffix}"] = reordered(recurrent)
            if P is not None:
                state[f"weight_ch_l0{suffix}"] = reordered(P[d], cell.onnx.peepholes)
        layer.load_state_dict(state)
        return layer

    # ---- calls

    def _infer(self, X: Array, h: Array | None, c: Array | None) -> tuple[Array, ...] | None:
        # The short way, as that of a layer; None: something needs the long way's checks or copies.
        # What was transposed to have the steps first is read as it lies in memory.
        [layer] = self.networks
        turned = not X.flags.c_contiguous
        x = X.swapaxes(0, 1) if turned else X
        state = (h, c) if self.facts.has_cell_state else h
        done = layer.packed(False).quick(x, state, 3, turned, False)
        if done is None:
            return None
        y, state = done
        y = y.swapaxes(0, 1) if turned else y
        if layer.bidirectional:
            Y = y.reshape(*y.shape[:2], 2, layer.hidden_size).swapaxes(1, 2)
        else:
            Y = y[:, None]
        return (Y, *state) if self.facts.has_cell_state else (Y, state)

    def __call__(
        self,
        X: Array,
        W: Any = None,
        R: Any = None,
        B: Array | None = None,
        sequence_lens: Array | None = None,
        initial_h: Array | None = None,
        initial_c: Array | None = None,
        P: Array | None = None,
    ) -> tuple[Array, ...]:
        """Return Y, Y_h and, of an LSTM, Y_c."""
        if self.short and sequence_lens is None and (done := self._infer(X, initial_h, initial_c)):
            return done
        networks = self.networks or self._build(W, R, B, P)
        pair = self.facts.has_cell_state
        states = [initial_h, initial_c] if pair else [initial_h]
        if X.ndim != 3 or X.shape[2] != networks[0].input_size:
            raise ValueError(
                f"{self.kind} expected X with 3 axes, the last of size {networks[0].input_size}, "
                f"got {X.shape}"
            )
        D, H = len(self.names), networks[0].hidden_size
        T, N = X.shape[1::-1] if self.layout else X.shape[:2]
        lengths = check_lengths(self.kind, sequence_lens, T, N, "sequence_lens")
        for name, part in zip(("initial_h", "initial_c"), states, strict=False):
            if part is not None:
                wanted = (N, D, H) if self.layout else (D, N, H)
                check_array(self.kind, name, part, X.dtype, wanted)
        if self.layout:
            X = X.swapaxes(0, 1)
            states = [None if s is None else s.swapaxes(0, 1) for s in states]
        size = D // len(networks)
        ys, ends = [], []
        for d, network in enumerate(networks):
            backward = d == 1 or self.direction == "reverse"
            x = reverse(X, lengths) if backward else X
            own = [s if s is None else s[d * size : (d + 1) * size] for s in states]
            y, end = network(x, tuple(own) if pair else own[0], lengths)
            ys.append(reverse(y, lengths) if backward else y)
            ends.append(end if pair else (end,))
        Y = (ys[0] if len(ys) == 1 else np.concatenate(ys, -1)).reshape(T, N, D, H)
        last = ends[0] if len(ends) == 1 else map(np.concatenate, zip(*ends, strict=True))
        if self.layout:
            return Y.swapaxes(0, 1), *(s.swapaxes(0, 1) for s in last)
        return Y.swapaxes(1, 2), *last


def dequantised(weight: Array, scale: Array, zero: Array | None) -> Array:
    """Return ``(weight - zero) scale`` of (D, inputs, outputs) integers as (D, outputs, inputs)."""
    numbers = weight.astype(np.float32)
    if zero is not None:
        numbers -= zero.reshape(len(zero), 1, -1)
    return (numbers * scale.reshape(len(scale), 1, -1)).swapaxes(1, 2)


def _activation(name: str, alphas: list[float], betas: list[float]) -> Activation:
    # takes what it needs from the lists, and the defaults when they are used up
    if name not in ACTIVATIONS:
        raise NotImplementedError(f"activation {name!r} is none of {', '.join(ACTIVATIONS)}")
    function, parameters = ACTIVATIONS[name]
    given = {}
    if parameters > 0 and alphas:
        given["alpha"] = alphas.pop(0)
    if parameters > 1 and betas:
        given["beta"] = betas.pop(0)
    return partial(function, **given) if given else function


class _Steps:
    """One direction in NumPy, with what the engine's cells lack; called as a layer is."""

    def __init__(
        self,
        node: RecurrentNode,
        functions: list[Activation],
        W: Array,
        R: Array,
        B: Array,
        P: Array,
    ) -> None:
        self.cell = {"RNN": self._rnn, "LSTM": self._lstm, "GRU": self._gru}[node.kind]
        self.node = node
        self.functions = functions
        self.input_size, self.hidden_size = W.shape[-1], R.shape[-1]
        self.W, self.R, self.P = W, R, P
        self.b_x, self.b_h = np.split(B, 2)

    def __call__(self, x: Array, state: Any, lengths: Array | None) -> tuple[Array, Any]:
        T, N, _ = x.shape
        H = self.hidden_size
        pair = state if isinstance(state, tuple) else (state, None)
        zeros = np.zeros((N, H), x.dtype)
        h, c = (zeros if part is None else part[0] for part in pair)
        y = np.empty((T, N, H), x.dtype)
        sums = x @ self.W.T + self.b_x
        for t in range(T):
            new_h, new_c = self.cell(sums[t], h, c)
            if lengths is None:
                h, c, y[t] = new_h, new_c, new_h
            else:
                active = (t < lengths)[:, None]
                h, c = np.where(active, new_h, h), np.where(active, new_c, c)
                y[t] = np.where(active, new_h, 0)
        return y, (h[None], c[None]) if isinstance(state, tuple) else h[None]

    def _apply(self, which: int, x: Array) -> Array:
        clip = self.node.clip
        return self.functions[which](x if clip is None else np.clip(x, -clip, clip))

    def _rnn(self, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        return self._apply(0, x + h @ self.R.T + self.b_h), c

    def _gru(self, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        H = h.shape[1]
        gates = x[:, : 2 * H] + h @ self.R[: 2 * H].T + self.b_h[: 2 * H]
        z, r = np.split(self._apply(0, gates), 2, axis=1)
        R, b = self.R[2 * H :].T, self.b_h[2 * H :]
        recurrent = r * (h @ R + b) if self.node.linear_before_reset else (r * h) @ R + b
        n = self._apply(1, x[:, 2 * H :] + recurrent)
        return (1 - z) * n + z * h, c

    def _lstm(self, x: Array, h: Array, c: Array) -> tuple[Array, Array]:
        i, o, f, new = np.split(x + h @ self.R.T + self.b_h, 4, axis=1)
        p_i, p_o, p_f = np.split(self.P, 3)
        i = self._apply(0, i + p_i * c)
        f = 1 - i if self.node.input_forget else self._apply(0, f + p_f * c)
        c = f * c + i * self._apply(1, new)
        o = self._apply(0, o + p_o * c)
        return o * self.functions[2](c), c  # which ONNX Runtime does not clip either
