"""reject: rejection sampling: of each prompt's answers, the best ones by a reward.

Scores are compared within one prompt only. A strict threshold over all prompts removes the hard
ones and made benchmarks worse (2407.21783), so the choice is made per prompt and thresholds
are for the user to add, in the reward's own units, in its σ over this run, or as a share of each
stratum. A score that means something within one prompt only cannot be held to any of them.

The file is read in passes with one batch in memory: the reward's mean and σ first, the cuts where
there are strata, then the choices.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from karat.columns import Decision, Table
from karat.context import Context
from karat.scoring.rso import BETA
from karat.step import Positive, ScoreKey, step
from karat.steps._bars import Bar, Strata, finite
from karat.steps._choice import best_of, drawn_by_reward
from karat.steps._pool import COLUMNS, Candidates, Flags, measured
from karat.steps._ranking import (
    Ranking,
    Spread,
    Weights,
    made,
    made_of,
    problem,
    refuse_absolute,
    weights_of,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@step
def reject(
    table: Table,
    ctx: Context,
    *,
    by: ScoreKey | None = None,
    weights: str | dict[ScoreKey, float] | None = None,
    rule: Literal["best", "rso"] = "best",
    best: Positive = 1,
    beta: Annotated[float, msgspec.Meta(gt=0)] | None = None,
    minimum: float | None = None,
    minimum_sigma: float | None = None,
    top_share: Annotated[float, msgspec.Meta(gt=0, lt=1)] | None = None,
    per: str | list[str] = [],  # noqa: B006  read only
    also: dict[ScoreKey, float] = {},  # noqa: B006  read only
    floors: dict[ScoreKey, float] = {},  # noqa: B006  read only
    margin_sigma: Annotated[float, msgspec.Meta(ge=0)] | None = None,
    ties: Literal["first", "shortest", "drop", "all"] = "first",
) -> Decision:
    """Keeps each row's `best` highest-scored responses and drops the rows where none passes.

    A response passes when its text is not empty, it is graded, its `by` score is at least `minimum`
    and at least mean + `minimum_sigma`·σ, and each score in `floors` is at least its floor. Mean
    and σ (population) are those of `by` over all graded candidates of this run: one pair for the
    reward, never one per generating model, whose own figures stand in the notes. Responses equal up
    to whitespace count once, the highest graded standing for all. Responses that an earlier step
    turned down are no candidates.

    `weights` rank by a weighted sum, which becomes a score of its own: published ones by name
    (nemotron-4-340b, llama3-70b, goodness) for the five HelpSteer2 attributes of the reward that
    `by` is of, or `{helpsteer2.helpfulness: 1, helpsteer2.verbosity: -0.3}` without `by`. Scores of
    one reward are summed as they are; of several, each less its mean and over its σ in this run.

    `top_share: 0.25` keeps the quarter of the rows with the best top response, and of these the
    responses that reach the last one's; with `per: task` a quarter of each task, or of each
    combination of several `meta` fields. `also: {judge.score: 9}` lets a response pass as well that
    reaches one of these scores, whatever its `by` score is.

    `margin_sigma`: a row's best passing response must be at least that many σ above the median of
    the row's graded candidates; a lone one has a margin of 0. The median, not the runner-up: as n
    grows the gap to the runner-up shrinks, that to the median grows like the maximum of n draws.

    `rule: rso` draws instead of ranking: of what passes, up to `best` responses, each accepted with
    probability exp((score − highest) / `beta`), so that low scores are kept at times, as a policy
    of that much trust in the reward would write them. `beta` is in units of the score, 0.5 if not
    given.

    `ties`, among equal scores: `first` in the row; the `shortest` in characters, then the first;
    `drop` the row where the last place kept is tied with the first one left out; `all`: keep every
    response that ties with the last place, hence more than `best`.

    A score that compares within one prompt only (Bradley-Terry rewards, wins) can rank and take a
    margin; `minimum`, `minimum_sigma`, `top_share`, `also` and `floors` refuse it. Its σ is pooled
    within prompts, and its figures are of the distance to the prompt's mean.

    Source: per-prompt argmax: Llama 2 (2307.09288) §3.2.3, Llama 3 (2407.21783) §4.2; its top
    quartile by reward or top score by judge: §4.2.3 (here `top_share` with `also`); margins in σ of
    the reward model: AIR (2504.03612); weights: HelpSteer2 (2406.08673); RSO (2309.06657).
    """
    bars = {"minimum": minimum, "minimum_sigma": minimum_sigma, "top_share": top_share}
    refuse_absolute(ctx, absolute_uses(by=by, weights=weights, also=also, floors=floors, **bars))
    ranking = Ranking(by, weights, ctx, table)
    strata = Strata([per] if isinstance(per, str) else per)
    pool = measured(table, ranking)
    bar = Bar(_limit(minimum, minimum_sigma, pool), also, strata.per)
    if top_share is not None:
        bar.cut(top_share, _tops(table, ranking, strata, floors), strata)
    choices = _Choices(ranking, strata)
    for batch in table.batches([*COLUMNS, *strata.columns]):
        rows, code_P = Candidates(batch, ranking), strata.of(batch)
        rows.open()
        bar.apply(rows, code_P, floors)
        if margin_sigma is not None:
            rows.require_margin(margin_sigma, pool.sigma)
        if rule == "rso":
            choices.take(rows, code_P, drawn_by_reward(rows, best, beta or BETA, ctx.seed()))
        else:
            choices.take(rows, code_P, *best_of(rows, best, ties))
    strata.warn(ctx)
    choices.warn(ctx, pool)
    drawn = {"rule": "rso", "beta": beta or BETA} if rule == "rso" else {}
    return choices.decision(_figures(choices, pool, bar) | drawn)


@reject.rule
def _rule(
    *, by: str | None, weights: Weights, rule: str, beta: float | None, ties: str,
    minimum: float | None, minimum_sigma: float | None, top_share: float | None,
    also: dict[str, float], **_: Any,
) -> str | None:  # fmt: skip
    if rule == "rso" and ties != "first":
        return f"ties: {ties} has no use with rule: rso, which draws; leave it out"
    if rule != "rso" and beta is not None:
        return "beta has no use with rule: best; write rule: rso, or leave beta out"
    if also and minimum is None and minimum_sigma is None and top_share is None:
        return (
            "also lets responses pass that miss minimum, minimum_sigma or top_share, and none of "
            "them is set; write one, or floors if every response must reach it"
        )
    return problem(by, weights)


@reject.reads
def _reads(
    *, by: str | None, weights: Weights, also: dict[str, float], floors: dict[str, float], **_: Any
) -> list[tuple[str, str]]:
    """The parts of a sum rather than `by`, which may then be a reward's bare name."""
    where = "weights" if weights else "by"
    ranked = [(where, key) for key in weights_of(by, weights)]
    return [*ranked, *(("also", key) for key in also), *(("floors", key) for key in floors)]


