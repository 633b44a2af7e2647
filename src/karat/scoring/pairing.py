"""Pairs for preference training out of one prompt's graded answers.

Which answer is rejected matters more than which is chosen. The worst of many is a wreck, and a
model learns little from being told so: best against worst gets worse as n grows. An answer about
two σ below the prompt's mean is wrong in the way that the model is wrong.

Everything here compares answers to one prompt, so any score will do, whatever its scale.
"""

# ruff: noqa: N803  (shape suffixes, as in scores_N)
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean, pstdev
from typing import Literal, NamedTuple

Rule = Literal["max_min", "mu_minus_2sigma", "moderate_margin"]

# In σ of the reward. Two draws of a normal differ by 2/√π = 1.13 σ on average; AIR (2504.03612)
# gives its moderate margins on a judge's scale of 0–9 and not in σ.
MODERATE = (0.5, 1.5)


class Pair(NamedTuple):
    """Places of two answers, and how much higher the first one's score is."""

    chosen: int
    rejected: int
    margin: float


def pair_up(
    scores_N: Sequence[float], rule: Rule, n: int = 1, margins: tuple[float, float] = (0, math.inf),
    choosable_N: Sequence[bool] | None = None,
) -> list[Pair]:  # fmt: skip
    """Up to `n` pairs, no answer in two of them, best pair first.

    A pair's margin is above 0 and within `margins` (both ends, in units of the score). Only
    answers flagged in `choosable_N` are chosen; any is rejected. Of equals the first stands.

    max_min: the highest that has a partner, against the lowest that the margins allow.
    mu_minus_2sigma: the same against the one nearest to μ − 2σ, the mean and standard deviation
    (population) of these scores; of two equally near the lower one.
    moderate_margin: of all pairs that the margins allow, the one with the highest sum of scores.

    Source: 2502.16825 (μ − 2σ, §4); AIR 2504.03612 (moderate margins, high scores).
    """
    choosable = [True] * len(scores_N) if choosable_N is None else list(choosable_N)
    allowed = [
        Pair(c, r, high - low)
        for c, high in enumerate(scores_N)
        if choosable[c]
        for r, low in enumerate(scores_N)
        if high > low and margins[0] <= high - low <= margins[1]
    ]
    taken: set[int] = set()
    pairs: list[Pair] = []
    for pair in sorted(allowed, key=_order(scores_N, rule)):
        if len(pairs) == n:
            break
        if pair.chosen not in taken and pair.rejected not in taken:
            pairs.append(pair)
            taken |= {pair.chosen, pair.rejected}
    return pairs


def _order(scores_N: Sequence[float], rule: Rule) -> Callable[[Pair], tuple[float, ...]]:
    """The key that sorts a rule's best pair first."""
    if rule == "moderate_margin":
        return lambda p: (-(scores_N[p.chosen] + scores_N[p.rejected]), p.chosen, p.rejected)
    if rule == "max_min":
        return lambda p: (-scores_N[p.chosen], scores_N[p.rejected], p.chosen, p.rejected)
    wanted = fmean(scores_N) - 2 * pstdev(scores_N) if scores_N else 0.0

    def nearest(pair: Pair) -> tuple[float, ...]:
        low = scores_N[pair.rejected]
        return -scores_N[pair.chosen], abs(low - wanted), low, pair.chosen, pair.rejected

    return nearest
