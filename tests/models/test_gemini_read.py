"""Gemini's replies: what an answer and an error mean."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from native import JSON, PATHS, failed, mutated, recorded, reply
from test_gemini import KEY, ask, body, provider

from karat.errors import ProviderError
from karat.models.asks import EmbedRequest
from karat.models.chat import TokenLogprob, ToolCall, Turn, Usage
from karat.row import Message

# --- what is read ----------------------------------------------------------------------------


def test_an_answer():
    got = provider().read_chat(reply(recorded("gemini", "text.json")))
    assert (got.choices[0].content, got.choices[0].finish_reason) == (
        "The moon pulls the water.", "stop",
    )  # fmt: skip
    assert got.usage == Usage(8, output=6)
    assert got.served_model == "gemini-2.5-flash"


def test_several_answers_thoughts_apart_cached_tokens_counted_in():
    got = provider().read_chat(reply(recorded("gemini", "thinking.json")))
    first, second = got.choices
    assert (first.content, first.reasoning) == ("The moon pulls.", "**Gravity**\n\nThe moon, then.")
    assert (second.content, second.finish_reason) == ("Gravi", "length")
    assert got.usage == Usage(4008, cached=4000, output=129, reasoning=120)


def test_calls_of_tools_and_back():
    choice = provider().read_chat(reply(recorded("gemini", "tools.json"))).choices[0]
    assert choice.finish_reason == "tool_calls"
    first, second = choice.tool_calls
    assert (first.name, first.arguments) == ("tide", '{"place":"Brest","day":3}')
    assert second == ToolCall("function-call-7", "now", "{}")
    again = provider().read_chat(reply(recorded("gemini", "tools.json"))).choices[0]
    assert again.tool_calls == choice.tool_calls  # an id that karat made is the same every time
    turns = (
        Message("user", "?"),
        Turn("assistant", "", tool_calls=choice.tool_calls),
        Turn("tool", "4", tool_call_id=first.id),
    )
    sent = body(ask(*turns), "gemini-3-flash-preview")["contents"]
    assert sent[1]["parts"][0]["thoughtSignature"] == "CtoBAdHtim+Q/8s="
    assert "thoughtSignature" not in sent[1]["parts"][1]
    made = sent[1]["parts"][0]["functionCall"]["id"]
    assert sent[2]["parts"][0]["functionResponse"] == {
        "id": made, "name": "tide", "response": {"output": "4"},
    }  # fmt: skip
    assert "CtoBAdHtim" not in made


def test_a_blocked_prompt_is_refused_content():
    with pytest.raises(ProviderError, match="PROHIBITED_CONTENT") as caught:
        provider().read_chat(reply(recorded("gemini", "blocked.json")))
    assert (caught.value.kind, caught.value.status) == ("content", 200)


def test_a_filtered_answer_is_an_answer_with_its_reason():
    got = provider().read_chat(reply(recorded("gemini", "filtered.json")))
    assert (got.choices[0].content, got.choices[0].finish_reason) == ("", "content_filter")
    assert got.usage == Usage(30, output=0)


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("BLOCKLIST", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("SPII", "content_filter"),
        ("MALFORMED_FUNCTION_CALL", "MALFORMED_FUNCTION_CALL"),
        (None, ""),
    ],
)
def test_reasons_to_stop(said, means):
    answer = json.loads(recorded("gemini", "text.json"))
    answer["candidates"][0]["finishReason"] = said
    assert provider().read_chat(reply(answer)).choices[0].finish_reason == means


def test_logprobs():
    got = provider().read_chat(reply(recorded("gemini", "logprobs.json")))
    assert got.choices[0].logprobs == [
        TokenLogprob("Yes", -0.1, [("Yes", -0.1), ("No", -2.4)]),
        TokenLogprob(".", 0.0, [(".", 0.0)]),  # a zero is left out of the JSON
    ]


def test_usage_that_is_not_said_is_unknown():
    answer = json.loads(recorded("gemini", "text.json"))
    del answer["usageMetadata"]
    assert provider().read_chat(reply(answer)).usage == Usage()


@pytest.mark.parametrize(
    "broken", [b"", b"<html>", b"[]", b"null", b"{}", b'{"candidates": []}', b"[" * 100_000]
)
def test_a_body_that_holds_no_answer_is_unreadable(broken):
    with pytest.raises(ProviderError) as caught:
        provider().read_chat(reply(broken))
    assert (caught.value.kind, caught.value.status) == ("unreadable", 200)


@given(JSON)
def test_any_json_is_read_or_unreadable(tree):
    sorts = ("", "unreadable", "content")
    assert failed(lambda: provider().read_chat(reply(tree))) in sorts
    assert failed(lambda: provider().read_embed(EmbedRequest(("a",)), reply(tree))) in sorts


@given(st.sampled_from(["text", "thinking", "tools", "logprobs", "blocked"]), PATHS, JSON)
def test_an_answer_with_anything_in_any_place_is_read_or_unreadable(name, path, value):
    tree = mutated(json.loads(recorded("gemini", f"{name}.json")), path, value)
    assert failed(lambda: provider().read_chat(reply(tree))) in ("", "unreadable", "content")


def test_a_number_no_float_can_hold_is_unreadable():
    huge = recorded("gemini", "logprobs.json").replace(b"-0.1", b"1" + b"0" * 400)
    assert failed(lambda: provider().read_chat(reply(huge))) == "unreadable"


# --- what errors mean ------------------------------------------------------------------------


@pytest.mark.parametrize("case", json.loads(recorded("gemini", "errors.json")))
@pytest.mark.parametrize("listed", [False, True])
def test_errors_are_sorted(case, listed):
    sent = {"error": case["error"]}
    found = provider().fault(reply([sent] if listed else sent, case["status"]))
    assert found.kind == case["kind"]
    assert found.status == case.get("becomes", case["status"])
    assert case["error"]["message"][:40] in str(found)


def test_the_key_is_in_no_error():
    echo = {"error": {"code": 400, "message": f"bad {KEY}", "status": "INVALID_ARGUMENT"}}
    assert KEY not in str(provider().fault(reply(echo, 400)))
    blocked = {"promptFeedback": {"blockReason": "OTHER", "blockReasonMessage": f"saw {KEY}"}}
    with pytest.raises(ProviderError, match=r"OTHER: saw \[key\]") as caught:
        provider().read_chat(reply(blocked))
    assert KEY not in str(caught.value)


@given(JSON, st.sampled_from([400, 404, 429, 500]))
def test_any_error_body_is_sorted(tree, status):
    assert isinstance(provider().fault(reply(tree, status)), ProviderError)
