"""Anthropic's replies: what an answer and an error mean."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from native import JSON, PATHS, failed, mutated, recorded, reply
from test_anthropic import KEY, ask, body, provider

from karat.errors import ProviderError
from karat.models.chat import ToolCall, Turn, Usage
from karat.row import Message

# --- what is read ----------------------------------------------------------------------------


def test_an_answer():
    got = provider().read_chat(reply(recorded("anthropic", "text.json")))
    assert got.choices[0].content == "The moon pulls the water."
    assert got.choices[0].finish_reason == "stop"
    assert got.usage == Usage(12, 0, 0, 9, 0)
    assert got.served_model == "claude-haiku-4-5-20251001"


def test_several_blocks_thoughts_apart_cached_tokens_counted_in():
    got = provider().read_chat(reply(recorded("anthropic", "thinking.json")))
    assert got.choices[0].content == "The moon pulls."
    assert got.choices[0].reasoning == "Gravity, then.\n\nSay it shortly."
    assert got.choices[0].finish_reason == "stop"
    assert got.usage == Usage(3008, cached=2000, cache_write=1000, output=40, reasoning=31)


def test_calls_of_tools_and_back():
    choice = provider().read_chat(reply(recorded("anthropic", "tools.json"))).choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.tool_calls == (
        ToolCall("toolu_01A09q90qw90lq917835lq9", "tide", '{"place":"Brest","day":3}'),
        ToolCall("toolu_01D7FLrfh4GYq7yT1ULFeyMV", "now", "{}"),
    )
    turn = Turn("assistant", choice.content, tool_calls=choice.tool_calls)
    found = json.loads(recorded("anthropic", "tools.json"))["content"]
    found[1].pop("caller")  # "direct" is what it is without
    assert body(ask(Message("user", "?"), turn))["messages"][1]["content"] == found


def test_a_refusal_and_a_cut_are_answers_with_their_reason():
    refused = provider().read_chat(reply(recorded("anthropic", "refusal.json"))).choices[0]
    assert (refused.content, refused.finish_reason) == ("", "content_filter")
    cut = provider().read_chat(reply(recorded("anthropic", "length.json"))).choices[0]
    assert (cut.content, cut.finish_reason) == ("The moon pu", "length")


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "pause_turn"),
        ("something_new", "something_new"),
        (None, ""),
    ],
)
def test_reasons_to_stop(said, means):
    message = {**json.loads(recorded("anthropic", "text.json")), "stop_reason": said}
    assert provider().read_chat(reply(message)).choices[0].finish_reason == means


@pytest.mark.parametrize(
    "broken",
    [b"", b"<html>", b"[]", b"null", b"{}", b'{"type":"message"}', b"[" * 100_000,
     b'{"type":"message","content":[{"type":"text","text":7}]}'],
)  # fmt: skip
def test_a_body_that_is_no_message_is_unreadable(broken):
    with pytest.raises(ProviderError, match="not a message") as caught:
        provider().read_chat(reply(broken))
    assert (caught.value.kind, caught.value.status) == ("unreadable", 200)


def test_half_a_surrogate_pair_is_let_through():
    cut = recorded("anthropic", "tools.json").replace(b'"Brest"', b'"\\ud83d"')
    choice = provider().read_chat(reply(cut)).choices[0]
    assert json.loads(choice.tool_calls[0].arguments)["place"] == "\ud83d"


@given(JSON)
def test_any_json_is_read_or_unreadable(tree):
    assert failed(lambda: provider().read_chat(reply(tree))) in ("", "unreadable")


@given(st.sampled_from(["text", "thinking", "tools", "refusal"]), PATHS, JSON)
def test_a_message_with_anything_in_any_place_is_read_or_unreadable(name, path, value):
    tree = mutated(json.loads(recorded("anthropic", f"{name}.json")), path, value)
    assert failed(lambda: provider().read_chat(reply(tree))) in ("", "unreadable")


@given(st.binary(max_size=50))
def test_any_bytes_are_an_error_of_some_sort(data):
    with pytest.raises(ProviderError):
        provider().read_chat(reply(data))
    assert provider().fault(reply(data, 500)).kind == "retry"


# --- what errors mean ------------------------------------------------------------------------


@pytest.mark.parametrize("case", json.loads(recorded("anthropic", "errors.json")))
def test_errors_are_sorted(case):
    sent = {"type": "error", "error": case["error"], "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy"}
    found = provider().fault(reply(sent, case["status"]))
    assert found.kind == case["kind"]
    assert found.status == case.get("becomes", case["status"])
    assert case["error"]["message"][:40] in str(found)


def test_the_key_is_in_no_error():
    echo = {"type": "error", "error": {"type": "authentication_error", "message": f"bad {KEY}"}}
    assert KEY not in str(provider().fault(reply(echo, 401)))
    with pytest.raises(ProviderError) as caught:
        provider().read_chat(reply(KEY.encode()))
    assert KEY not in str(caught.value)


@given(JSON, st.sampled_from([400, 404, 429, 500]))
def test_any_error_body_is_sorted(tree, status):
    assert isinstance(provider().fault(reply(tree, status)), ProviderError)
