"""Connections: made, kept, used again, given up."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest
from raw_server import (
    LOOPS,
    Client,
    Drive,
    RawServer,
    driven,
    echo,
    replies,
    request,
    until,
    whole,
)

from karat.errors import ProviderError
from karat.models import transport as module
from karat.models.transport import read_all


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def drive(request: pytest.FixtureRequest) -> Drive:
    return lambda main: driven(request.param, main)


def test_a_connection_serves_one_call_after_another(drive: Drive) -> None:
    async def main() -> None:
        async with RawServer(echo) as server, Client() as client:
            for i in range(5):
                assert (await client.post(server.url, b"%d" % i, {}, 2)).body == b"%d" % i
                async with client.stream("POST", server.url, b"s%d" % i, {}, 2) as streamed:
                    assert (await read_all(streamed)).body == b"s%d" % i
            assert server.connections == 1

    drive(main)


@pytest.mark.parametrize(
    "reply",
    [
        whole(b"abc", b"200 OK", b"Connection: close"),
        whole(b"abc").replace(b"1.1", b"1.0"),
        whole(b"abc") + whole(b"def"),
        whole(b"abc") + b"H",
        whole(b"abc") + b"junk",
        whole(b"abc", b"200 OK", b"Content-Encoding: br"),
    ],
    ids=["close", "HTTP/1.0", "two replies", "one and a bit", "junk behind", "unreadable"],
)
def test_a_connection_not_to_be_trusted_is_closed(reply: bytes, drive: Drive) -> None:
    async def main() -> None:
        async with RawServer(replies(reply, hold=True)) as server, Client() as client:
            for _ in range(2):
                try:
                    assert (await client.post(server.url, b"{}", {}, 2)).body == b"abc"
                except ProviderError as error:
                    assert "packed as br" in str(error)  # noqa: PT017  one case of six
            assert server.connections == 2
            await until(lambda: server.open == 0 and not client._open)

    drive(main)


def test_a_reply_that_nobody_asked_for_is_never_taken_for_one(drive: Drive) -> None:
    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, body = await request(reader)
        writer.write(whole(body))
        await asyncio.sleep(0.01)
        writer.write(whole(b"poison"))
        await reader.read()

    async def main() -> None:
        async with RawServer(late) as server, Client() as client:
            for i in range(4):
                assert (await client.post(server.url, b"%d" % i, {}, 2)).body == b"%d" % i
                await until(lambda: not client._open)
            assert server.connections == 4

    drive(main)


def test_many_at_once_each_get_their_own(drive: Drive) -> None:
    async def main() -> None:
        async with RawServer(echo) as server, Client() as client:
            for _ in range(2):
                bodies = [b"%d" % i for i in range(400)]
                asked = [client.post(server.url, body, {}, 10) for body in bodies]
                assert [reply.body for reply in await asyncio.gather(*asked)] == bodies
            assert server.connections <= 400
            assert len(client._open) == server.connections

    drive(main)


def test_a_cancelled_call_leaves_nothing_to_the_next(drive: Drive) -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            _, body = await request(reader)
            data = whole(body)
            writer.write(data[:-2])
            await asyncio.sleep(0.05 if body.startswith(b"slow") else 0)
            writer.write(data[-2:])

    async def main() -> None:
        async with RawServer(slow) as server, Client() as client:
            for i in range(10):
                task = asyncio.ensure_future(client.post(server.url, b"slow%d" % i, {}, 2))
                await asyncio.sleep(0.003 * i)  # connecting, waiting, half read
                task.cancel()
                assert (await client.post(server.url, b"next%d" % i, {}, 2)).body == b"next%d" % i
                with pytest.raises(asyncio.CancelledError):
                    await task
            await until(lambda: server.open == len(client._open))
            assert len(client._open) <= 2

    drive(main)


def test_a_service_may_close_idle_connections(drive: Drive) -> None:
    async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, body = await request(reader)
        writer.write(whole(body))
        await asyncio.sleep(0.02)  # then it is closed

    async def main() -> None:
        async with RawServer(hasty) as server, Client() as client:
            for i in range(3):
                asked = (client.post(server.url, body, {}, 2) for body in (b"a", b"b"))
                assert [reply.body for reply in await asyncio.gather(*asked)] == [b"a", b"b"]
                await until(lambda: not client._open)
                assert not any(client._idle.values())
                assert server.connections == 2 * (i + 1)

    drive(main)


def test_what_was_closed_while_the_loop_had_no_time_is_not_used(
    drive: Drive, monkeypatch: Any
) -> None:
    monkeypatch.setattr(module, "RESTED_S", 0.01)
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"

    def serve(times: int) -> list[socket.socket]:
        taken = []
        for _ in range(times):
            taken.append(listening.accept()[0])
            taken[-1].recv(2**16)
            taken[-1].sendall(whole(b"abc"))
        return taken

    async def main() -> None:
        async with Client() as client:
            serving = asyncio.to_thread(serve, 3)
            asked = [client.post(url, b"", {}, 2) for _ in range(3)]
            taken, *first = await asyncio.gather(serving, *asked)
            for one in taken:
                one.close()
            time.sleep(0.05)  # noqa: ASYNC251  a step that leaves the loop no time
            serving = asyncio.to_thread(serve, 3)
            asked = [client.post(url, b"", {}, 2) for _ in range(3)]
            taken, *second = await asyncio.gather(serving, *asked)
            assert {reply.body for reply in first + second} == {b"abc"}
            for one in taken:
                one.close()

    with listening:
        drive(main)


def test_nothing_is_sent_twice(drive: Drive) -> None:
    bodies: list[bytes] = []

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bodies.append((await request(reader))[1])
        writer.write(whole(b"abc"))
        bodies.append((await request(reader))[1])  # taken, and never answered

    async def main() -> None:
        bodies.clear()
        async with RawServer(once) as server, Client() as client:
            await client.post(server.url, b"1", {}, 2)
            with pytest.raises(ProviderError, match="closed before") as caught:
                await client.post(server.url, b"2", {}, 2)
            assert (caught.value.kind, caught.value.unreachable) == ("connection", False)
            assert bodies == [b"1", b"2"]

    drive(main)


def test_idle_connections_are_dropped_before_services_drop_them(
    drive: Drive, monkeypatch: Any
) -> None:
    monkeypatch.setattr(module, "KEPT_S", 0.05)

    async def main() -> None:
        async with RawServer(echo) as server, Client() as client:
            await asyncio.gather(*(client.post(server.url, b"a", {}, 2) for _ in range(4)))
            await asyncio.sleep(0.1)
            await client.post(server.url, b"a", {}, 2)
            await until(lambda: server.open == 1 == len(client._open))
            assert server.connections == 5

    drive(main)


def test_those_at_the_bottom_are_dropped_too(drive: Drive, monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "KEPT_S", 0.1)

    async def main() -> None:
        async with RawServer(echo) as server, Client() as client:
            await asyncio.gather(*(client.post(server.url, b"a", {}, 2) for _ in range(4)))
            for _ in range(10):  # one at a time needs one
                await client.post(server.url, b"a", {}, 2)
                await asyncio.sleep(0.02)
            assert len(client._open) == 1
            assert server.connections == 4

    drive(main)
