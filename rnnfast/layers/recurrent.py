"""RNN, LSTM and GRU, with names, shapes and gate order of torch.nn; MinGRU and MinLSTM."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..cells import CELLS
from ..checks import check_flag
from .recurrent_base import Recurrent


class RNN(Recurrent):
    """``h_t = act(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)``, as ``torch.nn.RNN``.

    Parameters
    ----------
    input_size, hidden_size : int
    num_layers : int, default 1
        Layers on top of each other.
    nonlinearity : {"tanh", "relu"}
    bias : bool, default True
    batch_first : bool, default False
        Whether x and y are (B, T, features) instead of (T, B, features); states never change.
    dropout : float, default 0
        Probability of dropping an element between layers, in `forward` only.
    bidirectional : bool, default False
    dtype : {float32, float64}
    seed : int or None
        Of the weights, drawn from uniform(-1/sqrt(H), 1/sqrt(H)), and of dropout.
    checkpoint : int or None
        With k, `forward` stores the state at every k-th step only and `backward` recomputes the
        steps between: less memory for more time (docs/performance.md). Files to continue a
        training from are `rnnfast.Checkpoint`.
    layer_norm : bool, default False
        Whether the H sums are layer normalised before the activation (Ba et al. 2016):
        ``gamma (u - mean) / sqrt(variance + 1e-5) + beta``, u the sums with their biases, gamma
        and beta the parameters ``weight_ln_l0``, ones at first, and ``bias_ln_l0``, zeros, of
        shape (H,), and so on.
    recurrent_dropout : float, default 0
        Probability of dropping an element of h where it enters the product with ``weight_hh``, in
        `forward` only: one mask for all steps (Gal and Ghahramani 2016).
    zoneout : float, default 0
        Probability with which a unit's h keeps its old value at a step, in `forward`; a plain
        call takes the expectation (Krueger et al. 2017).
    """

    _cell = CELLS["rnn_tanh"]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: Any = np.float32,
        seed: int | None = None,
        *,
        checkpoint: int | None = None,
        layer_norm: bool = False,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
    ) -> None:
        if not isinstance(nonlinearity, str) or nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"RNN expected nonlinearity 'tanh' or 'relu', got {nonlinearity!r}")
        self.nonlinearity = nonlinearity
        self._cell = CELLS[f"rnn_{nonlinearity}"]
        self._setup(locals())


class LSTM(Recurrent):
    """Long short-term memory, as ``torch.nn.LSTM``; gates in the order i, f, g, o.

    Parameters
    ----------
    input_size, hidden_size : int
    num_layers : int, default 1
        Layers on top of each other.
    bias : bool, default True
    batch_first : bool, default False
        Whether x and y are (B, T, features) instead of (T, B, features); states never change.
    dropout : float, default 0
        Probability of dropping an element between layers, in `forward` only.
    bidirectional : bool, default False
    proj_size : int, default 0
        Size of the projection of h, less than `hidden_size`; 0 for none.
    dtype : {float32, float64}
    seed : int or None
        Of the weights, drawn from uniform(-1/sqrt(H), 1/sqrt(H)), and of dropout.
    checkpoint : int or None
        With k, `forward` stores the state at every k-th step only and `backward` recomputes the
        steps between: less memory for more time (docs/performance.md). Files to continue a
        training from are `rnnfast.Checkpoint`.
    layer_norm : bool, default False
        Whether the H sums of each gate are layer normalised before the activation (Ba et al. 2016):
        ``gamma (u - mean) / sqrt(variance + 1e-5) + beta``, u the sums with their biases, gamma
        and beta the parameters ``weight_ln_l0``, ones at first, and ``bias_ln_l0``, zeros, of
        shape (4*H,), and so on.
    recurrent_dropout : float, default 0
        Probability of dropping an element of h where it enters the product with ``weight_hh``, in
        `forward` only: one mask for all steps (Gal and Ghahramani 2016).
    zoneout : float or pair of float, default 0
        Probability with which a unit's h, or c, keeps its old value at a step, in `forward`; a
        plain call takes the expectation (Krueger et al. 2017). A pair is that of h and that of c.
    peepholes : bool, default False
        Whether the gates see the cell state (Gers and Schmidhuber 2000): the sums of i and f have
        ``w_ci c_{t-1}`` and ``w_cf c_{t-1}`` more, that of o ``w_co c_t``, element by element. The
        parameter ``weight_ch_l0`` (3*H,) holds the three, in the order i, f, o, and so on. With
        zoneout ``w_co`` sees c_t before zoneout.
    """

    _cell = CELLS["lstm"]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        dtype: Any = np.float32,
        seed: int | None = None,
        *,
        checkpoint: int | None = None,
        layer_norm: bool = False,
        recurrent_dropout: float = 0.0,
        zoneout: float | tuple[float, float] = 0.0,
        peepholes: bool = False,
    ) -> None:
        self.peepholes = check_flag("LSTM", "peepholes", peepholes)
        if self.peepholes:
            self._cell = CELLS["lstm_peephole"]
        self._setup(locals())


class GRU(Recurrent):
    """Gated recurrent unit, as ``torch.nn.GRU``; gates in the order r, z, n.

    ``r, z = sigmoid(W_i x_t + b_i + W_h h_{t-1} + b_h)`` and ``h_t = (1 - z) n + z h_{t-1}``, with
    ``n = tanh(W_in x_t + b_in + r (W_hn h_{t-1} + b_hn))`` or, without `reset_after`, Cho et al.
    (2014), ``n = tanh(W_in x_t + b_in + W_hn (r h_{t-1}) + b_hn)``.

    Parameters
    ----------
    input_size, hidden_size : int
    num_layers : int, default 1
        Layers on top of each other.
    bias : bool, default True
    batch_first : bool, default False
        Whether x and y are (B, T, features) instead of (T, B, features); states never change.
    dropout : float, default 0
        Probability of dropping an element between layers, in `forward` only.
    bidirectional : bool, default False
    dtype : {float32, float64}
    seed : int or None
        Of the weights, drawn from uniform(-1/sqrt(H), 1/sqrt(H)), and of dropout.
    checkpoint : int or None
        With k, `forward` stores the state at every k-th step only and `backward` recomputes the
        steps between: less memory for more time (docs/performance.md). Files to continue a
        training from are `rnnfast.Checkpoint`.
    layer_norm : bool, default False
        Whether the H sums of each gate are layer normalised before the activation (Ba et al. 2016):
        ``gamma (u - mean) / sqrt(variance + 1e-5) + beta``, u the sums with their biases, gamma
        and beta the parameters ``weight_ln_l0``, ones at first, and ``bias_ln_l0``, zeros, of
        shape (4*H,), and so on; n has two, of x and of h, in the order r, z, n_x, n_h.
    recurrent_dropout : float, default 0
        Probability of dropping an element of h where it enters the product with ``weight_hh``, in
        `forward` only: one mask for all steps (Gal and Ghahramani 2016). Without `reset_after`, n
        has the product of r and the masked h.
    zoneout : float, default 0
        Probability with which a unit's h keeps its old value at a step, in `forward`; a plain
        call takes the expectation (Krueger et al. 2017).
    reset_after : bool, default True
        Whether r acts after the product with h, as in PyTorch, or before it, as in the paper.
        False does not go with `layer_norm`.
    """

    _cell = CELLS["gru"]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: Any = np.float32,
        seed: int | None = None,
        *,
        checkpoint: int | None = None,
        layer_norm: bool = False,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        reset_after: bool = True,
    ) -> None:
        self.reset_after = check_flag("GRU", "reset_after", reset_after)
        if not self.reset_after:
            self._cell = CELLS["gru_reset_before"]
        self._setup(locals())


class MinGRU(Recurrent):
    """Minimal gated recurrent unit: its gates are of x alone, in the order z, h.

    ``z = sigmoid(W_z x_t + b_z)`` and ``h_t = (1 - z) h_{t-1} + z g(W_h x_t + b_h)`` with
    ``g(a) = a + 0.5`` where a >= 0, else ``sigmoid(a)``. No product waits for h_{t-1}.

    Parameters
    ----------
    input_size, hidden_size : int
    num_layers : int, default 1
        Layers on top of each other.
    bias : bool, default True
    batch_first : bool, default False
        Whether x and y are (B, T, features) instead of (T, B, features); states never change.
    dropout : float, default 0
        Probability of dropping an element between layers, in `forward` only.
    bidirectional : bool, default False
    dtype : {float32, float64}
    seed : int or None
        Of the weights, drawn from uniform(-1/sqrt(H), 1/sqrt(H)), and of dropout.
    checkpoint : int or None
        With k, `forward` stores the state at every k-th step only and `backward` recomputes the
        steps between: less memory for more time (docs/performance.md).
    zoneout : float, default 0
        Probability with which a unit's h keeps its old value at a step, in `forward`; a plain
        call takes the expectation (Krueger et al. 2017).

    Notes
    -----
    The parameters are ``weight_ih_l0`` (2*H, I) and ``bias_ih_l0`` (2*H,), and so on. Feng et al.
    (2024), "Were RNNs all we needed?", arXiv:2410.01201.
    """

    _cell = CELLS["min_gru"]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: Any = np.float32,
        seed: int | None = None,
        *,
        checkpoint: int | None = None,
        zoneout: float = 0.0,
    ) -> None:
        self._setup(locals())


class MinLSTM(Recurrent):
    """Minimal LSTM with normalised gates of x alone, in the order f, i, h; its only state is h.

    ``f, i = sigmoid(W x_t + b)`` and ``h_t = (f h_{t-1} + i g(W_h x_t + b_h)) / (f + i)`` with
    ``g(a) = a + 0.5`` where a >= 0, else ``sigmoid(a)``. No product waits for h_{t-1}.

    Parameters
    ----------
    input_size, hidden_size : int
    num_layers : int, default 1
        Layers on top of each other.
    bias : bool, default True
    batch_first : bool, default False
        Whether x and y are (B, T, features) instead of (T, B, features); states never change.
    dropout : float, default 0
        Probability of dropping an element between layers, in `forward` only.
    bidirectional : bool, default False
    dtype : {float32, float64}
    seed : int or None
        Of the weights, drawn from uniform(-1/sqrt(H), 1/sqrt(H)), and of dropout.
    checkpoint : int or None
        With k, `forward` stores the state at every k-th step only and `backward` recomputes the
        steps between: less memory for more time (docs/performance.md).
    zoneout : float, default 0
        Probability with which a unit's h keeps its old value at a step, in `forward`; a plain
        call takes the expectation (Krueger et al. 2017).

    Notes
    -----
    The parameters are ``weight_ih_l0`` (3*H, I) and ``bias_ih_l0`` (3*H,), and so on. Feng et al.
    (2024), "Were RNNs all we needed?", arXiv:2410.01201.
    """

    _cell = CELLS["min_lstm"]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: Any = np.float32,
        seed: int | None = None,
        *,
        checkpoint: int | None = None,
        zoneout: float = 0.0,
    ) -> None:
        self._setup(locals())


# by the names that `cell=` of estimators and of layers made of them takes
RECURRENT_LAYERS: dict[str, Any] = {
    kind.__name__.lower(): kind for kind in (RNN, LSTM, GRU, MinGRU, MinLSTM)
}
