"""Anthropic's replies, whole and as events, in karat's own types.

Tokens read from a cache or written to one are not in `input_tokens` there; karat's count of the
prompt holds them all.
Source: the `anthropic` package 2.12, types/message.py, types/usage.py, types/raw_*.py; Anthropic's
docs, "Streaming Messages".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from karat.errors import ProviderError
from karat.models.chat import ChatReply, Choice, Delta, ToolCall, Usage
from karat.models.providers._anthropic_turns import ANSWER
from karat.models.providers._http import count, json_text, parse
from karat.models.providers._text import text

FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
USED = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")
WRONG = (ValueError, TypeError, KeyError, AttributeError)


def read_message(body: Any) -> ChatReply:
    """The one answer of a message. Raises: one of WRONG when it is none."""
    if body["type"] != "message":
        raise TypeError("not a message")
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[ToolCall] = []
    answered = False
    for block in body["content"]:
        kind = block["type"]
        if kind == "text":
            texts.append(text(block["text"]))
        elif kind == "thinking":
            thoughts.append(text(block["thinking"]))
        elif kind == "tool_use" and block["name"] == ANSWER:
            texts.append(json_text(block["input"]))
            answered = True
        elif kind == "tool_use":
            made = json_text(block["input"])
            calls.append(ToolCall(text(block["id"]), text(block["name"]), made))
    choice = Choice(
        "".join(texts),
        finish(body.get("stop_reason"), answered),
        reasoning="\n\n".join(thoughts),
        tool_calls=tuple(calls),
    )
    return ChatReply([choice], usage(body.get("usage")), text(body.get("model") or ""))


def finish(reason: object, answered: bool = False) -> str:
    """Why it stopped, in karat's words; calling the tool that carries the answer is no call."""
    if reason == "tool_use" and answered:
        return "stop"
    return FINISH.get(reason, reason) if isinstance(reason, str) else ""


def usage(found: Any) -> Usage:
    """What was used, from as much as is said of it."""
    said = found if isinstance(found, dict) else {}
    fresh, cached, written, output = (count(said.get(name)) for name in USED)
    details = said.get("output_tokens_details")
    thought = count(details.get("thinking_tokens")) if isinstance(details, dict) else None
    return Usage(
        None if fresh is None else fresh + (cached or 0) + (written or 0),
        cached or 0,
        written or 0,
        output,
        thought or 0,
    )


class Reader:
    """Reads the events of one answer. `told` makes an error event an error to raise."""

    def __init__(
        self,
        told: Callable[[bytes], ProviderError],
        unreadable: Callable[[str, bytes], ProviderError],
    ) -> None:
        self._told, self._unreadable = told, unreadable
        self._used: dict[str, Any] = {}
        self._tools: dict[Any, int] = {}  # a block's index → which of the calls it is
        self._empty: set[Any] = set()  # blocks of calls whose arguments have not come yet
        self._answers: set[Any] = set()  # blocks that carry an answer with a schema
        self._thoughts = 0

    def read(self, event: str, data: bytes) -> list[Delta]:
        """The deltas of one event; those of a kind nobody knew are none."""
        try:
            body = parse(data)
            kind = body["type"]
            if kind == "error":
                raise self._told(data)
            read = getattr(self, f"_{kind}", None) if kind in EVENTS else None
            found: list[Delta] = read(body) if read else []
            return found
        except WRONG as error:
            raise self._unreadable("a piece of an answer", data) from error

    def _message_start(self, body: Any) -> list[Delta]:
        message = body["message"]
        return [Delta(usage=self._more(message), served_model=text(message.get("model") or ""))]

    def _content_block_start(self, body: Any) -> list[Delta]:
        place, block = body["index"], body["content_block"]
        kind = block["type"]
        if kind == "text":
            return [Delta(content=text(block.get("text") or ""))]
        if kind == "thinking":
            self._thoughts += 1
            apart = "\n\n" if self._thoughts > 1 else ""
            return [Delta(reasoning=apart + text(block.get("thinking") or ""))]
        if kind != "tool_use":
            return []
        whole = json_text(block["input"]) if block.get("input") else ""
        if not whole:
            self._empty.add(place)
        if block["name"] == ANSWER:
            self._answers.add(place)
            return [Delta(content=whole)]
        number = self._tools.setdefault(place, len(self._tools))
        return [Delta(tool=(number, text(block["id"]), text(block["name"]), whole))]

    def _content_block_delta(self, body: Any) -> list[Delta]:
        place, delta = body["index"], body["delta"]
        kind = delta["type"]
        if kind == "text_delta":
            return [Delta(content=text(delta["text"]))]
        if kind == "thinking_delta":
            return [Delta(reasoning=text(delta["thinking"]))]
        if kind == "input_json_delta" and delta["partial_json"]:
            self._empty.discard(place)
            return self._piece(place, text(delta["partial_json"]))
        return []  # signatures and citations

    def _content_block_stop(self, body: Any) -> list[Delta]:
        place = body["index"]
        if place not in self._empty:
            return []
        self._empty.discard(place)
        return self._piece(place, "{}")  # a call without arguments, which come as no piece at all

    def _piece(self, place: Any, piece: str) -> list[Delta]:
        if place in self._answers:
            return [Delta(content=piece)]
        return [Delta(tool=(self._tools[place], "", "", piece))]

    def _message_delta(self, body: Any) -> list[Delta]:
        reason = finish(body["delta"].get("stop_reason"), bool(self._answers))
        return [Delta(finish_reason=reason, usage=self._more(body))]

    def _more(self, body: Any) -> Usage:
        """The usage so far: the start counts the prompt, every later report all there is."""
        said = body.get("usage")
        if isinstance(said, dict):
            self._used.update({name: value for name, value in said.items() if value is not None})
        return usage(self._used)


EVENTS = {
    "message_start", "content_block_start", "content_block_delta", "content_block_stop",
    "message_delta",
}  # fmt: skip
