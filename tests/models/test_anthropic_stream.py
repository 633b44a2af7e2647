"""Anthropic's streamed answers: events to deltas."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from native import JSON, PATHS, failed, frames, joined, last, mutated, read, recorded, served
from test_anthropic import ANTHROPIC, KEY, ask, provider

from karat.errors import ProviderError
from karat.models.chat import Usage
from karat.models.providers import anthropic
from karat.models.spec import ModelSpec
from karat.models.sse import events


def test_an_answer():
    deltas = read(provider(), recorded("anthropic", "text.sse"))
    assert joined(deltas) == ("The moon.", "", [])
    assert last(deltas, "finish_reason") == "stop"
    assert last(deltas, "served_model") == "claude-opus-4-8"
    # The prompt is counted at the start only, the answer at the end.
    assert last(deltas, "usage") == Usage(130, cached=100, cache_write=5, output=15)


def test_thoughts_and_calls():
    deltas = read(provider(), recorded("anthropic", "tools.sse"))
    assert joined(deltas) == (
        "",
        "I need the tide.",
        [
            ["toolu_01T1x1fJ34qAmk2tNTrN7Up6", "tide", '{"place": "Brest"}'],
            ["toolu_01D7FLrfh4GYq7yT1ULFeyMV", "now", "{}"],
        ],
    )
    assert last(deltas, "finish_reason") == "tool_calls"
    assert last(deltas, "usage") == Usage(472, output=89, reasoning=12)
    assert [d.tool[:3] for d in deltas if d.tool and d.tool[1]] == [
        (0, "toolu_01T1x1fJ34qAmk2tNTrN7Up6", "tide"),
        (1, "toolu_01D7FLrfh4GYq7yT1ULFeyMV", "now"),
    ]


def test_the_tool_that_carries_an_answer_streams_as_text():
    stream = recorded("anthropic", "tools.sse").replace(
        b'"tide","input"', b'"karat_answer","input"'
    )
    deltas = read(provider(), stream)
    content, _, calls = joined(deltas)
    assert content == '{"place": "Brest"}'
    assert [call[1] for call in calls] == ["now"]
    assert last(deltas, "finish_reason") == "stop"


def test_a_block_may_begin_with_text_and_thoughts_are_kept_apart():
    reader = provider().reader()
    deltas = []
    for place, kind in enumerate(["thinking", "text", "thinking"]):
        block = {"type": kind, kind: f"{kind} {place}"}
        start = {"type": "content_block_start", "index": place, "content_block": block}
        deltas += reader("", json.dumps(start).encode())
    assert joined(deltas) == ("text 1", "thinking 0\n\nthinking 2", [])


def test_arguments_that_come_whole_are_taken_whole():
    start = {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "tool_use", "id": "t", "name": "tide", "input": {"a": 1}},
    }
    reader = provider().reader()
    deltas = reader("", json.dumps(start).encode())
    deltas += reader("", b'{"type": "content_block_stop", "index": 0}')
    assert joined(deltas)[2] == [["t", "tide", '{"a":1}']]


def test_an_error_in_the_stream_is_sorted_like_any_other():
    with pytest.raises(ProviderError, match="Overloaded") as caught:
        read(provider(), recorded("anthropic", "overloaded.sse"))
    assert (caught.value.kind, caught.value.status) == ("retry", 529)


@pytest.mark.parametrize(
    ("kind", "sort", "status"),
    [
        ("invalid_request_error", "row", 400),
        ("authentication_error", "model", 401),
        ("billing_error", "model", 402),
        ("permission_error", "model", 403),
        ("not_found_error", "model", 404),
        ("request_too_large", "context", 413),
        ("rate_limit_error", "wait", 429),
        ("api_error", "retry", 500),
        ("timeout_error", "retry", 504),
        ("overloaded_error", "retry", 529),
        ("something_new", "retry", 500),
    ],
)
def test_every_kind_of_error_in_a_stream(kind, sort, status):
    event = json.dumps({"type": "error", "error": {"type": kind, "message": f"no {KEY}"}}).encode()
    with pytest.raises(ProviderError) as caught:
        provider().reader()("error", event)
    assert (caught.value.kind, caught.value.status) == (sort, status)
    assert KEY not in str(caught.value)


def test_a_stream_that_breaks_off_never_says_why_it_ended():
    whole = recorded("anthropic", "text.sse")
    for end in range(0, whole.index(b"event: message_stop") - 1, 37):
        deltas = read(provider(), whole[:end])
        assert not any(delta.finish_reason for delta in deltas)


def test_a_kind_of_event_nobody_knew_is_passed_over():
    reader = provider().reader()
    assert reader("", b'{"type": "thought_balloon", "index": 0}') == []
    assert reader("ping", b'{"type": "ping"}') == []
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta"}}
    assert reader("", json.dumps(delta).encode()) == []


@pytest.mark.parametrize(
    "data",
    [b"", b"[DONE", b"[]", b"3", b'{"type": "content_block_delta"}', b"[" * 100_000,
     b'{"type":"content_block_delta","index":9,"delta":{"type":"input_json_delta","partial_json":"x"}}'],
)  # fmt: skip
def test_an_event_that_cannot_be_read_is_unreadable(data):
    with pytest.raises(ProviderError) as caught:
        provider().reader()("", data)
    assert caught.value.kind == "unreadable"


@given(st.lists(JSON, max_size=6))
def test_any_events_are_read_or_an_error(trees):
    reader = provider().reader()
    for tree in trees:
        assert isinstance(failed(lambda tree=tree: reader("x", json.dumps(tree).encode())), str)


@given(st.sampled_from(["text.sse", "tools.sse"]), st.integers(0, 20), PATHS, JSON)
def test_a_stream_with_anything_in_any_place_is_read_or_an_error(name, which, path, value):
    sent = [json.loads(data) for _, data in frames(recorded("anthropic", name), 4096)]
    sent[which % len(sent)] = mutated(sent[which % len(sent)], path, value)
    reader = provider().reader()
    sorts = {failed(lambda tree=tree: reader("x", json.dumps(tree).encode())) for tree in sent}
    assert sorts <= {"", "unreadable", "retry"}


def test_one_streamed_answer_over_http():
    async def work(url):
        spec = ModelSpec(model="anthropic/claude-opus-5", service=ANTHROPIC, base_url=f"{url}/v1")
        made = anthropic.connect(spec)
        post, reader, deltas = made.chat(ask(), stream=True), made.reader(), []
        try:
            sent = made.transport.stream("POST", *post, made.headers, 10)
            async with sent as stream:
                async for name, data in events(stream.pieces()):
                    deltas += reader(name, data)
        finally:
            await made.close()
        return deltas

    deltas, requests = asyncio.run(
        served(work, recorded("anthropic", "text.sse"), "text/event-stream")
    )
    assert joined(deltas)[0] == "The moon."
    assert requests[0][2]["stream"] is True
