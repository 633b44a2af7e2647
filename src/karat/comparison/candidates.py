"""Candidates of a comparison: their figures, what tells two apart, and the Pareto frontier.

Nothing here asks a model: what was measured comes in, prompt by prompt, and what may be said about
it goes out. Two candidates are told apart by the interval of their difference on the same prompts,
never by whether their own intervals overlap: those carry what prompts differ by, which both share.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from karat.intervals import LEVEL, RESAMPLES, Interval, Resamples, prompts_needed, share

Floats = NDArray[np.float64]
LEAST_ANSWERED = 0.5  # share of the prompts that a candidate must have answered to be compared


class Measured(NamedTuple):
    """What one candidate did on each of P prompts; NaN where it has no answer.

    `kept` is the mean score of the answers that are kept, `mean` that of all; `cost` is in
    dollars, None when a price is unknown; `seconds` until all of a prompt's answers were there.
    """

    name: str
    model: str
    kept: Floats
    mean: Floats
    accepted: Floats
    cost: Floats | None
    seconds: Floats
    calls_ms: Sequence[float]  # of each answered call
    answers: int = 0


class Candidate(msgspec.Struct):
    """One candidate's figures. Qualities are over the prompts that all candidates answered, costs
    and acceptance over all prompts; None where nothing is known."""

    name: str
    model: str
    answered: int
    accepted: int
    accepted_share: Interval
    quality: Interval | None = None
    quality_all: Interval | None = None
    cost_usd: float | None = None
    cost_per_prompt: Interval | None = None
    cost_per_accepted: Interval | None = None  # None also where nothing was accepted
    seconds: Interval | None = None  # a prompt, mean
    p50_s: float | None = None  # a call
    p95_s: float | None = None
    calls: int = 0
    answers: int = 0
    frontier_cost: bool = False
    frontier_time: bool = False


class Pair(msgspec.Struct):
    """Two candidates on the same prompts, the first always the better one."""

    first: str
    second: str
    apart: Interval  # the first's quality less the second's
    needed: int | None  # prompts that would tell them apart; None: no number would
    cost: Interval | None  # the first's cost per accepted row over the second's


class Comparison(msgspec.Struct):
    """What a comparison found; compare.json holds it. `by` is the score on its own scale."""

    name: str
    by: str
    scale: tuple[float, float]
    prompts: int
    compared: int  # prompts that all compared candidates answered
    n: int
    best: int  # answers kept of each prompt
    seed: int
    level: float  # of each interval
    pair_level: float  # of each difference, so that all of them hold together at `level`
    resamples: int
    candidates: list[Candidate]  # best first; last those whose quality is not compared
    pairs: list[Pair]
    leader: str | None  # the highest quality
    tied: list[str]  # with the leader, itself first
    pick: str | None
    recommendation: str
    notes: list[str]
    shared_usd: float | None = 0.0  # prompts and grading, paid once for all
    files: dict[str, str] = {}


def judge(
    measured: Sequence[Measured], *, name: str, by: str, scale: tuple[float, float], n: int,
    best: int, seed: int, notes: Sequence[str] = (), shared_usd: float | None = 0.0,
    resamples: int = RESAMPLES,
) -> Comparison:  # fmt: skip
    """The comparison of at least two candidates over the same prompts."""
    prompts, notes = len(measured[0].kept), list(notes)
    common_P, judged = _common(measured, notes)
    everywhere = Resamples(prompts, seed, resamples)
    shared = everywhere
    if not common_P.all():
        shared = Resamples(max(1, int(common_P.sum())), seed, resamples)
    names = [m.name for m in judged]
    candidates = {
        m.name: _figures(m, common_P if m.name in names else None, everywhere, shared)
        for m in measured
    }
    judged.sort(key=lambda m: -_quality(candidates[m.name]))
    level = 1 - (1 - LEVEL) / max(1, math.comb(len(judged), 2))
    pairs = [
        _pair(first, second, common_P, everywhere, shared, level)
        for first, second in combinations(judged, 2)
    ]
    _mark_frontiers(list(candidates.values()))
    order = [*judged, *(m for m in measured if m.name not in names)]
    found = Comparison(
        name, by, scale, prompts, int(common_P.sum()) if judged else 0, n, best, seed, LEVEL,
        level, resamples, [candidates[m.name] for m in order], pairs, None, [], None, "", notes,
        shared_usd,
    )  # fmt: skip
    if judged:
        found.leader = judged[0].name
        tied = [p.second for p in pairs if p.first == found.leader and p.apart.low <= 0]
        found.tied = [found.leader, *tied]
        found.pick = _pick([candidates[name] for name in found.tied])
    return found


def _common(
    measured: Sequence[Measured], notes: list[str]
) -> tuple[NDArray[np.bool_], list[Measured]]:
    """The prompts that qualities are compared on, and the candidates that are; says who is not."""
    prompts = len(measured[0].kept)
    judged = []
    for m in measured:
        answered = _answered(m)
        if answered and answered >= LEAST_ANSWERED * prompts:
            judged.append(m)
        else:
            notes.append(
                f"{m.name} answered {answered} of {prompts} prompts: its quality is not compared"
            )
    common_P = np.ones(prompts, np.bool_)
    for m in judged:
        common_P &= np.isfinite(m.kept)
    if not common_P.any():
        notes.append("no prompt was answered by every candidate: qualities cannot be compared")
        return common_P, []
    if not common_P.all():
        notes.append(
            f"qualities are compared on the {common_P.sum()} of {prompts} prompts that every "
            "candidate answered"
        )
    return common_P, judged


def _answered(m: Measured) -> int:
    return int(np.isfinite(m.kept).sum())


def _quality(candidate: Candidate) -> float:
    return -math.inf if candidate.quality is None else candidate.quality.value


def _figures(
    m: Measured, common: NDArray[np.bool_] | None, everywhere: Resamples, shared: Resamples
) -> Candidate:
    accepted, timed_P = int(m.accepted.sum()), np.isfinite(m.seconds)
    calls_s = np.asarray(m.calls_ms, np.float64) / 1000
    found = Candidate(
        m.name, m.model, _answered(m), accepted, share(accepted, everywhere.rows),
        calls=len(calls_s), answers=m.answers,
    )  # fmt: skip
    if common is not None:
        found.quality = shared.mean(m.kept[common])
        found.quality_all = shared.mean(m.mean[common])
    if m.cost is not None:
        found.cost_usd = float(m.cost.sum())
        found.cost_per_prompt = everywhere.mean(m.cost)
        if accepted:
            found.cost_per_accepted = everywhere.ratio(m.cost, m.accepted)
    if timed_P.any():
        found.seconds = everywhere.ratio(np.where(timed_P, m.seconds, 0.0), timed_P.astype(float))
    if len(calls_s):
        found.p50_s, found.p95_s = (float(q) for q in np.quantile(calls_s, (0.5, 0.95)))
    return found


def _pair(
    first: Measured, second: Measured, common: NDArray[np.bool_], everywhere: Resamples,
    shared: Resamples, level: float,
) -> Pair:  # fmt: skip
    gaps_P = first.kept[common] - second.kept[common]
    needed = prompts_needed(gaps_P, level) if len(gaps_P) > 1 else None
    cost = None
    if first.cost is not None and second.cost is not None:
        columns = [first.cost, first.accepted, second.cost, second.accepted]
        if all(column.any() for column in columns):
            cost = everywhere.interval(columns, _cost_ratio, level)
    return Pair(first.name, second.name, shared.mean(gaps_P, level), needed, cost)


def _cost_ratio(sums: Floats) -> Floats:
    """(cost / accepted of one) / (cost / accepted of the other)."""
    found: Floats = sums[..., 0] / sums[..., 1] / (sums[..., 2] / sums[..., 3])
    return found


def _pick(tied: Sequence[Candidate]) -> str:
    """Of candidates that cannot be told apart, the cheapest; without prices, or where none costs
    anything, the fastest."""

    def rank(candidate: Candidate) -> tuple[float, float]:
        cost, seconds = candidate.cost_per_accepted, candidate.seconds
        return (
            math.inf if cost is None else cost.value,
            math.inf if seconds is None else seconds.value,
        )

    return min(tied, key=rank).name


def frontier(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Of (more is better, less is better) points, those that no other beats on one without losing
    on the other."""
    return [
        not any(
            up >= mine_up and down <= mine_down and (up > mine_up or down < mine_down)
            for up, down in points
        )
        for mine_up, mine_down in points
    ]


def _mark_frontiers(candidates: Sequence[Candidate]) -> None:
    for price, mark in (("cost_per_accepted", "frontier_cost"), ("seconds", "frontier_time")):
        known = [
            (c, (c.quality.value, getattr(c, price).value))
            for c in candidates
            if c.quality is not None and getattr(c, price) is not None
        ]
        for (candidate, _), front in zip(known, frontier([p for _, p in known]), strict=True):
            setattr(candidate, mark, front)
