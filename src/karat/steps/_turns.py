"""Turns of a conversation, out of the ways in which published datasets write them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson

from karat.row import Message

ROLES = {
    "system": "system", "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant",
    "bot": "assistant",
}  # fmt: skip
_STEERLM = re.compile(r"\n?<extra_id_[01]>(System|User|Assistant)\n?")
_HH = re.compile(r"\n\n(Human|Assistant):")


class UnusableError(ValueError):
    """A record that makes no row. The text before " (" is the category counted in the report."""

    def __init__(self, category: str, detail: str) -> None:
        super().__init__(f"{category}: {detail}")
        self.category = category
        self.detail = detail


def text(value: Any, name: str) -> str:
    """The value, when it is a text models can be sent. Raises: UnusableError."""
    if not isinstance(value, str):
        first = isinstance(value, list) and value and isinstance(value[0], str)
        hint = f"; '{name}.0' is its first one" if first else ""
        raise UnusableError("wrong type", f"'{name}' is {_kind(value)}, not a text{hint}")
    if "\0" in value:
        raise UnusableError(
            "NUL in the text", f"in '{name}'"
        )  # C libraries would cut the text there
    return value


def _kind(value: Any) -> str:
    words = {dict: "an object", list: "a list", bool: "true or false", type(None): "null"}
    return words.get(type(value), "a number")


def from_json_text(value: Any) -> Any:
    """A list or object that a CSV cell or text column holds as JSON text."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return value


def is_dialogue(value: Any) -> bool:
    """Whether a value holds turns rather than one text."""
    if isinstance(value, str):
        return value.startswith("\n\nHuman:")
    return isinstance(value, list) and bool(value) and is_turn(value[0])


def is_turn(value: Any) -> bool:
    return isinstance(value, dict) and ("role" in value or "from" in value)


def conversation(value: Any, name: str) -> list[Message]:
    """Turns out of a text, a list of role and content (or from and value), or marked-up text.

    `<extra_id_1>User` and `<extra_id_1>Assistant` part the turns of HelpSteer2's prompts, "\\n\\n
    Human:" and "\\n\\nAssistant:" those of Anthropic's HH. Raises: UnusableError.
    """
    listed = from_json_text(value)
    if value == []:
        raise UnusableError("empty prompt", f"'{name}' is an empty list")
    if isinstance(listed, list) and listed and all(map(is_turn, listed)):
        turns = [_turn(item, name) for item in listed]
    else:
        whole = text(value, name)
        if whole.startswith("\n\nHuman:"):
            turns = [Message(ROLES[r], c.strip()) for r, c in _pieces(_HH.split(whole))]
        elif "<extra_id_" in whole:
            turns = [Message(ROLES[r], c) for r, c in _pieces(_STEERLM.split(whole))]
        else:
            turns = [Message("user", whole)]
    return turns


def _pieces(split: list[str]) -> Iterator[tuple[str, str]]:
    if split[0].strip():
        yield "user", split[0]
    yield from ((role.lower(), body) for role, body in zip(split[1::2], split[2::2], strict=True))


def _turn(item: dict[str, Any], name: str) -> Message:
    word = item.get("role", item.get("from"))
    role = ROLES.get(word.lower()) if isinstance(word, str) else None
    if role is None:
        raise UnusableError("unknown role", f"{word!r} in '{name}'")
    content = item.get("content", item.get("value"))
    if isinstance(content, list) and all(isinstance(p, dict) and "text" in p for p in content):
        content = "".join(text(part["text"], name) for part in content)
    return Message(role, text(content, name))
