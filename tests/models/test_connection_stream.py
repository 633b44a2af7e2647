"""Replies taken piece by piece, and what becomes of their connections."""

from __future__ import annotations

import asyncio

import pytest
from raw_server import (
    CHUNKED,
    LOOPS,
    Client,
    Drive,
    RawServer,
    driven,
    echo,
    replies,
    request,
    trickle,
    until,
)

from karat.errors import ProviderError
from karat.models.connection import AHEAD_BYTES
from karat.models.transport import HttpTransport


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def drive(request: pytest.FixtureRequest) -> Drive:
    return lambda main: driven(request.param, main)


def test_pieces_come_as_they_are_sent(drive: Drive) -> None:
    step = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(CHUNKED)
        for letter in b"abc":
            writer.write(b"1\r\n%c\r\n" % letter)
            await step.wait()  # the next is sent when this one was taken
            step.clear()
        writer.write(b"0\r\n\r\n")
        await reader.read()

    async def main() -> None:
        got = []
        async with (
            RawServer(handler) as server,
            Client() as client,
            client.stream("POST", server.url, b"", {}, 2) as streamed,
        ):
            async for piece in streamed.pieces():
                got.append(piece)
                step.set()
        assert got == [b"a", b"b", b"c"]

    drive(main)


def test_a_slow_reader_makes_the_service_wait(drive: Drive) -> None:
    sent = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        sent = 0
        await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * 2**20))
        for _ in range(64):
            writer.write(b"x" * 2**20)
            await writer.drain()
            sent += 1

    async def main() -> None:
        async with (
            RawServer(handler) as server,
            Client() as client,
            client.stream("POST", server.url, b"", {}, 5) as streamed,
        ):
            pieces = streamed.pieces()
            size = len(await anext(pieces))
            await asyncio.sleep(0.2)
            assert sent < 32  # what the sockets hold, which is not ours
            (connection,) = client._open
            assert len(connection._body) < 2 * AHEAD_BYTES
            async for piece in pieces:
                size += len(piece)
            assert size == 64 * 2**20

    drive(main)


def test_a_stream_that_breaks_gives_what_came_and_then_the_error(drive: Drive) -> None:
    async def take(url: str, client: HttpTransport, got: list[bytes]) -> None:
        async with client.stream("POST", url, b"", {}, 2) as streamed:
            async for piece in streamed.pieces():
                got.append(piece)  # noqa: PERF401  those before the error are looked at

    async def main() -> None:
        for data, said in ((b"9\r\nabc", "closed"), (b"3\r\nabc\r\nzz\r\n", "no HTTP")):
            got: list[bytes] = []
            handler = replies(CHUNKED, data, pause_s=0.05)
            async with RawServer(handler) as server, Client() as client:
                with pytest.raises(ProviderError, match=said):
                    await take(server.url, client, got)
            assert got == [b"abc"]

    drive(main)


def test_breaking_off_closes_the_connection(drive: Drive) -> None:
    async def main() -> None:
        async with RawServer(trickle) as server, Client() as client:
            for taken in range(3):  # before the first piece, between two, and two on
                async with client.stream("POST", server.url, b"", {}, 2) as streamed:
                    pieces = streamed.pieces()
                    for _ in range(taken):
                        assert await anext(pieces) == b"a"
                await until(lambda: server.open == 0 and not client._open)
            with pytest.raises(ProviderError, match="closed by karat"):
                await anext(pieces)  # what is over is over, and does not wait
            assert server.connections == 3

    drive(main)


def test_a_stream_read_to_its_end_leaves_its_connection_alone(drive: Drive) -> None:
    async def main() -> None:
        async with RawServer(echo) as server, Client() as client:
            async with client.stream("POST", server.url, b"abc", {}, 2) as streamed:
                assert [piece async for piece in streamed.pieces()] == [b"abc"]
                post = asyncio.ensure_future(client.post(server.url, b"def", {}, 2))
                await asyncio.sleep(0)
                assert [piece async for piece in streamed.pieces()] == []  # read again
            assert (await post).body == b"def"
            asked = [client.post(server.url, b"%d" % i, {}, 2) for i in range(2)]
            assert [reply.body for reply in await asyncio.gather(*asked)] == [b"0", b"1"]
            assert server.connections == 2

    drive(main)
