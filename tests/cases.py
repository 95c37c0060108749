"""Every shape that tests and benchmarks run, listed once.

A new cell is a row of `rnnfast.cells.CELLS`: all cases, and with them all tests and benchmarks,
pick it up.

Letters: B batch, T time steps, I input size, H hidden size, P projection size (0 without), K
size of h (P or H), F input size of a layer, G gates, L layers, D directions; a leading d is a
gradient.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from rnnfast.cells import CELLS, Cell
from rnnfast.weights import Masks, Weights

Array = NDArray[Any]


@dataclass(frozen=True)
class Case:
    """A network and a batch."""

    cell: str
    B: int
    T: int
    I: int  # noqa: E741
    H: int
    L: int = 1
    D: int = 1
    P: int = 0
    bias: bool = True
    lengths: str = ""  # "": none; "ragged": random, 0 and T among them; "full": T; "zero": 0
    dropout: float = 0.0
    state: bool = True  # whether initial states are given
    norm: bool = False  # layer normalisation
    recurrent: float = 0.0  # recurrent dropout
    zone: float = 0.0  # zoneout of h, and half of it of c
    draw: bool = True  # whether zoneout draws masks; else its expectation
    resets: float = 0.0  # how often a sample starts anew at a step

    @property
    def row(self) -> Cell:
        return CELLS[self.cell]

    @property
    def K(self) -> int:
        return self.P or self.H

    @property
    def products(self) -> int:
        """Longest sum that makes one preactivation: inputs, state and two biases."""
        return max(self.F(layer) for layer in range(self.L)) + self.K + 2

    @property
    def zones(self) -> tuple[float, float]:
        return self.zone, self.zone / 2 * self.row.has_cell_state

    @property
    def options(self) -> dict[str, Any]:
        """Those of the layer's arguments that act inside the recurrence."""
        zoneout = self.zones if self.row.has_cell_state and self.zone else self.zone
        chosen = dict(layer_norm=self.norm, recurrent_dropout=self.recurrent, zoneout=zoneout)
        return {name: value for name, value in chosen.items() if value}

    @property
    def sizes(self) -> str:
        """As the tables of benchmarks have them."""
        return f"{self.B}, {self.T}, {self.I}, {self.H}"

    def possible(self) -> Case:
        """Return the case without what its cell does not take."""
        recurrent = 0.0 if self.row.input_only else self.recurrent
        P = self.P if self.row.has_cell_state else 0
        return replace(self, P=P, norm=self.norm and self.row.has_norm, recurrent=recurrent)

    def F(self, layer: int) -> int:
        return self.I if layer == 0 else self.D * self.K

    def flops(self, training: bool = False, input_grad: bool = True) -> int:
        """Floating-point operations of the matrix products of one call, padding included.

        Training is forward and backward; `input_grad` says whether dx is among the results.
        """
        forward = dx = 0
        for layer in range(self.L):
            gates = self.D * self.row.gates * self.H
            layer_input = 2 * self.B * self.T * gates * self.F(layer)
            forward += layer_input + 2 * self.B * self.T * gates * self.K
            forward += 2 * self.B * self.T * self.D * self.H * self.P
            dx = layer_input if layer == 0 else dx
        if not training:
            return forward
        return 3 * forward - (0 if input_grad else dx)

    def __str__(self) -> str:
        parts = [self.cell, f"B{self.B}", f"T{self.T}", f"I{self.I}", f"H{self.H}"]
        parts += [f"L{self.L}"] * (self.L > 1) + [f"D{self.D}"] * (self.D > 1)
        parts += [f"P{self.P}"] * (self.P > 0) + ["nobias"] * (not self.bias)
        parts += [self.lengths] * bool(self.lengths) + ["masks"] * (self.dropout > 0)
        parts += ["zerostate"] * (not self.state) + ["norm"] * self.norm
        parts += ["recurrent"] * (self.recurrent > 0) + ["zone"] * (self.zone > 0)
        parts += ["expected"] * (not self.draw) + ["resets"] * (self.resets > 0)
        return "-".join(parts)


@dataclass
class Problem:
    """The arrays of a case: all C-contiguous, float32 or float64."""

    case: Case
    dtype: Any
    weights: list[Weights]  # as for `pack`
    x: Array
    h0: Array | None
    c0: Array | None
    lengths: Array | None
    masks: Masks | None  # as for `forward`
    dy: Array
    dh_n: Array
    dc_n: Array | None
    resets: Array | None


