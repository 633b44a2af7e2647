"""What is read from answers in OpenAI's format, as many services write it.

The bodies in wires/openai are of the forms their services document or their packages validate.
"""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from karat.errors import ProviderError, RecipeError
from karat.models.chat import ChatRequest, TokenLogprob, ToolCall, Usage
from karat.models.providers import openai
from karat.models.spec import parse_model
from karat.models.transport import HttpReply
from karat.row import Message

WIRES = Path(__file__).parent / "wires" / "openai"
KEY = "sk-very-secret-key"


def provider(model="openai/loop", **more):
    if model.startswith("openai/"):
        more.setdefault("base_url", "http://h/v1")
    return openai.connect(parse_model({"model": model, **more}))


def read(name, model="openai/loop", **more):
    return provider(model, **more).read_chat(reply((WIRES / f"{name}.json").read_bytes()))


def reply(body, status=200):
    return HttpReply(status, {}, body if isinstance(body, bytes) else orjson.dumps(body))


def only(name, model="openai/loop"):
    found = read(name, model)
    assert len(found.choices) == 1
    return found.choices[0]


def test_an_answer_and_what_it_used():
    found = read("success")
    assert found.choices[0].content == "The moon's pull."
    assert found.choices[0].finish_reason == "stop"
    assert found.choices[0].logprobs is None
    assert found.served_model == "gpt-4.1-mini-2025-04-14"
    assert found.usage == Usage(input=1200, cached=1024, cache_write=128, output=5)


def test_choices_in_their_order_and_a_null_content_is_empty():
    found = read("choices").choices
    assert [(c.content, c.finish_reason) for c in found] == [
        ("One.", "stop"), ("Two.", "length"), ("", "stop"),
    ]  # fmt: skip


def test_tool_calls():
    found = only("tools")
    assert found.finish_reason == "tool_calls"
    assert found.tool_calls == (
        ToolCall("call_a", "tide", '{"place":"Brest"}'), ToolCall("call_b", "moon", "{}"),
    )  # fmt: skip


def test_calls_as_objects_without_id_are_written_as_json_and_broken_ones_left_out():
    found = only("tools_as_objects")
    assert found.tool_calls == (ToolCall("call_0", "tide", '{"place":"Brest"}'),)
    assert found.finish_reason == "tool_calls"


def test_a_refusal_is_filtered_content():
    found = only("refusal")
    assert (found.content, found.finish_reason) == (
        "I'm sorry, I can't assist with that.", "content_filter",
    )  # fmt: skip
    assert only("azure_filtered").finish_reason == "content_filter"


@pytest.mark.parametrize(
    ("name", "thoughts"),
    [
        ("deepseek", "The moon passes twice."),
        ("openrouter", "The moon passes twice."),
        ("openrouter_details", "Counted passes."),
        ("mistral", "The moon passes twice."),
        ("think_tags", "The moon passes twice."),
        ("sglang", "The moon."),
    ],
)
def test_thoughts_are_kept_apart(name, thoughts):
    found = only(name)
    assert (found.content, found.reasoning) == ("Twice a day.", thoughts)


@pytest.mark.parametrize(
    ("name", "model", "usage"),
    [
        ("deepseek", "deepseek/x", Usage(100, 64, 0, 40, 32)),
        ("openrouter", "openrouter/x", Usage(194, 0, 0, 40, 30, 1_422_150)),
        ("openrouter", "openai/x", Usage(194, 0, 0, 40, 30)),  # no field of cost known there
        ("xai", "xai/grok", Usage(10120, 128, 0, 1499 + 2809, 2809, 23_285_600)),
        ("xai", "openai/behind-a-gateway", Usage(10120, 128, 0, 1499 + 2809, 2809)),
        ("sglang", "sglang/x", Usage(10, 0, 0, 20, 12)),
        ("logprobs_together", "together/x", Usage(10, 8, 0, 2)),
    ],
)
def test_usage_in_every_services_way_of_counting(name, model, usage):
    assert read(name, model).usage == usage


