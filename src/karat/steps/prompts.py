"""prompts: what users would ask about a topic, in the voices of many users."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args

import msgspec

from karat.context import Context
from karat.curation.lists import parse_list
from karat.errors import RowError
from karat.forecast import CallForecast, Forecast
from karat.models.chat import Completion
from karat.row import Ids, Message, Row
from karat.step import ModelName, Positive, Temperature, step
from karat.steps._gate import Gate, Novelty
from karat.steps._usable import usable
from karat.steps._variety import Axis, Variety, axes, draw, problem, shipped
from karat.templates import turns
from karat.together import all_of

Task = Literal["open_qa", "writing", "closed_qa", "coding", "math"]
Weight = Annotated[float, msgspec.Meta(gt=0)]
Tasks = list[Task] | dict[Task, Weight]
Levels = Annotated[dict[Task, list[str]], msgspec.Meta(extra={"default": "karat's own"})]
PER_CALL = 5  # prompts asked for at once: longer lists repeat themselves
PLACES = 100_000  # more calls than one wave makes: `tries` changes no index
COPY = 0.6  # share of common words from which a prompt is a copy of an example


@step
async def prompts(
    row: Row,
    ctx: Context,
    *,
    model: ModelName,
    per_topic: Positive = 5,
    tasks: Tasks = ["open_qa"],  # noqa: B006  read only
    variety: Variety = "default",
    levels: Levels = {},  # noqa: B006  read only
    revise: bool = False,
    novelty: Novelty = {},  # noqa: B006  read only
    tries: Positive = 3,
    temperature: Temperature | None = 1.0,
    max_tokens: Positive = 500,
) -> list[Row]:
    """Turns a topic row into `per_topic` prompt rows, spread evenly over `tasks`.

    A mapping of tasks states proportions (`{open_qa: 3, math: 1}`), which hold over all topics.
    Each call is made under another system prompt: a persona, tone, length, expertise, language,
    format and difficulty drawn by seed from `variety` (karat's own lists are in
    recipes/prompts/variety.yaml), recorded in `meta` with topic and task. Coding and math have a
    difficulty of their own, drawn from `levels`, and writing a kind of document.

    `revise` makes a second call for each prompt, which makes it more specific; the draft stays in
    `meta`. A prompt too close to one written before is refused (`novelty`: least similarity of
    `words` and of `meaning`, or `off`), and the model is asked again with what to keep away from,
    `tries` times in all. A topic from which nothing new comes is left alone. Lists are read
    leniently and never with a second call. A row without a topic is dropped before any call.

    Source: tasks, keywords, levels and the revised draft: Nemotron-4 340B (2406.11704) §3.2.1.
    """
    topic = " ".join(str(row.meta.get("topic") or "").split())
    if not topic:
        raise RowError("the row has no topic; put topics before prompts or name its column")
    writer = _Writer(
        ctx, row, topic, model, axes(variety, "prompts"), shipped()["levels"] | levels,
        Gate(ctx, novelty), {"temperature": temperature, "max_tokens": max_tokens}, revise=revise,
    )  # fmt: skip
    wanted = [task for task in tasks if ctx.wants({**row.meta, "task": task})]
    weights = [tasks[task] if isinstance(tasks, dict) else 1.0 for task in wanted]
    await writer.write(_shares(wanted, weights, per_topic, ctx.rng()), tries)
    ids = Ids()
    made = []
    for prompt, meta, calls in writer.found:
        messages = [Message("user", prompt)]
        made.append(
            Row(ids.assign(messages, meta, row.id), messages, meta=meta, calls=[*row.calls, *calls])
        )
    if not made and not wanted:
        row.dropped = "enough of this topic (exactly)"
        return [row]
    return made


prompts.marks = ("task", "draft", *get_args(Axis))
prompts.needs = ("topic",)


class _Share(msgspec.Struct):
    """Prompts of one task that one call is to bring, and those that it has brought."""

    task: Task
    count: int
    number: int
    found: list[str] = []


class _Writer:
    """Writes the prompts of one topic: wave by wave, in each of them all calls at once."""

    def __init__(
        self, ctx: Context, row: Row, topic: str, model: str, options: dict[str, list[str]],
        levels: dict[str, list[str]], gate: Gate, sampling: dict[str, Any], *, revise: bool,
    ) -> None:  # fmt: skip
        self.ctx, self.row, self.topic, self.model = ctx, row, topic, model
        self.options, self.levels, self.gate = options, levels, gate
        self.sampling, self.revise = sampling, revise
        self.found: list[tuple[str, dict[str, Any], list[str]]] = []  # prompt, meta, calls

    async def write(self, shares: list[_Share], tries: int) -> None:
        for attempt in range(tries):
            if not shares:
                return
            places = [attempt * PLACES + share.number for share in shares]
            asked = await all_of(self._ask(*one) for one in zip(shares, places, strict=True))
            # All of a wave is read in one order, so that the gate sees prompts in that order too.
            short = []
            for share, (messages, voice, answer) in zip(shares, asked, strict=True):
                items = self._read(answer, messages)
                added = await self._take(share, items, voice, answer)
                if len(share.found) < share.count:
                    if added or attempt == 0:
                        short.append(share)
                    else:
                        self.ctx.count("ran dry")
            shares = short

    async def _ask(
        self, share: _Share, place: int
    ) -> tuple[list[Message], dict[str, str], Completion]:
        """One call for a list: what was asked, in which voice, and the answer."""
        rng = self.ctx.rng(place)
        options = dict(self.options)
        if share.task in self.levels:
            options["difficulty"] = self.levels[share.task]
        if share.task == "writing":
            options.setdefault("kind", shipped()["documents"])
        known = {**self.row.meta, "task": share.task}
        for axis, values in options.items():  # of a field that is counted, values still wanted
            wanted = [value for value in values if self.ctx.wants({**known, axis: value})]
            options[axis] = wanted or values
        voice = draw(rng, {axis: values for axis, values in options.items() if values})
        told = {**dict.fromkeys(shipped()["prompts"], ""), **voice}
        ask = self.ctx.render(
            f"prompts_{share.task}", topic=self.topic, n=share.count - len(share.found),
            avoid=self.gate.avoid(), **{"kind": "", **told},
        )  # fmt: skip
        messages = turns(ask)
        system = Message("system", self.ctx.render("prompts_system", **told))
        (answer,) = await self.ctx.chat(
            self.model, [system, *messages], index=place, **self.sampling
        )
        return messages, voice, answer

    def _read(self, answer: Completion, asked: Sequence[Message]) -> list[str]:
        """The usable items of an answer."""
        items = parse_list(answer.content, cut=answer.finish_reason == "length")
        examples = _examples(asked)
        fit = [item for item in items if usable(item) and not _copies(item, examples)]
        self.ctx.count("items", len(items))
        self.ctx.count("not usable", len(items) - len(fit))
        self.gate.look(fit)
        return fit

    async def _take(
        self, share: _Share, items: list[str], voice: dict[str, str], answer: Completion
    ) -> int:
        """Adds what is new of an answer's items; returns how many that were."""
        if self.revise:
            items = [item for item in items if self.gate.near(item) is None]
            items = items[: share.count - len(share.found)]
            finals = await all_of(self._revised(item, share, i) for i, item in enumerate(items))
        else:
            finals = [(item, "") for item in items]
        added = 0
        for draft, (prompt, call) in zip(items, finals, strict=True):
            if len(share.found) == share.count:
                break
            if not self.gate.admit(prompt):
                self.ctx.count("too close")
            else:
                meta = {**self.row.meta, "task": share.task, **voice}
                if call:
                    meta["draft"] = draft
                calls = [answer.call, call] if call else [answer.call]
                self.found.append((prompt, meta, calls))
                share.found.append(prompt)
                added += 1
        return added

    async def _revised(self, draft: str, share: _Share, place: int) -> tuple[str, str]:
        """(prompt, key of its call): the draft made specific, or as it is where that fails."""
        messages = turns(self.ctx.render("prompts_revise", topic=self.topic, task=share.task))
        messages[-1] = Message("user", f"{messages[-1].content}\n\n{draft}")
        (answer,) = await self.ctx.chat(self.model, messages, index=place, **self.sampling)
        found = parse_list(answer.content, cut=answer.finish_reason == "length")
        prompt = found[0] if len(found) == 1 else " ".join(answer.content.split())
        if answer.finish_reason == "length" or not usable(prompt):
            self.ctx.count("not revised")
            return draft, ""
        return prompt, answer.call


