"""The objectives in torch: sums over what counts, so that a batch may be cut anywhere.

A mean over a batch is not the mean of the means over its parts when the parts hold different
numbers of rated cells. So a loss here is a sum, whoever calls divides it by the count of the whole
batch, and the gradient does not depend on how many parts fitted into memory.

Source: karat.training.objectives, which these are tested against.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from karat.training.finetune.settings import Objective


def loss_sum(objective: Objective, scores: Any, target: Any) -> Any:
    """The loss of a batch as a sum, a tensor without dimensions.

    `regression`: scores (R, 5), `target` the ratings (R, 5), NaN where not rated. The others:
    scores (2P, 1), first the P chosen and then the P rejected, `target` the strengths (P).
    """
    torch: Any = import_module("torch")
    if objective == "regression":
        rated = torch.isfinite(target)
        # Both branches of `where` are differentiated: a NaN in the one not taken would spoil it.
        error = torch.where(rated, scores - torch.nan_to_num(target), 0.0)
        return (error**2).sum()
    chosen, rejected = scores.squeeze(-1).chunk(2)
    gap = chosen - rejected
    if objective == "margin":
        gap = gap - target
    each = torch.nn.functional.softplus(-gap)  # −log σ(gap)
    return (each * target).sum() if objective == "scaled" else each.sum()


def count(objective: Objective, target: Any) -> int:
    """What a loss is the mean over: rated cells, or pairs."""
    torch: Any = import_module("torch")
    return int(torch.isfinite(target).sum()) if objective == "regression" else len(target)
