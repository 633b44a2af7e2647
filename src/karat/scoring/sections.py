"""Accuracy of a set in parts: subsets weighed into sections, sections into one figure.

Benchmarks do not weigh their items alike: a small subset may count for a large one. Each figure
here is a function of the subsets' sums, so that its interval draws prompts while the weights stay
as published.

Source: weighted sections, allenai/reward-bench rewardbench/utils.py
(`calculate_scores_per_section`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from karat.scoring.tallies import Floats, Ints, Tally, per_prompt, quotient

Weights = Sequence[Mapping[int, float]]  # of each section: subset → how much it counts


def mean_credit(credit_U: Floats, prompt_U: Ints, prompts: int) -> Tally:
    """The mean of what was scored; NaN is left out."""
    known = ~np.isnan(credit_U)
    columns = np.stack([np.where(known, credit_U, 0.0), known], axis=1).astype(np.float64)
    # A share of a half credit is none of Wilson's: only of rights and wrongs.
    whole = bool(np.isin(credit_U[known], (0.0, 1.0)).all())
    return Tally(per_prompt(columns, prompt_U, prompts), quotient, of=1 if whole else None)


def subset_sums(
    credit_UK: Floats, subset_U: Ints, subsets: int, prompt_U: Ints, prompts: int
) -> Floats:
    """sums_PSK1 laid flat: of each prompt and subset the sums of K credits, then their number."""
    width = credit_UK.shape[1] + 1
    known = ~np.isnan(credit_UK).any(axis=1)
    columns = np.zeros((len(credit_UK), subsets * width))
    rows = np.flatnonzero(known)
    for place in range(width - 1):
        columns[rows, subset_U[rows] * width + place] = credit_UK[rows, place]
    columns[rows, subset_U[rows] * width + width - 1] = 1
    return per_prompt(columns, prompt_U, prompts)


def subset_means(sums: Floats, subsets: int) -> Floats:
    """means_..SK of the subsets; NaN where a subset is empty."""
    parts = sums.reshape(*sums.shape[:-1], subsets, -1)
    count = parts[..., -1:]
    found: Floats = np.where(count == 0, np.nan, parts[..., :-1] / np.where(count == 0, 1, count))
    return found


def weighted_mean(values: Floats, weights_S: Floats) -> Floats:
    """Of values_..S, those that are NaN and what they weigh left out; NaN where all are."""
    known = ~np.isnan(values)
    total = (known * weights_S).sum(axis=-1)
    over = np.where(known, values, 0.0) @ weights_S
    found: Floats = np.where(total == 0, np.nan, over / np.where(total == 0, 1, total))
    return found


def sections_mean(means: Floats, sections: Weights) -> Floats:
    """The mean of the sections' weighted means of means_..S; a section with none is left out."""
    size = means.shape[-1]
    values = []
    for section in sections:
        weights_S = np.array([section.get(place, 0.0) for place in range(size)])
        values.append(weighted_mean(means, weights_S))
    return weighted_mean(np.stack(values, axis=-1), np.ones(len(values)))
