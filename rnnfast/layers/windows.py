"""Layers that read a window of steps for each step that they give: where the windows lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import contiguous
from ..checks import check_size
from .base import Layer

if TYPE_CHECKING:
    from ..arrays import Array


FARTHEST = 1 << 40  # steps; keeps sums of steps from overflowing


class Windows(Layer):
    """Base of `Conv1d` and `Pool1d`: step t of y reads those of x from ``t * stride - left`` on."""

    takes_lengths = True
    stepwise = False
    batch_first: bool
    dtype: np.dtype[Any] | None

    def _lay(self, kernel_size: int, stride: int, padding: str | int, dilation: int) -> None:
        owner = type(self).__name__
        self.kernel_size = check_size(owner, "kernel_size", kernel_size, 1)
        self.stride = check_size(owner, "stride", stride, 1)
        self.dilation = check_size(owner, "dilation", dilation, 1)
        self.reach = (self.kernel_size - 1) * self.dilation  # steps from the first tap to the last
        self.padding = padding
        self.left, self.right = self._check_padding(owner, padding)
        if max(self.left, self.reach, self.stride) > FARTHEST:
            raise ValueError(f"{owner} expected to reach over no more than {FARTHEST} steps")

    def _check_padding(self, owner: str, padding: Any) -> tuple[int, int]:
        if not isinstance(padding, str):
            size = check_size(owner, "padding", padding, 0)
            return size, size
        if padding not in ("valid", "same", "causal"):
            raise ValueError(
                f"{owner} expected padding 'valid', 'same', 'causal' or an integer, got {padding!r}"
            )
        left = {"valid": 0, "same": self.reach // 2, "causal": self.reach}[padding]
        return left, 0 if padding == "valid" else self.reach - left

    @property
    def shifts(self) -> bool:
        """Whether the windows' places depend on the number of steps: 'same' with a stride."""
        return self.padding == "same" and self.stride > 1

    def _pads(self, steps: int) -> tuple[int, int]:
        # how many are missing before and after x
        if not self.shifts:
            return self.left, self.right
        last = (-(-steps // self.stride) - 1) * self.stride  # where the last window starts
        missing = max(last + self.reach + 1 - steps, 0)
        return missing // 2, missing - missing // 2

    # ---- steps

    @property
    def more_steps(self) -> int:
        """What is added to a number of steps before it is divided by the stride."""
        return self.left + self.right - self.reach + self.stride - 1

    def out_lengths(self, lengths: Any) -> Any:
        """Return the steps that outputs have where inputs have `lengths`, None or (B,) integers."""
        if lengths is None:
            return None
        given = np.asarray(lengths, np.int64)
        fitting = given + self.more_steps
        return np.where(given > 0, np.maximum(fitting // self.stride, 0), 0)

    def out_steps(self, steps: str, given: str) -> str:
        """Return the steps of outputs as a formula."""
        more = self.more_steps
        shifted = f"{steps} {'-+'[more > 0]} {abs(more)}" if more else steps
        if self.stride == 1:
            return shifted
        return f"({shifted}) // {self.stride}" if more else f"{shifted} // {self.stride}"

    def _check_steps(self, T: int, lengths: Array | None) -> int:
        # the number of steps that T lead to
        owner, steps = type(self).__name__, int(self.out_lengths(T))
        if lengths is not None and self.shifts:
            raise ValueError(
                f"{owner} expected no lengths with padding 'same' and stride {self.stride}: how "
                "many zeros stand before a sample would depend on its length"
            )
        if T and not steps:
            raise ValueError(
                f"{owner} expected input of at least {self.reach + 1} steps with its padding, "
                f"got {T + self.left + self.right}"
            )
        return steps

    # ---- layouts

    def _sample_major(self, x: Array) -> Array:
        # a view (B, T, F)
        return self._time_major(x).swapaxes(0, 1)

    def _pad(self, samples: Array, past: Array | None, fill: float = 0.0) -> Array:
        # (B, left + T + right, F), which is `samples` itself where nothing is in the way
        B, T, F = samples.shape
        left, right = self._pads(T)
        dtype = samples.dtype.newbyteorder("=")
        if not left and not right and past is None:
            return contiguous(samples, dtype)
        padded = np.full((B, left + T + right, F), fill, dtype)
        inner = padded[:, left : left + T]
        inner[...] = samples
        if past is not None:
            inner[past] = fill
        return padded

    def _without_pads(self, dpadded: Array, T: int, past: Array | None) -> Array:
        # the gradient of x (B, T, F)
        left, _ = self._pads(T)
        dx = dpadded[:, left : left + T]
        if past is not None:
            dx[past] = 0
        return dx

    def _describe_windows(self) -> str:
        text = f", kernel_size=({self.kernel_size},), stride=({self.stride},)"
        if self.padding not in ("valid", 0):
            given = self.padding if isinstance(self.padding, str) else (self.left,)
            text += f", padding={given}"
        if self.dilation > 1:
            text += f", dilation=({self.dilation},)"
        return text
