"""Fits a reward head: members on four fifths of the prompts, each a linear map and two forests.

The linear map is fitted first and the forests on what it leaves, so that they add up. Preferences
say nothing on a 0–4 scale, so they join as pseudo-ratings: the linear map of the round before
places both responses, and they are moved apart around their midpoint in the order a human chose.
The linear map learns from everything; deep trees learn from people's ratings alone, for
pseudo-ratings and spoiled copies outnumber those and would choose their splits. Trees of their own
learn how far a spoiled copy falls.

What a member has not seen corrects the whole: each row is out of the bag of a fifth of the members,
and on those predictions the recalibration, the taste for length and the step from ratings to
preferences are learned, without a second round of folds.

Source: out-of-bag estimates, Breiman 1996; subsamples in place of the bootstrap, Bühlmann and Yu
2002; scaled Bradley-Terry from a regression start, HelpSteer2-Preference (arXiv 2410.01257 §3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from karat.rewards.head_model import ATTRIBUTES, LENGTH, Head, goodness
from karat.rewards.head_parts import Floats, Forest, Line, Linear, same_line
from karat.rewards.hidden import Hidden, Reading
from karat.training.objectives import PairLoss
from karat.training.reward_hidden import fit_hidden
from karat.training.reward_linear import preference, ridge
from karat.training.reward_sample import Sample, sample_of
from karat.training.reward_settings import FEWEST_MEMBERS, RATED, Objective, Settings
from karat.training.reward_table import Mask, Table
from karat.training.reward_trees import forest_of, sklearn_forest
from karat.training.reward_unseen import FEWEST_ROWS, line_of, taste, unseen

_LEAST_SCALE = 0.3
_MOST_LEAVES = 2000  # a tree: more data make it surer, and the file no larger


@dataclass(frozen=True, slots=True)
class Base:
    """A regression, and what its members say about rows they did not have (NaN: all had them)."""

    linear: Linear
    forest: Forest
    hidden: Hidden | None
    line: Line
    oob_RA: Floats
    oob_PA: tuple[Floats, Floats]
    oob_SA: Floats


def fit_heads(
    table: Table, settings: Settings, objectives: Sequence[Objective], rated: Mask, paired: Mask
) -> dict[Objective, Head]:
    """One head per objective on the rows and pairs that the masks select.

    Every head has its `length` curve where there are members enough to learn it; the caller drops
    what is not wanted.
    """
    sample = sample_of(table, settings, rated, paired)
    reading = table.reading if settings.frozen else None
    base = _regression(sample, settings, reading) if set(objectives) & set(RATED) else None
    heads: dict[Objective, Head] = {}
    for objective in objectives:
        if objective == "regression" and base:
            heads[objective] = _rated_head(sample, settings, base, None)
        elif objective == "regression+scaled" and base:
            heads[objective] = _rated_head(sample, settings, base, _tuned(sample, settings, base))
        elif objective in ("bt", "margin", "scaled"):
            heads[objective] = _paired_head(sample, settings, objective)
    return heads


def fit_head(table: Table, settings: Settings, rated: Mask, paired: Mask) -> Head:
    """The head of these settings on the rows and pairs that the masks select."""
    head = fit_heads(table, settings, [settings.objective], rated, paired)[settings.objective]
    return head if settings.debias else replace(head, length=None)


def _regression(sample: Sample, settings: Settings, reading: Reading | None) -> Base:
    maps, forests = [], []
    texts = (sample.x_R, *sample.x_P, sample.x_S)
    seen = [np.zeros((len(x), 1)) for x in texts]
    sums = [np.zeros((len(x), len(ATTRIBUTES))) for x in texts]
    for m in range(settings.members):
        linear, trees = _member(sample, settings, m)
        maps.append(linear)
        forests.append(trees)
        counts = (sample.count_MR[m], *[sample.count_MP[m]] * 2, sample.count_MS[m])
        for k, x in enumerate(texts):
            out = counts[k] == 0
            if out.any():
                z = sample.standard(x[out])
                sums[k][out] += z @ linear[0] + linear[1] + sum(f.predict(x[out]) for f in trees)
                seen[k][out] += 1
    with np.errstate(invalid="ignore"):
        oob = [total / times for total, times in zip(sums, seen, strict=True)]
    whole = Linear(np.array([w for w, _ in maps]), np.array([b for _, b in maps]))
    forest, hidden = forest_of(forests), None
    if reading is not None:
        found, share = fit_hidden(sample, settings, reading), 1 - settings.hidden_share
        hidden = found.hidden
        whole = Linear(share * whole.weight_MFA, share * whole.bias_MA)
        forest = replace(forest, value_KA=share * forest.value_KA)
        # A spoiled copy is not read: it is taken to fall as far as the rest of the head says.
        more = (found.oob_RA, *found.oob_PA, found.oob_RA[sample.row_S])
        oob = [share * said + states for said, states in zip(oob, more, strict=True)]
    return Base(
        whole,
        forest,
        hidden,
        line_of(oob[0], sample.y_RA),
        oob[0],
        (oob[1], oob[2]),
        oob[3],
    )


def _member(
    sample: Sample, settings: Settings, m: int
) -> tuple[tuple[Floats, Floats], tuple[Any, ...]]:
    """One member: its share of a ridge regression, and the forests on what that leaves."""
    counts = (
        sample.count_MR[m],
        settings.spoiled_weight * sample.count_MS[m],
        *[settings.pair_weight * sample.count_MP[m]] * 2,
    )
    parts = (sample.x_R, sample.x_S, *sample.x_P)
    kept = [count > 0 for count in counts]
    x_NF = np.concatenate([x[k] for x, k in zip(parts, kept, strict=True)])
    weight_N = np.concatenate([count[k] for count, k in zip(counts, kept, strict=True)])
    z_NF = sample.standard(x_NF)
    y_NA = np.concatenate([sample.y_RA[kept[0]], sample.y_SA[kept[1]]])
    human = len(y_NA)
    found = ridge(z_NF[:human], y_NA, weight_N[:human], settings.ridge)
    pairs = int(kept[2].sum())
    shift_A = np.array(settings.pair_shift)
    for _ in range(settings.rounds if pairs else 0):
        guess_NA = np.clip(z_NF[human:] @ found[0] + found[1], 0, 4)
        middle_PA = (guess_NA[:pairs] + guess_NA[pairs:]) / 2
        y_all = np.concatenate([y_NA, middle_PA + shift_A, middle_PA - shift_A])
        found = ridge(z_NF, y_all, weight_N, settings.ridge)
    share = settings.linear_share
    linear = (share * found[0], share * found[1])
    return linear, _trees(sample, settings, m, linear)


def _trees(
    sample: Sample, settings: Settings, m: int, linear: tuple[Floats, Floats]
) -> tuple[Any, ...]:
    """A member's forests, which add up: on what the linear map leaves of people's ratings, and on
    what it leaves of the fall of a spoiled copy below its original (0 for an original)."""
    count_R, count_S = sample.count_MR[m], sample.count_MS[m]
    rows, copies = count_R > 0, count_S > 0
    z_RF, z_SF = sample.standard(sample.x_R), sample.standard(sample.x_S)
    rest_RA = sample.y_RA - (z_RF @ linear[0] + linear[1])
    # What nobody rated is no surprise: it leaves the linear map's word as it is.
    nothing_A = (1 - settings.linear_share) * _mean(sample.y_RA[rows])
    rest_RA = np.where(np.isfinite(rest_RA), rest_RA, nothing_A)[rows]
    seed = settings.seed + 1000 * m
    leaf = max(settings.leaf, int(rows.sum()) // _MOST_LEAVES)
    people = sklearn_forest(settings.trees_each, leaf, settings.tree_features, seed)
    # Rounded, for a library that adds in another order must not turn a tie between two splits.
    people.fit(sample.x_R[rows], np.round(rest_RA, 6), sample_weight=count_R[rows])
    if not settings.spoiled_trees or not copies.any():
        return (people,)
    fall_SA = sample.y_SA - sample.y_RA[sample.row_S] - (z_SF - z_RF[sample.row_S]) @ linear[0]
    fall_NA = np.concatenate([np.zeros_like(rest_RA), np.nan_to_num(fall_SA[copies])])
    weight_N = np.append(count_R[rows], settings.spoiled_tree_weight * count_S[copies])
    leaf = max(settings.spoiled_leaf, len(fall_NA) // _MOST_LEAVES)
    spoiled = sklearn_forest(
        max(1, settings.spoiled_trees // settings.members), leaf, settings.tree_features, seed + 1
    )
    x_NF = np.concatenate([sample.x_R[rows], sample.x_S[copies]])
    spoiled.fit(x_NF, np.round(fall_NA, 6), sample_weight=weight_N)
    return people, spoiled


def _mean(y_NA: Floats) -> Floats:
    given = np.isfinite(y_NA)
    total_A = np.where(given, y_NA, 0).sum(axis=0)
    return np.asarray(total_A / np.maximum(given.sum(axis=0), 1), dtype=np.float64)


def _tuned(sample: Sample, settings: Settings, base: Base) -> Linear | None:
    """What scaled Bradley-Terry adds to a regression's reward, per member, in points of reward."""
    reward_R, chosen_P, rejected_P, reward_S = (
        goodness(base.line(oob)) for oob in (base.oob_RA, *base.oob_PA, base.oob_SA)
    )
    gap_V = sample.gaps(reward_R, (chosen_P, rejected_P), reward_S)
    step_VF, strength_V, count_MV = sample.steps, sample.strengths, sample.draws
    known = np.isfinite(gap_V)
    if settings.members < FEWEST_MEMBERS or known.sum() < FEWEST_ROWS:
        return None
    width = step_VF.shape[1]
    step_VF, strength_V, count_MV = step_VF[known], strength_V[known], count_MV[:, known]
    gap_V = gap_V[known]
    once_V = sample.weights[known]
    penalty_F = np.append(np.full(width, settings.pair_ridge), 1e-3)
    # How many logits a point of the regression's reward is worth, then what is missing from it.
    both_VF = np.column_stack([step_VF, gap_V])
    found_F = preference(both_VF, strength_V, once_V, penalty_F, "scaled")
    scale = max(float(found_F[-1]), _LEAST_SCALE)
    weight_MF = [
        preference(
            step_VF, strength_V, count_V, penalty_F[:-1], "scaled",
            gap_P=scale * gap_V, start_F=found_F[:-1],
        )
        for count_V in count_MV
    ]  # fmt: skip
    return Linear(np.array(weight_MF)[:, :, None] / scale, np.zeros((settings.members, 1)))


