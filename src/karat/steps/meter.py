"""meter: how many samples a reward can be trusted to choose among, and where it is over-optimised.

A reward that picks among more and more samples looks better and better to itself. Whether the
answers get better only a second grader can say that had no part in the picking. Both curves come
out of the candidates a run has paid for already, for every k up to n.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np

from karat.columns import Decision, Table, score_values
from karat.context import Context
from karat.scoring.overoptimisation import Meter, gao_fit
from karat.scoring.overoptimisation import meter as measure
from karat.step import ScoreKey, step
from karat.steps._by_part import untouched

if TYPE_CHECKING:
    from karat.recipe import Recipe

LEAST_PROMPTS = 2


@step
def meter(
    table: Table,
    ctx: Context,
    *,
    by: ScoreKey,
    held_out: ScoreKey | None = None,
    most: Annotated[int, msgspec.Meta(ge=2)] | None = None,
) -> Decision:
    """Reports the expected score of the best of k for every k up to n, and decides nothing.

    `by` is the reward that picks; `held_out` the score of another grader, whose curve shows what
    the picking is worth. Put it before `reject`, while all candidates are there: every response
    graded by both counts. `most` is the largest k, left open: as many as nine of ten prompts have.

    The report recommends the smallest k whose held-out value is within one standard error of the
    highest, and warns where the held-out curve turns down. Beside each k stands KL(best of k ‖ the
    model), at most log k − (k−1)/k. Scores that compare within one prompt only are measured from
    the prompt's mean, so that curves begin at 0.

    Source: the unbiased estimator, WebGPT (2112.09332) App. I; over-optimisation, Gao et al. 2022
    (2210.10760).
    """
    counts_P, by_R, held_R = _pools(table, ctx, by, held_out)
    notes: dict[str, Any] = {"by": by, "held_out": held_out}
    if (counts_P >= max(2, most or 2)).sum() < LEAST_PROMPTS:
        ctx.warn(f"fewer than two prompts have {most or 2} responses graded: nothing to measure")
        return Decision(each=untouched, notes=notes)
    found = measure(counts_P, by_R, held_R if held_out else None, most=most, seed=ctx.seed())
    if found.warning:
        ctx.warn(f"{by}, held out {held_out}: {found.warning}")
    elif held_out is None:
        ctx.warn("without held_out no curve can turn down: grade with a second reward, and name it")
    return Decision(each=untouched, notes={**notes, "curve": _told(found)})


@meter.fits
def _fits(recipe: Recipe, *, by: str, held_out: str | None, **_: Any) -> str | None:
    """Whether the held-out score has no reward in common with the one that picks."""
    both = recipe.graders.sources(by)
    shared = [name for name in recipe.graders.sources(held_out or "") if name in both]
    if shared:
        return (
            f"held_out: {held_out} is of the reward that picks ({shared[0]}); name a score of "
            "another one, which had no part in the picking"
        )
    return None


def _scores(part: Table, keys: list[str]) -> list[np.ndarray[Any, Any]]:
    """How many responses each row of a part has, and each score of all of them, NaN for none: 16
    bytes a response."""
    counts = [np.zeros(0, np.int64)]
    columns = [[np.zeros(0)] for _ in keys]
    for batch in part.batches(["responses.list.element.scores"]):
        responses = batch.column("responses")
        counts.append(np.diff(responses.offsets.to_numpy()).astype(np.int64))
        scores = responses.flatten().field("scores")
        for column, key in zip(columns, keys, strict=True):
            column.append(score_values(scores, key))
    return [np.concatenate(counts), *(np.concatenate(column) for column in columns)]


def _pools(
    table: Table, ctx: Context, by: str, held_out: str | None
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(counts_P, by_R, held_R) of the responses that both have graded."""
    found = list(table.each(_scores, [by, *([held_out] if held_out else [])]))
    columns = range(len(found[0]))
    counts_P, by_R, *rest = (np.concatenate([part[at] for part in found]) for at in columns)
    held_R = rest[0] if rest else by_R
    graded_R = np.isfinite(by_R) & np.isfinite(held_R)
    owner_R = np.repeat(np.arange(len(counts_P)), counts_P)[graded_R]
    by_R, held_R = by_R[graded_R], held_R[graded_R]
    counts_P = np.bincount(owner_R, minlength=len(counts_P))
    keys = [(by, by_R), *([(held_out, held_R)] if held_out else [])]
    for key, scores_R in keys:
        if ctx.within_prompt(key):
            sums_P = np.bincount(owner_R, scores_R, len(counts_P))
            scores_R -= (sums_P / np.maximum(counts_P, 1))[owner_R]
    return counts_P, by_R, held_R


def _told(found: Meter) -> dict[str, Any]:
    """The meter as JSON, with Gao's fit of the held-out gain where there is one."""
    told: dict[str, Any] = msgspec.to_builtins(found)
    held = [rung.held.value for rung in found.rungs if rung.held is not None]
    if len(held) > 2:
        kl_K = np.array([rung.kl for rung in found.rungs])
        alpha, beta = gao_fit(kl_K, np.array(held) - held[0])
        told["gao"] = {"alpha": alpha, "beta": beta}
    return told
