"""A whole server on loopback: gateway and pages behind one guard, as `karat serve` has it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
from pathlib import Path
from typing import Any

from aiohttp import web
from server import Server, text_for
from serving import Serving

from karat.models.spec import parse_model
from karat.web.gateway.config import Config
from karat.web.gateway.engine import Gateway


class Wired(Serving):
    """`with Wired(folder, models={…}, rewards={…}, **options) as wired: wired.url`. `options` are
    the gateway's."""

    def __init__(
        self, folder: Path, models: dict[str, Any] | None = None,
        rewards: dict[str, Any] | None = None, **options: Any,
    ) -> None:  # fmt: skip
        specs = {name: parse_model(tree) for name, tree in (models or {}).items()}
        config = Config(specs, rewards or {}, folder=folder)
        super().__init__(folder, Gateway(folder, config, **options))

    def ledger(self, what: str = "step, row, kind, role, body, message, cost_nano") -> list[Any]:
        """Rows of the attempts, in order."""
        base = sqlite3.connect(self.gateway.run.journal)
        try:
            return base.execute(f"SELECT {what} FROM attempts ORDER BY started").fetchall()
        finally:
            base.close()

    def written(self) -> bytes:
        """Every byte the gateway has written."""
        files = sorted(self.gateway.run.path.rglob("*"))
        return b"".join(p.read_bytes() for p in files if p.is_file())


class Upstream(Server):
    """A service behind the gateway: chat whole and streamed, with tools, and embeddings.

    It calls each tool it is offered. `breaks`: a stream ends after so many pieces, without a word.
    `slow_s`: seconds between pieces."""

    paths = ("/v1/chat/completions", "/v1/embeddings")

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if request.path.endswith("/embeddings"):
            self.requests.append({"body": body, "headers": dict(request.headers)})
            return web.json_response(_embedded(body))
        if not body.get("stream") and not body.get("tools"):
            return await super()._chat(request)
        self.requests.append({"body": body, "headers": dict(request.headers)})
        if (fault := self._fault(len(self.requests), body)) is not None:
            return fault
        calls = [
            {"id": f"call_{place}", "type": "function",
             "function": {"name": tool["function"]["name"], "arguments": '{"place": "Brest"}'}}
            for place, tool in enumerate(body.get("tools", ()))
        ]  # fmt: skip
        if not body.get("stream"):
            message = {"role": "assistant", "content": "Let me see.", "tool_calls": calls}
            choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
            return web.json_response({"model": body["model"], "choices": [choice], "usage": USAGE})
        return await self._streamed(request, body, calls)

    async def _streamed(
        self, request: web.Request, body: dict[str, Any], calls: list[dict[str, Any]]
    ) -> web.StreamResponse:
        reply = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await reply.prepare(request)
        said = self.behaviour.get("answer", text_for)(body, 0)
        words = [{"content": f"{word} "} for word in said.split(" ")]
        words += [{"tool_calls": [{"index": i, **call}]} for i, call in enumerate(calls)]
        breaks = self.behaviour.get("breaks", len(words))
        for piece in words[:breaks]:
            await asyncio.sleep(self.behaviour.get("slow_s", 0))
            await _send(reply, {"choices": [{"index": 0, "delta": piece}]})
        if breaks < len(words):
            return reply
        reason = "tool_calls" if calls else "stop"
        await _send(reply, {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
        await _send(reply, {"choices": [], "usage": USAGE})
        await reply.write(b"data: [DONE]\n\n")
        return reply


USAGE = {"prompt_tokens": 10, "completion_tokens": 7}


async def _send(reply: web.StreamResponse, chunk: dict[str, Any]) -> None:
    await reply.write(f"data: {json.dumps({'model': 'loop', **chunk})}\n\n".encode())


def vector_of(text: str, size: int = 4) -> list[float]:
    """What the service makes of a text."""
    noise = hashlib.sha256(text.encode()).digest()
    return [byte / 256 for byte in noise[:size]]


def _embedded(body: dict[str, Any]) -> dict[str, Any]:
    texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
    size = body.get("dimensions", 4)
    data = [
        {"object": "embedding", "index": i, "embedding": vector_of(text, size)}
        for i, text in enumerate(texts)
    ]
    return {
        "object": "list", "model": body["model"], "data": data,
        "usage": {"prompt_tokens": 3 * len(texts), "total_tokens": 3 * len(texts)},
    }  # fmt: skip
