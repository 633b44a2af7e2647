"""grade: scores every response with a reward."""

from __future__ import annotations

from karat.context import Context
from karat.row import Row
from karat.step import RewardName, step


@step
async def grade(row: Row, ctx: Context, *, reward: RewardName) -> Row:
    """Adds `reward.attribute` scores to every response, on the reward's own scale.

    Scores stay floats: rounding or clipping them would hide what the reward is unsure about.
    Responses that already carry this reward's scores are scored again only if it changed.
    """
    texts = [response.content for response in row.responses]
    scores = await ctx.score(reward, row.messages, texts, row.meta)
    for response, found in zip(row.responses, scores, strict=True):
        response.scores.update(found)
    return row
