"""Anthropic's messages: what is sent, what is refused, what a reply and an error mean."""

import asyncio
import json

import msgspec
import pytest
from native import ANTHROPIC, recorded, reply, served, written

from karat.errors import ProviderError, RecipeError
from karat.models.asks import EmbedRequest
from karat.models.chat import ChatRequest, Tool, ToolCall, Turn
from karat.models.providers import anthropic
from karat.models.providers._anthropic_models import claude
from karat.models.spec import ModelSpec
from karat.row import Message

KEY = "sk-ant-api03-secret"
TIDE = Tool("tide", "The tide at a place.", {"type": "object", "properties": {"place": {}}})
GRADE = {"type": "object", "properties": {"grade": {"type": "integer"}}, "required": ["grade"]}


def provider(model="claude-opus-4-8", **more):
    spec = ModelSpec(model=f"anthropic/{model}", service=ANTHROPIC, **more)
    return anthropic.Anthropic(spec, None, 1, "https://api.anthropic.com/v1", KEY)


def ask(*messages, **more):
    return ChatRequest(messages or (Message("user", "Why are there tides?"),), **more)


def body(request, model="claude-opus-4-8", stream=False, **spec):
    return json.loads(provider(model, **spec).chat(request, stream=stream).body)


def refusal(request, model):
    with pytest.raises(ProviderError) as caught:
        provider(model).chat(request)
    assert caught.value.kind == "row"
    return str(caught.value)


# --- what is sent ----------------------------------------------------------------------------


def test_a_plain_request_is_small():
    post = provider().chat(ask())
    assert post.url == "https://api.anthropic.com/v1/messages"
    assert json.loads(post.body) == {
        "model": "claude-opus-4-8",
        "max_tokens": 16384,
        "messages": [{"role": "user", "content": "Why are there tides?"}],
    }


def test_the_key_and_the_version_go_in_headers():
    made = provider()
    assert made.headers["x-api-key"] == KEY
    assert made.headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in made.headers
    assert made.max_n == 1


def test_a_service_may_ask_for_another_version_and_a_server_of_ones_own_for_none():
    newer = ANTHROPIC.__class__(wire="anthropic", headers={"anthropic-version": "2026-10-21"})
    spec = ModelSpec(model="mine/claude-opus-5", service=newer, base_url="http://h/v1")
    assert anthropic.connect(spec).headers["anthropic-version"] == "2026-10-21"
    bare = ModelSpec(model="mine/m", service=ANTHROPIC.__class__(wire="anthropic"))
    made = anthropic.Anthropic(bare, None, 1, "http://h/v1/")
    assert made.headers["anthropic-version"] == "2023-06-01"
    assert made.chat(ask()).url == "http://h/v1/messages"


def test_the_system_text_stands_apart():
    asked = ask(Message("system", "Be brief."), Message("system", "Be kind."), Message("user", "?"))
    sent = body(asked)
    assert sent["system"] == "Be brief.\n\nBe kind."
    assert sent["messages"] == [{"role": "user", "content": "?"}]


def test_a_later_system_message_stays_where_it_is():
    sent = body(ask(Message("user", "a"), Message("system", "b"), Message("user", "c")))
    assert "system" not in sent
    assert [m["role"] for m in sent["messages"]] == ["user", "system", "user"]


def test_turns_of_one_role_are_joined():
    sent = body(ask(Message("user", "a"), Message("user", "b"), Message("assistant", "c")))
    assert sent["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "c"},
    ]


