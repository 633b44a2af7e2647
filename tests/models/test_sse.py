"""Server-sent events: the same events, however the bytes come in pieces."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.errors import ProviderError
from karat.models import sse

STREAM = (
    b": hello\n\n"
    b"data: one\n\n"
    b"event: error\r\ndata: two\r\n\r\n"
    b"id: 7\nretry: 10\ndata:three\ndata: and four\n\n"
    b"event: empty\n\n"
    b"data: \xf0\x9f\x8c\x8a\n\n"
    b"data: cut short"
)
EVENTS = [
    ("", b"one"), ("error", b"two"), ("", b"three\nand four"), ("", b"\xf0\x9f\x8c\x8a"),
]  # fmt: skip


def heard(*pieces):
    async def main():
        async def come():
            for piece in pieces:
                yield piece

        return [event async for event in sse.events(come())]

    return asyncio.run(main())


def test_events_and_what_is_none():
    assert heard(STREAM) == EVENTS


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_cut_anywhere(cuts):
    places = [0, *sorted(cuts), len(STREAM)]
    assert heard(*(STREAM[a:b] for a, b in pairwise(places))) == EVENTS


def test_an_events_name_is_not_the_next_ones():
    assert heard(b"event: a\ndata: 1\n\ndata: 2\n\n") == [("a", b"1"), ("", b"2")]


def test_a_byte_order_mark_before_the_stream():
    assert heard(b"\xef\xbb", b"\xbfdata: 1\n\n") == [("", b"1")]


@pytest.mark.parametrize("line", [b"x" * 999, b"data: " + b"x" * 100 + b"\n"])
def test_an_event_without_end_is_not_waited_for(monkeypatch, line):
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 10_000)
    with pytest.raises(ProviderError, match="over 16 MiB") as caught:
        heard(*[line] * 200)
    assert caught.value.kind == "unreadable"


def test_many_events_are_not_one_large_one(monkeypatch):
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1000)
    assert len(heard(*[b"data: " + b"x" * 90 + b"\n\n"] * 200)) == 200
