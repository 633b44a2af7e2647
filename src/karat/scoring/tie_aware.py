"""Accuracy where people may find two answers equal: three verdicts, and how near is a tie.

A reward hardly ever gives the very same score twice, so a tie is a gap no wider than ε. The best ε
is found on other prompts of the set, fold by fold; found on the pairs it is measured on, it would
flatter whichever reward has the most ways to be lucky.

Source: pairwise accuracy with tie calibration, Deutsch et al. 2023, Ties Matter (2305.14324) §5.
"""

from __future__ import annotations

import numpy as np

from karat.scoring.tallies import Floats, Ints

FOLDS = 5


def tie_aware_credit(gap_C: Floats, people_C: Ints, prompt_C: Ints, folds: int = FOLDS) -> Floats:
    """credit_C: whether a reward says what people say: 1 the first, −1 the second, 0 neither.

    `gap_C` is the first's score less the second's; NaN stays NaN.
    """
    found_C = np.full(len(gap_C), np.nan)
    known = ~np.isnan(gap_C)
    for fold in range(folds):
        here, there = known & (prompt_C % folds == fold), known & (prompt_C % folds != fold)
        width = best_width(gap_C[there], people_C[there])
        found_C[here] = verdicts(gap_C[here], width) == people_C[here]
    return found_C


def verdicts(gap_C: Floats, width: float) -> Ints:
    """1, −1, or 0 where the gap is no wider than `width`."""
    return np.where(np.abs(gap_C) <= width, 0, np.sign(gap_C)).astype(np.int64)


def best_width(gap_C: Floats, people_C: Ints) -> float:
    """The ε with most verdicts right: the least where several have as many. O(C log C)."""
    if not len(gap_C):
        return 0.0
    order = np.argsort(np.abs(gap_C), kind="stable")
    size, sign, people = np.abs(gap_C)[order], np.sign(gap_C)[order], people_C[order]
    # What a pair adds once it is called a tie, smallest gaps first.
    gain = (people == 0).astype(np.int64) - (sign == people)
    total = np.cumsum(np.where(size == 0, 0, gain))  # equal scores are a tie whatever ε is
    last = np.append(size[1:] != size[:-1], True)
    best = int(np.argmax(np.where(last, total, np.iinfo(np.int64).min)))
    return float(size[best]) if total[best] > 0 else 0.0
