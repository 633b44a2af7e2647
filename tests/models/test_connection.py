"""What may come as a reply, and what karat makes of it."""

from __future__ import annotations

import asyncio

import pytest
from raw_server import (
    CHUNKED,
    LOOPS,
    Client,
    Drive,
    RawServer,
    both,
    driven,
    post,
    refused,
    stream,
    whole,
)

from karat.errors import ProviderError
from karat.models.connection import MAX_HEAD_BYTES
from karat.models.transport import HttpReply


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def drive(request: pytest.FixtureRequest) -> Drive:
    return lambda main: driven(request.param, main)


WHOLE: dict[str, tuple[bytes, bool, int, bytes]] = {  # reply, connection stays open, status, body
    "content-length": (whole(b"abc"), True, 200, b"abc"),
    "content-length 0": (whole(b""), True, 200, b""),
    "chunked": (CHUNKED + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", True, 200, b"abcde"),
    "coding in capitals": (
        CHUNKED.replace(b"chunked", b"Chunked") + b"1\r\na\r\n0\r\n\r\n", True, 200, b"a"
    ),
    "until close": (b"HTTP/1.1 200 OK\r\n\r\nabc", False, 200, b"abc"),
    "until close, empty": (b"HTTP/1.1 200 OK\r\n\r\n", False, 200, b""),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\nabc", False, 200, b"abc"),
    "HTTP/1.0 with length": (whole(b"abc").replace(b"1.1", b"1.0"), True, 200, b"abc"),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", True, 204, b""),
    "204 packed": (b"HTTP/1.1 204 N\r\nContent-Encoding: gzip\r\n\r\n", True, 204, b""),
    "304 that says a length": (b"HTTP/1.1 304 N\r\nContent-Length: 9\r\n\r\n", True, 304, b""),
    "100 before it": (b"HTTP/1.1 100 Continue\r\n\r\n" + whole(b"abc"), True, 200, b"abc"),
    "103, 100 before it": (
        b"HTTP/1.1 103 E\r\nLink: x\r\n\r\nHTTP/1.1 100 C\r\n\r\n" + whole(b"a"), True, 200, b"a"
    ),
    "no reason phrase": (whole(b"abc", b"503"), True, 503, b"abc"),
    "a redirect": (whole(b"", b"302 F", b"Location: http://127.0.0.1:1/"), True, 302, b""),
    "connection: close": (whole(b"abc", b"200 OK", b"Connection: close"), True, 200, b"abc"),
    "bytes after the end": (whole(b"abc") + b"junk", True, 200, b"abc"),
    "bytes after the last": (
        whole(b"abc", b"200 OK", b"Connection: close") + b"junk", True, 200, b"abc"
    ),
    "two replies": (whole(b"abc") + whole(b"def", b"500 No"), True, 200, b"abc"),
    "a length too short": (whole(b"abc").replace(b": 3", b": 2"), True, 200, b"ab"),
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_a_reply_is_read_whole(name: str, drive: Drive) -> None:
    data, hold, status, body = WHOLE[name]

    async def main() -> None:
        reply = await both(data, hold=hold)
        assert (reply.status, reply.body) == (status, body)
        assert "link" not in reply.headers  # of the early hints

    drive(main)


BROKEN: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "closed before the answer was whole"),
    "half a head": (b"HTTP/1.1 200 OK\r\nContent-Le", "closed before the answer was whole"),
    "a head only": (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "closed before"),
    "a length too long": (whole(b"abc").replace(b": 3", b": 4"), "closed before"),
    "half a chunk": (CHUNKED + b"9\r\nabc", "closed before"),
    "no last chunk": (CHUNKED + b"3\r\nabc\r\n", "closed before"),
    "a chunk of no size": (CHUNKED + b"xyz\r\nabc\r\n", "no HTTP"),
    "only early hints": (b"HTTP/1.1 103 E\r\n\r\n", "closed before"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n", "no HTTP"),
    "HTML": (b"<html>not here</html>", "no HTTP"),
    "HTTP/2": (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", "no HTTP"),
    "TLS": (b"\x15\x03\x01\x00\x02\x02\x0a", "write https://"),
    "two lengths": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "no HTTP"
    ),
    "length and chunks": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", "no HTTP"
    ),
    "a length below 0": (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "no HTTP"),
    "another protocol": (
        b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\nabc", "something else"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_reply_is_said_to_be_none(name: str, drive: Drive) -> None:
    data, said = BROKEN[name]

    async def main() -> None:
        error = await refused(data)
        assert said in str(error)
        assert (error.kind, error.status, error.unreachable) == ("connection", 0, False)

    drive(main)


def test_a_reset_is_no_end_of_a_reply(drive: Drive) -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nabc")  # until the end, which a reset is not
        await asyncio.sleep(0.05)
        writer.transport.abort()  # with the request's body unread: a reset

    async def main() -> None:
        async with RawServer(reset) as server, Client() as client:
            with pytest.raises(ProviderError) as caught:
                await client.post(server.url, b"x" * 2**20, {}, 5)
        assert caught.value.kind == "connection"

    drive(main)


def test_headers_are_found_in_any_case_and_joined() -> None:
    head = (
        b"X-Rate-LIMIT: 1\r\nx-rate-limit: 2\r\nEmpty:\r\nName: Zo\xeb \xe2\x82\xac\r\n"
        b"Trailer: T\r\n"
    )
    data = CHUNKED[:-2] + head + b"\r\n1\r\na\r\n0\r\nT: late\r\nContent-Encoding: gzip\r\n\r\n"

    async def main() -> None:
        reply = await both(data, hold=True)
        assert reply == HttpReply(
            200,
            {
                "transfer-encoding": "chunked", "x-rate-limit": "1, 2", "empty": "",
                "name": "Zoë â\x82¬", "trailer": "T",
            },
            b"a",
        )  # fmt: skip

    driven(asyncio.run, main)


@pytest.mark.parametrize(
    "endless",
    [
        b"X-Long: " + b"a" * (2**20 - 8),
        b"HTTP/1.1 100 Continue\r\n\r\n" * 2**15,
        CHUNKED + b"1\r\na\r\n0\r\nT: " + b"a" * 2**20,
    ],
    ids=["a header of 1 MB", "early replies", "a trailer of 1 MB"],
)
def test_what_never_gets_to_the_body_is_refused(endless: bytes, drive: Drive) -> None:
    start = b"" if endless.startswith(b"HTTP") else b"HTTP/1.1 200 OK\r\n"

    async def main() -> None:
        error = await refused(start + endless, hold=True)
        assert "no end of headers" in str(error)
        assert error.kind == "connection"

    drive(main)


def test_long_headers_are_taken() -> None:
    more = [b"X-%d: %s" % (i, b"v" * 1000) for i in range(MAX_HEAD_BYTES // 1200)]

    async def main() -> None:
        assert len((await both(whole(b"abc", b"200 OK", *more))).headers) == len(more) + 1

    driven(asyncio.run, main)


@pytest.mark.parametrize("framed", [True, False])
def test_a_reply_of_70_mb_is_refused(framed: bool, drive: Drive) -> None:
    piece = b"x" * 2**20
    head = b"Content-Length: %d\r\n" % (70 * 2**20) if framed else b""

    async def main() -> None:
        chunks = [b"HTTP/1.1 200 OK\r\n" + head + b"\r\n", *[piece] * 70]
        with pytest.raises(ProviderError, match="over 64 MiB") as caught:
            await post(*chunks)
        assert caught.value.kind == "unreadable"
        with pytest.raises(ProviderError, match="over 64 MiB"):
            await stream(*chunks)

    drive(main)
