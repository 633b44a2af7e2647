"""Asks a reward about every item of the sets; what it said is in a journal, what it refused noted.

An item is one question to the reward, with all its responses: a judge that compares needs them
side by side. A row that a reward cannot score has no score; it is counted, and never taken for a
low one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from karat.errors import ProviderError, RowError
from karat.evaluating.items import EvalSet, Floats, Item
from karat.inquiry import Bench, Place, bench
from karat.journal import Address
from karat.models.billing import CHARACTERS_PER_TOKEN
from karat.models.chat import Usage
from karat.models.endpoint import Asker
from karat.models.spec import ModelSpec
from karat.report.cells import money
from karat.rewards.base import Candidates
from karat.together import all_of

STEP = "eval"
AT_ONCE = 256  # items under way
ASSUMED_ANSWER = 300  # tokens that a judge writes
SAY_EVERY_S = 10.0
Say = Callable[[str], None]


@dataclass(slots=True)
class Answers:
    """scores_NA of each item's responses, in the item's own order, columns as the reward's
    attributes; NaN where there is no score. `refused`: how many items have none, by reason."""

    attributes: list[str]
    scores: list[Floats]
    refused: dict[str, int] = field(default_factory=dict)

    def of(self, attribute: str) -> list[Floats]:
        """scores_N of one attribute."""
        column = self.attributes.index(attribute)
        return [scores_NA[:, column] for scores_NA in self.scores]


@dataclass(slots=True)
class Asked:
    """A reward's answers by set, and what they took. `cost_usd` is of this time; None: unknown.
    `calls` are requests made; what an earlier evaluation had journaled needs none."""

    answers: list[Answers]
    calls: int = 0
    cost_usd: float | None = 0.0
    spent_usd: float = 0.0
    seconds: float = 0.0


async def ask(place: Place, sets: Sequence[EvalSet], journal: Address, say: Say) -> Asked:
    """Raises: RunError, after which the same evaluation goes on where it stopped."""
    started = time.perf_counter()
    made = Asked([])
    async with bench(place, journal, say) as at:
        for number, found in enumerate(sets):
            said = time.perf_counter()
            answers = Answers(list(place.reward.attributes), [])
            for start in range(0, len(found.items), AT_ONCE):
                some = found.items[start : start + AT_ONCE]
                label = f"{number}:{found.name}"
                answers.scores += await all_of(
                    _one(at, place.name, item, f"{label} {start + place_}", answers)
                    for place_, item in enumerate(some)
                )
                if time.perf_counter() - said > SAY_EVERY_S:
                    said = time.perf_counter()
                    done = f"{len(answers.scores):,} of {len(found.items):,}"
                    spent = money(at.client.budget.spent_nano / 1e9)
                    say(f"  {found.name}: {done} items, {spent} so far")
            made.answers.append(answers)
        made.calls = sum(e.tally.calls for e in at.client.endpoints.values())
        made.cost_usd = place.cost_usd([at.client])
        made.spent_usd = at.client.budget.spent_nano / 1e9
    made.seconds = time.perf_counter() - started
    return made


async def _one(at: Bench, name: str, item: Item, label: str, answers: Answers) -> Floats:
    """scores_NA of the responses in the item's own order."""
    order = item.order()
    scores_NA = np.full((len(order), len(answers.attributes)), np.nan)
    job = Candidates(item.prompt, tuple(item.responses[place] for place in order))
    try:
        found = await at.desk.score(name, job, Asker(STEP, label, "", "reward"))
    except (RowError, ProviderError) as error:
        why = " ".join(str(error).split())[:200]
        answers.refused[why] = answers.refused.get(why, 0) + 1
        return scores_NA
    for place, scores in zip(order, found, strict=True):
        if scores is not None:
            scores_NA[place] = [scores.get(key, np.nan) for key in answers.attributes]
    if np.isnan(scores_NA).all(axis=1).any():
        why = "no score for one of the responses"
        answers.refused[why] = answers.refused.get(why, 0) + 1
    return scores_NA


# --- what it will cost ---------------------------------------------------------------------------


def forecast(place: Place, sets: Sequence[EvalSet]) -> str:
    """What will be scored, asked and paid, in a line: at the most, nothing of it being journaled.

    Tokens of what is read are counted from its letters; of what a judge writes they are assumed.
    """
    prompts, responses = sum(len(s.items) for s in sets), sum(s.responses for s in sets)
    told = f"{place.reward.name}: {prompts:,} items, {responses:,} responses"
    if place.is_free:
        return f"{told}; free"
    calls, usd, known, judged = 0, 0.0, True, False
    for spec, count, read, written in _questions(place, sets):
        calls += count
        judged = judged or written > 0
        rates = spec.planned_rates()
        if rates is None:
            known = False
        else:
            usd += rates.cost_nano(Usage(read, output=written), time.time()) / 1e9
    price = f"about {money(usd)}" if known else "at an unknown price"
    how = f" (as {ASSUMED_ANSWER} tokens an answer)" if judged else ""
    return (
        f"{told}; up to {calls:,} requests, {price}{how}; what an earlier evaluation into this "
        "folder paid for is not paid again"
    )


def _questions(place: Place, sets: Sequence[EvalSet]) -> Iterator[tuple[ModelSpec, int, int, int]]:
    """(whom, requests, tokens read, tokens written) of each model, for each item."""
    for item in (item for found in sets for item in found.items):
        n = len(item.responses)
        prompt = sum(len(turn.content) for turn in item.prompt) / CHARACTERS_PER_TOKEN
        every = sum(map(len, item.responses)) / CHARACTERS_PER_TOKEN
        for spec, call in place.graders.calls(place.name, place.models, n):
            if call.writes:
                read = call.own_words + prompt + call.shown * every / n
                wrote = min(ASSUMED_ANSWER, spec.max_tokens or ASSUMED_ANSWER)
                yield spec, call.calls, round(call.calls * read), call.calls * call.n * wrote
            else:
                yield spec, call.calls, round(n * prompt + every), 0
