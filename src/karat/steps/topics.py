"""topics: what to write prompts about, from a model, from the user's list, or from both."""

from __future__ import annotations

import math
import re
from typing import Any

from karat.context import Context
from karat.curation.lists import parse_list
from karat.errors import RowError
from karat.forecast import CallForecast, Forecast
from karat.models.chat import Completion
from karat.row import Ids, Row
from karat.step import ModelName, Positive, Temperature, step
from karat.templates import turns

MACRO_FROM = 12  # more topics than this are asked for as macro topics and their subtopics
TRIES = 4  # calls for one list before karat settles for fewer
LONGEST = 120  # characters; what is longer is a sentence about topics, not a topic
_EXPLAINED = re.compile(r": |：| [–—-] ")


@step
async def topics(
    row: Row,
    ctx: Context,
    *,
    model: ModelName | None = None,
    n: Positive | None = None,
    given: list[str] = [],  # noqa: B006  read only
    about: str | None = None,
    temperature: Temperature = 0.9,
    max_tokens: Positive = 400,
) -> list[Row]:
    """Makes one row per topic: the user's own (`given`), then a model's until there are `n`.

    More than 12 are asked for in two levels, macro topics and then subtopics of each, as in
    Nemotron-4 340B (arXiv 2406.11704 §3.2: 3K topics). Repeats are left out; a model that runs dry
    gives fewer, with a warning. `about` narrows the field. What is given stays as it is.
    """
    pool = _Pool(given)
    wanted = n if n is not None else len(pool.names)
    calls: list[str] = []
    if model is not None and len(pool.names) < wanted:
        ask = _Asker(ctx, model, temperature, max_tokens, calls)
        if wanted <= MACRO_FROM:
            await ask.fill(pool, wanted, "topics", about=about)
        else:
            await _two_levels(ask, pool, wanted, about)
    if not pool.names:
        raise RowError("the model named no topics")
    if len(pool.names) < wanted:
        ctx.warn(f"{len(pool.names)} topics instead of {wanted}: the model ran dry")
    ids = Ids()
    made = []
    for name in pool.names[:wanted]:
        meta = {"topic": name}
        made.append(Row(ids.assign([], meta, row.id), meta=meta, calls=list(calls)))
    return made


class _Pool:
    """Topics in the order they came, none twice."""

    def __init__(self, given: list[str]) -> None:
        self.names: list[str] = []
        self._seen: set[str] = set()
        for name in given:
            self._add(name.strip())

    def read(self, answer: Completion) -> None:
        """Takes the topics of a model's list, without what it explains behind a colon."""
        for item in parse_list(answer.content, cut=answer.finish_reason == "length"):
            name = _EXPLAINED.split(item, maxsplit=1)[0].rstrip(".。:：").strip()
            if name and len(name) <= LONGEST:
                self._add(name)

    def _add(self, name: str) -> None:
        if name.casefold() not in self._seen:
            self._seen.add(name.casefold())
            self.names.append(name)


class _Asker:
    """Asks for lists until a pool is full or the model repeats itself."""

    def __init__(
        self, ctx: Context, model: str, temperature: float, max_tokens: int, calls: list[str]
    ) -> None:
        self.ctx, self.model, self.calls = ctx, model, calls
        self.sampling: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens}

    async def fill(self, pool: _Pool, wanted: int, template: str, **values: Any) -> None:
        for attempt in range(TRIES):
            before = len(pool.names)
            text = self.ctx.render(template, n=wanted - before, avoid=pool.names[-20:], **values)
            (answer,) = await self.ctx.chat(self.model, turns(text), index=attempt, **self.sampling)
            self.calls.append(answer.call)
            pool.read(answer)
            if len(pool.names) >= wanted:
                return


async def _two_levels(ask: _Asker, pool: _Pool, wanted: int, about: str | None) -> None:
    macro = _Pool(pool.names)
    count = max(len(macro.names), math.ceil(math.sqrt(wanted)))
    await ask.fill(macro, count, "topics", about=about)
    each = math.ceil((wanted - len(pool.names)) / max(1, len(macro.names)))
    for name in macro.names[:count]:
        if len(pool.names) < wanted:
            room = min(wanted, len(pool.names) + each)
            await ask.fill(pool, room, "subtopics", topic=name)


@topics.rule
def _rule(*, model: str | None, n: int | None, given: list[str], **_: Any) -> str | None:
    if not all(name.strip() for name in given):
        return "given holds an empty topic; take it out"
    held = len(_Pool(given).names)
    if model is None and not given:
        return "needs a model to name topics, or topics of your own in given"
    if model is None and n is not None and n > held:
        return f"n is {n} but given holds {held} different topics; name a model for the others"
    if model is not None and n is None:
        return "needs n, how many topics the model shall write"
    return None


@topics.plan
def _plan(
    rows: int, *, model: str | None, n: int | None, given: list[str], max_tokens: int, **_: Any
) -> Forecast:
    held = len(_Pool(given).names)
    wanted = n if n is not None else held
    if model is None or wanted <= held:
        return Forecast(rows * wanted)
    calls = 1 if wanted <= MACRO_FROM else 1 + math.ceil(math.sqrt(wanted))
    return Forecast(rows * wanted, [CallForecast(model, rows * calls, 1, max_tokens)])
