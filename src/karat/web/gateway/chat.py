"""`/v1/chat/completions`: OpenAI's chat over every model the gateway reaches.

An answer says who wrote it and what it cost. A stream of one answer comes as the model writes it;
where several are asked for, or log-probabilities, they are sent in a stream's form once they are
whole, since no service's stream carries both. So is one that must follow a schema: what has been
sent cannot be checked.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.types import Scope

from karat.models.chat import ChatRequest, Completion, Delta, TokenLogprob, ToolCall
from karat.web.gateway import chat_body, grading, nim
from karat.web.gateway.chat_body import ChatBody
from karat.web.gateway.door import Headers, Reply, Streamed, dumps, event, header_text, told
from karat.web.gateway.engine import Asked
from karat.web.gateway.openai_words import DONE, ended, usage_of
from karat.web.gateway.schemas import fitting


async def serve(asked: Asked, body: bytes, scope: Scope) -> Reply | Streamed:
    """Raises: Refused, RecipeError, ProviderError, RunError."""
    said = chat_body.read(body)
    if grading.is_reward(asked.gateway, said.model):
        return await nim.graded(asked, body)
    request = chat_body.request_of(said)
    model = await asked.gateway.model(said.model, asked.caller)
    if said.stream:
        chunks = _Chunks(asked, model, said, request)
        return Streamed(chunks.pieces(), chunks.headers)
    answers = await fitting(asked, model, request)
    figures = asked.figures([answer.call for answer in answers])
    who = answers[0].model
    made = {
        "id": f"chatcmpl-{asked.id[4:]}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": who,
        "choices": [_choice(answer) for answer in answers],
        "usage": usage_of(figures),
    }
    return Reply(dumps(made), told(figures, who))


def _choice(answer: Completion) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.content, "refusal": None}
    if answer.tool_calls:
        message["content"] = answer.content or None
        message["tool_calls"] = [_called(call) for call in answer.tool_calls]
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    return {
        "index": answer.index,
        "message": message,
        "logprobs": None if answer.logprobs is None else _logprobs(answer.logprobs),
        "finish_reason": ended(answer.finish_reason),
    }


def _called(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _logprobs(tokens: list[TokenLogprob]) -> dict[str, Any]:
    found = [
        {
            **_token(one.token, one.logprob),
            "top_logprobs": [_token(token, logprob) for token, logprob in one.top],
        }
        for one in tokens
    ]
    return {"content": found, "refusal": None}


def _token(token: str, logprob: float) -> dict[str, Any]:
    return {
        "token": token,
        "logprob": logprob,
        "bytes": list(token.encode("utf-8", "surrogatepass")),
    }


class _Chunks:
    """An answer as a stream of chunks."""

    def __init__(self, asked: Asked, model: str, said: ChatBody, request: ChatRequest) -> None:
        self.asked, self.model, self.request = asked, model, request
        self.counts = said.counts
        whole = (request.n > 1, request.logprobs is not None, request.schema is not None)
        self.whole = any(whole)
        self.who = asked.gateway.client.models[model].model
        self.head = {
            "id": f"chatcmpl-{asked.id[4:]}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
        }

    def headers(self) -> Headers:
        """As far as is known when the first piece is there; the cost comes with the usage."""
        terms = self.asked.terms
        if self.whole or not terms.model:
            return told(self.asked.figures(), self.who)[1:]
        return [(b"x-karat-model", header_text(terms.model)), (b"x-karat-cache", b"miss")]

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Server-sent events, the last of them DONE."""
        made = self._whole() if self.whole else self._as_written()
        async with aclosing(made) as pieces:
            async for piece in pieces:
                yield piece

    async def _as_written(self) -> AsyncGenerator[bytes, None]:
        asked = self.asked
        stream = asked.stream(self.model, self.request)
        role, finish, tools = True, "", 0
        async with aclosing(stream) as deltas:
            async for delta in deltas:
                if role and asked.terms.model:
                    self.who = asked.terms.model
                finish = delta.finish_reason or finish
                change = _change(delta)
                tools += "tool_calls" in change
                if role and (change or finish):
                    change, role = {"role": "assistant", "content": "", **change}, False
                if change:
                    yield self._chunk(change)
        reason = "tool_calls" if tools and not finish else ended(finish)
        yield self._chunk({}, reason) + self._end([])

    async def _whole(self) -> AsyncGenerator[bytes, None]:
        answers = await fitting(self.asked, self.model, self.request)
        self.who = answers[0].model
        for answer in answers:
            made = _choice(answer)
            change = {k: v for k, v in made["message"].items() if v is not None}
            for place, call in enumerate(change.get("tool_calls", ())):
                call["index"] = place
            yield self._chunk(change, None, answer.index, made["logprobs"])
            yield self._chunk({}, made["finish_reason"], answer.index)
        yield self._end([answer.call for answer in answers])

    def _chunk(
        self, change: dict[str, Any], finish: str | None = None, index: int = 0,
        logprobs: dict[str, Any] | None = None,
    ) -> bytes:  # fmt: skip
        choice: dict[str, Any] = {"index": index, "delta": change, "finish_reason": finish}
        if logprobs is not None:
            choice["logprobs"] = logprobs
        chunk: dict[str, Any] = {**self.head, "model": self.who, "choices": [choice]}
        if self.counts:
            chunk["usage"] = None
        return event(chunk)

    def _end(self, calls: list[str]) -> bytes:
        if not self.counts:
            return DONE
        figures = self.asked.figures(calls)
        usage = {**self.head, "model": self.who, "choices": [], "usage": usage_of(figures)}
        return event(usage) + DONE


def _change(delta: Delta) -> dict[str, Any]:
    """What a piece adds to the message so far."""
    made: dict[str, Any] = {}
    if delta.content:
        made["content"] = delta.content
    if delta.reasoning:
        made["reasoning_content"] = delta.reasoning
    if delta.tool is not None:
        place, call, name, piece = delta.tool
        tool: dict[str, Any] = {"index": place, "function": {"arguments": piece}}
        if call or name:
            tool = {"index": place, "id": call or f"call_{place}", "type": "function",
                    "function": {"name": name, "arguments": piece}}  # fmt: skip
        made["tool_calls"] = [tool]
    return made
