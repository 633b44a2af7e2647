"""Gemini's streamed answers: events to deltas."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from native import (
    GOOGLE,
    JSON,
    PATHS,
    failed,
    frames,
    joined,
    last,
    mutated,
    read,
    recorded,
    reply,
    served,
)
from test_gemini import KEY, ask, provider

from karat.errors import ProviderError
from karat.models.chat import Usage
from karat.models.providers import gemini
from karat.models.spec import ModelSpec
from karat.models.sse import events


def test_an_answer():
    deltas = read(provider(), recorded("gemini", "text.sse"))
    assert joined(deltas) == ("The moon.", "**Gravity**", [])
    assert last(deltas, "finish_reason") == "stop"
    assert last(deltas, "served_model") == "gemini-3-flash-preview"
    assert last(deltas, "usage") == Usage(8, cached=4, output=15, reasoning=12)


def test_calls():
    deltas = read(provider(), recorded("gemini", "tools.sse"))
    assert joined(deltas)[2] == [
        ["call-a~EjQKMgEM", "tide", '{"place":"Brest"}'],
        ["call-b", "now", "{}"],
    ]
    assert last(deltas, "finish_reason") == "tool_calls"


def test_one_call_is_reason_enough():
    sent = json.loads(recorded("gemini", "tools.json"))
    del sent["candidates"][0]["content"]["parts"][1]
    deltas = provider().reader()("", json.dumps(sent).encode())
    assert last(deltas, "finish_reason") == "tool_calls"


def test_a_call_is_the_same_streamed_or_whole():
    whole = json.loads(recorded("gemini", "tools.json"))
    streamed = joined(provider().reader()("", json.dumps(whole).encode()))[2]
    at_once = provider().read_chat(reply(whole)).choices[0].tool_calls
    assert [tuple(call) for call in streamed] == [(c.id, c.name, c.arguments) for c in at_once]


def test_an_error_in_the_stream_is_sorted_like_any_other():
    with pytest.raises(ProviderError, match="overloaded") as caught:
        read(provider(), recorded("gemini", "overloaded.sse"))
    assert (caught.value.kind, caught.value.status) == ("retry", 503)


@pytest.mark.parametrize(
    ("error", "sort"),
    [
        ({"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED"}, "wait"),
        ({"code": 400, "message": "The input token count (9) exceeds the maximum"}, "context"),
        ({"code": "?", "message": f"odd {KEY}"}, "retry"),
        ("odd", "retry"),
    ],
)
def test_every_kind_of_error_in_a_stream(error, sort):
    for event in ({"error": error}, [{"error": error}]):
        with pytest.raises(ProviderError) as caught:
            provider().reader()("", json.dumps(event).encode())
        assert caught.value.kind == sort
        assert KEY not in str(caught.value)


def test_a_blocked_prompt_is_refused_content():
    with pytest.raises(ProviderError, match="PROHIBITED_CONTENT") as caught:
        provider().reader()("", recorded("gemini", "blocked.json"))
    assert caught.value.kind == "content"


def test_a_stream_that_breaks_off_never_says_why_it_ended():
    whole = recorded("gemini", "text.sse")
    for end in range(0, whole.rindex(b"data:") + 100, 41):
        assert not any(delta.finish_reason for delta in read(provider(), whole[:end]))


@pytest.mark.parametrize("data", [b"", b"[DONE", b"[]", b"3", b"null", b"[" * 100_000])
def test_an_event_that_cannot_be_read_is_unreadable(data):
    with pytest.raises(ProviderError) as caught:
        provider().reader()("", data)
    assert caught.value.kind == "unreadable"


@given(st.lists(JSON, max_size=6))
def test_any_events_are_read_or_an_error(trees):
    reader = provider().reader()
    for tree in trees:
        assert isinstance(failed(lambda tree=tree: reader("", json.dumps(tree).encode())), str)


@given(st.sampled_from(["text.sse", "tools.sse"]), st.integers(0, 5), PATHS, JSON)
def test_a_stream_with_anything_in_any_place_is_read_or_an_error(name, which, path, value):
    sent = [json.loads(data) for _, data in frames(recorded("gemini", name), 4096)]
    sent[which % len(sent)] = mutated(sent[which % len(sent)], path, value)
    reader = provider().reader()
    sorts = {failed(lambda tree=tree: reader("", json.dumps(tree).encode())) for tree in sent}
    assert sorts <= {"", "unreadable", "retry", "content"}


def test_one_streamed_answer_over_http():
    async def work(url):
        spec = ModelSpec(model="google/gemini-2.5-flash", service=GOOGLE, base_url=f"{url}/v1beta")
        made = gemini.connect(spec)
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
        served(work, recorded("gemini", "text.sse"), "text/event-stream")
    )
    assert joined(deltas)[0] == "The moon."
    assert requests[0][0] == "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
