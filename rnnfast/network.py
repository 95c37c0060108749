"""A network of recurrent layers and its calls: what all clients of a backend share.

Letters: B batch, T time steps, I input size, H hidden size, P projection size, K size of h (P or
H), G gates, S slots, L layers, D directions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .checks import Checked
from .weights import Weights

if TYPE_CHECKING:
    from .arrays import Array
    from .cells import Cell


class Network(Checked):
    """A stack of layers of one cell: what it is beside its input and its weights.

    Parameters
    ----------
    cell : Cell
        A row of the table of cells.
    num_layers, directions : int
    hidden_size : int
    proj_size : int
        P, or 0.
    zoneout : (float, float)
        Of h and c: the fraction of the old state that is kept, where no masks say which units.

    Attributes
    ----------
    stack : int
        L*D, the entries of states and weights: layer after layer, each forward, then reverse.
    step_size, out_size : int
        K, and D*K.
    """

    _fixed = (
        *("cell", "num_layers", "directions", "hidden_size", "proj_size", "zoneout"),
        *("stack", "step_size", "out_size"),
    )

    def __init__(
        self,
        cell: Cell,
        num_layers: int,
        directions: int,
        hidden_size: int,
        proj_size: int = 0,
        zoneout: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self.cell, self.num_layers, self.directions = cell, num_layers, directions
        self.hidden_size, self.proj_size, self.zoneout = hidden_size, proj_size, zoneout
        self.stack = num_layers * directions
        self.step_size = proj_size or hidden_size
        self.out_size = directions * self.step_size

    def shapes(self, input_size: int, bias: bool, layer_norm: bool = False) -> list[Weights]:
        """Return the shapes of the weights, None for those that the network lacks."""
        H, P = self.hidden_size, self.proj_size
        GH, SH = self.cell.gates * H, self.cell.slots * H
        return [
            Weights(
                w_ih=(GH, input_size if k < self.directions else self.out_size),
                w_hh=None if self.cell.input_only else (GH, self.step_size),
                b_ih=(GH,) if bias else None,
                b_hh=(GH,) if bias and not self.cell.input_only else None,
                w_hr=(P, H) if P else None,
                w_ln=(SH,) if layer_norm else None,
                b_ln=(SH,) if layer_norm and bias else None,
                w_own=(self.cell.own_rows * H,) if self.cell.own_rows else None,
            )
            for k in range(self.stack)
        ]

    def states(self, batch: int, dtype: Any) -> tuple[Array, Array | None]:
        """Return h (L*D, B, K), and c (L*D, B, H) or None, for a call to write."""
        h = np.empty((self.stack, batch, self.step_size), dtype)
        if not self.cell.has_cell_state:
            return h, None
        return h, np.empty((self.stack, batch, self.hidden_size), dtype)

    def part(self) -> Network:
        """Return one layer in one direction as a network of its own."""
        return Network(self.cell, 1, 1, self.hidden_size, self.proj_size, self.zoneout)


class Packed:
    """The weights of a network as a backend reads them, and its calls with them.

    `quick`, `gates` and `backward` take the arguments of the backend's functions but the first,
    which is `handle`.

    Parameters
    ----------
    network : Network
    engine : module
        ``rnnfast.core.recurrent`` or ``rnnfast.reference.recurrent``.
    weights : sequence of L*D `Weights`
    training : bool
        Whether `backward` will be called.
    """

    def __init__(
        self, network: Network, engine: Any, weights: Sequence[Weights], training: bool
    ) -> None:
        self.network = network
        self._engine = engine
        self.handle = engine.pack(
            network.cell.name,
            weights,
            network.num_layers,
            network.directions,
            training,
            network.zoneout,
        )
        self.quick: Callable[..., Any] = partial(engine.quick, self.handle)
        self.gates: Callable[..., Array] = partial(engine.gates, self.handle)
        self.backward: Callable[..., None] = partial(engine.backward, self.handle)

    def forward(
        self,
        x: Array,
        h0: Array | None,
        c0: Array | None,
        lengths: Any,
        masks: Any,
        y: Array,
        training: bool,
        resets: Array | None = None,
    ) -> tuple[Array, Array | None, Any]:
        """Run the network as the backend's `forward`; return h_n, c_n or None, and its tape."""
        batch = x.shape[1] if x.ndim == 3 else len(lengths)
        h_n, c_n = self.network.states(batch, x.dtype)
        tape = self._engine.forward(
            self.handle, x, h0, c0, lengths, masks, y, h_n, c_n, training, resets
        )
        return h_n, c_n, tape
