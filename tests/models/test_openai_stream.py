"""Streamed answers in OpenAI's format: the same words, however they come in pieces."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.errors import ProviderError
from karat.models.chat import ChatRequest, Delta, Usage
from karat.models.providers import openai
from karat.models.providers._thinking import CLOSE, OPEN, Thinking, apart
from karat.models.spec import parse_model
from karat.models.sse import events
from karat.row import Message

WIRES = Path(__file__).parent / "wires" / "openai"
ASKED = ChatRequest((Message("user", "?"),))


def provider(model="openai/loop", **more):
    if model.startswith("openai/"):
        more.setdefault("base_url", "http://h/v1")
    return openai.connect(parse_model({"model": model, **more}))


def heard(name, model="openai/loop", size=11):
    data = (WIRES / f"{name}.sse").read_bytes()

    async def main():
        async def pieces():
            for i in range(0, len(data), size):
                yield data[i : i + size]

        read = provider(model).reader()
        return [delta async for event, body in events(pieces()) for delta in read(event, body)]

    return asyncio.run(main())


def joined(deltas):
    reason = next((d.finish_reason for d in reversed(deltas) if d.finish_reason), "")
    return "".join(d.content for d in deltas), "".join(d.reasoning for d in deltas), reason


def last_usage(deltas):
    return [d.usage for d in deltas if d.usage][-1]


@pytest.mark.parametrize("size", [1, 11, 100_000])
def test_an_answer_and_its_usage_in_a_last_chunk_of_its_own(size):
    deltas = heard("stream", size=size)
    assert joined(deltas) == ("Twice a day.", "", "stop")
    assert last_usage(deltas) == Usage(12, output=6)
    assert deltas[-1].served_model == "gpt-4.1"


def test_calls_come_in_pieces():
    deltas = heard("stream_tools")
    assert [d.tool for d in deltas if d.tool] == [
        (0, "call_a", "tide", ""), (0, "", "", '{"place":'), (0, "", "", '"Brest"}'),
        (1, "call_b", "moon", "{}"),
    ]  # fmt: skip
    assert joined(deltas)[2] == "tool_calls"


def test_a_call_as_an_object_is_written_as_json():
    call = {"function": {"name": "tide", "arguments": {"at": "Brest"}}}
    chunk = {"choices": [{"delta": {"tool_calls": [call]}, "finish_reason": "stop"}]}
    found = provider().reader()("", orjson.dumps(chunk))
    assert found[0].finish_reason == "tool_calls"
    assert found[1].tool == (0, "", "tide", '{"at":"Brest"}')


def test_thoughts_beside_the_content():
    deltas = heard("stream_deepseek", "deepseek/x")
    assert joined(deltas) == ("Twice a day.", "The moon.", "stop")
    assert last_usage(deltas) == Usage(12, 8, 0, 6, 3)


@pytest.mark.parametrize("size", [1, 100_000])
def test_thoughts_within_the_content(size):
    assert joined(heard("stream_think", size=size)) == ("Twice a day.", "The moon.", "stop")


def test_a_refusal_is_filtered_content():
    assert joined(heard("stream_refusal")) == ("I can't do that.", "", "content_filter")


def test_groq_says_its_usage_elsewhere():
    deltas = heard("stream_groq", "groq/x")
    assert joined(deltas) == ("Twice a day.", "", "stop")
    assert last_usage(deltas) == Usage(12, output=6)


@pytest.mark.parametrize(
    ("name", "status", "kind", "words"),
    [
        ("stream_openrouter_error", 429, "wait", "rate limited upstream"),
        ("stream_vllm_error", 500, "retry", "EngineCore encountered an issue."),
        ("stream_groq_error", 400, "row", "Tool call validation failed"),
    ],
)
def test_an_error_in_the_stream_is_that_error(name, status, kind, words):
    with pytest.raises(ProviderError, match=words) as caught:
        heard(name)
    assert (caught.value.status, caught.value.kind) == (status, kind)


@pytest.mark.parametrize(
    ("event", "chunk"),
    [("error", {"message": "went away"}), ("", {"object": "error", "message": "went away"})],
)
def test_an_error_without_an_envelope(event, chunk):
    with pytest.raises(ProviderError, match="went away") as caught:
        provider().reader()(event, orjson.dumps(chunk))
    assert caught.value.kind == "retry"


def test_a_tag_in_an_answer_whose_thoughts_came_apart_is_part_of_it():
    read = provider().reader()
    pieces = [{"reasoning": "Hm."}, {"content": "<think>"}, {"content": " is a tag"}]
    chunks = [orjson.dumps({"choices": [{"delta": piece}]}) for piece in pieces]
    assert joined([d for chunk in chunks for d in read("", chunk)])[:2] == (
        "<think> is a tag", "Hm.",
    )  # fmt: skip


def test_a_stream_cut_short_never_says_why_it_stopped():
    assert joined(heard("stream_truncated")) == ("Twi", "", "")


@pytest.mark.parametrize("data", [b"", b"{", b"3", b'{"choices": [3]}', b'{"choices": 3}'])
def test_what_is_no_chunk_is_unreadable(data):
    with pytest.raises(ProviderError) as caught:
        provider().reader()("", data)
    assert caught.value.kind == "unreadable"


def test_other_answers_than_the_first_were_not_asked_for():
    chunk = {"choices": [{"index": 1, "delta": {"content": "no"}}]}
    assert provider().reader()("", orjson.dumps(chunk)) == []


NAMES = st.sampled_from(
    ["choices", "delta", "content", "reasoning_content", "reasoning_details", "refusal", "type",
     "tool_calls", "function", "name", "arguments", "index", "id", "finish_reason", "usage", "text",
     "prompt_tokens", "error", "code", "message", "object", "x_groq", "model", "thinking"]
)  # fmt: skip
TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=9) | st.just("<think>"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
)
CHUNKS = TREES | st.fixed_dictionaries(
    {"choices": st.lists(st.fixed_dictionaries({"delta": TREES}) | TREES, max_size=2)}
)


@given(chunks=st.lists(CHUNKS, max_size=4), event=st.sampled_from(["", "error"]))
def test_no_json_breaks_the_reading(chunks, event):
    read = provider().reader()
    try:
        for chunk in chunks:
            for delta in read(event, orjson.dumps(chunk)):
                assert isinstance(delta.content + delta.reasoning + delta.finish_reason, str)
    except ProviderError:
        pass


def test_what_was_held_back_comes_when_the_stream_ends_without_a_reason():
    read = provider().reader()
    assert read("", orjson.dumps({"choices": [{"delta": {"content": " <thin"}}]})) == []
    assert read("", b"[DONE]") == [Delta(" <thin")]


def test_usage_is_asked_for_where_it_must_be():
    asked = orjson.loads(provider().chat(ASKED, stream=True).body)
    assert asked["stream"] is True
    assert asked["stream_options"] == {"include_usage": True}
    asked = orjson.loads(provider("mistral/x").chat(ASKED, stream=True).body)
    assert "stream_options" not in asked
    assert "stream" not in orjson.loads(provider().chat(ASKED).body)


PIECES = st.lists(
    st.sampled_from(["<", "think>", "</", "<think>", "</think>", "th", ">", " ", "\n", "a", "b "]),
    max_size=12,
)


@given(parts=PIECES, first=st.booleans())
def test_however_a_text_is_cut_its_thoughts_are_the_same(parts, first):
    parts = [OPEN, *parts] if first else parts
    thinking = Thinking()
    said = [*(thinking.feed(part) for part in parts), thinking.end()]
    whole = "".join(parts)
    assert ("".join(s for s, _ in said), "".join(t for _, t in said)) == apart(whole)
    assert apart(whole) == by_hand(whole)


def by_hand(text):
    """The rule in two lines, for a whole text."""
    if not text.lstrip().startswith(OPEN):
        return text, ""
    thought, _, answer = text.lstrip()[len(OPEN) :].partition(CLOSE)
    return answer.lstrip(), thought.strip()


def test_white_space_without_end_costs_no_time():
    thinking = Thinking()
    thinking.feed(OPEN + "x" + " " * 300_000 + "y")
    assert thinking.feed(CLOSE + "z") == ("z", "")