def make(case: Case, dtype: DTypeLike = np.float64, seed: int = 0) -> Problem:
    """Random arrays for a case.

    Every number is a float32, so that float32 and float64 runs of a case get the same problem.
    """
    rng = np.random.default_rng([seed, zlib.crc32(str(case).encode())])
    B, T, H, L, D, P, K = case.B, case.T, case.H, case.L, case.D, case.P, case.K
    GH = case.row.gates * H

    def cast(values: Any) -> Array:
        return np.asarray(values, np.float32).astype(dtype)

    def normal(*shape: int) -> Array:
        return cast(rng.standard_normal(shape))

    def uniform(*shape: int) -> Array:
        # as PyTorch initialises: preactivations of order one, errors that do not grow with time
        return cast(rng.uniform(-1.0, 1.0, shape) / np.sqrt(H))

    weights = []
    for layer in range(L):
        for _ in range(D):
            w_ih, w_hh = uniform(GH, case.F(layer)), uniform(GH, K)
            b_ih, b_hh = (uniform(GH), uniform(GH)) if case.bias else (None, None)
            if case.row.input_only:
                w_hh = b_hh = None
            w_hr = uniform(P, H) if P else None
            w_ln = cast(rng.uniform(0.5, 1.5, case.row.slots * H)) if case.norm else None
            b_ln = (
                cast(rng.uniform(-0.5, 0.5, case.row.slots * H))
                if case.norm and case.bias
                else None
            )
            w_own = uniform(case.row.own_rows * H) if case.row.own_rows else None
            weights.append(Weights(w_ih, w_hh, b_ih, b_hh, w_hr, w_ln, b_ln, w_own))

    lengths = None
    if case.lengths:
        lengths = rng.integers(0, T, size=B, endpoint=True, dtype=np.int64)
        lengths[0::5] = 0 if case.lengths != "full" else T
        lengths[1::5] = T
        if case.lengths in ("zero", "full"):
            lengths[:] = 0 if case.lengths == "zero" else T
        lengths = rng.permutation(lengths)

    def keep(p: float, *shape: int) -> Array | None:
        return cast((rng.random(shape) >= p) / (1.0 - p)) if p else None

    def zone(p: float, size: int) -> Array | None:
        return cast(rng.random((L * D, T, B, size)) < p) if p and case.draw else None

    masks = Masks(
        between=keep(case.dropout, L - 1, T, B, D * K),
        recurrent=keep(case.recurrent, L * D, B, K),
        zone_h=zone(case.zones[0], K),
        zone_c=zone(case.zones[1], H),
    )

    return Problem(
        case=case,
        dtype=np.dtype(dtype),
        weights=weights,
        x=normal(T, B, case.I),
        h0=cast(rng.uniform(-1.0, 1.0, (L * D, B, K))) if case.state else None,
        c0=normal(L * D, B, H) if case.state and case.row.has_cell_state else None,
        lengths=lengths,
        masks=None if all(mask is None for mask in masks) else masks,
        dy=normal(T, B, D * K),
        dh_n=normal(L * D, B, K),
        dc_n=normal(L * D, B, H) if case.row.has_cell_state else None,
        resets=rng.random((T, B)) < case.resets if case.resets else None,
    )


def grid(*rows: dict[str, Any]) -> list[Case]:
    """Every row for every cell; rows with a projection only for cells that have one.

    Cells that take no layer normalisation go without.
    """
    return [
        Case(cell=cell, **row).possible()
        for cell in CELLS
        for row in rows
        if CELLS[cell].has_cell_state or not row.get("P")
    ]


