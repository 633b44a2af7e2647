"""A streamed answer in OpenAI's format: chunks to deltas.

Source: the API reference of /v1/chat/completions, "The chat completion chunk object".
"""

from __future__ import annotations

from typing import Any, Protocol

import orjson

from karat.errors import ProviderError
from karat.models.chat import Delta
from karat.models.providers._http import parse
from karat.models.providers._openai_shapes import (
    finish_reason,
    read_usage,
    texts,
    thoughts,
)
from karat.models.providers._thinking import Thinking
from karat.models.services import Service


class Teller(Protocol):
    """Who words an error: the provider whose answer it is."""

    service: Service

    def told(self, error: Any) -> ProviderError: ...
    def unreadable(self, what: str, body: bytes) -> ProviderError: ...


class Reader:
    """Reads the events of one answer."""

    def __init__(self, teller: Teller) -> None:
        self._teller = teller
        self._thinking: Thinking | None = Thinking()
        self._refused = self._called = False

    def read(self, event: str, data: bytes) -> list[Delta]:
        """Raises: ProviderError for an error sent in the stream, or for what is no chunk."""
        if data.strip() == b"[DONE]":
            return self._rest()
        try:
            chunk = parse(data)
            error = chunk.get("error") or (chunk if _is_error(event, chunk) else None)
            if error:
                raise self._teller.told(error)
            return self._chunk(chunk)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise self._teller.unreadable("a piece of an answer", data) from error

    def _chunk(self, chunk: Any) -> list[Delta]:
        found = Delta(served_model=str(chunk.get("model") or ""))
        deltas = [found]
        for choice in chunk.get("choices") or ():
            if choice.get("index"):
                continue  # one answer a stream: others were not asked for
            if choice.get("error"):
                raise self._teller.told(choice["error"])
            deltas += self._choice(found, choice)
        usage = chunk.get("usage") or (chunk.get("x_groq") or {}).get("usage")
        if usage:
            found.usage = read_usage(usage, self._teller.service)
        return [delta for delta in deltas if delta != Delta()]

    def _choice(self, found: Delta, choice: Any) -> list[Delta]:
        """Writes into `found` what the choice says; its calls come beside it."""
        piece = choice.get("delta") or {}
        content, reasoning = texts(piece.get("content"))
        reasoning = reasoning or thoughts(piece)
        if reasoning:
            self._thinking = None  # the service tells the two apart itself
        if piece.get("refusal"):
            self._refused = True
            content += str(piece["refusal"])
        if self._thinking is not None and content:
            content, reasoning = self._thinking.feed(content)
        found.content, found.reasoning = content, reasoning
        calls = [Delta(tool=_tool(call, i)) for i, call in enumerate(piece.get("tool_calls") or ())]
        self._called |= bool(calls)
        reason = finish_reason(choice.get("finish_reason"), self._called)
        if reason:
            for rest in self._rest():
                found.content += rest.content
                found.reasoning += rest.reasoning
            found.finish_reason = "content_filter" if self._refused else reason
        return calls

    def _rest(self) -> list[Delta]:
        """What was held back because it might have been part of a tag."""
        if self._thinking is None:
            return []
        content, reasoning = self._thinking.end()
        return [Delta(content, reasoning)] if content or reasoning else []


def _is_error(event: str, chunk: Any) -> bool:
    return event == "error" or chunk.get("object") == "error"


def _tool(call: Any, place: int) -> tuple[int, str, str, str]:
    function = call.get("function") or {}
    index, arguments = call.get("index"), function.get("arguments") or ""
    if not isinstance(arguments, str):  # the whole object at once, as some servers write it
        arguments = orjson.dumps(arguments).decode()
    name, called = str(call.get("id") or ""), str(function.get("name") or "")
    return index if isinstance(index, int) else place, name, called, arguments
