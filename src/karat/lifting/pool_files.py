"""Pools: prompts with several answers, each with a value that people gave it.

Ratings are values as they are. A ranking or a vote says only which answer is better, so an answer's
value is then the share of the others it was preferred to: 0 to 1, whatever the number of answers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from karat.errors import RecipeError
from karat.rewards.rated_files import ROLES, chat_of, messages_of, read_records, text_of
from karat.row import Message
from karat.training._items import Pair, Rated, group_of
from karat.training._records import MANGLED, items_of

UNITS = {
    "rated": "helpfulness, 0 to 4", "ranked": "share of the others it is preferred to",
    "given": "value given by people",
}  # fmt: skip
VALUES = ("human", "score", "rating", "value")
ROWS = '{"prompt": …, "responses": [{"content": …, "human": …}, …]}'


class Answer(NamedTuple):
    """One answer, who wrote it ("" unknown), and its value to people."""

    text: str
    model: str
    human: float


class Pooled(NamedTuple):
    """A prompt and its answers."""

    messages: tuple[Message, ...]
    answers: tuple[Answer, ...]

    @property
    def tied(self) -> bool:
        """Whether people found all answers equally good."""
        return len({answer.human for answer in self.answers}) == 1

    @property
    def group(self) -> str:
        """Its first user turn, folded, as records of what a head was trained on have it."""
        try:
            return group_of(self.messages)
        except ValueError:
            return ""


class Pool(NamedTuple):
    """`kind` says what values mean: rated, ranked or given. `alone` prompts had one answer."""

    name: str
    kind: str
    prompts: list[Pooled]
    alone: int


def read_pool(path: Path) -> Pool:
    """A file of HelpSteer's ratings, OpenAssistant's trees, Arena's votes, pairs of chosen and
    rejected, or rows {prompt, responses: [{content, model, human}]}.

    Raises: RecipeError naming the line that is none of them.
    """
    if not path.is_file():
        raise RecipeError(f"no file {path}; --pool names one of answers that people have rated")
    kinds: set[str] = set()
    held: dict[tuple[Message, ...], list[Answer]] = {}
    for where, record in read_records(path):
        try:
            for kind, messages, answers in _of(record):
                kinds.add(kind)
                held.setdefault(messages, []).extend(answers)
        except MANGLED as error:
            why = f"it has no field {error}" if isinstance(error, KeyError) else error
            raise RecipeError(
                f"{where}: no answers rated by people that karat knows: {why}. Ratings, pairs of "
                f"chosen and rejected, rankings and votes are; else write a line a prompt: {ROWS}"
            ) from None
    if len(kinds) > 1:
        raise RecipeError(f"{path} holds values of {len(kinds)} kinds; put each in its own file")
    kind = next(iter(kinds), "")
    every = [Pooled(messages, _distinct(answers, kind)) for messages, answers in held.items()]
    found = [one for one in every if len(one.answers) > 1]
    if not found:
        raise RecipeError(f"{path}: no prompt has two different answers with a value")
    name = f"{path.resolve().parent.name}/{path.name}"
    return Pool(name, kinds.pop(), found, len(every) - len(found))


def _distinct(answers: Sequence[Answer], kind: str) -> tuple[Answer, ...]:
    """Each text once: with its first value, or of rankings, in which it may have met others each
    time, the mean."""
    kept: dict[str, list[Answer]] = {}
    for one in answers:
        if one.text.strip() and math.isfinite(one.human):
            kept.setdefault(" ".join(one.text.split()), []).append(one)
    if kind != "ranked":
        return tuple(same[0] for same in kept.values())
    return tuple(
        same[0]._replace(human=sum(one.human for one in same) / len(same)) for same in kept.values()
    )


Found = tuple[str, tuple[Message, ...], list[Answer]]


def _of(record: dict[str, Any]) -> Iterator[Found]:
    if not isinstance(record, dict):
        raise TypeError(f"a line is no record with fields, but a {type(record).__name__}")
    if isinstance(record.get("responses"), list) and "winner" not in record:
        answers = [
            Answer(text_of(one["content"]), str(one.get("model") or ""), _value(one))
            for one in record["responses"]
        ]
        yield "given", _prompt(record["prompt"]), answers
    elif "helpfulness" in record:
        one = Answer(text_of(record["response"]), "", float(record["helpfulness"]))
        yield "rated", _prompt(record["prompt"]), [one]
    elif "responses_a" in record:
        yield from _vote(record)
    elif isinstance(record.get("prompt"), dict):
        yield from _tree(record["prompt"], ())
    else:
        yield from _as_trained_on(record)


def _as_trained_on(record: dict[str, Any]) -> Iterator[Found]:
    """Of every other record that a reward can be trained on."""
    for item in items_of(record):
        if isinstance(item, Pair):
            yield "ranked", item.prompt, [
                Answer(item.chosen, "", 1.0), Answer(item.rejected, "", 0.0),
            ]  # fmt: skip
        elif isinstance(item, Rated):
            yield "rated", item.prompt, [Answer(item.response, "", item.ratings[0])]


def _value(one: dict[str, Any]) -> float:
    for name in VALUES:
        if one.get(name) is not None:
            return float(one[name])
    raise ValueError(f"a response has none of the fields {', '.join(VALUES)}, a number by people")


def _prompt(value: Any) -> tuple[Message, ...]:
    return messages_of(value) if isinstance(value, str) else chat_of(value)


def _vote(record: dict[str, Any]) -> Iterator[Found]:
    """Of the first turn: after it the two models answer different conversations."""
    prompts, a, b = record["prompts"], record["responses_a"], record["responses_b"]
    if len(prompts) == 1:
        value = {"model_a": 1.0, "model_b": 0.0}.get(record["winner"], 0.5)
        answers = [
            Answer(a[0] or "", str(record.get("model_a") or ""), value),
            Answer(b[0] or "", str(record.get("model_b") or ""), 1 - value),
        ]
        yield "ranked", (Message("user", prompts[0]),), answers


def _tree(node: dict[str, Any], path: tuple[Message, ...]) -> Iterator[Found]:
    path = (*path, Message(ROLES.get(node["role"], node["role"]), node["text"]))
    replies = node.get("replies") or []
    ranked = [reply for reply in replies if reply.get("rank") is not None]
    if path[-1].role == "user" and len(ranked) > 1:
        ranks = [float(reply["rank"]) for reply in ranked]
        answers = [
            Answer(
                reply["text"], str(reply.get("model_name") or "") if reply.get("synthetic") else "",
                sum(other > rank for other in ranks) / (len(ranks) - 1),
            )
            for reply, rank in zip(ranked, ranks, strict=True)
        ]  # fmt: skip
        yield "ranked", path, answers
    for reply in replies:
        yield from _tree(reply, path)
