"""Replies that are packed, replies in any pieces, and any bytes at all."""

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
from raw_server import (
    CHUNKED,
    LOOPS,
    Drive,
    both,
    driven,
    post,
    refused,
    stream,
    whole,
)
from test_connection import WHOLE

from karat.errors import ProviderError
from karat.models.connection import MAX_REPLY_BYTES, Connection
from karat.models.transport import HttpReply


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def drive(request: pytest.FixtureRequest) -> Drive:
    return lambda main: driven(request.param, main)


def packed(body: bytes, form: bytes, status: bytes = b"200 OK") -> bytes:
    return whole(body, status, b"Content-Encoding: " + form)


@pytest.mark.parametrize(
    ("body", "form"),
    [
        (gzip.compress(b"abc" * 9, mtime=0), b"gzip"),
        (gzip.compress(b"abc" * 9, mtime=0), b"X-GZIP"),
        (zlib.compress(b"abc" * 9), b"deflate"),
        (gzip.compress(b"abc", mtime=0) + gzip.compress(b"abc" * 8, mtime=0), b"gzip"),
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
        (gzip.compress(b"abc", mtime=0)[:-4], b"gzip", "the gzip of the reply ends early"),
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
    packed(gzip.compress(b"abc" * 9, mtime=0), b"gzip"),
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
