"""What human data comes down to: rated responses, pairs, and a rater's lines.

Every item carries a `group`, its first user turn, so that no prompt is on both sides of a split,
whichever files it came from.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karat.rewards.rated_files import ROLES, chat_of, messages_of, text_of
from karat.row import Message

PROMPTS = ("prompt", "messages", "context")


@dataclass(frozen=True, slots=True)
class Rated:
    """One response with five human ratings in the order of `ATTRIBUTES`, 0–4; NaN = not rated."""

    prompt: tuple[Message, ...]
    response: str
    ratings: tuple[float, ...]
    group: str


@dataclass(frozen=True, slots=True)
class Pair:
    """Two responses of which a human preferred one; `strength` 1–3: how clearly, NaN = unknown."""

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    group: str
    strength: float = math.nan


@dataclass(frozen=True, slots=True)
class Line:
    """A rater's values of one response, by attribute: a line of karat's `ratings.jsonl`.

    `key` is the `rating_key` in hex of what was rated; where the line says it in full, `prompt` and
    `response` do. An empty `rater` is another one on every line.
    """

    values: dict[str, tuple[float, ...]]
    rater: str = ""
    key: str = ""
    prompt: tuple[Message, ...] = ()
    response: str = ""


Item = Rated | Pair | Line | str  # a text is the reason why a record holds nothing


def group_of(messages: Sequence[Message]) -> str:
    """The first user turn, folded: no prompt may be on both sides of a split.

    Raises: ValueError where there is none.
    """
    first = next((m.content for m in messages if m.role == "user"), None)
    if first is None:
        raise ValueError("no user turn in the prompt")
    return " ".join(first.lower().split())


def prompt_marks(groups: Iterable[str]) -> NDArray[np.uint64]:
    """A mark of each `group`, in order: the first 8 bytes, little-endian, of its BLAKE2b hash.

    A reward head carries the marks of what it was trained on, so that anyone can tell whether a
    prompt is new to it without the prompts themselves.
    """
    hashes = (hashlib.blake2b(group.encode("utf-8", "replace"), digest_size=8) for group in groups)
    return np.frombuffer(b"".join(found.digest() for found in hashes), dtype="<u8")


def prompt_of(record: Mapping[str, Any]) -> tuple[Message, ...]:
    """A record's prompt: HelpSteer's text with separators, or messages. Raises: as `chat`."""
    value = next((record[name] for name in PROMPTS if record.get(name) is not None), None)
    if value is None:
        raise KeyError("prompt")
    return messages_of(value) if isinstance(value, str) else chat(value)


def chat(value: object) -> tuple[Message, ...]:
    """A list of role and content. Raises: LookupError, TypeError, ValueError."""
    if not isinstance(value, list):
        raise TypeError(f"a list of messages was wanted, not {type(value).__name__}")
    messages = chat_of(value)
    return tuple(Message(ROLES.get(text_of(m.role), m.role), m.content) for m in messages)


def number(value: object) -> float:
    """NaN for nothing; a cell of a CSV file is a text. Raises: TypeError, ValueError."""
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError(f"a number was wanted, not {value!r:.40}")
    return float(value)
