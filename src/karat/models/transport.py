"""The one I/O seam: how bytes reach a model and come back.

A provider knows a wire format, a transport knows how to carry it. Tests put a fake here to inject
faults; the embedded model is the OpenAI format over an in-process transport.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

import aiohttp
import msgspec

from karat.errors import ProviderError


class HttpReply(msgspec.Struct):
    """A reply of any status. Header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Transport(Protocol):
    """Carries one request. Raises: ProviderError(status=0) when no complete reply came."""

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> HttpReply: ...

    async def close(self) -> None: ...


MAX_REPLY_BYTES = 64 * 2**20


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
            )
        return self._session

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> HttpReply:
        try:
            async with asyncio.timeout(timeout_s):
                async with self._open().post(
                    url, data=body, headers=headers, allow_redirects=False, timeout=None
                ) as reply:
                    data = await _bounded(reply)
                    low = {name.lower(): value for name, value in reply.headers.items()}
                    return HttpReply(reply.status, low, data)
        except TimeoutError:
            raise ProviderError(f"no answer within {timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            reason = str(error) or type(error).__name__
            nobody = isinstance(error, aiohttp.ClientConnectorError)
            raise ProviderError(f"connection failed: {reason}", unreachable=nobody) from error

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


async def _bounded(reply: aiohttp.ClientResponse) -> bytes:
    """The body, never more than MAX_REPLY_BYTES of it, whatever it says or unpacks to."""
    length = reply.content_length
    if length is not None and length <= MAX_REPLY_BYTES and "Content-Encoding" not in reply.headers:
        return await reply.read()
    data = bytearray()
    async for chunk in reply.content.iter_any():
        data += chunk
        if len(data) > MAX_REPLY_BYTES:
            raise ProviderError(f"the reply is over {MAX_REPLY_BYTES >> 20} MiB")
    return bytes(data)
