"""One reward out of several attributes: a weighted sum, with weights published under a name.

The published weights belong to raw HelpSteer2 attributes on their 0–4 scale, so they are applied to
raw scores. Scores of two rewards share no scale: a sum of those takes each score less its mean and
over its σ in this run, so that a weight says how much a score counts and not how wide its scale is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from karat.errors import RecipeError, did_you_mean

Floats = NDArray[np.float64]

ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
# Source: HelpSteer2 (2406.08673) §4 and §5: the weights of its two reward models, found on
# RewardBench, and "goodness", which chose between the answers of its DPO pairs.
PUBLISHED: dict[str, tuple[float, ...]] = {
    "nemotron-4-340b": (0.30, 0.74, 0.46, 0.47, -0.33),
    "llama3-70b": (0.65, 0.80, 0.45, 0.55, -0.40),
    "goodness": (0.65, 0.80, 0.45, 0.0, 0.0),
}


def published(name: str, reward: str) -> dict[str, float]:
    """The weight of each score of `reward` under published weights; those of 0 are left out.

    Raises: RecipeError naming the nearest right spelling.
    """
    if name not in PUBLISHED:
        raise RecipeError(
            f"weights: no published weights '{name}'; {did_you_mean(name, PUBLISHED)}"
        )
    pairs = zip(ATTRIBUTES, PUBLISHED[name], strict=True)
    return {f"{reward}.{attribute}": weight for attribute, weight in pairs if weight}


def needs_standardising(weights: Mapping[str, float]) -> bool:
    """Whether these are scores (`reward.attribute`) of more than one reward."""
    return len({key.rpartition(".")[0] for key in weights}) > 1


def weighted(
    columns: Sequence[Floats],
    weights: Sequence[float],
    scales: Sequence[tuple[float, float]] | None = None,
) -> Floats:
    """Σ weight · score, one value each; NaN where a score is missing, never a part of the sum.

    With `scales`, (mean, σ) of each column, it is Σ weight · (score − mean) / σ. A column without
    spread says nothing and adds 0.
    """
    total = np.zeros(len(columns[0]))
    for place, (column, weight) in enumerate(zip(columns, weights, strict=True)):
        if scales is not None:
            mean, sigma = scales[place]
            # 0 · NaN stays NaN: a missing score makes no sum even where the others have no spread.
            column = (column - mean) / sigma if sigma > 0 else (column - mean) * 0.0
        total += weight * column
    return total
