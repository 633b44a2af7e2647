"""The Responses API: what is written, and what is read from whole and streamed answers.

The replies in wires/responses are of the forms that the `openai` package 3.54 validates.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
import orjson
import pytest

from karat.errors import ProviderError
from karat.models.asks import EmbedRequest
from karat.models.chat import ChatRequest, Delta, TokenLogprob, Tool, ToolCall, Turn, Usage
from karat.models.providers import responses
from karat.models.services import Service
from karat.models.spec import ModelSpec, load_wire, parse_model
from karat.models.sse import events
from karat.models.transport import HttpReply
from karat.row import Message

WIRES = Path(__file__).parent / "wires" / "responses"
ASKED = (Message("system", "Be brief."), Message("user", "What makes tides?"))
CLOSED = {
    "type": "object",
    "properties": {"cause": {"type": "string"}},
    "required": ["cause"],
    "additionalProperties": False,
}


def provider(**more):
    spec = {"model": "openai/gpt-5", "wire": "responses", "base_url": "http://h/v1", **more}
    return responses.connect(parse_model(spec))


def body(request, stream=False, **more):
    return orjson.loads(provider(**more).chat(request, stream=stream).body)


def reply(name):
    return HttpReply(200, {}, (WIRES / name).read_bytes())


def failed(**error):
    tree = {"status": "failed", "output": [], "error": error}
    return HttpReply(200, {}, orjson.dumps(tree))


def read_stream(data, size=7):
    async def main():
        async def pieces():
            for i in range(0, len(data), size):
                yield data[i : i + size]

        read = provider().reader()
        return [delta async for event, text in events(pieces()) for delta in read(event, text)]

    return asyncio.run(main())


def event(**fields):
    return f"event: {fields['type']}\ndata: {json.dumps(fields)}\n\n".encode()


def test_it_is_a_wire_like_the_others():
    assert load_wire("responses") is responses
    assert set(responses.TAKES) <= set(ChatRequest.__struct_fields__)
    assert not {"n", "seed", "stop"} & set(responses.TAKES)


def test_a_plain_request():
    post = provider().chat(ChatRequest(ASKED, temperature=0.5, top_p=0.9, max_tokens=64))
    assert post.url == "http://h/v1/responses"
    assert orjson.loads(post.body) == {
        "model": "gpt-5",
        "store": False,
        "input": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What makes tides?"},
        ],
        "temperature": 0.5,
        "top_p": 0.9,
        "max_output_tokens": 64,
    }


def test_what_the_format_has_no_word_for_is_not_sent():
    sent = body(ChatRequest(ASKED, seed=7, stop=("\n",), top_k=3))
    assert set(sent) == {"model", "store", "input"}
    assert provider().max_n == 1


def test_calls_and_their_results_are_items():
    calls = (ToolCall("a", "height", '{"place":"Brest"}'), ToolCall("b", "height", "{}"))
    turns = (
        *ASKED,
        Turn("assistant", "Looking.", tool_calls=calls),
        Turn("tool", "7 m", tool_call_id="a"),
        Turn("assistant", "", tool_calls=calls[1:]),
        Turn("assistant", "High."),
    )
    call = {"type": "function_call", "name": "height"}
    assert body(ChatRequest(turns))["input"][2:] == [
        {"role": "assistant", "content": "Looking."},
        {**call, "call_id": "a", "arguments": '{"place":"Brest"}'},
        {**call, "call_id": "b", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": "7 m"},
        {**call, "call_id": "b", "arguments": "{}"},
        {"role": "assistant", "content": "High."},
    ]


def test_tools_are_flat_and_say_whether_they_are_strict():
    tools = (Tool("height", "of the tide", CLOSED), Tool("now"))
    sent = body(ChatRequest(ASKED, tools=tools, tool_choice="required"))
    assert sent["tools"] == [
        {
            "type": "function",
            "name": "height",
            "description": "of the tide",
            "parameters": CLOSED,
            "strict": True,
        },
        {
            "type": "function",
            "name": "now",
            "parameters": {"type": "object", "properties": {}},
            "strict": False,
        },
    ]
    assert sent["tool_choice"] == "required"
    named = body(ChatRequest(ASKED, tools=tools, tool_choice="now"))
    assert named["tool_choice"] == {"type": "function", "name": "now"}


@pytest.mark.parametrize("strict", [True, False])
def test_a_schema_is_strict_where_the_service_would_take_it(strict):
    schema = CLOSED if strict else {"type": "object", "properties": {"cause": {}}}
    sent = body(ChatRequest(ASKED, schema=schema), extra={"text": {"verbosity": "low"}})
    assert sent["text"] == {
        "verbosity": "low",
        "format": {"type": "json_schema", "name": "answer", "schema": schema, "strict": strict},
    }


@pytest.mark.parametrize("form", ["json_object", "prompt"])
def test_a_service_without_schemas_reads_it_in_the_prompt(form):
    spec = ModelSpec("x/m", service=Service(wire="responses", base_url="http://h/v1", schema=form))
    sent = orjson.loads(responses.connect(spec).chat(ChatRequest(ASKED, schema=CLOSED)).body)
    assert '"cause"' in sent["input"][0]["content"]
    assert sent.get("text") == (
        {"format": {"type": "json_object"}} if form == "json_object" else None
    )


def test_reasoning_logprobs_and_extra_are_merged():
    extra = {
        "store": True,
        "reasoning": {"summary": "auto"},
        "include": ["reasoning.encrypted_content"],
    }
    sent = body(ChatRequest(ASKED, reasoning="low", logprobs=3), stream=True, extra=extra)
    assert sent["store"] is True
    assert sent["stream"] is True
    assert sent["reasoning"] == {"summary": "auto", "effort": "low"}
    assert sent["include"] == ["reasoning.encrypted_content", "message.output_text.logprobs"]
    assert sent["top_logprobs"] == 3
    assert extra["include"] == ["reasoning.encrypted_content"]


def test_a_text_with_thoughts_logprobs_and_usage():
    read = provider().read_chat(reply("text.json"))
    (choice,) = read.choices
    assert choice.content == "A tide."
    assert choice.finish_reason == "stop"
    assert choice.reasoning == "**The moon**\n\nIt pulls.\n\n**The sea**\n\nIt follows."
    assert choice.logprobs == [
        TokenLogprob("A", -0.25, [("A", -0.25), ("The", -1.5)]),
        TokenLogprob(" tide.", -0.125),
    ]
    assert read.usage == Usage(81, 64, 8, 35, 24)
    assert read.served_model == "gpt-5-2025-08-07"


def test_calls_are_read():
    (choice,) = provider().read_chat(reply("tools.json")).choices
    assert choice.finish_reason == "tool_calls"
    assert choice.tool_calls == (
        ToolCall("call_a", "height", '{"place":"Brest"}'),
        ToolCall("call_b", "height", '{"place":"Dover"}'),
    )


def test_an_answer_cut_in_its_thoughts_is_an_empty_one():
    read = provider().read_chat(reply("cut.json"))
    assert (read.choices[0].content, read.choices[0].finish_reason) == ("", "length")
    assert read.usage.reasoning == 16


def test_a_refusal_ends_as_a_filter_does():
    (choice,) = provider().read_chat(reply("refusal.json")).choices
    assert choice.content == "I can't help with that."
    assert choice.finish_reason == "content_filter"


def test_a_refusal_counts_whatever_is_said_after_it():
    tree = json.loads((WIRES / "refusal.json").read_text())
    tree["output"][0]["content"].append({"type": "output_text", "text": " Sorry.", "logprobs": []})
    (choice,) = provider().read_chat(HttpReply(200, {}, orjson.dumps(tree))).choices
    assert choice.content == "I can't help with that. Sorry."
    assert choice.finish_reason == "content_filter"


def test_a_content_filter_keeps_its_word():
    tree = json.loads((WIRES / "cut.json").read_text())
    tree["incomplete_details"] = {"reason": "content_filter"}
    read = provider().read_chat(HttpReply(200, {}, orjson.dumps(tree)))
    assert read.choices[0].finish_reason == "content_filter"


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        ({"code": "server_error", "message": "oops"}, 500, "retry"),
        ({"code": "rate_limit_exceeded", "message": "slow down"}, 429, "wait"),
        ({"code": "invalid_image", "message": "no image"}, 400, "row"),
        ({"code": 503, "message": "busy"}, 503, "retry"),
        ({"message": "who knows"}, 500, "retry"),
        ({"code": "insufficient_quota", "message": "pay"}, 402, "model"),
        ({"code": "bio_policy", "message": "no"}, 200, "content"),
        ({"code": "invalid_prompt", "message": "flagged as against our usage policies"}, 400,
         "content"),
    ],
)  # fmt: skip
def test_a_failed_response_is_sorted(error, status, kind):
    with pytest.raises(ProviderError, match=error["message"]) as caught:
        provider().read_chat(failed(**error))
    assert (caught.value.status, caught.value.kind) == (status, kind)


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"null", b"{}", b'{"output": 3}', b'{"output": [], "status": "in_progress"}',
     b'{"output": [{"type": "message", "content": [{"type": "output_text", "text": 3}]}]}',
     b'{"output": [{"type": "function_call"}]}'],
)  # fmt: skip
def test_what_is_no_response_is_unreadable(data):
    with pytest.raises(ProviderError, match="not a response") as caught:
        provider().read_chat(HttpReply(200, {}, data))
    assert caught.value.kind == "unreadable"


@pytest.mark.parametrize("name", ["text", "tools"])
def test_a_streamed_answer_reads_as_the_whole_one(name):
    whole = provider().read_chat(reply(f"{name}.json"))
    deltas = read_stream((WIRES / f"{name}.sse").read_bytes())
    (choice,) = whole.choices
    assert "".join(d.content for d in deltas) == choice.content
    assert "".join(d.reasoning for d in deltas) == choice.reasoning
    calls: dict[int, list[str]] = {}
    for place, *parts in (d.tool for d in deltas if d.tool):
        before = calls.setdefault(place, ["", "", ""])
        calls[place] = [a + b for a, b in zip(before, parts, strict=True)]
    assert tuple(ToolCall(*calls[i]) for i in sorted(calls)) == choice.tool_calls
    assert deltas[-1].finish_reason == choice.finish_reason
    assert deltas[-1].usage == whole.usage
    assert deltas[-1].served_model == whole.served_model


def test_a_streamed_refusal_and_a_cut_answer():
    refusal = event(type="response.refusal.delta", output_index=0, content_index=0, delta="No.")
    done = event(type="response.completed", response={"status": "completed", "output": []})
    assert [d.finish_reason for d in read_stream(refusal + done)] == ["", "content_filter"]
    cut = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    (last,) = read_stream(event(type="response.incomplete", response=cut))
    assert last == Delta(finish_reason="length", usage=Usage())


@pytest.mark.parametrize(
    "sent",
    [
        {"type": "error", "code": "rate_limit_exceeded", "message": "slow down", "param": None},
        {"type": "error", "error": {"code": "rate_limit_exceeded", "message": "slow down"}},
        {
            "type": "response.failed",
            "response": {"error": {"code": "rate_limit_exceeded", "message": "slow down"}},
        },
    ],
)
def test_an_error_in_the_stream_is_sorted(sent):
    with pytest.raises(ProviderError, match="slow down") as caught:
        read_stream(event(**sent))
    assert (caught.value.status, caught.value.kind) == (429, "wait")


def test_a_broken_event_is_unreadable():
    lost = event(type="response.function_call_arguments.delta", output_index=4, delta="{")
    with pytest.raises(ProviderError, match="not a piece of a response") as caught:
        read_stream(lost)
    assert caught.value.kind == "unreadable"
    assert read_stream(b"data: [DONE]\n\n") == []


def test_other_asks_go_to_their_own_paths():
    post = provider().embed(EmbedRequest(("a",)))
    assert post.url == "http://h/v1/embeddings"


def test_a_choice_says_nothing_it_was_not_told():
    tree = {"output": [{"type": "web_search_call"}], "model": None, "usage": None}
    read = provider().read_chat(HttpReply(200, {}, orjson.dumps(tree)))
    assert msgspec.to_builtins(read.usage) == msgspec.to_builtins(Usage())
    assert read.choices[0].logprobs is None
