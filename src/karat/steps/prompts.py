"""prompts: what users would ask about a topic, in the voices of many users."""

from __future__ import annotations

import random
import re
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from karat.context import PROMPTS, Context
from karat.curation.lists import parse_list
from karat.errors import RowError
from karat.forecast import CallForecast, Forecast
from karat.row import Ids, Message, Row
from karat.step import ModelName, Positive, Temperature, step
from karat.templates import turns
from karat.together import all_of

Task = Literal["open_qa", "writing", "closed_qa", "coding", "math"]
PER_CALL = 5  # prompts asked for at once: longer lists repeat themselves
TRIES = 3
COPY = 0.6  # share of common words from which a prompt is a copy of an example
SHORTEST, LONGEST = 12, 1500  # characters of a usable prompt
SHORTEST_UNSPACED = 4  # of one written without spaces, where a character is half a word
# Thai, Lao, Burmese, Khmer, kana, Han
_UNSPACED = re.compile(
    "[\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)


@step
async def prompts(
    row: Row,
    ctx: Context,
    *,
    model: ModelName,
    per_topic: Positive = 5,
    tasks: list[Task] = ["open_qa"],  # noqa: B006  read only
    personas: list[str] | None = None,
    styles: list[str] | None = None,
    difficulties: list[str] | None = None,
    temperature: Temperature = 1.0,
    max_tokens: Positive = 500,
) -> list[Row]:
    """Turns a topic row into `per_topic` prompt rows, spread evenly over `tasks`.

    Each call is written under another system prompt: a persona, a style and a difficulty drawn by
    seed from the lists (karat's own in recipes/prompts/variety.yaml), recorded in `meta` with topic
    and task. Lists are read leniently and never with a second call; a list that comes out short is
    asked for again, three times at most. A row without a topic is dropped before any call.
    """
    topic = " ".join(str(row.meta.get("topic") or "").split())
    if not topic:
        raise RowError("the row has no topic; put topics before prompts or name its column")
    variety = {
        "persona": _variety("personas") if personas is None else personas,
        "style": _variety("styles") if styles is None else styles,
        "difficulty": _variety("difficulties") if difficulties is None else difficulties,
    }
    batches = await all_of(
        _write(ctx, row, topic, model, task, count, variety, number, temperature, max_tokens)
        for number, (task, count) in enumerate(_shares(tasks, per_topic, ctx.rng()))
    )
    ids = Ids()
    made = []
    for prompt, meta, call in (entry for batch in batches for entry in batch):
        messages = [Message("user", prompt)]
        made.append(
            Row(ids.assign(messages, meta, row.id), messages, meta=meta, calls=[*row.calls, call])
        )
    return made


async def _write(
    ctx: Context, row: Row, topic: str, model: str, task: str, count: int,
    variety: dict[str, list[str]], number: int, temperature: float, max_tokens: int,
) -> list[tuple[str, dict[str, Any], str]]:  # fmt: skip
    """(prompt, meta, call) of up to `count` prompts of one task."""
    found: list[tuple[str, dict[str, Any], str]] = []
    seen: set[str] = set()
    for attempt in range(TRIES):
        place = number * TRIES + attempt
        rng = ctx.rng(place)
        voice = {name: rng.choice(options) for name, options in variety.items() if options}
        told = {"persona": "", "style": "", "difficulty": "", **voice}
        ask = ctx.render(f"prompts_{task}", topic=topic, n=count - len(found), **voice)
        asked = turns(ask)
        messages = [Message("system", ctx.render("prompts_system", **told)), *asked]
        (answer,) = await ctx.chat(
            model, messages, temperature=temperature, max_tokens=max_tokens, index=place
        )
        for item in parse_list(answer.content, cut=answer.finish_reason == "length"):
            if item.casefold() in seen or _copies_example(item, asked):
                continue
            if _usable(item) and len(found) < count:
                seen.add(item.casefold())
                found.append((item, {**row.meta, "task": task, **voice}, answer.call))
        if len(found) == count:
            break
    return found


def _copies_example(item: str, asked: list[Message]) -> bool:
    """Whether a prompt is one of the template's own examples, or nearly: small models copy them."""
    words = set(item.casefold().split())
    examples = (e for turn in asked if turn.role == "assistant" for e in parse_list(turn.content))
    others = (set(example.casefold().split()) for example in examples)
    return any(len(words & other) >= COPY * len(words | other) for other in others)


def _usable(prompt: str) -> bool:
    """Whether it can be a message of a user: long enough, and more than one word where seen.

    One that ends in a colon, or speaks of a passage below and has none, has lost its other half.
    """
    things = r"(?:passages?|texts?|paragraphs?|articles?|excerpts?|code|functions?|snippets?|lists?"
    things += r"|programs?|sentences?|scripts?|tables?|quer(?:y|ies)|class|arrays?|data)\b"
    told = re.search(
        rf"\bfollowing (?:\w{{1,30}} ){{0,2}}{things}|\b{things} (?:\w{{1,30}} )?below\b|\bof the "
        r"following\b|\bbelow[.!?]?$",
        prompt,
        re.IGNORECASE,
    )
    after = told and re.search(r"[:：]\s*\S|[\"“«「`\[({\d]| '", prompt[told.end() :])
    if prompt.endswith((":", "：")) or (told and not after and "\n" not in prompt):
        return False
    letters = sum(1 for character in prompt if character.isalpha())
    if len(_UNSPACED.findall(prompt)) * 2 > letters:
        return SHORTEST_UNSPACED <= len(prompt) <= LONGEST
    return SHORTEST <= len(prompt) <= LONGEST and " " in prompt


def _shares(tasks: list[Task], total: int, rng: random.Random) -> list[tuple[Task, int]]:
    """(task, count) calls that make `total` prompts, tasks even and the odd ones drawn by seed."""
    order = list(tasks)
    rng.shuffle(order)
    calls = []
    for place, task in enumerate(order):
        count = total // len(order) + (place < total % len(order))
        while count > 0:
            calls.append((task, min(PER_CALL, count)))
            count -= PER_CALL
    return calls


@cache
def _variety(name: str) -> list[str]:
    path: Path = PROMPTS / "variety.yaml"
    return list(yaml.safe_load(path.read_text(encoding="utf-8"))[name])


@prompts.rule
def _rule(*, tasks: list[str], **_: Any) -> str | None:
    return None if tasks else "tasks is empty; name at least one"


@prompts.plan
def _plan(
    rows: int, *, model: str, per_topic: int, tasks: list[Task], max_tokens: int, **_: Any
) -> Forecast:
    calls = len(_shares(tasks, per_topic, random.Random(0)))
    return Forecast(rows * per_topic, [CallForecast(model, rows * calls, 1, max_tokens)])
