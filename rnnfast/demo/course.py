"""The demo's training: a learning-rate schedule in time, and more of it where that is needed."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from ..callbacks import Callback, History
from ..datasets import text_batches
from ..losses import softmax_cross_entropy
from ..progress import Display
from ..training import fit
from .models import held_out_bits, make_optimizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..arrays import Array
    from ..layers import Sequential
    from .settings import Plan, Settings
    from .text import Text


@dataclass
class Cycle:
    """One rise and fall of the learning rate; it ends with its characters or its seconds."""

    lr: float
    characters: float
    seconds: float
    done: int  # characters learnt before it
    began: float
    grace: float = 5.0  # seconds before time may shorten it: the first steps are slow

    def share(self, done: int, now: float) -> float:
        """Return how much of it is over, from 0 to 1."""
        elapsed = now - self.began
        late = elapsed / self.seconds if elapsed > self.grace else 0.0
        return min(1.0, max((done - self.done) / self.characters, late))

    def rate(self, share: float) -> float:
        """Return the learning rate: up over the first 2%, then down in a straight line."""
        warm = min(1.0, share / 0.02 + 0.01)
        return self.lr * warm * (1.0 - min(share, 0.99))


class Course(Callback):
    """Progress, learning rate, time limit, the learning curve, and overtime.

    Where the held-out text costs the model more than the 5-gram when a cycle of the learning rate
    ends, another, shorter one follows, as long as the overtime lasts.
    """

    grace = 5.0
    rounds = 2  # cycles that the overtime is for
    reach = 1.2  # times the 5-gram's bits, from which overtime does not bring a model below it

    def __init__(
        self,
        settings: Settings,
        plan: Plan,
        text: Text,
        gram: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.settings, self.plan, self.text, self.clock = settings, plan, text, clock
        self.gram = gram  # bits per character of the 5-gram
        self.batches = text_batches(text.ids[: text.cut], plan.batch, plan.steps)
        self.length = self.batches.length * plan.batch  # characters of an epoch
        self.total = plan.epochs * self.length
        self.done = self.taken = self.place = 0  # characters, batches, batches of this epoch
        self.recent = 0.0
        self.extra = 0.0  # seconds of overtime begun
        self.losses: list[tuple[int, float]] = []  # characters learnt, loss in bits
        self.held_out: list[tuple[int, float]] = []

    def each_batch(self) -> Iterator[tuple[Array, Array]]:
        """Iterate over the rest of an epoch, or up to the end of the schedule."""
        for x, y in islice(self.batches, self.place, None):
            self.size = x.size
            self.place += 1
            yield x, y
            if self.share >= 1.0:
                break
        self.place %= len(self.batches)

    def loss(self, scores: Array, target: Array) -> tuple[float, Array]:
        """Return the cross-entropy and its gradient; keep the former."""
        value, gradient = softmax_cross_entropy(scores, target)
        self.losses.append((self.done + target.size, value / math.log(2)))
        keep = min(0.95, 1 - 1 / len(self.losses))
        self.recent = keep * self.recent + (1 - keep) * value
        return value, gradient

    def on_train_begin(self, model: Any, optimizer: Any) -> None:
        """Start the clock."""
        self.model, self.optimizer = model, optimizer
        self.display = Display("training", None, "characters", leave=False)
        self.began = self.epoch_began = self.clock()
        self.epoch_done = 0
        self._begin(self.plan.lr, self.total, 60.0 * self.settings.minutes, self.grace)

    def on_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        """Advance the schedule."""
        self.done += self.size
        self.taken += 1
        self.share = self.cycle.share(self.done, self.clock())
        self.optimizer.lr = self.cycle.rate(self.share)
        text = f"loss {self.recent:.3f}, {self.recent / math.log(2):.3f} bits per character"
        total = self.first + (self.taken - self.first) / max(self.share, 1e-9)
        self.display.update(text, self.size, round(total))

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> bool:
        """Read the held-out text; stop where the schedule ends, or go on."""
        rate = (self.done - self.epoch_done) / max(self.clock() - self.epoch_began, 1e-9)
        bits = held_out_bits(self.model, self.text.ids, self.text.cut, streams=16)
        value = float((bits + self.text.identity_bits()).mean())
        self.held_out.append((self.done, value))
        self.display.print(
            f"epoch {self.done / self.length:.3g}: {logs['loss'] / math.log(2):.3f} bits per "
            f"character in training, {value:.3f} held out (5-gram {self.gram:.3f}); "
            f"{rate:,.0f} characters/s"
        )
        self.epoch_began, self.epoch_done = self.clock(), self.done
        return self.share >= 1.0 and not self._goes_on(value)

    def on_train_end(self, history: History) -> None:
        """Say how long it took."""
        self.display.close()

    def _begin(self, lr: float, characters: float, seconds: float, grace: float) -> None:
        self.cycle = Cycle(lr, characters, seconds, self.done, self.clock(), grace)
        self.first, self.share = self.taken, 0.0
        self.optimizer.lr = self.cycle.rate(0.0)

    def _goes_on(self, bits: float) -> bool:
        allowed = self.settings.spare
        left = allowed - self.extra
        if not self.gram <= bits < self.reach * self.gram or left < 1e-6:
            return False
        seconds = allowed / self.rounds
        elapsed = max(self.clock() - self.began, 1e-9)
        # where the straight line would be now if it led to the new end from the beginning
        lr = self.plan.lr * seconds / (elapsed + seconds)
        self.display.print(
            f"The LSTM is still {bits / self.gram - 1:.1%} above the 5-gram: at "
            f"{self.done / elapsed:,.0f} characters/s it has read the text "
            f"{self.done / self.length:.1f} times only.\nGoing on for {seconds:.0f} s, at a rate "
            f"that falls from {lr:.2g} again; {left:.0f} s are left for this."
        )
        self.extra += seconds
        self._begin(lr, math.inf, seconds, 0.0)
        return True


def train(course: Course, model: Sequential) -> None:
    """Train the model by truncated BPTT with carried state."""
    plan = course.plan
    fit(
        model,
        course.each_batch,
        loss=course.loss,
        optimizer=make_optimizer(plan, model),
        epochs=2**31 - 1,  # the course ends it
        carry_state=True,
        clip_norm=plan.clip,
        callbacks=[course],
        progress=False,
    )
    seconds = course.clock() - course.began
    over = f", {course.extra:.0f} of them overtime" if course.extra else ""
    print(f"\nTrained in {seconds:.0f} seconds{over}.", flush=True)
    epochs = f"{course.done / course.length:.1f} of {plan.epochs} epochs"
    if course.done < course.total:
        print(f"The limit of {course.settings.minutes:g} minutes shortened it to {epochs}.")
