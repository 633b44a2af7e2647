"""Whether a reward picks what people preferred, from one pool of answers they have rated.

No student is trained: the pool says, for every n, what the best of n by the reward is worth to
people, against a random one of n, the longest of n, and the best by people's own ratings, which is
all that could be had. Prompts have pools of different sizes; each n is told from those that have so
many, and which these are does not depend on any score.

Source: the estimator is that of Nakano et al. 2021 (2112.09332, appendix I), see
karat.scoring.best_of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from karat.intervals import Interval, Resamples
from karat.scoring.best_of import curves

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FEWEST = 20  # prompts that an n is told from
LEAST_ANSWERS = 10  # of a model that is told


class Picked(msgspec.Struct, frozen=True):
    """What one way to pick is worth: `gain` over a random answer, in people's own units, and how
    often what it picks is preferred to another answer of the same prompt; ties count half."""

    gain: Interval
    wins: Interval


class Rung(msgspec.Struct, frozen=True):
    """Best of n, from the prompts that have as many answers. `over_longest`: the reward's gain
    less that of length, paired by prompt."""

    n: int
    prompts: int
    reward: Picked
    longest: Picked
    oracle: Picked
    over_longest: Interval


class ModelFigures(msgspec.Struct, frozen=True):
    """One model of the pool: its answers, how often people and how often the reward prefer one of
    them to another model's answer to the same prompt."""

    answers: int
    people: Interval
    reward: Interval


def rungs(
    counts_P: Ints, reward_R: Floats, human_R: Floats, length_R: Floats, *, seed: int = 0
) -> list[Rung]:
    """For n from 2 to the largest that enough prompts have. R: answers, prompt after prompt."""
    wins_R = wins(counts_P, human_R)
    values = (human_R, wins_R)
    ways = {"reward": reward_R, "longest": length_R, "oracle": human_R}
    curve = {
        name: [curves(counts_P, scores_R, value_R) for value_R in values]
        for name, scores_R in ways.items()
    }
    found = []
    for n in range(2, int(counts_P.max(initial=0)) + 1):
        rows = counts_P >= n
        if int(rows.sum()) < FEWEST:
            break
        draws = Resamples(int(rows.sum()), seed)
        picked = {
            name: Picked(
                draws.mean(gains_PK[rows, n - 1] - gains_PK[rows, 0]),
                draws.mean(wins_PK[rows, n - 1]),
            )
            for name, (gains_PK, wins_PK) in curve.items()
        }
        ahead_P = curve["reward"][0][rows, n - 1] - curve["longest"][0][rows, n - 1]
        found.append(Rung(n, int(rows.sum()), **picked, over_longest=draws.mean(ahead_P)))
    return found


def wins(counts_P: Ints, human_R: Floats) -> Floats:
    """win_R: how often people prefer each answer to another one of its prompt; ties count half."""
    found_R, start = np.full(len(human_R), 0.5), 0
    for count in counts_P.tolist():
        if count > 1:
            value_N = human_R[start : start + count]
            above_N = (value_N[:, None] > value_N).sum(axis=1)
            equal_N = (value_N[:, None] == value_N).sum(axis=1) - 1
            found_R[start : start + count] = (above_N + equal_N / 2) / (count - 1)
        start += count
    return found_R


def agreement(counts_P: Ints, reward_R: Floats, human_R: Floats, *, seed: int = 0) -> Interval:
    """How often the reward puts two answers in people's order, of pairs that people do not tie;
    equal scores count half. Prompts are drawn whole."""
    right, pairs, start = [], [], 0
    for count in counts_P.tolist():
        human_N, reward_N = (one[start : start + count] for one in (human_R, reward_R))
        better_NN = human_N[:, None] > human_N
        gap_NN = reward_N[:, None] - reward_N
        right.append(float((better_NN * ((gap_NN > 0) + 0.5 * (gap_NN == 0))).sum()))
        pairs.append(float(better_NN.sum()))
        start += count
    draws = Resamples(len(counts_P), seed)
    return draws.ratio(np.array(right), np.array(pairs))


def by_model(
    counts_P: Ints, models_R: Sequence[str], reward_R: Floats, human_R: Floats, *, seed: int = 0
) -> dict[str, ModelFigures]:
    """Figures of each model with answers enough, the one people prefer most first."""
    owner_R = np.repeat(np.arange(len(counts_P)), counts_P)
    named = np.array(models_R)
    draws = Resamples(len(counts_P), seed)
    found = {}
    for name, count in sorted(Counter(one for one in models_R if one).items()):
        if count < LEAST_ANSWERS:
            continue
        against = [
            _against(owner_R, named == name, score_R, len(counts_P))
            for score_R in (human_R, reward_R)
        ]
        if against[0][1].sum():
            ratios = [draws.ratio(won_P, met_P) for won_P, met_P in against]
            found[name] = ModelFigures(count, ratios[0], ratios[1])
    order = sorted(found, key=lambda name: -found[name].people.value)
    return {name: found[name] for name in order}


def _against(
    owner_R: Ints, mine_R: NDArray[np.bool_], score_R: Floats, prompts: int
) -> tuple[Floats, Floats]:
    """(comparisons won, comparisons) with other models' answers, of each prompt."""
    won_P, met_P = np.zeros(prompts), np.zeros(prompts)
    for p in np.unique(owner_R[mine_R]).tolist():
        here = owner_R == p
        gap_NM = score_R[here & mine_R][:, None] - score_R[here & ~mine_R]
        won_P[p] = (gap_NM > 0).sum() + 0.5 * (gap_NM == 0).sum()
        met_P[p] = gap_NM.size
    return won_P, met_P
