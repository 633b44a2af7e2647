"""best_of: more answers for the prompts where another one is still expected to be better.

A fixed n draws as often for a prompt whose answers are all alike as for one whose next answer may
be far better than the best so far. Here each row goes on from a graded pilot, and draws while the
expected improvement is worth the call. What a call must be worth is worked out once, from the whole
stage's pilot, so that the calls come to what was asked for; after that a row's draws depend on its
own scores alone, and it does not matter when or beside which rows it is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple
from weakref import WeakKeyDictionary

import msgspec
import numpy as np

from karat.context import Context
from karat.errors import RowError, RunError
from karat.forecast import CallForecast, Forecast
from karat.peers import Peers
from karat.row import Response, Row
from karat.scoring.stopping import Prior, Rule, cost_for_budget
from karat.step import ModelName, Positive, ScoreKey, Temperature, step
from karat.steps.verify import REASONS, WHOLE, Options, options_of, verified
from karat.verifiers.base import accepted, find

if TYPE_CHECKING:
    from karat.recipe import Recipe

PILOT = 4_096  # prompts of a longer stage that the prior and the cost are worked out on
Calls = Annotated[float, msgspec.Meta(ge=1, le=10_000)]


class _Plan(NamedTuple):
    prior: Prior
    rule: Rule


_PLANS: WeakKeyDictionary[Peers, dict[tuple[str, float, int], _Plan]] = WeakKeyDictionary()


@step
async def best_of(
    row: Row,
    ctx: Context,
    peers: Peers,
    *,
    model: ModelName,
    by: ScoreKey,
    calls: Calls,
    most: Positive = 16,
    batch: Positive = 1,
    temperature: Temperature | None = None,
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None,
    max_tokens: Positive | None = None,
    stop: list[str] = [],  # noqa: B006  read only
) -> Row:
    """Draws answers of `model` until another one is not expected to raise the row's best `by` score
    by more than a call is worth, or until the row has `most`.

    Rows bring a pilot: respond with n of 3 or 4, then grade, or verify. `calls` is how many answers
    a prompt is to have on average, the pilot's included: it sets what a call is worth, in `by`'s
    own units, for all prompts alike. Expect it to be met within a tenth; very skewed scores miss it
    by more, and a check's share by up to a third. A best answer at the top of its scale ends a row
    at once: by a check's score, `verifier.NAME`, that is the first answer that passes. New answers
    are checked with the options that `verify` had. `batch` answers are asked for together before
    the rule looks again: quicker, and up to `batch` − 1 answers more.

    All answers go on, graded: a `reject: {by: …, best: 1}` after it chooses. With scores that
    compare within one prompt only, gains still compare where score differences do, as those of a
    Bradley-Terry reward do.

    Source: reservation values, Weitzman 1979; see karat.scoring.stopping. On 140 prompts answered
    by a 135M model a fixed 8 was matched with .72 of its calls; on 90 with instructions with .66 by
    the share followed, and .82 by whether all were, most being beyond that model
    (benchmarks/best_of_n.py).
    """
    if not row.messages:
        raise RowError("the row has no message to answer; put prompts or read, respond and grade")
    plan, checks = _plan_of(ctx, peers, by, calls, most), _checks(ctx, by)
    drawn, found = 0, _scores(row, by)
    while plan.rule.go_on(found, plan.prior):
        if row.responses and not found:  # a grader that has no score for them has none for others
            break
        answers = await ctx.chat(
            model, row.messages, n=drawn + min(batch, most - len(found)), temperature=temperature,
            top_p=top_p, max_tokens=max_tokens, stop=stop,
        )  # fmt: skip
        first, before = len(row.responses), len(found)
        row.responses += [
            Response(c.content, c.model, c.index, c.finish_reason, c.call) for c in answers[drawn:]
        ]
        drawn = len(answers)
        if checks:
            await verified(row, ctx, checks, first)
        else:
            await _grade(row, ctx, by.rpartition(".")[0])
        found = _scores(row, by)
        if len(found) == before:  # or for none of these: what cannot be graded is not gone on with
            break
    ctx.count("answers_drawn", drawn)
    ctx.count("rows_drawn_on", int(drawn > 0))
    return row


best_of.marks = (REASONS,)


def _check_of(by: str) -> str:
    """The check whose score it is; empty for a reward's."""
    grader, _, name = by.rpartition(".")
    return name.removesuffix("_share") if grader == "verifier" else ""


