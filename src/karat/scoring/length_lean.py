"""What a reward makes of length, from pairs that people have judged.

A reward that picks the longer answer as often as people do is not biased; one that picks it where
people say it is the worse one is. So both are told, with accuracy by how the lengths compare, and
on pairs of about one length, where length can neither help nor mislead.

Source: length-controlled comparisons, Dubois et al. 2024 (2404.04475); LOWESS over 33 rewards,
2409.17407.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from karat.scoring.tallies import Floats, Ints, Tally, per_prompt, quotient

MATCHED = 1.2  # the longer is no longer than so many times the other


class Lean(NamedTuple):
    """Shares as tallies: of picks that are the longer one; the same where people found the longer
    one worse; accuracy where it is the better one; accuracy at about one length."""

    picks_longer: Tally
    picks_longer_worse: Tally
    right_when_longer: Tally
    right_matched: Tally


def length_lean(
    gap_C: Floats, better_C: Floats, worse_C: Floats, prompt_C: Ints, prompts: int
) -> Lean:
    """Of the scores' gaps, better less worse, and both lengths in characters. Ties count half."""
    right_C = np.where(gap_C == 0, 0.5, gap_C > 0)
    longer, shorter = better_C > worse_C, better_C < worse_C
    picked_C = np.where(longer, right_C, 1 - right_C)
    ratio_C = np.maximum(better_C, worse_C) / np.maximum(np.minimum(better_C, worse_C), 1)

    def share(values_C: Floats, among_C: Floats) -> Tally:
        columns = np.stack([values_C * among_C, among_C], axis=1)
        return Tally(per_prompt(columns, prompt_C, prompts), quotient, of=1)

    return Lean(
        share(picked_C, (longer | shorter).astype(np.float64)),
        share(picked_C, shorter.astype(np.float64)),
        share(right_C, longer.astype(np.float64)),
        share(right_C, (ratio_C <= MATCHED).astype(np.float64)),
    )


def by_ratio(better_C: Floats, worse_C: Floats, edges: Floats) -> Ints:
    """Which of the bins between `edges` log2(better / worse) of each pair lies in; the ends are
    open, and a response without text counts as one character."""
    ratio_C = np.log2(np.maximum(better_C, 1) / np.maximum(worse_C, 1))
    return np.searchsorted(edges, ratio_C, side="right").astype(np.int64)