# B, T, I and H differ in every row, so that no mistaken axis goes unseen. H lies around each vector
# width (4, 8 and 16 lanes) and the four-vector tile; B around the tile's rows (3 and 6).
CORRECTNESS = grid(
    dict(B=2, T=5, I=4, H=1),
    dict(B=4, T=7, I=2, H=3),
    dict(B=5, T=6, I=9, H=15),
    dict(B=7, T=4, I=11, H=16),
    dict(B=6, T=3, I=5, H=17),
    dict(B=13, T=5, I=33, H=31),
    dict(B=9, T=8, I=7, H=64),
    dict(B=3, T=6, I=16, H=100),
    dict(B=37, T=2, I=1, H=33),
    dict(B=8, T=1, I=6, H=20),
    dict(B=3, T=60, I=4, H=8),
    # options
    dict(B=5, T=7, I=6, H=18, bias=False),
    dict(B=4, T=6, I=5, H=19, state=False),
    dict(B=6, T=5, I=7, H=12, L=3),
    dict(B=5, T=8, I=6, H=21, D=2),
    dict(B=7, T=6, I=3, H=10, L=2, D=2, bias=False, state=False),
    dict(B=4, T=5, I=6, H=17, L=3, D=2, dropout=0.4),
    # ragged
    dict(B=11, T=9, I=5, H=17, lengths="ragged"),
    dict(B=9, T=7, I=6, H=16, D=2, lengths="ragged"),
    dict(B=12, T=8, I=3, H=5, L=2, D=2, dropout=0.3, lengths="ragged"),
    dict(B=23, T=4, I=2, H=33, L=2, lengths="ragged", bias=False, state=False),
    dict(B=4, T=6, I=3, H=9, D=2, lengths="full"),
    dict(B=4, T=6, I=3, H=9, D=2, lengths="zero"),
    # nothing at all
    dict(B=3, T=0, I=4, H=6, L=2, D=2),
    dict(B=3, T=0, I=4, H=6, lengths="ragged"),
    dict(B=0, T=5, I=4, H=6, L=2, D=2),
    dict(B=0, T=5, I=4, H=6, lengths="ragged"),
    dict(B=3, T=5, I=0, H=6, L=2, D=2),
    dict(B=3, T=5, I=0, H=6, bias=False, lengths="ragged"),
    # fewer samples than threads: the hidden units are split
    dict(B=1, T=6, I=20, H=128),
    dict(B=1, T=4, I=33, H=256, D=2),
    dict(B=2, T=5, I=40, H=199, L=2, lengths="ragged"),
    # wide inputs: their product is computed in chunks of time
    dict(B=5, T=9, I=300, H=24),
    dict(B=1, T=40, I=517, H=17, D=2),
    dict(B=14, T=11, I=300, H=40, L=2, lengths="ragged"),
    # projections
    dict(B=5, T=7, I=4, H=9, P=1),
    dict(B=6, T=5, I=9, H=33, P=16, bias=False, state=False),
    dict(B=7, T=4, I=8, H=21, P=17, L=2, D=2, dropout=0.25, lengths="ragged"),
    dict(B=1, T=5, I=12, H=192, P=40, L=2),
    dict(B=3, T=0, I=4, H=6, P=2),
    # layer normalisation, recurrent dropout and zoneout, alone and together
    dict(B=13, T=6, I=7, H=33, norm=True),
    dict(B=3, T=7, I=20, H=100, norm=True, bias=False, state=False),
    dict(B=6, T=5, I=4, H=9, L=2, D=2, lengths="ragged", norm=True),
    dict(B=1, T=6, I=300, H=140, norm=True),
    dict(B=7, T=6, I=5, H=19, recurrent=0.4),
    dict(B=5, T=7, I=3, H=16, D=2, L=2, lengths="ragged", recurrent=0.3),
    dict(B=7, T=6, I=5, H=19, zone=0.4),
    dict(B=5, T=7, I=3, H=34, D=2, L=2, lengths="ragged", zone=0.3),
    dict(B=4, T=6, I=3, H=12, zone=0.3, draw=False),
    dict(B=9, T=6, I=7, H=21, L=3, norm=True, recurrent=0.25, zone=0.3, dropout=0.2),
    dict(B=2, T=5, I=40, H=190, L=2, lengths="ragged", norm=True, recurrent=0.2, zone=0.2),
    dict(B=7, T=5, I=6, H=20, P=9, recurrent=0.3, zone=0.4),
    dict(B=6, T=5, I=4, H=17, P=8, L=2, D=2, lengths="ragged", norm=True, recurrent=0.2, zone=0.2),
    dict(B=1, T=5, I=12, H=192, P=40, norm=True, recurrent=0.2, zone=0.2),
    dict(B=0, T=5, I=4, H=6, norm=True, recurrent=0.2, zone=0.2),
    dict(B=3, T=0, I=4, H=6, norm=True, recurrent=0.2, zone=0.2),
    # samples that start anew on the way, alone and with all else
    dict(B=13, T=9, I=7, H=33, resets=0.2),
    dict(B=1, T=8, I=20, H=128, L=2, resets=0.4),
    dict(B=6, T=7, I=5, H=17, L=2, D=2, lengths="ragged", resets=0.3),
    dict(B=5, T=6, I=4, H=9, bias=False, state=False, resets=1.0),
    dict(B=2, T=7, I=300, H=190, D=2, resets=0.3),
    dict(B=7, T=6, I=3, H=21, P=10, L=2, D=2, lengths="ragged", resets=0.3),
    dict(B=7, T=6, I=5, H=19, L=2, norm=True, recurrent=0.3, zone=0.3, dropout=0.2, resets=0.3),
    dict(B=1, T=6, I=12, H=192, P=40, D=2, norm=True, recurrent=0.2, zone=0.2, resets=0.3),
    dict(B=3, T=0, I=4, H=6, resets=0.3),
    dict(B=0, T=5, I=4, H=6, resets=0.3),
)