@reject.gives
def _gives(*, by: str | None, weights: Weights, **_: Any) -> dict[str, tuple[float, float]]:
    return made(by, weights)


@reject.derives
def _derives(*, by: str | None, weights: Weights, **_: Any) -> dict[str, list[str]]:
    return made_of(by, weights)


@reject.absolute
def absolute_uses(
    *, by: str | None, weights: Weights, minimum: float | None, minimum_sigma: float | None,
    top_share: float | None, also: dict[str, float], floors: dict[str, float], **_: Any,
) -> list[tuple[str, str]]:  # fmt: skip
    """(parameter, score) of every use that compares a score across prompts."""
    bars = {"minimum": minimum, "minimum_sigma": minimum_sigma, "top_share": top_share}
    used = [name for name, value in bars.items() if value is not None]
    uses = [(name, key) for name in used for key in weights_of(by, weights)]
    return uses + [("also", key) for key in also] + [("floors", key) for key in floors]


def _limit(minimum: float | None, minimum_sigma: float | None, pool: Spread) -> float:
    """The lowest score that passes everywhere: the stricter of the two minimums."""
    limit = -np.inf if minimum is None else minimum
    total = pool.total()
    if minimum_sigma is None or total.n == 0:
        return limit
    return max(limit, total.mean + minimum_sigma * total.sigma)


def _tops(
    table: Table, ranking: Ranking, strata: Strata, floors: dict[str, float]
) -> Iterator[tuple[Floats, Ints]]:
    """(top_P, code_P) of each batch: the best scores of rows, before any minimum, and strata."""
    for batch in table.batches([*COLUMNS, *strata.columns]):
        rows = Candidates(batch, ranking)
        rows.open()
        rows.floors(floors)
        yield rows.tops(), strata.of(batch)


class _Choices:
    """What was chosen, batch after batch: flags, reasons and the figures of the chosen."""

    def __init__(self, ranking: Ranking, strata: Strata) -> None:
        self.ranking, self.strata = ranking, strata
        self.spread = Spread(within=ranking.within)
        self.drop: dict[str, str] = {}
        self._keep, self._scores = [np.zeros(0, np.bool_)], [np.zeros(0)]
        self.duplicates = self.tied = 0

    def take(self, rows: Candidates, code_P: Ints, keep_R: Flags, tied: int = 0) -> None:
        rows.count(self.spread, rows.level(self.spread), keep_R)
        self.strata.count(code_P, np.bincount(rows.owner_R[keep_R], minlength=rows.rows) > 0)
        self._keep.append(keep_R)
        if self.ranking.is_sum:
            self._scores.append(rows.scores_R)
        self.drop.update(rows.reasons)
        self.duplicates += rows.duplicates
        self.tied += tied

    def warn(self, ctx: Context, pool: Spread) -> None:
        total, name = pool.total(), self.ranking.name
        if total.n == 0 and self.drop:
            missing = "', '".join(self.ranking.keys)
            ctx.warn(f"no response has a score '{missing}': nothing could be ranked")
        elif total.n > 1 and total.sigma == 0:
            ctx.warn(
                f"all {total.n:,} graded responses have the same '{name}': the choice is arbitrary"
            )

    def decision(self, notes: dict[str, Any]) -> Decision:
        scores = {self.ranking.name: np.concatenate(self._scores)} if self.ranking.is_sum else {}
        return Decision(drop=self.drop, keep=np.concatenate(self._keep), scores=scores, notes=notes)


def _figures(choices: _Choices, pool: Spread, bar: Bar) -> dict[str, Any]:
    """What ranking changed: over all graded candidates, over the kept, by model and stratum."""
    ranking, total, kept = choices.ranking, pool.total(), choices.spread.total()
    return {
        "ranking": ranking.name,
        "duplicate_responses": choices.duplicates,
        "tied_rows": choices.tied,
        "mean_before": total.mean if total.n else None,
        "mean_after": kept.mean if kept.n else None,
        "sigma": pool.sigma if total.n else None,
        "candidates": total.n,
        "kept": kept.n,
        "limit": None if bar.limit == -np.inf else bar.limit,
        "per_model": pool.per_model(choices.spread),
        **({"within_prompt": True} if ranking.within else {}),
        **({"sigmas": ranking.sigmas} if ranking.is_sum else {}),
        **({"strata": choices.strata.shares(bar.cut_S)} if choices.strata.per else {}),
        **({} if bar.cut_S is None or choices.strata.per else {"cut": finite(bar.cut_S[:1])}),
    }
