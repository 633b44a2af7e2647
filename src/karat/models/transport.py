"""The one I/O seam: how bytes reach a model and come back.

A provider knows a wire format, a transport knows how to carry it. Tests put a fake here to inject
faults; the embedded model is the OpenAI format over an in-process transport.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import lru_cache
from typing import Protocol

import aiohttp
import msgspec

from karat.errors import ProviderError

MAX_REPLY_BYTES = 64 * 2**20


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


class HttpTransport:
    """aiohttp with one connection pool. Redirects are not followed: a key stays with its host."""

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=60),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=True,
                timeout=aiohttp.ClientTimeout(total=None),
            )
        return self._session

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> HttpReply:
        with _sorted(timeout_s):
            async with asyncio.timeout(timeout_s):
                async with self._open().post(
                    url, data=body, headers=headers, allow_redirects=False, timeout=None
                ) as reply:
                    data = await _bounded(reply)
                    return HttpReply(reply.status, _low(reply), data)

    @asynccontextmanager
    async def stream(
        self, method: str, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> AsyncIterator[Stream]:
        silence = aiohttp.ClientTimeout(total=None, sock_connect=timeout_s, sock_read=timeout_s)
        with _sorted(timeout_s):
            reply = await self._open().request(
                method, url, data=body or None, headers=headers, allow_redirects=False,
                timeout=silence,
            )  # fmt: skip
        try:
            yield _Streamed(reply, timeout_s)
        finally:
            reply.close()  # what is still under way is of no use to anybody

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


class _Streamed:
    def __init__(self, reply: aiohttp.ClientResponse, timeout_s: float) -> None:
        self.status, self.headers = reply.status, _low(reply)
        self._reply, self._timeout_s = reply, timeout_s

    async def pieces(self) -> AsyncIterator[bytes]:
        with _sorted(self._timeout_s):
            async for piece in self._reply.content.iter_any():
                yield piece


async def read_all(stream: Stream) -> HttpReply:
    """The whole reply, never more than MAX_REPLY_BYTES of it. Raises: ProviderError."""
    data = bytearray()
    async for piece in stream.pieces():
        data += piece
        if len(data) > MAX_REPLY_BYTES:
            raise _too_large()
    return HttpReply(stream.status, stream.headers, bytes(data))


@contextmanager
def _sorted(timeout_s: float) -> Iterator[None]:
    """Every way a connection fails, as a ProviderError."""
    try:
        yield
    except TimeoutError:
        raise ProviderError(f"no answer within {timeout_s:g} s", kind="timeout") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        reason = str(error) or type(error).__name__
        nobody = isinstance(error, aiohttp.ClientConnectorError)
        raise ProviderError(
            f"connection failed: {reason}", kind="connection", unreachable=nobody
        ) from error


@lru_cache(1024)
def _lower(name: str) -> str:
    return name.lower()


def _low(reply: aiohttp.ClientResponse) -> dict[str, str]:
    return {_lower(name): value for name, value in reply.headers.items()}


async def _bounded(reply: aiohttp.ClientResponse) -> bytes:
    """The body, never more than MAX_REPLY_BYTES of it, whatever it says or unpacks to."""
    length = reply.content_length
    if length is not None and length <= MAX_REPLY_BYTES and "Content-Encoding" not in reply.headers:
        return await reply.read()
    data = bytearray()
    async for chunk in reply.content.iter_any():
        data += chunk
        if len(data) > MAX_REPLY_BYTES:
            raise _too_large()
    return bytes(data)


def _too_large() -> ProviderError:
    return ProviderError(f"the reply is over {MAX_REPLY_BYTES >> 20} MiB", kind="unreadable")
