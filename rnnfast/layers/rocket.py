"""Features of fixed convolutions over time: MiniRocket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import past_end
from ..checks import check_flag, check_float_dtype, check_seed, check_size, is_number
from .base import Layer, Tape, blank

if TYPE_CHECKING:
    from ..arrays import Array

TAPS = 9
KERNELS = np.array(list(combinations(range(TAPS), 3)))  # where a kernel has 2; -1 elsewhere
GOLDEN = (np.sqrt(5.0) + 1.0) / 2.0  # quantiles at its multiples are spread evenly
PART, ROWS = 2**15, 256  # steps and samples worked on at a time: bounds the memory


class MiniRocket(Layer):
    """Shares of steps at which fixed convolutions of a sequence are above thresholds.

    MiniRocket (Dempster, Schmidt and Webb 2021): the 84 kernels of nine taps of which three are 2
    and six are -1, at dilations up to an eighth of the sequence, with zeros around it; of each
    result the share of steps above a threshold, a quantile of what the kernel gives for one of
    the training samples. Of several channels each kernel reads the sum of some, drawn by chance.
    Here dilations grow by the square root of 2, the differences from step to step are read as well
    (as in MultiRocket), and every feature is brought to mean 0 and variance ``1 / out_size``, so
    that samples are vectors of length about 1.

    Nothing is learnt by gradients. `learn` takes thresholds, means and variances from data; before,
    thresholds are 0. The gradient of x is zero, as features are steps of x.

    Parameters
    ----------
    in_channels : int
        Features of x.
    steps : int
        Of the sequences to be read, which limits the dilations. Longer ones may come as well; a
        shorter one is read as if `fill` followed up to there, whatever it is padded to, so that
        features tell where it ends.
    num_features : int, default 2000
        How many features there should be about: `out_size` is a multiple of the number of kernels,
        and no less than that.
    differences : bool, default True
        Whether the differences from step to step are read as well as the sequence.
    fill : float, default -2
        By default a value that standardised features have seldom.
    batch_first : bool, default False
        As in the recurrent layers.
    dtype : {float32, float64}
    seed : int or None
        Of channels, and of the samples that thresholds are taken from.
    """

    keeps_time = False
    takes_lengths = True
    stepwise = False
    dtype: np.dtype[Any]
    batch_first: bool
    out_size: int

    def __init__(
        self,
        in_channels: int,
        steps: int,
        num_features: int = 2000,
        differences: bool = True,
        fill: float = -2.0,
        batch_first: bool = False,
        dtype: Any = np.float32,
        seed: int | None = None,
    ) -> None:
        name = "MiniRocket"
        self.in_channels = self.in_size = check_size(name, "in_channels", in_channels, 1)
        self.steps = check_size(name, "steps", steps, 1)
        self.num_features = check_size(name, "num_features", num_features, 1)
        self.differences = check_flag(name, "differences", differences)
        if not is_number(fill) or not np.isfinite(fill):
            raise ValueError(f"MiniRocket expected fill as a finite number, got {fill!r}")
        self.fill = float(fill)
        self.batch_first = check_flag(name, "batch_first", batch_first)
        self.dtype = check_float_dtype(name, dtype)
        self.seed = check_seed(name, seed)
        farthest = max((self.steps - 1) // (TAPS - 1), 1)
        powers = np.sqrt(2.0) ** np.arange(2 * np.log2(farthest) + 1e-9)
        self.dilations = tuple(np.unique(np.rint(powers).astype(int)).tolist())
        views = 1 + self.differences
        kernels = (views, len(self.dilations), len(KERNELS))
        each = max(self.num_features // int(np.prod(kernels)), 1)
        self.out_size = int(np.prod(kernels)) * each
        zero, one = np.zeros((), self.dtype), np.ones((), self.dtype)
        buffers = {
            "channels": self._draw_channels(kernels),
            "thresholds": np.broadcast_to(zero, (*kernels, each)),
            "mean": np.broadcast_to(zero, self.out_size),
            "scale": np.broadcast_to(one, self.out_size),
        }
        self._create({}, None, buffers)

    def _draw_channels(self, kernels: tuple[int, ...]) -> Array:
        # 1 for the channels that a kernel reads: one, two, ... up to nine with falling chance
        F = self.in_channels
        channels = np.broadcast_to(np.ones((), self.dtype), (*kernels, F))
        if F > 1 and blank.get() is None:
            channels = channels.copy()
            rng = np.random.default_rng(self.seed)
            read = (2.0 ** rng.uniform(0.0, np.log2(min(F, TAPS) + 1), kernels)).astype(int)
            rank = rng.random((*kernels, F)).argsort(axis=-1).argsort(axis=-1)
            channels[...] = rank < read[..., np.newaxis]
        return channels

    # ---- data

    def learn(self, x: Array, lengths: Any = None) -> Array:
        """Take thresholds, means and variances from data, and return the features of these.

        Parameters
        ----------
        x, lengths
            As for a call.

        Returns
        -------
        y : (B, out_size) array
        """
        n = self._check_sequences(x, lengths)

        def take(samples: Array) -> tuple[Array, Array | None]:
            own = x[samples] if self.batch_first else x[:, samples]
            return own, None if n is None else n[samples]

        return self.learn_from(take, x.shape[0 if self.batch_first else 1])

    def learn_from(
        self,
        take: Callable[[Array], tuple[Array, Any]],
        count: int,
        out: Array | None = None,
    ) -> Array:
        """Learn from samples that are taken a few at a time; as `learn` otherwise.

        Parameters
        ----------
        take : callable
            ``take(samples)`` returns x and lengths, as for a call, of these samples, an array of
            int. Each is taken twice at most.
        count : int
            Number of samples.
        out : (count, out_size) array, optional
            Takes the features.
        """
        y = np.empty((count, self.out_size), self.dtype) if out is None else out
        self._learn_thresholds(take, count)
        for part in self._parts(count):
            y[part] = self._shares(*self._samples(*take(np.arange(count)[part])))
        mean, squares = y.mean(axis=0, dtype=np.float64), np.zeros(self.out_size)
        for part in self._parts(count):
            squares += ((y[part] - mean) ** 2).sum(axis=0)
        deviation = np.sqrt(squares / count)
        self.buffers["mean"] = mean
        self.buffers["scale"] = np.where(deviation > 1e-6, deviation, 1.0) * self.out_size**0.5
        return self._scale(y)

    def _learn_thresholds(self, take: Any, count: int) -> None:
        # a quantile of what each kernel gives for a sample of its own
        rng = np.random.default_rng(self.seed)
        shape = self.buffers["thresholds"].shape
        of = rng.integers(count, size=shape[:3])
        at = (np.arange(1, np.prod(shape) + 1) * GOLDEN % 1.0).reshape(shape)
        thresholds = np.zeros(shape, self.dtype)
        drawn = np.unique(of)
        for part in self._parts(len(drawn)):
            samples, ends = self._samples(*take(drawn[part]))
            for i, sample in enumerate(drawn[part]):
                own = samples[i : i + 1, : ends[i]], ends[i : i + 1]
                for v, d, results in self._convolutions(*own, of == sample):
                    for k, (result,) in results:
                        rank = at[v, d, k] * (len(result) - 1)
                        thresholds[v, d, k] = np.interp(
                            rank, np.arange(len(result)), np.sort(result)
                        )
        self.buffers["thresholds"] = thresholds

    def _parts(self, count: int) -> Iterator[slice]:
        # so many samples in parts that bound the memory
        rows = min(max(PART // (self.steps * max(self.in_channels // TAPS, 1)), 1), ROWS)
        for start in range(0, count, rows):
            yield slice(start, min(start + rows, count))

    # ---- calls

    def __call__(self, x: Array, lengths: Any = None) -> Array:
        """Return the features.

        Parameters
        ----------
        x : (T, B, in_channels) array, (B, T, in_channels) with ``batch_first``, or (T, in_channels)
            Of the layer's dtype.
        lengths : (B,) array_like of int, optional
            Steps of each sample, 0 to T. What x holds past them is ignored.

        Returns
        -------
        y : (B, out_size) or (out_size,) array

        Raises
        ------
        TypeError, ValueError
            For wrong dtypes, shapes or lengths.
        """
        y = self._scale(self._shares(*self._samples(x, lengths)))
        return y if x.ndim == 3 else y[0]

    def forward(self, x: Array, lengths: Any = None) -> tuple[Array, Tape]:
        """Return the features and the tape; as a call otherwise."""
        y = self(x, lengths)
        return y, Tape(self, (x.shape, y.shape))

    def backward(self, tape: Tape, dy: Array, input_grad: bool = True) -> Array | None:
        """Return the gradient of x, zeros, or None where `input_grad` is False.

        Parameters
        ----------
        tape : Tape
            From `forward`; used up.
        dy : array of the shape of y
        input_grad : bool, default True
        """
        x_shape, y_shape = self._open(tape)
        self._use_up(tape, dy, self.dtype, y_shape)
        return np.zeros(x_shape, self.dtype) if input_grad else None

    # ---- features

    def _samples(self, x: Array, lengths: Any) -> tuple[Array, Array]:
        # (B, T, F) with what follows short samples, zero past their ends, and these ends
        given = self._check_sequences(x, lengths)
        samples = self._time_major(x).swapaxes(0, 1)
        B, T, F = samples.shape
        n = np.full(B, T) if given is None else given
        ends = np.maximum(n, self.steps)
        out = np.full((B, int(ends.max(initial=self.steps)), F), self.fill, self.dtype)
        steps = np.arange(out.shape[1])
        own = (steps < n[:, np.newaxis])[:, :T]
        out[:, :T][own] = samples[:, : out.shape[1]][own]
        out[steps >= ends[:, np.newaxis]] = 0
        return out, ends

    def _shares(self, x: Array, ends: Array) -> Array:
        thresholds = self.buffers["thresholds"]
        shares = np.zeros((len(x), *thresholds.shape), self.dtype)
        for part in self._parts(len(x)):
            rows, n = x[part], ends[part]
            past = past_end(n, rows.shape[1])
            steps = n.astype(self.dtype)
            for v, d, results in self._convolutions(rows, n):
                for k, result in results:
                    if past is not None:
                        result[past] = -np.inf
                    for j, threshold in enumerate(thresholds[v, d, k]):
                        above = np.count_nonzero(result > threshold, axis=1)
                        shares[part, v, d, k, j] = above / steps
        return shares.reshape(len(x), self.out_size)

    def _scale(self, shares: Array) -> Array:
        shares -= self.buffers["mean"]
        shares /= self.buffers["scale"]
        return shares

    def _convolutions(self, samples: Array, ends: Array, asked: Array | None = None) -> Any:
        # for each view and dilation their numbers, and for each kernel (that is asked for) its own
        # and (B, T) results
        B, T, F = samples.shape
        for v in range(1 + self.differences):
            if asked is not None and not asked[v].any():
                continue
            x = samples
            if v:
                x = np.diff(samples, axis=1, prepend=samples[:, :1])
                past = past_end(ends, T)
                if past is not None:
                    x[past] = 0
            for d, dilation in enumerate(self.dilations):
                kernels = np.arange(len(KERNELS)) if asked is None else np.flatnonzero(asked[v, d])
                if not len(kernels):
                    continue
                around = TAPS // 2 * dilation
                padded = np.zeros((F, B, T + 2 * around), self.dtype)
                padded[:, :, around : around + T] = x.transpose(2, 0, 1)
                channels = self.buffers["channels"][v, d]
                yield v, d, self._each_kernel(padded, dilation, T, channels, kernels)

    def _each_kernel(
        self, padded: Array, dilation: int, T: int, channels: Array, kernels: Array
    ) -> Any:
        shifted: list[Array] = []
        one = len(padded) == 1
        for k in kernels:
            if not shifted or not one:
                x = padded[0] if one else np.tensordot(channels[k], padded, 1)
                shifted = [x[:, j * dilation : j * dilation + T] for j in range(TAPS)]
                once = -sum(shifted[1:], shifted[0])
                shifted = [3.0 * each for each in shifted] if one else shifted
            first, second, third = KERNELS[k]
            if one:
                result = once + shifted[first]
                result += shifted[second]
                result += shifted[third]
            else:
                result = shifted[first] + shifted[second]
                result += shifted[third]
                result *= 3.0
                result += once
            yield k, result

    def _describe(self) -> str:
        text = f"{self.in_channels}, {self.out_size}, kernel_size=({TAPS},)"
        return f"{text}, dilations={self.dilations}"
