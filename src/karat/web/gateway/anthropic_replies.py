"""Answers as Anthropic's messages and their events, whoever wrote them.

Blocks of a streamed message come one after the other, each begun and ended before the next: readers
of that format count on it. So what arrives while a call is open (another call, text) is held until
that call has ended; the first call and all text are passed on as they come.
Source: the `anthropic` package 2.12, types/message.py, types/usage.py, types/raw_*.py,
types/shared/; Anthropic's docs, "Streaming Messages", "Errors".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from karat.models.chat import Completion, Delta, Usage
from karat.web.gateway.door import dumps

STOP = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use",
        "content_filter": "refusal"}  # fmt: skip
KINDS = {
    400: "invalid_request_error", 401: "authentication_error", 402: "billing_error",
    403: "permission_error", 404: "not_found_error", 413: "request_too_large",
    429: "rate_limit_error", 504: "timeout_error", 529: "overloaded_error",
}  # fmt: skip


def message(
    answer: Completion, usage: Usage, id_: str, model: str, *, thoughts: bool
) -> dict[str, Any]:
    """The whole answer; `thoughts` says whether those go along."""
    blocks: list[dict[str, Any]] = []
    if thoughts and answer.reasoning:
        blocks.append({"type": "thinking", "thinking": answer.reasoning, "signature": ""})
    if answer.content:
        blocks.append({"type": "text", "text": answer.content})
    for call in answer.tool_calls:
        given = arguments(call.arguments)
        blocks.append({"type": "tool_use", "id": call.id, "name": call.name, "input": given})
    return {
        **_head(id_, model),
        "content": blocks,
        "stop_reason": stop_reason(answer.finish_reason, bool(answer.tool_calls)),
        "usage": used(usage),
    }


def _head(id_: str, model: str) -> dict[str, Any]:
    return {
        "id": id_, "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": None, "stop_sequence": None,
    }  # fmt: skip


def arguments(written: str) -> dict[str, Any]:
    """What a model wrote as a call's arguments, as a mapping: `raw` holds what is none."""
    try:
        found = orjson.loads(written or "{}")
    except orjson.JSONDecodeError:
        found = None
    return found if isinstance(found, dict) else {"raw": written}


def stop_reason(finish_reason: str, called: bool) -> str:
    """Which of several stop sequences it was, no other service says: that is a natural end."""
    if called and finish_reason in ("", "stop"):
        return "tool_use"
    return STOP.get(finish_reason, finish_reason or "end_turn")


def used(usage: Usage) -> dict[str, int]:
    """Tokens read from a cache and written to one are counted apart there."""
    fresh = (usage.input or 0) - usage.cached - usage.cache_write
    return {
        "input_tokens": max(fresh, 0), "output_tokens": usage.output or 0,
        "cache_read_input_tokens": usage.cached, "cache_creation_input_tokens": usage.cache_write,
    }  # fmt: skip


def error_body(status: int, said: str, request: str | None, sort: str = "") -> dict[str, Any]:
    """An error in Anthropic's shape. `request` is the request's id, if it got one; `sort` is
    OpenAI's name for the error, which tells a spent budget from a full minute."""
    kind = KINDS.get(status, "invalid_request_error" if 400 <= status < 500 else "api_error")
    if sort == "insufficient_quota":
        kind = "billing_error"
    return {"type": "error", "error": {"type": kind, "message": said}, "request_id": request}


def event(name: str, **fields: Any) -> bytes:
    """One server-sent event."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), dumps({"type": name, **fields}))


class Events:
    """Turns the pieces of one answer into the events of one message."""

    def __init__(self, id_: str, model: str, *, thoughts: bool) -> None:
        self._id, self._model, self._thoughts = id_, model, thoughts
        self._count = 0  # of blocks begun
        self._open = ""  # the kind of the block that is open
        self._call = -1  # which call is open
        self._held_text: list[str] = []
        self._held: dict[int, list[str]] = {}  # id, name, pieces: of calls that wait their turn
        self._finish = ""
        self._called = False
        self.usage = Usage()

    def start(self) -> bytes:
        """Before the first piece. What the prompt counts is known at the end."""
        return event(
            "message_start", message={**_head(self._id, self._model), "usage": used(Usage())}
        )

    def of(self, delta: Delta) -> Iterator[bytes]:
        """The events of one piece."""
        self._finish = delta.finish_reason or self._finish
        self.usage = delta.usage or self.usage
        if delta.reasoning and self._thoughts and self._open != "tool_use":
            yield from self._begin("thinking", {"thinking": "", "signature": ""})
            yield self._delta({"type": "thinking_delta", "thinking": delta.reasoning})
        if delta.content:
            if self._open == "tool_use":
                self._held_text.append(delta.content)
            else:
                yield from self._begin("text", {"text": ""})
                yield self._delta({"type": "text_delta", "text": delta.content})
        if delta.tool is not None:
            yield from self._tool(*delta.tool)

    def _tool(self, place: int, call: str, name: str, piece: str) -> Iterator[bytes]:
        if self._open != "tool_use" and name:
            self._call = place
            yield from self._begin_call(place, call, name)
        if place == self._call:
            if piece:
                yield self._delta({"type": "input_json_delta", "partial_json": piece})
            return
        held = self._held.setdefault(place, ["", ""])
        held[0], held[1] = held[0] or call, held[1] or name
        held.append(piece)

    def _begin_call(self, place: int, call: str, name: str) -> Iterator[bytes]:
        self._called = True
        named = {"id": call or f"call_{place}", "name": name, "input": {}}
        yield from self._begin("tool_use", named, anew=True)

    def _begin(self, kind: str, block: dict[str, Any], *, anew: bool = False) -> Iterator[bytes]:
        if self._open == kind and not anew:
            return
        yield from self._end()
        self._open = kind
        yield event("content_block_start", index=self._count, content_block={"type": kind, **block})
        self._count += 1

    def _delta(self, delta: dict[str, str]) -> bytes:
        return event("content_block_delta", index=self._count - 1, delta=delta)

    def _end(self) -> Iterator[bytes]:
        if self._open:
            self._open = ""
            yield event("content_block_stop", index=self._count - 1)

    def finish(self, usage: Usage | None = None, cost_usd: float | None = None) -> Iterator[bytes]:
        """After the last piece: what was held, why it stopped, what it used and cost."""
        for place, (call, name, *pieces) in sorted(self._held.items()):
            yield from self._begin_call(place, call, name)
            yield self._delta({"type": "input_json_delta", "partial_json": "".join(pieces)})
        if self._held_text:
            yield from self._begin("text", {"text": ""})
            yield self._delta({"type": "text_delta", "text": "".join(self._held_text)})
        yield from self._end()
        delta = {"stop_reason": stop_reason(self._finish, self._called), "stop_sequence": None}
        counted = {**used(usage or self.usage), "cost_usd": cost_usd}
        yield event("message_delta", delta=delta, usage=counted)
        yield event("message_stop")
