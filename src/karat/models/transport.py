"""The one I/O seam: how bytes reach a model and come back.

A provider knows a wire format, a transport knows how to carry it. Tests put a fake here to inject
faults; the embedded model is the OpenAI format over an in-process transport.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache, lru_cache
from typing import NamedTuple, Protocol
from urllib.parse import quote, urlsplit

import msgspec

from karat.errors import ProviderError
from karat.models.connection import MAX_REPLY_BYTES as MAX_REPLY_BYTES
from karat.models.connection import Connection, too_large

KEPT_S = 55.0  # an idle connection; services drop theirs after 60 s and more
AGENT = "karat"
SAFE = "/%:@!$&'()*+,;=~-._"  # in a path; what is quoted already stays as it is


class HttpReply(msgspec.Struct):
    """A reply of any status. Header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Stream(Protocol):
    """A reply whose body comes piece by piece."""

    status: int
    headers: dict[str, str]

    def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises: ProviderError when it breaks off."""


class Transport(Protocol):
    """Carries one request. Raises: ProviderError(status=0) when no complete reply came."""

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> HttpReply: ...

    def stream(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> AbstractAsyncContextManager[Stream]:
        """`timeout_s` is the longest silence, not the whole."""

    async def close(self) -> None: ...


class Origin(NamedTuple):
    """Whom to connect to."""

    host: str
    port: int
    secure: bool


class HttpTransport:
    """HTTP/1.1 over connections that are kept and used again, as many as there are calls.

    Redirects are not followed: a key stays with its host. No proxy is used, no cookie kept.
    """

    def __init__(self) -> None:
        self._idle: dict[Origin, list[Connection]] = {}
        self._open: set[Connection] = set()

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> HttpReply:
        origin, head = _request("POST", url, tuple(headers.items()))
        connection, left_s = await self._connection(origin, timeout_s)
        connection.send(b"%b%d\r\n\r\n" % (head, len(body)), body)
        data = await connection.reply(left_s, timeout_s)
        reply = HttpReply(connection.status, connection.headers, data)
        connection.free()
        return reply

    @asynccontextmanager
    async def stream(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> AsyncIterator[Stream]:
        origin, head = _request(method, url, tuple(headers.items()))
        connection, _ = await self._connection(origin, timeout_s)
        streamed = _Streamed(connection, timeout_s)
        try:
            connection.send(b"%b%d\r\n\r\n" % (head, len(body)), body, stream=True)
            await connection.begun(timeout_s)
            streamed.status, streamed.headers = connection.status, connection.headers
            yield streamed
        finally:
            if not streamed.ended:
                connection.abort()

    async def _connection(self, origin: Origin, timeout_s: float) -> tuple[Connection, float]:
        """One that is free, and what is left of the time."""
        loop = asyncio.get_running_loop()
        idle = self._idle.setdefault(origin, [])
        now = loop.time()
        while idle:
            connection = idle.pop()
            if connection.usable and now - connection.idle_since < KEPT_S:
                return connection, timeout_s
            connection.abort()

        def keep(free: Connection) -> None:
            free.idle_since = loop.time()
            idle.append(free)

        try:
            async with asyncio.timeout(timeout_s):
                _, made = await loop.create_connection(
                    lambda: Connection(keep, self._open.discard), origin.host, origin.port,
                    ssl=_tls() if origin.secure else None,
                )  # fmt: skip
        except TimeoutError:
            raise ProviderError(f"no connection within {timeout_s:g} s", kind="timeout") from None
        except (OSError, UnicodeError) as error:  # ssl.SSLError among them
            raise ProviderError(
                f"connection failed: {error}", kind="connection", unreachable=True
            ) from error
        self._open.add(made)
        return made, max(0.001, timeout_s - (loop.time() - now))

    async def close(self) -> None:
        for connection in tuple(self._open):
            connection.abort()
        self._idle.clear()
        await asyncio.sleep(0)  # the sockets close in the next turn of the loop


class _Streamed:
    status = 0
    headers: dict[str, str]

    def __init__(self, connection: Connection, timeout_s: float) -> None:
        self._connection, self._timeout_s = connection, timeout_s
        self.ended = False

    async def pieces(self) -> AsyncIterator[bytes]:
        async for piece in self._connection.pieces(self._timeout_s):
            yield piece
        self.ended = True


async def read_all(stream: Stream) -> HttpReply:
    """The whole reply, never more than MAX_REPLY_BYTES of it. Raises: ProviderError."""
    data = bytearray()
    async for piece in stream.pieces():
        data += piece
        if len(data) > MAX_REPLY_BYTES:
            raise too_large()
    return HttpReply(stream.status, stream.headers, bytes(data))


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


@lru_cache(256)
def _request(method: str, url: str, headers: tuple[tuple[str, str], ...]) -> tuple[Origin, bytes]:
    """Whom to ask, and the head of the request up to the length of its body.

    Raises: ProviderError for a header that would end the line it stands in.
    """
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    host = parts.hostname or ""
    origin = Origin(host, parts.port or (443 if secure else 80), secure)
    named = f"[{host}]" if ":" in host else host
    if not host.isascii():
        named = host.encode("idna").decode()
    if parts.port is not None:
        named += f":{parts.port}"
    target = quote(parts.path or "/", safe=SAFE) + (f"?{parts.query}" if parts.query else "")
    sent = {"host": named, "user-agent": AGENT, "accept": "*/*", "accept-encoding": "identity"}
    sent.update((name.lower(), value) for name, value in headers)
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items())]
    if any("\r" in line or "\n" in line for line in lines):
        raise ProviderError("a header or the address holds a line break", kind="row")
    return origin, ("\r\n".join(lines) + "\r\ncontent-length: ").encode("latin-1")
