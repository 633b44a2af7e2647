"""A request of Anthropic's read, an answer written: each rule by itself, no server.

The SDK's own accumulator is the oracle for the events.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from later import later

from karat import RecipeError
from karat.models.chat import Completion, Delta, Tool, ToolCall, Turn, Usage
from karat.row import Message
from karat.web.gateway.anthropic_asks import read_request
from karat.web.gateway.anthropic_replies import Events, error_body, message, stop_reason

anthropic = later("anthropic")

SCHEMA = {"type": "object", "properties": {"place": {"type": "string"}}}
TIDE = {"name": "tide", "description": "High water", "input_schema": SCHEMA}


def asked(**more):
    body = {"model": "m", "max_tokens": 4000, "messages": [{"role": "user", "content": "?"}]}
    return read_request(json.dumps({**body, **more}).encode())


def test_a_plain_question():
    found = asked()
    assert found.model == "m"
    assert not found.stream
    assert not found.thoughts
    assert found.request.messages == (Message("user", "?"),)
    assert found.request.max_tokens == 4000
    assert found.request.reasoning is None


def test_a_conversation_with_tools_keeps_every_turn():
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "text", "text": "I "}, {"type": "text", "text": "look."},
            {"type": "tool_use", "id": "t1", "name": "tide", "input": {"place": "Brest"}},
            {"type": "tool_use", "id": "t2", "name": "tide", "input": {}},
        ]},
        {"role": "user", "content": [
            {"type": "text", "text": "Well?", "cache_control": {"type": "ephemeral"}},
            {"type": "tool_result", "tool_use_id": "t1", "content": "high at 4"},
            {"type": "tool_result", "tool_use_id": "t2", "is_error": True,
             "content": [{"type": "text", "text": "no place"}]},
        ]},
    ]  # fmt: skip
    system = [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief."}]
    found = asked(messages=turns, system=system, tools=[TIDE]).request
    calls = (ToolCall("t1", "tide", '{"place":"Brest"}'), ToolCall("t2", "tide", "{}"))
    assert found.messages == (
        Message("system", "Be\n\nbrief."),
        Message("user", "a\n\nb"),
        Turn("assistant", "I look.", tool_calls=calls),
        Turn("tool", "high at 4", tool_call_id="t1"),
        Turn("tool", "Error: no place", tool_call_id="t2"),
        Message("user", "Well?"),
    )
    assert found.tools == (Tool("tide", "High water", SCHEMA),)


@pytest.mark.parametrize(
    ("choice", "said"),
    [("auto", "auto"), ("any", "required"), ("none", "none"), ("tool", "tide")],
)
def test_choices_of_a_tool(choice, said):
    tool = {"type": choice, **({"name": "tide"} if choice == "tool" else {})}
    assert asked(tools=[TIDE], tool_choice=tool).request.tool_choice == said


@pytest.mark.parametrize(
    ("thinking", "effort", "found", "thoughts"),
    [
        (None, None, None, False),
        (None, "max", "xhigh", False),
        ({"type": "disabled"}, None, "none", False),
        ({"type": "adaptive"}, None, "high", True),
        ({"type": "adaptive", "display": "omitted"}, "low", "low", False),
        ({"type": "enabled", "budget_tokens": 1900}, None, "medium", True),
        ({"type": "enabled", "budget_tokens": 3990}, None, "xhigh", True),
        ({"type": "enabled", "budget_tokens": 1}, None, "minimal", True),
    ],
)
def test_how_much_to_think(thinking, effort, found, thoughts):
    read = asked(
        **({} if thinking is None else {"thinking": thinking}),
        **({} if effort is None else {"output_config": {"effort": effort}}),
    )
    assert (read.request.reasoning, read.thoughts) == (found, thoughts)


def test_hints_are_passed_over_and_the_rest_is_taken():
    form = {"type": "json_schema", "schema": SCHEMA}
    found = asked(
        metadata={"user_id": "someone"}, service_tier="auto", cache_control={"type": "ephemeral"},
        temperature=0.5, top_p=0.9, top_k=5, stop_sequences=["END"], stream=True,
        output_config={"format": form},
    )  # fmt: skip
    request = found.request
    assert found.stream
    assert (request.temperature, request.top_p, request.top_k) == (0.5, 0.9, 5)
    assert request.stop == ("END",)
    assert request.schema == SCHEMA
    assert "someone" not in repr(found)


def blocks(*content):
    return [{"role": "user", "content": list(content)}]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"messages": []}, "messages is empty"),
        ({"messages": blocks()}, "messages.0.content is empty; send at least one block"),
        ({"messages": [{"role": "assistant", "content": "The"}]}, "the assistant's own"),
        ({"messages": blocks({"type": "image", "source": {}})}, "type 'image' are not supported"),
        ({"messages": blocks({"type": "text"})}, r"messages.0.content.0.text must be text"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "role"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": None}, "max_tokens"),
        ({"temperature": 1.5}, "temperature"),
        ({"temprature": 1}, "no key 'temprature'; did you mean 'temperature'"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "run by Anthropic"),
        ({"tools": [{"name": "x"}]}, r"tools.0: .*input_schema"),
        ({"tools": [TIDE], "tool_choice": {"type": "tool", "name": "moon"}}, "no tool 'moon'"),
        ({"tools": [TIDE], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
         "disable_parallel"),
        ({"thinking": {"type": "enabled"}}, "budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": 4000}}, "below"),
        ({"output_config": {"format": {"type": "json"}}}, "json_schema"),
        ({"mcp_servers": []}, "no key 'mcp_servers'"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_in_words(more, words):
    with pytest.raises(RecipeError, match=words):
        asked(**more)


@pytest.mark.parametrize("data", [b"{", b"[]", b"", b'"x"', b'{"model": "\\ud800"}', b"\xff"])
def test_a_body_that_is_none(data):
    with pytest.raises(RecipeError):
        read_request(data)


def test_a_whole_answer():
    calls = (ToolCall("c1", "tide", '{"place": "Brest"}'), ToolCall("c2", "tide", "not json"))
    answer = Completion("So.", "tool_calls", "m", 0, "", "hm", calls)
    found = message(answer, Usage(100, 40, 10, 7), "msg_1", "m", thoughts=True)
    read = anthropic.types.Message.model_validate(found)
    assert [block.type for block in read.content] == ["thinking", "text", "tool_use", "tool_use"]
    assert read.content[2].input == {"place": "Brest"}
    assert read.content[3].input == {"raw": "not json"}
    assert read.stop_reason == "tool_use"
    assert (read.usage.input_tokens, read.usage.output_tokens) == (50, 7)
    assert read.usage.cache_read_input_tokens == 40
    assert read.usage.cache_creation_input_tokens == 10
    silent = message(answer, Usage(1, output=1), "msg_1", "m", thoughts=False)
    assert [block["type"] for block in silent["content"]] == ["text", "tool_use", "tool_use"]


@pytest.mark.parametrize(
    ("finish", "called", "reason"),
    [
        ("stop", False, "end_turn"), ("", False, "end_turn"), ("length", False, "max_tokens"),
        ("tool_calls", True, "tool_use"), ("stop", True, "tool_use"),
        ("content_filter", False, "refusal"), ("length", True, "max_tokens"),
    ],
)  # fmt: skip
def test_why_it_stopped(finish, called, reason):
    assert stop_reason(finish, called) == reason


def accumulated(deltas, *, thoughts=True):
    """What the SDK makes of the events, which come in the order its readers count on."""
    from anthropic.lib.streaming._messages import accumulate_event
    from anthropic.types import RawMessageStreamEvent
    from pydantic import TypeAdapter

    made = Events("msg_1", "m", thoughts=thoughts)
    raw = [made.start(), *(one for delta in deltas for one in made.of(delta)), *made.finish()]
    adapter = TypeAdapter(RawMessageStreamEvent)
    snapshot, buffers, opened = None, {}, None
    for one in raw:
        head, data = one.decode().rstrip("\n").split("\n")
        tree = json.loads(data.removeprefix("data: "))
        assert head == f"event: {tree['type']}"
        if tree["type"] == "content_block_start":
            assert opened is None
            opened = tree["index"]
        if tree["type"] == "content_block_delta":
            assert tree["index"] == opened
        if tree["type"] == "content_block_stop":
            assert tree["index"] == opened
            opened = None
        snapshot = accumulate_event(
            event=adapter.validate_python(tree), current_snapshot=snapshot, json_bufs=buffers
        )
    assert opened is None
    return snapshot


def test_events_of_a_stream():
    found = accumulated([
        Delta(reasoning="h"), Delta(reasoning="m"), Delta("Let "), Delta("me see."),
        Delta(tool=(0, "c1", "tide", '{"pla')), Delta(tool=(0, "", "", 'ce": "Brest"}')),
        Delta(finish_reason="tool_calls"), Delta(usage=Usage(20, 5, 0, 9)),
    ])  # fmt: skip
    assert [block.type for block in found.content] == ["thinking", "text", "tool_use"]
    assert found.content[0].thinking == "hm"
    assert found.content[1].text == "Let me see."
    assert found.content[2].input == {"place": "Brest"}
    assert found.stop_reason == "tool_use"
    assert (found.usage.input_tokens, found.usage.output_tokens) == (15, 9)


def test_calls_that_come_mixed_up_are_put_in_order():
    found = accumulated([
        Delta(tool=(0, "c1", "tide", "")), Delta(tool=(1, "c2", "moon", '{"n": ')),
        Delta(tool=(0, "", "", '{"n": 1}')), Delta("after"), Delta(tool=(1, "", "", "2}")),
        Delta(finish_reason="tool_calls"),
    ])  # fmt: skip
    said = [(b.type, getattr(b, "input", getattr(b, "text", None))) for b in found.content]
    assert said == [("tool_use", {"n": 1}), ("tool_use", {"n": 2}), ("text", "after")]
    assert [block.id for block in found.content[:2]] == ["c1", "c2"]


def test_thoughts_nobody_asked_for_are_left_out():
    found = accumulated([Delta(reasoning="hm"), Delta("x", finish_reason="stop")], thoughts=False)
    assert [block.type for block in found.content] == ["text"]
    assert accumulated([Delta(finish_reason="stop")]).content == []


PIECES = st.one_of(
    st.builds(Delta, content=st.text(max_size=5)),
    st.builds(Delta, reasoning=st.text(max_size=5)),
    st.builds(lambda place: Delta(tool=(place, f"c{place}", f"t{place}", "1")), st.integers(0, 3)),
)


@given(st.lists(PIECES, max_size=12))
def test_nothing_of_a_stream_is_lost_or_doubled(deltas):
    found = accumulated([*deltas, Delta(finish_reason="stop", usage=Usage(1, output=1))])
    texts = "".join(b.text for b in found.content if b.type == "text")
    assert texts == "".join(d.content for d in deltas)
    said = {d.tool[0]: 0 for d in deltas if d.tool}
    for delta in deltas:
        if delta.tool:
            said[delta.tool[0]] += 1
    calls = {b.name: b.input for b in found.content if b.type == "tool_use"}
    assert calls == {f"t{place}": int("1" * count) for place, count in said.items()}


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "invalid_request_error"), (401, "authentication_error"), (404, "not_found_error"),
     (422, "invalid_request_error"), (429, "rate_limit_error"), (502, "api_error"),
     (504, "timeout_error"), (529, "overloaded_error")],
)  # fmt: skip
def test_errors_in_their_shape(status, kind):
    assert error_body(status, "why", "req_1") == {
        "type": "error", "error": {"type": kind, "message": "why"}, "request_id": "req_1",
    }  # fmt: skip
