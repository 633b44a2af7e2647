"""pairs: chosen and rejected answers for preference training, by a rule with a source.

It stands in place of `reject` where a recipe makes preference data, and marks the chosen answers as
kept. After a `reject`, or a gate that turned answers down, only what is still kept can be chosen,
while any graded answer can be rejected: what was turned down is what a model should learn to leave.
"""

# ruff: noqa: N803  (shape suffixes, as in scores_N)
from __future__ import annotations

import math
from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from karat.columns import Decision, Table
from karat.context import Context
from karat.scoring.pairing import MODERATE, Pair, Rule, pair_up
from karat.step import Positive, ScoreKey, step
from karat.steps._pool import COLUMNS, GRADES, Candidates, Flags
from karat.steps._ranking import (
    Ranking,
    Spread,
    Weights,
    made,
    problem,
    refuse_absolute,
    weights_of,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


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
    are chosen; any graded one may be rejected.

    Source: μ − 2σ: 2502.16825; moderate margins with high scores: AIR (2504.03612); weights of
    HelpSteer2's DPO pairs: `goodness` (2406.08673).
    """
    refuse_absolute(ctx, absolute_uses(by=by, weights=weights, minimum=minimum))
    ranking = Ranking(by, weights, ctx, table)
    spread = _measure(table, ranking)
    wanted = _Wanted(rule, n, _margins(rule, margin_sigma, spread.sigma), _least(minimum))
    found = _Found(ranking, spread.sigma)
    for batch in table.batches(COLUMNS):
        rows = Candidates(batch, ranking, all_of_them=True)
        rows.open()
        found.take(rows, wanted)
    if not spread.total().n and found.drop:
        missing = "', '".join(ranking.keys)
        ctx.warn(f"no response has a score '{missing}': nothing could be paired")
    return found.decision({"rule": rule})


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


@pairs.absolute
def absolute_uses(
    *, by: str | None, weights: Weights, minimum: float | None, **_: Any
) -> list[tuple[str, str]]:
    """(parameter, score) of every use that compares a score across prompts."""
    return [("minimum", key) for key in weights_of(by, weights) if minimum is not None]


def _measure(table: Table, ranking: Ranking) -> Spread:
    """The spread of all graded answers, those turned down with them: they may be rejected ones."""
    spread = Spread(within=ranking.within)
    for batch in table.batches(GRADES):
        rows = Candidates(batch, ranking, all_of_them=True)
        rows.count(spread, rows.level(spread), rows.graded)
    return spread


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


class _Found:
    """Pairs, batch after batch, and what they are like."""

    def __init__(self, ranking: Ranking, sigma: float) -> None:
        self._ranking, self._sigma = ranking, sigma
        self.drop: dict[str, str] = {}
        self._meta: dict[str, dict[str, Any]] = {}
        self._keep, self._scores = [np.zeros(0, np.bool_)], [np.zeros(0)]
        self._margins: list[float] = []
        self._models: dict[str, Counter[str]] = {"chosen": Counter(), "rejected": Counter()}
        self._longer = self._duplicates = 0

    def take(self, rows: Candidates, wanted: _Wanted) -> None:
        """Pairs the passing answers of each row of a batch."""
        self.drop |= rows.reasons
        self._duplicates += rows.duplicates
        keep_R = rows.kept_R.copy()
        at = np.flatnonzero(rows.passing)
        ends = np.searchsorted(rows.owner_R[at], np.arange(rows.rows + 1)).tolist()
        heads = np.searchsorted(rows.owner_R, np.arange(rows.rows)).tolist()
        lengths_R = pc.utf8_length(rows.content).to_numpy(zero_copy_only=False)
        for row, identity in enumerate(rows.ids.to_pylist()):
            own = at[ends[row] : ends[row + 1]]
            if not len(own):
                continue  # it has its reason already
            scores_N = rows.scores_R[own]
            choosable_N = rows.open_R[own] & (scores_N >= wanted.least)
            made = pair_up(
                scores_N.tolist(), wanted.rule, wanted.n, wanted.margins, choosable_N.tolist()
            )
            if not made:
                self.drop[identity] = self._why_none(scores_N, rows.open_R[own], wanted)
                continue
            keep_R[own[[pair.chosen for pair in made]]] = True
            places = own - heads[row]
            self._meta[identity] = {"pairs": [self._line(p, places, scores_N) for p in made]}
            for pair in made:
                self._count(rows, own, lengths_R, pair)
        self._keep.append(keep_R)
        if self._ranking.is_sum:
            self._scores.append(rows.scores_R)

    def _line(self, pair: Pair, places: Ints, scores_N: Floats) -> dict[str, Any]:
        return {
            "chosen": int(places[pair.chosen]),
            "rejected": int(places[pair.rejected]),
            "by": self._ranking.name,
            "chosen_reward": float(scores_N[pair.chosen]),
            "rejected_reward": float(scores_N[pair.rejected]),
            "margin_sigma": pair.margin / self._sigma,  # two scores differ, so σ is not 0
        }

    def _count(self, rows: Candidates, own: Ints, lengths_R: Ints, pair: Pair) -> None:
        self._margins.append(pair.margin / self._sigma)
        self._longer += int(lengths_R[own[pair.chosen]] > lengths_R[own[pair.rejected]])
        for side, place in (("chosen", pair.chosen), ("rejected", pair.rejected)):
            self._models[side][rows.models[rows.model_R[own[place]]] or "given"] += 1

    def _why_none(self, scores_N: Floats, open_N: Flags, wanted: _Wanted) -> str:
        if not open_N.any():
            return "no response to choose"
        if len(scores_N) < 2:
            return "only one response"
        if scores_N.max() == scores_N.min():
            return f"equal scores (at {scores_N[0]:.2f})"
        best = scores_N[open_N].max()
        if best < wanted.least:
            return f"below minimum (best {best:.2f})"
        if best == scores_N.min():
            return "no response scored below the chosen"
        return f"margin outside the limits (widest {(best - scores_N.min()) / self._sigma:.2f}σ)"

    def decision(self, notes: dict[str, Any]) -> Decision:
        ranking, margins = self._ranking, np.array(self._margins)
        deciles = np.quantile(margins, [0.1, 0.5, 0.9]).tolist() if len(margins) else []
        notes |= {
            "ranking": ranking.name,
            "pairs": len(margins),
            "rows": len(self._meta),
            "sigma": self._sigma,
            "margin_sigma": dict(zip(("p10", "median", "p90"), deciles, strict=False)),
            "chosen_longer": self._longer / len(margins) if len(margins) else None,
            "duplicate_responses": self._duplicates,
            "models": {side: dict(sorted(count.items())) for side, count in self._models.items()},
        }
        if ranking.within:
            notes["within_prompt"] = True
        scores = {}
        if ranking.is_sum:
            notes["sigmas"] = ranking.sigmas
            scores = {ranking.name: np.concatenate(self._scores)}
        return Decision(
            drop=self.drop, keep=np.concatenate(self._keep), scores=scores, meta=self._meta,
            notes=notes,
        )  # fmt: skip