def _checks(ctx: Context, by: str) -> Options:
    """The check behind a score, with the options it had when the pilot was checked; none for a
    reward's. A route runs checks with their defaults."""
    check = _check_of(by)
    if not check:
        return {}
    found = accepted(check, {})
    for params in ctx.earlier("verify"):
        found = options_of(params["checks"]).get(check, found)
    return {check: found}


async def _grade(row: Row, ctx: Context, reward: str) -> None:
    """Grades all answers together: what is graded costs nothing, and some scores need the rest."""
    texts = [response.content for response in row.responses]
    scores = await ctx.score(reward, row.messages, texts, row.meta)
    for response, found in zip(row.responses, scores, strict=True):
        response.scores.update(found)


def _scores(row: Row, by: str) -> list[float]:
    return [r.scores[by] for r in row.responses if by in r.scores and r.kept is not False]


def _plan_of(ctx: Context, peers: Peers, by: str, calls: float, most: int) -> _Plan:
    """The stage's prior and rule, worked out by the first row that asks.

    Raises: RunError where the stage before is no pilot.
    """
    plans = _PLANS.setdefault(peers, {})
    if (by, calls, most) not in plans:
        plans[by, calls, most] = _worked_out(ctx, peers, by, calls, most)
    return plans[by, calls, most]


def _worked_out(ctx: Context, peers: Peers, by: str, calls: float, most: int) -> _Plan:
    counts_P, scores_R = peers.scores(by)
    owner_R = np.repeat(np.arange(len(counts_P)), counts_P)
    graded_R = np.isfinite(scores_R)
    counts_P = np.bincount(owner_R[graded_R], minlength=len(counts_P))
    some = np.flatnonzero(counts_P)
    some = some[np.linspace(0, len(some) - 1, min(PILOT, len(some))).astype(np.int64)]
    inside_R = graded_R & np.isin(owner_R, some)
    counts_P, scores_R = counts_P[some], scores_R[inside_R]
    if not (counts_P > 1).any():
        raise RunError(
            f"{ctx.label}: no row has two answers with a score '{by}' to start from; put "
            "respond with n: 4 and grade before it"
        )
    least = int(counts_P.min())
    if calls < least or most < least:
        raise RunError(
            f"{ctx.label}: calls: {calls:g} and most: {most} must be at least the {least} graded "
            "answers that every row has already; raise them, or lower the n of respond"
        )
    scale = WHOLE if _check_of(by) else ctx.scale(by)
    prior = Prior.from_pilot(counts_P, scores_R, scale)
    cost = cost_for_budget(prior, counts_P, scores_R, calls, least=least, most=most, seed=0)
    return _Plan(prior, Rule(cost, least, most))


@best_of.rule
def _rule(*, calls: float, most: int, temperature: float | None, **_: Any) -> str | None:
    if calls > most:
        return f"calls: {calls:g} on average is more than most: {most}"
    if temperature == 0:
        return "at temperature 0 every answer would be the same; raise temperature"
    return None


@best_of.fits
def _fits(recipe: Recipe, *, by: str, **_: Any) -> str | None:
    if _check_of(by):
        find(_check_of(by))
        return None
    name = by.rpartition(".")[0]
    known = "/" in name or name in recipe.rewards
    if not known or by.removeprefix(f"{name}.") not in recipe.reward(name).attributes:
        return f"by: '{by}' is no reward's or check's score: new answers could not be graded by it"
    if recipe.reward(name).identity.startswith("human"):
        return f"by: people do not grade answers as they are drawn; '{name}' is theirs"
    return None


@best_of.plan
def _plan(
    rows: int, *, model: str, by: str, calls: float, max_tokens: int | None, **_: Any
) -> Forecast:
    """At most: as if no answer of the pilot were there yet."""
    asked = [CallForecast(model, round(rows * calls), 1, max_tokens)]
    if not _check_of(by):
        asked.append(CallForecast(by.rpartition(".")[0], rows, reward=True))
    return Forecast(rows, asked, round(calls))
