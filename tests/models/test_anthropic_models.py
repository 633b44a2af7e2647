"""What each Claude takes: efforts, sampling, schemas."""

import json

import msgspec
import pytest
from native import ANTHROPIC, recorded, reply
from test_anthropic import GRADE, TIDE, ask, body, provider, refusal

from karat.models.providers import anthropic
from karat.models.providers._anthropic_models import claude
from karat.models.spec import ModelSpec
from karat.row import Message

# --- efforts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "effort", "thinking", "level"),
    [
        ("claude-opus-5-5", "xhigh", {"type": "adaptive", "display": "summarized"}, "xhigh"),
        ("claude-haiku-5-5", "none", {"type": "disabled"}, None),
        ("claude-fable-5", "minimal", {"type": "adaptive", "display": "summarized"}, "low"),
        ("claude-mythos-preview", "high", {"type": "adaptive", "display": "summarized"}, "high"),
        ("claude-opus-4-7", "medium", {"type": "adaptive", "display": "summarized"}, "medium"),
        ("claude-sonnet-4-6", "xhigh", {"type": "adaptive"}, "high"),
        ("claude-opus-4-6-20260205", "none", {"type": "disabled"}, None),
        ("claude-sonnet-4-5-20250929", "low", {"type": "enabled", "budget_tokens": 3276}, None),
        ("claude-opus-4-20250514", "minimal", {"type": "enabled", "budget_tokens": 1638}, None),
        ("claude-sonnet-4-5", "xhigh", {"type": "enabled", "budget_tokens": 15564}, None),
        ("claude-haiku-4-5", "none", None, None),
        ("claude-3-7-sonnet-latest", "high", {"type": "enabled", "budget_tokens": 13107}, None),
        ("glm-5", "medium", {"type": "enabled", "budget_tokens": 8192}, None),
        ("claude-opus-4-8", None, None, None),
    ],
)
def test_an_effort_is_asked_for_as_the_model_takes_it(model, effort, thinking, level):
    sent = body(ask(reasoning=effort), model)
    assert sent.get("thinking") == thinking
    assert sent.get("output_config", {}).get("effort") == level


@pytest.mark.parametrize("model", ["claude-fable-5-1", "claude-opus-5-5", "claude-mythos-preview"])
def test_a_model_that_always_thinks_says_so(model):
    assert "always thinks" in refusal(ask(reasoning="none"), model)


def test_an_effort_that_cannot_be_had_is_refused():
    assert "does not think" in refusal(ask(reasoning="low"), "claude-3-5-haiku-20241022")
    assert "1024" in refusal(ask(reasoning="low", max_tokens=1024), "claude-haiku-4-5")
    sent = body(ask(reasoning="low", max_tokens=1025), "claude-haiku-4-5")
    assert sent["thinking"]["budget_tokens"] == 1024


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("claude-opus-4-20250514", (False, True)),
        ("claude-opus-4-1-20250805", (False, True)),
        ("claude-sonnet-4@20250514", (False, True)),
        ("anthropic.claude-opus-4-6-v1:0", (True, True)),
        ("anthropic/claude-opus-4.7", (True, False)),
        ("claude-3-5-sonnet-20241022", (False, True)),
        ("claude-2.1", (False, True)),
        ("claude-next", (True, False)),
    ],
)
def test_a_name_says_which_model_it_is(name, version):
    found = claude(name)
    assert (found.thinking == "adaptive", found.sampling) == version


# --- sampling --------------------------------------------------------------------------------


def test_early_models_take_sampling():
    sent = body(ask(temperature=0.3, top_k=5), "claude-haiku-4-5")
    assert (sent["temperature"], sent["top_k"]) == (0.3, 5)
    sent = body(ask(temperature=0.0, top_p=0.5), "claude-opus-4-20250514")
    assert (sent["temperature"], sent["top_p"]) == (0.0, 0.5)


def test_what_is_there_anyway_is_not_said():
    sent = body(ask(temperature=1.0, top_p=1.0), "claude-opus-5")
    assert not {"temperature", "top_p"} & set(sent)
    assert body(ask(temperature=1.0, top_p=0.9), "claude-haiku-4-5")["top_p"] == 0.9


