"""What a training says while it works, and when it writes a checkpoint: both by the clock.

A trainer's own bars count steps and log every tenth; somebody who waits wants to know how far it
is, whether the loss falls, and how long it still takes, a few times a minute however long a step
is. A checkpoint a minute loses at most a minute, for a tiny student as for a large one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from math import isfinite
from typing import Any

from karat.errors import RunError
from karat.models.torch_libraries import imported

SAY_EVERY_S = 5.0


class Telling:
    """Hears the trainer's steps and losses."""

    def __init__(
        self, say: Callable[[str], None], tokens_per_epoch: int, save_every_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._say, self._tokens, self._save_every = say, tokens_per_epoch, save_every_s
        self._clock = clock
        self._losses: list[tuple[int, float]] = []
        self._began = self._told = self._saved = self._quiet_since = clock()
        self.parts, self._part = 1, 0  # a step's, and those done of it
        self._first = (0, 0.0)  # step and epoch at which this process began
        self._note: Callable[[float], None] = lambda seconds: None

    def begin(self, note: Callable[[float], None]) -> None:
        """Starts the clock; `note` is told the seconds so far at each checkpoint."""
        self._began = self._told = self._saved = self._clock()
        self._note = note

    def curve(self, points: int) -> tuple[tuple[int, float], ...]:
        """(step, loss), thinned to so many means of neighbours."""
        size = -(-len(self._losses) // points) or 1
        found = []
        for start in range(0, len(self._losses), size):
            part = self._losses[start : start + size]
            found.append((part[-1][0], round(sum(loss for _, loss in part) / len(part), 6)))
        return tuple(found)

    def callback(self) -> Any:
        """For the trainer."""
        telling = self

        class Hearing(imported("transformers").TrainerCallback):  # type: ignore[misc]
            def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                telling._first = (state.global_step, state.epoch or 0.0)
                past = [one for one in state.log_history if "loss" in one]
                telling._losses = [(int(one["step"]), float(one["loss"])) for one in past]
                telling.parts = args.gradient_accumulation_steps
                telling.start(state.max_steps, args.per_device_train_batch_size)

            def on_log(
                self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any
            ) -> None:
                if logs and "loss" in logs:
                    telling.loss(state.global_step, float(logs["loss"]))

            def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                telling._part, telling._quiet_since = 0, telling._clock()

            def on_substep_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                telling.part(state.global_step + 1, state.max_steps)

            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if telling.step(state.global_step, state.max_steps, state.epoch or 0.0):
                    control.should_save = True

        return Hearing()

    def start(self, steps: int, at_once: int) -> None:
        """Says what is about to happen: the first step of a large batch takes its time."""
        rows = "a row" if at_once == 1 else f"{at_once} rows"
        told = f"{steps:,} step{'s' * (steps != 1)} of {self.parts * at_once} rows"
        self._say(f"training: {told}, {rows} at a time")

    def part(self, step: int, steps: int) -> None:
        """Says how far a step is that takes long."""
        self._part += 1
        now = self._clock()
        # Apart from the clock of steps, whose lines say more and must not be kept waiting.
        if now - self._quiet_since >= SAY_EVERY_S:
            self._quiet_since = now
            self._say(f"in step {step:,} of {steps:,}: part {self._part} of {self.parts}")

    def loss(self, step: int, loss: float) -> None:
        """Raises: RunError for one that is no number, after which nothing is learned any more."""
        if not isfinite(loss):
            raise RunError(
                f"the loss is no number at step {step}: take a lower --lr, into another folder"
            )
        self._losses.append((step, loss))

    def step(self, step: int, steps: int, epoch: float) -> bool:
        """Says where it is when that is due; whether a checkpoint is due."""
        now = self._clock()
        if now - self._told >= SAY_EVERY_S or step == steps:
            self._told = now
            self._say(self._line(step, steps, epoch, now - self._began))
        if step < steps and now - self._saved >= self._save_every:
            self._saved = now
            self._note(now - self._began)
            return True
        return False

    def _line(self, step: int, steps: int, epoch: float, seconds: float) -> str:
        first, begun = self._first
        rate = (epoch - begun) * self._tokens / max(seconds, 1e-9)
        left = seconds * (steps - step) / max(step - first, 1)
        loss = f", loss {self._losses[-1][1]:.4f}" if self._losses else ""
        return f"step {step:,} of {steps:,}{loss}, {rate:,.0f} tokens/s, {_time(left)} left"


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes} min"
        if hours
        else f"{minutes} min {rest} s"
        if minutes
        else f"{rest} s"
    )
