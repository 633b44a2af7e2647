"""reject: rejection sampling: of each prompt's answers, the best ones by a reward.

Scores are compared within one prompt only. A strict threshold over all prompts removes the hard
ones and made benchmarks worse (2407.21783), so the choice is made per prompt and thresholds
are for the user to add, in the reward's own units, in its σ over this run, or as a share of each
stratum. A score that means something within one prompt only cannot be held to any of them.

The table is read in passes, each part where it is and one batch in memory: the reward's mean and σ
first, the cuts where there is a top share, then the choices. Only figures pass between the parts,
and with a top share the best score of every row.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from karat.columns import Decision, Table
from karat.context import Context
from karat.scoring.rso import BETA
from karat.step import Positive, ScoreKey, step
from karat.steps._bars import Bar, tops
from karat.steps._choice import best_of, drawn_by_reward
from karat.steps._pool import COLUMNS, Candidates, Flags, Pool, measured
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
from karat.steps._strata import Strata, finite

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
    fields = [per] if isinstance(per, str) else per
    # Where the cuts need a pass over the rows, that one finds the strata.
    pool = measured(table, ranking, fields if top_share is None else ())
    bar, strata = Bar(_limit(minimum, minimum_sigma, pool.spread), also, fields), pool.strata
    if top_share is not None:
        strata = Strata(fields)
        bar.cut(top_share, tops(table, ranking, strata, floors), strata)
    strata.warn(ctx)
    _warn(ctx, ranking, pool)
    choose = _Choice(
        ranking, strata, bar, floors, margin_sigma, pool.spread.sigma, rule, best, beta or BETA,
        ties, ctx.seed(),
    )  # fmt: skip
    return Decision(
        each=partial(_chosen, choose=choose), gather=partial(_figures, choose=choose, pool=pool)
    )


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


def _warn(ctx: Context, ranking: Ranking, pool: Pool) -> None:
    total = pool.spread.total()
    if total.n == 0 and pool.rows:
        missing = "', '".join(ranking.keys)
        ctx.warn(f"no response has a score '{missing}': nothing could be ranked")
    elif total.n > 1 and total.sigma == 0:
        ctx.warn(
            f"all {total.n:,} graded responses have the same '{ranking.name}': the choice is "
            "arbitrary"
        )


class _Choice(NamedTuple):
    """How the responses of a row are chosen, by the parameters and what is known of all rows."""

    ranking: Ranking
    strata: Strata
    bar: Bar
    floors: dict[str, float]
    margin_sigma: float | None
    sigma: float
    rule: str
    best: int
    beta: float
    ties: str
    seed: int

    def of(self, rows: Candidates, code_P: Ints) -> tuple[Flags, int]:
        """(keep_R, tied) of a batch; see best_of. Reasons go to `rows`."""
        rows.open()
        self.bar.apply(rows, code_P, self.floors)
        if self.margin_sigma is not None:
            rows.require_margin(self.margin_sigma, self.sigma)
        if self.rule == "rso":
            return drawn_by_reward(rows, self.best, self.beta, self.seed), 0
        return best_of(rows, self.best, self.ties)


class _Told(NamedTuple):
    """The figures of the chosen in one part."""

    spread: Spread
    rows_2S: Ints
    duplicates: int
    tied: int


def _chosen(part: Table, choose: _Choice) -> Decision:
    """What is chosen in one part of the table."""
    ranking, strata = choose.ranking, choose.strata
    spread, drop = Spread(within=ranking.within), dict[str, str]()
    keep, scores = [np.zeros(0, np.bool_)], [np.zeros(0)]
    rows_2S = np.zeros((2, len(strata.names)), np.int64)
    duplicates = tied = 0
    for batch in part.batches([*COLUMNS, *strata.columns]):
        rows, code_P = Candidates(batch, ranking), strata.of(batch)
        keep_R, ties = choose.of(rows, code_P)
        rows.count(spread, rows.level(spread), keep_R)
        rows_2S += strata.counts(code_P, np.bincount(rows.owner_R[keep_R], minlength=rows.rows) > 0)
        keep.append(keep_R)
        if ranking.is_sum:
            scores.append(rows.scores_R)
        drop.update(rows.reasons)
        duplicates += rows.duplicates
        tied += ties
    return Decision(
        drop=drop,
        keep=np.concatenate(keep),
        scores={ranking.name: np.concatenate(scores)} if ranking.is_sum else {},
        notes={"chosen": _Told(spread, rows_2S, duplicates, tied)},
    )


def _figures(told: list[dict[str, Any]], choose: _Choice, pool: Pool) -> dict[str, Any]:
    """What ranking changed: over all graded candidates, over the kept, by model and stratum."""
    ranking, strata, bar = choose.ranking, choose.strata, choose.bar
    parts: list[_Told] = [notes["chosen"] for notes in told]
    spread = Spread(within=ranking.within)
    for part in parts:
        spread.merge(part.spread)
    total, kept = pool.spread.total(), spread.total()
    rows_2S = sum((part.rows_2S for part in parts), np.zeros((2, len(strata.names)), np.int64))
    return {
        "ranking": ranking.name,
        "duplicate_responses": sum(part.duplicates for part in parts),
        "tied_rows": sum(part.tied for part in parts),
        "mean_before": total.mean if total.n else None,
        "mean_after": kept.mean if kept.n else None,
        "sigma": pool.spread.sigma if total.n else None,
        "candidates": total.n,
        "kept": kept.n,
        "limit": None if bar.limit == -np.inf else bar.limit,
        "per_model": pool.spread.per_model(spread),
        **({"within_prompt": True} if ranking.within else {}),
        **({"sigmas": ranking.sigmas} if ranking.is_sum else {}),
        **({"strata": strata.shares(rows_2S, bar.cut_S)} if strata.per else {}),
        **({} if bar.cut_S is None or strata.per else {"cut": finite(bar.cut_S[:1])}),
        **({"rule": "rso", "beta": choose.beta} if choose.rule == "rso" else {}),
    }