@pytest.mark.parametrize(
    ("model", "asked", "words"),
    [
        ("claude-opus-4-7", {"temperature": 0.5}, "no temperature"),
        ("claude-opus-5", {"top_p": 0.9}, "no top_p"),
        ("claude-haiku-5-5", {"top_k": 5}, "no top_k"),
        ("claude-haiku-4-5", {"temperature": 1.5}, "from 0 to 1"),
        ("claude-haiku-4-5", {"temperature": 0.5, "top_p": 0.5}, "not both"),
        ("claude-opus-4-1", {"temperature": 0.5, "top_p": 0.5}, "not both"),
        ("claude-haiku-4-5", {"temperature": 0.5, "reasoning": "low"}, "while it thinks"),
        ("claude-opus-4-6", {"top_k": 5, "reasoning": "low"}, "while it thinks"),
        ("claude-opus-4-6", {"top_p": 0.9, "reasoning": "low"}, "0.95"),
    ],
)
def test_what_would_be_refused_or_dropped_is_refused_first(model, asked, words):
    assert words in refusal(ask(**asked), model)


def test_a_thinking_model_keeps_what_it_may_have():
    sent = body(ask(top_p=0.95, temperature=1.0, reasoning="low"), "claude-opus-4-6")
    assert sent["top_p"] == 0.95
    assert body(ask(temperature=0.5, reasoning="none"), "claude-haiku-4-5")["temperature"] == 0.5


# --- schemas ---------------------------------------------------------------------------------


def test_a_schema_goes_to_the_output_format():
    schema = {
        "type": "object",
        "properties": {
            "grade": {"type": "integer", "minimum": 0, "maximum": 4, "description": "How good."},
            "why": {"oneOf": [{"type": "string", "maxLength": 80}, {"type": "null"}]},
            "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "minItems": 1},
            "both": {"allOf": [{"type": "number", "title": "N"}]},
        },
        "$defs": {"tag": {"type": "string", "format": "hostname"}},
    }
    sent = body(ask(schema=schema, reasoning="low"))["output_config"]
    assert sent["effort"] == "low"
    assert sent["format"] == {
        "type": "json_schema",
        "schema": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "grade": {
                    "type": "integer",
                    "description": "How good.\n\n{minimum: 0, maximum: 4}",
                },
                "why": {
                    "anyOf": [
                        {"type": "string", "description": "{maxLength: 80}"},
                        {"type": "null"},
                    ]
                },
                "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "minItems": 1},
                "both": {"allOf": [{"type": "number", "title": "N"}]},
            },
            "$defs": {"tag": {"type": "string", "format": "hostname"}},
        },
    }
    assert schema["properties"]["grade"]["maximum"] == 4  # the caller's own is left alone


@pytest.mark.parametrize("model", ["claude-opus-4-8", "claude-3-haiku-20240307"])
def test_a_service_that_takes_no_schema_is_told_it_in_words(model):
    told = msgspec.structs.replace(ANTHROPIC, schema="prompt")
    spec = ModelSpec(model=f"mine/{model}", service=told)
    made = anthropic.Anthropic(spec, None, 1, "http://h/v1")
    for said in ((), (Message("system", "Be brief."),)):
        sent = json.loads(made.chat(ask(*said, Message("user", "?"), schema=GRADE)).body)
        assert sent["system"].startswith("Be brief.\n\n" if said else "Answer with")
        assert '"grade"' in sent["system"]
        assert not {"output_config", "tools"} & set(sent)


def test_an_early_model_answers_a_schema_through_a_tool():
    sent = body(ask(schema=GRADE), "claude-3-haiku-20240307")
    assert sent["tools"][0]["input_schema"] == GRADE
    assert sent["tool_choice"] == {"type": "tool", "name": sent["tools"][0]["name"]}
    assert "output_config" not in sent
    choice = provider().read_chat(reply(recorded("anthropic", "answer_tool.json"))).choices[0]
    assert (choice.content, choice.finish_reason, choice.tool_calls) == ('{"grade":3}', "stop", ())


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"tools": (TIDE,)}, "other tools"),
        ({"reasoning": "low"}, "at once"),
        ({"schema": {"type": "array"}}, "type is object"),
    ],
)
def test_an_early_model_does_one_of_them(asked, words):
    assert words in refusal(ask(**{"schema": GRADE, **asked}), "claude-opus-4-1")
