"""A service's batch API, as models/batch.py sees it: where batches are handed in and picked up.

Two services, two forms: _batch_openai.py uploads a file and names the batch as it is created,
_batch_anthropic.py sends everything in one request. Both give results as lines of JSON, in any
order, which are read as they come: a batch may be larger than memory should be.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator
from typing import Any, NamedTuple, Protocol

import msgspec

from karat.errors import ProviderError
from karat.models.connection import MAX_REPLY_BYTES
from karat.models.rate_headers import retry_after
from karat.models.transport import HttpReply, read_all
from karat.models.wire import Provider

ANSWER_S = 120.0  # for a request about a batch; of a download, the longest silence
UPLOAD_S = 1800.0  # for all of a batch: 256 MB at 1.2 Mbit/s
Result = tuple[str, HttpReply | None]  # custom id and reply; None: it was not answered


class Look(NamedTuple):
    """How a batch stands. `files` are addresses of results; `why`: what went wrong, if anything.

    `full`: refused as a whole, because too much of ours is waiting there.
    """

    ended: bool
    done: int = 0
    files: tuple[str, ...] = ()
    why: str = ""
    full: bool = False
    spare: str = ""  # address of what may be deleted once it has ended


class Desk(Protocol):
    """`path` is that of the requests it takes. `certain`: a search finds this very batch, and not
    only those that might be it. Everything raises ProviderError, sorted."""

    path: str
    most_requests: int
    most_bytes: int
    certain: bool

    async def prepare(self, batch: str, requests: list[tuple[str, bytes]]) -> bytes:
        """Whatever comes before `create` and costs nothing; returns the body to create it by."""

    async def create(self, prepared: bytes) -> str:
        """The service's id of the new batch, which is paid for from now on."""

    async def look(self, remote: str) -> Look: ...
    def results(self, look: Look) -> AsyncGenerator[Result]: ...
    async def search(self, batch: str, count: int, since: float) -> list[str]:
        """Ids of batches that may be ours: of so many requests, created after `since` (Unix)."""

    async def cancel(self, remote: str) -> None: ...
    async def forget(self, look: Look) -> None:
        """Deletes what the service keeps for nobody."""


class Line:
    """Requests about batches over a provider's connection."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self.address = provider.address

    async def ask(self, method: str, path: str) -> dict[str, Any]:
        url = f"{self.address}{path}"
        headers = self._provider.headers
        async with self._provider.transport.stream(method, url, b"", headers, ANSWER_S) as stream:
            return self._read(await read_all(stream))

    async def send(
        self, path: str, body: bytes, content_type: str = "application/json"
    ) -> dict[str, Any]:
        headers = {**self._provider.headers, "content-type": content_type}
        url = f"{self.address}{path}"
        return self._read(await self._provider.transport.post(url, body, headers, UPLOAD_S))

    async def lines(self, path: str) -> AsyncGenerator[bytes]:
        """The lines of a file as they come; nothing after the last line end is lost."""
        url, headers = f"{self.address}{path}", self._provider.headers
        parts: list[bytes] = []
        size = 0
        async with self._provider.transport.stream("GET", url, b"", headers, ANSWER_S) as stream:
            if stream.status != 200:
                raise self._fault(await read_all(stream))
            async for piece in stream.pieces():
                first, *more = piece.split(b"\n")
                parts.append(first)
                size += len(first)
                if size > MAX_REPLY_BYTES:
                    raise ProviderError("a result of a batch is over 64 MiB", kind="unreadable")
                if more:
                    yield b"".join(parts)
                    for line in more[:-1]:
                        yield line
                    parts, size = [more[-1]], len(more[-1])
        yield b"".join(parts)

    def _read(self, reply: HttpReply) -> dict[str, Any]:
        if reply.status != 200:
            raise self._fault(reply)
        try:
            return msgspec.json.decode(reply.body, type=dict[str, Any])
        except (ValueError, RecursionError) as error:  # msgspec's own is a ValueError
            raise unreadable(error) from None

    def _fault(self, reply: HttpReply) -> ProviderError:
        error = self._provider.fault(reply)
        error.retry_after_s = retry_after(reply.headers, reply.body, time.time())
        return error


def unreadable(error: Exception) -> ProviderError:
    """For a 200 about a batch that says something else."""
    return ProviderError(f"nothing about a batch: {error}", 200, kind="unreadable")


class Raw:
    """Reads lines into a struct; half a surrogate pair, which msgspec refuses, is let through."""

    def __init__(self, kind: type[Any]) -> None:
        self._decoder = msgspec.json.Decoder(kind)

    def read(self, line: bytes) -> Any:
        """Raises: msgspec.DecodeError, ValueError."""
        try:
            try:
                return self._decoder.decode(line)
            except msgspec.DecodeError:
                return self._decoder.decode(_mended(line))
        except RecursionError:
            raise ValueError("nested too deep") from None


def _mended(line: bytes) -> bytes:
    """The same line with ? for half a surrogate pair, as the journal would write it."""
    text = json.dumps(json.loads(line), ensure_ascii=False)
    return text.encode("utf-8", "replace")
