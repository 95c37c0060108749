"""Samples in several files, read one file at a time: for more than fits into memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from .batching import Batch
from .checks import Checked, Checks

__all__ = ["Shards"]

NAMES = Batch._fields


class Shards(Checked):
    """Samples of several files, as the data of `fit` and `evaluate`.

    Batches are cut within files: each is read once an epoch, in a new order where `fit` shuffles,
    and so are its samples. Of several processes that train together each reads files of its own;
    a batch is what they have at a time.

    Parameters
    ----------
    files : sequence
        Of each either a path, to an .npz file or a Zarr group (".zarr") with arrays "x", "y" and,
        where they are needed, "lengths" and "weight"; or a tuple of paths to .npy files of these,
        which are mapped into memory. Samples are on the first axis.
    """

    def __init__(self, files: Sequence[Any]) -> None:
        self.files = files

    def _check_files(self, name: str, files: Any) -> list[Any]:
        if isinstance(files, (str, os.PathLike)) or not isinstance(files, Sequence) or not files:
            raise TypeError(f"Shards expected {name} as a sequence of paths, got {files!r}")
        for file in files:
            several = isinstance(file, tuple)
            paths = [
                str(os.fspath(path)) if isinstance(path, (str, os.PathLike)) else ""
                for path in (file if several else (file,))
            ]
            ends = (".npy",) if several else (".npz", ".zarr")
            if not all(path.endswith(ends) for path in paths) or (
                several and not 2 <= len(paths) <= 4
            ):
                raise ValueError(
                    f"Shards expected {name} as paths that end in .npz or .zarr, or tuples of "
                    f"paths (x, y, ...) that end in .npy, got {file!r}"
                )
        return list(files)

    _checks: ClassVar[Checks] = {"files": _check_files}

    def read(self, file: Any) -> Batch:
        """Return the samples of one of `files`."""
        if isinstance(file, tuple):
            return Batch(*(np.load(path, mmap_mode="r") for path in file))
        path = os.fspath(file)
        if path.endswith(".npz"):
            with np.load(path) as arrays:
                return _named(path, arrays)
        try:
            import zarr
        except ImportError as error:
            raise ImportError(f"Shards needs zarr to read {path}: pip install zarr") from error
        return _named(path, zarr.open_group(path, mode="r"))

    def cut(self, batch_size: int, rng: np.random.Generator | None) -> ShardBatches:
        """Return batches."""
        return ShardBatches(self, batch_size, rng)


class ShardBatches:
    """Batches of `Shards`."""

    even = False  # processes may have different numbers of batches

    def __init__(self, shards: Shards, batch_size: int, rng: np.random.Generator | None) -> None:
        self.shards, self.batch_size, self.rng = shards, batch_size, rng

    def __iter__(self) -> Iterator[Batch]:
        """Iterate over the batches."""
        return self.dealt(0, 1)

    def dealt(self, rank: int, ranks: int) -> Iterator[Batch]:
        """Iterate over those of every `ranks`th file, of a part of the batch's size."""
        files, size = self.shards.files, len(range(rank, self.batch_size, ranks))
        # one number an epoch, so that generators stand alike in all processes
        seed = None if self.rng is None else int(self.rng.integers(2**62))
        order = np.arange(len(files))
        if seed is not None:
            np.random.default_rng(seed).shuffle(order)
        # a rank without a part of the batches has no files either
        for i in order[rank :: min(ranks, self.batch_size)] if size else ():
            data = self.shards.read(files[i])
            rows = np.arange(_samples(files[i], data))
            if seed is not None:
                np.random.default_rng((seed, i)).shuffle(rows)
            for start in range(0, len(rows), size):
                some = rows[start : start + size]
                yield Batch(*(None if array is None else array[some] for array in data))


def _samples(file: Any, data: Batch) -> int:
    shapes = [np.shape(array) for array in data if array is not None]
    if () in shapes or len({shape[0] for shape in shapes}) > 1:
        raise ValueError(
            f"Shards expected arrays of as many samples, on their first axes, in {file}, got "
            f"shapes {', '.join(map(str, shapes))}"
        )
    return int(shapes[0][0])


def _named(path: str, arrays: Any) -> Batch:
    missing = [name for name in NAMES[:2] if name not in arrays]
    if missing:
        raise ValueError(
            f"{path}: Shards expected arrays x and y, got no {' and no '.join(missing)}"
        )
    return Batch(*(np.asarray(arrays[name]) if name in arrays else None for name in NAMES))
