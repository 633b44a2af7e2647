"""Agreement of graders beyond chance, on ordinal ratings: Cohen's κ, Fleiss' κ, Krippendorff's α.

Two graders who both say 4 nine times out of ten agree by chance four times out of five; these
coefficients count only what goes beyond it. They need categories: `on_scale` and `by_rank` say how
scores become levels. All are functions of counts that add up over prompts (see tallies).
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import numpy as np

from karat.scoring.tallies import Floats, Ints, Tally, per_prompt

MISSING = -1
MOST_LEVELS = 20  # of a scale whose points are levels by themselves
Metric = Literal["ordinal", "interval", "nominal"]


def scale_levels(low: float, high: float) -> int | None:
    """How many points a scale such as 0–4 or 1–10 has; None of one that is not of whole steps from
    end to end, has more than MOST_LEVELS points, or no end."""
    steps = high - low
    return int(steps) + 1 if steps in range(1, MOST_LEVELS) else None


def on_scale(scores_R: Floats, low: float, high: float, levels: int) -> Ints:
    """level_R: the nearest of `levels` points spaced evenly from `low` to `high`, as 0, 1, 2, …

    A score half-way between two points takes the upper one, one beyond an end takes the end (some
    rewards pass theirs), and one that is not a number is MISSING.
    """
    steps_R = (scores_R - low) / (high - low) * (levels - 1)
    return _levels(scores_R, np.floor(np.clip(steps_R, 0, levels - 1) + 0.5))


def rank_cuts(scores_S: Floats, levels: int) -> Floats:
    """cuts_L: where to cut these scores into `levels` classes of about equal numbers.

    For graders whose scales have nothing in common: their classes then hold the lowest fifth, the
    next fifth and so on, and agreement is that of ranks. Raises: ValueError where none is a number.
    """
    known_S = scores_S[np.isfinite(scores_S)]
    if not len(known_S):
        raise ValueError("no score is a number: there is nothing to cut")
    shares = np.arange(1, levels) / levels
    cuts: Floats = np.quantile(known_S, shares, method="inverted_cdf")
    return cuts


def by_rank(scores_R: Floats, cuts_L: Floats) -> Ints:
    """level_R: between which cuts a score lies, one that equals a cut above it; MISSING for NaN."""
    return _levels(scores_R, np.searchsorted(cuts_L, scores_R, side="right"))


def _levels(scores_R: Floats, found_R: Floats | Ints) -> Ints:
    return np.where(np.isnan(scores_R), MISSING, found_R).astype(np.int64)


def cohen_kappa(these_R: Ints, those_R: Ints, levels: int, prompt_R: Ints, prompts: int) -> Tally:
    """Quadratic-weighted Cohen's κ of two graders, whose ratings are 0 … levels−1 or MISSING.

    Responses that either has not rated are left out. Undefined without any, or where both gave one
    and the same rating throughout. A grader who never varies beside one who does has κ = 0: what it
    says is no better than chance. Source: Cohen 1968 (Psychological Bulletin 70, 213–220).
    """
    _check(levels, these_R, those_R)
    both = (these_R >= 0) & (those_R >= 0)
    cell = (prompt_R[both] * levels + these_R[both]) * levels + those_R[both]
    counts = np.bincount(cell, minlength=prompts * levels * levels).astype(np.float64)
    return Tally(counts.reshape(prompts, levels * levels), partial(_cohen, levels))


def _cohen(levels: int, sums: Floats) -> Floats:
    table = sums.reshape(*sums.shape[:-1], levels, levels)
    gaps = _gaps(levels)
    expected = np.einsum("...i,ij,...j->...", table.sum(axis=-1), gaps, table.sum(axis=-2))
    observed = (table * gaps).sum(axis=(-2, -1)) * table.sum(axis=(-2, -1))
    return _beyond_chance(observed, expected)


def _beyond_chance(observed: Floats, expected: Floats) -> Floats:
    found: Floats = 1 - observed / np.where(expected == 0, np.nan, expected)
    return found


def _gaps(levels: int) -> Floats:
    places = np.arange(levels, dtype=np.float64)
    gaps: Floats = (places[:, None] - places) ** 2
    return gaps


def fleiss_kappa(levels_RG: Ints, levels: int, prompt_R: Ints, prompts: int) -> Tally:
    """Fleiss' κ of any number of graders: agreement on exactly the same level.

    With ratings MISSING it is Gwet's generalisation: observed agreement over the responses with two
    ratings or more, chance agreement from the mean shares of all that have one. Undefined where no
    response has two ratings, or all ratings are the same.
    Source: Fleiss 1971 (Psychological Bulletin 76, 378–382); Gwet 2014, Handbook of Inter-Rater
    Reliability, 4th edition, §2.5.
    """
    _check(levels, levels_RG)
    counts_RC = _counts(levels_RG, levels)
    rated_R = counts_RC.sum(axis=1)
    paired_R = rated_R >= 2
    pairs_R = np.maximum(rated_R * (rated_R - 1), 1)
    same_R = np.where(paired_R, (counts_RC * (counts_RC - 1)).sum(axis=1) / pairs_R, 0.0)
    shares_RC = counts_RC / np.maximum(rated_R, 1)[:, None]
    columns = np.column_stack([same_R, paired_R, rated_R > 0, shares_RC])
    return Tally(per_prompt(columns, prompt_R, prompts), _fleiss)


def _fleiss(sums: Floats) -> Floats:
    same, paired, rated = sums[..., 0], sums[..., 1], sums[..., 2]
    chance = ((sums[..., 3:] / rated[..., None]) ** 2).sum(axis=-1)
    room = np.where(1 - chance < 1e-12, 0, 1 - chance)  # shares of thirds do not add up to 1
    return _beyond_chance(1 - same / np.where(paired == 0, np.nan, paired), room)


def krippendorff_alpha(
    levels_RG: Ints, levels: int, prompt_R: Ints, prompts: int, metric: Metric = "ordinal"
) -> Tally:
    """Krippendorff's α of any number of graders, any of whose ratings may be MISSING.

    Responses with fewer than two ratings are left out. `ordinal` distances depend on how often the
    levels between two are used, so α is that of ranks: any monotone change of the levels leaves it.
    Undefined where no response has two ratings, or all ratings are the same.
    Source: Krippendorff 2011, Computing Krippendorff's Alpha-Reliability; Hayes and Krippendorff
    2007 (Communication Methods and Measures 1, 77–89).
    """
    _check(levels, levels_RG)
    counts_RC = _counts(levels_RG, levels)
    rated_R = counts_RC.sum(axis=1)
    counts_RC[rated_R < 2] = 0
    weight_R = 1 / np.maximum(rated_R - 1, 1)
    # Every rating is paired with each other one of the same response.
    pairs_RCC = counts_RC[:, :, None] * (counts_RC * weight_R[:, None])[:, None, :]
    places = np.arange(levels)
    pairs_RCC[:, places, places] -= counts_RC * weight_R[:, None]
    columns = pairs_RCC.reshape(len(counts_RC), levels * levels)
    return Tally(per_prompt(columns, prompt_R, prompts), partial(_alpha, levels, metric))


def _alpha(levels: int, metric: Metric, sums: Floats) -> Floats:
    paired = sums.reshape(*sums.shape[:-1], levels, levels)
    used = paired.sum(axis=-1)
    if metric == "ordinal":
        # From the middle of one level's ratings to the middle of the other's, in ratings.
        middle = np.cumsum(used, axis=-1) - used / 2
        gaps = (middle[..., :, None] - middle[..., None, :]) ** 2
    else:
        gaps = _gaps(levels) if metric == "interval" else 1.0 - np.eye(levels)
    observed = (paired * gaps).sum(axis=(-2, -1)) * (used.sum(axis=-1) - 1)
    expected = (used[..., :, None] * used[..., None, :] * gaps).sum(axis=(-2, -1))
    return _beyond_chance(observed, expected)


def _counts(levels_RG: Ints, levels: int) -> Floats:
    """counts_RC: how many graders gave each response each level."""
    responses = len(levels_RG)
    row, grader = np.nonzero(levels_RG >= 0)
    cell = row * levels + levels_RG[row, grader]
    counts = np.bincount(cell, minlength=responses * levels).astype(np.float64)
    return counts.reshape(responses, levels)


def _check(levels: int, *ratings: Ints) -> None:
    """Raises: ValueError for a rating that is none of the levels."""
    for given in ratings:
        if given.size and (int(given.min()) < MISSING or int(given.max()) >= levels):
            raise ValueError(f"ratings must lie in 0 … {levels - 1}, or be {MISSING} for none")
