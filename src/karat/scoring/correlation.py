"""How a score goes with people's ratings over all responses: Pearson's r and Spearman's ρ.

A reward that puts pairs in order may still be useless as a threshold; these ask whether its score
means the same from one prompt to the next. As tallies: intervals draw whole prompts.

Source: Pearson 1896; Spearman 1904, with mean ranks for ties.
"""

from __future__ import annotations

import numpy as np

from karat.scoring.tallies import Floats, Ints, Tally, per_prompt


def pearson(these_R: Floats, those_R: Floats, prompt_R: Ints, prompts: int) -> Tally:
    """r; NaN is a score that is missing. Undefined where either does not vary."""
    both = ~(np.isnan(these_R) | np.isnan(those_R))
    x, y = these_R[both], those_R[both]
    if len(x):  # about the mean, small differences of large scores keep their digits
        x, y = x - x.mean(), y - y.mean()
    columns = np.stack([np.ones_like(x), x, y, x * y, x * x, y * y], axis=1)
    return Tally(per_prompt(columns, prompt_R[both], prompts), _pearson)


def spearman(these_R: Floats, those_R: Floats, prompt_R: Ints, prompts: int) -> Tally:
    """ρ. The ranks are those in all of the responses: a draw does not rank anew, which changes its
    interval by less than the third digit for some hundreds of responses."""
    both = ~(np.isnan(these_R) | np.isnan(those_R))
    ranked = [np.full(len(these_R), np.nan) for _ in range(2)]
    for ranks_R, values_R in zip(ranked, (these_R, those_R), strict=True):
        ranks_R[both] = mean_ranks(values_R[both])
    return pearson(ranked[0], ranked[1], prompt_R, prompts)


def mean_ranks(values_R: Floats) -> Floats:
    """Ranks from 1, equal values sharing the mean of theirs."""
    _, place_R, counts = np.unique(values_R, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    found: Floats = (last - (counts - 1) / 2)[place_R]
    return found


def _pearson(sums: Floats) -> Floats:
    n, x, y, xy, xx, yy = np.moveaxis(sums, -1, 0)
    over = xy - x * y / n
    under_x, under_y = xx - x * x / n, yy - y * y / n
    # What rounding alone leaves of a difference is no variation.
    under_x = np.where(under_x > 1e-12 * xx, under_x, np.nan)
    under_y = np.where(under_y > 1e-12 * yy, under_y, np.nan)
    found: Floats = np.clip(over / np.sqrt(under_x * under_y), -1.0, 1.0)
    return found