# Small enough for finite differences, which run the network twice for each number.
GRADIENTS = grid(
    dict(B=3, T=4, I=2, H=3),
    dict(B=2, T=3, I=1, H=2, bias=False, state=False),
    dict(B=2, T=3, I=2, H=3, L=2, D=2, dropout=0.5),
    dict(B=4, T=5, I=2, H=3, D=2, lengths="ragged"),
    dict(B=3, T=4, I=2, H=4, P=3),
    dict(B=4, T=4, I=2, H=3, P=2, L=2, D=2, dropout=0.25, lengths="ragged"),
    dict(B=3, T=4, I=2, H=5, norm=True),
    dict(B=3, T=4, I=2, H=3, recurrent=0.4),
    dict(B=3, T=4, I=2, H=3, zone=0.4),
    dict(B=3, T=4, I=2, H=3, zone=0.4, draw=False),
    dict(B=4, T=4, I=2, H=5, D=2, lengths="ragged", norm=True, recurrent=0.4, zone=0.3),
    dict(B=3, T=4, I=2, H=5, P=3, L=2, lengths="ragged", norm=True, recurrent=0.4, zone=0.3),
    dict(B=4, T=4, I=2, H=3, D=2, lengths="ragged", resets=0.4),
    dict(B=3, T=4, I=2, H=3, P=2, norm=True, recurrent=0.4, zone=0.3, resets=0.4),
)

# Large enough that the engine deals them to several threads, over samples, units and gradients.
THREADS = grid(
    dict(B=37, T=12, I=20, H=70),
    dict(B=29, T=10, I=16, H=48, L=2, D=2, dropout=0.3, lengths="ragged"),
    dict(B=64, T=20, I=64, H=128, lengths="ragged"),
    dict(B=1, T=12, I=30, H=256),
    dict(B=2, T=9, I=24, H=200, L=2, D=2, lengths="ragged"),
    dict(B=5, T=8, I=300, H=130),
    dict(B=31, T=7, I=20, H=90, P=33, L=2),
    dict(B=1, T=9, I=20, H=224, P=50),
    dict(B=29, T=8, I=16, H=70, norm=True),
    dict(B=2, T=9, I=24, H=200, L=2, D=2, lengths="ragged", norm=True, recurrent=0.3, zone=0.3),
    dict(B=37, T=9, I=24, H=50, lengths="ragged", recurrent=0.3, zone=0.3),
    dict(B=1, T=9, I=24, H=230, recurrent=0.3, zone=0.3),
    dict(B=3, T=9, I=20, H=224, P=50, norm=True, recurrent=0.3, zone=0.3),
    dict(B=37, T=12, I=20, H=70, L=2, lengths="ragged", resets=0.2),
    dict(B=2, T=9, I=24, H=200, D=2, resets=0.3),
    dict(B=3, T=9, I=20, H=224, P=50, norm=True, recurrent=0.3, zone=0.3, resets=0.3),
)

# (B, T, I, H) of the benchmarks.
BENCHMARK_SHAPES = [
    (1, 1, 32, 64),
    (1, 100, 16, 32),
    (1, 100, 64, 128),
    (1, 50, 512, 512),
    (8, 30, 300, 256),
    (16, 200, 40, 128),
    (32, 50, 1, 20),
    (32, 50, 32, 64),
    (64, 100, 64, 128),
    (64, 100, 128, 256),
    (64, 50, 512, 512),
    (128, 25, 1024, 1024),
]
BENCHMARK = grid(
    *(dict(B=B, T=T, I=I, H=H, state=False) for B, T, I, H in BENCHMARK_SHAPES)  # noqa: E741
)

BENCHMARK_OPTIONS = [
    case
    for case in grid(
        *(
            dict(B=B, T=T, I=I, H=H, state=False, **option)
            for B, T, I, H in [(32, 50, 1, 20), (64, 100, 64, 128), (64, 100, 128, 256)]  # noqa: E741
            for option in (dict(norm=True), dict(recurrent=0.2), dict(zone=0.1))
        )
    )
    if case.options
]


