"""The embedded model's answer as server-sent events, piece by piece as it is written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import orjson

from karat.models.transport import HttpReply, Stream, Whole

Heard = asyncio.Queue[bytes | None]  # llama.cpp's chunks, then None


async def first_heard(answered: asyncio.Task[HttpReply], heard: Heard) -> Stream:
    """The stream of an answer that has begun, or the refusal that came instead of one."""
    first = await heard.get()
    if first is None:
        return Whole(await answered)
    return _Events(answered, heard, first)


class _Events:
    """An answer that is being written."""

    status = 200
    headers = {"content-type": "text/event-stream"}  # noqa: RUF012  never written to

    def __init__(self, answered: asyncio.Task[HttpReply], heard: Heard, first: bytes) -> None:
        self._answered, self._heard, self._first = answered, heard, first

    async def pieces(self) -> AsyncIterator[bytes]:
        part: bytes | None = self._first
        while part is not None:
            yield _event({"choices": _choices(part)})
            part = await self._heard.get()
        whole = msgspec.json.decode((await self._answered).body)
        yield _event({"choices": [], "model": whole.get("model"), "usage": whole.get("usage")})
        yield b"data: [DONE]\n\n"


def _choices(part: bytes) -> list[Any]:
    """What a chunk of llama.cpp's adds to the answer, without what only llama.cpp would say."""
    found = []
    for piece in orjson.loads(part).get("choices") or []:
        kept = {"index": 0, "delta": piece.get("delta"), "finish_reason": None}
        kept.update({k: piece[k] for k in ("finish_reason", "logprobs") if piece.get(k)})
        found.append(kept)
    return found


def _event(body: object) -> bytes:
    return b"data: " + orjson.dumps(body) + b"\n\n"
