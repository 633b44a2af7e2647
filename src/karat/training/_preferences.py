"""Preferences as published sets write them, as pairs.

What is no preference (a tie, the same text twice, answers to two conversations) is handed back as a
reason in words, so that it can be counted: a loader that keeps a tie makes a pair whose chosen and
rejected answers are the same. All functions raise one of `karat.training._records.MANGLED` for a
record that is not what its keys say.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from karat.rewards.rated_files import ROLES, text_of
from karat.row import Message
from karat.training._items import PROMPTS, Pair, chat, group_of, number, prompt_of

STRENGTHS = (
    ("response_1", "response_2", "preference_strength"),
    ("response1", "response2", "overall_preference"),
)
_HH_TURN = re.compile(r"\n\n(Human|Assistant): ?")
_STRONGEST = 3.0
_TIES = ("tie", "tie (bothbad)", "both_bad", "bothbad")


def compared(record: Mapping[str, Any], first: str, second: str, given: object) -> Pair | str:
    """HelpSteer2 and 3: a strength of −3–3, negative where the first is better."""
    strength = number(given)
    if math.isnan(strength):
        return "not compared"
    if abs(strength) > _STRONGEST:
        raise ValueError(f"a preference of {strength:g} is outside −3–3")
    if strength == 0:
        return "tie"
    size = max(1.0, abs(strength))
    return pair(prompt_of(record), record[first], record[second], size, swap=strength > 0)


def chosen_of(record: Mapping[str, Any]) -> Iterator[Pair | str]:
    """TRL's shapes with and without a prompt, transcripts, and lists of answers (RewardBench 2)."""
    chosen, rejected = record["chosen"], record["rejected"]
    scores = [number(record.get(name)) for name in ("score_chosen", "score_rejected")]
    strength = number(record.get("strength"))
    if not math.isnan(strength) and not 0 < strength <= _STRONGEST:
        raise ValueError(f"a strength of {strength:g} is outside 1–3")
    if scores[0] == scores[1]:
        yield "tie"
    elif chosen and isinstance(chosen, list) and all(isinstance(one, str) for one in chosen):
        messages = prompt_of(record)
        yield from (pair(messages, *two, strength) for two in product(chosen, rejected))
    elif isinstance(chosen, list):
        talk, other = chat(chosen), chat(rejected)
        # An answer alone goes on from the prompt; what begins with a question holds it already.
        before = prompt_of(record) if talk and talk[0].role == "assistant" else ()
        yield _parted((*before, *talk), (*before, *other), strength)
    elif not any(record.get(name) for name in PROMPTS):
        yield _parted(_transcript(chosen), _transcript(rejected), strength)
    else:
        yield pair(prompt_of(record), chosen, rejected, strength)


def labelled(record: Mapping[str, Any]) -> Pair | str:
    """LLMBar: the label says which of two outputs is better, 1 or 2."""
    if record["label"] not in (1, 2, "1", "2"):
        raise ValueError(f"a label of 1 or 2 was wanted, not {record['label']!r:.40}")
    question = (Message("user", text_of(record["input"])),)
    swap = int(record["label"]) == 2
    return pair(question, record["output_1"], record["output_2"], swap=swap)


def arena(record: Mapping[str, Any]) -> Pair | str:
    """Votes on two conversations, of which the user's turns are the same."""
    if "winner" in record:
        winner = record["winner"]
    else:
        first, second = (number(record[f"winner_model_{side}"]) for side in "ab")
        winner = "tie" if first == second else "model_b" if second > first else "model_a"
    if winner in _TIES:
        return "tie"
    if winner not in ("model_a", "model_b"):
        raise ValueError(f"a winner of model_a, model_b or tie was wanted, not {winner!r:.40}")
    swap = winner == "model_b"
    return _parted(_side(record, "a"), _side(record, "b"), swap=swap)


def _side(record: Mapping[str, Any], side: str) -> tuple[Message, ...]:
    if f"conversation_{side}" in record:
        return chat(record[f"conversation_{side}"])
    if f"responses_{side}" in record:
        asked, said = record["prompts"], record[f"responses_{side}"]
    else:
        asked, said = (_listed(record[name]) for name in ("prompt", f"response_{side}"))
    # A model that failed has said null.
    turns = [(Message("user", text_of(q)), Message("assistant", text_of(a or "")))
             for q, a in zip(asked, said, strict=True)]  # fmt: skip
    return tuple(message for turn in turns for message in turn)


def _listed(value: object) -> list[Any]:
    """A list, or its JSON. Half a surrogate pair in it becomes '?'."""
    if isinstance(value, list):
        return value
    found = json.loads(text_of(value))
    if not isinstance(found, list):
        raise TypeError("a list of turns was wanted")
    return [t.encode("utf-8", "replace").decode() if isinstance(t, str) else t for t in found]


def tree(node: Mapping[str, Any], path: tuple[Message, ...]) -> Iterator[Pair | str]:
    path = (*path, Message(ROLES.get(node["role"], node["role"]), text_of(node["text"])))
    replies = node.get("replies") or []
    if path[-1].role == "user":
        ranked = sorted((r for r in replies if r.get("rank") is not None), key=lambda r: r["rank"])
        for i, better in enumerate(ranked):
            yield from (pair(path, better["text"], worse["text"]) for worse in ranked[i + 1 :])
    for reply in replies:
        yield from tree(reply, path)


def _parted(
    talk: Sequence[Message], other: Sequence[Message], strength: float = math.nan, *,
    swap: bool = False,
) -> Pair | str:  # fmt: skip
    """The pair of two conversations that are the same up to their last answers."""
    if not talk or not other:
        raise ValueError("a conversation without a turn")
    if talk[-1].role != "assistant" or other[-1].role != "assistant":
        return "no answer at the end"
    if talk[:-1] != other[:-1]:
        return "the conversations part before the last turn"
    return pair(tuple(talk[:-1]), talk[-1].content, other[-1].content, strength, swap=swap)


def pair(
    messages: tuple[Message, ...], chosen: object, rejected: object, strength: float = math.nan, *,
    swap: bool = False,
) -> Pair | str:  # fmt: skip
    chosen, rejected = text_of(chosen), text_of(rejected)
    if swap:
        chosen, rejected = rejected, chosen
    group = group_of(messages)
    if not chosen.strip() or not rejected.strip():
        return "empty answer"
    if chosen.split() == rejected.split():
        return "same text twice"
    return Pair(messages, chosen, rejected, group, strength)


def _transcript(text: object) -> tuple[Message, ...]:
    _, *rest = _HH_TURN.split(text_of(text))
    turns = zip(rest[::2], rest[1::2], strict=True)
    return tuple(Message(ROLES[role], content.strip()) for role, content in turns)
