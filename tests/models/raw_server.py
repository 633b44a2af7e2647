"""Servers that write exact bytes, and those who ask them; no error passes in silence."""

from __future__ import annotations

import asyncio
import gc
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from karat.errors import ProviderError
from karat.models.transport import HttpReply, HttpTransport, read_all

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Drive = Callable[[Callable[[], Awaitable[None]]], None]
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LOOPS = (asyncio.run, uvloop.run)


class RawServer:
    """`async with RawServer(handler) as server: server.url`. A connection ends with its handler."""

    def __init__(
        self, handler: Handler, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> None:
        self._handler, self._host, self._tls = handler, host, tls
        self.connections = 0  # ever
        self.open = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> RawServer:
        self._server = await asyncio.start_server(
            self._accept, self._host, 0, ssl=self._tls, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]
        named = f"[{self._host}]" if ":" in self._host else self._host
        self.url = f"{'https' if self._tls else 'http'}://{named}:{self.port}/v1"
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            await self._handler(reader, writer)
        except (asyncio.CancelledError, OSError, EOFError, RuntimeError):  # uvloop: it is closed
            writer.transport.abort()
        finally:
            self.open -= 1
            writer.close()


async def request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """The next request: its head and its body."""
    head = await reader.readuntil(b"\r\n\r\n")
    (length,) = (
        int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")
    )
    return head, await reader.readexactly(length)


def replies(*chunks: bytes, hold: bool = False, pause_s: float = 0.0) -> Handler:
    """One request, then these bytes, then the end; `hold`: the connection stays open instead."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()
            if pause_s:
                await asyncio.sleep(pause_s)
        if hold:
            await reader.read()

    return handler


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Every request is answered with its own body."""
    while True:
        _, body = await request(reader)
        writer.write(whole(body))


def whole(body: bytes, status: bytes = b"200 OK", *more: bytes) -> bytes:
    """A reply with its length."""
    head = b"\r\n".join([b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *more])
    return head + b"\r\n\r\n" + body


def driven(run: Callable[..., Any], main: Callable[[], Awaitable[None]]) -> None:
    """Runs `main`; what the loop would only have logged fails too."""
    said: list[dict[str, Any]] = []

    async def watched() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
        await asyncio.wait_for(main(), 20)
        gc.collect()

    run(watched())
    assert not said, said


class Client:
    """`async with Client() as transport`: a transport that must have nothing open in the end."""

    async def __aenter__(self) -> HttpTransport:
        self._transport = HttpTransport()
        return self._transport

    async def __aexit__(self, *error: object) -> None:
        await self._transport.close()
        assert not self._transport._open


async def post(
    *chunks: bytes, hold: bool = False, pause_s: float = 0.0, timeout_s: float = 5.0
) -> HttpReply:
    handler = replies(*chunks, hold=hold, pause_s=pause_s)
    async with RawServer(handler) as server, Client() as client:
        return await client.post(server.url, b"{}", {}, timeout_s)


async def stream(*chunks: bytes, hold: bool = False, timeout_s: float = 5.0) -> HttpReply:
    async with (
        RawServer(replies(*chunks, hold=hold)) as server,
        Client() as client,
        client.stream("POST", server.url, b"{}", {}, timeout_s) as streamed,
    ):
        return await read_all(streamed)


async def both(*chunks: bytes, hold: bool = False) -> HttpReply:
    """What post and stream agree on."""
    one, two = await post(*chunks, hold=hold), await stream(*chunks, hold=hold)
    assert one == two
    return one


async def refused(*chunks: bytes, hold: bool = False, timeout_s: float = 5.0) -> ProviderError:
    """What post and stream agree to raise."""
    with pytest.raises(ProviderError) as one:
        await post(*chunks, hold=hold, timeout_s=timeout_s)
    with pytest.raises(ProviderError) as two:
        await stream(*chunks, hold=hold, timeout_s=timeout_s)
    assert (str(one.value), one.value.kind, one.value.status) == (
        str(two.value), two.value.kind, two.value.status,
    )  # fmt: skip
    return one.value


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110  no event says so
            await asyncio.sleep(0.005)


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes a request and never answers."""
    await reader.read(1)
    while await reader.read(2**16):
        pass


async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request(reader)
    writer.write(CHUNKED)
    for _ in range(12):
        writer.write(b"1\r\na\r\n")
        await asyncio.sleep(0.02)
    writer.write(b"0\r\n\r\n")
    await reader.read()


async def timed_out(asked: Any, within_s: float) -> ProviderError:
    began = time.perf_counter()
    with pytest.raises(ProviderError) as caught:
        await asked
    assert time.perf_counter() - began < within_s
    assert (caught.value.kind, caught.value.status) == ("timeout", 0)
    return caught.value
