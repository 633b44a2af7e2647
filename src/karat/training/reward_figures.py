"""Held-out figures of a reward head, with intervals, beside the baselines a reader would ask for.

Every accuracy has a 95% bootstrap interval over prompts and stands beside "the longer answer wins"
on the same pairs: on a few hundred pairs a bare percentage says little.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from karat.rewards.head_model import ATTRIBUTES, LENGTH, SCALE, Head, goodness
from karat.rewards.head_parts import Floats
from karat.rewards.hidden import Reader
from karat.training.corruptions import KINDS
from karat.training.ratings import HumanData
from karat.training.reward_cross import Held, compare
from karat.training.reward_table import Mask, Names, Table, table_of

_DRAWS = 2000
_FEW_DRAWS = 300


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value with its 95% interval; `longer` is the baseline on the same pairs."""

    name: str
    n: int
    value: float
    low: float
    high: float
    longer: float = float("nan")
    gain_low: float = float("nan")
    gain_high: float = float("nan")


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Pairs judged by the reward and by length: 1 won, ½ tied, 0 lost; `gap` of helpfulness."""

    win_P: Floats
    longer_P: Floats
    group_P: Names
    gap_P: Floats

    def where(self, mask_P: NDArray[np.bool_]) -> Outcomes:
        """The outcomes that the mask selects."""
        return Outcomes(
            self.win_P[mask_P], self.longer_P[mask_P], self.group_P[mask_P], self.gap_P[mask_P]
        )

    def and_then(self, other: Outcomes) -> Outcomes:
        """These, then the others."""
        return Outcomes(
            np.concatenate([self.win_P, other.win_P]),
            np.concatenate([self.longer_P, other.longer_P]),
            np.concatenate([self.group_P, other.group_P]),
            np.concatenate([self.gap_P, other.gap_P]),
        )

    def figure(self, name: str) -> Figure:
        """Accuracy, its interval, the longer baseline and the interval of the gain over it."""
        if not len(self.win_P):
            nan = float("nan")
            return Figure(name, 0, nan, nan, nan)
        low, high = interval(self.win_P, self.group_P)
        gain = interval(self.win_P - self.longer_P, self.group_P)
        value, longer = float(self.win_P.mean()), float(self.longer_P.mean())
        return Figure(name, len(self.win_P), value, low, high, longer, *gain)

    @property
    def picks_longer(self) -> float:
        """How often the longer of the two was picked."""
        agree_P = np.where(self.longer_P == 1, self.win_P, 1 - self.win_P)
        return float(agree_P.mean()) if len(agree_P) else float("nan")


@dataclass(frozen=True, slots=True)
class Source:
    """One file's rated pairs and correlations, where several files were rated."""

    name: str
    pairs: tuple[Figure, ...]
    attributes: tuple[Figure, ...]


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything measured about one way of fitting; `outcomes` is there for paired comparisons."""

    pairs: tuple[Figure, ...]
    attributes: tuple[Figure, ...]
    spoiled: tuple[Figure, ...]
    picks_longer: float
    outcomes: Outcomes
    sources: tuple[Source, ...] = ()


def figures_of(table: Table, held: Held, debiased: bool = False) -> Figures:
    """Accuracy on pairs, correlation with ratings, order of spoiled copies."""
    rated, given = rated_outcomes(table, held, debiased), given_outcomes(table, held, debiased)
    pairs = _by_gap(rated)
    if len(given.win_P):
        pairs.append(given.figure("preference pairs"))
    names = sorted(set(table.source_R.tolist()))
    return Figures(
        tuple(pairs),
        correlations(table, held),
        _spoiled(table, held),
        rated.and_then(given).picks_longer,
        rated.and_then(given),
        tuple(_source(table, held, rated, name) for name in names) if len(names) > 1 else (),
    )


def _by_gap(rated: Outcomes) -> list[Figure]:
    if not len(rated.win_P):
        return []
    wide = rated.where(rated.gap_P >= 2)
    return [rated.figure("rated pairs"), wide.figure("rated pairs, gap of 2 or more")]


def _source(table: Table, held: Held, rated: Outcomes, name: str) -> Source:
    own_R = table.source_R == name
    return Source(
        name,
        tuple(_by_gap(rated.where(own_R[table.better_Q]))),
        correlations(table, held, own_R),
    )


def rated_outcomes(table: Table, held: Held, debiased: bool = False) -> Outcomes:
    """Every two responses of one prompt that differ in human helpfulness, mean over V repeats."""
    reward_VR = held.reward_VRM.mean(axis=2)
    if debiased:
        reward_VR = reward_VR - held.taste_VR
    return _rated(table, reward_VR)


def _rated(table: Table, reward_VR: Floats) -> Outcomes:
    better, worse = table.better_Q, table.worse_Q
    length_R = table.raw_RW[:, LENGTH]
    return Outcomes(
        win_P=compare(reward_VR[:, better], reward_VR[:, worse]).mean(axis=0),
        longer_P=compare(length_R[better], length_R[worse]),
        group_P=table.group_R[better],
        gap_P=table.y_RA[better, 0] - table.y_RA[worse, 0],
    )


def given_outcomes(table: Table, held: Held, debiased: bool = False) -> Outcomes:
    """The preference pairs, mean over V repeats."""
    gap_VP = held.chosen_VPM.mean(axis=2) - held.rejected_VPM.mean(axis=2)
    if debiased:
        gap_VP = gap_VP - held.taste_VP
    return _given(table, compare(gap_VP, np.zeros_like(gap_VP)).mean(axis=0))


def _given(table: Table, win_P: Floats) -> Outcomes:
    longer_P = compare(table.chosen_PW[:, LENGTH], table.rejected_PW[:, LENGTH])
    return Outcomes(win_P, longer_P, table.group_P, np.full(len(win_P), np.nan))


def unseen_figure(
    head: Head, data: HumanData, name: str, seen: set[str], reader: Reader | None
) -> Figure:
    """Accuracy of a finished head on pairs it never saw; prompts in `seen` are left out. `reader`
    reads the model that the head reads."""
    kept = HumanData(
        rated=[r for r in data.rated if r.group not in seen],
        pairs=[p for p in data.pairs if p.group not in seen],
    )
    table = table_of(kept, seed=0, spoiled=False, reader=reader)
    rows, chosen, rejected = (
        head.predict(raw.astype(np.float64))[:, -1]
        for raw in (table.raw_RW, table.chosen_PW, table.rejected_PW)
    )
    return _rated(table, rows[None]).and_then(_given(table, compare(chosen, rejected))).figure(name)


def interval(value_N: Floats, group_N: Names, seed: int = 0) -> tuple[float, float]:
    """95% percentile bootstrap of the mean of N values, resampling whole prompts."""
    _, code_N = np.unique(group_N, return_inverse=True)
    sum_G, count_G = np.bincount(code_N, weights=value_N), np.bincount(code_N)
    draw_BG = np.random.default_rng(seed).integers(0, len(sum_G), (_DRAWS, len(sum_G)))
    mean_B = sum_G[draw_BG].sum(axis=1) / count_G[draw_BG].sum(axis=1)
    low, high = np.percentile(mean_B, [2.5, 97.5])
    return float(low), float(high)


def resampled(
    statistic: Callable[[NDArray[np.int64]], float], group_N: Names, draws: int = _FEW_DRAWS
) -> tuple[float, float]:
    """95% percentile bootstrap of a statistic of row indices, resampling whole prompts."""
    groups, code_N = np.unique(group_N, return_inverse=True)
    order, counts = np.argsort(code_N, kind="stable"), np.bincount(code_N)
    rows: Sequence[NDArray[np.int64]] = np.split(order, np.cumsum(counts)[:-1])
    rng = np.random.default_rng(0)
    found = [
        statistic(np.concatenate([rows[g] for g in rng.integers(0, len(groups), len(groups))]))
        for _ in range(draws)
    ]
    known = [value for value in found if np.isfinite(value)]
    low, high = np.percentile(known, [2.5, 97.5]) if known else (np.nan, np.nan)
    return float(low), float(high)


def correlations(table: Table, held: Held, rows: Mask | None = None) -> tuple[Figure, ...]:
    """Pearson r of each attribute, and of the reward, with what people said of these rows."""
    human_RA = np.column_stack([table.y_RA, goodness(table.y_RA)])
    said_VRA = np.concatenate(
        [held.attributes_VRA, held.reward_VRM.mean(axis=2, keepdims=True)], axis=2
    )
    figures = []
    for a, name in enumerate((*ATTRIBUTES, "reward")):
        human_R, said_VR = human_RA[:, a], np.clip(said_VRA[:, :, a], *SCALE)
        known = np.isfinite(human_R) & np.isfinite(said_VR).all(axis=0)
        known &= True if rows is None else rows
        if known.sum() < 3 or np.isnan(held.attributes_VRA).any():
            continue
        human, said = human_R[known], said_VR[:, known]

        def mean_r(rows: NDArray[np.int64], human: Floats = human, said: Floats = said) -> float:
            return float(np.mean([pearson(human[rows], said_R[rows]) for said_R in said]))

        value = mean_r(np.arange(len(human)))
        figures.append(Figure(name, len(human), value, *resampled(mean_r, table.group_R[known])))
    return tuple(figures)


def pearson(x_N: Floats, y_N: Floats) -> float:
    """Pearson's r; NaN where there is no spread."""
    x_N, y_N = x_N - x_N.mean(), y_N - y_N.mean()
    scale = float(np.sqrt((x_N * x_N).sum() * (y_N * y_N).sum()))
    return float((x_N * y_N).sum()) / scale if scale > 0 else float("nan")


def _spoiled(table: Table, held: Held) -> tuple[Figure, ...]:
    group_N = table.group_R[table.tested_N]
    if not len(group_N):
        return ()
    win_KN = held.spoiled_VKN.mean(axis=0)
    return tuple(
        Figure(kind, len(group_N), float(win_N.mean()), *interval(win_N, group_N))
        for kind, win_N in zip(KINDS, win_KN, strict=True)
    )