def test_logprobs():
    both = [
        TokenLogprob("Mo", -0.1, [("Mo", -0.1), ("Sun", -2.5)]), TokenLogprob("on", -0.01),
    ]  # fmt: skip
    assert only("logprobs").logprobs == both
    assert only("logprobs_together").logprobs == [
        both[0], TokenLogprob("on", -9999.0),
    ]  # fmt: skip
    assert only("logprobs_together").finish_reason == "stop"


@pytest.mark.parametrize(
    ("said", "usage"),
    [
        ({"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 9}}, Usage(5, 5)),
        ({"prompt_tokens": True, "completion_tokens": -1}, Usage()),
        ({"cost": -0.1}, Usage()),
        ({"cost": True}, Usage()),
        ({"cost": 0}, Usage(cost_nano=0)),
    ],
)
def test_usage_that_cannot_be_is_unknown(said, usage):
    body = {"choices": [choice("x")], "usage": said}
    assert provider("openrouter/x").read_chat(reply(body)).usage == usage


def test_no_usage_is_unknown_and_not_nothing():
    assert provider().read_chat(reply({"choices": [choice("x")]})).usage == Usage()


def test_an_unreadable_choice_does_not_take_the_others_with_it():
    found = provider().read_chat(reply({"choices": [choice("x"), {"message": 3}, None]}))
    assert [c.finish_reason for c in found.choices] == ["stop", "unreadable", "unreadable"]


@pytest.mark.parametrize(
    ("place", "odd"),
    [
        ("logprobs", {"content": [{"token": "x"}]}),
        ("logprobs", {"tokens": ["x"], "token_logprobs": []}),
        ("message", {"content": "x", "tool_calls": {"function": 3}}),
        ("message", {"content": "x", "reasoning_details": [3, {"text": 4}]}),
        ("message", {"content": "x", "refusal": ["no"], "reasoning": {"effort": "low"}}),
    ],
)
def test_what_is_odd_beside_an_answer_does_not_cost_the_answer(place, odd):
    body = {"choices": [{**choice("x"), place: odd}]}
    found = provider().read_chat(reply(body)).choices[0]
    assert (found.content, found.finish_reason) == ("x", "stop")
    assert (found.logprobs, found.tool_calls, found.reasoning) == (None, (), "")


def test_a_probability_of_zero_is_a_number():
    body = b'{"choices": [{"message": {"content": "x"}, "logprobs": {"content": [' \
        b'{"token": "x", "logprob": -Infinity}]}}]}'  # fmt: skip
    assert provider().read_chat(reply(body)).choices[0].logprobs == [TokenLogprob("x", -9999.0)]


def test_a_tag_in_an_answer_whose_thoughts_came_apart_is_part_of_it():
    message = {"content": "<think> is a tag", "reasoning": "Hm."}
    found = provider().read_chat(reply({"choices": [{"message": message}]})).choices[0]
    assert (found.content, found.reasoning) == ("<think> is a tag", "Hm.")


def test_an_answer_beside_an_error_is_an_answer():
    body = {"choices": [choice("x")], "error": {"message": "a warning"}}
    assert provider().read_chat(reply(body)).choices[0].content == "x"


@pytest.mark.parametrize(
    ("model", "most"), [("groq/x", 1), ("openai/x", None), ("together/x", 128)]
)
def test_how_many_samples_one_request_takes(model, most):
    assert provider(model).max_n == most


def test_choices_may_count_their_own_tokens():
    body = {"choices": [{**choice("x"), "tokens": 7}], "usage": {"prompt_tokens": 3}}
    assert provider().read_chat(reply(body)).choices[0].tokens == 7


def test_half_a_surrogate_pair_is_let_through():
    body = rb'{"choices": [{"message": {"content": "cut \ud83d"}, "finish_reason": "length"}]}'
    assert provider().read_chat(reply(body)).choices[0].content == "cut \ud83d"


@pytest.mark.parametrize("said", ["eos", "end_turn", "model_length", "function_call", "safety"])
def test_reasons_to_stop_are_said_in_four_words(said):
    body = {"choices": [{**choice("x"), "finish_reason": said}]}
    found = provider().read_chat(reply(body)).choices[0].finish_reason
    assert found in ("stop", "length", "tool_calls", "content_filter")


def test_a_reason_nobody_knows_keeps_its_word():
    body = {"choices": [{**choice("x"), "finish_reason": "insufficient_system_resource"}]}
    found = provider().read_chat(reply(body)).choices[0]
    assert found.finish_reason == "insufficient_system_resource"


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>busy</html>", b"[]", b"3", b'{"choices": []}', b'{"choices": 3}', b"null",
     b'{"choices": [{}]}', b'{"id": "x"}', b"[" * 5000],
)  # fmt: skip
def test_what_is_no_answer_is_unreadable(body):
    with pytest.raises(ProviderError) as caught:
        provider().read_chat(reply(body))
    assert (caught.value.status, caught.value.kind) == (200, "unreadable")


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        ({"code": 502, "message": "Provider returned error"}, 502, "retry"),
        ({"code": "429", "message": "slow down"}, 429, "wait"),
        ({"code": "rate_limit_exceeded", "message": "Rate limit reached"}, 429, "wait"),
        ({"code": "insufficient_quota", "message": "no quota"}, 402, "model"),
        ({"code": "invalid_api_key", "message": "Incorrect API key"}, 401, "model"),
        ({"code": "model_not_found", "message": "The model `x` does not exist"}, 404, "model"),
        ({"code": "context_length_exceeded", "message": "too long"}, 400, "context"),
        ({"type": "invalid_request_error", "message": "no such field"}, 400, "row"),
        ("upstream hiccup", 200, "retry"),
    ],
)
def test_an_error_under_status_200_is_sorted_by_its_own_words(error, status, kind):
    with pytest.raises(ProviderError) as caught:
        provider().read_chat(reply({"error": error}))
    assert (caught.value.status, caught.value.kind) == (status, kind)
    assert (error if isinstance(error, str) else error["message"]) in str(caught.value)


