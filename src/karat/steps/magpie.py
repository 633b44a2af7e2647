"""magpie: prompts drawn from a model itself, by letting it write the user's side.

A model trained on conversations has learned what users say as well. Given only what comes before a
user's message, it writes one. Nothing is asked of it, so no wording of ours gives all prompts the
same tone, and nothing has to be read out of an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Annotated, Any

import msgspec

from karat.context import Context
from karat.errors import RecipeError
from karat.forecast import CallForecast, Forecast
from karat.models.chat import Completion
from karat.models.spec import ModelSpec
from karat.models.takes import cannot_complete
from karat.row import Ids, Message, Row
from karat.step import ModelName, Positive, Temperature, step
from karat.steps._gate import Gate, Novelty
from karat.steps._pre_query import AUTO, SYSTEM, TOPIC, Family, family_of, harmless, has_marks
from karat.steps._usable import usable
from karat.together import all_of

PER_CALL = 8  # samples of one request: what an embedded model writes side by side
MOST = 3  # samples for each prompt wanted, after which fewer are settled for


@step
async def magpie(
    row: Row,
    ctx: Context,
    *,
    model: ModelName,
    n: Positive,
    template: str = AUTO,
    system: str | list[str] | None = None,
    novelty: Novelty = {},  # noqa: B006  read only
    keep_cut: bool = False,
    temperature: Temperature | None = 1.0,
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None,
    max_tokens: Positive = 500,
    stop: list[str] = [],  # noqa: B006  read only
) -> list[Row]:
    """Makes `n` prompt rows of what a model writes in a user's place.

    As the first step it needs no rows; a row with a topic is steered through the system message, by
    recipes/prompts/magpie.md. `system` says another one, with {topic} where the topic goes; of a
    list, each request draws one by seed, recorded in `meta`. `template` is the text up to the
    user's message: `auto` tells it by the model's name, else one of recipes/prompts/pre_query.yaml
    by its name, or the text itself, without a BOS and with {system} where a system message goes.

    Left out are messages cut off at `max_tokens` (unless `keep_cut`), with marks of a template in
    them, unusable as a prompt, or too close to one before (`novelty`, as in prompts). More are
    drawn then, three samples for each of `n` at most. Samples come in one order, and the first `n`
    good ones are taken: raising n later keeps what was there and buys the rest.

    Source: Magpie (Xu et al. 2024, arXiv 2406.08464) §2.1; steering by system message: its
    configs/model_configs.json.
    """
    meta = {**row.meta, "writer": "magpie"}
    if not ctx.wants(meta):
        row.dropped = "enough of this topic (exactly)"
        return [row]
    family = family_of(template, ctx.spec(model).route())
    sampling = {
        "temperature": temperature, "top_p": top_p, "max_tokens": max_tokens,
        "stop": [mark for mark in (family.stop, *stop) if mark],
    }  # fmt: skip
    draw = _Draw(ctx, model, family, _systems(ctx, row, system), sampling)
    taken = _Taken(Gate(ctx, novelty), keep_cut=keep_cut)
    while len(taken.made) < n and draw.drawn < MOST * n:
        found, drawn = len(taken.made), draw.drawn
        more = ceil((n - found) * drawn / found) if found else n
        taken.read(await draw.to(min(MOST * n, drawn + more)), n, ctx)
    ids = Ids()
    made = []
    for prompt, drew, call in taken.made:
        messages, own = [Message("user", prompt)], {**meta, **drew}
        made.append(
            Row(ids.assign(messages, own, row.id), messages, meta=own, calls=[*row.calls, call])
        )
    return made


magpie.marks = ("writer",)


def _systems(ctx: Context, row: Row, system: str | list[str] | None) -> list[str]:
    """The system messages to draw from. Raises: RecipeError where the topic has no place in one."""
    topic = harmless(str(row.meta.get("topic") or ""))
    if system is None:
        return [" ".join(ctx.render("magpie", topic=topic).split())] if topic else [""]
    every = [system] if isinstance(system, str) else system
    for one in every:
        if topic and TOPIC not in one:
            raise RecipeError(f"system must say {TOPIC} where rows have one; it is '{one}'")
        if not topic and TOPIC in one:
            raise RecipeError(f"system says {TOPIC}, and the row has none; put topics before it")
    return [one.replace(TOPIC, topic) for one in every]


class _Draw:
    """The samples of one row: sample i is one of request i // PER_CALL, whatever is asked first."""

    def __init__(
        self, ctx: Context, model: str, family: Family, systems: Sequence[str],
        sampling: dict[str, Any],
    ) -> None:  # fmt: skip
        self.ctx, self.model, self.family = ctx, model, family
        self.systems, self.sampling = systems, sampling
        self.drawn = 0

    async def to(self, end: int) -> list[tuple[Completion, dict[str, str]]]:
        """The samples from the last one drawn up to `end`, with what was drawn for each."""
        first = self.drawn // PER_CALL
        batches = await all_of(
            self._batch(number, min(PER_CALL, end - number * PER_CALL))
            for number in range(first, ceil(end / PER_CALL))
        )
        known, self.drawn = self.drawn - first * PER_CALL, end
        return [sample for batch in batches for sample in batch][known:]

    async def _batch(self, number: int, count: int) -> list[tuple[Completion, dict[str, str]]]:
        several = len(self.systems) > 1
        system = self.ctx.rng(number).choice(self.systems) if several else self.systems[0]
        found = await self.ctx.complete(
            self.model, self.family.prompt(system), n=count, index=number, **self.sampling
        )
        return [(answer, {"system": system} if several else {}) for answer in found]


