"""grade: scores every response with a reward, or with the first of several graders that is sure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from karat.context import Context
from karat.errors import did_you_mean
from karat.forecast import CallForecast, Forecast
from karat.row import Row
from karat.signature import verifier_names
from karat.step import GraderName, InputPath, RewardName, Scale, step
from karat.steps._route import VALUE, Route, read_calibrations

if TYPE_CHECKING:
    from karat.recipe import Recipe


@step
async def grade(
    row: Row,
    ctx: Context,
    *,
    reward: RewardName | None = None,
    route: list[GraderName] = [],  # noqa: B006  read only
    calibration: InputPath | None = None,
    unsure: Literal["flag", "drop"] = "flag",
) -> Row:
    """Adds `reward.attribute` scores to every response, on the reward's own scale.

    Scores stay floats: rounding or clipping them would hide what the reward is unsure about. What a
    reward has graded once is not graded, or paid, again. Responses that an earlier step turned down
    are not graded.

    A `route` asks graders in turn, the cheap ones first: `grade: [math, helpsteer2, judge]`.
    A verifier's failures are out, and not graded further. One that knows the answer (math, code)
    decides. A reward decides where it is sure enough of the first response against every other,
    by the `calibration` that `karat reward calibrate` made; what it is not sure of, or has no score
    for, goes on to the next. The last grader decides all that is left, unless its calibration has
    a threshold too: then a row it is not sure of is marked `meta.review` for a person, or dropped
    with `unsure: drop`. A `human` reward decides where people have rated.

    A route writes `route.value`, 0 to 1: 0 for what a verifier failed, 1 for what one verified,
    else the mean chance that people prefer the response to another one of its row; and
    `meta.graded`: by whom, and how sure.

    Source: cascades with a guarantee, Trust or Escalate (2407.18370).
    """
    if reward is not None:
        left = [response for response in row.responses if response.kept is not False]
        texts = [response.content for response in left]
        scores = await ctx.score(reward, row.messages, texts, row.meta)
        for response, found in zip(left, scores, strict=True):
            response.scores.update(found)
    if route:
        known = read_calibrations(ctx.path(calibration)) if calibration else {}
        await Route(row, ctx, known).through(route)
        if "review" in row.meta and unsure == "drop":
            row.dropped = f"no grader was sure ({row.meta['review']})"
    return row


grade.marks = ("graded", "review")


@grade.gives
def _gives(*, route: list[str], **_: Any) -> dict[str, Scale]:
    names = [name for name in route if name in verifier_names()]
    scores = {f"verifier.{name}": (0.0, 1.0) for name in names}
    return {**scores, **({VALUE: (0.0, 1.0)} if route else {})}


@grade.rule
def _rule(*, reward: str | None, route: list[str], calibration: str | None, **_: Any) -> str | None:
    if reward is not None and route:
        return "name one reward or a route, not both; a route's last grader may be the reward"
    if reward is None and not route:
        return "name one reward, or list the graders of a route: grade: [math, helpsteer2, judge]"
    for name in route:
        if route.count(name) > 1:
            return f"route lists '{name}' twice"
    if calibration and not route:
        return "calibration belongs to a route"
    return None


@grade.fits
def _fits(recipe: Recipe, *, route: list[str], calibration: str | None, **_: Any) -> str | None:
    """Whether the calibration is of these graders, as they are now."""
    rewards = [name for name in route if name not in verifier_names()]
    path: Path | None = recipe.path(calibration) if calibration else None
    known = read_calibrations(path) if path and path.is_file() else {}
    for place, name in enumerate(rewards):
        loaded = recipe.reward(name)
        if name in known and known[name].identity != recipe.identity(name):
            return f"'{name}' is not what {path} was made with; run `karat reward calibrate` again"
        if name in known and known[name].score not in loaded.attributes:
            near = did_you_mean(known[name].score, loaded.attributes)
            return f"{path}: '{name}' gives no '{known[name].score}'; {near}"
        last = place == len(rewards) - 1
        if not last and name not in known and not loaded.identity.startswith("human"):
            return (
                f"route: how sure must '{name}' be to decide? Make a calibration from pairs that "
                "people have judged: karat reward calibrate RECIPE --on PAIRS -o calibration.json"
            )
    return None


@grade.plan
def _plan(rows: int, *, reward: str | None, route: list[str], **_: Any) -> Forecast:
    names = [reward] if reward else route
    rewards = [name for name in names if name and name not in verifier_names()]
    return Forecast(rows, [CallForecast(name, rows, reward=True) for name in rewards])