def _rated_head(sample: Sample, settings: Settings, base: Base, paired: Linear | None) -> Head:
    reward_R = goodness(base.line(base.oob_RA))
    reward_line = same_line(1)
    if paired is not None:
        votes_RMA = paired.predict(sample.standard(sample.x_R))
        reward_R = reward_R + unseen(votes_RMA, sample.count_MR)[:, 0]
        reward_line = line_of(reward_R[:, None], goodness(sample.y_RA)[:, None])
        reward_R = reward_line(reward_R[:, None])[:, 0]
    length = None
    known = np.isfinite(reward_R)
    if settings.members >= FEWEST_MEMBERS and known.sum() >= FEWEST_ROWS:
        place = np.zeros(int(known.sum()), np.int64)
        length = taste(reward_R[known], place, sample.raw_RW[known, LENGTH], within=False)
    return Head(
        sample.columns, sample.standard, base.linear, base.forest, paired, base.line, reward_line,
        length, {}, base.hidden,
    )  # fmt: skip


def _paired_head(sample: Sample, settings: Settings, kind: PairLoss) -> Head:
    step_VF, strength_V = sample.steps, sample.strengths
    penalty_F = np.full(step_VF.shape[1], settings.pair_ridge)
    whole_F = preference(step_VF, strength_V, sample.weights, penalty_F, kind)
    weight_MF = np.array(
        [
            preference(step_VF, strength_V, count_V, penalty_F, kind, start_F=whole_F)
            for count_V in sample.draws
        ]
    )
    paired = Linear(weight_MF[:, :, None], np.zeros((settings.members, 1)))
    raw = np.concatenate([sample.raw_RW[sample.better_Q], sample.raw_RW[sample.worse_Q]])
    x = np.concatenate([sample.x_R[sample.better_Q], sample.x_R[sample.worse_Q], *sample.x_P])
    count_MN = np.concatenate(
        [*[sample.count_MR[:, sample.better_Q]] * 2, *[sample.count_MP] * 2], axis=1
    )
    log_chars = np.concatenate([raw[:, LENGTH], *(p[:, LENGTH] for p in sample.raw_PW)])
    implied, given = np.arange(len(sample.better_Q)), np.arange(len(sample.strength_P))
    place = np.concatenate([implied, implied, given + len(implied), given + len(implied)])
    reward = unseen(paired.predict(sample.standard(x)), count_MN)[:, 0]
    known = np.isfinite(reward)
    length = None
    if settings.members >= FEWEST_MEMBERS and known.sum() >= FEWEST_ROWS:
        length = taste(reward[known], place[known], log_chars[known], within=True)
    return Head(
        sample.columns, sample.standard, None, None, paired, same_line(0), same_line(1), length, {}
    )