def _examples(asked: Sequence[Message]) -> list[set[str]]:
    """The words of each of a template's own examples."""
    texts = (turn.content for turn in asked if turn.role == "assistant")
    return [set(example.casefold().split()) for text in texts for example in parse_list(text)]


def _copies(item: str, examples: Sequence[set[str]]) -> bool:
    """Whether a prompt is one of the examples, or nearly: small models copy them."""
    words = set(item.casefold().split())
    return any(len(words & other) >= COPY * len(words | other) for other in examples)


def _shares(
    tasks: Sequence[Task], weights: Sequence[float], total: int, rng: random.Random
) -> list[_Share]:
    """Calls that make `total` prompts in these proportions, what is left over drawn by seed.

    Each task gets the whole part of its share, and the rest by systematic sampling of the
    fractions, so that over many topics the proportions hold. Source: Madow 1949.
    """
    order = sorted(range(len(tasks)), key=lambda _: rng.random())
    ideal = [total * weights[i] / sum(weights) for i in order]
    edge, before, calls = rng.random(), 0.0, list[_Share]()
    for place, exact in zip(order, ideal, strict=True):
        # How many of the points edge, edge + 1, edge + 2, … lie in this task's stretch.
        count = _points(before + exact, edge) - _points(before, edge)
        before += exact
        while count > 0:
            calls.append(_Share(tasks[place], min(PER_CALL, count), len(calls)))
            count -= PER_CALL
    return calls


def _points(end: float, edge: float) -> int:
    """How many of edge, edge + 1, … lie below `end`, less a hair for the sum's last bit."""
    return max(0, int(end - edge + 1 - 1e-9)) if end > edge else 0


@prompts.rule
def _rule(*, tasks: Tasks, variety: Variety, levels: dict[str, list[str]], **_: Any) -> str | None:
    if not tasks:
        return "tasks is empty; name at least one"
    if any(not values for values in levels.values()):
        return "levels holds an empty list; leave the task out for karat's own levels"
    return problem(variety)


@prompts.plan
def _plan(
    rows: int, *, model: str, per_topic: int, tasks: Tasks, revise: bool, max_tokens: int, **_: Any
) -> Forecast:
    weights = list(tasks.values()) if isinstance(tasks, dict) else [1.0] * len(tasks)
    calls = len(_shares(list(tasks), weights, per_topic, random.Random(0)))
    drafts = rows * per_topic if revise else 0
    return Forecast(rows * per_topic, [CallForecast(model, rows * calls + drafts, 1, max_tokens)])