def test_an_error_as_old_servers_write_it():
    body = {"object": "error", "message": "the prompt is too long", "code": 400}
    with pytest.raises(ProviderError) as caught:
        provider().read_chat(reply(body))
    assert caught.value.kind == "context"


def test_an_answer_that_broke_off_at_its_provider_is_that_error():
    with pytest.raises(ProviderError, match="Provider disconnected") as caught:
        read("openrouter_broken")
    assert (caught.value.status, caught.value.kind) == (502, "retry")


def test_the_key_is_hidden_wherever_a_service_echoes_it(monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY + "\n")
    found = provider(key_env="MY_KEY")
    assert found.headers["authorization"] == f"Bearer {KEY}"
    with pytest.raises(ProviderError) as caught:
        found.read_chat(reply(f"<html>{KEY}</html>".encode()))
    told = [found.fault(reply({"error": {"message": f"bad key {KEY}"}}, 401)), caught.value]
    with pytest.raises(ProviderError) as caught:
        found.read_chat(reply({"error": {"message": f"bad key {KEY}"}}))
    assert all(KEY not in str(error) for error in [*told, caught.value])


def test_where_requests_go():
    found = provider(base_url="http://h/v1/")
    assert found.chat(ChatRequest((Message("user", "?"),))).url == "http://h/v1/chat/completions"
    assert found.address == "http://h/v1"


def test_azure_must_be_told_where_it_is_and_gets_its_own_header(monkeypatch):
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    with pytest.raises(RecipeError, match="base_url"):
        openai.check(parse_model("azure/gpt"))
    spec = {"model": "azure/gpt", "base_url": "https://r.openai.azure.com/openai/v1"}
    openai.check(parse_model(spec))
    assert openai.connect(parse_model(spec)).headers["api-key"] == KEY


def test_a_services_key_does_not_go_to_another_server(monkeypatch):
    monkeypatch.setenv("GROQ_API_KEY", KEY)
    found = openai.connect(parse_model({"model": "groq/x", "base_url": "http://other/v1"}))
    assert KEY not in str(found.headers)


def choice(content):
    return {"message": {"content": content}, "finish_reason": "stop"}
