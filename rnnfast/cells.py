"""The table of cells: the facts that everything above C reads, a row for each cell.

The engine's own facts are the rows of csrc/cells.h; a test checks that the two tables agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

NOTHING: Mapping[str, Any] = MappingProxyType({})


class Onnx(NamedTuple):
    """A cell as a node of ONNX."""

    op: str
    order: tuple[int, ...]  # our gate at each place of the node's
    attributes: Mapping[str, Any] = NOTHING  # that make it this cell; activations of one direction
    peepholes: tuple[int, ...] = ()  # our peephole at each place of the node's


class Keras(NamedTuple):
    """A cell as a layer of Keras."""

    layer: str
    order: tuple[int, ...]  # our gate at each place of Keras's, and Keras's at each of ours
    options: Mapping[str, Any]  # that make it this cell
    biases: int = 1


class Cell(NamedTuple):
    """What all of the package knows of a cell, but for its equations.

    Gates, where they have an order, are in PyTorch's.
    """

    name: str  # in the engine, in the reference, and of PyTorch's kernel
    layer: str  # its class in rnnfast.layers
    gate_names: tuple[str, ...] = ()  # as `gates` of a layer calls them; none where one is all
    apart: int = 0  # how many, the last ones, do not just add x @ w_ih.T and h @ w_hh.T
    options: Mapping[str, Any] = NOTHING  # arguments of the class that choose it; none: the default
    has_cell_state: bool = False  # whether there is a c beside h; its class then projects h
    has_norm: bool = True  # whether it takes layer normalisation
    input_only: bool = False  # whether its gates are of x alone: there is no w_hh
    unbounded: bool = False  # whether its candidate is positive without bound, not -1 to 1
    own_rows: int = 0  # vectors of its own, R: numbers for each unit
    own_name: str = ""  # of their parameters, weight_NAME_l0 and so on
    reset_before: bool = False  # whether the last gate's w_hh multiplies h times the first gate
    in_torch: bool = False  # whether torch.nn has it, in a class of the same name
    onnx: Onnx | None = None
    keras: Keras | None = None

    @property
    def gates(self) -> int:
        """How many gates have weights, G."""
        return len(self.gate_names) or 1

    @property
    def slots(self) -> int:
        """What layer normalisation takes one by one, S: the gates, those apart for x and for h."""
        return self.gates + self.apart

    def __reduce__(self) -> tuple[Any, ...]:
        return _named, (self.name,)  # a copy of a layer has the row itself


def _named(name: str) -> Cell:
    return CELLS[name]


SIGMOID_TANH = {"activation": "tanh", "recurrent_activation": "sigmoid"}

CELLS = {
    cell.name: cell
    for cell in (
        Cell(
            name="rnn_tanh",
            layer="RNN",
            in_torch=True,
            onnx=Onnx("RNN", (0,), {"activations": ("Tanh",)}),
            keras=Keras("SimpleRNN", (0,), {"activation": "tanh"}),
        ),
        Cell(
            name="rnn_relu",
            layer="RNN",
            options={"nonlinearity": "relu"},
            in_torch=True,
            onnx=Onnx("RNN", (0,), {"activations": ("Relu",)}),
            keras=Keras("SimpleRNN", (0,), {"activation": "relu"}),
        ),
        Cell(
            name="lstm",
            layer="LSTM",
            gate_names=("input", "forget", "cell", "output"),
            has_cell_state=True,
            in_torch=True,
            onnx=Onnx("LSTM", (0, 3, 1, 2)),  # i o f c
            keras=Keras("LSTM", (0, 1, 2, 3), SIGMOID_TANH),
        ),
        Cell(
            name="lstm_peephole",
            layer="LSTM",
            gate_names=("input", "forget", "cell", "output"),
            options={"peepholes": True},
            has_cell_state=True,
            own_rows=3,  # of c into i, f and o
            own_name="ch",
            onnx=Onnx("LSTM", (0, 3, 1, 2), peepholes=(0, 2, 1)),  # i o f
        ),
        Cell(
            name="gru",
            layer="GRU",
            gate_names=("reset", "update", "new"),
            apart=1,
            in_torch=True,
            onnx=Onnx("GRU", (1, 0, 2), {"linear_before_reset": 1}),  # z r h
            keras=Keras("GRU", (1, 0, 2), {**SIGMOID_TANH, "reset_after": True}, biases=2),
        ),
        Cell(
            name="gru_reset_before",
            layer="GRU",
            gate_names=("reset", "update", "new"),
            options={"reset_after": False},
            has_norm=False,
            reset_before=True,
            onnx=Onnx("GRU", (1, 0, 2), {"linear_before_reset": 0}),
            keras=Keras("GRU", (1, 0, 2), {**SIGMOID_TANH, "reset_after": False}),
        ),
        Cell(
            name="min_gru",
            layer="MinGRU",
            gate_names=("update", "new"),
            has_norm=False,
            input_only=True,
            unbounded=True,
        ),
        Cell(
            name="min_lstm",
            layer="MinLSTM",
            gate_names=("forget", "input", "new"),
            has_norm=False,
            input_only=True,
            unbounded=True,
        ),
    )
}