@dataclass(frozen=True)
class DenseCase:
    """A dense function with its sizes: N rows, K inputs (E, V), M outputs.

    Of a convolution N is the number of outputs of each sample.
    """

    function: str
    N: int
    K: int = 0
    M: int = 0
    options: tuple[tuple[str, Any], ...] = ()
    steps: int = 4  # of an optimiser

    def __str__(self) -> str:
        sizes = [
            f"{letter}{size}" for letter, size in vars(self).items() if letter in "NKM" and size
        ]
        chosen = [f"{name}={value}" for name, value in self.options]
        return "-".join([self.function, *(sizes or ["N0"]), *chosen])


def optimiser(function: str, *choices: dict[str, Any]) -> list[DenseCase]:
    sizes = (0, 1, 7, 16, 33, 1000)
    return [DenseCase(function, n, options=tuple(c.items())) for c in choices for n in sizes]


def convolution(N: int, K: int, M: int, **options: int) -> DenseCase:
    chosen = dict(B=3, taps=3, stride=1, dilation=1, spare=0) | options  # spare: steps nobody reads
    return DenseCase("conv1d", N, K, M, tuple(chosen.items()))


DENSE = [
    *(
        DenseCase("linear", n, k, m)
        for n, k, m in [
            (0, 3, 4),
            (3, 0, 4),
            (3, 4, 0),
            (1, 1, 1),
            (1, 100, 130),
            (5, 3, 2),
            (6, 16, 64),
            (7, 17, 15),
            (13, 31, 65),
            (33, 64, 129),
            (130, 40, 9),
            (300, 5, 1),
        ]
    ),
    convolution(0, 3, 4),
    convolution(4, 3, 5, B=0),
    convolution(1, 1, 1, B=1, taps=1),
    convolution(24, 1, 20, taps=4, stride=2, spare=1),
    convolution(7, 17, 15, taps=2, dilation=3),
    convolution(17, 16, 65, taps=6, dilation=2, stride=2),  # more taps than one product takes
    convolution(9, 70, 3, taps=5, stride=3, spare=2),
    convolution(5, 9, 130, taps=9, dilation=2, B=1),
    convolution(150, 5, 9, taps=2, stride=4, dilation=2),  # leaves steps out, and blocks of rows
    *(
        DenseCase("embedding", n, e, v)
        for n, e, v in [(0, 3, 4), (1, 1, 1), (9, 17, 5), (200, 33, 7)]
    ),
    *(
        DenseCase("layer_norm", n, k)
        for n, k in [(0, 4), (1, 1), (3, 2), (5, 17), (33, 64), (9, 301)]
    ),
    *optimiser(
        "sgd",
        dict(),
        dict(weight_decay=0.1),
        dict(momentum=0.9, weight_decay=0.1),
        dict(momentum=0.8, nesterov=True),
    ),
    *optimiser(
        "adam",
        dict(),
        dict(weight_decay=0.1, eps=1e-3),
        dict(weight_decay=0.1, decoupled=True),
        dict(beta1=0.5, beta2=0.9, decoupled=True),
    ),
    *optimiser("nadam", dict(), dict(weight_decay=0.1, eps=1e-3), dict(beta1=0.5, beta2=0.9)),
    *optimiser("rmsprop", dict(), dict(momentum=0.9, weight_decay=0.1), dict(alpha=0.5, eps=1e-2)),
    *(DenseCase("sum_squares", n) for n in (0, 1, 7, 16, 33, 1000)),
]

# Large enough that the engine deals them to several threads.
DENSE_THREADS = [
    DenseCase("linear", 300, 129, 200),
    DenseCase("linear", 1, 700, 900),
    DenseCase("linear", 2000, 64, 3),
    convolution(40, 33, 70, B=11),
    convolution(900, 20, 40, B=1, taps=6, dilation=2, stride=2),
    DenseCase("embedding", 3000, 65, 40),
    DenseCase("layer_norm", 900, 130),
    DenseCase("sgd", 100_003, options=(("momentum", 0.9),)),
    DenseCase("adam", 100_003),
    DenseCase("nadam", 100_003),
    DenseCase("rmsprop", 100_003, options=(("momentum", 0.9),)),
    DenseCase("sum_squares", 100_003),
]


def named(cases: list[Any], **changes: Any) -> dict[str, Any]:
    """Arguments for ``pytest.mark.parametrize("case", ...)``, the cases changed on the way."""
    return {"argvalues": [replace(case, **changes) for case in cases], "ids": str}
