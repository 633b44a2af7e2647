"""pairs: chosen and rejected answers for preference training, by a rule with a source.

It stands in place of `reject` where a recipe makes preference data, and keeps the chosen answers
alone: whatever else a gate let through would go into SFT data, and the rejected answers with it.
After a `reject`, or a gate, only what is still kept can be chosen, while any graded answer can be
rejected: what was turned down is what a model should learn to leave.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from karat.columns import Decision, Table
from karat.context import Context
from karat.scoring.pairing import MODERATE, Rule, pair_up_all
from karat.step import Positive, ScoreKey, step
from karat.steps._pool import COLUMNS, Candidates, Flags, measured
from karat.steps._ranking import (
    Ranking,
    Weights,
    made,
    made_of,
    problem,
    refuse_absolute,
    weights_of,
)
from karat.wording import below

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_AT_ONCE = 2**21  # comparisons of two answers: they are held as matrices


@step
def pairs(
    table: Table,
    ctx: Context,
    *,
    by: ScoreKey | None = None,
    weights: str | dict[ScoreKey, float] | None = None,
    rule: Rule = "mu_minus_2sigma",
    n: Positive = 1,
    margin_sigma: list[float] | None = None,
    minimum: float | None = None,
) -> Decision:
    """Writes up to `n` pairs of each row into `meta.pairs` and drops the rows that have none.

    A pair has two graded answers whose texts differ beyond whitespace and are not empty, and whose
    scores differ; no answer is in two pairs. `trl-preference` writes a line for each, with both
    scores and the difference.

    `rule`, for the first pair and so on down: `max_min`, the highest score against the lowest;
    `mu_minus_2sigma`, the highest against the one nearest to two σ below the mean of the row's own
    answers, which is still good when there are many; `moderate_margin`, of all pairs within the
    margins the one whose two scores are highest together.

    `margin_sigma: [low, high]` are the least and the largest difference of a pair, in σ of the
    score over all graded answers of this run; `[low]` sets no largest. Left out there are no
    limits, and 0.5 to 1.5 for `moderate_margin`. `minimum` is the least score of a chosen answer.

    `by` and `weights` as in `reject`. A score that compares within one prompt only takes all of it
    but `minimum`; its σ is pooled within prompts. Only answers that no earlier step has turned down
    are chosen; any graded one may be rejected. What is not chosen is turned down.

    Source: μ − 2σ: 2502.16825; moderate margins with high scores: AIR (2504.03612); weights of
    HelpSteer2's DPO pairs: `goodness` (2406.08673).
    """
    refuse_absolute(ctx, absolute_uses(by=by, weights=weights, minimum=minimum))
    ranking = Ranking(by, weights, ctx, table)
    pool = measured(table, ranking, all_of_them=True)
    if not pool.spread.total().n and pool.rows:
        missing = "', '".join(ranking.keys)
        ctx.warn(f"no response has a score '{missing}': nothing could be paired")
    sigma = pool.spread.sigma
    wanted = _Wanted(rule, n, _margins(rule, margin_sigma, sigma), _least(minimum))
    return Decision(
        each=partial(_found, ranking=ranking, sigma=sigma, wanted=wanted),
        gather=partial(_figures, ranking=ranking, sigma=sigma, rule=rule),
    )


@pairs.rule
def _rule(
    *, by: str | None, weights: Weights, margin_sigma: list[float] | None, **_: Any
) -> str | None:
    if margin_sigma is not None:
        low, high = (*margin_sigma, math.inf, math.inf)[:2]
        if len(margin_sigma) not in (1, 2) or not 0 <= low < high:
            return (
                "margin_sigma: write the least and the largest margin in σ, for example [0.5, 1.5],"
                f" or the least alone, [0.5]; not {margin_sigma}"
            )
    return problem(by, weights)


@pairs.gives
def _gives(*, by: str | None, weights: Weights, **_: Any) -> dict[str, tuple[float, float]]:
    return made(by, weights)


@pairs.derives
def _derives(*, by: str | None, weights: Weights, **_: Any) -> dict[str, list[str]]:
    return made_of(by, weights)


@pairs.absolute
def absolute_uses(
    *, by: str | None, weights: Weights, minimum: float | None, **_: Any
) -> list[tuple[str, str]]:
    """(parameter, score) of every use that compares a score across prompts."""
    return [("minimum", key) for key in weights_of(by, weights) if minimum is not None]


def _margins(rule: Rule, given: list[float] | None, sigma: float) -> tuple[float, float]:
    """The least and the largest margin in units of the score."""
    usual = MODERATE if rule == "moderate_margin" else (0.0, math.inf)
    low, high = (*given, math.inf)[:2] if given else usual
    return low * sigma, math.inf if high == math.inf else high * sigma


def _least(minimum: float | None) -> float:
    return -math.inf if minimum is None else minimum


class _Wanted(NamedTuple):
    """What a pair must be: by which rule, how many a row, margins and least score in its units."""

    rule: Rule
    n: int
    margins: tuple[float, float]
    least: float


def _paired(rows: Candidates, wanted: _Wanted) -> Ints:
    """places_K2: (chosen, rejected) of every pair of a batch, flat, row after row, best first."""
    at = np.flatnonzero(rows.passing)
    counts_P = np.bincount(rows.owner_R[at], minlength=rows.rows)
    starts_P = np.cumsum(counts_P) - counts_P
    choosable_R = rows.open_R & (rows.scores_R >= wanted.least)
    parts = [np.zeros((0, 2), np.int64)]
    for n in np.unique(counts_P[counts_P > 1]).tolist():
        alike_P = np.flatnonzero(counts_P == n)
        for few_P in np.array_split(alike_P, -(-len(alike_P) * n * n // MOST_AT_ONCE)):
            own_PN = at[starts_P[few_P][:, None] + np.arange(n)]
            found = pair_up_all(
                rows.scores_R[own_PN], choosable_R[own_PN], wanted.rule, wanted.n, wanted.margins
            )
            row, k = np.nonzero(found[0] >= 0)
            parts.append(np.stack([own_PN[row, place_PK[row, k]] for place_PK in found], axis=1))
    places_K2 = np.concatenate(parts)
    return places_K2[np.argsort(rows.owner_R[places_K2[:, 0]], kind="stable")]


class _Told(NamedTuple):
    """What the pairs of one part are like. The margins are 8 bytes a pair, for their quantiles."""

    margins: Floats
    rows: int
    longer: int
    duplicates: int
    models: dict[str, Counter[str]]


def _found(part: Table, ranking: Ranking, sigma: float, wanted: _Wanted) -> Decision:
    """The pairs of one part of the table."""
    found = _Pairs(ranking, sigma)
    for batch in part.batches(COLUMNS):
        rows = Candidates(batch, ranking, all_of_them=True)
        rows.open()
        found.take(rows, wanted)
    return found.decision()


class _Pairs:
    """Pairs, batch after batch, and what they are like."""

    def __init__(self, ranking: Ranking, sigma: float) -> None:
        self._ranking, self._sigma = ranking, sigma
        self.drop: dict[str, str] = {}
        self._meta: dict[str, dict[str, Any]] = {}
        self._keep, self._scores = [np.zeros(0, np.bool_)], [np.zeros(0)]
        self._margins = [np.zeros(0)]
        self._models: dict[str, Counter[str]] = {"chosen": Counter(), "rejected": Counter()}
        self._longer = self._duplicates = 0

    def take(self, rows: Candidates, wanted: _Wanted) -> None:
        """Pairs the passing answers of each row of a batch."""
        self.drop |= rows.reasons
        self._duplicates += rows.duplicates
        places_K2 = _paired(rows, wanted)
        keep_R = np.zeros(len(rows.owner_R), np.bool_)
        keep_R[places_K2[:, 0]] = True
        self._keep.append(keep_R)
        if self._ranking.is_sum:
            self._scores.append(rows.scores_R)
        self._note(rows, places_K2)
        self._count(rows, places_K2)
        at = np.flatnonzero(rows.passing)
        ends = np.searchsorted(rows.owner_R[at], np.arange(rows.rows + 1))
        lost = (np.diff(ends) > 0) & ~np.isin(np.arange(rows.rows), rows.owner_R[places_K2[:, 0]])
        for row in np.flatnonzero(lost).tolist():  # one without answers has its reason already
            own = at[ends[row] : ends[row + 1]]
            reason = self._why_none(rows.scores_R[own], rows.open_R[own], wanted)
            self.drop[rows.ids[row].as_py()] = reason

    def _note(self, rows: Candidates, places_K2: Ints) -> None:
        """Writes the pairs into the rows' meta; places count from the row's first answer."""
        owner_K, ids = rows.owner_R[places_K2[:, 0]], rows.ids.to_pylist()
        heads_P = np.searchsorted(rows.owner_R, np.arange(rows.rows))
        scores_K2 = rows.scores_R[places_K2]
        gap_K = scores_K2[:, 0] - scores_K2[:, 1]
        # Scores that differ by rounding alone have no σ within prompts.
        margin_K = gap_K / self._sigma if self._sigma > 0 else np.zeros(len(gap_K))
        self._margins.append(margin_K)
        lines = zip(
            owner_K.tolist(), (places_K2 - heads_P[owner_K][:, None]).tolist(), scores_K2.tolist(),
            margin_K.tolist(), strict=True,
        )  # fmt: skip
        for row, (chosen, rejected), (high, low), margin in lines:
            self._meta.setdefault(ids[row], {"pairs": []})["pairs"].append(
                {
                    "chosen": chosen,
                    "rejected": rejected,
                    "by": self._ranking.name,
                    "chosen_reward": high,
                    "rejected_reward": low,
                    "margin_sigma": margin,
                }
            )

    def _count(self, rows: Candidates, places_K2: Ints) -> None:
        lengths_R = pc.utf8_length(rows.content).to_numpy(zero_copy_only=False)
        chosen_K, rejected_K = lengths_R[places_K2].T
        self._longer += int((chosen_K > rejected_K).sum())
        for side, place_K in zip(("chosen", "rejected"), places_K2.T, strict=True):
            counts = np.bincount(rows.model_R[place_K], minlength=len(rows.models))
            for name, count in zip(rows.models, counts.tolist(), strict=True):
                if count:
                    self._models[side][name or "given"] += count

    def _why_none(self, scores_N: Floats, open_N: Flags, wanted: _Wanted) -> str:
        if not open_N.any():
            return "no response to choose"
        if len(scores_N) < 2:
            return "only one response"
        if scores_N.max() == scores_N.min():
            return f"equal scores (at {scores_N[0]:.2f})"
        best = scores_N[open_N].max()
        if best < wanted.least:
            return f"below minimum (best {below(best, wanted.least)})"
        if best == scores_N.min():
            return "no response scored below the chosen"
        return f"margin outside the limits (widest {(best - scores_N.min()) / self._sigma:.2f}σ)"

    def decision(self) -> Decision:
        margins, sums = np.concatenate(self._margins), np.concatenate(self._scores)
        told = _Told(margins, len(self._meta), self._longer, self._duplicates, self._models)
        return Decision(
            drop=self.drop, keep=np.concatenate(self._keep), meta=self._meta,
            scores={self._ranking.name: sums} if self._ranking.is_sum else {},
            notes={"pairs": told},
        )  # fmt: skip


def _figures(
    told: list[dict[str, Any]], ranking: Ranking, sigma: float, rule: Rule
) -> dict[str, Any]:
    """What the pairs of all parts are like."""
    parts: list[_Told] = [notes["pairs"] for notes in told]
    margins = np.concatenate([np.zeros(0), *(part.margins for part in parts)])
    deciles = np.quantile(margins, [0.1, 0.5, 0.9]).tolist() if len(margins) else []
    longer = sum(part.longer for part in parts)
    models = {
        side: sum((part.models[side] for part in parts), Counter[str]())
        for side in ("chosen", "rejected")
    }
    return {
        "rule": rule,
        "ranking": ranking.name,
        "pairs": len(margins),
        "rows": sum(part.rows for part in parts),
        "sigma": sigma,
        "margin_sigma": dict(zip(("p10", "median", "p90"), deciles, strict=False)),
        "chosen_longer": longer / len(margins) if len(margins) else None,
        "duplicate_responses": sum(part.duplicates for part in parts),
        "models": {side: dict(sorted(count.items())) for side, count in models.items()},
        **({"within_prompt": True} if ranking.within else {}),
        **({"sigmas": ranking.sigmas} if ranking.is_sum else {}),
    }
