"""The loss on parts that are only measured: one figure, whatever fits on the device at a time.

A trainer averages the losses of its batches. Batches differ in how much they hold, so its figure
moves with the size of the batch: here every token of an answer (SFT) or every pair (DPO, RPO)
counts alike, as in a step of the training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

IGNORED = -100  # a label that is not learned


def held_out_losses(
    trainer: Any, parts: Mapping[str, Any], say: Callable[[str], None]
) -> dict[str, float]:
    """Of each part: nats a token for SFT, the objective's loss a pair else."""
    found = {}
    for name, part in parts.items():
        say(f"measuring the loss on {len(part):,} rows of {name}")
        found[name] = _loss(trainer, part)
    return found


def _loss(trainer: Any, part: Any) -> float:
    total, count = 0.0, 0
    step = trainer.prediction_step

    def counted(model: Any, inputs: Any, *args: Any, **more: Any) -> Any:
        nonlocal total, count
        labels = inputs.get("labels")
        rows = len(inputs["input_ids"])
        # The first token of a row is never predicted.
        size = rows if labels is None else int((labels[:, 1:] != IGNORED).sum())
        made = step(model, inputs, *args, **more)
        total, count = total + float(made[0]) * size, count + size
        return made

    trainer.prediction_step = counted
    try:
        trainer.evaluate(part)
    finally:
        del trainer.prediction_step
    return total / count
