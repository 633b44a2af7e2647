"""How far a head's numbers may be trusted: calibration, length, and what its uncertainty is worth.

All three are measured on held-out prompts, before and after what the head does about them, and with
intervals: a correction that was never measured is a claim.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from karat.rewards.head_model import ATTRIBUTES, SCALE, goodness
from karat.rewards.head_parts import Floats
from karat.training.reward_cross import Held
from karat.training.reward_figures import (
    Figure,
    given_outcomes,
    rated_outcomes,
    resampled,
)
from karat.training.reward_table import Names, Table

_BINS = 10
COVERAGES = (1.0, 0.75, 0.5, 0.25)


@dataclass(frozen=True, slots=True)
class Calibrated:
    """One output before and after recalibration.

    `slope` and `intercept` of human ratings on what was said: 1 and 0 where a point said is a point
    meant. `error` is the mean distance of the two in ten equally full bins, in points of 0–4.
    """

    name: str
    n: int
    before: tuple[float, float, float]
    after: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Length:
    """What taking the taste for length off does on one kind of pairs: (before, after)."""

    name: str
    accuracy: tuple[Figure, Figure]
    picks_longer: tuple[float, float]
    longer_is_worse: tuple[Figure, Figure]


@dataclass(frozen=True, slots=True)
class Sureness:
    """How well a measure of doubt ranks the head's own errors among pairs.

    `auroc`: how often a pair got wrong is doubted more than one got right, .5 for a guess;
    `accuracy`: of the least doubted share of `COVERAGES`.
    """

    name: str
    auroc: Figure
    accuracy: tuple[float, ...]


def calibrations(table: Table, held: Held) -> tuple[Calibrated, ...]:
    """The five attributes and the reward; none for a head of preferences alone."""
    if np.isnan(held.attributes_VRA).any():
        return ()
    plain = np.concatenate([held.plain_VRA, goodness(held.plain_VRA)[:, :, None]], axis=2)
    given = np.concatenate(
        [held.attributes_VRA, held.reward_VRM.mean(axis=2, keepdims=True)], axis=2
    )
    human_RA = np.column_stack([table.y_RA, goodness(table.y_RA)])
    found = []
    for a, name in enumerate((*ATTRIBUTES, "reward")):
        known = np.isfinite(human_RA[:, a])
        if known.sum() < _BINS:
            continue
        human = human_RA[known, a]
        both = [
            np.mean([_line(np.clip(said_R, *SCALE), human) for said_R in said[:, known, a]], axis=0)
            for said in (plain, given)
        ]
        before, after = (tuple(map(float, line)) for line in both)
        found.append(Calibrated(name, int(known.sum()), before, after))  # type: ignore[arg-type]
    return tuple(found)


def _line(said_N: Floats, human_N: Floats) -> tuple[float, float, float]:
    spread = float(said_N.var())
    slope = float(np.cov(said_N, human_N, bias=True)[0, 1]) / spread if spread > 0 else np.nan
    bins = np.array_split(np.argsort(said_N, kind="stable"), _BINS)
    error = sum(len(b) * abs(said_N[b].mean() - human_N[b].mean()) for b in bins) / len(said_N)
    return slope, float(human_N.mean() - slope * said_N.mean()), float(error)


def lengths(table: Table, held: Held) -> tuple[Length, ...]:
    """Before and after, on rated pairs and on preference pairs."""
    found = []
    for name, outcomes in (("rated pairs", rated_outcomes), ("preference pairs", given_outcomes)):
        before, after = outcomes(table, held), outcomes(table, held, debiased=True)
        if len(before.win_P):
            worse = before.longer_P == 0
            found.append(
                Length(
                    name,
                    (before.figure("before"), after.figure("after")),
                    (before.picks_longer, after.picks_longer),
                    (before.where(worse).figure("before"), after.where(worse).figure("after")),
                )
            )
    return tuple(found)


def sureness(table: Table, held: Held) -> tuple[Sureness, ...]:
    """Whether the members' spread, and the margin, know which pairs the head gets wrong."""
    if held.reward_VRM.shape[2] < 2:
        return ()
    better, worse = table.better_Q, table.worse_Q
    left = np.concatenate([held.reward_VRM[:, better], held.chosen_VPM], axis=1)
    right = np.concatenate([held.reward_VRM[:, worse], held.rejected_VPM], axis=1)
    gap = (left - right).mean(axis=2)
    group = np.concatenate([table.group_R[better], table.group_P])
    spread = np.sqrt(left.var(axis=2, ddof=1) + right.var(axis=2, ddof=1))
    own = (left - right).std(axis=2, ddof=1)
    margin = np.abs(gap)
    doubts = {
        "uncertainty (both responses')": spread,
        "small margin": -margin,
        "small margin over its spread": -margin / np.maximum(own, 1e-9),
    }
    wrong = gap <= 0
    if (wrong.all(axis=1) | ~wrong.any(axis=1)).any():
        return ()  # nothing to tell apart
    return tuple(_sure(name, doubt, wrong, group) for name, doubt in doubts.items())


def _sure(name: str, doubt_VP: Floats, wrong_VP: NDArray[np.bool_], group_P: Names) -> Sureness:
    def area(rows: NDArray[np.int64]) -> float:
        return float(
            np.mean([_auroc(d[rows], w[rows]) for d, w in zip(doubt_VP, wrong_VP, strict=True)])
        )

    kept = []
    for share in COVERAGES:
        count = max(1, round(share * doubt_VP.shape[1]))
        sure_VK = np.argsort(doubt_VP, axis=1, kind="stable")[:, :count]
        kept.append(float(1 - np.take_along_axis(wrong_VP, sure_VK, axis=1).mean()))
    figure = Figure(
        name, len(group_P), area(np.arange(len(group_P))), *resampled(area, group_P, draws=200)
    )
    return Sureness(name, figure, tuple(kept))


def _auroc(doubt_N: Floats, wrong_N: NDArray[np.bool_]) -> float:
    """How often a wrong one is doubted more than a right one; ties count half."""
    wrong, right = int(wrong_N.sum()), int((~wrong_N).sum())
    if not wrong or not right:
        return float("nan")
    _, place, counts = np.unique(doubt_N, return_inverse=True, return_counts=True)
    rank_N = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return float((rank_N[wrong_N].sum() - wrong * (wrong + 1) / 2) / (wrong * right))