class _Taken:
    """What is accepted, in order of the samples. The only place that decides."""

    def __init__(self, gate: Gate, *, keep_cut: bool) -> None:
        self.gate, self.keep_cut = gate, keep_cut
        self.made: list[tuple[str, dict[str, str], str]] = []  # prompt, what was drawn, call

    def read(
        self, samples: Sequence[tuple[Completion, dict[str, str]]], n: int, ctx: Context
    ) -> None:
        """Takes the good ones until there are n."""
        fit = []
        for answer, drew in samples:
            prompt = answer.content.strip()
            problem = self._problem(prompt, answer)
            ctx.count(problem or "written")
            if not problem:
                fit.append((prompt, drew, answer.call))
        self.gate.look([prompt for prompt, _, _ in fit])
        for prompt, drew, call in fit:
            if len(self.made) < n and self.gate.admit(prompt):
                self.made.append((prompt, drew, call))

    def _problem(self, prompt: str, answer: Completion) -> str:
        if answer.finish_reason == "length" and not self.keep_cut:
            return "cut off"
        if has_marks(prompt):
            return "marks of a template"
        return "" if usable(prompt) else "not usable"


@magpie.suits
def _suits(
    route: Sequence[ModelSpec], *, template: str, system: str | list[str] | None, **_: Any
) -> str | None:
    for spec in route:
        if words := cannot_complete(spec):
            return words
    family = family_of(template, route)
    if system is not None:
        family.prompt(SYSTEM)  # raises where the template has no place for one
    return None


@magpie.rule
def _rule(
    *, n: int, system: str | list[str] | None, temperature: float | None, **_: Any
) -> str | None:
    if n > 1 and temperature == 0:
        return "n above 1 at temperature 0 would buy the same prompt n times; raise temperature"
    every = [system] if isinstance(system, str) else system or []
    if system is not None and not (every and all(one.strip() for one in every)):
        return "system is empty or holds an empty text; take it out"
    return None


@magpie.plan
def _plan(rows: int, *, model: str, n: int, max_tokens: int, **_: Any) -> Forecast:
    calls = ceil(n / PER_CALL)
    return Forecast(rows * n, [CallForecast(model, rows * calls, ceil(n / calls), max_tokens)])
