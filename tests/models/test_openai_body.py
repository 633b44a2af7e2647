"""Requests as OpenAI's format writes them, each service's way."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from karat.models.chat import ChatRequest, Tool, ToolCall, Turn
from karat.models.providers import openai
from karat.models.providers._openai_body import is_strict
from karat.models.services import Service
from karat.models.spec import parse_model
from karat.row import Message

ASKED = (Message("system", "Be brief."), Message("user", "What makes tides?"))
CLOSED = {
    "type": "object",
    "properties": {"cause": {"type": "string"}},
    "required": ["cause"],
    "additionalProperties": False,
}


def body(request, model="openai/loop", **more):
    if model.startswith("openai/"):
        more.setdefault("base_url", "http://h/v1")
    found = openai.connect(parse_model({"model": model, **more}))
    return orjson.loads(found.chat(request).body)


def asked(**more):
    return ChatRequest(ASKED, **more)


def test_a_plain_request_says_nothing_that_was_left_open():
    assert body(asked()) == {
        "model": "loop",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What makes tides?"},
        ],
    }


def test_every_parameter_under_its_own_name():
    said = {
        "temperature": 0.0, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "max_tokens": 100,
        "presence_penalty": 0.1, "frequency_penalty": -0.2, "seed": 0, "n": 4,
    }  # fmt: skip
    found = body(asked(**said, stop=("\n", "END")))
    assert found.pop("stop") == ["\n", "END"]
    assert {name: found[name] for name in said} == said


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("openai/loop", "max_tokens"),
        ("openai", "max_completion_tokens"),
        ("azure/gpt", "max_completion_tokens"),
        ("groq/x", "max_completion_tokens"),
        ("vllm/x", "max_tokens"),
    ],
)
def test_a_length_is_called_what_the_service_calls_it(model, name):
    url = None if model == "openai" else "http://h/v1"
    model = "openai/gpt-5" if model == "openai" else model
    found = openai.connect(parse_model({"model": model, **({"base_url": url} if url else {})}))
    sent = orjson.loads(found.chat(asked(max_tokens=9)).body)
    assert sent[name] == 9
    assert len([key for key in sent if key.startswith("max_")]) == 1


def test_a_seed_goes_only_where_it_is_taken():
    assert body(asked(seed=7))["seed"] == 7
    assert "seed" not in body(asked(seed=7), "deepseek/x")
    sent = body(asked(seed=7), "mistral/x")
    assert sent["random_seed"] == 7
    assert "seed" not in sent


def test_a_conversation_with_tools():
    turns = (
        *ASKED,
        Turn("assistant", "", tool_calls=(ToolCall("call_1", "tide", '{"at":"Brest"}'),)),
        Turn("tool", "4 m", tool_call_id="call_1"),
        Turn("assistant", "Four metres."),
    )
    assert body(ChatRequest(turns))["messages"][2:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "tide", "arguments": '{"at":"Brest"}'},
                }
            ],
        },
        {"role": "tool", "content": "4 m", "tool_call_id": "call_1"},
        {"role": "assistant", "content": "Four metres."},
    ]


@pytest.mark.parametrize(
    ("choice", "written"),
    [
        ("", None),
        ("required", "required"),
        ("tide", {"type": "function", "function": {"name": "tide"}}),
    ],
)
def test_tools_and_which_to_call(choice, written):
    tools = (Tool("tide", "How high.", {"type": "object"}), Tool("moon"))
    sent = body(asked(tools=tools, tool_choice=choice))
    assert sent.get("tool_choice") == written
    assert [tool["function"] for tool in sent["tools"]] == [
        {"name": "tide", "description": "How high.", "parameters": {"type": "object"}},
        {"name": "moon"},
    ]


@pytest.mark.parametrize(
    ("model", "count", "fields"),
    [
        ("openai/loop", 0, {"logprobs": True}),
        ("openai/loop", 5, {"logprobs": True, "top_logprobs": 5}),
        ("together/x", 0, {"logprobs": 1}),
        ("together/x", 5, {"logprobs": 5}),
    ],
)
def test_logprobs(model, count, fields):
    sent = body(asked(logprobs=count), model)
    assert {k: v for k, v in sent.items() if "logprobs" in k} == fields


@pytest.mark.parametrize(
    ("model", "effort", "fields"),
    [
        ("openai/loop", "low", {"reasoning_effort": "low"}),
        ("openai/loop", "none", {"reasoning_effort": "none"}),
        ("deepseek/x", "none", {"thinking": {"type": "disabled"}}),
        ("deepseek/x", "high", {"thinking": {"type": "enabled"}, "reasoning_effort": "high"}),
        ("vllm/x", "none", {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}}),
        (
            "nvidia/x",
            "low",
            {
                "reasoning_effort": "low",
                "chat_template_kwargs": {
                    "enable_thinking": True,
                    "thinking": True,
                    "reasoning_effort": "low",
                },
            },
        ),
    ],
)
def test_an_effort_is_asked_for_in_the_services_way(model, effort, fields):
    sent = body(asked(reasoning=effort), model)
    del sent["model"], sent["messages"]
    assert sent == fields


def test_extra_fields_are_laid_over_the_services_own_and_not_in_their_place():
    sent = body(
        asked(reasoning="low"),
        "openrouter/x",
        extra={"provider": {"order": ["p"]}, "reasoning": {"exclude": True}},
    )
    assert sent["provider"] == {"require_parameters": True, "order": ["p"]}
    assert sent["reasoning"] == {"exclude": True, "effort": "low"}


def test_what_one_request_says_is_not_in_the_next():
    found = openai.connect(parse_model({"model": "vllm/x", "extra": {"chat_template_kwargs": {}}}))
    first = found.chat(asked(reasoning="none", schema=CLOSED, logprobs=1)).body
    assert b"thinking" in first
    assert set(orjson.loads(found.chat(asked()).body)) == {
        "model", "messages", "chat_template_kwargs",
    }  # fmt: skip


def test_a_schema_in_its_own_field():
    found = body(asked(schema=CLOSED))["response_format"]
    assert found == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": CLOSED, "strict": True},
    }


@pytest.mark.parametrize("form", ["json_object", "prompt"])
@pytest.mark.parametrize("system", [True, False])
def test_a_schema_in_words_ends_the_system_message(form, system):
    service = Service(base_url="http://h/v1", schema=form)
    spec = parse_model({"model": "mine/x"}, {"mine": service})
    request = ChatRequest(ASKED if system else ASKED[1:], schema=CLOSED)
    sent = orjson.loads(openai.connect(spec).chat(request).body)
    first, second = sent["messages"]
    assert (first["role"], second["content"]) == ("system", "What makes tides?")
    assert first["content"].startswith("Be brief.\n\n") is system
    assert first["content"].endswith(orjson.dumps(CLOSED).decode())
    wanted = {"type": "json_object"} if form == "json_object" else None
    assert sent.get("response_format") == wanted


@pytest.mark.parametrize(
    ("change", "strict"),
    [
        ({}, True),
        ({"$defs": {"a": {"type": "string"}}}, True),
        ({"required": []}, False),
        ({"additionalProperties": True}, False),
        ({"type": ["object", "null"]}, False),
        ({"properties": {"cause": {"type": "object", "properties": {}}}}, False),
        ({"properties": {"cause": {"type": "array", "items": CLOSED}}}, True),
        ({"properties": {"cause": {"type": "array", "items": {"type": "object"}}}}, False),
        ({"properties": {"cause": {"anyOf": [CLOSED, {"type": "null"}]}}}, True),
        ({"properties": {"cause": {"allOf": [CLOSED]}}}, False),
        ({"$defs": {"a": {"type": "object"}}}, False),
        ({"$defs": {"a": {"properties": {"b": {}}}}}, False),
        ({"properties": {"cause": {"enum": ["oneOf", "not"]}}}, True),
        ({"properties": {"not": {"type": "string"}}, "required": ["not"]}, True),
    ],
)
def test_strict_mode_only_for_a_schema_that_fits_it(change, strict):
    assert is_strict({**CLOSED, **change}) is strict


@given(
    schema=st.recursive(
        st.none() | st.booleans() | st.text(max_size=5) | st.just("object"),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "properties", "required", "items", "anyOf", "$defs", "not",
                             "additionalProperties"]), inner),
    )
)  # fmt: skip
def test_what_is_no_schema_breaks_nothing(schema):
    body(asked(schema={"type": "object", "additionalProperties": False, "properties": schema}))


@pytest.mark.parametrize("schema", [{}, {"type": "array"}, {**CLOSED, "properties": 3}])
def test_other_schemas_are_not_strict(schema):
    assert not is_strict(schema)
