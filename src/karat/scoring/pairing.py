"""Pairs for preference training out of one prompt's graded answers.

Which answer is rejected matters more than which is chosen. The worst of many is a wreck, and a
model learns little from being told so: best against worst gets worse as n grows. An answer about
two σ below the prompt's mean is wrong in the way that the model is wrong.

Everything here compares answers to one prompt, so any score will do, whatever its scale.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

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
    choosable = [True] * len(scores_N) if choosable_N is None else choosable_N
    chosen_PK, rejected_PK = pair_up_all(
        np.array([scores_N], np.float64), np.array([choosable], np.bool_), rule, n, margins
    )
    places = zip(chosen_PK[0].tolist(), rejected_PK[0].tolist(), strict=True)
    return [Pair(c, r, scores_N[c] - scores_N[r]) for c, r in places if c >= 0]


def pair_up_all(
    scores_PN: Floats, choosable_PN: Flags, rule: Rule, n: int, margins: tuple[float, float]
) -> tuple[Ints, Ints]:
    """(chosen_PK, rejected_PK): `pair_up` of many prompts with as many answers each; places in a
    row, K pairs at most, -1 where there is none."""
    rows = np.arange(len(scores_PN))
    gap_PNN = scores_PN[:, :, None] - scores_PN[:, None, :]
    open_PNN = (gap_PNN > 0) & (gap_PNN >= margins[0]) & (gap_PNN <= margins[1])
    open_PNN &= choosable_PN[:, :, None]
    worth_PNN = None
    if rule == "moderate_margin":
        worth_PNN = scores_PN[:, :, None] + scores_PN[:, None, :]
    rank_PN = _ranks(scores_PN, rule)
    pairs: list[tuple[Ints, Ints]] = []
    while len(pairs) < min(n, scores_PN.shape[1] // 2):
        if worth_PNN is not None:
            flat_P = np.where(open_PNN, worth_PNN, -np.inf).reshape(len(rows), -1).argmax(axis=1)
            chosen_P, rejected_P = np.divmod(flat_P, scores_PN.shape[1])
        else:
            chosen_P = np.where(open_PNN.any(axis=2), scores_PN, -np.inf).argmax(axis=1)
            rank = np.where(open_PNN[rows, chosen_P], rank_PN, scores_PN.shape[1])
            rejected_P = rank.argmin(axis=1)
        made_P = open_PNN[rows, chosen_P, rejected_P]
        if not made_P.any():
            break
        for taken_P in (chosen_P, rejected_P):
            open_PNN[rows, taken_P] = False
            open_PNN[rows, :, taken_P] = False
        pairs.append((np.where(made_P, chosen_P, -1), np.where(made_P, rejected_P, -1)))
    none = np.zeros((len(rows), 0), np.int64)
    chosen_PK = np.column_stack([none, *(chosen_P for chosen_P, _ in pairs)])
    return chosen_PK, np.column_stack([none, *(rejected_P for _, rejected_P in pairs)])


def _ranks(scores_PN: Floats, rule: Rule) -> Ints:
    """rank_PN: how early a rule rejects each answer of its row; 0 first."""
    off_PN = np.zeros_like(scores_PN)
    if rule == "mu_minus_2sigma" and scores_PN.size:
        sigma_P1 = scores_PN.std(axis=1, keepdims=True)
        wanted_P1 = scores_PN.mean(axis=1, keepdims=True) - 2 * sigma_P1
        # Rounded, so that two equally near are, whatever the last bit of μ and σ.
        off_PN = np.round(np.abs(scores_PN - wanted_P1) / np.where(sigma_P1 > 0, sigma_P1, 1), 9)
    order_PN = np.lexsort((scores_PN, off_PN), axis=1)
    rank_PN = np.empty_like(order_PN)
    np.put_along_axis(rank_PN, order_PN, np.arange(scores_PN.shape[1])[None], axis=1)
    return rank_PN
