"""Anthropic's messages: what is sent, what is refused, what a reply and an error mean."""

import asyncio
import json

import pytest
from native import ANTHROPIC, recorded, served, written

from karat.errors import ProviderError, RecipeError
from karat.models.asks import EmbedRequest
from karat.models.chat import ChatRequest, Tool, ToolCall, Turn
from karat.models.providers import anthropic
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
