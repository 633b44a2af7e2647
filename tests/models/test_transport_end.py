"""How calls end that have no reply: closed, or out of time."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from raw_server import (
    CHUNKED,
    LOOPS,
    Client,
    Drive,
    RawServer,
    driven,
    replies,
    request,
    silent,
    timed_out,
    trickle,
    until,
)

from karat.errors import ProviderError
from karat.models.transport import HttpTransport, read_all


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def drive(request: pytest.FixtureRequest) -> Drive:
    return lambda main: driven(request.param, main)


def test_close_ends_calls_under_way(drive: Drive, monkeypatch: Any) -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, body = await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhalf" if body == b"half" else b"")
        await reader.read()

    async def listen(client: HttpTransport, url: str) -> bytes:
        async with client.stream("POST", url, b"half", {}, 60) as streamed:
            return (await read_all(streamed)).body

    async def main() -> None:
        client = HttpTransport()
        with FullBacklog() as nowhere:
            async with RawServer(half) as server:
                calls = [
                    *(client.post(server.url, b"", {}, 60) for _ in range(3)),
                    client.post(server.url, b"half", {}, 60),
                    listen(client, server.url),
                    client.post(nowhere, b"", {}, 60),
                ]
                tasks = [asyncio.ensure_future(call) for call in calls]
                await until(lambda: server.open == 5)
                await asyncio.sleep(0.02)
                await client.close()
                assert not client._open
                for found in await asyncio.gather(*tasks, return_exceptions=True):
                    assert isinstance(found, ProviderError)
                    assert (found.kind, str(found)) == (
                        "connection", "connection failed: closed by karat",
                    )  # fmt: skip
                await until(lambda: server.open == 0)
                with pytest.raises(ProviderError, match="closed by karat"):
                    await client.post(server.url, b"", {}, 1)

    drive(main)


class FullBacklog:
    """The address of a listener whose queue is full: what connects waits for ever."""

    def __enter__(self) -> str:
        self._listening = socket.socket()
        self._listening.bind(("127.0.0.1", 0))
        self._listening.listen(0)
        self._waiting = []
        for _ in range(4):
            waiting = socket.socket()
            waiting.setblocking(False)
            waiting.connect_ex(self._listening.getsockname())
            self._waiting.append(waiting)
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}/v1"

    def __exit__(self, *error: object) -> None:
        for one in [self._listening, *self._waiting]:
            one.close()


async def read(client: HttpTransport, url: str, timeout_s: float) -> bytes:
    async with client.stream("POST", url, b"", {}, timeout_s) as streamed:
        return (await read_all(streamed)).body


def test_what_takes_too_long_is_a_timeout(drive: Drive) -> None:
    async def main() -> None:
        async with Client() as client:
            with FullBacklog() as url:
                for asked in (client.post(url, b"", {}, 0.1), read(client, url, 0.1)):
                    error = await timed_out(asked, 2)
                    assert "no connection within 0.1 s" in str(error)
                    assert error.unreachable  # nobody took it
            async with RawServer(silent) as server:
                for asked in (client.post(server.url, b"", {}, 0.1), read(client, server.url, 0.1)):
                    error = await timed_out(asked, 2)
                    assert "no answer within 0.1 s" in str(error)
                    assert not error.unreachable
                await until(lambda: server.open == 0)
            async with RawServer(trickle) as server:
                await timed_out(client.post(server.url, b"", {}, 0.1), 2)
                assert await read(client, server.url, 0.2) == b"a" * 12  # its silences are short
            async with RawServer(replies(CHUNKED + b"1\r\na\r\n", hold=True)) as server:
                await timed_out(read(client, server.url, 0.1), 2)

    drive(main)
