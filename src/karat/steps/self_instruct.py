"""self_instruct: new instructions written after the manner of a few that are shown.

A handful of seed tasks shows a model what kind of thing is wanted better than a description does.
Each row shows itself and others of its stage; what comes back is taken only if it is new.
"""

from __future__ import annotations

import math
import re
import string
from typing import Annotated, Any

import msgspec

from karat.context import Context
from karat.curation.lists import parse_list
from karat.curation.rouge import THRESHOLD, RougePool, words_of
from karat.errors import RowError
from karat.forecast import CallForecast, Forecast
from karat.models.chat import Completion
from karat.peers import Peers
from karat.row import Ids, Message, Row
from karat.step import ModelName, Positive, Temperature, step
from karat.steps._gate import Gate, Novelty
from karat.steps._rewrites import licence
from karat.steps._usable import usable
from karat.templates import turns

PER_CALL = 5  # instructions asked for at once: longer lists repeat themselves
MACHINE = 4  # one example in so many may be a model's: 2 of 8 in Self-Instruct §2.2
DRAWN = 3  # rows drawn for each that is shown, to choose people's from
# Source of these: self_instruct/bootstrap_instructions.py of yizhongw/self-instruct. Its rule on a
# first letter beyond ASCII is left out, since it allows no language but English.
SHORTEST, LONGEST = 4, 150  # words
UNFIT = re.compile(  # what a model of text can neither see nor make
    r"\b(?:images?|graphs?|pictures?|files?|maps?|draw|plot|go to)\b", re.IGNORECASE
)
PROGRAM = "write a program"  # models put it before anything, leaving open what is asked
TECHNICAL = ("coding", "math")  # tasks that may speak of these, and need more than one line


@step
async def self_instruct(
    row: Row,
    ctx: Context,
    peers: Peers,
    *,
    model: ModelName,
    n: Positive = 5,
    examples: Positive = 8,
    rouge: Annotated[float, msgspec.Meta(gt=0, le=1)] = THRESHOLD,
    novelty: Novelty = {},  # noqa: B006  read only
    keep_seeds: bool = False,
    tries: Positive = 3,
    temperature: Temperature | None = 1.0,
    max_tokens: Positive = 500,
) -> list[Row]:
    """Writes `n` new instructions for each row, after `examples`: its own prompt and others'.

    The others are drawn by seed, anew for each call, people's before models' (up to one in four).
    An instruction is taken if its ROUGE-L F1 with all that was drawn and all taken before is below
    `rouge`, and if it is neither very short (under 4 words) nor very long (over 150), starts with
    no punctuation mark, and, unless the examples are coding or math, is one line and needs nothing
    that a model of text cannot see or make (images, files, maps). Five are asked for in one call;
    with `tries: 3` two calls more than that takes are made where too few are taken. What different
    rows write alike is found by a `dedupe: {measure: rouge_l, threshold: 0.7}` after it.

    `meta` holds the row ids of the `examples`, and the `task` where all of them have the same one.
    `keep_seeds` also lets the row itself go on.

    Source: Self-Instruct, Wang et al. (2212.10560) §2.2; its code for the filters and the 0.7.
    """
    if not row.prompt.strip():
        raise RowError("the row has no prompt to show; read seed tasks or put prompts before it")
    writer = _Writer(ctx, rouge, novelty)
    for attempt in range(_calls(n) - 1 + tries):
        missing = n - len(writer.made)
        if not missing:
            break
        shown = _shown(row, peers, examples, attempt, writer)
        ctx.rng(attempt).shuffle(shown)
        prompts = [" ".join(one.prompt.split()).rstrip(":：") for one in shown]
        text = ctx.render("self_instruct", examples=prompts, n=min(missing, PER_CALL))
        (answer,) = await ctx.chat(
            model, turns(text), index=attempt, temperature=temperature, max_tokens=max_tokens
        )
        writer.read(answer, shown, row, n)
    ids = Ids()
    for one in writer.made:
        one.id = ids.assign(one.messages, one.meta, row.id)
    return [row, *writer.made] if keep_seeds else writer.made


self_instruct.marks = ("writer", "task", "examples")


def _calls(n: int) -> int:
    """Calls that bring n instructions if every item is taken."""
    return math.ceil(n / PER_CALL)


def _shown(row: Row, peers: Peers, examples: int, index: int, writer: _Writer) -> list[Row]:
    """The rows that a call shows. All that were drawn are told to the writer's pool."""
    drawn = [row, *peers.draw(row.id, DRAWN * (examples - 1), index)]
    for one in drawn:
        writer.know(one)
    fit = [one for one in drawn[1:] if 0 < len(words_of(one.prompt)) <= LONGEST]
    people = [one for one in fit if one.source != "synthetic"]
    machine = [one for one in fit if one.source == "synthetic"]
    few = min(len(machine), examples // MACHINE)
    chosen = people[: examples - 1 - few]
    return [row, *chosen, *machine[: examples - 1 - len(chosen)]]


class _Writer:
    """Takes what a model writes for one row, in order, or refuses it."""

    def __init__(self, ctx: Context, rouge: float, novelty: Novelty) -> None:
        self.ctx = ctx
        self._gate = Gate(ctx, novelty)
        self.made: list[Row] = []
        self._pool = RougePool(rouge)
        self._known: set[str] = set()

    def know(self, row: Row) -> None:
        """Nothing near this row's prompt is taken."""
        if row.id not in self._known:
            self._known.add(row.id)
            self._pool.add(row.prompt)

    def read(self, answer: Completion, shown: list[Row], row: Row, n: int) -> None:
        """Takes the items of an answer that are new and fit, until there are n."""
        meta: dict[str, Any] = {"writer": "self_instruct", **licence(shown)}
        tasks = [one.meta.get("task") for one in shown]
        if tasks[0] is not None and all(task == tasks[0] for task in tasks):
            meta["task"] = tasks[0]
        meta["examples"] = [one.id for one in shown]
        for item in parse_list(answer.content, cut=answer.finish_reason == "length"):
            problem = self._admit(item, technical=meta.get("task") in TECHNICAL)
            self.ctx.count(problem or "taken")
            if not problem:
                message = Message("user", item)
                calls = [*row.calls, answer.call]
                self.made.append(Row("", [message], meta=dict(meta), calls=calls))
            if len(self.made) == n:
                return

    def _admit(self, item: str, *, technical: bool) -> str:
        """Takes an instruction into the pool, or says why not. The only place that decides."""
        if not usable(item):
            return "no usable prompt"
        if not SHORTEST <= len(words_of(item)) <= LONGEST:
            return "too short or too long"
        if item[0] in string.punctuation:
            return "starts with a mark"
        if not technical and "\n" in item:
            return "more than one line"
        if not technical and (UNFIT.search(item) or item.casefold().startswith(PROGRAM)):
            return "not for a model of text"
        if self._pool.near(item) is not None:
            return "too near"
        if not self._gate.admit(item):
            return "too close"
        self._pool.add(item)
        return ""


@self_instruct.plan
def _plan(
    rows: int, *, model: str, n: int, keep_seeds: bool, max_tokens: int, **_: Any
) -> Forecast:
    out = rows * (n + keep_seeds)
    return Forecast(out, [CallForecast(model, rows * _calls(n), 1, max_tokens)])
