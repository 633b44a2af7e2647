"""cross_validate: do the graders see the same, and what do they lean towards?

One reward model is one opinion. Where a second one, of another family, disagrees, the first one's
favourite may be its own mistake: those rows are dropped, flagged or sent to a person. How far two
graders can be trusted together is reported as coefficients with intervals over prompts, never as
one number without its width.

Nothing here compares two rewards' raw scores. They enter as order, as levels of a scale both grade
on, as ranks, or in σ of their own reward. Two passes over the table, memory that does not grow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from karat.columns import Decision, Table
from karat.context import Context
from karat.intervals import Resamples
from karat.models.families import same_family
from karat.scoring.disagreement import choice_gap, score_gap
from karat.scoring.tallies import GROUPS
from karat.step import ScoreKey, step
from karat.steps._by_part import by_part, untouched
from karat.steps._graded import Graded, Survey, read_graded
from karat.steps._panels import Panel

if TYPE_CHECKING:
    from karat.recipe import Recipe

Floats = NDArray[np.float64]
DISAGREEMENT, REVIEW = "disagreement", "review"  # fields of meta


@step
def cross_validate(
    table: Table,
    ctx: Context,
    *,
    graders: Annotated[list[ScoreKey], msgspec.Meta(min_length=2)],
    disagree: Literal["keep", "flag", "drop", "review"] = "flag",
    by: Literal["choice", "score"] = "choice",
    tolerance: Annotated[float, msgspec.Meta(ge=0)] = 1.0,
    levels: Annotated[int, msgspec.Meta(ge=2, le=20)] | None = None,
    resamples: Annotated[int, msgspec.Meta(ge=100, le=10_000)] = 2_000,
    allow: list[str] = [],  # noqa: B006  read only
) -> Decision:
    """Compares graders on each row's candidates, and acts on rows where they disagree.

    `graders` are scores such as `helpsteer2.helpfulness`. Where each is of another reward all are
    compared with each other, whatever they are called; where a reward stands there with several
    attributes, attributes of one name are compared. No grader may be of a generator's family:
    `allow` names families that may.

    Two graders disagree on a row by their `choice`: each would lose more than `tolerance` σ, on its
    own scores within prompts, if the other's best response were taken for its own. Or, for rows of
    one response, by their `score`: of one response they are further apart than `tolerance`, each
    score in σ from its grader's mean; that needs scores that compare across prompts. Such rows are
    left as they are (`keep`), marked in `meta.disagreement` (`flag`), dropped (`drop`), or marked
    in `meta.review` too, for a person (`review`). A row that no two graders graded enough of stays.

    The report has, with 95% intervals over prompts: for each grader the share of responses it gave
    no score, the slope of its score on length, and how much more than the others it gives to each
    family of generators; for each two graders quadratic-weighted Cohen's κ, Kendall's τ_b over all
    responses and within prompts, and the share of pairs in the same order; for all of them
    Krippendorff's α (ordinal) and Fleiss' κ. κ and α need levels: the points of a scale that all
    graders share, or `levels` points on it; else ranks, cut into `levels` (5) classes of equal
    numbers for each grader. Scores that compare within one prompt only have neither levels nor a τ
    over all. With more than 8,192 rows, cuts and the τ over all are those of an even sample.

    Source: graders of another family, preference leakage (2502.01534).
    """
    survey = Survey(table, graders)
    panels = [Panel(ctx, survey, graders, keys, levels) for keys in compared(graders).values()]
    places = [panel.places for panel in panels]
    rows = _Disagreements(survey, graders, places, by, tolerance, parts=len(table.parts()))
    for batch in read_graded(table, graders):
        rows.add(batch)
        for panel in panels:
            panel.add(batch)
    draws = Resamples(max(1, min(survey.rows, GROUPS)), ctx.seed(), resamples)
    sampled = Resamples(max(1, survey.sampled), ctx.seed(), resamples)
    if survey.rows and not rows.checked:
        needs = "two candidates" if by == "choice" else "a candidate"
        ctx.warn(f"no row has {needs} graded by two graders: nothing could be checked")
    notes: dict[str, Any] = {
        "rows": survey.rows, "responses": survey.responses, "checked": rows.checked,
        "disagreements": len(rows), "by": by, "tolerance": tolerance,
    }  # fmt: skip
    notes["compared"] = {
        name: panel.figures(draws, sampled)
        for name, panel in zip(compared(graders), panels, strict=True)
    }
    return rows.decide(disagree, notes)


cross_validate.marks = (DISAGREEMENT, REVIEW)


@cross_validate.fits
def _fits(recipe: Recipe, *, graders: list[str], allow: list[str], **_: Any) -> str | None:
    """Whether no grader is of the family of a model that writes for it."""
    writers = (name for call in recipe.steps for _, name in call.named("model"))
    routes = (recipe.models[name].route() for name in dict.fromkeys(writers))
    generators = list(dict.fromkeys(spec.model for route in routes for spec in route))
    rewards = dict.fromkeys(key.rpartition(".")[0] for key in graders)
    known = (name for name in rewards if "/" in name or name in recipe.rewards)
    behind = {name: recipe.graders.lineage(name, recipe.models) for name in known}
    return "; ".join(same_family(generators, behind, allow)) or None


@cross_validate.rule
def _rule(*, graders: list[str], **_: Any) -> str | None:
    bare = [key for key in graders if "." not in key]
    if bare:
        return f"graders: name scores, such as {bare[0]}.reward, not the reward '{bare[0]}'"
    twice = [key for key in dict.fromkeys(graders) if graders.count(key) > 1]
    if twice:
        return f"graders: {twice[0]} is there twice; name each score once"
    for name, keys in compared(graders).items():
        if len(keys) < 2:
            return (
                f"graders: only {keys[0]} is called {name}; where a reward is named with several "
                "attributes, name each attribute of two rewards"
            )
    return None


@cross_validate.absolute
def _absolute(*, by: str, graders: list[str], **_: Any) -> Iterator[tuple[str, str]]:
    if by == "score":
        yield from (("graders", key) for key in graders)


def compared(graders: Sequence[str]) -> dict[str, list[str]]:
    """Which scores are compared with each other, by the name they are reported under."""
    rewards, names = zip(*(key.rpartition(".")[::2] for key in graders), strict=True)
    if len(set(rewards)) == len(rewards):
        return {names[0] if len(set(names)) == 1 else "all": list(graders)}
    groups: dict[str, list[str]] = {}
    for name, key in zip(names, graders, strict=True):
        groups.setdefault(name, []).append(key)
    return groups


class _Disagreements:
    """The rows two graders disagree on: by which two, and how many σ apart they are."""

    def __init__(
        self, survey: Survey, graders: Sequence[str], groups: Sequence[Sequence[int]], by: str,
        tolerance: float, *, parts: int,
    ) -> None:  # fmt: skip
        self._graders, self._by, self._tolerance = graders, by, tolerance
        self._pairs = [pair for places in groups for pair in combinations(places, 2)]
        sigma_G = survey.sigma_G
        if by == "score":
            sigma_G = np.array([moments.sigma for moments in survey.moments])
        self._mean_G = np.array([moments.mean for moments in survey.moments])
        # A grader whose scores never differ has no opinion to disagree with: all are its best, and
        # none has a distance from its mean.
        self._per_sigma_G = np.full_like(sigma_G, np.nan if by == "score" else 0.0)
        np.divide(1, sigma_G, out=self._per_sigma_G, where=sigma_G > 0)
        self.checked = 0
        self._found: list[dict[str, tuple[str, str, float]]] = [{} for _ in range(parts)]

    def add(self, batch: Graded) -> None:
        scores_RG = (batch.scores_RG - self._mean_G) * self._per_sigma_G
        measure = choice_gap if self._by == "choice" else score_gap
        gap_QP = np.stack(
            [
                measure(scores_RG[:, one], scores_RG[:, other], batch.prompt_R, batch.prompts)
                for one, other in self._pairs
            ]
        )
        self.checked += int((~np.isnan(gap_QP)).any(axis=0).sum())
        gap_QP = np.nan_to_num(gap_QP, nan=-1.0)
        worst_P = gap_QP.argmax(axis=0)
        for row in np.flatnonzero(gap_QP.max(axis=0) > self._tolerance).tolist():
            one, other = self._pairs[worst_P[row]]
            gap = float(gap_QP[worst_P[row], row])
            found = self._graders[one], self._graders[other], gap
            self._found[batch.part][batch.ids[row].as_py()] = found

    def __len__(self) -> int:
        return sum(map(len, self._found))

    def decide(self, disagree: str, notes: dict[str, Any]) -> Decision:
        if disagree == "keep":
            return Decision(each=untouched, notes=notes)
        decided = [_decided(found, disagree) for found in self._found]
        return Decision(each=by_part(decided), notes=notes)


def _decided(found: dict[str, tuple[str, str, float]], disagree: str) -> Decision:
    """What becomes of the rows of one part."""
    if disagree == "drop":
        return Decision(drop={
            row: f"graders disagree ({one} and {other} by {gap:.2f}σ)"
            for row, (one, other, gap) in found.items()
        })  # fmt: skip
    meta: dict[str, dict[str, Any]] = {
        row: {DISAGREEMENT: {"graders": [one, other], "sigma": gap}}
        for row, (one, other, gap) in found.items()
    }
    if disagree == "review":
        for fields in meta.values():
            fields[REVIEW] = "graders disagree"
    return Decision(meta=meta)
