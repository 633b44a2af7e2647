"""Agreement of graders on order: Kendall's τ_b over all responses or within prompts, and pairs.

Order needs no common scale, so it compares any two graders. Rewards trained on preferences alone
order the responses of one prompt and nothing else: for them, and wherever rejection sampling is
what scores are for, the pairs of one prompt are those that count.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from karat.scoring.tallies import Floats, Ints, Tally, per_prompt, quotient


def kendall_tau(these_R: Floats, those_R: Floats, prompt_R: Ints, prompts: int) -> Tally:
    """Kendall's τ_b of two graders over all pairs of responses, whatever their prompts: for scores
    that compare across prompts only. O(R log R); NaN is a score that is missing.

    Undefined where either grader gave all responses the same score. A pair of two prompts is no sum
    over prompts; a draw's value is that of the first-order expansion around the sample (Hájek
    projection), which leaves out what is of order 1/P. For fewer than some 30 prompts the interval
    is rough. Source: Kendall 1945 (Biometrika 33, 239–251); Knight 1966 (JASA 61, 436–439) for the
    counting; Hájek 1968 (Annals of Mathematical Statistics 39, 325–346).
    """
    both = ~(np.isnan(these_R) | np.isnan(those_R))
    x, y = _ranks(these_R[both]), _ranks(those_R[both])
    sums_PK = per_prompt(_against_all(x, y).astype(np.float64), prompt_R[both], prompts)
    return Tally(sums_PK, partial(_expanded_tau, sums_PK.sum(axis=0)))


def _expanded_tau(total_K: Floats, sums: Floats) -> Floats:
    return _tau(2 * sums - total_K)


def _tau(sums: Floats) -> Floats:
    """Pairs in the same order less pairs in the opposite, by the geometric mean of those that are
    apart for either grader."""
    agree, apart_x, apart_y = np.moveaxis(sums[..., :3], -1, 0)
    product = np.sqrt(np.maximum(apart_x, 0)) * np.sqrt(np.maximum(apart_y, 0))
    found: Floats = np.clip(agree / np.where(product == 0, np.nan, product), -1.0, 1.0)
    return found


def _ranks(values_R: Floats) -> Ints:
    """Dense ranks: 0 for the lowest, equal values alike."""
    return np.unique(values_R, return_inverse=True)[1].astype(np.int64)


def _against_all(x: Ints, y: Ints) -> Ints:
    """counts_R3: pairs of each response with all others that are in the same order less those in
    the opposite, those apart in x, and those apart in y."""
    same = _both_below(x, y) + _both_below(-x, -y)
    opposite = _both_below(x, -y) + _both_below(-x, y)
    ties = [np.bincount(rank)[rank] if len(rank) else rank for rank in (x, y)]
    return np.stack([same - opposite, len(x) - ties[0], len(x) - ties[1]], axis=1)


def _both_below(x: Ints, y: Ints) -> Ints:
    """How many responses are lower than each in both.

    In order of x, lowest first, it is how many smaller values of y stand before each. Values that
    share their upper bits form a node; those with the next bit set have before them, and smaller,
    the ones of their node without it. Of equal x the higher y goes first, so that none counts.
    """
    found, at = np.zeros(len(x), np.int64), np.lexsort((-y, x))
    value, place = y[at] - y.min(initial=0), np.arange(len(x))
    for bit in reversed(range(int(value.max(initial=0)).bit_length())):
        node = value >> (bit + 1)
        head = np.maximum.accumulate(np.where(np.append(-1, node[:-1]) != node, place, 0))
        clear = 1 - ((value >> bit) & 1)
        before = np.cumsum(clear) - clear
        found[at] += np.where(clear == 0, before - before[head], 0)
        order = np.argsort(value >> bit, kind="stable")
        at, value = at[order], value[order]
    return found


def tau_within(these_R: Floats, those_R: Floats, prompt_R: Ints, prompts: int) -> Tally:
    """Kendall's τ_b over the pairs of responses to one prompt, all prompts' pairs together.

    NaN is a score that is missing. Undefined where no prompt has two responses that either grader
    tells apart.
    """
    return Tally(_pairs(these_R, those_R, prompt_R, prompts)[:, :3], _tau)


def pair_agreement(these_R: Floats, those_R: Floats, prompt_R: Ints, prompts: int) -> Tally:
    """The share of pairs of responses to one prompt that two graders put in the same order, of
    those which both tell apart: .5 is chance. Undefined where there is none."""
    return Tally(_pairs(these_R, those_R, prompt_R, prompts)[:, 3:], quotient, of=1)


def _pairs(these_R: Floats, those_R: Floats, prompt_R: Ints, prompts: int) -> Floats:
    """sums_P5: pairs in the same order less those in the opposite; pairs apart for the first
    grader, and the second; pairs in the same order; pairs apart for both."""
    both = np.flatnonzero(~(np.isnan(these_R) | np.isnan(those_R)))
    at = both[np.argsort(prompt_R[both], kind="stable")]
    x, y, prompt = these_R[at], those_R[at], prompt_R[at]
    sums = np.zeros((prompts, 5))
    for step in range(1, int(np.bincount(prompt, minlength=1).max())):
        near = np.flatnonzero(prompt[step:] == prompt[:-step])
        a, b = (np.sign(v[near + step] - v[near]) for v in (x, y))
        columns = np.stack([a * b, a != 0, b != 0, a * b > 0, a * b != 0], axis=1)
        sums += per_prompt(columns.astype(np.float64), prompt[near], prompts)
    return sums
