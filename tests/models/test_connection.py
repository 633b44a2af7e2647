"""What may come as a reply, byte by byte, and what karat makes of it."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import tracemalloc
import zlib
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_server import LOOPS, Client, Drive, RawServer, driven, replies, request, whole

from karat.errors import ProviderError
from karat.models.connection import AHEAD_BYTES, MAX_HEAD_BYTES, MAX_REPLY_BYTES, Connection
from karat.models.transport import HttpReply, HttpTransport, read_all

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def drive(request: pytest.FixtureRequest) -> Drive:
    return lambda main: driven(request.param, main)


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


# --- packed bodies -------------------------------------------------------------------------------


def packed(body: bytes, form: bytes, status: bytes = b"200 OK") -> bytes:
    return whole(body, status, b"Content-Encoding: " + form)


@pytest.mark.parametrize(
    ("body", "form"),
    [
        (gzip.compress(b"abc" * 9), b"gzip"),
        (gzip.compress(b"abc" * 9), b"X-GZIP"),
        (zlib.compress(b"abc" * 9), b"deflate"),
        (gzip.compress(b"abc") + gzip.compress(b"abc" * 8), b"gzip"),
        (b"abc" * 9, b"identity"),
    ],
)
def test_a_packed_reply_is_unpacked(body: bytes, form: bytes) -> None:
    async def main() -> None:
        assert (await both(packed(body, form), hold=True)).body == b"abc" * 9

    driven(asyncio.run, main)


@pytest.mark.parametrize(
    ("body", "form", "said"),
    [
        (b"abc", b"br", "packed as br, unasked"),
        (b"abc", b"zstd", "packed as zstd, unasked"),
        (b"abc", b"gzip", "not gzip"),
        (gzip.compress(b"abc")[:-4], b"gzip", "the gzip of the reply ends early"),
    ],
)
def test_what_cannot_be_unpacked_is_named(body: bytes, form: bytes, said: str) -> None:
    async def main() -> None:
        error = await refused(packed(body, form), hold=True)
        assert said in str(error)
        assert (error.kind, error.status) == ("unreadable", 200)
        error = await refused(packed(body, form, b"429 Slow"), hold=True)
        assert said in str(error)
        assert (error.kind, error.status) == ("wait", 429)  # nothing was paid for

    driven(asyncio.run, main)


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """10 GB, packed twice as one gzip packs them: 10 MB."""
    press = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    zeros = bytes(2**20)
    member = b"".join([*(press.compress(zeros) for _ in range(100)), press.flush()])
    return member * 100


def test_a_gzip_bomb_stays_small(bomb: bytes, drive: Drive) -> None:
    async def main() -> None:
        data = packed(bomb, b"gzip")
        tracemalloc.start()
        try:
            error = await refused(data, hold=True)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert "over 64 MiB" in str(error)
        assert peak < 3 * MAX_REPLY_BYTES

    drive(main)


# --- any bytes, in any pieces --------------------------------------------------------------------


class _Wire(asyncio.Transport):
    """Where a connection's bytes go, when a test plays the loop itself."""

    closed = False

    def write(self, data: Any) -> None:
        pass

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def fed(parts: list[bytes], *, closes: bool) -> HttpReply | str:
    """The reply, or what was raised instead."""
    wire, connection = _Wire(), Connection(lambda _: None, lambda _: None)
    connection.connection_made(wire)
    connection.send(b"", b"")
    waiting = asyncio.ensure_future(connection.reply(0.005, 0.005))
    await asyncio.sleep(0)
    for part in parts:
        if not wire.closed:
            connection.data_received(part)
    if closes or wire.closed:
        connection.connection_lost(None)
    try:
        return HttpReply(connection.status, connection.headers, await waiting)
    except ProviderError as error:
        return str(error)


def cut(data: bytes, places: list[int]) -> Iterator[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    for start, end in pairwise(ends):
        yield data[start:end]


VALID = [data for name, (data, _, _, _) in WHOLE.items() if "after" not in name] + [
    packed(gzip.compress(b"abc" * 9), b"gzip"),
    CHUNKED + b"".join(b"1\r\n%c\r\n" % c for c in b"abcdef") + b"0\r\nT: x\r\n\r\n",
]


@given(data=st.sampled_from(VALID), places=st.lists(st.integers(0, 400), max_size=12))
def test_how_a_reply_was_cut_makes_no_difference(data: bytes, places: list[int]) -> None:
    async def main() -> None:
        expected = await fed([data], closes=True)
        assert isinstance(expected, HttpReply)
        assert await fed(list(cut(data, places)), closes=True) == expected
        assert await fed([data[i : i + 1] for i in range(len(data))], closes=True) == expected

    asyncio.run(main())


REPLY_LIKE = st.lists(
    st.one_of(
        st.binary(max_size=30),
        st.sampled_from([
            b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 99", b"\r\n", b"Content-Length: ", b"5", b"abcde",
            b"Transfer-Encoding: chunked\r\n", b"5\r\nabcde\r\n", b"0\r\n\r\n", b"HTTP/1.1 100 C",
            b"Content-Encoding: gzip\r\n", b"Connection: upgrade\r\n", b"HTTP/1.1 101 S\r\n",
            b"Upgrade: x\r\n", b"HTTP/1.1 204 N\r\n", b"Connection: close\r\n", b"\x1f\x8b\x08",
        ]),
    ),
    max_size=12,
)  # fmt: skip


@given(parts=REPLY_LIKE, closes=st.booleans())
@settings(max_examples=150)
def test_no_bytes_raise_anything_else_or_hang(parts: list[bytes], closes: bool) -> None:
    async def main() -> None:
        await asyncio.wait_for(fed(parts, closes=closes), 1)

    asyncio.run(main())


@given(parts=REPLY_LIKE, closes=st.booleans())
@settings(max_examples=12)
def test_nor_do_they_over_a_socket(parts: list[bytes], closes: bool) -> None:
    async def main() -> None:
        for ask in (post, stream):
            with contextlib.suppress(ProviderError):
                await asyncio.wait_for(ask(*parts, hold=not closes, timeout_s=0.02), 2)

    for run in LOOPS:
        driven(run, main)


# --- streams -------------------------------------------------------------------------------------


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
