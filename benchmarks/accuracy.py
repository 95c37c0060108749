"""Measures the engine's sigmoid and tanh: the largest error in ulp, on every instruction set.

    python benchmarks/accuracy.py           # every 61st float32, 2 million float64
    python benchmarks/accuracy.py --all     # every float32 (some minutes), 100 million float64

An ulp is the distance between neighbouring numbers at the exact result. Float32 is compared with
float64, float64 with the platform's long double.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rnnfast.core import dense, runtime

EXACT = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
}
# Beyond these tanh is 1 and the exact sigmoid 1 or a denormal; the engine's stays where it is.
RANGE = {"float32": 87.0, "float64": 708.0}
CHUNK = 1 << 22


def ulp_error(name: str, x: NDArray[np.floating]) -> float:
    """Return the largest error of the engine's function `name` over `x`, in ulp."""
    wide = np.float64 if x.dtype == np.float32 else np.longdouble
    exact = EXACT[name](x.astype(wide))
    spacing = np.spacing(np.abs(exact).astype(x.dtype)).astype(wide)
    y = np.empty_like(x)
    dense.activate(name, x, y)
    return float((np.abs(y.astype(wide) - exact) / spacing).max())


def float32_values(stride: int) -> Iterator[NDArray[np.float32]]:
    """Yield every `stride`-th float32 of either sign within the range of the functions."""
    end = int(np.float32(RANGE["float32"]).view(np.uint32)) + 1
    for start in range(int(np.finfo(np.float32).tiny.view(np.uint32)), end, CHUNK * stride):
        bits = np.arange(start, min(start + CHUNK * stride, end), stride, dtype=np.uint32)
        x = bits.view(np.float32)
        yield x
        yield -x


def float64_values(count: int) -> Iterator[NDArray[np.float64]]:
    """Yield `count` random float64, their magnitudes spread evenly in the logarithm."""
    rng = np.random.default_rng(0)
    for _ in range(max(1, count // CHUNK)):
        n = min(count, CHUNK)
        x = np.exp2(rng.uniform(-40, np.log2(RANGE["float64"]), n))
        yield np.where(rng.random(n) < 0.5, x, -x)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="every float32, 100 million float64")
    options = parser.parse_args()
    sources = {
        "float32": lambda: float32_values(1 if options.all else 61),
        "float64": lambda: float64_values(100_000_000 if options.all else 2_000_000),
    }
    print("| instruction set | type | sigmoid, ulp | tanh, ulp |\n|---|---|---|---|")
    for isa in runtime.instruction_sets():
        runtime.set_isa(isa)
        for dtype, values in sources.items():
            worst = dict.fromkeys(EXACT, 0.0)
            for x in values():
                for name in EXACT:
                    worst[name] = max(worst[name], ulp_error(name, x))
            print(f"| {isa} | {dtype} | {worst['sigmoid']:.2f} | {worst['tanh']:.2f} |", flush=True)


if __name__ == "__main__":
    main()
