"""Human ratings and preferences, read into one shape whatever file they came in.

Rated sets differ in little but field names, so the reader looks at the keys of a record instead of
asking for a format: a file of a known shape needs no option. Prompts become chat messages, and
every item carries a `group`, its first user turn, so that no prompt is on both sides of a split.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from karat.errors import RecipeError
from karat.rewards.head import ATTRIBUTES, SCALE
from karat.rewards.rated_files import ROLES, chat_of, messages_of, read_records, text_of
from karat.row import Message

_HH_TURN = re.compile(r"\n\n(Human|Assistant): ?")


@dataclass(frozen=True, slots=True)
class Rated:
    """One response with its five human ratings, in the order of `ATTRIBUTES`, 0–4."""

    prompt: tuple[Message, ...]
    response: str
    ratings: tuple[float, ...]
    group: str


@dataclass(frozen=True, slots=True)
class Pair:
    """Two responses of which a human preferred one."""

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    group: str


@dataclass(slots=True)
class HumanData:
    """What files held, and how many items by file name; `skipped` counts ties and twins."""

    rated: list[Rated] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    files: dict[str, int] = field(default_factory=dict)
    skipped: int = 0

    @property
    def groups(self) -> set[str]:
        """The groups of everything held."""
        return {row.group for row in self.rated} | {pair.group for pair in self.pairs}


def read_human(paths: Sequence[Path]) -> HumanData:
    """Read JSON or JSONL files of ratings and preferences.

    Known records: HelpSteer (`prompt, response` and five attributes), pairs (`chosen, rejected`
    with or without `prompt`, hh-rlhf transcripts too), LLMBar (`input, output_1, output_2, label`),
    Arena (`prompts, responses_a, responses_b, winner`), OpenAssistant trees (`prompt.replies`).

    Raises:
        RecipeError: a file is missing, or line L of it is no such record.
    """
    data = HumanData()
    for path in paths:
        count = 0
        for where, record in read_records(path):
            try:
                items = list(_items(record))
            except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
                raise RecipeError(
                    f"{where}: no rating or preference karat knows: {error!r}"
                ) from error
            for item in items:
                if isinstance(item, Rated):
                    data.rated.append(item)
                elif item.chosen == item.rejected:
                    data.skipped += 1
                    continue
                else:
                    data.pairs.append(item)
                count += 1
            data.skipped += not items
        name = f"{path.parent.name}/{path.name}"
        data.files[name] = count
    return data


def _items(record: dict[str, Any]) -> Iterator[Rated | Pair]:
    if "helpfulness" in record:
        yield _rated(record)
    elif "chosen" in record:
        yield _chosen(record)
    elif "output_1" in record:
        first, second = record["output_1"], record["output_2"]
        swap = {1: False, 2: True}[int(record["label"])]
        yield _pair((Message("user", record["input"]),), first, second, swap)
    elif "responses_a" in record:
        yield from _arena(record)
    elif isinstance(record.get("prompt"), dict):
        yield from _tree(record["prompt"], ())
    else:
        raise KeyError("helpfulness, chosen, output_1, responses_a or prompt.replies")


def _rated(record: dict[str, Any]) -> Rated:
    prompt = record["prompt"]
    messages = messages_of(prompt) if isinstance(prompt, str) else chat_of(prompt)
    ratings = tuple(float(record[name]) for name in ATTRIBUTES)
    if not all(math.isfinite(r) and SCALE[0] <= r <= SCALE[1] for r in ratings):
        raise ValueError(f"ratings {ratings} outside {SCALE}")
    return Rated(messages, text_of(record["response"]), ratings, _group(messages))


def _chosen(record: dict[str, Any]) -> Pair:
    prompt, chosen, rejected = record.get("prompt"), record["chosen"], record["rejected"]
    if isinstance(chosen, list):
        before = [] if prompt is None or chosen[:-1] else prompt
        messages = (*chat_of(before), *chat_of(chosen[:-1]))
        return _pair(messages, chosen[-1]["content"], rejected[-1]["content"])
    if prompt is None:
        turns, other = _transcript(chosen), _transcript(rejected)
        return _pair(turns[:-1], turns[-1].content, other[-1].content)
    return _pair(
        messages_of(prompt) if isinstance(prompt, str) else chat_of(prompt), chosen, rejected
    )


def _arena(record: dict[str, Any]) -> Iterator[Pair]:
    winner = record["winner"]
    if winner not in ("model_a", "model_b"):
        return
    prompts, a, b = record["prompts"], record["responses_a"], record["responses_b"]
    # After the first turn the two models answer different conversations; only it is a fair pair.
    if len(prompts) == 1:
        yield _pair((Message("user", prompts[0]),), a[0] or "", b[0] or "", winner == "model_b")


def _tree(node: dict[str, Any], path: tuple[Message, ...]) -> Iterator[Pair]:
    path = (*path, Message(ROLES.get(node["role"], node["role"]), node["text"]))
    replies = node.get("replies") or []
    if path[-1].role == "user":
        ranked = sorted((r for r in replies if r.get("rank") is not None), key=lambda r: r["rank"])
        for i, better in enumerate(ranked):
            yield from (_pair(path, better["text"], worse["text"]) for worse in ranked[i + 1 :])
    for reply in replies:
        yield from _tree(reply, path)


def _transcript(text: str) -> tuple[Message, ...]:
    _, *rest = _HH_TURN.split(text)
    turns = zip(rest[::2], rest[1::2], strict=True)
    return tuple(Message(ROLES[role], content.strip()) for role, content in turns)


def _pair(
    messages: tuple[Message, ...], chosen: object, rejected: object, swap: bool = False
) -> Pair:
    chosen, rejected = text_of(chosen), text_of(rejected)
    if swap:
        chosen, rejected = rejected, chosen
    return Pair(messages, chosen, rejected, _group(messages))


def _group(messages: Sequence[Message]) -> str:
    first = next(m.content for m in messages if m.role == "user")
    return " ".join(first.lower().split())
