"""The door: what every route of the gateway does before and after its own work.

It says who asks, reads the body, keeps the time limit, notices a client that has gone, and puts
every error into the route's own words. A bare ASGI application, since a framework's request and
response objects cost more than all of the gateway's accounting.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import random
import time
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Any, NamedTuple

import msgspec
import orjson
from starlette.types import Message, Receive, Scope, Send

from karat.ledger import NANO
from karat.web.gateway.engine import Asked, Caller, Figures, Gateway
from karat.web.gateway.refusals import Refused, refused

log = logging.getLogger("karat.gateway")
_ids = random.Random(os.urandom(32))  # the system's own would be a call into it for each request

Headers = list[tuple[bytes, bytes]]
MOST_BODY = 32 * 2**20  # bytes; a guard before the door may allow fewer
LARGE = 2**20  # bytes, from which on it is looked at what a body is made of
MOST_PARTS = 1_000_000  # texts, or lists and mappings, of one body: read in 0.2 s
WATCH_S = 0.2  # most answers are there before it is worth a task to look whether the client is
JSON = (b"content-type", b"application/json")
EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")
UNCACHED = (b"cache-control", b"no-store")


class Wire(NamedTuple):
    """How a format words an error: as a reply's body, and as an event of a stream under way.

    Both get the request's id.
    """

    body: Callable[[Refused, str], bytes]
    event: Callable[[Refused, str], bytes]


class Reply(msgspec.Struct):
    """A whole answer."""

    body: bytes
    headers: Headers = []
    status: int = 200


class Streamed(msgspec.Struct):
    """An answer in server-sent events, each of which is a piece. Nothing is sent before the first
    piece is there, so that an error before it is a reply with a status of its own."""

    pieces: AsyncGenerator[bytes, None]
    headers: Callable[[], Headers]


Serve = Callable[[Asked, bytes, Scope], Awaitable[Reply | Streamed]]


def authenticate(gateway: Gateway, scope: Scope) -> Caller:
    """Who asks, by `Authorization: Bearer` or `x-api-key`. Every route of the gateway calls this.

    Raises: Refused (401).
    """
    given: bytes | None = None
    for name, value in scope["headers"]:
        if name == b"authorization":
            kind, _, rest = value.partition(b" ")
            given = rest.strip() if kind.lower() == b"bearer" else b""
            break
        if name == b"x-api-key":
            given = value.strip()
    return gateway.caller(None if given is None else given.decode("latin-1"))


class Door:
    """One route. `serve` answers an Asked with its body; `wire` words what goes wrong."""

    def __init__(self, gateway: Gateway, serve: Serve, wire: Wire) -> None:
        self.gateway, self.serve, self.wire = gateway, serve, wire

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _Visit(self, scope, receive, send).run()


class _Visit:
    """One request at the door."""

    def __init__(self, door: Door, scope: Scope, receive: Receive, send: Send) -> None:
        self.door, self.scope, self.receive, self.send = door, scope, receive, send
        self.id = f"req_{_ids.getrandbits(96):024x}"
        self.began = time.perf_counter()
        self.started = self.gone = False
        self.asked: Asked | None = None
        self._limit = asyncio.timeout(door.gateway.limit_s)
        self._watcher: asyncio.Task[None] | None = None

    async def run(self) -> None:
        timer = asyncio.get_running_loop().call_later(WATCH_S, self._watch)
        try:
            async with self._limit:
                await self._serve()
        except Exception as error:
            if not self.gone:
                await self._fail(error)
        finally:
            timer.cancel()
            if self._watcher is not None:
                self._watcher.cancel()

    async def _serve(self) -> None:
        door, headers = self.door, self.scope["headers"]
        caller = authenticate(door.gateway, self.scope)
        cache = next((value for name, value in headers if name == b"x-karat-cache"), None)
        asked = door.gateway.asked(
            caller, self.id, None if cache is None else cache.decode("latin-1")
        )
        self.asked = asked
        body = await self._body()
        made = await door.serve(asked, body, self.scope)
        if isinstance(made, Streamed):
            await self._stream(made)
            return
        length = (b"content-length", b"%d" % len(made.body))
        await self._start(made.status, [JSON, length, *made.headers])
        await self.send({"type": "http.response.body", "body": made.body})

    async def _body(self) -> bytes:
        """Raises: Refused for one that is too large."""
        parts: list[bytes] = []
        size, more = 0, True
        while more:
            message: Message = await self.receive()
            if message["type"] == "http.disconnect":
                self.gone = True
                raise ConnectionError("the client has gone")
            part = message.get("body", b"")
            more = message.get("more_body", False)
            size += len(part)
            if size > MOST_BODY:
                raise Refused(
                    413, "invalid_request_error", f"the request is larger than {MOST_BODY >> 20} MB"
                )
            parts.append(part)
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        if size > LARGE:
            _check_parts(body)
        return body

    async def _stream(self, made: Streamed) -> None:
        async with aclosing(made.pieces) as pieces:
            async for piece in pieces:
                if not self.started:
                    await self._start(200, [EVENTS, *made.headers()])
                await self.send({"type": "http.response.body", "body": piece, "more_body": True})
        await self.send({"type": "http.response.body", "body": b""})

    async def _start(self, status: int, headers: Headers) -> None:
        self.started = True
        latency_ms = (time.perf_counter() - self.began) * 1000
        await self.send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [
                    *headers,
                    UNCACHED,
                    (b"x-request-id", self.id.encode()),
                    (b"x-karat-latency-ms", b"%.1f" % latency_ms),
                ],
            }
        )

    async def _fail(self, error: Exception) -> None:
        why = refused(error)
        if why.status == 500:
            # Where it happened, and not its message: that may hold what was asked.
            where = "".join(traceback.format_tb(error.__traceback__))
            log.error("%s: %s\n%s", self.id, type(error).__name__, where)
        elif why.status == 503 and not isinstance(error, Refused):
            log.error("%s: %s", self.id, error)
        if self.started:
            body = self.door.wire.event(why, self.id)
            await self.send({"type": "http.response.body", "body": body})
            return
        body = self.door.wire.body(why, self.id)
        headers = [JSON, (b"content-length", b"%d" % len(body))]
        if why.retry_after_s is not None:
            headers.append((b"retry-after", b"%d" % math.ceil(why.retry_after_s)))
        if why.again is not None:
            headers.append((b"x-should-retry", b"true" if why.again else b"false"))
        if why.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        if why.allow:
            headers.append((b"allow", ", ".join(why.allow).encode()))
        headers += self._spent()
        await self._start(why.status, headers)
        await self.send({"type": "http.response.body", "body": body})

    def _spent(self) -> Headers:
        """What a request has cost that failed after somebody was asked."""
        if self.asked is None or not self.asked.terms.model:
            return []
        return told(self.asked.figures(), self.asked.terms.model)

    def _watch(self) -> None:
        self._watcher = asyncio.ensure_future(self._wait_for_end())

    async def _wait_for_end(self) -> None:
        """Ends the request when its client goes: who is not there pays for nothing more."""
        while (await self.receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self._limit.reschedule(0)


def _check_parts(body: bytes) -> None:
    """Counts before anything is read: while a body is read, nobody else is served.

    Texts are counted by quotes that are not escaped; brackets in texts count like others, since
    telling them apart takes longer than reading the body. Raises: Refused.
    """
    texts = (body.count(b'"') - body.count(b'\\"')) // 2
    if max(texts, body.count(b"{") + body.count(b"[")) > MOST_PARTS:
        raise Refused(
            400, "invalid_request_error", f"the request is made of more than {MOST_PARTS:,} parts; "
            "send less at once",
        )  # fmt: skip


def told(figures: Figures, model: str) -> Headers:
    """What a reply's headers say of its cost, its wait, its cache and who answered."""
    nano = figures.cost_nano
    cost = b"unknown" if nano is None else b"%d.%09d" % divmod(nano, NANO)
    return [
        (b"x-karat-cost-usd", cost),
        (b"x-karat-queue-ms", b"%.1f" % figures.queue_ms),
        (b"x-karat-model", header_text(model)),
        (b"x-karat-cache", b"hit" if figures.hit else b"miss"),
    ]


def header_text(text: str) -> bytes:
    """A name as a header can hold it."""
    return text.encode("ascii", "replace") if text.isprintable() else b"?"


def dumps(value: Any) -> bytes:
    """JSON of what a model wrote, lone surrogates and all."""
    try:
        return orjson.dumps(value)
    except (TypeError, orjson.JSONEncodeError):
        import json

        return json.dumps(value, ensure_ascii=True, default=str).encode()


def event(value: Any) -> bytes:
    """One server-sent event, as OpenAI sends it."""
    return b"data: %b\n\n" % dumps(value)


def join(pieces: Iterable[bytes]) -> bytes:
    """Events that are sent together."""
    return b"".join(pieces)