def test_calls_and_their_results_come_back_as_blocks():
    calls = (ToolCall("t1", "tide", '{"place": "Brest"}'), ToolCall("t2", "now", ""))
    sent = body(
        ask(
            Message("user", "?"),
            Turn("assistant", "", tool_calls=calls),
            Turn("tool", "high at 4", tool_call_id="t1"),
            Turn("tool", "3 pm", tool_call_id="t2"),
            Message("user", "So?"),
            tools=(TIDE, Tool("now")),
        )
    )
    assert sent["messages"][1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "t1", "name": "tide", "input": {"place": "Brest"}},
                {"type": "tool_use", "id": "t2", "name": "now", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "high at 4"},
                {"type": "tool_result", "tool_use_id": "t2", "content": "3 pm"},
                {"type": "text", "text": "So?"},
            ],
        },
    ]
    assert sent["tools"] == [
        {"name": "tide", "description": TIDE.description, "input_schema": TIDE.parameters},
        {"name": "now", "input_schema": {"type": "object"}},
    ]
    assert "tool_choice" not in sent


@pytest.mark.parametrize("arguments", ["[1]", '{"place":', "\ud800", "[" * 5000])
def test_a_call_whose_arguments_are_no_object_is_refused(arguments):
    turn = Turn("assistant", "", tool_calls=(ToolCall("t", "tide", arguments),))
    assert "'tide'" in refusal(ask(Message("user", "?"), turn), "claude-opus-4-8")


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ("required", {"type": "any"}),
        ("tide", {"type": "tool", "name": "tide"}),
    ],
)
def test_a_tool_choice_is_written_their_way(choice, sent):
    assert body(ask(tools=(TIDE,), tool_choice=choice))["tool_choice"] == sent
    assert "tool_choice" not in body(ask(tool_choice=choice))


def test_stop_and_streaming_are_said():
    sent = body(ask(stop=("END",), max_tokens=50), stream=True)
    assert sent["stop_sequences"] == ["END"]
    assert sent["stream"] is True
    assert sent["max_tokens"] == 50


def test_extra_is_merged_and_what_the_request_says_wins():
    extra = {"service_tier": "standard_only", "output_config": {"effort": "max", "x": 1}}
    sent = body(ask(reasoning="low"), extra=extra)
    assert sent["service_tier"] == "standard_only"
    assert sent["output_config"] == {"effort": "low", "x": 1}


def test_what_it_says_to_take_is_what_it_writes():
    always = {"messages", "tool_choice"}
    assert written(provider("claude-haiku-4-5"), ask()) == set(anthropic.TAKES) - always


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


# --- before anything is spent ----------------------------------------------------------------


def test_check_wants_a_key(monkeypatch):
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    spec = ModelSpec(model="anthropic/claude-opus-5", service=ANTHROPIC)
    with pytest.raises(RecipeError, match="ANTHROPIC_API_KEY"):
        anthropic.check(spec)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    anthropic.check(spec)


@pytest.mark.parametrize(
    "said",
    [{"temperature": 0.7}, {"reasoning": "none"}, {"top_k": 3}, {"top_p": 0.5}],
)
def test_check_refuses_what_the_model_says_of_itself_in_vain(monkeypatch, said):
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    spec = ModelSpec(model="anthropic/claude-opus-5-5", service=ANTHROPIC, **said)
    with pytest.raises(RecipeError, match="claude-opus-5-5"):
        anthropic.check(spec)


def test_it_embeds_nothing():
    with pytest.raises(ProviderError, match="no embeddings"):
        provider().embed(EmbedRequest(("a",)))


def test_one_answer_over_http(monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)

    async def work(url):
        spec = ModelSpec(
            model="anthropic/claude-opus-5", service=ANTHROPIC, base_url=f"{url}/v1",
            key_env="MY_KEY",
        )  # fmt: skip
        made = anthropic.connect(spec)
        try:
            post = made.chat(ask())
            return made.read_chat(await made.transport.post(*post, made.headers, 10))
        finally:
            await made.close()

    got, requests = asyncio.run(served(work, recorded("anthropic", "text.json")))
    assert got.choices[0].content == "The moon pulls the water."
    ((path, headers, sent),) = requests
    assert (path, headers["x-api-key"]) == ("/v1/messages", KEY)
    assert sent["messages"][0]["content"] == "Why are there tides?"
