"""How right scores are about one item of a benchmark: credit from 0 to 1, as its own rules give it.

Rules differ where it is easy to overlook: what equal scores are worth, and what a grid of answers
or a question with many right answers adds up to. Each rule here is one function of plain scores,
so that it can be held against the benchmark's own code, and a baseline such as "the longer answer"
goes through the very same one.

Source: best of n and ties, allenai/reward-bench rewardbench/utils.py (`reroll_and_score_dataset`,
`process_single_model`), RewardBench 2 (2506.01937); the grid, THU-KEG/RM-Bench scripts/utils.py
(`compute_accuracy`), RM-Bench (2410.16184).
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Of a question with many right answers: accuracy with one right answer and with many, how often
# the gap to the best wrong answer is wider than the spread of the right ones, the same where both
# questions' gaps must be, and how much wider it is.
TIES_WEIGHTS = (0.30, 0.30, 0.20, 0.20, 0.01)
DRAWS = 4_000  # for the expectation of random scores


def pair_credit(gap_I: Floats, tie: float = 0.5) -> Floats:
    """1 where the better response scores higher, 0 where lower, `tie` for equal scores."""
    return np.where(np.isnan(gap_I), np.nan, np.where(gap_I == 0, tie, gap_I > 0))


def best_of_credit(scores_N: Floats) -> float:
    """Of n answers of which the first is right: 1 where it scores highest, shared among equals."""
    top = scores_N == scores_N.max()
    return float(top[0] / top.sum())


def grid_credit(right_S: Floats, wrong_S: Floats) -> Floats:
    """credit_SS of right answers in S styles against wrong ones in S styles, plain styles first.

    Equal scores are worth nothing. Below the diagonal the right answer is the fancier (easy), on
    it both are alike (normal), above it the wrong one is (hard).
    """
    return (right_S[:, None] > wrong_S[None, :]).astype(np.float64)


class Standing(NamedTuple):
    """A question with `right` answers and wrong ones: whether all right ones score above all wrong
    ones, how far the right ones lie apart, and how far the lowest is above the best wrong one."""

    accurate: bool
    spread: float
    gap: float


def standing_of(scores_N: Floats, right: int) -> Standing:
    """Of scores whose first `right` are of right answers. Raises: ValueError for none of either."""
    if not 0 < right < len(scores_N):
        raise ValueError(f"{right} of {len(scores_N)} answers are right; some must be, and not all")
    worst, best = float(scores_N[:right].min()), float(scores_N[:right].max())
    gap = worst - float(scores_N[right:].max())
    return Standing(gap > 0, best - worst, gap)


def ties_credit(tied: Standing, single: Standing) -> tuple[float, float, float]:
    """(wider, wider in both, by how much) of a question with many right answers and its twin with
    one. By how much: tanh(gap / spread − 1), which goes from −1 to 1; 0 where it is 0 / 0."""
    least = min(single.gap, tied.gap)
    if tied.spread:
        more = math.tanh(least / tied.spread - 1)
    else:
        more = math.copysign(1.0, least) if least else 0.0
    return float(tied.gap > tied.spread), float(least > tied.spread), more


@cache
def chance_of_ties(tied: tuple[int, int], single: tuple[int, int]) -> tuple[float, ...]:
    """What random scores get on such a pair of questions, each (right answers, all answers): the
    accuracy of the one with one right answer, that of the one with many, and `ties_credit`."""
    random = np.random.default_rng(7)
    found = np.zeros(3)
    for many_N, one_N in zip(
        random.normal(size=(DRAWS, tied[1])), random.normal(size=(DRAWS, single[1])), strict=True
    ):
        found += ties_credit(standing_of(many_N, tied[0]), standing_of(one_N, single[0]))
    return accuracy_by_chance(*single), accuracy_by_chance(*tied), *(found / DRAWS).tolist()


def accuracy_by_chance(right: int, answers: int) -> float:
    """How often random scores put all right answers above all wrong ones."""
    return 1 / math.comb(answers, right)
